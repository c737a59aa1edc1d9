"""The common core of a series, and which atom is which on a symmetric one."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from labkit.errors import ParameterError
from labkit.hotspots.validation.alignment import align_series, heavy_atoms, same_molecule

BENZYLAMINE = "NCc1ccccc1"  # ortho carbons 3 and 7, meta 4 and 6, para 5


def aligned(lead, *others, **options):
    return align_series(heavy_atoms(lead), [heavy_atoms(mol) for mol in others], **options)


def moved(mol, *, angle=2.0, seed=0):
    """Copy in another orientation with its atoms in another order."""
    copy = Chem.Mol(mol)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rotation[:3, 3] = [5.0, -3.0, 8.0]
    rdMolTransforms.TransformConformer(copy.GetConformer(), rotation)
    order = np.random.default_rng(seed).permutation(copy.GetNumAtoms()).tolist()
    return Chem.RenumberAtoms(copy, order)


def test_core_of_grown_ligands_is_the_lead(embed, with_group):
    lead = embed(BENZYLAMINE)
    found = aligned(lead, with_group(lead, "a", {5: "Cl"}), with_group(lead, "b", {4: "F"}))
    assert found.core.tolist() == list(range(8))
    np.testing.assert_allclose(found.rmsd, 0, atol=1e-9)
    assert not found.left_out


@pytest.mark.parametrize("side", [3, 7])
def test_pose_decides_between_the_sides_of_a_symmetric_ring(embed, with_group, side):
    """Both ortho positions match the core; the group is on one of them in space."""
    lead = embed(BENZYLAMINE)
    ligand = with_group(lead, "ortho", {side: "F"})
    found = aligned(lead, Chem.RenumberAtoms(ligand, list(range(ligand.GetNumAtoms()))[::-1]))
    mol, atoms = found.ligands[0], found.atoms[0]
    fluorine = next(a for a in mol.GetAtoms() if a.GetSymbol() == "F")
    carrier = fluorine.GetNeighbors()[0].GetIdx()
    assert found.core[atoms.tolist().index(carrier)] == side
    assert found.rmsd[0] < 1e-9


def test_a_ring_with_another_element_stays_in_the_core(embed, with_group, with_element):
    lead = embed(BENZYLAMINE)
    found = aligned(lead, with_element(lead, "pyridine", 4), with_group(lead, "a", {5: "Cl"}))
    assert len(found.core) == 8


def test_whole_rings_only_are_shared(embed):
    found = aligned(embed("OCCc1ccccc1"), embed("OCCC1CCCCC1", "saturated"), min_core_share=0.3)
    assert len(found.core) == 3


def test_one_odd_ligand_in_ten_is_left_out_by_name(embed, with_group):
    lead = embed(BENZYLAMINE)
    others = [with_group(lead, f"a{i}", {5: symbol}) for i, symbol in enumerate(["F", "Cl"] * 5)]
    found = aligned(lead, *others, embed("CCCC", "odd"))
    assert found.left_out == ("odd",)
    assert len(found.ligands) == 10


def test_series_without_a_common_core_is_refused_with_what_to_do(embed):
    with pytest.raises(ParameterError, match=r"no usable core: .* lead 'lead'.*min_core_share"):
        aligned(embed("c1ccc2ccccc2c1"), embed("C1CCCCC1", "b"), embed("CCCCO", "c"))


def test_lead_alone_has_no_core(embed):
    with pytest.raises(ParameterError, match="its 1 ligands"):
        aligned(embed(BENZYLAMINE))


def test_poses_are_required():
    mol = Chem.MolFromSmiles("CCO")
    mol.SetProp("_Name", "flat")
    with pytest.raises(ParameterError, match="'flat' has no coordinates"):
        heavy_atoms(mol)


@pytest.mark.parametrize("smiles", [BENZYLAMINE, "C[C@H](F)Cl", "O=C([O-])c1cc(C(F)(F)F)ccc1"])
def test_a_copy_in_another_order_and_orientation_is_matched_atom_by_atom(embed, smiles):
    """Symmetric atoms too: a distance matrix tells which is which, and is kept by rotation."""
    mol = embed(smiles)
    lead, copy = heavy_atoms(mol), moved(mol)
    found = same_molecule(lead, copy)
    heavy = [a.GetIdx() for a in copy.GetAtoms() if a.GetAtomicNum() > 1]
    distances = Chem.Get3DDistanceMatrix(copy)[np.ix_(heavy, heavy)]
    np.testing.assert_allclose(distances, Chem.Get3DDistanceMatrix(lead)[np.ix_(found, found)])


def test_bond_orders_and_charges_do_not_matter_for_being_the_same(embed):
    lead = heavy_atoms(embed("OC(=O)c1ccccc1"))
    charged = Chem.MolFromSmiles("[O-]C(=O)c1ccccc1")
    assert sorted(same_molecule(lead, charged)) == list(range(9))


@pytest.mark.parametrize("other", ["NCc1ccccn1", "NCCc1ccccc1", "NCC1=CC2CC1C2"])
def test_another_molecule_is_not_the_same(embed, other):
    assert same_molecule(heavy_atoms(embed(BENZYLAMINE)), Chem.MolFromSmiles(other)) is None
