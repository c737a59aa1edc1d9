"""Four time steps, one for each group of forces, and how much work they are.

A plan is given as the steps themselves, in time units, so that no number has to be read as "inner"
or "outer". Each step is a whole multiple of the next smaller one: h4 = n3 h3 = n3 n2 h2 = n3 n2 n1
h1, the impulse scheme of r-RESPA [1]_.

DPD noise has the variance 2 gamma kT / h of the step h on which it is drawn. A program that scales
all noise by the largest step makes that of level k too small by h_k / h4, which `noise_scale`
corrects.

References
----------
.. [1] Tuckerman, Berne and Martyna, J. Chem. Phys. 97 (1992) 1990.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.errors import ParameterError

LEVELS = ("fluid", "interface", "nonbonded", "bonded")
"""From the largest step, of level 4, to the smallest, of level 1."""
_WHOLE = 1e-6


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Time steps of the four levels.

    Attributes
    ----------
    fluid, interface, nonbonded, bonded : float
        Steps of levels 4, 3, 2, 1 [time].

    Raises
    ------
    ParameterError
        A step is not positive, or no whole multiple of the next smaller one.

    Examples
    --------
    >>> StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.0005).ratios
    (4, 1, 10)
    """

    fluid: float
    interface: float
    nonbonded: float
    bonded: float

    def __post_init__(self) -> None:
        for name in LEVELS:
            require_positive(f"StepPlan.{name}", getattr(self, name))
        for slow, fast in pairwise(LEVELS):
            large, small = getattr(self, slow), getattr(self, fast)
            ratio = large / small
            if ratio < 1 - _WHOLE or abs(ratio - round(ratio)) > _WHOLE * ratio:
                raise ParameterError(
                    f"StepPlan.{slow}={large:g} is not allowed with {fast}={small:g}; "
                    f"use a whole multiple of {fast}, such as {max(1, round(ratio)) * small:g}."
                )

    @classmethod
    def single(cls, step: float) -> StepPlan:
        """Return the plan of ordinary time stepping: the same step on all levels."""
        return cls(fluid=step, interface=step, nonbonded=step, bonded=step)

    @property
    def steps(self) -> tuple[float, float, float, float]:
        """The four steps in the order of `LEVELS`."""
        return (self.fluid, self.interface, self.nonbonded, self.bonded)

    @property
    def ratios(self) -> tuple[int, int, int]:
        """(n3, n2, n1): interface steps in a fluid step, and so on downwards."""
        h4, h3, h2, h1 = self.steps
        return (round(h4 / h3), round(h3 / h2), round(h2 / h1))

    def noise_scale(self, level: str) -> float:
        """Return h4 / h_level: what the noise variance of a level lacks if scaled by h4."""
        return self.fluid / getattr(self, level)

    def refined(self, factor: int) -> StepPlan:
        """Return the plan with every step divided by a whole number."""
        require_whole("factor", factor, low=1)
        return StepPlan(**{name: getattr(self, name) / factor for name in LEVELS})

    def n_fluid_steps(self, time: float) -> int:
        """Return how many fluid steps a time takes.

        Raises
        ------
        ParameterError
            The time is no whole multiple of the fluid step.
        """
        require_positive("time", time)
        n = round(time / self.fluid)
        if n < 1 or abs(n * self.fluid - time) > _WHOLE * time:
            raise ParameterError(
                f"time={time:g} is not allowed; use a whole multiple of the fluid step "
                f"{self.fluid:g}, such as {max(1, n) * self.fluid:g}."
            )
        return n

    def evaluations(self, time: float) -> Mapping[str, int]:
        """Return how often each level's forces are computed in a time."""
        n3, n2, n1 = self.ratios
        n = self.n_fluid_steps(time)
        counts = (n, n * n3, n * n3 * n2, n * n3 * n2 * n1)
        return dict(zip(LEVELS, counts, strict=True))

    def __str__(self) -> str:
        return " / ".join(f"{step:g}" for step in self.steps)
