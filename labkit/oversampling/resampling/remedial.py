"""REMEDIAL: split rows in which rare and frequent labels occur together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.oversampling.labels import LabelMatrix, Labels
from labkit.oversampling.resampling.base import MultilabelSampler
from labkit.oversampling.resampling.containers import take_rows, with_values

__all__ = ["REMEDIAL"]


class REMEDIAL(MultilabelSampler):
    """Decoupling of highly imbalanced labels (REMEDIAL).

    A row whose SCUMBLE is above the mean SCUMBLE becomes two rows with the same features: the row
    itself keeps its minority labels, its copy at the end keeps the majority labels (IRLbl <=
    MeanIR). There is nothing random in it, and no label count changes.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        0..n-1, then the source row of each copy.
    is_decoupled_ : ndarray of bool, shape (n_resampled,)
        True for both halves of a split row: their features are those of the source row, their
        labels are not.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    REMEDIALHwR : REMEDIAL followed by another sampler.

    Notes
    -----
    Both halves say "no" to labels that the molecule has: this is label noise put in on purpose, to
    give a classifier rows where the rare label stands alone. A label that was not measured stays
    nan in both.

    References
    ----------
    .. [1] Charte et al., Resampling multilabel datasets by decoupling highly imbalanced labels,
       HAIS 2015, LNCS 9121, 489-501.

    Examples
    --------
    >>> Y = np.array([[1, 1], [1, 0], [1, 0], [1, 0]])
    >>> REMEDIAL().fit_resample(np.arange(4).reshape(-1, 1), Y)[1]
    array([[0, 1],
           [1, 0],
           [1, 0],
           [1, 0],
           [1, 0]])
    """

    is_decoupled_: NDArray[np.bool_]

    def fit_resample(self, X: Any, Y: Labels) -> tuple[Any, Any]:
        """Split the rows of X and Y.

        Parameters
        ----------
        X : ndarray, DataFrame, scipy sparse or list, n_samples rows
            Anything with rows, also SMILES.
        Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
            Labels in {0, 1, nan}.

        Returns
        -------
        tuple
            X and Y with the copies at the end, in the containers they came in.
        """
        labels = self._begin(Y, X)
        split = np.flatnonzero(labels.mixes)
        rows = np.concatenate([np.arange(len(labels)), split])
        decoupled = labels.take(rows)
        keeps = np.ones(decoupled.positive.shape, dtype=bool)
        keeps[split] = labels.minority
        keeps[len(labels) :] = ~labels.minority
        new = LabelMatrix(decoupled.positive & keeps, decoupled.known, labels.names)
        self.sample_indices_ = rows
        self.is_synthetic_ = np.zeros(len(rows), dtype=bool)
        self.is_decoupled_ = np.isin(rows, split)
        self._labels_after = new
        return take_rows(X, rows), with_values(Y, new.values())
