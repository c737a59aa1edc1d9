"""The float network side by side with SuperNeuroMAT 3.5: equal, and how much faster.

Cora with the published parameters, 5 steps a query, one thread, turn by turn: SuperNeuroMAT's
sparse back end simulates one paper in its own process, then labkit a batch of papers. The claims:
learned weights from the query to the topics that differ by less than 1e-9, every spike the same,
and at least 200 times the speed per paper. SuperNeuroMAT runs one paper at a time; labkit's time is
that of the batch divided by its papers. SuperNeuroMAT's time is that of its `simulate` call; the
ratio to the loop inside alone is printed too, without a claim, and so are the times to import and
to build, which neither side's time holds. There is nothing to compile on either side.

A second part has no time: a small network with words, which learn, and papers that spike several
times, on SuperNeuroMAT's sparse and dense back ends.

    LABKIT_DATA=/path/to/data OMP_NUM_THREADS=1 \
        python benchmarks/spiking_superneuromat.py --superneuromat-python /path/to/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

start = time.process_time()

from labkit.spiking.citation import CitationGraph  # noqa: E402 - timed
from labkit.spiking.float_sgnn import CORA, FloatSGNN, FloatSGNNParameters  # noqa: E402
from labkit.spiking.graphs import load_citation_graph  # noqa: E402
from labkit.spiking.simulated import simulated_citation_graph  # noqa: E402

IMPORT_S = time.process_time() - start
ARM = Path(__file__).with_name("spiking_superneuromat_arm.py")
WEIGHT_BAR, SPEED_BAR = 1e-9, 200
WORDS = CORA.replace(
    simtime=9,
    topic_threshold=0.437,
    graph_weight=1.713,
    train_to_topic_weight=0.911,
    test_to_topic_weight=0.0131,
    other_ref=1,
    features=True,
    feature_to_topic=True,
    paper_to_feature_weight=0.0717,
    feature_to_paper_weight=0.0531,
    feature_to_topic_weight=0.0213,
    topic_to_feature_weight=0.0913,
    paper_to_feature_stdp=True,
    feature_to_topic_stdp=True,
    feature_leak=0.0119,
)
"""Odd numbers, so that no potential is at its threshold up to rounding."""


class SuperNeuroMAT:
    """A process that simulates queries with SuperNeuroMAT.

    Parameters
    ----------
    python : str
        Interpreter that has it.
    folder : Path
        For files between the two processes.
    """

    def __init__(self, python: str, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [python, str(ARM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def build(self, model: FloatSGNN) -> float:
        """Build the network of a model; returns CPU seconds."""
        network, p = model.network, model.parameters
        synapses = network.weights.tocoo()
        np.savez(
            self._folder / "network.npz",
            pre=synapses.col,
            post=synapses.row,
            weight=synapses.data,
            plastic=network.plastic,
            threshold=network.threshold,
            leak=network.leak,
            refractory=network.refractory,
            apos=p.apos,
            aneg=p.aneg,
            steps=p.simtime,
        )
        return self._ask({"build": str(self._folder / "network.npz")})["build_s"]

    def query(self, neuron: int, back_end: str = "sparse") -> dict[str, Any]:
        """Seconds, spikes (steps, n_neurons) and weights of all synapses after a query."""
        out = self._folder / "answer.npz"
        times = self._ask({"query": neuron, "back_end": back_end, "out": str(out)})
        with np.load(out) as stored:
            return times | {name: stored[name] for name in stored.files}

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"SuperNeuroMAT's process ended with code {self._process.wait()}.")
        return json.loads(line)


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one call, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def differences(
    model: FloatSGNN, paper: int, scores: np.ndarray, peer: dict[str, Any]
) -> tuple[float, int]:
    """Largest difference of weights from the query to the topics, and number of other spikes."""
    synapses = model.network.weights.tocoo()
    topics = model.network.populations["topic"]
    read = (synapses.col == model.network.neuron[paper]) & (synapses.row >= topics.start)
    read &= synapses.row < topics.stop
    order = np.argsort(synapses.row[read])
    trace = model.trace(paper)
    spikes = np.hstack([trace.spikes[name] for name in model.network.populations])
    apart = np.abs(peer["weights"][read][order] - scores).max()
    return float(apart), int((spikes != peer["spikes"]).sum())


def compare_speed(peer: SuperNeuroMAT, papers: int, batch: int, repeats: int) -> None:
    """Cora: equality and ratio of times."""
    graph = load_citation_graph("cora")
    wiring_s, model = cpu_seconds(lambda: FloatSGNN(graph, CORA))
    building_s = peer.build(model)
    peer.query(int(model.network.neuron[graph.test[0]]))
    model.run(graph.test[:batch])
    chosen = graph.test[np.linspace(0, batch - 1, papers).astype(int)].tolist()
    ratios, loops, ours_s, apart, odd, total = [], [], [], 0.0, 0, 0
    for paper in chosen * repeats:
        theirs = peer.query(int(model.network.neuron[paper]))
        seconds, run = cpu_seconds(lambda: model.run(graph.test[:batch]))
        ours_s.append(seconds / batch)
        ratios.append(theirs["simulate_s"] / ours_s[-1])
        loops.append(theirs["loop_s"] / ours_s[-1])
        scores = run.scores[graph.test[:batch].tolist().index(paper)]
        difference, spikes = differences(model, paper, scores, theirs)
        apart, odd, total = (
            max(apart, difference),
            odd + spikes,
            total + int(theirs["spikes"].sum()),
        )
    print(f"import {IMPORT_S:.2f} CPU s, SuperNeuroMAT {peer.about['import_s']:.2f}; ", end="")
    print(f"build {wiring_s:.3f} CPU s, SuperNeuroMAT {building_s:.2f}")
    print(
        f"Cora, {papers} papers, {CORA.simtime} steps, {repeats} turns each: {total} spikes, {odd} "
        f"differ ({verdict(odd == 0)}); learned weights differ by at most {apart:.1e} "
        f"(bar {WEIGHT_BAR:g}: {verdict(apart < WEIGHT_BAR)})"
    )
    median, low, high = np.median(ratios), min(ratios), max(ratios)
    print(
        f"labkit {1e3 * np.median(ours_s):.3f} CPU ms a paper in batches of {batch}; SuperNeuroMAT "
        f"takes {median:.0f} times as long, from {low:.0f} to {high:.0f} (bar {SPEED_BAR}: "
        f"{verdict(median >= SPEED_BAR)}); its loop alone {np.median(loops):.0f} times, from "
        f"{min(loops):.0f} to {max(loops):.0f}"
    )


def compare_words(peer: SuperNeuroMAT, papers: int) -> None:
    """A small network with everything that learns: equality on both back ends."""
    graph = simulated_citation_graph(
        n_papers=120,
        n_topics=3,
        n_edges=240,
        n_words=40,
        words_per_paper=5,
        train_per_topic=5,
        n_validation=20,
        n_test=60,
        seed=0,
    )
    settings: Sequence[tuple[str, FloatSGNNParameters, CitationGraph]] = (
        ("words that learn", WORDS, graph),
        ("words by their share", WORDS.replace(paper_to_feature_weighted=True), graph),
    )
    for name, parameters, where in settings:
        model = FloatSGNN(where, parameters)
        peer.build(model)
        for back_end in ("sparse", "dense"):
            apart, odd, total = 0.0, 0, 0
            for paper in where.test[:papers].tolist():
                theirs = peer.query(int(model.network.neuron[paper]), back_end)
                scores = model.run([paper]).scores[0]
                difference, spikes = differences(model, paper, scores, theirs)
                apart, odd = max(apart, difference), odd + spikes
                total += int(theirs["spikes"].sum())
            print(
                f"{name}, {papers} queries, {back_end} back end: {total} spikes, {odd} differ; "
                f"learned weights differ by at most {apart:.1e} "
                f"({verdict(odd == 0 and apart < WEIGHT_BAR)})"
            )


def verdict(met: bool) -> str:
    """Whether a claim holds."""
    return "met" if met else "MISSED"


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--superneuromat-python", required=True, metavar="PY")
    parser.add_argument("--papers", type=int, default=5)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        SuperNeuroMAT(given.superneuromat_python, Path(folder)) as peer,
    ):
        print(f"SuperNeuroMAT {peer.about['version']}")
        compare_speed(peer, given.papers, given.batch, given.repeats)
        compare_words(peer, given.papers)


if __name__ == "__main__":
    main()
