"""Bootstrap intervals over molecules.

A bootstrap sample is a vector of weights: how often each molecule was drawn (multinomial). Scores
of all samples then follow from weighted sums: counts by one matrix product, AUC and AP from one
sort per label (:mod:`labkit.oversampling.ranking`). Intervals are percentiles of the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.errors import ParameterError
from labkit.oversampling.counts import check_pair, precision_recall_f1
from labkit.oversampling.ranking import label_curves

Metric = Callable[[np.ndarray, np.ndarray], float]
_COUNT_SCORES = ("precision", "recall", "f1")
_RANK_SCORES = ("auc", "ap")
METRICS = (
    *(f"{kind}_{score}" for kind in ("micro", "macro") for score in _COUNT_SCORES),
    *(f"macro_{score}" for score in _RANK_SCORES),
    "mae",
    "rmse",
    "r2",
)
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A difference of two scores with its bootstrap interval.

    Attributes
    ----------
    difference : float
        Score of b minus score of a, on all molecules.
    low, high : float
        Percentile interval of the difference.
    level : float
        Coverage aimed at.
    """

    difference: float
    low: float
    high: float
    level: float = 0.95


def paired_bootstrap(
    Y: np.ndarray,
    P_a: np.ndarray,
    P_b: np.ndarray,
    metric: str | Metric = "macro_auc",
    n: int = 1000,
    seed: int = 0,
    *,
    thresholds_a: float | np.ndarray = 0.5,
    thresholds_b: float | np.ndarray = 0.5,
    level: float = 0.95,
) -> Interval:
    """Interval of the difference between two predictions of the same molecules.

    Both predictions are scored on the same bootstrap samples, so that what makes a sample easy or
    hard cancels. In a sample that leaves a label without positives or negatives, that label does
    not enter the macro average, for both.

    Parameters
    ----------
    Y : ndarray of shape (n_molecules, q)
        nan where unknown.
    P_a, P_b : ndarray of shape (n_molecules, q)
    metric : str or callable
        One of :data:`METRICS`, or a function (Y, P) -> float, which is called `n` times for each
        prediction.
    n : int
        Bootstrap samples.
    seed : int
    thresholds_a, thresholds_b : float or ndarray of shape (q,)
        Positive is ``P >= threshold``.
    level : float
        In (0, 1).

    Returns
    -------
    Interval
        Of b minus a: an interval above 0 says that b is better (mae, rmse: worse).

    Raises
    ------
    ParameterError
        Unknown metric, bad `n` or `level`, or arrays that do not fit.
    """
    continuous = metric in ("mae", "rmse", "r2") or callable(metric)
    Y, P_a = check_pair(Y, P_a, labels=not continuous)
    Y, P_b = check_pair(Y, P_b, labels=not continuous)
    if n < 1 or not 0 < level < 1:
        raise ParameterError(f"n={n} and level={level}: n is 1 or more and level between 0 and 1.")
    draws = _draws(len(Y), n, seed)
    score_a = _scores(metric, Y, P_a, thresholds_a, draws)
    score_b = _scores(metric, Y, P_b, thresholds_b, draws)
    differences = score_b - score_a
    low, high = _percentiles(differences[1:], level)
    return Interval(float(differences[0]), float(low), float(high), level)


def bootstrap_per_label(
    Y: np.ndarray,
    P: np.ndarray,
    metric: str = "f1",
    n: int = 1000,
    seed: int = 0,
    *,
    thresholds: float | np.ndarray = 0.5,
    level: float = 0.95,
) -> pd.DataFrame:
    """Score of each label with a bootstrap interval.

    Parameters
    ----------
    Y, P : ndarray of shape (n_molecules, q)
    metric : {"precision", "recall", "f1", "auc", "ap"}
    n, seed, thresholds, level
        As in :func:`paired_bootstrap`.

    Returns
    -------
    DataFrame
        Columns score, low, high; nan for labels without known positives or negatives.
    """
    if metric not in (*_COUNT_SCORES, *_RANK_SCORES):
        raise ParameterError(
            f"metric={metric!r} is not one of {', '.join((*_COUNT_SCORES, *_RANK_SCORES))}."
        )
    Y, P = check_pair(Y, P, labels=True)
    scores = _label_scores(metric, Y, P, thresholds, _draws(len(Y), n, seed))
    low, high = _percentiles(scores[1:], level)
    return pd.DataFrame({"score": scores[0], "low": low, "high": high})


def _draws(n_molecules: int, n: int, seed: int) -> np.ndarray:
    """Weights of shape (n + 1, n_molecules); the first row is the sample itself."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_molecules, np.full(n_molecules, 1 / n_molecules), size=n)
    return np.concatenate([np.ones((1, n_molecules)), draws.astype(float)])


def _percentiles(scores: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper percentile along axis 0, ignoring nan; nan where nothing is left."""
    tail = (1 - level) / 2
    ordered = np.sort(scores, axis=0)
    count = (~np.isnan(ordered)).sum(axis=0)
    return _quantile(ordered, count, tail), _quantile(ordered, count, 1 - tail)


def _quantile(ordered: np.ndarray, count: np.ndarray, q: float) -> np.ndarray:
    """Linear interpolation between the `count` finite values that come first (nan sort last)."""
    position = q * np.maximum(count - 1, 0)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low = np.take_along_axis(ordered, np.asarray(below)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.asarray(above)[None], axis=0)[0]
    return low + (position - below) * (high - low)


def _scores(
    metric: str | Metric,
    Y: np.ndarray,
    P: np.ndarray,
    thresholds: float | np.ndarray,
    draws: np.ndarray,
) -> np.ndarray:
    """Score of every draw, shape (n_draws,)."""
    if callable(metric):
        rows = [np.repeat(np.arange(len(Y)), draw.astype(int)) for draw in draws]
        return np.array([metric(Y[index], P[index]) for index in rows], dtype=float)
    if metric not in METRICS:
        raise ParameterError(f"metric={metric!r} is not one of {', '.join(METRICS)}.")
    if metric in ("mae", "rmse", "r2"):
        return _mean_over_labels(_regression(metric, Y, P, draws))
    average, _, score = metric.partition("_")
    if average == "micro":
        counts = _counts(Y, P, thresholds, draws)
        summed = precision_recall_f1(*(count.sum(axis=1) for count in counts))
        return summed[_COUNT_SCORES.index(score)]
    return _mean_over_labels(_label_scores(score, Y, P, thresholds, draws))


def _label_scores(
    score: str, Y: np.ndarray, P: np.ndarray, thresholds: float | np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Score of every draw and label, shape (n_draws, q); nan where a label cannot be scored."""
    if score in _RANK_SCORES:
        return _rank_scores(score, Y, P, draws)
    values = precision_recall_f1(*_counts(Y, P, thresholds, draws))[_COUNT_SCORES.index(score)]
    scored = (draws @ (Y == 1) > 0) & (draws @ (Y == 0) > 0)
    return np.where(scored, values, np.nan)


def _counts(
    Y: np.ndarray, P: np.ndarray, thresholds: float | np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted tp, fp, fn of every draw and label, shape (n_draws, q)."""
    predicted = np.broadcast_to(np.asarray(thresholds, dtype=float), Y.shape[1:]) <= P
    tp, fp, fn = predicted & (Y == 1), predicted & (Y == 0), ~predicted & (Y == 1)
    return draws @ tp, draws @ fp, draws @ fn


def _rank_scores(score: str, Y: np.ndarray, P: np.ndarray, draws: np.ndarray) -> np.ndarray:
    out = np.full((len(draws), Y.shape[1]), np.nan)
    for label in range(Y.shape[1]):
        rows = np.flatnonzero(~np.isnan(Y[:, label]))
        step = max(1, _BLOCK // max(1, len(rows)))
        for start in range(0, len(draws) if len(rows) else 0, step):
            block = slice(start, start + step)
            curves = label_curves(Y[rows, label, None], P[rows, label, None], draws[block, rows].T)
            out[block, label] = curves.auc() if score == "auc" else curves.ap()
    return out


def _regression(metric: str, Y: np.ndarray, P: np.ndarray, draws: np.ndarray) -> np.ndarray:
    known = ~np.isnan(Y)
    target = np.where(known, Y, 0.0)
    error = np.where(known, P - target, 0.0)
    weight = draws @ known
    if metric == "mae":
        return _divide(draws @ np.abs(error), weight)
    mse = _divide(draws @ error**2, weight)
    if metric == "rmse":
        return np.sqrt(mse)
    centered = np.where(known, target - _divide(target.sum(axis=0), known.sum(axis=0)), 0.0)
    mean = _divide(draws @ centered, weight)
    variance = _divide(draws @ centered**2, weight) - mean**2
    return 1 - _divide(mse, np.where(variance > 1e-12 * np.nanmax(variance), variance, 0.0))


def _mean_over_labels(scores: np.ndarray) -> np.ndarray:
    finite = ~np.isnan(scores)
    return _divide(np.where(finite, scores, 0.0).sum(axis=1), finite.sum(axis=1))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
