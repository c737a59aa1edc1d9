"""Accuracy of the untuned integer SGNN on the public test papers, with intervals.

One setting of parameters for all graphs, chosen without looking at any of their labels beyond the
training papers. The claims: the accuracy in which a tie counts as the chance of drawing the right
topic ("expected") is at least 0.62 on Cora, 0.48 on Citeseer and 0.62 on Pubmed. The stricter and
the more lenient ways of counting ties stand beside it. Also printed: the words as neurons of their
own, without a claim.

    LABKIT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/spiking_accuracy.py
"""

from __future__ import annotations

import argparse

from labkit.spiking.citation import CitationGraph
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.readout import TIE_RULES, TieReport, tie_aware_accuracy
from labkit.spiking.sgnn import SGNN, SGNNParameters, run_notes

BARS = {"cora": 0.62, "citeseer": 0.48, "pubmed": 0.62}


def report(graph: CitationGraph, parameters: SGNNParameters, bar: float | None) -> TieReport:
    """Run the test papers of a graph and print a line for each way of counting ties."""
    scores = SGNN(graph, parameters).run(graph.test)
    accuracies = tie_aware_accuracy(scores, graph.labels)
    words = ", words as neurons" if parameters.features else ""
    print(f"{graph.name}{words}: {accuracies.n} test papers, {scores.seconds:.2f} s")
    for rule in TIE_RULES:
        low, high = accuracies.intervals[rule]
        claim = ""
        if rule == "expected" and bar is not None:
            claim = f"  bar {bar}: {'met' if accuracies.expected >= bar else 'MISSED'}"
        print(f"  {rule:<9}{getattr(accuracies, rule):.3f}  [{low:.3f}, {high:.3f}]{claim}")
    print(f"  tied {accuracies.tied:.3f}, all topics tied {accuracies.undecided:.3f}")
    for note in run_notes(scores):
        print(f"  {note}")
    return accuracies


def main() -> None:
    """Run the graphs and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=list(BARS), default=list(BARS))
    for name in parser.parse_args().datasets:
        graph = load_citation_graph(name)
        report(graph, SGNNParameters(), BARS[name])
        if graph.features is not None:
            report(graph, SGNNParameters(features=True), None)


if __name__ == "__main__":
    main()
