"""Scores against scikit-learn, brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn import metrics

from labkit.errors import ParameterError
from labkit.oversampling.data import load_molecules
from labkit.oversampling.evaluation import (
    multilabel_scores,
    regression_scores,
    trivial_baselines,
    tune_thresholds,
)


def _example(n=200, q=6, seed=0, decimals=1, missing=0.0):
    """Labels, tied probabilities (rounded) and some unknown labels."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, q)) < np.linspace(0.1, 0.6, q)).astype(float)
    P = np.clip(0.3 * Y + 0.7 * rng.random((n, q)), 0, 1).round(decimals)
    Y[rng.random((n, q)) < missing] = np.nan
    return Y, P


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_complete_labels_give_the_scores_of_scikit_learn(decimals, threshold):
    Y, P = _example(decimals=decimals)
    summary = multilabel_scores(Y, P, threshold).summary
    for average in ("micro", "macro", "samples"):
        for name in ("precision", "recall", "f1"):
            score = getattr(metrics, f"{name}_score")
            expected = score(Y, threshold <= P, average=average, zero_division=0)
            assert summary[f"{average}_{name}"] == pytest.approx(expected, abs=1e-12), name
    assert summary["macro_auc"] == pytest.approx(metrics.roc_auc_score(Y, P), abs=1e-12)
    ap = metrics.average_precision_score(Y, P)
    assert summary["macro_ap"] == pytest.approx(ap, abs=1e-12)


def test_unknown_labels_count_nowhere():
    Y, P = _example(missing=0.4)
    per_label = multilabel_scores(Y, P).per_label
    for i, row in per_label.iterrows():
        known = ~np.isnan(Y[:, i])
        y, p = Y[known, i], P[known, i]
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
        assert row["ap"] == pytest.approx(metrics.average_precision_score(y, p), abs=1e-12)
        assert row["f1"] == pytest.approx(metrics.f1_score(y, p >= 0.5), abs=1e-12)
        assert row["n_missing"] == (~known).sum()
        assert row["n_positive"] + row["n_negative"] == known.sum()


def test_predictions_for_unknown_labels_change_nothing():
    Y, P = _example(missing=0.4)
    other = np.where(np.isnan(Y), 1 - P, P)
    first, second = multilabel_scores(Y, P), multilabel_scores(Y, other)
    assert first.summary.equals(second.summary)
    assert first.per_label.equals(second.per_label)


def test_macro_averages_leave_out_labels_that_cannot_be_scored_and_count_the_others():
    Y, P = _example(q=3)
    extended = np.column_stack([Y, np.zeros(200), np.ones(200), np.full(200, np.nan)])
    scores = multilabel_scores(extended, np.column_stack([P, P]))
    expected = multilabel_scores(Y, P)
    for name in ("macro_precision", "macro_recall", "macro_f1", "macro_auc", "macro_ap"):
        assert scores.summary[name] == pytest.approx(expected.summary[name], abs=1e-12)
    assert scores.summary["n_labels_scored"] == 3
    assert scores.summary["n_labels"] == 6
    assert scores.per_label["scored"].tolist() == [True] * 3 + [False] * 3
    assert scores.per_label.loc[3:, ["auc", "ap"]].isna().all(axis=None)


def test_no_label_that_can_be_scored_gives_nan_not_zero():
    scores = multilabel_scores(np.zeros((4, 2)), np.full((4, 2), 0.2))
    assert np.isnan(scores.summary["macro_auc"])
    assert np.isnan(scores.summary["macro_f1"])
    assert scores.summary["n_labels_scored"] == 0


def test_threshold_is_inclusive_and_may_differ_by_label():
    Y = np.array([[1, 1], [0, 0]])
    P = np.array([[0.5, 0.2], [0.4, 0.1]])
    assert multilabel_scores(Y, P, np.array([0.5, 0.2])).summary["micro_f1"] == 1
    assert multilabel_scores(Y, P, np.array([0.6, 0.2])).per_label["f1"].tolist() == [0, 1]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 25), st.integers(0, 10**6), st.sampled_from([1, 2, 8]), st.booleans())
def test_tuned_thresholds_have_the_largest_f1_of_all_thresholds(n, seed, decimals, missing):
    Y, P = _example(n, 3, seed, decimals, missing=0.3 * missing)
    cut = tune_thresholds(Y, P)
    for label in range(3):
        known = ~np.isnan(Y[:, label])
        y, p = Y[known, label], P[known, label]
        if not y.sum():
            assert cut[label] == 0.5
            continue
        candidates = [*np.unique(p), 1.1]
        f1 = {t: 2 * y[p >= t].sum() / (y.sum() + (p >= t).sum()) for t in candidates}
        best = max(f1.values())
        highest = max(t for t in candidates if f1[t] >= best - 1e-12)
        assert np.array_equal(p >= cut[label], p >= highest)


def test_tuned_threshold_lies_midway_to_the_next_lower_score():
    Y = np.array([[1], [1], [0], [np.nan]])
    P = np.array([[0.9], [0.6], [0.2], [0.4]])
    assert tune_thresholds(Y, P) == pytest.approx([0.4])
    assert tune_thresholds(Y[:2], P[:2]) == pytest.approx([0.3])


def test_neighboring_floats_are_still_separated():
    low = 0.3
    high = np.nextafter(low, 1)
    cut = tune_thresholds(np.array([[1], [0]]), np.array([[high], [low]]))
    assert low < cut[0] <= high


@pytest.mark.parametrize(
    ("Y", "P", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "same shape"),
        (np.zeros(3), np.zeros(3), "n_molecules, n_labels"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "not empty"),
        (np.zeros((2, 1)), np.array([[0.1], [np.nan]]), "1 rows, the first 1"),
        (np.full((2, 1), 2.0), np.zeros((2, 1)), "has the value 2"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(Y, P, message):
    with pytest.raises(ParameterError, match=message):
        multilabel_scores(Y, P)


def test_bad_thresholds_and_names_are_errors():
    Y, P = _example(q=3)
    with pytest.raises(ParameterError, match="each of the 3"):
        multilabel_scores(Y, P, np.array([0.5, 0.5]))
    with pytest.raises(ParameterError, match="label_names"):
        multilabel_scores(Y, P, label_names=["a"])


def test_regression_scores_equal_scikit_learn_on_known_targets():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(80, 4)).round(1)
    P = Y + rng.normal(scale=0.5, size=(80, 4))
    Y[rng.random((80, 4)) < 0.3] = np.nan
    per_label = regression_scores(Y, P).per_label
    for i, row in per_label.iterrows():
        known = ~np.isnan(Y[:, i])
        y, p = Y[known, i], P[known, i]
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
        assert row["rmse"] ** 2 == pytest.approx(metrics.mean_squared_error(y, p))
        assert row["r2"] == pytest.approx(metrics.r2_score(y, p))
        ranks = [np.array([(v > x).sum() + (v == x).sum() / 2 for v in x]) for x in (y, p)]
        assert row["spearman"] == pytest.approx(np.corrcoef(ranks)[0, 1])
    summary = regression_scores(Y, P).summary
    assert summary["r2"] == pytest.approx(per_label["r2"].mean())
    assert summary["n_targets_scored"] == 4


def test_constant_or_unknown_targets_do_not_enter_r2():
    Y = np.column_stack([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [np.nan] * 3])
    summary = regression_scores(Y, np.nan_to_num(Y)).summary
    assert summary[["r2", "spearman", "mae"]].tolist() == [1.0, 1.0, 0.0]
    assert summary["n_targets"] == 3
    assert summary["n_targets_scored"] == 1


def test_constant_prediction_ranks_nothing():
    scores = regression_scores(np.arange(4.0)[:, None], np.full((4, 1), 1.5))
    assert scores.summary["spearman"] == 0
    assert scores.summary["r2"] == pytest.approx(0)


def test_all_positive_baseline_has_the_closed_form_f1():
    """F1 = 2 p / (1 + p) for a label of frequency p; AUC is 1/2 by symmetry."""
    Y, _ = _example()
    scores = trivial_baselines(Y, Y)["all_positive"]
    p = Y.mean(axis=0)
    np.testing.assert_allclose(scores.per_label["f1"], 2 * p / (1 + p))
    np.testing.assert_allclose(scores.per_label["auc"], 0.5)


def test_label_frequency_baseline_calls_only_common_labels_positive():
    Y_train = np.array([[1, 0, np.nan], [1, 0, np.nan], [0, 1, np.nan]])
    scores = trivial_baselines(Y_train, np.array([[1, 1, 1], [0, 0, 0]]))["label_frequency"]
    assert scores.per_label["recall"].tolist() == [1, 0, 0]


def test_all_positive_is_a_strong_line_on_sider(labkit_data):
    """Macro-F1 near 2/3 without looking at a molecule: mean of 2 p / (1 + p) over 27 labels."""
    Y = load_molecules("sider").Y
    summary = trivial_baselines(Y, Y)["all_positive"].summary
    p = Y.mean(axis=0)
    assert summary["macro_f1"] == pytest.approx((2 * p / (1 + p)).mean())
    assert summary["macro_f1"] == pytest.approx(0.679, abs=0.001)


def test_a_label_without_positives_drags_a_plain_macro_average_down_on_sider(labkit_data):
    """The last 143 of permutation 2 lack one label: plain mean .655 over 27, .680 over the 26."""
    Y = load_molecules("sider").Y
    test = Y[np.random.default_rng(2).permutation(len(Y))[-143:]]
    plain = metrics.f1_score(test, np.ones_like(test), average="macro", zero_division=0)
    summary = trivial_baselines(Y, test)["all_positive"].summary
    assert plain == pytest.approx(0.655, abs=0.001)
    assert summary["macro_f1"] == pytest.approx(plain * 27 / 26)
    assert summary["n_labels_scored"] == 26
    assert summary["micro_f1"] == pytest.approx(0.703, abs=0.001)


def test_sparse_labels_score_as_dense_ones():
    rng = np.random.default_rng(3)
    Y, P = (rng.random((40, 3)) < 0.4).astype(float), rng.random((40, 3))
    dense = multilabel_scores(Y, P).summary
    pd.testing.assert_series_equal(multilabel_scores(csr_array(Y), P).summary, dense)
