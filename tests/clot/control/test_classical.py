import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from labkit.clot.control.classical import DisplacementLimit, FixedPlan, StepDoubling
from labkit.clot.control.ladder import Ladder
from labkit.clot.engine import Engine
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import scene
from labkit.errors import ParameterError

Oscillator = runpy.run_path(str(Path(__file__).parents[1] / "oscillator.py"))["Oscillator"]

OMEGA = 3.0
LADDER = Ladder(tuple(StepPlan.single(0.2 / 2**n) for n in range(6, -1, -1)))


def moving(x, v):
    engine = Oscillator(OMEGA)
    engine.x, engine.v = x, v
    return engine


def windows_error(engine, rung, *, order=2):
    return StepDoubling(1.0, LADDER, window=0.4, order=order).embedded_error(engine, rung)


def test_a_fixed_plan_is_fixed():
    plan = StepPlan.single(0.01)
    assert FixedPlan(plan).plan([], moving(1, 0)) == plan
    assert FixedPlan(plan, name="small steps").name == "small steps"


@pytest.mark.parametrize(
    ("x", "v", "limit"),
    [
        (0.0, 2.0, 0.01 / 2.0),
        (1.0, 0.0, math.sqrt(2 * 0.01 / OMEGA**2)),
        (1.0, 0.1, math.sqrt(2 * 0.01 / OMEGA**2)),
        (0.1, 5.0, 0.01 / 5.0),
    ],
)
def test_the_displacement_limit_is_that_of_velocity_and_acceleration(x, v, limit):
    """The acceleration comes from one step of 0.003: to (omega h)^2 / 2, which is below 1e-4."""
    found = DisplacementLimit(0.01, LADDER).step_limit(moving(x, v))
    assert found == pytest.approx(limit, rel=1e-3)


def test_the_displacement_limit_takes_the_largest_step_below_it():
    limit = math.sqrt(2 * 0.01 / OMEGA**2)
    plan = DisplacementLimit(0.01, LADDER).plan([], moving(1.0, 0.0))
    assert plan.nonbonded <= limit < 2 * plan.nonbonded
    assert DisplacementLimit(1e-9, LADDER).plan([], moving(1.0, 0.0)) == LADDER.finest


def test_probes_are_left_in_the_account_and_the_state_as_it_was():
    for controller in (DisplacementLimit(0.01, LADDER), StepDoubling(1e-3, LADDER, window=0.4)):
        engine = moving(1.0, 0.3)
        controller.plan([], engine)
        assert engine.segments
        assert (engine.x, engine.v, engine.time) == (1.0, 0.3, 0.0)


def test_one_run_with_half_the_steps_tells_the_error_of_a_second_order_method():
    """Terms of the order (omega h)^2, here 0.6 %, are left out."""
    engine, rung, window = moving(1.0, 0.3), 3, 0.4
    exact = math.cos(OMEGA * window) + 0.3 / OMEGA * math.sin(OMEGA * window)
    engine.run(LADDER[rung], window)
    error = abs(engine.x - exact)
    assert windows_error(moving(1.0, 0.3), rung) == pytest.approx(error, rel=0.02)


def test_step_doubling_settles_on_the_coarsest_plan_within_its_tolerance():
    controller = StepDoubling(2e-3, LADDER, safety=1.0, window=0.4, order=2)
    for _ in range(12):
        plan = controller.plan([], moving(1.0, 0.3))
    rung = LADDER.rung(plan)
    assert 0 < rung < len(LADDER) - 1
    assert windows_error(moving(1.0, 0.3), rung) <= 2e-3
    assert windows_error(moving(1.0, 0.3), rung + 1) > 2e-3


def test_the_same_difference_is_a_larger_error_of_a_first_order_method():
    second = windows_error(moving(1.0, 0.3), 3)
    assert windows_error(moving(1.0, 0.3), 3, order=1) == pytest.approx(2 / (4 / 3) * second)


def test_steps_do_not_grow_right_after_a_plan_above_the_tolerance():
    controller = StepDoubling(2e-3, LADDER, window=0.4)
    calm, rough = moving(0.01, 0.0), moving(10.0, 3.0)
    controller.memory = {"height": 5.0, "error": 1e-3}
    lowered = LADDER.rung(controller.plan([], rough))
    assert lowered < 5
    assert LADDER.rung(controller.plan([], calm)) == lowered
    assert LADDER.rung(controller.plan([], calm)) > lowered


def test_step_doubling_tightens_at_once_and_falls_to_the_finest_plan_where_all_blow_up():
    controller = StepDoubling(2e-3, LADDER, window=0.4)
    controller.memory = {"height": 6.0, "error": 1e-3}
    assert LADDER.rung(controller.plan([], moving(1.0, 0.3))) <= 5
    stiff = Oscillator(omega=1e4)
    for _ in range(4):
        plan = controller.plan([], stiff)
    assert plan == LADDER.finest


def test_step_doubling_starts_on_the_finest_plan():
    controller = StepDoubling(1e-12, LADDER, window=0.4)
    assert controller.plan([], moving(1.0, 0.0)) == LADDER.finest


def test_memory_is_all_that_step_doubling_needs_to_go_on():
    first = StepDoubling(2e-3, LADDER, window=0.4)
    first.plan([], moving(1.0, 0.3))
    second = StepDoubling(2e-3, LADDER, window=0.4)
    second.memory = dict(first.memory)
    assert first.plan([], moving(0.5, 0.3)) == second.plan([], moving(0.5, 0.3))
    assert first.memory == second.memory


def test_a_platelet_at_rest_in_the_flow_is_not_limited_by_the_flow():
    """Relative to the flow the fastest bead has a few thermal velocities; the flow is faster."""
    ready = scene("tumbling", platelet_a=1.2, box=(5.1, 5.1, 5.1), shear_rate=2.0)
    steps = Ladder((StepPlan.single(0.001),))
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=1) as engine:
        x_max = 1e-4
        limit = DisplacementLimit(x_max, steps).step_limit(engine)
        v = engine.snapshot().v[: ready.suspension.n_beads]
    assert np.abs(v[:, 0]).max() > 6
    assert x_max / limit < 5 * math.sqrt(3 * ready.forcefield.kT)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DisplacementLimit(0.0, LADDER),
        lambda: DisplacementLimit(0.1, LADDER, level="slow"),
        lambda: StepDoubling(-1.0, LADDER, window=0.4),
        lambda: StepDoubling(1e-3, LADDER, window=0.3),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ParameterError):
        make()
