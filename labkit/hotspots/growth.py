"""Room to grow: free space around the bonds at which a ligand could be substituted.

A substituent takes the place of a hydrogen, so it starts along a C-H, N-H or O-H bond. Around heavy
atom ``a`` a point of a grid counts as room if

1. it is within ``reach`` of ``a`` and at most 60 degrees off one of a's bonds to hydrogen,
2. a sphere of radius ``probe`` there touches no heavy atom of the protein, and the point lies
   outside the ligand's own van der Waals spheres,
3. a path through such points leads to it from beside ``a`` (the room behind a wall is no use).

The free volume is the number of such points times the volume of a grid cell. A bond is *open* if
the spots 1.5 and 3 angstrom along it meet the second condition: those of a first substituent atom
and of one beyond. Both are averages over frames. Water is not seen: room may hold it.

The solvent-accessible surface is that of the atom and its hydrogens inside the complex (Lee and
Richards [1]_, by FreeSASA [2]_ in RDKit): little surface means that the protein is all around.

References
----------
.. [1] Lee and Richards, J. Mol. Biol. 55 (1971) 379-400.
.. [2] Mitternacht, F1000Research 5 (2016) 189.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Chem import rdFreeSASA
from rdkit.Geometry import Point3D
from scipy.ndimage import label
from scipy.spatial import cKDTree

from labkit.errors import ParameterError
from labkit.hotspots.frames import require_numbers

if TYPE_CHECKING:
    from labkit.hotspots.systems import Complex

COLUMNS = ("atom", "free_volume_A3", "open_directions", "sasa_A2", "can_grow")
CONE = np.cos(np.pi / 3)
SPACING = 0.75
"""Of the grid, angstrom; half of it changes the volume of an open cone by about 1 %."""
BESIDE = 2.75
"""Paths start within this distance of the atom, angstrom."""
ALONG = (1.5, 3.0)
WATER = 1.4
FAR = 8.0
"""Atoms further than this from the ligand, angstrom, cover none of its surface."""


def growth_space(
    complex: Complex, *, n_frames: int = 10, probe: float = 1.4, reach: float = 6.0
) -> pd.DataFrame:
    """Free volume, open bonds and surface of each heavy atom of the ligand.

    Parameters
    ----------
    complex : Complex
    n_frames : int
        Frames to average over, evenly spread over those of `complex`.
    probe : float
        Radius of what should fit, angstrom; 1.4 is about a united methyl carbon that is allowed
        some overlap.
    reach : float
        How far from the atom to look, angstrom.

    Returns
    -------
    DataFrame
        Columns ``atom``; ``free_volume_A3``, cubic angstrom; ``open_directions``, bonds to hydrogen
        that are open, averaged over frames; ``sasa_A2``, square angstrom; ``can_grow``, whether a
        bond is open in at least half of the frames. Volume and directions are nan for an atom
        without hydrogen, which has no bond to substitute.

    Raises
    ------
    ParameterError
        If a size is not positive, or a frame has coordinates that are not numbers.
    """
    if n_frames < 1 or not probe > 0 or not reach > BESIDE:
        raise ParameterError(
            f"n_frames={n_frames}, probe={probe}, reach={reach}: use 1 frame or more, a probe "
            f"above 0 and a reach above {BESIDE} angstrom."
        )
    surroundings = _Surroundings(complex, probe, reach)
    n_frames = min(n_frames, complex.n_frames)
    chosen = complex.frames[np.linspace(0, complex.n_frames - 1, n_frames).round().astype(int)]
    measured = [surroundings.measure(int(frame)) for frame in chosen]
    open_share = [np.mean([m.is_open[a] for m in measured], axis=0) for a in range(complex.n_atoms)]
    bare = np.array([len(bonds) == 0 for bonds in surroundings.hydrogens])
    values = (
        complex.atom_names,
        np.where(bare, np.nan, np.mean([m.volume for m in measured], axis=0)),
        np.where(bare, np.nan, [share.sum() for share in open_share]),
        np.mean([m.surface for m in measured], axis=0),
        [bool((share >= 0.5).any()) for share in open_share],
    )
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


@dataclass(frozen=True)
class _Measured:
    """One frame: volume and surface of each heavy atom, and which of its bonds are open."""

    volume: np.ndarray
    surface: np.ndarray
    is_open: list[np.ndarray]


class _Surroundings:
    """What does not change between frames: bonds to hydrogen, radii and the grid."""

    def __init__(self, complex: Complex, probe: float, reach: float) -> None:
        self.complex, self.probe, self.reach = complex, probe, reach
        self.heavy = complex.heavy_in_mol
        self.hydrogens = [
            [
                b.GetIdx()
                for b in complex.mol.GetAtomWithIdx(int(i)).GetNeighbors()
                if is_hydrogen(b)
            ]
            for i in self.heavy
        ]
        self.all_protein = complex.protein.residues.atoms
        self.protein_radii = vdw_radii(complex.protein.elements)
        self.all_radii = vdw_radii(self.all_protein.elements)
        self.ligand_radii = vdw_radii([a.GetSymbol() for a in complex.mol.GetAtoms()])
        axis = np.arange(-np.ceil(reach / SPACING), np.ceil(reach / SPACING) + 1) * SPACING
        self.grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        self.distance = np.linalg.norm(self.grid, axis=-1)

    def measure(self, frame: int) -> _Measured:
        """Volume, surface and open bonds of all heavy atoms in a frame."""
        ligand = self.complex.positions(frame, self.complex.ligand).astype(float)
        require_numbers(self.complex.ligand | self.all_protein, frame)
        protein = self.complex.positions(frame, self.complex.protein).astype(float)
        tree = cKDTree(ligand[self.heavy])
        near = tree.query(protein)[0] < self.reach + self.probe + self.protein_radii.max()
        walls = _Walls(
            np.concatenate([protein[near], ligand[self.heavy]]),
            np.concatenate([self.protein_radii[near] + self.probe, self.ligand_radii[self.heavy]]),
        )
        volume = np.zeros(len(self.heavy))
        is_open: list[np.ndarray] = []
        for a, (center, hydrogens) in enumerate(zip(self.heavy, self.hydrogens, strict=True)):
            bonds = ligand[hydrogens] - ligand[center]
            bonds = bonds / np.linalg.norm(bonds, axis=1, keepdims=True) if hydrogens else bonds
            volume[a] = self._volume(ligand[center], bonds, walls) if hydrogens else 0.0
            spots = ligand[center] + bonds[:, None] * np.array(ALONG)[:, None]
            protein_only = walls.first(near.sum())
            free = protein_only.free(spots.reshape(-1, 3)).reshape(spots.shape[:2])
            is_open.append(np.all(free, axis=1))
        return _Measured(volume, self._surface(frame, ligand), is_open)

    def _volume(self, center: np.ndarray, bonds: np.ndarray, walls: _Walls) -> float:
        along = (self.grid @ bonds.T).max(axis=-1)
        cone = (self.distance <= self.reach) & (along >= CONE * self.distance)
        room = np.zeros(cone.shape, dtype=bool)
        room[cone] = walls.free(center + self.grid[cone])
        parts, _ = label(room)
        beside = np.unique(parts[room & (self.distance <= BESIDE)])
        return float(np.isin(parts, beside[beside > 0]).sum()) * SPACING**3

    def _surface(self, frame: int, ligand: np.ndarray) -> np.ndarray:
        protein = self.complex.positions(frame, self.all_protein).astype(float)
        near = cKDTree(ligand).query(protein, distance_upper_bound=FAR)[0] < FAR
        areas = accessible_surface(
            np.concatenate([ligand, protein[near]]),
            np.concatenate([self.ligand_radii, self.all_radii[near]]),
        )
        return np.array(
            [
                areas[[int(i), *bonded]].sum()
                for i, bonded in zip(self.heavy, self.hydrogens, strict=True)
            ]
        )


@dataclass(frozen=True)
class _Walls:
    """Spheres that no point of room may lie in."""

    centers: np.ndarray
    radii: np.ndarray

    def first(self, n: int) -> _Walls:
        return _Walls(self.centers[:n], self.radii[:n])

    def free(self, points: np.ndarray) -> np.ndarray:
        """Whether each point lies outside all spheres."""
        result = np.ones(len(points), dtype=bool)
        if not len(points):
            return result
        middle = points.mean(axis=0)
        extent = np.linalg.norm(points - middle, axis=1).max()
        near = np.linalg.norm(self.centers - middle, axis=1) < extent + self.radii
        for radius in np.unique(self.radii[near]):
            tree = cKDTree(self.centers[near & (self.radii == radius)])
            result &= tree.query(points, distance_upper_bound=radius)[0] >= radius
        return result


def accessible_surface(positions: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Solvent-accessible surface of each sphere, for a probe of 1.4 angstrom.

    Parameters
    ----------
    positions : ndarray of shape (n, 3)
        Angstrom.
    radii : ndarray of shape (n,)
        Angstrom.

    Returns
    -------
    ndarray of shape (n,)
        Square angstrom.

    Examples
    --------
    >>> areas = accessible_surface(np.zeros((1, 3)), np.array([1.7]))
    >>> bool(np.isclose(areas[0], 4 * np.pi * (1.7 + 1.4) ** 2, rtol=1e-3))
    True
    """
    mol, conformer = Chem.RWMol(), Chem.Conformer(len(positions))
    for i, position in enumerate(positions):
        mol.AddAtom(Chem.Atom(6))
        conformer.SetAtomPosition(i, Point3D(*map(float, position)))
    mol.AddConformer(conformer)
    options = rdFreeSASA.SASAOpts(rdFreeSASA.LeeRichards, rdFreeSASA.Protor, WATER)
    rdFreeSASA.CalcSASA(mol, radii.tolist(), opts=options)
    return np.array([atom.GetDoubleProp("SASA") for atom in mol.GetAtoms()])


def vdw_radii(elements: list[str] | np.ndarray) -> np.ndarray:
    """Van der Waals radius of each element in angstrom, as RDKit knows it."""
    table = Chem.GetPeriodicTable()
    return np.array([table.GetRvdw(str(symbol).capitalize()) for symbol in elements])


def is_hydrogen(atom: Chem.Atom) -> bool:
    """Whether an atom is hydrogen of any isotope."""
    return atom.GetAtomicNum() == 1
