"""Plasma, tumbling, noise and steps: what is measured agrees with what is known."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.clot import checks
from labkit.clot.aggregation import start_of
from labkit.clot.analysis.jeffery import jeffery_flips
from labkit.clot.flows import ReversePoiseuille, Shear
from labkit.clot.plans import LEVELS
from labkit.clot.settings import ClotConfig


@pytest.fixture(scope="module")
def driven():
    return checks.check_plasma(ClotConfig.from_preset("quick", plasma_time=15.0))


@pytest.fixture(scope="module")
def sheared(small_study):
    return small_study.plasma


@pytest.fixture(scope="module")
def tumbling(small_study):
    return small_study.tumbling


@pytest.fixture(scope="module")
def noise(small_study):
    return small_study.noise


@pytest.fixture(scope="module")
def steps(small_study):
    return small_study.steps


def test_driven_plasma_has_its_temperature_and_viscosity(driven):
    """A step of 0.02 makes it 1.7 % warmer; a profile of 15 time units scatters by 4 %."""
    assert isinstance(driven.flow, ReversePoiseuille)
    assert driven.temperature == pytest.approx(1.0, abs=0.03)
    assert driven.viscosity.estimate == pytest.approx(checks.VISCOSITY, rel=0.12)
    assert driven.fit.rms < 0.06


def test_driven_streams_are_opposite(driven):
    y, velocity = driven.profile["y"], driven.profile["velocity"]
    lower, upper = velocity[y < 6].mean(), velocity[y > 6].mean()
    assert lower > 0.3
    assert upper == pytest.approx(-lower, rel=0.05)


def test_sheared_plasma_has_its_temperature_viscosity_and_slope(sheared):
    """648 particles and 5 time units: stress and slope scatter by a sixth, heat by 2 %."""
    assert isinstance(sheared.flow, Shear)
    assert sheared.fit is None
    assert sheared.temperature == pytest.approx(1.0, abs=0.06)
    assert sheared.viscosity.estimate == pytest.approx(checks.VISCOSITY, rel=0.5)
    slope = np.polyfit(sheared.profile["y"], sheared.profile["velocity"], 1)[0]
    assert slope == pytest.approx(sheared.flow.rate, rel=0.25)


def test_windows_share_the_time_that_was_asked_for(driven, sheared):
    """A window is a whole number of steps, and there are enough of them for an interval."""
    assert len(driven.profiles) == 5
    assert len(sheared.profiles) == 5
    assert driven.profiles.shape[1:] == (len(driven.profile), 4)
    assert np.isfinite(sheared.viscosity.low)


def test_the_table_of_the_plasma_has_what_is_expected_beside_what_was_measured(driven, sheared):
    table = driven.frame().set_index("quantity")
    assert table.loc["viscosity", "expected"] == f"{checks.VISCOSITY:g}"
    assert table.loc["temperature over kT", "measured here"] == f"{driven.temperature:.3f}"
    assert len(table) == 3
    assert len(sheared.frame()) == 2


def test_a_platelet_is_seen_every_fifth_of_a_strain(tumbling):
    times = np.array([o.time for o in tumbling.observations])
    np.testing.assert_allclose(np.diff(times) * tumbling.scene.flow.rate, 0.2, rtol=0.06)
    assert (times[-1] - times[0]) * tumbling.scene.flow.rate == pytest.approx(3.0, abs=0.2)
    assert [s.time for s in tumbling.snapshots] == times.tolist()
    assert tumbling.scene.suspension.n_platelets == 1


def test_a_platelet_flips_when_theory_says_so(tumbling):
    """Noise and inertia scatter single flips by a fifth; it turned by 0.2 while settling."""
    orbit = tumbling.by_shape.orbit
    assert orbit["jeffery"].iloc[0] == pytest.approx(orbit["angle"].iloc[0])
    assert orbit["angle"].iloc[0] == pytest.approx(0.35 + 0.2, abs=0.2)
    assert len(tumbling.by_shape.flips) == 1
    expected = jeffery_flips(orbit["angle"].iloc[0], 1, tumbling.shape_ratio)
    np.testing.assert_array_equal(tumbling.by_shape.jeffery_flips, expected)
    assert abs(tumbling.by_shape.first_flip_error) < 0.25
    assert orbit["out_of_plane"].max() < 0.3


def test_aspect_ratios_are_those_of_the_beads_and_of_a_thicker_body(tumbling):
    """Plasma keeps off the membrane; two thirds of rc make 0.6 / 2 look like 1.27 / 2.67."""
    assert tumbling.shape_ratio == pytest.approx(0.3, abs=0.02)
    assert tumbling.shape_ratio - 0.03 < tumbling.rates_ratio < 0.6


def test_the_suspension_is_about_as_viscous_as_its_plasma(tumbling):
    """2.2, and the stress of 6 time units scatters by a tenth."""
    assert tumbling.viscosity == pytest.approx(2.2, rel=0.3)


def test_platelets_freeze_without_the_rule_and_the_plasma_does_not_tell(noise):
    """Two runs of half a time unit each scatter by 10 %; the interface has 2 and 4 steps."""
    found = noise.set_index(["ratio", "rule"])
    assert sorted(set(noise["ratio"])) == [2, 4]
    for ratio, coldest in ((2, 0.8), (4, 0.65)):
        assert found.loc[(ratio, True), "T_platelet"] == pytest.approx(1.08, abs=0.2)
        assert found.loc[(ratio, False), "T_platelet"] < coldest
        for rule in (True, False):
            assert found.loc[(ratio, rule), "T_fluid"] == pytest.approx(1.0, abs=0.06)
    assert (noise["seeds"] == 2).all()


def test_plans_to_choose_from_keep_the_limits_and_get_cheaper(steps):
    caps = steps.caps
    for plan in steps.ladder:
        assert all(getattr(plan, level) <= getattr(caps, level) for level in LEVELS)
    prices = [steps.cost.predict(plan, 1.0) for plan in steps.ladder]
    assert prices == sorted(prices, reverse=True)


def test_an_evaluation_of_the_plasma_costs_most(steps):
    """It is nine tenths of all particles."""
    assert steps.cost.seconds["fluid"] == max(steps.cost.seconds.values())


def test_costs_are_measured_on_finer_steps_where_receptors_are_stiff():
    """The first plan that is tried blows up on these."""
    config = ClotConfig.from_preset("quick", receptor_D=20.0, receptor_alpha=100.0)
    made, start = start_of(config)
    steps = checks.find_steps(config, made, start)
    assert steps.cost.n_segments == 8
    assert steps.cost.seconds["fluid"] > 0
