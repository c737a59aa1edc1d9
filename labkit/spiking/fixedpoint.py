"""Fixed-point leaky integrate-and-fire neurons, bit by bit as in Lava 0.10's CPU models of Loihi 2.

One step of a neuron with current ``u``, voltage ``v`` and synaptic input ``a``, all integers::

    u <- wrap24( trunc(u * (4096 - (du + 1)) / 4096) + (a << 6) )
    v <- clip24( trunc(v * (4096 - dv) / 4096) + u + bias )        bias = bias_mant << bias_exp
    v <- 0                             while refractory_end >= t
    spike where v > vth << 6;  there v <- 0 and refractory_end <- t + refractory

``trunc`` rounds toward zero. ``wrap24`` subtracts 2^24 above 2^23 and adds it at -2^23 and below,
once (2^23 itself stays); ``clip24`` saturates at +-(2^23 - 1). Sums are 32-bit and wrap like
Lava's. A population with a `reset_interval` I and `reset_offset` O sets u = v = 0 and clears the
refractory times at the steps t with t % I == O % I, before the update; with `guard` that step ends
there: its input is discarded and no neuron spikes, so that nothing crosses into the next episode.

Weights are signed 8-bit numbers, fewer bits on request: `effective_weights` drops the low bits. A
connection sums the weights of the spiking inputs and then shifts the **sum** by its exponent
(`shift`); the sum arrives one step later.

Notation: t time step, from 1; du, dv decay constants of 4096; vth threshold; ``a`` synaptic input;
B runs that advance together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from labkit.choices import not_allowed
from labkit.errors import ParameterError

STATE_BITS = 24
STATE_LIMIT = 1 << (STATE_BITS - 1)
"""2^23: voltages saturate one below it, currents wrap above it."""
DECAY_SHIFT = 12
DECAY_UNITY = 1 << DECAY_SHIFT
INPUT_SHIFT = 6
"""Synaptic input and threshold are aligned with the state by six bits."""
VTH_MAX = (1 << 17) - 1
DECAY_MAX = DECAY_UNITY - 1
BIAS_MANT_MIN, BIAS_MANT_MAX = -(1 << 12), (1 << 12) - 1
BIAS_EXP_MAX = 7
MAX_STEPS = 2**30 - 1
"""Time steps and refractory times are below it, so that their sum fits 32 bits."""
WEIGHT_BITS = 8
WEIGHT_MIN, WEIGHT_MAX = -(1 << WEIGHT_BITS), (1 << WEIGHT_BITS) - 1
SIGN_MODES = ("mixed", "excitatory", "inhibitory")


@dataclass(frozen=True, kw_only=True, eq=False)
class LIFParameters:
    """Parameters of a population of fixed-point neurons.

    Parameters
    ----------
    vth : int
        Threshold, 0 to 131071; a neuron spikes when its voltage exceeds ``vth << 6``.
    du, dv : int
        Decay of current and voltage, 0 to 4095, in 1/4096 of the value per step; the current loses
        ``du + 1`` of 4096, so that 4095 leaves only the present input.
    bias_mant : int or ndarray of shape (n,)
        Mantissa of the bias current, -4096 to 4095.
    bias_exp : int
        Exponent of the bias current, 0 to 7: the bias is ``bias_mant << bias_exp``.
    refractory : int or ndarray of shape (n,)
        Steps after a spike during which the voltage stays 0.
    reset_interval : int, optional
        Steps between resets of the state; None never resets.
    reset_offset : int
        The state is reset at steps t with ``t % reset_interval == reset_offset % reset_interval``.
    guard : bool
        At the step of a reset the input is discarded and no neuron spikes.

    Examples
    --------
    >>> LIFParameters(vth=100, du=4096)
    Traceback (most recent call last):
    ...
    labkit.errors.ParameterError: du=4096 is not allowed; use a whole number from 0 to 4095.
    """

    vth: int
    du: int = DECAY_MAX
    dv: int = 0
    bias_mant: int | np.ndarray = 0
    bias_exp: int = 0
    refractory: int | np.ndarray = 0
    reset_interval: int | None = None
    reset_offset: int = 0
    guard: bool = False

    def __post_init__(self) -> None:
        check_integers("vth", self.vth, 0, VTH_MAX)
        check_integers("du", self.du, 0, DECAY_MAX)
        check_integers("dv", self.dv, 0, DECAY_MAX)
        check_integers("bias_mant", self.bias_mant, BIAS_MANT_MIN, BIAS_MANT_MAX)
        check_integers("bias_exp", self.bias_exp, 0, BIAS_EXP_MAX)
        check_integers("refractory", self.refractory, 0, MAX_STEPS)
        check_integers("reset_offset", self.reset_offset, 0, MAX_STEPS)
        if self.reset_interval is not None:
            check_integers("reset_interval", self.reset_interval, 1, MAX_STEPS)
        elif self.guard:
            raise ParameterError(
                "guard=True without reset_interval is not allowed: the guard is the step of a "
                "reset. Give reset_interval, the steps of an episode."
            )

    @property
    def threshold(self) -> int:
        """Voltage that a spike has to exceed: ``vth << 6``."""
        return int(self.vth) << INPUT_SHIFT

    @property
    def is_refractory(self) -> bool:
        """Whether any neuron has a refractory time."""
        return bool(np.any(np.asarray(self.refractory) > 0))

    def bias(self, n: int) -> np.ndarray:
        """Bias current of each of `n` neurons, int32 of shape (n,)."""
        mantissa = np.broadcast_to(np.asarray(self.bias_mant, dtype=np.int32), (n,))
        return mantissa << np.int32(self.bias_exp)

    def refractory_steps(self, n: int) -> np.ndarray:
        """Refractory time of each of `n` neurons in steps, int32 of shape (n,)."""
        return np.broadcast_to(np.asarray(self.refractory, dtype=np.int32), (n,))

    def resets_at(self, time_step: int) -> bool:
        """Whether the state is reset at a time step (counted from 1)."""
        if self.reset_interval is None:
            return False
        return (time_step - self.reset_offset) % self.reset_interval == 0


class LIFState(NamedTuple):
    """State of a population.

    Attributes
    ----------
    u, v : ndarray of int32, shape (n,) or (n, B)
        Current and voltage.
    refractory_end : ndarray of int32, of the same shape
        Last time step at which the voltage stays 0.
    """

    u: Any
    v: Any
    refractory_end: Any

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> LIFState:
        """State before the first step."""
        return cls(*(np.zeros(shape, dtype=np.int32) for _ in cls._fields))


class Counts(NamedTuple):
    """How many values of a step did not fit."""

    u_wrapped: Any
    v_saturated: Any


class LIFConstants(NamedTuple):
    """What a step needs to know of the parameters, as arrays of the back end."""

    parameters: LIFParameters
    bias: Any
    refractory: Any

    @classmethod
    def of(cls, parameters: LIFParameters, n: int) -> LIFConstants:
        """Constants of `n` neurons; bias and refractory times that are all zero become None."""
        bias, refractory = parameters.bias(n), parameters.refractory_steps(n)
        return cls(
            parameters, bias if bias.any() else None, refractory if refractory.any() else None
        )


def lif_step(
    a_in: np.ndarray, state: LIFState, parameters: LIFParameters, *, time_step: int
) -> tuple[np.ndarray, LIFState, Counts]:
    """Advance a population by one step; the arguments are left as they are.

    Parameters
    ----------
    a_in : ndarray of int, shape (n,)
        Synaptic input of each neuron.
    state : LIFState
    parameters : LIFParameters
    time_step : int
        From 1.

    Returns
    -------
    spikes : ndarray of bool, shape (n,)
    state : LIFState
    counts : Counts

    Examples
    --------
    >>> neuron = LIFParameters(vth=10)
    >>> spikes, state, _ = lif_step(np.array([10, 11]), LIFState.zeros((2,)), neuron, time_step=1)
    >>> spikes, state.v
    (array([False,  True]), array([640,   0], dtype=int32))
    """
    n = len(a_in)
    constants = LIFConstants(parameters, parameters.bias(n), parameters.refractory_steps(n))
    a_in = np.asarray(a_in).astype(np.int32)
    return advance(a_in, state, constants, time_step=time_step, arrays=np)


def advance(
    a_in: Any, state: LIFState, constants: LIFConstants, *, time_step: int, arrays: Any
) -> tuple[Any, LIFState, Counts]:
    """`lif_step` for int32 arrays of shape (n,) or (n, B) of any library.

    Parameters
    ----------
    a_in, state, time_step
        As of `lif_step`.
    constants : LIFConstants
        Arrays that broadcast against the state.
    arrays : module
        ``numpy`` or ``torch``.
    """
    lif = constants.parameters
    u, v, refractory_end = state
    if lif.resets_at(time_step):
        u, v, refractory_end = (arrays.zeros_like(part) for part in state)
        if lif.guard:
            return u > 0, LIFState(u, v, refractory_end), Counts(0, 0)
    u = _decayed(u, DECAY_UNITY - 1 - lif.du, arrays) + (a_in << INPUT_SHIFT)
    u, u_wrapped = _wrapped(u, arrays)
    v = _decayed(v, DECAY_UNITY - lif.dv, arrays) + u
    if constants.bias is not None:
        v = v + constants.bias
    v, v_saturated = _saturated(v, arrays)
    if constants.refractory is not None:
        v = arrays.where(refractory_end >= time_step, 0, v)
    spikes = v > lif.threshold
    v = arrays.where(spikes, 0, v)
    if constants.refractory is not None:
        refractory_end = arrays.where(spikes, time_step + constants.refractory, refractory_end)
    return spikes, LIFState(u, v, refractory_end), Counts(u_wrapped, v_saturated)


def _decayed(values: Any, kept: int, arrays: Any) -> Any:
    """Values times kept / 4096, rounded toward zero."""
    if kept == DECAY_UNITY:
        return values
    if kept == 0:
        return arrays.zeros_like(values)
    product = arrays.asarray(values, dtype=arrays.int64) * kept
    whole = arrays.sign(product) * (arrays.abs(product) >> DECAY_SHIFT)
    return arrays.asarray(whole, dtype=arrays.int32)


def _wrapped(u: Any, arrays: Any) -> tuple[Any, Any]:
    above, below = u > STATE_LIMIT, u <= -STATE_LIMIT
    n_wrapped = above.sum() + below.sum()
    u = arrays.where(above, u - 2 * STATE_LIMIT, u)
    return arrays.where(below, u + 2 * STATE_LIMIT, u), n_wrapped


def _saturated(v: Any, arrays: Any) -> tuple[Any, Any]:
    limit = STATE_LIMIT - 1
    n_saturated = ((v > limit) | (v < -limit)).sum()
    return arrays.clip(v, -limit, limit), n_saturated


def check_integers(
    name: str, value: object, low: int, high: int, *, error: type[Exception] = ParameterError
) -> None:
    """Refuse a number or an array that is not made of integers from `low` to `high`."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or (
        array.size and not (low <= int(array.min()) and int(array.max()) <= high)
    ):
        given = repr(array.item()) if array.ndim == 0 else _describe(array)
        raise error(f"{name}={given} is not allowed; use a whole number from {low} to {high}.")


def _describe(array: np.ndarray) -> str:
    if array.dtype.kind not in "iufb" or not array.size:
        return f"array of {array.dtype}"
    return f"array of {array.dtype} from {array.min()} to {array.max()}"


def resolved_sign_mode(weights: np.ndarray, sign_mode: str | None) -> str:
    """Sign mode of a connection; None is decided by the weights, as Lava does.

    Examples
    --------
    >>> resolved_sign_mode(np.array([0, 3]), None), resolved_sign_mode(np.array([-1, 3]), None)
    ('excitatory', 'mixed')
    """
    if sign_mode is not None:
        if sign_mode not in SIGN_MODES:
            raise ParameterError(not_allowed("sign_mode", sign_mode, SIGN_MODES))
        return sign_mode
    if weights.size == 0 or weights.min() >= 0:
        return "excitatory"
    return "inhibitory" if weights.max() <= 0 else "mixed"


def weight_limits(sign_mode: str) -> tuple[int, int]:
    """Smallest and largest weight of a sign mode.

    Examples
    --------
    >>> weight_limits("mixed"), weight_limits("inhibitory")
    ((-256, 255), (-255, 0))
    """
    return {
        "mixed": (WEIGHT_MIN, WEIGHT_MAX),
        "excitatory": (0, WEIGHT_MAX),
        "inhibitory": (-WEIGHT_MAX, 0),
    }[sign_mode]


def effective_weights(
    weights: np.ndarray, *, sign_mode: str | None = None, num_weight_bits: int = WEIGHT_BITS
) -> np.ndarray:
    """Weights as the connection uses them: clipped to 8 bits, low bits dropped.

    Parameters
    ----------
    weights : ndarray of int
    sign_mode : {"mixed", "excitatory", "inhibitory"}, optional
        None is decided by the weights. Mixed weights pay one bit for their sign.
    num_weight_bits : int
        Bits of a weight, 1 to 8; the low ones are dropped toward minus infinity (of inhibitory
        weights toward zero).

    Returns
    -------
    ndarray of int32, of the same shape

    Examples
    --------
    >>> effective_weights(np.array([3, -3, 300]))
    array([  2,  -4, 254], dtype=int32)
    >>> effective_weights(np.array([3, 7]), num_weight_bits=6)
    array([0, 4], dtype=int32)
    """
    mode = resolved_sign_mode(weights, sign_mode)
    clipped = np.clip(weights, *weight_limits(mode)).astype(np.int32)
    dropped = WEIGHT_BITS - num_weight_bits + (mode == "mixed")
    if mode == "inhibitory":
        return -((-clipped >> dropped) << dropped)
    return (clipped >> dropped) << dropped


def shift(values: np.ndarray, exponent: int) -> np.ndarray:
    """Values times 2^exponent; a negative exponent shifts right, toward minus infinity.

    Examples
    --------
    >>> shift(np.array([-1, 5]), -1), shift(np.array([-1, 5]), 2)
    (array([-1,  2]), array([-4, 20]))
    """
    return values << exponent if exponent > 0 else values >> -exponent
