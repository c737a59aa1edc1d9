"""The run of the study in which platelets aggregate: its start, its controller, its loop.

A finished run is judged by labels of its own: from each state that was kept, the plan that was
chosen there is compared, in a window without noise, with a reference of four times finer steps. The
finest plan is compared as well, since no controller can do better than that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.atomic import replace_text
from labkit.clot.control.autoencoder import AutoencoderController
from labkit.clot.control.classical import DisplacementLimit, FixedPlan, StepDoubling
from labkit.clot.control.drive import drive
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import LearnedController, default_tolerance
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import Run
from labkit.clot.engine import Engine
from labkit.clot.labels import local_errors
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import Scene, equilibrate
from labkit.clot.settings import ClotConfig
from labkit.clot.split import SplitEngine
from labkit.clot.state import Snapshot

SEGMENT = 0.5
"""How long a plan is kept [time]; that of the training of the shipped networks."""
X_MAX = 0.01
"""Displacement limit of a step [rc]."""
START_PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.0025, bonded=0.0025)
STATES_JUDGED = 24
"""States of a run whose plans are compared with the tolerance."""
_FRAMES = 24
_JUDGED = "judged.csv"


def tolerance_of(config: ClotConfig, made: Scene) -> float:
    """Return the declared tolerance [rc]."""
    return config.tolerance or default_tolerance(made.forcefield)


def engine_of(config: ClotConfig, made: Scene, *, seed: int, start: Snapshot) -> Any:
    """Return the engine that was chosen, in a state to start from."""
    kind: Any = SplitEngine if config.engine == "split" else Engine
    return kind(made.suspension, made.forcefield, made.flow, seed=seed, snapshot=start)


def start_of(config: ClotConfig, *, seed: int | None = None) -> tuple[Scene, Snapshot]:
    """Build and equilibrate what aggregates.

    Parameters
    ----------
    config : ClotConfig
    seed : int, optional
        Of the member of the ensemble; the first by default.
    """
    number = config.seed if seed is None else seed
    made = config.system(seed=number)
    with Engine(made.suspension, made.forcefield, made.flow, seed=number) as engine:
        return made, equilibrate(engine, plan=START_PLAN)


def controller_of(
    name: str, *, tolerance: float, plans: Ladder, fixed: StepPlan | None = None
) -> Controller:
    """Return a controller by its name.

    Parameters
    ----------
    name : str
        One of `labkit.clot.settings.CONTROLLERS`.
    tolerance : float
        [rc]
    plans : Ladder
        To choose from.
    fixed : StepPlan, optional
        Of controller "fixed"; the finest of the ladder by default.
    """
    if name == "learned":
        return LearnedController(tolerance=tolerance, ladder=plans.plans)
    if name in ("lstm", "gru"):
        return AutoencoderController(name, ladder=plans.plans)
    if name == "displacement":
        return DisplacementLimit(X_MAX, plans)
    if name == "doubling":
        return StepDoubling(tolerance, plans)
    return FixedPlan(fixed or plans.finest)


def aggregate(
    config: ClotConfig,
    made: Scene,
    start: Snapshot,
    plans: Ladder,
    *,
    controller: Controller | None = None,
    seed: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Run:
    """Let platelets aggregate on the plans of a controller.

    Parameters
    ----------
    config : ClotConfig
    made, start
        Of `start_of`.
    plans : Ladder
    controller : Controller, optional
        Default: the one of the configuration.
    seed : int, optional
        Of the noise.
    folder : path, optional
        Where the raw run is stored; a run that is there is gone on with.
    """
    number = config.seed if seed is None else seed
    plan_of = controller or controller_of(
        config.controller, tolerance=tolerance_of(config, made), plans=plans
    )
    n_segments = max(1, round(config.time / SEGMENT))
    with engine_of(config, made, seed=number, start=start) as engine:
        return drive(
            engine,
            plan_of,
            time=n_segments * SEGMENT,
            segment=SEGMENT,
            ladder=plans,
            bins=None if config.engine == "split" else 8,
            keep_every=max(1, round(n_segments / _FRAMES)),
            folder=folder,
            resume=folder is not None,
            about=about_run(config, made, seed=number),
        )


def about_run(config: ClotConfig, made: Scene, *, seed: int) -> dict[str, Any]:
    """Return what a run notes about itself, by which a stored one is known again."""
    return {
        "scene": made.name,
        "shear_rate": made.flow.rate,
        "engine": config.engine,
        "seed": seed,
        "tolerance": tolerance_of(config, made),
    }


def judge(
    run: Run,
    made: Scene,
    *,
    folder: str | os.PathLike[str] | None = None,
    states: int = STATES_JUDGED,
) -> pd.DataFrame:
    """Compare the plans of a run with the tolerance that the run notes, where states were kept.

    Parameters
    ----------
    run : Run
        Of `aggregate`.
    made : Scene
        What was run.
    folder : path, optional
        Of the run; the labels are stored beside it, and read if they are there.
    states : int
        At most so many of the kept states, evenly spaced.

    Returns
    -------
    DataFrame
        One row for each kept state at which a segment starts: time, plan; error and finest_error,
        those of the plan and of the finest one for the platelet that fares worst [rc]; hopeless,
        whether the finest is over the tolerance; over, whether the plan is though the finest is
        not.
    """
    asked = _questions(run)
    asked = asked[:: max(1, -(-len(asked) // states))]
    path = None if folder is None else Path(folder).expanduser() / _JUDGED
    labels = None if path is None or not path.is_file() else pd.read_csv(path)
    if labels is None or labels["plan"].tolist() != [str(plan) for _, plan in asked]:
        labels = _labels(run, made, asked)
        if path is not None:
            replace_text(path, labels.to_csv(index=False))
    tolerance = float(run.about["tolerance"])
    hopeless = labels["finest_error"] > tolerance
    return labels.assign(hopeless=hopeless, over=(labels["error"] > tolerance) & ~hopeless)


def _questions(run: Run) -> list[tuple[Snapshot, StepPlan]]:
    """Return the kept states at which a segment starts, each with the plan of that segment."""
    start = run.observations[0].time
    numbers = [round((kept.time - start) / run.segment) for kept in run.snapshots]
    pairs = zip(run.snapshots, numbers, strict=True)
    return [(kept, run.plans[number]) for kept, number in pairs if number < len(run.plans)]


def _labels(run: Run, made: Scene, asked: list[tuple[Snapshot, StepPlan]]) -> pd.DataFrame:
    finest, reference = run.ladder.finest, run.ladder.reference()
    rows = []
    with Engine(made.suspension, made.forcefield, made.flow, snapshot=run.snapshots[0]) as engine:
        for kept, plan in asked:
            errors = local_errors(engine, kept, [plan, finest], reference=reference).max(axis=1)
            rows.append((kept.time, str(plan), *errors))
    return pd.DataFrame(rows, columns=["time", "plan", "error", "finest_error"])
