"""Lava itself: it reproduces its golden traces, and every value of the engines is its own."""

from __future__ import annotations

import ast
import sys

import numpy as np
import pytest
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.diffusion import SpikingLabelDiffusion
from labkit.spiking.diffusion_parameters import DiffusionParameters
from labkit.spiking.engine import simulate
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.lava import check_against_lava, run_in_lava
from labkit.spiking.lava_process import SCRIPTS
from labkit.spiking.network import Network
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.plasticity import STDPLoihi
from labkit.spiking.projections import Population, Projection
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.wiring import build_sgnn

RULE = {"learning_rate": 1, "A_plus": 0.5, "A_minus": -0.5, "tau_plus": 2, "tau_minus": 2}
STEPS = 60
PIECES = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b"), ("c", "b")]
"""Projections of a random network: a cycle, one onto itself, and a second one into b."""


def pair(*, episode: int | None = None, tau: float = 2.0) -> Network:
    """One neuron that is made to spike every five steps, onto one that follows it and learns."""
    lif = LIFParameters(vth=10)
    rule = STDPLoihi(**{**RULE, "tau_plus": tau}, x1_impulse=40)
    pulses = np.where(np.arange(40) % 5 == 0, 11, 0)[np.newaxis]
    populations = [Population("pre", 1, lif), Population("post", 1, lif)]
    learned = Projection(
        "learned", "pre", "post", np.array([[20]]), kind="learning_dense", rule=rule
    )
    return Network(populations, [learned], {"pre": pulses}, episode=episode)


def guarded(*, guard: bool) -> Network:
    """A neuron that spikes at every step, onto one that is reset at steps 5, 10, 15, ..."""
    relay = LIFParameters(vth=10, reset_interval=5, guard=guard, refractory=1)
    return Network(
        [Population("source", 1, LIFParameters(vth=10)), Population("relay", 1, relay)],
        [Projection("on", "source", "relay", np.array([[20]]))],
        {"source": np.full((1, 20), 11)},
    )


def random_rule(rng: np.random.Generator, *, whole: bool) -> STDPLoihi:
    """A rule that Lava's learning engine holds; with `whole`, one that survives ``Var.set``."""
    return STDPLoihi(
        learning_rate=float(rng.choice([0.25, 0.5, 1, 2])),
        A_plus=float(rng.choice([-1, 0.5, 1])),
        A_minus=float(rng.choice([-2, -1, -0.5, 1])),
        tau_plus=float(rng.choice([2, 5, 10] if whole else [1.5, 5.25])),
        tau_minus=float(rng.choice([2, 5, 10] if whole else [2.75, 10])),
        x1_impulse=float(rng.choice([16, 40, 100] if whole else [7.5, 33.25])),
        y1_impulse=float(rng.choice([16, 33, 90] if whole else [90, 16.5])),
        t_epoch=int(rng.choice([1, 2, 4])),
        rng_seed=int(rng.integers(1000)),
    )


def random_population(rng: np.random.Generator, name: str, interval: int) -> Population:
    """Neurons of one of the kinds of Lava, or of labkit's."""
    n = int(rng.integers(2, 25))
    resets = {"reset_interval": interval, "reset_offset": int(rng.integers(30))}
    rests = {"refractory": rng.integers(0, 6, n)}
    kind = [{}, resets, resets | rests, resets | rests | {"guard": True}][rng.integers(4)]
    lif = LIFParameters(
        vth=int(rng.integers(10, 300)),
        du=int(rng.choice([0, 1, 100, 1000, 4095])),
        dv=int(rng.choice([0, 3, 128, 2000, 4095])),
        bias_mant=rng.integers(-20, 60, n),
        bias_exp=int(rng.integers(8)),
        **kind,
    )
    return Population(name, n, lif)


def random_projection(
    rng: np.random.Generator, name: str, pre: Population, post: Population, *, whole: bool
) -> Projection:
    """Synapses of one of the kinds of Lava; half of them learn."""
    kind = str(rng.choice(["dense", "sparse", "delay_dense", *["learning_dense"] * 3]))
    weights = rng.integers(-250, 250, (post.n, pre.n))
    extra = {}
    if kind == "sparse":
        weights = sparse.csr_matrix(weights * (rng.random(weights.shape) < 0.4))
    if kind == "delay_dense":
        extra = {"delays": rng.integers(0, 8, weights.shape)}
    if kind == "learning_dense":
        extra = {"rule": random_rule(rng, whole=whole)}
        if rng.integers(2):
            weights, extra = abs(weights), extra | {"sign_mode": "excitatory"}
    exponent, bits = int(rng.integers(-3, 6)), int(rng.choice([4, 6, 8]))
    return Projection(
        name,
        pre.name,
        post.name,
        weights,
        kind=kind,
        weight_exp=exponent,
        num_weight_bits=bits,
        **extra,
    )


def random_network(seed: int, *, episodes: bool) -> Network:
    """Three recurrent populations with everything that the engines have."""
    rng = np.random.default_rng(seed)
    interval = int(rng.integers(7, 21))
    populations = {name: random_population(rng, name, interval) for name in "abc"}
    projections = [
        random_projection(rng, f"k{i}", populations[pre], populations[post], whole=episodes)
        for i, (pre, post) in enumerate(PIECES)
    ]
    inputs = {
        name: (rng.random((population.n, 50)) < 0.1) * rng.integers(300, size=(population.n, 50))
        for name, population in populations.items()
    }
    inputs["a"] = sparse.csr_matrix(inputs["a"])
    return Network(
        populations.values(), projections, inputs, episode=interval if episodes else None
    )


@pytest.mark.parametrize("name", ["net02", "net05", "net19"])
def test_lava_reproduces_its_golden_traces(lava_environment, labkit_data, name):
    # net02: LIF, LIFReset, all four connections. net05: four learning connections, two populations
    # of LIFLongReset with refractory times. net19: LIFLongReset with shifts and 4-bit weights.
    stem = labkit_data / "spiking" / "golden" / name
    network = Network.load(stem)
    made = run_in_lava(network, network.input_steps, record=("s_out", "u", "v", "w")).recording
    with np.load(stem.with_suffix(".lava.npz")) as golden:
        for entry in golden.files:
            part, variable = entry.split(".")
            values = getattr(made, "weights" if variable == "w" else variable)[part]
            np.testing.assert_array_equal(values, golden[entry], err_msg=entry)


@pytest.mark.parametrize(("seed", "episodes"), [(0, True), (13, True), (22, True), (1, False)])
def test_every_value_of_a_random_network_is_that_of_lava(lava_environment, seed, episodes):
    network = random_network(seed, episodes=episodes)
    check = check_against_lava(network, STEPS)
    assert check.exact, check.frame
    expected = sum(3 * population.n for population in network.populations)
    expected += sum(projection.weights.size for projection in network.learning)
    assert check.frame["values"].sum() == STEPS * expected
    spikes = simulate(network, STEPS).s_out
    assert sum(made.sum() for made in spikes.values()) > 100


def test_every_value_of_a_citation_network_is_that_of_lava(lava_environment):
    graph = simulated_citation_graph(
        n_papers=150, n_topics=3, n_edges=260, n_words=60, words_per_paper=6, n_validation=20,
        n_test=30, train_per_topic=5,
    )  # fmt: skip
    network = build_sgnn(graph, SGNNParameters(), graph.test[:3])
    check = check_against_lava(network, 3 * network.episode)
    assert check.exact, check.frame
    learned = run_in_lava(network, network.episode).recording.final_weights
    assert all(len(np.unique(weights)) > 1 for weights in learned.values())


def test_every_value_of_label_diffusion_is_that_of_lava(lava_environment):
    graph = simulated_citation_graph(
        n_papers=150, n_topics=3, n_edges=260, n_words=60, words_per_paper=6, n_validation=20,
        n_test=30, train_per_topic=5,
    )  # fmt: skip
    parameters = DiffusionParameters(knn=5)
    fitted = SpikingLabelDiffusion(parameters).fit(graph)
    network = fitted.to_network(topics=[0, 2])
    run = run_in_lava(network, parameters.steps, record=("s_out",))
    (spikes,) = run.recording.s_out.values()
    counts = spikes.sum(axis=0).reshape(graph.n_papers, 2)
    np.testing.assert_array_equal(counts, fitted.spike_counts[:, [0, 2]])
    assert check_against_lava(network, parameters.steps).exact


def test_a_difference_is_found_where_it_is(lava_environment, monkeypatch):
    network = random_network(0, episodes=True)
    first = network.populations[0]
    other = Network(
        (Population("a", first.n, LIFParameters(vth=9)), *network.populations[1:]),
        network.projections,
        network.inputs,
        episode=network.episode,
    )
    monkeypatch.setattr(
        "labkit.spiking.lava.simulate", lambda _, *args, **kwargs: simulate(other, *args, **kwargs)
    )
    check = check_against_lava(network, STEPS)
    assert not check.exact
    differing = check.frame.set_index("variable")
    ours = simulate(other, STEPS, record=("v",)).v["a"]
    theirs = simulate(network, STEPS, record=("v",)).v["a"]
    assert differing.loc["a.v", "differing"] == np.count_nonzero(ours != theirs)
    first_step = np.flatnonzero((ours != theirs).any(axis=1))[0] + 1
    assert differing.loc["a.v", "first_step"] == first_step


@pytest.mark.parametrize("guard", [True, False])
def test_the_guard_keeps_the_last_spike_before_a_reset_out(lava_environment, guard):
    recording = run_in_lava(guarded(guard=guard), 20, record=("s_out", "u", "v")).recording
    resets = np.arange(5, 21, 5) - 1
    spikes = recording.s_out["relay"][resets, 0]
    assert not spikes.any() if guard else spikes.all()
    currents = recording.u["relay"][resets, 0]
    assert np.all(currents == (0 if guard else 20 << 6))
    assert check_against_lava(guarded(guard=guard), 20).exact


def test_a_neuron_rests_for_its_refractory_time(lava_environment):
    lif = LIFParameters(vth=10, bias_mant=1000, refractory=np.array([0, 1, 4]))
    network = Network([Population("a", 3, lif)], [Projection("k", "a", "a", np.zeros((3, 3), int))])
    spikes = run_in_lava(network, 20).recording.s_out["a"]
    for neuron, rest in enumerate([0, 1, 4]):
        np.testing.assert_array_equal(np.diff(np.flatnonzero(spikes[:, neuron])), rest + 1)


def test_a_run_tells_what_was_run_and_how_long_it_took(lava_environment):
    run = run_in_lava(pair(episode=10), 35, record=())
    assert run.version == "0.10.0"
    assert len(run.seconds_episodes) == 4
    assert run.seconds_run == pytest.approx(run.seconds_episodes.sum())
    assert min(run.seconds_compile, run.seconds_run, run.seconds_set_back) > 0
    assert run.recording.s_out == {}
    assert run.recording.final_weights["learned"].shape == (1, 1)


@pytest.mark.parametrize("field", ["tau_plus", "x1_impulse"])
def test_what_lava_would_truncate_between_episodes_is_refused(field):
    rule = STDPLoihi(**{**RULE, field: 1.5})
    weights = np.array([[20]])
    learned = Projection("k", "a", "a", weights, kind="learning_dense", rule=rule)
    populations = [Population("a", 1, LIFParameters(vth=10))]
    with pytest.raises(ParameterError, match=f"^{field}=1.5 of projection 'k' with episode=10"):
        run_in_lava(Network(populations, [learned], episode=10), 20)


def test_lava_truncates_a_time_constant_when_a_variable_is_set(lava_environment, monkeypatch):
    # The reason of the refusal: from the second episode on, tau is 1 instead of 1.9.
    monkeypatch.setattr("labkit.spiking.lava._check_runnable", lambda *_: None)
    asked, truncated = (pair(episode=10, tau=tau) for tau in (1.9, 1.0))
    made = run_in_lava(asked, 30, record=("w",)).recording.weights["learned"]
    ours, other = (
        simulate(network, 30, record=("w",)).weights["learned"] for network in (asked, truncated)
    )
    np.testing.assert_array_equal(made[:10], ours[:10])
    np.testing.assert_array_equal(made[10:], other[10:])
    assert np.any(made[10:] != ours[10:])


def test_populations_that_are_not_connected_are_refused():
    lif = LIFParameters(vth=10)
    populations = [Population(name, 1, lif) for name in ("a", "b", "island")]
    joined = Projection("ab", "a", "b", np.array([[20]]))
    with pytest.raises(ParameterError, match="populations island are not connected to a"):
        run_in_lava(Network(populations, [joined]), 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0 is not allowed"),
        ({"steps": "5"}, "steps='5' is not allowed"),
        ({"steps": 5, "record": ("spikes",)}, "record='spikes' is not allowed; use 's_out', 'u'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ParameterError, match=message):
        run_in_lava(pair(), **arguments)


@pytest.mark.parametrize("file", sorted(SCRIPTS.rglob("*.py")), ids=lambda file: file.name)
def test_scripts_of_lava_need_python_3_10_and_its_environment_only(file):
    tree = ast.parse(file.read_text(), feature_version=(3, 10))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    beside = {path.stem for path in SCRIPTS.iterdir()}
    assert imported <= set(sys.stdlib_module_names) | {"lava", "numpy", "scipy"} | beside


def test_a_process_class_of_lava_is_alone_in_its_folder():
    # Lava imports every file beside the file of a process class when it compiles.
    folders = [path for path in SCRIPTS.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(folder.name for folder in folders) == ["neurons", "objectives", "recorders"]
    for folder in folders:
        assert len(list(folder.glob("*.py"))) == 1
