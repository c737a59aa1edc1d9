"""The run of the study in which platelets aggregate: its start, its controller, its loop."""

from __future__ import annotations

import os
from typing import Any

from labkit.clot.control.autoencoder import AutoencoderController
from labkit.clot.control.classical import DisplacementLimit, FixedPlan, StepDoubling
from labkit.clot.control.drive import drive
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import LearnedController, default_tolerance
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import Run
from labkit.clot.engine import Engine
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
_FRAMES = 24


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
    tolerance = tolerance_of(config, made)
    number = config.seed if seed is None else seed
    n_segments = max(1, round(config.time / SEGMENT))
    with engine_of(config, made, seed=number, start=start) as engine:
        return drive(
            engine,
            controller or controller_of(config.controller, tolerance=tolerance, plans=plans),
            time=n_segments * SEGMENT,
            segment=SEGMENT,
            ladder=plans,
            bins=None if config.engine == "split" else 8,
            keep_every=max(1, round(n_segments / _FRAMES)),
            folder=folder,
            resume=folder is not None,
            about={"scene": made.name, "seed": number, "tolerance": tolerance},
        )
