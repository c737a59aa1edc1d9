"""The protocol: nothing leaks, test labels only score, and every choice has its effect."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.oversampling import protocol
from labkit.oversampling.arms import resample_rows
from labkit.oversampling.config import ARMS, PRESETS, SAMPLER_NAMES
from labkit.oversampling.data import load_molecules
from labkit.oversampling.evaluation import multilabel_scores, tune_thresholds
from labkit.oversampling.featurize import featurize
from labkit.oversampling.protocol import (
    LeakageError,
    StudyConfig,
    assert_no_leakage,
    load_table,
    run_study,
)
from labkit.oversampling.splits import KINDS, split

SMALL = {"n_molecules": 150, "n_trees": 10, "fingerprint": "ecfp4:128", "n_bootstrap": 50}
FOREST = SMALL | {"models": ["forest"]}
NETWORKS = SMALL | {"models": ["gnn", "hybrid"], "hidden": 8, "epochs": 1, "encoder": "gin"}


def study(**choices):
    return run_study(StudyConfig.from_preset("quick", **choices))


def without_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="cpu_s")


@pytest.fixture(scope="module")
def results():
    return study(**SMALL, models=["forest", "hybrid"], hidden=8, epochs=1, seeds=[0, 1])


@pytest.fixture(scope="module")
def spelled_twice(tmp_path_factory):
    """100 molecules, 40 of them a second time in another spelling and with other labels."""
    table = load_molecules("nci_simulated", n_molecules=100)
    first = [str(s) for s in table.smiles]
    again = [Chem.MolToSmiles(Chem.MolFromSmiles(s), canonical=False) for s in first[:40]]
    again = [".".join(reversed(s.split("."))) for s in again]
    frame = table.targets.iloc[:, :4]
    frame = pd.concat([frame, 1 - frame.iloc[:40]], ignore_index=True).astype(int)
    frame.insert(0, "smiles", first + again)
    path = tmp_path_factory.mktemp("molecules") / "twice.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", [a for a in ARMS if a != "class_weight"])
def test_no_molecule_is_trained_on_and_tested_on(spelled_twice, kind, sampler):
    table = load_molecules(spelled_twice)
    assert table.n_duplicates >= 40
    packed = featurize(table.smiles, fingerprint="ecfp4:64")
    for seed in range(3):
        parts = split(table, kind, seed=seed)
        rows = resample_rows(
            sampler, packed, table.Y[parts.train], parts.train, P=0.25, k=3, seed=seed
        ).rows.index
        spelled = [
            {Chem.CanonSmiles(str(table.smiles[i])) for i in part} for part in (rows, parts.test)
        ]
        assert spelled[0].isdisjoint(spelled[1])
        assert set(rows) <= set(parts.train)


def test_the_guard_knows_a_molecule_under_another_row_number():
    canonical = np.array(["CCO", "CCN", "CCO"], dtype=object)
    assert_no_leakage(np.array([0, 0, 2]), np.array([1]), canonical)
    with pytest.raises(LeakageError, match=r"1 molecule is in training and in test, such as CCO"):
        assert_no_leakage(np.array([0, 1]), np.array([2]), canonical)
    with pytest.raises(LeakageError, match=r"2 molecules are in training"):
        assert_no_leakage(np.array([0, 1]), np.array([2, 1]), canonical)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_study_on_a_leaky_split_stops_before_any_score(monkeypatch, part):
    """A broken splitter is put in on purpose: the guard must not depend on the splitter."""

    def broken(table, kind, *, seed):
        honest = split(table, kind, seed=seed)
        leaky = np.append(getattr(honest, part), honest.train[0])
        return dataclasses.replace(honest, **{part: leaky})

    monkeypatch.setattr(protocol, "split", broken)
    with pytest.raises(LeakageError):
        study(**FOREST)


def test_test_labels_change_nothing_but_the_scores():
    config = StudyConfig.from_preset("quick", **FOREST)
    table = load_table(config)
    test_rows = split(table, config.split, seed=0).test
    changed = table.targets.copy()
    changed.iloc[test_rows] = 1 - changed.iloc[test_rows]
    honest = run_study(config, table=table)
    altered = run_study(config, table=dataclasses.replace(table, targets=changed))
    for arm, prediction in honest.predictions.items():
        assert np.array_equal(prediction, altered.predictions[arm])
        assert np.array_equal(honest.thresholds[arm], altered.thresholds[arm])
    columns = ["macro_f1", "macro_auc"]
    arms = ~honest.scores["reference"]
    assert not np.allclose(honest.scores.loc[arms, columns], altered.scores.loc[arms, columns])


def test_thresholds_come_from_validation_molecules(results):
    model = results.models["hybrid", "MLROS"]
    valid = results.splits[0].valid
    expected = tune_thresholds(results.table.Y[valid], model.predict_proba(results.packed, valid))
    assert np.array_equal(results.thresholds[0, "hybrid", "MLROS"], expected)


def test_every_score_follows_from_the_predictions_kept(results):
    for (seed, model, sampler), prediction in results.predictions.items():
        Y, same = results.test_predictions(model=model, sampler=sampler, seed=seed)
        assert np.array_equal(prediction, same)
        for rule in ("0.5", "tuned"):
            cut = 0.5 if rule == "0.5" else results.thresholds[seed, model, sampler]
            expected = multilabel_scores(Y, prediction, cut).summary
            row = results.scores.query(
                "seed == @seed and model == @model and sampler == @sampler and thresholds == @rule"
            )
            assert len(row) == 1
            found = row.iloc[0][expected.index].to_numpy(dtype=float)
            np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-12)


def test_every_row_is_marked_as_resampled_in_training_only(results):
    assert (results.scores["protocol"] == "train-only").all()
    arms = results.scores[~results.scores["reference"]]
    assert len(arms) == 2 * 2 * 3 * 2  # seeds, models, samplers, threshold rules
    assert len(results.per_label) == len(arms) * results.table.n_labels


def test_all_positive_scores_what_the_formula_says(results):
    rows = results.scores[results.scores["model"] == "all positive"].set_index("seed")
    for seed, parts in zip(results.config.seeds, results.splits, strict=True):
        share = results.table.Y[parts.test].mean(axis=0)
        expected = (2 * share / (1 + share))[share > 0].mean()
        assert rows.loc[seed, "macro_f1"] == pytest.approx(expected)
        assert rows.loc[seed, "macro_auc"] == 0.5


def test_no_model_ranks_better_than_the_simulated_truth(results):
    auc = results.scores.groupby("model")["macro_auc"].mean()
    assert auc.idxmax() == protocol.SIMULATED_LIMIT
    assert auc.max() - auc.drop(protocol.SIMULATED_LIMIT).max() > 0.03


def test_differences_are_those_of_the_scores_and_lie_in_their_intervals():
    one_seed = study(**FOREST)
    scores = one_seed.scores.set_index(["model", "sampler", "thresholds"])["macro_f1"]
    assert len(one_seed.comparisons) == 4  # two samplers, two threshold rules
    for row in one_seed.comparisons.itertuples():
        base = scores[row.model, "none", row.thresholds]
        gain = scores[row.model, row.sampler, row.thresholds] - base
        assert row.difference == pytest.approx(gain, abs=1e-12)
        assert row.low <= row.difference <= row.high


def test_the_same_configuration_gives_the_same_results(results):
    again = run_study(results.config)
    pd.testing.assert_frame_equal(without_times(again.scores), without_times(results.scores))
    pd.testing.assert_frame_equal(again.comparisons, results.comparisons)
    assert again.provenance["splits"] == results.provenance["splits"]
    assert again.provenance["data"]["sha256"] == results.provenance["data"]["sha256"]


@pytest.mark.parametrize(
    "change",
    [
        {"P": 0.1},
        {"k": 2},
        {"seeds": [1]},
        {"split": "scaffold"},
        {"n_trees": 11},
        {"n_molecules": 140},
        {"fingerprint": "ecfp6:128"},
        {"models": ["boosting"]},
    ],
    ids=str,
)
def test_every_choice_changes_the_forest_study(change):
    plain, other = study(**FOREST), study(**(FOREST | change))
    pooled = [np.concatenate([p.ravel() for p in s.predictions.values()]) for s in (plain, other)]
    assert pooled[0].shape != pooled[1].shape or not np.array_equal(*pooled)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 12},
        {"layers": 3},
        {"encoder": "sage"},
        {"epochs": 2},
        {"lr": 0.01},
        {"batch_size": 16},
        {"dropout": 0.5},
        {"loss": "focal"},
        {"space": "embedding"},
    ],
    ids=str,
)
def test_every_choice_changes_the_network_study(change):
    samplers = ["none", "MLSMOTE"]
    plain = study(**NETWORKS, samplers=samplers)
    other = study(**(NETWORKS | {"samplers": samplers} | change))
    arm = (0, "hybrid", "MLSMOTE")
    assert not np.array_equal(plain.predictions[arm], other.predictions[arm])


def test_more_oversampling_adds_more_rows_and_lowers_the_imbalance_more():
    added = []
    for P in (0.1, 0.25):
        row = study(**FOREST, P=P, samplers=["BalancedClones"]).resampling.iloc[-1]
        added.append((row["n_after"] - row["n_before"], -row["mean_ir_after"]))
        assert row["n_after"] - row["n_before"] == int(P * row["n_before"])
    assert added[0] < added[1]
    assert added[0][1] < added[1][1]


def test_every_arm_takes_as_many_gradient_steps_as_without_resampling():
    # BalancedClones with P = 1 doubles the rows, so half the epochs are the same training.
    choices = NETWORKS | {"models": ["gnn"], "epochs": 8, "P": 1.0}
    found = study(**choices, samplers=["BalancedClones"])
    epochs = {sampler: len(m.history_) for (_, sampler), m in found.models.items()}
    assert epochs == {"none": 8, "BalancedClones": 4}


def test_embedding_space_leaves_networks_without_synthetic_rows_alone():
    seed, embedding = (
        study(**NETWORKS, samplers=["MLROS"], space=space) for space in ("seed", "embedding")
    )
    for arm, prediction in seed.predictions.items():
        assert np.array_equal(prediction, embedding.predictions[arm])


@pytest.mark.parametrize("sampler", [*SAMPLER_NAMES.values(), "class_weight"])
def test_every_arm_runs_with_forest_and_network(sampler):
    found = study(**SMALL, samplers=[sampler], hidden=8, epochs=1)
    arms = found.scores[found.scores["sampler"] == sampler]
    assert sorted(set(arms["model"])) == ["forest", "hybrid"]
    assert arms["macro_f1"].between(0, 1).all()


def test_regression_is_scored_against_the_mean_and_the_noise():
    found = study(**FOREST, task="regression")
    r2 = found.scores.set_index("model")["r2"]
    assert r2["training mean"] <= 0
    assert 0.6 < r2[protocol.SIMULATED_LIMIT] < 0.9  # a quarter of the variance is noise
    assert r2["training mean"] < r2["forest"] < r2[protocol.SIMULATED_LIMIT]
    assert found.comparisons.empty
    assert set(found.headline()) >= {"r2_forest_none", "rmse_forest_none", "spearman_forest_none"}


def test_measured_values_become_labels_where_labels_are_asked(tmp_path):
    table = load_molecules("nci_simulated", task="regression", n_molecules=120)
    path = tmp_path / "values.csv"
    frame = table.targets.iloc[:, :3].set_axis(["a", "b", "c"], axis=1)
    frame.iloc[::5, 0] = np.nan
    pd.concat([pd.Series(table.smiles, name="SMILES"), frame], axis=1).to_csv(path, index=False)
    choices = FOREST | {"csv": str(path), "n_molecules": None, "label_quantile": 0.8}
    found = study(**choices)
    share = np.nanmean(found.table.Y, axis=0)
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    assert np.isnan(found.table.Y[::5, 0]).all()
    low = study(**choices, label_value=0.0, label_direction="below").table.Y
    np.testing.assert_array_equal(low[1, :], (frame.iloc[1] < 0).astype(float))
    values = study(**(choices | {"task": "regression"}))
    assert values.table.task == "regression"


def test_regression_of_labels_is_refused(spelled_twice):
    with pytest.raises(ParameterError, match=r"task='regression' but twice holds labels"):
        study(**(FOREST | {"csv": str(spelled_twice), "n_molecules": None, "task": "regression"}))


def test_progress_grows_to_the_end_and_names_the_arm():
    told = []
    config = StudyConfig.from_preset("quick", **(NETWORKS | {"epochs": 2, "models": ["gnn"]}))
    run_study(config, lambda *call: told.append(call))
    done = [call[0] for call in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1] == 2 * 3
    assert told[-1][2] == "gnn, MLSMOTE, seed 0"


def test_headline_is_plain_floats_with_the_same_names_each_time(results):
    numbers = results.headline()
    assert all(type(value) is float for value in numbers.values())
    assert json.loads(json.dumps(numbers)) == numbers
    mean = results.scores.query("model == 'forest' and sampler == 'none' and thresholds == '0.5'")
    assert numbers["macro_f1_forest_none"] == pytest.approx(mean["macro_f1"].mean())
    assert {"macro_f1_hybrid_MLROS_tuned", "macro_auc_all_positive", "gain_hybrid_MLROS"} <= set(
        numbers
    )
    assert all(name.isidentifier() for name in numbers)


def test_export_can_be_read_back_and_leaves_nothing_half_written(results, tmp_path):
    folder = tmp_path / "deep" / "folder"
    for _ in range(2):
        written = results.export(folder)
    assert sorted(folder.iterdir()) == sorted(written)
    scores = pd.read_csv(folder / "scores.csv", dtype={"thresholds": str})
    pd.testing.assert_frame_equal(scores, results.scores, check_dtype=False)
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["data"]["simulated"] is True
    assert facts["data"]["sha256"] == results.table.sha256
    assert facts["splits"] == {"0": results.splits[0].digest, "1": results.splits[1].digest}
    assert facts["config"]["samplers"] == ["none", "MLROS", "MLSMOTE"]
    parts = pd.read_csv(folder / "splits.csv")
    assert (parts.groupby("seed")["row"].nunique() == len(results.table)).all()
    predictions = pd.read_csv(folder / "predictions.csv")
    first = predictions.query("seed == 0 and model == 'hybrid' and sampler == 'MLROS'")
    np.testing.assert_allclose(
        first[results.table.label_names].to_numpy(), results.predictions[0, "hybrid", "MLROS"]
    )


def test_an_arm_that_was_not_run_is_named_with_those_that_were(results):
    with pytest.raises(ParameterError, match=r"boosting/none/seed 0 was not run; there are forest"):
        results.test_predictions(model="boosting")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_know_their_name(preset):
    assert PRESETS[preset].validate().preset == preset


def test_none_means_as_in_the_preset_and_lists_become_tuples():
    config = StudyConfig.from_preset("quick", P=None, samplers=["mlros"], seeds=3, csv=None)
    assert config == dataclasses.replace(PRESETS["quick"], samplers=("none", "MLROS"), seeds=(3,))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"task": "classification"}, r"task='classification' is not allowed; use 'multilabel'"),
        ({"split": "scafold"}, r"split='scafold' is not allowed.* Did you mean 'scaffold'"),
        ({"samplers": ["MLSMOT"]}, r"samplers='MLSMOT' is not allowed.* Did you mean 'MLSMOTE'"),
        ({"models": ["xgb"]}, r"models='xgb' is not allowed; use 'forest'"),
        ({"models": []}, r"models=\[\]: name at least one"),
        ({"models": ["forest", "forest"]}, r"each only once"),
        ({"encoder": "gcnn"}, r"encoder='gcnn' is not allowed.* Did you mean 'gcn'"),
        ({"loss": "mse"}, r"loss='mse' is not allowed; use None, 'bce'"),
        ({"task": "regression", "loss": "bce"}, r"loss='bce' is not allowed; use None, 'mse'"),
        ({"task": "regression", "samplers": ["MLROS"]}, r"need labels; with task='regression'"),
        ({"P": 0}, r"P=0: use a number above 0"),
        ({"P": float("nan")}, r"P=nan: use a number above 0"),
        ({"P": "0.25"}, r"P='0.25': use a number above 0"),
        ({"dropout": "0.1"}, r"dropout='0.1': use 0 <= dropout < 1"),
        ({"n_molecules": "all"}, r"n_molecules='all': use 50 or more"),
        ({"k": 0}, r"k=0: use a whole number of 1 or more"),
        ({"epochs": 2.5}, r"epochs=2.5: use a whole number"),
        ({"hidden": True}, r"hidden=True: use a whole number"),
        ({"n_molecules": 10}, r"n_molecules=10: use 50 or more"),
        ({"seeds": [0, 0]}, r"seeds=\[0, 0\]: name at least one, each a different"),
        ({"seeds": [-1]}, r"seeds=\[-1\]"),
        ({"label_quantile": 1.0}, r"label_quantile=1.0: use a number above 0 and below 1"),
        ({"dropout": 1.0}, r"dropout=1.0: use 0 <= dropout < 1"),
        ({"fingerprint": "none"}, r"fingerprint='none' leaves models=\['forest', 'hybrid'\]"),
        ({"epoch": 3}, r"'epoch' is no choice of this study.* Did you mean 'epochs'"),
    ],
    ids=str,
)
def test_a_choice_that_is_not_allowed_is_named_with_what_is(choice, message):
    with pytest.raises(ParameterError, match=message):
        StudyConfig.from_preset("quick", **choice)


def test_an_unknown_preset_is_named_with_those_that_are():
    with pytest.raises(
        ParameterError, match=r"preset='quik' is not allowed.* Did you mean 'quick'"
    ):
        StudyConfig.from_preset("quik")


def test_real_multiregression_beats_the_mean_where_much_is_measured(labkit_data):
    choices = {"dataset": "biogen_adme", "task": "regression", "n_molecules": 1200}
    found = study(**(FOREST | choices | {"n_trees": 30, "fingerprint": "ecfp4:1024"}))
    assert found.table.n_labels == 6
    per_target = found.per_label.query("model == 'forest' and n_known > 60")
    # Plasma protein binding was measured for one molecule in twenty: too few to be judged here.
    assert len(per_target) == 4
    assert per_target["r2"].mean() > 0.05
    assert per_target["spearman"].mean() > 0.25
