"""A simulated cluster on which strategies are measured: noisy, failing, and not the model.

A search method that is tested on the model that it searches with proves nothing. Here the machine
is our cost model with all constants wrong and with noise:

    truth:    seconds = step_time(model, strategy, system, efficiency = constants * exp(e z_k))
    measured: seconds * exp(n z),    z, z_k ~ N(0, 1)
    failure:  memory * exp(f |z_m|) > memory of a device, or a rule broken

Shares stay at 1 or below. The true constants are drawn once from the seed, the noise of a
measurement from the seed and the strategy, so that a resumed search sees the same cluster. Memory
is never less than the model says: allocators waste some of it [1]_.

======  ====================  ==============================
symbol  variable              unit
======  ====================  ==============================
e       ``constants_error``   sigma of the log
n       ``noise``             sigma of the log
f       ``memory_error``      sigma of the log
======  ====================  ==============================

What is measured here is a simulation and is labeled so; the truth shares the structure of the
model, so that results of model-guided search are optimistic. Real runs are the counterpart.

References
----------
.. [1] Dash et al., arXiv:2312.12705: strategies that failed for lack of memory were part of the
   search, with "F" for their throughput.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from labkit.choices import require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.outcome import Failure, Outcome, Run
from labkit.llm_parallel.rules import RULES, legality
from labkit.llm_parallel.space import Space, search_space
from labkit.llm_parallel.system import OF_THE_PEAK, Efficiency, SystemConfig
from labkit.llm_parallel.systems import system_preset


@dataclass(frozen=True)
class SimulatedCluster:
    """An objective: called with a strategy, it returns a run or a failure with its reason.

    Attributes
    ----------
    model : ModelConfig
    system : SystemConfig
    noise : float
        Sigma of the log of a measured time.
    constants_error : float
        Sigma of the log of each constant of the machine, about the constants of `system`.
    memory_error : float
        Sigma of the log of the memory beyond the model's, one factor for all strategies.
    seed : int
        Of the constants and the noise.

    Examples
    --------
    >>> cluster, spaces = benchmark(seed=0)
    >>> cluster(ParallelConfig(dp=128, global_batch_size=640)).reason
    'out of memory'
    """

    model: ModelConfig
    system: SystemConfig
    noise: float = field(default=0.03, kw_only=True)
    constants_error: float = field(default=0.35, kw_only=True)
    memory_error: float = field(default=0.05, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("noise", "constants_error", "memory_error"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 2:
                raise ParameterError(f"{name}={value!r}: use a number from 0 to 2.")
        require_whole("seed", self.seed, low=0)

    @property
    def efficiency(self) -> Efficiency:
        """The constants of this machine, unknown to who searches."""
        names = [item.name for item in dataclasses.fields(Efficiency)]
        draws = np.random.default_rng((self.seed, 1)).standard_normal(len(names))
        shipped = self.system.efficiency
        true = {
            name: getattr(shipped, name) * math.exp(self.constants_error * z)
            for name, z in zip(names, draws.tolist(), strict=True)
        }
        return Efficiency(**{k: min(v, 1.0) if k in OF_THE_PEAK else v for k, v in true.items()})

    @property
    def memory_factor(self) -> float:
        """True memory over that of the model."""
        draw = np.random.default_rng((self.seed, 2)).standard_normal()
        return math.exp(self.memory_error * abs(draw))

    def __call__(self, strategy: ParallelConfig) -> Outcome:
        """Return the measured time and memory of a strategy, or why there is none.

        Parameters
        ----------
        strategy : ParallelConfig

        Returns
        -------
        Run or Failure
        """
        columns = ParallelColumns.of(strategy)
        broken = int(legality(self.model, columns)[0])
        if broken >= 0:
            message = RULES[broken].message(self.model, strategy)
            return Failure(strategy=strategy, reason="illegal", message=message)
        seconds, memory = self._truth(columns)
        if memory[0] > self.system.hbm_bytes:
            return Failure(
                strategy=strategy,
                reason="out of memory",
                message=f"{memory[0] / 2**30:.1f} GiB needed on the fullest device, which has "
                f"{self.system.hbm_bytes / 2**30:.1f} GiB (simulated)",
            )
        measured = float(seconds[0]) * math.exp(self.noise * self._draw(strategy))
        return Run(strategy=strategy, seconds=measured, memory_bytes=float(memory[0]))

    def true_seconds(self, parallel: ParallelColumns) -> np.ndarray:
        """Return the time of a step without noise, inf where a strategy fails; to keep score.

        Parameters
        ----------
        parallel : ParallelColumns of n strategies that keep all rules

        Returns
        -------
        ndarray of float, shape (n,)
        """
        seconds, memory = self._truth(parallel)
        return np.where(memory > self.system.hbm_bytes, np.inf, seconds)

    def optimum(self, space: Space) -> float:
        """Return the shortest true time of a step in a space, inf where nothing can run."""
        best = math.inf
        for index in space.chunks():
            parallel = space.at(index)
            legal = space.broken(index, parallel) < 0
            if legal.any():
                best = min(best, float(self.true_seconds(parallel.take(legal)).min()))
        return best

    def _truth(self, parallel: ParallelColumns) -> tuple[np.ndarray, np.ndarray]:
        cost = step_time(self.model, parallel, self.system, efficiency=self.efficiency)
        return cost.total, cost.memory_bytes * self.memory_factor

    def _draw(self, strategy: ParallelConfig) -> float:
        digest = hashlib.sha256(repr(strategy).encode()).digest()
        words = np.frombuffer(digest, np.uint32).tolist()
        return float(np.random.default_rng((self.seed, 3, *words)).standard_normal())


def benchmark(*, seed: int = 0) -> tuple[SimulatedCluster, dict[str, Space]]:
    """Return the shipped benchmark of search methods: GPT-175B on 128 devices of Frontier.

    Parameters
    ----------
    seed : int
        Of the cluster; the spaces are always the same.

    Returns
    -------
    SimulatedCluster
    dict of str to Space
        ``"wide"`` of 19,200 points, of which few can run, and ``"narrow"`` of 1,280.
    """
    model, system = model_preset("gpt-175b"), system_preset("frontier")
    wide = search_space(
        model,
        system,
        128,
        640,
        tp=[1, 2, 4, 8, 16],
        pp=[1, 2, 4, 8, 12, 16, 24, 32],
        virtual_pp=1,
        micro_batch_size=[1, 2, 3, 4, 5, 8, 10, 12, 16, 20],
        zero_stage=[0, 1, 2, 3],
        sequence_parallel=[False, True],
        recompute=["none", "selective", "full"],
        schedule=["1f1b", "gpipe"],
    )
    narrow = search_space(
        model,
        system,
        128,
        640,
        tp=[1, 2, 4, 8],
        pp=[1, 2, 4, 8, 16],
        virtual_pp=1,
        micro_batch_size=[1, 2, 8, 16],
        zero_stage=[1, 3],
        sequence_parallel=[False, True],
        recompute=["none", "full"],
        schedule="1f1b",
        overlap_grad_reduce=[False, True],
    )
    return SimulatedCluster(model, system, seed=seed), {"wide": wide, "narrow": narrow}
