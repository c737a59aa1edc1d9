"""Memory of a training step: what every stage of the pipeline holds when it holds most.

State is counted in bytes a parameter: the weight itself, its accumulated gradient, and for Adam the
two moments, with a 32-bit copy of weights of 16 bits. In 16-bit training that is 2 + 4 + 12 = 18
bytes, or 16 with 16-bit gradients. ZeRO 1, 2 and 3 share the optimizer, the gradients and the
weights out over the replicas [2]_. A layer keeps for its backward pass, in bytes, with ``w`` bytes
a number, ``n = b s / c`` tokens and ``g = t`` with sequence parallelism, else 1 [1]_::

    n h (4 w + 2 masks) / g  +  n w (2 h + 2 k + 2 f) / t  +  n a s (w + masks (1 + w)) / t

the inputs of norms and matrices (and dropout masks), the inner tensors of attention and
feed-forward layer (4 f when gated), and the attention scores unless the attention is fused or they
are computed again. For a GPT with dropout these are 34 n h and 5 a s n. Full recompute keeps
``w n h / g``, the input of the layer.

======  =============================  =========================================
symbol  variable                       unit
======  =============================  =========================================
n       ``tokens``                     tokens of a micro-batch on a rank
w       ``param_bytes``                bytes
h, f    ``hidden``, ``ffn``            elements
k       ``keys``                       elements of the keys of a token
a, s    ``heads``, ``seq_length``      heads, tokens
t, c    ``tp``, ``cp``                 devices
======  =============================  =========================================

References
----------
.. [1] Korthikanti et al., MLSys 2023, equations 1 to 6.
.. [2] Rajbhandari et al., SC'20, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.config import SCHEDULES, ModelConfig, ParallelConfig
from labkit.llm_parallel.parameters import (
    end_parameters,
    is_first,
    is_last,
    layer_parameters,
    layers_of_stage,
)
from labkit.llm_parallel.rules import check

COMPONENTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "recompute",
    "logits",
    "buffers",
)
"""Parts of the memory of a stage; they add up to its peak."""
_NONE, _SELECTIVE, _FULL = (code("recompute", name) for name in ("none", "selective", "full"))
_ZBV = code("schedule", "zbv")
_FLOAT32 = 4
_WARM_UP = {
    "gpipe": (0, 0, np.inf, 0),
    "1f1b": (1, 1, 0, 1),
    "interleaved_1f1b": (1, 2, -1, 2),
    "looped_bfs": (0, 0, np.inf, 0),
    "zb_h1": (1, 1, 0, 0),
    "zbv": (0, 2, -1, 1),
}
"""Forward passes before the first memory is free, by schedule: times the chunks beside the first of
a round, times the stages, a constant, and how many fewer each stage has than the one before."""
_CHUNKS, _STAGES, _CONSTANT, _SLOPE = np.array([_WARM_UP[name] for name in SCHEDULES], float).T
_ALL_AT_ONCE = np.isinf(_CONSTANT)
_ROWS_AT_ONCE = 4096
"""Rows whose intermediate results stay in the cache of a processor."""


def peak_bytes(
    model: ModelConfig | ModelColumns, parallel: ParallelConfig | ParallelColumns
) -> np.ndarray:
    """Return the memory of the fullest device of each strategy.

    Only the stages that can be the fullest are looked at: the first, the last, and the inner one
    that holds most micro-batches.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies

    Returns
    -------
    ndarray of float64, shape (n,)
        Bytes.
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    peak = np.empty(max(len(strategies), len(columns.num_layers)))
    for start in range(0, len(peak), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        chosen = strategies if len(strategies) == 1 else strategies.take(rows)
        peak[rows] = _Rank.of(columns.take(rows), chosen).fullest()
    return peak


def stage_memory(
    model: ModelConfig | ModelColumns,
    parallel: ParallelConfig | ParallelColumns,
    stage: int | np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the memory of a rank of one pipeline stage at its peak, by component.

    Logits and the work space of layers are never needed at the same time; the smaller is 0.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies
    stage : int or ndarray of shape (n,)
        Place in the pipeline, from 0.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        Bytes, by name in `COMPONENTS`.
    """
    return _Rank.of(ModelColumns.of(model), ParallelColumns.of(parallel)).stage(stage)


def memory_breakdown(model: ModelConfig, strategy: ParallelConfig) -> pd.DataFrame:
    """Return the memory of all stages of one strategy.

    Returns
    -------
    DataFrame
        Index ``stage``; columns are `COMPONENTS` and ``total``, in bytes.

    Raises
    ------
    ParameterError
        The strategy does not suit the model.

    Examples
    --------
    >>> model = ModelConfig(num_layers=8, hidden_size=1024, num_attention_heads=8)
    >>> frame = memory_breakdown(model, ParallelConfig(pp=4, global_batch_size=8))
    >>> (frame["activations"] / frame["activations"].iloc[-1]).tolist()
    [4.0, 3.0, 2.0, 1.0]
    """
    check(model, strategy)
    stages = np.arange(strategy.pp)
    columns = ParallelColumns.of([strategy] * strategy.pp)
    frame = pd.DataFrame(stage_memory(model, columns, stages), index=stages)
    frame.index.name = "stage"
    return frame.assign(total=frame.sum(axis=1))


def in_flight(parallel: ParallelConfig | ParallelColumns, stage: int | np.ndarray) -> np.ndarray:
    """Return how many chunks of micro-batches a stage holds between forward and backward pass.

    With 1F1B these are ``min(m, p - stage)``. Where the backward pass is split in two, a chunk is
    held until the gradients of its weights are done.

    Parameters
    ----------
    parallel : ParallelConfig or ParallelColumns of n strategies
    stage : int or ndarray of shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)
        In chunks: a micro-batch of a stage with ``virtual_pp`` chunks counts that many times.

    Examples
    --------
    >>> deep = ParallelConfig(pp=8, virtual_pp=3, schedule="interleaved_1f1b", global_batch_size=64)
    >>> in_flight(deep, 0) / 24 == 1 + (8 - 1) / (8 * 3)
    array([ True])
    """
    return _Pipeline.of(ParallelColumns.of(parallel)).held(stage)


def activation_bytes_per_layer(
    model: ModelConfig | ModelColumns, parallel: ParallelConfig | ParallelColumns
) -> np.ndarray:
    """Return what one layer keeps of one micro-batch on one rank.

    Returns
    -------
    ndarray of float64, shape (n,)
        Bytes.

    Examples
    --------
    >>> model = ModelConfig(num_layers=48, hidden_size=6144, num_attention_heads=64)
    >>> korthikanti = ParallelConfig(
    ...     tp=8, micro_batch_size=4, global_batch_size=4, flash_attention=False
    ... )
    >>> float(48 * activation_bytes_per_layer(model, korthikanti)[0] / 2**30)
    59.25
    """
    return _Rank.of(ModelColumns.of(model), ParallelColumns.of(parallel)).kept


@dataclass(frozen=True)
class _Pipeline:
    """How many chunks of micro-batches the stages hold."""

    microbatches: np.ndarray
    most: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    v_shaped: np.ndarray

    @classmethod
    def of(cls, parallel: ParallelColumns) -> _Pipeline:
        kind, p, v = parallel.schedule, parallel.pp * 1.0, parallel.virtual_pp
        m = np.floor(parallel.global_batch_size / (parallel.micro_batch_size * (parallel.dp * 1.0)))
        in_a_round = m / np.maximum(np.floor(m / p), 1.0)
        later_chunks = (v - 1.0) * in_a_round
        v_shaped = kind == _ZBV
        return cls(
            microbatches=m,
            most=m * np.where(v_shaped, 1.0, v),
            start=_CHUNKS[kind] * later_chunks + _STAGES[kind] * p + _CONSTANT[kind],
            slope=_SLOPE[kind],
            v_shaped=v_shaped,
        )

    def held(self, stage: int | np.ndarray) -> np.ndarray:
        """Return the most chunks that a stage holds at once."""
        held = np.minimum(self.start - self.slope * stage, self.most)
        return held + self.v_shaped * np.minimum(self.microbatches, np.add(stage, 1.0))


@dataclass(frozen=True)
class _Rank:
    """Bytes of a rank that do not depend on its stage, and those that do by `stage`."""

    model: ModelColumns
    parallel: ParallelColumns
    param_bytes: np.ndarray
    tokens: np.ndarray
    hidden_state: np.ndarray
    kept: np.ndarray
    again: np.ndarray
    layer: np.ndarray
    pipeline: _Pipeline

    @classmethod
    def of(cls, model: ModelColumns, parallel: ParallelColumns) -> _Rank:
        param_bytes = parallel.param_bytes * 1.0
        tokens = parallel.micro_batch_size * (model.seq_length / parallel.cp)
        shard = np.where(parallel.sequence_parallel, parallel.tp, 1)
        kept, again = _layer_activations(model, parallel, param_bytes, tokens, shard)
        return cls(
            model=model,
            parallel=parallel,
            param_bytes=param_bytes,
            tokens=tokens,
            hidden_state=param_bytes * tokens * model.hidden_size / shard,
            kept=kept,
            again=again,
            layer=layer_parameters(model, parallel.tp * 1.0),
            pipeline=_Pipeline.of(parallel),
        )

    def fullest(self) -> np.ndarray:
        """Return the bytes of the fullest stage."""
        stages = (0, self.fullest_inner_stage(), self.parallel.pp - 1)
        return np.maximum.reduce([np.asarray(sum(self.stage(s).values())) for s in stages])

    def fullest_inner_stage(self) -> np.ndarray:
        """Return the stage without embeddings that holds most micro-batches."""
        p, m = self.parallel.pp * 1.0, self.pipeline.microbatches
        inner = np.where(self.parallel.schedule == _ZBV, np.minimum(m - 1, 2 * p - 1 - m), 1.0)
        return np.minimum(np.maximum(inner, 1.0), p - 1)

    def stage(self, stage: int | np.ndarray) -> dict[str, np.ndarray]:
        """Return bytes by component."""
        parallel, last = self.parallel, is_last(self.parallel, stage)
        layers = layers_of_stage(self.model, parallel, stage)
        ends = end_parameters(self.model, parallel, stage)
        held = self.pipeline.held(stage)
        logits = last * self._logits()
        gathered = self._zero_unit(np.where(is_first(stage) | last, ends, 0.0))
        space = self._work_space() + self._zero_unit(self.layer)
        layers_need_more = self.again + space >= logits + gathered
        states = _states(parallel, self.param_bytes, layers * self.layer + ends)
        return states | {
            "activations": held / parallel.virtual_pp * layers * self.kept,
            "recompute": np.where(layers_need_more, self.again, 0.0),
            "logits": np.where(layers_need_more, 0.0, logits),
            "buffers": np.where(layers_need_more, space, gathered) + self._messages(),
        }

    def _logits(self) -> np.ndarray:
        """Last norm, output layer and loss: 32-bit log-probabilities and two gradients."""
        together = _ALL_AT_ONCE[self.parallel.schedule]
        held = np.where(together, self.pipeline.microbatches, 1.0)
        words = self.tokens * (self.model.vocab_size / self.parallel.tp)
        kept = 2 * self.hidden_state + _FLOAT32 * words
        return held * kept + 2 * _FLOAT32 * words

    def _work_space(self) -> np.ndarray:
        """Gradients of activations inside one layer, and gathered inputs."""
        model, parallel = self.model, self.parallel
        share = self.param_bytes * self.tokens / parallel.tp
        scores = np.where(
            parallel.flash_attention, 0.0, 2.0 * model.num_attention_heads * model.seq_length
        )
        inner = np.maximum(model.ffn_hidden_size * (2.0 + model.gated_mlp), scores)
        whole = np.where(parallel.sequence_parallel, parallel.tp + 1.0, 2.0)
        return share * inner + whole * self.hidden_state

    def _messages(self) -> np.ndarray:
        """Messages of the pipeline, and keys and values of the next ranks of the sequence."""
        model, parallel = self.model, self.parallel
        keys = model.hidden_size * (model.num_query_groups / model.num_attention_heads)
        ring = (parallel.cp > 1) * (4.0 * self.param_bytes * self.tokens / parallel.tp)
        return 2.0 * self.hidden_state * (parallel.pp > 1) + ring * keys

    def _zero_unit(self, parameters: np.ndarray) -> np.ndarray:
        """What ZeRO gathers of some parameters and the next ones, and reduces of them."""
        parallel = self.parallel
        gathered = (parallel.zero_stage == 3) * 2.0 * self.param_bytes
        shared = (parallel.dp > 1) | (parallel.cp > 1)
        reduced = (parallel.zero_stage >= 2) * parallel.grad_bytes
        return parameters * shared * (gathered + reduced)


def _states(
    parallel: ParallelColumns, param_bytes: np.ndarray, parameters: np.ndarray
) -> dict[str, np.ndarray]:
    """Weights, gradients and optimizer of a rank, shared out by ZeRO."""
    share = parameters / (parallel.dp * 1.0 * parallel.cp)
    adam = np.where(param_bytes < _FLOAT32, 3.0 * _FLOAT32, 2.0 * param_bytes)
    zero = parallel.zero_stage
    return {
        "weights": param_bytes * np.where(zero == 3, share, parameters),
        "gradients": parallel.grad_bytes * np.where(zero >= 2, share, parameters),
        "optimizer": adam * np.where(zero >= 1, share, parameters),
    }


def _layer_activations(
    model: ModelColumns,
    parallel: ParallelColumns,
    param_bytes: np.ndarray,
    tokens: np.ndarray,
    shard: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a layer keeps, and what it has beside that when it was computed again."""
    hidden, heads = model.hidden_size * 1.0, model.num_attention_heads * 1.0
    keys = hidden * (model.num_query_groups / heads)
    masks = np.where(model.dropout > 0, 1.0, 0.0)
    inner = 2 * hidden + 2 * keys + model.ffn_hidden_size * (2.0 + 2.0 * model.gated_mlp)
    whole = tokens * hidden / shard
    per_head = tokens * heads / parallel.tp
    scores = per_head * model.seq_length * (param_bytes + masks * (1 + param_bytes))
    scores = np.where(parallel.flash_attention, per_head * _FLOAT32, scores)
    others = whole * (4 * param_bytes + 2 * masks) + param_bytes * tokens * inner / parallel.tp
    full = parallel.recompute == _FULL
    selective = parallel.recompute == _SELECTIVE
    kept = np.where(full, param_bytes * whole, np.where(selective, others, others + scores))
    again = np.where(selective, scores, 0.0)
    return kept, np.where(full, others + scores - kept, again)
