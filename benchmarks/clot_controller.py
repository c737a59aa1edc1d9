"""The learned controller against the best fixed plan, simple rules and the papers' network.

Part 1, on the shipped labels (or ``--table``): each trajectory is judged with networks that saw no
trajectory of its seed or of its shear rate. Printed for each scene, over all its trajectories:
choices over the tolerance (``violations``; ``hopeless`` are times at which even the finest plan is
over it), evaluations of the nonbonded level per time, how many fewer than the cheapest fixed plan
that is over the tolerance at most 5 % of the time (found in hindsight on the judged trajectories
themselves), and how often the choice is the best possible one. For the network also the root mean
square, in decades, of predicted less true log error, over all times and plans: of the median, its
best guess, which is held against the bar, and of the 0.9 quantile, which is too high on purpose;
and how often the true error is under either. Rows:

    oracle              the coarsest plan under the tolerance, from the labels themselves
    fixed               the cheapest safe fixed plan, in hindsight; fixed, strict: never over
    gap                 a threshold on the smallest gap for each plan, 5 % over it in training
    learned             the network; learned, no GRU past: the same with a history of one segment
    autoencoder ...     the papers' variant at the risk given

Part 2 runs: shipped weights, the collision scene with a seed and a shear rate that no label has,
the learned controller against the fixed plan that part 1 found safe for the collision scene,
several seeds, the same time. Evaluations and the controller's share of the CPU time are those of
`drive`; after the run each choice, and the prediction it came from, is checked against labels made
from the state in which it was made.

The tolerance is `default_tolerance`: a tenth of the thermal amplitude of a membrane spring. It was
fixed before labels existed.

    OMP_NUM_THREADS=1 python benchmarks/clot_controller.py
    OMP_NUM_THREADS=1 python benchmarks/clot_controller.py --part run --seeds 3
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.clot.control.autoencoder import AutoencoderController
from labkit.clot.control.classical import FixedPlan
from labkit.clot.control.drive import Run, drive
from labkit.clot.control.examples import log_errors, logarithms
from labkit.clot.control.features import recent_features
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import (
    QUANTILES,
    WEIGHTS,
    ErrorNetwork,
    LearnedController,
    default_tolerance,
)
from labkit.clot.control.protocol import Controller
from labkit.clot.control.replay import Choose, fixed, labeled, oracle, replay, safe_rung, score
from labkit.clot.control.training import Training, folds, forces_of, train, train_autoencoder
from labkit.clot.engine import Engine
from labkit.clot.forcefield import ForceField
from labkit.clot.labels import LabelTable, TrajectoryLabels, local_errors
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import equilibrate, scene

RMSE_BAR, VIOLATIONS_BAR, SAVED_BAR, OVERHEAD_BAR = 0.12, 0.05, 0.40, 0.03
UNSEEN_RATE, FIRST_UNSEEN_SEED = 0.15, 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=WEIGHTS / "labels.npz")
    parser.add_argument("--part", choices=("labels", "run", "both"), default="both")
    parser.add_argument("--steps", type=int, default=Training().steps)
    parser.add_argument("--seeds", type=int, default=3, help="runs of part 2")
    parser.add_argument("--time", type=float, default=20.0, help="length of a run of part 2")
    chosen = parser.parse_args()
    table = LabelTable.load(chosen.table)
    forces = forces_of(table)
    tolerance = default_tolerance(forces)
    print(f"tolerance {tolerance:.3g} rc; plans, finest first: {[str(p) for p in table.plans]}")
    if chosen.part != "run":
        judge_on_labels(table, forces, tolerance, Training(steps=chosen.steps))
    if chosen.part != "labels":
        collisions = [t for t in table.trajectories if t.trajectory.scene == "collision"]
        rung = safe_rung(collisions, tolerance)
        judge_in_runs(table, rung, tolerance, n_seeds=chosen.seeds, time=chosen.time)


def judge_on_labels(
    table: LabelTable, forces: ForceField, tolerance: float, training: Training
) -> None:
    """Leave trajectories out, train, choose, and compare with the bars."""
    tested = defaultdict(list)
    chosen = defaultdict(list)
    misses: dict[str, list[np.ndarray]] = defaultdict(list)
    unknown: dict[str, list[np.ndarray]] = defaultdict(list)
    for others, left_out in folds(table):
        network = train(others, forcefield=forces, training=training)
        compared_rules = rules(others, network, forces, tolerance, training)
        for labels in left_out.trajectories:
            name = labels.trajectory.scene
            tested[name].append(labels)
            miss, outside = prediction(network, labels)
            misses[name].append(miss)
            unknown[name].append(outside)
            for row, choose in compared_rules.items():
                chosen[name, row].append(replay(choose, labels, table, forces))
            print(f"  {labels.trajectory.name}: rmse {rms(miss[:, 0]):.3f}", flush=True)
    for name, trajectories in tested.items():
        frame = compared(
            {row: rungs for (where, row), rungs in chosen.items() if where == name},
            trajectories,
            table,
            tolerance,
        )
        miss = np.concatenate(misses[name])
        print(f"\n{name}, {len(trajectories)} trajectories")
        print(frame.round(3).to_string())
        describe(miss)
        print(f"{np.mean(np.concatenate(unknown[name])):.3f} of the times outside the training")
    verdicts(tested, chosen, misses, table, tolerance)


def rules(
    others: LabelTable,
    network: ErrorNetwork,
    forces: ForceField,
    tolerance: float,
    training: Training,
) -> dict[str, Choose]:
    """Return what is compared, each trained on the same trajectories."""
    short = train(others, forcefield=forces, training=dataclasses.replace(training, length=1))
    found: dict[str, Choose] = {
        "gap": GapThresholds(others, tolerance).choose,
        "learned": LearnedController(network, tolerance=tolerance).choose,
        "learned, no GRU past": LearnedController(short, tolerance=tolerance).choose,
    }
    for cell in ("lstm", "gru"):
        series = train_autoencoder(
            others, cell=cell, tolerance=tolerance, forcefield=forces, training=training
        )
        for risk in (0.1, 0.5):
            controller = AutoencoderController(series, risk=risk)
            found[f"{controller.name}, risk {risk}"] = controller.choose
    return found


class GapThresholds:
    """One feature: the coarsest plan for which the smallest gap is large enough."""

    def __init__(self, table: LabelTable, tolerance: float, *, allowed: float = 0.05) -> None:
        gaps = np.concatenate([smallest_gaps(t)[labeled(t)] for t in table.trajectories])
        errors = np.concatenate([log_errors(t)[labeled(t)] for t in table.trajectories])
        over = (errors > np.log10(tolerance)) & (errors[:, :1] <= np.log10(tolerance))
        self.plans = table.plans
        self.limits = [self._limit(gaps, bad, allowed) for bad in over.T]

    def choose(self, history: Sequence[Observation], forcefield: ForceField) -> StepPlan:
        """Return the plan for the smallest gap now."""
        gap = np.min(history[-1].gap)
        return self.plans[
            max((k for k, limit in enumerate(self.limits) if gap >= limit), default=0)
        ]

    @staticmethod
    def _limit(gaps: np.ndarray, bad: np.ndarray, allowed: float) -> float:
        """Return the smallest gap above which so few are bad, as a share of all times."""
        for gap in np.unique(gaps):
            if (bad & (gaps >= gap)).mean() <= allowed:
                return float(gap)
        return np.inf


def compared(
    chosen: dict[str, list[np.ndarray]],
    trajectories: list[TrajectoryLabels],
    table: LabelTable,
    tolerance: float,
) -> pd.DataFrame:
    """Return one row for each way to choose."""
    rung = safe_rung(trajectories, tolerance, violations=VIOLATIONS_BAR)
    strict = safe_rung(trajectories, tolerance, violations=0.0)
    rows = {
        "oracle": [oracle(t, tolerance) for t in trajectories],
        "fixed": [fixed(t, rung) for t in trajectories],
        "fixed, strict": [fixed(t, strict) for t in trajectories],
        **chosen,
    }
    scores = {row: score(rungs, trajectories, table, tolerance) for row, rungs in rows.items()}
    frame = pd.DataFrame({row: dataclasses.asdict(s) for row, s in scores.items()}).T
    frame.insert(3, "saved", 1 - frame["nonbonded"] / frame.loc["fixed", "nonbonded"])
    return frame


def verdicts(
    tested: dict[str, list[TrajectoryLabels]],
    chosen: dict[tuple[str, str], list[np.ndarray]],
    misses: dict[str, list[np.ndarray]],
    table: LabelTable,
    tolerance: float,
) -> None:
    """Print the bars of part 1."""
    print()
    for name, trajectories in tested.items():
        frame = compared({"learned": chosen[name, "learned"]}, trajectories, table, tolerance)
        learned = frame.loc["learned"]
        median = np.concatenate(misses[name])[:, 0]
        verdict(f"{name}: rmse of the median [decades]", rms(median), RMSE_BAR)
        verdict(f"{name}: violations", learned["violations"], VIOLATIONS_BAR)
        verdict(f"{name}: nonbonded evaluations saved", learned["saved"], SAVED_BAR, least=True)


def judge_in_runs(
    table: LabelTable, rung: int, tolerance: float, *, n_seeds: int, time: float
) -> None:
    """Run the collision scene with shipped weights and with the fixed plan; check the choices."""
    ladder = Ladder(table.plans)
    rows: list[dict[str, object]] = []
    misses: list[np.ndarray] = []
    for seed in range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + n_seeds):
        controllers: list[Controller] = [
            FixedPlan(table.plans[rung]),
            LearnedController(tolerance=tolerance, ladder=table.plans),
        ]
        for controller in controllers:
            run, errors = collision(controller, ladder, table, seed, time)
            if isinstance(controller, LearnedController):
                kT = table.trajectories[0].kT
                misses.append(missed(controller.network, run, errors, kT))
            costs = run.costs
            rungs = [table.plans.index(plan) for plan in run.plans[: len(errors)]]
            over = errors[np.arange(len(errors)), rungs] > tolerance
            hopeless = errors[:, 0] > tolerance
            rows.append(
                {
                    "seed": seed,
                    "controller": controller.name,
                    "nonbonded": costs.loc["total", "nonbonded"],
                    "CPU [s]": costs.loc["total", "cpu_seconds"],
                    "overhead": run.controller_share,
                    "violations": np.mean(over & ~hopeless),
                    "hopeless": hopeless.mean(),
                    "rollbacks": len(run.rollbacks),
                }
            )
            print(pd.DataFrame(rows[-1:]).round(4).to_string(header=len(rows) == 1), flush=True)
    frame = pd.DataFrame(rows).groupby("controller", sort=False).mean().drop(columns="seed")
    print(f"\nmean of {n_seeds} runs of {time:g}, shear rate {UNSEEN_RATE}")
    print(frame.round(4).to_string())
    plain, learned = frame.iloc[0], frame.iloc[1]
    saved = 1 - learned["nonbonded"] / plain["nonbonded"]
    verdict("runs: nonbonded evaluations saved", saved, SAVED_BAR, least=True)
    verdict("runs: violations", learned["violations"], VIOLATIONS_BAR)
    describe(np.concatenate(misses))
    verdict("runs: rmse of the median [decades]", rms(np.concatenate(misses)[:, 0]), RMSE_BAR)
    verdict("runs: overhead of CPU time", learned["overhead"], OVERHEAD_BAR)
    print(f"runs: CPU time {learned['CPU [s]'] / plain['CPU [s]']:.2f} of the fixed plan's")


def collision(
    controller: Controller, ladder: Ladder, table: LabelTable, seed: int, time: float
) -> tuple[Run, np.ndarray]:
    """Return a run, and each plan's error at the start of its segments, shape (n, K) [rc]."""
    ready = scene("collision", seed=seed, shear_rate=UNSEEN_RATE)
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=seed) as engine:
        equilibrate(engine, plan=ladder.finest)
        run = drive(
            engine, controller, time=time, segment=table.segment, ladder=ladder, keep_every=1
        )
        errors = [
            local_errors(
                engine, snapshot, table.plans, reference=table.reference, window=table.window
            ).max(axis=1)
            for snapshot, _ in zip(run.snapshots, run.plans, strict=False)
        ]
    return run, np.array(errors)


def missed(network: ErrorNetwork, run: Run, errors: np.ndarray, kT: float) -> np.ndarray:
    """Return predicted less true log10 error in a run, shape (n, 2, K)."""
    predicted = [
        network.predict(recent_features(run.observations[: n + 1], kT=kT, length=network.length))
        for n in range(len(errors))
    ]
    return np.array(predicted) - logarithms(errors)[:, None]


def describe(miss: np.ndarray) -> None:
    """Print how good a prediction is, shape (n, 2, K)."""
    for row, quantile in enumerate(QUANTILES):
        print(
            f"{quantile} quantile: rmse {rms(miss[:, row]):.3f} decades, true error under it "
            f"{np.mean(miss[:, row] >= 0):.3f}, rmse by plan, finest first: "
            f"{np.sqrt((miss[:, row] ** 2).mean(axis=0)).round(3)}"
        )


def prediction(network: ErrorNetwork, labels: TrajectoryLabels) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted less true log10 error, shape (n, 2, K), and which times were outside."""
    history = labels.observations
    windows = [
        recent_features(history[: n + 1], kT=labels.kT, length=network.length)
        for n in np.flatnonzero(labeled(labels))
    ]
    predicted = np.array([network.predict(window) for window in windows])
    outside = np.array([bool(network.outside(window)) for window in windows])
    return predicted - log_errors(labels)[labeled(labels), None], outside


def smallest_gaps(labels: TrajectoryLabels) -> np.ndarray:
    """Return the smallest gap of any platelet at each time."""
    return np.array([np.min(observation.gap) for observation in labels.observations])


def rms(values: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def verdict(what: str, value: float, bar: float, *, least: bool = False) -> None:
    """Print a figure beside its bar."""
    kept = value >= bar if least else value <= bar
    sign = ">=" if least else "<="
    print(f"{'kept  ' if kept else 'MISSED'} {what}: {value:.3f} (bar {sign} {bar})")


if __name__ == "__main__":
    main()
