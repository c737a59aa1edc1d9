"""Choices judged on labels: by hand on a table of three times, and limits that must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labkit.clot.control.replay import fixed, labeled, oracle, replay, safe_rung, score
from labkit.clot.forcefield import ForceField

FORCES = ForceField()
TOLERANCE = 2e-4


@pytest.fixture
def judged(label_table):
    """Four times with errors in units of the tolerance; the third one has no label."""
    errors = TOLERANCE * np.array([[0.5, 0.6, 0.7], [0.5, 0.9, 2.0], [np.nan] * 3, [1.5, 2.0, 3.0]])
    first = label_table.trajectories[0]
    labels = dataclasses.replace(
        first,
        observations=first.observations[:4],
        errors=np.stack([errors / 2, errors], axis=2),
        ran_on=np.full(4, -1),
    )
    return labels, dataclasses.replace(label_table, trajectories=(labels,))


def test_the_oracle_takes_the_coarsest_plan_that_is_good(judged):
    labels, _ = judged
    assert labeled(labels).tolist() == [True, True, False, True]
    assert oracle(labels, TOLERANCE).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("rungs", "violations", "nonbonded", "as_oracle"),
    [
        ([2, 1, 0], 0, (200 + 400 + 800) / 3, 1),
        ([2, 2, 2], 1 / 3, 200, 1 / 3),
        ([0, 0, 0], 0, 800, 1 / 3),
        ([1, 1, 1], 0, 400, 1 / 3),
    ],
)
def test_choices_are_judged_as_by_hand(judged, rungs, violations, nonbonded, as_oracle):
    """A choice is no violation where even the finest plan is over the tolerance."""
    labels, table = judged
    found = score([np.array(rungs)], [labels], table, TOLERANCE)
    assert found.violations == pytest.approx(violations)
    assert found.nonbonded == pytest.approx(nonbonded)
    assert found.as_oracle == pytest.approx(as_oracle)
    assert found.hopeless == pytest.approx(1 / 3)


@pytest.mark.parametrize(("allowed", "rung"), [(0.0, 1), (0.32, 1), (0.34, 2), (1.0, 2)])
def test_the_safe_plan_is_the_coarsest_that_is_seldom_over(judged, allowed, rung):
    assert safe_rung([judged[0]], TOLERANCE, violations=allowed) == rung


def test_a_replay_shows_each_time_its_own_past_only(judged):
    labels, table = judged
    seen = []

    def choose(history, forcefield):
        seen.append((len(history), history[-1].time, forcefield))
        return table.plans[len(history) % 3]

    assert replay(choose, labels, table, FORCES).tolist() == [1, 2, 1], "the third has no label"
    assert seen == [(n + 1, o.time, FORCES) for n, o in enumerate(labels.observations)]


def test_no_choice_is_cheaper_than_the_oracle_without_a_violation(label_table):
    runs = label_table.trajectories
    best = [oracle(labels, TOLERANCE) for labels in runs]
    cheapest = score(best, runs, label_table, TOLERANCE)
    assert cheapest.violations == 0
    for number, rungs in enumerate(best):
        coarser = [r.copy() for r in best]
        coarser[number] = np.minimum(rungs + 1, 2)
        if (coarser[number] > rungs).any():
            assert score(coarser, runs, label_table, TOLERANCE).violations > 0
    for rung in range(3):
        plain = score([fixed(t, rung) for t in runs], runs, label_table, TOLERANCE)
        assert plain.violations > 0 or plain.nonbonded >= cheapest.nonbonded
