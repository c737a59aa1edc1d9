"""The parts of the study before anything aggregates: plasma, a tumbling platelet, noise, costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.clot.analysis.intervals import Interval
from labkit.clot.analysis.jeffery import (
    Tumbling,
    axis_angle,
    compare_with_jeffery,
    effective_aspect_ratio,
    turning_rates,
)
from labkit.clot.analysis.profiles import (
    PoiseuilleFit,
    poiseuille_viscosity,
    shear_viscosity,
    velocity_profile,
)
from labkit.clot.caps import Caps, stability_caps
from labkit.clot.control.ladder import Ladder, ladder
from labkit.clot.cost import CostModel, measure_costs, probe_plans
from labkit.clot.engine import Engine
from labkit.clot.flows import ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Plasma
from labkit.clot.noise import LESSON_PLANS, noise_lesson
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import Scene, equilibrate, scene
from labkit.clot.settings import ClotConfig
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import plasma_box

Array = NDArray[np.float64]

GROOT_WARREN = ForceField(kT=1.0, plasma=Plasma(a=25.0, gamma=4.5, density=3.0))
"""The plasma of Groot and Warren, whose properties many programs have measured."""
VISCOSITY = 0.85
"""Of that plasma, by shear, reverse Poiseuille and start-up (``benchmarks/clot_flows.py``)."""
PLASMA_PLAN = StepPlan.single(0.02)
TUMBLING_PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
COST_PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.0025, bonded=0.00125)
"""Fine enough for platelets that are binding."""
_BINS = 24
_FORCE, _DRIVEN_BOX, _DRIVEN_SETTLE = 0.05, (6.0, 12.0, 6.0), 40.0
_RATE, _SHEAR_BOX, _SHEAR_SETTLE = 0.3, (6.0, 6.0, 6.0), 10.0
_WINDOW, _FEWEST_WINDOWS = 10.0, 5
_STRAIN_A_FRAME = 0.2
_COOLING = 5.0  # until a platelet has lost the heat of its relaxation [time]


@dataclass(frozen=True, eq=False)
class PlasmaCheck:
    """Plasma alone against what is known of it.

    Attributes
    ----------
    flow : ReversePoiseuille or Shear
    profiles : array of shape (windows, bins, 4)
        As in `labkit.clot.simulation.Segment`.
    profile : DataFrame
        Of `labkit.clot.analysis.profiles.velocity_profile`.
    viscosity : Interval
        [mass/(rc time)]
    temperature : float
        From the velocities across the flow, over kT.
    fit : PoiseuilleFit, optional
        In reverse Poiseuille flow.
    """

    flow: ReversePoiseuille | Shear
    profiles: Array
    profile: pd.DataFrame
    viscosity: Interval
    temperature: float
    fit: PoiseuilleFit | None = None

    def frame(self) -> pd.DataFrame:
        """Measured beside expected."""
        rows = [
            ("temperature over kT", f"{self.temperature:.3f}", "1"),
            ("viscosity", str(self.viscosity), f"{VISCOSITY:g}"),
        ]
        if self.fit is not None:
            rows.append(("distance from the parabola (rms)", f"{self.fit.rms:.1%}", "0"))
        return pd.DataFrame(rows, columns=["quantity", "measured here", "expected"])


def check_plasma(config: ClotConfig) -> PlasmaCheck:
    """Run plasma alone in the flow that was chosen."""
    driven = config.flow == "reverse-poiseuille"
    flow = ReversePoiseuille(_FORCE) if driven else Shear(_RATE)
    box, settle = (_DRIVEN_BOX, _DRIVEN_SETTLE) if driven else (_SHEAR_BOX, _SHEAR_SETTLE)
    fluid = plasma_box(box, density=GROOT_WARREN.plasma.density, seed=config.seed)
    n = max(_FEWEST_WINDOWS, round(config.plasma_time / _WINDOW))
    window = _whole(config.plasma_time / n, PLASMA_PLAN)
    with Engine(fluid, GROOT_WARREN, flow, seed=config.seed) as engine:
        engine.run(PLASMA_PLAN, settle)
        segments = [engine.run(PLASMA_PLAN, window, bins=_BINS) for _ in range(n)]
    profiles = np.array([segment.profile for segment in segments])
    temperature = float(np.average(profiles[:, :, 3], weights=profiles[:, :, 1]))
    profile = velocity_profile(profiles)
    if isinstance(flow, ReversePoiseuille):
        fit = poiseuille_viscosity(profiles, flow, box[1], slip=False)
        return PlasmaCheck(flow, profiles, profile, fit.viscosity, temperature, fit)
    return PlasmaCheck(flow, profiles, profile, shear_viscosity(segments, flow.rate), temperature)


@dataclass(frozen=True, eq=False)
class Tumble:
    """A platelet that tumbles in shear.

    Attributes
    ----------
    scene : Scene
    snapshots : tuple of Snapshot
        For the 3D view.
    observations : tuple of Observation
    by_shape, by_rates : Tumbling
        Angle against strain beside Jeffery's orbit, at the aspect ratio of the beads, and at that
        of the turning rates of this very run.
    shape_ratio, rates_ratio : float
        Those aspect ratios.
    viscosity : float
        Of the suspension, from its stress [mass/(rc time)].
    """

    scene: Scene
    snapshots: tuple[Snapshot, ...]
    observations: tuple[Observation, ...]
    by_shape: Tumbling
    by_rates: Tumbling
    shape_ratio: float
    rates_ratio: float
    viscosity: float


def tumble(config: ClotConfig) -> Tumble:
    """Let a platelet tumble, and compare it with the orbit of a rigid spheroid of its shape."""
    made = scene(
        "tumbling",
        seed=config.seed,
        shear_rate=config.shear_rate,
        platelet_a=config.platelet_a,
        platelet_c=config.platelet_c,
    )
    rate = made.flow.rate
    frame = _whole(_STRAIN_A_FRAME / rate, TUMBLING_PLAN)
    n = max(4, round(config.tumbling_strain / rate / frame))
    with Engine(made.suspension, made.forcefield, made.flow, seed=config.seed) as engine:
        snapshots = [equilibrate(engine, plan=TUMBLING_PLAN, time=1.0)]
        seen, stress = [engine.observe()], []
        for _ in range(n):
            stress.append(engine.run(TUMBLING_PLAN, frame, bins=4).stress)
            seen.append(engine.observe())
            snapshots.append(engine.snapshot())
    strain = rate * (np.array([o.time for o in seen]) - seen[0].time)
    axes = np.array([o.axis[0] for o in seen])
    shape = effective_aspect_ratio(np.mean([o.gyration[0] for o in seen], axis=0))
    rates = turning_rates([(strain, axis_angle(axes))]).aspect_ratio
    viscosity = -float(np.mean(np.array(stress)[:, 3])) / rate
    return Tumble(
        scene=made,
        snapshots=tuple(snapshots),
        observations=tuple(seen),
        by_shape=compare_with_jeffery(strain, axes, shape),
        by_rates=compare_with_jeffery(strain, axes, rates),
        shape_ratio=shape,
        rates_ratio=rates,
        viscosity=viscosity,
    )


def lesson(config: ClotConfig) -> pd.DataFrame:
    """Measure what the noise rule is worth; see `labkit.clot.noise`."""
    made = scene("tumbling", seed=config.seed, shear_rate=0)
    quick = config.lesson_time < 4
    segment = _whole(config.lesson_time / 4, PLASMA_PLAN)
    return noise_lesson(
        made,
        LESSON_PLANS[1:3] if quick else LESSON_PLANS,
        seeds=config.ensemble(),
        time=4 * segment,
        segment=segment,
        settle=_COOLING,
    )


@dataclass(frozen=True, eq=False)
class Steps:
    """What steps are allowed, what they cost, and the ladder of plans to choose from.

    Attributes
    ----------
    caps : Caps
    ladder : Ladder
    cost : CostModel
        Fitted to runs on this machine.
    """

    caps: Caps
    ladder: Ladder
    cost: CostModel


def find_steps(config: ClotConfig, made: Scene, start: Snapshot) -> Steps:
    """Find caps, ladder and costs of the system that aggregates."""
    caps = stability_caps(made.suspension, made.forcefield)
    plans = ladder(caps)
    repeats = 1 if config.seeds < 3 else 3
    with Engine(made.suspension, made.forcefield, made.flow, snapshot=start) as engine:
        runs = _measured(engine, start, repeats=repeats)
    return Steps(caps=caps, ladder=plans, cost=CostModel.fit(runs))


def _measured(engine: Engine, start: Snapshot, *, repeats: int) -> list[Segment]:
    """Return segments that tell the costs, on finer plans where stiff receptors ask for them."""
    for plan in (COST_PLAN, COST_PLAN.refined(2)):
        try:
            return measure_costs(engine, probe_plans(plan, factor=2), steps=20, repeats=repeats)
        except EngineError:
            engine.restore(start)
    return measure_costs(engine, probe_plans(COST_PLAN.refined(4), factor=2), repeats=repeats)


def _whole(time: float, plan: StepPlan) -> float:
    """Return a time rounded to whole fluid steps of a plan, one at least."""
    return max(1, round(time / plan.fluid)) * plan.fluid
