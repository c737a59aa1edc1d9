"""The TYK2 pocket with its shipped ligand parameters, shared by the tests of the simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rdkit import Chem

from labkit.hotspots.simulate.parametrize import LigandParameters, parametrize_ligand
from labkit.hotspots.simulate.pocket import Pocket, pocket_system


@pytest.fixture(scope="session")
def targets(labkit_data: Path) -> Path:
    """Folder of the congeneric series."""
    return labkit_data / "hotspots" / "plb"


@pytest.fixture(scope="session")
def shipped(labkit_data: Path) -> Path:
    """Folder of the TYK2 simulation and its ligand parameters."""
    return labkit_data / "hotspots" / "tyk2_pocket_md"


@pytest.fixture(scope="session")
def lead(targets: Path) -> Callable[[str], Chem.Mol]:
    """The smallest ligand of a series, with its pose."""

    def smallest(target: str) -> Chem.Mol:
        path = targets / target / "ligands.sdf"
        with Chem.SDMolSupplier(str(path), removeHs=False) as supplier:
            return min(supplier, key=lambda mol: mol.GetNumHeavyAtoms())

    return smallest


@pytest.fixture(scope="session")
def ejm31(lead: Callable[[str], Chem.Mol]) -> Chem.Mol:
    """The lead of the TYK2 series."""
    return lead("tyk2")


@pytest.fixture(scope="session")
def parameters(ejm31: Chem.Mol, shipped: Path) -> LigandParameters:
    """GAFF2 with AM1-BCC charges, as shipped."""
    return parametrize_ligand(ejm31, files=(shipped / "lig.mol2", shipped / "lig.frcmod"))


@pytest.fixture(scope="session")
def pocket(targets: Path, ejm31: Chem.Mol) -> Pocket:
    """The pocket of 6 angstrom, 725 atoms."""
    return pocket_system(targets / "tyk2" / "protein.pdb", ejm31)


@pytest.fixture(scope="session")
def small_pocket(targets: Path, ejm31: Chem.Mol) -> Pocket:
    """A pocket of 3 angstrom, 189 atoms: a millisecond per step."""
    return pocket_system(targets / "tyk2" / "protein.pdb", ejm31, radius=3.0)
