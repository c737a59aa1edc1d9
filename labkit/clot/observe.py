"""What is known about each platelet, from positions and velocities alone.

A platelet of n beads of mass 1 at r_i from its center of mass, with velocities w_i relative to the
center's, turns like the rigid body of the same angular momentum L and inertia I::

    omega = I^-1 L,    L = sum r_i x w_i,    I = sum (|r_i|^2 1 - r_i r_i)
    (3 n - 6) kT = sum |w_i|^2 - omega . L

The second line is what is left of the kinetic energy when the rigid motion is taken off, over its
degrees of freedom: three of the center and three of the rotation are gone.

Under Lees-Edwards shear a particle's velocity changes by rate x Ly where it crosses the upper end
of y, so v - u(x) is what is continuous; platelets that lie across are put together from it. Their
motion contains the shear of the flow around them, as it should: a platelet is no fluid.

========== ======================== =============================
symbol     variable                 unit
========== ======================== =============================
u(x)       `reference_velocity`     rc/time
omega      angular_velocity         1/time
kT         temperature              energy
========== ======================== =============================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labkit.clot.flows import Channel, Flow, ReversePoiseuille
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.observation import Observation
from labkit.clot.proximity import Proximity, close_beads
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]
_SLAB = 1.0


def reference_velocity(flow: Flow, x: Array, box: Array, tilt: float = 0.0) -> Array:
    """Return the velocity of the undisturbed flow [rc/time], shape (n, 3).

    Parameters
    ----------
    flow : Flow
    x : array of shape (n, 3)
        Positions [rc].
    box : array of shape (3,)
        Edge lengths of the box [rc].
    tilt : float
        Shift along x of the upper end of y [rc]. The flow depends on neither.

    Returns
    -------
    array of shape (n, 3)
        (rate y, 0, 0) under `Shear`; zero in a fluid at rest, and in flows driven by a force, whose
        velocity is not known before the viscosity is.

    Examples
    --------
    >>> from labkit.clot.flows import Shear
    >>> reference_velocity(Shear(0.1), np.array([[1.0, 4.0, 2.0]]), np.array([8.0, 8.0, 8.0]))
    array([[0.4, 0. , 0. ]])
    """
    u = np.zeros_like(x)
    u[:, 0] = flow.rate * x[:, 1]
    return u


def contact_range(forcefield: ForceField) -> float:
    """Return the distance below which two membrane beads are in contact [rc].

    The range of the receptors; that of the default ones where there are none, so that runs with
    and without them can be compared.
    """
    return (forcefield.receptors or Receptors()).cutoff


def receptor_energy(receptors: Receptors, distance: Array) -> Array:
    """Return D [exp(-2 alpha (r - r0)) - 2 exp(-alpha (r - r0))] [energy], 0 past the cutoff."""
    decay = np.exp(-receptors.alpha * (distance - receptors.r0))
    return np.where(distance < receptors.cutoff, receptors.D * decay * (decay - 2.0), 0.0)


def unwrapped_platelets(suspension: Suspension, snapshot: Snapshot) -> Array:
    """Return the platelet beads' positions, each platelet in one piece [rc], (n_beads, 3)."""
    n = suspension.n_beads
    shift = snapshot.image[:n] * snapshot.box
    shift[:, 0] += snapshot.image[:n, 1] * snapshot.tilt
    return snapshot.x[:n] + shift


def membrane_proximity(
    suspension: Suspension, snapshot: Snapshot, flow: Flow, *, cutoff: float
) -> Proximity:
    """Return close beads of different membranes; bead k of the result is `membrane_beads`[k].

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    flow : Flow
        A `Channel` is not periodic along y.
    cutoff : float
        Pairs are closer than this [rc].
    """
    return _proximity(_Platelets.of(suspension, snapshot), snapshot, flow, cutoff)


def membrane_beads(suspension: Suspension) -> NDArray[np.intp]:
    """Return the indices of all membrane beads, platelet by platelet."""
    blocks = [suspension.membrane(p) for p in range(suspension.n_platelets)]
    return np.concatenate([np.arange(b.start, b.stop) for b in blocks] or [np.empty(0, np.intp)])


def observe(
    suspension: Suspension, snapshot: Snapshot, forcefield: ForceField, flow: Flow
) -> Observation:
    """Return what is known about the platelets and the plasma of a snapshot.

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    forcefield : ForceField
    flow : Flow

    Returns
    -------
    Observation
        Velocities of the centers are relative to the flow: its closed form under `Shear`, the mean
        of the plasma at their height where a force drives it. The fluid's temperature is that of
        all components of v - u(x), but of y and z only where a force drives it.
    """
    v = snapshot.v - reference_velocity(flow, snapshot.x, snapshot.box, snapshot.tilt)
    fluid = slice(suspension.n_beads, None)
    whole = _Platelets.of(suspension, snapshot)
    platelets = _motion(whole, flow, v)
    if isinstance(flow, ReversePoiseuille | Channel):
        platelets["velocity"] -= _stream(
            platelets["center"][:, 1], snapshot.x[fluid, 1], v[fluid], snapshot.box[1], flow
        )
        v = v[:, 1:]
    return Observation(
        time=snapshot.time,
        **platelets,
        **_springs(suspension, whole, forcefield),
        **_touching(whole, snapshot, forcefield, flow),
        fluid_temperature=float((v[fluid] ** 2).mean()) if len(v[fluid]) else float("nan"),
    )


class _Platelets(NamedTuple):
    """Positions of the beads, each platelet in one piece, and which are whose."""

    x: Array
    beads: list[slice]
    membranes: list[slice]

    @classmethod
    def of(cls, suspension: Suspension, snapshot: Snapshot) -> _Platelets:
        members = range(suspension.n_platelets)
        return cls(
            x=unwrapped_platelets(suspension, snapshot),
            beads=[suspension.beads(p) for p in members],
            membranes=[suspension.membrane(p) for p in members],
        )

    @property
    def sizes(self) -> NDArray[np.intp]:
        return np.array([block.stop - block.start for block in self.beads], dtype=np.intp)


def _proximity(platelets: _Platelets, snapshot: Snapshot, flow: Flow, cutoff: float) -> Proximity:
    groups = [platelets.x[membrane] for membrane in platelets.membranes]
    periodic = (True, not isinstance(flow, Channel), True)
    return close_beads(groups, snapshot.box, snapshot.tilt, cutoff=cutoff, periodic=periodic)


def _motion(platelets: _Platelets, flow: Flow, v: Array) -> dict[str, Array]:
    """Centers, rigid motion, shape and temperature; v is relative to the flow."""
    if not platelets.beads:
        return _no_platelets()
    moments = [_Moments.of(platelets.x, v, beads, flow.rate) for beads in platelets.beads]
    center, velocity, spread, shear, kinetic = map(np.array, zip(*moments, strict=True))
    inertia = np.trace(spread, axis1=1, axis2=2)[:, None, None] * np.eye(3) - spread
    turning = shear - shear.transpose(0, 2, 1)
    momentum = turning[:, [1, 2, 0], [2, 0, 1]]
    omega = np.linalg.solve(inertia, momentum[:, :, None])[:, :, 0]
    thermal = kinetic - (omega * momentum).sum(axis=1)
    gyration, axis = _shape(platelets)
    return {
        "center": center,
        "velocity": velocity,
        "angular_velocity": omega,
        "gyration": gyration,
        "axis": axis,
        "temperature": thermal / (3 * platelets.sizes - 6),
    }


class _Moments(NamedTuple):
    """Sums of r r, r w and w . w over a platelet, r and w about its center and its velocity."""

    center: Array
    velocity: Array
    spread: Array
    shear: Array
    kinetic: float

    @classmethod
    def of(cls, x: Array, v: Array, beads: slice, rate: float) -> _Moments:
        n = beads.stop - beads.start
        center, velocity = x[beads].sum(axis=0) / n, v[beads].sum(axis=0) / n
        r, w = x[beads] - center, v[beads] - velocity
        w[:, 0] += rate * r[:, 1]
        return cls(center, velocity, r.T @ r, r.T @ w, np.vdot(w, w))


def _shape(platelets: _Platelets) -> tuple[Array, Array]:
    """Eigenvalues of each membrane's gyration tensor, ascending, and the axis of the first."""
    tensors = []
    for membrane in platelets.membranes:
        r = platelets.x[membrane] - platelets.x[membrane].mean(axis=0)
        tensors.append(r.T @ r / len(r))
    values, vectors = np.linalg.eigh(np.array(tensors))
    return values, vectors[:, :, 0]


def _springs(
    suspension: Suspension, platelets: _Platelets, forcefield: ForceField
) -> dict[str, Array]:
    """Stretch of the membrane's springs, and energy of all, of each platelet."""
    sizes, x = platelets.sizes, platelets.x
    i, j = np.ascontiguousarray(suspension.bonds.T)
    owner = np.repeat(np.arange(len(sizes)), sizes).take(i)
    d = x.take(i, axis=0) - x.take(j, axis=0)
    extension = np.sqrt(np.einsum("ij,ij->i", d, d)) - suspension.rest_lengths
    membrane = forcefield.membrane
    stiffness = np.where(suspension.is_strut, membrane.K_strut, membrane.K_edge)
    energy = np.bincount(owner, stiffness * extension**2, minlength=len(sizes))
    edge = ~suspension.is_strut
    owner, stretch = owner[edge], np.abs(extension[edge]) / suspension.rest_lengths[edge]
    total, largest = np.bincount(owner, stretch, minlength=len(sizes)), np.zeros(len(sizes))
    np.maximum.at(largest, owner, stretch)
    return {
        "stretch_mean": total / np.bincount(owner, minlength=len(sizes)),
        "stretch_max": largest,
        "bond_energy": energy / sizes,
    }


def _touching(
    platelets: _Platelets, snapshot: Snapshot, forcefield: ForceField, flow: Flow
) -> dict[str, Array]:
    """Contacts, gap and receptor energy of each platelet."""
    near = _proximity(platelets, snapshot, flow, contact_range(forcefield))
    count = len(platelets.membranes)
    lengths = [membrane.stop - membrane.start for membrane in platelets.membranes]
    owners = np.repeat(np.arange(count), lengths)[np.concatenate([near.first, near.second])]
    energy: Array = np.zeros(count)
    if forcefield.receptors:
        halves = np.tile(receptor_energy(forcefield.receptors, near.distance) / 2, 2)
        energy = np.bincount(owners, halves, minlength=count) / platelets.sizes
    return {
        "contacts": np.bincount(owners, minlength=count).astype(float),
        "gap": near.gap,
        "receptor_energy": energy,
    }


def _stream(heights: Array, y: Array, v: Array, width: float, flow: Flow) -> Array:
    """Mean velocity of the plasma within one rc of each height, shape (P, 3)."""
    distance: Array = heights[:, None] - y
    if not isinstance(flow, Channel):
        distance = distance - width * np.round(distance / width)
    beside = (np.abs(distance) < _SLAB).astype(float)
    return (beside @ v) / np.maximum(beside.sum(axis=1), 1.0)[:, None]


def _no_platelets() -> dict[str, Array]:
    vectors = ("center", "velocity", "angular_velocity", "gyration", "axis")
    return {name: np.empty((0, 3)) for name in vectors} | {"temperature": np.empty(0)}
