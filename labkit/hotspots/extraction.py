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
class ContactPart:
    """Distances of one task, without the residues that are out of reach in all its frames.

    Parameters
    ----------
    distances : ndarray of shape (n_frames, n_atoms, n_reached), float32
        Angstrom, ``inf`` at or beyond the cutoff.
    residues : ndarray of shape (n_reached,)
        Their positions among all residues.
    """

    distances: np.ndarray
    residues: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.distances)

    def into(self, tensor: np.ndarray) -> None:
        """Write the distances into their frames of a tensor over all residues."""
        tensor[:, :, self.residues] = self.distances


def extract(task: ContactTask) -> ContactPart:
    """Distances of ligand atoms to residues in the frames of a task."""
    from MDAnalysis.lib.distances import distance_array

    n_residues = len(task.first)
    residue_of = np.repeat(np.arange(n_residues), np.diff([*task.first, len(task.protein)]))
    nearest = np.full((len(task.frames), n_residues, len(task.ligand)), np.inf, dtype=np.float32)
    reached = np.zeros(n_residues, dtype=bool)
    for k, positions in enumerate(_positions(task)):
        ligand = positions[task.ligand]
        protein = positions[task.protein]
        low, high = ligand.min(axis=0) - task.cutoff, ligand.max(axis=0) + task.cutoff
        near = np.flatnonzero(((protein > low) & (protein < high)).all(axis=1))
        if not len(near):
            continue
        residues = residue_of[near]
        first = np.flatnonzero(np.diff(residues, prepend=-1))
        distances = distance_array(protein[near], ligand)
        residues = residues[first]
        nearest[k, residues] = np.minimum.reduceat(distances, first, axis=0)
        reached[residues] = True
    nearest = nearest[:, reached]
    nearest[nearest >= task.cutoff] = np.inf
    return ContactPart(
        distances=np.ascontiguousarray(nearest.transpose(0, 2, 1)),
        residues=np.flatnonzero(reached),
    )


def _positions(task: ContactTask) -> Iterator[np.ndarray]:
    """Positions of all atoms, frame by frame, checked to be numbers."""
    for frame, ts in zip(task.frames, _read(task), strict=True):
        positions = ts.positions
        if not np.isfinite(positions.sum()):
            _require_numbers(task, positions, int(frame))
        yield positions


def _read(task: ContactTask) -> Iterator[Any]:
    steps = np.unique(np.diff(task.frames))
    if len(steps) == 1 and steps[0] > 0:
        first, last = int(task.frames[0]), int(task.frames[-1])
        return iter(task.universe.trajectory[first : last + 1 : int(steps[0])])
    return iter(task.universe.trajectory[task.frames])


def _require_numbers(task: ContactTask, positions: np.ndarray, frame: int) -> None:
    from labkit.hotspots.systems import not_a_number

    mine = np.concatenate([task.ligand, task.protein])
    wrong = mine[~np.isfinite(positions[mine]).all(axis=1)]
    if len(wrong):
        raise ParameterError(not_a_number(task.universe.atoms[wrong[0]], frame, len(wrong)))
