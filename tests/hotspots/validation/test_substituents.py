"""Groups on a core: what counts as a change and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from labkit.hotspots.validation.alignment import heavy_atoms
from labkit.hotspots.validation.substituents import decorations

RING = Chem.MolFromSmarts("c1ccccc1")


def on_ring(mol, core=RING):
    heavy = heavy_atoms(mol)
    return decorations(heavy, heavy.GetSubstructMatch(core))


def texts(mol, core=RING):
    return sorted(d.text for d in on_ring(mol, core) if d.groups)


@pytest.mark.parametrize(
    ("smiles", "groups"),
    [
        ("Cc1ccccc1", ["*C"]),
        ("COc1ccccc1", ["*OC"]),
        ("OCc1ccccc1", ["*CO"]),
        ("O=Cc1ccccc1", ["*C=O"]),
        ("c1ccc2c(c1)CCC2", ["*CCC*", "*CCC*"]),
        ("CC(C)c1cccc(Cl)c1", ["*C(C)C", "*Cl"]),
    ],
)
def test_groups_are_written_from_the_core_outward(embed, smiles, groups):
    assert texts(embed(smiles)) == groups


def test_the_same_group_reads_the_same_whatever_the_order_of_atoms(embed):
    mol = embed("CC(=O)Nc1ccc(OC)cc1")
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    assert texts(mol) == texts(Chem.RenumberAtoms(mol, order))


def test_enantiomers_of_a_group_differ(embed):
    one, other = (embed(f"C{tag}(F)(Cl)c1ccccc1") for tag in ("[C@]", "[C@@]"))
    assert texts(one) != texts(other)


def test_members_are_the_atoms_of_the_group(embed):
    decorated = on_ring(embed("CC(=O)Nc1ccccc1"))
    assert sorted(decorated[0].members | decorated[1].members) in ([0, 1, 2, 3], [])
    assert {0, 1, 2, 3} in [set(d.members) for d in decorated]


def test_a_bridging_group_belongs_to_both_of_its_ends(embed):
    ends = [d.ends for d in on_ring(embed("c1ccc2c(c1)CCC2")) if d.groups]
    assert ends[0] == ends[1]
    assert len(ends[0]) == 2


def test_a_stereocenter_of_the_core_is_changed_by_inversion_only(embed):
    """The mirror image of a molecule has every center inverted; a turned copy none."""
    core = Chem.MolFromSmarts("NC(C)C(=O)O")
    mol = embed("N[C@@H](C)C(=O)O")
    turned, mirrored = Chem.Mol(mol), Chem.Mol(mol)
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    rdMolTransforms.TransformConformer(turned.GetConformer(), turn)
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    rdMolTransforms.TransformConformer(mirrored.GetConformer(), mirror)
    here, there, across = (on_ring(m, core) for m in (mol, turned, mirrored))
    assert [d.handedness for d in here].count(0) == 5
    assert not any(a.differs(b) for a, b in zip(here, there, strict=True))
    assert [a.differs(b) for a, b in zip(here, across, strict=True)].count(True) == 1


def test_a_new_group_that_makes_a_stereocenter_is_one_change(embed, with_group):
    lead = embed("CCc1ccccc1")
    core = Chem.MolFromSmarts("CCc1ccccc1")
    here, there = on_ring(lead, core), on_ring(with_group(lead, "a", {1: "F"}), core)
    assert [a.differs(b) for a, b in zip(here, there, strict=True)].count(True) == 1
    assert [d.handedness for d in there].count(0) == len(there) - 1
