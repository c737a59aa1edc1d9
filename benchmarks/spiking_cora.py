"""All 1000 test papers of Cora through the integer SGNN, against ten sparse matrix products.

A window of 10 steps for each of the 1000 test papers of the public split, everything included:
laying out the network, spikes, learning, scores. Beside it, in turns in the same process and one
thread, ten products of Cora's citation matrix with a matrix (2708, 1000), both of 32-bit integers:
what one step of 1000 windows needs at least if done in the plainest way, so that the ratio does not
depend on the machine. The claim: the median ratio is 4 or less. Other back ends are timed too,
after a first run that compiles, without a claim; all give the same scores.

    LABKIT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/spiking_cora.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.readout import tie_aware_accuracy
from labkit.spiking.sgnn import SGNN, SGNNParameters
from labkit.spiking.windows import BACKENDS

RATIO_BAR = 4.0
N_PRODUCTS = 10


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["numpy", "numba"])
    options = parser.parse_args()
    graph, parameters = load_citation_graph("cora"), SGNNParameters()
    adjacency = graph.adjacency().astype(np.int32)
    ones = np.ones((graph.n_papers, len(graph.test)), dtype=np.int32)

    def products() -> None:
        for _ in range(N_PRODUCTS):
            _ = adjacency @ ones

    expected = SGNN(graph, parameters).run(graph.test)
    report = tie_aware_accuracy(expected, graph.labels)
    print(
        f"Cora: {len(graph.test)} test papers, {parameters.window} steps each, "
        f"accuracy {report.expected:.3f} (expected)"
    )
    for backend in options.backends:
        compile_seconds = cpu_seconds(
            lambda backend=backend: SGNN(graph, parameters).run(graph.test[:2], backend=backend)
        )
        scores = SGNN(graph, parameters).run(graph.test, backend=backend).scores
        same = "the same scores" if np.array_equal(scores, expected.scores) else "OTHER SCORES"
        ours, theirs = [], []
        for _ in range(options.repeats):
            theirs.append(cpu_seconds(products))
            ours.append(
                cpu_seconds(
                    lambda backend=backend: SGNN(graph, parameters).run(graph.test, backend=backend)
                )
            )
        ratios = np.array(ours) / np.array(theirs)
        print(
            f"{backend}: {1e3 * median(ours):.0f} ms of CPU, {N_PRODUCTS} products "
            f"{1e3 * median(theirs):.0f} ms; ratio {np.median(ratios):.2f}, from "
            f"{ratios.min():.2f} to {ratios.max():.2f} in {options.repeats} turns "
            f"({verdict(backend, float(np.median(ratios)))}); {same}; first run of two queries "
            f"{compile_seconds:.1f} s"
        )


def verdict(backend: str, ratio: float) -> str:
    """Whether the median turn met the bar."""
    if backend != "numpy":
        return "no bar"
    return f"bar {RATIO_BAR:g}: {'met' if ratio <= RATIO_BAR else 'MISSED'}"


if __name__ == "__main__":
    main()
