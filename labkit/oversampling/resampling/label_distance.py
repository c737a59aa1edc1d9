"""How different the labels of two rows are: the adjusted Hamming distance of MLeNN and MLTL."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labkit.oversampling.labels import LabelMatrix

__all__ = ["DENOMINATORS", "adjusted_hamming"]

DENOMINATORS = ("sum", "union")


def adjusted_hamming(
    labels: LabelMatrix, rows: NDArray[np.int64], others: NDArray[np.int64], denominator: str
) -> NDArray[np.float64]:
    """Labels that differ, relative to the labels that are set.

    Plain Hamming distance is near 0 wherever few labels are set, whether they agree or not.

    Parameters
    ----------
    labels : LabelMatrix
    rows, others : ndarray of int64, shape (m,)
        Pairs of rows; only labels known in both count.
    denominator : {"sum", "union"}
        Divide by the labels of one row plus the labels of the other, or by the labels of either.

    Returns
    -------
    ndarray of float64, shape (m,)
        From 0 (same labels, or none) to 1 (no label in common).

    Examples
    --------
    >>> from labkit.oversampling.labels import read_labels
    >>> labels = read_labels([[1, 1, 0], [1, 0, 1]])
    >>> adjusted_hamming(labels, np.array([0]), np.array([1]), "sum")
    array([0.5])
    """
    both = labels.known[rows] & labels.known[others]
    one, other = labels.positive[rows] & both, labels.positive[others] & both
    different = (one ^ other).sum(axis=1)
    active = (one | other).sum(axis=1)
    if denominator == "sum":
        active = one.sum(axis=1) + other.sum(axis=1)
    return np.divide(different, active, out=np.zeros(len(rows)), where=active > 0)
