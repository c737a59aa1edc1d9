"""Windows of queries in compiled code: one query after the other, touching only active neurons.

A step walks the synapses of the neurons that spiked in the step before and integrates the neurons
that got input. All others are visited only where they have to be: voltages that decay, inputs that
topics send to a whole population. The first call compiles for some seconds, later ones load the
compiled code from a cache. It holds no lock, so threads share out the queries.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from labkit.spiking.fixedpoint import DECAY_SHIFT, DECAY_UNITY, INPUT_SHIFT, STATE_LIMIT
from labkit.spiking.windows_plan import Layer, WindowPlan, WindowSpikes
from labkit.spiking.wiring import FEATURE, OTHER, TOPIC, TRAIN

POPULATIONS = (TRAIN, OTHER, FEATURE, TOPIC)
_TRAIN, _OTHER, _FEATURE, _TOPIC = range(4)
_compiled = numba.njit(cache=True, nogil=True)


class _Static(NamedTuple):
    """A plan as numbers and flat arrays.

    Attributes
    ----------
    indptr, indices, weights : ndarray of int32
        Synapses of each node.
    ends : ndarray of int64, shape (4,)
        Node after the last of each population; the topics follow as nodes without synapses here.
    neurons : ndarray of int64, shape (4, 3)
        Threshold, aligned with the state, dv and refractory time of each population.
    shifts : ndarray of int64, shape (2,)
        Right shift of sums of citations, and of sums between papers and words.
    topic_shifts : ndarray of int64, shape (3,)
        Exponents between topics and training papers, other papers, words.
    topic_weights : ndarray of int64, shape (3,)
        Weights of the same.
    train_topic : ndarray of int64, shape (n_train,)
    pulse, window : int
    """

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    ends: np.ndarray
    neurons: np.ndarray
    shifts: np.ndarray
    topic_shifts: np.ndarray
    topic_weights: np.ndarray
    train_topic: np.ndarray
    pulse: int
    window: int


class _State(NamedTuple):
    """State of one window.

    Attributes
    ----------
    v : ndarray of int32, shape (n_nodes + n_topics,)
        Voltage.
    ready : ndarray of int32, shape (n_nodes,)
        First step at which the voltage is not held at 0.
    sums : ndarray of int32, shape (3, n_nodes)
        Summed weights of the spiking training papers, other papers and words.
    mark : ndarray of int32, shape (n_nodes,)
        Last step in which a node was put among the touched ones.
    seen : ndarray of bool, shape (n_nodes,)
        Whether a node is among the dirty ones.
    touched, dirty, fired : ndarray of int32, shape (n_nodes,)
        Nodes that get input, that are not at their start, and that spiked.
    events : ndarray of int64, shape (2,)
        Wrapped currents, saturated voltages.
    """

    v: np.ndarray
    ready: np.ndarray
    sums: np.ndarray
    mark: np.ndarray
    seen: np.ndarray
    touched: np.ndarray
    dirty: np.ndarray
    fired: np.ndarray
    events: np.ndarray


def run_windows(plan: WindowPlan, rows: np.ndarray) -> WindowSpikes:
    """Run one window per query.

    Parameters
    ----------
    plan : WindowPlan
    rows : ndarray of int64, shape (n_queries,)
        Positions of the queries among the other papers.

    Returns
    -------
    WindowSpikes
    """
    static, n_topics = _static(plan), plan.wiring.n_topics
    state = _empty(plan.n_nodes, n_topics)
    topics = np.zeros((len(rows), static.window, n_topics), dtype=np.bool_)
    counts = np.zeros((len(POPULATIONS), len(rows), static.window), dtype=np.int32)
    nodes = rows.astype(np.int64) + plan.wiring.n_train
    _run(static, state, nodes, topics, counts)
    names = [layer.name for layer in (*plan.layers, plan.topic_layer)]
    return WindowSpikes(
        topics=topics,
        counts={name: counts[POPULATIONS.index(name)] for name in names},
        u_wrapped=int(state.events[0]),
        v_saturated=int(state.events[1]),
    )


def _static(plan: WindowPlan) -> _Static:
    p, synapses = plan.parameters, plan.synapses
    layers: dict[str, Layer] = {layer.name: layer for layer in (*plan.layers, plan.topic_layer)}
    neurons = np.zeros((len(POPULATIONS), 3), dtype=np.int64)
    for place, name in enumerate(POPULATIONS):
        if name in layers:
            layer = layers[name]
            neurons[place] = layer.threshold << INPUT_SHIFT, layer.dv, layer.refractory
    n_topics = plan.wiring.n_topics
    ends = (plan.wiring.n_train, plan.n_papers, plan.n_nodes, plan.n_nodes + n_topics)
    exponents = (p.train_exp, p.test_exp, p.feature_topic_exp)
    return _Static(
        indptr=synapses.indptr.astype(np.int64),
        indices=synapses.indices.astype(np.int32),
        weights=synapses.data.astype(np.int32),
        ends=np.array(ends, dtype=np.int64),
        neurons=neurons,
        shifts=np.array(plan.right_shifts, dtype=np.int64),
        topic_shifts=np.array(exponents, dtype=np.int64),
        topic_weights=np.array((p.train_w, p.test_w, p.feature_topic_w), dtype=np.int64),
        train_topic=plan.wiring.train_topic.astype(np.int64),
        pulse=p.pulse,
        window=p.window,
    )


def _empty(n_nodes: int, n_topics: int) -> _State:
    def zeros(*shape: int, dtype: type = np.int32) -> np.ndarray:
        return np.zeros(shape, dtype=dtype)

    return _State(
        v=zeros(n_nodes + n_topics),
        ready=zeros(n_nodes),
        sums=zeros(3, n_nodes),
        mark=zeros(n_nodes),
        seen=zeros(n_nodes, dtype=np.bool_),
        touched=zeros(n_nodes),
        dirty=zeros(n_nodes),
        fired=zeros(n_nodes),
        events=zeros(2, dtype=np.int64),
    )


@_compiled
def _run(static, state, nodes, topics, counts):  # type: ignore[no-untyped-def]
    for query in range(len(nodes)):
        n_dirty, n_fired = 0, 0
        topic_spikes, spikes = topics[query], counts[:, query]
        for step in range(1, static.window):
            n_touched = _spread(static, state, step, n_fired, topic_spikes[step - 1])
            n_touched = _visit_all(static, state, step, n_touched, n_dirty, spikes[:, step - 1])
            _excite_topics(static, state, step, n_fired, topic_spikes, spikes)
            if step == 1:
                n_touched = _touch(state.mark, state.touched, nodes[query], step, n_touched)
            n_fired, n_dirty = _integrate(
                static, state, step, n_touched, n_dirty, nodes[query], topic_spikes, spikes
            )
        for place in range(n_dirty):
            node = state.dirty[place]
            state.v[node], state.ready[node], state.seen[node] = 0, 0, False
        state.mark[:] = 0
        state.v[static.ends[_FEATURE] :] = 0


@_compiled
def _spread(static, state, step, n_fired, topic_fired):  # type: ignore[no-untyped-def]
    """Sum the weights of last step's spikes, and mark the training papers of topics that spiked."""
    indptr, indices, weights = static.indptr, static.indices, static.weights
    mark, touched, fired, n_touched = state.mark, state.touched, state.fired, 0
    for place in range(n_fired):
        node = fired[place]
        sums = state.sums[_kind(static.ends, node)]
        for entry in range(indptr[node], indptr[node + 1]):
            target = indices[entry]
            sums[target] += weights[entry]
            if mark[target] != step:
                mark[target] = step
                touched[n_touched] = target
                n_touched += 1
    for node in range(static.ends[_TRAIN]):
        if topic_fired[static.train_topic[node]]:
            n_touched = _touch(mark, touched, node, step, n_touched)
    return n_touched


@_compiled
def _visit_all(static, state, step, n_touched, n_dirty, before):  # type: ignore[no-untyped-def]
    """Mark nodes whose voltage decays, and populations that get input from the topics."""
    mark, touched = state.mark, state.touched
    if static.neurons[:_TOPIC, 1].max() > 0:
        for place in range(n_dirty):
            node = state.dirty[place]
            if static.neurons[_kind(static.ends, node), 1] > 0:
                n_touched = _touch(mark, touched, node, step, n_touched)
    for kind in (_OTHER, _FEATURE):
        if _from_topics(static, kind, before[_TOPIC]) > 0:
            for node in range(static.ends[kind - 1], static.ends[kind]):
                n_touched = _touch(mark, touched, node, step, n_touched)
    return n_touched


@_compiled
def _excite_topics(static, state, step, n_fired, topic_spikes, spikes):  # type: ignore[no-untyped-def]
    """Integrate the topics with the input from last step's spikes."""
    common = _from_topics(static, _OTHER, spikes[_OTHER, step - 1])
    common += _from_topics(static, _FEATURE, spikes[_FEATURE, step - 1])
    first = static.ends[_FEATURE]
    taught = np.zeros(topic_spikes.shape[1], dtype=np.int64)
    for place in range(n_fired):
        node = state.fired[place]
        if node < static.ends[_TRAIN]:
            taught[static.train_topic[node]] += static.topic_weights[_TRAIN]
    for topic in range(topic_spikes.shape[1]):
        a = _shifted(taught[topic], static.topic_shifts[_TRAIN]) + common
        if _fires(static.neurons[_TOPIC], state.v, first + topic, a, state.events):
            topic_spikes[step, topic] = True
            spikes[_TOPIC, step] += 1


@_compiled
def _integrate(  # type: ignore[no-untyped-def]
    static, state, step, n_touched, n_dirty, query, topic_spikes, spikes
):
    """Integrate the touched nodes; return how many spiked and how many are dirty."""
    ends, sums, seen, ready = static.ends, state.sums, state.seen, state.ready
    of_topics = np.zeros(3, dtype=np.int64)
    for kind in (_OTHER, _FEATURE):
        of_topics[kind] = _from_topics(static, kind, spikes[_TOPIC, step - 1])
    taught = _from_topics(static, _TRAIN, 1)
    n_fired = 0
    for place in range(n_touched):
        node = state.touched[place]
        kind = _kind(ends, node)
        papers = static.shifts[1] if kind == _FEATURE else static.shifts[0]
        a = (np.int64(sums[_TRAIN, node]) >> papers) + (np.int64(sums[_OTHER, node]) >> papers)
        a += (np.int64(sums[_FEATURE, node]) >> static.shifts[1]) + of_topics[kind]
        sums[:, node] = 0
        if kind == _TRAIN and topic_spikes[step - 1, static.train_topic[node]]:
            a += taught
        if step == 1 and node == query:
            a += static.pulse
        if not seen[node]:
            seen[node] = True
            state.dirty[n_dirty] = node
            n_dirty += 1
        if ready[node] <= step and _fires(static.neurons[kind], state.v, node, a, state.events):
            ready[node] = step + static.neurons[kind, 2] + 1
            state.fired[n_fired] = node
            n_fired += 1
            spikes[kind, step] += 1
    return n_fired, n_dirty


@_compiled
def _fires(neuron, v, node, a, events):  # type: ignore[no-untyped-def]
    """One step of a neuron that is not refractory: integrate, and say whether it spikes."""
    u = a << INPUT_SHIFT
    if u > STATE_LIMIT:
        u -= 2 * STATE_LIMIT
        events[0] += 1
    old, keep = np.int64(v[node]), DECAY_UNITY - neuron[1]
    new = u + (old * keep >> DECAY_SHIFT if old >= 0 else -(-old * keep >> DECAY_SHIFT))
    if abs(new) >= STATE_LIMIT:
        new = STATE_LIMIT - 1 if new > 0 else 1 - STATE_LIMIT
        events[1] += 1
    spikes = new > neuron[0]
    v[node] = 0 if spikes else new
    return spikes


@_compiled
def _touch(mark, touched, node, step, n_touched):  # type: ignore[no-untyped-def]
    if mark[node] != step:
        mark[node] = step
        touched[n_touched] = node
        n_touched += 1
    return n_touched


@_compiled
def _kind(ends, node):  # type: ignore[no-untyped-def]
    if node < ends[_TRAIN]:
        return _TRAIN
    return _OTHER if node < ends[_OTHER] else _FEATURE


@_compiled
def _from_topics(static, kind, n_spikes):  # type: ignore[no-untyped-def]
    """Input over the synapses between the topics and a population, from so many spikes."""
    return _shifted(np.int64(n_spikes) * static.topic_weights[kind], static.topic_shifts[kind])


@_compiled
def _shifted(value, exponent):  # type: ignore[no-untyped-def]
    return value << exponent if exponent > 0 else value >> -exponent
