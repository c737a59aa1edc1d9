"""The numba back end: a network as flat arrays, run spike by spike, episodes shared out to threads.

`Flat` lays a network end to end for `labkit.spiking.numba_kernels`. The first run on a machine
compiles for some seconds; later ones load the compiled code from numba's cache.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from labkit.spiking.clocked import drawn
from labkit.spiking.episodes import EpisodeEvents
from labkit.spiking.fixedpoint import DECAY_UNITY, weight_limits
from labkit.spiking.network import Network
from labkit.spiking.numba_kernels import Cells, Output, Plastic, State, Wires, run
from labkit.spiking.plasticity import RuleTables, STDPLoihi, TraceStreams
from labkit.spiking.projections import Projection
from labkit.spiking.recording import (
    Counters,
    EpisodeRecording,
    Recording,
    added,
    synaptic_operations,
)

CHUNKS_PER_THREAD = 4


@dataclass(frozen=True, eq=False)
class Flat:
    """A network laid end to end.

    Attributes
    ----------
    network : Network
    cells : Cells
    wires : Wires
    plastic : Plastic
    max_delay : int
    """

    network: Network
    cells: Cells
    wires: Wires
    plastic: Plastic
    max_delay: int

    @classmethod
    def of(cls, network: Network, steps: int) -> Flat:
        """Lay out a network for so many steps of global time."""
        static = [p for p in network.projections if not p.learns]
        delays = [0, *(int(p.delays.max()) for p in static if p.delays is not None)]
        return cls(
            network,
            _cells(network),
            _wires(network, static),
            _plastic(network, steps),
            max(delays),
        )

    def state(self) -> State:
        """State before the first step."""
        n = self.network.n_neurons
        n_x = sum(p.n_pre for p in self.network.learning)
        n_y = sum(p.n_post for p in self.network.learning)
        epoch = 1 + int(self.plastic.t_epoch.max(initial=1))
        largest = max(p.n for p in self.network.populations)
        return State(
            u=_zeros(n),
            v=_zeros(n),
            refractory_end=_zeros(n),
            ring=_zeros(self.max_delay + 2, n),
            partial=_zeros((self.max_delay + 1) * largest),
            fired=_zeros(n),
            n_fired=_zeros(len(self.network.populations)),
            weights=self.plastic.initial.copy(),
            x_history=_zeros(epoch * n_x),
            y_history=_zeros(epoch * n_y),
            tx=_zeros(n_x),
            ty=_zeros(n_y),
        )

    def output(self, steps: int, n_episodes: int, record: Collection[str]) -> Output:
        """Room for what `run` records."""
        n, n_weights, rows = self.network.n_neurons, len(self.plastic.initial), steps * n_episodes
        return Output(
            s_out=np.zeros((rows if "s_out" in record else 0, n), dtype=bool),
            u=_zeros(rows if "u" in record else 0, n),
            v=_zeros(rows if "v" in record else 0, n),
            weights=np.zeros((rows if "w" in record else 0, n_weights), dtype=np.int16),
            final_weights=np.zeros((n_episodes, n_weights), dtype=np.int16),
            spike_counts=_zeros(rows, len(self.network.populations)),
            **self.counts(),
        )

    def counts(self) -> dict[str, np.ndarray]:
        """Zeros for what `run` adds up."""
        n_populations, n_plastic = len(self.network.populations), len(self.network.learning)
        sizes = {"spikes": self.network.n_neurons}
        sizes |= {"u_wrapped": n_populations, "v_saturated": n_populations}
        sizes |= {"weight_saturated": n_plastic, "trace_saturated": n_plastic}
        return {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}

    def by_population(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Values (..., n_neurons) taken apart by population."""
        parts = np.split(values, self.cells.start[1:-1], axis=-1)
        return {p.name: part for p, part in zip(self.network.populations, parts, strict=True)}

    def by_projection(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Weights (rows, n_weights) taken apart into (rows, n_post, n_pre)."""
        parts = np.split(weights, self.plastic.weight_start[1:-1], axis=-1)
        return {
            p.name: part.reshape(-1, p.n_pre, p.n_post).transpose(0, 2, 1)
            for p, part in zip(self.network.learning, parts, strict=False)
        }

    def counters(self, output: Output) -> Counters:
        """What did not fit."""
        populations = [p.name for p in self.network.populations]
        learning = [p.name for p in self.network.learning]
        kinds = {"u_wrapped": populations, "v_saturated": populations}
        kinds |= {"weight_saturated": learning, "trace_saturated": learning}
        counted = {
            kind: dict(zip(names, getattr(output, kind).tolist(), strict=True))
            for kind, names in kinds.items()
        }
        return added([Counters.of_weights(self.network), Counters(**counted)])


def simulate_compiled(network: Network, steps: int, *, record: Collection[str]) -> Recording:
    """`labkit.spiking.engine.simulate` of this back end."""
    flat = Flat.of(network, steps)
    output = flat.output(steps, 1, record)
    tables = {}
    for name, matrix in network.inputs.items():
        entries = sparse.coo_matrix(matrix)
        kept = entries.col < steps
        tables[name] = (entries.col[kept], entries.row[kept], entries.data[kept])
    outside = _outside(flat, tables, steps)
    restart = network.episode or 0
    run(flat.cells, flat.wires, flat.plastic, outside, flat.state(), output, 0, 1, steps, restart)
    spikes = flat.by_population(output.spikes)
    return Recording(
        steps=steps,
        s_out=flat.by_population(output.s_out) if "s_out" in record else {},
        u=flat.by_population(output.u) if "u" in record else {},
        v=flat.by_population(output.v) if "v" in record else {},
        weights=flat.by_projection(output.weights) if "w" in record else {},
        final_weights={
            name: weights[0].astype(np.int32)
            for name, weights in flat.by_projection(output.final_weights).items()
        },
        spikes=spikes,
        synaptic_operations=synaptic_operations(network, spikes),
        counters=flat.counters(output),
        backend="numba",
    )


def simulate_episodes_compiled(
    network: Network, table: EpisodeEvents, *, record: Collection[str], threads: int
) -> EpisodeRecording:
    """`labkit.spiking.engine.simulate_episodes` of this back end."""
    steps, n = int(network.episode or 0), table.n_episodes
    flat = Flat.of(network, n * steps)
    output = flat.output(steps, n, record)
    tables = {
        name: (rows[:, 0] * steps + rows[:, 1], rows[:, 2], rows[:, 3])
        for name, rows in table.tables.items()
    }
    outside = _outside(flat, tables, n * steps)

    def run_chunk(chunk: tuple[int, int]) -> dict[str, np.ndarray]:
        counts = flat.counts()
        mine = output._replace(**counts)
        run(flat.cells, flat.wires, flat.plastic, outside, flat.state(), mine, *chunk, steps, 0)
        return counts

    with ThreadPoolExecutor(threads) as pool:
        for counts in pool.map(run_chunk, _chunks(n, threads)):
            for name, values in counts.items():
                getattr(output, name)[:] += values
    spike_counts = output.spike_counts.reshape(n, steps, -1)
    spikes = flat.by_population(output.spikes)
    s_out = flat.by_population(output.s_out.reshape(-1, steps, network.n_neurons))
    return EpisodeRecording(
        n_episodes=n,
        steps=steps,
        final_weights=flat.by_projection(output.final_weights),
        spike_counts={p.name: spike_counts[..., j] for j, p in enumerate(network.populations)},
        s_out=s_out if "s_out" in record else {},
        synaptic_operations=synaptic_operations(network, spikes),
        counters=flat.counters(output),
        backend="numba",
    )


def _cells(network: Network) -> Cells:
    lifs = [population.lif for population in network.populations]
    intervals = [lif.reset_interval or 0 for lif in lifs]
    phases = [lif.reset_offset % (lif.reset_interval or 1) for lif in lifs]
    return Cells(
        start=_starts([population.n for population in network.populations]),
        keep_u=np.array([DECAY_UNITY - 1 - lif.du for lif in lifs], dtype=np.int64),
        keep_v=np.array([DECAY_UNITY - lif.dv for lif in lifs], dtype=np.int64),
        threshold=np.array([lif.threshold for lif in lifs], dtype=np.int64),
        interval=np.array(intervals, dtype=np.int64),
        phase=np.array(phases, dtype=np.int64),
        guard=np.array([lif.guard for lif in lifs], dtype=bool),
        bias=np.concatenate([p.lif.bias(p.n) for p in network.populations]),
        refractory=np.concatenate([p.lif.refractory_steps(p.n) for p in network.populations]),
    )


def _wires(network: Network, static: list[Projection]) -> Wires:
    """Synapses by presynaptic neuron; weights shifted to the left where that is the shift."""
    columns = [_outgoing(projection) for projection in static]
    n_synapses = _starts([len(weight) for _, _, weight, _ in columns])
    rows = [row + n for (row, _, _, _), n in zip(columns, n_synapses[:-1], strict=True)]
    none = [np.zeros(0, dtype=np.int32)]
    return Wires(
        pre=_positions(network, [p.pre for p in static]),
        post=_positions(network, [p.post for p in static]),
        right_shift=np.array([max(0, -p.weight_exp) for p in static], dtype=np.int64),
        n_delays=np.array(
            [1 + (0 if p.delays is None else int(p.delays.max())) for p in static], dtype=np.int64
        ),
        row_start=_starts([p.n_pre + 1 for p in static])[:-1],
        row=np.concatenate([*rows, *none]).astype(np.int64),
        target=np.concatenate([*(c[1] for c in columns), *none]).astype(np.int32),
        weight=np.concatenate([*(c[2] for c in columns), *none]).astype(np.int32),
        delay=np.concatenate([*(c[3] for c in columns), *none]).astype(np.int32),
    )


def _outgoing(projection: Projection) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row starts, targets, weights and delays of the synapses of each presynaptic neuron."""
    weights = sparse.csc_matrix(projection.effective_weights())
    weights.eliminate_zeros()
    weights.sort_indices()
    delays = np.zeros(weights.nnz, dtype=np.int32)
    if projection.delays is not None:
        pre = np.repeat(np.arange(projection.n_pre), np.diff(weights.indptr))
        delays = projection.delays[weights.indices, pre]
    shifted = weights.data << max(0, projection.weight_exp)
    return weights.indptr.astype(np.int64), weights.indices, shifted, delays


def _plastic(network: Network, steps: int) -> Plastic:
    learning = network.learning
    limits = [weight_limits(p.resolved_sign_mode) for p in learning]
    rules = [p.rule for p in learning if p.rule is not None]
    initial = [p.effective_weights().T.ravel() for p in learning]
    return Plastic(
        pre=_positions(network, [p.pre for p in learning]),
        post=_positions(network, [p.post for p in learning]),
        exponent=np.array([p.weight_exp for p in learning], dtype=np.int64),
        t_epoch=np.array([rule.t_epoch for rule in rules], dtype=np.int64),
        low=np.array([low for low, _ in limits], dtype=np.int64),
        high=np.array([high for _, high in limits], dtype=np.int64),
        weight_start=_starts([p.n_synapses for p in learning]),
        x_start=_starts([p.n_pre for p in learning]),
        y_start=_starts([p.n_post for p in learning]),
        initial=np.concatenate([*initial, np.zeros(0)]).astype(np.int16),
        **_tables(rules),
        **_streams(network, steps),
    )


def _tables(rules: list[STDPLoihi]) -> dict[str, np.ndarray]:
    example = RuleTables.of(_NO_RULE)
    tables = [RuleTables.of(rule) for rule in rules]
    return _stacked(tables, example)


def _streams(network: Network, steps: int) -> dict[str, np.ndarray]:
    example = TraceStreams.draw(_NO_RULE, steps)
    streams = drawn(network.learning, steps)
    return _stacked([streams[p.name] for p in network.learning], example)


_NO_RULE = STDPLoihi(learning_rate=0, A_plus=0, A_minus=0, tau_plus=1, tau_minus=1)


def _stacked(rows: list[Any], example: Any) -> dict[str, np.ndarray]:
    """Arrays of equal dataclasses, one row for each, typed by the example where there is none."""
    names = [field.name for field in fields(example)]
    return {
        name: np.array(
            [getattr(row, name) for row in rows], dtype=getattr(example, name).dtype
        ).reshape(len(rows), -1 if rows else len(getattr(example, name)))
        for name in names
    }


def _outside(
    flat: Flat, tables: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs ordered by global step: the start of each step's entries, their neurons and values."""
    names = [population.name for population in flat.network.populations]
    none = np.zeros((3, 0), dtype=np.int64)
    entries: list[np.ndarray] = [none]
    for name, (step, neuron, value) in tables.items():
        start = flat.cells.start[names.index(name)]
        entries.append(np.stack([step, neuron + start, value]).astype(np.int64))
    step, neuron, value = np.concatenate(entries, axis=1)
    order = np.argsort(step, kind="stable")
    starts = np.searchsorted(step[order], np.arange(steps + 1))
    return starts, neuron[order].astype(np.int32), value[order].astype(np.int32)


def _chunks(n: int, threads: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, n, min(n, threads * CHUNKS_PER_THREAD) + 1).astype(int).tolist()
    return list(pairwise(edges))


def _positions(network: Network, names: list[str]) -> np.ndarray:
    known = [population.name for population in network.populations]
    return np.array([known.index(name) for name in names], dtype=np.int64)


def _starts(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.int32)
