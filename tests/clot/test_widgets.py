"""Widgets show a first state without a browser, and follow their controls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from labkit.clot import widgets
from labkit.clot.engine import Engine
from labkit.clot.flows import Shear
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.suspension import Placed, Suspension
from labkit.clot.units import DPDUnits
from labkit.errors import ParameterError

from .test_plots import COARSE, FINE, driven, labeled, lesson


def picture(widget) -> bytes:
    """What an image widget shows, which is a PNG."""
    shown = bytes(widget.value)
    assert shown.startswith(b"\x89PNG")
    return shown


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Draw without a screen, and see that every figure is closed after it is shown."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    assert not plt.get_fignums()
    matplotlib.use(backend)


def test_noise_rule_can_be_switched_on():
    explorer = widgets.noise_explorer(lesson())
    assert picture(explorer.picture)
    assert "<b>platelets at 0.23 kT</b> in the worst of 2 plans" in explorer.words.value
    before = picture(explorer.picture)
    explorer.rule.value = True
    assert "<b>platelets at 1.02 kT</b>" in explorer.words.value
    assert picture(explorer.picture) != before


def test_tolerance_decides_how_many_evaluations_a_choice_could_save():
    explorer = widgets.tolerance_explorer(labeled(), tolerance=5e-4)
    # Two of six states allow the coarse plan with a quarter of the 800 evaluations.
    mean = (2 * 200 + 4 * 800) / 6
    assert f"<b>{100 * (1 - mean / 800):.0f} % fewer evaluations</b>" in explorer.words.value
    assert f"{mean:.0f} a time unit" in explorer.words.value
    assert picture(explorer.picture)
    assert not explorer.run_picture.value
    explorer.tolerance.value = explorer.tolerance.max = math.log10(2e-3)
    explorer.tolerance.value = 2e-3
    assert "<b>0 % fewer evaluations</b>" in explorer.words.value
    assert f"200 with {COARSE}" in explorer.words.value


def test_states_where_no_plan_is_right_are_counted():
    explorer = widgets.tolerance_explorer(labeled(), tolerance=1e-4 * 0.9)
    assert "no plan is right at 100 %" in explorer.words.value


def test_the_stored_run_with_the_nearest_tolerance_is_shown():
    calm, busy = driven(contacts=(0,) * 7), driven()
    explorer = widgets.tolerance_explorer(labeled(), runs={1e-4: busy, 1e-3: calm}, tolerance=9e-4)
    shown = picture(explorer.run_picture)
    explorer.tolerance.value = 1.2e-4
    assert picture(explorer.run_picture) != shown


def test_labels_without_errors_are_refused():
    table = labeled()
    labels = table.trajectories[0]
    empty = replace(labels, errors=np.full(labels.errors.shape, np.nan))
    with pytest.raises(ParameterError, match="labels has no finite errors"):
        widgets.tolerance_explorer(replace(table, trajectories=(empty,)))


def test_frequency_of_bound_receptors_is_that_of_two_beads_on_the_potential():
    """Energy about the minimum, and both beads moving: omega^2 = 2 E'' / m."""
    start = Receptors(D=8.0, alpha=10.0, r0=0.8, cutoff=1.8)
    explorer = widgets.receptor_explorer(start)
    h = 1e-4

    def energy(r: float) -> float:
        decay = math.exp(-start.alpha * (r - start.r0))
        return start.D * (decay * decay - 2 * decay)

    curvature = (energy(0.8 + h) - 2 * energy(0.8) + energy(0.8 - h)) / h**2
    assert f"omega = {math.sqrt(2 * curvature):.1f}" in explorer.words.value
    before = picture(explorer.picture)
    explorer.D.value = 4.0
    assert explorer.receptors.D == 4.0
    assert explorer.receptors.r0 == 0.8
    assert picture(explorer.picture) != before


def test_the_stored_runs_with_the_nearest_receptors_are_shown():
    soft, stiff = driven(contacts=(0, 0, 0)), driven()
    explorer = widgets.receptor_explorer(Receptors(D=4.0), runs={4.0: [soft], 10.0: [stiff]})
    shown = picture(explorer.run_picture)
    explorer.D.value = 9.0
    assert picture(explorer.run_picture) != shown


def test_shear_rate_is_shown_in_physical_units():
    units = DPDUnits(rc_m=2e-6 / 3, eta_star=2.2)
    box = widgets.shear_explorer(units, rate=0.1, a=3.0)
    slider, table = box.children
    assert f"{units.to_si('shear_rate', 0.1):.3g}" in table.value
    slider.value = 0.2
    assert f"{units.reynolds(0.2, 3.0):.3g}" in table.value


@pytest.fixture
def runner() -> Iterator[widgets.SegmentRunner]:
    """A platelet in shear: 0.05 time units a click."""
    platelet = Platelet.oblate(1.2, 0.6, spacing=0.6)
    suspension = Suspension.build((5.4, 5.4, 5.4), [Placed(platelet, (2.7, 2.7, 2.7))])

    def start() -> Engine:
        return Engine(suspension, ForceField(), Shear(0.1), seed=1)

    hopeless = StepPlan.single(0.5)
    made = widgets.segment_runner(start, [FINE, COARSE, hopeless], segment=0.5)
    yield made
    made.close_simulation()


def test_each_click_runs_one_segment_of_a_real_simulation(runner):
    assert runner.simulation is None
    assert "press" in runner.words.value
    runner.run.click()
    assert runner.simulation.time == pytest.approx(0.5)
    assert picture(runner.picture)
    assert "1 platelets at time 0.5" in runner.platelets.value
    runner.plan.value = COARSE
    runner.run.click()
    assert [segment.plan for segment in runner.simulation.segments] == [FINE, COARSE]
    assert [observation.time for observation in runner.history] == pytest.approx([0, 0.5, 1.0])
    assert "<b>time 1</b>" in runner.words.value
    runner.restart.click()
    assert runner.simulation is None
    assert not runner.picture.value


def test_a_plan_that_blows_up_is_rolled_back_and_the_run_goes_on(runner):
    runner.run.click()
    before = runner.simulation.snapshot()
    runner.plan.value = runner.plan.options[2][1]
    runner.run.click()
    assert "<b>rolled back</b>: " in runner.words.value
    np.testing.assert_array_equal(runner.simulation.snapshot().x, before.x)
    assert len(runner.history) == 2
    runner.plan.value = FINE
    runner.run.click()
    assert runner.simulation.time == pytest.approx(1.0)


def test_plans_that_do_not_fit_the_segment_are_refused():
    with pytest.raises(ParameterError, match=r"time=0.05 is not allowed"):
        widgets.segment_runner(lambda: None, [FINE], segment=0.05)
    with pytest.raises(ParameterError, match="plans is empty"):
        widgets.segment_runner(lambda: None, [])
