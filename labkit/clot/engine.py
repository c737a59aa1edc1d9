"""LAMMPS that runs a suspension in segments, each on a step plan of its own.

Between segments the state is a `Snapshot`: positions inside the box and how often each particle
left it. Every segment draws its noise from a seed derived from the engine's seed and the number of
segments before it, so that a segment repeats bit for bit after `restore`, on one rank.

Under MPI every rank runs the same Python, and each returns the same snapshot and observation.
"""

from __future__ import annotations

import math
import re
import tempfile
import time as clock
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labkit.choices import require_whole
from labkit.clot import deck, library
from labkit.clot.averages import (
    average_commands,
    combined,
    end_commands,
    read_profile,
    read_stress,
)
from labkit.clot.flows import Channel, Flow, Shear
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.frames import ShearFrame, put_in_box
from labkit.clot.lees_edwards import first_snapshot, require_start
from labkit.clot.observation import Observation
from labkit.clot.observe import observe
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]
_BATH = 1_000_000
_OF_LAMMPS = ("Exception", "MPIAbortException")
_ERROR = re.compile(r"^ERROR( on proc \d+)?: ")


class Engine:
    """A running simulation in LAMMPS; the context manager closes it.

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

        LAMMPS draws noise once more at the start of a run, with half its effect: segments of fewer
        than 25 fluid steps make the plasma colder by half a percent and more.

        Parameters
        ----------
        plan : StepPlan
        time : float
            A whole multiple of the plan's fluid step [time].
        noise : bool
            False sets the temperature of every thermostat to zero; friction stays.
        bins : int, optional
            Average profile and stress over the segment, with this number of bins along y. There is
            no stress in a `Channel`, whose walls would be part of it.

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
        loop, profile, stress = self._advance(plan, n_steps, noise=noise, bins=bins)
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

    def relax(
        self, *, time: float = 1.0, step: float = deck.RELAXATION_STEP, max_move: float = 0.02
    ) -> None:
        """Go on with small moves, which lets the energy of the built state flow into the plasma.

        Parameters
        ----------
        time : float
            A whole multiple of the step [time].
        step : float
            Step of all forces [time].
        max_move : float
            The farthest a particle moves in a step [rc].

        Raises
        ------
        EngineError
            The run blew up all the same.
        """
        require_positive("max_move", max_move)
        plan = StepPlan.single(step)
        n_steps = plan.n_fluid_steps(time)
        bath = deck.noise_seed(self.seed, self.n_segments, _BATH)
        self._command(*deck.small_moves(max_move, self.forcefield.kT, self.flow, bath))
        self._advance(plan, n_steps, relaxing=True)
        self._command(*deck.end_of_small_moves(self.flow))
        self.time += n_steps * step
        self.n_segments += 1

    def snapshot(self) -> Snapshot:
        """Return the state.

        Raises
        ------
        EngineError
            The last run blew up, or the engine was closed.
        """
        self._require_state()
        n = self.suspension.n_particles
        return Snapshot(
            x=library.gathered(self._lammps, "x")[:n],
            v=library.gathered(self._lammps, "v")[:n],
            image=library.gathered(self._lammps, "image")[:n],
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

        Raises
        ------
        ParameterError
            It is of another suspension or box.
        """
        require_start(snapshot, self.suspension, self.flow)
        if self._lammps is None:
            self._start(snapshot)
            return
        if isinstance(self.flow, Shear):
            self._command(deck.tilt_command(snapshot.tilt))
        self._place(snapshot)

    def observe(self) -> Observation:
        """Return what is known about the platelets now."""
        return observe(self.suspension, self.snapshot(), self.forcefield, self.flow)

    def close(self) -> None:
        """Free what LAMMPS holds; `restore` starts it again."""
        if self._lammps is not None:
            self._lammps.close()
            self._lammps = None

    def _start(self, snapshot: Snapshot) -> None:
        self._box = np.array(self.suspension.box, dtype=float)
        require_start(snapshot, self.suspension, self.flow)
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
        self._place(snapshot)

    def _place(self, snapshot: Snapshot) -> None:
        for name in ("x", "v", "image"):
            library.scatter(self._lammps, name, getattr(snapshot, name))
        if library.n_ranks() > 1:
            self._command(deck.REDISTRIBUTE)
        self.time, self.n_segments = snapshot.time, snapshot.n_segments

    def _advance(
        self,
        plan: StepPlan,
        n_steps: int,
        *,
        noise: bool = True,
        bins: int | None = None,
        relaxing: bool = False,
    ) -> tuple[float, Array | None, Array | None]:
        """Run, and return the wall seconds of the steps without setup, profile and stress."""
        shear, done, loop = isinstance(self.flow, Shear), 0, 0.0
        frame = ShearFrame(self._lammps, self.suspension, rate=self.flow.rate)
        parts = math.ceil(n_steps / frame.longest(plan.fluid)) if shear else 1
        averages = []
        try:
            for part in range(parts):
                n = (part + 1) * n_steps // parts - done
                self._command(*self._plan_commands(plan, noise=noise, part=part))
                steps = frame.enter(plan, n, bins=bins) if shear else 1
                steps = 1 if relaxing else steps
                self._command(
                    deck.renewal_command(steps, check=relaxing or not shear),
                    *deck.guard_commands(self.suspension, plan, steps=steps),
                )
                self._run(n, done, bins)
                loop += float(self._lammps.last_thermo()["CPU"])
                averages.append((n, *self._averages(bins, frame.border)))
                self._command(*deck.end_of_guard(self.suspension))
                if shear:
                    self._command("unfix shear")
                    frame.leave(n * plan.fluid)
                else:
                    put_in_box(self._lammps, self._box, walls=isinstance(self.flow, Channel))
                done += n
        except Exception as error:
            if isinstance(error, _BlownUpError) or type(error).__name__ in _OF_LAMMPS:
                raise self._blown_up(plan, n_steps, error) from error
            self.close()
            raise
        except BaseException:
            self.close()
            raise
        return loop, *combined(averages)

    def _run(self, n_steps: int, before: int, bins: int | None) -> None:
        sheared = [f"{deck.shear_command(self.flow.rate)} flip no"]
        averages = (
            average_commands(self.flow, self._box, bins=bins, n_steps=n_steps) if bins else []
        )
        self._command(
            "reset_timestep 0",
            *(sheared if isinstance(self.flow, Shear) else []),
            *averages,
            f"run {n_steps} post no",
        )
        self._require_sound(n_steps, before)

    def _plan_commands(self, plan: StepPlan, *, noise: bool, part: int) -> list[str]:
        return deck.plan_commands(
            plan,
            self.forcefield,
            platelets=self.suspension.n_platelets > 0,
            walls=isinstance(self.flow, Channel),
            noise=noise,
            seed=deck.noise_seed(self.seed, self.n_segments, part),
            correct_noise=self._noise_rule,
        )

    def _averages(self, bins: int | None, border: float) -> tuple[Array | None, Array | None]:
        if bins is None:
            return None, None
        profile = read_profile(self._lammps, self.flow, self._box, bins=bins, border=border)
        stress = None if isinstance(self.flow, Channel) else read_stress(self._lammps)
        self._command(*end_commands(self.flow))
        return profile, stress

    def _require_sound(self, n_steps: int, before: int) -> None:
        """Refuse a run that was halted or whose state is no state, on all ranks alike."""
        done = int(self._lammps.extract_global("ntimestep"))
        if done < n_steps:
            raise _BlownUpError(deck.HALTED, step=before + done)
        x, v, _ = library.local_particles(self._lammps)
        if library.any_rank(not (np.isfinite(x).all() and np.isfinite(v).all())):
            raise _BlownUpError("positions or velocities are no numbers", step=before + done)

    def _blown_up(self, plan: StepPlan, n_steps: int, error: Exception) -> EngineError:
        last = self.time + getattr(error, "step", n_steps) * plan.fluid
        text = str(getattr(error, "message", error)).strip()
        reason = _ERROR.sub("", text.partition("\n")[0]).rstrip(".")
        message = (
            f"plan {plan} blew up between t={self.time:g} and t={last:g} ({reason}); "
            "restore a snapshot and use smaller steps."
        )
        if type(error).__name__ == "MPIAbortException" and library.n_ranks() > 1:
            library.abort(message)
        self.close()
        return EngineError(message)

    def _command(self, *commands: str) -> None:
        self._require_state()
        for command in commands:
            self._lammps.command(command)

    def _require_state(self) -> None:
        if self._lammps is None:
            raise EngineError("the engine has no state; restore a snapshot.")

    def _tilt(self) -> float:
        return float(self._lammps.extract_box()[2])


class _BlownUpError(Exception):
    def __init__(self, reason: str, *, step: int) -> None:
        super().__init__(reason)
        self.step = step
