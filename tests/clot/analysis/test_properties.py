from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from labkit.clot.analysis.jeffery import jeffery_axis, jeffery_flips
from labkit.clot.analysis.properties import (
    properties,
    property_errors,
    runs_needed,
    verdict,
)
from labkit.clot.analysis.stress import membrane_stress
from labkit.clot.flows import Quiescent, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.observation import Observation
from labkit.errors import ParameterError

RATE = 0.1


def observation(time, *, axis=(0, 1, 0), temperature=0.1, contacts=0.0, n=2):
    row = np.ones(n)
    return Observation(
        time=time,
        center=np.zeros((n, 3)),
        velocity=np.zeros((n, 3)),
        angular_velocity=np.tile([0.0, 0.0, -0.05], (n, 1)),
        gyration=np.tile([0.2, 1.0, 1.1], (n, 1)),
        axis=np.broadcast_to(axis, (n, 3)),
        temperature=temperature * row,
        stretch_mean=0.02 * row,
        stretch_max=0.1 * row,
        contacts=contacts * row,
        gap=row,
        bond_energy=row,
        receptor_energy=-2.0 * row,
        fluid_temperature=0.11,
    )


def tumbling_run(*, until=400.0):
    """A run whose properties are known: Jeffery's orbit, warmer in its first half."""
    times = np.arange(0, until + 1)
    axes = jeffery_axis([np.sin(-0.35), np.cos(-0.35), 0], RATE * times, 0.25)
    return SimpleNamespace(
        observations=[
            observation(t, axis=axis, temperature=0.2 if t < 200 else 0.1, contacts=t / 100)
            for t, axis in zip(times, axes, strict=True)
        ],
        snapshots=(),
        stress=np.tile([1, 1, 1, -0.22, 0, 0.0], (len(times) - 1, 1)),
    )


def test_properties_of_a_run_whose_answers_are_known():
    found = properties(tumbling_run(), flow=Shear(RATE), skip=200.0)
    assert found["first_flip_strain"] == pytest.approx(jeffery_flips(-0.35, 1, 0.25)[0], abs=0.05)
    assert found["platelet_temperature"] == pytest.approx(0.1)
    assert found["fluid_temperature"] == pytest.approx(0.11)
    assert found["viscosity"] == pytest.approx(2.2)
    assert found["spin"] == pytest.approx(0.05)
    assert found["contacts_at_end"] == pytest.approx(3.8, abs=0.05)
    assert found[["gyration_1", "gyration_2", "gyration_3"]].tolist() == pytest.approx(
        [0.2, 1, 1.1]
    )
    assert found["stretch_mean"] == pytest.approx(0.02)
    assert found["receptor_energy"] == pytest.approx(-2)


def test_time_before_skip_counts_for_nothing_but_the_flip():
    everything = properties(tumbling_run(), flow=Shear(RATE))
    later = properties(tumbling_run(), flow=Shear(RATE), skip=200.0)
    assert everything["platelet_temperature"] > later["platelet_temperature"]
    assert everything["first_flip_strain"] == later["first_flip_strain"]


def test_a_run_without_a_whole_segment_after_skip_has_no_viscosity():
    found = properties(tumbling_run(), flow=Shear(RATE), skip=400.0)
    assert "viscosity" not in found
    assert found["platelet_temperature"] == pytest.approx(0.1)


def test_a_run_that_ends_before_the_flip_does_not_tell_when_it_is():
    assert np.isnan(properties(tumbling_run(until=50.0), flow=Shear(RATE))["first_flip_strain"])


def test_only_what_can_be_known_is_listed():
    still = properties(tumbling_run(), flow=Quiescent())
    assert "viscosity" not in still
    assert "first_flip_strain" not in still
    fluid = SimpleNamespace(observations=[observation(0.0, n=0)], snapshots=(), stress=None)
    assert properties(fluid).to_dict() == {"fluid_temperature": 0.11}


def test_spread_of_the_stretch_and_stress_come_from_the_snapshots(stack, snapshot_of):
    rng = np.random.default_rng(0)
    x = stack.positions + rng.normal(scale=0.02, size=stack.positions.shape)
    snapshots = [snapshot_of(stack, x, time=time) for time in (0.0, 300.0)]
    run = tumbling_run()
    run.snapshots = snapshots
    forcefield = ForceField()
    found = properties(run, suspension=stack, forcefield=forcefield)
    sizes = membrane_stress(stack, snapshots[0], forcefield).von_mises
    assert found["stress_mean"] == pytest.approx(sizes.mean())
    assert found["stress_95"] == pytest.approx(np.percentile(sizes, 95))
    edges = stack.bonds[~stack.is_strut]
    length = np.linalg.norm(x[edges[:, 0]] - x[edges[:, 1]], axis=1)
    stretch = np.abs(length / stack.rest_lengths[~stack.is_strut] - 1)
    assert found["stretch_std"] == pytest.approx(stretch.std())


def ensemble(rng, means, spread, n=5):
    return pd.DataFrame({name: rng.normal(mean, spread, n) for name, mean in means.items()})


def test_verdicts_of_errors_inside_outside_and_across_the_tolerance():
    """One percent, ten percent, and one percent with a spread that five runs cannot see through."""
    rng = np.random.default_rng(0)
    reference = ensemble(rng, {"right": 1.0, "wrong": 1.0}, 0.002)
    runs = ensemble(rng, {"right": 1.01, "wrong": 1.1}, 0.002)
    reference["noisy"], runs["noisy"] = rng.normal(1, 0.1, 5), rng.normal(1.01, 0.1, 5)
    table = property_errors(runs, reference).set_index("property")
    assert table["verdict"].to_dict() == {
        "right": "within",
        "wrong": "outside",
        "noisy": "undecided",
    }
    assert table.loc["wrong", "relative_error"] == pytest.approx(0.1, abs=0.005)


def test_an_interval_wider_than_the_tolerance_never_passes():
    rng = np.random.default_rng(1)
    for _ in range(200):
        table = property_errors(
            ensemble(rng, {"p": 1.0}, 0.1), ensemble(rng, {"p": 1.0}, 0.1), n_resamples=200
        )
        row = table.iloc[0]
        if row["high"] - row["low"] > 2 * 0.03:
            assert row["verdict"] != "within"


def test_an_error_at_the_tolerance_passes_as_seldom_as_the_confidence_says():
    """The true error is the tolerance itself: a pass is a mistake, of 2.5 % of the ensembles."""
    rng = np.random.default_rng(2)
    passes = 0
    for k in range(400):
        runs = ensemble(rng, {"p": 1.03}, 0.005)
        reference = ensemble(rng, {"p": 1.0}, 0.005)
        table = property_errors(runs, reference, n_resamples=200, seed=k)
        passes += table["verdict"][0] == "within"
    assert passes / 400 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 400)


def test_pairs_from_the_same_starts_tell_more():
    rng = np.random.default_rng(3)
    start = rng.normal(1, 0.2, 5)
    reference = pd.DataFrame({"p": start}, index=[11, 12, 13, 14, 15])
    runs = reference * rng.normal(1.01, 0.002, (5, 1))
    apart = property_errors(runs, reference).iloc[0]
    together = property_errors(runs, reference, paired=True).iloc[0]
    assert (apart["verdict"], together["verdict"]) == ("undecided", "within")
    assert together["paired"]
    assert not apart["paired"]


def test_a_property_that_some_runs_lack_is_undecided_and_counted():
    series = [pd.Series({"flip": value, "T": 1.0}) for value in (1.0, 1.01, np.nan)]
    table = property_errors(series, series).set_index("property")
    assert table.loc["flip", "verdict"] == "undecided"
    assert table.loc["flip", "n_runs"] == 2
    assert np.isnan(table.loc["flip", "relative_error"])
    assert table.loc["T", "verdict"] == "within"


@pytest.mark.parametrize(("spread", "n"), [(0.02, 5), (0.1, 5), (0.3, 12)])
def test_so_many_runs_make_an_interval_as_narrow_as_the_tolerance(spread, n):
    """Student's half width of that many runs of the same spread; one less are too few."""
    needed = runs_needed(spread / np.sqrt(n), n, 0.03)

    def half_width(runs):
        return stats.t.ppf(0.975, runs - 1) * spread / np.sqrt(runs)

    assert half_width(needed) <= 0.03 < half_width(needed - 1)


def test_runs_needed_are_told_beside_the_verdict():
    rng = np.random.default_rng(4)
    runs, reference = (ensemble(rng, {"p": 1.0}, 0.1) for _ in range(2))
    row = property_errors(runs, reference, paired=True).iloc[0]
    assert row["verdict"] == "undecided"
    pairs = runs["p"] - reference["p"]
    error = pairs.std() / np.sqrt(5)
    assert row["runs_needed"] == pytest.approx(runs_needed(error, 5, 0.03), rel=0.3)


def test_no_interval_is_no_pass():
    assert verdict(np.nan, np.nan, 0.03) == "undecided"
    assert verdict(-0.05, 0.05, 0.03) == "undecided"
    assert verdict(-0.06, -0.04, 0.03) == "outside"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: property_errors(a[:1], b), "runs has 1 runs"),
        (lambda a, b: property_errors(a, b, paired=True), "same seeds"),
        (lambda a, b: property_errors(a, b, tolerance=0.0), "tolerance=0"),
        (lambda a, b: properties(tumbling_run(), skip=1e6), "skip=1e"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    a, b = pd.DataFrame({"p": [1.0, 2, 3]}), pd.DataFrame({"p": [1.0, 2]})
    with pytest.raises(ParameterError, match=message):
        call(a, b)
