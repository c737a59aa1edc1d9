"""Speeds beside the published ones say whether they are measured, projected or published."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.clot.plans import StepPlan
from labkit.clot.published import PUBLISHED, comparison, reality
from labkit.clot.scaling import WeakScaling
from labkit.clot.units import DPDUnits

from .test_scaling import PLAN, runs

UNITS = DPDUnits(rc_m=2e-6 / 3, eta_star=2.2)


@pytest.fixture(scope="module")
def table():
    measured = runs(0.05, repeats=4)
    model = WeakScaling.fit(measured, n_samples=10)
    projections = [model.project(102_000_000, 8064, plan=PLAN, units=UNITS)]
    return comparison(projections, measured=measured, plan=PLAN, units=UNITS)


def test_every_row_says_what_it_is_and_where_it_is_from(table):
    assert list(dict.fromkeys(table["kind"])) == ["measured", "projection", "published"]
    assert table["source"].str.len().gt(0).all()
    assert np.isfinite(table["us_per_day"]).all()


def test_published_speeds_are_those_of_the_abstracts(table):
    published = table[table["kind"] == "published"]
    assert published["us_per_day"].tolist() == [423.0, 3077.0, 266.0]
    assert published["particles"].tolist() == [102e6, 6e6, 6e6]
    assert PUBLISHED["source"].str.endswith("abstract").all()


def test_measured_rows_are_the_runs_of_the_plan_on_each_number_of_ranks(table):
    measured = table[table["kind"] == "measured"]
    assert measured["machine"].tolist() == ["1 rank here", "2 ranks here", "4 ranks here"]
    own = runs(0.05, repeats=4)
    own = own[(own["particles"] == 12000) & (own["ranks"] == 1)]
    own = own[own["bonded"] == 40 * own["fluid"]]
    a_step = own["seconds"] / own["fluid"]
    microseconds = 86400 / a_step * PLAN.fluid * UNITS.tau_s * 1e6
    row = measured.iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((microseconds.min(), microseconds.max()))
    assert row["low"] < row["us_per_day"] < row["high"]


def test_without_runs_there_is_no_measured_row():
    assert set(comparison([])["kind"]) == {"published"}


def test_the_reality_check_turns_microseconds_into_steps_and_back():
    plan = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.01)
    words = reality(UNITS, plan)
    steps = float(words.split(" fluid steps of ")[0].split()[-1].replace(",", ""))
    seconds = float(words.split(" fluid steps of ")[1].split()[0])
    assert steps * 0.02 * UNITS.tau_s * 1e6 == pytest.approx(423, rel=1e-3)
    assert steps * seconds == pytest.approx(86400, rel=5e-3)
