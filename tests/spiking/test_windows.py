"""Lazy plasticity is exact: it equals the clocked network that learns every plastic synapse."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking import windows, windows_numpy
from labkit.spiking.citation import CitationGraph, unique_edges
from labkit.spiking.engine import simulate
from labkit.spiking.readout import QueryScores
from labkit.spiking.sgnn import SGNN, SGNNParameters, build_sgnn
from labkit.spiking.windows import lazy_obstacles, readout_weights, run_plan
from labkit.spiking.windows_plan import WindowPlan
from labkit.spiking.wiring import OTHER, READOUT, TOPIC, TRAIN

N_PAPERS, N_TOPICS, N_WORDS, N_QUERIES = 24, 3, 10, 7
# Every example is drawn from a fixed sequence, so that a failure is seen by everybody.
EXAMPLES = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def random_graph(seed: int) -> CitationGraph:
    """Papers in random order, some without citations, each with a few words."""
    rng = np.random.default_rng(seed)
    labels, order = rng.integers(0, N_TOPICS, N_PAPERS), rng.permutation(N_PAPERS)
    n_train = int(rng.integers(N_TOPICS, 3 * N_TOPICS))
    labels[order[:N_TOPICS]] = np.arange(N_TOPICS)
    return CitationGraph(
        name="random",
        edges=unique_edges(rng.integers(0, N_PAPERS, (2, int(rng.integers(15, 60))))),
        labels=labels,
        topics=tuple("abc"),
        features=sparse.random(N_PAPERS, N_WORDS, 0.2, random_state=rng, format="csr"),
        train=order[:n_train],
        validation=order[n_train : n_train + 4],
        test=order[n_train + 4 :],
    )


@st.composite
def lively_parameters(draw: st.DrawFn, loud: bool = False) -> SGNNParameters:
    """Parameters within the conditions of lazy plasticity, of which most spike.

    `loud` networks have exponents at which currents wrap and voltages saturate.
    """
    window = draw(st.integers(3, 12))
    whole, exponent = st.integers, st.sampled_from([7, 7, 6, 0] if loud else [0, 0, 1, -1, -3])
    return SGNNParameters(
        window=window,
        ref_other=draw(whole(window, window + 50)),
        ref_train=draw(st.sampled_from([0, 1, 3, 60])),
        graph_w=draw(whole(60, 255)),
        graph_exp=draw(exponent),
        paper_vth=draw(whole(1, 13107 if loud else 300)),
        paper_dv=draw(st.sampled_from([0, 0, 256, 2048, 4095])),
        topic_vth=draw(whole(0, 131071 if loud else 150)),
        topic_dv=draw(st.sampled_from([0, 0, 300, 4095])),
        train_w=draw(whole(0, 255)),
        train_exp=draw(exponent),
        test_w=2 * draw(whole(0, 127)),
        test_exp=draw(st.sampled_from([7, 0] if loud else [-9, -7, -3, 0])),
        A_plus=draw(st.sampled_from([0.25, 0.5, 1, 4, -0.5])),
        A_minus=draw(st.sampled_from([-0.5, -1, 0.25])),
        tau_plus=draw(st.floats(0.3, 8)),
        tau_minus=draw(st.floats(0.3, 8)),
        x1_impulse=draw(st.floats(0, 127)),
        y1_impulse=draw(st.floats(0, 127)),
        rng_seed=draw(whole(0, 1000)),
        features=draw(st.booleans()),
        feature_w=draw(whole(0, 255)),
        feature_exp=draw(exponent),
        feature_vth=draw(whole(0, 131071 if loud else 200)),
        feature_dv=draw(st.sampled_from([0, 900])),
        feature_topic_w=2 * draw(whole(0, 30)),
        feature_topic_exp=draw(st.sampled_from([0, -3])),
        **draw(word_learning(window)),
    )


def word_learning(window: int) -> st.SearchStrategy[dict]:
    """Words that learn fire at most once; words that do not may fire at any time."""
    return st.one_of(
        st.builds(dict, ref_feature=st.sampled_from([0, 1, 60])),
        st.just({"ref_feature": window, "feature_stdp": True}),
    )


def some_queries(graph: CitationGraph, seed: int) -> np.ndarray:
    """Queries in random order, some of them twice."""
    return np.random.default_rng(seed).choice(graph.other, N_QUERIES)


def assert_same(first: QueryScores, second: QueryScores) -> None:
    """Equal scores and equal numbers of spikes at every step."""
    np.testing.assert_array_equal(first.scores, second.scores)
    assert list(first.spikes) == list(second.spikes)
    for name, counts in first.spikes.items():
        np.testing.assert_array_equal(counts, second.spikes[name], err_msg=name)


def clocked(graph: CitationGraph, parameters: SGNNParameters, queries: np.ndarray) -> QueryScores:
    """Scores read off one long run of the whole network."""
    run = simulate(
        build_sgnn(graph, parameters, queries),
        len(queries) * parameters.window,
        record=("s_out", "w"),
    )
    ends = np.arange(1, len(queries) + 1) * parameters.window - 1
    rows = np.searchsorted(graph.other, queries)
    shape = (len(queries), parameters.window, -1)
    return QueryScores(
        queries=queries,
        scores=run.weights[READOUT][ends, :, rows],
        spikes={name: fired.reshape(shape).sum(axis=2) for name, fired in run.s_out.items()},
        counters={"u_wrapped": sum(run.counters.u_wrapped.values())},
        plasticity="full",
        backend="numpy",
        seconds=0.0,
    )


@EXAMPLES
@given(lively_parameters(), st.integers(0, 10**6))
def test_lazy_plasticity_equals_the_network_that_learns_all(parameters, seed):
    graph = random_graph(seed)
    network, queries = SGNN(graph, parameters), some_queries(graph, seed)
    lazy = network.run(queries, plasticity="lazy", batch=3)
    assert_same(lazy, clocked(graph, parameters, queries))
    assert_same(lazy, network.run(queries, plasticity="full", batch=4))
    assert lazy.counters["lower_bounds"] == 0, "the ranges of this test leave room in 24 bits"
    assert network.run(queries).plasticity == "lazy"


@EXAMPLES
@given(lively_parameters(loud=True), st.integers(0, 10**6))
def test_wrapped_currents_and_saturated_voltages_do_not_make_lazy_inexact(parameters, seed):
    graph = random_graph(seed)
    network, queries = SGNN(graph, parameters), some_queries(graph, seed)
    lazy, full = (network.run(queries, plasticity=name) for name in ("lazy", "full"))
    assert_same(lazy, full)
    for event in ("u_wrapped", "v_saturated"):
        missed = full.counters[event] - lazy.counters[event]
        assert missed >= 0
        assert missed == 0 or lazy.counters["lower_bounds"] == 1


def test_loud_networks_do_wrap_and_saturate():
    parameters = SGNNParameters(
        graph_w=255, graph_exp=7, train_w=255, train_exp=7, topic_vth=131071, ref_train=0
    )
    counters = SGNN(complete_graph(12), parameters).run([5, 6]).counters
    assert counters["u_wrapped"] > 0
    assert counters["v_saturated"] > 0
    assert counters["lower_bounds"] == 1


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("loud", [False, True])
def test_every_back_end_gives_the_same_integers(backend, loud):
    @settings(EXAMPLES, max_examples=15)
    @given(lively_parameters(loud=loud), st.integers(0, 10**6))
    def check(parameters, seed):
        graph = random_graph(seed)
        network, queries = SGNN(graph, parameters), some_queries(graph, seed)
        expected = network.run(queries)
        ran = network.run(queries, backend=backend, batch=3)
        assert_same(expected, ran)
        assert expected.counters == ran.counters

    check()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_threads_and_batches_do_not_change_a_number(backend):
    graph, parameters = random_graph(4), SGNNParameters(features=True, feature_topic_w=6)
    network, queries = SGNN(graph, parameters), np.tile(graph.other, 3)
    expected = network.run(queries, batch=1000)
    for threads, batch in ((1, 1), (2, 5), (3, 16), (2, 1000)):
        assert_same(expected, network.run(queries, backend=backend, threads=threads, batch=batch))


def test_without_the_refractory_condition_constant_weights_would_be_wrong():
    # The other direction of the proof: papers that fire twice send what they learned.
    graph = complete_graph(12)
    parameters = SGNNParameters(
        ref_other=1, test_w=40, test_exp=0, A_plus=1, topic_vth=300, paper_vth=60, window=12
    )
    plan, rows = WindowPlan.of(graph, parameters), np.arange(3)
    full = SGNN(graph, parameters).run(graph.other[rows], plasticity="full")
    constant = readout_weights(run_plan(plan, rows).topics, parameters)[:, -1]
    assert not np.array_equal(full.scores, constant)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ref_other": 9}, "ref_other=9 is below window=10"),
        ({"t_epoch": 2}, "t_epoch=2"),
        (
            {"features": True, "feature_topic_w": 2, "feature_stdp": True, "ref_feature": 3},
            "ref_feature=3 is below window=10",
        ),
        ({"features": True, "feature_w": 255, "feature_exp": 7, "graph_exp": 7}, "graph_exp=7"),
    ],
)
def test_what_is_not_proven_exact_is_refused_and_auto_learns_everything(changes, named):
    graph = complete_graph(1100) if "graph_exp" in changes else random_graph(1)
    network = SGNN(graph, SGNNParameters().replace(**changes))
    with pytest.raises(ParameterError, match=r"plasticity='lazy' is not exact") as refused:
        network.run(graph.other[:1], plasticity="lazy")
    assert named in str(refused.value)
    assert len(network.lazy_obstacles) == 1
    if "graph_exp" not in changes:
        assert network.run(graph.other[:1]).plasticity == "full"


def test_words_that_learn_do_not_matter_where_the_graph_is_read_without_words():
    parameters = SGNNParameters(feature_stdp=True, feature_topic_w=2, ref_feature=0)
    assert lazy_obstacles(WindowPlan.of(random_graph(2), parameters)) == ()


def test_a_query_that_cites_nothing_learns_nothing():
    graph = random_graph(7)
    alone = graph.other[graph.degrees[graph.other] == 0]
    assert len(alone)
    scores = SGNN(graph).run(alone)
    assert (scores.scores == SGNNParameters().test_w).all()
    assert scores.spikes[OTHER].sum(axis=1).tolist() == [1] * len(alone)
    assert scores.silent.all()


def test_no_paper_outside_of_training_fires_twice():
    graph = random_graph(9)
    network = SGNN(graph)
    for query in graph.other:
        trace = network.trace(int(query))
        assert trace.spikes[OTHER].sum(axis=0).max() == 1
        assert not any(fired[0].any() for fired in trace.spikes.values()), "the guard is silent"


def test_waves_run_by_hops_where_a_citation_is_enough():
    graph = random_graph(11)
    parameters = SGNNParameters(window=12, topic_vth=131071, ref_train=60)
    for query in graph.other[:5]:
        hops = graph.hops_to_labels(np.array([query]))
        expected = np.where((hops >= 0) & (hops + 1 < 12), hops + 1, -1)
        first = SGNN(graph, parameters).trace(int(query)).first_spike
        np.testing.assert_array_equal(first, expected)


def test_voltages_decay_toward_zero_as_in_exact_arithmetic():
    v = np.array([0, 1, -1, 4095, 4096, -4097, 2**23 - 1, 1 - 2**23], dtype=np.int32)
    for dv in (1, 128, 2048, 4095):
        exact = [int(abs(int(x)) * (4096 - dv) // 4096) * (1 if x >= 0 else -1) for x in v]
        assert windows_numpy._decayed(v, dv).tolist() == exact


def test_a_back_end_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr(windows, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="backend='numba' needs the package numba"):
        SGNN(random_graph(1)).run([random_graph(1).other[0]], backend="numba")


def test_a_device_that_is_not_there_says_so():
    graph = random_graph(1)
    with pytest.raises(ParameterError, match="device='cuda:99'"):
        SGNN(graph).run(graph.other[:1], backend="torch", device="cuda:99")


def complete_graph(n_papers: int) -> CitationGraph:
    """Every paper cites every other; three are labeled."""
    pairs = np.array(np.triu_indices(n_papers, k=1))
    papers = np.arange(n_papers)
    return CitationGraph(
        name="complete",
        edges=pairs,
        labels=papers % N_TOPICS,
        topics=tuple("abc"),
        features=sparse.csr_matrix(np.ones((n_papers, 1))),
        train=papers[:N_TOPICS],
        validation=papers[:0],
        test=papers[N_TOPICS:],
    )


def test_all_topics_fire_together_when_every_label_is_one_citation_away():
    scores = SGNN(complete_graph(9)).run([4, 5])
    assert (scores.tied == N_TOPICS).all()
    assert scores.spikes[TRAIN][:, 2].tolist() == [3, 3]
    assert scores.spikes[TOPIC][:, 3].tolist() == [3, 3]
