"""Cheap, strong models that every graph network has to be compared with.

A random forest on circular fingerprints (ECFP) needs seconds and beat both graph networks that
were tried on SIDER; a result table without it says little. Both models here have the interface of
`labkit.oversampling.training.MoleculeEstimator`.

Labels that are not known are left out label by label: one model a label on the rows where it is
known. Where all are known, the forest is one forest for all labels, as scikit-learn grows it.
A target with one value in training is predicted as that value; one never known as 0.5 (label) or
0 (regression).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from labkit.errors import ParameterError
from labkit.oversampling.featurize import PackedMolecules
from labkit.oversampling.rows import TrainingRows, training_rows
from labkit.oversampling.training import TASKS, Progress

logger = logging.getLogger(__name__)

CLASS_WEIGHTS = (None, "balanced", "balanced_subsample")


class _FingerprintModel:
    """Fit and predict on fingerprints with scikit-learn, label by label where values are missing.

    Subclasses say how to make an estimator and whether it can take all labels at once.
    """

    joint = False

    def __init__(self, task: str, class_weight: str | None, seed: int) -> None:
        if task not in TASKS:
            raise ParameterError(f"task={task!r} is not known; use one of {', '.join(TASKS)}.")
        if class_weight not in CLASS_WEIGHTS:
            allowed = ", ".join(str(c) for c in CLASS_WEIGHTS)
            raise ParameterError(
                f"class_weight={class_weight!r} is not known; use one of {allowed}."
            )
        self.task = task
        self.class_weight = class_weight
        self.seed = seed

    def fit(
        self,
        packed: PackedMolecules,
        Y: np.ndarray,
        *,
        rows: np.ndarray | None = None,
        fingerprint: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        valid: tuple[np.ndarray, np.ndarray] | None = None,
        progress: Progress | None = None,
    ) -> _FingerprintModel:
        """Train on the fingerprints of rows.

        Parameters
        ----------
        packed : PackedMolecules
            The molecules.
        Y : ndarray of shape (n_rows, n_outputs)
            Targets of the rows; nan where unknown.
        rows : ndarray of int, shape (n_rows,), optional
            Molecule of each row, with repeats for clones; all in order if not given.
        fingerprint : ndarray of shape (n_rows, n_bits), optional
            Fingerprint of each row, instead of its molecule's own.
        sample_weight : ndarray of shape (n_rows,), optional
            Weight of each row.
        valid : tuple, optional
            Not used; every model of the study takes it.
        progress : callable, optional
            Called once with (1, 1, text).

        Returns
        -------
        _FingerprintModel
            Itself.

        Raises
        ------
        ParameterError
            If the rows, targets, fingerprints and weights do not fit together.
        """
        data = training_rows(packed, Y, rows, fingerprint, sample_weight)
        X = data.features(packed).astype(np.float32)
        self.n_outputs_ = data.Y.shape[1]
        self.models_: list[Any] = (
            [self._fit_joint(X, data)] if self._can_join(data) else self._fit_each(X, data)
        )
        self._joined = self._can_join(data)
        if progress is not None:
            progress(1, 1, type(self).__name__)
        return self

    def predict_proba(
        self,
        packed: PackedMolecules,
        rows: np.ndarray | None = None,
        *,
        fingerprint: np.ndarray | None = None,
    ) -> np.ndarray:
        """Probability of each label, shape (n_rows, n_labels)."""
        if self.task != "multilabel":
            raise ParameterError("task='regression' has no probabilities; use predict.")
        X = self._inputs(packed, rows, fingerprint)
        if self._joined:
            return self._joint_probability(self.models_[0], X)
        return np.column_stack([_probability(model, X) for model in self.models_])

    def predict(
        self,
        packed: PackedMolecules,
        rows: np.ndarray | None = None,
        *,
        fingerprint: np.ndarray | None = None,
    ) -> np.ndarray:
        """Labels at threshold 0.5, or values in the units of training, (n_rows, n_outputs)."""
        if self.task == "multilabel":
            return (self.predict_proba(packed, rows, fingerprint=fingerprint) >= 0.5).astype(float)
        X = self._inputs(packed, rows, fingerprint)
        if self._joined:
            return self.models_[0].predict(X).reshape(len(X), self.n_outputs_)
        return np.column_stack([_value(model, X) for model in self.models_])

    def _make(self, joint: bool) -> Any:
        raise NotImplementedError

    def _can_join(self, data: TrainingRows) -> bool:
        """One model for all labels; scikit-learn would multiply the class weights of the labels."""
        return self.joint and self.class_weight is None and not np.isnan(data.Y).any()

    def _fit_joint(self, X: np.ndarray, data: TrainingRows) -> Any:
        Y = data.Y if self.n_outputs_ > 1 else data.Y[:, 0]
        return self._make(joint=True).fit(X, Y, sample_weight=data.weight)

    def _fit_each(self, X: np.ndarray, data: TrainingRows) -> list[Any]:
        return [self._fit_one(X, data, column) for column in range(self.n_outputs_)]

    def _fit_one(self, X: np.ndarray, data: TrainingRows, column: int) -> Any:
        """Model of one label, or the constant to predict where there is nothing to learn."""
        y = data.Y[:, column]
        known = ~np.isnan(y)
        if data.weight is not None:
            known &= data.weight > 0
        if not known.any():
            return 0.5 if self.task == "multilabel" else 0.0
        if (y[known] == y[known][0]).all():
            return float(y[known][0])
        weight = None if data.weight is None else data.weight[known]
        return self._make(joint=False).fit(X[known], y[known], sample_weight=weight)

    def _joint_probability(self, model: Any, X: np.ndarray) -> np.ndarray:
        tables = model.predict_proba(X)
        classes = model.classes_
        if self.n_outputs_ == 1:
            tables, classes = [tables], [classes]
        return np.column_stack([_positive(t, c) for t, c in zip(tables, classes, strict=True)])

    def _inputs(
        self, packed: PackedMolecules, rows: np.ndarray | None, fingerprint: np.ndarray | None
    ) -> np.ndarray:
        if not hasattr(self, "models_"):
            raise ParameterError("this model is not trained yet; call fit first.")
        if fingerprint is None:
            fingerprint = packed.fingerprint if rows is None else packed.fingerprint[rows]
        return fingerprint.astype(np.float32)


class ForestBaseline(_FingerprintModel):
    """Random forest on fingerprints.

    Parameters
    ----------
    task : {"multilabel", "regression"}
        What the targets are.
    n_trees : int
        Trees of the forest.
    class_weight : {None, "balanced", "balanced_subsample"}
        scikit-learn's weights of positives against negatives.
    seed : int
        Of the forest.
    n_jobs : int
        Threads.

    Examples
    --------
    >>> from labkit.oversampling.featurize import featurize
    >>> packed = featurize(["CCO", "CCCCO", "CCN", "CCCCN"], fingerprint="ecfp4:128")
    >>> Y = np.array([[1.0], [1.0], [0.0], [np.nan]])
    >>> ForestBaseline(n_trees=20).fit(packed, Y).predict_proba(packed).shape
    (4, 1)
    """

    joint = True

    def __init__(
        self,
        task: str = "multilabel",
        *,
        n_trees: int = 100,
        class_weight: str | None = None,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> None:
        super().__init__(task, class_weight, seed)
        if n_trees < 1:
            raise ParameterError(f"n_trees={n_trees} is too few; use 1 or more.")
        self.n_trees = n_trees
        self.n_jobs = n_jobs

    def _make(self, joint: bool) -> Any:
        common = {"n_estimators": self.n_trees, "random_state": self.seed, "n_jobs": self.n_jobs}
        if self.task == "regression":
            return RandomForestRegressor(**common, max_features="sqrt")
        return RandomForestClassifier(**common, class_weight=self.class_weight)


class GradientBoostingBaseline(_FingerprintModel):
    """Gradient-boosted trees on fingerprints, one model a label.

    Parameters
    ----------
    task : {"multilabel", "regression"}
        What the targets are.
    n_iterations : int
        Trees of each model.
    learning_rate : float
        Shrinkage of each tree.
    class_weight : {None, "balanced"}
        scikit-learn's weights of positives against negatives.
    seed : int
        Of the binning and the trees.
    """

    def __init__(
        self,
        task: str = "multilabel",
        *,
        n_iterations: int = 60,
        learning_rate: float = 0.1,
        class_weight: str | None = None,
        seed: int = 0,
    ) -> None:
        if class_weight == "balanced_subsample":
            raise ParameterError(
                "class_weight='balanced_subsample' is for forests; use None or 'balanced'."
            )
        super().__init__(task, class_weight, seed)
        self.n_iterations = n_iterations
        self.learning_rate = learning_rate

    def _make(self, joint: bool) -> Any:
        common = {
            "max_iter": self.n_iterations,
            "learning_rate": self.learning_rate,
            "max_bins": 16,
            "max_leaf_nodes": 15,
            "early_stopping": False,
            "random_state": self.seed,
        }
        if self.task == "regression":
            return HistGradientBoostingRegressor(**common)
        return HistGradientBoostingClassifier(**common, class_weight=self.class_weight)


def _positive(table: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probability of class 1, which may be the only class or not among them."""
    return table[:, list(classes).index(1.0)] if 1.0 in classes else np.zeros(len(table))


def _probability(model: Any, X: np.ndarray) -> np.ndarray:
    if isinstance(model, float):
        return np.full(len(X), model)
    return _positive(model.predict_proba(X), model.classes_)


def _value(model: Any, X: np.ndarray) -> np.ndarray:
    return np.full(len(X), model) if isinstance(model, float) else model.predict(X)
