"""Multiregression uses the same molecules as the labels made from it."""

from __future__ import annotations

import dataclasses

import numpy as np

from labkit.oversampling.protocol import StudyConfig
from labkit.oversampling.regression import regression_config, run_regression


def test_regression_has_the_same_molecules_splits_and_effects(small_study):
    chosen = dataclasses.replace(small_study.config, models=("forest",))
    found = run_regression(chosen)
    assert found.table.task == "regression"
    np.testing.assert_array_equal(found.table.smiles, small_study.table.smiles)
    for ours, theirs in zip(found.splits, small_study.results.splits, strict=True):
        np.testing.assert_array_equal(ours.test, theirs.test)
    for effect, label in zip(found.table.Y.T, small_study.table.Y.T, strict=True):
        assert effect[label == 1].min() > effect[label == 0].max()  # a label is a cut effect


def test_data_of_labels_only_have_no_regression(labkit_data):
    assert regression_config(StudyConfig.from_preset("quick", dataset="clintox")) is None


def test_a_multilabel_loss_is_not_carried_over():
    config = StudyConfig.from_preset("quick", loss="focal")
    assert regression_config(config).loss is None
