"""The learned controller: properties of its prediction, its choices, and when it does not trust."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from labkit.clot.control.features import FEATURES
from labkit.clot.control.learned import QUANTILES, ErrorNetwork, LearnedController
from labkit.clot.control.networks import TrainedNetwork, softplus
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.plans import StepPlan
from labkit.errors import ParameterError

FORCES = ForceField()
PLANS = tuple(
    StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005 / n, bonded=0.00125) for n in (4, 2, 1)
)
NEARNESS = FEATURES.index("nearness")


def weights(random, hidden=5, members=2):
    shapes = {
        "platelet.0.weight": (hidden, len(FEATURES)),
        "platelet.0.bias": (hidden,),
        "platelet.2.weight": (hidden, hidden),
        "platelet.2.bias": (hidden,),
        "segments.weight_ih_l0": (3 * hidden, hidden),
        "segments.weight_hh_l0": (3 * hidden, hidden),
        "segments.bias_ih_l0": (3 * hidden,),
        "segments.bias_hh_l0": (3 * hidden,),
        "head.0.weight": (hidden, 2 * hidden),
        "head.0.bias": (hidden,),
        "head.2.weight": (len(QUANTILES) * len(PLANS), hidden),
        "head.2.bias": (len(QUANTILES) * len(PLANS),),
    }
    return {name: random.normal(size=(members, *shape)) for name, shape in shapes.items()}


def network(kind=ErrorNetwork, *, seed=0, **changes):
    F = len(FEATURES)
    about = {
        "weights": weights(np.random.default_rng(seed)),
        "plans": PLANS,
        "mean": np.zeros(F),
        "deviation": np.ones(F),
        "low": np.full(F, -5.0),
        "high": np.full(F, 5.0),
        "length": 4,
        "segment": 0.5,
        "window": 0.2,
        "forcefield": dataclasses.asdict(FORCES),
    }
    return kind(**{**about, **changes})


class NearnessNetwork(ErrorNetwork):
    """Errors 1e-4, 2e-4, 4e-4 rc, ten times as large where platelets are near each other now.

    Their median is half of that, which no choice may go by.
    """

    def predict(self, features):
        high = np.log10([1e-4, 2e-4, 4e-4]) + (features[-1, :, NEARNESS].max() > 0.5)
        return np.stack([high - np.log10(2), high])


def approach(observed, gaps, **fields):
    return [
        observed(0.5 * n, seed=n, gap=np.full(2, float(g)), **fields) for n, g in enumerate(gaps)
    ]


FAR, NEAR = 3.0, 0.5
LOOSE = 1e20
"""Above all that a network with random weights predicts [rc]."""


@pytest.mark.parametrize("seed", range(5))
def test_a_coarser_plan_is_never_predicted_to_be_better(seed):
    features = np.random.default_rng(seed).normal(size=(4, 3, len(FEATURES)))
    predicted = network(seed=seed).predict(features)
    assert predicted.shape == (len(QUANTILES), len(PLANS))
    assert (np.diff(predicted, axis=1) >= 0).all()


def test_the_prediction_does_not_depend_on_the_numbering_of_platelets():
    features = np.random.default_rng(1).normal(size=(4, 5, len(FEATURES)))
    shuffled = features[:, [3, 1, 4, 0, 2]]
    np.testing.assert_allclose(network().predict(shuffled), network().predict(features))


def test_platelets_in_the_same_states_twice_over_change_no_prediction():
    features = np.random.default_rng(2).normal(size=(4, 3, len(FEATURES)))
    doubled = np.concatenate([features, features], axis=1)
    np.testing.assert_allclose(network().predict(doubled), network().predict(features))


def test_the_prediction_is_the_mean_of_the_members():
    features = np.random.default_rng(3).normal(size=(4, 3, len(FEATURES)))
    both = network()
    each = [
        network(weights={name: w[member : member + 1] for name, w in both.weights.items()})
        for member in range(2)
    ]
    np.testing.assert_allclose(
        both.predict(features), np.mean([one.predict(features) for one in each], axis=0)
    )


def test_softplus_is_right_where_a_naive_formula_overflows():
    np.testing.assert_allclose(softplus(np.array([-800.0, 0.0, 800.0])), [0, np.log(2), 800])


@pytest.mark.parametrize(
    ("tolerance", "rung", "reason"),
    [
        (5e-4, 2, "predicted"),
        (3e-4, 1, "predicted"),
        (2e-4, 1, "predicted"),
        (1.5e-4, 0, "predicted"),
        (5e-5, 0, "none is good enough"),
    ],
)
def test_the_coarsest_plan_under_the_tolerance_is_chosen(observed, tolerance, rung, reason):
    controller = LearnedController(network(NearnessNetwork), tolerance=tolerance * (1 + 1e-9))
    decision = controller.decide(approach(observed, [FAR, FAR, FAR]), FORCES)
    assert (decision.rung, decision.reason) == (rung, reason)
    assert decision.plan == PLANS[rung]
    np.testing.assert_allclose(decision.errors, [1e-4, 2e-4, 4e-4])


def test_a_larger_tolerance_never_chooses_a_finer_plan(observed):
    history = [observed(0.5 * n, seed=n) for n in range(4)]
    rungs = [
        LearnedController(network(), tolerance=tolerance).decide(history, FORCES).rung
        for tolerance in np.logspace(-9, 9, 40)
    ]
    assert rungs == sorted(rungs)
    assert rungs[-1] == 2


def test_steps_shrink_at_once_and_grow_a_segment_late(observed):
    gaps = [FAR, FAR, NEAR, FAR, FAR, NEAR, NEAR, FAR]
    history = approach(observed, gaps)
    controller = LearnedController(network(NearnessNetwork), tolerance=5e-4)
    decisions = [controller.decide(history[: n + 1], FORCES) for n in range(len(history))]
    assert [d.rung for d in decisions] == [2, 2, 0, 0, 2, 0, 0, 0]
    assert [d.reason for d in decisions][:4] == [
        "predicted",
        "predicted",
        "none is good enough",
        "waiting",
    ]


def test_a_run_chooses_as_one_that_forgets_everything(observed):
    engine = types.SimpleNamespace(forcefield=FORCES)
    history = approach(observed, [FAR, FAR, NEAR, FAR, FAR, NEAR, NEAR, FAR, FAR])
    remembers = LearnedController(network(NearnessNetwork), tolerance=5e-4)
    for n in range(1, len(history) + 1):
        forgets = LearnedController(network(NearnessNetwork), tolerance=5e-4)
        chosen = remembers.plan(history[:n], engine)
        assert chosen == forgets.plan(history[:n], engine)
        assert remembers.plan(history[:n], engine) == chosen
        remembers.memory = json.loads(json.dumps(remembers.memory))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_feature_that_is_not_finite_leads_to_the_finest_plan(observed, bad):
    history = approach(observed, [FAR, FAR])
    history += [observed(1.0, temperature=np.array([0.1, bad]))]
    decision = LearnedController(network(), tolerance=LOOSE).decide(history, FORCES)
    assert (decision.rung, decision.reason) == (0, "not seen in training: temperature")
    assert np.isnan(decision.errors).all()


@pytest.mark.parametrize(("kT_ratio", "rung"), [(4.0, 2), (9.9, 2), (10.2, 0)])
def test_a_state_far_outside_the_training_leads_to_the_finest_plan(observed, kT_ratio, rung):
    """A feature may be half the training's width, here 10, beyond it: up to 5 + 5 + 0.05."""
    hot = np.full(2, kT_ratio * FORCES.kT)
    history = approach(observed, [FAR, FAR, FAR], temperature=hot)
    assert LearnedController(network(), tolerance=LOOSE).decide(history, FORCES).rung == rung


def test_other_forces_than_those_of_the_training_lead_to_the_finest_plan(observed):
    controller = LearnedController(network(), tolerance=LOOSE)
    stiff = dataclasses.replace(FORCES, receptors=Receptors(alpha=20.0))
    decision = controller.decide(approach(observed, [FAR, FAR]), stiff)
    assert (decision.rung, decision.reason) == (0, "not seen in training: these forces")


def test_receptors_of_a_platelet_alone_do_not_matter(observed):
    controller = LearnedController(network(), tolerance=LOOSE)
    without = dataclasses.replace(FORCES, receptors=None)
    alone = [observed(0.5 * n, P=1, gap=np.array([np.inf])) for n in range(3)]
    assert controller.decide(alone, without).rung == 2


def test_a_ladder_of_some_of_the_plans_is_kept_to(observed):
    controller = LearnedController(network(), tolerance=LOOSE, ladder=PLANS[:2])
    assert controller.decide(approach(observed, [FAR, FAR]), FORCES).plan == PLANS[1]


def test_a_plan_that_was_not_trained_is_refused():
    with pytest.raises(ParameterError, match=r"ladder has the plan 0\.001 / .*not trained"):
        LearnedController(network(), ladder=[StepPlan.single(0.001)])


def test_segments_of_another_length_are_refused(observed):
    history = [observed(0.2 * n) for n in range(3)]
    with pytest.raises(ParameterError, match=r"segment=0\.2 is not allowed.*segments of 0\.5"):
        LearnedController(network()).decide(history, FORCES)


def test_a_tolerance_must_be_positive():
    with pytest.raises(ParameterError, match="tolerance=0"):
        LearnedController(network(), tolerance=0.0)


def test_a_stored_network_predicts_the_same(tmp_path):
    features = np.random.default_rng(3).normal(size=(4, 3, len(FEATURES)))
    before = network(extra={"note": "any"})
    after = ErrorNetwork.load(before.save(tmp_path / "some" / "network.npz"))
    np.testing.assert_allclose(after.predict(features), before.predict(features), rtol=1e-5)
    assert (after.plans, after.extra, after.length) == (PLANS, {"note": "any"}, 4)
    assert after.fits(FORCES)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ParameterError, match=r"other\.npz.*cannot be read"):
        ErrorNetwork.load(path)
    with pytest.raises(ParameterError, match=r"none\.npz.*cannot be read"):
        TrainedNetwork.load(tmp_path / "none.npz")


def test_a_run_with_stored_weights_needs_no_torch():
    code = "import sys, labkit.clot.control.autoencoder; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
