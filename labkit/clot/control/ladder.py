"""Step plans to choose from, from the finest, which is the safest, to the coarsest and cheapest.

No step grows from a rung to the next safer one, so that the number of evaluations of every level
falls along the ladder. The default ladder has the largest steps that the static caps allow at its
coarse end. Going down to the safe end it halves the step of the nonbonded forces, whose stiffness
changes when receptors bind, and lets the bonded step follow where it must.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.plans import StepPlan
from labkit.errors import ParameterError

_SLACK = 1e-9
_ROUND = (5.0, 2.5, 2.0, 1.25, 1.0)


class StepLimits(Protocol):
    """Largest step of each level [time], such as `labkit.clot.caps.Caps`."""

    @property
    def fluid(self) -> float: ...  # noqa: D102

    @property
    def interface(self) -> float: ...  # noqa: D102

    @property
    def nonbonded(self) -> float: ...  # noqa: D102

    @property
    def bonded(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Ladder:
    """Step plans in the order of their cost.

    Attributes
    ----------
    plans : tuple of StepPlan
        From finest to coarsest.

    Raises
    ------
    ParameterError
        There are no plans, or a plan has a smaller step than the one before it.

    Examples
    --------
    >>> fine, coarse = StepPlan.single(0.001), StepPlan.single(0.002)
    >>> Ladder((fine, coarse)).safer(coarse) == fine
    True
    """

    plans: tuple[StepPlan, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(self.plans))
        if not self.plans:
            raise ParameterError("plans=() is not allowed; give one plan or more.")
        for number, (fine, coarse) in enumerate(zip(self.plans, self.plans[1:], strict=False)):
            if fine == coarse or not finer(fine, coarse):
                raise ParameterError(
                    f"plans[{number + 1}]={coarse} is not allowed after {fine}; order the plans "
                    "from finest to coarsest, with no step smaller than in the plan before."
                )

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[StepPlan]:
        return iter(self.plans)

    def __getitem__(self, rung: int) -> StepPlan:
        return self.plans[rung]

    @property
    def finest(self) -> StepPlan:
        """The safest plan."""
        return self.plans[0]

    @property
    def coarsest(self) -> StepPlan:
        """The cheapest plan."""
        return self.plans[-1]

    def rung(self, plan: StepPlan) -> int:
        """Return the index of a plan; of one that is not here, the coarsest rung not above it."""
        if plan in self.plans:
            return self.plans.index(plan)
        below = [number for number, here in enumerate(self.plans) if finer(here, plan)]
        return max(below, default=0)

    def safer(self, plan: StepPlan) -> StepPlan | None:
        """Return the next safer plan, None where there is none.

        For a plan that is not on the ladder it is the coarsest one with no larger step.
        """
        if plan in self.plans:
            rung = self.plans.index(plan)
            return self.plans[rung - 1] if rung else None
        below = [here for here in self.plans if finer(here, plan)]
        return below[-1] if below else None

    def reference(self, factor: int = 4) -> StepPlan:
        """Return the plan against which errors are measured: the finest with all steps divided."""
        require_whole("factor", factor, low=2)
        return self.finest.refined(factor)

    def require_divides(self, name: str, time: float) -> None:
        """Refuse a time that is no whole multiple of every plan's fluid step.

        Parameters
        ----------
        name : str
            Of the parameter.
        time : float
            [time]
        """
        require_divides(name, time, self.plans)


def finer(plan: StepPlan, other: StepPlan) -> bool:
    """Return whether no step of a plan is larger than the other plan's."""
    pairs = zip(plan.steps, other.steps, strict=True)
    return all(small <= large * (1 + _SLACK) for small, large in pairs)


def require_divides(name: str, time: float, plans: Sequence[StepPlan]) -> None:
    """Refuse a time that is no whole multiple of the fluid step of each of some plans.

    Raises
    ------
    ParameterError
        Naming the parameter and the fluid step.
    """
    require_positive(name, time)
    for plan in plans:
        try:
            plan.n_fluid_steps(time)
        except ParameterError as refused:
            raise ParameterError(str(refused).replace("time=", f"{name}=", 1)) from None


def ladder(caps: StepLimits, *, n_plans: int = 6) -> Ladder:
    """Return the default ladder below static caps.

    Parameters
    ----------
    caps : StepLimits
        Largest stable and accurate step of each level [time].
    n_plans : int
        Number of rungs.

    Returns
    -------
    Ladder
        Its coarsest plan has the largest steps below the caps, with a round fluid step.
    """
    require_whole("n_plans", n_plans, low=1)
    fluid = _round_down(caps.fluid)
    interface = _divided(fluid, caps.interface)
    nonbonded = _divided(interface, caps.nonbonded)
    plans = []
    for rung in range(n_plans):
        h2 = nonbonded / 2**rung
        h1 = _divided(h2, caps.bonded)
        plans.append(StepPlan(fluid=fluid, interface=interface, nonbonded=h2, bonded=h1))
    return Ladder(tuple(reversed(plans)))


def _divided(step: float, cap: float) -> float:
    """Return the largest step below a cap of which `step` is a whole multiple."""
    return step / max(1, math.ceil(step / cap * (1 - _SLACK)))


def _round_down(step: float) -> float:
    """Return the largest number with one or few digits that is not above a step."""
    decade = 10.0 ** math.floor(math.log10(step) + _SLACK)
    return decade * next(digit for digit in _ROUND if digit * decade <= step * (1 + _SLACK))
