r"""Losses for many labels at once, of which some are unknown and most are rare.

A loss is the weighted mean of an element-wise loss :math:`\ell_{il}` over the known entries,

.. math:: L = \frac{\sum_{il} m_{il}\, w_i\, \ell_{il}}{\sum_{il} m_{il}\, w_i},

so that an unknown entry moves nothing, and a row of integer weight :math:`w` counts exactly as
:math:`w` clones of it. With :math:`p = \sigma(z)`, the element-wise losses are

===========  =====================================================================================
bce          :math:`-y \log p - (1 - y) \log(1 - p)`
pos_weight   :math:`-(n^-_l / n^+_l)\, y \log p - (1 - y) \log(1 - p)`
focal        :math:`(1 - p_t)^\gamma` bce, with :math:`p_t` the probability of the true value [1]_
asymmetric   :math:`-y (1-p)^{\gamma_+} \log p - (1-y)\, p_m^{\gamma_-} \log(1 - p_m)`,
             :math:`p_m = \max(p - m, 0)` [2]_
mse          :math:`(z - y)^2`
===========  =====================================================================================

Notation: z ``output``, y ``target``, m the mask of known entries, w ``weight``,
:math:`n^\pm_l` (weighted) counts of positives and negatives of label l in training.

References
----------
.. [1] Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 4 (without alpha).
.. [2] Ridnik et al., Asymmetric loss for multi-label classification, ICCV 2021, eq. 4 and 6.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.errors import ParameterError

LOSSES = ("bce", "pos_weight", "focal", "asymmetric", "mse")
MULTILABEL_LOSSES = LOSSES[:-1]
MAX_POSITIVE_WEIGHT = 100.0
"""Upper limit of ``pos_weight``: a label seen once must not drown all others."""


class MaskedLoss(nn.Module):
    """Weighted mean loss over the known entries of a batch.

    Parameters
    ----------
    kind : {"bce", "pos_weight", "focal", "asymmetric", "mse"}
        Which element-wise loss.
    positive_weight : ndarray of shape (n_labels,), optional
        Weight of a positive entry of each label; required by, and only for, ``"pos_weight"``.
    gamma : float
        Focusing exponent of ``"focal"``; 0 gives ``"bce"``.
    gamma_positive, gamma_negative : float
        The two exponents of ``"asymmetric"``.
    margin : float
        Probability below which ``"asymmetric"`` ignores a negative entry.

    Raises
    ------
    ParameterError
        If ``kind`` is not known, or ``positive_weight`` is given or missing against it.

    Examples
    --------
    >>> loss = MaskedLoss("bce")
    >>> output = torch.tensor([[0.0, 5.0], [0.0, -5.0]])
    >>> target = torch.tensor([[1.0, float("nan")], [0.0, float("nan")]])
    >>> round(loss(output, target).item(), 4)
    0.6931
    """

    positive_weight: Tensor | None

    def __init__(
        self,
        kind: str,
        *,
        positive_weight: np.ndarray | None = None,
        gamma: float = 2.0,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
    ) -> None:
        super().__init__()
        if kind not in LOSSES:
            raise ParameterError(f"loss={kind!r} is not known; use one of {', '.join(LOSSES)}.")
        if (kind == "pos_weight") != (positive_weight is not None):
            raise ParameterError(
                f"loss={kind!r} {'needs' if kind == 'pos_weight' else 'takes no'} positive_weight; "
                "it belongs to loss='pos_weight' alone."
            )
        self.kind = kind
        self.gamma = gamma
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.margin = margin
        weight = None if positive_weight is None else torch.tensor(positive_weight).float()
        self.register_buffer("positive_weight", weight)

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        output : Tensor of shape (n, n_labels)
            Logits, or scaled targets for ``"mse"``.
        target : Tensor of shape (n, n_labels)
            True values; nan where unknown.
        weight : Tensor of shape (n,), optional
            Weight of each row; 1 if not given.

        Returns
        -------
        Tensor
            Scalar; 0, with a gradient of 0, when nothing is known.
        """
        known = ~torch.isnan(target)
        element = self._element(output, torch.where(known, target, torch.zeros_like(target)))
        mass = known.to(output.dtype)
        if weight is not None:
            mass = mass * weight.to(output.dtype).unsqueeze(1)
        return (element * mass).sum() / mass.sum().clamp_min(torch.finfo(output.dtype).tiny)

    def _element(self, output: Tensor, target: Tensor) -> Tensor:
        if self.kind == "mse":
            return (output - target) ** 2
        if self.kind == "asymmetric":
            return self._asymmetric(output, target)
        bce = functional.binary_cross_entropy_with_logits(
            output, target, pos_weight=self.positive_weight, reduction="none"
        )
        if self.kind == "focal":
            wrong = torch.sigmoid(torch.where(target > 0.5, -output, output))
            return bce * wrong**self.gamma
        return bce

    def _asymmetric(self, output: Tensor, target: Tensor) -> Tensor:
        log_p = functional.logsigmoid(output)
        shifted = (torch.sigmoid(output) - self.margin).clamp_min(0.0)
        positive = -((1 - log_p.exp()) ** self.gamma_positive) * log_p
        tiny = torch.finfo(output.dtype).eps
        negative = -(shifted**self.gamma_negative) * torch.log((1 - shifted).clamp_min(tiny))
        if self.margin == 0:
            negative = -(shifted**self.gamma_negative) * functional.logsigmoid(-output)
        return torch.where(target > 0.5, positive, negative)


def positive_weights(Y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Negatives per positive of each label, the ``pos_weight`` that balances its loss.

    Parameters
    ----------
    Y : ndarray of shape (n, n_labels)
        Training labels 0 or 1; nan where unknown.
    weight : ndarray of shape (n,), optional
        Weight of each row.

    Returns
    -------
    ndarray of shape (n_labels,)
        At most `MAX_POSITIVE_WEIGHT`; 1 for a label without positives or without negatives.

    Examples
    --------
    >>> positive_weights(np.array([[1, 0], [0, 0], [0, np.nan]]))
    array([2., 1.])
    """
    w = np.ones(len(Y)) if weight is None else np.asarray(weight, dtype=float)
    positive = w @ (Y == 1)
    negative = w @ (Y == 0)
    usable = (positive > 0) & (negative > 0)
    ratio = np.divide(negative, positive, out=np.ones(Y.shape[1]), where=usable)
    return np.minimum(ratio, MAX_POSITIVE_WEIGHT)
