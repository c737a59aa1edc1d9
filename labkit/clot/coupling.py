"""LAMMPS instances that share the particles of one suspension, each for one group of forces.

Each instance keeps its own neighbor lists and advances its own clock one step at a time. The
particles' arrays are read and written in place, so a step costs little more than its forces.
Instances put particles back into the periodic box at times of their own, so what is handed from one
to another goes to the image nearest to where the other one has the particle: by whole multiples of
the lattice vectors ::

    a = (Lx, 0, 0),    b = (s, Ly, 0),    c = (0, 0, Lz),    s(t) = s(0) + g Ly t

of the box sheared at the rate g, and with the velocity g Ly along x for each b [1]_.

LAMMPS tilts the box after a step's forces. `Instance.start` lets it do so once without moving the
particles, so that all forces are those of the box at the positions' own time, in every instance.

Neighbors move with the flow together, so `Wear` counts displacements against it, and the strain of
the flow between neighbors, to say for how long the result of a search holds. LAMMPS counts those in
the box, which in shear wear its neighbor lists out several times as soon.

References
----------
.. [1] Lees and Edwards, J. Phys. C 5 (1972) 1921.
"""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from labkit.clot import deck, library
from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]
Images = NDArray[np.int32]

_NEVER = 1_000_000_000


class Instance:
    """LAMMPS with some of the particles, in the order of their numbers.

    Parameters
    ----------
    suspension : Suspension
        The particles and springs that this instance knows.
    forcefield : ForceField
    flow : Flow
        `Quiescent` or `Shear`.
    snapshot : Snapshot
        Of these particles.
    commands : sequence of str
        Who moves, and how far neighbors are looked for.
    """

    def __init__(
        self,
        suspension: Suspension,
        forcefield: ForceField,
        flow: Flow,
        snapshot: Snapshot,
        commands: Sequence[str] = (),
    ) -> None:
        self.n_particles = suspension.n_particles
        self._rate = flow.rate
        self._lammps: Any = library.new_lammps()
        self._extract = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
            ("lammps_extract_atom", self._lammps.lib)
        )
        self._views: dict[str, tuple[int, Array]] = {}
        self._span = ""
        with tempfile.TemporaryDirectory(prefix="labkit-clot-") as folder:
            data = Path(folder) / "data"
            data.write_text(deck.data_file(suspension, snapshot, forcefield, flow))
            self.command(
                *deck.header(suspension, forcefield, flow, data=str(data), sort=False),
                "thermo_style custom step",
                *commands,
            )

    @property
    def x(self) -> Array:
        """Positions where this instance has them [rc], shape (n, 3); LAMMPS's own memory."""
        return self._view("x")

    @property
    def v(self) -> Array:
        """Velocities [rc/time], shape (n, 3); LAMMPS's own memory."""
        return self._view("v")

    @property
    def f(self) -> Array:
        """Forces of this instance's group [energy/rc], shape (n, 3); LAMMPS's own memory."""
        return self._view("f")

    def start(self, commands: Sequence[str], *, step: float, n_steps: int) -> None:
        """Compute the forces at the present positions, and get ready for steps.

        Parameters
        ----------
        commands : sequence of str
            Forces of this segment.
        step : float
            [time]
        n_steps : int
            Steps that will follow, at most.
        """
        self._span = f"start 0 stop {n_steps + 1}"
        self.command(
            "reset_timestep 0",
            *commands,
            f"timestep {step:.17g}",
            *([deck.shear_command(self._rate)] if self._rate else []),
            f"run 0 post no {self._span}",
        )
        if self._rate:
            self._tilt_ahead()

    def _tilt_ahead(self) -> None:
        v, f = self.v.copy(), self.f.copy()
        self.v[:], self.f[:] = 0.0, 0.0
        self.advance(1)
        self.v[:], self.f[:] = v, f

    def advance(self, n_steps: int = 1) -> None:
        """Run steps."""
        self.command(f"run {n_steps} pre no post no {self._span}")

    def stop(self) -> None:
        """End what `start` began."""
        if self._rate:
            self.command("unfix shear")

    def make_lists(self, *, now: bool) -> None:
        """Make neighbor lists at the next step, or at none from now on."""
        self.command(f"neigh_modify every 1 check no delay {0 if now else _NEVER}")

    def load(self, snapshot: Snapshot) -> None:
        """Put the particles where a snapshot has them."""
        if self._rate:
            self.command(deck.tilt_command(snapshot.tilt))
        _, _, packed = library.local_particles(self._lammps)
        self.x[:], self.v[:] = snapshot.x, snapshot.v
        packed[:] = library.repacked(snapshot.image)

    def images(self, tilt: float) -> Images:
        """Return how often each particle left the box, were its upper end shifted by `tilt`."""
        _, edges, shift, *_ = self._lammps.extract_box()
        _, _, packed = library.local_particles(self._lammps)
        image = library.unpacked(packed)
        image[:, 0] += image[:, 1] * int(np.rint((shift - tilt) / edges[0]))
        return image

    def command(self, *commands: str) -> None:
        """Give LAMMPS commands."""
        for command in commands:
            self._lammps.command(command)

    def close(self) -> None:
        """Free what LAMMPS holds."""
        self._views.clear()
        self._lammps.close()

    def _view(self, name: str) -> Array:
        """Return an array of LAMMPS, which moves it when it needs more room for it."""
        rows = self._extract(self._lammps.lmp.value, name.encode())
        address = ctypes.c_void_p.from_address(rows).value or 0
        known, view = self._views.get(name, (0, np.zeros(0)))
        if address != known:
            held = (ctypes.c_double * (3 * self.n_particles)).from_address(address)
            view = np.frombuffer(held).reshape(-1, 3)
            self._views[name] = address, view
        return view


class Wear:
    """How far particles moved, against the flow, since neighbors were looked for.

    Parameters
    ----------
    n_beads, n_plasma : int
        Numbers of particles; beads come first.
    reach : float
        Largest distance of the pairs that were found [rc].
    rate : float
        Shear rate [1/time].
    """

    def __init__(self, n_beads: int, n_plasma: int, *, reach: float, rate: float) -> None:
        self._beads, self._plasma = slice(n_beads), slice(n_beads, None)
        self._moved = np.zeros((n_beads + n_plasma, 3))
        self._reach, self._rate, self._time = reach, rate, 0.0

    def move(self, displacement: Array, time: float) -> None:
        """Take note of displacements against the flow, shape (n, 3) [rc], and of a time."""
        self._moved += displacement
        self._time += time

    def renew(self) -> None:
        """Begin with a fresh search."""
        self._moved[:], self._time = 0.0, 0.0

    @property
    def of_lists(self) -> float:
        """The most by which a pair with a plasma particle can have come closer [rc]."""
        beads, plasma = self._largest()
        return plasma + max(plasma, beads) + self._strain

    @property
    def of_shell(self) -> float:
        """The most by which a pair of bead and plasma particle can have come closer [rc]."""
        return sum(self._largest()) + self._strain

    @property
    def _strain(self) -> float:
        return self._rate * self._time * self._reach

    def _largest(self) -> tuple[float, float]:
        squared = np.einsum("ij,ij->i", self._moved, self._moved)
        beads, plasma = (
            squared[members].max(initial=0.0) for members in (self._beads, self._plasma)
        )
        return float(np.sqrt(beads)), float(np.sqrt(plasma))


def nearest_image(
    x: Array, near: Array, box: Array, *, tilt: float, rate: float
) -> tuple[Array, Array]:
    """Return the images of positions nearest to others, and what their velocities gain along x.

    Parameters
    ----------
    x, near : array of shape (n, 3)
        [rc]
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    rate : float
        Shear rate [1/time].

    Returns
    -------
    x : array of shape (n, 3)
        [rc]
    gain : array of shape (n,)
        [rc/time]

    Examples
    --------
    >>> box = np.array([10.0, 10.0, 10.0])
    >>> nearest_image(
    ...     np.array([[3.0, 0.1, 5.0]]), np.array([[4.2, 9.9, 5.0]]), box, tilt=1.0, rate=0.5
    ... )
    (array([[ 4. , 10.1,  5. ]]), array([5.]))
    """
    times = np.rint((near - x) / box)
    shift = times * box
    if times[:, 1].any():
        shift[:, 0] = tilt * times[:, 1]
        shift[:, 0] += box[0] * np.rint((near[:, 0] - x[:, 0] - shift[:, 0]) / box[0])
    return x + shift, times[:, 1] * (rate * box[1])


def within(points: Array, beads: Array, box: Array, *, tilt: float, reach: float) -> Any:
    """Return which points are near a bead or an image of one, a bool array of shape (n,).

    Parameters
    ----------
    points, beads : array of shape (n, 3), (k, 3)
        Inside the box or near it [rc].
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    reach : float
        Less than half an edge of the box [rc].
    """
    edges = np.diag(box)
    edges[1, 0] = tilt
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ edges
    images = (beads + shifts[:, None]).reshape(-1, 3)
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    images = images[np.all((images > low) & (images < high), axis=1)]
    distance, _ = cKDTree(images).query(points, distance_upper_bound=reach)
    return np.isfinite(distance)


def part(suspension: Suspension, particles: Any, *, springs: bool = False) -> Suspension:
    """Return some of the particles of a suspension, with all springs or none."""
    n = len(suspension.bonds) if springs else 0
    return dataclasses.replace(
        suspension,
        positions=suspension.positions[particles],
        types=suspension.types[particles],
        molecule=suspension.molecule[particles],
        bonds=suspension.bonds[:n],
        rest_lengths=suspension.rest_lengths[:n],
        is_strut=suspension.is_strut[:n],
    )


def part_of_state(snapshot: Snapshot, particles: Any) -> Snapshot:
    """Return the state of some of the particles."""
    return dataclasses.replace(
        snapshot,
        x=snapshot.x[particles],
        v=snapshot.v[particles],
        image=snapshot.image[particles],
    )
