"""The engine equals Lava's traces; its back ends equal each other; episodes equal one long run."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.engine import BACKENDS, simulate, simulate_episodes
from labkit.spiking.episodes import concatenated
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.network import Network
from labkit.spiking.plasticity import STDPLoihi
from labkit.spiking.projections import Population, Projection

GOLDEN = ("00", "01", "02", "03", "05", "08", "10", "13", "15", "17", "18", "19")
STATIC = ("dense", "sparse", "delay_dense")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.*:DeprecationWarning")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("net", GOLDEN)
def test_every_value_of_every_step_is_that_of_lava(labkit_data, net, backend):
    stem = labkit_data / "spiking" / "golden" / f"net{net}"
    network = Network.load(stem)
    with np.load(stem.with_suffix(".lava.npz")) as stored:
        lava = dict(stored)
    steps = next(iter(lava.values())).shape[0]
    run = simulate(network, steps, record=("u", "v", "s_out", "w"), backend=backend)
    recorded = {"u": run.u, "v": run.v, "s_out": run.s_out, "w": run.weights}
    assert set(lava) == {f"{name}.{key}" for key, part in recorded.items() for name in part}
    for name, expected in lava.items():
        part, variable = name.split(".")
        np.testing.assert_array_equal(recorded[variable][part], expected, err_msg=name)
    for name, weights in run.final_weights.items():
        assert np.array_equal(weights, lava[f"{name}.w"][-1])


def random_network(seed, *, steps=30, episode=None):
    """Two or three populations with every kind of projection, in the manner of the golden nets."""
    rng = np.random.default_rng(seed)
    sizes = {name: int(rng.integers(2, 9)) for name in "abc"[: rng.integers(2, 4)]}
    populations = [random_population(rng, name, n, episode) for name, n in sizes.items()]
    pairs = [(pre, post) for pre in sizes for post in sizes if rng.random() < 0.6]
    kinds = [*(STATIC if episode is None else STATIC[:2]), "learning_dense", "learning_dense"]
    projections = [
        random_projection(
            rng, f"k{j}", pre, post, (sizes[post], sizes[pre]), str(rng.choice(kinds))
        )
        for j, (pre, post) in enumerate(pairs)
    ]
    inputs = {
        name: rng.integers(-200, 3000, (n, steps)) * (rng.random((n, steps)) < 0.1)
        for name, n in sizes.items()
    }
    if rng.random() < 0.5:
        inputs["a"] = sparse.csr_matrix(inputs["a"])
    return Network(populations, projections, inputs, episode=episode)


def random_population(rng, name, n, episode):
    resets = {"reset_interval": episode, "reset_offset": 1, "guard": True}
    if episode is None:
        resets = {"reset_interval": int(rng.integers(2, 20)), "reset_offset": int(rng.integers(30))}
        resets = [{}, resets, resets | {"guard": True}][rng.integers(3)]
    lif = LIFParameters(
        vth=int(rng.integers(10, 300)),
        du=int(rng.choice([0, 100, 1000, 4095])),
        dv=int(rng.choice([0, 3, 128, 4095])),
        bias_mant=rng.integers(-30, 60, n) if rng.random() < 0.5 else 0,
        bias_exp=int(rng.integers(0, 7)),
        refractory=rng.integers(0, 6, n) if rng.random() < 0.5 else 0,
        **resets,
    )
    return Population(name, n, lif)


def random_projection(rng, name, pre, post, shape, kind):
    options = {"weight_exp": int(rng.integers(-4, 7)), "num_weight_bits": int(rng.integers(4, 9))}
    weights = rng.integers(-100, 200, shape) * (rng.random(shape) < 0.7)
    if rng.random() < 0.3:
        weights = np.abs(weights)
    if kind == "delay_dense":
        options["delays"] = rng.integers(0, 5, shape)
    if kind == "learning_dense":
        options["rule"] = random_rule(rng)
        if weights.min() >= 0:
            options["sign_mode"] = "excitatory"
    return Projection(name, pre, post, weights, kind=kind, **options)


def random_rule(rng):
    return STDPLoihi(
        learning_rate=float(rng.choice([0.25, 1, 2])),
        A_plus=float(rng.choice([-1, 0.5, 1])),
        A_minus=float(rng.choice([-2, -0.5, 1])),
        tau_plus=float(rng.choice([1.5, 2, 5])),
        tau_minus=float(rng.choice([2, 10])),
        x1_impulse=float(rng.choice([7.5, 16, 100])),
        y1_impulse=float(rng.choice([33.25, 90])),
        t_epoch=int(rng.choice([1, 1, 2, 4])),
        rng_seed=int(rng.integers(1000)),
    )


def assert_same(one, other):
    for part in ("s_out", "u", "v", "weights", "final_weights", "spikes", "spike_counts"):
        ours, theirs = getattr(one, part, {}), getattr(other, part, {})
        assert list(ours) == list(theirs)
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=f"{part} of {name}")
    assert one.counters == other.counters
    assert one.synaptic_operations == other.synaptic_operations


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_back_ends_give_the_same_integers(seed):
    network = random_network(seed)
    runs = [
        simulate(network, 36, record=("u", "v", "s_out", "w"), backend=name) for name in BACKENDS
    ]
    for run in runs[1:]:
        assert_same(runs[0], run)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), episode=st.integers(2, 9), batch=st.integers(1, 5))
def test_episodes_side_by_side_equal_one_long_run(seed, episode, batch):
    network = random_network(seed, steps=5 * episode, episode=episode)
    together = {
        name: simulate_episodes(
            network, record=("s_out",), backend=name, batch=batch, threads=1 + batch % 2
        )
        for name in BACKENDS
    }
    run = simulate(network, 5 * episode, record=("s_out", "w"))
    for episodes in together.values():
        assert_same(together["numpy"], episodes)
        assert episodes.counters == run.counters
        assert episodes.synaptic_operations == run.synaptic_operations
        for name, weights in episodes.final_weights.items():
            np.testing.assert_array_equal(weights, run.weights[name][episode - 1 :: episode])
        for name, spikes in episodes.s_out.items():
            np.testing.assert_array_equal(spikes.reshape(5 * episode, -1), run.s_out[name])
            np.testing.assert_array_equal(spikes.sum(axis=2), episodes.spike_counts[name])
    assert_same(run, simulate(network, 5 * episode, record=("s_out", "w"), backend="numba"))


def chain(weights, *, steps=8, start=1000, pre_vth=10, vth=131071, **options):
    """Population a, driven at its first step, and b, which never spikes unless vth says so."""
    weights = np.array(weights)
    n_post, n_pre = weights.shape
    inputs = np.zeros((n_pre, steps), dtype=int)
    inputs[:, 0] = start
    return Network(
        [
            Population("a", n_pre, LIFParameters(vth=pre_vth)),
            Population("b", n_post, LIFParameters(vth=vth, dv=4095)),
        ],
        [Projection("ab", "a", "b", weights, **options)],
        {"a": inputs},
    )


def arrivals(network, backend, steps=8):
    """Input that reaches b at each step: its current is 64 times the input when du is 4095."""
    run = simulate(network, steps, record=("u",), backend=backend)
    return run.u["b"] // 64


@pytest.mark.parametrize("backend", BACKENDS)
class TestEdges:
    def test_a_spike_arrives_one_step_later(self, backend):
        assert arrivals(chain([[7]]), backend)[:, 0].tolist() == [0, 7, 0, 0, 0, 0, 0, 0]

    def test_the_sum_is_shifted_not_the_weights(self, backend):
        network = chain([[3, 3, 3], [1, 1, 1]], weight_exp=-2)
        assert arrivals(network, backend)[1].tolist() == [9 >> 2, 3 >> 2]

    def test_each_delay_is_a_sum_of_its_own(self, backend):
        delays = np.array([[0, 2, 2]])
        network = chain([[3, 3, 3]], weight_exp=-2, kind="delay_dense", delays=delays)
        assert arrivals(network, backend)[:, 0].tolist() == [0, 3 >> 2, 0, 6 >> 2, 0, 0, 0, 0]

    def test_the_longest_delay_is_63_steps_more(self, backend):
        network = chain([[5]], kind="delay_dense", delays=np.array([[63]]))
        arriving = arrivals(network, backend, steps=70)[:, 0]
        assert np.flatnonzero(arriving).tolist() == [64]
        assert arriving[64] == 5

    def test_odd_mixed_weights_lose_their_last_bit(self, backend):
        assert arrivals(chain([[3], [-3]]), backend)[1].tolist() == [2, -4]

    def test_a_plastic_synapse_delivers_the_weight_before_the_step_s_learning(self, backend):
        rule = STDPLoihi(
            learning_rate=1, A_plus=1, A_minus=1, tau_plus=9, tau_minus=9, y1_impulse=20
        )
        network = Network(
            [Population("a", 1, LIFParameters(vth=10)), Population("b", 1, LIFParameters(vth=10))],
            [Projection("ab", "a", "b", np.array([[4]]), kind="learning_dense", rule=rule)],
            {"a": np.array([[1000]]), "b": np.array([[1000]])},
        )
        run = simulate(network, 2, record=("u", "w"), backend=backend)
        # both spike at step 1: x1 = 16 and y1 = 20 are added to the weight after it was sent
        assert run.weights["ab"][:, 0, 0].tolist() == [40, 40]
        assert run.u["b"][1, 0] == 4 * 64

    def test_a_guard_swallows_what_a_plain_reset_lets_through(self, backend):
        def last_current(**guard):
            lif = LIFParameters(vth=500, reset_interval=2, reset_offset=0, **guard)
            network = Network(
                [Population("a", 1, LIFParameters(vth=10)), Population("b", 1, lif)],
                [Projection("ab", "a", "b", np.array([[100]]))],
                {"a": np.array([[1000]])},
            )
            return simulate(network, 2, record=("u",), backend=backend).u["b"][1, 0]

        assert last_current() == 6400
        assert last_current(guard=True) == 0

    def test_synaptic_operations_are_spikes_times_fan_out(self, backend):
        few = Projection("few", "a", "b", sparse.csr_matrix([[5, 0], [5, 5]]), kind="sparse")
        base = chain([[1, 1], [1, 1]])
        network = Network(base.populations, [*base.projections, few], base.inputs)
        run = simulate(network, 4, backend=backend)
        assert run.spikes["a"].tolist() == [1, 1]
        assert run.synaptic_operations == 2 * 2 + (2 + 1)

    def test_sums_beyond_32_bits_wrap_as_in_lava(self, backend):
        network = chain(np.full((1, 6), 255), weight_exp=15, steps=4)
        wide = 6 * (255 << 15) << 6
        narrow = wide - 2**32
        assert wide > 2**31
        assert narrow <= -(2**23)
        run = simulate(network, 4, record=("u",), backend=backend)
        assert run.u["b"][1, 0] == narrow + 2**24
        assert run.counters.u_wrapped["b"] == 1

    def test_what_does_not_fit_is_counted_and_said(self, backend):
        rule = STDPLoihi(
            learning_rate=1, A_plus=4, A_minus=4, tau_plus=9, tau_minus=9, x1_impulse=100
        )
        lif = LIFParameters(vth=10)
        network = Network(
            [Population("a", 1, lif), Population("b", 1, lif)],
            [
                Projection("ab", "a", "b", np.array([[240]]), kind="learning_dense", rule=rule),
                Projection("ba", "b", "a", np.array([[400]]), clip=True, weight_exp=15),
            ],
            {"a": np.full((1, 3), 131073), "b": np.full((1, 3), 1000)},
        )
        counters = simulate(network, 3, backend=backend).counters
        assert counters.weight_clipped == {"ba": 1}
        assert counters.u_wrapped["a"] == 3
        assert counters.trace_saturated == {"ab": 1}
        assert counters.weight_saturated["ab"] >= 1
        assert counters.total == sum(
            sum(part.values())
            for part in (
                counters.u_wrapped,
                counters.v_saturated,
                counters.weight_clipped,
                counters.weight_saturated,
                counters.trace_saturated,
            )
        )
        said = " ".join(counters.warnings())
        assert "current of population 'a' wrapped around 2^23 3 times" in said
        assert "1 weights of projection 'ba' did not fit 8 bits" in said

    def test_a_network_without_projections_or_inputs_runs(self, backend):
        network = Network([Population("a", 2, LIFParameters(vth=10, bias_mant=700))])
        run = simulate(network, 3, backend=backend)
        assert run.s_out["a"].all()
        assert run.synaptic_operations == 0
        assert run.u == run.v == run.weights == run.final_weights == {}


def test_one_variable_to_record_may_be_named_alone():
    for backend in BACKENDS:
        run = simulate(chain([[1]]), 3, record="s_out", backend=backend)
        assert list(run.s_out) == ["a", "b"]
        assert run.u == run.v == run.weights == {}


def test_learning_restarts_with_the_episode_while_the_random_streams_run_on():
    rule = STDPLoihi(learning_rate=1, A_plus=0.5, A_minus=0.5, tau_plus=2, tau_minus=2, rng_seed=3)
    lif = LIFParameters(vth=10, reset_interval=8, reset_offset=1, guard=True)
    pulses = np.zeros((1, 40), dtype=int)
    pulses[:, 1::8] = 1000
    network = Network(
        [Population("a", 1, lif), Population("b", 1, lif)],
        [Projection("ab", "a", "b", np.array([[20]]), kind="learning_dense", rule=rule)],
        {"a": pulses},
        episode=8,
    )
    weights = simulate(network, 40, record=("w",)).weights["ab"][:, 0, 0].reshape(5, 8)
    assert (weights[:, 0] == 20).all()
    assert (weights[:, -1] > 20).all()
    assert len(np.unique(weights[:, -1])) > 1
    assert (
        simulate_episodes(network).final_weights["ab"].ravel().tolist() == weights[:, -1].tolist()
    )


def test_random_networks_spike_and_learn():
    runs = [simulate(random_network(seed), 36, record=("s_out",)) for seed in range(30)]
    shares = [np.mean([part.mean() for part in run.s_out.values()]) for run in runs]
    assert np.median(shares) > 0.05
    learned = 0
    for seed, run in enumerate(runs):
        started = {p.name: p.effective_weights() for p in random_network(seed).learning}
        learned += any((run.final_weights[name] != w).any() for name, w in started.items())
    assert learned > 15


def episodic(**changes):
    lif = {"vth": 10, "reset_interval": 4, "reset_offset": 1, "guard": True} | changes
    return Network([Population("a", 2, LIFParameters(**lif))], episode=4)


def test_events_are_inputs_in_another_form():
    events = {"a": np.array([[2, 1, 0, 11], [0, 3, 1, 500], [2, 1, 0, 4], [1, 0, 0, 900]])}
    for backend in BACKENDS:
        episodes = simulate_episodes(episodic(), events, 3, record=("s_out",), backend=backend)
        fired = np.argwhere(episodes.s_out["a"])
        assert fired.tolist() == [[0, 3, 1], [2, 1, 0]]  # the one of step 0 meets the guard
    long = concatenated(episodic(), events, 3)
    assert np.argwhere(simulate(long, 12).s_out["a"]).tolist() == [[3, 1], [9, 0]]
    assert simulate_episodes(long).spike_counts["a"].tolist() == episodes.spike_counts["a"].tolist()


@pytest.mark.parametrize(
    ("network", "events", "message"),
    [
        (
            Network([Population("a", 1, LIFParameters(vth=1))]),
            {},
            "episode=None has no episodes to simulate",
        ),
        (
            episodic(guard=False),
            {},
            "population 'a' carries its state .* guard=True, reset_interval=4 and reset_offset=1",
        ),
        (episodic(reset_offset=2), {}, "population 'a' carries its state"),
        (episodic(reset_interval=2), {}, "population 'a' carries its state"),
        (episodic(), {"z": np.zeros((0, 4), dtype=int)}, "population 'z' is not in the network"),
        (
            episodic(),
            {"a": np.zeros((1, 3), dtype=int)},
            r"events of .* \(1, 3\); .* episode, step",
        ),
        (episodic(), {"a": None}, r"events of population 'a' are object of shape \(\); use whole"),
        (episodic(), {"a": []}, r"events of population 'a' are float64 of shape \(0,\)"),
        (episodic(), {"a": [[0, 0, 0, 1], [1]]}, "events of population 'a' are .* columns episode"),
        (episodic(), {"a": [["0", "0", "0", "1"]]}, "events of population 'a' are <U1"),
        (episodic(), 3, "events is of type int; give a dict"),
        (episodic(), {"a": np.array([[3, 0, 0, 1]])}, "episode of the events of population 'a'="),
        (episodic(), {"a": np.array([[0, 4, 0, 1]])}, "step of the events .* 0 to 3"),
        (episodic(), {"a": np.array([[0, 0, 2, 1]])}, "neuron of the events .* 0 to 1"),
    ],
)
def test_episodes_that_know_of_each_other_and_wrong_events_are_refused(network, events, message):
    with pytest.raises(ParameterError, match=message):
        simulate_episodes(network, events, 3)


def test_events_that_are_no_table_are_named_where_they_tell_the_number_of_episodes():
    with pytest.raises(ParameterError, match="events of population 'a' are object"):
        simulate_episodes(episodic(), {"a": None})


def test_delays_and_two_sources_of_input_are_refused():
    base = episodic()
    late = Projection(
        "k", "a", "a", np.ones((2, 2), dtype=int), kind="delay_dense", delays=np.eye(2, dtype=int)
    )
    with pytest.raises(
        ParameterError, match="delays of projection 'k' reach 1; spikes would arrive"
    ):
        simulate_episodes(Network(base.populations, [late], episode=4), {}, 1)
    fed = Network(base.populations, inputs={"a": np.ones((2, 4), dtype=int)}, episode=4)
    with pytest.raises(ParameterError, match="events are given and the network has inputs"):
        simulate_episodes(fed, {}, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "nupy"}, "backend='nupy' is not allowed; .* Did you mean 'numpy'"),
        ({"record": ("spikes",)}, "record='spikes' is not allowed"),
        ({"record": "s_ou"}, "record='s_ou' is not allowed"),
        ({"record": None}, "record=None is not allowed; use 's_out', .* Or \\(\\) for nothing"),
        ({"threads": 0}, "threads=0 is not allowed"),
        ({"steps": 0}, "steps=0 is not allowed"),
        ({"backend": "torch", "device": "quantum"}, "device='quantum' cannot be used"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ParameterError, match=message):
        simulate(chain([[1]]), **({"steps": 3} | options))


def test_a_missing_numba_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "labkit.spiking.engine_numba", None)
    monkeypatch.delattr("labkit.spiking.engine_numba", raising=False)
    with pytest.raises(ParameterError, match=r"backend='numba' needs numba.*labkit\[numba\]"):
        simulate(chain([[1]]), 3, backend="numba")


def test_the_numpy_engine_loads_neither_torch_nor_numba():
    code = (
        "import sys, labkit.spiking.engine; "
        "print([name for name in ('torch', 'numba', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
