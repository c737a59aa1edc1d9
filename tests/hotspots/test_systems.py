"""What loading mends, and what it refuses with a message that names the offending thing."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader
from rdkit import Chem

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.reading import quiet_mdanalysis
from labkit.hotspots.systems import load_complex

ERGOTAMINE = (
    "C[N@@H+]1C[C@H](C(=O)N[C@]2(C)O[C@@]3(O)[C@@H]4CCCN4C(=O)[C@H](Cc4ccccc4)N3C2=O)"
    "C=C2c3cccc4[nH]cc(c34)C[C@H]21"
)
BOX = np.array([90.0, 90.0, 90.0, 90.0, 90.0, 90.0], dtype=np.float32)


class Files:
    """A small complex on disk, and ways to spoil it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        whole = example("ergotamine", start=0, stop=12)
        select = "resname LIG or byres (protein and around 6 resname LIG)"
        atoms = whole.universe.select_atoms(select)
        self.track = np.stack([whole.positions(k, atoms) for k in whole.frames])
        self.ligand = np.flatnonzero(atoms.resnames == "LIG")
        self.topology = folder / "pocket.pdb"
        whole.universe.trajectory[0]
        with quiet_mdanalysis():
            atoms.write(str(self.topology))
        self.lines = self.topology.read_text().splitlines()
        self.trajectory = self.write("good.xtc", self.track)

    def write(self, name, track, box=BOX, dt=10.0):
        """Trajectory file of an array (frames, atoms, 3)."""
        universe = MDAnalysis.Universe.empty(track.shape[1], trajectory=True)
        universe.load_new(np.asarray(track, dtype=np.float32), format=MemoryReader, dt=dt)
        path = self.folder / name
        with quiet_mdanalysis(), MDAnalysis.Writer(str(path), track.shape[1]) as writer:
            for ts in universe.trajectory:
                ts.dimensions = box
                writer.write(universe.atoms)
        return path

    def edit(self, name, change):
        """Topology whose atom lines `change` replaced by one, none or several lines."""
        edited = []
        for line in self.lines:
            atom = line.startswith(("ATOM", "HETATM"))
            result = change(line) if atom else line
            edited += [result] if isinstance(result, str) else list(result)
        path = self.folder / name
        path.write_text("\n".join(edited) + "\n")
        return path

    def without_bonds(self, name, change=lambda line: line):
        """The same, without CONECT records."""
        path = self.edit(name, change)
        kept = [ln for ln in path.read_text().splitlines() if not ln.startswith("CONECT")]
        path.write_text("\n".join(kept) + "\n")
        return path


def is_ligand(line):
    return line[17:20] == "LIG"


def is_hydrogen(line):
    return line[76:78].strip() == "H"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("complex"))


@pytest.fixture(scope="module")
def loaded(files):
    return load_complex(files.topology, files.trajectory)


def test_rows_are_the_heavy_atoms_of_the_ligand_in_the_order_of_the_topology(loaded):
    assert (loaded.n_atoms, loaded.n_frames, loaded.ligand.n_atoms) == (43, 12, 79)
    assert loaded.atom_names == tuple(loaded.heavy.names)
    symbols = [loaded.mol.GetAtomWithIdx(int(k)).GetSymbol() for k in loaded.heavy_in_mol]
    assert symbols == list(loaded.heavy.elements)
    assert loaded.mol.GetNumAtoms() == loaded.ligand.n_atoms
    assert not np.isin(loaded.protein.elements, ["H"]).any()
    assert loaded.notes == ()


def test_molecule_is_the_protonated_drug_with_the_pose_of_the_first_frame(files, loaded):
    assert Chem.MolToSmiles(Chem.RemoveHs(loaded.mol)) == ERGOTAMINE
    pose = loaded.mol.GetConformer().GetPositions()
    assert np.abs(pose - files.track[0][files.ligand]).max() < 0.02  # xtc keeps 0.01 A
    later = loaded.select_frames(5)
    assert np.abs(
        later.mol.GetConformer().GetPositions() - files.track[5][files.ligand]
    ).max() == pytest.approx(0, abs=0.02)
    assert np.allclose(loaded.mol.GetConformer().GetPositions(), pose)


def test_positions_are_those_of_the_frame(files, loaded):
    heavy = files.track[7][files.ligand][loaded.heavy_in_mol]
    assert np.abs(loaded.positions(7) - heavy).max() < 0.02
    assert loaded.positions(7, loaded.protein).shape == (len(loaded.protein), 3)


def test_frames_are_sliced_as_in_python(files):
    part = load_complex(files.topology, files.trajectory, start=2, stop=-1, step=3)
    assert part.frames.tolist() == [2, 5, 8]
    assert part.select_frames(1).frames.tolist() == [5, 8]
    assert part.times_ps.tolist() == [20, 50, 80]
    with pytest.raises(ParameterError, match=r"start=50, .* leaves none of 12 frames"):
        load_complex(files.topology, files.trajectory, start=50)
    with pytest.raises(ParameterError, match="step=0 is not allowed"):
        load_complex(files.topology, files.trajectory, step=0)


def test_replicas_are_counted_one_after_the_other_and_kept_apart(files):
    short = files.write("short.xtc", files.track[:5])
    both = load_complex(files.topology, [files.trajectory, short], start=3)
    assert both.n_frames == 14
    assert both.replica.tolist() == [0] * 9 + [1] * 5
    assert both.times_ps.tolist() == [*range(30, 120, 10), *range(0, 50, 10)]
    contacts = compute_contacts(both, chunk=4)
    assert contacts.replica.tolist() == both.replica.tolist()
    first = compute_contacts(load_complex(files.topology, short)).distances
    near = np.isfinite(first)
    assert np.allclose(contacts.distances[9:][near], first[near], atol=1e-4)
    assert len(both.source["sha256"]) == 3


def test_topology_with_coordinates_needs_no_trajectory(files):
    alone = load_complex(files.topology)
    assert (alone.n_frames, alone.times_ps) == (1, None)
    assert compute_contacts(alone).pocket().n_residues > 10


@pytest.mark.parametrize(
    ("dt", "said"), [(6e6, "are 6e+06 ps apart according to the file"), (0.0, "are 0 ps apart")]
)
def test_times_that_no_simulation_has_are_not_shown(files, dt, said):
    strange = load_complex(files.topology, files.write("strange.xtc", files.track, dt=dt))
    assert strange.times_ps is None
    (note,) = strange.notes
    assert said in note


def test_missing_file_is_named_with_its_parameter(files):
    with pytest.raises(MissingDataError, match=r"topology='nowhere\.pdb' is not a file"):
        load_complex("nowhere.pdb")
    with pytest.raises(MissingDataError, match=r"trajectory='nowhere\.xtc'"):
        load_complex(files.topology, [files.trajectory, "nowhere.xtc"])


def test_file_that_is_no_topology_or_trajectory_is_named(files):
    text = files.folder / "notes.pdb"
    text.write_text("to be continued\n")
    with pytest.raises(ParameterError, match=r"topology='notes\.pdb'"):
        load_complex(text)
    broken = files.folder / "broken.xtc"
    broken.write_bytes(b"not a trajectory")
    with pytest.raises(ParameterError, match=r"trajectory='broken\.xtc' cannot be read"):
        load_complex(files.topology, broken)


def test_atom_counts_that_differ_are_both_named(files):
    fewer = files.write("fewer.xtc", files.track[:, :-7])
    n = files.track.shape[1]
    with pytest.raises(
        ParameterError,
        match=rf"trajectory='fewer\.xtc' has {n - 7} atoms and topology='pocket\.pdb' has {n}",
    ):
        load_complex(files.topology, fewer)
    with pytest.raises(ParameterError, match=rf"'fewer\.xtc' has {n - 7} atoms"):
        load_complex(files.topology, [files.trajectory, fewer])


def test_empty_ligand_selection_is_answered_with_what_is_there(files):
    with pytest.raises(
        ParameterError, match=r"ligand='resname ERG' selects no atom.*LIG \(1 residue\)"
    ):
        load_complex(files.topology, ligand="resname ERG")


def test_selection_that_is_no_selection_is_quoted(files):
    with pytest.raises(ParameterError, match=r"ligand='the drug' is not a selection"):
        load_complex(files.topology, ligand="the drug")
    with pytest.raises(ParameterError, match=r"protein='resnam ALA' is not a selection"):
        load_complex(files.topology, protein="resnam ALA")


@pytest.mark.parametrize("bonds", [True, False])
def test_several_copies_of_the_ligand_are_listed_with_a_selection_for_one(files, bonds):
    copies = []

    def twice(line):
        if is_ligand(line):
            z = float(line[46:54]) + 40
            copies.append(f"{line[:21]}Z{9:4d}{line[26:46]}{z:8.3f}{line[54:72]}LG2 {line[76:]}")
        return line

    path = (files.edit if bonds else files.without_bonds)("copies.pdb", twice)
    text = path.read_text().splitlines()
    end = max(k for k, line in enumerate(text) if line.startswith(("ATOM", "HETATM")))
    path.write_text("\n".join(text[: end + 1] + copies + text[end + 1 :]) + "\n")
    with pytest.raises(ParameterError, match=r"separate molecules: LIG") as caught:
        load_complex(path)
    assert "for example ligand='resname LIG and resid " in str(caught.value)


def test_complex_without_protein_lists_the_residues_that_are_there(files):
    alone = files.edit("alone.pdb", lambda line: line if is_ligand(line) else ())
    alone.write_text(
        "\n".join(ln for ln in alone.read_text().splitlines() if not ln.startswith("CONECT"))
    )
    with pytest.raises(
        ParameterError, match=r"protein='protein' selects no heavy atom.*topology: LIG"
    ):
        load_complex(alone)


def test_bonds_that_the_topology_lacks_are_told_from_distances(files):
    path = files.without_bonds("nobonds.pdb")
    found = load_complex(path, files.trajectory)
    assert any("no bonds of the ligand" in note for note in found.notes)
    assert Chem.MolToSmiles(Chem.RemoveHs(found.mol)) == ERGOTAMINE


def test_elements_that_the_topology_lacks_are_told_from_names(files, loaded):
    path = files.edit("noelements.pdb", lambda line: line[:76] + "  " + line[78:])
    found = load_complex(path, files.trajectory)
    assert any("lacks the element" in note for note in found.notes)
    assert found.atom_names == loaded.atom_names
    assert Chem.MolToSmiles(Chem.RemoveHs(found.mol)) == ERGOTAMINE


def test_ligand_without_hydrogens_needs_a_template(files):
    bare = files.without_bonds(
        "bare.pdb", lambda line: () if is_ligand(line) and is_hydrogen(line) else line
    )
    with pytest.raises(ParameterError, match=r"ligand LIG has no hydrogen.*template='<SMILES>'"):
        load_complex(bare)
    found = load_complex(bare, template=ERGOTAMINE)
    assert found.mol.GetNumAtoms() == 43
    assert Chem.MolToSmiles(found.mol) == ERGOTAMINE


def test_carbon_that_lost_a_hydrogen_is_named_instead_of_made_an_ion(files, loaded):
    carbon = loaded.ligand.select_atoms("name C33")
    (hydrogen,) = carbon[0].bonded_atoms.select_atoms("element H").names
    damaged = files.without_bonds(
        "damaged.pdb",
        lambda line: () if is_ligand(line) and line[12:16].strip() == hydrogen else line,
    )
    with pytest.raises(
        ParameterError, match=r"ligand LIG could not be inferred \(atom C33 is left"
    ):
        load_complex(damaged)


def test_coordinates_that_are_no_numbers_name_frame_and_atom(files):
    spoiled = files.track.copy()
    spoiled[7, files.ligand[3]] = np.nan
    path = files.write("nan.trr", spoiled)
    late = load_complex(files.topology, path)
    name = late.ligand.names[3]
    with pytest.raises(
        ParameterError, match=rf"frame 7 has coordinates .*: 1 atoms, the first is {name} of LIG"
    ):
        compute_contacts(late)
    with pytest.raises(ParameterError, match=rf"frame 7 .*the first is {name} of LIG"):
        load_complex(files.topology, path, start=7)
    assert compute_contacts(late.select_frames(0, 7)).n_frames == 7


def test_ligand_that_leaves_the_pocket_is_warned_about_and_its_frames_marked(files):
    away = files.track.copy()
    away[8:, files.ligand] += 60.0
    gone = load_complex(files.topology, files.write("away.xtc", away, box=None))
    with pytest.warns(UserWarning, match=r"no residue within 8 A in 4 of 12 frames, .*frame 8"):
        contacts = compute_contacts(gone)
    assert contacts.unbound.tolist() == [False] * 8 + [True] * 4
    assert np.isinf(contacts.distances[8:]).all()
    assert contacts.select_frames(~contacts.unbound).n_frames == 8


def test_one_unbound_frame_in_twelve_is_no_warning(files):
    away = files.track.copy()
    away[8, files.ligand] += 60.0
    gone = load_complex(files.topology, files.write("blink.xtc", away, box=None))
    assert compute_contacts(gone).unbound.sum() == 1


def test_duplicate_atom_names_are_numbered(files):
    renamed = files.edit(
        "twins.pdb",
        lambda line: f"{line[:12]} C1 {line[16:]}" if line[12:20] == " C10 LIG" else line,
    )
    twins = load_complex(renamed)
    assert {"C1", "C1#2"} <= set(twins.atom_names)
    assert len(set(twins.atom_names)) == 43
    assert any("C1" in note and "#2" in note for note in twins.notes)


def test_of_alternate_locations_the_best_occupied_one_is_kept(files):
    residue = next(line[22:26] for line in files.lines if line[17:20] == "ASP")

    def alternate(line):
        if line[17:20] != "ASP" or line[22:26] != residue or line[12:16].strip() in "N CA C O HA":
            return line
        moved = f"{float(line[30:38]) + 1:8.3f}"
        return [
            f"{line[:16]}A{line[17:54]}{0.4:6.2f}{line[60:]}",
            f"{line[:16]}B{line[17:30]}{moved}{line[38:54]}{0.6:6.2f}{line[60:]}",
        ]

    both = load_complex(files.without_bonds("altloc.pdb", alternate))
    plain = load_complex(files.topology)
    assert len(both.protein) == len(plain.protein)
    assert both.residue_labels == plain.residue_labels
    assert set(both.protein.altLocs) == {"", "B"}
    (note,) = [note for note in both.notes if "Alternate" in note]
    assert f"ASP{residue.strip()} (B of A/B)" in note


def test_residues_with_one_label_in_two_chains_are_told_apart(files):
    def second_chain(line):
        return f"{line[:21]}Q{line[22:72]}QQ  {line[76:]}" if line[17:20] == "VAL" else line

    def same_number(line):
        return f"{line[:22]} 129{line[26:]}" if line[17:20] == "VAL" else line

    path = files.without_bonds("chains.pdb", lambda ln: second_chain(same_number(ln)))
    labels = load_complex(path).residue_labels
    assert len(set(labels)) == len(labels)
    plain = files.without_bonds("asp.pdb", lambda ln: ln.replace("VAL", "ASP"))
    assert "ASP129" in load_complex(plain).residue_labels


def test_loading_warns_of_nothing_that_labkit_handles(files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_complex(files.without_bonds("quiet.pdb"), files.trajectory)


def test_importing_the_loader_does_not_import_torch():
    script = (
        "import sys, labkit.hotspots.systems, labkit.hotspots.contacts; "
        "print('torch' in sys.modules, 'openmm' in sys.modules, 'prolif' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"] * 3


def test_a_summary_says_what_was_loaded_and_how_it_is_timed() -> None:
    summary = example("ergotamine").summary()["ergotamine"]
    assert summary["heavy atoms of the ligand"] == "43"
    assert summary["frames"] == "225: 25 to 249 of 250"
    assert summary["time"] == "frames are counted, not timed"
    assert "Apache-2.0" in summary["license"]
