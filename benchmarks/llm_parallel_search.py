"""Search of parallel strategies: a space of seven million, and engines on a failing cluster.

First the space that Calculon's exhaustive search of a 1T model on 3072 devices has as many points
as (7.0e6): time, memory of the process and what excludes how many points (bars: 60 s and 2 GB on
one thread). Then the engines on the shipped benchmark, GPT-175B on 128 simulated devices whose
constants differ from the model's by 35 % (one sigma), with 3 % noise and failures: the true
throughput of what each engine recommends over that of the best strategy of the space, mean and
smallest of all seeds, failed trials, and seconds of the search itself (bar: the engine "model" has
0.97 or more with 8 measurements on 18 of 20 seeds). All times of a step are the model's, or
simulated.

    OMP_NUM_THREADS=1 python benchmarks/llm_parallel_search.py
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time

import pandas as pd

from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import RECOMPUTE, SCHEDULES
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.objective import SimulatedCluster, benchmark
from labkit.llm_parallel.search import exhaustive
from labkit.llm_parallel.sensitivity import sensitivity
from labkit.llm_parallel.space import Space, search_space
from labkit.llm_parallel.systems import system_preset
from labkit.llm_parallel.tune import TuningResult, tune

BAR_SECONDS, BAR_BYTES, BAR_SHARE, BAR_SEEDS = 60.0, 2e9, 0.97, 18
POWERS = [1, 2, 4, 8, 16, 32, 64, 128]
ARMS: dict[str, tuple[dict[str, object], dict[str, int]]] = {
    "model, 8 trials": ({"engine": "model"}, {"wide": 8, "narrow": 8}),
    "Optuna, constrained": ({"engine": "optuna"}, {"wide": 64, "narrow": 48}),
    "Optuna, plain": ({"engine": "optuna", "constrained": False}, {"wide": 64, "narrow": 48}),
    "DeepHyper": ({"engine": "deephyper"}, {"wide": 64, "narrow": 48}),
    "random": ({"engine": "random"}, {"wide": 64, "narrow": 48}),
}


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=("exhaustive", "engines"))
    chosen = parser.parse_args()
    if chosen.only in ("exhaustive", None):
        search_seven_million()
    if chosen.only in ("engines", None):
        compare_engines(chosen.seeds)


def seven_million() -> Space:
    """The 1T model on 3072 devices: 7,077,888 points."""
    return search_space(
        model_preset("gpt-1t"),
        system_preset("frontier"),
        3072,
        3072,
        tp=POWERS,
        pp=POWERS,
        virtual_pp=POWERS,
        micro_batch_size=[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64],
        zero_stage=[0, 1, 2, 3],
        sequence_parallel=[False, True],
        recompute=list(RECOMPUTE),
        schedule=list(SCHEDULES),
        flash_attention=[False, True],
        overlap_grad_reduce=[False, True],
        rank_order=["tp-cp-dp-pp", "tp-cp-pp-dp"],
    )


def search_seven_million() -> None:
    """Time and memory of one exhaustive search, and what it found."""
    space = seven_million()
    wall, cpu = time.perf_counter(), time.process_time()
    found = exhaustive(space)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{space.model.name} on {space.n_devices[0]} devices: {found.summary()}")
    print(pd.Series(found.counts, name="points").to_string())
    print(found.frame[["label", "schedule", "seconds", "hfu", "mfu"]].head().to_string())
    print(f"front of Pareto: {len(found.pareto)} strategies")
    print(f"{wall:.1f} s wall, {cpu:.1f} s CPU (bar {BAR_SECONDS:.0f} s)")
    print(f"{peak / 1e9:.2f} GB of the whole process (bar {BAR_BYTES / 1e9:.0f} GB)")
    print(
        f"{len(space) / cpu:,.0f} points and {found.n_evaluated / cpu:,.0f} legal ones a CPU second"
    )


def compare_engines(n_seeds: int) -> None:
    """Every engine on both spaces of the benchmark, all seeds."""
    rows = []
    for arm, (options, budgets) in ARMS.items():
        if options["engine"] == "deephyper" and importlib.util.find_spec("deephyper") is None:
            print("DeepHyper is not installed: left out")
            continue
        for place, n_trials in budgets.items():
            rows.append(
                {"engine": arm, "space": place} | compare(place, n_seeds, n_trials, options)
            )
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    for place, space in benchmark()[1].items():
        begin = time.process_time()
        table = sensitivity(space)
        print(f"\n{place}: exact sensitivity in {1000 * (time.process_time() - begin):.0f} CPU ms")
        print(table.to_string(index=False, float_format=lambda x: f"{x:.3f}"))


def compare(
    place: str, n_seeds: int, n_trials: int, options: dict[str, object]
) -> dict[str, object]:
    """One engine on one space: how close to the optimum, and what failed."""
    shares, failed, cpu = [], [], time.process_time()
    for seed in range(n_seeds):
        cluster, spaces = benchmark(seed=seed)
        found = tune(spaces[place], cluster, n_trials=n_trials, seed=42 + seed, **options)  # type: ignore[arg-type]
        shares.append(share_of_optimum(cluster, spaces[place], found))
        failed.append(found.n_failed)
    good = sum(share >= BAR_SHARE for share in shares)
    return {
        "trials": n_trials,
        "mean share": sum(shares) / n_seeds,
        "worst share": min(shares),
        f"seeds >= {BAR_SHARE}": f"{good}/{n_seeds}",
        "failed": sum(failed) / n_seeds,
        "CPU s": (time.process_time() - cpu) / n_seeds,
    }


def share_of_optimum(cluster: SimulatedCluster, space: Space, found: TuningResult) -> float:
    """True throughput of the recommended strategy over that of the best one; 0 if all failed."""
    if found.recommended is None:
        return 0.0
    seconds = cluster.true_seconds(ParallelColumns.of(found.recommended))[0]
    return cluster.optimum(space) / float(seconds)


if __name__ == "__main__":
    main()
