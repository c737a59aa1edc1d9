"""A plastic projection of the clocked engine: many runs at once, and only the synapses that change.

The weights of run b are ``w[b, i, k]`` from neuron i to neuron k. A presynaptic spike changes the
row ``w[b, i, :]``, a postsynaptic one the column ``w[b, :, k]``; the work follows the spikes, not
the synapses. Traces are updated in every step when an epoch is one step long; longer epochs keep
the traces of each of their steps (the history), because a synapse sees the trace at the time of the
other neuron's last spike.

Notation: x1, y1 traces of shape (n, B); tx, ty step of the last spike within the epoch, 0 for none;
``history[s]`` traces after step s of the epoch.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from labkit.spiking.fixedpoint import shift, weight_limits
from labkit.spiking.plasticity import TRACE_MAX, RuleTables, TraceStreams, accumulated
from labkit.spiking.projections import Projection


class LearningSynapses:
    """A learning_dense projection in all runs.

    Parameters
    ----------
    projection : Projection
    arrays : NumpyArrays or a class of the same methods
    starts : ndarray of int, shape (B,)
        Global time step before each run's first.
    streams : TraceStreams
        Over global time.

    Attributes
    ----------
    weights : array of int32, shape (B, n_pre, n_post)
    weight_saturated, trace_saturated
        How often a weight or a trace was cut off.
    """

    def __init__(
        self, projection: Projection, arrays: Any, *, starts: np.ndarray, streams: TraceStreams
    ) -> None:
        self._arrays = arrays
        self._exponent = projection.weight_exp
        self._limits = weight_limits(projection.resolved_sign_mode)
        self._t_epoch = projection.rule.t_epoch if projection.rule else 1
        tables = RuleTables.of(projection.rule)  # type: ignore[arg-type]
        self._tables = RuleTables(*(arrays.array(table) for table in astuple(tables)))
        self._streams = streams
        self._starts = starts
        self._initial = np.ascontiguousarray(projection.effective_weights().T)
        self._shapes = ((projection.n_pre, len(starts)), (projection.n_post, len(starts)))
        self._held: Any = None
        self.weight_saturated: Any = 0
        self.trace_saturated: Any = 0
        self.restart()

    def restart(self) -> None:
        """Set weights and traces back to their start; what is under way arrives all the same."""
        n_runs = len(self._starts)
        self.weights = self._arrays.array(np.repeat(self._initial[np.newaxis], n_runs, axis=0))
        self._x1, self._y1 = (self._arrays.zeros(shape, "int32") for shape in self._shapes)
        self._tx, self._ty = (self._arrays.zeros(shape, "int32") for shape in self._shapes)

    def send(self, spikes: Any) -> None:
        """Take the spikes of a step, of shape (n_pre, B), with the weights as they are now."""
        runs, neurons = self._arrays.events(spikes)
        rows = self.weights[runs, neurons]
        summed = self._arrays.sum_by_run(rows, runs, spikes.shape[1])
        self._held = shift(summed, self._exponent).T

    def arriving(self) -> Any:
        """Return the input for the present step, of shape (n_post, B), or None."""
        return self._held

    def learn(self, pre: Any, post: Any, time_step: int) -> None:
        """Take the spikes of a step; where it ends an epoch, update traces and weights."""
        times = self._starts + time_step
        within = (times - 1) % self._t_epoch + 1
        if self._t_epoch == 1:
            self._tx, self._ty = self._arrays.whole(pre), self._arrays.whole(post)
        else:
            self._note(pre, post, times, self._arrays.array(within.astype(np.int32)))
        ends = within == self._t_epoch
        if ends.any():
            self._end_epoch(times, None if ends.all() else self._arrays.array(ends))

    def _note(self, pre: Any, post: Any, times: np.ndarray, within: Any) -> None:
        """Keep the time of each spike; a second one within the epoch lifts its trace at once."""
        where = self._arrays.module.where
        twice = (self._tx > 0) & pre
        lifted = self._lifted(self._x1, self._at(self._streams.x_repeat, times), twice)
        self._x1, self._tx = lifted, where(pre, within, self._tx)
        twice = (self._ty > 0) & post
        lifted = self._lifted(self._y1, self._at(self._streams.y_repeat, times), twice)
        self._y1, self._ty = lifted, where(post, within, self._ty)

    def _end_epoch(self, times: np.ndarray, ends: Any) -> None:
        tables, streams, where = self._tables, self._streams, self._arrays.module.where
        tx = self._tx if ends is None else where(ends, self._tx, 0)
        ty = self._ty if ends is None else where(ends, self._ty, 0)
        decay, impulse = self._at(streams.x_decay, times), self._at(streams.x_impulse, times)
        x_history = self._history(self._x1, tx, (tables.x_whole, tables.x_fraction, decay, impulse))
        decay, impulse = self._at(streams.y_decay, times), self._at(streams.y_impulse, times)
        y_history = self._history(self._y1, ty, (tables.y_whole, tables.y_fraction, decay, impulse))
        self._update_weights(tx, ty, x_history, y_history, self._at(streams.rounding, times))
        if ends is None:
            self._x1, self._y1 = x_history[-1], y_history[-1]
            self._tx, self._ty = self._tx * 0, self._ty * 0
        else:
            self._x1 = where(ends, x_history[-1], self._x1)
            self._y1 = where(ends, y_history[-1], self._y1)
            self._tx, self._ty = where(ends, 0, self._tx), where(ends, 0, self._ty)

    def _history(self, trace: Any, spiked_at: Any, decay: tuple[Any, Any, Any, Any]) -> list[Any]:
        """Trace before the epoch and after each of its steps."""
        whole, fraction, draw, impulse = decay
        history = [trace]
        for step in range(1, self._t_epoch + 1):
            index = self._arrays.index(trace)
            trace = self._arrays.whole(whole[index] + (draw < fraction[index]))
            trace = self._lifted(trace, impulse, spiked_at == step)
            history.append(trace)
        return history

    def _lifted(self, trace: Any, impulse: Any, where: Any) -> Any:
        lifted = trace + where * impulse
        self.trace_saturated = self.trace_saturated + (lifted > TRACE_MAX).sum()
        return self._arrays.module.clip(lifted, 0, TRACE_MAX)

    def _update_weights(
        self, tx: Any, ty: Any, x_history: list[Any], y_history: list[Any], rounding: Any
    ) -> None:
        """Rows of presynaptic spikes with both terms, then the rest of the columns."""
        x_at, y_at = _Past(x_history, self._arrays), _Past(y_history, self._arrays)
        runs, pre = self._arrays.events(tx > 0)
        if len(runs):
            x_trace = x_at.neuron(pre, runs, ty) * (ty.T[runs] > 0)
            y_trace = y_at.population(tx[pre, runs], runs)
            learned = self._learned(self.weights[runs, pre], y_trace, x_trace, rounding[runs])
            self.weights[runs, pre] = self._cut(learned, True)
        runs, post = self._arrays.events(ty > 0)
        if len(runs):
            untouched = tx.T[runs] == 0
            x_trace = x_at.population(ty[post, runs], runs) * untouched
            learned = self._learned(self.weights[runs, :, post], None, x_trace, rounding[runs])
            self.weights[runs, :, post] = self._cut(learned, untouched)

    def _learned(self, weights: Any, y_trace: Any, x_trace: Any, rounding: Any) -> Any:
        index = self._arrays.index
        minus = None if y_trace is None else self._tables.minus[index(y_trace)]
        plus = self._tables.plus[index(x_trace)]
        return accumulated(weights, minus, plus, rounding[:, None], self._arrays.module)

    def _cut(self, learned: Any, counted: Any) -> Any:
        low, high = self._limits
        beyond = ((learned < low) | (learned > high)) & counted
        self.weight_saturated = self.weight_saturated + beyond.sum()
        return self._arrays.module.clip(learned, low, high)

    def _at(self, stream: np.ndarray, times: np.ndarray) -> Any:
        return self._arrays.array(stream[times])


class _Past:
    """Traces of a population at a step of the epoch."""

    def __init__(self, history: list[Any], arrays: Any) -> None:
        self._index = arrays.index
        self._last = history[-1] if len(history) == 2 else None
        self._history = None if self._last is not None else arrays.module.stack(history)

    def population(self, step: Any, runs: Any) -> Any:
        """Traces of all neurons at a step of each run, of shape (n_events, n)."""
        if self._history is None:
            return self._last.T[runs]  # type: ignore[union-attr]
        return self._history[self._index(step), :, runs]

    def neuron(self, neurons: Any, runs: Any, steps: Any) -> Any:
        """Trace of one neuron of each event at the steps (m, B) of others: (n_events, m)."""
        if self._history is None:
            return self._last[neurons, runs][:, None]  # type: ignore[index]
        at = self._index(steps.T[runs])
        return self._history[at, neurons[:, None], runs[:, None]]
