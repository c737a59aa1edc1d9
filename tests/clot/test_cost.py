"""The cost model: planted prices come back, and so do their errors."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.clot.cost import CostModel, measure_costs, probe_plans
from labkit.clot.engine import Engine
from labkit.clot.flows import Quiescent
from labkit.clot.forcefield import ForceField
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.scenes import equilibrate
from labkit.clot.simulation import Segment
from labkit.clot.suspension import Placed, Suspension
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
PRICES = {"fluid": 1.4e-3, "interface": 2e-4, "nonbonded": 1.5e-4, "bonded": 1e-4}
SETUP = 8e-3


def planted(*, spread: float = 0.0, seed: int = 0, prices=PRICES, repeats: int = 4):
    """Segments that cost what the prices say, each up to a relative deviation."""
    rng = np.random.default_rng(seed)
    segments = []
    for plan in probe_plans(PLAN) * repeats:
        for time in (0.4, 1.6):
            counts = plan.evaluations(time)
            exact = SETUP + sum(prices[level] * counts[level] for level in LEVELS)
            seconds = exact * (1 + spread * rng.normal())
            segments.append(
                Segment(
                    plan=plan,
                    start=0.0,
                    time=time,
                    evaluations=counts,
                    cpu_seconds=seconds,
                    wall_seconds=seconds,
                )
            )
    return segments


def test_planted_prices_are_found():
    model = CostModel.fit(planted())
    assert model.seconds == pytest.approx(PRICES)
    assert model.setup == pytest.approx(SETUP)
    assert model.residual < 1e-9


def test_probes_tell_all_levels_apart():
    """A plan and three with one ratio enlarged each, over two times: five independent counts."""
    counts = [
        [1, *plan.evaluations(time).values()] for plan in probe_plans(PLAN) for time in (0.4, 1.6)
    ]
    assert np.linalg.matrix_rank(np.array(counts, dtype=float)) == 5


def test_standard_errors_cover_the_planted_prices():
    """Of 100 fits to costs that scatter by 2 %, 95 % are expected within 2 standard errors.

    A binomial of 100 is within 3 of its own deviations of 2.2 in 99.7 %: at least 88.
    """
    within = np.zeros(5)
    for seed in range(100):
        model = CostModel.fit(planted(spread=0.02, seed=seed))
        found = np.array([model.setup, *model.seconds.values()])
        error = np.array([model.errors["setup"], *(model.errors[level] for level in LEVELS)])
        within += np.abs(found - np.array([SETUP, *PRICES.values()])) < 2 * error
    assert np.all(within >= 88)


def test_a_level_that_costs_nothing_is_not_paid_for_with_negative_seconds():
    free = PRICES | {"nonbonded": 0.0}
    for seed in range(10):
        model = CostModel.fit(planted(spread=0.05, seed=seed, prices=free))
        assert min(model.seconds.values()) >= 0
        assert model.setup >= 0


def test_a_prediction_is_the_sum_of_its_parts():
    model = CostModel.fit(planted())
    fine = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.00125, bonded=0.00125)
    expected = 100 * (1.4e-3 + 4 * 2e-4 + 16 * (1.5e-4 + 1e-4)) + 3 * SETUP
    assert model.predict(fine, 2.0, n_segments=3) == pytest.approx(expected)
    parts = model.parts(fine, 2.0, n_segments=3)
    assert parts["setup"] == pytest.approx(3 * SETUP)
    assert parts["bonded"] == pytest.approx(1600 * 1e-4)


def test_the_frame_lists_setup_and_levels_with_their_errors():
    frame = CostModel.fit(planted(spread=0.01)).frame
    assert list(frame["part"]) == ["setup", *LEVELS]
    assert (frame["standard_error"] < 0.2 * frame["seconds"]).all()


def test_segments_of_one_plan_alone_are_refused():
    alone = [s for s in planted() if s.plan == PLAN]
    with pytest.raises(ParameterError, match="do not tell the levels apart"):
        CostModel.fit(alone)


def test_segments_that_were_not_timed_are_refused():
    untimed = [
        Segment(
            plan=s.plan,
            start=0.0,
            time=s.time,
            evaluations=s.evaluations,
            cpu_seconds=0.0,
            wall_seconds=0.0,
        )
        for s in planted()
    ]
    with pytest.raises(ParameterError, match="cpu_seconds=0"):
        CostModel.fit(untimed)


def test_a_running_engine_is_priced_and_left_where_it_was():
    platelet = Placed(Platelet.oblate(1.3, 0.6), (2.8, 2.8, 2.8))
    suspension = Suspension.build((5.6, 5.6, 5.6), [platelet], seed=1)
    with Engine(suspension, ForceField(receptors=None), Quiescent(), seed=3) as engine:
        equilibrate(engine, plan=PLAN, time=0.2)
        before = engine.snapshot()
        segments = measure_costs(engine, probe_plans(PLAN), steps=5, repeats=1)
        np.testing.assert_array_equal(engine.snapshot().x, before.x)
    assert [s.evaluations["fluid"] for s in segments] == [5] * 4 + [15] * 4
    assert segments[3].evaluations["bonded"] == 4 * segments[0].evaluations["bonded"]
    assert CostModel.fit(segments).predict(PLAN, 1.0) > 0
