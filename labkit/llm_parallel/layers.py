r"""Time of one layer, the embedding and the output layer on one device, for one micro-batch.

A product of (m, k) by (k, n) matrices is cut into tiles that the compute units share in waves, and
takes as long as the slowest of arithmetic, memory and launch::

    max( 2 M N (k + k0) / (peak * gemm * q) ,  w (m k + k n + m n) / (memory * hbm) ,  launch )

    M, N = m, n up to whole tiles of 128
    q    = (1 + waves / ceil(waves)) / 2,   waves = ceil(m / 128) ceil(n / 256) / units

Half of what the last wave leaves idle counts: libraries choose other tiles, or split the sum,
where it would hurt. With ``n = b s / c`` tokens the products of a layer are (n, (h + 2 k) / t, h),
(n, h, h / t), (n, f (1 + gated) / t, h) and (n, h, f / t); each has two of the same size in the
backward pass, one for the gradient of its input and one for that of its weights.

Attention is either two batches of products with a softmax between them, or fused: then it never
moves its scores, skips the causal half, and its backward pass computes five products instead of
two. Norms, dropouts and activations move memory; backward moves twice as much. The gradients of
weights are added to their sum after every micro-batch.

======  ==============================  =========================
symbol  variable                        unit
======  ==============================  =========================
n       ``tokens``                      tokens of a rank
w       ``width``                       bytes of a number
k0      ``Efficiency.gemm_half_depth``  elements
launch  ``Efficiency.launch_s``         seconds
======  ==============================  =========================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.parameters import layer_parameters
from labkit.llm_parallel.system import Efficiency, SystemConfig

TILE = 128
FUSED_BACKWARD = 2.5
"""Products in the backward pass of fused attention, over those in its forward pass."""
_ROPE = code("position", "rope")


@dataclass(frozen=True)
class Device:
    """What one device reaches.

    Attributes
    ----------
    peak : ndarray of shape (n,)
        Operations a second in large products.
    bandwidth : float
        Bytes a second of memory.
    launch_s : float
        Seconds of the shortest kernel.
    half_depth, attention, units : float
        See `Efficiency` and `SystemConfig`.
    """

    peak: np.ndarray
    bandwidth: float
    launch_s: float
    half_depth: float
    attention: float
    units: float

    @classmethod
    def of(cls, system: SystemConfig, shares: Efficiency, param_bytes: np.ndarray) -> Device:
        """Return the device of a system, for numbers of some bytes."""
        return cls(
            peak=system.peak_flops_of(param_bytes) * shares.gemm,
            bandwidth=system.hbm_bandwidth * shares.memory,
            launch_s=shares.launch_s,
            half_depth=shares.gemm_half_depth,
            attention=shares.attention,
            units=float(system.compute_units),
        )

    def product(
        self,
        m: np.ndarray,
        n: np.ndarray,
        k: np.ndarray,
        width: np.ndarray,
        batch: float | np.ndarray = 1.0,
    ) -> np.ndarray:
        """Return the seconds of a batch of products of (m, k) by (k, n) matrices."""
        rows, columns = np.ceil(m / TILE), np.ceil(n / TILE)
        waves = batch * rows * np.ceil(n / (2 * TILE)) / self.units
        filled = 0.5 + 0.5 * waves / np.ceil(waves)
        padded = (2.0 * TILE**2) * batch * rows * columns * (k + self.half_depth)
        moved = width * batch * (m * k + k * n + m * n)
        slowest = np.maximum(padded / (self.peak * filled), moved / self.bandwidth)
        return np.maximum(slowest, self.launch_s)

    def stream(self, n_bytes: np.ndarray, kernels: float) -> np.ndarray:
        """Return the seconds of kernels that only move memory."""
        return np.maximum(n_bytes / self.bandwidth, kernels * self.launch_s)


@dataclass(frozen=True)
class BlockTimes:
    """Seconds of one micro-batch on one device, arrays of shape ``(n,)``.

    Attributes
    ----------
    forward : ndarray
    input_backward, weight_backward : ndarray
        Gradients of the inputs, and of the weights with their accumulation.
    scores : ndarray
        What of `forward` selective recompute does again: attention scores.
    attention : ndarray
        What of `forward` a ring exchange of keys and values can hide behind.
    """

    forward: np.ndarray
    input_backward: np.ndarray
    weight_backward: np.ndarray
    scores: np.ndarray | float = 0.0
    attention: np.ndarray | float = 0.0

    @property
    def backward(self) -> np.ndarray:
        """Both halves of the backward pass."""
        return self.input_backward + self.weight_backward


def layer_times(model: ModelColumns, parallel: ParallelColumns, device: Device) -> BlockTimes:
    """Return the times of one transformer layer.

    Parameters
    ----------
    model : ModelColumns
    parallel : ParallelColumns of n strategies
    device : Device

    Returns
    -------
    BlockTimes
    """
    shape = _Shape.of(model, parallel)
    forward = np.zeros_like(shape.tokens)
    inputs, weights = forward.copy(), forward.copy()
    for n, k in shape.matrices():
        forward += device.product(shape.tokens, n, k, shape.width)
        inputs += device.product(shape.tokens, k, n, shape.width)
        weights += device.product(n, k, shape.tokens, shape.width)
    scores, scores_backward = _attention(shape, parallel, device)
    moved, moved_backward = _element_wise(shape, device)
    accumulated = layer_parameters(model, shape.tp) * (shape.width + 2.0 * parallel.grad_bytes)
    return BlockTimes(
        forward=forward + scores + moved,
        input_backward=inputs + scores_backward + moved_backward,
        weight_backward=weights + accumulated / device.bandwidth,
        scores=scores,
        attention=scores,
    )


def embedding_times(model: ModelColumns, parallel: ParallelColumns, device: Device) -> BlockTimes:
    """Return the times of the embedding: rows read, positions added, dropout, rows written."""
    shape = _Shape.of(model, parallel)
    kernels = 3.0
    forward = device.stream(shape.tokens * shape.hidden * shape.width * 7.0, kernels)
    table = shape.vocabulary * shape.hidden * (shape.width + 2.0 * parallel.grad_bytes)
    weights = forward + table / device.bandwidth
    return BlockTimes(forward, np.zeros_like(forward), weights)


def output_times(model: ModelColumns, parallel: ParallelColumns, device: Device) -> BlockTimes:
    """Return the times of the output layer and the loss.

    The loss works in 32 bits: converting, maximum, difference, exponential, sum and division pass
    over the logits forward; the gradient and its conversion backward.
    """
    shape = _Shape.of(model, parallel)
    words = shape.tokens * shape.vocabulary
    forward = device.product(shape.tokens, shape.vocabulary, shape.hidden, shape.width)
    inputs = device.product(shape.tokens, shape.hidden, shape.vocabulary, shape.width)
    weights = device.product(shape.vocabulary, shape.hidden, shape.tokens, shape.width)
    table = shape.vocabulary * shape.hidden * (shape.width + 2.0 * parallel.grad_bytes)
    return BlockTimes(
        forward=forward + device.stream(words * (shape.width + 28.0), 6.0),
        input_backward=inputs + device.stream(words * (shape.width + 12.0), 2.0),
        weight_backward=weights + table / device.bandwidth,
    )


@dataclass(frozen=True)
class _Shape:
    """Sizes on one device."""

    tokens: np.ndarray
    sequences: np.ndarray
    seq: np.ndarray
    hidden: np.ndarray
    keys: np.ndarray
    ffn: np.ndarray
    ffn_inputs: np.ndarray
    heads: np.ndarray
    head_size: np.ndarray
    vocabulary: np.ndarray
    width: np.ndarray
    tp: np.ndarray
    cp: np.ndarray
    shard: np.ndarray
    masks: np.ndarray
    rotated: np.ndarray

    @classmethod
    def of(cls, model: ModelColumns, parallel: ParallelColumns) -> _Shape:
        tp, cp = parallel.tp * 1.0, parallel.cp * 1.0
        hidden, heads = model.hidden_size * 1.0, model.num_attention_heads * 1.0
        keys = hidden * (model.num_query_groups / heads)
        seq = model.seq_length * 1.0
        sequences = parallel.micro_batch_size * 1.0
        return cls(
            tokens=sequences * seq / cp,
            sequences=sequences,
            seq=seq,
            hidden=hidden,
            keys=keys,
            ffn=model.ffn_hidden_size / tp,
            ffn_inputs=model.ffn_hidden_size * (1.0 + model.gated_mlp) / tp,
            heads=heads / tp,
            head_size=hidden / heads,
            vocabulary=model.vocab_size / tp,
            width=parallel.param_bytes * 1.0,
            tp=tp,
            cp=cp,
            shard=np.where(parallel.sequence_parallel, tp, 1.0),
            masks=np.where(model.dropout > 0, 1.0, 0.0),
            rotated=np.where(model.position == _ROPE, 2.0 * (hidden + keys), 0.0),
        )

    def matrices(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Outputs and inputs of the linear layers."""
        queries = self.hidden / self.tp
        return (
            ((self.hidden + 2.0 * self.keys) / self.tp, self.hidden),
            (self.hidden, queries),
            (self.ffn_inputs, self.hidden),
            (self.hidden, self.ffn),
        )


def _attention(
    shape: _Shape, parallel: ParallelColumns, device: Device
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the scores and the weighted sum, forward and backward."""
    rows, batch = shape.seq / shape.cp, shape.sequences * shape.heads
    head, seq, width = shape.head_size, shape.seq, shape.width
    scores = device.product(rows, seq, head, width, batch)
    values = device.product(rows, head, seq, width, batch)
    keys_backward = device.product(seq, head, rows, width, batch)
    moved = batch * rows * seq * (2.0 * width + shape.masks * (2.0 * width + 1.0))
    softmax = device.stream(moved, 2.0)
    softmax_backward = device.stream(1.25 * moved, 2.0)
    unfused = scores + values + softmax
    unfused_backward = scores + values + 2.0 * keys_backward + softmax_backward
    causal = 2.0 * batch * rows * seq * head
    fused = np.maximum(causal / (device.peak * device.attention), device.launch_s)
    fused_backward = np.maximum(FUSED_BACKWARD * fused, device.launch_s)
    flash = parallel.flash_attention
    return (
        np.where(flash, fused, unfused),
        np.where(flash, fused_backward, unfused_backward),
    )


def _element_wise(shape: _Shape, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of what only moves memory in a layer, forward and backward.

    Two norms read and write; two dropouts read, add and write, with a mask; biases and
    transpositions of queries, keys and values; activation; rotations of positions.
    """
    per_token = shape.hidden / shape.shard * (10.0 * shape.width + 2.0 * shape.masks)
    inner = 2.0 * (shape.hidden + 2.0 * shape.keys) + shape.rotated
    activation = shape.ffn_inputs + shape.ffn
    norms, bends = shape.tokens * per_token, shape.tokens * shape.width * activation
    turns = shape.tokens * shape.width * inner / shape.tp
    forward = device.stream(norms, 4.0) + device.stream(bends, 1.0) + device.stream(turns, 2.0)
    backward = (
        device.stream(2.0 * norms, 4.0)
        + device.stream(2.0 * bends, 1.0)
        + device.stream(2.0 * turns, 2.0)
    )
    return forward, backward
