"""Dimensions and spaces: bounds, quotients, and the way to parameters and back."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ParameterError
from labkit.spiking.float_sgnn import CITESEER, CORA, FloatSGNNParameters
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.spaces import (
    ORNL_SPACE,
    SGNN_SPACE,
    Choice,
    Dimension,
    Float,
    Int,
    Ratio,
    Settings,
    Space,
)


def anywhere_in(space: Space) -> st.SearchStrategy[Settings]:
    """Settings from the whole of a space."""
    return st.fixed_dictionaries({d.name: allowed(d) for d in space})


def allowed(dimension: Dimension) -> st.SearchStrategy[int | float | str | bool]:
    """Allowed values of a dimension."""
    if isinstance(dimension, Int):
        return st.integers(dimension.low, dimension.high)
    if isinstance(dimension, Float):
        return st.floats(dimension.low, dimension.high)
    assert isinstance(dimension, Choice)
    return st.sampled_from(dimension.values)


@given(anywhere_in(SGNN_SPACE))
def test_every_integer_setting_is_a_network_whose_wave_starts(settings: Settings) -> None:
    parameters = SGNN_SPACE.parameters(settings, SGNNParameters())
    assert parameters.graph_w > parameters.paper_vth
    assert 20 <= parameters.topic_vth <= 600


@given(anywhere_in(ORNL_SPACE))
def test_every_real_setting_is_a_network_whose_wave_starts(settings: Settings) -> None:
    parameters = ORNL_SPACE.parameters(settings, CORA)
    assert parameters.graph_weight > parameters.paper_threshold
    ratio = settings["train_to_topic_weight/topic_threshold"]
    assert parameters.train_to_topic_weight / parameters.topic_threshold == pytest.approx(ratio)


@given(anywhere_in(SGNN_SPACE))
def test_parameters_of_a_setting_lead_back_to_it_but_for_the_rounding(settings: Settings) -> None:
    back = SGNN_SPACE.settings(SGNN_SPACE.parameters(settings, SGNNParameters()))
    quotients = [d.name for d in SGNN_SPACE if isinstance(d, Ratio)]
    assert {k: v for k, v in back.items() if k not in quotients} == {
        k: v for k, v in settings.items() if k not in quotients
    }
    # A threshold of 50 or more is rounded by half a unit at most: 1 % of the quotient.
    assert back["graph_w/paper_vth"] == pytest.approx(settings["graph_w/paper_vth"], rel=0.01)


@pytest.mark.parametrize(
    ("space", "start"),
    [(SGNN_SPACE, SGNNParameters()), (ORNL_SPACE, CORA), (ORNL_SPACE, CITESEER)],
)
def test_the_untuned_parameters_are_a_point_of_the_space(
    space: Space, start: SGNNParameters | FloatSGNNParameters
) -> None:
    assert space.parameters(space.settings(start), start) == start
    space.check(start)


def test_a_quotient_rounds_the_threshold_of_integers_and_keeps_that_of_reals() -> None:
    whole, real = {"w": 200, "vth": 100}, {"w": 2.0, "vth": 1.0}
    Ratio("w/vth", 0.4, 4.0).write(whole, 3.0)
    Ratio("w/vth", 0.4, 4.0).write(real, 3.0)
    assert (whole["vth"], real["vth"]) == (67, pytest.approx(2 / 3))
    assert isinstance(whole["vth"], int)


@pytest.mark.parametrize(("quotient", "threshold"), [(0.1, 400), (100.0, 20)])
def test_a_derived_threshold_stays_within_its_own_bounds(quotient: float, threshold: int) -> None:
    fields = {"w": 200, "vth": 100}
    Ratio("w/vth", 0.05, 200.0, within=(20, 400)).write(fields, quotient)
    assert fields["vth"] == threshold


def test_quotients_follow_a_weight_that_is_tuned_too_whatever_their_order() -> None:
    dimensions = (Ratio("train_w/topic_vth", 0.2, 3.0), Int("train_w", 20, 255))
    settings: Settings = {"train_w": 60, "train_w/topic_vth": 0.5}
    for order in (dimensions, dimensions[::-1]):
        assert Space(order).parameters(settings, SGNNParameters()).topic_vth == 120


def test_an_item_of_a_tuple_is_a_dimension() -> None:
    tuned = Space((Float("apos_2", 0.0, 1.0),)).parameters({"apos_2": 0.7}, CORA)
    assert tuned.apos == (1.0, 0.5, 0.7, 0.01, 0.001)


@pytest.mark.parametrize(
    ("dimension", "value", "nearest"),
    [
        (Int("a", 6, 16), 40, 16),
        (Int("a", 6, 16), 7.6, 8),
        (Int("a", 6, 16), math.inf, 16),
        (Float("a", 0.5, 2.0), 0.1, 0.5),
        (Ratio("a/b", 0.5, 2.0), math.inf, 2.0),
        (Choice("a", (0, 256, 4095)), 1000, 256),
        (Choice("a", ("x", "y")), "y", "y"),
        (Choice("a", ("x", "y")), "z", "x"),
    ],
)
def test_a_value_outside_is_moved_to_the_nearest_that_is_allowed(
    dimension: Dimension, value: float | str, nearest: float | str
) -> None:
    assert dimension.nearest(value) == nearest


def test_drawn_values_are_allowed_and_of_plain_types() -> None:
    drawn = [
        SGNN_SPACE.suggest(study.ask())
        for study in [optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))]
        for _ in range(200)
    ]
    for dimension in SGNN_SPACE:
        values = [settings[dimension.name] for settings in drawn]
        assert [dimension.nearest(value) for value in values] == values
        assert {type(value) for value in values} <= {int, float}
        if isinstance(dimension, Int):
            assert {type(value) for value in values} == {int}


def test_wide_whole_numbers_are_drawn_evenly() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    dimension = Int("a", 0, 99)
    drawn = np.array([dimension.suggest(study.ask()) for _ in range(2000)])
    quarters = np.histogram(drawn, bins=[0, 25, 50, 75, 100])[0]
    # 500 are expected in each, with a standard deviation of 19.4; 6 of these are allowed.
    assert np.abs(quarters - 500).max() < 117


def test_parts_of_a_space_keep_the_order_that_is_asked_for() -> None:
    assert SGNN_SPACE.only("window", "tau_plus").names == ("window", "tau_plus")
    rest = SGNN_SPACE.without("window", "tau_plus")
    assert len(rest) == len(SGNN_SPACE) - 2
    assert "window" not in rest.names


def test_a_space_is_extended_by_unpacking_it() -> None:
    wider = Space((*SGNN_SPACE, Int("test_exp", -12, -6)))
    assert wider.parameters({"test_exp": -9}, SGNNParameters()).test_exp == -9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Int("window", 6, 6), "low=6 must be below high=6"),
        (lambda: Int("window", 6.5, 9), "6.5 must be a whole number"),
        (lambda: Float("x", 0.0, math.inf), "inf must be a finite number"),
        (lambda: Float("x", 0.0, 1.0, log=True), "has no logarithm"),
        (lambda: Ratio("x", 0.1, 1.0), "'weight/threshold'"),
        (lambda: Ratio("x/y", -1.0, 1.0), "low=-1.0"),
        (lambda: Ratio("x/y", 0.1, 1.0, within=(5, 5)), "holds nothing"),
        (lambda: Choice("x", (1,)), "two or more"),
        (lambda: Choice("x", (1, 1)), "two or more"),
        (lambda: Choice("x", (1, None)), "None must be a number or a text"),
        (lambda: Space(()), "no dimension is left"),
        (lambda: Space(("window",)), "'window' is no dimension"),
        (lambda: Space((Int("a", 0, 1), Float("a", 0, 1))), "two dimensions set 'a'"),
        (lambda: Space((Ratio("a/b", 1, 2), Int("b", 0, 1))), "two dimensions set 'b'"),
        (lambda: SGNN_SPACE.only("windw"), "Did you mean 'window'"),
        (lambda: SGNN_SPACE.without(*SGNN_SPACE.names), "no dimension is left"),
    ],
)
def test_spaces_that_cannot_be_searched_are_refused_by_name(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError, match=message):
        make()


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (Int("windw", 6, 16), "Did you mean 'window'"),
        (Ratio("graph_w/paper_vht", 1, 2), "Did you mean 'paper_vth'"),
        (Int("window", 1, 16), "window reaches 1, but window=1"),
        (Int("graph_w", 20, 300), "graph_w reaches 300, but graph_w=300"),
        (Choice("features", (True, "no")), "features reaches 'no'"),
    ],
)
def test_a_space_that_does_not_fit_the_parameters_is_refused_before_the_search(
    dimension: Dimension, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        Space((dimension,)).check(SGNNParameters())
