"""Small congeneric series whose sites are known because they were put there.

A lead gets one conformer. A ligand of its series is the lead with some atoms replaced: a hydrogen
by a heavy atom in the same place adds a group, so that the common core lies on the lead's exactly
and the side of a ring on which a group lies is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from labkit.hotspots.examples import CongenericSeries

MakeMol = Callable[..., Chem.Mol]


@pytest.fixture(scope="session")
def embed() -> MakeMol:
    """SMILES to a named molecule with hydrogens and a conformer; heavy atoms in SMILES order."""

    def make(smiles: str, name: str = "lead") -> Chem.Mol:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
        mol.SetProp("_Name", name)
        return mol

    return make


@pytest.fixture(scope="session")
def with_group() -> MakeMol:
    """Copy in which the first hydrogen of some atoms is another element."""

    def make(mol: Chem.Mol, name: str, groups: Mapping[int, str]) -> Chem.Mol:
        table, new = Chem.GetPeriodicTable(), Chem.RWMol(mol)
        for atom, symbol in groups.items():
            hydrogen = next(
                n for n in new.GetAtomWithIdx(atom).GetNeighbors() if n.GetAtomicNum() == 1
            )
            new.GetAtomWithIdx(hydrogen.GetIdx()).SetAtomicNum(table.GetAtomicNumber(symbol))
        return finished(new, name)

    return make


@pytest.fixture(scope="session")
def with_element() -> MakeMol:
    """Copy in which a ring CH is N."""

    def make(mol: Chem.Mol, name: str, atom: int) -> Chem.Mol:
        new = Chem.RWMol(mol)
        near = new.GetAtomWithIdx(atom).GetNeighbors()
        hydrogen = next(n.GetIdx() for n in near if n.GetAtomicNum() == 1)
        new.GetAtomWithIdx(atom).SetAtomicNum(7)
        new.RemoveAtom(hydrogen)
        return finished(new, name)

    return make


def finished(mol: Chem.RWMol, name: str) -> Chem.Mol:
    """Valid molecule without hydrogens that were not placed."""
    made = mol.GetMol()
    for atom in made.GetAtoms():
        if atom.GetAtomicNum() > 1:
            atom.SetNoImplicit(False)
    Chem.SanitizeMol(made)
    made.SetProp("_Name", name)
    return made


@pytest.fixture(scope="session")
def make_series() -> Callable[..., CongenericSeries]:
    """Series of molecules; affinities in kcal/mol by name, 0 where not given."""

    def make(
        mols: list[Chem.Mol],
        dG: Mapping[str, float] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        target: str = "made",
    ) -> CongenericSeries:
        names = [mol.GetProp("_Name") if mol.HasProp("_Name") else "" for mol in mols]
        affinity = pd.DataFrame(
            {
                "name": names,
                "kind": [(kinds or {}).get(name, "ki") for name in names],
                "dG_kcal_mol": [(dG or {}).get(name, 0.0) for name in names],
            }
        )
        affinity["value"], affinity["unit"] = np.exp(affinity["dG_kcal_mol"] / 0.596), "M"
        return CongenericSeries(target, Path("protein.pdb"), mols, affinity, "none", "none")

    return make
