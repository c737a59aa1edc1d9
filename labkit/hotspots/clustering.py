"""Clusters of windows and poses: the conventional ways beside the learned one.

Both sides cluster the same images (one ligand atom over one window) with the same algorithms; only
the space differs: the first 8 principal components, or the latent means of the CVAE. Average
linkage on the ligand's RMSD after superposition on the protein is the conventional clustering of
poses. What comes out is only worth as much as it agrees between seeds and methods, so every
comparison carries the adjusted Rand index (ARI) and the adjusted mutual information (AMI): 0 is
chance, 1 identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    silhouette_score,
)
from sklearn.neighbors import KNeighborsClassifier

from labkit.errors import ParameterError

METHODS = ("kmeans", "hdbscan", "ward")
MAX_PAIRWISE = 5_000
"""Points that methods which compare all of them are given (their distances take 100 MB)."""
_PCA_SAMPLE = 20_000
_SILHOUETTE_SAMPLE = 2_000


def cluster(X: np.ndarray, *, method: str = "kmeans", k: int = 10, seed: int = 0) -> np.ndarray:
    """Cluster points.

    Parameters
    ----------
    X : ndarray of shape (..., n_features)
        Leading axes are kept: latents (n_atoms, n_windows, latent_dim) get labels
        (n_atoms, n_windows).
    method : {"kmeans", "hdbscan", "ward"}
        `hdbscan` finds the number of clusters itself, of at least 1 % of the points each, and calls
        points between them noise (-1). `hdbscan` and `ward` cluster at most 5,000 evenly spaced
        points; the others follow the nearest of them.
    k : int
        Clusters of `kmeans` and `ward`; fewer where there are fewer distinct points.
    seed : int
        Of `kmeans`; the others have no randomness.

    Returns
    -------
    int ndarray of shape (...)
    """
    if method not in METHODS:
        raise ParameterError(f"method={method!r} is not one of {', '.join(METHODS)}.")
    X = np.asarray(X, dtype=np.float64)
    points = X.reshape(-1, X.shape[-1])
    if k < 1 or not len(points):
        raise ParameterError(f"k={k} clusters of {len(points)} points: both are 1 or more.")
    if not np.isfinite(points).all():
        raise ParameterError("X has nan or infinite values; leave those atoms out.")
    k = min(k, len(np.unique(points, axis=0))) if method != "hdbscan" else k
    if method == "kmeans":
        labels = KMeans(k, n_init=4, random_state=seed).fit_predict(points)
    else:
        labels = _on_sample(points, _hdbscan if method == "hdbscan" else partial(_ward, k))
    return labels.reshape(X.shape[:-1])


def _hdbscan(points: np.ndarray) -> np.ndarray:
    smallest = max(5, len(points) // 100)
    if len(points) <= smallest:
        return np.full(len(points), -1)
    return HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(points)


def _ward(k: int, points: np.ndarray) -> np.ndarray:
    if len(points) == 1:
        return np.zeros(1, dtype=int)
    return AgglomerativeClustering(k, linkage="ward").fit_predict(points)


def _on_sample(points: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Labels of all points from a clustering of evenly spaced ones, by the nearest of those."""
    sample = points[:: -(-len(points) // MAX_PAIRWISE)]
    labels = fit(sample)
    if len(sample) == len(points):
        return labels
    return KNeighborsClassifier(1).fit(sample, labels).predict(points)


def pca_latent(windows: Any, *, n_components: int = 8) -> np.ndarray:
    """Principal components of the window images, pooled over all atoms.

    Parameters
    ----------
    windows : AtomWindows or ndarray of shape (n_atoms, n_windows, window, n_residues)
    n_components : int
        Fewer where the images have fewer.

    Returns
    -------
    ndarray of shape (n_atoms, n_windows, n_components)
        Components come from at most 20,000 evenly spaced images; 0 where all of them are equal.
    """
    images = np.asarray(getattr(windows, "images", windows))
    n_atoms, n_windows = images.shape[:2]
    flat = images.reshape(n_atoms * n_windows, -1)
    sample = flat[:: -(-len(flat) // _PCA_SAMPLE)]
    n_components = min(n_components, *sample.shape)
    if (sample == sample[0]).all():
        return np.zeros((n_atoms, n_windows, n_components))
    pca = PCA(n_components, svd_solver="full").fit(sample)
    return pca.transform(flat).reshape(n_atoms, n_windows, -1)


def conventional(
    windows: Any, *, method: str = "kmeans", k: int = 10, seed: int = 0, n_components: int = 8
) -> np.ndarray:
    """Clusters of the window images without learning: PCA, then :func:`cluster`.

    Returns
    -------
    int ndarray of shape (n_atoms, n_windows)
    """
    return cluster(pca_latent(windows, n_components=n_components), method=method, k=k, seed=seed)


def rmsd_clusters(complex: Any, *, k: int = 10, cutoff: float | None = None) -> np.ndarray:
    """Poses by average linkage on the ligand's RMSD, protein superposed.

    Parameters
    ----------
    complex : Complex
    k : int
        At most so many clusters.
    cutoff : float, optional
        Join clusters whose mean RMSD is below this, in angstrom, instead of counting to `k`.

    Returns
    -------
    int ndarray of shape (n_frames,)
        Numbered from 0 in the order in which the trajectory visits them. Of a trajectory with more
        than 5,000 frames, evenly spaced ones are clustered and the others follow the nearest.
    """
    from labkit.hotspots.superposition import superposed_ligand

    if k < 1 or (cutoff is not None and cutoff <= 0):
        raise ParameterError(f"k={k}, cutoff={cutoff}: k is 1 or more, cutoff above 0 angstrom.")
    x = superposed_ligand(complex)
    # The Euclidean distance between these points is the RMSD.
    points = x.reshape(len(x), -1).astype(np.float64) / np.sqrt(x.shape[1])
    labels = _on_sample(points, partial(_average_linkage, k, cutoff))
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[index]


def _average_linkage(k: int, cutoff: float | None, points: np.ndarray) -> np.ndarray:
    if len(points) < 2:
        return np.zeros(len(points), dtype=int)
    tree = hierarchy.linkage(pdist(points), method="average")
    if cutoff is None:
        return hierarchy.fcluster(tree, k, criterion="maxclust")
    return hierarchy.fcluster(tree, cutoff, criterion="distance")


def window_labels(frame_labels: np.ndarray, windows: Any) -> np.ndarray:
    """The most frequent label among the frames of each window, shape (n_windows,)."""
    frame_labels = np.asarray(frame_labels)
    span = np.asarray(windows.starts)[:, None] + np.arange(windows.window)
    return np.array([np.bincount(row).argmax() for row in frame_labels[span]])


def agreement(labels: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> pd.DataFrame:
    """ARI and AMI of every pair of clusterings.

    Parameters
    ----------
    labels : sequence or mapping of int ndarray
        Of shape (n_atoms, n_windows) or (n,). A clustering of windows, (n_windows,), is compared
        with one of atoms and windows atom by atom, and averaged.

    Returns
    -------
    DataFrame
        Columns a, b, ari, ami; nan where both have a single cluster and there is nothing to agree
        on.
    """
    named: dict[Any, np.ndarray]
    named = dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels))
    rows = [
        (a, b, *_agreement(np.asarray(named[a]), np.asarray(named[b])))
        for a, b in combinations(named, 2)
    ]
    return pd.DataFrame(rows, columns=["a", "b", "ari", "ami"])


def _agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    if a.shape == b.shape:
        return _ari_ami(a.ravel(), b.ravel())
    if b.ndim > a.ndim:
        a, b = b, a
    if a.ndim != 2 or b.ndim != 1 or a.shape[1] != len(b):
        raise ParameterError(f"labels of shapes {a.shape} and {b.shape} do not fit each other.")
    pairs = np.array([_ari_ami(row, b) for row in a])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    ari, ami = pairs.mean(axis=0) if len(pairs) else (np.nan, np.nan)
    return float(ari), float(ami)


def _ari_ami(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    if (a == a[0]).all() and (b == b[0]).all():
        return np.nan, np.nan
    return float(adjusted_rand_score(a, b)), float(adjusted_mutual_info_score(a, b))


@dataclass(frozen=True, eq=False)
class KSelection:
    """Numbers of clusters tried.

    Attributes
    ----------
    frame : DataFrame
        Columns k, silhouette (mean over seeds), seed_ari (mean over pairs of seeds).
    best : int
        The k with the highest silhouette among those whose seeds agree (ARI of 0.8 or more); where
        none do, the one whose seeds agree most.
    stable : bool
        Whether any did.
    """

    frame: pd.DataFrame
    best: int
    stable: bool


def select_k(
    X: np.ndarray | Sequence[np.ndarray],
    ks: Sequence[int] = tuple(range(2, 13)),
    seeds: Sequence[int] = (0, 1, 2),
    *,
    method: str = "kmeans",
) -> KSelection:
    """How many clusters: well separated, and the same from one seed to the next.

    Parameters
    ----------
    X : ndarray of shape (..., n_features), or a sequence of such
        One space clustered with every seed, or the latents of several networks, where the seeds
        then also differ in the network.
    ks : sequence of int
        2 or more each.
    seeds : sequence of int
        At least two.
    method : {"kmeans", "ward"}

    Returns
    -------
    KSelection
    """
    spaces = list(X) if isinstance(X, (list, tuple)) else [np.asarray(X)] * len(seeds)
    if len(spaces) < 2 or not ks or min(ks) < 2:
        raise ParameterError(
            f"ks={tuple(ks)} with {len(spaces)} seeds: select_k needs two seeds, and 2 clusters."
        )
    seeds = list(seeds) if len(seeds) == len(spaces) else list(range(len(spaces)))
    rows = []
    for k in ks:
        labels = [
            cluster(x, method=method, k=k, seed=s) for x, s in zip(spaces, seeds, strict=True)
        ]
        quality = [silhouette(x, label) for x, label in zip(spaces, labels, strict=True)]
        rows.append((k, float(np.mean(quality)), float(agreement(labels)["ari"].mean())))
    frame = pd.DataFrame(rows, columns=["k", "silhouette", "seed_ari"])
    agreed = frame[frame["seed_ari"] >= 0.8]
    chosen = agreed["silhouette"] if len(agreed) else frame["seed_ari"]
    best = int(frame.loc[chosen.fillna(-1).idxmax(), "k"])
    return KSelection(frame, best, bool(len(agreed)))


def silhouette(X: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette without noise, on 2,000 points at most; nan with a single cluster."""
    points, labels = np.asarray(X).reshape(-1, np.shape(X)[-1]), np.ravel(labels)
    keep = np.flatnonzero(labels >= 0)
    keep = keep[:: max(1, -(-len(keep) // _SILHOUETTE_SAMPLE))]
    if not 1 < len(np.unique(labels[keep])) < len(keep):
        return float("nan")
    return float(silhouette_score(points[keep], labels[keep]))


@dataclass(frozen=True, eq=False)
class ClusterComparison:
    """Conventional and learned clusterings of the same windows.

    Attributes
    ----------
    frame : DataFrame
        One row per space (pca, cvae, rmsd) and method: n_clusters, noise (share of points),
        silhouette, seed_ari and seed_ami (mean over pairs of seeds; for pca the seeds of the
        algorithm, for cvae also of the network; nan for methods without randomness or one seed),
        conventional_ari, conventional_ami (cvae against pca with the same method, mean over
        seeds).
    agreement : DataFrame
        ARI and AMI of all pairs, by the names in `labels`.
    labels : dict of str to int ndarray
        "pca/kmeans/0" and so on; of shape (n_atoms, n_windows), poses (n_windows,).
    """

    frame: pd.DataFrame
    agreement: pd.DataFrame
    labels: dict[str, np.ndarray]


def compare_clusterings(
    windows: Any,
    latents: Sequence[np.ndarray],
    *,
    complex: Any = None,
    k: int = 10,
    methods: Sequence[str] = ("kmeans", "hdbscan"),
    seed: int = 0,
) -> ClusterComparison:
    """Cluster the windows in the PCA and in the latent space of every seed, and compare.

    Parameters
    ----------
    windows : AtomWindows
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)
        One array per seed.
    complex : Complex, optional
        Adds poses by RMSD.
    k : int
        Clusters of k-means, Ward and RMSD.
    methods : sequence of str
        Of :func:`cluster`.
    seed : int
        Of the first k-means; the following seeds count up.

    Returns
    -------
    ClusterComparison
    """
    components = pca_latent(windows)
    spaces = {f"pca/{i}": components for i in range(len(latents))}
    spaces |= {f"cvae/{i}": np.asarray(mu) for i, mu in enumerate(latents)}
    labels, quality = {}, {}
    for name, X in spaces.items():
        space, number = name.split("/")
        for method in methods:
            if space == "pca" and method != "kmeans" and number != "0":
                continue
            key = f"{space}/{method}/{number}"
            labels[key] = cluster(X, method=method, k=k, seed=seed + int(number))
            quality[key] = silhouette(X, labels[key])
    if complex is not None:
        labels["rmsd/average/0"] = window_labels(rmsd_clusters(complex, k=k), windows)
    pairs = agreement(labels)
    return ClusterComparison(_summary(labels, quality, pairs), pairs, labels)


def _summary(
    labels: dict[str, np.ndarray], quality: dict[str, float], pairs: pd.DataFrame
) -> pd.DataFrame:
    groups: dict[str, list[str]] = {}
    for name in labels:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    rows = []
    for group, names in groups.items():
        space, method = group.split("/")
        within = pairs[pairs["a"].isin(names) & pairs["b"].isin(names)]
        conventional_names = groups.get(f"pca/{method}", []) if space == "cvae" else []
        across = pairs[pairs["a"].isin(conventional_names) & pairs["b"].isin(names)]
        rows.append(
            {
                "space": space,
                "method": method,
                "n_clusters": np.mean([len(np.unique(x[x >= 0])) for x in _of(labels, names)]),
                "noise": np.mean([(x < 0).mean() for x in _of(labels, names)]),
                "silhouette": np.mean([quality.get(name, np.nan) for name in names]),
                "seed_ari": within["ari"].mean(),
                "seed_ami": within["ami"].mean(),
                "conventional_ari": across["ari"].mean(),
                "conventional_ami": across["ami"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _of(labels: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    return [labels[name] for name in names]
