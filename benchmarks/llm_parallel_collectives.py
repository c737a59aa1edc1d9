"""Measured collectives against a latency and a bandwidth that were fitted without them.

Collectives are timed between processes of this machine several times over. Of each run every second
message size is predicted from the others and the reverse, so that no prediction has seen its size;
the ratio predicted / measured is printed with its spread over sizes and runs. "Repeat" is the same
ratio for what nothing can beat: the time of a size in one run, predicted by its median in the
others. The claims: the median ratio of each kind is within 15 % of 1, and the
NCCL tables of vTrain (real data, read through `labkit.datasets`) are predicted within 5 % at the
median, with 225 to 235 GB/s of bus bandwidth between eight A100.

    OMP_NUM_THREADS=1 python benchmarks/llm_parallel_collectives.py --processes 2 --runs 5
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from labkit.distributed.collectives import measure_collectives
from labkit.distributed.links import bus_bandwidth, fit_alpha_beta, held_out_predictions
from labkit.errors import LabkitError
from labkit.llm_parallel.runs import load_allreduce

SIZES = tuple(2**power for power in range(10, 25))
TABLES = (("a100", 2), ("a100", 4), ("a100", 8), ("v100", 2), ("v100", 4), ("v100", 8))


def verdict(holds: bool) -> str:
    """Whether a claim holds, in a word."""
    return "holds" if holds else "DOES NOT HOLD"


def ratios(values: pd.Series) -> str:
    """Median of a ratio, and what four of five lie within."""
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def measured_here(n_processes: int, runs: int, repeats: int, device: str) -> None:
    """Time, predict, print."""
    tables = []
    for run in range(runs):
        table = measure_collectives(
            SIZES, n_processes=n_processes, repeats=repeats, device=device, timeout_s=500
        )
        tables.append(held_out_predictions(table).assign(run=run))
    rows = pd.concat(tables, ignore_index=True)
    key = ["kind", "size", "bytes"]
    others = [rows[rows["run"] != run].groupby(key)["seconds"].median() for run in range(runs)]
    backend = rows["backend"].iloc[0]
    print(f"measured here: {n_processes} processes, {backend}, {runs} runs, {len(SIZES)} sizes")
    for (kind, size), group in rows.groupby(["kind", "size"]):
        fit = fit_alpha_beta(group, size, kind)
        line = (
            f"  {kind:14s} {fit.latency_s * 1e6:8.0f} us +- {fit.latency_error_s * 1e6:.0f}, "
            f"{fit.bandwidth / 1e9:7.2f} GB/s +- {fit.bandwidth_error / 1e9:.2f}; "
            f"predicted / measured {ratios(group['ratio'])}"
        )
        if runs > 1:
            pairs = zip(group["run"], group["bytes"], strict=True)
            rest = [others[run][kind, size, n] for run, n in pairs]
            line += f", repeat {ratios(rest / group['seconds'])}"
        print(f"{line} ({verdict(abs(np.median(group['ratio']) - 1) < 0.15)})")


def published() -> None:
    """Predict half of each NCCL table from the other half, print."""
    print("published: NCCL all-reduce tables of vTrain, 1 MiB to 1 GiB")
    for device, size in TABLES:
        table = load_allreduce(device, size).assign(kind="all_reduce", size=size)
        fit = fit_alpha_beta(table, size)
        ratio = held_out_predictions(table)["ratio"]
        top = table.loc[table["bytes"].idxmax()]
        reached = float(bus_bandwidth(top["bytes"], top["seconds"], size)) / 1e9
        error = np.median(np.abs(ratio - 1))
        print(
            f"  {size} {device}: {fit.latency_s * 1e6:.0f} us, {fit.bandwidth / 1e9:.1f} GB/s "
            f"(measured at 1 GiB: {reached:.1f}); predicted / measured {ratios(ratio)}, median "
            f"error {error:.1%} ({verdict(error < 0.05)})"
        )


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    measured_here(given.processes, given.runs, given.repeats, given.device)
    try:
        published()
    except LabkitError as error:
        print(f"  left out: {error}")


if __name__ == "__main__":
    main()
