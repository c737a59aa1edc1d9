"""LAMMPS that runs a suspension in segments, each on a step plan of its own.

Between segments the state is a `Snapshot`: positions inside the box and how often each particle
left it. Every segment draws its noise from a seed derived from the engine's seed and the number of
segments before it, so that a segment repeats bit for bit after `restore`, on one rank.
"""

from __future__ import annotations

import logging
import tempfile
import time as clock
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labkit.choices import require_whole
from labkit.clot import deck, library
from labkit.clot.averages import average_commands, end_commands, read_profile, read_stress
from labkit.clot.flows import Channel, Flow, Shear
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]
Images = NDArray[np.int32]
_logger = logging.getLogger(__name__)


class _BlownUpError(Exception):
    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class Engine:
    """A running simulation in LAMMPS.

    Parameters
    ----------
    suspension : Suspension
        The particles.
    forcefield : ForceField
    flow : Flow
    seed : int
        Of the first velocities and of all noise.
    snapshot : Snapshot, optional
        Where to start; None starts at rest in the flow, at the temperature of the force field.

    Attributes
    ----------
    time : float
        [time]
    n_segments : int
        Segments that led to the present state.
    segments : list of Segment
        All that was run, that of probes and of segments rolled back included.
    """

    def __init__(
        self,
        suspension: Suspension,
        forcefield: ForceField,
        flow: Flow,
        *,
        seed: int = 0,
        snapshot: Snapshot | None = None,
    ) -> None:
        require_whole("seed", seed, low=0)
        self.suspension, self.forcefield, self.flow = suspension, forcefield, flow
        self.seed = seed
        self.segments: list[Segment] = []
        self._noise_rule = True
        self._lammps: Any = None
        self._start(snapshot or first_snapshot(suspension, forcefield, flow, seed=seed))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self, plan: StepPlan, time: float, *, noise: bool = True, bins: int | None = None
    ) -> Segment:
        """Go on for a time.

        Parameters
        ----------
        plan : StepPlan
        time : float
            A whole multiple of the plan's fluid step [time].
        noise : bool
            False sets the temperature of every thermostat to zero; friction stays.
        bins : int, optional
            Average profile and stress over the segment, with this number of bins along y.

        Returns
        -------
        Segment

        Raises
        ------
        EngineError
            The run blew up. The state is lost; `restore` a snapshot.
        """
        n_steps = plan.n_fluid_steps(time)
        if bins is not None:
            require_whole("bins", bins, low=1)
        wall, cpu = clock.perf_counter(), clock.process_time()
        self._command(*self._plan_commands(plan, noise))
        loop = self._advance(plan, n_steps, bins=bins)
        profile, stress = self._averages(bins)
        wall_seconds = clock.perf_counter() - wall
        segment = Segment(
            plan=plan,
            start=self.time,
            time=n_steps * plan.fluid,
            evaluations=plan.evaluations(time),
            cpu_seconds=clock.process_time() - cpu,
            wall_seconds=wall_seconds,
            setup_seconds=max(0.0, wall_seconds - loop),
            profile=profile,
            stress=stress,
        )
        self.time += segment.time
        self.n_segments += 1
        self.segments.append(segment)
        return segment

    def relax(self, *, time: float = 1.0, step: float = 0.002, max_move: float = 0.02) -> None:
        """Go on with small moves, which lets the energy of the built state flow into the plasma.

        Parameters
        ----------
        time : float
            [time]
        step : float
            Step of all forces [time].
        max_move : float
            The farthest a particle moves in a step [rc].
        """
        require_positive("max_move", max_move)
        plan = StepPlan.single(step)
        n_steps = plan.n_fluid_steps(time)
        self._command(
            *self._plan_commands(plan, True),
            "unfix motion",
            f"fix motion mobile nve/limit {max_move:.17g}",
        )
        self._advance(plan, n_steps)
        self._command("unfix motion", "fix motion mobile nve")
        self.time += n_steps * step
        self.n_segments += 1

    def snapshot(self) -> Snapshot:
        """Return the state.

        Raises
        ------
        EngineError
            The last run blew up.
        """
        self._require_state()
        n = self.suspension.n_particles
        x, v = (self._gather(name) for name in ("x", "v"))
        image = np.array(self._lammps.gather_atoms("image", 0, 3), dtype=np.int32)
        return Snapshot(
            x=x[:n],
            v=v[:n],
            image=image.reshape(-1, 3)[:n],
            box=self._box.copy(),
            tilt=self._tilt(),
            time=self.time,
            n_segments=self.n_segments,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back, or on, to a state, also after an `EngineError`.

        Parameters
        ----------
        snapshot : Snapshot
            Of the same suspension and box.
        """
        self._check(snapshot)
        if self._lammps is None:
            self._start(snapshot)
            return
        if isinstance(self.flow, Shear):
            self._command(deck.tilt_command(snapshot.tilt))
        for name, values in (("x", snapshot.x), ("v", snapshot.v)):
            self._scatter(name, values)
        image = np.ascontiguousarray(snapshot.image, dtype=np.int32)
        self._lammps.scatter_atoms("image", 0, 3, np.ctypeslib.as_ctypes(image.reshape(-1)))
        self.time, self.n_segments = snapshot.time, snapshot.n_segments

    def observe(self) -> Observation:
        """Return what is known about the platelets now."""
        from labkit.clot.observe import observe

        return observe(self.suspension, self.snapshot(), self.forcefield, self.flow)

    def close(self) -> None:
        """Free what LAMMPS holds; `restore` starts it again."""
        if self._lammps is not None:
            self._lammps.close()
            self._lammps = None

    def _start(self, snapshot: Snapshot) -> None:
        self._check(snapshot)
        self._box = np.array(snapshot.box, dtype=float)
        self._lammps = library.new_lammps()
        with tempfile.TemporaryDirectory(prefix="labkit-clot-") as folder:
            data = Path(folder) / "data"
            data.write_text(deck.data_file(self.suspension, snapshot, self.forcefield, self.flow))
            self._command(
                *deck.header(
                    self.suspension, self.forcefield, self.flow, data=str(data), sort=False
                ),
                *deck.flow_commands(self.flow, self._box, self.forcefield),
            )
        self.time, self.n_segments = snapshot.time, snapshot.n_segments

    def _plan_commands(self, plan: StepPlan, noise: bool) -> list[str]:
        return deck.plan_commands(
            plan,
            self.forcefield,
            platelets=self.suspension.n_platelets > 0,
            walls=isinstance(self.flow, Channel),
            noise=noise,
            seed=self._noise_seed(),
            correct_noise=self._noise_rule,
        )

    def _noise_seed(self) -> int:
        words = np.random.SeedSequence([self.seed, self.n_segments]).generate_state(1)
        return 1 + int(words[0]) % 800_000_000

    def _advance(self, plan: StepPlan, n_steps: int, *, bins: int | None = None) -> float:
        """Run, and return the wall seconds of the steps without their setup."""
        averages = (
            average_commands(self.flow, self._box, bins=bins, n_steps=n_steps) if bins else []
        )
        try:
            lead = self._lead(plan)
            self._tilt_by(lead)
            self._command(
                "reset_timestep 0",
                *deck.guard_commands(self.suspension, plan),
                *([deck.shear_command(self.flow.rate)] if isinstance(self.flow, Shear) else []),
                *averages,
                f"run {n_steps} post no",
            )
            self._require_sound(n_steps)
            loop = float(self._lammps.last_thermo()["CPU"])
            self._command(*deck.end_of_guard(self.suspension))
            if isinstance(self.flow, Shear):
                self._command("unfix shear")
            self._wrap(self._tilt() - lead)
            self._tilt_by(-lead)
        except Exception as error:
            raise self._blown_up(plan, n_steps, error) from error
        return loop

    def _lead(self, plan: StepPlan) -> float:
        """Return by how much the box is tilted ahead during a run [rc].

        LAMMPS tilts the box at the end of each fluid step. The springs of a platelet that lies
        across the sheared border are computed n times in between, while its parts move on; ahead
        by this, the border is right on average.
        """
        n = plan.evaluations(plan.fluid)["bonded"] if self.suspension.n_platelets else 1
        return self.flow.rate * float(self._box[1]) * plan.fluid * (n + 1) / (2 * n)

    def _tilt_by(self, change: float) -> None:
        if isinstance(self.flow, Shear):
            self._command(deck.tilt_command(self._tilt() + change))

    def _require_sound(self, n_steps: int) -> None:
        """Refuse a run that was halted or whose state is no state, on all ranks alike."""
        done = int(self._lammps.extract_global("ntimestep"))
        if done < n_steps:
            raise _BlownUpError(
                done,
                "particles move farther in a step, or springs are longer, than "
                "the neighbor lists reach",
            )
        x, v, _ = self._local()
        if library.any_rank(not (np.isfinite(x).all() and np.isfinite(v).all())):
            raise _BlownUpError(n_steps, "positions or velocities are no numbers")

    def _blown_up(self, plan: StepPlan, n_steps: int, error: Exception) -> EngineError:
        last = f"{self.time + getattr(error, 'step', n_steps) * plan.fluid:g}"
        message = (
            f"plan {plan} blew up between t={self.time:g} and t={last} ({_reason(error)}); "
            "restore a snapshot and use smaller steps."
        )
        if type(error).__name__ == "MPIAbortException":
            library.abort(message)
        self.close()
        return EngineError(message)

    def _averages(self, bins: int | None) -> tuple[Array | None, Array | None]:
        if bins is None:
            return None, None
        profile = read_profile(self._lammps, self.flow, self._box, bins=bins)
        stress = None if isinstance(self.flow, Channel) else read_stress(self._lammps)
        self._command(*end_commands(self.flow))
        return profile, stress

    def _local(self) -> tuple[Array, Array, NDArray[np.int32]]:
        """Return positions, velocities and box counts of this rank's particles, as LAMMPS holds them."""
        numbers = self._lammps.numpy
        n = self._lammps.extract_setting("nlocal")
        x, v = (numbers.extract_atom(name, nelem=n, dim=3) for name in ("x", "v"))
        return x, v, numbers.extract_atom("image", nelem=n)

    def _wrap(self, tilt: float) -> None:
        """Put particles that left the box back in, as LAMMPS does at its next neighbor list."""
        x, v, packed = self._local()
        x[:], v[:], image = wrapped(
            x,
            v,
            unpacked(packed),
            self._box,
            tilt=tilt,
            rate=self.flow.rate,
            walls=isinstance(self.flow, Channel),
        )
        packed[:] = repacked(image)

    def _command(self, *commands: str) -> None:
        self._require_state()
        for command in commands:
            self._lammps.command(command)

    def _require_state(self) -> None:
        if self._lammps is None:
            raise EngineError("the engine has no state; restore a snapshot.")

    def _check(self, snapshot: Snapshot) -> None:
        n = self.suspension.n_particles
        if snapshot.x.shape != (n, 3):
            raise ParameterError(
                f"snapshot has {len(snapshot.x)} particles and the suspension {n}; "
                "use a snapshot of the same suspension."
            )

    def _tilt(self) -> float:
        return float(self._lammps.extract_box()[2])

    def _gather(self, name: str) -> Array:
        return np.array(self._lammps.gather_atoms(name, 1, 3), dtype=float).reshape(-1, 3)

    def _scatter(self, name: str, values: Array) -> None:
        flat = np.ascontiguousarray(values, dtype=float).reshape(-1)
        self._lammps.scatter_atoms(name, 1, 3, np.ctypeslib.as_ctypes(flat))


def first_snapshot(
    suspension: Suspension, forcefield: ForceField, flow: Flow, *, seed: int = 0
) -> Snapshot:
    """Return a suspension at rest in the flow, with thermal velocities and no net momentum."""
    generator = np.random.default_rng([seed, 0])
    v = generator.normal(scale=np.sqrt(forcefield.kT), size=suspension.positions.shape)
    v -= v.mean(axis=0)
    v[:, 0] += flow.rate * suspension.positions[:, 1]
    x, v, image = wrapped(
        suspension.positions,
        v,
        np.zeros(suspension.positions.shape, dtype=np.int32),
        suspension.box,
        tilt=0.0,
        rate=flow.rate,
    )
    return Snapshot(x=x, v=v, image=image, box=np.array(suspension.box, dtype=float))


def wrapped(
    x: Array,
    v: Array,
    image: Images,
    box: Array,
    *,
    tilt: float,
    rate: float,
    walls: bool = False,
) -> tuple[Array, Array, Images]:
    """Return positions inside the box, and the velocities and box counts that go with them.

    A particle that leaves a sheared box at the top comes back at the bottom, shifted by the tilt
    and slower by what the top moves faster (Lees-Edwards).

    Parameters
    ----------
    x, v : array of shape (n, 3)
        [rc], [rc/time]
    image : int array of shape (n, 3)
        How many times each particle left the box already.
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    rate : float
        Shear rate [1/time].
    walls : bool
        Nothing leaves the box along y.
    """
    x, v, moved = x.copy(), v.copy(), np.zeros(x.shape, dtype=np.int32)
    for axis in (2, 0) if walls else (2, 1, 0):
        lean = tilt / box[1] * x[:, 1] if axis == 0 else 0.0
        times = np.floor((x[:, axis] - lean) / box[axis])
        x[:, axis] -= times * box[axis]
        if axis == 1:
            x[:, 0] -= times * tilt
            v[:, 0] -= times * rate * box[1]
        moved[:, axis] = times
    return x, v, image + moved


def unpacked(packed: NDArray[np.int32]) -> Images:
    """Return box counts (n, 3) from LAMMPS's, three to a number of ten bits each."""
    return np.stack([(packed >> bits & 1023) - 512 for bits in (0, 10, 20)], axis=-1)


def repacked(image: Images) -> NDArray[np.int32]:
    """Return box counts as LAMMPS holds them."""
    bits = (image + 512) & 1023
    return (bits[:, 0] | bits[:, 1] << 10 | bits[:, 2] << 20).astype(np.int32)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("ERROR: ").rstrip(".")
