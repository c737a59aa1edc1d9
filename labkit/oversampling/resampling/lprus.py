"""LP-RUS: delete random rows of the frequent labelsets."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, rows_for
from labkit.oversampling.resampling.labelsets import shares

__all__ = ["LPRUS"]


class LPRUS(IndexSampler):
    """Label-powerset random undersampling (LP-RUS).

    Each combination of labels that occurs is a class of its own. The labelsets larger than the mean
    labelset size lose ``P * n`` rows in equal shares; what a labelset cannot lose without passing
    the mean is taken from the others. No labelset disappears.

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
    MLRUS : looks at each label on its own.

    Notes
    -----
    Fewer rows are deleted when the frequent labelsets reach the mean size. `labelsets.shares` tells
    how whole rows are shared out. Rows without any positive label are a labelset too.

    References
    ----------
    .. [1] Charte et al., Neurocomputing 163 (2015) 3-16 (LP-RUS).

    Examples
    --------
    >>> Y = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]])
    >>> LPRUS(P=0.2, random_state=0).fit_indices(Y).size
    4
    """

    def __init__(self, P: float = 0.25, *, random_state: Any = None) -> None:
        self.P = P
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P", below=1)

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        labelset, sizes = labels.labelsets
        room = np.ceil(np.maximum(sizes - sizes.mean(), 0)).astype(np.int64)
        large = np.flatnonzero(room)
        taken = shares(room[large], rows_for(self.P, len(labels)), rng)
        members = np.split(np.argsort(labelset, kind="stable"), np.cumsum(sizes)[:-1])
        stays = np.ones(len(labels), dtype=bool)
        for s, m in zip(large, taken, strict=True):
            stays[rng.choice(members[s], size=m, replace=False)] = False
        return np.flatnonzero(stays)
