"""Cost of a fluid step in one LAMMPS with four levels and in coupled instances, side by side.

Run as ``python benchmarks/clot_split.py [scene ...]``, with names from `SCENES`. Both engines go on
from the same state in the same process, in turns; a figure is the CPU time of a segment, its setup
included, over its fluid steps. The ratio is that of neighboring turns, as the median, smallest and
largest. The cost of ordinary time stepping is that of a step of `Engine` with all forces, times the
number of such steps in a fluid step.
"""

from __future__ import annotations

import argparse
import time as clock

import numpy as np
import pandas as pd

from labkit.clot.engine import Engine
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import Scene, scene
from labkit.clot.simulation import Simulation
from labkit.clot.split import SplitEngine
from labkit.clot.state import Snapshot

FLUID, INTERFACE = 0.02, 0.005
RATIOS = (40, 400)
SCENES = ("rest2k", "shear2k", "rest7k", "shear7k", "clot")


def built(name: str) -> Scene:
    """Return a scene by its short name."""
    if name == "clot":
        return scene("clot", shear_rate=0.2)
    edge = 13.3 if name.endswith("7k") else 8.8
    rate = 0.2 if name.startswith("shear") else 0.0
    return scene("tumbling", shear_rate=rate, box=(edge,) * 3)


def plan_of(ratio: int) -> StepPlan:
    """Return the plan with h4 / h1 = ratio."""
    return StepPlan(fluid=FLUID, interface=INTERFACE, nonbonded=INTERFACE, bonded=FLUID / ratio)


def settled(case: Scene) -> Snapshot:
    """Return a state in flow and at temperature."""
    with Engine(case.suspension, case.forcefield, case.flow) as engine:
        engine.relax(time=0.5)
        engine.run(plan_of(RATIOS[0]), 1.0)
        return engine.snapshot()


def milliseconds(engine: Simulation, start: Snapshot, plan: StepPlan, n_steps: int) -> float:
    """Return the CPU time of a segment over its fluid steps [ms]."""
    engine.restore(start)
    return 1e3 * engine.run(plan, n_steps * plan.fluid).cpu_seconds / n_steps


def compare(name: str, *, n_steps: int, repeats: int) -> pd.DataFrame:
    """Return the costs of a scene on all plans."""
    case = built(name)
    start = settled(case)
    arguments = (case.suspension, case.forcefield, case.flow)
    rows = []
    with (
        Engine(*arguments, snapshot=start) as one,
        SplitEngine(*arguments, snapshot=start) as split,
    ):
        for ratio in RATIOS:
            plan = plan_of(ratio)
            for engine in (one, split):
                milliseconds(engine, start, plan, 2)
            pairs = np.array(
                [
                    [milliseconds(engine, start, plan, n_steps) for engine in (one, split)]
                    for _ in range(repeats)
                ]
            )
            ordinary = milliseconds(one, start, StepPlan.single(plan.bonded), 40) * ratio
            gain = pairs[:, 0] / pairs[:, 1]
            rows.append(
                {
                    "scene": name,
                    "particles": case.suspension.n_particles,
                    "beads": case.suspension.n_beads,
                    "h4/h1": ratio,
                    "Engine [ms]": np.median(pairs[:, 0]),
                    "SplitEngine [ms]": np.median(pairs[:, 1]),
                    "ratio": np.median(gain),
                    "low": gain.min(),
                    "high": gain.max(),
                    "ordinary [ms]": ordinary,
                    "over ordinary": ordinary / np.median(pairs[:, 1]),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--steps", type=int, default=50, help="fluid steps in a segment")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for name in options.scenes:
        began = clock.process_time()
        table = compare(name, n_steps=options.steps, repeats=options.repeats)
        print(table.to_string(index=False, float_format="{:.2f}".format), flush=True)
        print(f"({clock.process_time() - began:.0f} CPU s)", flush=True)


if __name__ == "__main__":
    main()
