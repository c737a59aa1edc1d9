"""What every engine can do, and what a segment of a simulation costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import LabkitError

Array = NDArray[np.float64]


class EngineError(LabkitError):
    """A run blew up; the message names the plan and the time, and what to do."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment:
    """One stretch of a simulation on one plan.

    Attributes
    ----------
    plan : StepPlan
    start, time : float
        When it began, and how long it was [time].
    evaluations : mapping of str to int
        How often the forces of each level were computed.
    cpu_seconds, wall_seconds : float
        Of the run, its setup included.
    setup_seconds : float
        Wall time of the setup alone.
    profile : array of shape (bins, 4), optional
        Where averages were asked for: y at the bin's center [rc], density [1/rc^3], velocity along
        x [rc/time], temperature from the velocity's y and z components [energy].
    stress : array of shape (6,), optional
        Time average of the pressure tensor, xx yy zz xy xz yz [energy/rc^3], kinetic part (relative
        to the flow) included.
    """

    plan: StepPlan
    start: float
    time: float
    evaluations: Mapping[str, int]
    cpu_seconds: float
    wall_seconds: float
    setup_seconds: float = 0.0
    profile: Array | None = None
    stress: Array | None = field(default=None)


class Simulation(Protocol):
    """A running simulation: `labkit.clot.engine.Engine` or `labkit.clot.split.SplitEngine`.

    Attributes
    ----------
    suspension, forcefield, flow
        What is simulated.
    time : float
        [time]
    segments : list of Segment
        All that was run, that of probes and of segments rolled back included.
    """

    suspension: Suspension
    forcefield: ForceField
    flow: Flow
    time: float
    segments: list[Segment]

    def run(
        self, plan: StepPlan, time: float, *, noise: bool = True, bins: int | None = None
    ) -> Segment:
        """Go on for a time.

        Parameters
        ----------
        plan : StepPlan
        time : float
            A whole multiple of the plan's fluid step [time].
        noise : bool
            False sets the temperature of every thermostat to zero; friction stays.
        bins : int, optional
            Average profile and stress over the segment, with this number of bins along y.

        Raises
        ------
        EngineError
            The run blew up. The state is lost; `restore` a snapshot.
        """

    def snapshot(self) -> Snapshot:
        """Return the state."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go back, or on, to a state, also after an `EngineError`."""

    def observe(self) -> Observation:
        """Return what is known about the platelets now."""

    def close(self) -> None:
        """Free what the engine holds."""
