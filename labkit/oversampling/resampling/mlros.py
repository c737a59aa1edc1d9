"""ML-ROS: clone random rows of the minority labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, rows_for
from labkit.oversampling.resampling.rowlists import active_labels, rows_per_label

__all__ = ["MLROS"]


class MLROS(IndexSampler):
    """Multilabel random oversampling (ML-ROS).

    The minority labels take turns: each clones one random row of its own bag, until ``P * n`` rows
    have been added. A label leaves the round when its current IRLbl has come down to the MeanIR of
    the start; when all have left, fewer rows are added.

    Parameters
    ----------
    P : float, default=0.25
        Rows to add, as a fraction of the rows given; greater than 0, may exceed 1.
    random_state : int, Generator or None, default=None
        The same integer gives the same clones.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        0..n-1, then the source row of each clone in the order drawn.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    BalancedClones : reaches a lower MeanIR with the same number of clones.
    LPROS : clones rows of rare label combinations.

    Notes
    -----
    IRLbl is recomputed with the current counts, also that of the most frequent label. The number of
    rows is P * n rounded down.

    References
    ----------
    .. [1] Charte et al., Neurocomputing 163 (2015) 3-16 (ML-ROS).

    Examples
    --------
    One clone brings IRLbl of the second label from 5 to 3, the MeanIR of the start; it stops there.

    >>> Y = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 1]])
    >>> MLROS(P=0.4, random_state=0).fit_indices(Y)
    array([0, 1, 2, 3, 4, 4])
    """

    def __init__(self, P: float = 0.25, *, random_state: Any = None) -> None:
        self.P = P
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P")

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        n = len(labels)
        bags = rows_per_label(labels.positive)
        label_lists = active_labels(labels.positive)
        counts = labels.counts.copy()
        top = counts.max()
        in_round = list(self.minority_labels_)
        budget = rows_for(self.P, n)
        clones: list[int] = []
        while in_round and len(clones) < budget:
            for label in tuple(in_round):
                if len(clones) == budget:
                    break
                row = bags[label][int(rng.random() * len(bags[label]))]
                clones.append(row)
                counts[label_lists[row]] += 1
                top = max(top, counts[label_lists[row]].max())
                if not labels.is_above_mean(top / counts[label]):
                    in_round.remove(label)
        return np.concatenate([np.arange(n), np.array(clones, dtype=np.int64)])
