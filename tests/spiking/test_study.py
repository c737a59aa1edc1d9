"""The run as a whole: nothing depends on test labels, and what went wrong is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from labkit.spiking import study
from labkit.spiking.config import SpikingConfig
from labkit.spiking.graphs import CitationGraph
from labkit.spiking.simulated import simulated_citation_graph


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    return simulated_citation_graph(
        n_papers=400, n_topics=4, n_edges=760, n_words=200, n_validation=80, n_test=150, seed=1
    )


@pytest.fixture(scope="module")
def configured() -> Callable[..., SpikingConfig]:
    def make(**choices: object) -> SpikingConfig:
        choices = {"n_trials": 4, "sampler": "random", "baseline_seeds": 0} | choices
        return SpikingConfig.from_preset("quick", **choices)

    return make


@pytest.fixture(scope="module")
def results(graph, configured) -> study.SpikingResults:
    config = configured()
    networks = study.run_networks(config, graph)
    tuning = study.tune_network(config, graph)
    diffusion = study.run_diffusion(config, graph)
    table = study.compare(config, graph, networks, tuning, diffusion)
    chip = study.chip_fit(config, graph, diffusion)["one query at a time"]
    lava = study.lava_check(config, graph)
    return study.SpikingResults(config, graph, networks, tuning, diffusion, table, chip, lava)


def test_random_test_labels_change_no_choice(graph, configured, results):
    labels = graph.labels.copy()
    labels[graph.test] = np.random.default_rng(0).integers(0, graph.n_topics, len(graph.test))
    blind = graph.with_labels(labels)
    tuning = study.tune_network(configured(), blind)
    assert tuning.best == results.tuning.best
    pd.testing.assert_series_equal(tuning.trials["value"], results.tuning.trials["value"])
    for name, fitted in study.run_diffusion(configured(), blind).items():
        np.testing.assert_array_equal(fitted.scores, results.diffusion[name].scores)


def test_first_trial_is_the_untuned_network_whatever_the_window(graph, configured):
    for window in (6, 10, 20):
        config = configured(window=window, n_trials=1)
        tuning = study.tune_network(config, graph)
        untuned = study.integer_network(config, graph).run(graph.validation)
        report = study.tie_aware_accuracy(untuned, graph.labels)
        assert tuning.untuned_value == pytest.approx(report.expected, abs=1e-12)
        assert tuning.notes == ()


@pytest.mark.parametrize("window", [10, 61, 200])
def test_unlabeled_papers_fire_at_most_once_in_windows_of_any_length(graph, configured, window):
    network = study.integer_network(configured(window=window), graph)
    assert network.lazy_obstacles == ()
    trace = network.trace(int(graph.test[0]))
    assert trace.spikes["other"].sum(axis=0).max() == 1


def test_a_window_that_is_too_short_is_reported_and_recorded(graph, configured):
    networks = study.run_networks(configured(window=3), graph)
    assert "dead" in networks.notes[0]
    assert "window" in networks.notes[0]
    assert study.dead(networks.scores["integer"]) == 1


def test_tables_have_one_row_a_method_and_no_test_accuracy_of_a_choice(results):
    assert list(results.table["method"]) == [
        "spiking, integer",
        "spiking, float",
        "spiking, integer, tuned",
        "spiking diffusion",
        "spiking diffusion, word neighbors",
        "spiking hybrid",
    ]
    assert results.table["accuracy"].between(results.table["low"], results.table["high"]).all()
    assert "off-chip" in results.table.set_index("method").loc["spiking hybrid", "note"]


def test_headline_numbers_fit_json_and_name_the_rule(results):
    numbers = json.loads(json.dumps(results.headline()))
    assert numbers["tie_rule"] == numbers["tuned_by"] == "expected"
    assert numbers["integer_unique"] <= numbers["integer_expected"] <= numbers["integer_any"]
    assert numbers["tuned_validation"] >= numbers["untuned_validation"]
    assert {"silent_queries", "out_of_range", "test_spiking_hybrid"} <= set(numbers)


def test_export_reads_back(results, tmp_path):
    files = results.export(tmp_path / "new" / "folder")
    assert all(file.is_file() for file in files)
    accuracy = pd.read_csv(files[0])
    pd.testing.assert_frame_equal(accuracy, results.networks.accuracy)
    settings = json.loads((files[0].parent / "settings.json").read_text())
    assert settings["tuned"] == json.loads(json.dumps(vars(results.tuning.best)))
    provenance = json.loads((files[0].parent / "provenance.json").read_text())
    assert provenance["config"]["seed"] == 0
    assert provenance["graph"]["name"] == "simulated"


def test_graphs_without_words_or_validation_papers_do_without(graph, configured):
    bare = replace(graph, features=None)
    assert set(study.run_diffusion(configured(), bare)) == {"citations"}
    everything = np.concatenate([graph.validation, graph.test])
    unvalidated = graph.with_split(graph.train, np.array([], dtype=int), everything)
    assert study.tune_network(configured(), unvalidated) is None


def test_a_lava_that_is_not_here_is_one_line_and_no_error(graph, configured, monkeypatch):
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", "/nowhere/python")
    outcome = study.lava_check(configured(compare_lava=True), graph)
    assert outcome.check is None
    assert "environment-lava.yml" in str(outcome)
    assert "\n" not in str(outcome)


def test_windows_equal_lavas(graph, configured, lava_environment):
    outcome = study.lava_check(configured(compare_lava=True, lava_queries=2), graph)
    assert outcome.check is not None
    assert outcome.check.exact
    assert "are equal to those of Lava 0.10.0" in str(outcome)


def test_float_networks_can_be_tuned_too(graph, configured):
    config = configured(precision="float", n_trials=2, tie_rule="any")
    tuning = study.tune_network(config, graph)
    assert tuning.tie_rule == "expected"
    networks = study.run_networks(config, graph)
    table = study.compare(config, graph, networks, tuning, {})
    assert table["method"].iloc[2] == "spiking, float, tuned"
    assert (table["note"] == "ties by the rule 'any'").all()
