"""Ligand coordinates in the frame of the protein backbone.

A ligand that tumbles with its protein has not moved in its pocket. Every frame is therefore
superposed on the C-alpha atoms (least squares, Theobald's quaternion method [1]_) before ligand
motion is measured: first on the first frame, then on the average of the result, as is usual for
fluctuations. The ligand is never fitted on itself.

With ``x`` superposed positions of an atom and ``<>`` the average over frames,

    RMSF = sqrt(<|x - <x>|^2>),   RMSD(s, t) = sqrt(mean_atoms |x(s) - x(t)|^2),   in angstrom.

Atoms that symmetry makes equal (the edges of a phenyl) are not exchanged: a ring flip counts.

References
----------
.. [1] Theobald, Acta Crystallographica A 61 (2005) 478-480.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.analysis.align import rotation_matrix

from labkit.errors import ParameterError
from labkit.hotspots.frames import read_frame


def superposed_ligand(complex: Any) -> np.ndarray:
    """Ligand heavy atoms after superposition on the protein's C-alpha atoms.

    Parameters
    ----------
    complex : Complex

    Returns
    -------
    float32 ndarray of shape (n_frames, n_atoms, 3)
        Angstrom; the origin is the center of the average C-alpha positions.

    Raises
    ------
    ParameterError
        With fewer than three C-alpha atoms.
    """
    backbone = complex.protein.select_atoms("name CA")
    if len(backbone) < 3:
        raise ParameterError(
            f"The protein has {len(backbone)} C-alpha atoms (name CA); superposition needs 3."
        )
    reference = None
    for _ in range(2):
        backbone_mean, ligand = _superpose(complex, backbone, reference)
        reference = backbone_mean
    return ligand


def _superpose(
    complex: Any, backbone: Any, reference: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the frames: average superposed backbone, and the ligand of every frame."""
    ligand = np.empty((len(complex.frames), len(complex.heavy), 3), dtype=np.float32)
    total = np.zeros((len(backbone), 3))
    for row, frame in enumerate(complex.frames):
        read_frame(complex.universe, frame)
        positions = backbone.positions.astype(np.float64)
        center = positions.mean(axis=0)
        positions -= center
        if reference is None:
            reference = positions.copy()
        rotation, _ = rotation_matrix(positions, reference)
        total += positions @ rotation.T
        ligand[row] = (complex.heavy.positions - center) @ rotation.T
    mean = total / max(1, len(complex.frames))
    return mean - mean.mean(axis=0), ligand


def rmsf(positions: np.ndarray) -> np.ndarray:
    """Root-mean-square fluctuation of each atom about its average position, in angstrom.

    Parameters
    ----------
    positions : ndarray of shape (n_frames, n_atoms, 3)
        Superposed, in angstrom.

    Returns
    -------
    ndarray of shape (n_atoms,)
    """
    x = np.asarray(positions, dtype=np.float64)
    return np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
