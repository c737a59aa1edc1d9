"""Counts of right and wrong predictions when some labels are unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

from labkit.errors import ParameterError


def check_pair(Y: np.ndarray, P: np.ndarray, *, labels: bool) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions as float arrays of one shape.

    Parameters
    ----------
    Y : array-like or sparse matrix of shape (n, q)
    P : array-like of shape (n, q)
    labels : bool
        Require Y to be 0, 1 or nan.

    Raises
    ------
    ParameterError
        Shapes differ, there is no row, P is not finite, or Y has other values.
    """
    dense: Any = Y
    if issparse(dense):
        dense = dense.toarray()
    Y, P = np.asarray(dense, dtype=float), np.asarray(P, dtype=float)
    if Y.ndim != 2 or Y.shape != P.shape or not Y.size:
        raise ParameterError(
            f"Y has shape {Y.shape} and P {P.shape}; give two arrays of the same shape "
            "(n_molecules, n_labels), not empty."
        )
    bad = ~np.isfinite(P).all(axis=1)
    if bad.any():
        raise ParameterError(
            f"P has nan or infinite values in {bad.sum()} rows, the first {bad.argmax()}; score "
            "only the molecules that have a prediction."
        )
    if labels and not (np.isnan(Y) | (Y == 0) | (Y == 1)).all():
        value = Y[~(np.isnan(Y) | (Y == 0) | (Y == 1))][0]
        raise ParameterError(f"Y has the value {value:g}; labels are 0, 1 or nan.")
    if not labels and np.isinf(Y).any():
        raise ParameterError("Y has infinite values; targets are finite, or nan where unknown.")
    return Y, P


def confusion(Y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives and false negatives of each column, shape (q,)."""
    tp = (predicted & (Y == 1)).sum(axis=0)
    return tp, (predicted & (Y == 0)).sum(axis=0), (~predicted & (Y == 1)).sum(axis=0)


def precision_recall_f1(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores from counts, elementwise; 0 where there is nothing to divide by."""
    tp = np.asarray(tp, dtype=float)
    return _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
