"""Controllers on the same ensemble of starts: what each costs, and what it does to the properties.

A comparison is one table with a row for each controller and seed, which holds the cost of the run
and its properties. Costs, intervals and verdicts are computed from it, whether the runs were made
just now or are those that ship with the package (`labkit.clot.shipped`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labkit.clot.aggregation import aggregate, start_of
from labkit.clot.analysis.intervals import mean_interval
from labkit.clot.analysis.properties import properties, property_errors
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import Run
from labkit.clot.plans import LEVELS
from labkit.clot.scenes import Scene
from labkit.clot.settings import ClotConfig
from labkit.errors import ParameterError

Progress = Callable[[int, int, str], None]
COSTS = ("cpu_seconds", "wall_seconds", *LEVELS, "controller_share", "rollbacks")
_KEYS = ("controller", "seed")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs of several controllers.

    Attributes
    ----------
    table : DataFrame
        One row for each run: controller, seed, `COSTS`, and the run's properties.
    reference : str
        Name of the controller whose properties are taken for the truth.
    tolerance : float
        Relative error of a property that was declared as allowed.
    """

    table: pd.DataFrame
    reference: str
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        missing = [name for name in (*_KEYS, *COSTS) if name not in self.table]
        if missing:
            raise ParameterError(f"table has no column {missing[0]!r}; it is no comparison.")
        if self.reference not in set(self.table["controller"]):
            raise ParameterError(
                f"reference={self.reference!r} is not among the controllers "
                f"{sorted(set(self.table['controller']))}."
            )

    @property
    def costs(self) -> pd.DataFrame:
        """Mean cost of each controller over its seeds; seconds also with ``_low`` and ``_high``."""
        rows = []
        for name, runs in self.table.groupby("controller", sort=False):
            row: dict[str, object] = {"controller": name, "seeds": len(runs)}
            for column in COSTS:
                row[column] = runs[column].mean()
                if column.endswith("seconds") and len(runs) > 1:
                    interval = mean_interval(runs[column])
                    row |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def errors(self) -> pd.DataFrame:
        """Properties of each controller against the reference: `property_errors`, by controller."""
        columns = [name for name in self.table if name not in (*_KEYS, *COSTS)]
        by_name = {
            str(name): runs.set_index("seed")[columns]
            for name, runs in self.table.groupby("controller", sort=False)
        }
        truth = by_name.pop(self.reference)
        compared = [
            property_errors(runs, truth, tolerance=self.tolerance).assign(controller=name)
            for name, runs in by_name.items()
        ]
        return pd.concat(compared, ignore_index=True)

    @property
    def summary(self) -> pd.DataFrame:
        """Costs, the speed over the reference, and how many properties have which verdict."""
        costs = self.costs.set_index("controller")
        verdicts = self.errors.groupby(["controller", "verdict"]).size().unstack(fill_value=0)
        slow = costs.loc[self.reference, "cpu_seconds"]
        shown = costs[["cpu_seconds", "nonbonded", "controller_share", "rollbacks"]]
        return shown.assign(times_faster=slow / shown["cpu_seconds"]).join(verdicts).reset_index()


def compare(
    config: ClotConfig,
    plans: Ladder,
    controllers: Mapping[str, Callable[[], Controller]],
    *,
    reference: str,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run every controller from the same starts.

    Parameters
    ----------
    config : ClotConfig
    plans : Ladder
    controllers : mapping of str to callable
        Name to what makes a fresh controller.
    reference : str
        Name of the one whose properties are taken for the truth.
    folder : path, optional
        Of the raw runs, ``<controller>/<seed>``; those that are complete are read, not run.
    progress : callable, optional
        Gets the runs done, their number, and what is done.
    """
    rows: list[pd.Series] = []
    total = len(controllers) * config.seeds
    for seed in config.ensemble():
        made, start = start_of(config, seed=seed)
        for name, make in controllers.items():
            where = None if folder is None else Path(folder) / name.replace(" ", "_") / str(seed)
            run = aggregate(config, made, start, plans, controller=make(), seed=seed, folder=where)
            rows.append(row_of(name, seed, run, made, skip=config.time / 4))
            if progress is not None:
                progress(len(rows), total, f"{name}, seed {seed}")
    return Comparison(pd.DataFrame(rows).reset_index(drop=True), reference)


def row_of(name: str, seed: int, run: Run, made: Scene, *, skip: float) -> pd.Series:
    """Return the row of a run: its cost, and its properties after a time `skip`."""
    total = run.costs.loc["total"]
    costs = {
        "controller": name,
        "seed": seed,
        **{column: total[column] for column in ("cpu_seconds", "wall_seconds", *LEVELS)},
        "controller_share": run.controller_share,
        "rollbacks": len(run.rollbacks),
    }
    found = properties(
        run, suspension=made.suspension, forcefield=made.forcefield, flow=made.flow, skip=skip
    )
    return pd.concat([pd.Series(costs, dtype=object), found])
