"""LAMMPS instances that share the particles of one suspension, each for one group of forces.

Each instance keeps its own neighbor lists and advances its own clock one step at a time. The
particles' arrays are read and written in place, so a step costs little more than its forces.

LAMMPS tilts the box after a step's forces. `Instance.start` lets it do so once without moving the
particles, so that all forces are those of the box at the positions' own time, in every instance. It
must not flip the box by itself, because particles that have left it at the top then keep the
velocity that they had there.
"""

from __future__ import annotations

import ctypes
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labkit.clot import deck, library
from labkit.clot.datafile import data_file
from labkit.clot.flows import Flow, Quiescent
from labkit.clot.forcefield import ForceField
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]
Images = NDArray[np.int32]
Indices = NDArray[np.intp]

_NEVER = 1_000_000_000


class Instance:
    """LAMMPS with some of the particles, in the order of their numbers.

    Parameters
    ----------
    rate : float
        Shear rate of its box [1/time].
    """

    def __init__(self, *, rate: float = 0.0) -> None:
        self._rate = rate
        self._lammps: Any = library.new_lammps()
        self._extract = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
            ("lammps_extract_atom", self._lammps.lib)
        )
        self._views: dict[tuple[int, int], Array] = {}
        self._n_particles = 0
        self._span = ""

    @classmethod
    def periodic(
        cls,
        suspension: Suspension,
        forcefield: ForceField,
        flow: Flow,
        snapshot: Snapshot,
        *,
        reach: float,
    ) -> Self:
        """Return an instance in the periodic box of a flow.

        Parameters
        ----------
        suspension : Suspension
            Without springs.
        forcefield : ForceField
        flow : Flow
            `Quiescent` or `Shear`.
        snapshot : Snapshot
            Of these particles.
        reach : float
            Largest range of a force [rc].
        """
        instance = cls(rate=flow.rate)
        instance._read(
            data_file(suspension, snapshot, forcefield, flow),
            lambda data: deck.header(suspension, forcefield, flow, data=data, sort=False),
        )
        instance.command(
            f"neighbor {deck.SKIN} bin",
            f"comm_modify mode single vel yes cutoff {reach + deck.SKIN:.6g}",
            "thermo_style custom step",
            "group plasma type 1",
        )
        return instance

    @classmethod
    def open(cls, suspension: Suspension, forcefield: ForceField, snapshot: Snapshot) -> Self:
        """Return an instance for springs alone, which has no images and looks for no neighbors.

        Parameters
        ----------
        suspension : Suspension
            With springs.
        forcefield : ForceField
        snapshot : Snapshot
            Of these particles; they get their places by `load`.
        """
        anywhere = dataclasses.replace(snapshot, x=snapshot.x % snapshot.box)
        instance = cls()
        instance._read(
            data_file(suspension, anywhere, forcefield, Quiescent()),
            lambda data: [
                "units lj",
                "atom_style bond",
                "atom_modify map array sort 0 0",
                "boundary s s s",
                "bond_style harmonic",
                f"read_data {data}",
                "pair_style none",
                "neighbor 0 bin",
                "comm_modify cutoff 0.1",
                "thermo_style custom step",
                "fix motion all nve",
                f"neigh_modify every 1 delay {_NEVER} check no",
            ],
        )
        return instance

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

    def load(self, snapshot: Snapshot) -> None:
        """Put the particles where a snapshot has them."""
        if self._rate:
            self.command(deck.tilt_command(snapshot.tilt))
        _, _, packed = library.local_particles(self._lammps)
        self.x[:], self.v[:] = snapshot.x, snapshot.v
        packed[:] = library.repacked(snapshot.image)

    def replace(self, types: Indices, snapshot: Snapshot) -> None:
        """Have other particles from now on, of types (n,), where a snapshot has them."""
        if self._rate:
            self.command(deck.tilt_command(snapshot.tilt))
        self.command("delete_atoms group all compress yes")
        self._n_particles = n = len(types)
        x, v = snapshot.x.ravel().tolist(), snapshot.v.ravel().tolist()
        self._lammps.create_atoms(n, list(range(1, n + 1)), types.tolist(), x, v)
        self.command("group plasma clear", "group plasma type 1")

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
            *([f"{deck.shear_command(self._rate)} flip no"] if self._rate else []),
            f"run 0 post no {self._span}",
        )
        if self._rate:
            self._tilt_ahead()

    def advance(self, n_steps: int = 1) -> None:
        """Run steps."""
        self.command(f"run {n_steps} pre no post no {self._span}")

    def stop(self, *commands: str) -> None:
        """End what `start` began; the commands undo what it was given."""
        self.command(*commands, *(["unfix shear"] if self._rate else []))

    def make_lists(self, *, now: bool) -> None:
        """Make neighbor lists at the next step, or at none from now on."""
        self.command(f"neigh_modify every 1 delay {0 if now else _NEVER} check no")

    @property
    def image(self) -> Images:
        """How often each particle left the box, shape (n, 3)."""
        _, _, packed = library.local_particles(self._lammps)
        return library.unpacked(packed)

    def command(self, *commands: str) -> None:
        """Give LAMMPS commands."""
        for command in commands:
            self._lammps.command(command)

    def close(self) -> None:
        """Free what LAMMPS holds."""
        self._views.clear()
        self._lammps.close()

    def _read(self, data: str, header: Callable[[str], Sequence[str]]) -> None:
        with tempfile.TemporaryDirectory(prefix="labkit-clot-") as folder:
            path = Path(folder) / "data"
            path.write_text(data)
            self.command(*header(str(path)))
        self._n_particles = self._lammps.extract_setting("nlocal")

    def _tilt_ahead(self) -> None:
        v, f = self.v.copy(), self.f.copy()
        self.v[:], self.f[:] = 0.0, 0.0
        self.advance()
        self.v[:], self.f[:] = v, f

    def _view(self, name: str) -> Array:
        """Return an array of LAMMPS, which moves it when it needs more room for it."""
        rows = self._extract(self._lammps.lmp.value, name.encode())
        address = ctypes.c_void_p.from_address(rows).value or 0
        where = (address, self._n_particles)
        if where not in self._views:
            held: Any = (ctypes.c_double * (3 * self._n_particles)).from_address(address)
            self._views = {k: view for k, view in self._views.items() if k[1] == where[1]}
            self._views[where] = np.frombuffer(held).reshape(-1, 3)
        return self._views[where]


def part(
    suspension: Suspension, particles: slice | Indices, *, springs: bool = False
) -> Suspension:
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


def part_of_state(snapshot: Snapshot, particles: slice | Indices) -> Snapshot:
    """Return the state of some of the particles."""
    return dataclasses.replace(
        snapshot,
        x=snapshot.x[particles],
        v=snapshot.v[particles],
        image=snapshot.image[particles],
    )
