r"""Operations of a training step, and the two shares of the peak that are made of them.

A product of an (m, k) by a (k, n) matrix counts 2 m k n operations. Forward, for one sequence::

    layer    2 s (h (h + 2 k) + h h + h f (1 + gated) + f h)  +  4 s^2 h
    output   2 s h V

and the backward pass counts twice the forward pass [1]_. The 4 s^2 h of attention scores is that of
the full square, as is usual, although a causal kernel skips half of it.

* *Model* operations are these three passes; MFU is their share of the peak [2]_.
* *Hardware* operations add what the strategy computes again on purpose: a forward pass of the
  layers with full recompute, the attention scores with selective recompute. HFU is their share.
  What a fused attention kernel computes again inside itself is not counted in either.

The two are never mixed here: names say which.

======  ======================  ==========
symbol  variable                unit
======  ======================  ==========
s       ``seq_length``          tokens
h       ``hidden_size``         elements
k       width of the keys       elements
f       ``ffn_hidden_size``     elements
V       ``vocab_size``          tokens
======  ======================  ==========

References
----------
.. [1] Narayanan et al., SC'21, arXiv:2104.04473, appendix.
.. [2] Chowdhery et al., PaLM, arXiv:2204.02311, appendix B.
.. [3] Dash et al., arXiv:2312.12705: throughput as printed by their launch scripts.
"""

from __future__ import annotations

import numpy as np

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.system import SystemConfig

_FULL = code("recompute", "full")
_SELECTIVE = code("recompute", "selective")
Model = ModelConfig | ModelColumns
Parallel = ParallelConfig | ParallelColumns


def model_flops(model: Model, parallel: Parallel) -> np.ndarray:
    """Return the operations of a step on all devices, without what is computed again.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> model = ModelConfig(num_layers=96, hidden_size=12288, num_attention_heads=96)
    >>> f"{model_flops(model, ParallelConfig(global_batch_size=1))[0]:.3e}"
    '2.205e+15'
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    linear, scores, output = _forward_flops(columns)
    forward = columns.num_layers * (linear + scores) + output
    return 3.0 * forward * strategies.global_batch_size


def hardware_flops(model: Model, parallel: Parallel) -> np.ndarray:
    """Return the operations of a step on all devices, with layers or scores computed again.

    Returns
    -------
    ndarray of float64, shape (n,)
        `model_flops` where the strategy computes nothing again.
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    linear, scores, _ = _forward_flops(columns)
    again = columns.num_layers * (
        linear * (strategies.recompute == _FULL) + scores * (strategies.recompute != 0)
    )
    return model_flops(columns, strategies) + again * strategies.global_batch_size


def frontier_flops(model: Model, parallel: Parallel) -> np.ndarray:
    """Return the operations of a step by the formula of the Frontier study [3]_.

    ``24 c B s L h^2 (1 + s / 6h + V / 16 L h)``, with c = 4 if layers are computed again, else 3.
    For a GPT and c = 4 these are `hardware_flops`; for c = 3 three quarters of that, in which the
    output layer counts less than it computes. The utilization that the study reports is of these.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    layers, hidden, seq = (
        columns.num_layers * 1.0,
        columns.hidden_size * 1.0,
        columns.seq_length * 1.0,
    )
    passes = np.where(strategies.recompute == _FULL, 4.0, 3.0)
    shape = 1 + seq / (6 * hidden) + columns.vocab_size / (16 * layers * hidden)
    return 24 * passes * strategies.global_batch_size * seq * layers * hidden**2 * shape


def mfu(
    model: Model, parallel: Parallel, seconds: float | np.ndarray, system: SystemConfig
) -> np.ndarray:
    """Return model-flop utilization: the share of the peak, recompute not counted.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies
    seconds : float or ndarray of shape (n,)
        Time of a step.
    system : SystemConfig

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    return model_flops(model, parallel) / (seconds * _peak(parallel, system))


def hfu(
    model: Model, parallel: Parallel, seconds: float | np.ndarray, system: SystemConfig
) -> np.ndarray:
    """Return hardware-flop utilization: the share of the peak, recompute counted.

    Parameters as in `mfu`.
    """
    return hardware_flops(model, parallel) / (seconds * _peak(parallel, system))


def tokens_per_second(model: Model, parallel: Parallel, seconds: float | np.ndarray) -> np.ndarray:
    """Return the tokens that all devices together train on in a second."""
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    return columns.seq_length * 1.0 * strategies.global_batch_size / seconds


def _forward_flops(model: ModelColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operations of one sequence: linear layers of a layer, its scores, the output layer."""
    hidden, seq = model.hidden_size * 1.0, model.seq_length * 1.0
    ffn = model.ffn_hidden_size * 1.0
    keys = hidden * model.num_query_groups / model.num_attention_heads
    weights = hidden * (2 * hidden + 2 * keys) + hidden * ffn * (2 + model.gated_mlp)
    return 2 * seq * weights, 4 * seq**2 * hidden, 2 * seq * hidden * model.vocab_size


def _peak(parallel: Parallel, system: SystemConfig) -> np.ndarray:
    """Operations a second of all devices."""
    strategies = ParallelColumns.of(parallel)
    return strategies.n_devices * system.peak_flops_of(strategies.param_bytes)
