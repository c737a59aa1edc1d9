"""The clocked engine compiled: the same steps as `labkit.spiking.clocked`, spike by spike.

One call of `run` takes consecutive episodes through time, one after the other, on arrays that lie
end to end: all neurons, all synapses by presynaptic neuron, all plastic weights, of which
``w[i * n_post + k]`` is from neuron i to neuron k. Nothing but integers is added, and every call
owns its state, so that the number of threads cannot change a result. The functions release the
interpreter and are cached on disk after their first compilation.

Notation: p projection; i presynaptic and k postsynaptic neuron within their populations; t step
within the episode and g step of global time, both from 1; ring[s] input that arrives at step s
modulo its length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from labkit.spiking.fixedpoint import DECAY_SHIFT, INPUT_SHIFT, STATE_LIMIT
from labkit.spiking.plasticity import ACCUMULATOR_MAX, ACCUMULATOR_MIN, TRACE_MAX, WEIGHT_SHIFT

V_LIMIT = STATE_LIMIT - 1
HALF = (1 << WEIGHT_SHIFT) - 1


class Cells(NamedTuple):
    """Neurons: arrays with a value for each population, then (n_neurons,)."""

    start: Any
    keep_u: Any
    keep_v: Any
    threshold: Any
    interval: Any
    phase: Any
    guard: Any
    bias: Any
    refractory: Any


class Wires(NamedTuple):
    """Static projections: a value for each, then (n_pre + 1,) and (n_synapses,) end to end."""

    pre: Any
    post: Any
    right_shift: Any
    n_delays: Any
    row_start: Any
    row: Any
    target: Any
    weight: Any
    delay: Any


class Plastic(NamedTuple):
    """Plastic projections: a value for each, tables (n, 128), streams (n, n_global_steps + 1)."""

    pre: Any
    post: Any
    exponent: Any
    t_epoch: Any
    low: Any
    high: Any
    weight_start: Any
    x_start: Any
    y_start: Any
    initial: Any
    x_whole: Any
    y_whole: Any
    x_fraction: Any
    y_fraction: Any
    minus: Any
    plus: Any
    x_decay: Any
    y_decay: Any
    x_impulse: Any
    y_impulse: Any
    x_repeat: Any
    y_repeat: Any
    rounding: Any


class State(NamedTuple):
    """What changes in a step; a fresh one for every call of `run`."""

    u: Any
    v: Any
    refractory_end: Any
    ring: Any
    partial: Any
    fired: Any
    n_fired: Any
    weights: Any
    x_history: Any
    y_history: Any
    tx: Any
    ty: Any


class Output(NamedTuple):
    """What `run` fills in; an array that is not wanted has no rows."""

    s_out: Any
    u: Any
    v: Any
    weights: Any
    final_weights: Any
    spike_counts: Any
    spikes: Any
    u_wrapped: Any
    v_saturated: Any
    weight_saturated: Any
    trace_saturated: Any


@njit(cache=True, nogil=True)
def run(cells, wires, plastic, outside, state, output, first, last, steps, restart):
    """Run episodes `first` to `last` - 1 of so many steps; `restart` sets learning back, 0 never.

    `outside` is the input: the start of each global step's entries, their neurons and values.
    """
    starts, neurons, values = outside
    for episode in range(first, last):
        _clear(state, plastic)
        for t in range(1, steps + 1):
            g = episode * steps + t
            if restart > 0 and t > 1 and (t - 1) % restart == 0:
                _restart_learning(state, plastic)
            now = state.ring[t % state.ring.shape[0]]
            for entry in range(starts[g - 1], starts[g]):
                now[neurons[entry]] += values[entry]
            _advance(cells, state, output, t)
            for p in range(len(wires.pre)):
                _send(cells, wires, state, p, t)
            for p in range(len(plastic.pre)):
                _send_plastic(cells, plastic, state, p, t)
                _learn(cells, plastic, state, output, p, g)
            _record(cells, state, output, episode, t, steps)
        if output.final_weights.shape[0]:
            output.final_weights[episode] = state.weights


@njit(cache=True, nogil=True)
def _clear(state, plastic):
    state.u[:] = 0
    state.v[:] = 0
    state.refractory_end[:] = 0
    state.ring[:] = 0
    _restart_learning(state, plastic)


@njit(cache=True, nogil=True)
def _restart_learning(state, plastic):
    state.weights[:] = plastic.initial
    state.x_history[:] = 0
    state.y_history[:] = 0
    state.tx[:] = 0
    state.ty[:] = 0


@njit(cache=True, nogil=True)
def _decayed(value, kept):
    product = np.int64(value) * kept
    if product >= 0:
        return product >> DECAY_SHIFT
    return -((-product) >> DECAY_SHIFT)


@njit(cache=True, nogil=True)
def _advance(cells, state, output, t):
    """Update all neurons and list those that spike, population by population."""
    now = state.ring[t % state.ring.shape[0]]
    for pop in range(len(cells.threshold)):
        start, stop = cells.start[pop], cells.start[pop + 1]
        resets = cells.interval[pop] > 0 and t % cells.interval[pop] == cells.phase[pop]
        if resets:
            state.u[start:stop] = 0
            state.v[start:stop] = 0
            state.refractory_end[start:stop] = 0
        state.n_fired[pop] = 0
        if not (resets and cells.guard[pop]):
            u, v = state.u[start:stop], state.v[start:stop]
            output.u_wrapped[pop] += _advance_u(u, now[start:stop], cells.keep_u[pop])
            output.v_saturated[pop] += _advance_v(v, u, cells.bias[start:stop], cells.keep_v[pop])
            state.n_fired[pop] = _fire(
                v,
                state.refractory_end[start:stop],
                cells.refractory[start:stop],
                state.fired[start:stop],
                output.spikes[start:stop],
                cells.threshold[pop],
                t,
            )
        now[start:stop] = 0


@njit(cache=True, nogil=True)
def _advance_u(u, a_in, kept):
    n_wrapped = 0
    for cell in range(len(u)):
        value = np.int64(np.int32(_decayed(u[cell], kept) + (np.int64(a_in[cell]) << INPUT_SHIFT)))
        if value > STATE_LIMIT:
            value -= 2 * STATE_LIMIT
            n_wrapped += 1
        elif value <= -STATE_LIMIT:
            value += 2 * STATE_LIMIT
            n_wrapped += 1
        u[cell] = value
    return n_wrapped


@njit(cache=True, nogil=True)
def _advance_v(v, u, bias, kept):
    n_saturated = 0
    for cell in range(len(v)):
        value = np.int64(np.int32(_decayed(v[cell], kept) + u[cell] + bias[cell]))
        n_saturated += value > V_LIMIT or value < -V_LIMIT
        v[cell] = min(max(value, -V_LIMIT), V_LIMIT)
    return n_saturated


@njit(cache=True, nogil=True)
def _fire(v, refractory_end, refractory, fired, spikes, threshold, t):
    """Hold refractory neurons at zero, list and reset those that spike; returns their number."""
    n_fired = 0
    for cell in range(len(v)):
        if refractory_end[cell] >= t:
            v[cell] = 0
        if v[cell] > threshold:
            v[cell] = 0
            refractory_end[cell] = t + refractory[cell]
            fired[n_fired] = cell
            spikes[cell] += 1
            n_fired += 1
    return n_fired


@njit(cache=True, nogil=True)
def _send(cells, wires, state, p, t):
    """Put the weights of a static projection's spikes where they will arrive.

    With a shift to the right the sum of each delay is taken first.
    """
    length = state.ring.shape[0]
    pre, post, right = cells.start[wires.pre[p]], cells.start[wires.post[p]], wires.right_shift[p]
    n_post = cells.start[wires.post[p] + 1] - post
    n_fired = state.n_fired[wires.pre[p]]
    for spike in range(n_fired):
        row = wires.row_start[p] + state.fired[pre + spike]
        for synapse in range(wires.row[row], wires.row[row + 1]):
            if right:
                state.partial[wires.delay[synapse] * n_post + wires.target[synapse]] += (
                    wires.weight[synapse]
                )
            else:
                slot = (t + 1 + wires.delay[synapse]) % length
                state.ring[slot, post + wires.target[synapse]] += wires.weight[synapse]
    if right and n_fired:
        for delay in range(wires.n_delays[p]):
            slot = (t + 1 + delay) % length
            for k in range(n_post):
                state.ring[slot, post + k] += state.partial[delay * n_post + k] >> right
                state.partial[delay * n_post + k] = 0


@njit(cache=True, nogil=True)
def _send_plastic(cells, plastic, state, p, t):
    """The same for a plastic projection, with the weights as they are now."""
    pre, post = cells.start[plastic.pre[p]], cells.start[plastic.post[p]]
    n_post = cells.start[plastic.post[p] + 1] - post
    n_fired = state.n_fired[plastic.pre[p]]
    for spike in range(n_fired):
        row = plastic.weight_start[p] + np.int64(state.fired[pre + spike]) * n_post
        for k in range(n_post):
            state.partial[k] += state.weights[row + k]
    if n_fired:
        slot = (t + 1) % state.ring.shape[0]
        exponent = plastic.exponent[p]
        for k in range(n_post):
            if exponent >= 0:
                state.ring[slot, post + k] += state.partial[k] << exponent
            else:
                state.ring[slot, post + k] += state.partial[k] >> -exponent
            state.partial[k] = 0


@njit(cache=True, nogil=True)
def _learn(cells, plastic, state, output, p, g):
    """Note the spikes of a step; where it ends an epoch, update traces and weights."""
    pre, post = plastic.pre[p], plastic.post[p]
    n_pre, n_post = (
        cells.start[pre + 1] - cells.start[pre],
        cells.start[post + 1] - cells.start[post],
    )
    t_epoch = plastic.t_epoch[p]
    within = (g - 1) % t_epoch + 1
    x_from, y_from = plastic.x_start[p], plastic.y_start[p]
    tx, ty = state.tx[x_from : x_from + n_pre], state.ty[y_from : y_from + n_post]
    epoch = 1 + plastic.t_epoch.max()
    x_history = state.x_history[x_from * epoch : (x_from + n_pre) * epoch]
    y_history = state.y_history[y_from * epoch : (y_from + n_post) * epoch]
    fired = state.fired[cells.start[pre] : cells.start[pre] + state.n_fired[pre]]
    cut = _note(fired, tx, x_history, within, plastic.x_repeat[p, g])
    fired = state.fired[cells.start[post] : cells.start[post] + state.n_fired[post]]
    cut += _note(fired, ty, y_history, within, plastic.y_repeat[p, g])
    if within == t_epoch:
        x_draws = (plastic.x_decay[p, g], plastic.x_impulse[p, g])
        y_draws = (plastic.y_decay[p, g], plastic.y_impulse[p, g])
        cut += _pass_epoch(
            tx, x_history, t_epoch, plastic.x_whole[p], plastic.x_fraction[p], x_draws
        )
        cut += _pass_epoch(
            ty, y_history, t_epoch, plastic.y_whole[p], plastic.y_fraction[p], y_draws
        )
        weights = state.weights[plastic.weight_start[p] : plastic.weight_start[p + 1]]
        rounding = plastic.rounding[p, g]
        output.weight_saturated[p] += _update_rows(
            plastic, weights, tx, ty, x_history, y_history, p, rounding
        ) + _update_columns(plastic, weights, tx, ty, x_history, p, rounding)
        x_history[:n_pre] = x_history[t_epoch * n_pre : (t_epoch + 1) * n_pre]
        y_history[:n_post] = y_history[t_epoch * n_post : (t_epoch + 1) * n_post]
        tx[:] = 0
        ty[:] = 0
    output.trace_saturated[p] += cut


@njit(cache=True, nogil=True)
def _note(fired, spiked_at, history, within, repeat):
    """Keep the time of each spike; a second one within the epoch lifts its trace at once."""
    cut = 0
    for cell in fired:
        if spiked_at[cell] > 0:
            lifted = history[cell] + repeat
            if lifted > TRACE_MAX:
                lifted = TRACE_MAX
                cut += 1
            history[cell] = lifted
        spiked_at[cell] = within
    return cut


@njit(cache=True, nogil=True)
def _pass_epoch(spiked_at, history, t_epoch, whole, fraction, draws):
    """Traces after each step of the epoch from those before it."""
    cut = 0
    n = len(spiked_at)
    decay, impulse = draws
    for step in range(1, t_epoch + 1):
        before = history[(step - 1) * n : step * n]
        after = history[step * n : (step + 1) * n]
        for cell in range(n):
            trace = before[cell]
            if trace:
                trace = whole[trace] + (decay < fraction[trace])
            if spiked_at[cell] == step:
                trace += impulse
                if trace > TRACE_MAX:
                    trace = TRACE_MAX
                    cut += 1
            after[cell] = trace
    return cut


@njit(cache=True, nogil=True)
def _update_rows(plastic, weights, tx, ty, x_history, y_history, p, rounding):
    """Weights of the neurons that spiked before: both terms."""
    n_pre, n_post = len(tx), len(ty)
    low, high = plastic.low[p], plastic.high[p]
    minus, plus = plastic.minus[p], plastic.plus[p]
    cut = 0
    for i in range(n_pre):
        if tx[i] == 0:
            continue
        row = weights[i * n_post : (i + 1) * n_post]
        y_trace = y_history[tx[i] * n_post : (tx[i] + 1) * n_post]
        for k in range(n_post):
            change, later = minus[y_trace[k]], plus[x_history[ty[k] * n_pre + i]] * (ty[k] > 0)
            if change or later:
                learned = _accumulated(row[k], change, later, rounding)
                cut += learned < low or learned > high
                row[k] = min(max(learned, low), high)
    return cut


@njit(cache=True, nogil=True)
def _update_columns(plastic, weights, tx, ty, x_history, p, rounding):
    """Weights to the neurons that spiked after, where the other did not: the second term."""
    n_pre, n_post = len(tx), len(ty)
    low, high = plastic.low[p], plastic.high[p]
    plus = plastic.plus[p]
    cut = 0
    for k in range(n_post):
        if ty[k] == 0:
            continue
        x_trace = x_history[ty[k] * n_pre : (ty[k] + 1) * n_pre]
        for i in range(n_pre):
            if tx[i] == 0 and x_trace[i]:
                learned = _accumulated(weights[i * n_post + k], 0, plus[x_trace[i]], rounding)
                cut += learned < low or learned > high
                weights[i * n_post + k] = min(max(learned, low), high)
    return cut


@njit(cache=True, nogil=True)
def _accumulated(weight, minus, plus, rounding):
    acc = (np.int64(weight) << WEIGHT_SHIFT) + minus
    acc = min(max(acc, ACCUMULATOR_MIN), ACCUMULATOR_MAX) + plus
    acc = min(max(acc, ACCUMULATOR_MIN), ACCUMULATOR_MAX)
    return (acc + HALF - rounding) >> WEIGHT_SHIFT


@njit(cache=True, nogil=True)
def _record(cells, state, output, episode, t, steps):
    row = episode * steps + t - 1
    for pop in range(len(cells.threshold)):
        output.spike_counts[row, pop] = state.n_fired[pop]
        if output.s_out.shape[0]:
            for spike in range(state.n_fired[pop]):
                cell = cells.start[pop] + state.fired[cells.start[pop] + spike]
                output.s_out[row, cell] = True
    if output.u.shape[0]:
        output.u[row] = state.u
    if output.v.shape[0]:
        output.v[row] = state.v
    if output.weights.shape[0]:
        output.weights[row] = state.weights
