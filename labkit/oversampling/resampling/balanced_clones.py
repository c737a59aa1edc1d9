"""BalancedClones: clone, each time, the row that lowers the imbalance most.

Adding a copy of row i to label counts c with maximum M and T = sum over l of 1 / c_l changes the
sum of IRLbl = M / c_l over the labels by::

    - M     * s_i        where the row has none of the most frequent labels
    - (M+1) * s_i + T    where it has one (the maximum grows)

with s_i = sum over the labels l of row i of 1 / (c_l (c_l + 1)). MeanIR is that sum over the number
of labels, so the best row is the one with the largest fall. A clone changes s only for rows that
share a label with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.errors import ParameterError
from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, is_whole, rows_for
from labkit.oversampling.resampling.rowlists import active_labels, rows_per_label

__all__ = ["BalancedClones"]


class BalancedClones(IndexSampler):
    """Greedy cloning that lowers MeanIR as far as it goes within a number of rows.

    ``P * n`` times, the row whose copy lowers MeanIR most is cloned, at most ``max_copies`` times
    each. It stops early when no allowed row lowers MeanIR. A method of this package, not of a
    paper.

    Parameters
    ----------
    P : float, default=0.25
        Rows to add at most, as a fraction of the rows given; greater than 0, may exceed 1.
    max_copies : int or None, default=5
        Clones of one row at most. None sets no limit: MeanIR falls further, but a handful of rows
        are copied a hundred times.
    random_state : int, Generator or None, default=None
        Decides between rows that lower MeanIR equally, such as rows with the same labels.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        0..n-1, then the source row of each clone in the order chosen.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    MLROS : random clones.

    Notes
    -----
    Each clone compares all n rows, so time grows with P n^2: 0.7 s for ToxCast (8,576 rows, 617
    labels), 2 s for 40,000 rows and 50 labels on one core.

    Examples
    --------
    >>> Y = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [0, 1]])
    >>> BalancedClones(P=0.4, random_state=0).fit_indices(Y)
    array([0, 1, 2, 3, 4, 4, 4])
    """

    def __init__(
        self, P: float = 0.25, *, max_copies: int | None = 5, random_state: Any = None
    ) -> None:
        self.P = P
        self.max_copies = max_copies
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P")
        limit: Any = self.max_copies
        if limit is not None and (not is_whole(limit) or limit < 1):
            raise ParameterError(
                f"max_copies={limit!r} is not allowed; give an integer of at least 1, or None for "
                "no limit."
            )

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        # Rows are shuffled so that "the first of the best" is a random one of them.
        order = rng.permutation(len(labels))
        budget = rows_for(self.P, len(labels))
        limit = budget if self.max_copies is None else self.max_copies
        chosen = _greedy(labels.positive[order], labels.counts, budget, limit)
        return np.concatenate([np.arange(len(labels)), order[chosen]])


def _greedy(
    positive: NDArray[np.bool_], counts: NDArray[np.int64], budget: int, limit: int
) -> NDArray[np.int64]:
    bags, label_lists = rows_per_label(positive), active_labels(positive)
    occurs = counts > 0
    counts = np.where(occurs, counts, 1)
    step = np.where(occurs, 1 / (counts * (counts + 1)), 0.0)
    shared = positive @ step
    copies = np.zeros(len(positive), dtype=np.int64)
    has_top, top = _top_rows(positive, counts)
    chosen: list[int] = []
    while len(chosen) < budget:
        fall = np.where(has_top, (top + 1) * shared - (1 / counts)[occurs].sum(), top * shared)
        fall[copies >= limit] = -np.inf
        row = int(fall.argmax())
        if fall[row] <= 1e-12 * top:
            break
        chosen.append(row)
        copies[row] += 1
        for label in label_lists[row]:
            counts[label] += 1
            change = 1 / (counts[label] * (counts[label] + 1)) - step[label]
            step[label] += change
            shared[bags[label]] += change
        if counts[label_lists[row]].max() >= top:
            has_top, top = _top_rows(positive, counts)
    return np.array(chosen, dtype=np.int64)


def _top_rows(
    positive: NDArray[np.bool_], counts: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], float]:
    """Which rows have one of the most frequent labels, and the count of those labels."""
    top = float(counts.max())
    return np.any(positive[:, counts == top], axis=1), top
