r"""The cheapest plan whose error a network predicts to be under a tolerance.

A network sees the features x of P platelets over the last n segments (`features`) and predicts, for
every plan k of a ladder, the median and the 0.9 quantile q_k of log10 of the largest platelet error
[rc] that the plan makes in a window::

    a_p(s) = MLP(x_p(s))                            shared by all platelets
    h_p    = GRU(a_p(1), ..., a_p(n))
    c      = [max_p h_p, mean_p h_p]                any number of platelets, in any order
    y      = MLP(c)                                 one y for each quantile
    q_1    = y_1,   q_k = q_(k-1) + softplus(y_k)   a coarser plan is never predicted better

The maximum keeps the platelet that needs small steps however many others are at rest. Several
such networks, the members, are trained from different random numbers, and the prediction is their
mean [1]_. The median is
the best guess; the choice is the coarsest plan of which the 0.9 quantile is under the tolerance,
q_k <= log10(tolerance), now and a segment ago: steps become smaller at
once, and larger only when two segments in a row allow it. Networks are also trained on series that
begin with the run, so that its first segments need no rule of their own. The finest plan is taken
where the network has no ground to speak: when a feature is not finite or far outside the training,
when the forces are others than in the training, and when no plan is predicted to be good enough.

References
----------
.. [1] Hansen and Salamon, IEEE Trans. Pattern Anal. Mach. Intell. 12 (1990) 993.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot.control.features import recent_features
from labkit.clot.control.networks import (
    TrainedNetwork,
    Weights,
    gru,
    perceptron,
    plan_rows,
    pool,
    softplus,
)
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import Simulation
from labkit.errors import ParameterError

Array = NDArray[np.float64]

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped weights and of the labels that they come from."""
QUANTILES = (0.5, 0.9)
"""What is predicted of each plan's error; the last one is what choices are made by."""
_THERMAL_FRACTION = 0.1
_SAME_SEGMENT = 0.01
UNSEEN = "not seen in training"
_PREDICTED, _WAITING = "predicted", "waiting"
_log = logging.getLogger(__name__)


def default_tolerance(forcefield: ForceField) -> float:
    """Return a tenth of the thermal amplitude of a membrane spring, sqrt(kT / 2 K) / 10 [rc].

    An error of a window's length that is small against what heat does to every bead anyway.

    Examples
    --------
    >>> round(default_tolerance(ForceField()), 6)
    0.000707
    """
    return _THERMAL_FRACTION * math.sqrt(forcefield.kT / (2 * forcefield.membrane.K_edge))


class ErrorNetwork(TrainedNetwork):
    """Prediction of every plan's error.

    The first axis of all weights counts the members.
    """

    def predict(self, features: Array) -> Array:
        """Return quantiles of log10 of the largest platelet error [rc].

        Parameters
        ----------
        features : array of shape (n, P, F)
            Of n segments or fewer, not standardized.

        Returns
        -------
        array of shape (2, K)
            One row for each of `QUANTILES`, one column for each of `plans`; rows never decrease.
        """
        x = self.standardized(features)
        members = range(len(self.weights["head.0.bias"]))
        each = [_quantiles(x, {name: w[m] for name, w in self.weights.items()}) for m in members]
        return np.asarray(np.mean(each, axis=0))


def _quantiles(x: Array, weights: Weights) -> Array:
    """Return what one member predicts from standardized features, shape (2, K)."""
    seen = perceptron(x, weights, "platelet")
    y = perceptron(pool(gru(seen, weights, "segments")), weights, "head")
    y = y.reshape(len(QUANTILES), -1)
    return np.cumsum(np.concatenate([y[:, :1], softplus(y[:, 1:])], axis=1), axis=1)


@dataclass(frozen=True, eq=False)
class Decision:
    """A choice and why.

    Attributes
    ----------
    plan : StepPlan
    rung : int
        Place of the plan on the ladder; 0 is the finest.
    reason : str
        "predicted"; "waiting" for a second segment that allows a larger step; or why the finest
        plan was taken: "not seen in training: ...", "none is good enough".
    errors : array of shape (n_plans,)
        Predicted quantile of the largest platelet error of each plan of the ladder [rc]; nan where
        nothing was predicted.
    allowed : int
        The rung that the next choice may go up to, `rung` unless that is waiting.
    """

    plan: StepPlan
    rung: int
    reason: str
    errors: Array
    allowed: int


class LearnedController:
    """Chooses by the predicted error of every plan.

    Parameters
    ----------
    network : ErrorNetwork, optional
        Default: the shipped one.
    tolerance : float, optional
        Largest error of a platelet in the network's window, rms over its beads [rc]. Default:
        `default_tolerance` of the engine's force field.
    ladder : sequence of StepPlan, optional
        Plans to choose from, from the finest to the coarsest, all under the static caps. Default:
        all of the network's.

    Attributes
    ----------
    memory : dict
        When it decided last, and what it allowed, so that no state is judged twice; and how often
        it took the finest plan for which reason.

    Raises
    ------
    ParameterError
        A plan that the network was not trained on.
    """

    name = "learned"

    def __init__(
        self,
        network: ErrorNetwork | None = None,
        *,
        tolerance: float | None = None,
        ladder: Sequence[StepPlan] | None = None,
    ) -> None:
        if tolerance is not None:
            require_positive("tolerance", tolerance)
        self.network = network or ErrorNetwork.load(WEIGHTS / "learned.npz")
        self.tolerance = tolerance
        self.plans = tuple(ladder or self.network.plans)
        self._rows = plan_rows(self.network.plans, self.plans)
        self.memory: dict[str, Any] = {}

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the plan of the segment that starts now."""
        before = None
        if len(history) > 1 and self.memory.get("time") == history[-2].time:
            before = int(self.memory["allowed"])
        decision = self.decide(history, engine.forcefield, before=before)
        now, reasons = history[-1].time, dict(self.memory.get("reasons", {}))
        if decision.reason not in (_PREDICTED, _WAITING):
            reasons = counted(reasons, decision.reason, time=now)
        self.memory = {"time": now, "allowed": decision.allowed, "reasons": reasons}
        return decision.plan

    def choose(self, history: Sequence[Observation], forcefield: ForceField) -> StepPlan:
        """Return the plan; all that is needed of the engine is its forces."""
        return self.decide(history, forcefield).plan

    def decide(
        self,
        history: Sequence[Observation],
        forcefield: ForceField,
        *,
        before: int | None = None,
    ) -> Decision:
        """Return the plan with the prediction behind it.

        Parameters
        ----------
        history : sequence of Observation
            One a segment; the last one is of now.
        forcefield : ForceField
            Of the simulation.
        before : int, optional
            What the decision of a segment ago allowed; found again by default.

        Raises
        ------
        ParameterError
            Segments of another length than in the training.
        """
        length = self.network.length
        check_segments(history, self.network)
        features = recent_features(history, kT=forcefield.kT, length=length + 1)
        now = self._allowed(features[-length:], forcefield)
        if len(history) == 1:
            return now
        if before is None:
            before = self._allowed(features[:-1], forcefield).allowed
        if before < now.rung:
            plan = self.plans[before]
            return dataclasses.replace(now, plan=plan, rung=before, reason=_WAITING)
        return now

    def _allowed(self, features: Array, forcefield: ForceField) -> Decision:
        """Return the choice for one moment, however the one before it was."""
        unknown = unseen(features, forcefield, self.network)
        if unknown:
            nothing = np.full(len(self.plans), np.nan)
            return Decision(self.plans[0], 0, f"{UNSEEN}: {unknown}", nothing, 0)
        errors = 10 ** self.network.predict(features)[-1, self._rows]
        good = np.flatnonzero(errors <= (self.tolerance or default_tolerance(forcefield)))
        if not len(good):
            return Decision(self.plans[0], 0, "none is good enough", errors, 0)
        rung = int(good[-1])
        return Decision(self.plans[rung], rung, _PREDICTED, errors, rung)


def counted(reasons: Mapping[str, int], reason: str, *, time: float) -> dict[str, int]:
    """Return how often each reason led to the finest plan; say so when it does for the first time.

    Parameters
    ----------
    reasons : mapping of str to int
        So far.
    reason : str
    time : float
        For the message [time].
    """
    if reason not in reasons and reason.startswith(UNSEEN):
        _log.warning("time %g: the finest plan is taken, %s", time, reason)
    return {**reasons, reason: reasons.get(reason, 0) + 1}


def unseen(features: Array, forcefield: ForceField, network: TrainedNetwork) -> str:
    """Return what the training did not have, empty where it had all."""
    if not network.fits(forcefield, alone=features.shape[1] == 1):
        return "these forces"
    return ", ".join(network.outside(features))


def check_segments(history: Sequence[Observation], network: TrainedNetwork) -> None:
    """Refuse observations that are further apart, or closer, than those of the training.

    Raises
    ------
    ParameterError
        Naming both times.
    """
    times = np.array([observation.time for observation in history[-network.length :]])
    apart = np.diff(times)
    if np.any(np.abs(apart - network.segment) > _SAME_SEGMENT * network.segment):
        raise ParameterError(
            f"segment={apart[-1]:g} is not allowed; the network was trained on segments of "
            f"{network.segment:g}: use that, or train on yours."
        )
