"""Molecules cut by the periodic boundary are made whole while frames are read.

A frame needs it when neighbors in a chain are a box apart, or when the ligand touches a periodic
image of the protein instead of the protein. Then (1) each unbroken piece of chain and the ligand
are made whole by following their atoms in order, each placed at the image nearest to the one
before, and (2) each piece is moved by the lattice vector that brings its atom nearest to the
ligand's center. Both steps move atoms by lattice vectors only, so no distance is invented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.lib.distances import distance_array, minimize_vectors
from MDAnalysis.transformations.base import TransformationBase

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

CHAIN_GAP = 4.0  # angstrom between C and the next N: longer is a gap in the chain
MOVED = 1.0  # angstrom: displacements above it are lattice vectors, below it rounding


class MakeWhole(TransformationBase):
    """On-the-fly transformation of MDAnalysis that makes ligand and protein whole.

    Parameters
    ----------
    ligand : ndarray of int
        Atom indices of the ligand.
    pieces : list of ndarray of int
        Atom indices of each unbroken piece of protein.
    """

    def __init__(self, ligand: np.ndarray, pieces: list[np.ndarray]) -> None:
        super().__init__(max_threads=1, parallelizable=True)
        self.ligand = ligand
        self.pieces = pieces

    def _transform(self, ts: Any) -> Any:
        if has_box(ts):
            moved = self.whole(ts.positions, ts.dimensions)
            for index, positions in moved:
                ts.positions[index] = positions
        return ts

    def whole(self, positions: np.ndarray, box: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """New positions of the ligand and of each piece, as (atom indices, positions)."""
        ligand = _follow(positions[self.ligand], box)
        center = ligand.mean(axis=0)
        moved = [(self.ligand, ligand)]
        for piece in self.pieces:
            whole = _follow(positions[piece], box)
            offset = whole - center
            nearest = minimize_vectors(offset, box)
            closest = int(np.argmin((nearest**2).sum(axis=1)))
            moved.append((piece, whole + (nearest - offset)[closest]))
        return moved


def has_box(ts: Any) -> bool:
    """Whether a frame has a periodic box, and not the placeholder that PDB files carry."""
    return ts.dimensions is not None and bool(np.all(ts.dimensions[:3] > 2.0))


def make_whole(universe: Universe, ligand: AtomGroup, protein: AtomGroup) -> MakeWhole:
    """Transformation for a universe, with the protein cut at gaps in its chains."""
    return MakeWhole(ligand.indices, _pieces(universe, protein))


def is_broken(transformation: MakeWhole, ts: Any) -> bool:
    """Whether a frame has a cut molecule, or a ligand beside an image of the protein."""
    if not has_box(ts):
        return False
    moved = transformation.whole(ts.positions, ts.dimensions)
    for index, whole in moved:
        shift = whole - ts.positions[index]
        if np.any(np.abs(shift - shift[0]) > MOVED):
            return True
    now = _closest(ts.positions[transformation.ligand], ts.positions, transformation.pieces)
    then = min(
        (float(distance_array(moved[0][1], whole).min()) for _, whole in moved[1:]), default=now
    )
    return then < now - MOVED


def _closest(ligand: np.ndarray, positions: np.ndarray, pieces: list[np.ndarray]) -> float:
    return min((float(distance_array(ligand, positions[p]).min()) for p in pieces), default=0.0)


def _follow(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    steps = np.diff(positions.astype(np.float64), axis=0)
    if not len(steps):
        return positions.astype(np.float64)
    lattice = minimize_vectors(steps, box) - steps
    lattice[np.abs(lattice).max(axis=1) < MOVED] = 0.0
    whole = positions.astype(np.float64)
    whole[1:] += np.cumsum(lattice, axis=0)
    return whole


def _pieces(universe: Universe, protein: AtomGroup) -> list[np.ndarray]:
    residues = protein.residues
    carbon = dict(zip(*_named(protein, "C"), strict=True))
    nitrogen = dict(zip(*_named(protein, "N"), strict=True))
    box = universe.trajectory.ts.dimensions if has_box(universe.trajectory.ts) else None
    begins = [0]
    for k, (before, after) in enumerate(zip(residues.ix[:-1], residues.ix[1:], strict=True), 1):
        apart = residues[k].segindex != residues[k - 1].segindex
        if not apart and before in carbon and after in nitrogen:
            step = np.asarray(nitrogen[after] - carbon[before], dtype=np.float64)
            step = step if box is None else minimize_vectors(step[None], box)[0]
            apart = bool(np.linalg.norm(step) > CHAIN_GAP)
        if apart:
            begins.append(k)
    groups = np.split(residues.ix, begins[1:])
    return [protein.indices[np.isin(protein.resindices, group)] for group in groups]


def _named(protein: AtomGroup, name: str) -> tuple[np.ndarray, np.ndarray]:
    mine = protein[protein.names == name]
    return mine.resindices, mine.positions
