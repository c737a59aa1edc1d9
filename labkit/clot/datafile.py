"""The particles and springs of a suspension as a file that LAMMPS reads.

Springs of the same stiffness and rest length are one bond type, with the length exact to a
billionth of rc. Rounding it to fewer digits for the sake of fewer types would store elastic energy:
K (0.003 rc)^2 in every spring, in a cage of a thousand springs tens of kT.

A channel has particles of a fourth type beyond both ends of y, its walls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from labkit.clot.flows import Channel, Flow, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]

WALL = 1.0
"""Thickness of a channel's walls, the range of the plasma's forces [rc]."""
_DIGITS = 9


@dataclass(frozen=True, eq=False)
class BondTypes:
    """Springs sorted by stiffness and rest length.

    Attributes
    ----------
    of_bond : int array of shape (k,)
        Type of each bond, from 1.
    is_strut : bool array of shape (t,)
    rest_lengths : array of shape (t,)
        To `_DIGITS` digits, so that no elastic energy is stored by rounding [rc].
    """

    of_bond: NDArray[np.intp]
    is_strut: NDArray[np.bool_]
    rest_lengths: Array

    @classmethod
    def of(cls, suspension: Suspension) -> BondTypes:
        """Return the types of a suspension's bonds."""
        lengths = np.round(suspension.rest_lengths, _DIGITS)
        kinds = np.column_stack([suspension.is_strut.astype(float), lengths])
        types, of_bond = np.unique(kinds, axis=0, return_inverse=True)
        return cls(of_bond.reshape(-1) + 1, types[:, 0] > 0, types[:, 1])


def longest_bond(suspension: Suspension) -> float:
    """Return the longest rest length of a suspension's springs [rc]; 0 without springs."""
    return float(np.max(suspension.rest_lengths, initial=0.0))


def data_file(
    suspension: Suspension, snapshot: Snapshot, forcefield: ForceField, flow: Flow
) -> str:
    """Return the text of a LAMMPS data file.

    Parameters
    ----------
    suspension
        Which particle is what, and the springs.
    snapshot
        Where the particles are and how they move.
    forcefield
        Stiffness of the springs.
    flow
        Whether the box can be tilted.
    """
    lx, ly, lz = snapshot.box
    channel = isinstance(flow, Channel)
    wall = wall_particles(snapshot.box, forcefield.plasma.density) if channel else np.zeros((0, 3))
    thickness = WALL if channel else 0.0
    n = len(snapshot.x)
    types = BondTypes.of(suspension)
    lines = [
        "platelets in plasma (labkit.clot)",
        f"{n + len(wall)} atoms",
        f"{4 if channel else 3} atom types",
        f"{len(suspension.bonds)} bonds",
        f"{len(types.rest_lengths)} bond types",
        f"0 {lx} xlo xhi",
        f"{-thickness} {ly + thickness} ylo yhi",
        f"0 {lz} zlo zhi",
        *([f"{snapshot.tilt} 0 0 xy xz yz"] if isinstance(flow, Shear) else []),
        "\nMasses\n",
        *(f"{kind} 1" for kind in range(1, 5 if channel else 4)),
        "\nAtoms # bond\n",
        *_atoms(suspension, snapshot),
        *(f"{i} 0 4 {x} {y} {z} 0 0 0" for i, (x, y, z) in enumerate(wall, n + 1)),
        "\nVelocities\n",
        *(f"{i} {x} {y} {z}" for i, (x, y, z) in enumerate(snapshot.v.tolist(), 1)),
        *(f"{i} 0 0 0" for i in range(n + 1, n + 1 + len(wall))),
        *(_springs(suspension, types, forcefield) if len(suspension.bonds) else []),
    ]
    return "\n".join(lines) + "\n"


def wall_particles(box: Array, density: float) -> Array:
    """Return the frozen particles of both walls [rc], shape (n, 3), the same for the same box."""
    n = round(density * WALL * box[0] * box[2])
    layers = qmc.Halton(d=3, seed=0).random(2 * n) * [box[0], WALL, box[2]]
    layers[:n, 1] -= WALL
    layers[n:, 1] += box[1]
    return layers


def _springs(suspension: Suspension, types: BondTypes, forcefield: ForceField) -> list[str]:
    stiffness = (forcefield.membrane.K_edge, forcefield.membrane.K_strut)
    kinds = zip(types.is_strut.astype(int), types.rest_lengths, strict=True)
    bonds = zip(types.of_bond.tolist(), (suspension.bonds + 1).tolist(), strict=True)
    return [
        "\nBond Coeffs # harmonic\n",
        *(f"{i} {stiffness[strut]} {r0}" for i, (strut, r0) in enumerate(kinds, 1)),
        "\nBonds\n",
        *(f"{i} {kind} {one} {other}" for i, (kind, (one, other)) in enumerate(bonds, 1)),
    ]


def _atoms(suspension: Suspension, snapshot: Snapshot) -> list[str]:
    table = zip(
        suspension.molecule.tolist(),
        suspension.types.tolist(),
        snapshot.x.tolist(),
        snapshot.image.tolist(),
        strict=True,
    )
    return [
        f"{i} {molecule} {kind} {x} {y} {z} {ix} {iy} {iz}"
        for i, (molecule, kind, (x, y, z), (ix, iy, iz)) in enumerate(table, 1)
    ]
