"""A binding pocket cut out of a protein: whole residues near the ligand, breaks capped.

1. Keep every residue with a heavy atom within `radius` of any ligand atom.
2. Until nothing changes: keep the residues of a gap of at most ``FILLED_GAP``; keep a terminal cap
   with its neighbor, and the partner of a residue that is cross-linked (a disulfide bridge).
3. Close each break of the chain with the atoms of the residue that was cut off: its C=O and CA
   become an acetyl cap (ACE), its N-H and CA an N-methyl cap (NME).
4. Restrain CA of the residues whose CA is farther than `radius` from the ligand, and the heavy
   atoms of the caps, to where they were: the rest of the protein that is not there held them.

Step 2 is repeated because each of its rules can open the need for another: two caps would
otherwise fall on one residue. Water is left out, since a pocket is simulated in implicit solvent;
what is left out is named in ``notes``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from scipy.spatial import cKDTree

from labkit.errors import ParameterError
from labkit.hotspots.simulate.caps import PocketAtom, acetyl, methylamide
from labkit.hotspots.simulate.engine import app, protein_force_field
from labkit.hotspots.simulate.ligand import add_ligand, check_ligand
from labkit.hotspots.simulate.structure import CAPS, ProteinStructure, label, read_protein

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pocket:
    """A capped pocket with its ligand.

    Parameters
    ----------
    topology : openmm.app.Topology
        Protein residues under their chain and number, then the ligand as ``LIG``.
    positions : ndarray of shape (n_atoms, 3)
        Angstrom.
    restrained : ndarray of int
        Atoms to hold where they are.
    ligand : ndarray of int
        Atoms of the ligand, in the order of `mol`.
    mol : Mol
        The ligand with hydrogens and pose.
    residues : tuple of str
        Labels of the protein residues without caps, like ``ASP1041``.
    radius : float
        Angstrom.
    notes : tuple of str
        What was left out, in one sentence each.
    """

    topology: Any
    positions: np.ndarray
    restrained: np.ndarray
    ligand: np.ndarray
    mol: Chem.Mol
    residues: tuple[str, ...]
    radius: float
    notes: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        """Number of atoms, ligand included."""
        return len(self.positions)

    @property
    def solute(self) -> np.ndarray:
        """Atoms that a trajectory holds: all of them."""
        return np.arange(self.n_atoms)


def pocket_system(protein_pdb: str | Path, ligand_mol: Chem.Mol, *, radius: float = 6.0) -> Pocket:
    """Cut the pocket around a ligand out of a protein.

    Parameters
    ----------
    protein_pdb : str or Path
        Protein with hydrogens, as prepared for simulation.
    ligand_mol : Mol
        Ligand with all hydrogens and a pose in the frame of the protein.
    radius : float
        Angstrom. 6 gives some 40 residues and 700 atoms.

    Returns
    -------
    Pocket

    Raises
    ------
    MissingDataError
        There is no such file.
    ParameterError
        The radius is not positive, the ligand has no pose or lacks hydrogens, no residue is near
        it, or a residue lacks hydrogens or is not in the protein force field.
    """
    if not 0 < radius < np.inf:
        raise ParameterError(f"radius={radius} is not a distance; give angstrom, for example 6.")
    mol = check_ligand(ligand_mol)
    structure = read_protein(protein_pdb)
    pose = mol.GetConformer().GetPositions()
    near = structure.within(radius, pose)
    if not near:
        raise ParameterError(
            f"No protein residue of {structure.path.name} lies within radius={radius:g} A of the "
            f"ligand; the nearest heavy atom is {structure.nearest(pose):.1f} A away. Give a "
            "larger radius, or a pose in the frame of the protein."
        )
    kept = structure.closure(near)
    notes = structure.left_out(kept, radius, pose)
    for note in notes:
        logger.info(note)
    return _build(structure, kept, mol, radius, notes)


def _build(
    structure: ProteinStructure,
    kept: set[int],
    mol: Chem.Mol,
    radius: float,
    notes: tuple[str, ...],
) -> Pocket:
    topology = app.Topology()
    chains: dict[Any, Any] = {}
    made: dict[int, Any] = {}
    positions: list[np.ndarray] = []
    restrained: list[int] = []
    pose = mol.GetConformer().GetPositions()
    tree = cKDTree(pose)
    for residue, name, atoms in _pieces(structure, kept):
        if residue.chain not in chains:
            chains[residue.chain] = topology.addChain(residue.chain.id)
        chain = chains[residue.chain]
        new = topology.addResidue(name, chain, residue.id, residue.insertionCode)
        for atom in atoms:
            made[atom.source] = topology.addAtom(atom.name, atom.element, new)
            outer = atom.name == "CA" and tree.query(atom.position)[0] > radius
            if outer or (name in CAPS and atom.element.symbol != "H"):
                restrained.append(len(positions))
            positions.append(atom.position)
    for one, two in structure.bonds:
        if one in made and two in made:
            topology.addBond(made[one], made[two])
    _check_residues(topology, structure.path)
    residues = tuple(label(r) for r in topology.residues() if r.name not in CAPS)
    return Pocket(
        topology=topology,
        ligand=add_ligand(topology, mol),
        positions=np.concatenate([np.array(positions), pose]),
        restrained=np.array(restrained, dtype=int),
        mol=mol,
        residues=residues,
        radius=float(radius),
        notes=notes,
    )


def _pieces(
    structure: ProteinStructure, kept: set[int]
) -> Iterator[tuple[Any, str, list[PocketAtom]]]:
    """Residues of the pocket in the order of the protein, caps where a chain was cut."""
    preceding, following = structure.preceding, structure.following
    before = {preceding[i] for i in kept if i in preceding} - kept
    after = {following[i] for i in kept if i in following} - kept
    for residue in structure.residues:
        if residue.index in kept:
            yield residue, residue.name, structure.atoms(residue)
        elif residue.index in before:
            yield residue, "ACE", acetyl(residue, structure)
        elif residue.index in after:
            yield residue, "NME", methylamide(residue, structure)


def _check_residues(topology: Any, path: Path) -> None:
    """Refuse residues that could not be simulated, by name."""
    for residue in protein_force_field().getUnmatchedResidues(topology):
        if not any(atom.element.symbol == "H" for atom in residue.atoms()):
            raise ParameterError(
                f"Residue {label(residue)} of {path.name} has no hydrogens; add them with "
                "openmm.app.Modeller.addHydrogens or PDBFixer first."
            )
        raise ParameterError(
            f"Residue {label(residue)} of {path.name} is within the pocket and is not one that the "
            "force field ff14SB knows: it is modified, or atoms are missing. Repair it, replace it "
            "by the standard residue, or give a smaller radius."
        )
