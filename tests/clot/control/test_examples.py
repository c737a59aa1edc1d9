"""Windows of features and step classes: every labeled time, its past, and brute-force oracles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labkit.clot.control.examples import (
    JUMPS,
    LARGEST_ERROR,
    SMALLEST_ERROR,
    UNKNOWN,
    examples,
    jump_classes,
    log_errors,
    logarithms,
    step_classes,
)
from labkit.clot.control.features import FEATURES, recent_features, series_features

TOLERANCE = 2e-4
RATES = [n for n, name in enumerate(FEATURES) if name.endswith("_rate")]


@pytest.fixture
def first(label_table):
    """A table of one trajectory."""
    return dataclasses.replace(label_table, trajectories=label_table.trajectories[:1])


def test_every_labeled_time_is_an_example_with_and_without_its_whole_past(first):
    labels = first.trajectories[0]
    errors = labels.errors.copy()
    errors[3], errors[4, 2] = np.nan, np.inf
    table = dataclasses.replace(first, trajectories=(dataclasses.replace(labels, errors=errors),))
    data = examples(table, tolerance=TOLERANCE, length=6, seed=0)
    assert len(data) == 2 * (len(errors) - 1)
    assert data.n_segments[::2].tolist() == [1, 2, 3, 5, *[6] * 35]
    assert (data.n_segments[1::2] <= data.n_segments[::2]).all()
    assert data.log_errors[6][2] == np.log10(LARGEST_ERROR)
    assert np.isfinite(data.log_errors).all()


def test_an_example_is_what_a_controller_sees_at_that_time(first):
    """With its whole past; a run that has just begun has no rates in its first segment."""
    labels = first.trajectories[0]
    data = examples(first, tolerance=TOLERANCE, length=6, seed=0)
    history = labels.observations
    for now in range(len(history)):
        n = data.n_segments[2 * now]
        seen = recent_features(history[: now + 1], kT=labels.kT, length=6)
        np.testing.assert_array_equal(data.features[2 * now, :n], seen)
        short = data.n_segments[2 * now + 1]
        begun = series_features(history[now + 1 - short : now + 1], kT=labels.kT)
        np.testing.assert_array_equal(data.features[2 * now + 1, :short], begun)
        assert (data.features[2 * now, 0][:, RATES] != 0).any() == (now >= 6)


def test_the_largest_error_is_that_of_the_worst_platelet(label_table):
    data = examples(label_table, tolerance=TOLERANCE, length=2, seed=0)
    np.testing.assert_array_equal(data.own_errors.max(axis=1), data.log_errors)
    known = np.concatenate([log_errors(labels) for labels in label_table.trajectories])
    np.testing.assert_array_equal(data.log_errors[::2], known)


def test_trajectories_of_few_and_many_platelets_are_padded_alike(label_table):
    two = label_table.trajectories[0]
    one = dataclasses.replace(
        two,
        observations=tuple(_of_the_first_platelet(o) for o in two.observations),
        errors=two.errors[:, :, :1],
    )
    mixed = dataclasses.replace(label_table, trajectories=(two, one))
    data = examples(mixed, tolerance=TOLERANCE, length=3, seed=0)
    alone = data.n_platelets == 1
    assert alone.sum() == len(data) / 2
    assert (data.features[alone][:, :, 1] == 0).all()
    rows = (data.n_segments[:, None] * data.n_platelets[:, None]).sum()
    assert data.known().shape == (rows, len(FEATURES))


def _of_the_first_platelet(observation):
    values = dataclasses.asdict(observation)
    return type(observation)(
        **{name: v[:1] if isinstance(v, np.ndarray) else v for name, v in values.items()}
    )


def test_errors_are_cut_off_where_they_mean_nothing_more():
    found = logarithms(np.array([0.0, SMALLEST_ERROR, 1e-4, LARGEST_ERROR, 1.0, np.inf, np.nan]))
    np.testing.assert_allclose(found[:-1], [-6, -6, -4, -2, -2, -2])
    assert np.isnan(found[-1])


def test_step_classes_are_those_of_a_search():
    random = np.random.default_rng(0)
    worst = random.uniform(-5, -2, size=(50, 4))
    found = step_classes(worst, tolerance=10**-3.5)
    for errors, rung in zip(worst, found, strict=True):
        good = [k for k in range(4) if errors[k] <= -3.5]
        assert rung == (max(good) if good else 0)


def test_a_jump_holds_as_long_as_the_class_is_known_to_stay():
    random = np.random.default_rng(1)
    classes = np.repeat(random.integers(0, 3, size=12), random.integers(1, 11, size=12))
    for start, jump in enumerate(jump_classes(classes)):
        after = classes[start:]
        changed = np.flatnonzero(after != classes[start])
        until = changed[0] if len(changed) else len(after)
        longest = max(n for n in JUMPS if n <= until)
        if not len(changed) and until < JUMPS[-1]:
            assert jump == UNKNOWN
        else:
            assert JUMPS[jump] == longest


def test_the_same_seed_gives_the_same_examples(first):
    one, two, other = (
        examples(first, tolerance=TOLERANCE, length=4, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.features, two.features)
    assert (one.n_segments != other.n_segments).any()
