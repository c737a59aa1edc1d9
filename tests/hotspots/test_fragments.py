"""Fragments: every heavy atom in one of them, each connected, none a crumb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, RDConfig, RDLogger
from rdkit.Chem import BRICS
from rdkit.Chem.Scaffolds import MurckoScaffold

from labkit.errors import ParameterError
from labkit.hotspots.fragments import SCHEMES, fragment_atoms

ERGOTAMINE = (
    "CN1C[C@@H](C=C2[C@H]1CC3=CNC4=CC=CC2=C34)C(=O)N[C@]5(C(=O)N6[C@H](C(=O)N7CCC[C@H]7"
    "[C@@]6(O5)O)CC8=CC=CC=C8)C"
)


def sizes(smiles, **options):
    return sorted(fragment_atoms(Chem.MolFromSmiles(smiles), **options).sizes.tolist())


@pytest.fixture(scope="module")
def molecules():
    """Every tenth of the first 5,000 NCI structures that RDKit ships and can read."""
    RDLogger.DisableLog("rdApp.*")
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    lines = path.read_text().splitlines()[::10]
    found = [Chem.MolFromSmiles(line.split()[0]) for line in lines if line.strip()]
    RDLogger.EnableLog("rdApp.*")
    return [mol for mol in found if mol is not None and mol.GetNumHeavyAtoms()]


def connected_parts(mol, atoms):
    """Number of connected parts of some atoms, by a breadth-first search over neighbors."""
    left, parts = set(atoms), 0
    while left:
        front, parts = {left.pop()}, parts + 1
        while front:
            near = {n.GetIdx() for a in front for n in mol.GetAtomWithIdx(a).GetNeighbors()}
            front = near & left
            left -= front
    return parts


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_heavy_atom_is_in_one_connected_fragment_that_is_no_crumb(molecules, scheme):
    assert len(molecules) > 400
    for mol in molecules:
        found = fragment_atoms(mol, scheme=scheme)
        assert found.ids.shape == (mol.GetNumHeavyAtoms(),)
        assert set(found.ids) == set(range(len(found)))
        assert found.sizes.sum() == mol.GetNumHeavyAtoms()
        assert len(set(found.names)) == len(found)
        heavy = np.array([a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() != 1])
        for fragment in range(len(found)):
            members = heavy[found.ids == fragment].tolist()
            assert connected_parts(mol, members) == 1, Chem.MolToSmiles(mol)
            if len(members) < 2:  # only a whole component, such as the chloride of a salt
                neighbors = mol.GetAtomWithIdx(members[0]).GetNeighbors()
                assert all(n.GetAtomicNum() == 1 for n in neighbors), Chem.MolToSmiles(mol)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hydrogens_and_the_order_of_atoms_do_not_change_the_sizes(molecules, scheme):
    rng = np.random.default_rng(0)
    for mol in molecules[::10]:
        expected = sorted(fragment_atoms(mol, scheme=scheme).sizes)
        assert sorted(fragment_atoms(Chem.AddHs(mol), scheme=scheme).sizes) == expected
        order = rng.permutation(mol.GetNumAtoms()).tolist()
        shuffled = Chem.RenumberAtoms(mol, order)
        assert sorted(fragment_atoms(shuffled, scheme=scheme).sizes) == expected


def test_a_ring_system_is_never_cut(molecules):
    for mol in molecules:
        found = fragment_atoms(mol)
        row = {a.GetIdx(): i for i, a in enumerate(mol.GetAtoms())}
        for ring in mol.GetRingInfo().AtomRings():
            assert len({found.ids[row[atom]] for atom in ring}) == 1


def test_ergotamine_is_ergoline_amide_peptide_rings_and_benzyl():
    found = fragment_atoms(Chem.MolFromSmiles(ERGOTAMINE))
    assert found.names == (
        "ring 1 (C15N2)",
        "linker 1 (CNO)",
        "ring 2 (C10N2O4)",
        "ring 3 (C7)",
    )


def test_brics_crumbs_of_ergotamine_find_a_home():
    """The pieces of BRICS itself are the measured ones of the brief: 17, 2, 16, 1, 6, 1."""
    assert sizes(ERGOTAMINE, scheme="brics", min_size=1) == sorted([17, 2, 16, 1, 6, 1])
    assert sizes(ERGOTAMINE, scheme="brics") == sorted([17, 3, 16, 7])


def test_brics_without_joining_is_what_rdkit_breaks(molecules):
    for mol in molecules[::7]:
        broken = Chem.GetMolFrags(BRICS.BreakBRICSBonds(mol), asMols=True)
        expected = sorted(
            sum(atom.GetAtomicNum() > 1 for atom in piece.GetAtoms()) for piece in broken
        )
        assert sorted(fragment_atoms(mol, scheme="brics", min_size=1).sizes) == expected


def test_scaffold_without_joining_is_rdkits_scaffold(molecules):
    for mol in molecules:
        scaffold = MurckoScaffold.GetScaffoldForMol(mol).GetNumHeavyAtoms()
        if scaffold and len(Chem.GetMolFrags(mol)) == 1:
            assert scaffold in fragment_atoms(mol, scheme="murcko", min_size=1).sizes


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("c1ccccc1-c1ccccc1", [6, 6]),  # biphenyl: two ring systems
        ("c1ccc2ccccc2c1", [10]),  # naphthalene: one
        ("C1CCC2(CC1)CCCC2", [10]),  # spiro atoms belong to both rings
        ("Cc1ccccc1F", [8]),  # methyl and fluorine belong to the ring
        ("COc1ccccc1", [2, 6]),  # methoxy is a site of its own
        ("c1ccccc1CCCc1ccncc1", [3, 6, 6]),  # a linker between two rings
        ("CCCCCC", [6]),  # no ring, one chain
        ("CCO.Cl", [1, 3]),  # nothing to join a lone ion to
        ("O=C1CCCCC1", [7]),  # carbonyl oxygen
        ("C", [1]),
    ],
)
def test_rings_linkers_and_chains(smiles, expected):
    assert sizes(smiles) == expected


def test_rows_follow_the_order_that_is_asked_for():
    mol = Chem.AddHs(Chem.MolFromSmiles("COc1ccccc1"))
    heavy = np.arange(8)[::-1]
    found, usual = fragment_atoms(mol, heavy=heavy), fragment_atoms(mol)
    np.testing.assert_array_equal(found.sizes[found.ids], usual.sizes[usual.ids][::-1])
    assert found.ids[0] == 0


def test_bad_requests_are_errors():
    mol = Chem.MolFromSmiles("CCO")
    with pytest.raises(ParameterError, match="scheme='recap'"):
        fragment_atoms(mol, scheme="recap")
    with pytest.raises(ParameterError, match="min_size=0"):
        fragment_atoms(mol, min_size=0)
    with pytest.raises(ParameterError, match="2 atoms that are not the 3 heavy atoms"):
        fragment_atoms(mol, heavy=[0, 1])
    with pytest.raises(ParameterError, match="none of them heavy"):
        fragment_atoms(Chem.MolFromSmiles("[H][H]"))
