import dataclasses

import numpy as np

from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.series import observation_arrays, observations_from, plan_array, plans_from


def observation(time):
    draw = np.random.default_rng(round(time))
    shapes = {"center": 3, "velocity": 3, "angular_velocity": 3, "gyration": 3, "axis": 3}
    names = [item.name for item in dataclasses.fields(Observation)]
    given = {name: draw.normal(size=(2, shapes[name]) if name in shapes else 2) for name in names}
    return Observation(**{**given, "time": time, "fluid_temperature": 0.1 * time})


def test_observations_come_back_as_they_were():
    taken = [observation(1.0), observation(2.0)]
    arrays = observation_arrays(taken)
    assert arrays["center"].shape == (2, 2, 3)
    assert arrays["time"].shape == (2,)
    for before, after in zip(taken, observations_from(arrays), strict=True):
        assert isinstance(after.time, float)
        for item in dataclasses.fields(Observation):
            one, other = getattr(before, item.name), getattr(after, item.name)
            np.testing.assert_array_equal(one, other)


def test_plans_come_back_as_they_were():
    plans = (
        StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.0025),
        StepPlan.single(0.001),
    )
    assert plan_array(plans).shape == (2, len(LEVELS))
    assert plans_from(plan_array(plans)) == plans
    assert plans_from(plan_array(())) == ()
