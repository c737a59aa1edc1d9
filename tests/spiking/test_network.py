"""Networks: what is refused and how it is said, counting, files that read back as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from labkit.errors import MissingDataError, ParameterError
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.network import Network
from labkit.spiking.plasticity import STDPLoihi
from labkit.spiking.projections import Population, Projection

RULE = STDPLoihi(learning_rate=1, A_plus=0.5, A_minus=-0.5, tau_plus=2.5, tau_minus=2)
LIF = LIFParameters(vth=100)


def population(name="a", n=2, **parameters):
    return Population(name, n, LIFParameters(**({"vth": 100} | parameters)))


def projection(weights=((1, 2), (3, 4)), name="k", pre="a", post="a", **options):
    weights = np.array(weights) if not sparse.issparse(weights) else weights
    return Projection(name, pre, post, weights, **options)


def full_network():
    episode = {"reset_interval": 5, "reset_offset": 1, "guard": True}
    return Network(
        [
            population("a", 3, bias_mant=np.array([0, -5, 9]), bias_exp=2, du=7, dv=12),
            population("b", 2, refractory=np.array([0, 60]), **episode),
            population("c", 1, reset_interval=4, reset_offset=2),
        ],
        [
            projection(
                [[300, 2, 4], [-2, 0, 8]], "clipped", "a", "b", clip=True, num_weight_bits=6
            ),
            projection(sparse.csr_matrix([[0, 5], [7, 0]]), "few", "b", "b", kind="sparse"),
            projection(
                [[9], [8]], "late", "c", "b", kind="delay_dense", delays=np.array([[0], [63]])
            ),
            projection(
                [[2, -8]], "plastic", "b", "c", kind="learning_dense", rule=RULE, weight_exp=-7
            ),
            projection([[-9], [-8], [0]], "down", "c", "a", sign_mode="inhibitory", weight_exp=3),
        ],
        {"a": np.arange(12).reshape(3, 4), "b": sparse.csc_matrix([[0, 0, 6], [0, 5, 0]])},
        episode=5,
    )


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def test_a_saved_network_reads_back_as_it_was(tmp_path):
    network = full_network()
    network.save(tmp_path / "net.v1")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.v1.json", "net.v1.npz"]
    read = Network.load(tmp_path / "net.v1")
    assert read.episode == 5
    for before, after in zip(network.populations, read.populations, strict=True):
        assert (before.name, before.n, before.kind) == (after.name, after.n, after.kind)
        for field in ("vth", "du", "dv", "reset_interval", "reset_offset", "guard"):
            assert getattr(before.lif, field) == getattr(after.lif, field)
        assert np.array_equal(before.lif.bias(before.n), after.lif.bias(after.n))
        steps = (p.lif.refractory_steps(p.n) for p in (before, after))
        assert np.array_equal(*steps)
    for before, after in zip(network.projections, read.projections, strict=True):
        for field in ("name", "pre", "post", "kind", "weight_exp", "num_weight_bits", "clip"):
            assert getattr(before, field) == getattr(after, field)
        assert (before.sign_mode, before.rule) == (after.sign_mode, after.rule)
        assert np.array_equal(dense(before.weights), dense(after.weights))
        assert np.array_equal(before.delays, after.delays)
    for name, matrix in network.inputs.items():
        assert np.array_equal(dense(matrix), dense(read.inputs[name]))


def test_files_without_a_clip_key_are_clipped_as_lava_clips(tmp_path):
    full_network().save(tmp_path / "net")
    text = json.loads((tmp_path / "net.json").read_text())
    for packed in text["conns"]:
        del packed["clip"]
    (tmp_path / "net.json").write_text(json.dumps(text))
    assert Network.load(tmp_path / "net").projection("clipped").n_clipped == 1


def without_checksum(file):
    """Make the description like those of files that another program wrote."""
    text = json.loads(file.read_text())
    del text["npz_sha256"]
    file.write_text(json.dumps(text))


def test_files_of_two_networks_are_told_apart(tmp_path):
    older, newer = (Network([population(bias_mant=bias)]) for bias in (1, 2))
    older.save(tmp_path / "net")
    between = (tmp_path / "net.json").read_bytes()
    newer.save(tmp_path / "net")
    assert Network.load(tmp_path / "net").populations[0].lif.bias(2).tolist() == [2, 2]
    (tmp_path / "net.json").write_bytes(between)
    with pytest.raises(ParameterError, match=r"net\.json and net\.npz are not of one network"):
        Network.load(tmp_path / "net")
    without_checksum(tmp_path / "net.json")
    assert Network.load(tmp_path / "net").n_neurons == 2


def test_an_interrupted_save_leaves_the_older_network(tmp_path, monkeypatch):
    Network([population(bias_mant=1)]).save(tmp_path / "net")

    def interrupted(file, **arrays):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Network([population(bias_mant=2)]).save(tmp_path / "net")
    assert Network.load(tmp_path / "net").populations[0].lif.bias(2).tolist() == [1, 1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.json", "net.npz"]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"stem='.*': the folder .*/none does not exist; make"):
        full_network().save(tmp_path / "none" / "net")


def test_damaged_files_are_named_with_what_to_do(tmp_path):
    full_network().save(tmp_path / "net")
    text_file, array_file = tmp_path / "net.json", tmp_path / "net.npz"
    text, whole = text_file.read_text(), array_file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no arrays"):
        array_file.write_bytes(content)
        with pytest.raises(
            ParameterError, match=r"net\.npz is damaged .* save it again"
        ) as refused:
            Network.load(tmp_path / "net")
        assert "pickle" not in str(refused.value)
    array_file.write_bytes(whole)
    for content, message in (
        (text[:50], r"net\.json is damaged \(.*\); delete it and save the network again"),
        ("[]", r"net\.json describes no network; write it with Network\.save"),
        ('{"pops": 3}', r"net\.json and net\.npz describe no network \(.*write them with"),
        ("{}", r"net\.json and net\.npz lack 'pops'"),
        (text.replace('"dv": 12', '"dv": -1'), r"describe no network \(dv=-1 is not allowed"),
    ):
        text_file.write_text(content)
        with pytest.raises(ParameterError, match=message):
            Network.load(tmp_path / "net")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "\u00e9", 3, None])
def test_names_that_no_file_can_carry_are_refused(name):
    with pytest.raises(ParameterError, match=r"name of a population=.* is not allowed; use letter"):
        population(name)
    with pytest.raises(ParameterError, match=r"name of a projection=.* is not allowed; use letter"):
        projection(name=name)
    with pytest.raises(ParameterError, match=r"pre of projection 'k'=.* is not allowed; use lett"):
        projection(pre=name)


def test_a_missing_file_and_a_missing_array_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"net\.json is missing; a network is the two files"):
        Network.load(tmp_path / "net")
    full_network().save(tmp_path / "net")
    without_checksum(tmp_path / "net.json")
    np.savez(tmp_path / "net.npz", a_bias=np.zeros(3, dtype=int))
    with pytest.raises(ParameterError, match=r"net\.json and net\.npz lack 'b_bias'"):
        Network.load(tmp_path / "net")


def test_kinds_are_those_of_lava():
    kinds = [population(**parameters).kind for parameters in (
        {}, {"reset_interval": 3}, {"refractory": 1}, {"reset_interval": 3, "guard": True},
    )]  # fmt: skip
    assert kinds == ["LIF", "LIFReset", "LIFLongReset", "LIFLongReset"]


def test_neurons_and_synapses_are_counted():
    network = full_network()
    assert network.n_neurons == 6
    assert [p.n_synapses for p in network.projections] == [6, 2, 2, 2, 3]
    assert network.n_synapses == 15
    assert network.projection("few").fan_out.tolist() == [1, 1]
    assert network.projection("down").fan_out.tolist() == [3]
    assert network.input_steps == 4
    assert [p.name for p in network.learning] == ["plastic"]


def test_duplicates_of_a_sparse_projection_are_added():
    twice = sparse.coo_matrix(([3, 4], ([0, 0], [1, 1])), shape=(2, 2))
    made = projection(twice, kind="sparse")
    assert made.weights.toarray().tolist() == [[0, 7], [0, 0]]


def test_weights_of_a_projection_do_not_follow_the_array_they_came_from():
    weights = np.array([[1, 2], [3, 4]])
    made = projection(weights)
    weights[0, 0] = 99
    assert made.weights[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        made.weights[0, 0] = 5


def test_populations_that_no_projection_joins_are_found():
    ends = [("a", "c"), ("d", "b")]
    network = Network(
        [population(name, 1) for name in "abcde"],
        [projection([[1]], f"k{j}", *pair) for j, pair in enumerate(ends)],
    )
    assert network.components() == (("a", "c"), ("b", "d"), ("e",))
    assert network.disconnected() == ("b", "d", "e")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network([]), "populations is empty"),
        (lambda: Network([population(), population()]), "2 populations are named 'a'"),
        (
            lambda: Network([population()], [projection(), projection()]),
            "2 projections are named 'k'",
        ),
        (
            lambda: Network([population()], [projection(post="z")]),
            r"projection 'k' joins the unknown population 'z'; there are a",
        ),
        (
            lambda: Network([population(n=3)], [projection()]),
            r"weights of projection 'k' have shape \(2, 2\); .* = \(3, 3\)",
        ),
        (
            lambda: Network([population()], inputs={"z": np.zeros((2, 1), dtype=int)}),
            "inputs name the unknown population 'z'",
        ),
        (
            lambda: Network([population()], inputs={"a": np.zeros((3, 1), dtype=int)}),
            r"inputs of population 'a' have shape \(3, 1\); use \(n, n_steps\) with n = 2",
        ),
        (
            lambda: Network([population()], inputs={"a": np.zeros((2, 1))}),
            "inputs of population 'a'=array of float64",
        ),
        (
            lambda: Network([population()], inputs={"a": np.full((2, 1), 2**25)}),
            "inputs of population 'a'=array of int64 from 33554432",
        ),
        (lambda: Network([population()], episode=0), "episode=0 is not allowed"),
        (lambda: Network([population()], episode="3"), "episode='3' is not allowed"),
        (
            lambda: Network([population()]).population("z"),
            "population 'z' is not in the network; there are a",
        ),
        (lambda: population(n=0), "n of population 'a'=0 is not allowed"),
        (
            lambda: population(n=2, refractory=np.zeros(3, dtype=int)),
            r"refractory of population 'a' has shape \(3,\); use one number or one for each",
        ),
    ],
)
def test_a_network_that_does_not_fit_together_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dens"}, "kind='dens' is not allowed; .* Did you mean 'dense'"),
        (
            {"weights": ((1, 300), (3, 4))},
            "reach from 1 to 300; 8 bits of .*'excitatory' hold 0 to 255",
        ),
        ({"weights": ((-300, 1), (3, 4))}, "reach from -300 to 4; .*'mixed' hold -256 to 255"),
        ({"weights": ((-256, 0), (0, 0))}, "'inhibitory' hold -255 to 0.*pass clip=True"),
        ({"weights": ((-1, 2), (3, 4)), "sign_mode": "excitatory"}, "hold 0 to 255"),
        ({"weights": ((0.5, 1), (1, 1))}, "weights of projection 'k' have 2 dimensions of float64"),
        ({"weights": (1, 2)}, "weights of projection 'k' have 1 dimensions of int64"),
        ({"sign_mode": "excitatry"}, "sign_mode='excitatry' is not allowed"),
        ({"weight_exp": 16}, "weight_exp of projection 'k'=16 is not allowed; .* -16 to 15"),
        ({"num_weight_bits": 9}, "num_weight_bits of projection 'k'=9 is not allowed; .* 1 to 8"),
        ({"kind": "delay_dense"}, "is delay_dense and has no delays"),
        ({"delays": np.zeros((2, 2), dtype=int)}, "is dense and has delays"),
        (
            {"kind": "delay_dense", "delays": np.array([[0, 64], [0, 0]])},
            "delays of projection 'k'=array of int64 from 0 to 64 .* 0 to 63",
        ),
        (
            {"kind": "delay_dense", "delays": np.zeros((2, 1), dtype=int)},
            r"delays of projection 'k' have shape \(2, 1\); use that of the weights, \(2, 2\)",
        ),
        ({"kind": "learning_dense"}, "is learning_dense and has no rule"),
        ({"rule": RULE}, "is dense and has a rule"),
        (
            {"kind": "learning_dense", "rule": RULE, "weights": ((300, 0), (0, 0)), "clip": True},
            "reach from 0 to 300; .* raise weight_exp.$",
        ),
    ],
)
def test_a_projection_that_the_chip_cannot_hold_is_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        projection(**options)
