r"""Trained networks as plain arrays: layers in numpy, one file format, and the range they know.

A controller is asked once a segment about a few platelets; for arrays that small numpy is faster
than a deep-learning library, and a user of the shipped weights needs none. The layers are those of
torch, with its names and shapes of weights [1]_:

=========== =========================================================================
layer       equations (s is the logistic function, * the product of elements)
=========== =========================================================================
dense       y = W x + b
perceptron  dense layers with y = max(0, y) between them
GRU         r, z = s(W x + b + U h + c);  n = tanh(W x + b + r * (U h + c));
            h <- (1 - z) * n + z * h
LSTM        i, f, o = s(W x + b + U h + c);  g = tanh(W x + b + U h + c);
            m <- f * m + i * g;  h <- o * tanh(m)
=========== =========================================================================

References
----------
.. [1] Cho et al., EMNLP 2014, 1724 (GRU); Hochreiter and Schmidhuber, Neural Comput. 9 (1997)
   1735 (LSTM).
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_bytes
from labkit.clot.control.features import FEATURES
from labkit.clot.forcefield import ForceField
from labkit.clot.npz import read_arrays
from labkit.clot.plans import StepPlan
from labkit.clot.series import plan_array, plans_from
from labkit.errors import ParameterError

Array = NDArray[np.float64]
Weights = Mapping[str, Array]

MARGIN = 0.5
"""How far beyond the range of the training a feature may be, in widths of that range."""
CLIP = 6.0
"""Largest size of a standardized feature."""
_FLOOR = 0.1


def perceptron(x: Array, weights: Weights, name: str) -> Array:
    """Apply the dense layers called `name`.0, `name`.2, ... to the last axis, ReLU between them."""
    layers = sorted(int(key.split(".")[1]) for key in weights if _is_weight(key, name))
    for layer in layers:
        x = x @ weights[f"{name}.{layer}.weight"].T + weights[f"{name}.{layer}.bias"]
        if layer != layers[-1]:
            x = np.maximum(x, 0.0)
    return x


def gru(x: Array, weights: Weights, name: str) -> Array:
    """Return the last state of a gated recurrent unit.

    Parameters
    ----------
    x : array of shape (n, batch, inputs)
    weights : mapping
    name : str
        Prefix of the layer's weights.

    Returns
    -------
    array of shape (batch, hidden)
    """
    w, u, b, c = _recurrent(weights, name)
    hidden = u.shape[1]
    h = np.zeros((x.shape[1], hidden))
    for inputs in x @ w.T + b:
        past = h @ u.T + c
        gates = _logistic(inputs[:, : 2 * hidden] + past[:, : 2 * hidden])
        reset, keep = gates[:, :hidden], gates[:, hidden:]
        new = np.tanh(inputs[:, 2 * hidden :] + reset * past[:, 2 * hidden :])
        h = (1 - keep) * new + keep * h
    return h


def lstm(x: Array, weights: Weights, name: str) -> Array:
    """Return the last state of a long short-term memory; arguments as those of `gru`."""
    w, u, b, c = _recurrent(weights, name)
    hidden = u.shape[1]
    h = memory = np.zeros((x.shape[1], hidden))
    for inputs in x @ w.T + b:
        enter, forget, new, leave = np.split(inputs + h @ u.T + c, 4, axis=1)
        memory = _logistic(forget) * memory + _logistic(enter) * np.tanh(new)
        h = _logistic(leave) * np.tanh(memory)
    return h


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)), which is never negative."""
    return np.logaddexp(0.0, x)


def pool(states: Array) -> Array:
    """Return largest and mean value over the platelets, shape (P, H) to (2 H,)."""
    return np.concatenate([states.max(axis=0), states.mean(axis=0)])


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedNetwork:
    """Weights, and what they were trained for.

    Attributes
    ----------
    weights : mapping of str to array
        By torch's names.
    plans : tuple of StepPlan
        What the outputs are about, from the finest to the coarsest.
    mean, deviation, low, high : array of shape (F,)
        Of the features in the training.
    length : int
        Segments looked back on.
    segment : float
        Time between two observations in the training [time].
    window : float
        Time over which the errors of the training build up [time].
    forcefield : mapping
        Constants of the training, as `dataclasses.asdict` gives them.
    extra : mapping
        What else the kind of network needs: numbers and words.
    """

    weights: Weights
    plans: tuple[StepPlan, ...]
    mean: Array
    deviation: Array
    low: Array
    high: Array
    length: int
    segment: float
    window: float
    forcefield: Mapping[str, Any]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def standardized(self, features: Array) -> Array:
        """Return features with mean 0 and deviation 1 over the training, at most 6 in size."""
        return np.clip((features - self.mean) / self.deviation, -CLIP, CLIP)

    def outside(self, features: Array) -> tuple[str, ...]:
        """Return the names of features that are not finite or far from all of the training.

        A feature is far outside when it is more than `MARGIN` widths of the training's range
        beyond it. This finds states of a kind never seen. It is a test of each feature by itself:
        a state whose features are all usual, but never occurred together, passes.

        Parameters
        ----------
        features : array of shape (n, P, F)
        """
        reach = MARGIN * (self.high - self.low) + _FLOOR * self.deviation
        inside = (features >= self.low - reach) & (features <= self.high + reach)
        return tuple(np.array(FEATURES)[~inside.all(axis=(0, 1))])

    def fits(self, forcefield: ForceField, *, alone: bool = False) -> bool:
        """Return whether the training had the same forces.

        Parameters
        ----------
        forcefield : ForceField
        alone : bool
            There is one platelet, on which receptors have no effect.
        """
        given, trained = dataclasses.asdict(forcefield), dict(self.forcefield)
        skipped = {"receptors"} if alone else set()
        return all(given[name] == trained[name] for name in given.keys() - skipped)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one npz file of numbers and text, without pickles; whole or not at all."""
        target = Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        about = {name: getattr(self, name) for name in _ABOUT}
        arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
        arrays |= {f"weights/{name}": w.astype(np.float32) for name, w in self.weights.items()}
        arrays |= {name: getattr(self, name) for name in _STATISTICS}
        arrays["plans"] = plan_array(self.plans)
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)
        replace_bytes(target, written.getvalue())
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ParameterError
            The file is missing or holds something else.
        """
        try:
            stored = read_arrays(path)
            about = json.loads(str(stored.pop("about")))
            arrays: dict[str, Any] = {name: w.astype(float) for name, w in stored.items()}
            names = [name for name in arrays if name.startswith("weights/")]
            weights = {name.removeprefix("weights/"): arrays.pop(name) for name in names}
            plans = plans_from(arrays.pop("plans"))
            return cls(weights=weights, plans=plans, **arrays, **about)
        except (OSError, KeyError, TypeError, ValueError) as broken:
            raise ParameterError(
                f"weights={str(path)!r} cannot be read ({broken}); name a file that "
                "labkit.clot.control.training wrote."
            ) from broken


def plan_rows(known: Sequence[StepPlan], wanted: Sequence[StepPlan]) -> list[int]:
    """Return where each wanted plan is among the known ones, by its steps.

    Raises
    ------
    ParameterError
        The network was not trained on a plan.
    """
    rows = []
    for plan in wanted:
        near = [np.allclose(plan.steps, other.steps, rtol=1e-6, atol=0.0) for other in known]
        if not any(near):
            raise ParameterError(
                f"ladder has the plan {plan}, on which the network was not trained; "
                f"use plans of {[str(other) for other in known]} or train on yours."
            )
        rows.append(near.index(True))
    return rows


_ABOUT = ("length", "segment", "window", "forcefield", "extra")
_STATISTICS = ("mean", "deviation", "low", "high")


def _is_weight(key: str, name: str) -> bool:
    return key.startswith(f"{name}.") and key.endswith(".weight")


def _recurrent(weights: Weights, name: str) -> tuple[Array, Array, Array, Array]:
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w, u, b, c = (weights[f"{name}.{kind}"] for kind in kinds)
    return w, u, b, c


def _logistic(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
