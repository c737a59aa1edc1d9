"""Controllers on the same ensemble of starts: what each costs, and what it does to the properties.

A comparison is one table with a row for each controller and seed, which holds the cost of the run,
how often its plans were over the tolerance, and its properties. Costs, intervals and verdicts are
computed from it, whether the runs were made just now or are those that ship with the package
(`labkit.clot.shipped`).

All controllers start from the same states. What differs between the starts cancels in the ratio of
two controllers, so that seeds are compared in pairs. Trajectories are chaotic and part after a few
time units all the same: a property is known as well as its mean over time and seeds, no better.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from labkit.choices import not_allowed, require_whole
from labkit.clot.aggregation import (
    SEGMENT,
    STATES_JUDGED,
    about_run,
    aggregate,
    controller_of,
    judge,
    start_of,
)
from labkit.clot.analysis.intervals import Interval, mean_interval, relative_error
from labkit.clot.analysis.properties import OUTSIDE, WITHIN, properties, property_errors
from labkit.clot.control.classical import FixedPlan
from labkit.clot.control.drive import drive
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import Run, has_run
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.scenes import Scene
from labkit.clot.settings import ClotConfig
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError

Progress = Callable[[int, int, str], None]
Contestants = Mapping[str, Callable[[], Controller]]
"""Name of a controller to what makes a fresh one."""
COSTS = ("time", "cpu_seconds", "wall_seconds", *LEVELS, "controller_share", "rollbacks")
JUDGED = ("violation_rate", "hopeless_rate")
CHOOSING = ("learned", "lstm", "gru", "displacement", "doubling")
"""Controllers that choose, as `labkit.clot.aggregation.controller_of` names them."""
ALLOWED = 0.05
"""Share of the judged segments that a safe plan may be over the tolerance."""
RULES = ("tolerance", "within", "not outside")
_KEYS = ("controller", "seed")
_PER_TIME = ("cpu_seconds", "wall_seconds", *LEVELS)
_FIXED = "fixed "


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs of several controllers.

    Attributes
    ----------
    table : DataFrame
        One row for each run: controller, seed, `COSTS` of the whole run, `JUDGED` where segments
        were judged, and the run's properties.
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
        if self.reference not in self.controllers:
            raise ParameterError(not_allowed("reference", self.reference, self.controllers))

    @property
    def controllers(self) -> list[str]:
        """Their names, in the order of the table."""
        return list(dict.fromkeys(self.table["controller"].astype(str)))

    @property
    def costs(self) -> pd.DataFrame:
        """Mean cost of each controller over its seeds, one row for each.

        Seconds and evaluations are those of a time unit; ``evaluations`` counts the two levels
        between plasma and springs, nonbonded and interface. Seconds and ``violation_rate`` also
        have ``_low`` and ``_high``.
        """
        return pd.DataFrame([_cost_of(name, self._runs(name)) for name in self.controllers])

    @property
    def errors(self) -> pd.DataFrame:
        """Properties of each controller against the reference: `property_errors`, by controller.

        In pairs, of the seeds that both have.
        """
        costs = {*_KEYS, *COSTS, *JUDGED}
        columns = [name for name in self.table if name not in costs]
        compared = []
        for name in self.controllers:
            if name != self.reference:
                runs, truth = self._pairs(name, self.reference)
                found = property_errors(
                    runs[columns], truth[columns], paired=True, tolerance=self.tolerance
                )
                compared.append(found.assign(controller=name))
        return pd.concat(compared, ignore_index=True)

    @property
    def summary(self) -> pd.DataFrame:
        """Costs, the speed over the reference, and how many properties have which verdict."""
        costs = self.costs.set_index("controller")
        verdicts = self.errors.groupby(["controller", "verdict"]).size().unstack(fill_value=0)
        slow = costs.loc[self.reference, "cpu_seconds"]
        names = ["cpu_seconds", "evaluations", "controller_share", "rollbacks", *JUDGED]
        shown = costs[[name for name in names if name in costs]]
        return shown.assign(times_faster=slow / shown["cpu_seconds"]).join(verdicts).reset_index()

    def best_fixed(self, rule: str = "tolerance") -> str | None:
        """Return the cheapest plan that is safe although it never changes; None if none is.

        Parameters
        ----------
        rule : {"tolerance", "within", "not outside"}
            What is safe: at most `ALLOWED` of the segments over the tolerance of a step; the
            interval of every property within the tolerance; or of none outside of it. Properties
            that no run could tell count for nothing.
        """
        if rule not in RULES:
            raise ParameterError(not_allowed("rule", rule, RULES))
        costs = self.costs.set_index("controller")
        fixed = [name for name in self.controllers if name.startswith(_FIXED)]
        if rule == "tolerance":
            if "violation_rate" not in costs:
                raise ParameterError("table has no violation_rate; compare with judged=True.")
            safe = [name for name in fixed if costs.loc[name, "violation_rate"] <= ALLOWED]
        else:
            known = self.errors.dropna(subset="relative_error")
            good = known["verdict"] == WITHIN if rule == "within" else known["verdict"] != OUTSIDE
            kept = good.groupby(known["controller"]).all()
            safe = [name for name in fixed if name == self.reference or kept.get(name, False)]
        return str(costs.loc[safe, "cpu_seconds"].idxmin()) if safe else None

    def speeds(self, baseline: str) -> pd.DataFrame:
        """Return how much faster than a baseline each controller is.

        Parameters
        ----------
        baseline : str
            Name of a controller.

        Returns
        -------
        DataFrame
            controller; times_faster, the ratio of CPU seconds, with low and high; evaluations, the
            ratio of nonbonded and interface evaluations to the baseline's, with evaluations_low and
            evaluations_high. Intervals over the seeds that both have, in pairs; nan with fewer than
            two.
        """
        if baseline not in self.controllers:
            raise ParameterError(not_allowed("baseline", baseline, self.controllers))
        rows = []
        for name in self.controllers:
            runs, base = self._pairs(name, baseline)
            faster = _ratio(base["cpu_seconds"] / base["time"], runs["cpu_seconds"] / runs["time"])
            fewer = _ratio(_evaluations(runs) / runs["time"], _evaluations(base) / base["time"])
            rows.append(
                {
                    "controller": name,
                    "times_faster": faster.estimate,
                    "low": faster.low,
                    "high": faster.high,
                    "evaluations": fewer.estimate,
                    "evaluations_low": fewer.low,
                    "evaluations_high": fewer.high,
                }
            )
        return pd.DataFrame(rows)

    def _runs(self, name: str) -> pd.DataFrame:
        return self.table[self.table["controller"] == name].set_index("seed").sort_index()

    def _pairs(self, name: str, other: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of both, of the seeds that both have."""
        first, second = self._runs(name), self._runs(other)
        common = first.index.intersection(second.index)
        return first.loc[common], second.loc[common]


def contestants(plans: Ladder, *, tolerance: float) -> dict[str, Callable[[], Controller]]:
    """Return every fixed plan, from the finest on, and every controller that chooses.

    Parameters
    ----------
    plans : Ladder
        To choose from.
    tolerance : float
        Largest error of a platelet's beads in a window [rc].
    """
    fixed: dict[str, Callable[[], Controller]] = {
        f"{_FIXED}{plan}": partial(FixedPlan, plan) for plan in plans
    }
    return fixed | {
        name: partial(controller_of, name, tolerance=tolerance, plans=plans) for name in CHOOSING
    }


def single_step(plans: Ladder) -> dict[str, Callable[[], Controller]]:
    """Return ordinary time stepping, without levels: all steps as the finest of the springs."""
    step = plans.finest.bonded
    name = f"single step {step:g}"
    return {name: partial(FixedPlan, StepPlan.single(step), name=name)}


def compare(
    config: ClotConfig,
    plans: Ladder,
    controllers: Contestants,
    *,
    reference: str,
    folder: str | os.PathLike[str] | None = None,
    judged: bool = True,
    states: int = STATES_JUDGED,
    processes: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Run every controller from the same starts.

    Seed by seed, and each seed begins with another controller, so that a machine that is busy for a
    while slows none of them in particular.

    Parameters
    ----------
    config : ClotConfig
    plans : Ladder
    controllers : mapping of str to callable
        Name to what makes a fresh controller.
    reference : str
        Name of the one whose properties are taken for the truth.
    folder : path, optional
        Of the raw runs, see `folder_of`; those that are complete are read, not run.
    judged : bool
        Compare the plan of each segment whose start was kept with its tolerance, see
        `labkit.clot.aggregation.judge`; no cost of the run.
    states : int
        How many such segments of each run.
    processes : int
        Seeds that run at the same time.
    progress : callable, optional
        Gets the runs done, their number, and what is done.
    """
    require_whole("processes", processes, low=1)
    names, seeds = list(controllers), list(config.ensemble())
    of_seed = partial(_of_seed, config, plans, controllers, folder, states if judged else 0)
    rows: dict[tuple[int, str], pd.Series] = {}
    done: Iterator[tuple[int, str, pd.Series]]
    if processes == 1:
        done = chain.from_iterable(
            of_seed(_rotated(names, n), seed) for n, seed in enumerate(seeds)
        )
    else:
        ran = Parallel(n_jobs=min(processes, len(seeds)), return_as="generator_unordered")(
            delayed(_all_of_seed)(of_seed, _rotated(names, n), seed) for n, seed in enumerate(seeds)
        )
        done = chain.from_iterable(ran)
    for seed, name, row in done:
        rows[seed, name] = row
        if progress is not None:
            progress(len(rows), len(names) * len(seeds), f"{name}, seed {seed}")
    ordered = [rows[seed, name] for seed in seeds for name in names]
    return Comparison(pd.DataFrame(ordered).infer_objects().reset_index(drop=True), reference)


def _of_seed(
    config: ClotConfig,
    plans: Ladder,
    controllers: Contestants,
    folder: str | os.PathLike[str] | None,
    states: int,
    names: Sequence[str],
    seed: int,
) -> Iterator[tuple[int, str, pd.Series]]:
    """Yield the rows of one seed: controllers in the order of `names`, from the same start."""
    made = config.system(seed=seed)
    fresh = cache(partial(_start, config, seed))
    for name in names:
        where = None if folder is None else folder_of(folder, name, seed)
        with _untold():
            run = _stored_or_run(config, made, plans, controllers[name](), seed, where, fresh)
        labels = judge(run, made, folder=where, states=states) if states else None
        yield seed, name, row_of(name, seed, run, made, skip=config.time / 4, labels=labels)


@contextmanager
def _untold() -> Iterator[None]:
    """Rollbacks of plans that are compared are a column of the table, and no news."""
    log = logging.getLogger(drive.__module__)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _all_of_seed(
    of_seed: Callable[..., Iterator[tuple[int, str, pd.Series]]], names: Sequence[str], seed: int
) -> list[tuple[int, str, pd.Series]]:
    return list(of_seed(names, seed))


def folder_of(folder: str | os.PathLike[str], name: str, seed: int) -> Path:
    """Return where the raw run of a controller and seed is kept.

    Examples
    --------
    >>> folder_of("runs", "fixed 0.02 / 0.01 / 0.01 / 0.005", 3).as_posix()
    'runs/fixed-0.02-0.01-0.01-0.005/3'
    """
    return Path(folder).expanduser() / re.sub(r"[^\w.]+", "-", name).strip("-") / str(seed)


def row_of(
    name: str,
    seed: int,
    run: Run,
    made: Scene,
    *,
    skip: float,
    labels: pd.DataFrame | None = None,
) -> pd.Series:
    """Return the row of a run: its cost, its violations, its properties after a time `skip`.

    Parameters
    ----------
    name : str
        Of the controller.
    seed : int
    run : Run
    made : Scene
        What was run.
    skip : float
        Time that belongs to the start [time].
    labels : DataFrame, optional
        Of `labkit.clot.aggregation.judge`.
    """
    total = run.costs.loc["total"]
    row: dict[str, object] = {
        "controller": name,
        "seed": seed,
        "time": run.time,
        **{column: total[column] for column in ("cpu_seconds", "wall_seconds")},
        **{level: int(total[level]) for level in LEVELS},
        "controller_share": run.controller_share,
        "rollbacks": len(run.rollbacks),
    }
    if labels is not None:
        row |= {"violation_rate": labels["over"].mean(), "hopeless_rate": labels["hopeless"].mean()}
    found = properties(
        run, suspension=made.suspension, forcefield=made.forcefield, flow=made.flow, skip=skip
    )
    return pd.concat([pd.Series(row, dtype=object), found])


def _cost_of(name: str, runs: pd.DataFrame) -> dict[str, object]:
    row: dict[str, object] = {"controller": name, "seeds": len(runs)}
    costs = runs[[*_PER_TIME]].div(runs["time"], axis=0).assign(evaluations=_evaluations)
    for column in _PER_TIME:
        row[column] = costs[column].mean()
        if column.endswith("seconds") and len(runs) > 1:
            interval = mean_interval(costs[column])
            row |= {f"{column}_low": interval.low, f"{column}_high": interval.high}
    row["evaluations"] = costs["evaluations"].mean()
    row |= {column: runs[column].mean() for column in ("controller_share", "rollbacks")}
    for column in JUDGED:
        if column in runs and runs[column].notna().all():
            row[column] = runs[column].mean()
    if "violation_rate" in row and len(runs) > 1:
        interval = mean_interval(runs["violation_rate"])
        row["violation_rate_low"] = max(interval.low, 0.0)
        row["violation_rate_high"] = min(interval.high, 1.0)
    return row


def _evaluations(runs: pd.DataFrame) -> pd.Series:
    return runs["interface"] + runs["nonbonded"]


def _ratio(values: pd.Series, others: pd.Series) -> Interval:
    """Return the ratio of two means with its interval."""
    if len(values) < 2:
        ratio = float(values.mean() / others.mean()) if len(values) else float("nan")
        return Interval(ratio, float("nan"), float("nan"), float("nan"), 0.0)
    found = relative_error(values, others, paired=True)
    return Interval.around(found.estimate + 1, found.error, found.freedom)


def _stored_or_run(
    config: ClotConfig,
    made: Scene,
    plans: Ladder,
    controller: Controller,
    seed: int,
    folder: Path | None,
    fresh: Callable[[], Snapshot],
) -> Run:
    """Return the run of a folder if it is complete and of these choices; else run, or go on."""
    stored = Run.load(folder) if folder is not None and has_run(folder) else None
    if (
        stored is not None
        and stored.complete
        and stored.controller == controller.name
        and stored.ladder == plans
        and abs(stored.time - config.time) < SEGMENT
        and dict(stored.about) == about_run(config, made, seed=seed)
    ):
        return stored
    start = stored.snapshots[0] if stored is not None else fresh()
    return aggregate(config, made, start, plans, controller=controller, seed=seed, folder=folder)


def _start(config: ClotConfig, seed: int) -> Snapshot:
    return start_of(config, seed=seed)[1]


def _rotated(names: Sequence[str], number: int) -> list[str]:
    """Return the names from another one on for each number, some way apart."""
    first = (5 * number) % len(names) if names else 0
    return [*names[first:], *names[:first]]
