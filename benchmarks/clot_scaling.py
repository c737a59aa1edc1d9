"""Runs on one and two ranks here, and what the weak-scaling model makes of them.

Systems of different size and share of platelets run for a few fluid steps on plans of different
ratios, on each number of ranks in turn, so that a change of the machine's speed meets all; of equal
runs the fastest counts, as other work only adds time. The claim is no speed: it is that the model's
constants come from runs, that the fit is printed with its scatter, and that every row beside the
published ones says whether it is measured or projected.

    OMP_NUM_THREADS=1 python benchmarks/clot_scaling.py
    OMP_NUM_THREADS=1 python benchmarks/clot_scaling.py --ranks 1 2 4 8 --repeats 5   # larger node
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from labkit.clot.cost import probe_plans
from labkit.clot.engine import Engine
from labkit.clot.library import CURE
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.published import comparison, reality
from labkit.clot.scaling import WeakScaling, measurement
from labkit.clot.scenes import equilibrate, scene
from labkit.clot.units import DPDUnits

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.005)
SYSTEMS = {
    "plasma": ("plasma", {"box": (10.0, 10.0, 10.0)}),
    "more plasma": ("plasma", {"box": (16.0, 16.0, 16.0)}),
    "clot": ("clot", {}),
    "tumbling": ("tumbling", {}),
}
PUBLISHED_PARTICLES, NODES, RANKS_A_NODE = 102_000_000, 192, 42
"""Of the published run; a Summit node has 42 cores for users, its graphics processors left out."""


def measure(repeats: int, work: int) -> list[dict[str, float]]:
    """Run every system on every plan, on the ranks that this process is one of."""
    from mpi4py import MPI

    ranks, rows = MPI.COMM_WORLD.size, []
    for name, changes in SYSTEMS.values():
        built = scene(name, **changes)
        sizes = {
            "particles": built.suspension.n_particles,
            "beads": built.suspension.n_beads,
            "ranks": ranks,
        }
        steps = max(4, round(work / built.suspension.n_particles))
        with Engine(built.suspension, built.forcefield, built.flow) as engine:
            start = equilibrate(engine, plan=PLAN, time=0.4, relaxation=0.2)
            for _ in range(repeats):
                for plan in probe_plans(PLAN):
                    engine.restore(start)
                    rows.append(measurement(engine.run(plan, steps * plan.fluid), **sizes))
    return rows if MPI.COMM_WORLD.rank == 0 else []


def measured_on(ranks: int, repeats: int, work: int) -> list[dict[str, float]]:
    """Run `measure` under MPI."""
    mpirun = Path(sys.executable).with_name("mpirun")
    if not mpirun.exists():
        raise SystemExit(f"there is no mpirun beside {sys.executable}; {CURE}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.json"
        options = ["--worker", str(target), "--repeats", str(repeats), "--work", str(work)]
        command = [str(mpirun), "-n", str(ranks), sys.executable, __file__, *options]
        subprocess.run(command, check=True, timeout=1800)
        return list(json.loads(target.read_text()))


def report(measured: pd.DataFrame) -> None:
    """Print the fit, the projection and the comparison."""
    model = WeakScaling.fit(measured)
    print(f"\n{model.n_runs} runs; scatter about the fit {100 * model.spread:.0f} %")
    print(model.frame.to_string(index=False, float_format="{:.2e}".format))
    units = DPDUnits(rc_m=2e-6 / 3, eta_star=2.2)
    ranks = NODES * RANKS_A_NODE
    projections = [
        model.project(PUBLISHED_PARTICLES, ranks, plan=PLAN, units=units, n_platelets=250),
        model.project(6_000_000, ranks // 17, plan=PLAN, units=units, n_platelets=15),
    ]
    for item in projections:
        print(
            f"\nprojection: {item.n_particles / 1e6:.0f} M particles on {item.ranks} ranks: "
            f"{1e3 * item.seconds:.0f} ms a fluid step ({1e3 * item.low:.0f} to "
            f"{1e3 * item.high:.0f}); compute {1e3 * item.compute_s:.0f}, waiting "
            f"{1e3 * item.imbalance_s:.0f}, halo {1e3 * item.halo_s:.0f}, collective "
            f"{1e3 * item.collective_s:.2f}"
        )
    table = comparison(projections, measured=measured, plan=PLAN, units=units)
    print("\n" + table.to_string(index=False, float_format="{:,.0f}".format))
    print("\n" + reality(units, PLAN))


def main() -> None:
    """Measure and report, or be one rank of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--work", type=int, default=60_000, help="particles times fluid steps of a run"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--save", type=Path, help="csv file for the runs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        rows = measure(given.repeats, given.work)
        if rows:
            given.worker.write_text(json.dumps(rows))
        return
    rows = [
        row
        for _ in range(given.rounds)
        for ranks in given.ranks
        for row in measured_on(ranks, given.repeats, given.work)
    ]
    cases = ["particles", "beads", "ranks", *LEVELS]
    measured = pd.DataFrame(rows).groupby(cases, as_index=False)["seconds"].min()
    if given.save:
        measured.to_csv(given.save, index=False)
    report(measured)


if __name__ == "__main__":
    main()
