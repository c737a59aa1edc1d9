"""The inner loop of contact extraction: what one process computes from one range of frames.

Squared distances come from |p - l|^2 = |p|^2 - 2 p.l + |l|^2, so that a matrix product does the
work, and a square root is taken only of the smallest one to each residue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.hotspots.frames import read_frames, require_numbers
from labkit.hotspots.reading import quiet_mdanalysis

if TYPE_CHECKING:
    from MDAnalysis import Universe

    from labkit.hotspots.systems import Complex

BLOCK = 16  # frames: the neighborhood hardly changes over them, and their distances stay in cache


@dataclass(frozen=True, eq=False)
class ContactTask:
    """Frames of a complex, and what is needed to read them in another process.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        Opens its files anew where it is unpickled.
    ligand : ndarray of shape (n_atoms,)
        Indices of the ligand's heavy atoms.
    protein : ndarray of shape (n_protein_atoms,)
        Indices of the protein's heavy atoms, residue by residue.
    first : ndarray of shape (n_residues,)
        Position in `protein` of the first atom of each residue.
    finite : ndarray of shape (n_all,)
        Indices of all atoms of ligand and protein, hydrogens too, that must have coordinates.
    frames : ndarray of shape (n_frames,)
        Trajectory indices.
    cutoff : float
        Angstrom.
    """

    universe: Universe
    ligand: np.ndarray
    protein: np.ndarray
    first: np.ndarray
    finite: np.ndarray
    frames: np.ndarray
    cutoff: float

    @classmethod
    def of(cls, complex: Complex, frames: np.ndarray, cutoff: float) -> ContactTask:
        """Task for some frames of a complex."""
        protein = complex.protein
        order = np.argsort(protein.resindices, kind="stable")
        _, first = np.unique(protein.resindices[order], return_index=True)
        return cls(
            universe=complex.universe,
            ligand=complex.heavy.indices,
            protein=protein.indices[order],
            first=first,
            finite=(complex.ligand | protein.residues.atoms).indices,
            frames=frames,
            cutoff=cutoff,
        )


@dataclass(frozen=True, eq=False)
class ContactBlock:
    """Distances in a few frames to the residues that may be in reach.

    Parameters
    ----------
    distances : ndarray of shape (n_reached, n_frames, n_atoms), float32
        Angstrom, ``inf`` at or beyond the cutoff.
    residues : ndarray of shape (n_reached,)
        Their positions among all residues.
    """

    distances: np.ndarray
    residues: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.distances.shape[1]


def extract(task: ContactTask) -> list[ContactBlock]:
    """Distances of ligand atoms to residues in the frames of a task.

    Frames are taken in blocks. Protein atoms whose range of motion over a block stays outside the
    box around the ligand, widened by the cutoff, cannot be in contact and are left out; the
    smallest distance to each residue is then taken for all frames of the block at once.

    Raises
    ------
    ParameterError
        A frame cannot be read, or an atom of ligand or protein has no coordinates in it.
    """
    residue_of = np.repeat(
        np.arange(len(task.first)), np.diff(task.first, append=len(task.protein))
    )
    with quiet_mdanalysis():
        return [_block(x, y, residue_of, task.cutoff) for x, y in _positions(task)]


def _positions(task: ContactTask) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of ligand and protein in blocks of frames; each overwrites the one before."""
    ligand = np.empty((BLOCK, len(task.ligand), 3), dtype=np.float32)
    protein = np.empty((BLOCK, len(task.protein), 3), dtype=np.float32)
    span = slice(int(task.finite.min()), int(task.finite.max()) + 1)
    frames = read_frames(task.universe, task.frames)
    for begin in range(0, len(task.frames), BLOCK):
        numbers = task.frames[begin : begin + BLOCK]
        for k, number in enumerate(numbers):
            positions = next(frames).positions
            with np.errstate(invalid="ignore"):
                total = positions[span].sum()
            if not np.isfinite(total):
                require_numbers(task.universe.atoms[task.finite], int(number))
            np.take(positions, task.ligand, axis=0, out=ligand[k])
            np.take(positions, task.protein, axis=0, out=protein[k])
        yield ligand[: len(numbers)], protein[: len(numbers)]


def _block(
    ligand: np.ndarray, protein: np.ndarray, residue_of: np.ndarray, cutoff: float
) -> ContactBlock:
    low = ligand.min(axis=(0, 1)) - cutoff
    high = ligand.max(axis=(0, 1)) + cutoff
    near = np.flatnonzero(((protein.max(axis=0) > low) & (protein.min(axis=0) < high)).all(axis=1))
    n_frames, n_atoms = ligand.shape[:2]
    if not len(near):
        return ContactBlock(np.empty((0, n_frames, n_atoms), np.float32), near)
    squares = _squared_distances(protein[:, near], ligand)
    first = np.flatnonzero(np.diff(residue_of[near], prepend=-1))
    smallest = np.empty((len(first), n_frames, n_atoms), dtype=np.float32)
    for k, atoms in enumerate(np.split(squares, first[1:])):
        np.minimum.reduce(atoms, axis=0, out=smallest[k])
    distances = np.sqrt(np.maximum(smallest, 0.0, out=smallest), out=smallest)
    distances[distances >= cutoff] = np.inf
    return ContactBlock(distances, residue_of[near[first]])


def _squared_distances(protein: np.ndarray, ligand: np.ndarray) -> np.ndarray:
    """Squared distances (n_protein_atoms, n_frames, n_ligand_atoms), as one product per frame.

    (p, |p|^2, 1) . (-2 l, 1, |l|^2) = |p - l|^2, with the origin at the ligand so that little
    cancels: within 30 angstrom of it the error of a distance above 1 angstrom is below 3e-4.
    """
    center = ligand.mean(axis=(0, 1))
    p = np.ones((len(protein), 5, protein.shape[1]), dtype=np.float32)
    np.subtract(protein.transpose(0, 2, 1), center[:, None], out=p[:, :3])
    np.einsum("fia,fia->fa", p[:, :3], p[:, :3], out=p[:, 3])
    x = ligand.transpose(0, 2, 1) - center[:, None]
    q = np.ones((len(x), 5, x.shape[2]), dtype=np.float32)
    q[:, :3] = -2.0 * x
    np.einsum("fia,fia->fa", x, x, out=q[:, 4])
    squares = np.empty((p.shape[2], len(p), q.shape[2]), dtype=np.float32)
    np.matmul(p.transpose(0, 2, 1), q, out=squares.transpose(1, 0, 2))
    return squares
