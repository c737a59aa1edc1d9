"""Features of platelets: what they must not depend on, their rates, and short histories."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labkit.clot.control.features import FEATURES, LENGTH, recent_features, series_features
from labkit.errors import ParameterError

KT = 0.1


def change(history, **of):
    """Return the history with fields replaced by functions of (value, number of the time)."""
    return [
        dataclasses.replace(o, **{name: f(getattr(o, name), n) for name, f in of.items()})
        for n, o in enumerate(history)
    ]


@pytest.fixture
def history(observed):
    return [observed(0.5 * n, P=3, seed=n) for n in range(4)]


@pytest.mark.parametrize(
    "moved",
    [
        {"center": lambda x, n: x + np.array([5.0, -3.0, 1.0])},
        {"center": lambda x, n: x + 0.5 * n * np.array([7.0, 0.0, 2.0])},
        {"axis": lambda x, n: -x},
        {"axis": lambda x, n: x * [[1.0], [-1.0], [1.0]]},
        {"time": lambda t, n: t + 100.0},
    ],
    ids=["shift", "drift", "all axes reversed", "one axis reversed", "later"],
)
def test_features_do_not_depend_on_where_and_how_fast_all_moves(history, moved):
    expected = series_features(history, kT=KT)
    np.testing.assert_allclose(series_features(change(history, **moved), kT=KT), expected)


def test_another_numbering_of_the_platelets_only_reorders_the_rows(history):
    order = [2, 0, 1]
    fields = [
        f.name for f in dataclasses.fields(history[0]) if np.ndim(getattr(history[0], f.name))
    ]
    renumbered = change(history, **{name: lambda x, n: x[order] for name in fields})
    expected = series_features(history, kT=KT)[:, order]
    np.testing.assert_array_equal(series_features(renumbered, kT=KT), expected)


def test_a_mirror_through_the_plane_of_shear_changes_nothing(history):
    mirror = np.array([1.0, 1.0, -1.0])
    mirrored = change(
        history,
        velocity=lambda x, n: x * mirror,
        axis=lambda x, n: x * mirror,
        angular_velocity=lambda x, n: -x * mirror,
    )
    np.testing.assert_allclose(series_features(mirrored, kT=KT), series_features(history, kT=KT))


def test_a_platelet_alone_has_finite_features(observed):
    features = series_features([observed(0.0, P=1, gap=np.array([np.inf]))], kT=KT)
    assert features.shape == (1, 1, len(FEATURES))
    assert np.isfinite(features).all()
    assert features[0, 0, FEATURES.index("nearness")] == 0


@pytest.mark.parametrize("apart", [0.25, 2.0])
def test_a_rate_is_the_change_over_the_time(observed, apart):
    gaps = -np.log(np.array([0.1, 0.4, 0.2]))
    history = [observed(apart * n, P=1, gap=gap[None]) for n, gap in enumerate(gaps)]
    rate = series_features(history, kT=KT)[:, 0, FEATURES.index("nearness_rate")]
    np.testing.assert_allclose(rate, [0.0, 0.3 / apart, -0.2 / apart])


def test_energies_and_temperatures_count_in_units_of_the_thermostat(history):
    warm = ("temperature", "bond_energy", "receptor_energy")
    hotter = change(history, **{name: lambda x, n: 7 * x for name in warm})
    expected = series_features(history, kT=KT)
    np.testing.assert_allclose(series_features(hotter, kT=7 * KT), expected)


def test_recent_features_are_the_last_of_the_series(observed):
    history = [observed(0.5 * n, seed=n) for n in range(3 * LENGTH)]
    expected = series_features(history, kT=KT)[-LENGTH:]
    np.testing.assert_array_equal(recent_features(history, kT=KT), expected)


@pytest.mark.parametrize("n", [1, 2, LENGTH])
def test_a_short_history_gives_what_there_is(observed, n):
    history = [observed(0.5 * s, seed=s) for s in range(n)]
    assert recent_features(history, kT=KT).shape == (n, 2, len(FEATURES))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(observed, bad):
    history = [observed(0.0), observed(0.5, temperature=np.array([0.1, bad]))]
    finite = np.isfinite(recent_features(history, kT=KT))
    assert not finite[1, 1, FEATURES.index("temperature")]
    assert finite[0].all()


def test_histories_of_two_simulations_are_refused(observed):
    with pytest.raises(ParameterError, match=r"\[2, 3\] platelets"):
        series_features([observed(0.0, P=2), observed(0.5, P=3)], kT=KT)
    with pytest.raises(ParameterError, match="times that increase"):
        series_features([observed(0.5), observed(0.5)], kT=KT)
    with pytest.raises(ParameterError, match="one observation or more"):
        series_features([], kT=KT)
