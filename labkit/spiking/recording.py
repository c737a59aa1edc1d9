"""What a simulation gives back: what was recorded, the learned weights, and what did not fit.

Integers of a chip saturate or wrap without a word; here every such event is counted
(`Counters`), so that a result that depends on it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from labkit.spiking.network import Network

_MEANINGS = {
    "u_wrapped": "the current of population {name!r} wrapped around 2^23 {n} times: its input is "
    "too strong for 24 bits",
    "v_saturated": "the voltage of population {name!r} was cut off at 2^23 - 1 {n} times",
    "weight_clipped": "{n} weights of projection {name!r} did not fit 8 bits and were clipped",
    "weight_saturated": "learning pushed weights of projection {name!r} past their limit {n} times",
    "trace_saturated": "traces of projection {name!r} were cut off at 127 {n} times",
}


@dataclass(frozen=True)
class Counters:
    """How often a value did not fit its bits, for each population or projection by name.

    Attributes
    ----------
    u_wrapped, v_saturated : dict of str to int
        Neurons times steps at which the current wrapped, and at which the voltage was cut off.
    weight_clipped : dict of str to int
        Weights that were clipped before the first step.
    weight_saturated : dict of str to int
        Changes of a weight that went past its limit and were cut off.
    trace_saturated : dict of str to int
        Impulses that lifted a trace above 127.

    Examples
    --------
    >>> counters = Counters(v_saturated={"topic": 3, "train": 0})
    >>> counters.total
    3
    >>> counters.warnings()
    ("the voltage of population 'topic' was cut off at 2^23 - 1 3 times",)
    """

    u_wrapped: Mapping[str, int] = field(default_factory=dict)
    v_saturated: Mapping[str, int] = field(default_factory=dict)
    weight_clipped: Mapping[str, int] = field(default_factory=dict)
    weight_saturated: Mapping[str, int] = field(default_factory=dict)
    trace_saturated: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_weights(cls, network: Network) -> Counters:
        """Count the weights of a network that do not fit."""
        clipped = {p.name: p.n_clipped for p in network.projections if not p.learns}
        return cls(weight_clipped=clipped)

    @property
    def total(self) -> int:
        """Sum of all counts."""
        return sum(sum(getattr(self, kind.name).values()) for kind in fields(self))

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each count above zero."""
        return tuple(
            _MEANINGS[kind.name].format(name=name, n=n)
            for kind in fields(self)
            for name, n in getattr(self, kind.name).items()
            if n
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """One run of a network.

    Attributes
    ----------
    steps : int
    s_out : dict of str to ndarray of bool, shape (steps, n)
        Spikes of each population; row t - 1 is time step t. Like u, v and weights empty unless
        recorded.
    u, v : dict of str to ndarray of int32, shape (steps, n)
    weights : dict of str to ndarray of int16, shape (steps, n_post, n_pre)
        Weights of each learning projection after the learning of the step.
    final_weights : dict of str to ndarray of int32, shape (n_post, n_pre)
        Weights of each learning projection after the last step.
    spikes : dict of str to ndarray of int64, shape (n,)
        Number of spikes of each neuron.
    synaptic_operations : int
        Spikes times the synapses they reach.
    counters : Counters
    backend : str
    """

    steps: int
    s_out: Mapping[str, np.ndarray]
    u: Mapping[str, np.ndarray]
    v: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    final_weights: Mapping[str, np.ndarray]
    spikes: Mapping[str, np.ndarray]
    synaptic_operations: int
    counters: Counters
    backend: str


@dataclass(frozen=True, eq=False)
class EpisodeRecording:
    """Independent episodes of a network.

    Attributes
    ----------
    n_episodes, steps : int
        Number of episodes and steps of each.
    final_weights : dict of str to ndarray of int16, shape (n_episodes, n_post, n_pre)
        Weights of each learning projection at the end of each episode.
    spike_counts : dict of str to ndarray of int32, shape (n_episodes, steps)
        Spikes of each population at each step.
    s_out : dict of str to ndarray of bool, shape (n_episodes, steps, n)
        Spikes of each population; empty unless recorded.
    synaptic_operations : int
        Spikes times the synapses they reach, of all episodes.
    counters : Counters
        Of all episodes.
    backend : str
    """

    n_episodes: int
    steps: int
    final_weights: Mapping[str, np.ndarray]
    spike_counts: Mapping[str, np.ndarray]
    s_out: Mapping[str, np.ndarray]
    synaptic_operations: int
    counters: Counters
    backend: str


def added(counters: Sequence[Counters]) -> Counters:
    """Sum of counters, name by name.

    Examples
    --------
    >>> added([Counters(u_wrapped={"a": 1}), Counters(u_wrapped={"a": 2, "b": 0})]).u_wrapped
    {'a': 3, 'b': 0}
    """
    sums: dict[str, dict[str, int]] = {kind.name: {} for kind in fields(Counters)}
    for one in counters:
        for kind, total in sums.items():
            for name, n in getattr(one, kind).items():
                total[name] = total.get(name, 0) + int(n)
    return Counters(**sums)


def synaptic_operations(network: Network, spikes: Mapping[str, np.ndarray]) -> int:
    """Spikes times the synapses they reach.

    Parameters
    ----------
    network : Network
    spikes : mapping of str to ndarray of int, shape (n,)
        Number of spikes of each neuron.
    """
    return sum(int(spikes[p.pre] @ p.fan_out) for p in network.projections)
