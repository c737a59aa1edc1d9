"""A protein as the cut of a pocket sees it: chains, bridges, distances to a ligand."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.simulate.engine import app, unit

FILLED_GAP = 3
"""Longest gap, in residues, that is filled; two caps would face each other across a shorter one."""

PEPTIDE_BOND = 2.0
"""Longest C-N distance, in angstrom, that is a bond and not a break in the structure."""

CAPS = frozenset({"ACE", "NME", "NMA", "NH2", "NHE"})
WATER = frozenset({"HOH", "WAT", "TIP3", "SOL", "DOD"})


@dataclass(frozen=True)
class PocketAtom:
    """An atom of a pocket, made from one of the protein.

    Parameters
    ----------
    source : int
        Index in the protein; bonds are inherited from it.
    name : str
    element : openmm.app.Element
    position : ndarray of shape (3,)
        Angstrom.
    """

    source: int
    name: str
    element: Any
    position: np.ndarray


@dataclass(frozen=True)
class ProteinStructure:
    """Residues of a protein file, and how they hang together.

    Parameters
    ----------
    residues : list of openmm.app.topology.Residue
    positions : ndarray of shape (n_atoms, 3)
        Angstrom.
    bonds : list of (int, int)
        Atoms; a peptide bond across a break in the structure is not among them.
    following : dict of int to int
        Residue that a peptide bond leads to.
    bridges : dict of int to set of int
        Residues that other bonds lead to.
    path : Path
    """

    residues: list[Any]
    positions: np.ndarray
    bonds: list[tuple[int, int]]
    following: dict[int, int]
    bridges: dict[int, set[int]]
    path: Path

    @cached_property
    def preceding(self) -> dict[int, int]:
        """Residue that a peptide bond comes from."""
        return {after: before for before, after in self.following.items()}

    @cached_property
    def neighbors(self) -> dict[int, list[int]]:
        """Atoms that each atom is bonded to, in the order of the file."""
        found: dict[int, list[int]] = {}
        for one, two in self.bonds:
            found.setdefault(one, []).append(two)
            found.setdefault(two, []).append(one)
        return {atom: sorted(others) for atom, others in found.items()}

    def atoms(self, residue: Any) -> list[PocketAtom]:
        """Atoms of a residue as they are."""
        return [
            PocketAtom(atom.index, atom.name, atom.element, self.positions[atom.index])
            for atom in residue.atoms()
        ]

    def distances(self, pose: np.ndarray) -> np.ndarray:
        """Distance of each atom to the nearest of the ligand, shape (n_atoms,), in angstrom."""
        return np.asarray(cKDTree(pose).query(self.positions)[0])

    def nearest(self, pose: np.ndarray) -> float:
        """Smallest distance of a heavy atom to the ligand, in angstrom."""
        elements = [atom.element.symbol for residue in self.residues for atom in residue.atoms()]
        return float(self.distances(pose)[np.array(elements) != "H"].min(initial=np.inf))

    def is_protein(self, residue: Any) -> bool:
        """Whether the residue is bonded into a chain, or has a backbone of its own."""
        if residue.index in self.following or residue.index in self.preceding:
            return True
        return {"N", "CA", "C"} <= {atom.name for atom in residue.atoms()}

    def within(self, radius: float, pose: np.ndarray) -> set[int]:
        """Protein residues with a heavy atom within `radius` of a ligand atom."""
        near = self.distances(pose) <= radius
        return {
            residue.index
            for residue in self.residues
            if any(near[a.index] and a.element.symbol != "H" for a in residue.atoms())
            and self.is_protein(residue)
        }

    def chains(self) -> Iterator[list[int]]:
        """Runs of two or more residues that follow each other."""
        for start in sorted(self.following.keys() - self.preceding.keys()):
            run = [start]
            while run[-1] in self.following:
                run.append(self.following[run[-1]])
            yield run

    def closure(self, near: set[int]) -> set[int]:
        """Residues that have to be kept when those `near` the ligand are."""
        kept: set[int] = set()
        grown = set(near)
        while grown != kept:
            kept = set(grown)
            for run in self.chains():
                grown |= _filled(run, kept)
                for cap, neighbor in ((run[0], run[1]), (run[-1], run[-2])):
                    if self.residues[cap].name in CAPS and {cap, neighbor} & kept:
                        grown |= {cap, neighbor}
            for index in kept:
                grown |= self.bridges.get(index, set())
        return kept

    def left_out(self, kept: set[int], radius: float, pose: np.ndarray) -> tuple[str, ...]:
        """Sentences about what is near the ligand and not protein."""
        near = self.distances(pose) <= radius
        others = [
            residue
            for residue in self.residues
            if residue.index not in kept
            and any(near[atom.index] for atom in residue.atoms())
            and not self.is_protein(residue)
        ]
        waters = sum(residue.name in WATER for residue in others)
        names = [label(residue) for residue in others if residue.name not in WATER]
        notes = []
        if waters:
            plural = "s are" if waters > 1 else " is"
            notes.append(f"{waters} crystal water{plural} left out of the pocket.")
        if names:
            notes.append(f"Not protein, left out of the pocket: {', '.join(names)}.")
        return tuple(notes)


def label(residue: Any) -> str:
    """Name and number of an OpenMM residue, like ``ASP1041``."""
    return f"{residue.name}{residue.id}{residue.insertionCode.strip()}"


def read_pdb(path: str | Path) -> Any:
    """Read a protein with OpenMM.

    Raises
    ------
    MissingDataError
        There is no such file.
    ParameterError
        It is not a PDB file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"protein_pdb={str(path)!r} is not a file.")
    text = path.read_text(errors="replace")
    if not any(line.startswith(("ATOM", "HETATM")) for line in text.splitlines()):
        raise ParameterError(f"{path.name} has no atoms; give a PDB file of the protein.")
    try:
        return app.PDBFile(io.StringIO(text))
    except (ValueError, LookupError, AttributeError, TypeError) as exc:
        raise ParameterError(f"{path.name} could not be read as a PDB file: {exc}") from exc


def read_protein(path: str | Path) -> ProteinStructure:
    """Read a protein and sort its bonds into peptide bonds and bridges."""
    pdb = read_pdb(path)
    positions = np.asarray(pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    following: dict[int, int] = {}
    bridges: dict[int, set[int]] = {}
    bonds = []
    for one, two in pdb.topology.bonds():
        first, second = sorted((one, two), key=lambda atom: atom.residue.index)
        before, after = first.residue.index, second.residue.index
        if before != after and (first.name, second.name) == ("C", "N"):
            if np.linalg.norm(positions[first.index] - positions[second.index]) > PEPTIDE_BOND:
                continue
            following[before] = after
        elif before != after:
            bridges.setdefault(before, set()).add(after)
            bridges.setdefault(after, set()).add(before)
        bonds.append((one.index, two.index))
    residues = list(pdb.topology.residues())
    return ProteinStructure(residues, positions, bonds, following, bridges, Path(path))


def _filled(run: list[int], kept: set[int]) -> set[int]:
    """Residues of a chain in gaps, between kept ones, that are short enough to fill."""
    places = [place for place, index in enumerate(run) if index in kept]
    return {
        index
        for before, after in itertools.pairwise(places)
        if after - before <= FILLED_GAP + 1
        for index in run[before + 1 : after]
    }
