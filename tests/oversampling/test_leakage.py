"""The leakage lab: what it counts, what it scores, and the effect that it exists to show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.oversampling.config import SAMPLER_NAMES, StudyConfig
from labkit.oversampling.data import load_molecules
from labkit.oversampling.featurize import featurize
from labkit.oversampling.leakage import DUPLICATE, HONEST, LEAKY, leakage_lab

SMALL_FOREST = StudyConfig(n_trees=15)


@pytest.fixture(scope="module")
def molecules():
    table = load_molecules("nci_simulated", n_molecules=300)
    return table, featurize(table.smiles, fingerprint="ecfp4:256")


@pytest.fixture(scope="module")
def lab(molecules):
    samplers = ["MLROS", "MLSMOTE", DUPLICATE]
    return leakage_lab(*molecules, sampler=samplers, P=1.0, seeds=(0, 1), config=SMALL_FOREST)


def arm(frame: pd.DataFrame, sampler: str, protocol: str) -> pd.DataFrame:
    return frame[(frame["sampler"] == sampler) & (frame["protocol"] == protocol)]


def test_each_sampler_is_run_in_both_orders_and_none_only_honestly(lab):
    runs = lab.scores.groupby(["sampler", "protocol"]).size().to_dict()
    both = {(s, p): 2 for s in ("MLROS", "MLSMOTE", DUPLICATE) for p in (HONEST, LEAKY)}
    assert runs == both | {("none", HONEST): 2}


def test_no_test_molecule_is_seen_when_the_split_comes_first(lab):
    assert (lab.scores.loc[lab.scores["protocol"] == HONEST, "share_seen"] == 0).all()
    assert set(lab.seen_unseen["protocol"]) == {LEAKY}
    sides = lab.overlap.loc[lab.overlap["protocol"] == HONEST, "side"]
    assert set(sides) == {"train", "test only"}


def test_of_doubled_molecules_four_fifths_are_seen_when_the_split_comes_last(lab):
    # The twin of a test row is in training with probability 0.8 (n large).
    share = arm(lab.scores, DUPLICATE, LEAKY)["share_seen"]
    assert share.between(0.68, 0.92).all()


def test_a_forest_recalls_doubled_molecules_and_guesses_the_others(lab):
    parts = arm(lab.seen_unseen, DUPLICATE, LEAKY).groupby("part")["macro_f1"].mean()
    assert parts["seen"] > 0.95
    assert parts["unseen"] < 0.8


def test_leaking_raises_the_score_and_resampling_honestly_does_not_as_much(lab):
    numbers = lab.headline()
    for sampler in ("MLROS", DUPLICATE):
        assert numbers[f"leaky_gain_{sampler}"] > numbers[f"honest_gain_{sampler}"] + 0.1


def test_row_counts_of_the_flow_are_those_of_training_and_test(lab):
    for (seed, sampler, protocol), flow in lab.overlap.groupby(["seed", "sampler", "protocol"]):
        scores = arm(lab.scores, sampler, protocol).set_index("seed").loc[seed]
        rows = flow.groupby("side")["n_rows"].sum()
        assert rows["train"] == scores["n_train"]
        assert rows.drop("train").sum() == scores["n_test"]
        seen = rows.get("test, also in train", 0)
        assert seen == round(scores["share_seen"] * scores["n_test"])
        assert flow.query("side == 'test, also in train'")["kind"].isin(["copied"]).all()


def test_parts_of_the_leaky_test_set_add_up(lab):
    sizes = lab.seen_unseen.groupby(["seed", "sampler"])["n_molecules"].sum()
    for (seed, sampler), n in sizes.items():
        assert n == arm(lab.scores, sampler, LEAKY).set_index("seed").loc[seed, "n_test"]


def test_the_same_molecule_under_two_row_numbers_counts_as_seen(molecules):
    table, packed = molecules
    twice = table.take(np.repeat(np.arange(len(table)), 2))
    packed = featurize(twice.smiles, fingerprint="ecfp4:256")
    found = leakage_lab(twice, packed, sampler="MLROS", config=SMALL_FOREST)
    assert (found.scores.query("protocol == 'train-only'")["share_seen"] == 0).all()
    assert found.scores.query("protocol == 'LEAKY'")["share_seen"].item() > 0.6


def test_the_same_seed_gives_the_same_lab(molecules):
    first, again = (
        leakage_lab(*molecules, sampler="MLROS", seeds=(3,), config=SMALL_FOREST) for _ in range(2)
    )
    pd.testing.assert_frame_equal(first.scores, again.scores)
    pd.testing.assert_frame_equal(first.overlap, again.overlap)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES.values())
def test_every_sampler_can_be_put_before_the_split(molecules, sampler):
    found = leakage_lab(*molecules, sampler=sampler.lower(), config=StudyConfig(n_trees=2))
    assert found.scores["sampler"].tolist() == ["none", sampler, sampler]
    assert found.scores["macro_f1"].between(0, 1).all()


def test_a_graph_network_can_be_put_in_the_lab(molecules):
    config = StudyConfig(encoder="gin", hidden=8, epochs=1)
    found = leakage_lab(*molecules, sampler="MLSMOTE", model="hybrid", config=config)
    assert set(found.scores["model"]) == {"hybrid"}


def test_progress_is_told_after_every_training(molecules):
    told = []
    leakage_lab(
        *molecules, sampler="MLROS", config=SMALL_FOREST, progress=lambda *a: told.append(a)
    )
    assert [a[:2] for a in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1][2] == "MLROS, LEAKY, seed 0"


@pytest.mark.parametrize("sampler", ["none", "class_weight", "SMOTE"])
def test_what_is_no_oversampler_is_refused(molecules, sampler):
    with pytest.raises(ParameterError, match=rf"sampler='{sampler}' is not known; use one of"):
        leakage_lab(*molecules, sampler=sampler)


def test_values_instead_of_labels_and_foreign_molecules_are_refused(molecules):
    table, packed = molecules
    with pytest.raises(ParameterError, match=r"table holds regression data"):
        leakage_lab(dataclasses.replace(table, task="regression"), packed)
    with pytest.raises(ParameterError, match=r"their 200 molecules.* 300 molecules are packed"):
        leakage_lab(table.take(np.arange(200)), packed)


@pytest.mark.slow
def test_sider_gains_from_oversampling_only_when_it_leaks(labkit_data):
    """Nine forests of 100 trees on 1,427 drugs: about 15 CPU seconds."""
    table = load_molecules("sider")
    packed = featurize(table.smiles, fingerprint="ecfp4:1024")
    found = leakage_lab(table, packed, sampler="MLROS", P=0.25, seeds=(0, 1, 2))
    numbers = found.headline()
    assert numbers["honest_gain_MLROS"] <= 0.03
    assert numbers["leaky_gain_MLROS"] >= 0.08
    parts = found.seen_unseen.groupby("part")[["macro_f1", "macro_auc"]].mean()
    assert parts.loc["seen", "macro_f1"] >= 0.98
    assert parts.loc["seen", "macro_auc"] >= 0.98
    # Molecules not seen score as those of the honest protocol do, within the noise of 140 drugs.
    honest = arm(found.scores, "MLROS", HONEST)["macro_f1"].mean()
    assert parts.loc["unseen", "macro_f1"] == pytest.approx(honest, abs=0.08)
    assert 0.2 < numbers["leaky_share_seen_MLROS"] < 0.35
