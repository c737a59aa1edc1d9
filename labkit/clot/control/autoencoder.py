r"""The recurrent variant of the papers: a memorized series, a step class and a step jump.

A recurrent autoencoder, LSTM or GRU, learns to write down the series of a platelet's features and
to read it back; what it writes down is the dynamic state. The encoder is then frozen, and two fully
connected networks are trained on it [1]_::

    z_p  = encoder(x_p(1), ..., x_p(n))             last hidden state, for each platelet
    c    = [max_p z_p, mean_p z_p]
    step = softmax(MLP(c))                          class: the cheapest plan under the tolerance
    jump = softmax(MLP(c))                          segments until that class changes: 1, 2, 4, 8

Both classes have an order. The choice is the coarsest plan, and the longest jump, for which the
probability that a finer plan or a shorter jump was right is at most ``risk``. The papers do not say
how they choose; a risk of 0.5 takes the median class. The tolerance is part of the training: for
another one the heads must be trained again. Where the network has no ground to speak, the finest
plan is taken, by the same rules as in `learned`.

References
----------
.. [1] Han, Zhang, Bluestein, Cong and Deng, J. Comput. Phys. 427 (2021) 110053.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot.control.examples import JUMPS
from labkit.clot.control.features import recent_features
from labkit.clot.control.learned import UNSEEN, WEIGHTS, check_segments, counted, unseen
from labkit.clot.control.networks import (
    TrainedNetwork,
    gru,
    lstm,
    perceptron,
    plan_rows,
    pool,
)
from labkit.clot.forcefield import ForceField
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import Simulation
from labkit.errors import ParameterError

Array = NDArray[np.float64]

CELLS = {"lstm": lstm, "gru": gru}
_EARLY = 1e-6


class SeriesNetwork(TrainedNetwork):
    """Encoder and both heads; ``extra`` holds the cell's name and the tolerance."""

    @property
    def cell(self) -> str:
        """Kind of the recurrent layer: lstm or gru."""
        return str(self.extra["cell"])

    @property
    def tolerance(self) -> float:
        """Largest platelet error that the classes were made for [rc]."""
        return float(self.extra["tolerance"])

    def probabilities(self, features: Array) -> tuple[Array, Array]:
        """Return the probability of each step class, shape (K,), and of each jump.

        Parameters
        ----------
        features : array of shape (n, P, F)
            Of n segments or fewer, not standardized.
        """
        encoded = CELLS[self.cell](self.standardized(features), self.weights, "encoder")
        code = pool(encoded)
        step, jump = (perceptron(code, self.weights, head) for head in ("step", "jump"))
        return _softmax(step), _softmax(jump)


class AutoencoderController:
    """Chooses a step and how long to hold it, as the papers do.

    Parameters
    ----------
    network : SeriesNetwork or str
        Trained network; "lstm" or "gru" for the shipped ones.
    risk : float
        Probability, above 0 and below 1, that a finer plan was needed.
    ladder : sequence of StepPlan, optional
        Plans to choose from, from the finest to the coarsest. Default: all of the network's.

    Attributes
    ----------
    memory : dict
        When the network was ``asked``, ``until`` when its choice holds, ``rung``, the choice, and
        for which ``reasons`` the finest plan was taken how often.

    Raises
    ------
    ParameterError
        An unknown name, a risk out of range, or a plan that the network was not trained on.
    """

    def __init__(
        self,
        network: SeriesNetwork | str = "lstm",
        *,
        risk: float = 0.1,
        ladder: Sequence[StepPlan] | None = None,
    ) -> None:
        if not 0 < risk < 1:
            raise ParameterError(f"risk={risk!r} is not allowed; use a number between 0 and 1.")
        self.network = shipped(network) if isinstance(network, str) else network
        self.name = f"autoencoder ({self.network.cell})"
        self.risk = risk
        self.plans = tuple(ladder or self.network.plans)
        self._rows = plan_rows(self.network.plans, self.plans)
        self.memory: dict[str, Any] = {}

    def plan(self, history: Sequence[Observation], engine: Simulation) -> StepPlan:
        """Return the plan of the segment that starts now."""
        return self.choose(history, engine.forcefield)

    def choose(self, history: Sequence[Observation], forcefield: ForceField) -> StepPlan:
        """Return the plan; all that is needed of the engine is its forces."""
        now = history[-1].time
        check_segments(history, self.network)
        features = recent_features(history, kT=forcefield.kT, length=self.network.length)
        reasons = dict(self.memory.get("reasons", {}))
        unknown = unseen(features, forcefield, self.network)
        if unknown:
            self.memory = {"reasons": counted(reasons, f"{UNSEEN}: {unknown}", time=now)}
            return self.plans[0]
        if self._holds(now):
            return self.plans[self.memory["rung"]]
        step, jump = self.network.probabilities(features)
        held = JUMPS[_largest(jump, self.risk)] * self.network.segment
        self.memory = {
            "asked": now,
            "until": now + held,
            "rung": self._rung(step),
            "reasons": reasons,
        }
        return self.plans[self.memory["rung"]]

    def _holds(self, now: float) -> bool:
        if "asked" not in self.memory:
            return False
        return bool(self.memory["asked"] <= now < self.memory["until"] - _EARLY)

    def _rung(self, step: Array) -> int:
        row = _largest(step, self.risk)
        return max((rung for rung, here in enumerate(self._rows) if here <= row), default=0)


def shipped(cell: str) -> SeriesNetwork:
    """Return the shipped network with a kind of cell, "lstm" or "gru"."""
    if cell not in CELLS:
        raise ParameterError(f"network={cell!r} is not allowed; use {sorted(CELLS)}.")
    return SeriesNetwork.load(WEIGHTS / f"autoencoder_{cell}.npz")


def _largest(probability: Array, risk: float) -> int:
    """Return the last class before which there is at most that probability."""
    below = np.concatenate([[0.0], np.cumsum(probability)[:-1]])
    return int(np.flatnonzero(below <= risk)[-1])


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return np.asarray(powers / powers.sum())
