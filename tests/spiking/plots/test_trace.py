"""Figures of one query show every spike, and say who wins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from labkit.spiking import plots
from labkit.spiking.citation import CitationGraph
from labkit.spiking.plots.labels import spread
from labkit.spiking.plots.trace import FEW
from labkit.spiking.readout import QueryTrace


def trace_of(spikes: dict[str, np.ndarray], weights: np.ndarray, query: int = 0) -> QueryTrace:
    """A trace made by hand."""
    window = len(weights)
    none = np.zeros((window, weights.shape[1]))
    return QueryTrace(query, window, spikes, np.full(4, -1), weights, none, weights[-1], 0)


def blocks(ax) -> list[PolyCollection]:
    return [c for c in ax.collections if isinstance(c, PolyCollection)]


def spikes_drawn(collection: PolyCollection, row_height: float) -> float:
    """Rows that the blocks of one population cover, one a spike."""
    heights = [np.ptp(path.vertices[:, 1]) for path in collection.get_paths()]
    return sum(heights) / row_height


@pytest.mark.parametrize("kind", ["trace", "float_trace"])
def test_raster_draws_every_spike_of_every_population(small_run, kind):
    trace = getattr(small_run, kind)
    ax = plots.raster(trace, graph=small_run.graph)
    drawn = blocks(ax)
    names = [name for name in ("other", "train", "topic") if trace.spikes[name].any()]
    assert len(drawn) == len(names)
    bands = {band.get_y(): band for band in ax.patches if band.get_y() < 0}
    heights = [band.get_height() for _, band in sorted(bands.items(), reverse=True)]
    for name, collection in zip(names, drawn, strict=True):
        spikes = np.asarray(trace.spikes[name])
        rows = spikes.shape[1] if spikes.shape[1] <= FEW else spikes.any(axis=0).sum()
        row = heights[("other", "train", "topic").index(name)] / rows
        gap = 0.7 if row > 0.2 else 1.0
        assert spikes_drawn(collection, gap * row) == pytest.approx(spikes.sum())


def test_blocks_stand_at_the_steps_of_their_spikes(small_run):
    ax = plots.raster(small_run.trace, graph=small_run.graph)
    for name, collection in zip(("other", "train", "topic"), blocks(ax), strict=True):
        steps = {round(path.vertices[:4, 0].mean()) for path in collection.get_paths()}
        assert steps == set(np.nonzero(small_run.trace.spikes[name])[0].tolist())


def test_large_populations_say_how_many_spiked_and_few_topics_are_all_named(small_run):
    trace = small_run.trace
    ax = plots.raster(trace, graph=small_run.graph)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    spiked = int(trace.spikes["other"].any(axis=0).sum())
    assert names[0] == f"unlabeled papers\n{spiked} of 260 spiked"
    assert names[2:] == ["topic 0", "topic 1", "topic 2", "topic 3"]


def test_guard_step_is_shaded_where_nothing_can_spike(small_run):
    guarded = plots.raster(small_run.trace)
    assert "guard" in [text.get_text() for text in guarded.texts]
    free = plots.raster(small_run.float_trace)
    assert "guard" not in [text.get_text() for text in free.texts]


def test_a_silent_network_has_an_empty_raster():
    silent = trace_of({"other": np.zeros((5, 30), bool)}, np.ones((5, 2), int))
    ax = plots.raster(silent)
    assert not blocks(ax)
    assert ax.get_title() + ax.get_title(loc="left") == "Paper 0: 0 spikes"


@pytest.mark.parametrize(
    ("last", "label", "title"),
    [
        ([5, 3, 1], 0, "alpha wins and is right"),
        ([5, 3, 1], 1, "alpha wins; beta is right"),
        ([5, 5, 1], 1, "2 of 3 topics tie; beta is right"),
        ([2, 2, 2], 2, "all 3 topics tie; gamma is right"),
        ([5, 3, 1], -1, "alpha wins"),
    ],
)
def test_title_says_who_wins_who_ties_and_what_is_right(last, label, title):
    graph = CitationGraph(
        name="four papers",
        edges=np.array([[0, 1, 2], [3, 3, 3]]),
        labels=np.array([0, 1, 2, label]),
        topics=("alpha", "beta", "gamma"),
        features=None,
        train=np.arange(3),
        validation=np.array([], dtype=int),
        test=np.array([3]),
    )
    trace = trace_of({}, np.array([[0, 0, 0], last]), query=3)
    ax = plots.weight_traces(trace, graph=graph)
    assert ax.get_title() + ax.get_title(loc="left") == f"Paper 3: {title}"


def test_equal_topics_share_a_line_in_turns_of_their_colors():
    weights = np.array([[2, 2, 2], [4, 2, 4], [9, 2, 9]])
    ax = plots.weight_traces(trace_of({}, weights))
    texts = {text.get_text(): text.get_fontweight() for text in ax.texts}
    assert texts == {"topic 0\ntopic 2": "bold", "topic 1": "normal"}
    colors = [line.get_color() for line in ax.lines]
    assert len(set(colors)) == 3
    assert [line.get_linewidth() for line in ax.lines] == [3.0, 3.0, 1.5]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), ax.lines[1].get_ydata())


def test_many_tied_topics_are_counted_instead_of_listed():
    ax = plots.weight_traces(trace_of({}, np.full((3, 9), 2)))
    assert [t.get_text() for t in ax.texts] == ["topic 0\ntopic 1\ntopic 2\nand 6 more"]


@pytest.mark.parametrize("n_topics", [1, 2, 7, 20])
def test_names_of_the_lines_never_overlap(n_topics):
    rng = np.random.default_rng(n_topics)
    weights = rng.integers(0, 12, (8, n_topics)).cumsum(axis=0)
    ax = plots.weight_traces(trace_of({}, weights))
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    # Twenty names do not fit beside the axes; they keep their distance and leave it below.
    assert all(low.y1 <= high.y0 + 1.5 for low, high in pairwise(boxes))


def test_spread_keeps_the_order_and_moves_no_more_than_needed():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = rng.uniform(0, 10, rng.integers(1, 12))
        moved = spread(places, 0.7)
        order = np.argsort(places, kind="stable")
        assert np.all(np.diff(moved[order]) >= 0.7 - 1e-9)
        assert moved.mean() == pytest.approx(places.mean())
        far = np.all(np.diff(places[order]) >= 0.7)
        assert not far or np.allclose(moved, places)
        inside = spread(places, 0.7, within=(0.0, 10.0))
        assert inside.min() >= -1e-9
        assert inside.max() <= 10 + 1e-9


def test_query_figure_shows_the_three_together(small_run):
    wave, raster, weights = plots.query_figure(small_run.graph, small_run.trace)
    assert wave.figure is raster.figure is weights.figure
    assert raster.get_xlim() == weights.get_xlim()
    assert raster.get_title(loc="left").endswith("spikes")
