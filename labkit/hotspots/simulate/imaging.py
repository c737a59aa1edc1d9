"""Complexes in one piece, although a periodic box has many images of each molecule."""

from __future__ import annotations

import numpy as np


class Imaging:
    """Shifts the molecules of a periodic box back to where they were beside the first of them.

    A barostat or a long diffusion may leave two molecules of a complex in different images of
    the box. Molecules themselves are never broken by OpenMM.

    Parameters
    ----------
    positions_nm : ndarray of shape (n_atoms, 3)
        The complex in one piece.
    molecules : list of ndarray of int
        Atoms of each molecule.
    """

    def __init__(self, positions_nm: np.ndarray, molecules: list[np.ndarray]) -> None:
        self._molecules = molecules
        self._offsets = self._centers(positions_nm)

    def __call__(self, positions_nm: np.ndarray, box_nm: np.ndarray) -> np.ndarray:
        """Positions with each molecule shifted by whole box vectors (the rows of `box_nm`)."""
        moved = positions_nm.copy()
        drift = self._centers(positions_nm) - self._offsets
        for atoms, shift in zip(self._molecules, drift, strict=True):
            images = np.round(np.linalg.solve(box_nm.T, shift))
            moved[atoms] -= images @ box_nm
        return moved

    def _centers(self, positions_nm: np.ndarray) -> np.ndarray:
        """Center of each molecule from that of the first, shape (n_molecules, 3)."""
        centers = np.array([positions_nm[atoms].mean(axis=0) for atoms in self._molecules])
        return centers - centers[0]
