"""Ranking scores of many labels at once: ROC AUC, average precision and the best F1.

Every column is sorted once by score. With the weight of the positives and of the negatives
cumulated down to the end of each block of tied scores (``tp``, ``fp``) and to its start
(``tp_start``),

    AUC = sum over negatives of (tp_start + tp) / 2, divided by P N
    AP  = sum over positives of tp / (tp + fp), divided by P
    F1  = 2 tp / (tp + fp + P), at the threshold that ends the block

which are the definitions of scikit-learn, including its treatment of ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelCurves:
    """Cumulated positives and negatives by falling score; rows are ranks, columns labels.

    Attributes
    ----------
    scores : float ndarray of shape (n, 1 or m)
        Sorted, falling; entries without a known label are -inf and come last.
    positive, negative : float ndarray of shape (n, m)
        Weight of the entry if its label is 1, or 0; else zero.
    tp, fp, tp_start : float ndarray of shape (n, m)
    """

    scores: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    tp_start: np.ndarray

    @property
    def n_positive(self) -> np.ndarray:
        """Total weight of the positives, shape (m,)."""
        return self.positive.sum(axis=0)

    @property
    def n_negative(self) -> np.ndarray:
        """Total weight of the negatives, shape (m,)."""
        return self.negative.sum(axis=0)

    def auc(self) -> np.ndarray:
        """Area under the ROC curve, nan where a label has no positives or no negatives."""
        area = (self.negative * (self.tp_start + self.tp)).sum(axis=0) / 2
        return _ratio(area, self.n_positive * self.n_negative)

    def ap(self) -> np.ndarray:
        """Average precision, nan where a label has no positives or no negatives."""
        precision = np.divide(
            self.tp, self.tp + self.fp, out=np.zeros_like(self.tp), where=self.positive > 0
        )
        average = _ratio((self.positive * precision).sum(axis=0), self.n_positive)
        return np.where(self.n_negative > 0, average, np.nan)

    def best_f1(self) -> tuple[np.ndarray, np.ndarray]:
        """Largest F1 and its threshold, to be used as ``score >= threshold``.

        Of several thresholds with the same F1 the highest is taken (fewest positives predicted).
        It lies midway to the next lower score, or midway to 0 below the lowest. Labels without a
        positive have no F1 (nan) and get 0.5.
        """
        f1 = 2 * self.tp / np.maximum(self.tp + self.fp + self.n_positive, np.finfo(float).tiny)
        f1[~np.isfinite(self.scores)] = -1.0
        best = f1.argmax(axis=0)
        columns = np.arange(f1.shape[1])
        threshold = np.empty(f1.shape[1])
        for column, rank in zip(columns, best, strict=True):
            threshold[column] = _between(self.scores[:, column], rank)
        found = self.n_positive > 0
        return np.where(found, f1[best, columns], np.nan), np.where(found, threshold, 0.5)


def label_curves(
    Y: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> LabelCurves:
    """Sort every column by score and cumulate its labels.

    Parameters
    ----------
    Y : ndarray of shape (n, q)
        Labels 0 and 1; nan is unknown and has no weight.
    scores : ndarray of shape (n, q)
        Finite; higher means more likely.
    weights : ndarray of shape (n, q), optional
        Weight of each entry. With q = 1 it may have any number m of columns, such as one for each
        bootstrap sample: the sort is then shared.

    Examples
    --------
    >>> y = np.array([[1.0], [0.0], [1.0], [np.nan]])
    >>> curves = label_curves(y, np.array([[0.9], [0.8], [0.3], [0.5]]))
    >>> curves.auc(), curves.ap().round(3)
    (array([0.5]), array([0.833]))
    """
    known = ~np.isnan(Y)
    ranked = np.where(known, scores, -np.inf)
    order = np.argsort(-ranked, axis=0, kind="stable")
    ranked = np.take_along_axis(ranked, order, axis=0)
    weight = known if weights is None else known * weights
    weight = np.take_along_axis(weight.astype(float), order, axis=0)
    truth = np.take_along_axis(np.nan_to_num(Y), order, axis=0)
    positive, negative = weight * truth, weight * (1 - truth)
    first, last = _blocks(ranked)
    tp = np.cumsum(positive, axis=0)
    return LabelCurves(
        scores=ranked,
        positive=positive,
        negative=negative,
        tp=np.take_along_axis(tp, last, axis=0),
        fp=np.take_along_axis(np.cumsum(negative, axis=0), last, axis=0),
        tp_start=np.take_along_axis(tp - positive, first, axis=0),
    )


def _blocks(ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last rank of the block of tied scores that each entry belongs to."""
    n = len(ranked)
    rank = np.arange(n)[:, None]
    changes = np.ones((n + 1, ranked.shape[1]), dtype=bool)
    changes[1:n] = ranked[1:] != ranked[:-1]
    first = np.maximum.accumulate(np.where(changes[:n], rank, 0), axis=0)
    last = np.where(changes[1:], rank, n)[::-1]
    return first, np.minimum.accumulate(last, axis=0)[::-1]


def _between(ranked: np.ndarray, rank: int) -> float:
    score = ranked[rank]
    below = ranked[(ranked < score) & np.isfinite(ranked)]
    lower = below[0] if len(below) else min(0.0, score)
    middle = (score + lower) / 2
    return float(middle if lower < middle else score)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
