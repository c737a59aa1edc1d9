"""Needs of a network are those that one counts by hand, and limits are compared with them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.engine import simulate, simulate_episodes
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.network import Network
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.plasticity import STDPLoihi
from labkit.spiking.projections import Population, Projection
from labkit.spiking.resources import Loihi2Limits, estimate
from labkit.spiking.sgnn import SGNN
from labkit.spiking.wiring import build_sgnn

RULE = STDPLoihi(
    learning_rate=1,
    A_plus=0.5,
    A_minus=-0.5,
    tau_plus=2,
    tau_minus=2,
    x1_impulse=16,
    y1_impulse=16,
    rng_seed=1,
)


def every_kind() -> Network:
    """Four inputs that join three others by one projection of each kind."""
    weights = np.array([[9, 0, 0, 1], [0, 0, 2, 0], [0, 3, 4, 5]])
    return Network(
        (
            Population("a", 4, LIFParameters(vth=10)),
            Population("b", 3, LIFParameters(vth=10, refractory=5)),
        ),
        (
            Projection("all", "a", "b", weights, num_weight_bits=6),
            Projection("some", "a", "b", sparse.csr_matrix(weights), kind="sparse"),
            Projection("late", "a", "b", weights, kind="delay_dense", delays=weights),
            Projection("learned", "a", "b", 2 * weights, kind="learning_dense", rule=RULE),
        ),
        {"a": np.array([[11, 0], [0, 11], [11, 11], [0, 0]])},
    )


def test_needs_of_every_kind_of_projection_are_those_counted_by_hand():
    table = estimate(every_kind()).projections.set_index("projection")
    assert table["synapses"].tolist() == [12, 6, 12, 12]
    assert table["nonzero"].tolist() == [6, 6, 6, 6]
    assert table["learned"].tolist() == [False, False, False, True]
    assert table["weight_bytes"].tolist() == [12 * 6 / 8, 6, 12, 12]
    assert table["delay_bytes"].tolist() == [0, 0, 12 * 6 / 8, 0]  # delays 0 to 63: 6 bits
    assert table["index_bytes"].tolist() == [0, 6 * 2 / 8, 0, 0]  # one of 3 neurons: 2 bits
    assert table["state_bytes"].tolist() == [0, 0, 0, 7 * (4 + 3) / 8]  # a trace of 7 bits each


def test_totals_are_sums_over_projections_and_neurons():
    report = estimate(every_kind())
    assert report.value("neurons") == 7
    assert report.value("synapses") == every_kind().n_synapses == 42
    assert report.value("learned synapses") == 12
    # 24 bits of current and of voltage; 3 bits count the 5 refractory steps of population b.
    assert report.value("neuron state") == (4 * 48 + 3 * 51) / 8
    parts = ["weight memory", "delay memory", "learning state", "neuron state", "index memory"]
    assert report.value("memory") == pytest.approx(sum(map(report.value, parts)))
    # The third neuron of b ends 4 + 3 + 4 + 4 synapses.
    assert report.value("memory of one neuron") == (4 * 6 + 3 * (8 + 2) + 4 * (8 + 6) + 4 * 8) / 8


def test_each_number_says_whether_it_is_counted_or_estimated():
    frame = estimate(every_kind(), SimpleNamespace(synaptic_operations=5), picojoule_per_synop=2)
    basis = frame.frame.set_index("quantity")["basis"]
    for quantity in ("neurons", "synapses", "weight memory", "synaptic operations"):
        assert basis[quantity] == "counted"
    for quantity in ("index memory", "memory", "cores by memory", "chips", "energy of synapses"):
        assert basis[quantity] == "estimate"


def test_published_limits_are_the_defaults():
    # Intel Labs, Loihi 2 technology brief, 2021.
    limits = Loihi2Limits()
    assert (limits.neuron_cores, limits.neurons_per_core) == (128, 8192)
    assert (limits.neurons_per_chip, limits.synapses_per_chip) == (1_000_000, 120_000_000)
    assert 128 * 8192 >= 1_000_000  # the two limits on neurons agree


@pytest.mark.parametrize(
    ("limits", "exceeded"),
    [
        ({"neurons_per_chip": 6}, {"neurons", "chips"}),
        ({"synapses_per_chip": 41}, {"synapses", "chips"}),
        ({"neurons_per_core": 2, "neuron_cores": 3}, {"cores by neurons", "chips"}),
        ({"core_memory_bytes": 17}, {"memory of one neuron"}),
        (
            {"core_memory_bytes": 20, "neuron_cores": 4},
            {"memory", "cores by memory", "chips"},
        ),
        ({}, set()),
    ],
)
def test_network_that_exceeds_a_limit_does_not_fit(limits, exceeded):
    report = estimate(every_kind(), limits=Loihi2Limits(**limits))
    frame = report.frame.set_index("quantity")
    assert set(frame.index[~frame["fits"].fillna(True).astype(bool)]) == exceeded
    assert report.fits == (not exceeded)


def test_cores_grow_with_neurons_and_with_memory():
    network = every_kind()
    by_neurons = [
        estimate(network, limits=Loihi2Limits(neurons_per_core=n)).value("cores by neurons")
        for n in (1, 3, 7, 8)
    ]
    assert by_neurons == [7, 3, 1, 1]
    memory = estimate(network).value("memory")
    by_memory = estimate(network, limits=Loihi2Limits(core_memory_bytes=30))
    assert by_memory.value("cores by memory") == np.ceil(memory / 30)


def test_energy_is_the_operations_of_a_run_times_the_energy_of_one():
    network = every_kind()
    run = simulate(network, 6)
    operations = sum(int(run.spikes[p.pre] @ p.fan_out) for p in network.projections)
    report = estimate(network, run, picojoule_per_synop=3.5)
    assert operations > 0
    assert report.value("synaptic operations") == operations
    assert report.value("energy of synapses") == pytest.approx(operations * 3.5e-12)
    assert "energy of synapses" not in set(estimate(network, run).frame["quantity"])


def test_network_of_a_citation_graph_counts_each_citation_twice_and_all_plastic_pairs():
    graph = load_citation_graph("simulated")
    report = estimate(build_sgnn(graph, SGNNParameters(), graph.test[:2]))
    n_train, n_other, n_topics = len(graph.train), len(graph.other), graph.n_topics
    plastic, fixed = 2 * n_other * n_topics, 2 * n_train * n_topics
    assert report.value("neurons") == graph.n_papers + n_topics
    assert report.value("learned synapses") == plastic
    assert report.value("synapses") == 2 * graph.n_edges + plastic + fixed
    assert report.value("weight memory") == report.value("synapses")
    assert report.fits


def test_neurons_without_synapses_need_only_their_state():
    report = estimate(Network((Population("a", 9000, LIFParameters(vth=1)),)))
    assert report.value("synapses") == report.value("memory of one neuron") == 0
    assert report.value("memory") == 9000 * 6
    assert report.value("cores by neurons") == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picojoule_per_synop": 2}, "needs the synaptic operations of a run"),
        ({"recording": object()}, "recording is a object without synaptic_operations"),
        (
            {"recording": SimpleNamespace(synaptic_operations=1), "picojoule_per_synop": -1},
            "picojoule_per_synop=-1 is no energy",
        ),
        (
            {"recording": SimpleNamespace(synaptic_operations=1), "picojoule_per_synop": np.nan},
            "picojoule_per_synop=nan is no energy",
        ),
        (
            {"recording": SimpleNamespace(synaptic_operations=1), "picojoule_per_synop": "3"},
            "picojoule_per_synop='3' is no energy; give a number of 0 or more",
        ),
    ],
)
def test_run_or_energy_that_cannot_be_used_is_refused(given, message):
    with pytest.raises(ParameterError, match=message):
        estimate(every_kind(), **given)


def renamed(network: Network, **names: str) -> Network:
    """The same network with other names of its populations."""
    populations = [replace(p, name=names.get(p.name, p.name)) for p in network.populations]
    ends = [{end: names.get(getattr(p, end), getattr(p, end)) for end in ("pre", "post")}
            for p in network.projections]  # fmt: skip
    made = [replace(p, **e) for p, e in zip(network.projections, ends, strict=True)]
    return Network(populations, made)


def test_a_run_of_another_network_is_refused():
    network = every_kind()
    other = renamed(network, b="c")
    with pytest.raises(
        ParameterError, match=r"its spikes are of a, c, the network has a, b\. Give"
    ):
        estimate(network, simulate(other, 3))
    larger = Network((Population("a", 5, LIFParameters(vth=10)), network.populations[1]))
    with pytest.raises(ParameterError, match=r"spikes of 'a' have shape \(5,\), .* end in \(4,\)"):
        estimate(network, simulate(larger, 3))
    fixed = Network(network.populations, network.projections[:3])
    run = simulate(network, 3, record=("s_out", "u", "v"))
    with pytest.raises(ParameterError, match="its final_weights are of learned, the network has n"):
        estimate(fixed, run)
    assert estimate(network, run).value("synaptic operations") == run.synaptic_operations


def test_runs_of_episodes_and_of_one_query_belong_to_their_network():
    graph = load_citation_graph("simulated")
    sgnn, query = SGNN(graph), graph.test[0]
    network = build_sgnn(graph, sgnn.parameters, [query])
    assert estimate(network, sgnn.trace(query)).value("synaptic operations") > 0
    episodes = simulate_episodes(network, n_episodes=1, record=("s_out",))
    assert estimate(network, episodes).value("synaptic operations") > 0
    with pytest.raises(ParameterError, match="its spikes are of train, other, topic, the network"):
        estimate(every_kind(), sgnn.trace(query))
    with pytest.raises(ParameterError, match="its s_out are of train, other, topic, the network"):
        estimate(every_kind(), episodes)


def test_unknown_quantity_and_empty_limits_are_answered_with_what_is_allowed():
    with pytest.raises(
        ParameterError, match="quantity='spikes' is not in the report; there are ne"
    ):
        estimate(every_kind()).value("spikes")
    with pytest.raises(ParameterError, match="neuron_cores=0 holds nothing"):
        Loihi2Limits(neuron_cores=0)
