"""Local label imbalance: how hard the neighborhood of each rare label value is.

The measure of MLSOL and MLUL (Liu, Blekas and Tsoumakas, arXiv 2005.03240).

For row i, label l, and the k nearest rows of i::

    rare value of l  = the value (1 or 0) that fewer rows have; 1 when equal
    C_il = share of the neighbors with the other value, where y_il is the rare value
    S_il = C_il / sum of C_.l over the rows with the rare value and C < 1; 0 where C_il = 1
    w_i  = sum over l of S_il

A neighbor whose label is not known does not count; where none is known, C_il = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.oversampling.labels import LabelMatrix

__all__ = ["LocalImbalance", "local_imbalance"]


@dataclass(frozen=True)
class LocalImbalance:
    """Local imbalance of each row and label.

    Attributes
    ----------
    rare_value : ndarray of bool, shape (n_labels,)
        The rarer value of each label.
    is_rare : ndarray of bool, shape (n_samples, n_labels)
        True where the label is known and has the rarer value.
    opposite : ndarray of float64, shape (n_samples, n_labels)
        C, where `is_rare`; 0 elsewhere.
    score : ndarray of float64, shape (n_samples, n_labels)
        S.
    """

    rare_value: NDArray[np.bool_]
    is_rare: NDArray[np.bool_]
    opposite: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def weight(self) -> NDArray[np.float64]:
        """w, shape (n_samples,)."""
        return self.score.sum(axis=1)


def local_imbalance(labels: LabelMatrix, neighbors: NDArray[np.int64]) -> LocalImbalance:
    """Measure the neighborhoods.

    Parameters
    ----------
    labels : LabelMatrix
    neighbors : ndarray of int64, shape (n_samples, k)

    Returns
    -------
    LocalImbalance

    Examples
    --------
    >>> from labkit.oversampling.labels import read_labels
    >>> labels = read_labels([[1], [1], [0], [0], [0]])
    >>> local_imbalance(labels, np.array([[1, 2], [0, 2], [0, 1], [2, 4], [2, 3]])).opposite[:2, 0]
    array([0.5, 0.5])
    """
    negative = labels.known & ~labels.positive
    rare_value = labels.counts <= negative.sum(axis=0)
    is_rare = labels.known & (labels.positive == rare_value)
    is_common = labels.known & ~is_rare
    n_opposite = np.zeros(is_rare.shape, dtype=np.int32)
    n_known = np.zeros(is_rare.shape, dtype=np.int32)
    for neighbor in neighbors.T:
        n_opposite += is_common[neighbor]
        n_known += labels.known[neighbor]
    opposite = np.divide(n_opposite, n_known, out=np.zeros(is_rare.shape), where=n_known > 0)
    opposite[~is_rare] = 0.0
    score = np.where(opposite < 1, opposite, 0.0)
    total = score.sum(axis=0)
    score = np.divide(score, total, out=np.zeros_like(score), where=total > 0)
    return LocalImbalance(rare_value, is_rare, opposite, score)
