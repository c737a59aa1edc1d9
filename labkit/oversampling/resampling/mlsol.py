"""MLSOL: synthetic rows where the labels around a row make it hard."""

from __future__ import annotations

import warnings
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from labkit.errors import ParameterError
from labkit.oversampling.labels import LabelMatrix, Labels
from labkit.oversampling.resampling.base import Rows, SyntheticSampler, rows_for
from labkit.oversampling.resampling.containers import append_rows, read_features
from labkit.oversampling.resampling.interpolation import INTERPOLATIONS, FeatureSpace, draw_weights
from labkit.oversampling.resampling.local_imbalance import LocalImbalance, local_imbalance
from labkit.oversampling.resampling.neighbors import neighbors_of_all

__all__ = ["MLSOL", "RowType"]


class RowType(IntEnum):
    """How a row stands among its neighbors, for one label."""

    MAJORITY = 0
    SAFE = 1
    BORDERLINE = 2
    RARE = 3
    OUTLIER = 4


# Relative distance from the rare-valued parent up to which the new row takes the rare value.
_THRESHOLDS = np.array([0.5, 0.5, 0.75, 1 + 1e-5, -1e-5])


class MLSOL(SyntheticSampler):
    """Multilabel synthetic oversampling based on local label imbalance (MLSOL).

    Seeds are drawn with probability proportional to how many of their neighbors disagree with their
    rare labels; outliers get no weight. A new row lies between a seed and a random neighbor. Where
    the two agree it takes their label; where they differ, the parent with the rarer value passes it
    on within a distance that depends on its type (safe, borderline, rare or outlier).

    Parameters
    ----------
    P : float, default=0.25
        Rows to add, as a fraction of the rows given; greater than 0, may exceed 1.
    k_neighbors : int, default=5
        Neighbors, from all rows; n - 1 if there are fewer rows.
    interpolation : {"line", "box"}, default="line"
        One random weight per row, or one per feature.
    random_state : int, Generator or None, default=None
        The same integer gives the same rows.

    Attributes
    ----------
    sample_indices_, is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.
    seed_indices_, neighbor_indices_, interpolation_weights_
        See `labkit.oversampling.resampling.base.SyntheticSampler`.
    row_types_ : ndarray of int8, shape (n_samples, n_labels)
        `RowType` of each source row and label.

    See Also
    --------
    MLUL : the undersampling twin.
    MLSMOTE : looks at whole labels instead of neighborhoods.

    Notes
    -----
    Where one parent's label is not known, the new row takes the other's; where both are not, nan.

    References
    ----------
    .. [1] Liu and Tsoumakas, Synthetic oversampling of multi-label data based on local label
       distribution, ECML PKDD 2019, arXiv 1905.00609.
    .. [2] Liu, Blekas and Tsoumakas, Multi-label sampling based on local label imbalance, Pattern
       Recognition 122 (2022) 108294, arXiv 2005.03240.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> Y = np.array([[0, 1], [1, 1], [0, 0], [1, 1]])
    >>> sampler = MLSOL(P=0.5, k_neighbors=2, random_state=0)
    >>> sampler.fit_resample(X, Y)[0].shape
    (6, 1)
    """

    row_types_: NDArray[np.int8]

    def __init__(
        self,
        P: float = 0.25,
        *,
        k_neighbors: int = 5,
        interpolation: Literal["line", "box"] = "line",
        random_state: Any = None,
    ) -> None:
        self.P = P
        self.k_neighbors = k_neighbors
        self.interpolation = interpolation
        self.random_state = random_state

    def fit_resample(self, X: Any, Y: Labels) -> tuple[Any, Any]:
        """Add synthetic rows.

        Parameters
        ----------
        X : ndarray, DataFrame or scipy sparse, shape (n_samples, n_features)
            Finite numbers. Integer features come back as floats.
        Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
            Labels in {0, 1, nan}.

        Returns
        -------
        tuple
            X and Y with the synthetic rows below the source rows, in the containers they came in.
        """
        labels = self._begin(Y, X)
        features = read_features(X, "MLSOL")
        if self.interpolation == "box" and sparse.issparse(features):
            raise ParameterError('interpolation="box" needs a dense X; X is sparse. Use "line".')
        rng = self._generator()
        space = FeatureSpace(features, np.empty(0, dtype=np.int64))
        neighbors = neighbors_of_all(features, self.k_neighbors)
        local = local_imbalance(labels, neighbors)
        self.row_types_ = _row_types(local, neighbors)
        seed = _draw_seeds(local.weight, rows_for(self.P, len(labels)), rng)
        reference = neighbors[seed, rng.integers(neighbors.shape[1], size=len(seed))]
        weights = draw_weights(self.interpolation, len(seed), features.shape[1], rng)
        rows = space.between(seed, reference, weights, neighbors[seed])
        distance = _relative_distance(space, seed, reference, weights)
        new = _labels_between(labels, local, self.row_types_, seed, reference, distance)
        self._record(labels, seed, reference, weights, new)
        return append_rows(X, rows), append_rows(Y, new.values())

    def _check_parameters(self) -> None:
        self._check_fraction("P")
        self._check_neighbors()
        self._check_choice("interpolation", INTERPOLATIONS)

    def _record(
        self,
        labels: LabelMatrix,
        seed: Rows,
        reference: Rows,
        weights: NDArray[np.float64],
        new: LabelMatrix,
    ) -> None:
        n = len(labels)
        self.seed_indices_ = np.concatenate([np.arange(n), seed])
        self.sample_indices_ = self.seed_indices_.copy()
        self.neighbor_indices_ = np.concatenate([np.full(n, -1), reference])
        self.interpolation_weights_ = np.concatenate([np.zeros((n, *weights.shape[1:])), weights])
        self.is_synthetic_ = np.arange(n + len(seed)) >= n
        self._labels_after = LabelMatrix(
            np.concatenate([labels.positive, new.positive]),
            np.concatenate([labels.known, new.known]),
            labels.names,
        )


def _draw_seeds(weight: NDArray[np.float64], size: int, rng: np.random.Generator) -> Rows:
    total = weight.sum()
    if total == 0:
        warnings.warn(
            "MLSOL adds no row: wherever a label has its rarer value, none or all of the neighbors "
            "have the other value.",
            stacklevel=3,
        )
        return np.empty(0, dtype=np.int64)
    return rng.choice(len(weight), size=size, p=weight / total)


def _row_types(local: LocalImbalance, neighbors: NDArray[np.int64]) -> NDArray[np.int8]:
    """Types of each row and label; rare rows next to safe or borderline ones become borderline."""
    level = np.digitize(local.opposite, [0.3, 0.7, 1.0]) + RowType.SAFE
    types = np.where(local.is_rare, level, RowType.MAJORITY).astype(np.int8)
    while True:
        near_safe = np.zeros(types.shape, dtype=bool)
        is_safe = (types == RowType.SAFE) | (types == RowType.BORDERLINE)
        for neighbor in neighbors.T:
            near_safe |= is_safe[neighbor]
        changed = (types == RowType.RARE) & near_safe
        if not changed.any():
            return types
        types[changed] = RowType.BORDERLINE


def _relative_distance(
    space: FeatureSpace, seed: Rows, reference: Rows, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance from the seed / (from the seed + from the reference); 0.5 where both are 0."""
    if weights.ndim == 1:
        differ = space.values[seed] != space.values[reference]
        apart = np.asarray(differ.sum(axis=1)).ravel() > 0
        return np.where(apart, weights, 0.5)
    step = space.values[reference].astype(np.float64) - space.values[seed]
    from_seed = np.linalg.norm(weights * step, axis=1)
    from_reference = np.linalg.norm((1 - weights) * step, axis=1)
    total = from_seed + from_reference
    return np.divide(from_seed, total, out=np.full(len(seed), 0.5), where=total > 0)


def _labels_between(
    labels: LabelMatrix,
    local: LocalImbalance,
    types: NDArray[np.int8],
    seed: Rows,
    reference: Rows,
    distance: NDArray[np.float64],
) -> LabelMatrix:
    """Labels of new rows at a relative distance in [0, 1] from their seed."""
    seed_is_rare = local.is_rare[seed]
    rare_type = np.where(seed_is_rare, types[seed], types[reference])
    from_rare = np.where(seed_is_rare, distance[:, None], 1 - distance[:, None])
    takes_rare = from_rare <= _THRESHOLDS[rare_type]
    inherited = takes_rare == local.rare_value
    both = labels.known[seed] & labels.known[reference]
    differ = both & (labels.positive[seed] != labels.positive[reference])
    known = labels.known[seed] | labels.known[reference]
    # Where the parents agree, or only one is known, "either is positive" is that common or only
    # value.
    either = labels.positive[seed] | labels.positive[reference]
    return LabelMatrix(np.where(differ, inherited, either), known, labels.names)
