r"""Predicted time of a training step, by part, for one strategy or millions at once.

The parts are those of the busiest pipeline stage, the one that the others wait for; they add up to
the step. With F, B, R the forward and backward pass of a micro-batch and what it computes again
(tensor- and context-parallel exchange included), and m micro-batches::

    total = m (F + B + R)_busiest + bubble + pipeline messages + gradients + optimizer + overhead

The first micro-batch must pass all stages, and the last must come back; meanwhile the busiest stage
idles [1]_ for ``sum of (F + B + R) over the other stages``, divided by the number of chunks v in
interleaved schedules. Schedules that postpone the gradients of weights W fill the gap with
them [2]_. With F and I = B + R - W of the other stages they leave::

    zb_h1    max(F, I, F + I - W) / v
    zbv      max(I - W, I / 2, F - I / 2, W / 2 - max(W - I, 0) / (2 p - 2))

as `labkit.llm_parallel.schedule` simulates: exactly so for zb_h1, and for zbv where F is not longer
than I. With few micro-batches a V is not full, and idles no less than ::

    F + I - min(m - 1, p') / p' min(F, (F + I) / 2) - min((m - p)+, p') / p' W        p' = p - 1

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

from dataclasses import dataclass, fields
from functools import cached_property, reduce

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
from labkit.llm_parallel.network import Ring, group_members, message_seconds
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
class _Block:
    """Seconds of one micro-batch in a layer, or in what only an end of the pipeline has."""

    forward: np.ndarray
    backward: np.ndarray
    recompute: np.ndarray
    tensor_parallel: np.ndarray
    context_parallel: np.ndarray
    before: np.ndarray
    """Of all of these, what the forward pass takes."""
    postponed: np.ndarray
    """Of `backward`, the gradients of weights."""

    def total(self) -> np.ndarray:
        """All but the last two, which are in the others."""
        computing = self.forward + self.backward + self.recompute
        return computing + self.tensor_parallel + self.context_parallel


_BLOCK = tuple(item.name for item in fields(_Block))


@dataclass(frozen=True)
class _Step:
    """One step of n strategies, with what several parts are made of."""

    model: ModelColumns
    parallel: ParallelColumns
    system: SystemConfig
    shares: Efficiency
    device: Device
    nodes: np.ndarray
    microbatches: np.ndarray
    tokens: np.ndarray
    hidden_bytes: np.ndarray
    tensor_ring: Ring

    @classmethod
    def of(
        cls,
        model: ModelColumns,
        parallel: ParallelColumns,
        system: SystemConfig,
        shares: Efficiency,
    ) -> _Step:
        tokens = parallel.micro_batch_size * (model.seq_length / parallel.cp)
        nodes = parallel.n_devices / float(system.node_size)
        size, stride = group_members(parallel, "tp")
        return cls(
            model=model,
            parallel=parallel,
            system=system,
            shares=shares,
            device=Device.of(system, shares, parallel.param_bytes),
            nodes=nodes,
            microbatches=parallel.num_microbatches * np.ones_like(tokens),
            tokens=tokens,
            hidden_bytes=parallel.param_bytes * tokens * model.hidden_size,
            tensor_ring=Ring.of(system, size, stride, nodes=nodes, efficiency=shares),
        )

    def parts(self) -> dict[str, np.ndarray]:
        """Seconds by name."""
        parallel, m = self.parallel, self.microbatches
        layer, ends = self._layer(), self._ends()
        busiest = self._busiest(layer, *ends)
        message = self._message()
        # The first micro-batch is sent down the whole pipeline, and the last one back up.
        bubble = self._bubble(busiest, layer, *ends) + 2.0 * (parallel.pp - 1.0) * message
        return {
            "forward": m * busiest.forward,
            "backward": m * busiest.backward,
            "recompute": m * busiest.recompute,
            "tensor_parallel": m * busiest.tensor_parallel,
            "context_parallel": m * busiest.context_parallel,
            "pipeline_p2p": 2.0 * m * parallel.virtual_pp * message,
            "bubble": bubble,
            "data_parallel": self._gradients(busiest.backward + busiest.recompute),
            "optimizer": self._optimizer(),
            "overhead": np.full_like(m, self.shares.step_overhead_s),
        }

    def _layer(self) -> _Block:
        """Seconds of one layer."""
        times = layer_times(self.model, self.parallel, self.device)
        full = self.parallel.recompute == _FULL
        again = np.where(
            full, times.forward, (self.parallel.recompute == _SELECTIVE) * times.scores
        )
        exchange, ring = 2.0 * self._exchange(), self._context_exchange(times)
        return _Block(
            forward=times.forward,
            backward=times.backward,
            recompute=again,
            tensor_parallel=(2.0 + full) * exchange,
            context_parallel=(3.0 + full) * ring,
            before=times.forward + exchange + ring,
            postponed=times.weight_backward,
        )

    def _ends(self) -> tuple[_Block, _Block]:
        """Seconds of the embedding, and of the output layer with the loss."""
        exchange = self._exchange()
        # Maximum, sum of exponentials and the target's logit, which are on different devices.
        losses = 3.0 * self.tensor_ring.all_reduce(4.0 * self.tokens)
        embedding = embedding_times(self.model, self.parallel, self.device)
        output = output_times(self.model, self.parallel, self.device)
        return (
            _end(embedding, exchange, embedding.forward + exchange),
            _end(output, exchange + losses, output.forward + losses),
        )

    def _busiest(self, layer: _Block, first: _Block, last: _Block) -> _Block:
        """Seconds of one micro-batch in the stage that the others wait for."""
        parallel = self.parallel
        folded = is_last(parallel, 0)
        at_first = layers_of_stage(self.model, parallel, 0)
        at_last = layers_of_stage(self.model, parallel, parallel.pp - 1)
        inside = (parallel.pp > 2) * layers_of_stage(self.model, parallel, 1)
        one = layer.total()
        begin = at_first * one + first.total() + folded * last.total()
        end = at_last * one + ~folded * last.total()
        middle = inside * one
        use_first = (begin >= end) & (begin >= middle)
        use_last = ~use_first & (end >= middle)
        count = np.where(use_first, at_first, np.where(use_last, at_last, inside))
        with_last = np.where(use_first, folded, use_last)
        return _Block(
            *(
                count * getattr(layer, name)
                + use_first * getattr(first, name)
                + with_last * getattr(last, name)
                for name in _BLOCK
            )
        )

    def _bubble(self, busiest: _Block, layer: _Block, first: _Block, last: _Block) -> np.ndarray:
        """Seconds that the busiest stage idles while the pipeline fills and drains."""

        def others(name: str) -> np.ndarray:
            all_stages = self.model.num_layers * getattr(layer, name)
            return all_stages + getattr(first, name) + getattr(last, name) - getattr(busiest, name)

        schedule, ahead, postponed = self.parallel.schedule, others("before"), others("postponed")
        everything = layer.total() * self.model.num_layers + first.total() + last.total()
        waiting = np.maximum(everything - busiest.total(), 0.0)
        inputs = waiting - ahead - postponed
        zb_h1 = reduce(np.maximum, (ahead, inputs, ahead + inputs - postponed))
        longer = np.maximum(postponed - inputs, 0.0) / np.maximum(2.0 * self.parallel.pp - 2.0, 1.0)
        in_halves = (inputs / 2, ahead - inputs / 2, postponed / 2 - longer)
        gaps = np.maximum(self.parallel.pp - 1.0, 1.0)
        begun = np.minimum(self.microbatches - 1.0, gaps) / gaps
        filled = np.clip(self.microbatches - self.parallel.pp, 0.0, gaps) / gaps
        reached = begun * np.minimum(ahead, (ahead + inputs) / 2) + filled * postponed
        zbv = reduce(np.maximum, (*in_halves, inputs - postponed, ahead + inputs - reached))
        idle = np.where(schedule == _ZB_H1, zb_h1, waiting) / self.parallel.virtual_pp
        return np.where(schedule == _ZBV, zbv, idle)

    def _exchange(self) -> np.ndarray:
        """Seconds of one all-reduce of activations.

        With sequence parallelism the two halves take as long; the second gathering of the backward
        pass hides behind a product.
        """
        return self.tensor_ring.all_reduce(self.hidden_bytes)

    def _context_exchange(self, times: BlockTimes) -> np.ndarray:
        """Seconds that passing keys and values around adds to the attention of a layer."""
        share = self.model.num_query_groups / (self.model.num_attention_heads * self.parallel.tp)
        size, stride = group_members(self.parallel, "cp")
        block = message_seconds(
            2.0 * self.hidden_bytes * share, size, stride, self.system, efficiency=self.shares
        )
        return (size - 1.0) * np.maximum(block - times.attention / size, 0.0)

    def _message(self) -> np.ndarray:
        """Seconds in which activations reach the next stage, or gradients the one before.

        Each of the ranks that share a layer sends its part; without sequence parallelism they
        gather the whole inside their group.
        """
        size, stride = group_members(self.parallel, "pp")
        part = self.hidden_bytes / self.tensor_ring.size
        sent = message_seconds(part, size, stride, self.system, efficiency=self.shares)
        whole = (size > 1) & ~self.parallel.sequence_parallel.astype(bool)
        return sent + whole * self.tensor_ring.one_way(self.hidden_bytes)

    @cached_property
    def _parameters(self) -> np.ndarray:
        """Parameters of the fullest rank."""
        last = stage_parameters(self.model, self.parallel, self.parallel.pp - 1)
        return np.maximum(stage_parameters(self.model, self.parallel, 0), last) * 1.0

    def _ring(self, axis: str) -> Ring:
        size, stride = group_members(self.parallel, axis)
        return Ring.of(self.system, size, stride, nodes=self.nodes, efficiency=self.shares)

    def _gradients(self, backward: np.ndarray) -> np.ndarray:
        """Seconds of the reduction of gradients, and gathering of weights, that is not hidden."""
        parallel, ring = self.parallel, self._ring("gradients")
        zero, rounds = parallel.zero_stage, self.microbatches
        gather = ring.one_way(self._parameters * parallel.param_bytes)
        scatter = ring.one_way(self._parameters * parallel.grad_bytes)
        repeated = np.where(zero >= 2, rounds, 1.0)
        reduction = np.where(zero >= 1, repeated, 2.0) * scatter
        gathering = np.where(zero == 3, 2.0 * rounds, 1.0 * (zero >= 1)) * gather
        hidden = np.minimum(self.shares.dp_overlap * reduction, repeated * backward)
        exposed = reduction - parallel.overlap_grad_reduce * hidden
        return exposed + gathering + self._tied_embedding()

    def _tied_embedding(self) -> np.ndarray:
        """Seconds of adding up the gradients of the embedding on the first and last stage."""
        table = self.model.vocab_size * (self.model.hidden_size / self.parallel.tp)
        apart = ~is_last(self.parallel, 0) & self.model.tie_embeddings
        return apart * self._ring("ends").all_reduce(table * self.parallel.grad_bytes)

    def _optimizer(self) -> np.ndarray:
        """Seconds of Adam, a stream of memory; replicas share it out with ZeRO."""
        parallel = self.parallel
        n_bytes = _MOMENTS_BYTES + parallel.param_bytes + _GRADIENT_PASSES * parallel.grad_bytes
        shared = np.where(parallel.zero_stage >= 1, parallel.dp * 1.0 * parallel.cp, 1.0)
        bandwidth = self.system.hbm_bandwidth * self.shares.memory
        return self._parameters / shared * n_bytes / bandwidth


def _end(times: BlockTimes, exchange: np.ndarray, before: np.ndarray) -> _Block:
    nothing = np.zeros_like(exchange)
    return _Block(
        forward=times.forward,
        backward=times.backward,
        recompute=nothing,
        tensor_parallel=exchange,
        context_parallel=nothing,
        before=before,
        postponed=times.weight_backward,
    )
