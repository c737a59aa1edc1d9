"""The recurrent variant: its classes and jumps by brute force, and how it holds a choice."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from labkit.clot.control.autoencoder import AutoencoderController, SeriesNetwork
from labkit.clot.control.examples import JUMPS, UNKNOWN, jump_classes, step_classes
from labkit.clot.control.features import FEATURES
from labkit.clot.forcefield import ForceField
from labkit.clot.plans import StepPlan
from labkit.errors import ParameterError

FORCES = ForceField()
PLANS = tuple(
    StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005 / n, bonded=0.00125) for n in (4, 2, 1)
)


class ConstantNetwork(SeriesNetwork):
    """The same probabilities in every state."""

    def probabilities(self, features):
        return np.array(self.extra["step"]), np.array(self.extra["jump"])


def network(step=(0.05, 0.25, 0.7), jump=(0.0, 0.05, 0.95, 0.0), kind=ConstantNetwork, **given):
    F = len(FEATURES)
    about = {
        "weights": {},
        "plans": PLANS,
        "mean": np.zeros(F),
        "deviation": np.ones(F),
        "low": np.full(F, -5.0),
        "high": np.full(F, 5.0),
        "length": 4,
        "segment": 0.5,
        "window": 0.2,
        "forcefield": dataclasses.asdict(FORCES),
        "extra": {"cell": "gru", "tolerance": 1e-3, "step": step, "jump": jump},
    }
    return kind(**{**about, **given})


def test_step_classes_are_those_of_a_search_through_the_plans():
    random = np.random.default_rng(0)
    worst = np.sort(random.normal(-3, 1, size=(200, 4)), axis=1)
    expected = [max((k for k in range(4) if row[k] <= -3), default=0) for row in worst]
    np.testing.assert_array_equal(step_classes(worst, 1e-3), expected)


def test_jumps_are_those_of_counting_until_the_class_changes():
    classes = np.random.default_rng(1).integers(0, 2, size=300)
    classes[100:120], classes[-5:] = 1, 0
    expected = []
    for now in range(len(classes)):
        ahead = next((n for n, c in enumerate(classes[now:]) if c != classes[now]), None)
        seen = len(classes) - now if ahead is None else ahead
        unknown = ahead is None and seen < JUMPS[-1]
        expected += [UNKNOWN if unknown else max(k for k, j in enumerate(JUMPS) if j <= seen)]
    np.testing.assert_array_equal(jump_classes(classes), expected)


def test_a_class_that_never_changes_allows_the_longest_jump_until_the_end_is_near():
    assert jump_classes(np.zeros(10, int)).tolist() == [3, 3, 3, *[UNKNOWN] * 7]


@pytest.mark.parametrize(
    ("risk", "rung"), [(0.01, 0), (0.1, 1), (0.29, 1), (0.3 + 1e-9, 2), (0.5, 2)]
)
def test_the_coarsest_plan_within_the_risk_is_chosen(observed, risk, rung):
    controller = AutoencoderController(network(), risk=risk)
    history = [observed(0.5 * n, seed=n) for n in range(3)]
    assert controller.choose(history, FORCES) == PLANS[rung]


def test_a_choice_is_held_for_its_jump_and_then_made_again(observed):
    controller = AutoencoderController(network(jump=(0.0, 0.0, 1.0, 0.0)))
    history = [observed(0.5 * n, seed=n) for n in range(10)]
    asked = []
    for n in range(1, len(history) + 1):
        controller.choose(history[:n], FORCES)
        asked.append(controller.memory.get("asked"))
    assert asked == [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0]


def test_a_state_never_seen_ends_a_jump_on_the_finest_plan(observed):
    controller = AutoencoderController(network(), risk=0.5)
    history = [observed(0.5 * n, seed=n) for n in range(3)]
    assert controller.choose(history, FORCES) == PLANS[2]
    history += [observed(1.5, temperature=np.array([0.1, np.nan]))]
    assert controller.choose(history, FORCES) == PLANS[0]
    assert set(controller.memory) == {"reasons"}


def test_what_it_remembers_can_be_stored_and_given_back(observed):
    history = [observed(0.5 * n, seed=n) for n in range(4)]
    first = AutoencoderController(network())
    first.choose(history[:3], FORCES)
    second = AutoencoderController(network(step=(1.0, 0.0, 0.0)))
    second.memory = json.loads(json.dumps(first.memory))
    assert second.choose(history, FORCES) == first.choose(history, FORCES) == PLANS[1]


def test_a_finer_plan_stands_in_for_one_that_the_ladder_lacks(observed):
    history = [observed(0.5 * n, seed=n) for n in range(3)]
    controller = AutoencoderController(network(), risk=0.5, ladder=PLANS[:2])
    assert controller.choose(history, FORCES) == PLANS[1]


@pytest.mark.parametrize("risk", [0.0, 1.0, -0.1])
def test_a_risk_is_between_0_and_1(risk):
    with pytest.raises(ParameterError, match="risk="):
        AutoencoderController(network(), risk=risk)


def test_only_two_cells_are_known():
    with pytest.raises(ParameterError, match="network='rnn' is not allowed"):
        AutoencoderController("rnn")
