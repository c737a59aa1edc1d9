"""One of several LAMMPS instances that share the particles of one suspension.

Each instance computes one group of forces, keeps its own neighbor lists, and advances its own clock
one step at a time. The particles' arrays are written directly, so a step costs little more than its
forces. Instances put particles back into the periodic box at times of their own, so what is handed
from one to another goes to the image nearest to where the other one has the particle: by whole
multiples of the lattice vectors ::

    a = (Lx, 0, 0),    b = (xy, Ly, 0),    c = (0, 0, Lz),    xy(t) = xy(0) + rate Ly t

of the sheared box, and with the velocity rate Ly along x for each b (Lees and Edwards [1]_).

LAMMPS moves the box after a step's forces. `Instance.prime` lets it do so once without moving the
particles, so that all forces are those of the box at the positions' own time, in every instance.

References
----------
.. [1] Lees and Edwards, J. Phys. C 5 (1972) 1921.
"""

from __future__ import annotations

import ctypes
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot import deck, library
from labkit.clot.flows import Flow, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]


class Instance:
    """LAMMPS with some of the particles, in the order of their numbers.

    Parameters
    ----------
    suspension : Suspension
        The particles and springs that this instance knows.
    forcefield : ForceField
    flow : Flow
        Quiescent or Shear.
    snapshot : Snapshot
        Of these particles.
    commands : sequence of str
        What to do after the header: groups of neighbors to leave out, who moves.
    """

    def __init__(
        self,
        suspension: Suspension,
        forcefield: ForceField,
        flow: Flow,
        snapshot: Snapshot,
        commands: Sequence[str],
    ) -> None:
        self.n_particles = suspension.n_particles
        self._rate = flow.rate
        self._lammps: Any = library.new_lammps()
        self._extract = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
            ("lammps_extract_atom", self._lammps.lib)
        )
        self._views: dict[str, tuple[int, Array]] = {}
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
        """Positions where this instance has them [rc], shape (n, 3); writable."""
        return self._view("x")

    @property
    def v(self) -> Array:
        """Velocities [rc/time], shape (n, 3); writable."""
        return self._view("v")

    @property
    def f(self) -> Array:
        """Forces of this instance's group [energy/rc], shape (n, 3); writable."""
        return self._view("f")

    @property
    def image(self) -> NDArray[np.int32]:
        """Packed counts of how often each particle left the box, shape (n,); writable."""
        found: NDArray[np.int32] = self._lammps.numpy.extract_atom("image", nelem=self.n_particles)
        return found

    @property
    def tilt(self) -> float:
        """Shift along x of the upper end of y, now [rc]."""
        return float(self._lammps.extract_box()[2])

    def start(self, commands: Sequence[str], *, step: float, n_steps: int) -> None:
        """Compute the forces at the present positions and get ready for steps.

        Parameters
        ----------
        commands : sequence of str
            Forces of this segment.
        step : float
            [time]
        n_steps : int
            Steps that will follow.
        """
        self._ends = f"start 0 stop {n_steps + 1}"
        self.command(
            "reset_timestep 0",
            *commands,
            f"timestep {step:.17g}",
            *([deck.shear_command(self._rate)] if self._rate else []),
            f"run 0 post no {self._ends}",
        )
        if self._rate:
            self.prime()

    def prime(self) -> None:
        """Move the box ahead by one step, and nothing else."""
        v, f = self.v.copy(), self.f.copy()
        self.v[:], self.f[:] = 0.0, 0.0
        self.advance(1)
        self.v[:], self.f[:] = v, f

    def advance(self, n_steps: int) -> None:
        """Run steps."""
        self.command(f"run {n_steps} pre no post no {self._ends}")

    def stop(self) -> None:
        """End the segment."""
        if self._rate:
            self.command("unfix shear")

    def load(self, x: Array, v: Array, image: NDArray[np.int32], tilt: float) -> None:
        """Put the particles where they are at the start of a segment.

        Parameters
        ----------
        x, v : array of shape (n, 3)
            Inside the box [rc], [rc/time].
        image : int array of shape (n,)
            Packed as LAMMPS does.
        tilt : float
            [rc]
        """
        if self._rate:
            self.command(f"change_box all xy final {tilt:.17g} units box")
        self.x[:], self.v[:], self.image[:] = x, v, image

    def command(self, *commands: str) -> None:
        """Give LAMMPS commands."""
        for command in commands:
            self._lammps.command(command)

    def close(self) -> None:
        """Free what LAMMPS holds."""
        self._views.clear()
        self._lammps.close()

    def _view(self, name: str) -> Array:
        """Return LAMMPS's own array; it moves when particles near the box need more room."""
        rows = self._extract(self._lammps.lmp.value, name.encode())
        address = ctypes.c_void_p.from_address(rows).value or 0
        known, view = self._views.get(name, (0, np.zeros(0)))
        if address != known:
            held = (ctypes.c_double * (3 * self.n_particles)).from_address(address)
            view = np.frombuffer(held).reshape(-1, 3)
            self._views[name] = address, view
        return view


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
    times[:, 0] = np.rint((near[:, 0] - x[:, 0] - times[:, 1] * tilt) / box[0])
    shift = times * box
    shift[:, 0] += times[:, 1] * tilt
    return x + shift, times[:, 1] * (rate * box[1])


def part(suspension: Suspension, particles: slice, *, springs: bool) -> Suspension:
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


def part_of_state(snapshot: Snapshot, particles: slice) -> Snapshot:
    """Return the state of some of the particles."""
    return dataclasses.replace(
        snapshot,
        x=snapshot.x[particles],
        v=snapshot.v[particles],
        image=snapshot.image[particles],
    )


def is_sheared(flow: Flow) -> bool:
    """Return whether the box is."""
    return isinstance(flow, Shear)
