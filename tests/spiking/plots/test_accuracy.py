"""Figures of accuracy show the numbers of the tables that they are drawn from."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.spiking import plots, readout
from labkit.spiking.readout import TIE_RULES, tie_aware_accuracy


def ticks(axis) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_bars_are_the_four_accuracies_and_lines_their_intervals(small_run):
    report = tie_aware_accuracy(small_run.scores, small_run.graph.labels)
    ax = plots.tie_bars(report)
    assert [bar.get_width() for bar in ax.patches] == [getattr(report, r) for r in TIE_RULES]
    ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert ends == [list(report.intervals[rule]) for rule in TIE_RULES]
    assert ticks(ax.yaxis)[0].startswith("expected")
    assert "of 120 queries tie" in ax.get_title() + ax.get_title(loc="left")


def test_two_networks_stand_side_by_side(small_run):
    labels = small_run.graph.labels
    reports = {
        "integer": tie_aware_accuracy(small_run.scores, labels),
        "float": tie_aware_accuracy(small_run.floats, labels),
    }
    ax = plots.tie_bars(reports)
    assert len(ax.patches) == 8
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["integer", "float"]
    rows = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches)
    assert all(end <= start for (_, end), (start, _) in pairwise(rows))


def test_hops_have_their_number_of_queries_below_and_no_path_last(small_run):
    hops = readout.accuracy_by_hops(small_run.graph, small_run.scores)
    ax = plots.accuracy_by_hops(hops)
    names = ticks(ax.xaxis)
    assert sum(int(name.split("n = ")[1]) for name in names) == 120
    if (hops["hops"] < 0).any():
        assert names[-1].startswith("no path")
    mean = tie_aware_accuracy(small_run.scores, small_run.graph.labels).expected
    assert ax.lines[0].get_ydata()[0] == pytest.approx(mean)


@pytest.mark.parametrize("rule", ["expected", "first", "unique"])
def test_diagonal_of_the_confusion_gives_the_accuracy_by_the_same_rule(small_run, rule):
    scores, labels = small_run.scores, small_run.graph.labels
    shares, counts = plots.confusion_shares(scores, labels, tie_rule=rule)
    report = tie_aware_accuracy(scores, labels)
    assert (np.diag(shares) * counts).sum() / counts.sum() == pytest.approx(getattr(report, rule))
    rows = shares.sum(axis=1)
    if rule == "unique":
        decided = ((1 - rows) * counts).sum() / counts.sum()
        assert decided == pytest.approx(report.tied)
    else:
        np.testing.assert_allclose(rows, 1.0)


def test_topics_without_a_query_have_an_empty_row(small_run):
    scores = small_run.scores
    keep = small_run.graph.labels[scores.queries] != 2
    few = replace(scores, queries=scores.queries[keep], scores=scores.scores[keep])
    shares, counts = plots.confusion_shares(few, small_run.graph.labels)
    assert counts[2] == 0
    assert np.isnan(shares[2]).all()
    ax = plots.confusion(small_run.graph, few)
    assert len(ax.texts) == 12
    assert "(n = 0)" in ticks(ax.yaxis)[2]


def test_confusion_refuses_a_rule_without_a_prediction(small_run):
    with pytest.raises(ParameterError, match="tie_rule='any' is not allowed"):
        plots.confusion(small_run.graph, small_run.scores, tie_rule="any")


TABLE = pd.DataFrame(
    [
        ("GCN", 0.82, 0.80, 0.84, np.nan, "citations + words", "measured here"),
        ("GCN", 0.815, np.nan, np.nan, np.nan, "citations + words", "published"),
        ("GAT", 0.83, np.nan, np.nan, 0.007, "citations + words", "published"),
        ("label spreading", 0.71, 0.68, 0.74, np.nan, "citations", "measured here"),
        ("logistic", np.nan, np.nan, np.nan, np.nan, "words", "measured here"),
    ],
    columns=["method", "accuracy", "low", "high", "spread", "uses", "provenance"],
)


def test_measured_and_published_are_told_apart_by_marker_and_interval():
    ax = plots.baseline_plot(TABLE, highlight=["label spreading"])
    own, published = (line for line in ax.lines if len(line.get_xdata()))
    assert (own.get_marker(), published.get_marker()) == ("o", "D")
    assert published.get_markerfacecolor() == "white"
    np.testing.assert_allclose(own.get_xdata(), [0.82, 0.71])
    np.testing.assert_allclose(published.get_xdata(), [0.83, 0.815])
    measured, stated = ([s[:, 0] for s in c.get_segments()] for c in ax.collections)
    np.testing.assert_allclose(measured, [[0.80, 0.84], [0.68, 0.74]])
    np.testing.assert_allclose(stated, [[0.823, 0.837], [0.815, 0.815]])


def test_best_method_stands_above_and_what_was_not_measured_is_said():
    ax = plots.baseline_plot(TABLE, highlight=["label spreading"])
    names = [name.split("\n")[0] for name in ticks(ax.yaxis)]
    assert names == ["GAT", "GCN", "label spreading", "logistic"]
    assert "not measured" in [text.get_text() for text in ax.texts]
    assert [t.get_fontweight() == "bold" for t in ax.get_yticklabels()] == [
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("figure", "frame"),
    [
        (plots.baseline_plot, TABLE.drop(columns="provenance")),
        (plots.baseline_plot, TABLE[:0]),
        (plots.accuracy_by_hops, pd.DataFrame({"hops": [1]})),
    ],
)
def test_a_table_of_another_kind_is_refused_with_what_it_needs(figure, frame):
    with pytest.raises(ParameterError, match="it needs at least one row and"):
        figure(frame)


def test_equal_networks_lie_on_the_diagonal(small_run):
    scores, ties = plots.float_against_int(small_run.scores, small_run.scores)
    x, y = np.asarray(scores.collections[0].get_offsets()).T
    np.testing.assert_array_equal(x, y)
    counts = {(t.get_position()[0], t.get_position()[1]): int(t.get_text()) for t in ties.texts}
    assert all(column == row for column, row in counts)
    assert sum(counts.values()) == 120
    assert "100 %" in ties.get_title() + ties.get_title(loc="left")


def test_agreement_counts_every_query_once(small_run):
    _, ties = plots.float_against_int(small_run.floats, small_run.scores)
    assert sum(int(text.get_text()) for text in ties.texts) == 120
    for text in ties.texts:
        column, row = text.get_position()
        both = (small_run.floats.tied == column + 1) & (small_run.scores.tied == row + 1)
        assert int(text.get_text()) == both.sum()


def test_scores_that_are_all_tied_have_words_instead_of_a_correlation(small_run):
    silent = replace(small_run.scores, scores=np.zeros_like(small_run.scores.scores))
    left, _ = plots.float_against_int(small_run.floats, silent)
    assert left.get_title().endswith("scores, all integer ones tied")
    left, _ = plots.float_against_int(silent, small_run.scores)
    assert left.get_title().endswith("scores, all float ones tied")
    left, _ = plots.float_against_int(silent, silent)
    assert left.get_title().endswith("scores, all float and all integer ones tied")
    left, _ = plots.float_against_int(small_run.floats, small_run.scores)
    assert "Spearman 0." in left.get_title()


def test_different_queries_are_not_compared(small_run):
    other = replace(small_run.scores, queries=small_run.scores.queries[::-1])
    with pytest.raises(ParameterError, match="same queries in the same order"):
        plots.float_against_int(small_run.floats, other)


CHECK = pd.DataFrame(
    {
        "variable": ["topic.v", "topic.s_out"],
        "steps": [40, 40],
        "values": [2800, 2800],
        "differing": [0, 3],
        "first_step": pd.array([None, 12], dtype="Int64"),
    }
)


def test_exactness_says_what_is_equal_and_where_the_rest_begins_to_differ():
    styler = plots.exactness_table(CHECK)
    assert styler.data["verdict"].tolist() == ["equal at every step", "differs from step 12"]
    page = styler.to_html()
    assert "3 of 5,600 values differ" in page
    assert page.count("background-color") == 2


def test_exactness_of_a_check_gives_the_speed_of_both():
    from labkit.spiking.lava import LavaCheck

    equal = LavaCheck(True, CHECK[:1], 0.4, 0.0002, "0.10.0", "numpy")
    page = plots.exactness_table(equal).to_html()
    assert "2,800 values equal to Lava 0.10.0" in page
    assert "2,000 times" in page
