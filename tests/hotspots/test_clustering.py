"""Clusterings and their agreement: planted groups, other implementations, limits."""

from __future__ import annotations

import numpy as np
import pytest
from MDAnalysis.analysis import align
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from labkit.errors import ParameterError
from labkit.hotspots import clustering
from labkit.hotspots.clustering import (
    METHODS,
    agreement,
    cluster,
    compare_clusterings,
    conventional,
    pca_latent,
    rmsd_clusters,
    select_k,
    silhouette,
    window_labels,
)
from labkit.hotspots.examples import example
from labkit.hotspots.temporal import atom_windows
from labkit.hotspots.validation.planted import planted_trajectory


@pytest.fixture(scope="module")
def blobs():
    """Four well separated groups, as latents of 8 atoms over 30 windows."""
    rng = np.random.default_rng(0)
    centers = 12 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    truth = np.repeat([0, 1, 2, 3], 60).reshape(8, 30)
    return centers[truth] + rng.normal(size=(8, 30, 3)), truth


@pytest.fixture(scope="module")
def ergotamine():
    return example("ergotamine", step=5)


@pytest.fixture(scope="module")
def windows():
    return atom_windows(planted_trajectory(seed=0, n_frames=160).contacts)


@pytest.mark.parametrize("method", METHODS)
def test_planted_groups_are_found(blobs, method):
    X, truth = blobs
    labels = cluster(X, method=method, k=4)
    assert labels.shape == truth.shape
    inside = labels >= 0
    assert inside.mean() > 0.9  # HDBSCAN calls outlying points noise
    assert adjusted_rand_score(truth[inside], labels[inside]) == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_clusters(blobs, method):
    X, _ = blobs
    np.testing.assert_array_equal(cluster(X, method=method), cluster(X, method=method))


@pytest.mark.parametrize("method", ["hdbscan", "ward"])
def test_many_points_follow_the_ones_that_were_clustered(blobs, method, monkeypatch):
    X, truth = blobs
    monkeypatch.setattr(clustering, "MAX_PAIRWISE", 80)
    labels = cluster(X, method=method, k=4)
    inside = labels >= 0
    assert adjusted_rand_score(truth[inside], labels[inside]) == pytest.approx(1)


def test_there_are_no_more_clusters_than_distinct_points():
    X = np.repeat(np.eye(3), 4, axis=0)
    assert len(np.unique(cluster(X, k=10))) == 3
    assert len(np.unique(cluster(X, method="ward", k=10))) == 3
    assert cluster(np.zeros((1, 2)), k=5).tolist() == [0]
    assert cluster(np.zeros((1, 2)), method="ward", k=5).tolist() == [0]
    assert cluster(np.zeros((3, 2)), method="hdbscan").tolist() == [-1, -1, -1]


def test_principal_components_are_those_of_the_pooled_images(windows):
    found = pca_latent(windows)
    flat = windows.images.reshape(windows.n_images, -1)
    expected = PCA(8, svd_solver="covariance_eigh").fit_transform(flat.astype(float))
    # Same axes up to sign; float32 images.
    np.testing.assert_allclose(np.abs(found.reshape(-1, 8)), np.abs(expected), atol=1e-3)


def test_images_that_are_all_alike_have_components_of_zero():
    assert (pca_latent(np.ones((1, 3, 2, 2))) == np.zeros((1, 3, 3))).all()


def test_conventional_clusters_are_clusters_of_the_components(windows):
    expected = cluster(pca_latent(windows), k=6, seed=3)
    np.testing.assert_array_equal(conventional(windows, k=6, seed=3), expected)


def test_pose_clusters_are_average_linkage_on_mdanalysis_rmsd(ergotamine):
    """Distances by MDAnalysis after its own superposition, trees by scikit-learn."""
    universe = ergotamine.universe.copy()
    universe.transfer_to_memory(step=5, start=25)
    average = align.AverageStructure(universe, select="protein and name CA").run()
    align.AlignTraj(
        universe, average.results.universe, select="protein and name CA", in_memory=True
    ).run()
    ligand = universe.atoms[ergotamine.heavy.indices]
    x = np.stack([ligand.positions for _ in universe.trajectory]).astype(float)
    assert len(x) == ergotamine.n_frames
    rmsd = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=3).mean(axis=2))
    expected = AgglomerativeClustering(4, metric="precomputed", linkage="average").fit_predict(rmsd)
    assert adjusted_rand_score(expected, rmsd_clusters(ergotamine, k=4)) == pytest.approx(1)


def test_poses_are_numbered_as_visited_and_a_cutoff_limits_their_spread(ergotamine):
    labels = rmsd_clusters(ergotamine, k=5)
    assert labels[0] == 0
    assert list(dict.fromkeys(labels)) == list(range(labels.max() + 1))
    assert len(np.unique(rmsd_clusters(ergotamine, cutoff=100.0))) == 1
    assert len(np.unique(rmsd_clusters(ergotamine, cutoff=1e-3))) == ergotamine.n_frames
    assert len(np.unique(rmsd_clusters(ergotamine.select_frames(stop=1)))) == 1


def test_windows_take_the_pose_of_most_of_their_frames(windows):
    frames = (np.arange(160) >= 50).astype(int)
    labels = window_labels(frames, windows)
    expected = [int(start + 16 - 50 > 8) for start in windows.starts]
    np.testing.assert_array_equal(labels, expected)


def test_agreement_is_scikit_learns_for_every_pair():
    rng = np.random.default_rng(0)
    labels = {name: rng.integers(0, 3, (4, 20)) for name in "abc"}
    found = agreement(labels)
    assert list(zip(found["a"], found["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    for row in found.itertuples():
        pair = labels[row.a].ravel(), labels[row.b].ravel()
        assert row.ari == pytest.approx(adjusted_rand_score(*pair))
        assert row.ami == pytest.approx(adjusted_mutual_info_score(*pair))


def test_agreement_ignores_the_names_of_clusters_and_is_zero_by_chance():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, 2000)
    [same, *_] = agreement([a, (a + 1) % 4]).itertuples()
    assert (same.ari, same.ami) == pytest.approx((1, 1))
    [chance] = agreement([a, rng.permutation(a)]).itertuples()
    assert abs(chance.ari) < 0.01
    assert abs(chance.ami) < 0.01


def test_poses_are_compared_atom_by_atom():
    poses = np.repeat([0, 1], 10)
    atoms = np.stack([poses, 1 - poses, np.tile([0, 1], 10)])
    [row] = agreement([atoms, poses]).itertuples()
    expected = np.mean([adjusted_rand_score(atom, poses) for atom in atoms])
    assert row.ari == pytest.approx(expected)


def test_nothing_to_agree_on_is_nan():
    [row] = agreement([np.zeros(5, int), np.zeros(5, int)]).itertuples()
    assert np.isnan([row.ari, row.ami]).all()
    still = agreement([np.zeros((2, 5), int), np.zeros(5, int)])
    assert still[["ari", "ami"]].isna().all(axis=None)


def test_the_planted_number_of_clusters_is_selected(blobs):
    found = select_k(blobs[0], ks=range(2, 8))
    assert (found.best, found.stable) == (4, True)
    assert found.frame["k"].tolist() == [2, 3, 4, 5, 6, 7]
    several = select_k([blobs[0], blobs[0] * 2, -blobs[0]], ks=(3, 4, 5))
    assert (several.best, several.stable) == (4, True)


def test_noise_has_no_stable_number_of_clusters():
    rng = np.random.default_rng(0)
    spaces = [rng.normal(size=(300, 6)) for _ in range(3)]
    assert not select_k(spaces, ks=(3, 5, 8)).stable


def test_silhouette_needs_two_clusters_and_leaves_noise_out(blobs):
    X, truth = blobs
    assert silhouette(X, truth) > 0.8
    assert np.isnan(silhouette(X, np.zeros_like(truth)))
    noisy = truth.copy()
    noisy[:, 0] = -1
    assert silhouette(X, noisy) == pytest.approx(silhouette(X, truth), abs=0.05)


def test_both_spaces_are_compared_over_seeds_and_methods(windows):
    """Networks that see what PCA sees must agree with it fully, and unrelated ones not at all."""
    components = pca_latent(windows)
    found = compare_clusterings(windows, [components, 2 * components], k=5)
    table = found.frame.set_index(["space", "method"])
    assert list(table.index) == [
        ("pca", "kmeans"),
        ("pca", "hdbscan"),
        ("cvae", "kmeans"),
        ("cvae", "hdbscan"),
    ]
    assert table.loc[("cvae", "hdbscan"), "conventional_ari"] == pytest.approx(1)
    assert table.loc[("cvae", "hdbscan"), "seed_ari"] == pytest.approx(1)
    assert table.loc["pca", "conventional_ari"].isna().all()
    assert found.labels["cvae/kmeans/1"].shape == (windows.n_atoms, windows.n_windows)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=components.shape) for _ in range(2)]
    unrelated = compare_clusterings(windows, noise, k=5, methods=("kmeans",)).frame
    assert abs(unrelated.loc[1, "conventional_ari"]) < 0.05
    assert len(found.agreement) == 7 * 6 // 2


def test_poses_join_the_comparison(ergotamine):
    rng = np.random.default_rng(0)
    windows = atom_windows(rng.random((ergotamine.n_frames, 3, 4)))
    mu = rng.normal(size=(3, windows.n_windows, 2))
    found = compare_clusterings(windows, [mu], complex=ergotamine, k=3, methods=("kmeans",))
    assert found.labels["rmsd/average/0"].shape == (windows.n_windows,)
    assert found.frame["space"].tolist() == ["pca", "cvae", "rmsd"]


def test_bad_requests_are_errors(ergotamine):
    X = np.zeros((4, 2))
    with pytest.raises(ParameterError, match="method='dbscan' is not one of kmeans"):
        cluster(X, method="dbscan")
    with pytest.raises(ParameterError, match="k=0"):
        cluster(X, k=0)
    with pytest.raises(ParameterError, match="nan or infinite"):
        cluster(np.array([[np.nan, 1.0]]))
    with pytest.raises(ParameterError, match="cutoff=-1"):
        rmsd_clusters(ergotamine, cutoff=-1)
    with pytest.raises(ParameterError, match=r"\(4,\) and \(5,\) do not fit"):
        agreement([np.zeros(4, int), np.zeros(5, int)])
    with pytest.raises(ParameterError, match="two seeds, and 2 clusters"):
        select_k(X, ks=(1, 2))
