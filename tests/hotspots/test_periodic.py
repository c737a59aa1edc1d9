"""Molecules cut by the periodic boundary are made whole, and intact ones are left alone."""

from __future__ import annotations

import pickle

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.lib.distances import apply_PBC
from MDAnalysis.lib.mdamath import triclinic_vectors

from labkit.errors import ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.extraction import ContactTask, extract
from labkit.hotspots.reading import quiet_mdanalysis
from labkit.hotspots.systems import load_complex

CUBE = np.array([90, 90, 100, 90, 90, 90], dtype=np.float32)
SHIFT = np.array([45.0, 10.0, 0.0])
DODECAHEDRON = np.array([95, 95, 95, 60, 60, 90], dtype=np.float32)


@pytest.fixture(scope="module")
def whole():
    """Receptor and drug in one piece: topology file and positions (10, atoms, 3)."""
    complex = example("ergotamine", start=0, stop=10)
    track = np.stack([complex.positions(k, complex.universe.atoms) for k in complex.frames])
    return complex, track.astype(np.float64)


def write(folder, track, box):
    universe = MDAnalysis.Universe.empty(track.shape[1], trajectory=True)
    universe.load_new(track.astype(np.float32), format=MemoryReader)
    path = folder / "cut.trr"
    with quiet_mdanalysis(), MDAnalysis.Writer(str(path), track.shape[1]) as writer:
        for ts in universe.trajectory:
            ts.dimensions = box
            writer.write(universe.atoms)
    return path


def load(complex, path):
    return load_complex(complex.universe.filename, path)


def wrapped(track, box):
    """Every atom in the unit cell, as molecular dynamics programs write it."""
    return np.stack([apply_PBC(frame.astype(np.float32), box) for frame in track])


@pytest.mark.parametrize("box", [CUBE, DODECAHEDRON], ids=["cube", "dodecahedron"])
@pytest.mark.parametrize("shift", [(0, 0, 0), (45, 10, 0), (30, 40, 55)])
def test_distances_do_not_change_when_atoms_are_wrapped_into_the_cell(whole, tmp_path, box, shift):
    complex, track = whole
    cut = load(complex, write(tmp_path, wrapped(track + shift, box), box))
    expected = compute_contacts(complex).distances
    found = compute_contacts(cut).distances
    near = expected < 7.99
    # Wrapping in single precision moves an atom by 1e-5 A.
    assert np.abs(found[near] - expected[near]).max() < 2e-4
    if any(shift):
        assert any("cut by the periodic boundary in" in note for note in cut.notes)


def test_wrapped_ligand_is_one_molecule_again_wherever_it_is_read(whole, tmp_path):
    complex, track = whole
    cut = load(complex, write(tmp_path, wrapped(track + SHIFT, CUBE), CUBE))
    for frame in (0, 4, 9):
        found = cut.positions(frame, cut.ligand)
        expected = track[frame][complex.ligand.indices]
        assert found - found[0] == pytest.approx(expected - expected[0], abs=1e-3)
    conformer = cut.mol.GetConformer().GetPositions()
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in cut.mol.GetBonds()]
    assert max(np.linalg.norm(conformer[i] - conformer[j]) for i, j in bonds) < 2.0


def test_ligand_in_another_image_is_brought_back(whole, tmp_path):
    complex, track = whole
    moved = track.copy()
    moved[:, complex.ligand.indices] += triclinic_vectors(DODECAHEDRON)[1]
    cut = load(complex, write(tmp_path, moved, DODECAHEDRON))
    assert any("periodic boundary" in note for note in cut.notes)
    assert not compute_contacts(cut).unbound.any()


def test_what_is_sent_to_another_process_makes_molecules_whole_too(whole, tmp_path):
    complex, track = whole
    cut = load(complex, write(tmp_path, wrapped(track + SHIFT, CUBE), CUBE))
    task = ContactTask.of(cut, cut.frames, 8.0)
    (here,), (there,) = extract(task), extract(pickle.loads(pickle.dumps(task)))
    assert np.array_equal(here.distances, there.distances)


def test_molecules_in_one_piece_are_not_touched(whole, tmp_path):
    complex, track = whole
    same = load(complex, write(tmp_path, track, CUBE))
    assert not [note for note in same.notes if "periodic" in note]
    assert not same.universe.trajectory.transformations
    assert same.positions(3) == pytest.approx(complex.positions(3))


def test_long_bond_without_a_box_names_bond_and_frame(whole, tmp_path):
    complex, track = whole
    torn = track.copy()
    atom = int(np.flatnonzero(complex.ligand.names == "C33")[0])
    torn[3:, complex.ligand.indices[atom]] += 40.0
    path = write(tmp_path, torn, None)
    with pytest.raises(
        ParameterError, match=r"bond (C33-\w+|\w+-C33) is \d\d\.\d A long in frame 3, .*gmx trjconv"
    ):
        load(complex, path)
