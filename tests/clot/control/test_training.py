"""Training: torch and numpy agree, a known law is learned, and the same seed gives the same."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from labkit.clot.control.autoencoder import SeriesNetwork
from labkit.clot.control.examples import log_errors
from labkit.clot.control.features import FEATURES, recent_features
from labkit.clot.control.learned import (
    QUANTILES,
    WEIGHTS,
    ErrorNetwork,
    LearnedController,
    default_tolerance,
)
from labkit.clot.control.networks import TrainedNetwork
from labkit.clot.control.replay import fixed, oracle, replay, safe_rung, score
from labkit.clot.control.torch_modules import ErrorModule, SeriesModule, pinball
from labkit.clot.control.training import Training, folds, forces_of, main, train, train_autoencoder
from labkit.clot.forcefield import ForceField
from labkit.clot.labels import LabelTable
from labkit.clot.scenes import scene
from labkit.errors import ParameterError

FORCES = ForceField()
QUICK = Training(steps=120, hidden=12, learning_rate=2e-2, members=1)
TOLERANCE = 2e-4


def about(table):
    F = len(FEATURES)
    return {
        "plans": table.plans,
        "mean": np.zeros(F),
        "deviation": np.ones(F),
        "low": np.zeros(F),
        "high": np.ones(F),
        "length": 6,
        "segment": 0.5,
        "window": 0.2,
        "forcefield": {},
    }


@pytest.fixture(scope="module")
def trained(label_table):
    return train(label_table, forcefield=FORCES, training=QUICK)


@pytest.mark.parametrize(("n", "P"), [(1, 1), (3, 2), (6, 5)])
def test_the_networks_in_numpy_equal_those_in_torch(label_table, n, P):
    """To the rounding of the single precision in which torch computes."""
    x = np.random.default_rng(n).normal(size=(n, P, len(FEATURES)))
    torch.manual_seed(0)
    inputs = (torch.tensor(x[None], dtype=torch.float32), torch.tensor([n]), torch.tensor([P]))
    module = ErrorModule(3, 16)
    weights = {name: weight[None] for name, weight in module.kept().items()}
    network = ErrorNetwork(weights=weights, **about(label_table))
    np.testing.assert_allclose(
        network.predict(x), module(*inputs)[0].detach().numpy(), rtol=1e-4, atol=1e-5
    )
    for cell in ("lstm", "gru"):
        series = SeriesModule(cell, 3, 16)
        kept = SeriesNetwork(weights=series.kept(), extra={"cell": cell}, **about(label_table))
        for mine, logits in zip(kept.probabilities(x), series(*inputs), strict=True):
            theirs = torch.softmax(logits[0], dim=0).detach().numpy()
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_padding_of_segments_and_platelets_changes_no_prediction():
    torch.manual_seed(1)
    x = torch.randn(1, 2, 3, len(FEATURES))
    padded = torch.randn(1, 6, 5, len(FEATURES))
    padded[:, :2, :3] = x
    n, P = torch.tensor([2]), torch.tensor([3])
    for module in (ErrorModule(3, 8), SeriesModule("lstm", 3, 8), SeriesModule("gru", 3, 8)):
        for a, b in zip(module(x, n, P), module(padded, n, P), strict=True):
            torch.testing.assert_close(a, b)


def test_the_head_for_each_platelets_own_error_has_no_part_in_predictions():
    torch.manual_seed(2)
    module = ErrorModule(3, 8)
    inputs = (torch.randn(2, 4, 3, len(FEATURES)), torch.tensor([4, 2]), torch.tensor([3, 1]))
    before, kept = module(*inputs), module.kept()
    assert not any(name.startswith("own") for name in kept)
    with torch.no_grad():
        for weight in module.own.parameters():
            weight.add_(1.0)
    torch.testing.assert_close(module(*inputs), before, rtol=0, atol=0)


def test_the_own_errors_teach_the_layers_that_all_share():
    """With largest errors that are predicted right, what is left to learn are the own ones."""
    torch.manual_seed(3)
    module = ErrorModule(3, 8)
    batch = [torch.randn(2, 4, 3, len(FEATURES)), torch.tensor([4, 2]), torch.tensor([3, 1])]
    loss = module.loss([*batch, torch.zeros(2, 3), torch.zeros(2, 3, 3)])
    other = module.loss([*batch, torch.zeros(2, 3), torch.ones(2, 3, 3)])
    assert loss != other
    (other - loss).backward()
    assert all((w.grad != 0).any() for w in module.platelet.parameters())
    assert all(w.grad is None or (w.grad == 0).all() for w in module.head.parameters())


def test_errors_of_platelets_that_are_not_there_teach_nothing():
    torch.manual_seed(4)
    module = ErrorModule(3, 8)
    batch = [torch.randn(1, 2, 3, len(FEATURES)), torch.tensor([2]), torch.tensor([2])]
    own = torch.randn(1, 3, 3)
    changed = own.clone()
    changed[:, 2] += 1.0
    torch.testing.assert_close(
        module.loss([*batch, torch.zeros(1, 3), own]),
        module.loss([*batch, torch.zeros(1, 3), changed]),
    )


def test_the_pinball_loss_is_least_at_its_quantiles():
    y = torch.linspace(0, 1, 1001)[:, None]
    guesses = torch.linspace(0, 1, 101)
    for row, quantile in enumerate(QUANTILES):
        predicted = torch.zeros(101, len(y), len(QUANTILES), 1)
        predicted[:, :, row, 0] = guesses[:, None]
        losses = torch.stack([pinball(each, y) for each in predicted])
        assert float(guesses[losses.argmin()]) == pytest.approx(quantile, abs=0.011)


def test_an_error_law_is_learned_for_trajectories_of_other_seeds_and_shear(label_table):
    """The law has a noise of 0.02 decades; a constant is wrong by 0.4 or more."""
    others, left_out = next(folds(label_table))
    network = train(others, forcefield=FORCES, training=QUICK)
    tested = left_out.trajectories[0]
    history = tested.observations
    windows = [recent_features(history[: n + 1], kT=0.1) for n in range(len(history))]
    median, high = np.array([network.predict(x) for x in windows]).swapaxes(0, 1)
    miss = median - log_errors(tested)
    assert np.sqrt((miss**2).mean()) < 0.12
    assert 0.6 < (high > log_errors(tested)).mean() <= 1.0


def test_choices_of_the_trained_network_beat_the_best_fixed_plan(label_table, trained):
    controller = LearnedController(trained, tolerance=TOLERANCE)
    runs = label_table.trajectories
    picks = [replay(controller.choose, t, label_table, FORCES) for t in runs]
    learned = score(picks, runs, label_table, TOLERANCE)
    rung = safe_rung(runs, TOLERANCE)
    plain = score([fixed(t, rung) for t in runs], runs, label_table, TOLERANCE)
    best = score([oracle(t, TOLERANCE) for t in runs], runs, label_table, TOLERANCE)
    assert best.violations == 0
    assert best.as_oracle == 1
    assert learned.violations <= 0.05
    assert best.nonbonded <= learned.nonbonded < plain.nonbonded


def test_the_same_seed_trains_the_same_network(label_table):
    short = Training(steps=5, hidden=8, members=2)
    one, two, other = (
        train(label_table, forcefield=FORCES, training=how).weights
        for how in (short, short, dataclasses.replace(short, seed=1))
    )
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, two[name])
    assert all((weight[0] != other[name][0]).any() for name, weight in one.items())
    assert all((weight[0] != weight[1]).any() for weight in one.values()), "members differ too"


def test_training_leaves_random_numbers_and_threads_of_torch_alone(label_table):
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(label_table, forcefield=FORCES, training=Training(steps=5, hidden=8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_encoder_stays_as_it_was_while_the_heads_learn(label_table, cell):
    module = SeriesModule(cell, 3, 8)
    before = {k: w.clone() for k, w in module.memory.state_dict().items()}
    batch = [torch.randn(4, 6, 2, len(FEATURES)), torch.tensor([6, 6, 3, 1])]
    batch += [torch.tensor([2, 2, 2, 1]), torch.zeros(4, 3), torch.zeros(4, 2, 3)]
    batch += [torch.tensor([0, 1, 2, 0]), torch.tensor([0, 3, -1, -1])]
    module.class_loss(batch).backward()
    assert all(w.grad is None for w in module.memory.parameters())
    assert all(w.grad is not None for w in module.heads.parameters())
    module.reconstruction_loss(batch).backward()
    assert all(w.grad is not None for w in module.memory.parameters())
    assert all(torch.equal(w, before[k]) for k, w in module.memory.state_dict().items())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_recurrent_variant_finds_most_of_the_best_classes(label_table, cell):
    network = train_autoencoder(
        label_table, cell=cell, tolerance=TOLERANCE, forcefield=FORCES, training=QUICK
    )
    right = []
    for labels in label_table.trajectories:
        best, history = oracle(labels, TOLERANCE), labels.observations
        for n in range(len(history)):
            step, _ = network.probabilities(recent_features(history[: n + 1], kT=0.1))
            right.append(step.argmax() == best[n])
    assert np.mean(right) > 0.8


def test_the_shipped_weights_come_from_the_shipped_labels():
    """The first member is trained again; picks may differ by rounding on another machine."""
    table, shipped = (
        LabelTable.load(WEIGHTS / "labels.npz"),
        ErrorNetwork.load(WEIGHTS / "learned.npz"),
    )
    again = train(table, training=Training(members=1))
    for name in ("mean", "deviation", "low", "high"):
        np.testing.assert_allclose(getattr(again, name), getattr(shipped, name))
    assert (again.plans, again.length) == (shipped.plans, shipped.length)
    assert (again.segment, again.window) == (shipped.segment, shipped.window)
    assert again.fits(forces_of(table))
    assert shipped.fits(forces_of(table))
    assert len(shipped.weights["head.0.bias"]) == Training().members
    first = dataclasses.replace(
        shipped, weights={name: w[:1] for name, w in shipped.weights.items()}
    )
    same = [
        [_pick(network, labels, n) for network in (again, first)]
        for labels in table.trajectories[::4]
        for n in range(0, len(labels.observations), 6)
    ]
    assert np.mean([one == other for one, other in same]) >= 0.95
    assert len({one for one, _ in same}) > 3, "not the same because nothing else is ever picked"


def _pick(network, labels, n):
    features = recent_features(labels.observations[: n + 1], kT=labels.kT)
    good = network.predict(features)[-1] <= np.log10(default_tolerance(FORCES))
    return max(np.flatnonzero(good), default=0)


@pytest.mark.parametrize("name", ["learned", "autoencoder_lstm", "autoencoder_gru"])
def test_the_shipped_networks_are_of_the_scenes_of_the_study(name):
    network = TrainedNetwork.load(WEIGHTS / f"{name}.npz")
    table = LabelTable.load(WEIGHTS / "labels.npz")
    assert network.plans == table.plans
    assert (network.segment, network.window) == (table.segment, table.window)
    for kind in ("collision", "clot"):
        assert network.fits(scene(kind).forcefield)


def test_folds_share_neither_seed_nor_shear_rate(label_table):
    names = []
    for others, left_out in folds(label_table):
        names += [t.trajectory.name for t in left_out.trajectories]
        assert len(others.trajectories) == 2
        for one, other in itertools.product(left_out.trajectories, others.trajectories):
            assert other.trajectory.seed != one.trajectory.seed
            assert other.shear_rate != one.shear_rate
    assert sorted(names) == sorted(t.trajectory.name for t in label_table.trajectories)


def test_the_forces_of_a_table_are_those_of_its_scenes(label_table):
    assert forces_of(label_table) == FORCES
    first = label_table.trajectories[0]
    softer = dataclasses.replace(first.trajectory, changes={"receptor_alpha": 6.0})
    mixed = (*label_table.trajectories, dataclasses.replace(first, trajectory=softer))
    with pytest.raises(ParameterError, match="one of them at a time"):
        forces_of(dataclasses.replace(label_table, trajectories=mixed))
    with pytest.raises(ParameterError, match="no trajectories"):
        forces_of(dataclasses.replace(label_table, trajectories=()))


def test_an_unknown_cell_is_refused(label_table):
    with pytest.raises(ParameterError, match="cell='rnn' is not allowed"):
        train_autoencoder(label_table, cell="rnn", forcefield=FORCES)


def test_the_command_line_says_what_is_wrong_in_a_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) == 1
    assert main(["--table", str(tmp_path / "none.npz"), "--out", str(tmp_path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: out=")
    assert "none.npz" in second
