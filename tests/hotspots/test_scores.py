"""Scores: closed forms, brute force over the definition, and other people's RMSF."""

from __future__ import annotations

from types import SimpleNamespace

import MDAnalysis
import mdtraj
import numpy as np
import pytest
from MDAnalysis.analysis import align, rms
from MDAnalysis.coordinates.memory import MemoryReader
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from labkit.errors import ParameterError
from labkit.hotspots.contacts import ContactMatrices
from labkit.hotspots.examples import example
from labkit.hotspots.scores import (
    BASELINES,
    SCORES,
    atom_scores,
    baseline_correlations,
    cluster_entropy,
    contact_scores,
    ensemble_spread,
    latent_spread,
    latent_velocity,
    n_clusters,
    pca_spread,
    switch_rate,
    without_constant_columns,
)
from labkit.hotspots.superposition import rmsf, superposed_ligand
from labkit.hotspots.temporal import atom_windows


def contacts_of(distances, replica=None):
    n_frames, n_atoms, n_residues = distances.shape
    return ContactMatrices(
        distances=np.asarray(distances, np.float32),
        cutoff=8.0,
        atom_names=tuple(f"C{i}" for i in range(n_atoms)),
        residue_labels=tuple(f"R{i}" for i in range(n_residues)),
        residue_indices=np.arange(n_residues),
        frames=np.arange(n_frames),
        replica=np.zeros(n_frames, int) if replica is None else np.asarray(replica),
    )


@pytest.fixture(scope="module")
def random_contacts():
    rng = np.random.default_rng(0)
    return contacts_of(rng.uniform(3, 8, (120, 6, 9)), replica=np.repeat([0, 1], [70, 50]))


@pytest.fixture(scope="module")
def scores(random_contacts):
    windows = atom_windows(random_contacts, window=8, stride=4)
    rng = np.random.default_rng(1)
    latents = [rng.normal(size=(6, windows.n_windows, 4)) for _ in range(3)]
    highest = np.array([2, 3, 4, 5, 6, 7])[:, None]
    labels = [rng.integers(0, highest, (6, windows.n_windows)) for _ in range(3)]
    return atom_scores(random_contacts, windows, latents, labels=labels)


def complex_of(positions, names, residues):
    """A complex of which `atom_scores` sees what it needs: C-alphas and a ligand."""
    universe = MDAnalysis.Universe.empty(
        len(names), n_residues=2, atom_resindex=residues, trajectory=True
    )
    universe.add_TopologyAttr("name", names)
    universe.load_new(positions.astype(np.float32), format=MemoryReader)
    return SimpleNamespace(
        universe=universe,
        protein=universe.residues[0].atoms,
        heavy=universe.residues[1].atoms,
        frames=np.arange(len(positions)),
    )


@pytest.fixture(scope="module")
def moving():
    """A rigid backbone of 20 C-alphas and 5 ligand atoms that each fluctuate by a known amount."""
    rng = np.random.default_rng(2)
    backbone = rng.normal(0, 8, (20, 3))
    sigma = np.array([0.1, 0.5, 1.0, 1.5, 2.0])
    ligand = rng.normal(0, 3, (5, 3)) + sigma[:, None] * rng.normal(size=(2000, 5, 3))
    positions = np.concatenate([np.broadcast_to(backbone, (2000, 20, 3)), ligand], axis=1)
    return positions, ["CA"] * 20 + ["C1", "C2", "C3", "C4", "C5"], [0] * 20 + [1] * 5, sigma


@pytest.fixture(scope="module")
def ergotamine():
    return example("ergotamine", step=5)


def test_spread_is_the_root_mean_square_distance_to_the_center():
    mu = np.random.default_rng(0).normal(size=(4, 30, 3))
    center = mu.mean(axis=1, keepdims=True)
    expected = np.sqrt((np.linalg.norm(mu - center, axis=-1) ** 2).mean(axis=1))
    np.testing.assert_allclose(latent_spread(mu), expected)


def test_spread_does_not_see_the_order_of_windows_and_velocity_does():
    """A straight walk of unit steps; in random order its steps are a third of its length."""
    walk = np.arange(300.0)[None, :, None] * [0.6, 0.8]
    mixed = walk[:, np.random.default_rng(0).permutation(300)]
    np.testing.assert_allclose(latent_spread(mixed), latent_spread(walk))
    np.testing.assert_allclose(latent_spread(walk), np.sqrt((300**2 - 1) / 12))
    assert latent_velocity(walk) == pytest.approx([1.0])
    assert latent_velocity(mixed) == pytest.approx([100.0], rel=0.1)


def test_steps_from_one_replica_to_the_next_do_not_count():
    mu = np.repeat([0.0, 50.0], 10)[None, :, None]
    assert latent_velocity(mu, np.repeat([0, 1], 10)) == [0]
    assert latent_velocity(mu) == pytest.approx([50 / 19])
    labels = np.repeat([0, 1], 10)[None]
    assert switch_rate(labels, np.repeat([0, 1], 10)) == [0]
    assert switch_rate(labels) == pytest.approx([1 / 19])
    assert np.isnan(latent_velocity(mu[:, :1])).all()


def test_ensembles_average_geometrically():
    """A network whose latent space is ten times as large has no larger say."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 40, 3))
    expected = np.sqrt(latent_spread(a) * latent_spread(b))
    np.testing.assert_allclose(ensemble_spread([a, b]), expected)
    ratio = ensemble_spread([a, 10 * b]) / expected
    np.testing.assert_allclose(ratio, np.sqrt(10))


def test_cluster_scores_of_known_labels():
    labels = np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3], [-1, 0, -1, 0], [-1] * 4])
    expected = [0, np.log(2), np.log(4), 0, np.nan]
    np.testing.assert_allclose(cluster_entropy(labels), expected)
    np.testing.assert_array_equal(n_clusters(labels), [1, 2, 4, 1, 0])
    np.testing.assert_allclose(switch_rate(labels), [0, 1, 1, 1, 0])


def test_contact_scores_are_what_loops_over_frames_count(random_contacts):
    found = contact_scores(random_contacts)
    touching = random_contacts.distances < 4.5
    for atom in range(6):
        changes, steps, entropy = 0, 0, 0.0
        for t in range(1, 120):
            if random_contacts.replica[t] == random_contacts.replica[t - 1]:
                steps += 1
                changes += sum(touching[t, atom, r] != touching[t - 1, atom, r] for r in range(9))
        for r in range(9):
            p = touching[:, atom, r].sum() / 120
            entropy -= sum(q * np.log(q) for q in (p, 1 - p) if q > 0)
        row = found.iloc[atom]
        assert row["flicker"] == pytest.approx(changes / steps)
        assert row["contact_entropy"] == pytest.approx(entropy, abs=1e-9)
        assert row["n_contacts"] == pytest.approx(touching[:, atom].sum() / 120)
        assert row["occupancy"] == pytest.approx(
            np.mean([touching[t, atom].any() for t in range(120)])
        )


def test_a_permanent_contact_neither_flickers_nor_ends():
    distances = np.full((50, 2, 3), 7.0)
    distances[:, 0, 0] = 4.0
    distances[::2, 1, 1] = 4.0
    found = contact_scores(contacts_of(distances))
    assert found["flicker"].tolist() == [0, 1]
    assert found["occupancy"].tolist() == [1, 0.5]
    assert found["contact_entropy"].to_numpy() == pytest.approx([0, np.log(2)], abs=1e-9)
    # Never seen to end, or to be interrupted for longer than one frame.
    assert found["mean_lifetime"].iloc[0] == pytest.approx(50)


def test_shuffled_frames_keep_static_scores_and_change_flicker():
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.uniform(3, 8, (12, 4, 6)), 10, axis=0)
    before = contact_scores(contacts_of(slow))
    after = contact_scores(contacts_of(slow[rng.permutation(120)]))
    static = ["occupancy", "n_contacts", "contact_entropy"]
    np.testing.assert_allclose(before[static], after[static], atol=1e-9)
    assert (after["flicker"] > 3 * before["flicker"]).all()


def test_pca_spread_is_at_most_that_of_the_images_and_equal_with_all_components(random_contacts):
    windows = atom_windows(random_contacts, window=8, stride=4)
    images = windows.images.reshape(6, windows.n_windows, -1)
    assert (pca_spread(windows) < latent_spread(images)).all()
    np.testing.assert_allclose(
        pca_spread(windows, n_components=72), latent_spread(images), rtol=1e-5
    )


def test_rmsf_of_known_fluctuations_is_their_size(moving):
    """sqrt(3) sigma; 2,000 frames know it to 1.3 % (one standard error)."""
    positions, names, residues, sigma = moving
    found = rmsf(superposed_ligand(complex_of(positions, names, residues)))
    np.testing.assert_allclose(found, np.sqrt(3) * sigma, rtol=0.05)


def test_tumbling_of_the_complex_is_no_fluctuation(moving):
    positions, names, residues, _ = moving
    still = rmsf(superposed_ligand(complex_of(positions[:200], names, residues)))
    turns = Rotation.random(200, random_state=0).as_matrix()
    shifts = np.random.default_rng(0).normal(0, 20, (200, 1, 3))
    tumbled = np.einsum("tij,taj->tai", turns, positions[:200]) + shifts
    found = rmsf(superposed_ligand(complex_of(tumbled, names, residues)))
    np.testing.assert_allclose(found, still, rtol=1e-4)  # float32 positions at 20 angstrom


def test_rmsf_of_ergotamine_is_that_of_mdanalysis_and_mdtraj(ergotamine):
    """Each superposed on the average C-alpha structure in its own way."""
    found = rmsf(superposed_ligand(ergotamine))
    frames = ergotamine.frames
    universe = ergotamine.universe.copy()
    positions = np.stack([universe.atoms.positions for _ in universe.trajectory[frames]])
    mobile = MDAnalysis.Merge(universe.atoms).load_new(positions, format=MemoryReader)
    average = align.AverageStructure(mobile, select="protein and name CA").run().results.universe
    align.AlignTraj(mobile, average, select="protein and name CA", in_memory=True).run()
    ligand = mobile.atoms[ergotamine.heavy.indices]
    np.testing.assert_allclose(found, rms.RMSF(ligand).run().results.rmsf, rtol=1e-3)

    trajectory = mdtraj.Trajectory(positions / 10, None)
    alphas = universe.select_atoms("protein and name CA").indices
    reference = trajectory[0]
    for _ in range(2):
        trajectory.superpose(reference, atom_indices=alphas)
        reference = mdtraj.Trajectory(trajectory.xyz.mean(axis=0), None)
    theirs = 10 * mdtraj.rmsf(trajectory, None, atom_indices=ergotamine.heavy.indices)
    np.testing.assert_allclose(found, theirs, rtol=1e-3)


def test_superposition_needs_a_backbone(moving):
    positions, names, residues, _ = moving
    bare = complex_of(positions[:3], ["CB"] * 20 + names[20:], residues)
    with pytest.raises(ParameterError, match="0 C-alpha atoms"):
        superposed_ligand(bare)


def test_every_score_is_described_and_computed(scores):
    assert list(scores.columns) == list(SCORES)
    assert scores.index.name == "atom"
    assert scores.drop(columns="rmsf").notna().all(axis=None)
    assert scores["rmsf"].isna().all()  # no complex was given
    assert all(score.description.endswith(".") for score in SCORES.values())


def test_scores_average_over_seeds(random_contacts):
    windows = atom_windows(random_contacts, window=8, stride=4)
    rng = np.random.default_rng(3)
    latents = list(rng.normal(size=(2, 6, windows.n_windows, 4)))
    highest = np.array([2, 3, 4, 5, 6, 7])[:, None]
    labels = list(rng.integers(0, highest, (2, 6, windows.n_windows)))
    found = atom_scores(random_contacts, windows, latents, labels=labels)
    expected = (cluster_entropy(labels[0]) + cluster_entropy(labels[1])) / 2
    np.testing.assert_allclose(found["cluster_entropy"], expected)
    np.testing.assert_allclose(found["latent_spread"], ensemble_spread(latents))


def test_constant_columns_are_nan_and_warned_about(scores):
    table = scores.assign(n_clusters=3.0, flicker=1e6)
    with pytest.warns(UserWarning, match="n_clusters, flicker"):
        found = without_constant_columns(table)
    assert found[["n_clusters", "flicker"]].isna().all(axis=None)
    others = [name for name in scores if name not in ("n_clusters", "flicker")]
    assert found[others].equals(scores[others])


def test_one_atom_is_not_called_constant(random_contacts):
    first = contacts_of(random_contacts.distances[:, :1])
    windows = atom_windows(first, window=8, stride=4)
    mu = np.random.default_rng(0).normal(size=(1, windows.n_windows, 4))
    found = atom_scores(first, windows, [mu])
    assert found[["latent_spread", "flicker", "pca_spread"]].notna().all(axis=None)


def test_baselines_come_first_and_are_scipys_spearman(scores):
    found = baseline_correlations(scores.assign(rmsf=np.arange(6.0)))
    assert tuple(found.index[:4]) == BASELINES
    assert found["baseline"].tolist() == [True] * 4 + [False] * (len(SCORES) - 5)
    for name in found.index:
        column = np.arange(6.0) if name == "rmsf" else scores[name]
        expected = spearmanr(scores["latent_spread"], column).statistic
        assert found.loc[name, "spearman"] == pytest.approx(expected)


def test_correlation_with_a_constant_or_missing_column_is_nan(scores):
    found = baseline_correlations(scores.assign(flicker=2.0))
    assert found.loc[["flicker", "rmsf"], "spearman"].isna().all()
    assert found.loc["rmsf", "n_atoms"] == 0
    assert baseline_correlations(scores.iloc[:1])["spearman"].isna().all()


def test_bad_requests_are_errors(random_contacts, scores):
    windows = atom_windows(random_contacts, window=8, stride=4)
    with pytest.raises(ParameterError, match=r"shape \(5, 10, 4\).*6 atoms"):
        atom_scores(random_contacts, windows, [np.zeros((5, 10, 4))])
    with pytest.raises(ParameterError, match="reference='spread' is not one of"):
        baseline_correlations(scores, reference="spread")
