r"""Predicted time of a training step, by part, for one strategy or millions at once.

The parts are those of the busiest pipeline stage, the one that the others wait for; they add up to
the step. With F, B, R the forward and backward pass of a micro-batch and what it computes again
(tensor- and context-parallel exchange included), and m micro-batches::

    total = m (F + B + R)_busiest + bubble + pipeline messages + gradients + optimizer + overhead

The first micro-batch must pass all stages, and the last must come back; meanwhile the busiest stage
idles [1]_ for ``sum of (F + B + R) over the other stages``, divided by the number of chunks v in
interleaved schedules. Schedules that postpone the gradients of weights W fill the gap with
them [2]_: zb_h1 leaves ``F + B + R - 2 W`` of each other stage, zbv half of that.

Gradients are reduced over all replicas (and the ranks of a sequence): an all-reduce; with ZeRO 1 a
reduce-scatter and an all-gather of weights; ZeRO 2 scatters after every micro-batch; ZeRO 3
gathers the weights for every pass, too. With ``overlap_grad_reduce`` a share ``dp_overlap`` of
the reduction hides, but no more than the backward pass that it hides behind lasts.

======  ==============================  ==========================
symbol  variable                        unit
======  ==============================  ==========================
p, v    ``pp``, ``virtual_pp``          stages, chunks of a stage
m       ``num_microbatches``            micro-batches of a step
======  ==============================  ==========================

References
----------
.. [1] Narayanan et al., SC'21, arXiv:2104.04473, section 2.2.
.. [2] Qi et al., Zero Bubble Pipeline Parallelism, ICLR 2024, arXiv:2401.10241, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.flops import Model, Parallel, hardware_flops, model_flops
from labkit.llm_parallel.layers import (
    BlockTimes,
    Device,
    embedding_times,
    layer_times,
    output_times,
)
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.network import collective_seconds, group_members
from labkit.llm_parallel.parameters import is_last, layers_of_stage, stage_parameters
from labkit.llm_parallel.system import Efficiency, SystemConfig

PARTS = (
    "forward",
    "backward",
    "recompute",
    "tensor_parallel",
    "context_parallel",
    "pipeline_p2p",
    "bubble",
    "data_parallel",
    "optimizer",
    "overhead",
)
"""Parts of `StepTime` that add up to its total."""
_FULL = code("recompute", "full")
_SELECTIVE = code("recompute", "selective")
_ZB_H1, _ZBV = code("schedule", "zb_h1"), code("schedule", "zbv")
_MOMENTS_BYTES = 24.0
"""Read and written of a parameter by Adam: master copy and two moments, of 4 bytes each."""
_GRADIENT_PASSES = 4.0
"""Times that a step passes over the gradients: set to 0, norm, scale, update."""


@dataclass(frozen=True, eq=False)
class StepTime:
    """Predicted step of n strategies; arrays of shape ``(n,)``, seconds unless said otherwise.

    Attributes
    ----------
    forward, backward, recompute : ndarray
        Computing of the busiest stage.
    tensor_parallel, context_parallel, pipeline_p2p : ndarray
        Its exchange inside layers, along the sequence, with the stages next to it.
    bubble : ndarray
        Waiting for the other stages.
    data_parallel : ndarray
        Reduction of gradients (and gathering of weights) that is not hidden.
    optimizer, overhead : ndarray
    memory_bytes : ndarray
        Peak of the fullest device.
    fits : ndarray of bool
    model_flops, hardware_flops : ndarray
        Operations of the step on all devices, without and with recompute.
    mfu, hfu : ndarray
        Their shares of the peak.
    tokens_per_second : ndarray
        Of all devices together.
    """

    forward: np.ndarray
    backward: np.ndarray
    recompute: np.ndarray
    tensor_parallel: np.ndarray
    context_parallel: np.ndarray
    pipeline_p2p: np.ndarray
    bubble: np.ndarray
    data_parallel: np.ndarray
    optimizer: np.ndarray
    overhead: np.ndarray
    memory_bytes: np.ndarray
    fits: np.ndarray
    model_flops: np.ndarray
    hardware_flops: np.ndarray
    total: np.ndarray
    mfu: np.ndarray
    hfu: np.ndarray
    tokens_per_second: np.ndarray

    def __len__(self) -> int:
        return len(self.total)

    def frame(self) -> pd.DataFrame:
        """Return a table, one row a strategy."""
        return pd.DataFrame({name: getattr(self, name) for name in self.__dataclass_fields__})


def step_time(
    model: Model,
    parallel: Parallel,
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
) -> StepTime:
    """Predict the step of strategies that keep the rules.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies
        What breaks a rule (`labkit.llm_parallel.rules`) gets a number without meaning.
    system : SystemConfig
    efficiency : Efficiency, optional
        In place of the system's own, e.g. calibrated.

    Returns
    -------
    StepTime
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    parts = _parts(columns, strategies, system, efficiency or system.efficiency)
    total = _total(parts)
    memory = peak_bytes(columns, strategies)
    useful, done = model_flops(columns, strategies), hardware_flops(columns, strategies)
    capacity = total * strategies.n_devices * system.peak_flops_of(strategies.param_bytes)
    return StepTime(
        **parts,
        memory_bytes=memory,
        fits=memory <= system.hbm_bytes,
        model_flops=useful,
        hardware_flops=done,
        total=total,
        mfu=useful / capacity,
        hfu=done / capacity,
        tokens_per_second=columns.seq_length * 1.0 * strategies.global_batch_size / total,
    )


def step_seconds(
    model: Model,
    parallel: Parallel,
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
) -> np.ndarray:
    """Return only the total of `step_time`, for fits that need it thousands of times.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    return _total(_parts(columns, strategies, system, efficiency or system.efficiency))


def _total(parts: dict[str, np.ndarray]) -> np.ndarray:
    total = parts[PARTS[0]].copy()
    for name in PARTS[1:]:
        total += parts[name]
    return total


def _parts(
    model: ModelColumns, parallel: ParallelColumns, system: SystemConfig, shares: Efficiency
) -> dict[str, np.ndarray]:
    return _Step.of(model, parallel, system, shares).parts()


@dataclass(frozen=True)
class _Step:
    """One step of n strategies, with what several parts are made of."""

    model: ModelColumns
    parallel: ParallelColumns
    system: SystemConfig
    shares: Efficiency
    layer: BlockTimes
    embedding: BlockTimes
    output: BlockTimes
    nodes: np.ndarray
    microbatches: np.ndarray
    hidden_bytes: np.ndarray

    @classmethod
    def of(
        cls,
        model: ModelColumns,
        parallel: ParallelColumns,
        system: SystemConfig,
        shares: Efficiency,
    ) -> _Step:
        width = parallel.param_bytes * 1.0
        device = Device.of(system, shares, parallel.param_bytes)
        tokens = parallel.micro_batch_size * (model.seq_length / parallel.cp)
        return cls(
            model=model,
            parallel=parallel,
            system=system,
            shares=shares,
            layer=layer_times(model, parallel, device),
            embedding=embedding_times(model, parallel, device),
            output=output_times(model, parallel, device),
            nodes=parallel.n_devices / float(system.node_size),
            microbatches=parallel.num_microbatches * 1.0,
            hidden_bytes=width * tokens * model.hidden_size,
        )

    def parts(self) -> dict[str, np.ndarray]:
        """Seconds by name."""
        m, stages = self.microbatches, self._stages()
        return {
            "forward": m * stages["forward"],
            "backward": m * stages["backward"],
            "recompute": m * stages["recompute"],
            "tensor_parallel": m * stages["tensor_parallel"],
            "context_parallel": m * stages["context_parallel"],
            "pipeline_p2p": self._messages(m * self.parallel.virtual_pp),
            "bubble": stages["bubble"] + self._messages(self.parallel.pp - 1.0),
            "data_parallel": self._gradients(stages["backward"] + stages["recompute"]),
            "optimizer": self._optimizer(),
            "overhead": np.full_like(m, self.shares.step_overhead_s),
        }

    def _stages(self) -> dict[str, np.ndarray]:
        """Seconds of one micro-batch in the busiest stage, by part, and the bubble of the step."""
        ends, parallel = self._ends(), self.parallel
        layer = self._layer_parts()
        one_layer = sum(layer.values())
        first, last = ends
        first_sum, last_sum = sum(first.values()), sum(last.values())
        alone = is_last(parallel, 0)
        counts = {
            "first": layers_of_stage(self.model, parallel, 0),
            "last": layers_of_stage(self.model, parallel, parallel.pp - 1),
            "inner": np.where(parallel.pp > 2, layers_of_stage(self.model, parallel, 1), 0.0),
        }
        times = {
            "first": counts["first"] * one_layer + first_sum + alone * last_sum,
            "last": counts["last"] * one_layer + ~alone * last_sum + (parallel.pp == 1) * first_sum,
            "inner": counts["inner"] * one_layer,
        }
        busiest = np.maximum.reduce(list(times.values()))
        is_first = times["first"] >= busiest
        is_end = ~is_first & (times["last"] >= busiest)
        count = np.where(
            is_first, counts["first"], np.where(is_end, counts["last"], counts["inner"])
        )
        with_last = np.where(is_first, alone, is_end)
        parts = {
            name: count * layer[name] + is_first * first[name] + with_last * last[name]
            for name in layer
        }
        everything = self.model.num_layers * one_layer + first_sum + last_sum
        waiting = everything - busiest
        postponed = self.model.num_layers * self.layer.weight_backward * (1 - 1 / parallel.pp)
        zero_bubble = np.maximum(waiting - 2.0 * postponed, 0.0)
        waiting = np.where(parallel.schedule == _ZB_H1, zero_bubble, waiting / parallel.virtual_pp)
        parts["bubble"] = np.where(parallel.schedule == _ZBV, zero_bubble / 2.0, waiting)
        return parts

    def _layer_parts(self) -> dict[str, np.ndarray]:
        """Seconds of one layer and micro-batch, by part."""
        full = self.parallel.recompute == _FULL
        selective = self.parallel.recompute == _SELECTIVE
        passes = 2.0 + full
        return {
            "forward": self.layer.forward,
            "backward": self.layer.backward,
            "recompute": np.where(full, self.layer.forward, selective * self.layer.scores),
            "tensor_parallel": passes * 2.0 * self._tensor_exchange(),
            "context_parallel": (passes + 1.0) * self._context_exchange(),
        }

    def _ends(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Seconds of the embedding and of the output layer, by part."""
        exchange, zero = self._tensor_exchange(), np.zeros_like(self.microbatches)
        losses = 3.0 * self._tensor_collective("all_reduce", 4.0 * self._tokens())
        return (
            {
                "forward": self.embedding.forward + zero,
                "backward": self.embedding.backward + zero,
                "recompute": zero,
                "tensor_parallel": exchange,
                "context_parallel": zero,
            },
            {
                "forward": self.output.forward + zero,
                "backward": self.output.backward + zero,
                "recompute": zero,
                "tensor_parallel": exchange + losses,
                "context_parallel": zero,
            },
        )

    def _tokens(self) -> np.ndarray:
        return self.parallel.micro_batch_size * (self.model.seq_length / self.parallel.cp)

    def _tensor_exchange(self) -> np.ndarray:
        """Seconds of one all-reduce of activations, or the two halves that replace it."""
        scattered = self._tensor_collective("reduce_scatter", self.hidden_bytes)
        gathered = self._tensor_collective("all_gather", self.hidden_bytes)
        reduced = self._tensor_collective("all_reduce", self.hidden_bytes)
        return np.where(self.parallel.sequence_parallel, scattered + gathered, reduced)

    def _tensor_collective(self, kind: str, n_bytes: np.ndarray) -> np.ndarray:
        return self._collective(kind, n_bytes, "tp")

    def _collective(self, kind: str, n_bytes: np.ndarray, axis: str) -> np.ndarray:
        size, stride = group_members(self.parallel, axis)
        return collective_seconds(
            kind,
            n_bytes,
            size,
            stride,
            self.system,
            nodes=self.nodes,
            efficiency=self.shares,
        )

    def _context_exchange(self) -> np.ndarray:
        """Seconds that passing keys and values around adds to the attention of a layer."""
        share = self.model.num_query_groups / (self.model.num_attention_heads * self.parallel.tp)
        size, _ = group_members(self.parallel, "cp")
        block = self._collective("p2p", 2.0 * self.hidden_bytes * share, "cp")
        return (size - 1.0) * np.maximum(block - self.layer.attention / size, 0.0)

    def _messages(self, count: np.ndarray) -> np.ndarray:
        """Seconds of activations sent to the next stage and gradients sent back.

        Each of the ranks that share a layer sends its part; without sequence parallelism they
        gather the whole inside their group.
        """
        size, _ = group_members(self.parallel, "tp")
        message = self._collective("p2p", self.hidden_bytes / size, "pp")
        gather = self._tensor_collective("all_gather", self.hidden_bytes)
        gather = np.where(self.parallel.sequence_parallel | (self.parallel.pp == 1), 0.0, gather)
        return 2.0 * count * (message + gather)

    def _parameters(self) -> np.ndarray:
        """Parameters of the fullest rank."""
        last = stage_parameters(self.model, self.parallel, self.parallel.pp - 1)
        return np.maximum(stage_parameters(self.model, self.parallel, 0), last) * 1.0

    def _gradients(self, backward: np.ndarray) -> np.ndarray:
        """Seconds of the reduction of gradients that is not hidden."""
        parallel, parameters = self.parallel, self._parameters()
        zero, rounds = parallel.zero_stage, self.microbatches
        gradient_bytes = parameters * parallel.grad_bytes
        gather = self._collective("all_gather", parameters * parallel.param_bytes, "gradients")
        scatter = self._collective("reduce_scatter", gradient_bytes, "gradients")
        reduce = self._collective("all_reduce", gradient_bytes, "gradients")
        repeated = np.where(zero >= 2, rounds, 1.0)
        reduction = np.where(zero >= 1, repeated * scatter, reduce)
        gathering = np.where(zero == 3, 2.0 * rounds, (zero >= 1) * 1.0) * gather
        hidden = np.minimum(self.shares.dp_overlap * reduction, repeated * backward)
        exposed = reduction - parallel.overlap_grad_reduce * hidden
        return exposed + gathering + self._tied_embedding()

    def _tied_embedding(self) -> np.ndarray:
        """Seconds of adding up the gradients of the embedding on the first and last stage."""
        table = self.model.vocab_size * (self.model.hidden_size / self.parallel.tp)
        apart = ~is_last(self.parallel, 0) & self.model.tie_embeddings
        return apart * self._collective("all_reduce", table * self.parallel.grad_bytes, "ends")

    def _optimizer(self) -> np.ndarray:
        """Seconds of Adam, a stream of memory; replicas share it out with ZeRO."""
        parallel = self.parallel
        n_bytes = _MOMENTS_BYTES + parallel.param_bytes + _GRADIENT_PASSES * parallel.grad_bytes
        shared = np.where(parallel.zero_stage >= 1, parallel.dp * 1.0 * parallel.cp, 1.0)
        bandwidth = self.system.hbm_bandwidth * self.shares.memory
        return self._parameters() / shared * n_bytes / bandwidth


def collective_counts(model: Model, parallel: Parallel) -> dict[str, dict[str, np.ndarray]]:
    """Return how many collectives one rank of an inner stage takes part in, in one step.

    Returns
    -------
    dict of str to dict of str to ndarray of shape (n,)
        By axis (``tp``, ``dp``, ``pp``), then by kind.
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    m = strategies.num_microbatches * 1.0
    layers = columns.num_layers / strategies.pp
    passes = 2.0 + (strategies.recompute == _FULL)
    each = np.where(strategies.tp > 1, m * layers * passes * 2.0, 0.0)
    split = strategies.sequence_parallel
    messages = np.where(strategies.pp > 1, 2.0 * m * strategies.virtual_pp, 0.0)
    zero, replicated = strategies.zero_stage, strategies.dp > 1
    repeated = np.where(zero >= 2, m, 1.0)
    return {
        "tp": {
            "all_reduce": np.where(split, 0.0, each),
            "all_gather": np.where(split, each, 0.0),
            "reduce_scatter": np.where(split, each, 0.0),
        },
        "dp": {
            "all_reduce": replicated * (zero == 0) * 1.0,
            "all_gather": replicated * np.where(zero == 3, 2.0 * m, (zero >= 1) * 1.0),
            "reduce_scatter": replicated * (zero >= 1) * repeated,
        },
        "pp": {"p2p": messages},
    }
