"""Time steps of the clot study: where springs blow up, and what four steps save over one.

* Bar 4: the largest stable step of the springs from the Hessian, 2/omega_max, against the step at
  which a run with one step for all forces blows up, with noise off and on, for each seed. The bar
  is 20 %.
* Bar 5: four steps with h4/h1 = 40 against one step h1, from the same states in one process, in
  turn. Reported are the ratio of their CPU seconds with its range over the seeds (bars: 5 at about
  2000 particles, 12 at about 7000, of a system at rest), and how properties of the platelet and the
  plasma differ, with bootstrap intervals over the seeds (bar: 3 %). In shear plasma is carried
  along, neighbor lists age faster, and both plans pay for it alike, so that the ratio is smaller.

The cost model fitted in the same process is printed beside it, as are the temperatures with and
without the noise rule.

    OMP_NUM_THREADS=1 python benchmarks/clot_steps.py
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from labkit.clot.caps import blow_up_step, stability_caps
from labkit.clot.cost import CostModel, measure_costs, probe_plans
from labkit.clot.engine import Engine
from labkit.clot.noise import noise_lesson
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import equilibrate, scene
from labkit.clot.simulation import Simulation

FOUR_STEPS = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.0005)
ONE_STEP = StepPlan.single(0.0005)
SETTLE = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.0025)
BOXES = {2000: 8.8, 7000: 13.3}
SHEAR_RATES = (0.0, 0.2)
RATIO_BARS = {2000: 5.0, 7000: 12.0}
BOND_BAR = 0.2
PROPERTY_BAR = 0.03


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--time", type=float, default=10.0, help="of property averages")
    parser.add_argument("--only", choices=("caps", "costs", "properties", "noise"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(BOXES), choices=BOXES)
    chosen = parser.parse_args()
    parts = {
        "caps": lambda: compare_blow_up(chosen.seeds),
        "costs": lambda: compare_costs(chosen.sizes, chosen.seeds),
        "properties": lambda: compare_properties(chosen.seeds, chosen.time),
        "noise": lambda: teach_noise(chosen.seeds),
    }
    for name, part in parts.items():
        if chosen.only in (name, None):
            part()


def compare_blow_up(n_seeds: int) -> None:
    """Bar 4: 2/omega_max against the measured step, noise off and on."""
    print(f"Blow-up of the springs (bar: within {BOND_BAR:.0%})")
    for seed in range(n_seeds):
        system = scene("tumbling", seed=seed)
        caps = stability_caps(system.suspension, system.forcefield)
        with Engine(system.suspension, system.forcefield, system.flow, seed=seed) as engine:
            equilibrate(engine, plan=SETTLE)
            for noise in (False, True):
                found = blow_up_step(
                    engine, noise=noise, low=0.6 * caps.blow_up, high=1.7 * caps.blow_up
                )
                print(
                    f"  seed {seed}, noise {'on ' if noise else 'off'}: "
                    f"2/omega_max = {caps.blow_up:.5f}, measured {found:.5f}, "
                    f"ratio {found / caps.blow_up:.3f}"
                )
    print(caps.frame.to_string(index=False))


def compare_costs(sizes: Sequence[int], n_seeds: int) -> None:
    """Bar 5, first half: CPU seconds of four steps and of one, for some sizes."""
    for size, rate in itertools.product(sizes, SHEAR_RATES):
        ratios = []
        for seed in range(n_seeds):
            system = scene("tumbling", seed=seed, box=(BOXES[size],) * 3, shear_rate=rate)
            with Engine(system.suspension, system.forcefield, system.flow, seed=seed) as engine:
                equilibrate(engine, plan=SETTLE, time=1.0)
                ratios.append(cost_ratio(engine))
                if seed == 0:
                    print_cost_model(engine)
        print(
            f"One step {ONE_STEP} against {FOUR_STEPS}, {system.suspension.n_particles} "
            f"particles, shear rate {rate:g}: cost ratio {np.mean(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f} over {n_seeds} seeds; bar at rest "
            f"{RATIO_BARS[size]:g})"
        )


def cost_ratio(engine: Simulation) -> float:
    """CPU seconds per time of one step over those of four, run in turn from the same state."""
    start = engine.snapshot()
    seconds = {ONE_STEP: 0.0, FOUR_STEPS: 0.0}
    lengths = {ONE_STEP: 0.2, FOUR_STEPS: 1.0}
    for _ in range(2):
        for plan, time in lengths.items():
            engine.restore(start)
            seconds[plan] += engine.run(plan, time).cpu_seconds / time
    return seconds[ONE_STEP] / seconds[FOUR_STEPS]


def print_cost_model(engine: Simulation) -> None:
    """Prices of the levels."""
    model = CostModel.fit(measure_costs(engine, probe_plans(SETTLE), steps=20, repeats=3))
    n = engine.suspension.n_particles
    print(f"Cost model at {n} particles (rms deviation {model.residual:.1%}), milliseconds:")
    print(
        model.frame.assign(
            seconds=lambda f: 1e3 * f["seconds"], standard_error=lambda f: 1e3 * f["standard_error"]
        ).to_string(index=False, float_format="%.3f")
    )


def compare_properties(n_seeds: int, time: float) -> None:
    """Bar 5, second half: properties with four steps against those with one."""
    system = scene("tumbling", box=(BOXES[2000],) * 3)
    rows: dict[StepPlan, list[dict[str, float]]] = {FOUR_STEPS: [], ONE_STEP: []}
    for seed in range(n_seeds):
        with Engine(system.suspension, system.forcefield, system.flow, seed=seed) as engine:
            start = equilibrate(engine, plan=SETTLE)
            for plan, found in rows.items():
                engine.restore(start)
                found.append(averages(engine, plan, time))
    print(f"Properties with {FOUR_STEPS} against {ONE_STEP} (bar {PROPERTY_BAR:.0%})")
    print(differences(rows[FOUR_STEPS], rows[ONE_STEP]).to_string(index=False))


def averages(engine: Simulation, plan: StepPlan, time: float) -> dict[str, float]:
    """Means over a run of one unit of time a sample."""
    samples = []
    for _ in range(round(time)):
        engine.run(plan, 1.0)
        seen = engine.observe()
        samples.append(
            {
                "T_platelet": seen.temperature[0],
                "T_fluid": seen.fluid_temperature,
                "stretch_mean": seen.stretch_mean[0],
                "bond_energy": seen.bond_energy[0],
                "thickness": np.sqrt(seen.gyration[0, 0]),
                "width": np.sqrt(seen.gyration[0, 2]),
            }
        )
    return pd.DataFrame(samples).mean().to_dict()


def differences(
    rows: Sequence[Mapping[str, float]], references: Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    """Relative differences of the means, with bootstrap intervals over the seeds."""
    table = []
    for name in rows[0]:
        got = np.array([row[name] for row in rows])
        wanted = np.array([row[name] for row in references])
        spread = bootstrap(
            (got, wanted),
            lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis) - 1,
            paired=True,
            vectorized=True,
            method="percentile",
            rng=0,
        ).confidence_interval
        table.append(
            {
                "property": name,
                "four steps": got.mean(),
                "one step": wanted.mean(),
                "difference": f"{got.mean() / wanted.mean() - 1:+.2%}",
                "95 % interval": f"{spread.low:+.2%} to {spread.high:+.2%}",
            }
        )
    return pd.DataFrame(table)


def teach_noise(n_seeds: int) -> None:
    """Temperatures with and without the noise rule."""
    print("Temperatures over kT with and without the noise rule")
    table = noise_lesson(scene("tumbling", shear_rate=0), seeds=range(n_seeds))
    print(table.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
