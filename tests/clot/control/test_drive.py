import json

import numpy as np
import pandas as pd
import pytest

from labkit.clot.control.classical import FixedPlan, StepDoubling
from labkit.clot.control.drive import drive
from labkit.clot.control.guard import Guard
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.run_storage import Run
from labkit.clot.engine import Engine
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.scenes import scene
from labkit.clot.simulation import EngineError
from labkit.errors import ParameterError

FINE = StepPlan(fluid=0.01, interface=0.005, nonbonded=0.005, bonded=0.0025)
COARSE = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
TOO_LARGE = StepPlan(fluid=0.05, interface=0.05, nonbonded=0.05, bonded=0.05)
LADDER = Ladder((FINE, COARSE))
SHORT = {"time": 0.6, "segment": 0.1, "ladder": LADDER}


class Alternating:
    """Another plan in each segment, told apart by a counter that it must remember."""

    name = "alternating"

    def __init__(self, *, stop_after=None):
        self.memory = {"asked": 0}
        self._stop_after = stop_after

    def plan(self, history, engine):
        if self.memory["asked"] == self._stop_after:
            raise KeyboardInterrupt
        self.memory["asked"] += 1
        return LADDER[self.memory["asked"] % 2]


@pytest.fixture(scope="module")
def small():
    """A platelet of 47 beads in 380 particles of plasma, relaxed."""
    ready = scene("tumbling", platelet_a=1.2, box=(5.1, 5.1, 5.1))
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=3) as engine:
        engine.relax()
        engine.run(FINE, 0.5)
        return ready, engine.snapshot()


@pytest.fixture
def engine(small):
    """A new LAMMPS in the relaxed state."""
    ready, start = small
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=3, snapshot=start) as engine:
        yield engine


def same_state(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("x", "v", "image")
    )


def test_a_run_is_observed_at_the_start_of_each_segment_and_at_the_end(engine):
    start = engine.time
    run = drive(engine, FixedPlan(COARSE), **SHORT, keep_every=2)
    assert run.complete
    np.testing.assert_allclose([o.time - start for o in run.observations], np.linspace(0, 0.6, 7))
    assert run.plans == (COARSE,) * 6
    np.testing.assert_allclose([s.time - start for s in run.snapshots], [0, 0.2, 0.4, 0.6])
    assert same_state(run.snapshots[-1], engine.snapshot())


def test_evaluations_are_counted_exactly(engine):
    run = drive(engine, Alternating(), **SHORT)
    for level in LEVELS:
        expected = sum(plan.evaluations(0.1)[level] for plan in run.plans)
        assert run.costs.loc["run", level] == expected
        assert run.table()[level].sum() == expected
    assert (
        run.costs.loc[["rolled back", "probe", "decision", "state"], list(LEVELS)].sum().sum() == 0
    )


def test_a_plan_that_is_too_large_is_rolled_back_and_named_and_the_run_finishes(engine):
    """Springs of 121 radians a time unit blow up above a step of 2/121 = 0.017."""
    run = drive(engine, FixedPlan(TOO_LARGE), **SHORT, guard=Guard(kT=0.1, hold=3))
    assert run.complete
    assert set(run.plans) == {COARSE}
    assert list(run.rollbacks["segment"]) == [0, 3], "barred for three segments after each failure"
    assert set(run.rollbacks["plan"]) == {str(TOO_LARGE)}
    assert set(run.rollbacks["next_plan"]) == {str(COARSE)}
    assert list(run.table()["rollbacks"]) == [1, 0, 0, 1, 0, 0]
    lost = run.work[run.work["kind"] == "rolled back"]
    assert (lost["cpu_seconds"] > 0).all()
    assert len(lost) == 2


def test_a_run_with_a_rollback_ends_where_one_without_it_ends(engine, small):
    drive(engine, FixedPlan(TOO_LARGE), **SHORT)
    rolled_back = engine.snapshot()
    engine.restore(small[1])
    drive(engine, FixedPlan(COARSE), **SHORT)
    assert same_state(rolled_back, engine.snapshot())


def test_a_limit_of_the_guard_rolls_back_too(engine):
    """A limit below the thermal stretch of any plan is crossed on every one of them."""
    with pytest.raises(EngineError) as failed:
        drive(engine, FixedPlan(COARSE), **SHORT, guard=Guard(kT=0.1, max_stretch=1e-6))
    message = str(failed.value)
    assert str(FINE) in message
    assert "failed at time 1.5 (largest stretch of platelet 0" in message


def test_what_a_controller_probes_is_charged_to_it(engine):
    controller = StepDoubling(1.0, LADDER, window=0.1)
    run = drive(engine, controller, time=0.2, segment=0.1, ladder=LADDER)
    probes = run.work[run.work["kind"] == "probe"]
    first = [COARSE.evaluations(0.1), FINE.evaluations(0.1)]
    halved = [FINE.evaluations(0.1), FINE.refined(2).evaluations(0.1)]
    assert run.plans == (COARSE, COARSE)
    for level in LEVELS:
        assert probes[level].sum() == sum(count[level] for count in (*first, *halved))
    assert 0 < run.controller_share < 1


def test_probes_leave_the_run_as_it_is_without_them(engine, small):
    drive(engine, StepDoubling(1.0, LADDER, window=0.1), time=0.2, segment=0.1, ladder=LADDER)
    probed = engine.snapshot()
    engine.restore(small[1])
    drive(engine, FixedPlan(COARSE), time=0.2, segment=0.1, ladder=LADDER)
    assert same_state(probed, engine.snapshot())


def test_a_run_that_was_stopped_goes_on_bit_for_bit(engine, small, tmp_path):
    ready, start = small
    whole = drive(engine, Alternating(), **SHORT, bins=4, keep_every=2)
    engine.restore(start)
    with pytest.raises(KeyboardInterrupt):
        drive(engine, Alternating(stop_after=4), **SHORT, bins=4, keep_every=2, folder=tmp_path)
    assert len(Run.load(tmp_path).plans) == 4
    options = {"seed": 3, "snapshot": start}
    with Engine(ready.suspension, ready.forcefield, ready.flow, **options) as other:
        controller = Alternating()
        resumed = drive(
            other, controller, **SHORT, bins=4, keep_every=2, folder=tmp_path, resume=True
        )
        assert len(other.segments) == 6
    assert controller.memory == {"asked": 6}
    assert resumed.plans == whole.plans
    assert len(resumed.snapshots) == len(whole.snapshots)
    assert all(map(same_state, resumed.snapshots, whole.snapshots))
    np.testing.assert_array_equal(resumed.stress, whole.stress)
    np.testing.assert_array_equal(resumed.profile, whole.profile)


def test_a_stored_run_is_read_as_it_was(engine, tmp_path):
    run = drive(engine, FixedPlan(TOO_LARGE), **SHORT, bins=4, about={"seed": 3})
    stored = Run.load(run.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(stored.table(), run.table())
    pd.testing.assert_frame_equal(stored.costs, run.costs)
    pd.testing.assert_frame_equal(stored.rollbacks, run.rollbacks)
    assert stored.about == {"seed": 3}
    assert stored.ladder == run.ladder
    for mine, theirs in zip(run.observations, stored.observations, strict=True):
        assert mine.time == theirs.time
        np.testing.assert_array_equal(mine.gyration, theirs.gyration)


def test_a_run_of_something_else_is_not_gone_on_with(engine, tmp_path):
    drive(engine, FixedPlan(COARSE), **SHORT, folder=tmp_path)
    with pytest.raises(ParameterError, match=r"controller='fixed .* differs"):
        drive(engine, FixedPlan(FINE), **SHORT, folder=tmp_path, resume=True)
    changed = {**SHORT, "segment": 0.2}
    with pytest.raises(ParameterError, match=r"segment=0\.2 differs"):
        drive(engine, FixedPlan(COARSE), **changed, folder=tmp_path, resume=True)
    with pytest.raises(ParameterError, match="bins=4 differs from None"):
        drive(engine, FixedPlan(COARSE), **SHORT, bins=4, folder=tmp_path, resume=True)


def test_notes_are_compared_as_the_file_holds_them(engine, tmp_path):
    about = {"seed": np.int64(3), "box": (5, 5)}
    first = drive(engine, FixedPlan(COARSE), **SHORT, folder=tmp_path, about=about)
    again = drive(engine, FixedPlan(COARSE), **SHORT, folder=tmp_path, about=about, resume=True)
    assert first.about == again.about == {"seed": 3, "box": [5, 5]}
    with pytest.raises(ParameterError, match=r"about=.* is not allowed"):
        drive(engine, FixedPlan(COARSE), **SHORT, about={"engine": engine})


def test_what_a_killed_process_leaves_does_not_harm_the_stored_run(engine, tmp_path):
    run = drive(engine, FixedPlan(COARSE), **SHORT, folder=tmp_path)
    (tmp_path / "series-0123abcd.npz").write_bytes(b"half of")
    assert Run.load(tmp_path).plans == run.plans


def test_a_folder_that_is_used_again_holds_the_new_run_only(engine, small, tmp_path):
    drive(engine, FixedPlan(COARSE), **SHORT, keep_every=1, folder=tmp_path)
    engine.restore(small[1])
    run = drive(engine, FixedPlan(FINE), **SHORT, keep_every=3, folder=tmp_path)
    stored = Run.load(tmp_path)
    assert stored.plans == (FINE,) * 6
    assert all(map(same_state, stored.snapshots, run.snapshots))
    assert len(list(tmp_path.glob("*.npz"))) == 1 + len(run.snapshots)


def test_a_damaged_run_is_told(tmp_path):
    with pytest.raises(ParameterError, match="cannot be read as a run"):
        Run.load(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"series": "missing.npz"}))
    with pytest.raises(ParameterError, match="cannot be read as a run"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": 0.65}, "time=0.65: use a whole multiple of segment=0.1"),
        ({"segment": 0.03, "time": 0.6}, "segment=0.03 is not allowed"),
        ({"keep_every": 0}, "keep_every"),
        ({"resume": True}, "resume=True needs folder"),
    ],
)
def test_times_that_do_not_fit_are_refused(change, said):
    with pytest.raises(ParameterError, match=said):
        drive(None, FixedPlan(COARSE), **{**SHORT, **change})
