"""MLSMOTE: every synthetic row is explained by the published pseudocode, written out in loops."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from labkit.errors import ParameterError
from labkit.oversampling.resampling import MLSMOTE

NAN = float("nan")
SEEDS = st.integers(0, 2**31 - 1)
STRATEGIES = st.sampled_from(["ranking", "union", "intersection"])

pytestmark = pytest.mark.filterwarnings("ignore:MLSMOTE makes no row for:UserWarning")


@st.composite
def labels_and_features(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, q = draw(st.integers(2, 14)), draw(st.integers(1, 5))
    Y = draw(
        arrays(float, (n, q), elements=st.sampled_from([0.0, 1.0, 1.0, NAN]), fill=st.nothing())
    )
    Y[0, 0] = 1.0
    X = draw(arrays(np.int64, (n, 3), elements=st.integers(0, 4), fill=st.nothing()))
    return X, Y


def vote(labels: list[np.ndarray], strategy: str) -> list[float]:
    """Labels of a synthetic row from those of its seed and neighbors."""
    new = []
    for column in zip(*labels, strict=True):
        known = [value for value in column if not np.isnan(value)]
        if len(known) < len(column) / 2:
            new.append(NAN)
        elif strategy == "ranking":
            new.append(float(sum(known) > len(known) / 2))
        elif strategy == "union":
            new.append(float(any(value == 1 for value in known)))
        else:
            new.append(float(all(value == 1 for value in known)))
    return new


def counts_of(Y: list[np.ndarray]) -> list[int]:
    return [sum(int(row[j] == 1) for row in Y) for j in range(len(Y[0]))]


def check_by_pseudocode(sampler: MLSMOTE, X: np.ndarray, Y: np.ndarray, X_new, Y_new) -> None:
    """Go through the pseudocode; each step must find the next recorded synthetic row."""
    rows_x, rows_y = [x.astype(float) for x in X], list(Y)
    start = counts_of(rows_y)
    ratios = [Fraction(max(start), c) for c in start if c]
    mean = sum(ratios) / len(ratios)
    growing = sampler.update == "growing"
    position = len(X)
    pending: list[tuple[np.ndarray, np.ndarray]] = []
    for label in range(Y.shape[1]):
        counts = counts_of(rows_y) if growing else start
        if not counts[label] or Fraction(max(counts), counts[label]) <= mean:
            continue
        bag = [i for i, row in enumerate(rows_y) if row[label] == 1]
        for seed in bag:
            others = sorted(
                (round(float(((rows_x[seed] - rows_x[i]) ** 2).sum()), 9), i)
                for i in bag
                if i != seed
            )
            neighbors = [i for _, i in others[: sampler.k_neighbors]]
            if not neighbors:
                continue
            assert sampler.label_indices_[position] == label
            assert sampler.seed_indices_[position] == seed
            partner = sampler.neighbor_indices_[position]
            farthest = others[len(neighbors) - 1][0]
            allowed = neighbors if not growing else [i for d, i in others if d <= farthest + 1e-6]
            assert partner in allowed
            weight = sampler.interpolation_weights_[position]
            assert np.all((weight >= 0) & (weight < 1))
            made = rows_x[seed] + weight * (rows_x[partner] - rows_x[seed])
            np.testing.assert_allclose(X_new[position], made, atol=1e-9)
            if not growing:
                expected = vote([rows_y[seed], *(rows_y[i] for i in neighbors)], sampler.strategy)
                np.testing.assert_array_equal(Y_new[position], expected)
            pending.append((X_new[position], Y_new[position]))
            position += 1
        if growing:
            rows_x += [x for x, _ in pending]
            rows_y += [y for _, y in pending]
            pending = []
    assert position == len(X_new) == len(Y_new)


@settings(deadline=None, max_examples=150)
@given(labels_and_features(), st.integers(1, 6), STRATEGIES, SEEDS)
def test_static_rows_follow_the_published_pseudocode(data, k, strategy, seed) -> None:
    X, Y = data
    sampler = MLSMOTE(k, strategy=strategy, random_state=seed)
    X_new, Y_new = sampler.fit_resample(X, Y)
    np.testing.assert_array_equal(X_new[: len(X)], X)
    np.testing.assert_array_equal(Y_new[: len(Y)], Y)
    check_by_pseudocode(sampler, X, Y, X_new, Y_new)


@settings(deadline=None, max_examples=100)
@given(labels_and_features(), st.integers(1, 6), SEEDS, st.sampled_from(["line", "box"]))
def test_growing_bags_see_the_rows_made_for_earlier_labels(data, k, seed, interpolation) -> None:
    X, Y = data
    sampler = MLSMOTE(k, update="growing", interpolation=interpolation, random_state=seed)
    X_new, Y_new = sampler.fit_resample(X, Y)
    check_by_pseudocode(sampler, X, Y, X_new, Y_new)
    assert (sampler.sample_indices_ < len(X)).all()


def test_growing_votes_of_distinct_rows_follow_the_pseudocode() -> None:
    # Real-valued features have no ties, so that neighbors and votes are the same to the last bit.
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 4))
    # Most rows of the third label have the fourth, so that its bag grows before its turn comes.
    Y = np.zeros((60, 4))
    Y[:, 0], Y[:55, 1], Y[40:55, 2], Y[42:55, 3] = 1, 1, 1, 1
    sampler = MLSMOTE(3, update="growing", random_state=0)
    X_new, Y_new = sampler.fit_resample(X, Y)
    assert len(X_new) > len(MLSMOTE(3, random_state=0).fit_resample(X, Y)[0])
    for row in np.flatnonzero(sampler.is_synthetic_):
        label, seed = sampler.label_indices_[row], sampler.seed_indices_[row]
        start = np.flatnonzero(sampler.label_indices_ == label)[0]
        bag = [i for i in range(start) if Y_new[i, label] == 1 and i != seed]
        near = sorted(bag, key=lambda i, seed=seed: ((X_new[i] - X_new[seed]) ** 2).sum())[:3]
        assert sampler.neighbor_indices_[row] in near
        expected = vote([Y_new[seed], *(Y_new[i] for i in near)], "ranking")
        np.testing.assert_array_equal(Y_new[row], expected)


def test_static_rows_of_real_valued_features_follow_the_pseudocode() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(loc=1e4, size=(80, 6))
    Y = (rng.random((80, 4)) < [0.9, 0.5, 0.2, 0.1]).astype(float)
    sampler = MLSMOTE(5, random_state=1)
    X_new, Y_new = sampler.fit_resample(X, Y)
    minority = Y[:, sampler.minority_labels_].sum()
    assert len(X_new) == 80 + minority
    check_by_pseudocode(sampler, X, Y, X_new, Y_new)


def test_one_row_is_added_for_each_minority_label_of_each_row() -> None:
    # Counts 10, 4, 2: IRLbl 1, 2.5, 5; MeanIR 2.83. Only the last label is a minority.
    Y = np.zeros((10, 3))
    Y[:, 0], Y[:4, 1], Y[8:, 2] = 1, 1, 1
    sampler = MLSMOTE(random_state=0)
    X_new, Y_new = sampler.fit_resample(np.arange(10.0).reshape(-1, 1), Y)
    assert sampler.minority_labels_.tolist() == [2]
    assert sampler.sample_indices_[10:].tolist() == [8, 9]
    assert sampler.neighbor_indices_[10:].tolist() == [9, 8]
    assert sampler.n_neighbors_ == {2: 1}
    assert (X_new[10:] >= 8).all()
    assert (X_new[10:] <= 9).all()
    assert Y_new[10:].tolist() == [[1, 0, 1], [1, 0, 1]]


def test_partner_and_weight_are_uniform() -> None:
    Y = np.zeros((30, 2))
    Y[:, 0], Y[:6, 1] = 1, 1
    X = np.arange(30.0).reshape(-1, 1)
    partners, weights = [], []
    for seed in range(400):
        sampler = MLSMOTE(k_neighbors=5, random_state=seed)
        sampler.fit_resample(X, Y)
        partners.append(sampler.neighbor_indices_[30])
        weights.extend(sampler.interpolation_weights_[30:])
    # 400 draws over five partners of row 0: 80 each, standard deviation 8; five of them.
    assert np.abs(np.bincount(partners, minlength=6)[1:6] - 80).max() < 40
    # 2,400 uniform weights: mean 0.5 with standard deviation 0.006, variance 1/12.
    assert np.mean(weights) == pytest.approx(0.5, abs=0.03)
    assert np.var(weights) == pytest.approx(1 / 12, abs=0.01)


def test_a_bag_of_one_row_makes_none_and_warns_once_with_its_name() -> None:
    Y = pd.DataFrame({"common": [1] * 6, "rare": [1, 0, 0, 0, 0, 0]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sampler = MLSMOTE(random_state=0)
        X_new, _ = sampler.fit_resample(np.zeros((6, 2)), Y)
    assert len(X_new) == 6
    assert [str(w.message) for w in caught] == [
        "MLSMOTE makes no row for 1 minority labels that occur in one row only: rare."
    ]
    assert sampler.n_neighbors_ == {1: 0}


def test_duplicate_rows_are_neighbors_of_each_other_but_never_of_themselves() -> None:
    Y = np.array([[1, 0]] * 10 + [[1, 1]] * 3)
    sampler = MLSMOTE(k_neighbors=2, random_state=0)
    sampler.fit_resample(np.ones((13, 4), dtype=np.uint8), Y)
    made = slice(13, None)
    assert (sampler.seed_indices_[made] != sampler.neighbor_indices_[made]).all()


def test_sampling_ratio_draws_from_all_pairs_whatever_the_label_order() -> None:
    rng = np.random.default_rng(0)
    Y = np.zeros((200, 9))
    Y[:, 0] = 1
    for label in range(1, 9):
        Y[rng.choice(200, size=20, replace=False), label] = 1
    Y[:, 1] = 1
    X = rng.random((200, 3))
    made_for = []
    for seed in range(60):
        sampler = MLSMOTE(sampling_ratio=0.1, random_state=seed)
        X_new, _ = sampler.fit_resample(X, Y)
        assert len(X_new) == 220
        pairs = list(zip(sampler.seed_indices_[200:], sampler.label_indices_[200:], strict=True))
        assert len(set(pairs)) == 20
        made_for.extend(sampler.label_indices_[200:])
    # 1,200 rows over seven labels: 171 each, standard deviation 12; five of them.
    per_label = np.bincount(made_for, minlength=9)[2:]
    assert np.abs(per_label - 1200 / 7).max() < 61


def test_sampling_ratio_above_the_number_of_pairs_adds_all_of_them() -> None:
    rng = np.random.default_rng(2)
    X, Y = rng.random((50, 2)), (rng.random((50, 3)) < [0.9, 0.3, 0.1]).astype(int)
    everything = MLSMOTE(random_state=0).fit_resample(X, Y)[0]
    assert len(MLSMOTE(sampling_ratio=9.0, random_state=0).fit_resample(X, Y)[0]) == len(everything)


def test_nominal_features_take_the_most_frequent_code_of_the_neighbors() -> None:
    X = pd.DataFrame({"size": [0.0, 1.0, 2.0, 3.0] + [9.0] * 8, "salt": [1, 2, 2, 2] + [7] * 8})
    Y = np.array([[1, 1]] * 4 + [[1, 0]] * 8)
    sampler = MLSMOTE(k_neighbors=3, nominal_features=["salt"], random_state=0)
    X_new, _ = sampler.fit_resample(X, Y)
    # Row 0 sees 2, 2, 2; the others see 1, 2, 2.
    assert X_new.salt[12:].tolist() == [2, 2, 2, 2]
    assert X_new.salt.dtype == X.salt.dtype
    with pytest.raises(ParameterError, match="'charge', which is not a column of X"):
        MLSMOTE(nominal_features=["charge"]).fit_resample(X, Y)


def test_a_nominal_mismatch_adds_one_to_the_squared_distance() -> None:
    # From row 0: row 1 differs by 0.8 in the number and in the code, row 2 by 0.9 in the number.
    X = np.array([[0.0, 0], [0.8, 1], [0.9, 0], [5.0, 0], [5.0, 1]])
    Y = np.array([[1, 1], [1, 1], [1, 1], [1, 0], [1, 0]])
    plain = MLSMOTE(k_neighbors=1, random_state=0)
    plain.fit_resample(X[:, :1], Y)
    nominal = MLSMOTE(k_neighbors=1, nominal_features=[1], random_state=0)
    nominal.fit_resample(X, Y)
    assert plain.neighbor_indices_[5] == 1
    assert nominal.neighbor_indices_[5] == 2


@settings(deadline=None, max_examples=60)
@given(labels_and_features(), SEEDS)
def test_sparse_and_dense_features_give_the_same_rows(data, seed) -> None:
    X, Y = data
    dense, _ = MLSMOTE(3, random_state=seed).fit_resample(X, Y)
    packed, _ = MLSMOTE(3, random_state=seed).fit_resample(sparse.csr_array(X), Y)
    np.testing.assert_allclose(packed.toarray(), dense, atol=1e-9)


@pytest.mark.parametrize(
    ("given_type", "new_type"),
    [
        (np.uint8, np.float32),
        (np.bool_, np.float32),
        (np.int32, np.float64),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ],
)
def test_features_come_back_in_a_float_type_that_holds_the_source_rows(
    given_type, new_type
) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(30, 8)).astype(given_type)
    Y = (rng.random((30, 3)) < [0.9, 0.4, 0.2]).astype(int)
    X_new, Y_new = MLSMOTE(random_state=0).fit_resample(X, Y)
    assert X_new.dtype == new_type
    assert Y_new.dtype == Y.dtype
    np.testing.assert_array_equal(X_new[:30], X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k_neighbors": 0}, "k_neighbors=0 is not allowed"),
        ({"k_neighbors": 2.5}, "integer"),
        ({"strategy": "majority"}, "'ranking', 'union', 'intersection'"),
        ({"update": "dynamic"}, "'static', 'growing'"),
        ({"interpolation": "cube"}, "'line', 'box'"),
        ({"sampling_ratio": 0}, "greater than 0"),
        ({"sampling_ratio": NAN}, "sampling_ratio=nan"),
        ({"sampling_ratio": 0.1, "update": "growing"}, "needs update"),
    ],
)
def test_parameters_that_are_not_allowed_are_named(parameters: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        MLSMOTE(**parameters).fit_resample(np.zeros((3, 1)), np.array([[1, 0], [1, 1], [1, 1]]))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[0.0], [NAN], [1.0]]), "1 values that are nan or infinite"),
        (np.array([[0.0], [np.inf], [1.0]]), "1 values that are nan or infinite"),
        (sparse.csr_array(np.array([[0.0], [NAN], [1.0]])), "nan or infinite"),
        (np.zeros(3), "needs a matrix"),
        (["CCO", "CC", "C"], "needs a matrix"),
        (pd.DataFrame({"smiles": ["CCO", "CC", "C"]}), "cannot be read as numbers"),
        (np.zeros((4, 1)), "X has 4 rows and Y has 3"),
    ],
)
def test_features_that_have_no_distance_are_refused(X, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        MLSMOTE().fit_resample(X, np.array([[1, 0], [1, 1], [1, 1]]))


def test_options_that_need_dense_features_say_so() -> None:
    X, Y = sparse.csr_array(np.eye(3)), np.array([[1, 0], [1, 1], [1, 1]])
    with pytest.raises(ParameterError, match='"box" needs a dense X'):
        MLSMOTE(interpolation="box").fit_resample(X, Y)
    with pytest.raises(ParameterError, match="nominal_features needs a dense X"):
        MLSMOTE(nominal_features=[0]).fit_resample(X, Y)
