"""The lesson of the noise: platelets freeze where a program forgets which step it draws noise on.

The random force of DPD on a step h has the variance 2 gamma kT / h. LAMMPS draws the noise of every
level as if it acted for the largest step h4; on the interface's step h3 < h4 friction then takes
energy at its full rate, noise gives h3/h4 of it, and platelets whose only bath is the plasma go to
a temperature between h3/h4 and 1. The plasma's own temperature stays right, so that nobody notices
who looks at that alone. The rule is to give the interface the temperature kT h4/h3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from labkit.clot.caps import temperature_samples
from labkit.clot.engine import Engine
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import Scene, equilibrate
from labkit.errors import ParameterError

CONFIDENCE = 0.95
LESSON_PLANS = (
    StepPlan(fluid=0.02, interface=0.02, nonbonded=0.01, bonded=0.005),
    StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005),
    StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.005),
    StepPlan(fluid=0.02, interface=0.0025, nonbonded=0.0025, bonded=0.0025),
)
"""The same fluid step with 1, 2, 4 and 8 interface steps in it."""


def noise_lesson(
    scene: Scene,
    plans: Sequence[StepPlan] = LESSON_PLANS,
    *,
    seeds: Iterable[int] = range(5),
    time: float = 5.0,
    segment: float = 1.0,
    settle: float = 3.0,
) -> pd.DataFrame:
    """Measure temperatures with the noise rule and without it.

    Parameters
    ----------
    scene : Scene
        With a platelet.
    plans : sequence of StepPlan
    seeds : iterable of int
        Runs of the ensemble, two or more.
    time, segment, settle : float
        Time to average over after the time to settle, and between two samples of it [time].

    Returns
    -------
    DataFrame
        One row for each plan and rule: ``plan``, ``ratio`` (h4/h3), ``rule`` (bool),
        ``T_platelet`` and ``T_fluid`` over kT, the ends of their 95 % bootstrap intervals over the
        seeds ``T_platelet_low``, ``T_platelet_high``, ``T_fluid_low``, ``T_fluid_high``, and
        ``seeds``, how many.
    """
    runs = list(seeds)
    if len(runs) < 2:
        raise ParameterError(f"seeds={runs!r} is not allowed; use two or more, for an interval.")
    if not scene.suspension.n_platelets:
        raise ParameterError(
            f"scene={scene.name!r} is not allowed, as it has no platelet; use 'tumbling'."
        )
    lengths = {"time": time, "segment": segment, "settle": settle}
    cases = [(plan, rule) for plan in plans for rule in (True, False)]
    heat = np.array([_temperatures(scene, cases, seed, lengths) for seed in runs])
    rows = [
        {
            "plan": str(plan),
            "ratio": plan.ratios[0],
            "rule": rule,
            **_interval("T_platelet", heat[:, case, 0]),
            **_interval("T_fluid", heat[:, case, 1]),
            "seeds": len(runs),
        }
        for case, (plan, rule) in enumerate(cases)
    ]
    return pd.DataFrame(rows)


def _temperatures(
    scene: Scene, cases: Sequence[tuple[StepPlan, bool]], seed: int, lengths: dict[str, float]
) -> list[np.ndarray]:
    """Return the mean temperatures of platelets and plasma over kT of each case."""
    means = []
    with Engine(scene.suspension, scene.forcefield, scene.flow, seed=seed) as engine:
        start = equilibrate(engine, plan=cases[0][0])
        for plan, rule in cases:
            engine.restore(start)
            engine._noise_rule = rule
            means.append(temperature_samples(engine, plan, **lengths).mean(axis=0))
    return means


def _interval(name: str, values: np.ndarray) -> dict[str, float]:
    spread = bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, method="percentile", rng=0
    ).confidence_interval
    return {
        name: float(values.mean()),
        f"{name}_low": float(spread.low),
        f"{name}_high": float(spread.high),
    }
