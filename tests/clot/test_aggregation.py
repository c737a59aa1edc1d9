import dataclasses
from functools import cache

import numpy as np
import pytest

from labkit.clot import aggregation
from labkit.clot.aggregation import (
    SEGMENT,
    START_PLAN,
    X_MAX,
    aggregate,
    controller_of,
    engine_of,
    judge,
    start_of,
    tolerance_of,
)
from labkit.clot.control.classical import DisplacementLimit, FixedPlan, StepDoubling
from labkit.clot.control.drive import Run
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.learned import default_tolerance
from labkit.clot.engine import Engine
from labkit.clot.plans import StepPlan
from labkit.clot.settings import ClotConfig
from labkit.clot.split import SplitEngine

FINE = StepPlan(fluid=0.01, interface=0.005, nonbonded=0.0025, bonded=0.0025)
COARSE = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
LADDER = Ladder((FINE, COARSE))
CONFIG = ClotConfig.from_preset("quick", time=2 * SEGMENT, seed=7)


@cache
def started():
    """The scene and the state from which every run here starts."""
    return start_of(CONFIG)


def run_on(plan, **options):
    made, start = started()
    return aggregate(CONFIG, made, start, LADDER, controller=FixedPlan(plan), **options)


@cache
def coarse_run():
    """Two segments on the coarse plan."""
    return run_on(COARSE)


@cache
def coarse_labels():
    return judge(coarse_run(), started()[0])


def test_a_start_has_the_temperature_of_the_forces():
    """Shear and what is left of the built state's heat are worth a few percent."""
    made, start = started()
    with engine_of(CONFIG, made, seed=7, start=start) as engine:
        observed = engine.observe()
    assert observed.fluid_temperature == pytest.approx(made.forcefield.kT, rel=0.2)
    assert np.mean(observed.temperature) == pytest.approx(made.forcefield.kT, rel=0.3)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("displacement", DisplacementLimit), ("doubling", StepDoubling), ("fixed", FixedPlan)],
)
def test_a_controller_is_found_by_its_name(name, kind):
    assert isinstance(controller_of(name, tolerance=1e-3, plans=LADDER), kind)


def test_controllers_keep_what_was_declared():
    limit = controller_of("displacement", tolerance=1e-3, plans=LADDER)
    assert limit.x_max == X_MAX
    assert controller_of("doubling", tolerance=1e-3, plans=LADDER).tolerance == 1e-3
    assert controller_of("fixed", tolerance=1e-3, plans=LADDER).fixed == FINE
    fixed = controller_of("fixed", tolerance=1e-3, plans=LADDER, fixed=START_PLAN)
    assert fixed.fixed == START_PLAN


def test_tolerance_is_the_declared_one_unless_another_is_given():
    made, _ = started()
    assert tolerance_of(CONFIG, made) == default_tolerance(made.forcefield)
    assert tolerance_of(dataclasses.replace(CONFIG, tolerance=0.002), made) == 0.002


def test_the_engine_is_the_one_that_was_chosen():
    made, start = started()
    for name, kind in (("respa", Engine), ("split", SplitEngine)):
        config = dataclasses.replace(CONFIG, engine=name)
        with engine_of(config, made, seed=0, start=start) as engine:
            assert isinstance(engine, kind)
            np.testing.assert_array_equal(engine.snapshot().x, start.x)


def test_a_run_has_whole_segments_and_says_what_it_is_of():
    run = coarse_run()
    assert run.complete
    assert run.plans == (COARSE, COARSE)
    assert run.observations[-1].time - run.observations[0].time == pytest.approx(CONFIG.time)
    assert run.about["scene"] == "collision"
    assert run.about["seed"] == 7
    assert run.about["tolerance"] == default_tolerance(started()[0].forcefield)


def test_runs_from_one_start_differ_in_their_noise_only_if_the_seed_does():
    same, other = (run_on(COARSE, seed=seed) for seed in (7, 8))
    ends = [run.snapshots[-1].x for run in (coarse_run(), same, other)]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 0.01


def test_a_run_that_is_stored_is_read_and_not_run_again(tmp_path):
    """What is read has the seconds that were stored, to the digit."""
    run_on(COARSE, folder=tmp_path)
    stored = Run.load(tmp_path).costs
    again = run_on(COARSE, folder=tmp_path).costs
    assert again.loc["total"].to_dict() == stored.loc["total"].to_dict()


def test_a_split_run_of_the_same_plan_has_the_same_evaluations():
    made, start = started()
    config = dataclasses.replace(CONFIG, engine="split", time=SEGMENT)
    run = aggregate(config, made, start, LADDER, controller=FixedPlan(COARSE))
    half = coarse_run().costs.loc["total", ["fluid", "nonbonded"]] / 2
    assert run.costs.loc["total", ["fluid", "nonbonded"]].tolist() == half.tolist()


def test_the_judge_sees_that_a_coarse_plan_is_worse_than_the_finest():
    made, _ = started()
    labels = coarse_labels()
    assert labels["plan"].tolist() == [str(COARSE)] * 2
    assert (labels["error"] > 1.5 * labels["finest_error"]).all()
    finest = judge(dataclasses.replace(coarse_run(), plans=(FINE, FINE)), made)
    assert finest["error"].tolist() == finest["finest_error"].tolist()
    assert not finest["over"].any()


def test_a_plan_is_over_the_tolerance_only_where_the_finest_is_not(tmp_path):
    run, labels = coarse_run(), coarse_labels()
    labels[["time", "plan", "error", "finest_error"]].to_csv(tmp_path / "judged.csv")

    def judged_at(tolerance):
        about = {**run.about, "tolerance": tolerance}
        found = judge(dataclasses.replace(run, about=about), started()[0], folder=tmp_path)
        return found["over"].any(), found["hopeless"].any()

    assert judged_at(2 * labels["error"].max()) == (False, False)
    middle = np.sqrt(labels["error"].min() * labels["finest_error"].max())
    assert judged_at(middle) == (True, False)
    assert judged_at(labels["finest_error"].min() / 2) == (False, True)


def test_labels_are_stored_beside_the_run_and_read_again(tmp_path, monkeypatch):
    made, _ = started()
    run = run_on(COARSE, folder=tmp_path)
    first = judge(run, made, folder=tmp_path)
    monkeypatch.setattr(aggregation, "local_errors", None)
    again = judge(run, made, folder=tmp_path)
    assert again["over"].tolist() == first["over"].tolist()
    np.testing.assert_allclose(again["error"], first["error"])
