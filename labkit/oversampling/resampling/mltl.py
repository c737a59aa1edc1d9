"""MLTL: delete majority rows that form Tomek links."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows
from labkit.oversampling.resampling.label_distance import DENOMINATORS, adjusted_hamming
from labkit.oversampling.resampling.neighbors import neighbors_of_all

__all__ = ["MLTL"]


class MLTL(IndexSampler):
    """Multilabel Tomek links (MLTL).

    A row goes when its labels differ from those of its nearest neighbor by an adjusted Hamming
    distance above a threshold that follows the imbalance of the data. There is nothing random in
    it.

    Parameters
    ----------
    threshold : float or None, default=None
        At least 0 and less than 1. None: 0.5 where SCUMBLE > 0.3; otherwise, with t = 1 /
        sqrt(MeanIR), 0.5 where t > 0.5, 0.3 where t > 0.3, else 0.15.
    mode : {"undersampling", "cleaning"}, default="undersampling"
        Judge only rows with a majority label (IRLbl < MeanIR), or all rows.
    mutual : bool, default=False
        Also require the row to be its neighbor's nearest neighbor, as in Tomek's own definition.
    denominator : {"union", "sum"}, default="union"
        What the number of differing labels is divided by: the labels set in either row, or the
        label counts of the two rows added.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        The rows that stay, ascending.
    threshold_ : float
        The threshold used.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    MLeNN : judges by several neighbors and never deletes a row with a minority label.

    Notes
    -----
    Undersampling may delete rows that have a minority label next to a majority one.

    References
    ----------
    .. [1] Pereira, Costa and Silla, MLTL: a multi-label approach for the Tomek Link undersampling
       algorithm, Neurocomputing 383 (2020) 95-105.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [5.0], [6.0]])
    >>> Y = np.array([[1, 0], [1, 1], [1, 0], [1, 0]])
    >>> sampler = MLTL(threshold=0.3)
    >>> sampler.fit_indices(Y, X)
    array([2, 3])
    """

    _needs_features = True
    threshold_: float

    def __init__(
        self,
        threshold: float | None = None,
        *,
        mode: Literal["undersampling", "cleaning"] = "undersampling",
        mutual: bool = False,
        denominator: Literal["sum", "union"] = "union",
    ) -> None:
        self.threshold = threshold
        self.mode = mode
        self.mutual = mutual
        self.denominator = denominator

    def _check_parameters(self) -> None:
        if self.threshold is not None:
            self._check_threshold()
        self._check_choice("mode", ("undersampling", "cleaning"))
        self._check_choice("denominator", DENOMINATORS)

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        self.threshold_ = _threshold(labels) if self.threshold is None else float(self.threshold)
        rows = np.arange(len(labels))
        nearest = neighbors_of_all(features, 1)[:, 0]
        linked = adjusted_hamming(labels, rows, nearest, self.denominator) > self.threshold_
        if self.mutual:
            linked &= nearest[nearest] == rows
        if self.mode == "undersampling":
            linked &= np.any(labels.positive[:, labels.majority], axis=1)
        return np.flatnonzero(~linked)


def _threshold(labels: LabelMatrix) -> float:
    if labels.scumble.mean() > 0.3:
        return 0.5
    indicator = labels.mean_ir**-0.5
    return 0.5 if indicator > 0.5 else 0.3 if indicator > 0.3 else 0.15
