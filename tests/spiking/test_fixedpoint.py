"""Fixed-point neurons: edges of the number range, an independent reference, laws of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import (
    STATE_LIMIT,
    VTH_MAX,
    LIFParameters,
    LIFState,
    effective_weights,
    lif_step,
    resolved_sign_mode,
    shift,
    weight_limits,
)

ALIGNED_LIMIT = STATE_LIMIT >> 6
"""Input that alone makes a current of 2^23."""


def as_int32(value):
    return (value + 2**31) % 2**32 - 2**31


def truncated(value, kept):
    product = value * kept
    return product // 4096 if product >= 0 else -(-product // 4096)


def reference_step(a, u, v, end, lif, t):
    """One neuron in Python integers, after the description of the hardware."""
    if lif.reset_interval and t % lif.reset_interval == lif.reset_offset % lif.reset_interval:
        u = v = end = 0
        if lif.guard:
            return False, 0, 0, 0
    u = as_int32(truncated(u, 4095 - lif.du) + 64 * a)
    if u > 2**23:
        u -= 2**24
    elif u <= -(2**23):
        u += 2**24
    v = as_int32(truncated(v, 4096 - lif.dv) + u + lif.bias_mant * 2**lif.bias_exp)
    v = max(-(2**23) + 1, min(2**23 - 1, v))
    if end >= t:
        v = 0
    if v > 64 * lif.vth:
        return True, u, 0, t + lif.refractory
    return False, u, v, end


def one_step(*, a=0, u=0, v=0, end=0, t=1, **parameters):
    lif = LIFParameters(**({"vth": VTH_MAX} | parameters))
    state = LIFState(*(np.array([value], dtype=np.int32) for value in (u, v, end)))
    spikes, state, counts = lif_step(np.array([a]), state, lif, time_step=t)
    return bool(spikes[0]), *(int(part[0]) for part in state), counts


@pytest.mark.parametrize(
    ("u", "a", "expected", "wrapped"),
    [
        (0, ALIGNED_LIMIT, 2**23, 0),
        (2, ALIGNED_LIMIT, 2**23 + 1 - 2**24, 1),
        (0, -ALIGNED_LIMIT, 2**23, 1),
        (2, -ALIGNED_LIMIT, 1 - 2**23, 0),
        (0, ALIGNED_LIMIT - 1, 2**23 - 64, 0),
    ],
)
def test_current_wraps_above_two_to_the_23_and_from_its_negative_on(u, a, expected, wrapped):
    # du=0 keeps 4095/4096, so that a current of 2 leaves 1
    _, current, _, _, counts = one_step(u=u, a=a, du=0, dv=4095)
    assert (current, counts.u_wrapped) == (expected, wrapped)


@pytest.mark.parametrize(("value", "half"), [(3, 1), (-3, -1), (-1, 0), (-4, -2)])
def test_decay_rounds_toward_zero(value, half):
    assert one_step(u=value, du=2047)[1] == half
    assert one_step(v=value, dv=2048)[2] == half


@pytest.mark.parametrize("sign", [1, -1])
def test_voltage_saturates_one_below_two_to_the_23(sign):
    limit = 2**23 - 1
    spiked, _, v, _, counts = one_step(a=0, bias_mant=sign, v=sign * (limit - 1))
    assert (spiked, v, counts.v_saturated) == ((True, 0, 0) if sign > 0 else (False, -limit, 0))
    spiked, _, v, _, counts = one_step(a=0, bias_mant=sign, v=sign * limit)
    assert (spiked, v, counts.v_saturated) == ((True, 0, 1) if sign > 0 else (False, -limit, 1))


def test_a_spike_needs_more_than_the_threshold():
    assert one_step(a=100, vth=100)[:3] == (False, 6400, 6400)
    assert one_step(a=101, vth=100)[:3] == (True, 6464, 0)


def test_bias_is_shifted_by_its_exponent():
    assert one_step(bias_mant=-3, bias_exp=5)[2] == -96


def test_refractory_neurons_hold_their_voltage_at_zero_while_the_current_goes_on():
    lif = LIFParameters(vth=1, du=0, refractory=3)
    state, spikes, currents = LIFState.zeros((1,)), [], []
    for t in range(1, 10):
        fired, state, _ = lif_step(np.array([50]), state, lif, time_step=t)
        spikes.append(bool(fired[0]))
        currents.append(int(state.u[0]))
    assert spikes == [True, False, False, False] * 2 + [True]
    assert currents == sorted(currents)


def test_a_reset_comes_before_the_update_and_a_guard_swallows_the_step():
    before = {"u": 999, "v": 5000, "end": 50, "t": 8, "reset_interval": 7, "reset_offset": 15}
    assert one_step(a=3, vth=2, **before)[:4] == (True, 192, 0, 8)
    assert one_step(a=3, vth=2, guard=True, **before)[:4] == (False, 0, 0, 0)
    assert one_step(a=3, guard=True, bias_mant=7, **before)[:4] == (False, 0, 0, 0)


@settings(max_examples=150, deadline=None)
@given(
    lif=st.fixed_dictionaries(
        {
            "vth": st.integers(0, VTH_MAX),
            "du": st.sampled_from([0, 1, 100, 2047, 4094, 4095]),
            "dv": st.sampled_from([0, 3, 128, 4095]),
            "bias_mant": st.integers(-4096, 4095),
            "bias_exp": st.integers(0, 7),
            "refractory": st.integers(0, 4),
            "reset_interval": st.integers(1, 5) | st.none(),
            "reset_offset": st.integers(0, 9),
        }
    ),
    guard=st.booleans(),
    inputs=st.lists(
        st.integers(-300, 3000) | st.integers(-(2**25) + 1, 2**25 - 1), min_size=1, max_size=12
    ),
)
def test_neurons_equal_a_reference_in_python_integers(lif, guard, inputs):
    parameters = LIFParameters(**lif, guard=guard and lif["reset_interval"] is not None)
    state, expected = LIFState.zeros((1,)), (0, 0, 0)
    for t, a in enumerate(inputs, start=1):
        spikes, state, _ = lif_step(np.array([a]), state, parameters, time_step=t)
        fired, *expected = reference_step(a, *expected, parameters, t)
        assert [int(part[0]) for part in state] == expected
        assert bool(spikes[0]) == fired


def test_many_neurons_and_runs_advance_as_one_by_one():
    rng = np.random.default_rng(0)
    lif = LIFParameters(vth=30, du=900, dv=77, refractory=np.array([0, 1, 5]), bias_mant=20)
    state, a = LIFState.zeros((3,)), rng.integers(-20, 60, (40, 3))
    alone = [LIFParameters(vth=30, du=900, dv=77, refractory=r, bias_mant=20) for r in (0, 1, 5)]
    states = [LIFState.zeros((1,)) for _ in alone]
    n_spikes = 0
    for t in range(1, 41):
        spikes, state, _ = lif_step(a[t - 1], state, lif, time_step=t)
        for j, parameters in enumerate(alone):
            fired, states[j], _ = lif_step(a[t - 1, j : j + 1], states[j], parameters, time_step=t)
            assert fired[0] == spikes[j]
            assert all(whole[j] == part[0] for whole, part in zip(state, states[j], strict=True))
        n_spikes += spikes.sum()
    assert n_spikes > 20


def test_the_arguments_of_a_step_stay_as_they_are():
    state = LIFState(*(np.array([7], dtype=np.int32) for _ in range(3)))
    lif_step(np.array([9]), state, LIFParameters(vth=0, reset_interval=1), time_step=1)
    assert [int(part[0]) for part in state] == [7, 7, 7]


@pytest.mark.parametrize(
    ("mode", "bits", "given", "used"),
    [
        ("mixed", 8, [3, -3, 2, -1, 255, -256], [2, -4, 2, -2, 254, -256]),
        ("excitatory", 8, [3, 255, 256, -1], [3, 255, 255, 0]),
        ("excitatory", 4, [3, 17, 255], [0, 16, 240]),
        ("inhibitory", 8, [-3, -255, -300, 4], [-3, -255, -255, 0]),
        ("inhibitory", 4, [-3, -17, -255], [0, -16, -240]),
        ("mixed", 6, [9, -9, 7], [8, -16, 0]),
    ],
)
def test_weights_are_clipped_and_lose_their_low_bits(mode, bits, given, used):
    weights = effective_weights(np.array(given), sign_mode=mode, num_weight_bits=bits)
    assert weights.tolist() == used


@given(
    weights=st.lists(st.integers(-400, 400), min_size=1, max_size=6),
    bits=st.integers(1, 8),
    mode=st.sampled_from(["mixed", "excitatory", "inhibitory"]),
)
def test_effective_weights_are_a_projection_onto_what_the_mode_holds(weights, bits, mode):
    options = {"sign_mode": mode, "num_weight_bits": bits}
    used = effective_weights(np.array(weights), **options)
    low, high = weight_limits(mode)
    assert used.min() >= low
    assert used.max() <= high
    assert np.array_equal(effective_weights(used, **options), used)
    assert np.abs(used - np.clip(weights, low, high)).max() < 2 ** (8 - bits + (mode == "mixed"))


def test_the_sign_mode_is_that_of_the_weights():
    for weights, mode in [([0, 0], "excitatory"), ([-1, 0], "inhibitory"), ([-1, 1], "mixed")]:
        assert resolved_sign_mode(np.array(weights), None) == mode


def test_a_right_shift_goes_toward_minus_infinity():
    assert shift(np.array([-129, 129]), -7).tolist() == [-2, 1]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("vth", 2**17, "0 to 131071"),
        ("vth", -1, "0 to 131071"),
        ("vth", 1.5, "0 to 131071"),
        ("du", 4096, "0 to 4095"),
        ("dv", -1, "0 to 4095"),
        ("bias_mant", np.array([0, 4096]), "-4096 to 4095"),
        ("bias_exp", 8, "0 to 7"),
        ("refractory", -1, "0 to"),
        ("reset_interval", 0, "1 to"),
        ("reset_offset", -2, "0 to"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_its_range(field, value, allowed):
    with pytest.raises(ParameterError, match=rf"^{field}=.*{allowed}"):
        LIFParameters(**({"vth": 1} | {field: value}))


def test_a_guard_needs_a_reset():
    with pytest.raises(ParameterError, match="guard=True without reset_interval"):
        LIFParameters(vth=1, guard=True)


def test_a_number_given_as_text_is_seen_to_be_text():
    with pytest.raises(ParameterError, match=r"^vth='1' is not allowed; use a whole number from 0"):
        LIFParameters(vth="1")
