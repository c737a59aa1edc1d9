import dataclasses

import numpy as np
import pytest

from labkit.clot.control.guard import Guard
from labkit.clot.forcefield import ForceField
from labkit.clot.observation import Observation
from labkit.errors import ParameterError

GUARD = Guard(
    kT=0.1,
    max_temperature_ratio=3.0,
    max_fluid_temperature_ratio=2.0,
    max_stretch=0.5,
    min_gap=0.2,
)
HEALTHY = Observation(
    time=1.0,
    center=np.zeros((2, 3)),
    velocity=np.zeros((2, 3)),
    angular_velocity=np.zeros((2, 3)),
    gyration=np.ones((2, 3)),
    axis=np.array([[0.0, 1.0, 0.0]] * 2),
    temperature=np.array([0.1, 0.29]),
    stretch_mean=np.full(2, 0.02),
    stretch_max=np.array([0.1, 0.49]),
    contacts=np.zeros(2),
    gap=np.full(2, np.inf),
    bond_energy=np.zeros(2),
    receptor_energy=np.zeros(2),
    fluid_temperature=0.14,
)


def test_a_healthy_state_passes():
    assert GUARD.check(HEALTHY) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": np.array([0.1, 0.31])}, "temperature / kT of platelet 1 is 3.1, above 3"),
        ({"stretch_max": np.array([0.51, 0.1])}, "largest stretch of platelet 0 is 0.51"),
        ({"gap": np.array([0.19, 0.19])}, "gap of platelet 0 is 0.19 rc, below 0.2 rc"),
        ({"gap": np.array([np.nan, 1.0])}, "not finite"),
        ({"center": np.full((2, 3), np.nan)}, "not finite"),
        ({"temperature": np.array([np.inf, 0.1])}, "not finite"),
        ({"fluid_temperature": 0.21}, "temperature of the plasma is 2.1 kT"),
    ],
)
def test_each_limit_is_named_with_the_platelet(change, said):
    assert said in GUARD.check(dataclasses.replace(HEALTHY, **change))


def test_plasma_without_platelets_is_judged_by_its_temperature():
    names = [f.name for f in dataclasses.fields(Observation)]
    empty = {
        name: np.empty((0, *np.shape(getattr(HEALTHY, name))[1:]))
        for name in names
        if np.ndim(getattr(HEALTHY, name))
    }
    plasma = dataclasses.replace(HEALTHY, **empty)
    assert GUARD.check(plasma) == ""
    assert GUARD.check(dataclasses.replace(plasma, fluid_temperature=1.0))


def test_default_limits_follow_the_temperature_of_the_force_field():
    assert Guard.of(ForceField(kT=1.0)).check(HEALTHY) == ""
    assert Guard.of(ForceField(kT=0.01)).check(HEALTHY)


def test_limits_must_be_positive():
    with pytest.raises(ParameterError, match="max_stretch"):
        Guard(kT=0.1, max_stretch=0.0)
