"""How many parameters a transformer has, and how many of them each rank holds.

One layer has, with ``h`` the hidden size, ``k = h groups / heads`` the width of keys and of values
and ``f`` the width of the feed-forward layer (twice that into it when gated)::

    attention     h (h + 2 k) + h h          biases   (h + 2 k) + h
    feed-forward  h f (1 + gated) + f h      biases   f (1 + gated) + h
    two norms     2 h each (layernorm) or h each (rmsnorm)

which is 12 h^2 + 13 h for a GPT. Tensor parallelism shares out the matrices, the biases of layers
split by their outputs, the embedding and the output layer; norms, learned positions and the biases
of layers split by their inputs are on every rank [1]_. A tied output layer is a second copy of the
embedding where the pipeline ends on another device than it starts.

======  ==============================  ==========
symbol  variable                        unit
======  ==============================  ==========
h       ``hidden_size``                 elements
f       ``ffn_hidden_size``             elements
k       ``_key_width(model)``           elements
t       ``tp``                          devices
======  ==============================  ==========

References
----------
.. [1] Shoeybi et al., arXiv:1909.08053, section 3.
"""

from __future__ import annotations

import numpy as np

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.config import ModelConfig, ParallelConfig

_ZBV = code("schedule", "zbv")
_LAYERNORM = code("normalization", "layernorm")
_LEARNED = code("position", "learned")


def num_parameters(model: ModelConfig) -> int:
    """Return the exact number of parameters of the whole model.

    Examples
    --------
    >>> model = ModelConfig(num_layers=96, hidden_size=12288, num_attention_heads=96)
    >>> f"{num_parameters(model):.4g}"
    '1.746e+11'
    """
    return int(stage_parameters(model, ParallelConfig(), 0)[0])


def stage_parameters(
    model: ModelConfig | ModelColumns,
    parallel: ParallelConfig | ParallelColumns,
    stage: int | np.ndarray,
) -> np.ndarray:
    """Return the parameters of one rank of a pipeline stage, before ZeRO shares anything out.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies
    stage : int or ndarray of shape (n,)
        Place in the pipeline, from 0.

    Returns
    -------
    ndarray of int64, shape (n,)
        Rounded down where the strategy does not suit the model.

    Examples
    --------
    >>> model = ModelConfig(num_layers=2, hidden_size=64, num_attention_heads=4, vocab_size=256)
    >>> stage_parameters(model, ParallelConfig(pp=2, tp=2), 1)
    array([33504])
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    tp = strategies.tp.astype(float)
    layers = layers_of_stage(columns, strategies, stage) * layer_parameters(columns, tp)
    return (layers + end_parameters(columns, strategies, stage)).astype(np.int64)


def layers_of_stage(
    model: ModelConfig | ModelColumns,
    parallel: ParallelConfig | ParallelColumns,
    stage: int | np.ndarray,
) -> np.ndarray:
    """Return the layers of a pipeline stage, over all its chunks.

    Where embeddings count as layers, the stages that hold them have fewer of the others.

    Returns
    -------
    ndarray of float64, shape (n,)
        Whole where the strategy suits the model.

    Examples
    --------
    >>> model = ModelConfig(num_layers=70, hidden_size=14336, num_attention_heads=112)
    >>> bloom = ParallelConfig(pp=12, count_embeddings_as_layers=True)
    >>> [int(layers_of_stage(model, bloom, stage)[0]) for stage in (0, 1, 11)]
    [5, 6, 5]
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    counted = strategies.count_embeddings_as_layers * 1.0
    ends = np.add(is_first(stage), is_last(strategies, stage), dtype=float)
    return (columns.num_layers + 2 * counted) / strategies.pp - counted * ends


def is_first(stage: int | np.ndarray) -> np.ndarray:
    """Return whether a stage holds the embedding."""
    return np.equal(stage, 0)


def is_last(parallel: ParallelColumns, stage: int | np.ndarray) -> np.ndarray:
    """Return whether a stage holds the output layer: the last one, or the first of a V."""
    return np.equal(stage, np.where(parallel.schedule == _ZBV, 0, parallel.pp - 1))


def layer_parameters(model: ModelColumns, tp: float | np.ndarray = 1.0) -> np.ndarray:
    """Return the parameters of one layer on one rank of a tensor-parallel group.

    Parameters
    ----------
    model : ModelColumns
    tp : float or ndarray of shape (n,)

    Returns
    -------
    ndarray of float64, shape (1,) or (n,)
    """
    hidden, ffn = model.hidden_size * 1.0, model.ffn_hidden_size * 1.0
    into = ffn * (1 + model.gated_mlp)
    outputs = hidden + 2 * _key_width(model) + into
    split = outputs * (hidden + model.bias) + (hidden + ffn) * hidden
    return split / tp + 2 * hidden * model.bias + 2 * norm_parameters(model)


def norm_parameters(model: ModelColumns) -> np.ndarray:
    """Return the parameters of one norm: a scale, and a shift in layer norm."""
    return model.hidden_size * np.where(model.normalization == _LAYERNORM, 2.0, 1.0)


def end_parameters(
    model: ModelColumns, parallel: ParallelColumns, stage: int | np.ndarray
) -> np.ndarray:
    """Return what a rank holds beside layers: embeddings, last norm, output layer.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    first, last = is_first(stage), is_last(parallel, stage)
    table = model.vocab_size * (model.hidden_size / parallel.tp)
    positions = np.where(model.position == _LEARNED, model.seq_length * 1.0, 0.0)
    output = last & ~(first & model.tie_embeddings)
    tables = table * np.add(first, output, dtype=float)
    return tables + first * (positions * model.hidden_size) + last * norm_parameters(model)


def _key_width(model: ModelColumns) -> np.ndarray:
    """Elements of the keys of one token."""
    return model.hidden_size * (model.num_query_groups / model.num_attention_heads)
