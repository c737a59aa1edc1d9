"""Coordinates for viewers: the pocket and the ligand, superposed and turned to be looked at.

Frames are superposed on the C-alpha atoms of the pocket (least squares), so that the ligand moves
and the pocket stands still. The scene is then turned so that the ligand lies flat in the picture
with its longest axis across, seen from the side with fewer protein atoms in front of it. Lengths
are in angstrom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup

    from labkit.hotspots.systems import Complex

POCKET_CUTOFF = 8.0
"""Residues with a heavy atom this close to the ligand, in angstrom, are its pocket."""

MAX_FRAMES = 50
"""Frames that a player holds: with a pocket of 500 atoms, 300 kB."""

TOUCH = 4.0
"""Residues with a heavy atom this close to the ligand, in angstrom, get a stick and a name."""

PROTEIN_GRAY = "#c8c8c8"
CHAINS = "ABCDEFGHIJKLMNOPQRSTUVWXY"
LIGAND_CHAIN = "Z"


@dataclass(frozen=True, eq=False)
class Scene:
    """A ligand in its pocket over some frames.

    Parameters
    ----------
    pocket : AtomGroup
        Protein heavy atoms shown.
    ligand : AtomGroup
        Heavy atoms of the ligand.
    pocket_xyz : ndarray of shape (n_frames, n_pocket, 3)
        Positions in angstrom.
    ligand_xyz : ndarray of shape (n_frames, n_atoms, 3)
        Positions in angstrom.
    frames : ndarray of shape (n_frames,)
        Trajectory index of each frame.
    """

    pocket: AtomGroup
    ligand: AtomGroup
    pocket_xyz: np.ndarray
    ligand_xyz: np.ndarray
    frames: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def xyz(self) -> np.ndarray:
        """Positions of pocket and ligand, shape (n_frames, n_pocket + n_atoms, 3)."""
        return np.concatenate([self.pocket_xyz, self.ligand_xyz], axis=1)

    def turned(self, signs: np.ndarray) -> Scene:
        """The scene with its axes multiplied by `signs`, two of which are -1 or none."""
        return replace(self, pocket_xyz=self.pocket_xyz * signs, ligand_xyz=self.ligand_xyz * signs)

    def pdb(self, values: Sequence[float] | np.ndarray | None = None) -> str:
        """Text of a PDB file of the first frame, with `values` as the ligand's B-factors."""
        return pdb_text(self.pocket, self.pocket_xyz[0], self.ligand, self.ligand_xyz[0], values)


def pocket_scene(
    complex: Complex,
    *,
    frames: Sequence[int] | np.ndarray | None = None,
    cutoff: float = POCKET_CUTOFF,
) -> Scene:
    """Read some frames of a complex and turn them for a viewer.

    Parameters
    ----------
    complex : Complex
        The system.
    frames : sequence of int, optional
        Trajectory indices; the first analyzed frame by default. The pocket is that of the first.
    cutoff : float
        Radius of the pocket in angstrom.

    Returns
    -------
    Scene

    Raises
    ------
    ParameterError
        No residue is that close.
    """
    chosen = np.atleast_1d(complex.frames[:1] if frames is None else np.asarray(frames))
    complex.universe.trajectory[int(chosen[0])]
    pocket = pocket_atoms(complex, cutoff)
    xyz = np.empty((len(chosen), len(pocket) + len(complex.heavy), 3))
    for row, frame in enumerate(chosen):
        complex.universe.trajectory[int(frame)]
        xyz[row] = np.concatenate([pocket.positions, complex.heavy.positions])
    _superpose(xyz, np.flatnonzero(pocket.names == "CA"))
    n = len(pocket)
    turned = (xyz - xyz[0, n:].mean(axis=0)) @ _axes(xyz[0, :n], xyz[0, n:]).T
    turned = turned.astype(np.float32)
    return Scene(pocket, complex.heavy, turned[:, :n], turned[:, n:], chosen)


def trajectory_scene(
    complex: Complex, n_frames: int = MAX_FRAMES, *, cutoff: float = POCKET_CUTOFF
) -> Scene:
    """Frames evenly spaced over those analyzed, with the pocket of the first.

    Parameters
    ----------
    complex : Complex
        The system.
    n_frames : int
        At most `MAX_FRAMES`, which keeps a notebook small.
    cutoff : float
        Radius of the pocket in angstrom.

    Raises
    ------
    ParameterError
        `n_frames` is not allowed, or no residue is that close.
    """
    if not 1 <= n_frames <= MAX_FRAMES:
        raise ParameterError(f"n_frames={n_frames} is not allowed; give 1 to {MAX_FRAMES}.")
    places = np.linspace(0, complex.n_frames - 1, min(n_frames, complex.n_frames))
    frames = complex.frames[places.round().astype(int)]
    return pocket_scene(complex, frames=frames, cutoff=cutoff)


def pocket_atoms(complex: Complex, cutoff: float) -> AtomGroup:
    """Heavy atoms of all residues near the ligand in the frame that is loaded."""
    from MDAnalysis.lib.distances import capped_distance

    pairs = capped_distance(
        complex.heavy.positions,
        complex.protein.positions,
        max_cutoff=cutoff,
        return_distances=False,
    )
    if not len(pairs):
        raise ParameterError(
            f"no residue lies within {cutoff:g} Å of the ligand in frame "
            f"{complex.universe.trajectory.frame}; choose another frame or a larger cutoff."
        )
    near = complex.protein[np.unique(pairs[:, 1])].residues
    return complex.protein[np.isin(complex.protein.resindices, near.resindices)]


def touching_residues(scene: Scene, cutoff: float = TOUCH) -> list[int]:
    """Indices of the residues whose heavy atoms come close to the ligand in the first frame."""
    from MDAnalysis.lib.distances import distance_array

    near = distance_array(scene.pocket_xyz[0], scene.ligand_xyz[0]).min(axis=1) < cutoff
    return np.unique(scene.pocket.resindices[near]).tolist()


def _superpose(xyz: np.ndarray, fitted: np.ndarray) -> None:
    """Lay all frames over the first, in place, by the atoms `fitted`."""
    from MDAnalysis.analysis.align import rotation_matrix

    if len(fitted) < 3:
        return
    target = xyz[0, fitted].mean(axis=0)
    for row in range(1, len(xyz)):
        center = xyz[row, fitted].mean(axis=0)
        rotation, _ = rotation_matrix(xyz[row, fitted] - center, xyz[0, fitted] - target)
        xyz[row] = (xyz[row] - center) @ rotation.T + target


def _axes(pocket: np.ndarray, ligand: np.ndarray) -> np.ndarray:
    """Rows: across, up, towards the viewer; a proper rotation."""
    centered = ligand - ligand.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=len(centered) < 3)
    depth = (pocket - ligand.mean(axis=0)) @ axes[2]
    if (depth > 2).sum() > (depth < -2).sum():
        axes[2] *= -1
    if np.linalg.det(axes) < 0:
        axes[1] *= -1
    return axes


def pdb_text(
    pocket: AtomGroup,
    pocket_xyz: np.ndarray,
    ligand: AtomGroup,
    ligand_xyz: np.ndarray,
    values: Sequence[float] | np.ndarray | None = None,
) -> str:
    """Text of a PDB file: protein as ATOM, ligand as HETATM in chain Z with its bonds.

    Parameters
    ----------
    pocket, ligand : AtomGroup
        Names and residues of the atoms.
    pocket_xyz, ligand_xyz : ndarray of shape (n, 3)
        Positions in angstrom.
    values : sequence of float of shape (n_ligand,), optional
        B-factors of the ligand; nan is written as -1. The protein's are 0.
    """
    segments = {
        segid: CHAINS[i % len(CHAINS)] for i, segid in enumerate(dict.fromkeys(pocket.segids))
    }
    numbers = np.zeros(len(ligand)) if values is None else np.nan_to_num(values, nan=-1.0)
    lines = [
        _line("ATOM", i, atom, segments[atom.segid], place, 0.0)
        for i, (atom, place) in enumerate(zip(pocket, pocket_xyz, strict=True), start=1)
    ]
    first = len(lines) + 1
    lines += [
        _line("HETATM", i, atom, LIGAND_CHAIN, place, value)
        for i, (atom, place, value) in enumerate(
            zip(ligand, ligand_xyz, numbers, strict=True), start=first
        )
    ]
    return "\n".join([*lines, *_bonds(ligand, first), "END", ""])


def _line(
    record: str, serial: int, atom: object, chain: str, place: np.ndarray, value: float
) -> str:
    name, element = str(atom.name), str(atom.element).upper()  # type: ignore[attr-defined]
    padded = name[:4] if len(name) > 3 or len(element) > 1 else f" {name:<3}"
    residue = atom.residue  # type: ignore[attr-defined]
    x, y, z = place
    return (
        f"{record:<6}{serial % 100000:5d} {padded:<4} {residue.resname[:3]:>3} {chain}"
        f"{residue.resid % 10000:4d}    {x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{value:6.2f}"
        f"          {element:>2}"
    )


def _bonds(ligand: AtomGroup, first: int) -> list[str]:
    serial = {int(index): first + i for i, index in enumerate(ligand.indices)}
    partners: dict[int, list[int]] = {number: [] for number in serial.values()}
    bonds = ligand.bonds.indices.tolist() if hasattr(ligand, "bonds") else []
    for a, b in bonds:
        if a in serial and b in serial:
            partners[serial[a]].append(serial[b])
            partners[serial[b]].append(serial[a])
    return [
        "CONECT" + "".join(f"{number:5d}" for number in (atom, *sorted(others)[:4]))
        for atom, others in partners.items()
        if others
    ]


def pdb_block(
    complex: Complex,
    values: Sequence[float] | np.ndarray | None = None,
    *,
    frame: int | None = None,
) -> str:
    """Text of a PDB file of the whole complex, with `values` as the ligand's B-factors.

    Parameters
    ----------
    complex : Complex
        The system.
    values : sequence of float of shape (n_atoms,), optional
        B-factor of each heavy atom of the ligand; nan is written as -1.
    frame : int, optional
        Trajectory index; the first analyzed frame by default.
    """
    at = int(complex.frames[0] if frame is None else frame)
    protein = complex.positions(at, complex.protein)
    ligand = complex.positions(at, complex.heavy)
    return pdb_text(complex.protein, protein, complex.heavy, ligand, values)
