"""Figures of tuning, diffusion and resources show their tables; all of the study can be read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking import plots, readout
from labkit.spiking.baselines import baseline_table
from labkit.spiking.plots.colors import INK, topic_styles
from labkit.spiking.readout import tie_aware_accuracy
from labkit.spiking.resources import estimate
from labkit.spiking.tuning import tune

TRIALS = pd.DataFrame(
    {
        "number": range(6),
        "value": [0.50, 0.14, np.nan, 0.60, 0.55, 0.62],
        "state": ["complete", "dead", "failed", "complete", "complete", "complete"],
        "seconds": 0.1,
        "graph_w": [200, 20, 30, 100, 250, 90],
        "window": [10, 6, 7, 16, 12, 9],
        "rule": ["a", "b", "b", "a", "b", "a"],
        "fixed": 1,
        "error": ["", "", "x", "", "", ""],
        "best_so_far": [0.50, 0.50, 0.50, 0.60, 0.60, 0.62],
    }
)
RESULT = SimpleNamespace(
    trials=TRIALS, importance=pd.Series({"window": 0.7, "graph_w": 0.2, "rule": 0.1})
)


def marks(ax, marker: str) -> np.ndarray:
    found = [line.get_xydata() for line in ax.lines if line.get_marker() == marker]
    return np.concatenate(found) if found else np.empty((0, 2))


def test_convergence_shows_living_dead_and_failed_trials_and_the_best_so_far():
    ax = plots.convergence(RESULT, default=0.58)
    np.testing.assert_allclose(marks(ax, "o"), [[0, 0.50], [3, 0.60], [4, 0.55], [5, 0.62]])
    np.testing.assert_allclose(marks(ax, "x"), [[1, 0.14]])
    assert marks(ax, "^")[:, 0].tolist() == [2]
    names = {line.get_label(): line for line in ax.lines}
    assert names["untuned: 58.0 %"].get_ydata() == [0.58, 0.58]
    np.testing.assert_array_equal(names["best so far: 62.0 %"].get_ydata(), TRIALS["best_so_far"])


def test_convergence_of_several_samplers_names_each():
    ax = plots.convergence({"gp": RESULT, "random": RESULT})
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [name for name in names if "gp" in name] == ["trial, gp", "best so far, gp: 62.0 %"]
    assert names.count("dead network") == names.count("failed") == 1


def test_untuned_accuracy_is_that_of_the_first_trial(small_run):
    ax = plots.convergence(small_run.tuned)
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert dashed.get_ydata()[0] == small_run.tuned.untuned_value


def test_parallel_axes_run_from_the_smallest_to_the_largest_value_tried():
    ax = plots.parallel_coordinates(RESULT)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["window", "graph_w", "rule"]
    best = ax.collections[-1]
    assert to_hex(best.get_color()[0]) == INK
    expected = [[0, (9 - 6) / 10], [1, (90 - 20) / 230], [2, 0]]
    np.testing.assert_allclose(best.get_segments()[0], expected)
    assert len(ax.collections[0].get_segments()) == 2


def test_wide_axes_are_logarithmic():
    wide = TRIALS.assign(graph_w=[1, 10, 100, 1000, 20, 30])
    ax = plots.parallel_coordinates(
        SimpleNamespace(trials=wide, importance=RESULT.importance), parameters=["graph_w", "window"]
    )
    heights = [segment[0, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(heights, [1 / 3, 2 / 3])


def test_parameters_that_were_not_tuned_are_refused():
    with pytest.raises(ParameterError, match=r"parameters=\['value', 'window'\].*graph_w, window"):
        plots.parallel_coordinates(RESULT, parameters=["value", "window"])


def first_trials(n):
    return SimpleNamespace(trials=TRIALS[:n], importance=pd.Series({"window": np.nan}))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (first_trials(1), "no parameter varied"),
        (
            SimpleNamespace(trials=TRIALS[["number", "value", "state", "window"]], importance={}),
            "only window varied",
        ),
    ],
)
def test_parallel_axes_of_fewer_than_two_parameters_are_words(result, said):
    ax = plots.parallel_coordinates(result)
    assert [text.get_text() for text in ax.texts] == [said]
    with pytest.raises(ParameterError, match="give two or more"):
        plots.parallel_coordinates(result, parameters=["window"])


def test_figures_of_a_single_real_trial_are_words(small_run):
    result = tune(small_run.graph, n_trials=1, sampler="random", objective=lambda _: 0.5)
    for figure in (plots.parallel_coordinates, plots.importance):
        assert len(figure(result).texts) == 1
    plots.convergence(result)


def test_importance_stands_in_order_and_is_words_where_unknown():
    ax = plots.importance(RESULT)
    assert [bar.get_width() for bar in ax.patches] == [0.7, 0.2, 0.1]
    unknown = plots.importance(first_trials(1))
    assert not unknown.patches
    assert unknown.texts[0].get_text().startswith("no importance is known")


def test_diffusion_has_two_panels_and_no_second_axis(small_run):
    history = small_run.diffusion.history
    upper, lower = plots.diffusion_curves(small_run.diffusion)
    assert upper.figure.axes == [upper, lower]
    np.testing.assert_array_equal(upper.lines[0].get_ydata(), history["validation"])
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), history["spikes"])


def test_diffusion_without_validation_papers_says_so(small_run):
    whole = small_run.diffusion
    blind = SimpleNamespace(history=whole.history.assign(validation=np.nan))
    upper, lower = plots.diffusion_curves(blind)
    assert [text.get_text() for text in upper.texts] == ["no validation papers"]
    assert not upper.axison
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), whole.history["spikes"])
    upper, lower = plots.diffusion_curves({"a": blind, "b": blind})
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["a", "b"]
    upper, lower = plots.diffusion_curves({"blind": blind, "whole": whole})
    assert upper.axison
    assert upper.get_legend()
    assert not lower.get_legend()


def test_histogram_counts_every_synapse_before_and_after():
    before = sparse.csr_matrix([[0.001, 0.5], [1.0, 0.0]])
    after = np.array([0, 128, 255, 128])
    ax = plots.weight_histogram(before, after)
    counts = [round(sum(bar.get_height() for bar in box)) for box in ax.containers]
    assert counts[0] == 3
    title = ax.get_title() + ax.get_title(loc="left")
    assert title == "2 different weights on 3 synapses"
    lossy = plots.weight_histogram(before, after[:2])
    assert "2 of 3 (66.7 %) became 0" in lossy.get_title() + lossy.get_title(loc="left")


def test_histogram_without_weights_is_refused():
    with pytest.raises(ParameterError, match="before has 0 weights and after 1"):
        plots.weight_histogram(sparse.csr_matrix((2, 2)), np.array([1]))


REPORT = pd.DataFrame(
    [
        ("neurons", 1000, "neurons", 1e6, True, "counted"),
        ("memory", 3 * 2**20, "bytes", 2**20, False, "estimate"),
        ("energy", 1e-6, "J", np.nan, pd.NA, "estimate"),
        ("learned synapses", 0, "synapses", 10, True, "counted"),
    ],
    columns=["quantity", "value", "unit", "limit", "fits", "basis"],
)


def test_bars_end_at_the_share_of_the_limit_and_estimates_are_hatched():
    ax = plots.resource_bar(REPORT)
    assert ax.get_xscale() == "log"
    ends = {round(bar.get_y() + bar.get_height() / 2): bar for bar in ax.patches}
    assert ends[0].get_x() + ends[0].get_width() == pytest.approx(1e-3)
    assert ends[1].get_x() + ends[1].get_width() == pytest.approx(3.0)
    assert (ends[0].get_hatch(), ends[1].get_hatch()) == (None, "///")
    assert ends[0].get_facecolor() != ends[1].get_facecolor()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["neurons", "memory", "learned synapses"]
    assert [text.get_text() for text in ax.texts][:2] == ["1,000 of 1 million", "3 MiB of 1 MiB"]


def test_a_report_without_limits_is_refused():
    with pytest.raises(ParameterError, match="no quantity with a limit"):
        plots.resource_bar(REPORT[2:3])


def test_topics_keep_their_look_apart_from_one_another():
    looks = topic_styles(28)
    assert len(set(looks)) == 28


def figures_of(run) -> dict[str, Callable[[], object]]:
    """Every figure of the study on the small run, by name."""
    reports = {
        "integer": tie_aware_accuracy(run.scores, run.graph.labels),
        "float": tie_aware_accuracy(run.floats, run.graph.labels),
    }
    return {
        "degree_plot": lambda: plots.degree_plot([run.graph, run.graph]),
        "topic_counts": lambda: plots.topic_counts(run.graph),
        "wave": lambda: plots.wave(run.graph, run.trace),
        "raster": lambda: plots.raster(run.trace, graph=run.graph),
        "raster of the float network": lambda: plots.raster(run.float_trace, graph=run.graph),
        "weight_traces": lambda: plots.weight_traces(run.trace, graph=run.graph),
        "query_figure": lambda: plots.query_figure(run.graph, run.trace),
        "query_figure of the float network": lambda: plots.query_figure(run.graph, run.float_trace),
        "tie_bars": lambda: plots.tie_bars(reports["integer"]),
        "tie_bars of two": lambda: plots.tie_bars(reports),
        "confusion": lambda: plots.confusion(run.graph, run.scores),
        "accuracy_by_hops": lambda: plots.accuracy_by_hops(
            readout.accuracy_by_hops(run.graph, run.scores)
        ),
        "float_against_int": lambda: plots.float_against_int(run.floats, run.scores),
        "baseline_plot": lambda: plots.baseline_plot(
            baseline_table(run.graph, which=["harmonic", "label_spreading", "logistic"])
        ),
        "convergence": lambda: plots.convergence(run.tuned),
        "parallel_coordinates": lambda: plots.parallel_coordinates(run.tuned),
        "importance": lambda: plots.importance(run.tuned),
        "diffusion_curves": lambda: plots.diffusion_curves({"a": run.diffusion}),
        "weight_histogram": lambda: plots.weight_histogram(
            run.diffusion.graph_weights, run.diffusion.weights
        ),
        "resource_bar": lambda: plots.resource_bar(estimate(run.diffusion.to_network())),
    }


FIGURES = (
    "degree_plot", "topic_counts", "wave", "raster", "raster of the float network",
    "weight_traces", "query_figure", "query_figure of the float network", "tie_bars",
    "tie_bars of two", "confusion", "accuracy_by_hops", "float_against_int", "baseline_plot",
    "convergence", "parallel_coordinates", "importance", "diffusion_curves", "weight_histogram",
    "resource_bar",
)  # fmt: skip


def test_every_figure_is_tried(small_run):
    assert tuple(figures_of(small_run)) == FIGURES


@pytest.mark.parametrize("name", FIGURES)
def test_figure_of_a_real_run_can_be_read(small_run, name):
    drawn = figures_of(small_run)[name]()
    axes = [drawn] if isinstance(drawn, Axes) else list(np.ravel(drawn))
    assert all(isinstance(ax, Axes) for ax in axes)
    figure = axes[0].figure
    figure.canvas.draw()
    assert max(figure.get_size_inches()) < 13
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            assert not overlapping(axis), f"{name}: {overlapping(axis)}"


def overlapping(axis) -> list[tuple[str, str]]:
    """Neighboring tick labels that cover each other; slanted ones are left out."""
    shown = [t for t in axis.get_ticklabels() if t.get_text() and t.get_visible()]
    shown = [t for t in shown if t.get_rotation() in (0, 90)]
    boxes = [(tick.get_text(), tick.get_window_extent().padded(-0.5)) for tick in shown]
    return [(a, b) for (a, first), (b, second) in pairwise(boxes) if first.overlaps(second)]
