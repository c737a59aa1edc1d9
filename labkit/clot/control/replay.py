"""What a controller would have chosen at the labeled times of stored trajectories, and how well.

Every plan's error is known there, so that choices can be judged without running anything: against
the tolerance, the best possible choices, and the best plan that is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.clot.control.examples import log_errors, step_classes
from labkit.clot.forcefield import ForceField
from labkit.clot.labels import LabelTable, TrajectoryLabels
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan

Array = NDArray[np.float64]
Rungs = NDArray[np.int64]
Choose = Callable[[Sequence[Observation], ForceField], StepPlan]
"""From the history and the forces to a plan, as `LearnedController.choose`."""


@dataclass(frozen=True)
class Score:
    """Choices on some trajectories.

    Attributes
    ----------
    violations : float
        Share of the labeled times at which the chosen plan's error is above the tolerance though
        that of the finest plan is not.
    hopeless : float
        Share of the labeled times at which even the finest plan's error is above.
    nonbonded : float
        Evaluations of the nonbonded forces in all segments [1/time].
    as_oracle : float
        Share of the labeled times at which the choice is the best one.
    """

    violations: float
    hopeless: float
    nonbonded: float
    as_oracle: float


def replay(
    choose: Choose, labels: TrajectoryLabels, table: LabelTable, forcefield: ForceField
) -> Rungs:
    """Return the rung chosen at each labeled time, shape (n,).

    Parameters
    ----------
    choose : callable
        It sees the history up to each time, as in a run.
    labels : TrajectoryLabels
    table : LabelTable
        Whose plans the labels are of.
    forcefield : ForceField
    """
    history = labels.observations
    times = range(1, len(history) + 1)
    rungs = [table.plans.index(choose(history[:now], forcefield)) for now in times]
    return np.array(rungs)[labeled(labels)]


def oracle(labels: TrajectoryLabels, tolerance: float) -> Rungs:
    """Return the coarsest rung under a tolerance [rc] at each labeled time; 0 where none is."""
    return step_classes(log_errors(labels)[labeled(labels)], tolerance)


def fixed(labels: TrajectoryLabels, rung: int) -> Rungs:
    """Return one rung for each labeled time."""
    return np.full(labeled(labels).sum(), rung)


def safe_rung(
    trajectories: Sequence[TrajectoryLabels], tolerance: float, *, violations: float = 0.05
) -> int:
    """Return the coarsest rung that, kept all the time, is over a tolerance at most so often.

    Parameters
    ----------
    trajectories : sequence of TrajectoryLabels
    tolerance : float
        [rc]
    violations : float
        Share of the labeled times; counted as in `Score`.
    """
    errors = np.concatenate([log_errors(t)[labeled(t)] for t in trajectories])
    over = (errors > np.log10(tolerance)) & (errors[:, :1] <= np.log10(tolerance))
    return int(np.flatnonzero(over.mean(axis=0) <= violations)[-1])


def score(
    chosen: Sequence[Rungs],
    trajectories: Sequence[TrajectoryLabels],
    table: LabelTable,
    tolerance: float,
) -> Score:
    """Judge the choices on some trajectories.

    Parameters
    ----------
    chosen : sequence of int arrays
        For each trajectory what `replay`, `oracle` or `fixed` returned.
    trajectories : sequence of TrajectoryLabels
    table : LabelTable
    tolerance : float
        Largest platelet error [rc].
    """
    errors = np.concatenate([log_errors(t)[labeled(t)] for t in trajectories])
    best = np.concatenate([oracle(t, tolerance) for t in trajectories])
    rungs = np.concatenate(chosen)
    limit = np.log10(tolerance)
    over = errors[np.arange(len(rungs)), rungs] > limit
    hopeless = errors[:, 0] > limit
    rate = np.array([1 / plan.nonbonded for plan in table.plans])
    return Score(
        violations=float((over & ~hopeless).mean()),
        hopeless=float(hopeless.mean()),
        nonbonded=float(rate[rungs].mean()),
        as_oracle=float((rungs == best).mean()),
    )


def labeled(labels: TrajectoryLabels) -> NDArray[np.bool_]:
    """Return which observations have labels, shape (n,)."""
    return np.asarray(~np.isnan(labels.errors).any(axis=(1, 2)))
