"""Tuning of the networks: what a value means, what it may depend on, and what comes out."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.float_sgnn import CITESEER, CORA, FloatSGNN
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.readout import dead, tie_aware_accuracy
from labkit.spiking.sgnn import SGNN
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.spaces import SGNN_SPACE, Choice, Int, Ratio, Space
from labkit.spiking.tuning import TuningResult, default_start, tune

HALF_DEAD = Space((Ratio("graph_w/paper_vth", 0.5, 2.0), Int("window", 6, 12)))


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    """A quarter of Cora, simulated."""
    return simulated_citation_graph(
        n_papers=700, n_edges=1400, n_words=200, n_validation=150, n_test=200, seed=1
    )


@pytest.fixture(scope="module")
def tuned(graph: CitationGraph) -> TuningResult:
    return tune(graph, n_trials=14, sampler="tpe")


def untimed(result: TuningResult) -> pd.DataFrame:
    return result.trials.drop(columns="seconds")


def test_the_best_value_is_what_the_best_parameters_get(
    graph: CitationGraph, tuned: TuningResult
) -> None:
    scores = SGNN(graph, tuned.best).run(graph.validation)
    assert tuned.best_value == tie_aware_accuracy(scores, graph.labels).expected


@pytest.mark.parametrize("tie_rule", ["expected", "unique", "first"])
def test_every_value_is_the_accuracy_of_its_settings_by_the_rule(
    graph: CitationGraph, tie_rule: str
) -> None:
    result = tune(graph, n_trials=4, sampler="random", tie_rule=tie_rule)
    for _, row in result.trials.iterrows():
        settings = {d.name: d.nearest(row[d.name]) for d in SGNN_SPACE}
        parameters = SGNN_SPACE.parameters(settings, SGNNParameters())
        report = tie_aware_accuracy(SGNN(graph, parameters).run(graph.validation), graph.labels)
        assert row["value"] == getattr(report, tie_rule)


def test_random_test_labels_change_no_trial_and_no_choice(
    graph: CitationGraph, tuned: TuningResult
) -> None:
    labels = graph.labels.copy()
    unused = np.setdiff1d(np.arange(graph.n_papers), [*graph.train, *graph.validation])
    assert set(graph.test) <= set(unused)
    labels[unused] = np.random.default_rng(0).integers(0, graph.n_topics, len(unused))
    again = tune(graph.with_labels(labels), n_trials=14, sampler="tpe")
    pd.testing.assert_frame_equal(untimed(again), untimed(tuned))
    assert again.best == tuned.best


def test_tuning_is_never_worse_than_where_it_starts(
    graph: CitationGraph, tuned: TuningResult
) -> None:
    untuned = tie_aware_accuracy(SGNN(graph).run(graph.validation), graph.labels).expected
    assert tuned.untuned_value == untuned
    assert tuned.best_value >= untuned
    assert (np.diff(tuned.trials["best_so_far"]) >= 0).all()


def test_tuning_starts_from_the_parameters_given_and_keeps_what_is_not_tuned(
    graph: CitationGraph,
) -> None:
    start = SGNNParameters(window=9, rng_seed=11, paper_dv=256)
    result = tune(graph, n_trials=3, sampler="random", start=start)
    assert result.trials.loc[0, "window"] == 9
    assert (result.best.rng_seed, result.best.paper_dv) == (11, 256)


def test_a_start_outside_of_the_space_is_moved_in_and_said(graph: CitationGraph) -> None:
    start = SGNNParameters(window=30)
    result = tune(graph, n_trials=1, space=SGNN_SPACE.only("window"), start=start)
    assert result.trials.loc[0, "window"] == 16
    assert "lies outside the space" in result.notes[0]


def test_a_dead_network_is_left_and_gets_what_it_would_have_got(graph: CitationGraph) -> None:
    result = tune(graph, n_trials=12, sampler="random", space=HALF_DEAD)
    left = result.trials["state"] == "dead"
    # The query spikes once, so nothing follows unless one spike is enough.
    assert left.equals(200 <= (200 / result.trials["graph_w/paper_vth"]).round())
    assert 0 < result.n_dead == left.sum() < 12
    for _, row in result.trials[left].iterrows():
        settings = {d.name: d.nearest(row[d.name]) for d in HALF_DEAD}
        scores = SGNN(graph, HALF_DEAD.parameters(settings, SGNNParameters())).run(graph.validation)
        assert dead(scores) == 1.0
        assert row["value"] == tie_aware_accuracy(scores, graph.labels).expected
    assert f"{result.n_dead} trials were dead" in result.summary()


def test_few_queries_are_all_run_before_a_network_is_called_dead(graph: CitationGraph) -> None:
    start = SGNNParameters(paper_vth=250)
    result = tune(graph, n_trials=1, queries=graph.validation[:20], space=HALF_DEAD, start=start)
    assert result.trials["state"].tolist() == ["dead"]
    assert result.best_value == pytest.approx(1 / graph.n_topics)
    assert result.n_queries == 20


def test_the_float_network_is_tuned_in_its_own_space(graph: CitationGraph) -> None:
    result = tune(graph, n_trials=3, sampler="random", precision="float")
    scores = FloatSGNN(graph, result.best).run(graph.validation)
    assert result.best_value == tie_aware_accuracy(scores, graph.labels).expected
    assert "apos_1" in result.trials
    untuned = FloatSGNN(graph, CITESEER).run(graph.validation)
    assert result.untuned_value == tie_aware_accuracy(untuned, graph.labels).expected


def test_a_search_starts_from_the_published_reals_of_its_graph(graph: CitationGraph) -> None:
    assert default_start(graph, "float") == CITESEER
    assert default_start(dataclasses.replace(graph, name="cora"), "float") == CORA
    assert default_start(graph, "int") == SGNNParameters()


def test_a_tuning_run_that_ended_early_goes_on(graph: CitationGraph, tmp_path: Path) -> None:
    whole = tune(graph, n_trials=6, sampler="random")
    for n_trials, n_resumed in ((2, 0), (6, 2)):
        part = tune(graph, n_trials=n_trials, sampler="random", storage=tmp_path / "j")
        assert part.n_resumed == n_resumed
    pd.testing.assert_frame_equal(untimed(part), untimed(whole))


def other_label_of_a_query(graph: CitationGraph) -> CitationGraph:
    labels = graph.labels.copy()
    labels[graph.validation[3]] = (labels[graph.validation[3]] + 1) % graph.n_topics
    return graph.with_labels(labels)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"sampler": "tpe"}, "sampler"),
        ({"tie_rule": "unique"}, "tie_rule"),
        ({"space": SGNN_SPACE.without("window")}, "space"),
        ({"start": SGNNParameters(window=9)}, "start"),
        ({"precision": "float"}, "space, start"),
        ({"objective": lambda parameters: 1.0}, "objective"),
    ],
)
def test_the_journal_of_other_arguments_is_refused(
    graph: CitationGraph, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    options = {"n_trials": 1, "sampler": "random", "storage": tmp_path / "j"}
    tune(graph, **options)
    with pytest.raises(ParameterError, match=f"differs in {named}; use another study_name"):
        tune(graph, **(options | change))
    tune(graph, **(options | change), study_name="another")


def test_the_journal_of_another_graph_is_refused(graph: CitationGraph, tmp_path: Path) -> None:
    options = {"n_trials": 1, "sampler": "random", "storage": tmp_path / "j"}
    tune(graph, **options)
    fewer = dataclasses.replace(graph, edges=graph.edges[:, 1:])
    with pytest.raises(ParameterError, match="differs in graph;"):
        tune(fewer, **options)
    with pytest.raises(ParameterError, match="differs in queries;"):
        tune(other_label_of_a_query(graph), **options)
    with pytest.raises(ParameterError, match="differs in queries;"):
        tune(graph, queries=graph.validation[1:], **options)


def test_all_back_ends_give_the_same_trials_and_share_a_journal(
    graph: CitationGraph, tuned: TuningResult, tmp_path: Path
) -> None:
    pytest.importorskip("numba")
    for n_trials, backend in ((2, "numpy"), (4, "numba"), (5, "torch")):
        result = tune(
            graph, n_trials=n_trials, sampler="tpe", storage=tmp_path / "j", backend=backend
        )
    pd.testing.assert_frame_equal(untimed(result), untimed(tuned)[:5])


def test_a_given_objective_is_maximized(graph: CitationGraph) -> None:
    space = SGNN_SPACE.only("window", "tau_plus")
    result = tune(
        graph,
        n_trials=25,
        sampler="tpe",
        space=space,
        objective=lambda p: -abs(p.window - 13) - abs(p.tau_plus - 5),
    )
    assert (result.best.window, result.best.tau_plus) == (13, 5)
    assert (result.best_value, result.untuned_value) == (0, -6)


def test_settings_that_are_all_refused_are_an_error_with_the_reason(graph: CitationGraph) -> None:
    with pytest.raises(ParameterError, match=r"all 3 trials were refused: objective returned nan"):
        tune(graph, n_trials=3, sampler="random", objective=lambda _: float("nan"))


def test_refused_settings_are_counted(graph: CitationGraph) -> None:
    result = tune(
        graph,
        n_trials=10,
        sampler="random",
        objective=lambda p: float("inf") if p.ref_train == 0 else 0.5,
    )
    assert result.n_failed == (result.trials["ref_train"] == 0).sum() > 0
    assert f"{result.n_failed} trials were refused" in result.summary()


def test_the_standard_error_is_that_of_a_share_of_the_queries(tuned: TuningResult) -> None:
    share = tuned.best_value
    assert tuned.n_queries == 150
    assert tuned.standard_error == pytest.approx((share * (1 - share) / 150) ** 0.5)
    assert f"is {100 * tuned.standard_error:.1f} points" in tuned.summary()


def test_five_hundred_papers_have_a_standard_error_of_two_points(tuned: TuningResult) -> None:
    trials = pd.DataFrame({"value": [0.64], "state": ["complete"]})
    result = dataclasses.replace(tuned, trials=trials, n_queries=500)
    assert result.standard_error == pytest.approx(0.0215, abs=5e-5)


def test_progress_is_told_after_every_trial(graph: CitationGraph) -> None:
    told: list[tuple[int, int]] = []
    tune(graph, n_trials=3, sampler="random", progress=lambda *args: told.append(args))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_warnings_of_single_runs_are_left_out_and_come_back(
    graph: CitationGraph, caplog: pytest.LogCaptureFixture
) -> None:
    loud = SGNNParameters(A_plus=1.0, x1_impulse=127, tau_plus=6, ref_train=0, window=16)
    with caplog.at_level(logging.WARNING):
        tune(graph, n_trials=1, start=loud)
        assert not caplog.records
        SGNN(graph, loud).run(graph.validation)
        assert caplog.records


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "skopt"}, "sampler='skopt' is not allowed; use 'gp', 'tpe', 'random', 'la"),
        ({"precision": "int8"}, "precision='int8' is not allowed"),
        ({"tie_rule": "any"}, "tie_rule='any' is not allowed; use 'expected', 'unique', 'first'"),
        ({"n_trials": 0}, "n_trials=0: use a whole number of 1 or more"),
        ({"n_jobs": 0}, "n_jobs=0: use a whole number of 1 or more"),
        ({"seed": -1}, "seed=-1: use a whole number of 0 or more"),
        ({"space": {"window": (6, 16)}}, "space is of type dict; use SGNN_SPACE.only"),
        ({"space": Space((Int("windw", 1, 2),))}, "Did you mean 'window'"),
        ({"start": CORA}, "start is of type FloatSGNNParameters; precision='int' needs SGNNPara"),
        ({"sampler": "lavabo", "storage": "x"}, "the solver of Lava cannot resume"),
        ({"sampler": "lavabo", "space": Space((Choice("ref_train", (0, 1)),))}, "needs an Int"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_the_first_trial(
    graph: CitationGraph, options: dict[str, object], message: str
) -> None:
    def never(parameters: object) -> float:
        raise AssertionError(parameters)

    with pytest.raises(ParameterError, match=message):
        tune(graph, objective=never, **options)


@pytest.mark.usefixtures("lava_environment")
def test_the_solver_of_lava_tunes_the_numbers_of_the_space(graph: CitationGraph) -> None:
    told: list[tuple[int, int]] = []
    result = tune(
        graph, n_trials=4, sampler="lavabo", progress=lambda done, n: told.append((done, n))
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.trials["number"].tolist() == [0, 1, 2, 3]
    assert result.best_value >= result.untuned_value
    assert result.trials["topic_dv"].unique().tolist() == [0]
    assert result.trials["window"].between(6, 16).all()
    assert result.trials["window"].nunique() > 1
    assert result.importance.isna().all()
    assert result.notes == (
        "The solver of Lava moves numbers only: topic_dv, ref_train, A_plus stayed at the start.",
    )
    scores = SGNN(graph, result.best).run(graph.validation)
    assert result.best_value == tie_aware_accuracy(scores, graph.labels).expected


def test_importing_the_tuner_loads_neither_optuna_nor_torch_nor_numba() -> None:
    code = "import labkit.spiking.tuning, sys; print({'optuna', 'torch', 'numba'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_tuning_on_validation_papers_of_cora_pays_on_the_test_papers(
    labkit_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_DATA", str(labkit_data))
    cora = load_citation_graph("cora")
    result = tune(cora, n_trials=30, sampler="tpe")
    scores = SGNN(cora, result.best).run(cora.test)
    # 0.629 untuned; 0.630 to 0.650 for the choices of 15 other runs of 60 trials. A tenth of a
    # point is left for another version of the sampler.
    assert tie_aware_accuracy(scores, cora.labels).expected >= 0.629
    assert result.best_value >= result.untuned_value == pytest.approx(0.6156, abs=5e-5)
