"""Simulated effects do what their docstring says: known noise, known ceiling, wanted imbalance."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem, RDConfig
from scipy.stats import norm
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from labkit.errors import MissingDataError, ParameterError
from labkit.oversampling.featurize import featurize
from labkit.oversampling.imbalance import mean_ir, scumble
from labkit.oversampling.simulated import bayes_ceiling, nci_smiles, prevalences, simulate_effects


@pytest.fixture(scope="module")
def effects():
    return simulate_effects()


def test_same_seed_gives_the_same_effects_and_another_seed_does_not(effects):
    again, other = simulate_effects(), simulate_effects(seed=1)
    assert np.array_equal(effects.continuous, again.continuous)
    assert np.array_equal(effects.probability, again.probability)
    assert effects.digest == again.digest != other.digest
    assert not np.array_equal(effects.labels, other.labels)


def test_effects_follow_from_the_listed_rules_alone(effects):
    """Rebuild the noise-free effects from SMARTS and weights in `rules`, with c = 0.5."""

    def standardize(values):
        return (values - values.mean()) / values.std()

    mols = [Chem.MolFromSmiles(s) for s in effects.smiles]
    matches = {
        smarts: np.array([m.HasSubstructMatch(Chem.MolFromSmarts(smarts)) for m in mols], float)
        for smarts in effects.rules["smarts"].unique()
    }
    for column, name in enumerate(effects.names[:3]):
        rules = effects.rules[effects.rules["effect"] == name]
        parts = [
            standardize(sum(w * matches[s] for s, w in zip(part.smarts, part.weight, strict=True)))
            for _, part in rules.groupby("shared")
        ]
        signal = standardize(np.sqrt(0.5) * parts[0] + np.sqrt(0.5) * parts[1])
        np.testing.assert_allclose(effects.expected[:, column], np.sqrt(0.75) * signal, atol=1e-9)


def test_noise_has_the_stated_share_of_the_variance(effects):
    """Relative error of a variance of 5,000 normals: sqrt(2/5000) = 2 %; 4 of these are allowed."""
    noise = effects.continuous - effects.expected
    np.testing.assert_allclose(noise.var(axis=0), 0.25, rtol=0.08)
    np.testing.assert_allclose(effects.expected.var(axis=0), 0.75, rtol=1e-9)
    assert effects.best_r2 == pytest.approx(0.75)
    best = [r2_score(effects.continuous[:, i], effects.expected[:, i]) for i in range(12)]
    np.testing.assert_allclose(best, 0.75, atol=0.03)


def test_probability_is_the_normal_tail_and_calibrated(effects):
    expected = norm.sf(effects.thresholds, effects.expected, effects.noise_sd)
    np.testing.assert_allclose(effects.probability, expected, atol=1e-12)
    bins = np.digitize(effects.probability, np.linspace(0, 1, 11)[1:-1])
    for label in range(12):
        for b in range(10):
            rows = bins[:, label] == b
            p = effects.probability[rows, label]
            if len(p) >= 30:
                error = (effects.labels[rows, label] - p).sum()
                assert abs(error) < 4.5 * np.sqrt((p * (1 - p)).sum()) + 1e-9


def test_labels_are_thresholded_effects(effects):
    assert np.array_equal(effects.labels, effects.continuous > effects.thresholds)
    np.testing.assert_allclose(effects.probability.mean(axis=0), prevalences(12, 6.0), atol=1e-9)


@pytest.mark.parametrize("imbalance", [1.0, 3.0, 8.0, 20.0])
def test_imbalance_is_the_mean_imbalance_ratio(imbalance):
    """The rarest label has 60 or more positives here: its ratio is known to about 13 %."""
    drawn = simulate_effects(imbalance=imbalance)
    assert mean_ir(drawn.labels) == pytest.approx(imbalance, rel=0.25)
    assert (drawn.labels.sum(axis=0) >= 20).all()


def test_rare_and_common_effects_occur_together(effects):
    assert scumble(effects.labels) > 0.05


def test_cooccurrence_binds_effects_of_one_mechanism():
    """Effects 1 and 5 share a mechanism (every fourth does), 1 and 2 do not."""

    def correlation(effects, a, b):
        return np.corrcoef(effects.continuous[:, a], effects.continuous[:, b])[0, 1]

    pairs = [(0, 4), (1, 5), (2, 6), (3, 7), (0, 8), (1, 9)]
    loose, tight = (simulate_effects(cooccurrence=c) for c in (0.0, 0.9))
    assert np.mean([correlation(tight, a, b) for a, b in pairs]) > 0.7
    assert abs(np.mean([correlation(loose, a, b) for a, b in pairs])) < 0.3


def test_ceiling_is_the_mean_score_of_the_true_probability_over_many_draws(effects):
    """Labels redrawn 200 times for 1,000 molecules; tolerance: 4 standard errors of the mean.

    A ratio of expectations differs from an expected ratio by O(1/positives): 0.002 is added.
    """
    rng = np.random.default_rng(0)
    p = effects.probability[:1000, [0, 3, 6]]
    ceiling = bayes_ceiling(p)
    for label in range(3):
        drawn = rng.random((200, 1000)) < p[:, label]
        scores = np.array(
            [
                (
                    roc_auc_score(y, p[:, label]),
                    average_precision_score(y, p[:, label]),
                    f1_score(y, p[:, label] >= ceiling["threshold"][label]),
                )
                for y in drawn
            ]
        )
        error = 4 * scores.std(axis=0) / np.sqrt(200) + 0.002
        found = ceiling.loc[label, ["auc", "ap", "f1"]].to_numpy(dtype=float)
        assert (np.abs(scores.mean(axis=0) - found) < error).all()


def test_no_threshold_beats_the_ceiling_f1(effects):
    p = effects.probability[:400, 5]
    best = bayes_ceiling(p[:, None])["f1"][0]
    expected = [2 * p[p >= t].sum() / (p.sum() + (p >= t).sum()) for t in np.unique(p)]
    assert best == pytest.approx(max(expected))


def test_a_forest_learns_more_than_chance_and_less_than_everything(effects):
    """Trained on 1,200 molecules, as in the quick preset: oversampling is a real question there."""
    packed = featurize(effects.smiles, fingerprint="ecfp4:1024")
    order = np.random.default_rng(0).permutation(len(effects.smiles))
    train, test = order[:1200], order[1200:]
    X, Y = packed.fingerprint, effects.labels
    forest = RandomForestClassifier(30, random_state=0).fit(X[train], Y[train])
    P = np.stack([p[:, 1] for p in forest.predict_proba(X[test])], axis=1)
    auc = roc_auc_score(Y[test], P, average="macro")
    best = bayes_ceiling(effects.probability[test])["auc"].mean()
    assert 0.7 < auc < best - 0.05
    assert f1_score(Y[test][:, -3:], P[:, -3:] >= 0.5, average="macro", zero_division=0) < 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_labels": 1}, "n_labels=1"),
        ({"imbalance": 0.5}, "imbalance=0.5"),
        ({"cooccurrence": 1.0}, "cooccurrence=1.0"),
        ({"noise": 0.0}, "noise=0.0"),
        ({"smiles": ["CCO"]}, "too few"),
        ({"smiles": ["C" * (1 + i % 60) for i in range(100)]}, "more diverse"),
    ],
)
def test_parameters_out_of_range_are_errors(options, message):
    with pytest.raises(ParameterError, match=message):
        simulate_effects(**options)


def test_own_molecules_can_be_used_and_bad_ones_are_listed():
    smiles = [*nci_smiles()[:300], "not a molecule"]
    effects = simulate_effects(smiles, n_labels=3)
    assert effects.dropped["row"].tolist() == [300]
    assert effects.labels.shape == (300, 3)


def test_rdkit_without_the_nci_file_gives_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(RDConfig, "RDDataDir", str(tmp_path))
    nci_smiles.cache_clear()
    try:
        with pytest.raises(MissingDataError, match="install rdkit from PyPI") as error:
            simulate_effects()
        assert "\n" not in str(error.value)
    finally:
        nci_smiles.cache_clear()
