"""MLSMOTE: synthetic rows between neighbors that share a minority label."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from labkit.errors import ParameterError
from labkit.oversampling.labels import LabelMatrix, Labels
from labkit.oversampling.resampling.base import Rows, SyntheticSampler, rows_for
from labkit.oversampling.resampling.containers import append_rows, read_features
from labkit.oversampling.resampling.interpolation import (
    INTERPOLATIONS,
    FeatureSpace,
    draw_weights,
    nominal_columns,
)
from labkit.oversampling.resampling.neighbors import nearest_neighbors

__all__ = ["MLSMOTE"]


class MLSMOTE(SyntheticSampler):
    """Multilabel synthetic minority oversampling (MLSMOTE).

    For each minority label, and each row of that label's bag: find the k nearest rows of the same
    bag (never the row itself), take one of them at random as reference, put a new row between the
    two, and let the row and its neighbors vote on the labels. One new row for each minority label
    of each row: the method has no size parameter.

    Parameters
    ----------
    k_neighbors : int, default=5
        Neighbors; a smaller bag uses all its other rows.
    strategy : {"ranking", "union", "intersection"}, default="ranking"
        A label is set where more than half, any, or all of the seed and its neighbors have it.
    update : {"static", "growing"}, default="static"
        Whether bags and IRLbl are those of the source rows, or also see the synthetic rows made for
        earlier labels.
    sampling_ratio : float or None, default=None
        At most this fraction of n rows is added, drawn from all (label, row) pairs alike; None adds
        all. Needs ``update="static"``.
    interpolation : {"line", "box"}, default="line"
        One random weight per row, or one per feature.
    nominal_features : sequence of int or str, optional
        Columns (numbers, or names of a DataFrame) that hold category codes: they take the
        neighbors' most frequent code.
    random_state : int, Generator or None, default=None
        The same integer gives the same rows.

    Attributes
    ----------
    sample_indices_, is_synthetic_, minority_labels_, n_samples_in_, report_before_, report_after_
        See `labkit.oversampling.resampling.base.MultilabelSampler`.
    seed_indices_, neighbor_indices_, interpolation_weights_
        See `labkit.oversampling.resampling.base.SyntheticSampler`.
    label_indices_ : ndarray of int64, shape (n_resampled,)
        The minority label each synthetic row was made for; -1 for a source row.
    n_neighbors_ : dict of int to int
        Neighbors used for each minority label; 0 where a bag of one row made no synthetic row.

    See Also
    --------
    MLSOL : picks seeds by the labels around them.
    MLROS : clones, for inputs that cannot be interpolated, such as molecular graphs.

    Notes
    -----
    Distances are Euclidean on X as given; scale features of different units first. A nominal
    feature adds 1 to the squared distance where it differs (the paper uses the value difference
    metric). Missing labels do not vote; where fewer than half of the seed and its neighbors are
    known, the new label is nan.

    References
    ----------
    .. [1] Charte et al., MLSMOTE: approaching imbalanced multilabel learning through synthetic
       instance generation, Knowledge-Based Systems 89 (2015) 385-397.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> Y = np.array([[1, 0], [1, 0], [1, 1], [1, 1], [1, 0]])
    >>> sampler = MLSMOTE(random_state=0)
    >>> X_new, Y_new = sampler.fit_resample(X, Y)
    >>> X_new.shape, sampler.sample_indices_, sampler.neighbor_indices_[5:]
    ((7, 1), array([0, 1, 2, 3, 4, 2, 3]), array([3, 2]))
    """

    label_indices_: Rows
    n_neighbors_: dict[int, int]

    def __init__(
        self,
        k_neighbors: int = 5,
        *,
        strategy: Literal["ranking", "union", "intersection"] = "ranking",
        update: Literal["static", "growing"] = "static",
        sampling_ratio: float | None = None,
        interpolation: Literal["line", "box"] = "line",
        nominal_features: Sequence[int | str] | None = None,
        random_state: Any = None,
    ) -> None:
        self.k_neighbors = k_neighbors
        self.strategy = strategy
        self.update = update
        self.sampling_ratio = sampling_ratio
        self.interpolation = interpolation
        self.nominal_features = nominal_features
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
        features = read_features(X, "MLSMOTE")
        if self.interpolation == "box" and sparse.issparse(features):
            raise ParameterError('interpolation="box" needs a dense X; X is sparse. Use "line".')
        space = FeatureSpace(features, nominal_columns(X, self.nominal_features))
        made = _Synthesis(self, labels, space)
        made.run(self._generator())
        self._record(made, labels)
        return append_rows(X, made.features()), append_rows(Y, made.labels())

    def _check_parameters(self) -> None:
        self._check_neighbors()
        self._check_choice("strategy", ("ranking", "union", "intersection"))
        self._check_choice("update", ("static", "growing"))
        self._check_choice("interpolation", INTERPOLATIONS)
        if self.sampling_ratio is not None:
            self._check_fraction("sampling_ratio")
            if self.update == "growing":
                raise ParameterError(
                    'sampling_ratio needs update="static": with update="growing" the rows that '
                    "may be made depend on those made before."
                )

    def _record(self, made: _Synthesis, labels: LabelMatrix) -> None:
        n, own = len(labels), np.arange(len(labels))
        self.seed_indices_ = np.concatenate([own, *made.seeds])
        self.neighbor_indices_ = np.concatenate([np.full(n, -1), *made.references])
        self.label_indices_ = np.concatenate([np.full(n, -1), *made.made_for])
        weights = made.weights
        shape = (n, *weights[0].shape[1:]) if weights else (n,)
        self.interpolation_weights_ = np.concatenate([np.zeros(shape), *weights])
        self.is_synthetic_ = np.arange(len(self.seed_indices_)) >= n
        self.n_neighbors_ = made.n_neighbors
        self.sample_indices_ = self.seed_indices_.copy()
        for row in range(n, len(self.seed_indices_)):
            self.sample_indices_[row] = self.sample_indices_[self.seed_indices_[row]]
        self._labels_after = LabelMatrix(made.positive, made.known, labels.names)


class _Synthesis:
    """One run over the minority labels; rows are numbered as in the output."""

    def __init__(self, sampler: MLSMOTE, labels: LabelMatrix, space: FeatureSpace) -> None:
        self.sampler, self.source, self.space = sampler, labels, space
        self.growing = sampler.update == "growing"
        self.positive, self.known = labels.positive, labels.known
        self.n_neighbors: dict[int, int] = {}
        self.seeds: list[Rows] = []
        self.references: list[Rows] = []
        self.made_for: list[Rows] = []
        self.weights: list[NDArray[np.float64]] = []
        self.feature_blocks: list[Any] = []
        self.label_blocks: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []

    def run(self, rng: np.random.Generator) -> None:
        chosen = self._chosen_pairs(rng)
        too_small = []
        for label in range(self.source.n_labels):
            if not self._is_minority(label):
                continue
            bag = np.flatnonzero(self.positive[:, label])
            k = min(self.sampler.k_neighbors, len(bag) - 1)
            self.n_neighbors[label] = k
            if k == 0:
                too_small.append(self.source.names[label])
                continue
            members = chosen[label] if chosen is not None else np.arange(len(bag))
            if len(members):
                self._add_rows(label, bag, members, k, rng)
        if not self.growing:
            self._grow(self.label_blocks)
        if too_small:
            warnings.warn(
                f"MLSMOTE makes no row for {len(too_small)} minority labels that occur in one "
                f"row only: {', '.join(too_small[:5])}{', ...' if len(too_small) > 5 else ''}.",
                stacklevel=3,
            )

    def features(self) -> Any:
        if not self.feature_blocks:
            return self.space.values[:0].astype(self.space.dtype)
        if sparse.issparse(self.feature_blocks[0]):
            return sparse.vstack(self.feature_blocks, format="csr")
        blocks, self.feature_blocks = self.feature_blocks, []
        return np.concatenate(blocks)

    def labels(self) -> NDArray[np.float64]:
        n = len(self.source)
        return np.where(self.known[n:], self.positive[n:], np.nan)

    def _is_minority(self, label: int) -> bool:
        if not self.growing:
            return bool(self.source.minority[label])
        counts = self.positive.sum(axis=0)
        return bool(counts[label] and self.source.is_above_mean(counts.max() / counts[label]))

    def _chosen_pairs(self, rng: np.random.Generator) -> dict[int, Rows] | None:
        """Positions in each bag that get a synthetic row; None for all."""
        ratio = self.sampler.sampling_ratio
        if ratio is None:
            return None
        minority = np.flatnonzero(self.source.minority)
        sizes = self.source.counts[minority]
        sizes[sizes == 1] = 0
        size = min(rows_for(ratio, len(self.source)), int(sizes.sum()))
        pairs = np.sort(rng.choice(int(sizes.sum()), size=size, replace=False))
        starts = np.cumsum(sizes) - sizes
        return {
            int(label): pairs[(pairs >= start) & (pairs < start + count)] - start
            for label, start, count in zip(minority, starts, sizes, strict=True)
        }

    def _add_rows(
        self, label: int, bag: Rows, members: Rows, k: int, rng: np.random.Generator
    ) -> None:
        neighbors = bag[nearest_neighbors(self.space.coordinates(bag), k)[members]]
        seed = bag[members]
        reference = neighbors[np.arange(len(seed)), rng.integers(k, size=len(seed))]
        weights = draw_weights(
            self.sampler.interpolation, len(seed), self.space.values.shape[1], rng
        )
        rows = self.space.between(seed, reference, weights, neighbors)
        voted = _vote(
            self.positive, self.known, np.column_stack([seed, neighbors]), self.sampler.strategy
        )
        self.seeds.append(seed)
        self.references.append(reference)
        self.made_for.append(np.full(len(seed), label))
        self.weights.append(weights)
        self.feature_blocks.append(rows)
        self.label_blocks.append(voted)
        if self.growing:
            self.space.append(rows)
            self._grow([voted])

    def _grow(self, blocks: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> None:
        self.positive = np.concatenate([self.positive, *(positive for positive, _ in blocks)])
        self.known = np.concatenate([self.known, *(known for _, known in blocks)])


def _vote(
    positive: NDArray[np.bool_], known: NDArray[np.bool_], voters: Rows, strategy: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Labels (positive, known) that the voters, shape (m, k + 1), give to each new row."""
    n_positive = np.zeros((len(voters), positive.shape[1]), dtype=np.uint16)
    n_known = np.zeros_like(n_positive)
    for voter in voters.T:
        n_positive += positive[voter]
        n_known += known[voter]
    is_known = 2 * n_known >= voters.shape[1]
    if strategy == "union":
        wins = n_positive > 0
    elif strategy == "intersection":
        wins = n_positive == n_known
    else:
        wins = 2 * n_positive > n_known
    return wins & is_known, is_known
