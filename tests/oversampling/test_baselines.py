"""Forest and boosting: the same as scikit-learn where all is known, label by label where not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from labkit.errors import ParameterError
from labkit.oversampling.baselines import ForestBaseline, GradientBoostingBaseline
from labkit.oversampling.featurize import featurize
from labkit.oversampling.simulated import nci_smiles

N = 90


@pytest.fixture(scope="module")
def packed():
    return featurize(list(nci_smiles()[:N]), fingerprint="ecfp4:128")


@pytest.fixture(scope="module")
def labels(packed) -> np.ndarray:
    """Bits of the fingerprint that about half, a third and a tenth of the molecules have."""
    share = packed.fingerprint.mean(axis=0)
    columns = [int(np.abs(share - target).argmin()) for target in (0.5, 0.33, 0.1)]
    return packed.fingerprint[:, columns].astype(float)


def forest(**options) -> ForestBaseline:
    return ForestBaseline(n_trees=20, **options)


def features(packed, rows=slice(None)) -> np.ndarray:
    return packed.fingerprint[rows].astype(np.float32)


def test_forest_of_known_labels_is_scikit_learns_forest(packed, labels):
    oracle = RandomForestClassifier(20, random_state=4).fit(features(packed), labels)
    expected = np.column_stack([p[:, 1] for p in oracle.predict_proba(features(packed))])
    ours = forest(seed=4).fit(packed, labels).predict_proba(packed)
    assert np.array_equal(ours, expected)


def test_missing_labels_give_one_forest_a_label_on_its_known_rows(packed, labels):
    Y = labels.copy()
    Y[::3, 0] = np.nan
    Y[5:20, 2] = np.nan
    ours = forest(seed=4).fit(packed, Y).predict_proba(packed)
    for column in range(3):
        known = ~np.isnan(Y[:, column])
        oracle = RandomForestClassifier(20, random_state=4)
        oracle.fit(features(packed, known), Y[known, column])
        assert np.array_equal(ours[:, column], oracle.predict_proba(features(packed))[:, 1])


def test_class_weights_act_on_each_label_alone(packed, labels):
    # scikit-learn multiplies the class weights of all labels of a joint forest.
    ours = forest(class_weight="balanced", seed=2).fit(packed, labels).predict_proba(packed)
    oracle = RandomForestClassifier(20, random_state=2, class_weight="balanced")
    oracle.fit(features(packed), labels[:, 2])
    assert np.array_equal(ours[:, 2], oracle.predict_proba(features(packed))[:, 1])


@pytest.mark.parametrize("model", [ForestBaseline, GradientBoostingBaseline])
@pytest.mark.parametrize("missing", [False, True], ids=["all known", "some unknown"])
def test_labels_with_nothing_to_learn_get_their_value(packed, labels, model, missing):
    Y = np.column_stack([np.zeros(N), np.ones(N), labels[:, 0]])
    if missing:
        Y = np.column_stack([Y, np.full(N, np.nan)])
        Y[:30, :3] = np.nan
    prediction = model().fit(packed, Y).predict_proba(packed)
    assert (prediction[:, 0] == 0).all()
    assert (prediction[:, 1] == 1).all()
    assert prediction[:, 2].std() > 0
    if missing:
        assert (prediction[:, 3] == 0.5).all()


@pytest.mark.parametrize("model", [ForestBaseline, GradientBoostingBaseline])
def test_a_label_that_is_a_fingerprint_bit_is_learned(packed, labels, model):
    train, test = np.arange(60), np.arange(60, N)
    fitted = model().fit(packed, labels[train], rows=train)
    right = fitted.predict(packed, test) == labels[test]
    assert right[:, 0].mean() >= 0.9


@pytest.mark.parametrize("model", [ForestBaseline, GradientBoostingBaseline])
def test_rows_repeat_molecules_and_own_fingerprints_replace_theirs(packed, labels, model):
    rows = np.array([*range(50), 4, 4, 9])
    by_index = model(seed=1).fit(packed, labels[rows], rows=rows)
    by_bits = model(seed=1).fit(
        packed, labels[rows], rows=np.zeros(len(rows), int), fingerprint=packed.fingerprint[rows]
    )
    prediction = by_index.predict_proba(packed)
    assert np.array_equal(prediction, by_bits.predict_proba(packed))
    assert np.array_equal(
        prediction[rows], by_index.predict_proba(packed, fingerprint=packed.fingerprint[rows])
    )
    assert np.array_equal(prediction[7:9], by_index.predict_proba(packed, np.array([7, 8])))


@pytest.mark.parametrize("model", [ForestBaseline, GradientBoostingBaseline])
def test_rows_of_weight_zero_are_as_good_as_absent(packed, labels, model):
    weight = np.r_[np.ones(60), np.zeros(N - 60)]
    Y = labels.copy()
    Y[60:] = 1 - Y[60:]
    Y[0, 0] = np.nan
    prediction = model().fit(packed, Y, sample_weight=weight).predict(packed, np.arange(1, 60))
    assert (prediction[:, 0] == labels[1:60, 0]).mean() > 0.9


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("missing", [False, True], ids=["all known", "some unknown"])
def test_regression_gives_values_for_every_target(packed, n_outputs, missing):
    Y = np.repeat(packed.fingerprint.sum(axis=1, keepdims=True), n_outputs, axis=1).astype(float)
    if missing:
        Y[::4] = np.nan
        Y = np.column_stack([Y, np.full(N, np.nan)])
    prediction = forest(task="regression").fit(packed, Y).predict(packed)
    assert prediction.shape == Y.shape
    known = ~np.isnan(Y[:, 0])
    assert np.corrcoef(prediction[known, 0], Y[known, 0])[0, 1] > 0.9
    if not missing:
        oracle = RandomForestRegressor(20, random_state=0, max_features="sqrt")
        oracle.fit(features(packed), Y if n_outputs > 1 else Y[:, 0])
        assert np.array_equal(prediction, oracle.predict(features(packed)).reshape(Y.shape))


def test_boosting_for_regression_follows_the_target(packed):
    Y = packed.n_atoms[:, None].astype(float)
    prediction = GradientBoostingBaseline("regression").fit(packed, Y).predict(packed)
    # 90 molecules make four leaves of scikit-learn's least 20: the steps are coarse.
    assert np.corrcoef(prediction[:, 0], Y[:, 0])[0, 1] > 0.6


@pytest.mark.parametrize("model", [ForestBaseline, GradientBoostingBaseline])
def test_the_same_seed_gives_the_same_model(packed, labels, model):
    first, again = (model(seed=3).fit(packed, labels).predict_proba(packed) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForestBaseline("classes"), r"task='classes' is not known"),
        (lambda: ForestBaseline(n_trees=0), r"n_trees=0 is too few"),
        (lambda: ForestBaseline(class_weight="even"), r"class_weight='even' is not known"),
        (
            lambda: GradientBoostingBaseline(class_weight="balanced_subsample"),
            r"is for forests; use None or 'balanced'",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_predicting_before_fitting_is_refused(packed):
    with pytest.raises(ParameterError, match=r"not trained yet"):
        ForestBaseline().predict_proba(packed)
