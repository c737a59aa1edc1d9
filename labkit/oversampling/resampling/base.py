"""What all samplers share: parameters, validation, and the attributes that a fit leaves behind.

Every sampler is a scikit-learn estimator with one verb, ``fit_resample(X, Y)``, as in
imbalanced-learn; it works inside ``imblearn.pipeline.make_pipeline``. There are two kinds:

* `IndexSampler`: only repeats or drops rows. Its result is an array of source rows, which
  ``fit_indices(Y)`` gives without touching any features: molecular graphs need not be copied.
* `SyntheticSampler`: writes new rows or new labels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from labkit.errors import ParameterError
from labkit.oversampling.imbalance import ImbalanceReport, report_of
from labkit.oversampling.labels import LabelMatrix, read_labels
from labkit.oversampling.resampling.containers import number_of_rows, read_features, take_rows

__all__ = ["IndexSampler", "MultilabelSampler", "SyntheticSampler", "clone_weights"]

Rows = NDArray[np.int64]


def clone_weights(indices: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """How often each source row occurs in a resampled set.

    A loss that weighs each of the n rows by this number equals the loss on the cloned rows, in
    value and gradient, so clones need no extra computation.

    Parameters
    ----------
    indices : ndarray of int
        Source rows, as from ``sampler.fit_indices(Y)`` or ``sampler.sample_indices_``.
    n : int
        Number of source rows.

    Returns
    -------
    ndarray of int64, shape (n,)
        0 for a deleted row.

    Examples
    --------
    >>> clone_weights(np.array([0, 1, 2, 2]), 4)
    array([1, 1, 2, 0])
    """
    indices = np.asarray(indices)
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise ParameterError(
            f"indices run from {indices.min()} to {indices.max()}; with n={n} rows they must "
            f"lie in 0..{n - 1}."
        )
    return np.bincount(indices.astype(np.int64), minlength=n)


class MultilabelSampler(BaseEstimator, ABC):
    """Base of all samplers; see `IndexSampler` and `SyntheticSampler`.

    Attributes
    ----------
    sample_indices_ : ndarray of int64, shape (n_resampled,)
        Source row of each output row; for a synthetic row, the source row of its seed.
    is_synthetic_ : ndarray of bool, shape (n_resampled,)
        True where the features were interpolated, so that no source row has them.
    minority_labels_ : ndarray of int64
        Columns of Y with IRLbl > MeanIR before resampling.
    n_samples_in_ : int
        Number of source rows.
    report_before_, report_after_ : ImbalanceReport
        Imbalance of the labels given and of the labels returned (computed when first read).
    """

    sample_indices_: Rows
    is_synthetic_: NDArray[np.bool_]
    minority_labels_: Rows
    n_samples_in_: int

    @abstractmethod
    def fit_resample(self, X: Any, Y: Any) -> tuple[Any, Any]:
        """Resample the rows of X and Y (see the class)."""

    @cached_property
    def report_before_(self) -> ImbalanceReport:
        """Imbalance of the labels that were given."""
        return report_of(self._fitted("_labels_before"))

    @cached_property
    def report_after_(self) -> ImbalanceReport:
        """Imbalance of the labels that were returned."""
        return report_of(self._fitted("_labels_after"))

    def _fitted(self, attribute: str) -> LabelMatrix:
        if attribute not in vars(self):
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted; call fit_resample(X, Y)."
            )
        return vars(self)[attribute]

    def _check_parameters(self) -> None:
        """Raise ParameterError for a parameter that is not allowed; nothing by default."""

    def _begin(self, Y: Any, X: Any = None) -> LabelMatrix:
        self._check_parameters()
        labels = read_labels(Y)
        if X is not None and number_of_rows(X) != len(labels):
            raise ParameterError(
                f"X has {number_of_rows(X)} rows and Y has {len(labels)}; they must be the "
                "same rows."
            )
        if not labels.counts.any():
            raise ParameterError(
                "Y has no positive label in any row, so no label is rarer than another; check that "
                "1 marks the presence of an effect."
            )
        for stale in ("report_before_", "report_after_"):
            self.__dict__.pop(stale, None)
        self.n_samples_in_ = len(labels)
        self.minority_labels_ = np.flatnonzero(labels.minority)
        self._labels_before = labels
        return labels

    def _generator(self) -> np.random.Generator:
        state: Any = getattr(self, "random_state", None)
        if isinstance(state, np.random.RandomState):
            state = int(state.randint(2**31 - 1))
        try:
            return np.random.default_rng(state)
        except (TypeError, ValueError) as exc:
            raise ParameterError(
                f"random_state={state!r} is not allowed; give None, an integer of at least 0 "
                "or a NumPy generator."
            ) from exc

    def _check_fraction(self, name: str, *, below: float = math.inf) -> None:
        value: Any = getattr(self, name)
        limits = "greater than 0" + (f" and less than {below:g}" if below < math.inf else "")
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 < value < below:
            raise ParameterError(
                f"{name}={value!r} is not allowed for {type(self).__name__}; it is a fraction of "
                f"the number of rows and must be {limits}."
            )

    def _check_neighbors(self) -> None:
        value: Any = vars(self)["k_neighbors"]
        if not is_whole(value) or value < 1:
            raise ParameterError(
                f"k_neighbors={value!r} is not allowed for {type(self).__name__}; it must be an "
                "integer of at least 1."
            )

    def _check_threshold(self) -> None:
        value: Any = vars(self)["threshold"]
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not 0 <= value < 1:
            raise ParameterError(
                f"threshold={value!r} is not allowed for {type(self).__name__}; it is a distance "
                "between label sets and must be at least 0 and less than 1."
            )

    def _check_choice(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise ParameterError(
                f"{name}={value!r} is not known to {type(self).__name__}; use one of "
                f"{', '.join(map(repr, allowed))}."
            )


class IndexSampler(MultilabelSampler):
    """A sampler whose output rows are all source rows."""

    _needs_features = False

    def fit_indices(self, Y: Any, X: Any = None) -> Rows:
        """Choose the rows of the resampled set.

        Parameters
        ----------
        Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
            Labels in {0, 1, nan}.
        X : matrix of shape (n_samples, n_features), optional
            Needed only by samplers that look at neighbors (MLUL, MLeNN, MLTL).

        Returns
        -------
        ndarray of int64
            Source row of each output row. Oversamplers: 0..n-1, then the clones. Undersamplers: the
            rows that stay, in their order.
        """
        name = type(self).__name__
        if self._needs_features and X is None:
            raise ParameterError(
                f"{name} looks at neighbors: call fit_indices(Y, X) with features X."
            )
        labels = self._begin(Y, X)
        features = read_features(X, name) if self._needs_features else None
        rows = self._select(labels, features, self._generator()).astype(np.int64)
        self.sample_indices_ = rows
        self.is_synthetic_ = np.zeros(len(rows), dtype=bool)
        self._labels_after = labels.take(rows)
        return rows

    def fit_resample(self, X: Any, Y: Any) -> tuple[Any, Any]:
        """Resample the rows of X and Y.

        Parameters
        ----------
        X : ndarray, DataFrame, scipy sparse or list, n_samples rows
            Anything with rows, also SMILES, for samplers that look at labels only.
        Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
            Labels in {0, 1, nan}.

        Returns
        -------
        tuple
            X and Y resampled, in the containers they came in; a DataFrame gets a fresh index.
        """
        rows = self.fit_indices(Y, X)
        return take_rows(X, rows), take_rows(Y, rows)

    @abstractmethod
    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        """Source rows of the resampled set."""


class SyntheticSampler(MultilabelSampler):
    """A sampler that writes rows that are not in the source.

    Attributes
    ----------
    seed_indices_ : ndarray of int64, shape (n_resampled,)
        Output row of the seed of each row; a source row is its own seed.
    neighbor_indices_ : ndarray of int64, shape (n_resampled,)
        Output row of the partner of each synthetic row; -1 for a source row. Synthetic row i is
        ``X[seed] + weight * (X[neighbor] - X[seed])``. The first n output rows are the source rows.
    interpolation_weights_ : ndarray of float64, shape (n_resampled,) or (n_resampled, n_features)
        The weight in that formula, 0 for a source row; one per feature with
        ``interpolation="box"``.
    """

    seed_indices_: Rows
    neighbor_indices_: Rows
    interpolation_weights_: NDArray[np.float64]


def is_whole(value: Any) -> bool:
    """True for an integer, also one of NumPy's; False for True and False."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def rows_for(P: float, n: int) -> int:
    """P x n rounded down, safe against 0.29 * 100 = 28.999999999999996."""
    return math.floor(P * n + 1e-9)
