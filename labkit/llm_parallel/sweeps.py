"""One choice changed, the rest kept: the four laws of the Frontier study, weak and strong scaling.

Dash et al. [1]_ state four observations on a 1F1B pipeline, whose idle share is
``(p - 1) / (m + p - 1)``:

1. more tensor parallelism costs throughput, most of all when the group leaves the node;
2. more micro-batches fill the pipeline;
3. more stages at a fixed batch empty it;
4. the same ratio p / m keeps the throughput.

Throughput is per device, so that it is comparable between rows of different size: HFU (with
recomputed operations) and MFU (without) are both given. Weak scaling keeps the batch of a replica,
strong scaling the batch of the step; both change the number of replicas alone, and the scaling
efficiency is the throughput per device over that of the first row.

Everything here is the cost model's; what the paper states is in `labkit.llm_parallel.published`.

======  ==========================  ==================================
symbol  variable                    unit
======  ==========================  ==================================
p       ``pp``                      stages
m       ``num_microbatches``        micro-batches of a step
d       ``dp``                      replicas
B       ``global_batch_size``       sequences
======  ==========================  ==================================

References
----------
.. [1] Dash et al., Optimizing Distributed Training on Frontier for Large Language Models, ISC High
   Performance 2024, arXiv:2312.12705.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.published import FRONTIER, frontier_runs
from labkit.llm_parallel.rules import RULES, legality
from labkit.llm_parallel.system import Efficiency, SystemConfig

LAWS: Mapping[str, str] = MappingProxyType(
    {
        "tensor_parallel": "tp",
        "micro_batches": "num_microbatches",
        "stages": "pp",
        "fixed_ratio": "pp",
    }
)
"""Name of each law to the column that its sweep changes."""
MICROBATCHES_PER_STAGE = (0.25, 0.5, 1, 2, 4, 8, 16, 32)
MIN_STAGES = 4
"""Below it the idle share still grows with p at a fixed p / m: it is (p - 1) / p of its limit."""
MIN_LAYERS = 8
"""Layers of a stage below which the fourth law bends: the output layer, which the last stage has
beside its own, and the messages between stages weigh too much against them."""
_SHAPE = ("tp", "pp", "dp", "global_batch_size", "num_microbatches", "n_devices")


@dataclass(frozen=True, kw_only=True)
class ScalingStudy:
    """How one model was scaled on Frontier.

    Only the largest number of devices is published. `batch_per_replica` and `total_batch` are what
    is remembered of the paper's tables, which were not at hand: unverified. With that total batch
    the published 89 and 87 % cannot come from the network: traffic once a step would have to be
    25 and 80 times slower than the network cards, and weak scaling would suffer with it. The
    idle share of the pipeline alone gives both figures if a step had about 1600 micro-batches in
    all, as (m + p - 1) grows against m when replicas share them; `inferred_batch` is that batch.

    Attributes
    ----------
    devices : tuple of int
    batch_per_replica : int
        Sequences of a step of one replica, in weak scaling.
    total_batch : int
        Sequences of a step, in strong scaling.
    inferred_batch : int
        In place of `total_batch`: at which the published efficiencies are those of the bubble.
    """

    devices: tuple[int, ...]
    batch_per_replica: int
    total_batch: int
    inferred_batch: int


SCALING_STUDIES: Mapping[str, ScalingStudy] = MappingProxyType(
    {
        "gpt-175b": ScalingStudy(
            devices=(128, 256, 512, 1024),
            batch_per_replica=640,
            total_batch=8000,
            inferred_batch=1600,
        ),
        "gpt-1t": ScalingStudy(
            devices=(1024, 2048, 3072),
            batch_per_replica=1600,
            total_batch=8016,
            inferred_batch=1608,
        ),
    }
)
"""Model to how it was scaled; see `ScalingStudy` for what is unverified."""


def frontier_strategy(model: ModelConfig) -> ParallelConfig:
    """Return the strategy with which a model was trained on Frontier.

    Raises
    ------
    ParameterError
        The study has no such model.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> frontier_strategy(model_preset("gpt-175b")).label()
    'TP4 PP16 DP2 b1 ZeRO-1 full'
    """
    names = FRONTIER["model"].tolist()
    if model.name not in names:
        raise ParameterError(
            f"model: {model.name} has no strategy of the Frontier study, which trained "
            f"{', '.join(names)}; give strategy= a ParallelConfig."
        )
    return frontier_runs().parallel.row(names.index(model.name))


def sweep(
    model: ModelConfig,
    strategies: Iterable[ParallelConfig],
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
) -> pd.DataFrame:
    """Predict a few strategies that a reader wants to compare.

    Parameters
    ----------
    model : ModelConfig
    strategies : iterable of ParallelConfig
    system : SystemConfig
    efficiency : Efficiency, optional
        In place of the system's own, e.g. calibrated.

    Returns
    -------
    DataFrame
        One row a strategy: tp, pp, dp, global_batch_size, num_microbatches, n_devices; seconds of
        a step, tokens_per_second of all devices and tokens_per_second_per_device, hfu and mfu
        (shares of the peak), bubble (share of the step that the pipeline idles), memory_bytes of
        the fullest device, and whether it fits.

    Raises
    ------
    ParameterError
        No strategy was given, or one breaks a rule; the message names it.
    """
    listed = list(strategies)
    if not listed:
        raise ParameterError("strategies is empty; give one or more.")
    columns = ParallelColumns.of(listed)
    broken = legality(model, columns)
    if (broken >= 0).any():
        place = int(np.argmax(broken >= 0))
        message = RULES[broken[place]].message(model, listed[place])
        raise ParameterError(f"{listed[place].label()}: {message}")
    time = step_time(model, columns, system, efficiency=efficiency)
    frame = pd.DataFrame({name: getattr(columns, name) for name in _SHAPE})
    return frame.assign(
        seconds=time.total,
        tokens_per_second=time.tokens_per_second,
        tokens_per_second_per_device=time.tokens_per_second / columns.n_devices,
        hfu=time.hfu,
        mfu=time.mfu,
        bubble=time.bubble / time.total,
        memory_bytes=time.memory_bytes,
        fits=time.fits,
    )


def laws(
    model: ModelConfig,
    system: SystemConfig,
    *,
    strategy: ParallelConfig | None = None,
    efficiency: Efficiency | None = None,
) -> dict[str, pd.DataFrame]:
    """Sweep the model through the four laws of the Frontier study.

    Parameters
    ----------
    model : ModelConfig
    system : SystemConfig
    strategy : ParallelConfig, optional
        Around which everything is swept; by default that of the study, for the models that it
        scaled.
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    dict of str to DataFrame
        By the names of `LAWS`, as from `sweep`. Values that break a rule are left out: a tp that
        does not divide the heads, or a pp that does not divide the layers. ``tensor_parallel`` has
        the column inside_node; its pp, replicas and micro-batches stay, so that only the group
        grows. ``stages`` and ``fixed_ratio`` start at `MIN_STAGES` and have the column
        layers_per_stage; see `MIN_LAYERS`.

    Raises
    ------
    ParameterError
        The study has no strategy for the model, or none of a sweep is legal.
    """
    base = frontier_strategy(model) if strategy is None else strategy
    groups = 2 ** np.arange(int(np.log2(4 * system.node_size)) + 1)
    ratio = max(base.num_microbatches // base.pp, 1)
    pipelines = [p for p in _divisors(model.num_layers) if MIN_STAGES <= p <= model.num_layers // 2]
    candidates = {
        "tensor_parallel": [_with_tp(base, int(tp)) for tp in groups],
        "micro_batches": [
            _with_microbatches(base, round(share * base.pp)) for share in MICROBATCHES_PER_STAGE
        ],
        "stages": [base.replace(pp=p) for p in pipelines],
        "fixed_ratio": [_with_microbatches(base.replace(pp=p), ratio * p) for p in pipelines],
    }
    frames = {
        name: sweep(model, _legal(model, name, listed), system, efficiency=efficiency)
        for name, listed in candidates.items()
    }
    tensor = frames["tensor_parallel"]
    frames["tensor_parallel"] = tensor.assign(inside_node=tensor["tp"] <= system.node_size)
    for name in ("stages", "fixed_ratio"):
        frames[name]["layers_per_stage"] = model.num_layers // frames[name]["pp"]
    return frames


def weak_scaling(
    model: ModelConfig,
    strategy: ParallelConfig,
    system: SystemConfig,
    devices: Sequence[int],
    *,
    efficiency: Efficiency | None = None,
) -> pd.DataFrame:
    """Predict more replicas with the same batch each.

    Parameters
    ----------
    model : ModelConfig
    strategy : ParallelConfig
        Its batch over its dp is the batch of a replica.
    system : SystemConfig
    devices : sequence of int
        Multiples of the devices of one replica.
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    DataFrame
        As from `sweep`, with efficiency: the throughput per device over that of the fewest.

    Raises
    ------
    ParameterError
        A number of devices holds no whole number of replicas.
    """
    batch = strategy.global_batch_size // strategy.dp
    scaled = [
        strategy.replace(dp=dp, global_batch_size=batch * dp) for dp in _replicas(strategy, devices)
    ]
    return _scaled(sweep(model, scaled, system, efficiency=efficiency))


def strong_scaling(
    model: ModelConfig,
    strategy: ParallelConfig,
    system: SystemConfig,
    devices: Sequence[int],
    *,
    efficiency: Efficiency | None = None,
) -> pd.DataFrame:
    """Predict more replicas that share the same batch; see `weak_scaling`.

    Raises
    ------
    ParameterError
        A number of devices holds no whole number of replicas, or the batch does not divide.
    """
    scaled = [strategy.replace(dp=dp) for dp in _replicas(strategy, devices)]
    return _scaled(sweep(model, scaled, system, efficiency=efficiency))


def frontier_scaling(
    model: ModelConfig, system: SystemConfig, *, efficiency: Efficiency | None = None
) -> pd.DataFrame:
    """Predict the weak and strong scaling that the Frontier study published.

    Parameters
    ----------
    model : ModelConfig
        By its name one of `SCALING_STUDIES`.
    system : SystemConfig
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    DataFrame
        As from `weak_scaling`, with the columns model, system and kind ("weak" or "strong").
        Strong scaling is there twice, with the total batch as remembered and as inferred.

    Raises
    ------
    ParameterError
        The study did not scale this model.
    """
    if model.name not in SCALING_STUDIES:
        raise ParameterError(not_allowed("model", model.name, SCALING_STUDIES))
    study = SCALING_STUDIES[model.name]
    replica = frontier_strategy(model).replace(dp=1, global_batch_size=study.batch_per_replica)
    frames = [
        weak_scaling(model, replica, system, study.devices, efficiency=efficiency).assign(
            kind="weak"
        )
    ]
    for batch in (study.total_batch, study.inferred_batch):
        fixed = replica.replace(global_batch_size=batch)
        strong = strong_scaling(model, fixed, system, study.devices, efficiency=efficiency)
        frames.append(strong.assign(kind="strong"))
    frames = [frame.assign(model=model.name, system=system.name) for frame in frames]
    return pd.concat(frames, ignore_index=True)


def _with_tp(base: ParallelConfig, tp: int) -> ParallelConfig:
    return base.replace(tp=tp, sequence_parallel=base.sequence_parallel and tp > 1)


def _with_microbatches(base: ParallelConfig, m: int) -> ParallelConfig:
    return base.replace(global_batch_size=max(m, 1) * base.micro_batch_size * base.dp)


def _legal(model: ModelConfig, name: str, strategies: list[ParallelConfig]) -> list[ParallelConfig]:
    different = list(dict.fromkeys(strategies))
    kept = legality(model, ParallelColumns.of(different)) < 0 if different else np.array([])
    if not kept.any():
        raise ParameterError(
            f"strategy: no {LAWS[name]} of the sweep {name!r} suits {model.name}; change the "
            "strategy around which it goes."
        )
    return [strategy for strategy, legal in zip(different, kept, strict=True) if legal]


def _divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]


def _replicas(strategy: ParallelConfig, devices: Sequence[int]) -> list[int]:
    """Replicas on each number of devices, the fewest first."""
    if not len(devices):
        raise ParameterError("devices is empty; give one number or more.")
    size = strategy.tp * strategy.cp * strategy.pp
    for n in devices:
        require_whole("devices", n, low=1)
        if n % size:
            lower = n - n % size
            near = f"{lower} or {lower + size}" if lower else str(size)
            raise ParameterError(
                f"devices={n} is no multiple of tp * cp * pp = {size}; use {near}."
            )
    return [int(n) // size for n in sorted(devices)]


def _scaled(frame: pd.DataFrame) -> pd.DataFrame:
    speed = frame["tokens_per_second_per_device"]
    return frame.assign(efficiency=speed / speed.iloc[0])
