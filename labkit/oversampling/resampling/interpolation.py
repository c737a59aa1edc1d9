"""New feature rows between two rows: x = seed + weight (reference - seed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from labkit.errors import ParameterError
from labkit.oversampling.resampling.neighbors import distance_features

__all__ = ["INTERPOLATIONS", "FeatureSpace", "draw_weights", "nominal_columns"]

INTERPOLATIONS = ("line", "box")

# A nominal feature adds 1 to the squared distance when two rows differ in it.
_MISMATCH = np.sqrt(0.5)


class FeatureSpace:
    """Features of the source rows: distances between them and points between them.

    Parameters
    ----------
    features : ndarray or CSR of shape (n, m)
    nominal : ndarray of int64
        Columns that hold category codes; they are compared for equality and never interpolated.
    """

    def __init__(self, features: Any, nominal: NDArray[np.int64]) -> None:
        is_sparse = sparse.issparse(features)
        # float32 holds every integer of up to 16 bits; wider integers and float64 stay float64.
        self.dtype = np.result_type(features.dtype, np.float32)
        self.values = features if is_sparse else np.asarray(features)
        self.nominal = nominal
        self.numeric = np.setdiff1d(np.arange(features.shape[1]), nominal)

    def coordinates(self, rows: NDArray[np.int64] | None = None) -> Any:
        """Coordinates in which Euclidean distance is the distance between rows."""
        values = self.values if rows is None else self.values[rows]
        if not len(self.nominal):
            return distance_features(values)
        parts = [distance_features(values[:, self.numeric]).astype(np.float64)]
        for column in self.nominal:
            codes = np.unique(values[:, column])
            parts.append((values[:, [column]] == codes) * _MISMATCH)
        return np.hstack(parts)

    def between(
        self,
        seed: NDArray[np.int64],
        reference: NDArray[np.int64],
        weights: NDArray[np.float64],
        neighbors: NDArray[np.int64],
    ) -> Any:
        """Rows between seeds and references; nominal features from the neighbors' majority."""
        start, end = self.values[seed], self.values[reference]
        if sparse.issparse(start):
            start = start.astype(self.dtype)
            step = sparse.diags_array(weights.astype(self.dtype)) @ (end.astype(self.dtype) - start)
            return sparse.csr_array(start + step)
        new = end.astype(self.dtype)
        new -= start
        new *= (weights if weights.ndim == 2 else weights[:, None]).astype(self.dtype)
        new += start
        for column in self.nominal:
            new[:, column] = _most_frequent(self.values[:, column][neighbors])
        return new

    def append(self, rows: Any) -> None:
        """Put new rows below the others, so that they can be seeds and neighbors too."""
        if sparse.issparse(self.values):
            self.values = sparse.vstack([self.values, rows], format="csr")
        else:
            self.values = np.concatenate([self.values.astype(self.dtype, copy=False), rows])


def draw_weights(
    interpolation: str, n: int, n_features: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Weights in [0, 1): one per row ("line") or one per row and feature ("box")."""
    return rng.random(n) if interpolation == "line" else rng.random((n, n_features))


def nominal_columns(X: Any, nominal_features: Sequence[int | str] | None) -> NDArray[np.int64]:
    """Column numbers of the nominal features, given by number or by DataFrame column name."""
    if nominal_features is None:
        return np.empty(0, dtype=np.int64)
    if sparse.issparse(X):
        raise ParameterError("nominal_features needs a dense X; X is sparse. Use X.toarray().")
    names = list(X.columns) if isinstance(X, pd.DataFrame) else list(range(np.shape(X)[1]))
    unknown = [feature for feature in nominal_features if feature not in names]
    if unknown:
        raise ParameterError(
            f"nominal_features names {unknown[0]!r}, which is not a column of X; X has "
            f"{len(names)} columns from {names[0]!r} to {names[-1]!r}."
        )
    return np.array([names.index(feature) for feature in nominal_features], dtype=np.int64)


def _most_frequent(codes: NDArray[Any]) -> NDArray[Any]:
    """Most frequent code of each row; among ties, the one of the nearest neighbor."""
    votes = (codes[:, :, None] == codes[:, None, :]).sum(axis=2)
    return codes[np.arange(len(codes)), votes.argmax(axis=1)]
