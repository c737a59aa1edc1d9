"""All imbalance measures of SIDER and ToxCast, against labelsets counted with ``np.unique``.

The claim: `imbalance_report` takes at most 10 ms on SIDER (1,427 x 27) and 0.5 CPU seconds on
ToxCast (8,576 x 617), from a DataFrame with missing labels to the finished table. CPU seconds of
this process, best and median of the repeats after one warm-up.

    LABKIT_DATA=/path/to/data OMP_NUM_THREADS=1 python benchmarks/imbalance_measures.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pandas as pd

from labkit import datasets
from labkit.oversampling.imbalance import imbalance_report

BARS = {"sider": 0.010, "toxcast": 0.5}


def cpu_seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of each repeat, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return seconds


def main() -> None:
    """Print one line per data set, and the naive labelset count for comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    for name, bar in BARS.items():
        Y = pd.read_csv(datasets.path(name)).iloc[:, 1:]
        seconds = cpu_seconds(lambda Y=Y: imbalance_report(Y), arguments.repeats)
        positive = Y.to_numpy() == 1
        [naive] = cpu_seconds(lambda p=positive: np.unique(p, axis=0), 1)
        verdict = "met" if median(seconds) <= bar else "MISSED"
        print(
            f"{name:8} {Y.shape[0]} x {Y.shape[1]}: report {min(seconds):.4f} best, "
            f"{median(seconds):.4f} median CPU s (bar {bar} s: {verdict}); "
            f"np.unique(axis=0) alone {naive:.3f} CPU s"
        )


if __name__ == "__main__":
    main()
