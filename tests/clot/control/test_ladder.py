import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from labkit.clot.control.ladder import Ladder, ladder
from labkit.clot.plans import LEVELS, StepPlan
from labkit.errors import ParameterError

CAPS = SimpleNamespace(fluid=0.0298, interface=0.0093, nonbonded=0.0093, bonded=0.0031)


def plan(fluid, interface, nonbonded, bonded):
    return StepPlan(fluid=fluid, interface=interface, nonbonded=nonbonded, bonded=bonded)


THREE = Ladder(tuple(StepPlan.single(step) for step in (0.001, 0.002, 0.004)))


@pytest.mark.parametrize("n_plans", [1, 5, 8])
def test_the_default_ladder_keeps_every_cap(n_plans):
    plans = ladder(CAPS, n_plans=n_plans)
    assert len(plans) == n_plans
    for level in LEVELS:
        assert max(getattr(each, level) for each in plans) <= getattr(CAPS, level)


def test_every_level_is_evaluated_less_often_up_the_ladder():
    counts = [list(each.evaluations(1.0).values()) for each in ladder(CAPS)]
    for fine, coarse in itertools.pairwise(counts):
        assert all(few <= many for few, many in zip(coarse, fine, strict=True))
        assert sum(coarse) < sum(fine)


def test_the_coarse_end_is_near_every_cap():
    """The fluid step is round, 2.5 at most below its cap; each other one divides the one before."""
    for level in LEVELS:
        assert getattr(ladder(CAPS).coarsest, level) > getattr(CAPS, level) / 2.5


def test_caps_that_a_system_does_not_have_are_no_limits():
    without = SimpleNamespace(fluid=0.02, interface=float("inf"), nonbonded=float("inf"), bonded=1)
    assert ladder(without, n_plans=1).coarsest == StepPlan.single(0.02)


def test_fluid_steps_are_round_so_that_times_can_be_multiples_of_them():
    for cap in (0.0101, 0.0298, 0.19, 0.0051):
        step = ladder(SimpleNamespace(**{**vars(CAPS), "fluid": cap})).coarsest.fluid
        assert cap / 2.5 < step <= cap
        assert round(1 / step) * step == pytest.approx(1, rel=1e-12)


def test_the_mean_growth_of_steps_spans_the_ladder():
    plans = ladder(CAPS)
    factors = [c / f for f, c in zip(plans.finest.steps, plans.coarsest.steps, strict=True)]
    assert plans.growth ** (len(plans) - 1) == pytest.approx(np.prod(factors) ** 0.25)
    assert THREE.growth == pytest.approx(2.0)


@pytest.mark.parametrize("bonded", [0.0019, 0.0031, 0.0044, 0.0083])
def test_steps_divide_each_other_whatever_the_caps(bonded):
    caps = SimpleNamespace(**{**vars(CAPS), "bonded": bonded})
    for each in ladder(caps):
        h4, h3, h2, h1 = each.steps
        n3, n2, n1 = each.ratios
        assert h4 == pytest.approx(n3 * h3) == pytest.approx(n3 * n2 * h2)
        assert h2 == pytest.approx(n1 * h1)


def test_safer_walks_down_to_the_finest_plan():
    assert THREE.safer(THREE.coarsest) == THREE[1]
    assert THREE.safer(THREE.finest) is None


def test_a_plan_that_is_not_on_the_ladder_falls_back_to_the_coarsest_one_below_it():
    assert THREE.safer(plan(0.01, 0.01, 0.005, 0.0025)) == THREE[1]
    assert THREE.safer(StepPlan.single(0.0005)) is None
    assert THREE.rung(StepPlan.single(0.003)) == 1


def test_the_reference_is_finer_by_four_on_every_level():
    pairs = zip(THREE.reference().steps, THREE.finest.steps, strict=True)
    assert all(small == large / 4 for small, large in pairs)


@pytest.mark.parametrize(
    "plans",
    [
        (),
        (StepPlan.single(0.002), StepPlan.single(0.001)),
        (StepPlan.single(0.001), StepPlan.single(0.001)),
        (plan(0.02, 0.01, 0.01, 0.001), plan(0.01, 0.01, 0.01, 0.01)),
    ],
)
def test_plans_out_of_order_are_refused(plans):
    with pytest.raises(ParameterError, match="plans"):
        Ladder(plans)


def test_a_time_that_some_plan_does_not_divide_is_refused_by_its_name():
    with pytest.raises(ParameterError, match=r"segment=0.007 is not allowed"):
        THREE.require_divides("segment", 0.007)
