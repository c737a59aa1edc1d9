"""The Gantt chart shows what was simulated."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from labkit.llm_parallel.config import SCHEDULES
from labkit.llm_parallel.plots.pipeline import KINDS, MAX_NUMBERS, gantt
from labkit.llm_parallel.schedule import pipeline_schedule, simulate


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def corners(collection):
    """Left, right, top and foot of every bar."""
    boxes = [path.get_extents() for path in collection.get_paths()]
    return np.array([(box.x0, box.x1, box.y0, box.y1) for box in boxes])


def texts(ax):
    return [text.get_text() for text in ax.texts]


def title(ax):
    return ax.get_title(loc="left")


@pytest.mark.parametrize("kind", SCHEDULES)
def test_bars_are_the_actions_and_lie_on_the_row_of_their_rank(kind):
    timeline = simulate(pipeline_schedule(kind, 4, 8), forward=1.0, backward=2.0)
    ax = gantt(timeline)
    waiting, bars = ax.collections
    assert corners(waiting)[:, :2].tolist() == [[0, timeline.makespan]] * 4
    drawn = corners(bars)
    np.testing.assert_allclose(drawn[:, :2], timeline.frame[["start", "end"]])
    np.testing.assert_allclose(drawn[:, 2:].mean(1), timeline.frame["rank"])
    assert ax.get_ylim() == (3.5, -0.5), "the first rank is on top"
    assert len(ax.lines) == 0


def test_gray_between_the_bars_is_the_bubble():
    timeline = simulate(pipeline_schedule("1f1b", 4, 8), forward=1.0, backward=2.0)
    waiting, bars = (corners(c) for c in gantt(timeline).collections)
    areas = [((c[:, 1] - c[:, 0]) * (c[:, 3] - c[:, 2])).sum() for c in (waiting, bars)]
    assert 1 - areas[1] / areas[0] == pytest.approx(3 / 11)


def test_the_title_states_both_bubbles_and_the_side_what_is_held():
    ax = gantt(simulate(pipeline_schedule("1f1b", 4, 8), forward=0.001, backward=0.002))
    assert title(ax) == "1F1B, p = 4, m = 8: bubble 27.3 % simulated, 27.3 % by formula"
    assert texts(ax)[-5:] == ["4", "3", "2", "1", "held"]
    assert ax.get_xlabel() == "Time (ms)"


def test_no_formula_is_claimed_where_there_is_none():
    ax = gantt(simulate(pipeline_schedule("zbv", 4, 5), forward=1.0, backward=2.0))
    assert title(ax) == "Zero bubble V, p = 4, m = 5, v = 2: bubble 11.8 % simulated"
    assert ax.get_xlabel() == "Time (s)"


def test_numbers_of_microbatches_stand_in_bars_that_are_wide_enough():
    few = gantt(simulate(pipeline_schedule("1f1b", 2, 4), forward=1.0, backward=2.0))
    numbers = [t for t in few.texts if t.get_ha() == "center"]
    assert sorted(t.get_text() for t in numbers) == sorted("0123" * 4)
    figure = few.figure
    figure.canvas.draw()
    bars = {(round(b[:2].mean(), 6), round(b[2:].mean())): b for b in corners(few.collections[1])}
    for text in numbers:
        x, y = text.get_position()
        left, right, *_ = bars[round(x, 6), round(y)]
        box = text.get_window_extent().transformed(few.transData.inverted())
        assert left < box.x0
        assert box.x1 < right
    many = gantt(simulate(pipeline_schedule("1f1b", 8, 64), forward=1.0, backward=2.0))
    assert 2 * 8 * 64 > MAX_NUMBERS
    assert not [t for t in many.texts if t.get_ha() == "center"]


def test_the_legend_names_what_is_there():
    def names(kind):
        ax = gantt(simulate(pipeline_schedule(kind, 2, 4), forward=1.0, backward=2.0))
        return [text.get_text() for text in ax.get_legend().get_texts()]

    assert names("1f1b") == ["forward", "backward", "bubble"]
    assert names("zbv") == [
        "forward",
        "input gradients",
        "weight gradients",
        "bubble",
        "paler: later chunk",
    ]


def test_chunks_of_a_rank_have_colors_of_their_own():
    ax = gantt(simulate(pipeline_schedule("interleaved_1f1b", 2, 4, 3), forward=1.0, backward=2.0))
    colors = {tuple(color) for color in ax.collections[1].get_facecolor()}
    assert len(colors) == 3 * 2
    assert len({color for _, color in KINDS.values()}) == 3, "B and I never stand in one chart"


def test_given_axes_are_drawn_on():
    _, ax = plt.subplots()
    assert gantt(simulate(pipeline_schedule("gpipe", 3, 3), forward=1, backward=2), ax=ax) is ax
