"""The graph that labels diffuse on: citations, word neighbors, and their 8-bit weights.

With the symmetric adjacency ``A`` (0/1) and its degrees ``D``, the citation part is
``S = D^-1/2 A D^-1/2``. Words are made 0/1 and may be averaged over a paper's citations before
papers are compared; the similarity of two papers is the cosine of their rows. Each paper is joined
to the `knn` papers most similar to it, weighted by the cosine, and the relation is made symmetric
by the maximum. With ``S_f`` for the same normalization of that graph,

    G = mix S + (1 - mix) S_f,        W = round(255 G),

``W`` being the excitatory weights of 8 bits that a Loihi 2 synapse holds. No label is used.

A paper's similarities often tie, because words are counted. Similarities are rounded to 10 decimals
and ties go to the lower paper id, so that the graph does not depend on the order of a sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import WEIGHT_MAX

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

ROWS_AT_ONCE = 512
"""Rows of the similarity matrix that are in memory at a time."""
DECIMALS = 10


def normalized(adjacency: sparse.spmatrix, *, self_loops: bool = False) -> sparse.csr_matrix:
    """Symmetric normalization ``D^-1/2 A D^-1/2``; rows without entries stay empty.

    Parameters
    ----------
    adjacency : sparse matrix of shape (n, n)
        Symmetric, not negative.
    self_loops : bool
        Normalize ``A + I`` instead.

    Returns
    -------
    csr_matrix of shape (n, n), float64

    Examples
    --------
    >>> normalized(sparse.csr_matrix([[0, 1], [1, 0]]), self_loops=True).toarray()
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    A = sparse.csr_matrix(adjacency, dtype=np.float64)
    if self_loops:
        A = A + sparse.identity(A.shape[0], format="csr")
    scale = sparse.diags(inverse_root(np.asarray(A.sum(axis=1)).ravel()))
    return sparse.csr_matrix(scale @ A @ scale)


def inverse_root(x: np.ndarray) -> np.ndarray:
    """``1 / sqrt(x)``, and 0 where x is 0."""
    root = np.sqrt(np.asarray(x, dtype=np.float64))
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def words_of(graph: CitationGraph) -> sparse.csr_matrix:
    """Words as 0/1, (n_papers, n_words) of float64.

    Raises
    ------
    ParameterError
        The graph has no words.
    """
    if graph.features is None:
        raise ParameterError(
            f"graph {graph.name!r} has no words (features is None); use what needs the citations "
            "only, such as knn=0 with readout=None."
        )
    return sparse.csr_matrix(graph.features != 0, dtype=np.float64)


def unit_words(graph: CitationGraph) -> sparse.csr_matrix:
    """Words as 0/1, each row scaled to length 1; (n_papers, n_words) of float64."""
    words = words_of(graph)
    return sparse.csr_matrix(sparse.diags(inverse_root(words.getnnz(axis=1))) @ words)


def word_neighbors(rows: sparse.spmatrix, knn: int) -> sparse.csr_matrix:
    """Cosine similarity of each paper and the papers most similar to it, made symmetric.

    Parameters
    ----------
    rows : sparse matrix of shape (n_papers, n_words)
        Words of each paper, not negative; rows of any length.
    knn : int
        Neighbors of each paper; fewer where fewer share a word with it. The symmetric graph can
        have more.

    Returns
    -------
    csr_matrix of shape (n_papers, n_papers), float64
        Diagonal 0.

    Examples
    --------
    >>> words = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 1, 1]])
    >>> word_neighbors(words, 1).toarray()
    array([[0. , 1. , 0.5],
           [1. , 0. , 0. ],
           [0.5, 0. , 0. ]])
    """
    words = sparse.csr_matrix(rows, dtype=np.float64)
    n = words.shape[0]
    scale = inverse_root(np.asarray(words.multiply(words).sum(axis=1)).ravel())
    columns = sparse.csr_matrix(words.T)
    blocks = []
    for start in range(0, n, ROWS_AT_ONCE):
        papers = np.arange(start, min(start + ROWS_AT_ONCE, n))
        cosine = (words[papers] @ columns).toarray() * scale[papers, None] * scale
        cosine[np.arange(len(papers)), papers] = 0.0
        blocks.append(_largest(np.round(cosine, DECIMALS), knn))
    directed = sparse.vstack(blocks, format="csr")
    return sparse.csr_matrix(directed.maximum(directed.T))


def _largest(rows: np.ndarray, k: int) -> sparse.csr_matrix:
    """The k largest positive entries of each row; ties go to the lower column."""
    k = min(k, rows.shape[1])
    order = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(rows, order, axis=1)
    starts = np.arange(0, k * len(rows) + 1, k) if k else np.zeros(len(rows) + 1, dtype=int)
    kept = sparse.csr_matrix((values.ravel(), order.ravel(), starts), shape=rows.shape)
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept


def mixed_graph(
    graph: CitationGraph, *, mix: float, neighbors: sparse.csr_matrix | None
) -> sparse.csr_matrix:
    """``G = mix S + (1 - mix) S_f``; ``S`` alone where `neighbors` is None.

    Parameters
    ----------
    graph : CitationGraph
    mix : float
        Share of the citations, 0 to 1.
    neighbors : csr_matrix of shape (n_papers, n_papers), optional
        From `word_neighbors`.

    Returns
    -------
    csr_matrix of shape (n_papers, n_papers), float64
    """
    S = normalized(graph.adjacency())
    if neighbors is None:
        return S
    return sparse.csr_matrix(mix * S + (1 - mix) * normalized(neighbors))


def quantized(G: sparse.csr_matrix) -> sparse.csr_matrix:
    """8-bit excitatory weights ``round(255 G)`` of entries from 0 to 1, int32; zeros are dropped.

    Examples
    --------
    >>> quantized(sparse.csr_matrix([[0.5, 0.001], [1.0, 0.0]])).toarray()
    array([[128,   0],
           [255,   0]], dtype=int32)
    """
    W = sparse.csr_matrix(G, copy=True)
    W.data = np.rint(WEIGHT_MAX * W.data).astype(np.int32)
    W.eliminate_zeros()
    W.sort_indices()
    return W
