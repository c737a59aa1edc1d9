"""The impulse scheme with one LAMMPS for each group of forces, so that only platelets move at h1.

r-RESPA inside one LAMMPS moves every particle, plasma too, at the smallest step, which bounds what
larger steps can save. Here three instances share the work [1]_::

    fluid      plasma                 plasma with plasma            one step per h4
    interface  plasma and platelets   plasma with platelets         one step per h3
    platelets  platelets              cytoplasm, receptors; springs one step per h1

and one fluid step is, with the impulse of a group the product of its forces and its step::

    v_plasma += h4/2 f4
    n3 times:  v += h3/2 f3                                   (all particles)
               n2 times:  v_platelet += h2/2 f2
                          n1 steps of velocity Verlet with f1, of size h1
                          v_platelet += h2/2 f2, f2 new
               x_plasma += h3 v_plasma
               f3 new;  v += h3/2 f3
    f4 new;  v_plasma += h4/2 f4

This is `labkit.clot.engine.Engine`'s scheme where all four steps differ, in another order of sums.
In `Engine` levels of equal step share one kick, so friction there sees velocities from before the
last half kick of the other group: a difference of the order of the step.

Inside the platelets' instance, n1 springs steps and one nonbonded impulse are velocity Verlet with
the force f1, and f1 + n1 f2 on every n1-th step, which is the same sum.

LAMMPS moves the box of a sheared flow once per step of the largest size, so that under r-RESPA
springs through the box's upper face are strained by up to rate Ly h4, and let go, in every step.
Here each instance moves its box at its own step and springs through a face are as others.

References
----------
.. [1] Tuckerman, Berne and Martyna, J. Chem. Phys. 97 (1992) 1990.
"""

from __future__ import annotations

import dataclasses
import time as clock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labkit.choices import require_whole
from labkit.clot import deck, library
from labkit.clot.coupling import Instance, nearest_image, part, part_of_state
from labkit.clot.engine import Engine, first_snapshot, repacked, unpacked, wrapped
from labkit.clot.flows import Flow, Quiescent, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]


class SplitEngine:
    """A running simulation in three coupled instances of LAMMPS, on one rank.

    It pays where h4 / h1 is large and most particles are plasma; see ``benchmarks/clot_split.py``.

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
        self._parts: tuple[Instance, Instance, Instance] | None = None
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
        self._state = None
        try:
            self._start(state, plan, n_steps, noise)
            setup = clock.perf_counter() - wall
            self._advance(plan, n_steps)
            after = self._collected(state, n_steps * plan.fluid)
        except Exception as error:
            self._close_parts()
            raise EngineError(
                f"plan {plan} blew up between t={state.time:g} and "
                f"t={state.time + n_steps * plan.fluid:g} ({_reason(error)}); restore a snapshot "
                "and use smaller steps."
            ) from error
        segment = Segment(
            plan=plan,
            start=state.time,
            time=n_steps * plan.fluid,
            evaluations=plan.evaluations(time),
            cpu_seconds=clock.process_time() - cpu,
            wall_seconds=clock.perf_counter() - wall,
            setup_seconds=setup,
        )
        self.restore(after)
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
        """
        n = self.suspension.n_particles
        if snapshot.x.shape != (n, 3):
            raise ParameterError(
                f"snapshot has {len(snapshot.x)} particles and the suspension {n}; "
                "use a snapshot of the same suspension."
            )
        self._state = snapshot
        self.time, self.n_segments = snapshot.time, snapshot.n_segments

    def observe(self) -> Observation:
        """Return what is known about the platelets now."""
        from labkit.clot.observe import observe

        return observe(self.suspension, self.snapshot(), self.forcefield, self.flow)

    def close(self) -> None:
        """Free what LAMMPS holds; the next `run` starts it again."""
        self._close_parts()

    def _start(self, state: Snapshot, plan: StepPlan, n_steps: int, noise: bool) -> None:
        """Bring all instances to a state and compute their forces there."""
        fluid, interface, platelets = self._parts = self._parts or self._new_parts(state)
        n3, n2, n1 = plan.ratios
        image, beads = repacked(state.image), self.suspension.n_beads
        for instance, members in (
            (fluid, slice(beads, None)),
            (interface, slice(None)),
            (platelets, slice(beads)),
        ):
            instance.load(state.x[members], state.v[members], image[members], state.tilt)
        kT, seed = self.forcefield.kT if noise else 0.0, self._noise_seed()
        fluid.start(
            deck.plasma_style(self.forcefield, kT=kT, seed=seed),
            step=plan.fluid,
            n_steps=n_steps,
        )
        interface.start(
            _interface_style(self.forcefield, kT=kT, seed=seed + 1),
            step=plan.interface,
            n_steps=n_steps * n3,
        )
        platelets.start(
            _nonbonded_style(self.forcefield, factor=n1),
            step=plan.bonded,
            n_steps=n_steps * n3 * n2 * n1,
        )

    def _new_parts(self, state: Snapshot) -> tuple[Instance, Instance, Instance]:
        beads = self.suspension.n_beads
        kinds = (
            (slice(beads, None), False, []),
            (
                slice(None),
                False,
                [
                    f"comm_modify cutoff/multi 2 {1 + deck.SKIN:.6g}",
                    "neigh_modify exclude type 1 1",
                    "neigh_modify exclude type 2 2 exclude type 2 3 exclude type 3 3",
                    "group plasma type 1",
                    "fix motion plasma nve",
                ],
            ),
            (slice(beads), True, ["comm_modify vel no", "fix motion all nve"]),
        )
        fluid, interface, platelets = (
            Instance(
                part(self.suspension, members, springs=springs),
                self.forcefield,
                self.flow,
                part_of_state(state, members),
                commands,
            )
            for members, springs, commands in kinds
        )
        return fluid, interface, platelets

    def _advance(self, plan: StepPlan, n_steps: int) -> None:
        if self._parts is None:
            raise EngineError("the engine has no instances.")
        fluid, interface, platelets = self._parts
        beads, half = self.suspension.n_beads, plan.fluid / 2
        interface.v[beads:] += half * fluid.f
        for step in range(n_steps):
            for _ in range(plan.ratios[0]):
                self._interface_step(plan, interface, platelets)
            self._follow(fluid, interface.x[beads:], interface.v[beads:], interface.tilt)
            fluid.advance(1)
            interface.v[beads:] += (half if step == n_steps - 1 else plan.fluid) * fluid.f
        interface.v[:beads] += plan.interface / 2 * interface.f[:beads]

    def _interface_step(self, plan: StepPlan, interface: Instance, platelets: Instance) -> None:
        """Advance by h3: the platelets first, then the plasma around them."""
        _, n2, n1 = plan.ratios
        beads, half = self.suspension.n_beads, plan.interface / 2
        platelets.v[:] += half * interface.f[:beads]
        if n1 == 1:
            platelets.advance(n2)
        else:
            for _ in range(n2):
                platelets.command("pair_modify compute no")
                platelets.advance(n1 - 1)
                platelets.command("pair_modify compute yes")
                platelets.advance(1)
        self._follow(interface, platelets.x, platelets.v, platelets.tilt)
        interface.advance(1)
        platelets.v[:] += half * interface.f[:beads]

    def _follow(self, instance: Instance, x: Array, v: Array, tilt: float) -> None:
        """Tell an instance where another one moved the first of its particles."""
        n, box = len(x), self.suspension.box
        moved, gain = nearest_image(x, instance.x[:n], box, tilt=tilt, rate=self.flow.rate)
        if not np.isfinite(moved).all():
            raise EngineError("a position is not a number")
        instance.x[:n] = moved
        instance.v[:n] = v
        instance.v[:n, 0] += gain

    def _collected(self, before: Snapshot, time: float) -> Snapshot:
        """Return the state after a segment, as the interface's instance has it."""
        if self._parts is None:
            raise EngineError("the engine has no instances.")
        interface = self._parts[1]
        rate, box = self.flow.rate, self.suspension.box
        tilt = before.tilt + rate * box[1] * time
        tilt += box[0] * np.rint((interface.tilt - tilt) / box[0])
        x, v, image = wrapped(
            interface.x, interface.v, unpacked(interface.image), box, tilt=tilt, rate=rate
        )
        for instance in self._parts:
            instance.stop()
        return dataclasses.replace(
            before,
            x=x,
            v=v,
            image=image,
            tilt=float(tilt),
            time=before.time + time,
            n_segments=before.n_segments + 1,
        )

    def _noise_seed(self) -> int:
        words = np.random.SeedSequence([self.seed, self.n_segments]).generate_state(1)
        return 1 + int(words[0]) % 800_000_000

    def _close_parts(self) -> None:
        for instance in self._parts or ():
            instance.close()
        self._parts = None


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


def _interface_style(forcefield: ForceField, *, kT: float, seed: int) -> list[str]:
    """Return the commands of the forces between plasma and platelets."""
    wall, plasma = forcefield.interface, forcefield.plasma
    bath, friction = "dpd/tstat", f"{wall.gamma:.17g}"
    if plasma.power != 1:
        bath, friction = (
            "dpd/ext/tstat",
            f"{wall.gamma:.17g} 0 {plasma.power:.17g} {plasma.power:.17g} 1.0",
        )
    return [
        (
            f"pair_style hybrid/overlay lj/cut {wall.cutoff:.17g} "
            f"{bath} {kT:.17g} {kT:.17g} 1.0 {seed}"
        ),
        f"pair_coeff * * lj/cut {wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}",
        f"pair_coeff * * {bath} {friction}",
    ]


def _nonbonded_style(forcefield: ForceField, *, factor: float) -> list[str]:
    """Return the commands of the nonbonded forces of platelets, times a factor."""
    cytoplasm, wall, receptors = forcefield.cytoplasm, forcefield.interface, forcefield.receptors
    second = f"lj/cut {wall.cutoff:.17g}"
    names = ("morse", "lj/cut")
    between = f"{factor * wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}"
    if receptors is not None:
        second, names = f"morse {receptors.cutoff:.17g}", ("morse 1", "morse 2")
        between = (
            f"{factor * receptors.D:.17g} {receptors.alpha:.17g} {receptors.r0:.17g} "
            f"{receptors.cutoff:.17g}"
        )
    inside = (
        f"{factor * cytoplasm.D:.17g} {cytoplasm.alpha:.17g} {cytoplasm.r0:.17g} "
        f"{cytoplasm.cutoff:.17g}"
    )
    return [
        f"pair_style hybrid/overlay morse {cytoplasm.cutoff:.17g} {second}",
        f"pair_coeff * 3 {names[0]} {inside}",
        f"pair_coeff 1*2 1*2 {names[1]} {between}",
    ]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("ERROR: ").rstrip(".")
