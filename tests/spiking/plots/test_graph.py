"""The wave's picture keeps distances, paths and numbers of the graph that it is drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.sparse.csgraph import shortest_path

from labkit.errors import ParameterError
from labkit.spiking import plots
from labkit.spiking.citation import CitationGraph
from labkit.spiking.plots.colors import GRAY, step_colors, topic_styles
from labkit.spiking.sgnn import SGNN


@pytest.mark.parametrize(("hops", "most"), [(1, 80), (2, 80), (3, 25), (4, 400)])
def test_a_paper_stands_as_far_from_the_middle_as_it_is_from_the_query(small_run, hops, most):
    graph = small_run.graph
    for query in graph.test[:20].tolist():
        near = plots.neighborhood(graph, query, hops=hops, max_papers=most)
        distance = shortest_path(graph.adjacency(), unweighted=True, indices=query)
        np.testing.assert_array_equal(near.distance, distance[near.papers])
        radius = np.hypot(*near.places.T)
        # Dense rings are drawn up to 0.6 hops deep, so no two rings touch.
        assert np.abs(radius - near.distance).max() <= 0.3
        assert near.n_within == int((distance <= hops).sum())
        assert len(near.papers) == min(most, near.n_within) or most < near.n_within


def test_every_paper_drawn_has_a_shortest_path_to_the_query_among_those_drawn(small_run):
    graph = small_run.graph
    for query in graph.test[:30].tolist():
        near = plots.neighborhood(graph, query, hops=4, max_papers=15)
        inside = graph.adjacency()[near.papers][:, near.papers]
        np.testing.assert_array_equal(
            shortest_path(inside, unweighted=True, indices=0), near.distance
        )


def test_citations_drawn_are_those_of_the_graph(small_run):
    near = plots.neighborhood(small_run.graph, center_query(small_run), hops=3)
    drawn = {frozenset(near.papers[edge].tolist()) for edge in near.edges}
    inside = set(near.papers.tolist())
    expected = {frozenset(e) for e in small_run.graph.edges.T.tolist() if inside.issuperset(e)}
    assert drawn == expected
    assert len(near.edges) == len(expected)


def center_query(small_run) -> int:
    """The unlabeled paper with most citations: the hardest to draw."""
    graph = small_run.graph
    return int(graph.other[np.argmax(graph.degrees[graph.other])])


def test_no_two_papers_cover_each_other(small_run):
    near = plots.neighborhood(small_run.graph, center_query(small_run), hops=2)
    apart = np.linalg.norm(near.places[:, None] - near.places[None], axis=2)
    # A dot is 0.08 hops wide where the outer ring of two fills the axes of 4 inches.
    assert apart[np.triu_indices(len(apart), 1)].min() > 0.08


def test_labeled_papers_are_drawn_before_others(small_run):
    graph, query = small_run.graph, center_query(small_run)
    few = plots.neighborhood(graph, query, hops=3, max_papers=20)
    everything = plots.neighborhood(graph, query, hops=3, max_papers=10_000)
    assert len(few.papers) == 20 < len(everything.papers)
    labeled = np.isin(few.papers, graph.train).mean()
    assert labeled > np.isin(everything.papers, graph.train).mean()


def test_the_layout_is_the_same_every_time(small_run):
    first, second = (plots.neighborhood(small_run.graph, 7, hops=3) for _ in range(2))
    np.testing.assert_array_equal(first.places, second.places)
    np.testing.assert_array_equal(first.papers, second.papers)


def test_a_paper_without_citations_stands_alone():
    graph = CitationGraph(
        name="a pair and one alone",
        edges=np.array([[0], [1]]),
        labels=np.zeros(3, dtype=int),
        topics=("only",),
        features=None,
        train=np.array([0]),
        validation=np.array([1]),
        test=np.array([2]),
    )
    near = plots.neighborhood(graph, 2)
    assert near.papers.tolist() == [2]
    assert near.edges.shape == (0, 2)
    ax = plots.wave(graph, SGNN(graph).trace(2))
    assert ax.texts[0].get_text().endswith("none of them labeled")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": 300}, r"query=300 is no paper of simulated; use an id from 0 to 299"),
        ({"query": -1}, "query=-1"),
        ({"hops": 0}, "hops=0"),
        ({"max_papers": 0}, "max_papers=0"),
    ],
)
def test_an_impossible_neighborhood_is_refused_by_name(small_run, changes, words):
    query = changes.pop("query", 0)
    with pytest.raises(ParameterError, match=words):
        plots.neighborhood(small_run.graph, query, **changes)


def drawn_papers(ax) -> dict[str, list[tuple[str, str]]]:
    """Fill and frame of every paper, by marker."""
    named = {}
    for dots, name in zip(ax.collections[-3:], ("dots", "squares", "star"), strict=True):
        fills, frames = dots.get_facecolor(), dots.get_edgecolor()
        named[name] = [(to_hex(a), to_hex(b)) for a, b in zip(fills, frames, strict=True)]
    return named


def test_fill_is_the_step_of_the_first_spike_and_frame_the_topic(small_run):
    graph, trace = small_run.graph, small_run.trace
    near = plots.neighborhood(graph, trace.query, hops=3)
    drawn = drawn_papers(plots.wave(graph, trace, places=near))
    steps = trace.first_spike[near.papers]
    first, last = steps[steps >= 0].min(), steps.max()
    cmap = step_colors(last - first + 1)
    told = np.isin(near.papers, graph.train)
    for name, chosen in (("dots", ~told), ("squares", told)):
        ids = near.papers[1:][chosen[1:]]
        expected = [
            "#ffffff" if step < 0 else to_hex(cmap(step - first)) for step in trace.first_spike[ids]
        ]
        assert [fill for fill, _ in drawn[name]] == expected
    frames = [topic_styles(graph.n_topics)[graph.labels[i]][0] for i in near.papers[told]]
    assert [frame for _, frame in drawn["squares"]] == [frame.lower() for frame in frames]
    assert {frame for _, frame in drawn["dots"]} == {GRAY}
    assert len(drawn["star"]) == 1


def test_wave_says_how_many_papers_of_how_many_are_drawn(small_run):
    graph, trace = small_run.graph, small_run.trace
    within = plots.neighborhood(graph, trace.query, hops=3, max_papers=10_000).n_within
    cut = plots.wave(graph, trace, hops=3, max_papers=12)
    assert f"drawn: 12 of {within} papers within 3 hops" in cut.texts[0].get_text()
    whole = plots.wave(graph, trace, hops=1)
    assert whole.texts[0].get_text().startswith("drawn: all ")
    reached = int((trace.first_spike >= 0).sum())
    assert f"{reached:,} of 300 papers spiked" in cut.get_title(loc="left")


def test_a_wave_that_reaches_nobody_is_drawn_white(small_run):
    graph = small_run.graph
    silent = small_run.sgnn.parameters.replace(graph_w=10)
    trace = SGNN(graph, silent).trace(int(graph.test[0]))
    ax = plots.wave(graph, trace)
    drawn = drawn_papers(ax)
    assert {fill for fill, _ in drawn["dots"] + drawn["squares"]} == {"#ffffff"}
    assert "never spiked" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_degree_plot_counts_papers_with_as_many_citations_or_more(small_run):
    graph = small_run.graph
    line = plots.degree_plot(graph).lines[0]
    for degree, share in zip(*line.get_data(), strict=True):
        assert share == pytest.approx((graph.degrees >= degree).mean())


def test_every_paper_with_a_topic_is_counted_once(small_run):
    graph = small_run.graph
    ax = plots.topic_counts(graph)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(-1, graph.n_topics)
    np.testing.assert_array_equal(widths.sum(axis=0), np.bincount(graph.labels, minlength=4))
    assert widths[0].tolist() == [10] * 4
