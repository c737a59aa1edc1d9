"""Spike-timing dependent plasticity in the integers of Lava 0.10's ``STDPLoihi``.

At the end of every epoch of ``t_epoch`` steps a learning connection changes its weights by::

    dw = learning_rate * A_minus * x0 * y1 + learning_rate * A_plus * y0 * x1

x0 and y0 say whether the pre- and postsynaptic neuron spiked in the epoch. x1 and y1 are traces of
7 bits: a spike adds an impulse, and every step multiplies by exp(-1/tau); x1 is taken at the last
postsynaptic spike of the epoch and y1 at the last presynaptic one. In integers::

    trace   <- floor(exp(-1/tau) * trace) + [r < fraction]           then, where the neuron spiked,
    trace   <- min(trace + floor(impulse) + [r' < 256 * fraction of the impulse], 127)
    acc     <- w << 7;  acc <- clip16(acc + clip16(mantissa * trace << (exponent + 7)))   twice
    w       <- clip8(floor(acc / 128) + [r'' < fraction])

A second spike of a neuron within an epoch adds its impulse at once, to the trace before the decay.
The random numbers r are shared by all synapses of a connection: streams of numpy's default_rng with
seed rng_seed (decay of x), + 1 (impulse of x), + 2, + 3 (the same of y), and 2 (weights, whatever
the seed), drawn once at the start, then twice a step, and once an epoch for the weights. They
follow global time, so that every episode of a batch has the draws of its own place in the sequence.

Notation: tx, ty step of the last spike within the epoch, 0 for none; w weight; ``acc`` accumulator
of 16 bits; B runs that advance together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import WEIGHT_MAX, WEIGHT_MIN, check_integers

TRACE_BITS = 7
TRACE_MAX = (1 << TRACE_BITS) - 1
MANTISSA_MIN, MANTISSA_MAX = -8, 7
EXPONENT_MIN, EXPONENT_MAX = -7, 8
MAX_T_EPOCH = 63
IMPULSE_FRACTION_BITS = 8
WEIGHT_SHIFT = 7
"""Bits of the accumulator below the weight."""
ACCUMULATOR_MIN, ACCUMULATOR_MAX = -(1 << 15) - 1, (1 << 15) - 1
WEIGHT_SEED = 2


@dataclass(frozen=True, kw_only=True)
class STDPLoihi:
    """The pairwise STDP rule of Lava, with Lava's names.

    Parameters
    ----------
    learning_rate, A_plus, A_minus : float
        Factors of dw. Lava turns each into mantissa * 2^exponent (`literal`), so 0.3 acts as 0.25;
        the product of the learning rate and either factor has to have a mantissa of -8 to 7 after
        halving while it is even, and an exponent of -7 to 8.
    tau_plus, tau_minus : float
        Time constants of the pre- and postsynaptic trace in steps, above 0.
    x1_impulse, y1_impulse : float
        What a spike adds to the trace, 0 to 127.
    t_epoch : int
        Steps of a learning epoch, 1 to 63.
    rng_seed : int
        Seed of the streams of the connection's stochastic rounding.

    Examples
    --------
    >>> STDPLoihi(learning_rate=1, A_plus=0.5, A_minus=-0.5, tau_plus=2, tau_minus=2).minus
    (-1, -1)
    >>> STDPLoihi(learning_rate=1, A_plus=9, A_minus=-0.5, tau_plus=2, tau_minus=2)
    Traceback (most recent call last):
    ...
    labkit.errors.ParameterError: learning_rate=1 times A_plus=9 has mantissa 9; ...
    """

    learning_rate: float
    A_plus: float
    A_minus: float
    tau_plus: float
    tau_minus: float
    x1_impulse: float = 16
    y1_impulse: float = 16
    t_epoch: int = 1
    rng_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "A_plus", "A_minus"):
            _check_number(name, getattr(self, name), -math.inf, "a finite number")
        for name in ("tau_plus", "tau_minus"):
            _check_number(name, getattr(self, name), math.ulp(0), "a number of steps above 0")
        for name in ("x1_impulse", "y1_impulse"):
            value = getattr(self, name)
            _check_number(name, value, 0, f"a number from 0 to {TRACE_MAX}", high=TRACE_MAX)
        check_integers("t_epoch", self.t_epoch, 1, MAX_T_EPOCH)
        check_integers("rng_seed", self.rng_seed, 0, 2**32 - 1)
        _ = self.plus, self.minus

    @property
    def plus(self) -> tuple[int, int]:
        """Mantissa and exponent of learning_rate * A_plus."""
        return self._product("A_plus")

    @property
    def minus(self) -> tuple[int, int]:
        """Mantissa and exponent of learning_rate * A_minus."""
        return self._product("A_minus")

    def _product(self, name: str) -> tuple[int, int]:
        rate, factor = literal(self.learning_rate), literal(getattr(self, name))
        mantissa, exponent = rate[0] * factor[0], rate[1] + factor[1]
        while abs(mantissa) > MANTISSA_MAX and mantissa % 2 == 0 and exponent < EXPONENT_MAX:
            mantissa, exponent = mantissa // 2, exponent + 1
        given = f"learning_rate={self.learning_rate} times {name}={getattr(self, name)}"
        if not MANTISSA_MIN <= mantissa <= MANTISSA_MAX:
            raise ParameterError(
                f"{given} has mantissa {mantissa}; Loihi's learning engine holds {MANTISSA_MIN} to "
                f"{MANTISSA_MAX} times a power of two. Use a power of two for {name}."
            )
        if not EXPONENT_MIN <= exponent <= EXPONENT_MAX:
            raise ParameterError(
                f"{given} has exponent {exponent} of 2; Loihi's learning engine holds "
                f"{EXPONENT_MIN} to {EXPONENT_MAX}. Bring {name} nearer to 1."
            )
        return mantissa, exponent


@dataclass(frozen=True, eq=False)
class TraceStreams:
    """What the random numbers of a connection decide, by time step from 1 (row 0 is not used).

    Attributes
    ----------
    x_decay, y_decay : ndarray of float, shape (steps + 1,)
        A decayed trace is rounded up where its fraction exceeds this number.
    x_impulse, y_impulse : ndarray of int32, shape (steps + 1,)
        What a spike adds to the trace.
    x_repeat, y_repeat : ndarray of int32, shape (steps + 1,)
        What a second spike within an epoch adds.
    rounding : ndarray of int32, shape (steps + 1,)
        A weight is rounded up where its accumulator's seven low bits exceed this number.
    """

    x_decay: np.ndarray
    y_decay: np.ndarray
    x_impulse: np.ndarray
    y_impulse: np.ndarray
    x_repeat: np.ndarray
    y_repeat: np.ndarray
    rounding: np.ndarray

    @classmethod
    def draw(cls, rule: STDPLoihi, steps: int) -> TraceStreams:
        """Draw the numbers of a rule for all time steps up to `steps`."""
        decays, impulses = [], []
        for seed in (rule.rng_seed, rule.rng_seed + 2):
            decays.append(np.random.default_rng(seed).random(2 * steps + 1)[::2])
            draws = np.random.default_rng(seed + 1).integers(0, 1 << TRACE_BITS, 2 * steps + 1)
            impulses.append(draws)
        x_whole, x_fraction = _impulse_parts(rule.x1_impulse)
        y_whole, y_fraction = _impulse_parts(rule.y1_impulse)
        y_repeat = np.append(0, impulses[1][1::2]) < y_fraction
        epochs = np.random.default_rng(WEIGHT_SEED).random(steps // rule.t_epoch + 1)
        rounding = (epochs * (1 << WEIGHT_SHIFT)).astype(np.int32)
        return cls(
            x_decay=decays[0],
            y_decay=decays[1],
            x_impulse=_whole(x_whole + (impulses[0][::2] < x_fraction)),
            y_impulse=_whole(y_whole + (impulses[1][::2] < y_fraction)),
            x_repeat=_whole(np.full(steps + 1, x_whole + (x_fraction > 0))),
            y_repeat=_whole(y_whole + y_repeat),
            rounding=rounding[np.arange(steps + 1) // rule.t_epoch],
        )


@dataclass(frozen=True, eq=False)
class RuleTables:
    """A rule's functions of a trace value, tabulated for 0 to 127.

    Attributes
    ----------
    x_whole, y_whole : ndarray of int32, shape (128,)
        Whole part of the decayed trace.
    x_fraction, y_fraction : ndarray of float, shape (128,)
        The rest, the chance of rounding up.
    minus, plus : ndarray of int32, shape (128,)
        Change of the accumulator: by y1 at a presynaptic spike, by x1 at a postsynaptic one.
    """

    x_whole: np.ndarray
    y_whole: np.ndarray
    x_fraction: np.ndarray
    y_fraction: np.ndarray
    minus: np.ndarray
    plus: np.ndarray

    @classmethod
    def of(cls, rule: STDPLoihi) -> RuleTables:
        """Tables of a rule."""
        x_whole, x_fraction = _decay_table(rule.tau_plus)
        y_whole, y_fraction = _decay_table(rule.tau_minus)
        minus, plus = _product_table(*rule.minus), _product_table(*rule.plus)
        return cls(x_whole, y_whole, x_fraction, y_fraction, minus, plus)


def stdp_update(
    weights: np.ndarray,
    y_trace: np.ndarray,
    x_trace: np.ndarray,
    *,
    rule: STDPLoihi,
    rounding: int,
    limits: tuple[int, int] = (WEIGHT_MIN, WEIGHT_MAX),
) -> np.ndarray:
    """Weights after one epoch of learning.

    Parameters
    ----------
    weights : ndarray of int, any shape
    y_trace : ndarray of int, of the same shape
        y1 at the presynaptic spike, 0 where there was none.
    x_trace : ndarray of int, of the same shape
        x1 at the postsynaptic spike, 0 where there was none.
    rule : STDPLoihi
    rounding : int
        The epoch's random number, 0 to 127: a weight is rounded up where its seven bits below one
        exceed it.
    limits : (int, int)
        Smallest and largest weight.

    Returns
    -------
    ndarray of int32, of the same shape

    Examples
    --------
    >>> rule = STDPLoihi(learning_rate=1, A_plus=0.5, A_minus=-0.5, tau_plus=2, tau_minus=2)
    >>> stdp_update(np.array([10]), np.array([0]), np.array([101]), rule=rule, rounding=63)
    array([61], dtype=int32)
    >>> stdp_update(np.array([10]), np.array([0]), np.array([101]), rule=rule, rounding=64)
    array([60], dtype=int32)
    """
    tables = RuleTables.of(rule)
    weights = np.asarray(weights, dtype=np.int32)
    learned = accumulated(weights, tables.minus[y_trace], tables.plus[x_trace], rounding, np)
    return np.clip(learned, *limits)


def accumulated(weights: Any, minus: Any | None, plus: Any, rounding: Any, arrays: Any) -> Any:
    """Rounded weights before they are cut to their range; int32 arrays of numpy or torch."""
    acc = weights << WEIGHT_SHIFT
    if minus is not None:
        acc = arrays.clip(acc + minus, ACCUMULATOR_MIN, ACCUMULATOR_MAX)
    acc = arrays.clip(acc + plus, ACCUMULATOR_MIN, ACCUMULATOR_MAX)
    return (acc + ((1 << WEIGHT_SHIFT) - 1 - rounding)) >> WEIGHT_SHIFT


def literal(value: float) -> tuple[int, int]:
    """Mantissa and exponent of 2 that Lava makes of a factor.

    The mantissa is the whole part, at least 1; the rest is rounded to a power of two.

    Examples
    --------
    >>> literal(0.5), literal(-3), literal(0.3)
    ((1, -1), (-3, 0), (1, -2))
    """
    if value == 0:
        return 0, 0
    sign = 1 if value > 0 else -1
    mantissa = max(int(abs(value)), 1)
    return sign * mantissa, round(math.log2(abs(value) / mantissa))


def _check_number(
    name: str, value: Any, low: float, allowed: str, *, high: float = math.inf
) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating))
    if (
        not number
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise ParameterError(f"{name}={value!r} is not allowed; use {allowed}.")


def _decay_table(tau: float) -> tuple[np.ndarray, np.ndarray]:
    traces = np.exp(-1 / np.array([[tau]], dtype=float)) * np.arange(TRACE_MAX + 1)
    whole = np.floor(traces[0])
    return _whole(whole), traces[0] - whole


def _product_table(mantissa: int, exponent: int) -> np.ndarray:
    products = (mantissa * np.arange(TRACE_MAX + 1)) << (exponent - EXPONENT_MIN)
    return _whole(np.clip(products, ACCUMULATOR_MIN, ACCUMULATOR_MAX))


def _impulse_parts(impulse: float) -> tuple[int, int]:
    whole = math.floor(impulse)
    return whole, round((impulse - whole) * (1 << IMPULSE_FRACTION_BITS))


def _whole(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int32)
