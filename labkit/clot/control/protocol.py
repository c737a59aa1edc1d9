"""What every controller can do: choose the step plan of the next segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import Simulation


class Controller(Protocol):
    """Chooses a step plan at the start of each segment; `labkit.clot.control.drive` asks it.

    A controller that remembers more than the history, such as the last error of a feedback loop,
    keeps it in an attribute ``memory``, a dict that JSON can hold. `drive` stores it with the run
    and gives it back on a resume, so that a run that was killed goes on as if it had not been.

    Attributes
    ----------
    name : str
        For tables and figures.
    """

    name: str

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the plan of the next segment.

        Parameters
        ----------
        history : sequence of Observation
            At the start of each segment so far; the last one is now.
        engine : Simulation
            In the state of the last observation. A controller may run it to probe a plan, and
            must restore it; what it ran is charged to the controller. The last entry of
            ``engine.segments`` holds the plan that the last segment ran on.
        """
