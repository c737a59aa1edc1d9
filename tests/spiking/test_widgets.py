"""Widgets show a first state without a browser, and follow their controls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import ipywidgets
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from labkit.errors import ParameterError
from labkit.spiking import widgets
from labkit.spiking.citation import CitationGraph
from labkit.spiking.float_sgnn import FloatSGNN
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.readout import QueryScores, tie_aware_accuracy
from labkit.spiking.sgnn import SGNN
from labkit.spiking.simulated import simulated_citation_graph


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)


@pytest.fixture(autouse=True)
def no_event_loop() -> Iterator[None]:
    """Hide the event loop that Playwright leaves running in this thread after browser tests.

    An explorer waits for the loop that runs; that one never comes round.
    """
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(running)


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    return simulated_citation_graph(
        n_papers=300, n_topics=4, n_edges=560, n_words=120, n_validation=60, n_test=120,
        train_per_topic=10, seed=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scores(graph) -> QueryScores:
    return SGNN(graph).run(graph.test)


@pytest.fixture
def explorer(graph) -> widgets.QueryExplorer:
    return widgets.query_explorer(graph, SGNN(graph))


def parts(box, kind) -> list:
    """All widgets of a kind inside a box."""
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += parts(child, kind)
    return found


def button(box, name: str) -> ipywidgets.Button:
    return next(b for b in parts(box, ipywidgets.Button) if b.description == name)


def picture(box) -> bytes:
    return bytes(parts(box, ipywidgets.Image)[0].value)


def test_first_state_is_the_network_as_given(graph, explorer):
    assert picture(explorer).startswith(b"\x89PNG")
    assert explorer.parameters == SGNNParameters()
    expected = SGNN(graph).trace(int(graph.test[0]))
    np.testing.assert_array_equal(explorer.trace.weights, expected.weights)
    assert "re-run in" in explorer.words.value


def test_figures_are_closed_after_they_are_shown(explorer):
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("control", "value", "changed"),
    [
        ("ratio", 0.6, {"graph_w": 60}),
        ("topic_vth", 250, {"topic_vth": 250}),
        ("test_exp", 0, {"test_exp": 0}),
        ("tau", 5, {"tau_plus": 5, "tau_minus": 5}),
    ],
)
def test_a_slider_changes_its_parameter_and_runs_the_query_again(
    graph, explorer, control, value, changed
):
    before = picture(explorer)
    getattr(explorer, control).value = value
    assert explorer.parameters == SGNNParameters(**changed)
    expected = SGNN(graph, SGNNParameters(**changed)).trace(int(graph.test[0]))
    np.testing.assert_array_equal(explorer.trace.weights, expected.weights)
    np.testing.assert_array_equal(explorer.trace.first_spike, expected.first_spike)
    assert picture(explorer) != before
    button(explorer, "reset").click()
    assert explorer.parameters == SGNNParameters()
    assert picture(explorer) == before


def test_parameters_without_a_slider_stay(graph):
    given = SGNNParameters(window=7, A_plus=0.25, tau_plus=1.5, tau_minus=3.5, graph_w=137)
    explorer = widgets.query_explorer(graph, SGNN(graph, given))
    assert explorer.parameters == given
    explorer.topic_vth.value += 5
    assert explorer.parameters == given.replace(topic_vth=given.topic_vth + 5)


def test_strongest_citation_is_the_largest_weight_of_8_bits(graph):
    explorer = widgets.query_explorer(graph, SGNN(graph, SGNNParameters(paper_vth=90)))
    explorer.ratio.value = explorer.ratio.max
    assert explorer.parameters.graph_w == 255


def test_papers_are_limited_to_those_that_can_be_queried(graph, explorer):
    offered = {int(paper) for paper in explorer.paper.options}
    assert offered == set(graph.test.tolist()) | set(graph.validation.tolist())
    explorer.paper.value = str(graph.validation[0])
    assert explorer.trace.query == graph.validation[0]


@pytest.mark.parametrize("typed", ["", "x", "-1", "9999", "labeled"])
def test_another_paper_is_refused_in_one_line(graph, explorer, typed):
    typed = str(graph.train[0]) if typed == "labeled" else typed
    explorer.paper.value = typed
    assert explorer.words.value.startswith("<b>not run</b>: paper=")
    assert "choose one of the list" in explorer.words.value
    assert not picture(explorer)
    explorer.paper.value = str(graph.test[1])
    assert explorer.trace.query == graph.test[1]
    assert picture(explorer).startswith(b"\x89PNG")


def test_a_combination_that_the_arithmetic_refuses_is_said_in_one_line(explorer):
    # Not even a slider that reaches too far shows a traceback.
    explorer.tau.max, explorer.test_exp.min = 10**6, -60
    explorer.test_exp.value = -60
    assert explorer.words.value.startswith("<b>not run</b>: test_exp=-60")
    assert not picture(explorer)
    button(explorer, "reset").click()
    assert picture(explorer)


def test_next_and_previous_walk_through_the_list_and_around_its_end(graph, explorer):
    button(explorer, "next").click()
    assert explorer.paper.value == str(graph.test[1])
    button(explorer, "previous").click()
    button(explorer, "previous").click()
    assert explorer.paper.value == str(graph.validation[-1])
    explorer.paper.value = "no paper"
    button(explorer, "next").click()
    assert explorer.trace.query == graph.test[1]


def test_papers_can_be_chosen_by_how_they_were_answered(graph, scores):
    explorer = widgets.query_explorer(graph, SGNN(graph), scores=scores)
    kinds = {name: ids for name, ids in explorer.kinds.items() if name != widgets.ANY}
    assert sum(len(ids) for ids in kinds.values()) == len(graph.test)
    report = tie_aware_accuracy(scores, graph.labels)
    assert len(kinds["rightly"]) == round(report.unique * len(graph.test))
    explorer.show.value = "with a tie"
    assert explorer.trace.query in kinds["with a tie"]
    winners = explorer.trace.scores == explorer.trace.scores.max()
    assert winners.sum() > 1


def test_words_count_the_spikes_that_a_paper_and_a_topic_need(graph):
    explorer = widgets.query_explorer(graph, SGNN(graph))
    assert "a paper needs 1 spike of its neighbors" in explorer.words.value
    explorer.ratio.value = 0.5
    # Two spikes of half the threshold equal it, and only more than it makes a neuron spike.
    assert "a paper needs 3 spikes of its neighbors" in explorer.words.value


def test_a_float_network_is_refused(graph):
    with pytest.raises(ParameterError, match=r"sgnn is of type FloatSGNN.*give an SGNN"):
        widgets.query_explorer(graph, FloatSGNN(graph))


def test_many_changes_in_an_event_loop_draw_once():
    drawn: list[int] = []
    changed = widgets.throttled(lambda: drawn.append(1), 0.001)

    async def drag() -> None:
        for _ in range(20):
            changed()
        assert not drawn
        while not drawn:
            await asyncio.sleep(0)
        changed()
        while len(drawn) < 2:
            await asyncio.sleep(0)

    asyncio.run(drag())
    assert len(drawn) == 2


def test_without_an_event_loop_every_change_is_drawn_at_once():
    drawn: list[int] = []
    changed = widgets.throttled(lambda: drawn.append(1), 60.0)
    changed()
    changed()
    assert len(drawn) == 2


def test_tie_explorer_states_the_accuracy_by_each_rule(graph, scores):
    floats = FloatSGNN(graph).run(graph.test)
    box = widgets.tie_explorer(graph, {"integer": scores, "float": floats})
    network, rule = parts(box, ipywidgets.Dropdown)[0], parts(box, ipywidgets.ToggleButtons)[0]
    seen = set()
    for name, answered in (("integer", scores), ("float", floats)):
        report = tie_aware_accuracy(answered, graph.labels)
        for choice in rule.options:
            network.value, rule.value = name, choice
            words = parts(box, ipywidgets.HTML)[0].value
            assert f"<b>{100 * getattr(report, choice):.1f} %</b>" in words
            seen.add(picture(box))
    assert len(seen) > 2  # by two rules a network may look alike: numbers are whole percent


def test_tie_explorer_without_networks_is_refused(graph):
    with pytest.raises(ParameterError, match="networks is empty"):
        widgets.tie_explorer(graph, {})
