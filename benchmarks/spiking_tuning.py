"""Tuning of the integer spiking network on Cora: samplers side by side, and a run that is killed.

Every sampler tunes on the 500 validation papers of the public split, from the same start, turn by
turn over the seeds, in two spaces: the box of weights and thresholds that one would write down, in
which most networks are dead, and `SGNN_SPACE`, in which thresholds are drawn as quotients. Reported
are the best validation accuracies (rule "expected") after a third of the trials and after all,
their spread, and how often the Gaussian process is ahead at the same seed. All differences are
smaller than the standard error of an accuracy of 500 papers: this is about the search and not about
better networks. The parameters chosen by the Gaussian process in `SGNN_SPACE` are then run on the
1000 test papers, once a seed (bar: median at least 0.64; the untuned network has 0.629).

Last, 100 trials are run in a process that is killed in the middle with SIGKILL and started again;
the trials must be those of a run that nobody killed, and the best so far must never decrease.

    LABKIT_DATA=... OMP_NUM_THREADS=1 python benchmarks/spiking_tuning.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.spiking.citation import CitationGraph
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.readout import tie_aware_accuracy
from labkit.spiking.sgnn import SGNN
from labkit.spiking.spaces import SGNN_SPACE, Choice, Int, Space
from labkit.spiking.tuning import TuningResult, tune

SAMPLERS = ("gp", "tpe", "random")
DECAYS = (0, 256, 1024, 2048, 4095)
BOX = Space(
    (
        Int("graph_w", 20, 255),
        Int("paper_vth", 20, 400),
        Choice("paper_dv", DECAYS),
        Int("train_w", 20, 255),
        Int("topic_vth", 20, 600),
        Choice("topic_dv", DECAYS),
        Int("test_exp", -12, -6),
        *SGNN_SPACE.only("ref_train", "window", "A_plus", "tau_plus", "x1_impulse"),
    )
)
SPACES = {"box": BOX, "quotients": SGNN_SPACE}
TEST_BAR = 0.64


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cora")
    parser.add_argument("--n-trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resume-trials", type=int, default=100)
    parser.add_argument("--only", choices=(*SPACES, "resume"))
    parser.add_argument("--journal", help="used by this script for the process that it kills")
    chosen = parser.parse_args()
    if chosen.journal:
        tune_until_killed(chosen.dataset, chosen.resume_trials, chosen.journal)
        return
    for place in SPACES:
        if chosen.only in (place, None):
            graph = load_citation_graph(chosen.dataset)
            compare_samplers(graph, place, chosen.n_trials, chosen.seeds)
    if chosen.only in ("resume", None):
        kill_and_resume(chosen.dataset, chosen.resume_trials)


def compare_samplers(graph: CitationGraph, place: str, n_trials: int, n_seeds: int) -> None:
    """Best validation accuracy of each sampler and seed, and test accuracy of its choice."""
    tuned: dict[str, list[TuningResult]] = {name: [] for name in SAMPLERS}
    walls: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    for seed in range(n_seeds):
        for name in SAMPLERS:
            start = time.perf_counter()
            found = tune(graph, n_trials=n_trials, sampler=name, seed=seed, space=SPACES[place])
            walls[name].append(time.perf_counter() - start)
            tuned[name].append(found)
    print(f"\n{place}: {n_trials} trials on {len(graph.validation)} papers, {n_seeds} seeds")
    for name, results in tuned.items():
        early = [r.trials["best_so_far"].iloc[n_trials // 3 - 1] for r in results]
        inside = sum(r.trials["seconds"].sum() for r in results) / n_seeds
        print(
            f"{name:>6}: validation {spread([r.best_value for r in results])} (after "
            f"{n_trials // 3} trials {np.median(early):.4f}), test "
            f"{spread([test_accuracy(graph, r) for r in results])}, "
            f"{np.mean([r.n_dead for r in results]):.0f} dead, {np.mean(walls[name]):.1f} s of "
            f"which {inside:.1f} s in the network"
        )
    best = {name: np.array([r.best_value for r in results]) for name, results in tuned.items()}
    for name in SAMPLERS[1:]:
        gaps = 100 * (best["gp"] - best[name])
        print(
            f"gp - {name}: median {np.median(gaps):+.2f} points, from {gaps.min():+.2f} to "
            f"{gaps.max():+.2f}, ahead in {(gaps > 0).sum()} of {n_seeds}; between the medians "
            f"{100 * (np.median(best['gp']) - np.median(best[name])):+.2f}"
        )
    found = tuned["gp"][0]
    print(
        f"untuned {found.untuned_value:.4f}; standard error of one accuracy "
        f"{100 * found.standard_error:.1f} points"
    )
    if place == "quotients":
        chosen = float(np.median([test_accuracy(graph, r) for r in tuned["gp"]]))
        verdict = "met" if chosen >= TEST_BAR else "MISSED"
        print(f"test accuracy of the GP's choice: {chosen:.4f} (bar {TEST_BAR}: {verdict})")


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{np.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def test_accuracy(graph: CitationGraph, tuned: TuningResult) -> float:
    """Expected accuracy of the chosen parameters on the test papers."""
    scores = SGNN(graph, tuned.best).run(graph.test)
    return tie_aware_accuracy(scores, graph.labels).expected


def kill_and_resume(dataset: str, n_trials: int) -> None:
    """Kill a process in the middle of its trials, start it again, compare with one left alone."""
    with tempfile.TemporaryDirectory(prefix="labkit-tuning-") as folder:
        journal = Path(folder) / "killed.log"
        command = [sys.executable, __file__, "--journal", str(journal), "--dataset", dataset]
        command += ["--resume-trials", str(n_trials)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == str(n_trials // 2):
                    process.kill()
                    break
        resumed = tune(load_citation_graph(dataset), n_trials=n_trials, storage=journal)
    alone = tune(load_citation_graph(dataset), n_trials=n_trials)
    one, other = (result.trials.drop(columns="seconds") for result in (resumed, alone))
    pd.testing.assert_frame_equal(one, other)
    falls = (np.diff(resumed.trials["best_so_far"]) < 0).sum()
    print(
        f"killed after {resumed.n_resumed} of {n_trials} trials: {len(resumed.trials)} trials in "
        f"the end, equal to those of a run that was not killed; the best so far fell {falls} times"
    )


def tune_until_killed(dataset: str, n_trials: int, journal: str) -> None:
    """Tune and print how many trials have ended."""
    graph = load_citation_graph(dataset)
    tune(
        graph, n_trials=n_trials, storage=journal, progress=lambda done, _: print(done, flush=True)
    )


if __name__ == "__main__":
    main()
