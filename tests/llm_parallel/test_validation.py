"""Scores of predictions, against counts by hand; a constant stands beside every method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.validation import (
    CONSTANT,
    ERROR_COLUMNS,
    error_table,
    mape,
    mape_interval,
    regret,
    spearman,
    with_constant,
)


def rows(measured, predicted, **others):
    n = len(measured)
    table = {
        "set": "mine",
        "method": "model",
        "fold": 0,
        "group": 0,
        "flops": np.ones(n),
        "measured": np.asarray(measured, float),
        "predicted": np.asarray(predicted, float),
        "low": np.nan,
        "high": np.nan,
    }
    return pd.DataFrame({**table, **others})


def test_errors_are_shares_of_what_was_measured():
    assert mape(np.array([1.0, 4.0]), np.array([2.0, 3.0])) == pytest.approx((1 + 0.25) / 2)
    assert mape(np.array([1.0, 4.0]), np.array([1.0, 4.0])) == 0


def test_errors_do_not_depend_on_the_unit_or_the_order():
    rng = np.random.default_rng(0)
    measured, predicted = rng.uniform(1, 2, (2, 30))
    order = rng.permutation(30)
    scores = [mape(measured, predicted), spearman(measured, predicted)]
    again = [f(1e3 * measured[order], 1e3 * predicted[order]) for f in (mape, spearman)]
    np.testing.assert_allclose(again, scores)


def test_interval_of_the_error_is_that_of_a_mean_and_narrows_with_rows():
    """Of 2000 normal errors the percentiles are mean -+ 1.96 s / sqrt(n), to bootstrap noise."""
    rng = np.random.default_rng(1)
    errors = np.abs(rng.normal(0.1, 0.02, 2000))
    low, high = mape_interval(np.ones(2000), 1 + errors)
    half = 1.96 * errors.std() / np.sqrt(2000)
    np.testing.assert_allclose(
        [low, high], errors.mean() + np.array([-half, half]), atol=0.2 * half
    )
    few = mape_interval(np.ones(50), 1 + errors[:50])
    assert few[1] - few[0] > 4 * (high - low)
    assert mape_interval(np.ones(50), 1 + errors[:50]) == few


@pytest.mark.parametrize(
    ("predicted", "expected"), [([1, 2, 3], 1), ([3, 2, 1], -1), ([10, 20, 900], 1)]
)
def test_rank_correlation_sees_order_only(predicted, expected):
    assert spearman(np.array([1.0, 2, 3]), np.array(predicted, float)) == pytest.approx(expected)


def test_a_constant_has_no_rank_correlation_and_no_warning():
    assert np.isnan(spearman(np.array([1.0, 2, 3]), np.ones(3)))


def test_regret_is_what_the_recommendation_costs():
    measured = np.array([10.0, 12, 20, 5, 6])
    predicted = np.array([9.0, 8, 30, 1, 2])
    costs = regret(measured, predicted, np.array([0, 0, 0, 1, 1]), min_choices=2)
    assert costs.to_dict() == pytest.approx({0: 0.2, 1: 0})


def test_regret_is_zero_whatever_monotone_function_is_predicted():
    measured = np.random.default_rng(2).uniform(1, 2, 40)
    groups = np.repeat(np.arange(5), 8)
    assert (regret(measured, np.log(measured) * 7 - 3, groups) == 0).all()
    assert len(regret(measured, measured, groups, min_choices=9)) == 0


def test_predictions_that_cannot_choose_cost_the_mean_of_their_choice():
    costs = regret(np.array([1.0, 3.0]), np.ones(2), np.zeros(2), min_choices=2)
    assert costs[0] == pytest.approx(1.0)


def test_the_constant_is_a_throughput_so_larger_models_take_longer():
    flops = np.array([1.0, 2, 4])
    baseline = with_constant(rows([1, 2, 4], [9, 9, 9], flops=flops))
    assert baseline["predicted"].tolist() == [1, 2, 4]
    assert set(baseline["method"]) == {CONSTANT}


def test_the_constant_of_a_fold_is_that_of_the_other_folds():
    table = rows([1, 1, 2, 2], [1] * 4, fold=[0, 0, 1, 1])
    assert with_constant(table)["predicted"].tolist() == [2, 2, 1, 1]


def test_a_table_has_every_method_the_constant_and_what_others_published():
    good = rows([1, 2, 3], [1, 2, 3], set="vTrain multi", low=[0.9, 2.5, 2], high=[1.1, 3, 4])
    table = error_table(good)
    assert list(table.columns) == list(ERROR_COLUMNS)
    assert table["method"].tolist() == ["model", CONSTANT, "published: vTrain"]
    model, constant, published = (table.iloc[i] for i in range(3))
    assert (model["mape"], model["rank_correlation"], model["n"]) == (0, 1, 3)
    assert model["covered"] == pytest.approx(2 / 3)
    assert constant["mape"] > 0
    assert np.isnan(constant["covered"])
    assert published["mape"] == pytest.approx(0.1473)
    assert published["source"] == "Bang et al., MICRO 2024"
    assert error_table(good, published=False)["method"].tolist() == ["model", CONSTANT]


def test_throughput_is_ranked_not_seconds():
    """Seconds grow with the work in all rows, yet the rates are predicted in reverse."""
    flops = np.array([1.0, 10, 100])
    table = rows(flops / [1, 2, 3], flops / [3, 2, 1], flops=flops)
    assert error_table(table)["rank_correlation"][0] == pytest.approx(-1)
    assert spearman(table["measured"], table["predicted"]) == pytest.approx(1)


def test_incomplete_rows_are_refused():
    with pytest.raises(ParameterError, match="'flops' is missing"):
        error_table(rows([1], [1]).drop(columns="flops"))
    with pytest.raises(ParameterError, match="no row"):
        error_table(rows([], []))
    with pytest.raises(ParameterError, match="shapes"):
        mape(np.ones(2), np.ones(3))
