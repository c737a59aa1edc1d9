"""The clocked engine: one pass over populations and projections per step, for many runs at once.

At time step t, as Lava 0.10 orders it::

    1. every population takes what its projections hold from step t - 1, plus the outside input;
    2. `fixedpoint.advance` updates u and v and gives the spikes of step t;
    3. every projection turns the spikes of its ``pre`` into what it holds for step t + 1,
       with the weights before this step's learning;
    4. at the end of a learning epoch the plastic weights change.

B runs advance together as columns: state and spikes have shape (n, B), plastic weights
(B, n_pre, n_post). The runs of a batch of episodes differ in global time: run b started
``starts[b]`` steps into the sequence, which decides its random numbers and learning epochs.
The code is the same for numpy and torch (`labkit.spiking.arrays`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from labkit.spiking.fixedpoint import LIFConstants, LIFState, advance, shift
from labkit.spiking.learning import LearningSynapses
from labkit.spiking.network import Network
from labkit.spiking.plasticity import TraceStreams
from labkit.spiking.projections import Population, Projection
from labkit.spiking.recording import Counters


class Clocked:
    """A network on its way through time.

    Parameters
    ----------
    network : Network
    arrays : NumpyArrays or a class of the same methods
    starts : ndarray of int, shape (B,)
        Global time step before each run's first.
    streams : mapping of str to TraceStreams
        Of each learning projection, over global time; as `drawn` gives them.

    Attributes
    ----------
    neurons : dict of str to Neurons
    plastic : dict of str to LearningSynapses
    """

    def __init__(
        self,
        network: Network,
        arrays: Any,
        *,
        starts: np.ndarray,
        streams: Mapping[str, TraceStreams],
    ) -> None:
        self.network = network
        self.arrays = arrays
        self.time_step = 0
        n_runs = len(starts)
        self.neurons = {p.name: Neurons(p, arrays, n_runs) for p in network.populations}
        self.plastic = {
            p.name: LearningSynapses(p, arrays, starts=starts, streams=streams[p.name])
            for p in network.learning
        }
        static = {p.name: StaticSynapses(p, arrays) for p in network.projections if not p.learns}
        self._synapses: dict[str, Any] = {**self.plastic, **static}
        self._into: dict[str, list[Any]] = {p.name: [] for p in network.populations}
        for projection in network.projections:
            self._into[projection.post].append(self._synapses[projection.name])

    def step(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Advance all runs by one step.

        Parameters
        ----------
        inputs : mapping of str to array of int32, shape (n, B)
            Input from outside, by population.

        Returns
        -------
        dict of str to array of bool, shape (n, B)
            Spikes of each population.
        """
        self.time_step += 1
        spikes = {
            name: neurons.step(self._arriving(name, inputs.get(name)), self.time_step)
            for name, neurons in self.neurons.items()
        }
        for projection in self.network.projections:
            self._synapses[projection.name].send(spikes[projection.pre])
        for projection in self.network.learning:
            self.plastic[projection.name].learn(
                spikes[projection.pre], spikes[projection.post], self.time_step
            )
        return spikes

    def restart_learning(self) -> None:
        """Set plastic weights and traces back to their start, as the host does."""
        for synapses in self.plastic.values():
            synapses.restart()

    def counters(self) -> Counters:
        """What did not fit so far."""
        return Counters(
            u_wrapped={name: int(part.u_wrapped) for name, part in self.neurons.items()},
            v_saturated={name: int(part.v_saturated) for name, part in self.neurons.items()},
            weight_saturated={
                name: int(part.weight_saturated) for name, part in self.plastic.items()
            },
            trace_saturated={
                name: int(part.trace_saturated) for name, part in self.plastic.items()
            },
        )

    def spikes(self) -> dict[str, np.ndarray]:
        """Spikes of each neuron so far, over all runs, int64 of shape (n,)."""
        return {
            name: self.arrays.numpy(part.total_spikes).astype(np.int64)
            for name, part in self.neurons.items()
        }

    def _arriving(self, name: str, outside: Any) -> Any:
        held = [synapses.arriving() for synapses in self._into[name]]
        held = [part for part in [*held, outside] if part is not None]
        return sum(held[1:], start=held[0]) if held else self.neurons[name].no_input


class Neurons:
    """The neurons of a population, in all runs."""

    def __init__(self, population: Population, arrays: Any, n_runs: int) -> None:
        lif, bias, refractory = LIFConstants.of(population.lif, population.n)
        self._constants = LIFConstants(lif, _column(bias, arrays), _column(refractory, arrays))
        self._arrays = arrays
        shape = (population.n, n_runs)
        self.no_input = arrays.zeros(shape, "int32")
        self.state = LIFState(*(arrays.zeros(shape, "int32") for _ in LIFState._fields))
        self.total_spikes: Any = 0
        self.u_wrapped: Any = 0
        self.v_saturated: Any = 0

    def step(self, a_in: Any, time_step: int) -> Any:
        """Update the state and return the spikes, of shape (n, B)."""
        spikes, self.state, counts = advance(
            a_in,
            self.state,
            self._constants,
            time_step=time_step,
            arrays=self._arrays.module,
        )
        self.total_spikes = self.total_spikes + spikes.sum(1)
        self.u_wrapped = self.u_wrapped + counts.u_wrapped
        self.v_saturated = self.v_saturated + counts.v_saturated
        return spikes


class StaticSynapses:
    """A projection whose weights stay, with or without delays."""

    def __init__(self, projection: Projection, arrays: Any) -> None:
        self._arrays = arrays
        self._exponent = projection.weight_exp
        weights = projection.effective_weights()
        if projection.delays is None:
            self._by_delay = {0: arrays.matrix(weights)}
        else:
            self._by_delay = {
                int(delay): arrays.matrix(np.where(projection.delays == delay, weights, 0))
                for delay in np.unique(projection.delays)
            }
        self._held: list[Any] = [None] * (1 + max(self._by_delay))

    def send(self, spikes: Any) -> None:
        """Take the spikes of a step, of shape (n_pre, B)."""
        self._held = [*self._held[1:], None]
        for delay, matrix in self._by_delay.items():
            sent = shift(self._arrays.product(matrix, spikes), self._exponent)
            held = self._held[delay]
            self._held[delay] = sent if held is None else held + sent

    def arriving(self) -> Any:
        """Return the input for the present step, of shape (n_post, B), or None."""
        return self._held[0]


def drawn(projections: Iterable[Projection], steps: int) -> dict[str, TraceStreams]:
    """Random streams of learning projections over so many steps of global time."""
    return {p.name: TraceStreams.draw(p.rule, steps) for p in projections if p.rule is not None}


def _column(values: np.ndarray | None, arrays: Any) -> Any:
    return None if values is None else arrays.array(np.array(values)[:, np.newaxis])
