"""Elastic stress in the membrane of each platelet, from the virial of its springs and struts.

A spring K (r - r0)^2 pulls its ends together with the force 2 K (r - r0). Half of r (x) f belongs
to each end. With the volume V of a platelet shared evenly by its N membrane beads, the stress at
bead i and that of the whole platelet are [1]_::

    sigma_i = N / V  sum_springs of i  (1/2) r (x) f,    sigma = (1/N) sum_i sigma_i

Tension is positive. It is the elastic part alone: thermal motion, cytoplasm and drag are left out,
as the measure is meant to compare runs with each other.

======== =========================================== ================================
symbol   variable                                    unit
======== =========================================== ================================
sigma_i  ``MembraneStress.bead``                     energy/rc^3, to Pa by `DPDUnits`
V        ``MembraneStress.volume``                   rc^3
======== =========================================== ================================

References
----------
.. [1] Thompson, Plimpton and Mattson, J. Chem. Phys. 131 (2009) 154107.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.clot.forcefield import ForceField
from labkit.clot.observe import membrane_beads, unwrapped_platelets
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MembraneStress:
    """Stress at the M membrane beads of P platelets.

    Attributes
    ----------
    bead : array of shape (M, 3, 3)
        In the order of `labkit.clot.observe.membrane_beads` [energy/rc^3].
    platelet : array of shape (P, 3, 3)
        Mean over each platelet's beads [energy/rc^3].
    volume : array of shape (P,)
        Enclosed by each membrane [rc^3].
    """

    bead: Array
    platelet: Array
    volume: Array

    @property
    def von_mises(self) -> Array:
        """sqrt(3/2) times the size of each bead's deviatoric stress [energy/rc^3], shape (M,)."""
        return von_mises(self.bead)


def membrane_stress(
    suspension: Suspension, snapshot: Snapshot, forcefield: ForceField
) -> MembraneStress:
    """Return the elastic stress in the membranes of a snapshot.

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    forcefield : ForceField
    """
    x = unwrapped_platelets(suspension, snapshot)
    i, j = suspension.bonds.T
    r = x[j] - x[i]
    length = np.sqrt(np.einsum("ij,ij->i", r, r))
    membrane = forcefield.membrane
    stiffness = np.where(suspension.is_strut, membrane.K_strut, membrane.K_edge)
    tension = 2 * stiffness * (length - suspension.rest_lengths)
    virial = (tension / length / 2)[:, None, None] * r[:, :, None] * r[:, None, :]
    both = np.concatenate([i, j])
    shares = np.empty((len(x), 9))
    for k, component in enumerate(np.tile(virial.reshape(-1, 9), (2, 1)).T):
        shares[:, k] = np.bincount(both, component, minlength=len(x))
    bead = shares.reshape(-1, 3, 3)[membrane_beads(suspension)]
    volume = enclosed_volume(suspension, x)
    sizes = [b.stop - b.start for b in map(suspension.membrane, range(suspension.n_platelets))]
    bead *= np.repeat(np.array(sizes) / volume, sizes)[:, None, None]
    ends = np.cumsum(sizes)[:-1]
    platelet = np.array([part.mean(axis=0) for part in np.split(bead, ends)])
    return MembraneStress(bead, platelet.reshape(-1, 3, 3), volume)


def von_mises(stress: Array) -> Array:
    """Return sqrt(3/2 s:s) of the deviatoric part s, for tensors of shape (..., 3, 3).

    Examples
    --------
    >>> von_mises(np.diag([2.0, 0.0, 0.0])).round(6)
    np.float64(2.0)
    """
    pressure = np.trace(stress, axis1=-2, axis2=-1)[..., None, None] / 3
    deviator = stress - pressure * np.eye(3)
    return np.sqrt(1.5 * (deviator**2).sum(axis=(-2, -1)))


def enclosed_volume(suspension: Suspension, x: Array) -> Array:
    """Return the volume inside each membrane [rc^3], shape (P,).

    Parameters
    ----------
    suspension : Suspension
    x : array of shape (n_beads, 3)
        Positions, each platelet in one piece [rc].
    """
    a, b, c = x[suspension.triangles.T]
    owner = suspension.molecule[suspension.triangles[:, 0]] - 1
    count = suspension.n_platelets
    origin = np.array([x[suspension.beads(p)][0] for p in range(count)]).reshape(-1, 3)[owner]
    six = np.einsum("ij,ij->i", a - origin, np.cross(b - origin, c - origin))
    return np.abs(np.bincount(owner, six, minlength=count)) / 6
