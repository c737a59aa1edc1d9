"""Exact nearest neighbors by blocks of matrix products; a row is never its own neighbor.

Fingerprints have hundreds of dimensions, where trees are slower than one matrix product, and they
produce ties all the time. Distances of whole numbers (bits, counts) are computed exactly, and equal
ones are resolved by the lower row number, whatever the type, container, block size or number of
threads. Distances of real numbers carry rounding errors of about 1e-15 of the largest one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from labkit.errors import ParameterError

__all__ = ["distance_features", "nearest_neighbors", "neighbors_of_all"]

_BLOCK_ENTRIES = 2**22
_EXACT_FLOAT32 = 2**24


def distance_features(features: Any) -> Any:
    """Features in the type in which squared distances are computed.

    Bits and small whole numbers, in whatever type, stay exact in float32 (and are twice as fast);
    everything else becomes float64 and is centered, so that the matrix product loses no digits.
    """
    values = features.data if sparse.issparse(features) else features
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if 4 * largest**2 * features.shape[1] < _EXACT_FLOAT32 and _all_whole(values):
        return features.astype(np.float32)
    features = features.astype(np.float64)
    return features if sparse.issparse(features) else features - features.mean(axis=0)


def _all_whole(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iub" or bool((values == np.rint(values)).all())


def nearest_neighbors(features: Any, k: int) -> NDArray[np.int64]:
    """The k nearest other rows of each row by Euclidean distance, nearest first.

    Parameters
    ----------
    features : ndarray or CSR of shape (n, m)
        As from `distance_features`.
    k : int
        Number of neighbors, from 1 to n - 1.

    Returns
    -------
    ndarray of int64, shape (n, k)

    Examples
    --------
    >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]]), 1).ravel()
    array([1, 0, 1])
    """
    n = features.shape[0]
    is_sparse = sparse.issparse(features)
    squares = np.asarray((features.multiply(features) if is_sparse else features**2).sum(axis=1))
    squares = squares.ravel().astype(features.dtype)
    block = max(1, _BLOCK_ENTRIES // n)
    nearest = np.empty((n, k), dtype=np.int64)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        products = features[rows] @ features.T
        distances = squares - 2 * (products.toarray() if is_sparse else products)
        distances[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = _smallest(distances, k)
    return nearest


def neighbors_of_all(features: Any, k: int) -> NDArray[np.int64]:
    """Nearest neighbors of each row among all rows of a feature matrix; at most n - 1 of them."""
    n = features.shape[0]
    if n < 2:
        raise ParameterError(
            f"X has {n} row; a row has neighbors only where there are two or more."
        )
    return nearest_neighbors(distance_features(features), min(k, n - 1))


def _smallest(distances: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Columns of the k smallest entries of each row, ascending by (entry, column)."""
    last = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    rows, columns = np.nonzero(distances <= last)
    order = np.lexsort((columns, distances[rows, columns], rows))
    starts = np.searchsorted(rows, np.arange(len(distances)))
    return columns[order][starts[:, None] + np.arange(k)]
