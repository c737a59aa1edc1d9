"""Files that are damaged, swapped, empty or given twice are named, wherever they are read."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.growth import growth_space
from labkit.hotspots.superposition import superposed_ligand
from labkit.hotspots.systems import load_complex

from .test_systems import Files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("damaged"))


def xtc_starts(data):
    """Where each frame of an XTC file begins: at its magic number, step and number of atoms."""
    head = data[:8]
    return [k for k in range(0, len(data), 4) if data[k : k + 8] == head]


@pytest.fixture(scope="module")
def truncated(files):
    """Frames 0 to 6 whole, and half of frame 7."""
    data = files.trajectory.read_bytes()
    starts = xtc_starts(data)
    assert len(starts) == 12
    path = files.folder / "truncated.xtc"
    path.write_bytes(data[: (starts[7] + starts[8]) // 2])
    return path


@pytest.fixture(scope="module")
def scrambled(files):
    """Twelve frames, of which the compressed coordinates of frame 4 are no longer any."""
    data = bytearray(files.trajectory.read_bytes())
    starts = xtc_starts(bytes(data))
    data[starts[4] + 56 : starts[5]] = b"\xff" * (starts[5] - starts[4] - 56)
    path = files.folder / "scrambled.xtc"
    path.write_bytes(bytes(data))
    return path


def unlooked(complex, frames):
    """The same complex with frames that loading has not read."""
    frames = np.asarray(frames)
    return replace(complex, frames=frames, replica=np.zeros(len(frames), dtype=int))


CUT_SHORT = (
    r"trajectory='truncated\.xtc' cannot be read at frame 7: .*use stop=7 .* or copy the file again"
)


def test_truncated_trajectory_is_named_with_the_frame_and_what_to_do(files, truncated):
    with pytest.raises(ParameterError, match=CUT_SHORT):
        load_complex(files.topology, truncated)


@pytest.mark.parametrize("frames", [[5, 6, 7], range(8), [7], [0, 1, 7]])
@pytest.mark.parametrize(
    "measure",
    [compute_contacts, growth_space, superposed_ligand],
    ids=["contacts", "growth", "superposition"],
)
def test_whatever_reads_the_damaged_frame_says_the_same(files, truncated, measure, frames):
    before = load_complex(files.topology, truncated, stop=7)
    with pytest.raises(ParameterError, match=CUT_SHORT):
        measure(unlooked(before, frames))


def test_following_the_advice_gives_the_frames_before_and_their_times(files, truncated):
    before = load_complex(files.topology, truncated, stop=7)
    assert before.times_ps.tolist() == [10.0 * k for k in range(7)]
    whole = compute_contacts(load_complex(files.topology, files.trajectory, stop=7))
    assert np.array_equal(compute_contacts(before).distances, whole.distances)


def test_the_frame_is_counted_in_its_own_file_too(files, truncated):
    with pytest.raises(
        ParameterError, match=r"'truncated\.xtc' cannot be read at frame 19 \(its frame 7\)"
    ):
        load_complex(files.topology, [files.trajectory, truncated])


@pytest.mark.parametrize("chunk", [3, 1000])
def test_damage_in_the_middle_never_becomes_frames_without_contact(files, scrambled, chunk):
    before = load_complex(files.topology, scrambled, stop=4)
    assert before.n_frames == 4
    with pytest.raises(ParameterError, match=r"'scrambled\.xtc' cannot be read at frame 4: "):
        compute_contacts(unlooked(before, range(12)), chunk=chunk)


def test_damage_in_the_first_frame_leaves_only_another_copy(files, truncated):
    data = files.trajectory.read_bytes()
    path = files.folder / "stub.xtc"
    path.write_bytes(data[: xtc_starts(data)[1] // 2])
    said = r"'stub\.xtc' .*cannot be read: .*copy it again"
    with pytest.raises(ParameterError, match=said) as caught:
        load_complex(files.topology, path)
    assert "stop=0" not in str(caught.value)


def test_swapped_files_are_recognized_by_the_names_that_are_missing(files):
    with pytest.raises(
        ParameterError, match=r"topology='good\.xtc' holds no atom names\..* swapped"
    ):
        load_complex(files.trajectory, files.topology)


@pytest.mark.parametrize("parameter", ["topology", "trajectory"])
def test_empty_file_is_said_to_be_empty(files, parameter):
    empty = files.folder / ("empty.pdb" if parameter == "topology" else "empty.xtc")
    empty.touch()
    given = (empty, files.trajectory) if parameter == "topology" else (files.topology, empty)
    with pytest.raises(ParameterError, match=rf"{parameter}='{empty.name}' is empty"):
        load_complex(*given)


@pytest.mark.parametrize("how", ["same path", "link", "copy"])
def test_one_trajectory_is_not_two_replicas(files, how):
    again = files.folder / f"again_{how.replace(' ', '_')}.xtc"
    if how == "same path":
        again = files.trajectory.parent / "." / files.trajectory.name
    elif how == "link":
        again.symlink_to(files.trajectory)
    else:
        shutil.copy(files.trajectory, again)
    with pytest.raises(ParameterError, match=r"trajectory='good\.xtc' is given twice") as caught:
        load_complex(files.topology, [files.trajectory, again])
    assert str(again) in str(caught.value)


def test_replicas_of_one_length_are_two(files):
    other = files.write("other.dcd", files.track)
    moved = files.write("moved.dcd", files.track + 1)
    assert other.stat().st_size == moved.stat().st_size
    assert load_complex(files.topology, [other, moved]).n_frames == 24


@pytest.mark.parametrize("ligand", ["protein", "all", "protein or resname LIG"])
def test_ligand_that_takes_the_whole_protein_is_blamed_itself(files, ligand):
    with pytest.raises(
        ParameterError, match=rf"^ligand='{ligand}' selects the whole protein.*ligand='resname LIG'"
    ) as caught:
        load_complex(files.topology, ligand=ligand)
    assert "protein=" not in str(caught.value)
    assert "LIG (1 residue)" in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"stop": 1}])
def test_one_frame_is_noted_with_what_is_missing(files, given):
    trajectory = files.trajectory if given else None
    (note,) = load_complex(files.topology, trajectory, **given).notes
    assert "one frame: give a trajectory" in note


@pytest.mark.parametrize("group", ["ligand", "protein"])
@pytest.mark.parametrize("element", ["H", "C"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_atom_of_either_molecule_may_lose_its_coordinates(files, group, element, bad):
    good = load_complex(files.topology, files.trajectory)
    atoms = good.ligand if group == "ligand" else good.protein.residues.atoms
    atom = atoms[atoms.elements == element][2]
    spoiled = files.track.copy()
    spoiled[9, atom.index, 1] = bad
    late = load_complex(files.topology, files.write("spoiled.trr", spoiled))
    said = (
        rf"frame 9 has coordinates that are not numbers: 1 atoms, the first is {atom.name} of "
        rf"{atom.resname}{atom.resid}\."
    )
    with pytest.raises(ParameterError, match=said):
        compute_contacts(late)
    with pytest.raises(ParameterError, match=said):
        growth_space(late, n_frames=12)
    assert compute_contacts(late.select_frames(0, 9)).n_frames == 9


def test_atoms_of_neither_molecule_may_lack_coordinates(files):
    good = load_complex(files.topology, files.trajectory)
    residue = good.protein.residues[3].resid
    spoiled = files.track.copy()
    spoiled[5, good.protein.residues[3].atoms.indices] = np.nan
    rest = f"protein and not resid {residue}"
    path = files.write("elsewhere.trr", spoiled)
    assert compute_contacts(load_complex(files.topology, path, protein=rest)).n_frames == 12
