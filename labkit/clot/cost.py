"""What a step plan costs: one price for an evaluation of each level, fitted to runs.

A segment with n_k evaluations of level k takes::

    seconds = setup + sum over levels of c_k n_k,    c_k >= 0

Prices are found by nonnegative least squares of relative deviations [1]_, as segments differ in
length; standard errors are those of the linear fit with the prices that are not zero.

======== ======================================= ==========
symbol   variable                                unit
======== ======================================= ==========
c_k      ``CostModel.seconds[level]``            s
n_k      ``Segment.evaluations[level]``          1
setup    ``CostModel.setup``                     s
======== ======================================= ==========

References
----------
.. [1] Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from labkit.choices import require_whole
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import Segment, Simulation
from labkit.errors import ParameterError

Array = NDArray[np.float64]

SETUP = "setup"


@dataclass(frozen=True)
class CostModel:
    """CPU seconds of one process for an evaluation of each level, and for the setup of a segment.

    Attributes
    ----------
    seconds : mapping of str to float
        For one evaluation of each of `labkit.clot.plans.LEVELS` [s].
    setup : float
        For a segment [s].
    errors : mapping of str to float
        Standard errors of the levels and of ``"setup"`` [s]; nan for a price at its bound, 0.
    residual : float
        Root mean square of the relative deviations of the fit.
    n_segments : int
        Segments that it was fitted to.
    """

    seconds: Mapping[str, float]
    setup: float
    errors: Mapping[str, float]
    residual: float
    n_segments: int

    @classmethod
    def fit(cls, segments: Iterable[Segment]) -> CostModel:
        """Fit the prices to segments that were run.

        Parameters
        ----------
        segments : iterable of Segment
            On plans whose evaluations of the four levels are in different proportions, and of more
            than one length, such as `probe_plans` gives.

        Raises
        ------
        ParameterError
            The segments do not tell the levels apart.

        Examples
        --------
        >>> plans = probe_plans(StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005))
        >>> runs = [Segment(plan=plan, start=0.0, time=time, wall_seconds=0.0,
        ...                 evaluations=plan.evaluations(time),
        ...                 cpu_seconds=0.1 + 0.001 * sum(plan.evaluations(time).values()))
        ...         for plan in plans for time in (1.0, 2.0)]
        >>> model = CostModel.fit(runs)
        >>> round(model.setup, 6), round(model.seconds["bonded"], 6)
        (0.1, 0.001)
        """
        used = list(segments)
        counts = np.array([[1.0, *(s.evaluations[level] for level in LEVELS)] for s in used])
        seconds = np.array([s.cpu_seconds for s in used], dtype=float)
        _check(counts, seconds)
        design = counts / seconds[:, None]
        prices, _ = nnls(design, np.ones(len(used)))
        errors = _standard_errors(design, prices)
        return cls(
            seconds=dict(zip(LEVELS, prices[1:].tolist(), strict=True)),
            setup=float(prices[0]),
            errors=dict(zip((SETUP, *LEVELS), errors.tolist(), strict=True)),
            residual=float(np.sqrt(np.mean((design @ prices - 1) ** 2))),
            n_segments=len(used),
        )

    @property
    def frame(self) -> pd.DataFrame:
        """Prices: ``part`` (setup or a level), ``seconds``, ``standard_error`` [s]."""
        prices = {SETUP: self.setup, **self.seconds}
        return pd.DataFrame(
            {
                "part": list(prices),
                "seconds": list(prices.values()),
                "standard_error": [self.errors[part] for part in prices],
            }
        )

    def parts(self, plan: StepPlan, time: float, *, n_segments: int = 1) -> dict[str, float]:
        """Return what the setups and each level cost in a time [s].

        Parameters
        ----------
        plan : StepPlan
        time : float
            A whole multiple of the plan's fluid step [time].
        n_segments : int
            Segments that the time is cut into.
        """
        require_whole("n_segments", n_segments, low=1)
        evaluations = plan.evaluations(time)
        levels = {level: self.seconds[level] * evaluations[level] for level in LEVELS}
        return {SETUP: self.setup * n_segments, **levels}

    def predict(self, plan: StepPlan, time: float, *, n_segments: int = 1) -> float:
        """Return what a plan costs in a time [s]; arguments as in `parts`."""
        return sum(self.parts(plan, time, n_segments=n_segments).values())


def probe_plans(plan: StepPlan, *, factor: int = 4) -> tuple[StepPlan, ...]:
    """Return plans whose costs tell the levels apart: one, and three with one ratio enlarged.

    Parameters
    ----------
    plan : StepPlan
        Best with four different steps, as levels of the same step are run as one, which is
        cheaper than the sum of their prices.
    factor : int
        By which a ratio is enlarged; all steps below it shrink.

    Examples
    --------
    >>> coarse = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
    >>> [plan.ratios for plan in probe_plans(coarse)]
    [(2, 1, 2), (8, 1, 2), (2, 4, 2), (2, 1, 8)]
    """
    require_whole("factor", factor, low=2)
    probes = [plan]
    for first in range(1, len(LEVELS)):
        steps = [h / factor if k >= first else h for k, h in enumerate(plan.steps)]
        probes.append(StepPlan(**dict(zip(LEVELS, steps, strict=True))))
    return tuple(probes)


def measure_costs(
    engine: Simulation, plans: Sequence[StepPlan], *, steps: int = 20, repeats: int = 2
) -> list[Segment]:
    """Run plans in turn, and return the segments for `CostModel.fit`.

    Parameters
    ----------
    engine : Simulation
        In equilibrium. It is left in the state that it had.
    plans : sequence of StepPlan
        That the state allows: receptors in contact refuse coarse ones. Prices of an evaluation do
        not depend on the step, so that fine plans do for all.
    steps : int
        Fluid steps of the short segments; the long ones have three times as many.
    repeats : int
        Rounds over all plans and both lengths, so that a change of the machine's speed meets all.

    Raises
    ------
    EngineError
        A plan blew up.
    """
    require_whole("steps", steps, low=1)
    require_whole("repeats", repeats, low=1)
    snapshot = engine.snapshot()
    measured = []
    for _ in range(repeats):
        for length in (steps, 3 * steps):
            for plan in plans:
                engine.restore(snapshot)
                measured.append(engine.run(plan, length * plan.fluid))
    engine.restore(snapshot)
    return measured


def _check(counts: Array, seconds: Array) -> None:
    n_prices = 1 + len(LEVELS)
    if len(counts) < n_prices or np.linalg.matrix_rank(counts) < n_prices:
        raise ParameterError(
            f"segments={len(counts)} segments do not tell the levels apart; run each plan of "
            "probe_plans for two lengths of time or more."
        )
    if not np.all(seconds > 0):
        raise ParameterError(
            "segments: cpu_seconds=0 is not allowed; use segments long enough to be timed."
        )


def _standard_errors(design: Array, prices: Array) -> Array:
    errors = np.full(len(prices), np.nan)
    free = np.flatnonzero(prices > 0)
    spare = len(design) - len(free)
    if not len(free) or spare <= 0:
        return errors
    reduced = design[:, free]
    residual = reduced @ prices[free] - 1
    variance = residual @ residual / spare
    covariance = variance * np.linalg.pinv(reduced.T @ reduced)
    errors[free] = np.sqrt(np.diag(covariance))
    return errors
