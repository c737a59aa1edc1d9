"""Positive entries of a label matrix as lists: the bag of each label, the labels of each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["active_labels", "rows_per_label"]


def rows_per_label(positive: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows where each label is 1, ascending; one array per label (its "bag")."""
    labels, rows = np.nonzero(positive.T)
    return np.split(rows, np.searchsorted(labels, np.arange(1, positive.shape[1])))


def active_labels(positive: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Labels that are 1 in each row, ascending; one array per row."""
    rows, labels = np.nonzero(positive)
    return np.split(labels, np.searchsorted(rows, np.arange(1, positive.shape[0])))
