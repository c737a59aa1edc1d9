"""REMEDIAL and REMEDIAL-HwR against plain loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labkit.errors import ParameterError
from labkit.oversampling.imbalance import scumble
from labkit.oversampling.resampling import MLROS, MLSOL, REMEDIAL, MLeNN, REMEDIALHwR

NAN = float("nan")


@st.composite
def label_matrices(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(2, 14), st.integers(1, 5)))
    Y = draw(
        arrays(float, shape, elements=st.sampled_from([0.0, 1.0, 1.0, NAN]), fill=st.nothing())
    )
    Y[0, 0] = 1.0
    return Y


@settings(deadline=None, max_examples=150)
@given(label_matrices())
def test_rows_with_high_scumble_are_split_as_in_the_pseudocode(Y: np.ndarray) -> None:
    n, q = Y.shape
    counts = [int((column == 1).sum()) for column in Y.T]
    ratios = [Fraction(max(counts), c) if c else Fraction(0) for c in counts]
    mean_ir = sum(ratios) / sum(r > 0 for r in ratios)
    level = scumble(Y, per="instance")
    first, appended = [], []
    for i in range(n):
        row = list(Y[i])
        if level[i] > level.mean() + 1e-12:
            copy = list(row)
            for j in range(q):
                if np.isnan(row[j]):
                    continue
                if ratios[j] > mean_ir:
                    copy[j] = 0.0
                else:
                    row[j] = 0.0
            appended.append(copy)
        first.append(row)
    sampler = REMEDIAL()
    X_new, Y_new = sampler.fit_resample(np.arange(n).reshape(-1, 1), Y)
    np.testing.assert_array_equal(Y_new, np.array(first + appended))
    np.testing.assert_array_equal(X_new[:, 0], sampler.sample_indices_)
    assert sampler.is_decoupled_.sum() == 2 * len(appended)
    assert not sampler.is_synthetic_.any()


@settings(deadline=None, max_examples=100)
@given(label_matrices())
def test_splitting_changes_no_label_count(Y: np.ndarray) -> None:
    _, Y_new = REMEDIAL().fit_resample(np.zeros((len(Y), 1)), Y)
    np.testing.assert_array_equal((Y_new == 1).sum(axis=0), (Y == 1).sum(axis=0))


def test_rows_that_all_mix_alike_are_not_split() -> None:
    # Every row has the same SCUMBLE; that the mean of equal floats may differ from them in the last
    # digit must not matter.
    for n in range(2, 40):
        Y = np.zeros((n, n + 1))
        Y[:, 0], Y[np.arange(n), 1 + np.arange(n)] = 1, 1
        assert len(REMEDIAL().fit_resample(np.zeros((n, 1)), Y)[1]) == n


def test_the_second_step_resamples_the_split_rows() -> None:
    rng = np.random.default_rng(0)
    X = np.arange(120).reshape(-1, 1)
    Y = (rng.random((120, 4)) < [0.9, 0.5, 0.2, 0.05]).astype(int)
    X_split, Y_split = REMEDIAL().fit_resample(X, Y)
    X_expected, Y_expected = MLROS(random_state=3).fit_resample(X_split, Y_split)
    for sampler in (REMEDIALHwR(random_state=3), REMEDIALHwR(MLROS(random_state=3))):
        X_new, Y_new = sampler.fit_resample(X, Y)
        np.testing.assert_array_equal(X_new, X_expected)
        np.testing.assert_array_equal(Y_new, Y_expected)
        np.testing.assert_array_equal(X_new[:, 0], sampler.sample_indices_)


@pytest.mark.parametrize("second", ["mlros", "mlsmote", "mlenn", MLSOL(P=0.5, random_state=1)])
def test_rows_of_every_hybrid_name_their_source(second) -> None:
    rng = np.random.default_rng(1)
    X = rng.random((150, 3))
    Y = (rng.random((150, 4)) < [0.9, 0.5, 0.2, 0.1]).astype(int)
    sampler = REMEDIALHwR(second, random_state=0)
    X_new, Y_new = sampler.fit_resample(X, Y)
    plain = ~sampler.is_synthetic_
    np.testing.assert_array_equal(X_new[plain], X[sampler.sample_indices_[plain]])
    untouched = plain & ~sampler.is_decoupled_
    np.testing.assert_array_equal(Y_new[untouched], Y[sampler.sample_indices_[untouched]])
    assert sampler.report_after_.n_samples == len(Y_new)


def test_the_given_sampler_is_not_changed_by_a_fit() -> None:
    second = MLeNN()
    rng = np.random.default_rng(0)
    Y = (rng.random((40, 3)) < 0.4).astype(int)
    REMEDIALHwR(second).fit_resample(rng.random((40, 2)), Y)
    assert not hasattr(second, "sample_indices_")


def test_an_unknown_second_step_is_refused_with_the_ones_allowed() -> None:
    with pytest.raises(ParameterError, match="'mlros', 'mlsmote', 'mlenn', or a sampler"):
        REMEDIALHwR("smote").fit_resample(np.zeros((2, 1)), np.eye(2))
    with pytest.raises(ParameterError, match="sampler="):
        REMEDIALHwR(["mlros"]).fit_resample(np.zeros((2, 1)), np.eye(2))
