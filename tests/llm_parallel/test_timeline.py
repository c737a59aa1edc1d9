"""Simulated steps: closed forms of the bubble, and an independent simulation by relaxation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ParameterError
from labkit.llm_parallel.config import SCHEDULES
from labkit.llm_parallel.schedule import ideal_bubble, pipeline_schedule, simulate

EXACT = 1e-12
"""Sums of a few thousand numbers of order 1 in float64."""


@pytest.mark.parametrize("p", range(2, 17))
@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_bubble_of_one_chunk_a_rank_is_exact(kind, p):
    for m in (p, 2 * p, 3 * p, 8 * p):
        timeline = simulate(pipeline_schedule(kind, p, m), forward=1.0, backward=2.0)
        assert timeline.bubble_fraction == pytest.approx((p - 1) / (m + p - 1), abs=EXACT)
        assert timeline.formula == (p - 1) / (m + p - 1)


@pytest.mark.parametrize("p", range(2, 17))
@pytest.mark.parametrize("kind", ["interleaved_1f1b", "looped_bfs"])
def test_bubble_of_several_chunks_a_rank_is_exact(kind, p):
    for m in (p, 2 * p, 4 * p):
        for v in (2, 3):
            timeline = simulate(pipeline_schedule(kind, p, m, v), forward=1.0, backward=2.0)
            assert timeline.bubble_fraction == pytest.approx((p - 1) / (m * v + p - 1), abs=EXACT)


@pytest.mark.parametrize("p", [2, 3, 4, 8, 16])
def test_zero_bubble_orders_wait_less_than_1f1b(p):
    for m in (p, 2 * p, 4 * p):
        bubbles = [
            simulate(pipeline_schedule(kind, p, m), forward=1.0, backward=2.0).bubble_fraction
            for kind in ("1f1b", "zb_h1", "zbv")
        ]
        assert bubbles[1] < bubbles[0]
        assert bubbles[2] < bubbles[0]
        if m >= 2 * p - 1:  # the V is full
            assert bubbles[2] < bubbles[1]


@pytest.mark.parametrize(
    ("forward", "inputs", "weights"),
    [(1, 1, 1), (1, 1.2, 0.8), (1, 0.8, 1.2), (1, 1.5, 0.5), (1, 1.5, 1.5), (1, 0.2, 1.8)],
)
@pytest.mark.parametrize("v", [1, 2, 3])
def test_zb_h1_waits_as_its_closed_form_says(forward, inputs, weights, v):
    for p, m in ((2, 8), (4, 4), (8, 16)):
        times = {
            "forward": forward,
            "backward": inputs + weights,
            "weight": weights / (inputs + weights),
        }
        timeline = simulate(pipeline_schedule("zb_h1", p, m, v), **times)
        idle = timeline.bubble_fraction * timeline.makespan
        expected = (p - 1) * max(forward + inputs - weights, forward, inputs)
        assert idle == pytest.approx(expected, abs=1e-10)  # a difference of two longer times
        assert timeline.formula == pytest.approx(timeline.bubble_fraction, abs=EXACT)


@pytest.mark.parametrize("p", [2, 4, 8])
def test_a_full_v_of_equal_parts_waits_one_pass_a_rank_less_one(p):
    timeline = simulate(pipeline_schedule("zbv", p, 2 * p), forward=1.0, backward=2.0)
    assert timeline.bubble_fraction * timeline.makespan == pytest.approx(p - 1, abs=1e-10)
    assert timeline.formula == pytest.approx(timeline.bubble_fraction, abs=EXACT)


def test_the_closed_form_is_unknown_where_the_pipeline_does_not_fill():
    for kind, p, m in (("interleaved_1f1b", 4, 3), ("zb_h1", 4, 3), ("zbv", 4, 6)):
        assert math.isnan(ideal_bubble(pipeline_schedule(kind, p, m)))


def relaxed_ends(schedule, stage_seconds, p2p):
    """Ends of all actions by repeated relaxation of every constraint; written independently."""
    rank_of = {}
    for rank, order in enumerate(schedule.order):
        rank_of.update({(a.kind, a.stage, a.microbatch): rank for a in order})
    end = dict.fromkeys(rank_of, 0.0)
    last = schedule.n_stages - 1

    def inputs(kind, stage, j):
        if kind == "F":
            return [("F", stage - 1, j)] if stage else []
        if kind == "W":
            return [("I", stage, j)]
        after = [(k, stage + 1, j) for k in "BI" if (k, stage + 1, j) in end]
        return [("F", stage, j), *(after if stage < last else [])]

    for _ in range(len(end)):
        before = dict(end)
        for rank, order in enumerate(schedule.order):
            free = 0.0
            for action in order:
                key = (action.kind, action.stage, action.microbatch)
                ready = [end[q] + p2p * (rank_of[q] != rank) for q in inputs(*key)]
                free = max([free, *ready]) + stage_seconds[action.kind][action.stage]
                end[key] = free
        if end == before:
            return end
    raise AssertionError("no fixed point")


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(SCHEDULES),
    p=st.integers(1, 5),
    rounds=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    p2p=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_uneven_stages_and_late_messages_agree_with_relaxation(kind, p, rounds, seed, p2p):
    schedule = pipeline_schedule(kind, p, rounds * p)
    random = np.random.default_rng(seed)
    n = schedule.n_stages
    forward, backward = random.uniform(0.1, 1, n), random.uniform(0.1, 3, n)
    share = random.uniform(0.1, 0.9)
    seconds = {"F": forward, "B": backward, "I": backward * (1 - share), "W": backward * share}
    timeline = simulate(schedule, forward=forward, backward=backward, weight=share, p2p=p2p)
    expected = relaxed_ends(schedule, seconds, p2p)
    rows = timeline.frame[["kind", "stage", "microbatch", "end"]].itertuples(index=False)
    simulated = {(kind, stage, j): end for kind, stage, j, end in rows}
    assert simulated == pytest.approx(expected)
    assert timeline.makespan == pytest.approx(max(expected.values()))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_rank_does_one_thing_at_a_time_and_all_its_work(kind):
    timeline = simulate(pipeline_schedule(kind, 4, 8), forward=0.7, backward=1.9, p2p=0.1)
    for _, rows in timeline.frame.groupby("rank"):
        rows = rows.sort_values("start")
        assert (rows["start"].to_numpy()[1:] >= rows["end"].to_numpy()[:-1] - EXACT).all()
        busy = (rows["end"] - rows["start"]).sum()
        assert busy == pytest.approx(8 * timeline.schedule.v * (0.7 + 1.9))
    busy = (timeline.frame["end"] - timeline.frame["start"]).sum()
    assert timeline.bubble_fraction == pytest.approx(1 - busy / (4 * timeline.makespan))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_time_scales_with_its_unit_and_messages_only_delay(kind):
    schedule = pipeline_schedule(kind, 4, 8)
    times = {"forward": 1.0, "backward": 2.0}
    once, late = simulate(schedule, **times), simulate(schedule, **times, p2p=0.25)
    slow = simulate(schedule, forward=1e-3, backward=2e-3)
    assert slow.makespan == pytest.approx(1e-3 * once.makespan)
    assert slow.bubble_fraction == pytest.approx(once.bubble_fraction)
    assert late.makespan > once.makespan


def test_one_rank_never_waits():
    for kind in ("gpipe", "1f1b", "zb_h1"):
        timeline = simulate(pipeline_schedule(kind, 1, 4), forward=1.0, backward=2.0, p2p=1.0)
        assert (timeline.makespan, timeline.bubble_fraction) == (12.0, 0.0)


def test_the_slowest_stage_sets_the_pace_of_many_microbatches():
    forward = np.array([1.0, 1.0, 1.5, 1.0])
    schedule = pipeline_schedule("1f1b", 4, 400)
    timeline = simulate(schedule, forward=forward, backward=2 * forward)
    assert timeline.makespan / 400 == pytest.approx(4.5, rel=0.01)  # 3 other stages in 400 rounds


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"forward": -1, "backward": 2}, "forward=.*use seconds of 0 or more"),
        ({"forward": 1, "backward": float("nan")}, "backward=.*use seconds of 0 or more"),
        ({"forward": [1, 2], "backward": 2}, r"forward has shape \(2,\): give one number or 4"),
        ({"forward": 1, "backward": 2, "weight": 1.5}, "weight=1.5: use a share from 0 to 1"),
        ({"forward": "slow", "backward": 2}, "forward='slow': use seconds of 0 or more"),
        ({"forward": 1, "backward": 2, "weight": "half"}, "weight='half': use a share"),
        ({"forward": 1, "backward": 2, "p2p": [1, 2]}, r"p2p has shape \(2,\): give one number"),
        ({"forward": 1, "backward": 2, "p2p": -0.1}, "p2p=-0.1: use seconds of 0 or more"),
    ],
)
def test_durations_that_cannot_be_are_refused(times, message):
    with pytest.raises(ParameterError, match=message):
        simulate(pipeline_schedule("1f1b", 4, 4), **times)
