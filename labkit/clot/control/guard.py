"""Limits that tell a run that went wrong from one that is only inaccurate.

A plan that is too large heats the platelets, tears their springs or pushes them into each other
before the engine notices. After each segment the guard looks at the observation; where a limit is
crossed, `labkit.clot.control.drive` goes back to the start of the segment and takes a safer plan.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from labkit.choices import require_whole
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.observation import Observation


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Limits of a healthy run.

    Attributes
    ----------
    kT : float
        Temperature of the thermostats [energy].
    max_temperature_ratio : float
        Largest kinetic temperature of a platelet over kT. Receptors that bind heat a platelet to
        about 3 for a while.
    max_fluid_temperature_ratio : float
        Largest temperature of the plasma over kT; about 1.4 in a clot that forms.
    max_stretch : float
        Largest |r - r0| / r0 of a membrane spring; about 0.25 in a clot.
    min_gap : float
        Smallest distance between membrane beads of different platelets [rc]; they settle at 0.7.
    hold : int
        Segments for which a plan that failed is not tried again.
    """

    kT: float
    max_temperature_ratio: float = 6.0
    max_fluid_temperature_ratio: float = 2.0
    max_stretch: float = 0.5
    min_gap: float = 0.4
    hold: int = 8

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if item.name != "hold":
                require_positive(f"Guard.{item.name}", getattr(self, item.name))
        require_whole("Guard.hold", self.hold, low=0)

    @classmethod
    def of(cls, forcefield: ForceField) -> Guard:
        """Return the default limits for a force field."""
        return cls(kT=forcefield.kT)

    def check(self, observation: Observation) -> str:
        """Return what is wrong, in one sentence; nothing where all limits are kept."""
        finite = all(np.isfinite(value).all() for value in _finite_fields(observation))
        if not finite or np.isnan(observation.gap).any():
            return "positions or velocities are not finite"
        for name, value, limit in self._limits(observation):
            worst = int(np.argmax(value))
            if value[worst] > limit:
                return f"{name} of platelet {worst} is {value[worst]:.3g}, above {limit:g}"
        fluid = observation.fluid_temperature / self.kT
        if fluid > self.max_fluid_temperature_ratio:
            return f"temperature of the plasma is {fluid:.3g} kT, above " + (
                f"{self.max_fluid_temperature_ratio:g} kT"
            )
        gap = np.asarray(observation.gap)
        if gap.size and gap.min() < self.min_gap:
            worst = int(np.argmin(gap))
            return f"gap of platelet {worst} is {gap[worst]:.3g} rc, below {self.min_gap:g} rc"
        return ""

    def _limits(self, observation: Observation) -> list[tuple[str, np.ndarray, float]]:
        if not np.size(observation.temperature):
            return []
        heat = np.asarray(observation.temperature) / self.kT
        return [
            ("temperature / kT", heat, self.max_temperature_ratio),
            ("largest stretch", np.asarray(observation.stretch_max), self.max_stretch),
        ]


def _finite_fields(observation: Observation) -> list[np.ndarray]:
    """All fields but the gap, which is infinite for a platelet alone."""
    names = [item.name for item in dataclasses.fields(observation) if item.name != "gap"]
    return [np.asarray(getattr(observation, name), dtype=float) for name in names]
