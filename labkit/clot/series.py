"""Observations and step plans as arrays, one row for each time, as files hold them."""

from __future__ import annotations

import json
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
    columns = {item.name: np.asarray(arrays[item.name]) for item in fields(Observation)}
    rows: list[dict[str, Any]] = [
        {name: values[row] for name, values in columns.items()}
        for row in range(len(columns["time"]))
    ]
    for values in rows:
        values |= {name: float(values[name]) for name in ("time", "fluid_temperature")}
    return tuple(Observation(**values) for values in rows)


def as_json(values: Any) -> str:
    """Return the JSON of values, numbers of NumPy among them.

    Examples
    --------
    >>> as_json({"seed": np.int64(3)})
    '{"seed": 3}'
    """
    return json.dumps(values, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def plan_array(plans: Iterable[StepPlan]) -> Array:
    """Return the steps of some plans, shape (n, 4), in the order of `LEVELS` [time]."""
    return np.array([plan.steps for plan in plans], dtype=float).reshape(-1, len(LEVELS))


def plans_from(steps: ArrayLike) -> tuple[StepPlan, ...]:
    """Return the plans whose steps are the rows of an array, as `plan_array` makes it."""
    return tuple(
        StepPlan(**dict(zip(LEVELS, map(float, row), strict=True))) for row in np.asarray(steps)
    )
