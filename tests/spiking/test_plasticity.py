"""STDP in integers: an independent reference, the random streams, what the rule cannot hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ParameterError
from labkit.spiking.plasticity import RuleTables, STDPLoihi, TraceStreams, literal, stdp_update

RULE = {"learning_rate": 1, "A_plus": 0.5, "A_minus": -0.5, "tau_plus": 2, "tau_minus": 3}


def reference_update(weight, y, x, rule, rounding, limits):
    """One synapse in Python integers."""
    acc = weight * 128
    for (mantissa, exponent), trace in ((rule.minus, y), (rule.plus, x)):
        term = max(-32769, min(32767, mantissa * trace * 2 ** (exponent + 7)))
        acc = max(-32769, min(32767, acc + term))
    whole, low_bits = divmod(acc, 128)
    return max(limits[0], min(limits[1], whole + (rounding < low_bits)))


@pytest.mark.parametrize(
    ("value", "mantissa", "exponent"),
    [
        (0, 0, 0),
        (1, 1, 0),
        (-1, -1, 0),
        (0.5, 1, -1),
        (0.3, 1, -2),
        (-0.125, -1, -3),
        (5, 5, 0),
        (2.5, 2, 0),
        (7.9, 7, 0),
        (0.75, 1, 0),
    ],
)
def test_a_factor_is_its_whole_part_times_a_power_of_two(value, mantissa, exponent):
    assert literal(value) == (mantissa, exponent)


def test_the_product_of_factors_is_halved_until_its_mantissa_fits():
    rule = STDPLoihi(**(RULE | {"learning_rate": 2, "A_plus": 6, "A_minus": -8}))
    assert rule.plus == (6, 1)
    assert rule.minus == (-4, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A_plus": 9}, r"learning_rate=1 times A_plus=9 has mantissa 9"),
        ({"A_minus": -11}, r"times A_minus=-11 has mantissa -11"),
        ({"learning_rate": 3, "A_plus": 3}, r"learning_rate=3 times A_plus=3 has mantissa 9"),
        ({"A_minus": 2.0**-9}, r"A_minus=0.00195312\d+ has exponent -9"),
        ({"A_plus": 2.0**13}, r"A_plus=8192.0 has mantissa"),
        ({"learning_rate": math.nan}, r"^learning_rate=nan is not allowed"),
        ({"tau_plus": 0}, r"^tau_plus=0 is not allowed; use a number of steps above 0"),
        ({"tau_minus": -2.0}, r"^tau_minus=-2.0 is not allowed"),
        ({"x1_impulse": 128}, r"^x1_impulse=128 is not allowed; use a number from 0 to 127"),
        ({"y1_impulse": "16"}, r"^y1_impulse='16' is not allowed"),
        ({"t_epoch": 64}, r"^t_epoch=64 is not allowed; use a whole number from 1 to 63"),
        ({"rng_seed": -1}, r"^rng_seed=-1 is not allowed"),
    ],
)
def test_what_the_learning_engine_cannot_hold_is_refused_by_name(changes, message):
    with pytest.raises(ParameterError, match=message):
        STDPLoihi(**(RULE | changes))


@given(
    weight=st.integers(-256, 255),
    y=st.integers(0, 127),
    x=st.integers(0, 127),
    rounding=st.integers(0, 127),
    factors=st.tuples(*[st.sampled_from([-4, -1, -0.5, 0, 0.25, 1, 2, 7])] * 2),
    limits=st.sampled_from([(-256, 255), (0, 255), (-255, 0)]),
)
def test_weights_change_as_in_a_reference_of_python_integers(
    weight, y, x, rounding, factors, limits
):
    rule = STDPLoihi(**(RULE | {"A_plus": factors[0], "A_minus": factors[1]}))
    learned = stdp_update(
        np.array([weight]),
        np.array([y]),
        np.array([x]),
        rule=rule,
        rounding=rounding,
        limits=limits,
    )
    assert learned[0] == reference_update(weight, y, x, rule, rounding, limits)


def test_rounding_is_unbiased():
    rule = STDPLoihi(**(RULE | {"A_plus": 2**-6}))
    for trace in range(128):
        learned = [
            stdp_update(np.array([10]), np.array([0]), np.array([trace]), rule=rule, rounding=r)[0]
            for r in range(128)
        ]
        assert np.mean(learned) == 10 + trace / 64


def test_weights_without_a_trace_stay():
    weights = np.arange(-256, 256)
    for rounding in (0, 127):
        learned = stdp_update(
            weights, np.zeros_like(weights), weights * 0, rule=STDPLoihi(**RULE), rounding=rounding
        )
        assert np.array_equal(learned, weights)


def test_the_decay_of_a_trace_is_exponential_between_its_two_roundings():
    tables = RuleTables.of(STDPLoihi(**RULE))
    for whole, fraction, tau in (
        (tables.x_whole, tables.x_fraction, 2),
        (tables.y_whole, tables.y_fraction, 3),
    ):
        exact = np.array([math.exp(-1 / tau) * trace for trace in range(128)])
        np.testing.assert_allclose(whole + fraction, exact, rtol=1e-14)
        assert fraction.min() >= 0
        assert fraction.max() < 1


@pytest.mark.parametrize("t_epoch", [1, 3])
def test_streams_are_drawn_twice_a_step_and_once_an_epoch(t_epoch):
    rule = STDPLoihi(**RULE, x1_impulse=7.5, y1_impulse=33.25, t_epoch=t_epoch, rng_seed=209)
    steps = 17
    streams = TraceStreams.draw(rule, steps)
    decay_x, impulse_x, decay_y, impulse_y = (np.random.default_rng(209 + j) for j in range(4))
    weights = np.random.default_rng(2)
    draw = {"weight": weights.random(1)[0]}

    def advance():
        draw.update(
            x=decay_x.random(1)[0],
            y=decay_y.random(1)[0],
            x_jump=impulse_x.integers(0, 128, size=1)[0],
            y_jump=impulse_y.integers(0, 128, size=1)[0],
        )

    advance()
    for t in range(1, steps + 1):
        assert streams.x_repeat[t] == 8  # Lava takes 0 for this random number
        advance()
        assert streams.y_repeat[t] == 33 + (draw["y_jump"] < 64)
        advance()
        if t % t_epoch == 0:
            draw["weight"] = weights.random(1)[0]
            assert streams.rounding[t] == math.floor(128 * draw["weight"])
        assert streams.x_decay[t] == draw["x"]
        assert streams.y_decay[t] == draw["y"]
        assert streams.x_impulse[t] == 7 + (draw["x_jump"] < 128)
        assert streams.y_impulse[t] == 33 + (draw["y_jump"] < 64)


def test_longer_streams_begin_as_shorter_ones():
    rule = STDPLoihi(**RULE, rng_seed=5)
    short, long = TraceStreams.draw(rule, 10), TraceStreams.draw(rule, 50)
    assert np.array_equal(short.x_decay, long.x_decay[:11])
    assert np.array_equal(short.rounding, long.rounding[:11])
