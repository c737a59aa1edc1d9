"""Step plans to choose from, from the finest, which is the safest, to the coarsest and cheapest.

No step grows from a rung to the next safer one, so that the number of evaluations of every level
falls along the ladder.

The default ladder has the largest steps that the static caps allow at its coarse end. Each rung
below it halves the steps that contribute most to the error there, as measured in free flight, in
collisions and in clots: first that of the springs, which is the cheapest, then that of the
nonbonded forces, whose stiffness changes when receptors bind, then those of the plasma::

    rung  halvings of fluid, interface, nonbonded, bonded
    7     0 0 0 0
    6     0 0 0 1
    5     0 0 1 1
    4     0 1 2 1
    3     1 1 2 1
    2     1 1 3 2
    1     1 2 3 2
    0     2 2 4 3
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.plans import LEVELS, StepPlan
from labkit.errors import ParameterError

_SLACK = 1e-9
_ROUND = (5.0, 2.0, 1.0)
_HALVINGS = (
    (0, 0, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 1, 1),
    (0, 1, 2, 1),
    (1, 1, 2, 1),
    (1, 1, 3, 2),
    (1, 2, 3, 2),
    (2, 2, 4, 3),
)


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

    @property
    def growth(self) -> float:
        """Mean factor by which steps grow from a rung to the next; 2 where there is one rung."""
        if len(self.plans) == 1:
            return 2.0
        pairs = zip(self.finest.steps, self.coarsest.steps, strict=True)
        factors = [math.log(coarse / fine) for fine, coarse in pairs]
        return math.exp(sum(factors) / len(factors) / (len(self.plans) - 1))

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


def ladder(caps: StepLimits, *, n_plans: int = len(_HALVINGS)) -> Ladder:
    r"""Return the default ladder below static caps.

    Parameters
    ----------
    caps : StepLimits
        Largest stable and accurate step of each level [time].
    n_plans : int
        Number of rungs, from the coarse end.

    Returns
    -------
    Ladder
        Its coarsest plan has the largest steps below the caps that divide each other, with a round
        fluid step.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> caps = SimpleNamespace(fluid=0.03, interface=0.018, nonbonded=0.018, bonded=0.008)
    >>> print(*ladder(caps, n_plans=3), sep="\n")
    0.02 / 0.01 / 0.005 / 0.0025
    0.02 / 0.01 / 0.01 / 0.0025
    0.02 / 0.01 / 0.01 / 0.005
    """
    require_whole("n_plans", n_plans, low=1, high=len(_HALVINGS))
    fluid = _round_down(caps.fluid)
    interface = _divided(fluid, caps.interface)
    nonbonded = _divided(interface, caps.nonbonded)
    largest = (fluid, interface, nonbonded, _divided(nonbonded, caps.bonded))
    return Ladder(tuple(_halved(largest, times) for times in reversed(_HALVINGS[:n_plans])))


def _halved(steps: tuple[float, ...], times: tuple[int, ...]) -> StepPlan:
    """Halve each step some times, and once more where it would not divide the slower one."""
    chosen: dict[str, float] = {}
    slower = math.inf
    for level, step, n in zip(LEVELS, steps, times, strict=True):
        wanted = step / 2**n
        slower = chosen[level] = wanted if math.isinf(slower) else _divided(slower, wanted)
    return StepPlan(**chosen)


def _divided(step: float, cap: float) -> float:
    """Return the largest step below a cap of which `step` is a whole multiple."""
    return step / max(1, math.ceil(step / cap * (1 - _SLACK)))


def _round_down(step: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... times a power of ten that is not above a step."""
    decade = 10.0 ** math.floor(math.log10(step) + _SLACK)
    return decade * next(digit for digit in _ROUND if digit * decade <= step * (1 + _SLACK))
