"""Episodes of a network: what makes them independent, and their inputs as a table of events.

Episodes can be simulated side by side if nothing but the random streams crosses from one to the
next: every population resets with a guard at an episode's first step, no synapse has a delay beyond
one step, and the host sets learned weights back. `check_episodes` says what stands in the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import MAX_STEPS, check_integers
from labkit.spiking.network import INPUT_LIMIT, Network

COLUMNS = ("episode", "step", "neuron", "value")


@dataclass(frozen=True, eq=False)
class EpisodeEvents:
    """Input from outside, event by event.

    Attributes
    ----------
    n_episodes : int
    tables : dict of str to ndarray of int64, shape (n_events, 4)
        Columns episode, step within the episode from 0, neuron, value; ordered by episode.
    sizes : dict of str to int
        Neurons of each population that has events.
    """

    n_episodes: int
    tables: Mapping[str, np.ndarray]
    sizes: Mapping[str, int]

    @classmethod
    def of(
        cls, network: Network, events: Mapping[str, np.ndarray] | None, n_episodes: int | None
    ) -> EpisodeEvents:
        """Checked events, or those of the network's inputs."""
        if events is None:
            tables = episode_events(network)
        elif any(matrix.size for matrix in network.inputs.values()):
            raise ParameterError(
                "events are given and the network has inputs of its own; pass events=None to run "
                "those, or make the network without inputs."
            )
        else:
            tables = _tables(events)
        if n_episodes is None and events is None:
            n_episodes = -(-network.input_steps // (network.episode or 1))
        elif n_episodes is None:
            n_episodes = 1 + max((int(t[:, 0].max(initial=-1)) for t in tables.values()), default=0)
        check_integers("n_episodes", n_episodes, 1, MAX_STEPS)
        for name, table in tables.items():
            _check_table(network, name, table, int(n_episodes))
        ordered = {
            name: table[np.argsort(table[:, 0], kind="stable")].astype(np.int64)
            for name, table in tables.items()
        }
        return cls(int(n_episodes), ordered, {name: network.population(name).n for name in ordered})

    def inputs(self, step: int, runs: np.ndarray, arrays: Any) -> dict[str, Any]:
        """Input of consecutive episodes at a step, int32 of shape (n, B), where there is any."""
        given = {}
        for name, table in self.tables.items():
            first, last = np.searchsorted(table[:, 0], [runs[0], runs[-1] + 1])
            episode, _, neuron, value = table[first:last][table[first:last, 1] == step].T
            if len(episode):
                given[name] = arrays.zeros((self.sizes[name], len(runs)), "int32")
                columns = arrays.index(arrays.array(episode - runs[0]))
                rows = arrays.index(arrays.array(neuron))
                arrays.add_at(given[name], rows, columns, arrays.array(value.astype(np.int32)))
        return given


def check_episodes(network: Network) -> int:
    """Return the steps of an episode if episodes of the network are independent.

    Raises
    ------
    ParameterError
        Names what crosses from one episode to the next.
    """
    steps = network.episode
    if steps is None:
        raise ParameterError(
            "episode=None has no episodes to simulate; make the network with episode=steps of one."
        )
    for population in network.populations:
        lif = population.lif
        resets = lif.reset_interval == steps and lif.resets_at(1)
        if not (lif.guard and resets):
            raise ParameterError(
                f"population {population.name!r} carries its state from one episode to the next; "
                f"give it guard=True, reset_interval={steps} and reset_offset=1, or use simulate."
            )
    for projection in network.projections:
        if projection.delays is not None and projection.delays.any():
            raise ParameterError(
                f"delays of {projection} reach {projection.delays.max()}; spikes would arrive in "
                "the next episode. Use delays of 0, or simulate."
            )
    return int(steps)


def episode_events(network: Network) -> dict[str, np.ndarray]:
    """Inputs of a network with episodes, as events.

    Returns
    -------
    dict of str to ndarray of int64, shape (n_events, 4)
        Columns episode, step within the episode from 0, neuron, value.
    """
    steps = check_episodes(network)
    tables = {}
    for name, matrix in network.inputs.items():
        entries = sparse.coo_matrix(matrix)
        episode, step = np.divmod(entries.col.astype(np.int64), steps)
        tables[name] = np.stack([episode, step, entries.row, entries.data], axis=1).astype(np.int64)
    return tables


def concatenated(network: Network, events: Mapping[str, np.ndarray], n_episodes: int) -> Network:
    """Return the network with the inputs of its episodes laid end to end, for `simulate`."""
    table = EpisodeEvents.of(network, events, n_episodes)
    steps = check_episodes(network)
    inputs = {
        name: sparse.csc_matrix(
            (rows[:, 3], (rows[:, 2], rows[:, 0] * steps + rows[:, 1])),
            shape=(table.sizes[name], n_episodes * steps),
            dtype=np.int64,
        )
        for name, rows in table.tables.items()
    }
    return replace(network, inputs=inputs)


def _tables(events: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(events, Mapping):
        raise ParameterError(
            f"events is of type {type(events).__name__}; give a dict of population to events."
        )
    tables = {}
    for name, given in events.items():
        try:
            table = np.asarray(given)
        except ValueError:  # rows of different lengths
            table = np.asarray(given, dtype=object)
        if table.ndim != 2 or table.shape[1] != len(COLUMNS) or table.dtype.kind not in "iu":
            raise ParameterError(
                f"events of population {name!r} are {table.dtype} of shape {table.shape}; use "
                f"whole numbers of shape (n_events, 4) with the columns {', '.join(COLUMNS)}."
            )
        tables[name] = table
    return tables


def _check_table(network: Network, name: str, table: np.ndarray, n_episodes: int) -> None:
    n = network.population(name).n
    highest = (n_episodes - 1, int(network.episode or 1) - 1, n - 1, INPUT_LIMIT)
    lowest = (0, 0, 0, -INPUT_LIMIT)
    for column, (low, high) in enumerate(zip(lowest, highest, strict=True)):
        what = f"{COLUMNS[column]} of the events of population {name!r}"
        check_integers(what, table[:, column], low, high)
