"""Journals and objectives of another kind are refused by name."""

from __future__ import annotations

import pytest

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.tuning import tune


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    return simulated_citation_graph(
        n_papers=300, n_edges=600, n_words=50, n_validation=40, n_test=50, seed=1
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage": 3}, "storage=3: name a file"),
        ({"storage": ["a"]}, r"storage=\['a'\]: name a file"),
        ({"objective": 3}, "objective=3: give a function"),
        ({"objective": "accuracy"}, "objective='accuracy': give a function"),
    ],
)
def test_arguments_of_another_type_are_refused_before_the_first_trial(graph, options, message):
    def never(parameters: object) -> float:
        raise AssertionError(parameters)

    with pytest.raises(ParameterError, match=message):
        tune(graph, **{"n_trials": 1, "sampler": "random", "objective": never, **options})


@pytest.mark.parametrize("returned", ["a", "0.5", None, [1, 2], float("inf")])
def test_an_objective_that_returns_no_number_is_quoted(graph, returned):
    with pytest.raises(ParameterError, match="all 2 trials were refused") as said:
        tune(graph, n_trials=2, sampler="random", objective=lambda _: returned)
    assert f"objective returned {returned!r};" in str(said.value)
