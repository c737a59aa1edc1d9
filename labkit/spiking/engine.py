"""Simulate a spiking network in the integers of Loihi 2, step by step or many episodes at once.

`simulate` runs a network from time step 1. `simulate_episodes` runs many episodes that do not know
of each other: every population resets with a guard at the first step of each, learned weights and
traces are set back, and only the random streams run on. Its result is that of `simulate` on the
episodes laid end to end, and it is much faster, because the episodes of a batch advance together.

Back ends give the same integers: "numpy" (no compile time), "numba" (compiled, threads over
episodes), "torch" (on the CPU or a GPU).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.arrays import NumpyArrays
from labkit.spiking.clocked import Clocked, drawn
from labkit.spiking.episodes import EpisodeEvents, check_episodes
from labkit.spiking.fixedpoint import MAX_STEPS, check_integers
from labkit.spiking.network import Network
from labkit.spiking.recording import (
    Counters,
    EpisodeRecording,
    Recording,
    added,
    synaptic_operations,
)

BACKENDS = ("numpy", "numba", "torch")
RECORDABLE = ("s_out", "u", "v", "w")
EPISODE_RECORDABLE = ("s_out",)


def simulate(
    network: Network,
    steps: int,
    *,
    record: Collection[str] = ("s_out",),
    backend: str = "numpy",
    threads: int = 1,
    device: str = "cpu",
) -> Recording:
    """Run a network from time step 1.

    Parameters
    ----------
    network : Network
    steps : int
    record : collection of {"s_out", "u", "v", "w"}
        What to keep of every step: spikes, currents, voltages, learned weights.
    backend : {"numpy", "numba", "torch"}
    threads : int
        Not used by a single run: its steps follow each other.
    device : str
        Device of the torch back end.

    Returns
    -------
    Recording

    Examples
    --------
    >>> from labkit.spiking.fixedpoint import LIFParameters
    >>> from labkit.spiking.network import Population
    >>> network = Network([Population("a", 1, LIFParameters(vth=10, bias_mant=350))])
    >>> simulate(network, 5).s_out["a"][:, 0]
    array([False,  True, False,  True, False])
    """
    record = _checked(backend, record, RECORDABLE, threads)
    check_integers("steps", steps, 1, MAX_STEPS)
    if backend == "numba":
        return _compiled().simulate_compiled(network, steps, record=record)
    clocked = Clocked(
        network,
        _arrays(backend, device),
        starts=np.zeros(1, dtype=np.int64),
        streams=drawn(network.learning, steps),
    )
    kept = _Kept(network, record, steps)
    inputs = {name: sparse.csc_matrix(matrix) for name, matrix in network.inputs.items()}
    for step in range(steps):
        if network.episode is not None and step and step % network.episode == 0:
            clocked.restart_learning()
        spikes = clocked.step(_outside(inputs, step, clocked.arrays))
        kept.keep(step, clocked, spikes)
    return kept.recording(clocked, backend)


def simulate_episodes(
    network: Network,
    events: Mapping[str, np.ndarray] | None = None,
    n_episodes: int | None = None,
    *,
    record: Collection[str] = (),
    backend: str = "numpy",
    batch: int = 128,
    threads: int = 1,
    device: str = "cpu",
) -> EpisodeRecording:
    """Run many independent episodes of a network.

    Parameters
    ----------
    network : Network
        With an `episode`, and populations that all reset with a guard at each episode's first step.
    events : mapping of str to ndarray of int, shape (n_events, 4), optional
        Input from outside by population, with columns episode, step (0 is the guarded one), neuron,
        value. None takes the inputs of the network.
    n_episodes : int, optional
        None is up to the last input.
    record : collection of {"s_out"}
    backend : {"numpy", "numba", "torch"}
    batch : int
        Episodes that advance together; does not change the result.
    threads : int
        Threads of the numba back end; does not change the result.
    device : str
        Device of the torch back end.

    Returns
    -------
    EpisodeRecording

    Raises
    ------
    ParameterError
        The episodes would know of each other; says by what.
    """
    record = _checked(backend, record, EPISODE_RECORDABLE, threads)
    check_integers("batch", batch, 1, MAX_STEPS)
    steps = check_episodes(network)
    table = EpisodeEvents.of(network, events, n_episodes)
    check_integers("n_episodes times the steps of one", table.n_episodes * steps, 1, MAX_STEPS)
    if backend == "numba":
        return _compiled().simulate_episodes_compiled(
            network, table, record=record, threads=threads
        )
    streams = drawn(network.learning, table.n_episodes * steps)
    arrays = _arrays(backend, device)
    result = _Episodes(network, table.n_episodes, record)
    for first in range(0, table.n_episodes, batch):
        runs = np.arange(first, min(first + batch, table.n_episodes))
        clocked = Clocked(network, arrays, starts=runs * steps, streams=streams)
        for step in range(steps):
            spikes = clocked.step(table.inputs(step, runs, arrays))
            result.keep_step(step, runs, spikes, arrays)
        result.keep_runs(runs, clocked)
    return result.recording(backend)


class _Kept:
    """What is recorded of a run."""

    def __init__(self, network: Network, record: Collection[str], steps: int) -> None:
        self._steps = steps
        self._values: dict[str, dict[str, np.ndarray]] = {name: {} for name in RECORDABLE}
        dtypes = {"s_out": bool, "u": np.int32, "v": np.int32}
        for variable in (name for name in dtypes if name in record):
            self._values[variable] = {
                p.name: np.zeros((steps, p.n), dtype=dtypes[variable]) for p in network.populations
            }
        if "w" in record:
            self._values["w"] = {
                p.name: np.zeros((steps, p.n_post, p.n_pre), dtype=np.int16)
                for p in network.learning
            }

    def keep(self, step: int, clocked: Clocked, spikes: Mapping[str, Any]) -> None:
        """Keep the state after a step."""
        numpy, values = clocked.arrays.numpy, self._values
        for name in values["s_out"]:
            values["s_out"][name][step] = numpy(spikes[name][:, 0])
        for name in values["u"]:
            values["u"][name][step] = numpy(clocked.neurons[name].state.u[:, 0])
        for name in values["v"]:
            values["v"][name][step] = numpy(clocked.neurons[name].state.v[:, 0])
        for name in values["w"]:
            values["w"][name][step] = numpy(clocked.plastic[name].weights[0]).T

    def recording(self, clocked: Clocked, backend: str) -> Recording:
        """Everything after the last step."""
        network, spikes = clocked.network, clocked.spikes()
        final = {
            p.name: clocked.arrays.numpy(clocked.plastic[p.name].weights[0]).T.astype(np.int32)
            for p in network.learning
        }
        return Recording(
            steps=self._steps,
            s_out=self._values["s_out"],
            u=self._values["u"],
            v=self._values["v"],
            weights=self._values["w"],
            final_weights=final,
            spikes=spikes,
            synaptic_operations=synaptic_operations(network, spikes),
            counters=added([Counters.of_weights(network), clocked.counters()]),
            backend=backend,
        )


class _Episodes:
    """What is recorded of episodes."""

    def __init__(self, network: Network, n_episodes: int, record: Collection[str]) -> None:
        self._network = network
        steps = int(network.episode or 0)
        self._shape = (n_episodes, steps)
        self._weights = {
            p.name: np.zeros((n_episodes, p.n_post, p.n_pre), dtype=np.int16)
            for p in network.learning
        }
        self._counts = {p.name: np.zeros(self._shape, dtype=np.int32) for p in network.populations}
        self._s_out = {
            p.name: np.zeros((*self._shape, p.n), dtype=bool)
            for p in network.populations
            if "s_out" in record
        }
        self._spikes = {p.name: np.zeros(p.n, dtype=np.int64) for p in network.populations}
        self._counters = [Counters.of_weights(network)]

    def keep_step(
        self, step: int, runs: np.ndarray, spikes: Mapping[str, Any], arrays: NumpyArrays
    ) -> None:
        """Keep the spikes of a batch at a step."""
        for name, fired in spikes.items():
            self._counts[name][runs, step] = arrays.numpy(fired.sum(0))
        for name, kept in self._s_out.items():
            kept[runs, step] = arrays.numpy(spikes[name]).T

    def keep_runs(self, runs: np.ndarray, clocked: Clocked) -> None:
        """Keep what a batch is left with after its last step."""
        for name, kept in self._weights.items():
            kept[runs] = clocked.arrays.numpy(clocked.plastic[name].weights).transpose(0, 2, 1)
        for name, spikes in clocked.spikes().items():
            self._spikes[name] += spikes
        self._counters.append(clocked.counters())

    def recording(self, backend: str) -> EpisodeRecording:
        """Everything after the last batch."""
        return EpisodeRecording(
            n_episodes=self._shape[0],
            steps=self._shape[1],
            final_weights=self._weights,
            spike_counts=self._counts,
            s_out=self._s_out,
            synaptic_operations=synaptic_operations(self._network, self._spikes),
            counters=added(self._counters),
            backend=backend,
        )


def _checked(
    backend: str, record: Collection[str], allowed: tuple[str, ...], threads: int
) -> tuple[str, ...]:
    """Check options; return what to record."""
    if backend not in BACKENDS:
        raise ParameterError(not_allowed("backend", backend, BACKENDS))
    if not isinstance(record, Collection):
        raise ParameterError(not_allowed("record", record, allowed) + " Or () for nothing.")
    record = (record,) if isinstance(record, str) else tuple(record)
    for variable in record:
        if variable not in allowed:
            raise ParameterError(not_allowed("record", variable, allowed))
    check_integers("threads", threads, 1, 1024)
    return record


def _arrays(backend: str, device: str) -> Any:
    if backend == "numpy":
        return NumpyArrays()
    from labkit.spiking.engine_torch import TorchArrays

    return TorchArrays(device)


def _compiled() -> ModuleType:
    try:
        from labkit.spiking import engine_numba
    except ImportError as cause:
        raise ParameterError(
            "backend='numba' needs numba, which is not installed; run `pip install labkit[numba]` "
            "or use backend='numpy', which gives the same integers."
        ) from cause
    return engine_numba


def _outside(inputs: Mapping[str, Any], step: int, arrays: Any) -> dict[str, Any]:
    """Input of a step of a single run, of the populations that have any."""
    columns = {name: matrix[:, [step]] for name, matrix in inputs.items() if step < matrix.shape[1]}
    return {
        name: arrays.array(column.toarray().astype(np.int32))
        for name, column in columns.items()
        if column.nnz
    }
