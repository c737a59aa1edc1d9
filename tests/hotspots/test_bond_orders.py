"""Bond orders from templates: any atom order, any protonation, symmetric groups the right way."""

from __future__ import annotations

import MDAnalysis
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.bond_orders import ligand_mol, read_template


def atoms_of(smiles, *, hydrogens=True, seed=0):
    """Atom group of a molecule in a random order of atoms, with bonds and without bond orders."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    mol = mol if hydrogens else Chem.RemoveHs(mol)
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms()).tolist()
    mol = Chem.RenumberAtoms(mol, order)
    universe = MDAnalysis.Universe.empty(
        mol.GetNumAtoms(), atom_resindex=[0] * mol.GetNumAtoms(), trajectory=True
    )
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    universe.add_TopologyAttr("elements", symbols)
    universe.add_TopologyAttr("names", [f"{s}{k}" for k, s in enumerate(symbols)])
    universe.add_TopologyAttr("resnames", ["LIG"])
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    universe.add_TopologyAttr("bonds", bonds)
    universe.atoms.positions = mol.GetConformer().GetPositions()
    return universe.atoms


MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O",  # an acid: which oxygen is the OH is where the hydrogen is
    "O=C([O-])c1ccccc1[N+](=O)[O-]",
    "c1ccc2[nH]ccc2c1",
    "C[C@H](N)C(=O)N[C@@H](C)C(=O)[O-]",
    "NC(=[NH2+])c1ccccc1",
    "CS(=O)(=O)NC(=O)c1cnc(Cl)nc1C#N",
    "F/C=C/Br",
    "OP(=O)(O)OC[C@@H]1CCCO1",
]


@pytest.mark.parametrize("smiles", MOLECULES)
@pytest.mark.parametrize("hydrogens", [True, False])
def test_template_gives_the_molecule_in_the_order_of_the_topology(smiles, hydrogens):
    atoms = atoms_of(smiles, hydrogens=hydrogens)
    mol, note = ligand_mol(atoms, smiles)
    assert [a.GetSymbol() for a in mol.GetAtoms()] == list(atoms.elements)
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(smiles)
    assert mol.GetConformer().GetPositions() == pytest.approx(atoms.positions)
    assert note == ""


@pytest.mark.parametrize("smiles", MOLECULES)
def test_hydrogens_alone_give_the_same_molecule_as_the_template(smiles):
    mol, _ = ligand_mol(atoms_of(smiles, seed=3), None)
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize(
    ("topology", "template", "said"),
    [
        ("C[NH2+]Cc1ccccc1", "CNCc1ccccc1", "+1 H on N"),
        ("CC(=O)[O-]", "CC(=O)O", "-1 H on O"),
        ("c1c[nH+]ccc1", "c1cnccc1", "+1 H on N"),
    ],
)
def test_protonation_follows_the_topology_and_is_noted(topology, template, said):
    mol, note = ligand_mol(atoms_of(topology), template)
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(topology)
    assert said in note


def test_stereochemistry_is_that_of_the_coordinates_not_of_the_template():
    mol, _ = ligand_mol(atoms_of("C[C@H](F)Cl"), "C[C@@H](F)Cl")
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles("C[C@H](F)Cl")


def test_template_file_may_have_its_atoms_in_any_order(tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("Cc1ncccc1C(=O)O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    file = tmp_path / "ligand.sdf"
    with Chem.SDWriter(str(file)) as writer:
        writer.write(mol)
    found, _ = ligand_mol(atoms_of("Cc1ncccc1C(=O)O", seed=5), file)
    assert Chem.MolToSmiles(Chem.RemoveHs(found)) == Chem.CanonSmiles("Cc1ncccc1C(=O)O")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("CCC", r"template='CCC' has 3 heavy atoms and the selected ligand has 9"),
        ("c1ccccc1C(C)C", r"is not connected like the selected ligand"),
        ("c1ccccc1CCO", r"is not connected like the selected ligand"),
        ("not a molecule", r"template='not a molecule' is neither a SMILES nor"),
    ],
)
def test_template_of_another_molecule_is_refused(template, said):
    with pytest.raises(ParameterError, match=said):
        ligand_mol(atoms_of("c1ccccc1CCC"), template)


def test_template_file_that_is_missing_is_named():
    with pytest.raises(MissingDataError, match=r"template='nowhere\.sdf' is not a file"):
        read_template("nowhere.sdf")


def test_ligand_of_unknown_element_is_named():
    atoms = atoms_of("CCO")
    atoms[:1].elements = [""]
    with pytest.raises(ParameterError, match=f"element of the ligand's atom {atoms.names[0]}"):
        ligand_mol(atoms, "CCO")
