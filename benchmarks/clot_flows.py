"""Flows of the clot study against theory: temperature, viscosity, start-up, and Jeffery's orbit.

plasma     the plasma of Groot and Warren (a = 25, gamma = 4.5, density 3, kT = 1) with a fluid step
           of 0.02: temperature; viscosity from Lees-Edwards shear and from reverse Poiseuille flow;
           the start-up of the latter against the analytic series at the viscosity from shear
jeffery    a platelet in shear from the slow phase to its first flips, against Jeffery's orbit

Each part and seed is a file in a folder, made if it is not there; the report is of all files, so
seeds can be run at different times; it needs two or more. Intervals are of 95 % over seeds.

Single flips say little: noise scatters them by a fifth at any temperature that a run can afford.
The turning rates use every step of all runs and are what is compared with theory.

    python benchmarks/clot_flows.py plasma --seeds 0 1 2 3 4 --folder runs/clot_flows
    python benchmarks/clot_flows.py jeffery --seeds 0 1 2 3 4 --rate 0.09 --folder runs/clot_flows
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from labkit.clot.analysis.intervals import mean_interval
from labkit.clot.analysis.jeffery import (
    axis_angle,
    compare_with_jeffery,
    effective_aspect_ratio,
    semi_axes,
    turning_rates,
)
from labkit.clot.analysis.profiles import (
    poiseuille_viscosity,
    shear_viscosity,
    startup_profile,
    startup_viscosity,
)
from labkit.clot.engine import Engine
from labkit.clot.flows import Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Plasma
from labkit.clot.observe import unwrapped_platelets
from labkit.clot.plans import StepPlan
from labkit.clot.proximity import lattice, minimum_image
from labkit.clot.scenes import equilibrate, scene
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension, plasma_box

GROOT_WARREN = ForceField(kT=1.0, plasma=Plasma(a=25.0, gamma=4.5, density=3.0))
PLASMA_PLAN = StepPlan.single(0.02)
BINS = 32
SHEAR_BOX, RATE = (8.0, 8.0, 8.0), 0.3
DRIVEN_BOX, FORCE = (7.0, 16.0, 7.0), 0.05
STARTUP_BOX, STARTUP_WINDOWS, WINDOW = (14.0, 16.0, 14.0), 8, 4.0
PLATELET_PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.005)


def shear_run(seed: int, length: float) -> dict[str, np.ndarray]:
    """Stress and temperature of segments of 10 time units under shear, after 20."""
    fluid = plasma_box(SHEAR_BOX, density=3.0, seed=seed)
    with Engine(fluid, GROOT_WARREN, Shear(RATE), seed=seed) as engine:
        engine.run(PLASMA_PLAN, 20.0)
        segments, temperatures = [], []
        for _ in range(round(length / 10)):
            segments.append(engine.run(PLASMA_PLAN, 10.0, bins=BINS))
            temperatures.append(engine.observe().fluid_temperature)
        return {
            "stress": np.array([s.stress for s in segments]),
            "profile": np.array([s.profile for s in segments]),
            "temperature": np.array(temperatures),
        }


def driven_run(seed: int, length: float) -> dict[str, np.ndarray]:
    """Steady profiles of reverse Poiseuille flow, each of 20 time units, after 80."""
    fluid = plasma_box(DRIVEN_BOX, density=3.0, seed=seed)
    with Engine(fluid, GROOT_WARREN, ReversePoiseuille(FORCE), seed=seed) as engine:
        engine.run(PLASMA_PLAN, 80.0)
        steady = [engine.run(PLASMA_PLAN, 20.0, bins=BINS) for _ in range(round(length / 20))]
        return {"steady": np.array([s.profile for s in steady])}


def startup_run(seed: int) -> dict[str, np.ndarray]:
    """Profiles of reverse Poiseuille flow from rest; a wide box, as none can be averaged longer."""
    fluid = plasma_box(STARTUP_BOX, density=3.0, seed=seed)
    with Engine(fluid, GROOT_WARREN, Quiescent(), seed=seed) as engine:
        engine.run(PLASMA_PLAN, 6.0)
        still = engine.snapshot()
    with Engine(fluid, GROOT_WARREN, ReversePoiseuille(FORCE), seed=seed, snapshot=still) as engine:
        segments = [engine.run(PLASMA_PLAN, WINDOW, bins=BINS) for _ in range(STARTUP_WINDOWS)]
        return {"startup": np.array([s.profile for s in segments])}


def platelet_run(seed: int, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Axis and shape of a tumbling platelet, every 0.1 of strain."""
    a, rate = arguments.a, arguments.rate
    edge = arguments.room * 4 * a
    made = scene(
        "tumbling",
        seed=seed,
        shear_rate=rate,
        platelet_a=a,
        platelet_c=arguments.c,
        tilt=arguments.tilt,
        kT=arguments.kT,
        plasma_a=150 * arguments.kT,
        plasma_gamma=arguments.gamma,
        box=(edge, edge, edge),
    )
    every = max(1, round(0.1 / rate / PLATELET_PLAN.fluid)) * PLATELET_PLAN.fluid
    with Engine(made.suspension, made.forcefield, made.flow, seed=seed) as engine:
        equilibrate(engine, plan=PLATELET_PLAN, time=2.0)
        seen, stress, shells = [engine.observe()], [], []
        for _ in range(round(arguments.strain / rate / every)):
            stress.append(engine.run(PLATELET_PLAN, every, bins=8).stress)
            seen.append(engine.observe())
            shells.append(plasma_shell(made.suspension, engine.snapshot()))
    return {
        "strain": rate * np.array([o.time for o in seen]),
        "axis": np.array([o.axis[0] for o in seen]),
        "gyration": np.array([o.gyration[0] for o in seen]),
        "temperature": np.array([[o.temperature[0], o.fluid_temperature] for o in seen]),
        "stress": np.array(stress),
        "shell": np.array(shells),
        "n_particles": np.array(made.suspension.n_particles),
    }


def plasma_shell(suspension: Suspension, snapshot: Snapshot) -> float:
    """Thickness of the layer around a membrane that plasma leaves free [rc].

    The volume without plasma, by the count of plasma farther than 2 rc from the beads and that
    nearer to them, is that of a spheroid whose semi-axes are larger by the layer. Volumes are
    fractions of points at random.
    """
    edges = lattice(snapshot.box, snapshot.tilt)
    beads = unwrapped_platelets(suspension, snapshot)
    plasma = snapshot.x[suspension.n_beads :]
    points = np.random.default_rng(0).uniform(size=(20_000, 3)) @ edges
    center = beads.mean(axis=0)
    near = [
        cKDTree(beads).query(center + minimum_image(x - center, snapshot.box, snapshot.tilt))[0] < 2
        for x in (plasma, points)
    ]
    volume = float(np.prod(snapshot.box))
    density = (~near[0]).sum() / ((~near[1]).mean() * volume)
    free = near[1].mean() * volume - near[0].sum() / density
    membrane = beads[suspension.membrane(0)]
    a, c = semi_axes(np.linalg.eigvalsh(np.cov(membrane.T, bias=True)))
    return float(brentq(lambda d: 4 / 3 * np.pi * (a + d) ** 2 * (c + d) - free, -c, 5.0))


def stored(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> None:
    """Make a file of arrays unless it is there, and say what it cost."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    arrays = make()
    np.savez(path, **arrays, cpu_seconds=np.array(time.process_time() - start))
    print(f"{path.name}: {time.process_time() - start:.0f} CPU seconds", flush=True)


def report_plasma(folder: Path) -> None:
    """Bar 3 of the study, and the start-up."""
    shear = [np.load(path) for path in sorted(folder.glob("shear_*.npz"))]
    driven = [np.load(path) for path in sorted(folder.glob("driven_*.npz"))]
    started = [np.load(path) for path in sorted(folder.glob("startup_*.npz"))]
    temperature = mean_interval([run["temperature"].mean() for run in shear])
    across = mean_interval([run["profile"][:, :, 3].mean() for run in shear])
    print(f"{len(shear)} seeds; T/kT (all components)  {temperature}   bar: within 3 %")
    print(f"                 T/kT (y and z)         {across}")
    each = [shear_viscosity(run["stress"], RATE).estimate for run in shear]
    from_shear = mean_interval(each)
    print(f"viscosity, shear                        {from_shear}")
    flow, height = ReversePoiseuille(FORCE), DRIVEN_BOX[1]
    fits = [poiseuille_viscosity(run["steady"], flow, height) for run in driven]
    from_driven = mean_interval([fit.viscosity.estimate for fit in fits])
    difference = from_driven.estimate / from_shear.estimate - 1
    print(
        f"viscosity, reverse Poiseuille           {from_driven}   off by {difference:+.1%}   "
        "bar: 8 %"
    )
    print(f"rms distance from the parabola          {np.mean([fit.rms for fit in fits]):.1%}")
    report_startup(started, from_shear.estimate)
    spent = [np.mean([run["cpu_seconds"] for run in runs]) for runs in (shear, driven, started)]
    print(f"CPU seconds a seed: {sum(spent):.0f}")


def report_startup(runs: list, viscosity: float) -> None:
    """Start-up against its series at a viscosity that was measured otherwise, and fitted."""
    flow, height = ReversePoiseuille(FORCE), STARTUP_BOX[1]
    edges = WINDOW * np.arange(STARTUP_WINDOWS + 1)
    found = [startup_viscosity(run["startup"], edges, flow, height).estimate for run in runs]
    print(f"viscosity, start-up series              {mean_interval(found)}")
    mean = np.mean([run["startup"] for run in runs], axis=0)
    setting = {"force": FORCE, "density": 3.0, "width": height / 2, "viscosity": viscosity}
    series = np.array(
        [startup_profile(mean[0, :, 0], a, until=b, **setting) for a, b in pairwise(edges)]
    )
    off = mean[:, :, 2] - series
    share = np.sqrt(np.mean(off**2)) / np.abs(series).max()
    spread = np.std([run["startup"][:, :, 2] for run in runs], axis=0, ddof=1)
    noise = np.sqrt(np.mean(spread**2) / len(runs)) / np.abs(series).max()
    print(
        f"start-up, rms distance from the series at the viscosity of shear: {share:.1%} of the "
        f"largest velocity (noise of the mean: {noise:.1%})"
    )


def report_jeffery(folder: Path, pattern: str, rate: float, a: float) -> None:
    """Turning rates and first flips, against a spheroid of the beads' shape and of the rates'.

    For each seed the aspect ratio of the rates is that of the other seeds, so that the flip is a
    prediction.
    """
    runs = [np.load(path) for path in sorted(folder.glob(pattern))]
    viscosity = float(np.mean([-run["stress"][:, 3].mean() / rate for run in runs]))
    print(
        f"{len(runs)} seeds, {runs[0]['n_particles']} particles, suspension viscosity "
        f"{viscosity:.2f}, Re = {3 * rate * a**2 / viscosity:.2f}"
    )
    heat = np.mean([run["temperature"].mean(axis=0) for run in runs], axis=0)
    print(f"T of platelet and fluid: {heat[0]:.4f}, {heat[1]:.4f}")
    shape = np.mean([run["gyration"].mean(axis=0) for run in runs], axis=0)
    ratio = effective_aspect_ratio(shape)
    free = float(np.mean([run["shell"].mean() for run in runs]))
    layered = effective_aspect_ratio(shape, shell=free)
    print(f"beads: 1/{1 / ratio:.2f}; with the {free:.2f} rc that plasma leaves free: ", end="")
    print(f"1/{1 / layered:.2f}")
    report_flips(runs, lambda k: ratio, "shape of the beads")
    series = [(run["strain"], axis_angle(run["axis"])) for run in runs]
    rates = turning_rates(series)
    print(
        f"turning rates: {rates.flat:.3f} +- {rates.flat_error:.3f} flat, {rates.upright:.3f} +- "
        f"{rates.upright_error:.3f} upright; sum {rates.total:.3f} +- {rates.total_error:.3f} "
        f"(Jeffery: 1); aspect ratio 1/{1 / rates.aspect_ratio:.2f}"
    )
    seen = semi_axes(shape)
    shell = (rates.aspect_ratio * seen[0] - seen[1]) / (1 - rates.aspect_ratio)
    print(f"the shape of the beads with a layer of {shell:.2f} rc has that aspect ratio")
    if len(runs) > 1:
        others = [
            turning_rates(series[:k] + series[k + 1 :]).aspect_ratio for k in range(len(runs))
        ]
        report_flips(runs, lambda k: others[k], "aspect ratio of the other seeds' rates")
    drift = [np.abs(run["axis"][:, 2]).max() for run in runs]
    print(f"largest |z| of the axis: {', '.join(f'{d:.2f}' for d in drift)}")
    print(f"CPU seconds a seed: {np.mean([run['cpu_seconds'] for run in runs]):.0f}")


def report_flips(runs: list, ratio_of: Callable[[int], float], name: str) -> None:
    """First flips over those of Jeffery's orbit from the same start."""
    errors = np.array(
        [
            compare_with_jeffery(run["strain"], run["axis"], ratio_of(k)).first_flip_error
            for k, run in enumerate(runs)
        ]
    )
    told = ", ".join(f"{1 + error:.2f}" for error in errors)
    mean = f"; mean error {mean_interval(errors)}" if np.isfinite(errors).sum() > 1 else ""
    print(f"first flips over theory, {name}: {told}{mean}")


def main() -> None:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("plasma", "jeffery"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--folder", type=Path, default=Path("runs/clot_flows"))
    parser.add_argument("--length", type=float, default=200.0, help="of a plasma run [time]")
    parser.add_argument("--rate", type=float, default=0.09)
    parser.add_argument("--strain", type=float, default=14.0)
    parser.add_argument("--tilt", type=float, default=-0.35)
    parser.add_argument("--a", type=float, default=2.0)
    parser.add_argument("--c", type=float, default=0.6)
    parser.add_argument("--kT", type=float, default=0.1)
    parser.add_argument("--gamma", type=float, default=40.0)
    parser.add_argument("--room", type=float, default=1.05, help="box edge over 4 a")
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.part == "plasma":
        for seed in arguments.seeds:
            stored(folder / f"shear_{seed}.npz", lambda s=seed: shear_run(s, arguments.length))
            stored(folder / f"driven_{seed}.npz", lambda s=seed: driven_run(s, arguments.length))
            stored(folder / f"startup_{seed}.npz", lambda s=seed: startup_run(s))
        report_plasma(folder)
        return
    name = (
        f"jeffery_a{arguments.a:g}_c{arguments.c:g}_rate{arguments.rate:g}_kT{arguments.kT:g}"
        f"_gamma{arguments.gamma:g}_room{arguments.room:g}"
    )
    for seed in arguments.seeds:
        stored(folder / f"{name}_{seed}.npz", lambda s=seed: platelet_run(s, arguments))
    report_jeffery(folder, f"{name}_*.npz", arguments.rate, arguments.a)


if __name__ == "__main__":
    main()
