"""Observations and step plans as arrays, one row for each time, as files hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan

Array = NDArray[np.float64]


def observation_arrays(observations: Sequence[Observation]) -> dict[str, Array]:
    """Return each field of some observations as one array, the first axis of which is time."""
    return {
        item.name: np.stack([np.asarray(getattr(o, item.name)) for o in observations])
        for item in fields(Observation)
    }


def observations_from(arrays: Mapping[str, NDArray[Any]]) -> tuple[Observation, ...]:
    """Return the observations that `observation_arrays` took apart."""
    scalars = ("time", "fluid_temperature")
    names = [item.name for item in fields(Observation)]
    columns = {name: np.asarray(arrays[name]) for name in names}
    return tuple(
        Observation(
            **{
                name: float(values[row]) if name in scalars else values[row]
                for name, values in columns.items()
            }
        )
        for row in range(len(columns["time"]))
    )


def plan_array(plans: Iterable[StepPlan]) -> Array:
    """Return the steps of some plans, shape (n, 4), in the order of `LEVELS` [time]."""
    return np.array([plan.steps for plan in plans], dtype=float).reshape(-1, len(LEVELS))


def plans_from(steps: ArrayLike) -> tuple[StepPlan, ...]:
    """Return the plans whose steps are the rows of an array, as `plan_array` makes it."""
    return tuple(
        StepPlan(**dict(zip(LEVELS, map(float, row), strict=True))) for row in np.asarray(steps)
    )
