"""REMEDIAL-HwR: decouple labels, then resample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from labkit.errors import ParameterError
from labkit.oversampling.labels import Labels
from labkit.oversampling.resampling.base import MultilabelSampler
from labkit.oversampling.resampling.mlenn import MLeNN
from labkit.oversampling.resampling.mlros import MLROS
from labkit.oversampling.resampling.mlsmote import MLSMOTE
from labkit.oversampling.resampling.remedial import REMEDIAL

__all__ = ["REMEDIALHwR"]

_SECOND = {"mlros": MLROS, "mlsmote": MLSMOTE, "mlenn": MLeNN}


class REMEDIALHwR(MultilabelSampler):
    """REMEDIAL hybridized with a resampler (REMEDIAL-HwR).

    Parameters
    ----------
    sampler : {"mlros", "mlsmote", "mlenn"} or sampler, default="mlros"
        What follows REMEDIAL: one of the paper's three (HwR-ROS, HwR-SMT, HwR-HUS) with its default
        parameters, or any sampler of this package.
    random_state : int, Generator or None, default=None
        Given to the sampler when it is named by a string.

    Attributes
    ----------
    sampler_ : sampler
        The fitted second step; its attributes are numbered in rows of REMEDIAL's output.
    remedial_ : REMEDIAL
        The fitted first step.
    sample_indices_, is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`; rows are numbered in the
        source.
    is_decoupled_ : ndarray of bool, shape (n_resampled,)
        True where the row, or the seed of a synthetic row, is half of a split row.

    References
    ----------
    .. [1] Charte et al., REMEDIAL-HwR: tackling multilabel imbalance through label decoupling and
       data resampling hybridization, Neurocomputing 326-327 (2019) 110-122, arXiv 1802.05031.

    Examples
    --------
    >>> Y = np.array([[1, 1], [1, 0], [1, 0], [1, 0]])
    >>> sampler = REMEDIALHwR("mlros", random_state=0)
    >>> sampler.fit_resample(np.arange(4).reshape(-1, 1), Y)[1].sum(axis=0)
    array([4, 2])
    """

    sampler_: MultilabelSampler
    remedial_: REMEDIAL
    is_decoupled_: NDArray[np.bool_]

    def __init__(
        self, sampler: str | MultilabelSampler = "mlros", *, random_state: Any = None
    ) -> None:
        self.sampler = sampler
        self.random_state = random_state

    def fit_resample(self, X: Any, Y: Labels) -> tuple[Any, Any]:
        """Split rows with REMEDIAL, then resample (see `REMEDIAL` and the sampler chosen)."""
        self._begin(Y, X)
        self.remedial_ = REMEDIAL()
        self.sampler_ = self._second_step()
        X_new, Y_new = self.sampler_.fit_resample(*self.remedial_.fit_resample(X, Y))
        rows = self.sampler_.sample_indices_
        self.sample_indices_ = self.remedial_.sample_indices_[rows]
        self.is_decoupled_ = self.remedial_.is_decoupled_[rows]
        self.is_synthetic_ = self.sampler_.is_synthetic_
        self._labels_after = self.sampler_._labels_after
        return X_new, Y_new

    def _check_parameters(self) -> None:
        self._second_step()

    def _second_step(self) -> MultilabelSampler:
        if isinstance(self.sampler, MultilabelSampler):
            return clone(self.sampler)
        if not isinstance(self.sampler, str) or self.sampler not in _SECOND:
            raise ParameterError(
                f"sampler={self.sampler!r} is not known to REMEDIALHwR; use "
                f"{', '.join(map(repr, _SECOND))}, or a sampler such as MLROS(P=0.1)."
            )
        second = _SECOND[self.sampler]()
        if "random_state" in second.get_params():
            second.set_params(random_state=self.random_state)
        return second
