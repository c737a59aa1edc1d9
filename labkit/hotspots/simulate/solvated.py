"""The whole complex in water, for a cluster: TIP3P, ions, PME and constant pressure.

Periodic box with `padding` on all sides; sodium and chloride neutralize it and add
`ionic_strength`. Electrostatics by particle-mesh Ewald (Essmann et al., J. Chem. Phys. 103 (1995)
8577), pressure by a Monte Carlo barostat. Crystal waters stay. Only protein and ligand are written
to the trajectory, whole and not wrapped into the box.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import app, create_system, force_field, openmm, unit
from labkit.hotspots.simulate.ligand import RESIDUE, add_ligand, check_ligand
from labkit.hotspots.simulate.parametrize import LigandParameters
from labkit.hotspots.simulate.structure import WATER, label, read_pdb

CUTOFF_NM = 1.0
PRESSURE_BAR = 1.0
IONS = ("NA", "CL")


@dataclass(frozen=True)
class Solvated:
    """A protein-ligand complex in a box of water.

    Parameters
    ----------
    topology : openmm.app.Topology
        With periodic box vectors.
    positions : ndarray of shape (n_atoms, 3)
        Angstrom.
    ligand : ndarray of int
        Atoms of the ligand, in the order of `mol`.
    solute : ndarray of int
        Atoms of protein and ligand: what a trajectory holds.
    mol : Mol
        The ligand with hydrogens and pose.
    n_waters : int
    n_ions : int
    notes : tuple of str
    """

    topology: Any
    positions: np.ndarray
    ligand: np.ndarray
    solute: np.ndarray
    mol: Chem.Mol
    n_waters: int
    n_ions: int
    notes: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        """Number of atoms, water included."""
        return len(self.positions)


def solvated_system(
    protein_pdb: str | Path,
    ligand_mol: Chem.Mol,
    parameters: LigandParameters,
    *,
    padding: float = 10.0,
    ionic_strength: float = 0.15,
    seed: int = 0,
) -> Solvated:
    """Put a complex into a box of water with ions.

    Parameters
    ----------
    protein_pdb : str or Path
        Protein with hydrogens, as prepared for simulation.
    ligand_mol : Mol
        Ligand with all hydrogens and a pose in the frame of the protein.
    parameters : LigandParameters
        Its force field.
    padding : float
        Angstrom between solute and box.
    ionic_strength : float
        mol/l of sodium chloride, besides what neutralizes the charge.
    seed : int
        Which waters become ions.

    Returns
    -------
    Solvated

    Raises
    ------
    MissingDataError
        There is no such file.
    ParameterError
        A number is out of range, or the force field lacks a residue.
    """
    if not padding > 0 or not ionic_strength >= 0:
        raise ParameterError(
            f"padding={padding} must be more than 0 A and ionic_strength={ionic_strength} not "
            "negative."
        )
    mol = check_ligand(ligand_mol)
    field = force_field(parameters.ffxml, water=True)
    model = _complex(Path(protein_pdb), mol, field)
    state = random.getstate()
    try:
        random.seed(seed)
        model.addSolvent(
            field,
            model="tip3p",
            padding=padding / 10 * unit.nanometer,
            ionicStrength=ionic_strength * unit.molar,
        )
    finally:
        random.setstate(state)
    return _solvated(model, mol)


def explicit_system(
    solvated: Solvated, parameters: LigandParameters, *, temperature_K: float = 300.0
) -> Any:
    """ff14SB, TIP3P and ligand with PME, rigid water, hydrogens of 3 amu, and a barostat.

    Parameters
    ----------
    solvated : Solvated
    parameters : LigandParameters
    temperature_K : float
        Of the barostat.

    Returns
    -------
    openmm.System
    """
    system = create_system(
        force_field(parameters.ffxml, water=True),
        solvated.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=CUTOFF_NM,
        constraints=app.HBonds,
        rigidWater=True,
        hydrogenMass=3.0 * unit.dalton,
    )
    system.addForce(openmm.MonteCarloBarostat(PRESSURE_BAR, temperature_K))
    return system


def _complex(path: Path, mol: Chem.Mol, field: Any) -> Any:
    """Protein, crystal waters and ligand."""
    pdb = read_pdb(path)
    unknown = field.getUnmatchedResidues(pdb.topology)
    if unknown:
        raise ParameterError(
            f"{path.name} has residues that the force field does not know: "
            f"{', '.join(label(r) for r in unknown[:5])}. Add missing atoms and hydrogens "
            "with PDBFixer, and remove cofactors without parameters."
        )
    model = app.Modeller(pdb.topology, pdb.positions)
    topology = app.Topology()
    add_ligand(topology, mol)
    model.add(topology, mol.GetConformer().GetPositions() * unit.angstrom)
    return model


def _solvated(model: Any, mol: Chem.Mol) -> Solvated:
    residues = list(model.topology.residues())
    waters = [r for r in residues if r.name in WATER]
    ions = [r for r in residues if r.name in IONS]
    outside = {id(r) for r in (*waters, *ions)}
    ligand = next(r for r in residues if r.name == RESIDUE)
    return Solvated(
        topology=model.topology,
        positions=np.asarray(model.positions.value_in_unit(unit.angstrom), dtype=float),
        ligand=np.array([atom.index for atom in ligand.atoms()]),
        solute=np.array([a.index for r in residues if id(r) not in outside for a in r.atoms()]),
        mol=mol,
        n_waters=len(waters),
        n_ions=len(ions),
    )
