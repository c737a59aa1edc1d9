"""Contact tensors of the packaged trajectory against brute force, and their algebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from MDAnalysis.lib.distances import distance_array

from labkit.errors import ParameterError
from labkit.hotspots import extraction
from labkit.hotspots.contacts import (
    ContactMatrices,
    binary_contacts,
    compute_contacts,
    soft_contacts,
)
from labkit.hotspots.examples import example

# Products in single precision, origin at the ligand: (30 A)^2 * 2^-24 * 4 / (2 * 2.5 A) = 4e-5 A.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def ergotamine():
    return example("ergotamine", start=0)


@pytest.fixture(scope="module")
def contacts(ergotamine):
    return compute_contacts(ergotamine)


def brute_force(complex, frame):
    """Smallest distance of every ligand atom to every residue, all pairs, one frame."""
    complex.universe.trajectory[int(frame)]
    ligand, protein = complex.heavy.positions, complex.protein
    return np.stack(
        [
            distance_array(ligand, protein[protein.resindices == ix].positions).min(axis=1)
            for ix in protein.residues.ix
        ],
        axis=1,
    )


@pytest.mark.parametrize("frame", [0, 15, 16, 133, 249])
def test_distances_below_the_cutoff_are_those_of_all_pairs(ergotamine, contacts, frame):
    expected = brute_force(ergotamine, frame)
    found = contacts.distances[frame]
    near = expected < 8.0 - TOLERANCE
    assert np.abs(found[near] - expected[near]).max() < TOLERANCE
    assert np.isinf(found[expected >= 8.0 + TOLERANCE]).all()


def test_contacts_at_4_5_angstrom_are_counted_as_by_other_programs(contacts):
    """22,291 by MDAnalysis, mdtraj and a k-d tree alike."""
    assert binary_contacts(contacts.distances).sum() == 22_291
    assert contacts.distances.shape == (250, 43, 302)
    assert contacts.distances.dtype == np.float32


def test_mdtraj_finds_the_same_distance_of_the_whole_ligand(ergotamine, contacts):
    mdtraj = pytest.importorskip("mdtraj")
    topology = mdtraj.load_topology(ergotamine.universe.filename)
    frames = mdtraj.load(ergotamine.universe.trajectory.filename, top=topology, stride=50)
    ligand = next(r.index for r in topology.residues if r.name == "LIG")
    pairs = [(ligand, r.index) for r in topology.residues if r.index != ligand]
    theirs = 10 * mdtraj.compute_contacts(frames, pairs, scheme="closest-heavy", periodic=False)[0]
    ours = contacts.distances[::50].min(axis=1)
    near = theirs < 8.0 - TOLERANCE
    assert near.sum() > 100
    assert np.abs(ours[near] - theirs[near]).max() < TOLERANCE


def test_larger_cutoff_only_adds_distances(ergotamine, contacts):
    part = ergotamine.select_frames(0, 20)
    wide = compute_contacts(part, cutoff=12.0).distances
    below = wide < 8.0
    narrow = contacts.distances[:20]
    assert np.array_equal(np.isfinite(narrow), below)
    assert np.allclose(narrow[below], wide[below], atol=TOLERANCE)


@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
def test_chunks_do_not_change_a_single_bit_that_matters(ergotamine, contacts, chunk):
    part = ergotamine.select_frames(0, 40)
    found = compute_contacts(part, chunk=chunk).distances
    near = np.isfinite(contacts.distances[:40])
    assert np.array_equal(np.isfinite(found), near)
    assert np.abs(found[near] - contacts.distances[:40][near]).max() < TOLERANCE


def test_processes_side_by_side_give_the_same_tensor_in_order(ergotamine):
    part = ergotamine.select_frames(3, 200, 2)
    seen = []
    alone = compute_contacts(part, chunk=32)
    together = compute_contacts(
        part, chunk=32, n_jobs=2, progress=lambda done, total, text: seen.append((done, total))
    )
    assert np.array_equal(alone.distances, together.distances)
    assert np.array_equal(together.frames, np.arange(3, 200, 2))
    assert seen == [(32, 99), (64, 99), (96, 99), (99, 99)]


def test_dask_cluster_gives_the_same_tensor(ergotamine):
    distributed = pytest.importorskip("distributed")
    part = ergotamine.select_frames(0, 64)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = compute_contacts(part, chunk=32, client=client)
    assert np.array_equal(found.distances, compute_contacts(part, chunk=32).distances)


def test_tensor_in_a_file_is_the_tensor_in_memory(ergotamine, contacts, tmp_path):
    stored = compute_contacts(ergotamine, out=tmp_path / "distances.npy")
    assert isinstance(stored.distances, np.memmap)
    assert np.array_equal(np.load(tmp_path / "distances.npy"), contacts.distances)
    assert np.array_equal(stored.pocket().distances, contacts.pocket().distances)


def test_memory_of_a_task_is_bounded_by_its_frames_not_by_the_trajectory(ergotamine):
    blocks = extraction.extract(extraction.ContactTask.of(ergotamine, np.arange(100), 8.0))
    assert [block.n_frames for block in blocks] == [16] * 6 + [4]
    assert sum(block.distances.nbytes for block in blocks) < 100 * 43 * 302 * 4 / 2


def test_frames_in_any_order_are_read_as_asked(ergotamine, contacts):
    frames = np.array([40, 7, 7, 199])
    odd = replace(ergotamine, frames=frames, replica=np.zeros(4, dtype=int))
    found = compute_contacts(odd).distances
    near = np.isfinite(found)
    assert np.array_equal(near, np.isfinite(contacts.distances[frames]))
    assert np.abs(found[near] - contacts.distances[frames][near]).max() < TOLERANCE


def test_step_thins_the_frames_of_the_complex(ergotamine):
    found = compute_contacts(ergotamine.select_frames(25), step=50)
    assert found.frames.tolist() == [25, 75, 125, 175, 225]


def test_pocket_keeps_residues_that_are_touched_and_occupancy_counts_how_often(contacts):
    pocket = contacts.pocket()
    touched = (contacts.distances < 4.5).any(axis=(0, 1))
    assert list(pocket.residue_labels) == np.array(contacts.residue_labels)[touched].tolist()
    assert (pocket.residue_indices == contacts.residue_indices[touched]).all()
    occupancy = pocket.occupancy()
    assert occupancy.shape == (43, touched.sum())
    assert occupancy.to_numpy().sum() * 250 == pytest.approx(22_291)
    often = contacts.pocket(min_occupancy=0.9)
    assert 0 < often.n_residues < pocket.n_residues
    assert set(often.residue_labels) < set(pocket.residue_labels)
    assert "ASP129" in often.residue_labels  # the salt bridge of every aminergic ligand


def test_occupancy_grows_with_the_cutoff(contacts):
    pocket = contacts.pocket(cutoff=8.0)
    small, large = pocket.occupancy(3.5), pocket.occupancy(6.0)
    assert (small.to_numpy() <= large.to_numpy()).all()
    assert small.to_numpy().sum() < large.to_numpy().sum()


def test_frames_are_selected_by_mask_slice_or_position(contacts):
    pocket = contacts.pocket()
    mask = np.arange(250) % 50 == 0
    by_mask, by_slice = pocket.select_frames(mask), pocket.select_frames(slice(0, None, 50))
    by_position = pocket.select_frames(np.flatnonzero(mask))
    for some in (by_mask, by_slice, by_position):
        assert np.array_equal(some.distances, pocket.distances[::50])
        assert some.frames.tolist() == [0, 50, 100, 150, 200]


def test_saved_contacts_come_back_equal(contacts, tmp_path):
    pocket = contacts.pocket()
    file = pocket.save(tmp_path / "pocket")
    assert file.name == "pocket.npz"
    again = ContactMatrices.load(file)
    for name, value in vars(pocket).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(getattr(again, name), value)
        else:
            assert getattr(again, name) == value


def test_lifetime_times_events_is_the_occupied_share_where_nothing_is_censored(contacts):
    """Without gaps, frames in contact are the sum of the lengths of all runs."""
    pocket = contacts.pocket()
    table = pocket.lifetimes(gap=0)
    whole = table[table.censored_share == 0]
    occupancy = pocket.occupancy()
    frames = [occupancy.loc[a, r] * 250 for a, r in zip(whole.atom, whole.residue, strict=True)]
    assert len(whole) > 100
    assert np.allclose(whole.n_events * whole["mean"], frames)


def test_soft_contact_is_a_falling_switch_with_its_midpoint_at_d0():
    d = np.linspace(0, 20, 401)
    s = soft_contacts(d)
    assert s.dtype == np.float32
    assert (np.diff(s) <= 0).all()
    assert soft_contacts(np.array([4.5, 5.5, np.inf])) == pytest.approx([0.5, 1 / (1 + np.e**2), 0])
    assert soft_contacts(np.array([np.inf]))[0] == 0.0
    assert np.allclose(s, 1 / (1 + np.exp((d - 4.5) / 0.5)), atol=1e-6)
    sharp = soft_contacts(d, d0=4.5, width=1e-4)
    off = np.abs(d - 4.5) > 0.01
    assert np.array_equal(sharp[off] > 0.5, binary_contacts(d)[off])


def test_soft_contact_of_a_tensor_leaves_the_tensor_alone(contacts):
    before = contacts.distances[:5].copy()
    assert soft_contacts(contacts.distances[:5]).shape == before.shape
    assert np.array_equal(contacts.distances[:5], before)


def test_wrong_parameters_are_named(ergotamine, contacts):
    with pytest.raises(ParameterError, match=r"cutoff=9.0 A is not between 0 and 8.0 A"):
        contacts.occupancy(9.0)
    with pytest.raises(
        ParameterError, match=r"min_occupancy=1.0 at cutoff=2.0 A leaves no residue"
    ):
        contacts.pocket(1.0, cutoff=2.0)
    with pytest.raises(ParameterError, match="chunk=0"):
        compute_contacts(ergotamine, chunk=0)
    with pytest.raises(ParameterError, match="cutoff=-1"):
        compute_contacts(ergotamine, cutoff=-1)
    with pytest.raises(ParameterError, match="width=0"):
        soft_contacts(np.zeros(1), width=0)
