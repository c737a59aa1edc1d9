"""What all samplers promise: parameters, containers, determinism, pipelines, errors."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.pipeline import make_pipeline
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from labkit.errors import ParameterError
from labkit.oversampling.imbalance import imbalance_report
from labkit.oversampling.resampling import SAMPLERS, IndexSampler, clone_weights, make_sampler
from labkit.oversampling.resampling.base import rows_for

NAN = float("nan")
LABEL_ONLY = ["mlros", "mlrus", "lpros", "lprus", "balancedclones"]
CLONING = ["mlros", "lpros", "balancedclones"]
DELETING = ["mlrus", "lprus", "mlul", "mlenn", "mltl"]

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def example(n: int = 120, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    X = rng.integers(0, 2, size=(n, 12)).astype(np.float64)
    # Rare labels also come with frequent ones, as drug effects do.
    Y = (rng.random((n, 5)) < [0.8, 0.5, 0.3, 0.1, 0.06]).astype(np.float64)
    Y[rng.random(Y.shape) < missing] = NAN
    return X, Y


def test_there_are_twelve_samplers() -> None:
    cloning, deleting = {"mlros", "lpros", "balancedclones"}, {"mlrus", "lprus"}
    judging, writing = {"mlul", "mlenn", "mltl"}, {"mlsmote", "mlsol", "remedial", "remedialhwr"}
    assert set(SAMPLERS) == cloning | deleting | judging | writing


@every_sampler
def test_parameters_survive_clone_and_set_params(name: str) -> None:
    sampler = make_sampler(name, P=0.5, k=4, random_state=9)
    parameters = sampler.get_params(deep=False)
    assert clone(sampler).get_params(deep=False) == parameters
    assert type(sampler)().set_params(**parameters).get_params(deep=False) == parameters
    assert parameters.get("P", 0.5) == 0.5
    assert parameters.get("k_neighbors", 4) == 4
    assert parameters.get("random_state", 9) == 9


@every_sampler
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_same_random_state_gives_the_same_rows(name: str, missing: float) -> None:
    X, Y = example(missing=missing)
    first, second = (make_sampler(name, random_state=3).fit_resample(X, Y) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    generator = make_sampler(name, random_state=np.random.default_rng(3)).fit_resample(X, Y)
    np.testing.assert_array_equal(generator[0], first[0])


@pytest.mark.parametrize(
    "name", [n for n in SAMPLERS if n not in ("mlenn", "mltl", "remedial", "balancedclones")]
)
def test_another_random_state_gives_other_rows(name: str) -> None:
    X, Y = example()
    outcomes = {
        pickle.dumps(make_sampler(name, random_state=s).fit_resample(X, Y)[0]) for s in range(6)
    }
    assert len(outcomes) > 1


@every_sampler
def test_the_global_random_state_is_neither_read_nor_written(name: str) -> None:
    X, Y = example()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_sampler(name, random_state=0).fit_resample(X, Y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@every_sampler
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_rows_that_are_not_synthetic_are_source_rows(name: str, missing: float) -> None:
    X, Y = example(missing=missing)
    X_given, Y_given = X.copy(), Y.copy()
    sampler = make_sampler(name, random_state=1)
    X_new, Y_new = sampler.fit_resample(X, Y)
    np.testing.assert_array_equal(X, X_given)
    np.testing.assert_array_equal(Y, Y_given)
    rows, plain = sampler.sample_indices_, ~sampler.is_synthetic_
    assert len(rows) == len(plain) == len(X_new) == len(Y_new)
    np.testing.assert_array_equal(X_new[plain], X[rows[plain]])
    if isinstance(sampler, IndexSampler):
        assert plain.all()
        np.testing.assert_array_equal(Y_new, Y[rows])
    if name in CLONING:
        assert (clone_weights(rows, len(X)) >= 1).all()
    if name in DELETING:
        assert rows.tolist() == sorted(set(rows.tolist()))


@every_sampler
def test_reports_describe_the_labels_given_and_returned(name: str) -> None:
    X, Y = example(missing=0.2)
    sampler = make_sampler(name, random_state=1)
    with pytest.raises(NotFittedError, match="fit_resample"):
        sampler.report_before_  # noqa: B018 - reading it is the test
    for seed in (1, 2):
        # The second fit must not show the first one's report.
        if "random_state" in sampler.get_params():
            sampler.set_params(random_state=seed)
        _, Y_new = sampler.fit_resample(X, Y)
        for report, labels in ((sampler.report_before_, Y), (sampler.report_after_, Y_new)):
            expected = imbalance_report(labels)
            pd.testing.assert_series_equal(report.summary(), expected.summary())
    table = imbalance_report(Y).labels
    assert sampler.minority_labels_.tolist() == np.flatnonzero(table.minority).tolist()


@every_sampler
def test_data_frames_come_back_as_data_frames_that_fit_together(name: str) -> None:
    X, Y = example()
    frame_x = pd.DataFrame(X, columns=[f"bit {i}" for i in range(12)], index=range(500, 620))
    frame_y = pd.DataFrame(Y.astype(int), columns=list("abcde"), index=range(500, 620))
    X_new, Y_new = make_sampler(name, random_state=1).fit_resample(frame_x, frame_y)
    expected_x, expected_y = make_sampler(name, random_state=1).fit_resample(X, Y)
    assert list(X_new.columns) == list(frame_x.columns)
    assert list(Y_new.columns) == list("abcde")
    assert (Y_new.dtypes == frame_y.dtypes).all()
    assert X_new.index.equals(Y_new.index)
    np.testing.assert_array_equal(X_new.to_numpy(), expected_x)
    np.testing.assert_array_equal(Y_new.to_numpy(), expected_y)


@every_sampler
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csr_array, sparse.coo_array])
def test_sparse_matrices_come_back_sparse(name: str, form) -> None:
    X, Y = example(missing=0.1)
    X_new, Y_new = make_sampler(name, random_state=1).fit_resample(form(X), form(Y))
    expected_x, expected_y = make_sampler(name, random_state=1).fit_resample(X, Y)
    assert X_new.format == form(X).format
    assert Y_new.format == form(Y).format
    assert isinstance(X_new, sparse.sparray) == isinstance(form(X), sparse.sparray)
    assert isinstance(Y_new, sparse.sparray) == isinstance(form(Y), sparse.sparray)
    np.testing.assert_allclose(X_new.toarray(), expected_x, atol=1e-12)
    np.testing.assert_array_equal(Y_new.toarray(), expected_y)


@every_sampler
def test_lists_and_nullable_columns_come_back_as_they_were(name: str) -> None:
    X, Y = example()
    frame = pd.DataFrame(Y).astype("Int8")
    frame.iloc[0, 0] = pd.NA
    _, Y_new = make_sampler(name, random_state=1).fit_resample(X, frame)
    assert (Y_new.dtypes == "Int8").all()
    X_list, Y_list = make_sampler(name, random_state=1).fit_resample(X.tolist(), Y.tolist())
    assert isinstance(X_list, list)
    assert isinstance(Y_list, list)
    assert len(X_list) == len(Y_list)


@pytest.mark.parametrize("name", [*LABEL_ONLY, "remedial"])
def test_samplers_that_look_at_labels_only_take_smiles(name: str) -> None:
    _, Y = example()
    smiles = [f"C{'C' * i}O" for i in range(len(Y))]
    sampler = make_sampler(name, random_state=1)
    resampled, _ = sampler.fit_resample(smiles, Y)
    assert resampled == [smiles[row] for row in sampler.sample_indices_]
    array, _ = make_sampler(name, random_state=1).fit_resample(np.array(smiles), Y)
    assert array.tolist() == resampled


@every_sampler
def test_samplers_work_in_a_pipeline_under_cross_validation(name: str) -> None:
    X, Y = example(150)
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    pipeline = make_pipeline(make_sampler(name, random_state=0), forest)
    scores = cross_val_score(pipeline, X, Y.astype(int), cv=3, scoring="f1_micro")
    assert np.isfinite(scores).all()
    assert (scores > 0).all()


@pytest.mark.parametrize("name", [n for n in SAMPLERS if issubclass(SAMPLERS[n], IndexSampler)])
def test_fit_indices_chooses_the_rows_that_fit_resample_returns(name: str) -> None:
    X, Y = example(missing=0.2)
    rows = make_sampler(name, random_state=5).fit_indices(Y, X)
    sampler = make_sampler(name, random_state=5)
    sampler.fit_resample(X, Y)
    np.testing.assert_array_equal(rows, sampler.sample_indices_)
    if name in LABEL_ONLY:
        np.testing.assert_array_equal(make_sampler(name, random_state=5).fit_indices(Y), rows)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["mlenn", "mltl", "remedial"]), st.integers(0, 10_000))
def test_deterministic_samplers_do_not_depend_on_the_order_of_rows(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3))
    Y = (rng.random((40, 4)) < [0.8, 0.5, 0.3, 0.1]).astype(float)
    order = rng.permutation(40)
    one, other = make_sampler(name), make_sampler(name)
    one.fit_resample(X, Y)
    other.fit_resample(X[order], Y[order])
    assert sorted(order[other.sample_indices_].tolist()) == sorted(one.sample_indices_.tolist())


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LABEL_ONLY), st.integers(2, 4), st.integers(0, 10_000))
def test_repeating_all_rows_multiplies_the_rows_asked_for(name: str, times: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Y = (rng.random((40, 4)) < [0.8, 0.5, 0.3, 0.1]).astype(float)
    Y[0] = 1
    sampler = make_sampler(name, P=0.25, random_state=seed)
    changed = abs(len(sampler.fit_indices(np.tile(Y, (times, 1)))) - 40 * times)
    assert changed <= rows_for(0.25, 40 * times) == 10 * times
    assert sampler.report_before_.mean_ir == pytest.approx(imbalance_report(Y).mean_ir)


def test_fractions_of_rows_are_rounded_down_without_floating_point_surprises() -> None:
    assert rows_for(0.29, 100) == 29
    assert rows_for(0.25, 593) == 148
    assert rows_for(0.1, 9) == 0


@pytest.mark.parametrize(
    "name", ["mlros", "mlrus", "lpros", "lprus", "mlsol", "mlul", "balancedclones"]
)
@pytest.mark.parametrize("P", [0, -0.25, NAN, float("inf"), "0.25", None, True])
def test_a_fraction_that_is_not_allowed_is_named(name: str, P: object) -> None:
    X, Y = example(20)
    sampler = SAMPLERS[name](P=P)
    with pytest.raises(ParameterError, match=r"P=.* is not allowed .* fraction .* greater than 0"):
        sampler.fit_resample(X, Y)


@pytest.mark.parametrize("name", ["mlrus", "lprus", "mlul"])
def test_undersamplers_cannot_delete_all_rows(name: str) -> None:
    X, Y = example(20)
    with pytest.raises(ParameterError, match=r"P=1.0 .* less than 1"):
        SAMPLERS[name](P=1.0).fit_resample(X, Y)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("mlul", {"k_neighbors": 0}, "k_neighbors=0"),
        ("mlsol", {"k_neighbors": True}, "integer of at least 1"),
        ("mlenn", {"threshold": 1.0}, "threshold=1.0 .* less than 1"),
        ("mltl", {"threshold": NAN}, "threshold=nan"),
        ("mltl", {"mode": "both"}, "'undersampling', 'cleaning'"),
        ("mlenn", {"denominator": "q"}, "'sum', 'union'"),
        ("balancedclones", {"max_copies": 0}, "max_copies=0"),
        ("balancedclones", {"max_copies": 2.5}, "at least 1, or None"),
        ("mlros", {"random_state": -1}, "random_state=-1"),
        ("lpros", {"random_state": "seed"}, "random_state='seed'"),
    ],
)
def test_other_parameters_that_are_not_allowed_are_named(name, parameters, message) -> None:
    X, Y = example(20)
    with pytest.raises(ParameterError, match=message):
        SAMPLERS[name](**parameters).fit_resample(X, Y)


@every_sampler
def test_labels_without_any_positive_and_rows_that_do_not_match_are_refused(name: str) -> None:
    sampler = make_sampler(name)
    with pytest.raises(ParameterError, match="no positive label"):
        sampler.fit_resample(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ParameterError, match="X has 3 rows and Y has 4"):
        sampler.fit_resample(np.zeros((3, 2)), np.eye(4))
    with pytest.raises(ParameterError, match="allowed are 0, 1 and nan"):
        sampler.fit_resample(np.zeros((2, 2)), np.array([[0, 3], [1, 0]]))


@pytest.mark.parametrize("name", [*LABEL_ONLY, "remedial"])
def test_one_row_and_balanced_labels_pass_through(name: str) -> None:
    X_new, _ = make_sampler(name, P=0.5).fit_resample(np.ones((1, 2)), np.array([[1]]))
    assert X_new.shape == (1, 2)
    balanced = np.tile(np.eye(3), (5, 1))
    rows = make_sampler(name, P=0.5, random_state=0).fit_resample(np.ones((15, 2)), balanced)[0]
    assert rows.shape == (15, 2)


def test_a_legacy_random_state_is_accepted() -> None:
    _, Y = example()
    one, other = (
        make_sampler("mlros", random_state=np.random.RandomState(4)).fit_indices(Y)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_make_sampler_suggests_a_near_name() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'mlsmote'"):
        make_sampler("ml-smote")
    assert type(make_sampler("MLeNN")).__name__ == "MLeNN"
