import time

import pytest

from labkit.clot.control.ledger import WORK_COLUMNS, Ledger, segments_from
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import Segment

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.0025)


def segment(start):
    return Segment(
        plan=PLAN,
        start=start,
        time=0.1,
        evaluations=PLAN.evaluations(0.1),
        cpu_seconds=0.25,
        wall_seconds=0.5,
        setup_seconds=0.125,
    )


def test_a_segment_comes_back_as_it_was_written_down():
    ledger = Ledger()
    ledger.add(0, "probe", segment(1.0))
    ledger.add(0, "run", segment(1.5))
    with ledger.charged(0, "decision"):
        pass
    probe, run = segments_from(ledger.frame())
    for before, after in ((segment(1.0), probe), (segment(1.5), run)):
        assert vars(after) == vars(before)


def test_a_ledger_goes_on_from_its_frame():
    first = Ledger()
    first.add(0, "run", segment(0.0))
    second = Ledger(first.frame())
    second.add(1, "run", segment(0.1))
    frame = second.frame()
    assert tuple(frame.columns) == WORK_COLUMNS
    assert list(frame["segment"]) == [0, 1]
    assert frame[list(LEVELS)].sum().to_dict() == PLAN.evaluations(0.2)


def test_what_is_charged_counts_processor_time_and_no_evaluations():
    ledger = Ledger()
    with ledger.charged(0, "state"):
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    (row,) = ledger.frame().to_dict("records")
    assert row["cpu_seconds"] >= 0.02
    assert row["wall_seconds"] >= row["cpu_seconds"] / 2
    assert all(row[level] == 0 for level in LEVELS)


def test_probes_are_taken_off_the_decision_that_ran_them():
    ledger = Ledger()
    with ledger.charged(0, "decision") as decision:
        pass
    decision.row["cpu_seconds"] = 0.3
    decision.less(segment(0.0))
    assert ledger.frame()["cpu_seconds"][0] == pytest.approx(0.05)
    decision.less(segment(0.0))
    assert ledger.frame()["cpu_seconds"][0] == 0.0


def test_what_is_only_measured_is_kept_on_demand():
    ledger = Ledger()
    with ledger.charged(0, "rolled back", keep=False) as charge:
        pass
    assert ledger.frame().empty
    ledger.keep(charge)
    assert list(ledger.frame()["kind"]) == ["rolled back"]


def test_a_plan_that_blew_up_leaves_costs_and_no_segment():
    ledger = Ledger()
    with ledger.charged(0, "rolled back"):
        pass
    ledger.add(0, "run", segment(0.0))
    frame = ledger.frame()
    assert list(frame["kind"]) == ["rolled back", "run"]
    assert [each.start for each in segments_from(frame)] == [0.0]
