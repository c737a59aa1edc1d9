"""The clocked engine compiled: the same steps as `labkit.spiking.clocked`, spike by spike.

One call of `run` takes consecutive episodes through time, one after the other, on arrays that lie
end to end: all neurons, all synapses by presynaptic neuron, all plastic weights ``w[i * n_post + k]``
from neuron i to neuron k. Nothing but integers is added, and every call owns its state, so that the
number of threads cannot change a result. The functions release the interpreter and are cached on
disk after their first compilation.

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
def run(cells, wires, plastic, outside, state, output, first, last, steps, restart):  # type: ignore[no-untyped-def]
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
def _clear(state, plastic):  # type: ignore[no-untyped-def]
    state.u[:] = 0
    state.v[:] = 0
    state.refractory_end[:] = 0
    state.ring[:] = 0
    _restart_learning(state, plastic)


@njit(cache=True, nogil=True)
def _restart_learning(state, plastic):  # type: ignore[no-untyped-def]
    state.weights[:] = plastic.initial
    state.x_history[:] = 0
    state.y_history[:] = 0
    state.tx[:] = 0
    state.ty[:] = 0


@njit(cache=True, nogil=True)
def _decayed(value, kept):  # type: ignore[no-untyped-def]
    product = value * kept
    if product >= 0:
        return product >> DECAY_SHIFT
    return -((-product) >> DECAY_SHIFT)


@njit(cache=True, nogil=True)
def _advance(cells, state, output, t):  # type: ignore[no-untyped-def]
    """Update all neurons and list those that spike, population by population."""
    now = state.ring[t % state.ring.shape[0]]
    for pop in range(len(cells.threshold)):
        start, stop = cells.start[pop], cells.start[pop + 1]
        resets = cells.interval[pop] > 0 and t % cells.interval[pop] == cells.phase[pop]
        if resets:
            state.u[start:stop] = 0
            state.v[start:stop] = 0
            state.refractory_end[start:stop] = 0
        n_fired = 0
        if not (resets and cells.guard[pop]):
            for cell in range(start, stop):
                if _advance_one(cells, state, output, pop, cell, now[cell], t):
                    state.fired[start + n_fired] = cell - start
                    n_fired += 1
        state.n_fired[pop] = n_fired
        now[start:stop] = 0


@njit(cache=True, nogil=True)
def _advance_one(cells, state, output, pop, cell, a_in, t):  # type: ignore[no-untyped-def]
    u = np.int64(
        np.int32(
            _decayed(np.int64(state.u[cell]), cells.keep_u[pop]) + (np.int64(a_in) << INPUT_SHIFT)
        )
    )
    if u > STATE_LIMIT:
        u -= 2 * STATE_LIMIT
        output.u_wrapped[pop] += 1
    elif u <= -STATE_LIMIT:
        u += 2 * STATE_LIMIT
        output.u_wrapped[pop] += 1
    state.u[cell] = u
    v = np.int64(
        np.int32(_decayed(np.int64(state.v[cell]), cells.keep_v[pop]) + u + cells.bias[cell])
    )
    if v > V_LIMIT or v < -V_LIMIT:
        v = min(max(v, -V_LIMIT), V_LIMIT)
        output.v_saturated[pop] += 1
    if state.refractory_end[cell] >= t:
        v = 0
    spiked = v > cells.threshold[pop]
    if spiked:
        v = 0
        state.refractory_end[cell] = t + cells.refractory[cell]
        output.spikes[cell] += 1
    state.v[cell] = v
    return spiked


@njit(cache=True, nogil=True)
def _send(cells, wires, state, p, t):  # type: ignore[no-untyped-def]
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
def _send_plastic(cells, plastic, state, p, t):  # type: ignore[no-untyped-def]
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
def _learn(cells, plastic, state, output, p, g):  # type: ignore[no-untyped-def]
    """Note the spikes of a step; where it ends an epoch, update traces and weights."""
    n_pre = cells.start[plastic.pre[p] + 1] - cells.start[plastic.pre[p]]
    n_post = cells.start[plastic.post[p] + 1] - cells.start[plastic.post[p]]
    t_epoch = plastic.t_epoch[p]
    within = (g - 1) % t_epoch + 1
    x_from, y_from = plastic.x_start[p], plastic.y_start[p]
    tx, ty = state.tx[x_from : x_from + n_pre], state.ty[y_from : y_from + n_post]
    x_history, y_history = state.x_history[:, x_from:], state.y_history[:, y_from:]
    fired = state.fired[cells.start[plastic.pre[p]] :][: state.n_fired[plastic.pre[p]]]
    cut = _note(fired, tx, x_history, within, plastic.x_repeat[p, g])
    fired = state.fired[cells.start[plastic.post[p]] :][: state.n_fired[plastic.post[p]]]
    cut += _note(fired, ty, y_history, within, plastic.y_repeat[p, g])
    if within == t_epoch:
        for step in range(1, t_epoch + 1):
            cut += _pass_step(
                tx, x_history, step, plastic.x_whole[p], plastic.x_fraction[p],
                plastic.x_decay[p, g], plastic.x_impulse[p, g],
            )  # fmt: skip
            cut += _pass_step(
                ty, y_history, step, plastic.y_whole[p], plastic.y_fraction[p],
                plastic.y_decay[p, g], plastic.y_impulse[p, g],
            )  # fmt: skip
        output.weight_saturated[p] += _update(
            plastic, state, tx, ty, x_history, y_history, p, plastic.rounding[p, g]
        )
        x_history[0, :n_pre] = x_history[t_epoch, :n_pre]
        y_history[0, :n_post] = y_history[t_epoch, :n_post]
        tx[:] = 0
        ty[:] = 0
    output.trace_saturated[p] += cut


@njit(cache=True, nogil=True)
def _note(fired, spiked_at, history, within, repeat):  # type: ignore[no-untyped-def]
    """Keep the time of each spike; a second one within the epoch lifts its trace at once."""
    cut = 0
    for cell in fired:
        if spiked_at[cell] > 0:
            lifted = history[0, cell] + repeat
            if lifted > TRACE_MAX:
                lifted = TRACE_MAX
                cut += 1
            history[0, cell] = lifted
        spiked_at[cell] = within
    return cut


@njit(cache=True, nogil=True)
def _pass_step(spiked_at, history, step, whole, fraction, decay, impulse):  # type: ignore[no-untyped-def]
    """Traces after a step of the epoch from those before it."""
    cut = 0
    for cell in range(len(spiked_at)):
        trace = history[step - 1, cell]
        if trace:
            trace = whole[trace] + (decay < fraction[trace])
        if spiked_at[cell] == step:
            trace += impulse
            if trace > TRACE_MAX:
                trace = TRACE_MAX
                cut += 1
        history[step, cell] = trace
    return cut


@njit(cache=True, nogil=True)
def _update(plastic, state, tx, ty, x_history, y_history, p, rounding):  # type: ignore[no-untyped-def]
    """Rows of presynaptic spikes with both terms, then the rest of the columns."""
    n_pre, n_post = len(tx), len(ty)
    weights = state.weights[plastic.weight_start[p] :]
    low, high = plastic.low[p], plastic.high[p]
    minus, plus = plastic.minus[p], plastic.plus[p]
    cut = 0
    for i in range(n_pre):
        if tx[i] > 0:
            for k in range(n_post):
                change = minus[y_history[tx[i], k]]
                later = plus[x_history[ty[k], i]] if ty[k] > 0 else 0
                learned = _accumulated(weights[i * n_post + k], change, later, rounding)
                cut += learned < low or learned > high
                weights[i * n_post + k] = min(max(learned, low), high)
    for k in range(n_post):
        if ty[k] > 0:
            for i in range(n_pre):
                trace = x_history[ty[k], i]
                if tx[i] == 0 and trace:
                    learned = _accumulated(weights[i * n_post + k], 0, plus[trace], rounding)
                    cut += learned < low or learned > high
                    weights[i * n_post + k] = min(max(learned, low), high)
    return cut


@njit(cache=True, nogil=True)
def _accumulated(weight, minus, plus, rounding):  # type: ignore[no-untyped-def]
    acc = (np.int64(weight) << WEIGHT_SHIFT) + minus
    acc = min(max(acc, ACCUMULATOR_MIN), ACCUMULATOR_MAX) + plus
    acc = min(max(acc, ACCUMULATOR_MIN), ACCUMULATOR_MAX)
    return (acc + HALF - rounding) >> WEIGHT_SHIFT


@njit(cache=True, nogil=True)
def _record(cells, state, output, episode, t, steps):  # type: ignore[no-untyped-def]
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
