"""A simulation in coupled instances of LAMMPS, so that only springs are computed at the step h1.

r-RESPA inside one LAMMPS moves every particle, plasma too, at the smallest step, which bounds what
larger steps can save. `labkit.clot.impulses` lets each group of particles move at its own step.
The scheme is that of `labkit.clot.engine.Engine` where all four steps differ, in another order of
sums. In `Engine` groups of equal step share one kick, so friction there sees velocities from before
the last half kick of the other group, a difference of the order of the step.

In a sheared box LAMMPS moves the upper face once per fluid step while r-RESPA moves particles more
often. Here each instance moves its box at its own step, and springs know of no box.
"""

from __future__ import annotations

import dataclasses
import time as clock
from types import TracebackType
from typing import Self

import numpy as np

from labkit.choices import require_whole
from labkit.clot import library
from labkit.clot.engine import Engine, first_snapshot
from labkit.clot.flows import Flow, Quiescent, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.impulses import Impulses
from labkit.clot.lees_edwards import require_start
from labkit.clot.observation import Observation
from labkit.clot.observe import observe
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError


class SplitEngine:
    """A running simulation in coupled instances of LAMMPS, on one rank.

    What it saves over `Engine`, and where, is measured by ``benchmarks/clot_split.py``.

    Parameters
    ----------
    suspension : Suspension
        With at least one platelet.
    forcefield : ForceField
    flow : Flow
        `Quiescent` or `Shear`.
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

    Raises
    ------
    ParameterError
        There is no platelet, the flow has walls or body forces, or there are several ranks.
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
        _require_possible(suspension, flow)
        self.suspension, self.forcefield, self.flow = suspension, forcefield, flow
        self.seed = seed
        self.segments: list[Segment] = []
        self._impulses: Impulses | None = None
        self._state: Snapshot | None = None
        self.restore(snapshot or first_snapshot(suspension, forcefield, flow, seed=seed))

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
            Averages are not taken here; only None is allowed.

        Returns
        -------
        Segment

        Raises
        ------
        EngineError
            The run blew up. The state is lost; `restore` a snapshot.
        """
        if bins is not None:
            raise ParameterError(f"bins={bins!r} is not allowed with SplitEngine; use Engine.")
        n_steps = plan.n_fluid_steps(time)
        state = self.snapshot()
        wall, cpu = clock.perf_counter(), clock.process_time()
        if self._impulses is None:
            self._impulses = Impulses(self.suspension, self.forcefield, self.flow, state)
        self._state = None
        try:
            after = self._impulses.run(
                state,
                plan,
                n_steps,
                kT=self.forcefield.kT if noise else 0.0,
                seed=self._noise_seed(),
            )
        except Exception as error:
            self.close()
            raise EngineError(
                f"plan {plan} blew up between t={state.time:g} and "
                f"t={state.time + n_steps * plan.fluid:g} ({_reason(error)}); restore a snapshot "
                "and use smaller steps."
            ) from error
        except BaseException:
            self.close()
            raise
        segment = Segment(
            plan=plan,
            start=state.time,
            time=n_steps * plan.fluid,
            evaluations=plan.evaluations(time),
            cpu_seconds=clock.process_time() - cpu,
            wall_seconds=clock.perf_counter() - wall,
            setup_seconds=self._impulses.setup_seconds,
        )
        self.restore(
            dataclasses.replace(
                after, time=state.time + segment.time, n_segments=state.n_segments + 1
            )
        )
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
        state = self.snapshot()
        with Engine(
            self.suspension, self.forcefield, self.flow, seed=self.seed, snapshot=state
        ) as engine:
            engine.relax(time=time, step=step, max_move=max_move)
            self.restore(engine.snapshot())

    def snapshot(self) -> Snapshot:
        """Return the state.

        Raises
        ------
        EngineError
            The last run blew up.
        """
        if self._state is None:
            raise EngineError("the engine has no state; restore a snapshot.")
        return self._state

    def restore(self, snapshot: Snapshot) -> None:
        """Go back, or on, to a state, also after an `EngineError`.

        Parameters
        ----------
        snapshot : Snapshot
            Of the same suspension and box.

        Raises
        ------
        ParameterError
            It is of another suspension, box or flow.
        """
        require_start(snapshot, self.suspension, self.flow)
        self._state = snapshot
        self.time, self.n_segments = snapshot.time, snapshot.n_segments

    def observe(self) -> Observation:
        """Return what is known about the platelets now."""
        return observe(self.suspension, self.snapshot(), self.forcefield, self.flow)

    def close(self) -> None:
        """Free what LAMMPS holds; the next `run` starts it again."""
        if self._impulses is not None:
            self._impulses.close()
            self._impulses = None

    def _noise_seed(self) -> int:
        words = np.random.SeedSequence([self.seed, self.n_segments]).generate_state(1)
        return 1 + int(words[0]) % 800_000_000


def _require_possible(suspension: Suspension, flow: Flow) -> None:
    if not isinstance(flow, Quiescent | Shear):
        raise ParameterError(
            f"flow={flow!r} is not allowed with SplitEngine; use Quiescent or Shear, or Engine."
        )
    if suspension.n_platelets == 0:
        raise ParameterError(
            "suspension has no platelet, so there is nothing to split off; use Engine."
        )
    if (ranks := library.n_ranks()) > 1:
        raise ParameterError(
            f"SplitEngine runs on one rank and this program has {ranks}; use Engine."
        )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("ERROR: ").rstrip(".")
