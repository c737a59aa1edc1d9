"""Accuracies by four tie rules, their intervals, and what is stored of a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from labkit.errors import MissingDataError, ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.readout import (
    TIE_RULES,
    QueryScores,
    accuracy_by_hops,
    dead,
    mean_interval,
    tie_aware_accuracy,
)


def query_scores(scores, *, queries=None, topic_spikes=None) -> QueryScores:
    scores = np.asarray(scores, dtype=float)
    n = len(scores)
    spikes = np.ones((n, 4), dtype=int) if topic_spikes is None else np.asarray(topic_spikes)
    return QueryScores(
        queries=np.arange(n) if queries is None else np.asarray(queries),
        scores=scores,
        spikes={"topic": spikes, "train": np.zeros((n, 4), dtype=int)},
        counters={"weight_saturated": 3},
        plasticity="lazy",
        backend="numpy",
        seconds=0.5,
    )


def tied_scores(*, n: int = 200, n_topics: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, size=(n, n_topics)), rng.integers(0, n_topics, size=n)


@pytest.mark.parametrize(
    ("scores", "label", "expected", "unique", "first", "any_"),
    [
        ([5, 1, 1], 0, 1, 1, 1, 1),
        ([5, 1, 1], 1, 0, 0, 0, 0),
        ([5, 5, 1], 0, 1 / 2, 0, 1, 1),
        ([5, 5, 1], 1, 1 / 2, 0, 0, 1),
        ([5, 5, 1], 2, 0, 0, 0, 0),
        ([0, 0, 0], 0, 1 / 3, 0, 1, 1),
        ([0, 0, 0], 2, 1 / 3, 0, 0, 1),
        ([-2, -1, -1], 1, 1 / 2, 0, 1, 1),
    ],
)
def test_each_rule_credits_a_single_query(scores, label, expected, unique, first, any_):
    report = tie_aware_accuracy(np.array([scores]), np.array([label]))
    assert (report.expected, report.unique, report.first, report.any) == pytest.approx(
        (expected, unique, first, any_)
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_rules_are_ordered(seed):
    report = tie_aware_accuracy(*tied_scores(seed=seed))
    assert report.unique <= report.expected <= report.any
    assert report.unique <= report.first <= report.any
    assert report.tied > report.undecided > 0


def test_expected_is_the_mean_of_first_over_all_orders_of_the_topics():
    scores, labels = tied_scores()
    values = []
    for order in itertools.permutations(range(scores.shape[1])):
        position = np.argsort(order)
        values.append(tie_aware_accuracy(scores[:, order], position[labels]).first)
    assert tie_aware_accuracy(scores, labels).expected == pytest.approx(np.mean(values))


def test_renaming_the_topics_changes_only_the_rule_that_depends_on_their_order():
    scores, labels = tied_scores()
    before = tie_aware_accuracy(scores, labels)
    after = tie_aware_accuracy(scores[:, ::-1], scores.shape[1] - 1 - labels)
    for rule in ("expected", "unique", "any"):
        assert getattr(after, rule) == pytest.approx(getattr(before, rule))
    assert after.first != before.first


def test_without_ties_all_rules_and_intervals_agree():
    rng = np.random.default_rng(1)
    report = tie_aware_accuracy(rng.random((50, 3)), rng.integers(0, 3, 50))
    frame = report.frame()
    assert list(frame["rule"]) == list(TIE_RULES)
    assert frame[["accuracy", "low", "high"]].nunique().eq(1).all()
    assert report.tied == report.undecided == 0


@pytest.mark.parametrize(("right", "n"), [(0, 5), (3, 10), (140, 140), (573, 1000), (1, 1)])
def test_intervals_of_counts_are_those_of_wilson(right, n):
    values = np.repeat([1.0, 0.0], [right, n - right])
    wilson = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert mean_interval(values) == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_intervals_of_shared_credit_hold_the_true_mean_19_times_in_20():
    """Credit 1, 1/2, 1/7 and 0; 3 standard errors of 4000 draws at 95 % are 0.010."""
    rng = np.random.default_rng(0)
    credit, share = np.array([1, 1 / 2, 1 / 7, 0]), np.array([0.45, 0.15, 0.1, 0.3])
    draws = rng.choice(credit, p=share, size=(4000, 140))
    held = [low <= credit @ share <= high for low, high in map(mean_interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.010)


def test_intervals_narrow_when_credit_is_shared_but_never_vanish():
    half_right = np.repeat([1.0, 0.0], 50)
    wide, narrow = (np.diff(mean_interval(values))[0] for values in (half_right, np.full(100, 0.5)))
    assert 0 < narrow < wide / 2


def test_labels_are_those_of_the_graph_for_a_run_and_of_the_rows_for_an_array():
    scores = [[1, 0], [0, 1]]
    labels = np.array([-1, 1, 0, -1])
    run = tie_aware_accuracy(query_scores(scores, queries=[2, 1]), labels)
    rows = tie_aware_accuracy(np.array(scores), labels[[2, 1]])
    assert run == rows
    assert run.expected == 1


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), [0, -1], r"labels: 1 of 2 queries have no known label.*paper 1"),
        (np.zeros((2, 3)), [0, 3], r"label 3\); query papers with a label from 0 to 2"),
        (np.zeros((2, 3)), [0], r"labels has 1 entries for 2 rows"),
        (np.zeros((0, 3)), [], r"at least one query"),
        (query_scores(np.zeros((1, 2)), queries=[7]), [0, 1], r"paper 7 was queried; give the"),
        (np.array([[1, 2], [np.nan, 0]]), [0, 0], r"scores: nan in 1 of 2 rows, .* of query 1;"),
        (query_scores([[np.nan, 0]], queries=[1]), [0, 1], r"the first is that of query 1; no"),
        (np.zeros(2), [0, 0], r"scores is an array of float64 of shape \(2,\); give numbers"),
        (np.array([["1", "0"]]), [0], r"scores is an array of <U1"),
    ],
)
def test_accuracies_that_cannot_be_computed_are_refused(scores, labels, message):
    with pytest.raises(ParameterError, match=message):
        tie_aware_accuracy(scores, np.array(labels, dtype=int))


def test_a_single_topic_is_never_undecided():
    report = tie_aware_accuracy(np.zeros((4, 1)), np.zeros(4, dtype=int))
    assert (report.tied, report.undecided, report.expected) == (0, 0, 1)


def test_predictions_follow_the_tie_rule():
    scores = query_scores([[1, 1, 0], [0, 1, 0]])
    assert scores.predicted().tolist() == [0, 1]
    assert scores.predicted("unique").tolist() == [-1, 1]
    assert scores.tied.tolist() == [2, 1]
    with pytest.raises(ParameterError, match="tie_rule='expected' is not allowed"):
        scores.predicted("expected")


def test_scores_need_a_row_for_each_query():
    with pytest.raises(ParameterError, match="for 3 queries"):
        query_scores(np.zeros((2, 2)), queries=[0, 1, 2])


def test_a_run_is_dead_where_no_topic_spikes():
    spikes = np.zeros((4, 5), dtype=int)
    spikes[1, 3] = 1
    assert dead(query_scores(np.zeros((4, 2)), topic_spikes=spikes)) == 0.75
    unrecorded = QueryScores(np.arange(1), np.zeros((1, 2)), {}, {}, "lazy", "numpy", 0.0)
    with pytest.raises(ParameterError, match="'topic' was not counted"):
        dead(unrecorded)


def test_accuracy_by_hops_counts_citations_to_the_nearest_label():
    """A path 0-1-2-3-4 with ends labeled, and paper 5 that cites nobody."""
    graph = CitationGraph(
        name="path",
        edges=np.array([[0, 1, 2, 3], [1, 2, 3, 4]]),
        labels=np.array([0, 0, 1, 1, 1, 0]),
        topics=("a", "b"),
        features=None,
        train=np.array([0, 4]),
        validation=np.array([1, 5]),
        test=np.array([2, 3]),
    )
    spikes = np.array([[0, 1], [0, 1], [1, 0], [0, 0]])
    scores = query_scores(
        [[2, 1], [1, 1], [2, 1], [0, 0]], queries=[1, 2, 3, 5], topic_spikes=spikes
    )
    table = accuracy_by_hops(graph, scores).set_index("hops")
    assert table.index.tolist() == [-1, 1, 2]
    assert table["n"].tolist() == [1, 2, 1]
    assert table["expected"].tolist() == [0.5, 0.5, 0.5]
    assert table["silent"].tolist() == [1, 0, 0]
    assert table["share"].sum() == pytest.approx(1)
    overall = tie_aware_accuracy(scores, graph.labels).expected
    assert (table["share"] * table["expected"]).sum() == pytest.approx(overall)


def test_a_stored_run_reads_back_as_it_was(tmp_path):
    scores = query_scores(np.random.default_rng(0).random((3, 2)))
    read = QueryScores.load(scores.save(tmp_path / "run.npz"))
    assert np.array_equal(read.scores, scores.scores)
    assert np.array_equal(read.queries, scores.queries)
    assert list(read.spikes) == list(scores.spikes)
    assert np.array_equal(read.spikes["topic"], scores.spikes["topic"])
    assert (read.counters, read.plasticity, read.backend, read.seconds) == (
        {"weight_saturated": 3}, "lazy", "numpy", 0.5,
    )  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    with pytest.raises(MissingDataError, match="does not exist"):
        QueryScores.load(tmp_path / "none.npz")


def test_a_failed_save_keeps_the_older_run(tmp_path):
    older = query_scores([[1, 0]])
    older.save(tmp_path / "run.npz")
    broken = QueryScores(
        np.arange(1), np.zeros((1, 2)), {"topic": np.zeros((1, 1))}, {"n": object()}, "", "", 0.0
    )  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        broken.save(tmp_path / "run.npz")
    assert np.array_equal(QueryScores.load(tmp_path / "run.npz").scores, older.scores)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"path='.*': the folder .*/none does not exist; make"):
        query_scores([[1, 0]]).save(tmp_path / "none" / "run.npz")


def test_files_that_hold_no_scores_are_refused_by_name(tmp_path):
    file = query_scores([[1, 0]]).save(tmp_path / "run.npz")
    whole = file.read_bytes()
    damaged = [whole[: len(whole) // 2], whole[:40] + bytes(40) + whole[80:], b"", b"no arrays"]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(ParameterError, match=r"run\.npz is damaged or no file") as refused:
            QueryScores.load(file)
        assert "pickle" not in str(refused.value)
    np.savez(file, objects=np.array([None]))
    with pytest.raises(ParameterError, match=r"run\.npz is damaged or no file of plain arrays"):
        QueryScores.load(file)
    for arrays in ({}, {"info": np.array("{}")}, {"info": np.array("[")}):
        np.savez(file, queries=np.zeros(1), **arrays)
        with pytest.raises(ParameterError, match=r"run\.npz holds no scores of queries \(.*save"):
            QueryScores.load(file)
