"""Scores of multilabel and multi-target predictions when some targets are unknown.

Unknown targets (nan) count nowhere: neither as positives nor as negatives. A prediction is
positive at ``probability >= threshold``. Averages over labels (macro) use only the labels that can
be scored, those with a known positive and a known negative (for R2 and Spearman: with varying
values), and ``n_labels_scored`` says how many these are. Precision without a predicted positive,
and F1 of nothing, are 0, as with ``zero_division=0`` of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from labkit.errors import ParameterError
from labkit.oversampling.bootstrap import Interval, bootstrap_per_label, paired_bootstrap
from labkit.oversampling.counts import check_pair, confusion, precision_recall_f1
from labkit.oversampling.ranking import label_curves

__all__ = [
    "Interval",
    "MultilabelScores",
    "RegressionScores",
    "bootstrap_per_label",
    "multilabel_scores",
    "paired_bootstrap",
    "regression_scores",
    "trivial_baselines",
    "tune_thresholds",
]


@dataclass(frozen=True, eq=False)
class MultilabelScores:
    """Scores of a multilabel prediction.

    Attributes
    ----------
    summary : Series
        micro_, macro_ and samples_ precision, recall and f1; macro_auc, macro_ap; n_labels,
        n_labels_scored (labels in the macro averages), n_known (targets that any score rests on).
    per_label : DataFrame
        One row per label: label, n_positive, n_negative, n_missing, scored, threshold, precision,
        recall, f1, auc, ap. auc and ap are nan where the label is not scored.
    """

    summary: pd.Series
    per_label: pd.DataFrame


@dataclass(frozen=True, eq=False)
class RegressionScores:
    """Scores of a multi-target regression.

    Attributes
    ----------
    summary : Series
        Means over targets: mae, rmse, r2, spearman; n_targets, n_targets_scored (those with two
        different known values: r2 and spearman rest on these), n_known.
    per_label : DataFrame
        One row per target: label, n_known, mae, rmse, r2, spearman.
    """

    summary: pd.Series
    per_label: pd.DataFrame


def multilabel_scores(
    Y: np.ndarray,
    P: np.ndarray,
    thresholds: float | np.ndarray = 0.5,
    *,
    label_names: Sequence[str] | None = None,
) -> MultilabelScores:
    """Score predicted probabilities against labels.

    Parameters
    ----------
    Y : ndarray of shape (n, q)
        Labels 0, 1, or nan where unknown.
    P : ndarray of shape (n, q)
        Predicted probabilities, no nan.
    thresholds : float or ndarray of shape (q,)
        Positive is ``P >= thresholds``; see :func:`tune_thresholds`.
    label_names : sequence of str, optional

    Returns
    -------
    MultilabelScores

    Raises
    ------
    ParameterError
        Shapes differ, Y is not 0, 1 or nan, or P has nan or infinite values.

    Examples
    --------
    >>> Y = np.array([[1, 0], [0, np.nan], [1, 0]])
    >>> scores = multilabel_scores(Y, np.array([[0.9, 0.2], [0.1, 0.7], [0.4, 0.1]]))
    >>> scores.summary[["macro_f1", "macro_auc", "n_labels_scored"]].round(3).to_dict()
    {'macro_f1': 0.667, 'macro_auc': 1.0, 'n_labels_scored': 1.0}
    """
    Y, P = check_pair(Y, P, labels=True)
    cut = _thresholds(thresholds, Y.shape[1])
    known, predicted = ~np.isnan(Y), cut <= P
    counts = confusion(Y, predicted)
    precision, recall, f1 = precision_recall_f1(*counts)
    n_positive, n_negative = (Y == 1).sum(axis=0), (Y == 0).sum(axis=0)
    scored = (n_positive > 0) & (n_negative > 0)
    curves = label_curves(Y, P)
    per_label = pd.DataFrame(
        {
            "label": _names(label_names, Y.shape[1]),
            "n_positive": n_positive,
            "n_negative": n_negative,
            "n_missing": (~known).sum(axis=0),
            "scored": scored,
            "threshold": cut,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auc": curves.auc(),
            "ap": curves.ap(),
        }
    )
    summary = {}
    micro = precision_recall_f1(*(count.sum() for count in counts))
    samples = _samples_average(Y, predicted)
    for i, score in enumerate(("precision", "recall", "f1")):
        summary[f"micro_{score}"] = float(micro[i])
        summary[f"macro_{score}"] = _mean(per_label[score].to_numpy(), scored)
        summary[f"samples_{score}"] = samples[i]
    for score in ("auc", "ap"):
        summary[f"macro_{score}"] = _mean(per_label[score].to_numpy(), scored)
    summary |= {"n_labels": Y.shape[1], "n_labels_scored": scored.sum(), "n_known": known.sum()}
    return MultilabelScores(pd.Series(summary, dtype=float), per_label)


def regression_scores(
    Y: np.ndarray, P: np.ndarray, *, label_names: Sequence[str] | None = None
) -> RegressionScores:
    """Score predicted values against continuous targets.

    Parameters
    ----------
    Y : ndarray of shape (n, q)
        nan where unknown.
    P : ndarray of shape (n, q)
        Predictions, no nan.
    label_names : sequence of str, optional

    Returns
    -------
    RegressionScores

    Examples
    --------
    >>> scores = regression_scores([[1.0], [2.0], [np.nan]], [[1.0], [3.0], [9.0]])
    >>> scores.summary[["mae", "rmse", "r2"]].round(3).tolist()
    [0.5, 0.707, -1.0]
    """
    Y, P = check_pair(Y, P, labels=False)
    rows = []
    for target, prediction in zip(Y.T, P.T, strict=True):
        known = ~np.isnan(target)
        rows.append((int(known.sum()), *_regression(target[known], prediction[known])))
    per_label = pd.DataFrame(rows, columns=["n_known", "mae", "rmse", "r2", "spearman"])
    per_label.insert(0, "label", _names(label_names, Y.shape[1]))
    summary = {
        score: _mean(per_label[score].to_numpy(), per_label[score].notna().to_numpy())
        for score in ("mae", "rmse", "r2", "spearman")
    }
    summary["n_targets"] = Y.shape[1]
    summary["n_targets_scored"] = int(per_label["r2"].notna().sum())
    summary["n_known"] = int(per_label["n_known"].sum())
    return RegressionScores(pd.Series(summary, dtype=float), per_label)


def tune_thresholds(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Thresholds with the largest F1 of each label, to be found on validation data.

    Parameters
    ----------
    Y : ndarray of shape (n, q)
        Labels 0, 1, or nan where unknown.
    P : ndarray of shape (n, q)
        Predicted probabilities.

    Returns
    -------
    ndarray of shape (q,)
        Midway between the lowest score called positive and the next one (or 0 below the lowest). Of
        several best thresholds the highest; 0.5 for labels without a known positive.

    Examples
    --------
    >>> tune_thresholds(np.array([[1], [1], [0]]), np.array([[0.4], [0.2], [0.1]])).round(3)
    array([0.15])
    """
    Y, P = check_pair(Y, P, labels=True)
    return label_curves(Y, P).best_f1()[1]


def trivial_baselines(
    Y_train: np.ndarray, Y_test: np.ndarray, *, label_names: Sequence[str] | None = None
) -> dict[str, MultilabelScores]:
    """Scores of predictions that never look at a molecule.

    Parameters
    ----------
    Y_train, Y_test : ndarray of shape (n_train, q) and (n_test, q)

    Returns
    -------
    dict
        ``"all_positive"`` predicts every effect for every molecule; ``"label_frequency"`` predicts
        each label's frequency in training (0 where never known), so only labels more common than
        1/2 are called positive.
    """
    Y_train, _ = check_pair(Y_train, np.zeros(np.shape(Y_train)), labels=True)
    known = ~np.isnan(Y_train)
    frequency = np.nansum(Y_train, axis=0) / np.maximum(known.sum(axis=0), 1)
    shape = np.shape(Y_test)
    predictions = {
        "all_positive": np.ones(shape),
        "label_frequency": np.broadcast_to(frequency, (shape[0], len(frequency))),
    }
    return {
        name: multilabel_scores(Y_test, P, label_names=label_names)
        for name, P in predictions.items()
    }


def _regression(target: np.ndarray, prediction: np.ndarray) -> tuple[float, float, float, float]:
    """mae, rmse, r2, spearman of known values; nan where undefined."""
    if not len(target):
        return np.nan, np.nan, np.nan, np.nan
    error = prediction - target
    mae, mse = float(np.abs(error).mean()), float((error**2).mean())
    if target.min() == target.max():
        return mae, mse**0.5, np.nan, np.nan
    r2 = 1 - mse / float(target.var())
    return mae, mse**0.5, r2, _spearman(target, prediction)


def _spearman(target: np.ndarray, prediction: np.ndarray) -> float:
    """Rank correlation; 0 for a constant prediction, which ranks nothing."""
    a, b = rankdata(target), rankdata(prediction)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _samples_average(Y: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 averaged over the rows with a known label."""
    rows = (~np.isnan(Y)).any(axis=1)
    scores = precision_recall_f1(*confusion(Y[rows].T, predicted[rows].T))
    precision, recall, f1 = (float(s.mean()) if len(s) else float("nan") for s in scores)
    return precision, recall, f1


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def _thresholds(thresholds: float | np.ndarray, n_labels: int) -> np.ndarray:
    cut = np.asarray(thresholds, dtype=float)
    if cut.shape not in ((), (n_labels,)) or np.isnan(cut).any():
        raise ParameterError(
            f"thresholds has shape {cut.shape}; give one number, or one for each of the {n_labels} "
            "labels, without nan."
        )
    return np.broadcast_to(cut, (n_labels,))


def _names(label_names: Sequence[str] | None, n_labels: int) -> list[str]:
    if label_names is None:
        return [f"label {i}" for i in range(n_labels)]
    if len(label_names) != n_labels:
        raise ParameterError(f"{len(label_names)} label_names for {n_labels} labels.")
    return [str(name) for name in label_names]
