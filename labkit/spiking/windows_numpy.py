"""Windows of many queries at once in numpy and scipy: one matrix product per step.

The state of a population is a matrix (neurons, queries). Where nothing can wrap or saturate and
voltages do not decay, all voltages are multiples of 64, so they are kept in units of the threshold;
a neuron that fires at most once then needs no refractory clock: it is set so low that it stays
below threshold for the rest of the window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labkit.spiking.fixedpoint import DECAY_SHIFT, DECAY_UNITY, INPUT_SHIFT, STATE_LIMIT
from labkit.spiking.windows_plan import Layer, WindowPlan, WindowSpikes
from labkit.spiking.wiring import FEATURE, OTHER, TOPIC, TRAIN

SPENT = -(1 << 30)
"""Voltage of a neuron that has fired once; inputs of 1000 quiet steps do not lift it above 0."""

Observer = Callable[[int, np.ndarray, np.ndarray], None]
"""Called after each step with the step, the spikes of the nodes (n_nodes, n_queries) and the
voltages of the topics (n_topics, n_queries)."""


def run_windows(
    plan: WindowPlan, rows: np.ndarray, *, observe: Observer | None = None
) -> WindowSpikes:
    """Run one window per query.

    Parameters
    ----------
    plan : WindowPlan
    rows : ndarray of int64, shape (n_queries,)
        Positions of the queries among the other papers.
    observe : callable, optional
        Sees every step.

    Returns
    -------
    WindowSpikes
    """
    n, window = len(rows), plan.parameters.window
    states = {layer.name: _State(layer, n, plan.quiet) for layer in plan.layers}
    topics = _State(plan.topic_layer, n, plan.quiet)
    spikes = np.zeros((plan.n_nodes, n), dtype=plan.compact_synapses.dtype)
    topic_spikes = np.zeros((window, plan.wiring.n_topics, n), dtype=bool)
    counts = {name: np.zeros((window, n), dtype=np.int32) for name in (*states, TOPIC)}
    for step in range(1, window):
        fired = topic_spikes[step - 1]
        inputs = _inputs(plan, spikes, fired, rows if step == 1 else None)
        taught = plan.teaching @ spikes[plan.layers[0].rows].astype(np.int32)
        to_topics = plan.to_topics(taught, counts[OTHER][step - 1], _of_words(counts, step - 1))
        for layer in plan.layers:
            spikes[layer.rows] = states[layer.name].step(inputs[layer.name], step)
            counts[layer.name][step] = _column_sums(spikes[layer.rows])
        topic_spikes[step] = topics.step([to_topics], step)
        counts[TOPIC][step] = topic_spikes[step].sum(axis=0)
        if observe is not None:
            observe(step, spikes, topics.aligned_v)
        elif not any(counts[name][step].any() for name in counts):
            break
    return WindowSpikes(
        topics=topic_spikes.transpose(2, 0, 1),
        counts={name: count.T for name, count in counts.items()},
        u_wrapped=sum(state.u_wrapped for state in (*states.values(), topics)),
        v_saturated=sum(state.v_saturated for state in (*states.values(), topics)),
    )


class _State:
    """Voltages and refractory times of a population in all windows of a batch."""

    def __init__(self, layer: Layer, n: int, quiet: bool) -> None:
        self.layer, self.quiet = layer, quiet
        self.in_units = quiet and layer.dv == 0
        self.threshold = layer.threshold << (0 if self.in_units else INPUT_SHIFT)
        self.v: np.ndarray = np.zeros((layer.n, n), dtype=np.int32)
        self.spent = self.in_units and layer.once
        clocked = layer.refractory > 0 and not self.spent
        self.ready = np.zeros((layer.n, n), dtype=np.int32) if clocked else None
        self.u_wrapped = self.v_saturated = 0

    @property
    def aligned_v(self) -> np.ndarray:
        """Voltages as the network holds them, after the step."""
        return self.v << INPUT_SHIFT if self.in_units else self.v

    def step(self, inputs: list[np.ndarray], step: int) -> np.ndarray:
        """Add the inputs of a step and return who spikes, bool of the shape of the state."""
        held = None if self.ready is None else self.ready > step
        if self.in_units:
            for part in inputs:
                self.v += part
        else:
            self._integrate(inputs, held)
        if held is not None:
            np.copyto(self.v, 0, where=held)
        fired = self.v > self.threshold
        np.copyto(self.v, SPENT if self.spent else 0, where=fired)
        if self.ready is not None:
            np.copyto(self.ready, step + self.layer.refractory + 1, where=fired)
        return fired

    def _integrate(self, inputs: list[np.ndarray], held: np.ndarray | None) -> None:
        u = np.zeros_like(self.v)
        for part in inputs:
            u += part
        u <<= INPUT_SHIFT
        if not self.quiet:
            over = u > STATE_LIMIT
            u[over] -= 2 * STATE_LIMIT
            self.u_wrapped += _count(over, held)
        self.v = _decayed(self.v, self.layer.dv) + u
        if not self.quiet:
            self.v_saturated += _count(np.abs(self.v) >= STATE_LIMIT, held)
            np.clip(self.v, 1 - STATE_LIMIT, STATE_LIMIT - 1, out=self.v)


def _inputs(
    plan: WindowPlan, spikes: np.ndarray, fired: np.ndarray, rows: np.ndarray | None
) -> dict[str, list[np.ndarray]]:
    """Parts of the input of each population of nodes; `rows` get the pulse."""
    inputs: dict[str, list[np.ndarray]] = {layer.name: [] for layer in plan.layers}
    if rows is not None:
        pulse = np.zeros((plan.wiring.n_other, len(rows)), dtype=np.int32)
        pulse[rows, np.arange(len(rows))] = plan.parameters.pulse
        inputs[OTHER].append(pulse)
        return inputs
    between = _between_nodes(plan, spikes)
    for layer in plan.layers:
        inputs[layer.name].append(between[layer.rows])
    n_fired = fired.sum(axis=0, dtype=np.int32)
    if n_fired.any():
        inputs[TRAIN].append(fired[plan.wiring.train_topic] * np.int32(plan.taught))
        _append_row(inputs[OTHER], plan.to_papers(n_fired))
        if FEATURE in inputs:
            _append_row(inputs[FEATURE], plan.to_words(n_fired))
    return inputs


def _between_nodes(plan: WindowPlan, spikes: np.ndarray) -> np.ndarray:
    if plan.folded:
        return plan.compact_synapses @ spikes
    citations, words = plan.right_shifts
    papers, total = slice(0, plan.n_papers), np.zeros(spikes.shape, dtype=np.int32)
    for layer in plan.layers:
        part = plan.synapses[:, layer.rows] @ spikes[layer.rows]
        total[papers] += part[papers] >> (words if layer.name == FEATURE else citations)
        total[plan.n_papers :] += part[plan.n_papers :] >> words
    return total


def _decayed(v: np.ndarray, dv: int) -> np.ndarray:
    """``v * (4096 - dv) / 4096`` toward zero, in 32 bits by splitting v at bit 12."""
    if not dv:
        return v
    size, keep = np.abs(v), np.int32(DECAY_UNITY - dv)
    size = (size >> DECAY_SHIFT) * keep + ((size & (DECAY_UNITY - 1)) * keep >> DECAY_SHIFT)
    return np.where(v < 0, -size, size)


def _column_sums(spikes: np.ndarray) -> np.ndarray:
    kind = spikes.dtype if len(spikes) <= np.iinfo(np.uint16).max else np.dtype(np.int32)
    return np.add.reduce(spikes, axis=0, dtype=kind)


def _of_words(counts: dict[str, np.ndarray], step: int) -> np.ndarray:
    return counts[FEATURE][step] if FEATURE in counts else np.zeros_like(counts[OTHER][step])


def _append_row(inputs: list[np.ndarray], row: np.ndarray) -> None:
    if row.any():
        inputs.append(row.astype(np.int32))


def _count(events: np.ndarray, held: np.ndarray | None) -> int:
    return int(np.count_nonzero(events if held is None else events & ~held))
