"""Controllers without training: one plan for all, a limit on displacements, and step doubling.

`DisplacementLimit` is the rule of LAMMPS's ``fix dt/reset``: no bead may move farther than x_max in
a step h because of its velocity v or its acceleration a::

    h = min over beads of min( x_max / |v|, sqrt(2 x_max / |a|) )

`StepDoubling` measures the error: it runs a noise-free window on its plan and on one with half of
all steps. A method of order p leaves 1/2^p of the error there: the error is the difference times
2^p / (2^p - 1). Friction makes p = 1 here, as `labkit.clot.labels` says. The change of step follows
the proportional-integral controller of [1]_, with the tolerance tol and the last two errors e::

    h' / h = (t / e_n)^(0.7/p) (e_(n-1) / t)^(0.4/p),    t = safety tol

A rung of the ladder stands for its mean `growth` of h. The wished-for h lies between two rungs, so
that the error measured on the lower one is scaled to it, by h^p; the plan is that of the lower one.
A plan above the tolerance is left at once, and no step grows in the segment after that.

References
----------
.. [1] Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.2 (1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from labkit.choices import not_allowed, require_whole
from labkit.clot.control.ladder import Ladder
from labkit.clot.forcefield import require_positive
from labkit.clot.labels import WINDOW, local_errors
from labkit.clot.observation import Observation
from labkit.clot.observe import reference_velocity
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import EngineError, Simulation
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError

_INTEGRAL, _PROPORTIONAL = 0.7, 0.4
_LARGEST_CHANGE = 4.0
_TINY = 1e-12


class FixedPlan:
    """The same plan for every segment.

    Parameters
    ----------
    fixed : StepPlan
    name : str, optional
    """

    def __init__(self, fixed: StepPlan, *, name: str | None = None) -> None:
        self.fixed = fixed
        self.name = name or f"fixed {fixed}"

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the plan."""
        return self.fixed


class DisplacementLimit:
    """The cheapest plan with which no platelet bead moves too far in one step.

    Velocities are taken relative to the undisturbed flow, so that a platelet that is carried along
    needs no smaller steps. Accelerations come from one smallest step without noise, which is
    charged as a probe.

    Parameters
    ----------
    x_max : float
        Largest displacement in a step [rc].
    ladder : Ladder
    level : str
        Which of the four steps is limited.
    """

    def __init__(self, x_max: float, ladder: Ladder, *, level: str = "nonbonded") -> None:
        require_positive("x_max", x_max)
        if level not in LEVELS:
            raise ParameterError(not_allowed("level", level, LEVELS))
        self.x_max, self.ladder, self.level = x_max, ladder, level
        self.name = f"displacement limit {x_max:g}"

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the cheapest plan whose step is not above the limit, else the finest."""
        limit = self.step_limit(engine)
        allowed = [plan for plan in self.ladder if getattr(plan, self.level) <= limit]
        return allowed[-1] if allowed else self.ladder.finest

    def step_limit(self, engine: Simulation) -> float:
        """Return the largest step that keeps displacements below `x_max` [time]."""
        before = engine.snapshot()
        step = self.ladder.finest.bonded
        engine.run(StepPlan.single(step), step, noise=False)
        after = engine.snapshot()
        engine.restore(before)
        beads = slice(0, engine.suspension.n_beads)
        first, last = (_relative_velocity(state, engine)[beads] for state in (before, after))
        speed = np.linalg.norm(first, axis=1).max(initial=_TINY)
        acceleration = np.linalg.norm(last - first, axis=1).max(initial=_TINY) / step
        return min(self.x_max / speed, math.sqrt(2 * self.x_max / acceleration))


class StepDoubling:
    """Feedback on an error that is measured at the start of each segment.

    Parameters
    ----------
    tolerance : float
        Largest rms bead error of a platelet in a window [rc].
    ladder : Ladder
    safety : float
        Part of the tolerance that is aimed at.
    window : float
        Length of the noise-free window, the same as that of labels so that tolerances agree [time].
    order : int
        Of the method: 1 with friction, 2 without.
    """

    def __init__(
        self,
        tolerance: float,
        ladder: Ladder,
        *,
        safety: float = 0.9,
        window: float = WINDOW,
        order: int = 1,
    ) -> None:
        require_whole("order", order, low=1, high=2)
        for name, value in (("tolerance", tolerance), ("safety", safety)):
            require_positive(name, value)
        ladder.require_divides("window", window)
        self.tolerance, self.ladder, self.safety, self.window = tolerance, ladder, safety, window
        self.order = order
        self.name = f"step doubling {tolerance:g}"
        self.memory: dict[str, Any] = {}

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the plan that the measured error asks for."""
        height = float(self.memory.get("height", 0.0))
        rung = math.floor(height + _TINY)
        measured = self.embedded_error(engine, rung)
        error = min(measured * self.ladder.growth ** (self.order * (height - rung)), 1 / _TINY)
        last = float(self.memory.get("error", error))
        wished = height + math.log(self._growth(error, last)) / math.log(self.ladder.growth)
        rejected = measured > self.tolerance
        if rejected:
            wished = min(wished, rung - 1.0)
        elif self.memory.get("rejected", False):
            wished = min(wished, height)
        height = min(max(wished, 0.0), len(self.ladder) - 1.0)
        self.memory = {"height": height, "error": error, "rejected": rejected}
        return self.ladder[math.floor(height + _TINY)]

    def embedded_error(self, engine: Simulation, rung: int) -> float:
        """Return the largest error of a platelet on a rung, by one run with half the steps [rc]."""
        plan = self.ladder[rung]
        try:
            errors = local_errors(
                engine,
                engine.snapshot(),
                [plan],
                reference=plan.refined(2),
                window=self.window,
                keep_segments=True,
            )
        except EngineError:
            return math.inf
        part = 2.0**self.order
        return part / (part - 1) * float(errors.max(initial=0.0))

    def _growth(self, error: float, last: float) -> float:
        target = self.safety * self.tolerance
        now, before = (max(value, _TINY) / target for value in (error, last))
        factor = (now**-_INTEGRAL * before**_PROPORTIONAL) ** (1 / self.order)
        return min(max(factor, 1 / _LARGEST_CHANGE), _LARGEST_CHANGE)


def _relative_velocity(snapshot: Snapshot, engine: Simulation) -> np.ndarray:
    """Velocities relative to the undisturbed flow [rc/time], shape (n, 3)."""
    return snapshot.v - reference_velocity(engine.flow, snapshot.x, snapshot.box, snapshot.tilt)
