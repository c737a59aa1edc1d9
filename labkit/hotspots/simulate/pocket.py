"""A binding pocket cut out of a protein: whole residues near the ligand, breaks capped.

1. Keep every residue with a heavy atom within `radius` of any ligand atom.
2. Until nothing changes: keep the residues of a gap of at most ``FILLED_GAP``; keep a terminal cap
   with its neighbor, and the partner of a residue that is cross-linked (a disulfide bridge).
3. Close each break of the chain with the atoms of the residue that was cut off: its C=O and CA
   become an acetyl cap (ACE), its N-H and CA an N-methyl cap (NME); what hung on that CA becomes
   a methyl hydrogen on the same axis, ``C_H`` away.
4. Restrain CA of the residues whose CA is farther than `radius` from the ligand, and the heavy
   atoms of the caps, to where they were: the rest of the protein that is not there held them.

Step 2 is repeated because each of its rules can open the need for another: two caps would
otherwise fall on one residue. Water is left out, since a pocket is simulated in implicit solvent;
what else is left out is named in ``notes``.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from scipy.spatial import cKDTree

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.simulate.engine import app, protein_force_field, unit
from labkit.hotspots.simulate.ligand import add_ligand, check_ligand

logger = logging.getLogger(__name__)

FILLED_GAP = 3
"""Residues of a gap that is closed with the residues themselves; caps need two, and room."""

PEPTIDE_BOND = 2.0
"""Longest C-N distance, in angstrom, that is a bond and not a break in the structure."""

C_H, N_H = 1.09, 1.01
"""Bond lengths of the hydrogens that a cap gets, in angstrom."""

CAPS = frozenset({"ACE", "NME", "NMA", "NH2", "NHE"})
WATER = frozenset({"HOH", "WAT", "TIP3", "SOL", "DOD"})


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
        """Atoms worth writing to a trajectory: all of them."""
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
        Angstrom. 6 gives some 40 residues, 8 about 55.

    Returns
    -------
    Pocket

    Raises
    ------
    MissingDataError
        There is no such file.
    ParameterError
        The radius is not positive, the ligand has no pose or lacks hydrogens, no residue is near
        it, or the residues lack hydrogens or are not in the protein force field.
    """
    if not radius > 0:
        raise ParameterError(f"radius={radius} is not a distance; give angstrom, for example 6.")
    mol = check_ligand(ligand_mol)
    structure = _read(protein_pdb)
    near = structure.within(radius, mol.GetConformer().GetPositions())
    if not near:
        raise ParameterError(
            f"No protein residue of {Path(protein_pdb).name} lies within radius={radius:g} A of "
            f"the ligand; the nearest atom is {structure.distance(mol):.1f} A away. Give a pose in "
            "the frame of the protein."
        )
    kept = structure.closure(near)
    return _build(structure, kept, mol, radius)


@dataclass(frozen=True)
class _Structure:
    """A protein with what the cut asks of it: which residues follow each other, who is near."""

    residues: list[Any]
    positions: np.ndarray
    bonds: list[tuple[int, int]]
    following: dict[int, int]
    bridges: dict[int, set[int]]
    path: Path

    @property
    def preceding(self) -> dict[int, int]:
        return {after: before for before, after in self.following.items()}

    def within(self, radius: float, ligand: np.ndarray) -> set[int]:
        """Protein residues with a heavy atom within `radius` of a ligand atom."""
        tree = cKDTree(ligand)
        distances, _ = tree.query(self.positions)
        return {
            residue.index
            for residue in self.residues
            if residue.name not in WATER and self.in_chain(residue.index)
            if any(distances[a.index] <= radius for a in residue.atoms() if a.element.symbol != "H")
        }

    def in_chain(self, index: int) -> bool:
        """Whether the residue is bonded into a chain, or has a backbone of its own."""
        names = {atom.name for atom in self.residues[index].atoms()}
        return index in self.following or index in self.preceding or {"N", "CA", "C"} <= names

    def distance(self, mol: Chem.Mol) -> float:
        """Smallest distance between protein and ligand, in angstrom."""
        tree = cKDTree(mol.GetConformer().GetPositions())
        return float(tree.query(self.positions)[0].min())

    def chains(self) -> Iterator[list[int]]:
        """Runs of residues that follow each other."""
        for start in self.following.keys() - self.preceding.keys():
            run = [start]
            while run[-1] in self.following:
                run.append(self.following[run[-1]])
            yield run

    def closure(self, near: set[int]) -> set[int]:
        """Repeat the rules of step 2 until none adds a residue."""
        kept: set[int] = set()
        grown = set(near)
        while grown != kept:
            kept = set(grown)
            for run in self.chains():
                grown |= _gaps(run, kept, FILLED_GAP)
                for cap, neighbor in ((run[0], run[1]), (run[-1], run[-2])):
                    if self.residues[cap].name in CAPS and {cap, neighbor} & kept:
                        grown |= {cap, neighbor}
            for index in kept:
                grown |= self.bridges.get(index, set())
        return kept

    def left_out(self, kept: set[int], radius: float, ligand: np.ndarray) -> tuple[str, ...]:
        """Sentences about what is near the ligand and not part of the pocket."""
        distances, _ = cKDTree(ligand).query(self.positions)
        water, others = 0, []
        for residue in self.residues:
            if residue.index in kept or self.in_chain(residue.index):
                continue
            if min(distances[atom.index] for atom in residue.atoms()) > radius:
                continue
            if residue.name in WATER:
                water += 1
            else:
                others.append(label(residue))
        notes = []
        if water:
            notes.append(f"{water} crystal waters within {radius:g} A of the ligand are left out.")
        if others:
            notes.append(f"Not protein, left out of the pocket: {', '.join(others)}.")
        return tuple(notes)


def label(residue: Any) -> str:
    """Name and number of an OpenMM residue, like ``ASP1041``."""
    return f"{residue.name}{residue.id}{residue.insertionCode.strip()}"


def _gaps(run: list[int], kept: set[int], longest: int) -> set[int]:
    """Residues of a chain between two kept ones that are at most `longest` apart."""
    places = [place for place, index in enumerate(run) if index in kept]
    return {
        index
        for before, after in itertools.pairwise(places)
        if 1 < after - before <= longest + 1
        for index in run[before + 1 : after]
    }


def _read(protein_pdb: str | Path) -> _Structure:
    path = Path(protein_pdb)
    if not path.is_file():
        raise MissingDataError(f"protein_pdb={str(path)!r} is not a file.")
    try:
        pdb = app.PDBFile(str(path))
    except (ValueError, IndexError, KeyError) as exc:
        raise ParameterError(f"{path.name} could not be read as a PDB file: {exc}") from exc
    positions = np.asarray(pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    following: dict[int, int] = {}
    bridges: dict[int, set[int]] = {}
    bonds = []
    for one, two in pdb.topology.bonds():
        first, second = sorted((one, two), key=lambda atom: atom.residue.index)
        before, after = first.residue, second.residue
        if before is not after and (first.name, second.name) == ("C", "N"):
            if np.linalg.norm(positions[first.index] - positions[second.index]) > PEPTIDE_BOND:
                continue
            following[before.index] = after.index
        elif before is not after:
            bridges.setdefault(before.index, set()).add(after.index)
            bridges.setdefault(after.index, set()).add(before.index)
        bonds.append((one.index, two.index))
    residues = list(pdb.topology.residues())
    return _Structure(residues, positions, bonds, following, bridges, path)


@dataclass(frozen=True)
class _Atom:
    """An atom of the pocket made from one of the protein."""

    source: int
    name: str
    element: Any
    position: np.ndarray


def _build(structure: _Structure, kept: set[int], mol: Chem.Mol, radius: float) -> Pocket:
    topology = app.Topology()
    positions: list[np.ndarray] = []
    made: dict[int, Any] = {}
    restrained: list[int] = []
    names: list[str] = []
    ligand_positions = mol.GetConformer().GetPositions()
    tree = cKDTree(ligand_positions)
    chains: dict[Any, Any] = {}
    for residue, name, atoms in _pieces(structure, kept):
        chain = residue.chain
        if chain not in chains:
            chains[chain] = topology.addChain(chain.id)
        new = topology.addResidue(name, chains[chain], residue.id, residue.insertionCode)
        if name not in CAPS:
            names.append(label(residue))
        for atom in atoms:
            made[atom.source] = topology.addAtom(atom.name, atom.element, new)
            far = atom.name == "CA" and tree.query(atom.position)[0] > radius
            if far or (name in CAPS and atom.element.symbol != "H"):
                restrained.append(len(positions))
            positions.append(atom.position)
    for one, two in structure.bonds:
        if one in made and two in made:
            topology.addBond(made[one], made[two])
    _check_residues(topology, structure.path)
    ligand = add_ligand(topology, mol)
    notes = structure.left_out(kept, radius, ligand_positions)
    for note in notes:
        logger.info(note)
    return Pocket(
        topology=topology,
        positions=np.concatenate([np.array(positions), ligand_positions]),
        restrained=np.array(restrained, dtype=int),
        ligand=ligand,
        mol=mol,
        residues=tuple(names),
        radius=float(radius),
        notes=notes,
    )


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


def _pieces(structure: _Structure, kept: set[int]) -> Iterator[tuple[Any, str, list[_Atom]]]:
    """Residues of the pocket in the order of the protein, caps where a chain was cut."""
    preceding, following = structure.preceding, structure.following
    acetyl = {preceding[i] for i in kept if i in preceding} - kept
    methylamide = {following[i] for i in kept if i in following} - kept
    for residue in structure.residues:
        if residue.index in kept:
            whole = [
                _Atom(atom.index, atom.name, atom.element, structure.positions[atom.index])
                for atom in residue.atoms()
            ]
            yield residue, residue.name, whole
        elif residue.index in acetyl:
            yield residue, "ACE", _acetyl(residue, structure)
        elif residue.index in methylamide:
            yield residue, "NME", _methylamide(residue, structure)


def _acetyl(residue: Any, structure: _Structure) -> list[_Atom]:
    atoms = _backbone(residue, structure, ("C", "O", "CA"))
    c, o, ca = atoms["C"], atoms["O"], atoms["CA"]
    return [
        _Atom(ca.index, "CH3", ca.element, structure.positions[ca.index]),
        _Atom(c.index, "C", c.element, structure.positions[c.index]),
        _Atom(o.index, "O", o.element, structure.positions[o.index]),
        *_hydrogens(ca, c, structure, ("H1", "H2", "H3"), C_H),
    ]


def _methylamide(residue: Any, structure: _Structure) -> list[_Atom]:
    atoms = _backbone(residue, structure, ("N", "CA"))
    n, ca = atoms["N"], atoms["CA"]
    amide = _hydrogens(n, ca, structure, ("H",), N_H)
    return [
        _Atom(n.index, "N", n.element, structure.positions[n.index]),
        _Atom(ca.index, "C", ca.element, structure.positions[ca.index]),
        *amide,
        *_hydrogens(ca, n, structure, ("H1", "H2", "H3"), C_H),
    ]


def _backbone(residue: Any, structure: _Structure, names: tuple[str, ...]) -> dict[str, Any]:
    atoms = {atom.name: atom for atom in residue.atoms()}
    missing = [name for name in names if name not in atoms]
    if missing:
        raise ParameterError(
            f"Residue {label(residue)} of {structure.path.name} lacks {', '.join(missing)}, which "
            "a cap is made from; repair the structure, for example with PDBFixer."
        )
    return atoms


def _hydrogens(
    center: Any, stem: Any, structure: _Structure, names: tuple[str, ...], length: float
) -> list[_Atom]:
    """Turn what hangs on `center`, except `stem` and other residues, into hydrogens."""
    residue = center.residue
    hanging = sorted(
        other
        for bond in structure.bonds
        if center.index in bond
        for other in bond
        if other not in (center.index, stem.index) and _belongs(other, residue)
    )
    if len(hanging) != len(names):
        raise ParameterError(
            f"{center.name} of residue {label(residue)} in {structure.path.name} has "
            f"{len(hanging)} substituents where a cap needs {len(names)}; add the missing atoms "
            "and hydrogens, for example with PDBFixer."
        )
    origin = structure.positions[center.index]
    atoms = []
    for name, source in zip(names, hanging, strict=True):
        axis = structure.positions[source] - origin
        position = origin + length * axis / np.linalg.norm(axis)
        atoms.append(_Atom(source, name, app.Element.getBySymbol("H"), position))
    return atoms


def _belongs(index: int, residue: Any) -> bool:
    return any(atom.index == index for atom in residue.atoms())
