"""Explorers show a first state without a browser, follow their controls, and never raise."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.config import SCHEDULES, ParallelConfig
from labkit.llm_parallel.cost import PARTS, step_time
from labkit.llm_parallel.memory import memory_breakdown
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.plots.svg import anatomy_svg, gantt_svg, memory_svg
from labkit.llm_parallel.schedule import pipeline_schedule, simulate
from labkit.llm_parallel.systems import SYSTEMS, system_preset
from labkit.llm_parallel.widgets import (
    ScheduleExplorer,
    StrategyExplorer,
    schedule_explorer,
    strategy_explorer,
)

FRONTIER = system_preset("frontier")
GPT_175B = model_preset("gpt-175b")
STRATEGY = ParallelConfig(tp=4, pp=16, dp=16, global_batch_size=5120, recompute="full")


@pytest.fixture
def explorer() -> StrategyExplorer:
    return strategy_explorer(GPT_175B, FRONTIER, 1024, 5120, strategy=STRATEGY)


@pytest.fixture
def schedules() -> ScheduleExplorer:
    return schedule_explorer()


def elements(picture: str, tag: str) -> Iterator[ElementTree.Element]:
    """Elements of the drawings of a fragment, which must be well-formed."""
    root = ElementTree.fromstring(f"<div>{picture}</div>")
    return root.iter(tag)


def hints(picture: str) -> list[str]:
    return [str(title.text) for title in elements(picture, "title")]


def areas(picture: str) -> dict[str, float]:
    """Area of each color, in square pixels."""
    found: dict[str, float] = {}
    for path in elements(picture, "path"):
        sizes = re.findall(r"h([\d.]+)v([\d.]+)h-", path.attrib["d"])
        color = path.attrib["fill"]
        found[color] = found.get(color, 0) + sum(float(w) * float(h) for w, h in sizes)
    return found


def test_first_state_is_the_strategy_as_given(explorer):
    assert explorer.strategy == STRATEGY
    time = step_time(GPT_175B, STRATEGY, FRONTIER)
    words = explorer.verdict.value
    assert "fits" in words
    assert f"HFU {100 * time.hfu[0]:.1f} %" in words
    assert f"MFU {100 * time.mfu[0]:.1f} %" in words
    assert STRATEGY.label() in words
    assert "(model)" in words


def test_picture_tells_the_memory_of_every_stage_and_the_time_of_every_part(explorer):
    told = hints(explorer.picture.value)
    totals = memory_breakdown(GPT_175B, STRATEGY)["total"] / 2**30
    for stage, total in totals.items():
        assert any(hint.startswith(f"stage {stage}: {total:.1f} GiB") for hint in told)
    time = step_time(GPT_175B, STRATEGY, FRONTIER)
    assert f"{100 * time.bubble[0] / time.total[0]:.1f} %" in "".join(told)


@pytest.mark.parametrize(
    ("control", "value", "changed"),
    [
        ("tp", 8, {"tp": 8, "dp": 8}),
        ("pp", 32, {"pp": 32, "dp": 8}),
        ("micro_batch_size", 2, {"micro_batch_size": 2}),
        ("zero_stage", 3, {"zero_stage": 3}),
        ("recompute", "none", {"recompute": "none"}),
        ("schedule", "gpipe", {"schedule": "gpipe"}),
        ("sequence_parallel", True, {"sequence_parallel": True}),
        ("flash_attention", False, {"flash_attention": False}),
    ],
)
def test_a_control_changes_its_field_and_the_picture(explorer, control, value, changed):
    before = explorer.picture.value
    getattr(explorer, control).value = value
    assert explorer.strategy == STRATEGY.replace(**changed)
    assert explorer.picture.value != before
    getattr(explorer, control).value = getattr(STRATEGY, control)
    assert explorer.picture.value == before


def test_devices_that_a_strategy_leaves_are_data_parallel(explorer):
    for tp, pp in itertools.product((1, 2, 8), (4, 8, 32)):
        explorer.tp.value, explorer.pp.value = tp, pp
        assert explorer.strategy.dp == 1024 // (tp * pp)


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("tp", 5, "tp=5: tp * pp = 80 does not divide n_devices=1024; use tp=4 or 8"),
        ("pp", 7, "pp=7: tp * pp = 28 does not divide n_devices=1024; use pp=4 or 8"),
        ("micro_batch_size", 3, "micro_batch_size=3 does not divide the 320 sequences of a"),
        ("virtual_pp", 2, "needs 1 model chunks"),
        ("schedule", "interleaved_1f1b", "needs 2 or more model chunks"),
        ("recompute", "selective", "flash_attention=True"),
    ],
)
def test_a_broken_rule_is_said_with_what_to_use_and_the_picture_pales(
    explorer, control, value, words
):
    good = explorer.picture.value
    getattr(explorer, control).value = value
    assert "breaks a rule" in explorer.verdict.value
    assert words in explorer.verdict.value.replace("&#x27;", "'")
    assert explorer.picture.value == f'<div style="opacity:0.25">{good}</div>'
    getattr(explorer, control).value = getattr(STRATEGY, control)
    assert explorer.picture.value == good


def test_nearest_values_of_a_message_are_legal(explorer):
    for control, wrong in (("tp", 5), ("pp", 7), ("micro_batch_size", 3)):
        getattr(explorer, control).value = wrong
        advice = explorer.verdict.value.split("use ")[1]
        for near in map(int, re.findall(r"\d+", advice)):
            ends = {"tp": STRATEGY.tp, "pp": STRATEGY.pp, "micro_batch_size": 1} | {control: near}
            size = ends["tp"] * ends["pp"]
            assert 1024 % size == 0
            assert 5120 % (1024 // size * ends["micro_batch_size"]) == 0
        getattr(explorer, control).value = getattr(STRATEGY, control)


def test_what_does_not_fit_is_a_verdict_with_its_numbers(explorer):
    explorer.recompute.value, explorer.micro_batch_size.value = "none", 8
    assert "out of memory" in explorer.verdict.value
    need = step_time(GPT_175B, explorer.strategy, FRONTIER).memory_bytes[0] / 2**30
    assert f"{need:.1f} of 64 GiB" in explorer.verdict.value
    assert "HFU" in explorer.verdict.value


def test_no_combination_of_controls_raises():
    # All pairs of controls, each with its first, middle and last value.
    model = model_preset("gpt-1.4b")
    explorer = strategy_explorer(model, FRONTIER, 16, 96)
    start = {name: control.value for name, control in explorer.inputs.items()}
    ends, legal = {}, 0
    for name, control in explorer.inputs.items():
        values = [False, True]
        if not isinstance(control, ipywidgets.Checkbox):
            values = [o[1] if isinstance(o, tuple) else o for o in control.options]
        ends[name] = (
            values if len(values) <= 6 else [values[0], values[len(values) // 2], values[-1]]
        )
    for first, second in itertools.combinations(ends, 2):
        for one, two in itertools.product(ends[first], ends[second]):
            getattr(explorer, first).value, getattr(explorer, second).value = one, two
            assert explorer.verdict.value.startswith("<b")
            assert "nan" not in explorer.verdict.value
            legal += "breaks a rule" not in explorer.verdict.value
        for name in (first, second):
            getattr(explorer, name).value = start[name]
    assert legal > 20


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("model", ["gpt-tiny", "llama-3-8b", "megatron-530b"])
def test_every_machine_and_model_has_a_first_state(system, model):
    machine = system_preset(system)
    explorer = strategy_explorer(model_preset(model), machine, min(8, machine.max_devices), 64)
    assert "breaks a rule" not in explorer.verdict.value
    assert "<svg" in explorer.picture.value


def test_first_state_fits_where_anything_plain_does():
    explorer = strategy_explorer(GPT_175B, FRONTIER, 1024, 5120)
    assert "fits" in explorer.verdict.value
    nothing = strategy_explorer(GPT_175B, FRONTIER, 8, 64)
    assert "out of memory" in nothing.verdict.value


def test_devices_and_batch_with_nothing_in_common_still_show_controls():
    explorer = strategy_explorer(GPT_175B, FRONTIER, 1021, 7)
    assert "breaks a rule" in explorer.verdict.value
    assert "global_batch_size=7" in explorer.verdict.value


@pytest.mark.parametrize(
    ("n_devices", "batch", "message"),
    [(0, 8, "n_devices=0"), (10**7, 8, "n_devices=10000000"), (8, 0, "global_batch_size=0")],
)
def test_impossible_sizes_are_refused_before_anything_is_shown(n_devices, batch, message):
    with pytest.raises(ParameterError, match=message):
        strategy_explorer(GPT_175B, FRONTIER, n_devices, batch)


def test_bars_have_the_areas_of_their_components():
    frame = memory_breakdown(GPT_175B, STRATEGY)
    drawn = areas(memory_svg(frame, FRONTIER.hbm_bytes))
    weights, optimizer = frame["weights"].sum(), frame["optimizer"].sum()
    # Corners are rounded to a tenth of a pixel of bars that are tens of pixels tall.
    assert drawn["#0072B2"] / drawn["#009E73"] == pytest.approx(weights / optimizer, rel=0.03)


def test_segments_have_the_lengths_of_their_parts():
    time = step_time(GPT_175B, STRATEGY, FRONTIER)
    parts = {name: float(getattr(time, name)[0]) for name in PARTS}
    drawn = areas(anatomy_svg(parts, width_px=1000))
    assert drawn["#0072B2"] / sum(drawn.values()) == pytest.approx(
        parts["forward"] / time.total[0], abs=2e-4
    )


def test_red_tops_stand_on_the_stages_that_do_not_fit():
    frame = memory_breakdown(GPT_175B, STRATEGY.replace(recompute="none"))
    limit = float(frame["total"].sort_values().iloc[3]) + 1
    path = next(
        p for p in elements(memory_svg(frame, limit), "path") if p.attrib["fill"] == "#D55E00"
    )
    assert path.attrib["d"].count("M") == (frame["total"] > limit).sum() == 12


def test_first_schedule_is_1f1b_with_its_known_bubble(schedules):
    assert "27.3 % idle" in schedules.verdict.value
    assert "27.3 % by the closed form" in schedules.verdict.value
    assert "rank 0 holds most: 4 micro-batches" in schedules.verdict.value
    assert schedules.timeline.makespan == 33


def test_gantt_chart_shows_the_share_of_waiting(schedules):
    schedules.num_microbatches.value = 16
    drawn = areas(gantt_svg(schedules.timeline))
    busy = drawn["#0072B2"] + drawn["#E69F00"]
    everything = drawn["#c8c8c8"]
    # Bars are half a pixel narrower than their time, so that neighbors stay apart.
    gap = 2 * 16 * 4 * 0.5 * 0.82 * 24
    assert 1 - (busy + gap) / everything == pytest.approx(
        schedules.timeline.bubble_fraction, abs=5e-3
    )


def test_every_schedule_of_every_size_is_drawn_or_refused_in_one_line(schedules):
    sizes = list(itertools.product((1, 3, 8), (1, 9, 16), (1, 2)))
    for kind, (p, m, v) in itertools.product(SCHEDULES, sizes):
        schedules.schedule.value = kind
        schedules.pp.value, schedules.num_microbatches.value = p, m
        schedules.virtual_pp.value = v
        try:
            expected = simulate(pipeline_schedule(kind, p, m, v), forward=1.0, backward=2.0)
        except ParameterError:
            assert "no such schedule" in schedules.verdict.value
            assert "opacity" in schedules.picture.value
        else:
            assert f"{100 * expected.bubble_fraction:.1f} % idle" in schedules.verdict.value
            held = [t.text for t in elements(schedules.picture.value, "text")][-2 * p - 2 : -2]
            assert held[1::2] == [str(n) for n in expected.peak_in_flight]


def test_messages_between_stages_lengthen_the_step(schedules):
    before = schedules.timeline.makespan
    schedules.p2p.value = 0.5
    assert schedules.timeline.makespan > before
    schedules.p2p.value, schedules.backward.value = 0.0, 1.0
    assert schedules.timeline.makespan == np.float64(2 * (8 + 3))


def test_a_schedule_that_does_not_exist_is_refused():
    with pytest.raises(ParameterError, match="schedule='2f2b' is not allowed"):
        schedule_explorer(kind="2f2b")
    with pytest.raises(ParameterError, match="pp=99"):
        schedule_explorer(pp=99)
