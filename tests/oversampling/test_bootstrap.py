"""Bootstrap intervals: against resampling row by row, a closed form, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from labkit.errors import ParameterError
from labkit.oversampling.bootstrap import METRICS, bootstrap_per_label, paired_bootstrap
from labkit.oversampling.evaluation import multilabel_scores, regression_scores


def _two_predictions(n=120, q=3, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, q)) < [0.5, 0.3, 0.2][:q]).astype(float)
    P_a = (0.2 * Y + 0.8 * rng.random((n, q))).round(2)
    P_b = (0.4 * Y + 0.6 * rng.random((n, q))).round(2)
    Y[rng.random((n, q)) < missing] = np.nan
    return Y, P_a, P_b


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("metric", METRICS)
def test_weighted_scores_equal_scoring_the_resampled_rows(metric, missing):
    """The same seed draws the same samples for a callable, which is scored row by row."""
    Y, P_a, P_b = _two_predictions(missing=missing)
    scores = regression_scores if metric in ("mae", "rmse", "r2") else multilabel_scores

    def row_by_row(y, p):
        return scores(y, p).summary[metric]

    fast = paired_bootstrap(Y, P_a, P_b, metric, n=40, seed=5)
    slow = paired_bootstrap(Y, P_a, P_b, row_by_row, n=40, seed=5)
    assert (fast.difference, fast.low, fast.high) == pytest.approx(
        (slow.difference, slow.low, slow.high), abs=1e-9
    )


def test_interval_of_a_mean_difference_has_the_normal_closed_form():
    """MAE is a mean, so the interval is mean +- 1.96 sd / sqrt(n); 4,000 draws know it to 5 %."""
    rng = np.random.default_rng(0)
    Y = np.zeros((400, 1))
    P_a, P_b = rng.normal(size=(2, 400, 1))
    difference = (np.abs(P_b) - np.abs(P_a)).ravel()
    half = 1.96 * difference.std() / np.sqrt(400)
    found = paired_bootstrap(Y, P_a, P_b, "mae", n=4000)
    assert found.difference == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - half, abs=0.08 * half)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.08 * half)


def test_intervals_cover_the_true_difference_about_as_often_as_they_say():
    """90 % intervals, 300 experiments: the binomial sd is 1.7 %; such intervals are a bit short."""
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        P_a, P_b = rng.normal(0, 1, (60, 1)), rng.normal(0, 2, (60, 1))
        found = paired_bootstrap(np.zeros((60, 1)), P_a, P_b, "mae", n=200, seed=seed, level=0.9)
        covered += found.low <= np.sqrt(2 / np.pi) <= found.high  # E|2z| - E|z|
    assert 0.83 < covered / 300 < 0.96


def test_equal_predictions_differ_by_exactly_nothing():
    Y, P, _ = _two_predictions()
    found = paired_bootstrap(Y, P, P, "macro_auc", n=50)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_swapping_the_predictions_mirrors_the_interval():
    Y, P_a, P_b = _two_predictions()
    one = paired_bootstrap(Y, P_a, P_b, "macro_ap", n=100)
    two = paired_bootstrap(Y, P_b, P_a, "macro_ap", n=100)
    assert (one.difference, one.low, one.high) == pytest.approx(
        (-two.difference, -two.high, -two.low)
    )
    assert one.low < one.difference < one.high
    assert one.low > 0


def test_each_prediction_has_its_own_thresholds():
    Y, P, _ = _two_predictions()
    found = paired_bootstrap(Y, P, P, "macro_f1", n=20, thresholds_b=np.array([0.4, 0.3, 0.2]))
    expected = multilabel_scores(Y, P, [0.4, 0.3, 0.2]).summary["macro_f1"]
    expected -= multilabel_scores(Y, P).summary["macro_f1"]
    assert found.difference == pytest.approx(expected)


def test_difference_is_that_of_all_molecules_and_seeds_repeat():
    Y, P_a, P_b = _two_predictions()
    found = paired_bootstrap(Y, P_a, P_b, n=30, seed=1)
    auc = metrics.roc_auc_score(Y, P_b) - metrics.roc_auc_score(Y, P_a)
    assert found.difference == pytest.approx(auc)
    assert found == paired_bootstrap(Y, P_a, P_b, n=30, seed=1)
    assert found != paired_bootstrap(Y, P_a, P_b, n=30, seed=2)


@pytest.mark.parametrize("metric", ["precision", "recall", "f1", "auc", "ap"])
def test_label_intervals_hold_the_score_of_the_label(metric):
    Y, P, _ = _two_predictions(missing=0.2)
    Y[:, 2] = np.nan
    found = bootstrap_per_label(Y, P, metric, n=200)
    expected = multilabel_scores(Y, P).per_label[metric]
    np.testing.assert_allclose(found["score"][:2], expected[:2])
    assert ((found["low"] < found["score"]) & (found["score"] < found["high"]))[:2].all()
    assert found.loc[2].isna().all()


def test_bad_requests_are_errors():
    Y, P, _ = _two_predictions()
    with pytest.raises(ParameterError, match="macro_auc"):
        paired_bootstrap(Y, P, P, "accuracy")
    with pytest.raises(ParameterError, match="n=0"):
        paired_bootstrap(Y, P, P, n=0)
    with pytest.raises(ParameterError, match="level=2"):
        paired_bootstrap(Y, P, P, level=2)
    with pytest.raises(ParameterError, match="metric='mae'"):
        bootstrap_per_label(Y, P, "mae")
