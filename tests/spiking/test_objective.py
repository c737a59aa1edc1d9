"""Which papers and labels a tuner may look at."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.objective import checked_queries, hide_labels
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.tuning import tune


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    return simulated_citation_graph(
        n_papers=700, n_edges=1400, n_words=200, n_validation=150, n_test=200, seed=1
    )


def test_only_labels_of_training_papers_and_queries_are_left(graph: CitationGraph) -> None:
    queries = graph.validation[:10]
    hidden = hide_labels(graph, queries)
    known = np.flatnonzero(hidden.labels >= 0)
    assert known.tolist() == sorted([*graph.train, *queries])
    assert (hidden.labels[known] == graph.labels[known]).all()


def test_queries_are_the_validation_papers_unless_others_are_given(graph: CitationGraph) -> None:
    assert checked_queries(graph, None).tolist() == graph.validation.tolist()
    assert checked_queries(graph, [int(graph.validation[1])]).tolist() == [graph.validation[1]]


def test_test_papers_cannot_be_tuned_on(graph: CitationGraph) -> None:
    with pytest.raises(ParameterError, match="2 test papers, and tuning on them would make the"):
        tune(graph, queries=[graph.validation[0], *graph.test[:2]])


def test_queries_that_make_no_sense_are_refused(graph: CitationGraph) -> None:
    paper = graph.validation[0]
    unknown = graph.labels.copy()
    unknown[paper] = -1
    for given, queries, message in [
        (graph, [], "queries: 0 papers"),
        (graph, [0.5], "queries: 1 papers"),
        (graph, [[1, 2]], "shape"),
        (graph, [paper, paper], "each once"),
        (graph, [graph.n_papers], f"from 0 to {graph.n_papers - 1}"),
        (graph, [graph.train[0]], "1 train papers, and their topics are given"),
        (graph.with_labels(unknown), [paper], "whose topic is unknown"),
    ]:
        with pytest.raises(ParameterError, match=message):
            checked_queries(given, queries)
