"""Observations of platelets that were never simulated, and labels that follow a known law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from labkit.clot.labels import LabelTable, Trajectory, TrajectoryLabels
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan

PLANS = tuple(
    StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005 / n, bonded=0.00125) for n in (4, 2, 1)
)


@pytest.fixture
def observed() -> Callable[..., Observation]:
    """Make an observation: random platelets, with the fields that are given."""
    return made_observation


@pytest.fixture(scope="session")
def label_table() -> LabelTable:
    """Three seeds at two shear rates; log10 e = -4.9 + contact + 0.3 rung, contact in 0..1."""
    return LabelTable(
        plans=PLANS,
        reference=PLANS[0].refined(4),
        window=0.2,
        segment=0.5,
        trajectories=tuple(made_trajectory(seed, rate) for seed in range(3) for rate in (0.1, 0.2)),
    )


def made_observation(
    time: float = 0.0, *, P: int = 2, seed: int = 0, **given: object
) -> Observation:
    """Random platelets with the fields that are given."""
    random = np.random.default_rng(seed)
    axis = random.normal(size=(P, 3))
    fields = {
        "center": random.normal(size=(P, 3)),
        "velocity": 0.05 * random.normal(size=(P, 3)),
        "angular_velocity": 0.05 * random.normal(size=(P, 3)),
        "gyration": np.sort(random.uniform(0.2, 1.0, size=(P, 3)), axis=1),
        "axis": axis / np.linalg.norm(axis, axis=1, keepdims=True),
        "temperature": random.uniform(0.08, 0.12, size=P),
        "stretch_mean": random.uniform(0.01, 0.02, size=P),
        "stretch_max": random.uniform(0.05, 0.1, size=P),
        "contacts": np.zeros(P),
        "gap": random.uniform(0.8, 3.0, size=P),
        "bond_energy": random.uniform(0.1, 0.2, size=P),
        "receptor_energy": np.zeros(P),
        "fluid_temperature": 0.1,
    }
    return Observation(time=time, **{**fields, **given})


def made_trajectory(seed: int, rate: float, *, n: int = 40, P: int = 2) -> TrajectoryLabels:
    """Platelets that meet after a random time; the one with more contacts decides the error."""
    random = np.random.default_rng([seed, round(100 * rate)])
    start = random.uniform(8, 20)
    observations, errors = [], []
    for s in range(n):
        contact = 1 / (1 + np.exp(start - s + random.uniform(-2, 2, size=P)))
        observations.append(
            made_observation(
                0.5 * s,
                P=P,
                seed=1000 * seed + s,
                contacts=np.expm1(3 * contact),
                gap=2.0 - contact,
                receptor_energy=-contact,
            )
        )
        log = -4.9 + contact + 0.3 * np.arange(3)[:, None]
        errors.append(10 ** (log + 0.02 * random.normal(size=(3, P))))
    return TrajectoryLabels(
        trajectory=Trajectory(scene="collision", seed=seed, changes={"shear_rate": rate}),
        shear_rate=rate,
        kT=0.1,
        observations=tuple(observations),
        errors=np.array(errors),
        ran_on=np.full(n, -1),
        reference_error=1e-6,
    )
