"""The off-chip readout: smoothed words, its optimum, and the bias currents it becomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.spiking.diffusion import SpikingLabelDiffusion
from labkit.spiking.diffusion_parameters import DiffusionParameters
from labkit.spiking.hybrid import bias_currents, readout_probabilities, smoothed_words
from labkit.spiking.simulated import simulated_citation_graph


@pytest.fixture(scope="module")
def graph():
    return simulated_citation_graph(
        n_papers=700, n_edges=1400, n_words=300, n_validation=200, n_test=300, seed=5
    )


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_words_are_smoothed_as_the_matrix_power_says(graph, hops):
    A = graph.adjacency().toarray() + np.eye(graph.n_papers)
    degrees = A.sum(axis=1)
    P = A / np.sqrt(np.outer(degrees, degrees))
    X = (graph.features.toarray() != 0).astype(float)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    expected = np.linalg.matrix_power(P, hops) @ X
    np.testing.assert_allclose(smoothed_words(graph, hops=hops).toarray(), expected, atol=1e-12)


def test_probabilities_are_at_the_optimum_of_the_regression(graph):
    """At the optimum the free intercepts make expected and true topic counts of training equal.

    scikit-learn stops at a gradient of 1e-4 for the mean over the 140 papers.
    """
    p = readout_probabilities(graph, C=10.0)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    counts = np.bincount(graph.labels[graph.train], minlength=graph.n_topics)
    np.testing.assert_allclose(p[graph.train].sum(axis=0), counts, atol=140 * 1e-4)


def test_a_weaker_penalty_fits_the_training_papers_better(graph):
    own = (graph.train, graph.labels[graph.train])
    likelihood = [np.log(readout_probabilities(graph, C=C)[own]).sum() for C in (0.1, 1, 10, 100)]
    assert np.all(np.diff(likelihood) > 0)


def test_the_readout_reads_training_labels_only(graph):
    labels = graph.labels.copy()
    labels[graph.other] = np.random.default_rng(0).integers(7, size=len(graph.other))
    np.testing.assert_array_equal(
        readout_probabilities(graph.with_labels(labels), C=3.0), readout_probabilities(graph, C=3.0)
    )


def test_a_topic_without_training_papers_has_no_probability(graph):
    kept = graph.train[graph.labels[graph.train] != 4]
    part = replace(graph, train=kept, untrained=(graph.topics[4],))
    p = readout_probabilities(part, C=3.0)
    assert p.shape == (700, 7)
    assert not p[:, 4].any()


def test_one_topic_alone_cannot_be_read_out(graph):
    kept = graph.train[graph.labels[graph.train] == 0]
    part = replace(graph, train=kept, untrained=graph.topics[1:])
    with pytest.raises(ParameterError, match="one topic only"):
        readout_probabilities(part, C=3.0)


def test_bias_currents_stay_below_the_threshold_by_their_scale():
    p = np.array([[0.0, 1.0], [0.25, 0.75]])
    np.testing.assert_array_equal(bias_currents(p, vth=100, scale=0.3), [[0, 30], [8, 22]])


def test_a_scale_of_zero_is_the_diffusion_without_a_readout(graph):
    plain = SpikingLabelDiffusion(DiffusionParameters(steps=20)).fit(graph)
    hybrid = DiffusionParameters(steps=20, readout="sgc", readout_scale=0.0)
    np.testing.assert_array_equal(
        SpikingLabelDiffusion(hybrid).fit(graph).spike_counts, plain.spike_counts
    )


def test_what_enters_the_network_is_whole_numbers_and_labels_stay_on_top(graph):
    parameters = DiffusionParameters(steps=5, vth=90, readout="sgc", readout_scale=0.4)
    fitted = SpikingLabelDiffusion(parameters).fit(graph)
    lif = fitted.to_network().population("paper_topic").lif
    assert lif.bias_mant.dtype.kind == "i"
    bias = lif.bias_mant.reshape(700, 7)
    expected = np.rint(fitted.probabilities * 36)
    expected[graph.train, graph.labels[graph.train]] = 91
    np.testing.assert_array_equal(bias, expected)


def test_words_that_speak_make_neurons_of_the_right_topic_spike_first(graph):
    """Reset to zero makes single neurons not monotonic in their input: shares are compared."""
    right = []
    for scale in (0.0, 0.5):
        parameters = DiffusionParameters(steps=15, readout="sgc", readout_scale=scale)
        raster = SpikingLabelDiffusion(parameters).fit(graph).raster()
        first = np.where(raster.any(axis=0), raster.argmax(axis=0), 99)[graph.test]
        own = first[np.arange(len(first)), graph.labels[graph.test]]
        right.append((own == first.min(axis=1)).mean())
    assert right[1] > right[0] + 0.05
