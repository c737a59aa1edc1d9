"""ML-RUS: delete random rows of the majority labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, rows_for
from labkit.oversampling.resampling.rowlists import active_labels, rows_per_label

__all__ = ["MLRUS"]


class MLRUS(IndexSampler):
    """Multilabel random undersampling (ML-RUS).

    The majority labels (IRLbl < MeanIR) take turns: each deletes one random row of its own bag that
    has no minority label, until ``P * n`` rows are gone. A label leaves the round when its current
    IRLbl has risen to the MeanIR of the start, or when it has no such row left.

    Parameters
    ----------
    P : float, default=0.25
        Rows to delete, as a fraction of the rows given; greater than 0 and less than 1.
    random_state : int, Generator or None, default=None
        The same integer gives the same rows.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        The rows that stay, ascending.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    LPRUS : deletes rows of frequent label combinations.

    Notes
    -----
    Rows are drawn without replacement, so exactly P * n (rounded down) rows go unless a rule stops
    it. Rows without any positive label lie in no bag and always stay.

    References
    ----------
    .. [1] Charte et al., Neurocomputing 163 (2015) 3-16 (ML-RUS).

    Examples
    --------
    >>> Y = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    >>> MLRUS(P=0.2, random_state=0).fit_indices(Y).size
    5
    """

    def __init__(self, P: float = 0.25, *, random_state: Any = None) -> None:
        self.P = P
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P", below=1)

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        may_go = ~np.any(labels.positive[:, labels.minority], axis=1)
        label_lists = active_labels(labels.positive)
        in_round = [int(label) for label in np.flatnonzero(labels.majority)]
        bags = {
            label: rng.permutation(rows[may_go[rows]]).tolist()
            for label, rows in enumerate(rows_per_label(labels.positive))
            if label in in_round
        }
        counts = labels.counts.copy()
        stays = np.ones(len(labels), dtype=bool)
        budget = rows_for(self.P, len(labels))
        while in_round and budget:
            for label in tuple(in_round):
                if budget == 0:
                    break
                row = _pop_present(bags[label], stays)
                if row is None:
                    in_round.remove(label)
                    continue
                stays[row] = False
                budget -= 1
                counts[label_lists[row]] -= 1
                if not (counts[label] and labels.is_below_mean(counts.max() / counts[label])):
                    in_round.remove(label)
        return np.flatnonzero(stays)


def _pop_present(bag: list[int], stays: NDArray[np.bool_]) -> int | None:
    """Take rows off the (shuffled) bag until one is found that another label has not deleted."""
    while bag:
        row = bag.pop()
        if stays[row]:
            return row
    return None
