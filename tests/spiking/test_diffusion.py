"""Spiking label diffusion: the same integers everywhere, its limits, and no look at test labels."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph, unique_edges
from labkit.spiking.diffusion import DiffusionInputs, SpikingLabelDiffusion, diffuse
from labkit.spiking.diffusion_parameters import (
    CITATION_PRESETS,
    HYBRID_PRESETS,
    PRESETS,
    DiffusionParameters,
    preset,
)
from labkit.spiking.engine import simulate
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.simulated import simulated_citation_graph


def small_graph(n=45, *, n_topics=3, seed=0, words=True):
    """Three loose blocks of papers with words of their topic, and some papers on their own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_topics
    same = labels[:, None] == labels
    pairs = np.argwhere(np.triu(rng.random((n, n)) < np.where(same, 0.16, 0.02), 1))
    features = rng.random((n, 24)) < np.where(np.arange(24) % n_topics == labels[:, None], 0.4, 0.1)
    return CitationGraph(
        name="small",
        edges=unique_edges(pairs.T),
        labels=labels,
        topics=tuple("abcdef"[:n_topics]),
        features=sparse.csr_matrix(features) if words else None,
        train=np.arange(2 * n_topics),
        validation=np.arange(2 * n_topics, 20),
        test=np.arange(20, n),
    )


def fit(graph, **changes):
    return SpikingLabelDiffusion(DiffusionParameters(**changes)).fit(graph)


SETTINGS = [
    {},
    {"steps": 40, "knn": 0, "vth": 30},
    {"steps": 40, "knn": 5, "mix": 0.3, "dv": 0, "vth": 180, "word_hops": 1},
    {"steps": 40, "knn": 5, "du": 1000, "dv": 700, "vth": 400},
    {"steps": 40, "knn": 5, "bias": 20, "dv": 40},
    {"steps": 30, "knn": 5, "readout": "sgc", "readout_scale": 0.8, "readout_C": 3.0},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_spikes_and_voltages_are_those_of_the_engine(changes):
    """Every spike of every step, and the score as the currents that the engine records."""
    fitted = fit(small_graph(), **changes)
    steps = fitted.parameters.steps
    run = simulate(fitted.to_network(), steps, record=("s_out", "u"))
    ours = fitted.raster().reshape(steps, -1)
    assert 0 < ours.mean() < 1
    np.testing.assert_array_equal(run.s_out["paper_topic"], ours)
    if fitted.parameters.du == 4095:
        total = (run.u["paper_topic"].astype(np.int64) >> 6).sum(axis=0)
        np.testing.assert_array_equal(total.reshape(fitted.scores.shape), fitted.scores)


def test_one_topic_of_the_simulated_graph_is_that_of_the_engine():
    fitted = SpikingLabelDiffusion(PRESETS["simulated"]).fit(simulated_citation_graph())
    run = simulate(fitted.to_network(topics=[2]), fitted.parameters.steps)
    np.testing.assert_array_equal(run.s_out["paper_topic"], fitted.raster()[:, :, 2])


def loops(fitted):
    """The equations of the module in Python's whole numbers, neuron by neuron, for du = 4095."""
    n, K = fitted.bias.shape
    W, p = fitted.weights.toarray().tolist(), fitted.parameters
    total = np.zeros((n, K), dtype=int)
    counts = np.zeros((n, K), dtype=int)
    for k in range(K):
        v, s = [0] * n, [0] * n
        for _ in range(p.steps):
            a = [sum(W[i][j] for j in range(n) if s[j]) for i in range(n)]
            s = [0] * n
            for i in range(n):
                leaked = abs(v[i]) * (4096 - p.dv) // 4096
                v[i] = leaked + 64 * a[i] + 64 * int(fitted.bias[i, k])
                if v[i] > 64 * p.vth:
                    v[i], s[i] = 0, 1
            total[:, k] += a
            counts[:, k] += s
    return total, counts


def test_the_equations_written_as_loops_give_the_same_integers():
    fitted = fit(small_graph(25), steps=25, knn=4, vth=150, readout="sgc")
    total, counts = loops(fitted)
    np.testing.assert_array_equal(fitted.scores, total)
    np.testing.assert_array_equal(fitted.spike_counts, counts)


def test_a_run_counts_what_it_did():
    fitted = fit(small_graph(), steps=30, knn=5)
    raster = fitted.raster()
    np.testing.assert_array_equal(fitted.spike_counts, raster.sum(axis=0))
    np.testing.assert_array_equal(fitted.history["spikes"], raster.sum(axis=(1, 2)))
    fan_out = (fitted.weights != 0).sum(axis=0).A1
    assert fitted.synaptic_operations == raster.sum(axis=(0, 2)) @ fan_out
    last = fitted.history["validation"].iloc[-1]
    assert last == fitted.accuracy(fitted.graph.validation)
    assert fitted.to_network().n_synapses == 3 * fitted.weights.nnz


def test_labeled_papers_spike_for_their_topic_at_every_step():
    graph = small_graph()
    fitted = fit(graph, steps=20)
    assert (fitted.spike_counts[graph.train, graph.labels[graph.train]] == 20).all()


def test_papers_beyond_the_reach_of_labels_stay_undecided():
    """Two pairs and a paper on its own, one pair without a label: no input, all topics tie."""
    graph = CitationGraph(
        name="islands",
        edges=np.array([[0, 2, 4], [1, 3, 5]]),
        labels=np.array([0, 0, 1, 1, 0, 1, 1]),
        topics=("a", "b"),
        features=None,
        train=np.array([0, 2]),
        validation=np.array([], dtype=int),
        test=np.array([1, 3, 4, 5, 6]),
    )
    fitted = fit(graph, knn=0, steps=10)
    assert (fitted.scores[[4, 5, 6]] == 0).all()
    report = fitted.report(graph.test)
    assert (report.unique, report.expected, report.any) == (0.4, 0.7, 1.0)
    assert fitted.history["validation"].isna().all()


def test_topics_can_be_renumbered():
    graph = small_graph()
    order = np.array([2, 0, 1])
    renamed = fit(graph.with_labels(order[graph.labels]), knn=5)
    np.testing.assert_array_equal(renamed.scores[:, order], fit(graph, knn=5).scores)


def test_papers_can_be_renumbered():
    """Without word neighbors, whose ties go by paper number."""
    graph = small_graph(words=False)
    order = np.random.default_rng(3).permutation(graph.n_papers)
    moved = replace(
        graph,
        edges=unique_edges(order[graph.edges]),
        labels=graph.labels[np.argsort(order)],
        train=order[graph.train],
        validation=order[graph.validation],
        test=order[graph.test],
    )
    np.testing.assert_array_equal(fit(moved, knn=0).scores[order], fit(graph, knn=0).scores)


def test_rates_far_below_one_are_those_of_the_linear_diffusion():
    """r = W r / vth with labeled papers at rate 1; a spike loses what exceeds the threshold.

    That is less than the input of one step, at most the largest row sum of W: the share it can be
    of vth is the tolerance.
    """
    graph = small_graph()
    fitted = fit(graph, vth=4000, dv=0, knn=5, steps=10_000)
    share, free = fitted.weights / 4000, graph.other
    labeled = np.eye(graph.n_topics)[graph.labels[graph.train]]
    system = sparse.identity(len(free)) - share[free][:, free]
    expected = spsolve(sparse.csc_matrix(system), share[free][:, graph.train] @ labeled)
    rates = fitted.spike_counts[free] / 10_000
    assert (rates <= expected + 1e-12).all()
    often = expected > 0.005
    assert often.sum() > 20
    loss = share.sum(axis=1).max()
    assert loss < 0.15
    np.testing.assert_allclose(rates[often], expected[often], rtol=loss)


def test_currents_that_wrap_are_counted_and_told(caplog):
    """With du = 0 a current loses 1 of 4096 a step, so that it grows beyond 24 bits."""
    graph = small_graph()
    with caplog.at_level(logging.WARNING):
        fitted = fit(graph, du=0, knn=5, steps=900)
    run = simulate(fitted.to_network(), 900)
    assert fitted.counters["u_wrapped"] == run.counters.u_wrapped["paper_topic"] > 0
    assert fitted.counters["v_saturated"] == run.counters.v_saturated["paper_topic"]
    assert "u_wrapped" in caplog.text
    assert fit(graph, knn=5).counters == {"u_wrapped": 0, "v_saturated": 0}


def test_steps_can_be_taken_one_by_one():
    fitted = fit(small_graph(), steps=12, knn=5)
    steps = list(diffuse(fitted.weights, fitted.bias, fitted.parameters))
    assert len(steps) == 12
    assert not steps[0].input.any()
    np.testing.assert_array_equal(sum(step.input for step in steps), fitted.scores)


def test_only_labels_of_training_papers_are_injected():
    graph = small_graph()
    hidden = np.full_like(graph.labels, -1)
    hidden[graph.train] = graph.labels[graph.train]
    blind = replace(graph, labels=hidden, validation=np.array([], dtype=int))
    for readout in (None, "sgc"):
        changes = {"knn": 5, "steps": 20, "readout": readout}
        np.testing.assert_array_equal(fit(graph, **changes).scores, fit(blind, **changes).scores)


def test_inputs_are_shared_between_settings_of_one_graph_only():
    graph = small_graph()
    inputs = DiffusionInputs(graph)
    for changes in SETTINGS[1:4]:
        shared = SpikingLabelDiffusion(DiffusionParameters(**changes)).fit(graph, inputs=inputs)
        np.testing.assert_array_equal(shared.scores, fit(graph, **changes).scores)
    with pytest.raises(ParameterError, match="not of the graph given"):
        SpikingLabelDiffusion().fit(small_graph(seed=1), inputs=inputs)


WRONG = [
    ({"vth": 0}, "vth=0"),
    ({"vth": 4095}, "vth=4095"),
    ({"vth": 60.5}, "vth=60.5"),
    ({"du": 4096}, "du=4096"),
    ({"dv": -1}, "dv=-1"),
    ({"bias": 5000}, "bias=5000"),
    ({"steps": 1}, "steps=1"),
    ({"knn": -3}, "knn=-3"),
    ({"word_hops": 11}, "word_hops=11"),
    ({"mix": 1.1}, "mix=1.1"),
    ({"mix": float("nan")}, "mix=nan"),
    ({"mix": "all"}, "mix='all'"),
    ({"readout": "gcn"}, "readout='gcn'"),
    ({"readout_C": 0}, "readout_C=0"),
    ({"readout_scale": -0.1}, "readout_scale=-0.1"),
]


@pytest.mark.parametrize(("changes", "named"), WRONG, ids=[named for _, named in WRONG])
def test_settings_that_cannot_be_are_named(changes, named):
    with pytest.raises(ParameterError, match=f"^{named.replace('.', '[.]')} is not allowed"):
        DiffusionParameters(**changes)


def test_words_that_are_missing_and_topics_that_do_not_exist_are_named():
    with pytest.raises(ParameterError, match="'small' has no words"):
        fit(small_graph(words=False))
    fitted = fit(small_graph(), steps=5)
    for topics in ([3], [-1], []):
        with pytest.raises(ParameterError, match=r"topics=.*0 to 2"):
            fitted.to_network(topics)
    with pytest.raises(ParameterError, match="decision='votes'"):
        fitted.report(fitted.graph.test, decision="votes")


@pytest.mark.parametrize(
    ("papers", "message"),
    [
        ([20, 3], "papers names paper 3, whose topic was given to the network; leave training"),
        ([-1], "papers names paper -1; the graph has papers 0 to 44"),
        ([45], "papers names paper 45; the graph has papers 0 to 44"),
        (["20"], r"papers is an array of <U2 of shape \(1,\); give one or more whole paper ids"),
        ([20.0], "papers is an array of float64"),
        (np.ones(45, dtype=bool), "papers is an array of bool"),
        ([], "give one or more whole paper ids"),
    ],
)
def test_accuracies_are_of_papers_whose_topic_was_not_given(papers, message):
    fitted = fit(small_graph(), steps=5)
    for accuracy in (fitted.report, fitted.accuracy):
        with pytest.raises(ParameterError, match=message):
            accuracy(papers)


def test_presets_are_found_by_graph_and_kind():
    assert preset("cora") is PRESETS["cora"]
    assert preset("my own", "hybrid") is HYBRID_PRESETS["microseer"]
    with pytest.raises(ParameterError, match="'hybrid' needs words"):
        preset("pubmed", "hybrid")
    with pytest.raises(ParameterError, match="kind='best'"):
        preset("cora", "best")


BARS = {
    "cora": ("cora", PRESETS, 0.77),
    "citeseer": ("citeseer", PRESETS, 0.69),
    "hybrid cora": ("cora", HYBRID_PRESETS, 0.81),
    "hybrid citeseer": ("citeseer", HYBRID_PRESETS, 0.73),
    "cora, citations only": ("cora", CITATION_PRESETS, 0.68),
    "citeseer, citations only": ("citeseer", CITATION_PRESETS, 0.48),
    "pubmed, citations only": ("pubmed", CITATION_PRESETS, 0.69),
}


@pytest.mark.parametrize(("name", "presets", "bar"), BARS.values(), ids=BARS)
@pytest.mark.usefixtures("labkit_data")
def test_presets_reach_what_is_claimed_for_them(name, presets, bar):
    """Expected accuracy on the 1000 test papers; integers, so that there is nothing to average."""
    graph = load_citation_graph(name)
    fitted = SpikingLabelDiffusion(presets[name]).fit(graph)
    assert fitted.accuracy(graph.test) >= bar
    assert not any(fitted.counters.values())
