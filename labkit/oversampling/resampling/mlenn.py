"""MLeNN: delete majority rows whose labels do not fit their neighborhood."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows
from labkit.oversampling.resampling.label_distance import DENOMINATORS, adjusted_hamming
from labkit.oversampling.resampling.neighbors import neighbors_of_all

__all__ = ["MLeNN"]


class MLeNN(IndexSampler):
    """Multilabel edited nearest neighbor rule (MLeNN).

    A row without any minority label goes when at least half of its k nearest neighbors have labels
    that differ from its own by an adjusted Hamming distance above the threshold. All rows are
    judged on the full set, then deleted together. There is nothing random in it.

    Parameters
    ----------
    threshold : float, default=0.5
        Adjusted Hamming distance above which two rows differ; at least 0 and less than 1.
    k_neighbors : int, default=3
        Neighbors, from all rows; n - 1 if there are fewer rows.
    denominator : {"sum", "union"}, default="sum"
        What the number of differing labels is divided by: the label counts of the two rows added,
        or the labels set in either.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        The rows that stay, ascending.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    MLTL : judges by the nearest neighbor alone.

    References
    ----------
    .. [1] Charte et al., MLeNN: a first approach to heuristic multilabel undersampling, IDEAL 2014,
       LNCS 8669, 1-9.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> Y = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 1]])
    >>> MLeNN(k_neighbors=3).fit_indices(Y, X)
    array([0, 1, 3, 4, 5])
    """

    _needs_features = True

    def __init__(
        self,
        threshold: float = 0.5,
        *,
        k_neighbors: int = 3,
        denominator: Literal["sum", "union"] = "sum",
    ) -> None:
        self.threshold = threshold
        self.k_neighbors = k_neighbors
        self.denominator = denominator

    def _check_parameters(self) -> None:
        self._check_threshold()
        self._check_neighbors()
        self._check_choice("denominator", DENOMINATORS)

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        neighbors = neighbors_of_all(features, self.k_neighbors)
        rows = np.arange(len(labels))
        different = np.zeros(len(labels), dtype=np.int64)
        for neighbor in neighbors.T:
            distance = adjusted_hamming(labels, rows, neighbor, self.denominator)
            different += distance > self.threshold
        has_minority = labels.positive[:, labels.minority].any(axis=1)
        return np.flatnonzero(has_minority | (2 * different < neighbors.shape[1]))
