"""The integer SGNN on Cora: labkit side by side with Lava 0.10, and equal to it.

First `check_against_lava`: four windows of ten steps, every current, voltage, spike and learned
weight of every step. Then time, turn by turn in one run: Lava runs the four windows without
recorders (LearningDense in both directions), labkit classifies a batch of test papers, one window
each, in one thread. Only windows count: compiling and starting Lava's processes, setting weights
back between windows, planning labkit's network and compiling its kernels are left out and printed.

The claims: no value differs, and a window takes Lava at least 1000 times as long as labkit in a
batch of 100 or more with lazy plasticity, which is proven exact for these parameters. Full
plasticity, which changes all weights as Lava does, is measured too, without a claim. Lava's time
is that of its CPU models; nothing is said about the chip.

    python benchmarks/spiking_lava.py --lava-python PYTHON
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

import numpy as np

from labkit.spiking.citation import CitationGraph
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.lava import LavaRun, check_against_lava, run_in_lava
from labkit.spiking.sgnn import SGNN, SGNNParameters, build_sgnn

SPEED_BAR = 1000.0
WINDOWS = 4
ARMS = {
    "numpy, lazy plasticity": {"backend": "numpy", "plasticity": "lazy"},
    "numba, lazy plasticity": {"backend": "numba", "plasticity": "lazy"},
    "numba, full plasticity": {"backend": "numba", "plasticity": "full"},
}


def check(graph: CitationGraph, backend: str) -> None:
    """Compare every value with Lava and print the table."""
    network = build_sgnn(graph, SGNNParameters(), graph.test[:WINDOWS])
    result = check_against_lava(network, WINDOWS * network.episode, backend=backend)
    table = result.frame.astype({"first_step": object}).fillna({"first_step": "-"})
    print(table.to_string(index=False))
    values = int(result.frame["values"].sum())
    verdict = "exact: met" if result.exact else "MISSED"
    print(f"Lava {result.version} against the {backend} engine, {values:,} values: {verdict}")


def lava_window(graph: CitationGraph) -> tuple[float, LavaRun]:
    """Seconds of a window in Lava, without recorders."""
    network = build_sgnn(graph, SGNNParameters(), graph.test[:WINDOWS])
    run = run_in_lava(network, WINDOWS * network.episode, record=())
    return run.seconds_run / WINDOWS, run


def labkit_window(network: SGNN, queries: np.ndarray, options: dict[str, str]) -> float:
    """Seconds of a window in labkit, within a batch."""
    start = time.perf_counter()
    network.run(queries, threads=1, **options)
    return (time.perf_counter() - start) / len(queries)


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lava-python", help="Python with Lava (else LABKIT_LAVA_PYTHON or conda)")
    parser.add_argument("--queries", type=int, default=100, help="test papers in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.lava_python:
        os.environ["LABKIT_LAVA_PYTHON"] = options.lava_python
    graph = load_citation_graph("cora")
    check(graph, "numpy")
    start = time.perf_counter()
    network, queries = SGNN(graph), graph.test[: options.queries]
    print(f"labkit: planned in {time.perf_counter() - start:.3f} s (not counted)")
    for name, arm in ARMS.items():
        start = time.perf_counter()
        network.run(queries[:2], threads=1, **arm)
        print(f"{name}: {time.perf_counter() - start:.3f} s for the first call (not counted)")
    theirs: list[float] = []
    ours: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(options.repeats):
        seconds, run = lava_window(graph)
        theirs.append(seconds)
        print(
            f"Lava: {seconds:.3f} s a window; compiled and started in {run.seconds_compile:.1f} s, "
            f"weights set back in {run.seconds_set_back:.1f} s (not counted)"
        )
        for name, arm in ARMS.items():
            ours[name].append(labkit_window(network, queries, arm))
    for name, seconds_of in ours.items():
        ratios = np.array(theirs) / np.array(seconds_of)
        claim = ""
        if ARMS[name]["plasticity"] == "lazy":
            met = "met" if median(ratios) >= SPEED_BAR else "MISSED"
            claim = f" (bar {SPEED_BAR:g}: {met})"
        print(
            f"{name}: {1e3 * median(seconds_of):.3f} ms a window in a batch of {len(queries)}; "
            f"Lava takes {median(ratios):,.0f} times as long, from {ratios.min():,.0f} to "
            f"{ratios.max():,.0f} in {options.repeats} turns{claim}"
        )


if __name__ == "__main__":
    main()
