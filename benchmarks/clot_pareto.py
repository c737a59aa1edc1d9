"""All controllers against all fixed plans on one ensemble of clots; every raw run is stored.

Each controller starts from the same states, one for each seed, with the same noise seeds. The
tolerance of a property, 3 %, and that of a step, `default_tolerance`, were fixed before the runs.
Runs that are complete are read, not run, so the script can be stopped and started again; with
``--table`` the shipped table is written.

Printed: costs per time unit; the best plan that never changes, by each rule of
`Comparison.best_fixed`; how much faster than it, than the finest plan and than a single step every
controller is, with intervals over the seeds; errors of all properties against the reference, which
is the single step, or the finest plan with ``--reference finest``. With ``--ceiling`` all plans are
judged at the states that the best plan's runs went through: what the best possible choices there
would cost, at the mean cost of a segment on each plan, is what no controller on this ladder beats.

    OMP_NUM_THREADS=1 python benchmarks/clot_pareto.py --folder runs/clot_pareto
    python benchmarks/clot_pareto.py --table labkit/clot/stored/controllers.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.atomic import replace_text
from labkit.clot.aggregation import tolerance_of
from labkit.clot.caps import stability_caps
from labkit.clot.comparison import (
    RULES,
    Comparison,
    Contestants,
    compare,
    contestants,
    folder_of,
    single_step,
)
from labkit.clot.control.ladder import Ladder, ladder
from labkit.clot.control.run_storage import Run
from labkit.clot.engine import Engine
from labkit.clot.labels import local_errors
from labkit.clot.settings import ClotConfig

DIGITS = "%.6g"
SHOWN = ("controller", "property", "relative_error", "low", "high", "verdict")


def main() -> None:
    """Run what is missing and report."""
    chosen = arguments()
    config = ClotConfig.from_preset(
        "full",
        scene=chosen.scene,
        shear_rate=chosen.shear_rate,
        time=chosen.time,
        seeds=chosen.seeds,
        seed=chosen.first_seed,
        engine=chosen.engine,
    )
    made = config.system()
    plans = ladder(stability_caps(made.suspension, made.forcefield))
    tolerance = tolerance_of(config, made)
    print(
        f"{made.description} {made.suspension.n_beads} beads of platelets among "
        f"{made.suspension.n_particles} particles, shear rate {made.flow.rate:g}, "
        f"tolerance {tolerance:.3g} rc, {config.seeds} runs of {config.time:g}"
    )
    everyone = {**single_step(plans), **contestants(plans, tolerance=tolerance)}
    single = next(iter(everyone))
    reference = single if chosen.reference == "single" else f"fixed {plans.finest}"
    found = compare(
        config,
        plans,
        only(everyone, chosen.only, reference),
        reference=reference,
        folder=chosen.folder,
        judged=not chosen.unjudged,
        progress=lambda done, n, what: print(f"{done}/{n} {what}", flush=True),
    )
    if chosen.table:
        chosen.table.parent.mkdir(parents=True, exist_ok=True)
        replace_text(chosen.table, found.table.to_csv(index=False, float_format=DIGITS))
    report(found, single, f"fixed {plans.finest}")
    best = None if chosen.unjudged else found.best_fixed()
    if chosen.ceiling and best:
        print_ceiling(config, plans, best, chosen.folder)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/clot_pareto"))
    parser.add_argument("--scene", default="clot")
    parser.add_argument("--shear-rate", type=float, default=0.1)
    parser.add_argument("--time", type=float, default=24.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100, help="none that a label has")
    parser.add_argument("--engine", default="respa")
    parser.add_argument("--only", nargs="*", help="parts of the names of controllers")
    parser.add_argument("--reference", choices=("single", "finest"), default="single")
    parser.add_argument("--unjudged", action="store_true", help="no labels after the runs")
    parser.add_argument("--ceiling", action="store_true", help="what the best choices would cost")
    parser.add_argument("--table", type=Path, help="write the table here")
    return parser.parse_args()


def only(everyone: Contestants, parts: list[str] | None, reference: str) -> Contestants:
    """Return the reference, first, and the controllers whose names have one of the parts."""
    names = [
        name
        for name in everyone
        if name != reference and (parts is None or any(part in name for part in parts))
    ]
    return {name: everyone[name] for name in (reference, *names)}


def report(found: Comparison, single: str, finest: str) -> None:
    """Print costs, speeds and errors."""
    show(found.costs, "cost of a time unit")
    judged = "violation_rate" in found.table
    best = {rule: found.best_fixed(rule) for rule in RULES if judged or rule != "tolerance"}
    for rule, name in best.items():
        print(f"best plan that never changes, by {rule!r}: {name}")
    for name in dict.fromkeys([*best.values(), finest, single]):
        if name in found.controllers:
            show(found.speeds(name), f"times faster than {name}, and its share of evaluations")
    errors = found.errors.sort_values(["controller", "property"])
    show(errors[list(SHOWN)], f"errors against {found.reference}")
    verdicts = errors.dropna(subset="relative_error").groupby(["controller", "verdict"]).size()
    show(verdicts.unstack(fill_value=0).reset_index(), "properties")


def print_ceiling(config: ClotConfig, plans: Ladder, best: str, folder: Path) -> None:
    """Judge all plans along the runs of the best fixed plan and print the cost of the best ones."""
    seconds = [seconds_of_a_segment(f"fixed {plan}", config, folder) for plan in plans]
    rungs: list[int] = []
    for seed in config.ensemble():
        made = config.system(seed=seed)
        run = Run.load(folder_of(folder, best, seed))
        with Engine(made.suspension, made.forcefield, made.flow) as engine:
            for kept in run.snapshots[:-1]:
                errors = local_errors(engine, kept, plans.plans, reference=plans.reference())
                right = np.flatnonzero(errors.max(axis=1) <= run.about["tolerance"])
                rungs.append(int(right[-1]) if len(right) else 0)
    chosen = np.bincount(rungs, minlength=len(plans)) / len(rungs)
    frame = pd.DataFrame({"plan": [str(p) for p in plans], "seconds": seconds, "best": chosen})
    show(frame, "CPU seconds of a segment, and how often a plan is the best choice")
    base = seconds[[f"fixed {plan}" for plan in plans].index(best)]
    print(f"best possible choices: {base / float(np.mean(np.array(seconds)[rungs])):.3f} x {best}")


def seconds_of_a_segment(name: str, config: ClotConfig, folder: Path) -> float:
    """Return the mean CPU time of a segment that was not rolled back [s]."""
    runs = [Run.load(folder_of(folder, name, seed)) for seed in config.ensemble()]
    plan = name.removeprefix("fixed ")
    tables = [run.table() for run in runs]
    kept = pd.concat([table[table["plan"] == plan] for table in tables])
    return float(kept["cpu_seconds"].mean())


def show(frame: pd.DataFrame, title: str) -> None:
    """Print a table under a title."""
    print(f"\n{title}")
    print(frame.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main()
