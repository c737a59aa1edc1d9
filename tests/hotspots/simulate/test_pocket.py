"""The cut of a pocket: what is kept, how chains are closed, what is refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit
from rdkit import Chem
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.simulate.engine import protein_force_field
from labkit.hotspots.simulate.pocket import Pocket, pocket_system
from labkit.hotspots.simulate.structure import CAPS, FILLED_GAP, ProteinStructure, read_protein

SERIES = ("tyk2", "mcl1", "cdk2", "hif2a")


@pytest.fixture(scope="module")
def structure(targets: Path) -> ProteinStructure:
    return read_protein(targets / "tyk2" / "protein.pdb")


@pytest.fixture(scope="module", params=SERIES)
def any_pocket(request: pytest.FixtureRequest, targets: Path, lead) -> Pocket:
    return pocket_system(targets / request.param / "protein.pdb", lead(request.param))


def methane_at(position: np.ndarray) -> Chem.Mol:
    """A ligand that is as good as a point."""
    mol = Chem.AddHs(Chem.MolFromSmiles("C"))
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.Set3D(True)
    for index in range(mol.GetNumAtoms()):
        conformer.SetAtomPosition(index, (position + 0.01 * index).tolist())
    mol.AddConformer(conformer)
    return mol


def protein_system(pocket: Pocket) -> openmm.System:
    """The pocket without its ligand, in the protein force field."""
    model = app.Modeller(pocket.topology, pocket.positions * unit.angstrom)
    model.delete([r for r in pocket.topology.residues() if r.name == "LIG"])
    return protein_force_field().createSystem(model.topology)


def test_the_tyk2_pocket_has_the_residues_and_atoms_of_the_shipped_simulation(pocket, shipped):
    expected = app.PDBFile(str(shipped / "pocket.pdb")).topology
    assert [r.name for r in pocket.topology.residues()] == [r.name for r in expected.residues()]
    counts = [[len(list(r.atoms())) for r in t.residues()] for t in (pocket.topology, expected)]
    assert counts[0] == counts[1]
    assert pocket.n_atoms == 725
    assert len(pocket.residues) == 40
    assert "ASP1041" in pocket.residues


def test_every_residue_with_a_heavy_atom_in_reach_is_kept(pocket, structure):
    """Brute force over all pairs of atoms."""
    pose = pocket.mol.GetConformer().GetPositions()
    near = set()
    for residue in structure.residues:
        heavy = [atom.index for atom in residue.atoms() if atom.element.symbol != "H"]
        if residue.name != "HOH" and cdist(structure.positions[heavy], pose).min() <= 6.0:
            near.add(f"{residue.name}{residue.id}")
    assert len(near) == 29
    assert near < set(pocket.residues)


def test_protein_force_field_takes_the_pocket_of_every_target(any_pocket):
    system = protein_system(any_pocket)
    assert system.getNumParticles() == any_pocket.n_atoms - any_pocket.mol.GetNumAtoms()
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(i)[0] for i in range(system.getNumParticles())]
    charge = sum(value.value_in_unit(unit.elementary_charge) for value in charges)
    # Amber's charges have six decimals, and ACE, NME and residues each add up to integers.
    assert abs(charge - round(charge)) < 1e-4


def test_every_break_of_a_chain_is_capped_and_no_residue_is_both_caps(any_pocket):
    bonds = {
        (one.residue.index, two.residue.index)
        for one, two in any_pocket.topology.bonds()
        if (one.name, two.name) in (("C", "N"), ("N", "C"))
    }
    linked = {tuple(sorted(pair)) for pair in bonds if pair[0] != pair[1]}
    residues = [r for r in any_pocket.topology.residues() if r.name != "LIG"]
    for before, after in itertools.pairwise(residues):
        if (before.index, after.index) not in linked:
            assert (before.name, after.name) == ("NME", "ACE")
    assert residues[0].name == "ACE"
    assert residues[-1].name == "NME"
    keys = [(r.chain.id, r.id, r.insertionCode) for r in residues]
    assert len(set(keys)) == len(keys)


def test_no_two_heavy_atoms_of_the_pocket_clash_unless_bonded(any_pocket):
    atoms = list(any_pocket.topology.atoms())
    heavy = [a.index for a in atoms if a.element.symbol != "H"]
    bonded = {frozenset((a.index, b.index)) for a, b in any_pocket.topology.bonds()}
    pairs = cKDTree(any_pocket.positions[heavy]).query_pairs(1.9)
    assert all(frozenset((heavy[i], heavy[j])) in bonded for i, j in pairs)


def test_kept_atoms_stay_where_they_were_under_their_names(pocket, structure):
    original = {
        (r.id, atom.name): structure.positions[atom.index]
        for r in structure.residues
        for atom in r.atoms()
    }
    for atom in pocket.topology.atoms():
        if atom.residue.name not in (*CAPS, "LIG"):
            key = (atom.residue.id, atom.name)
            assert np.array_equal(pocket.positions[atom.index], original[key])
    assert np.array_equal(pocket.positions[pocket.ligand], pocket.mol.GetConformer().GetPositions())


def test_caps_and_outer_alpha_carbons_are_restrained_and_nothing_else(pocket):
    atoms = list(pocket.topology.atoms())
    pose = pocket.mol.GetConformer().GetPositions()
    for index, atom in enumerate(atoms[: -len(pocket.ligand)]):
        cap = atom.residue.name in CAPS and atom.element.symbol != "H"
        far = cdist(pocket.positions[[index]], pose).min() > pocket.radius
        outer = atom.name == "CA" and atom.residue.name not in CAPS and far
        assert (index in pocket.restrained) == (cap or outer)


@pytest.mark.parametrize("name", ["PRO", "GLY"])
def test_a_cap_can_be_made_of_a_residue_without_amide_hydrogen_or_side_chain(
    structure, targets, name
):
    followed = next(
        structure.residues[before]
        for before, after in structure.following.items()
        if structure.residues[after].name == name and structure.residues[before].name != "ACE"
    )
    anchor = next(atom for atom in followed.atoms() if atom.name == "CA")
    tiny = pocket_system(
        targets / "tyk2" / "protein.pdb",
        methane_at(structure.positions[anchor.index]),
        radius=0.5,
    )
    assert [r.name for r in tiny.topology.residues()] == ["ACE", followed.name, "NME", "LIG"]
    assert protein_system(tiny).getNumParticles() == tiny.n_atoms - 5
    for one, two in tiny.topology.bonds():
        if one.residue.name in CAPS and "H" in (one.element.symbol, two.element.symbol):
            length = np.linalg.norm(tiny.positions[one.index] - tiny.positions[two.index])
            expected = 1.01 if "N" in (one.element.symbol, two.element.symbol) else 1.09
            assert length == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_closing_a_selection_leaves_no_gap_too_short_for_two_caps(structure, seed):
    """Random selections, among them gaps between gaps that were filled."""
    rng = np.random.default_rng(seed)
    (chain,) = structure.chains()
    near = set(rng.choice(chain, size=rng.integers(2, 120), replace=False).tolist())
    kept = structure.closure(near)
    assert near <= kept
    assert structure.closure(kept) == kept
    places = np.flatnonzero([index in kept for index in chain])
    gaps = np.diff(places) - 1
    assert not np.any((gaps > 0) & (gaps <= FILLED_GAP))
    assert (chain[0] in kept) == (chain[1] in kept)
    assert (chain[-1] in kept) == (chain[-2] in kept)


def test_the_partner_of_a_disulfide_bridge_is_kept_with_its_own_gap(structure):
    bridged = dataclasses.replace(structure, bridges={100: {200}, 200: {100}})
    assert bridged.closure({100, 197}) == {100, 197, 198, 199, 200}


def test_a_break_in_the_structure_is_no_peptide_bond(targets, tmp_path):
    """Residues 940 to 942 are missing: their neighbors do not follow each other."""
    lines = (targets / "tyk2" / "protein.pdb").read_text().splitlines(keepends=True)
    gone = [line for line in lines if line.startswith("ATOM") and 940 <= int(line[22:26]) <= 942]
    path = tmp_path / "broken.pdb"
    path.write_text("".join(line for line in lines if line not in gone))
    broken = read_protein(path)
    ids = {r.id: r.index for r in broken.residues if r.name != "HOH"}
    assert ids["939"] not in broken.following
    assert len(list(broken.chains())) == 2


def test_waters_in_the_pocket_are_named_as_left_out(pocket):
    assert pocket.notes == ("2 crystal waters are left out of the pocket.",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: Chem.RemoveHs(m), "lacks 11 hydrogens"),
        (lambda m: Chem.Mol(m, True), "no 3D pose"),
        (lambda m: Chem.CombineMols(m, methane_at(np.zeros(3))), "2 separate parts"),
        (lambda m: Chem.Mol(), "no atoms"),
        (lambda m: methane_at(np.full(3, 500.0)), "nearest heavy atom is .* A away"),
        (lambda m: methane_at(np.full(3, np.nan)), "not finite"),
    ],
)
def test_a_ligand_that_cannot_be_simulated_is_refused_by_what_is_wrong(
    targets, ejm31, change, message
):
    with pytest.raises(ParameterError, match=message):
        pocket_system(targets / "tyk2" / "protein.pdb", change(ejm31))


@pytest.mark.parametrize("radius", [0, -1.0, float("nan"), float("inf")])
def test_a_radius_that_is_no_distance_is_refused(targets, ejm31, radius):
    with pytest.raises(ParameterError, match="radius="):
        pocket_system(targets / "tyk2" / "protein.pdb", ejm31, radius=radius)


def test_a_damaged_protein_is_refused_by_file_and_residue(targets, ejm31, tmp_path):
    with pytest.raises(MissingDataError, match=r"nowhere\.pdb"):
        pocket_system(tmp_path / "nowhere.pdb", ejm31)
    lines = (targets / "tyk2" / "protein.pdb").read_text().splitlines(keepends=True)
    cases = {
        "side_chain.pdb": ([x for x in lines if x[12:26] != " CG  ASP A1041"], "ASP1041"),
        "heavy.pdb": ([x for x in lines if x[76:78] != " H"], "hydrogens"),
        "empty.pdb": (["END\n"], "no atoms"),
        "text.pdb": (
            ["ATOM  this is not a coordinate line, and it is long enough to be\n"],
            "read",
        ),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_text("".join(x for x in content if not x.startswith("CONECT")))
        with pytest.raises(ParameterError, match=message) as caught:
            pocket_system(path, ejm31)
        assert name in str(caught.value)
