"""Spike-timing dependent plasticity in the integers of Lava 0.10's ``STDPLoihi``.

Each learning connection changes its weights at the end of every epoch of ``t_epoch`` steps by::

    dw = learning_rate * A_minus * x0 * y1 + learning_rate * A_plus * y0 * x1

where x0, y0 say whether the pre- and postsynaptic neuron spiked in the epoch, and x1, y1 are 7-bit
traces that jump by an impulse at a spike and decay with ``exp(-1 / tau)`` per step.

Notation: lr learning_rate; x presynaptic; y postsynaptic; mantissa * 2^exponent a factor of dw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import check_integers

TRACE_BITS = 7
TRACE_MAX = (1 << TRACE_BITS) - 1
MANTISSA_MIN, MANTISSA_MAX = -8, 7
EXPONENT_MIN, EXPONENT_MAX = -7, 8
MAX_T_EPOCH = 63


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
    name: str, value: object, low: float, allowed: str, *, high: float = math.inf
) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type]
        raise ParameterError(f"{name}={value!r} is not allowed; use {allowed}.")
