"""The inner loop of contact extraction: what one process computes from one range of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from MDAnalysis import Universe

    from labkit.hotspots.systems import Complex

BLOCK = 32  # frames: the neighborhood hardly changes over them, and their distances stay in cache


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
    frames : ndarray of shape (n_frames,)
        Trajectory indices.
    cutoff : float
        Angstrom.
    """

    universe: Universe
    ligand: np.ndarray
    protein: np.ndarray
    first: np.ndarray
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
    """
    blocks = []
    ligand = np.empty((BLOCK, len(task.ligand), 3), dtype=np.float32)
    protein = np.empty((BLOCK, len(task.protein), 3), dtype=np.float32)
    residue_of = np.repeat(
        np.arange(len(task.first)), np.diff(task.first, append=len(task.protein))
    )
    frames = iter(_read(task))
    for begin in range(0, len(task.frames), BLOCK):
        numbers = task.frames[begin : begin + BLOCK]
        for k, frame in enumerate(numbers):
            positions = next(frames).positions
            np.take(positions, task.ligand, axis=0, out=ligand[k])
            np.take(positions, task.protein, axis=0, out=protein[k])
            if not np.isfinite(ligand[k].sum() + protein[k].sum()):
                raise ParameterError(_not_numbers(task, positions, int(frame)))
        n = len(numbers)
        blocks.append(_block(ligand[:n], protein[:n], residue_of, task.cutoff))
    return blocks


def _block(
    ligand: np.ndarray, protein: np.ndarray, residue_of: np.ndarray, cutoff: float
) -> ContactBlock:
    from MDAnalysis.lib.distances import distance_array

    low = ligand.min(axis=(0, 1)) - cutoff
    high = ligand.max(axis=(0, 1)) + cutoff
    near = np.flatnonzero(((protein.max(axis=0) > low) & (protein.min(axis=0) < high)).all(axis=1))
    n_frames, n_atoms = ligand.shape[:2]
    if not len(near):
        return ContactBlock(np.empty((0, n_frames, n_atoms), np.float32), near)
    pairs = np.empty((len(near), n_frames, n_atoms), dtype=np.float32)
    of_frame = np.empty((len(near), n_atoms))
    for k in range(n_frames):
        distance_array(protein[k, near], ligand[k], result=of_frame)
        pairs[:, k] = of_frame
    first = np.flatnonzero(np.diff(residue_of[near], prepend=-1))
    distances = np.stack([atoms.min(axis=0) for atoms in np.split(pairs, first[1:])])
    distances[distances >= cutoff] = np.inf
    return ContactBlock(distances, residue_of[near[first]])


def _read(task: ContactTask) -> Iterator[Any]:
    steps = np.unique(np.diff(task.frames))
    if len(steps) == 1 and steps[0] > 0:
        first, last = int(task.frames[0]), int(task.frames[-1])
        return iter(task.universe.trajectory[first : last + 1 : int(steps[0])])
    return iter(task.universe.trajectory[task.frames])


def _not_numbers(task: ContactTask, positions: np.ndarray, frame: int) -> str:
    from labkit.hotspots.systems import not_a_number

    mine = np.concatenate([task.ligand, task.protein])
    wrong = mine[~np.isfinite(positions[mine]).all(axis=1)]
    return not_a_number(task.universe.atoms[wrong[0]], frame, len(wrong))
