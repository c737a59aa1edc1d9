"""LP-ROS: clone random rows of the rare labelsets."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, rows_for
from labkit.oversampling.resampling.labelsets import shares

__all__ = ["LPROS"]


class LPROS(IndexSampler):
    """Label-powerset random oversampling (LP-ROS).

    Each combination of labels that occurs is a class of its own. The labelsets smaller than the
    mean labelset size get ``P * n`` clones of their rows in equal shares; what a labelset cannot
    take without passing the mean goes to the others.

    Parameters
    ----------
    P : float, default=0.25
        Rows to add, as a fraction of the rows given; greater than 0, may exceed 1.
    random_state : int, Generator or None, default=None
        The same integer gives the same clones.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        0..n-1, then the source row of each clone.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    MLROS : looks at each label on its own; better where almost every labelset is single.

    Notes
    -----
    Fewer rows are added when the rare labelsets reach the mean size. `labelsets.shares` tells how
    whole rows are shared out. A label that was not measured counts as not positive in a labelset.

    References
    ----------
    .. [1] Charte et al., Neurocomputing 163 (2015) 3-16 (LP-ROS).

    Examples
    --------
    >>> Y = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]])
    >>> LPROS(P=0.2, random_state=0).fit_indices(Y)
    array([0, 1, 2, 3, 4, 4])
    """

    def __init__(self, P: float = 0.25, *, random_state: Any = None) -> None:
        self.P = P
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P")

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        labelset, sizes = labels.labelsets
        room = np.ceil(np.maximum(sizes.mean() - sizes, 0)).astype(np.int64)
        small = np.flatnonzero(room)
        given = shares(room[small], rows_for(self.P, len(labels)), rng)
        members = np.split(np.argsort(labelset, kind="stable"), np.cumsum(sizes)[:-1])
        clones = [rng.choice(members[s], size=m) for s, m in zip(small, given, strict=True) if m]
        return np.concatenate([np.arange(len(labels)), *clones])
