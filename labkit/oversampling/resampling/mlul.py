"""MLUL: delete rows that harm the neighborhoods they are in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.oversampling.labels import LabelMatrix
from labkit.oversampling.resampling.base import IndexSampler, Rows, rows_for
from labkit.oversampling.resampling.local_imbalance import local_imbalance
from labkit.oversampling.resampling.neighbors import neighbors_of_all

__all__ = ["MLUL"]


class MLUL(IndexSampler):
    """Multilabel undersampling based on local label imbalance (MLUL).

    A row is worth keeping when its own rare labels are in danger (w_i, as in MLSOL) and when it
    supports the rare labels of the rows that have it as a neighbor (u_i): with S from
    `local_imbalance` and R_i the rows that have i among their k neighbors::

        u_i = mean over r in R_i of sum over l of (+S_rl if y_il = y_rl else -S_rl)
        v_i = w_i + u_i - min over j of (w_j + u_j)

    The rows that stay are drawn without replacement, with probability proportional to v.

    Parameters
    ----------
    P : float, default=0.25
        Rows to delete, as a fraction of the rows given; greater than 0 and less than 1.
    k_neighbors : int, default=5
        Neighbors, from all rows; n - 1 if there are fewer rows.
    random_state : int, Generator or None, default=None
        The same integer gives the same rows.

    Attributes
    ----------
    sample_indices_ : ndarray of int64
        The rows that stay, ascending.
    retention_weights_ : ndarray of float64, shape (n_samples,)
        v.
    is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.

    See Also
    --------
    MLSOL : the oversampling twin.

    Notes
    -----
    Labels that are not known add nothing to u. Rows with v = 0 stay only where too few others
    exist.

    References
    ----------
    .. [1] Liu, Blekas and Tsoumakas, Multi-label sampling based on local label imbalance, Pattern
       Recognition 122 (2022) 108294, arXiv 2005.03240.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> Y = np.array([[0, 1], [1, 1], [0, 0], [1, 1]])
    >>> MLUL(P=0.25, k_neighbors=2, random_state=0).fit_indices(Y, X).size
    3
    """

    _needs_features = True
    retention_weights_: NDArray[np.float64]

    def __init__(self, P: float = 0.25, *, k_neighbors: int = 5, random_state: Any = None) -> None:
        self.P = P
        self.k_neighbors = k_neighbors
        self.random_state = random_state

    def _check_parameters(self) -> None:
        self._check_fraction("P", below=1)
        self._check_neighbors()

    def _select(self, labels: LabelMatrix, features: Any, rng: np.random.Generator) -> Rows:
        n = len(labels)
        neighbors = neighbors_of_all(features, self.k_neighbors)
        local = local_imbalance(labels, neighbors)
        worth = local.weight + _support(labels, local.score, neighbors)
        self.retention_weights_ = worth - worth.min()
        # The smallest of n exponential times with rates v are a weighted draw without replacement
        # (Efraimidis and Spirakis 2006); rate 0 gives time infinity, in random order.
        with np.errstate(divide="ignore"):
            time = rng.exponential(size=n) / self.retention_weights_
        order = np.lexsort((rng.random(n), time))
        return np.sort(order[: n - rows_for(self.P, n)])


def _support(
    labels: LabelMatrix, score: NDArray[np.float64], neighbors: NDArray[np.int64]
) -> NDArray[np.float64]:
    """u: what each row does for the rare labels of the rows that have it as a neighbor."""
    total = np.zeros(len(labels))
    for neighbor in neighbors.T:
        agree = np.where(labels.positive[neighbor] == labels.positive, score, -score)
        np.add.at(total, neighbor, np.where(labels.known[neighbor], agree, 0.0).sum(axis=1))
    reverse = np.bincount(neighbors.ravel(), minlength=len(labels))
    return np.divide(total, reverse, out=np.zeros(len(labels)), where=reverse > 0)
