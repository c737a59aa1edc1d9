"""Published facts and rankings on the real molecule tables."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, RDLogger
from rdkit.Chem import rdFingerprintGenerator

from labkit.oversampling.imbalance import mean_ir
from labkit.oversampling.resampling import (
    MLROS,
    MLSMOTE,
    REMEDIAL,
    BalancedClones,
    clone_weights,
)

pytestmark = pytest.mark.data


@cache
def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "oversampling" / f"{name}.csv.gz")


def ecfp4(smiles: pd.Series) -> np.ndarray:
    RDLogger.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    return np.array([generator.GetFingerprintAsNumPy(molecule) for molecule in molecules])


# MeanIR of the prototype after P = 0.25 (ML-ROS is random: one run each).
@pytest.mark.parametrize(
    ("name", "after_mlros", "after_greedy"),
    [("sider", 2.293, 2.160), ("tox21", 1.984, 1.199), ("toxcast", 12.21, 10.41)],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_balanced_clones_beat_random_clones_with_at_most_five_copies(
    labkit_data: Path, name: str, after_mlros: float, after_greedy: float, seed: int
) -> None:
    Y = table(labkit_data, name).iloc[:, 1:].to_numpy(dtype=float)
    cloned = MLROS(P=0.25, random_state=seed).fit_indices(Y)
    best = BalancedClones(P=0.25, random_state=seed).fit_indices(Y)
    assert mean_ir(Y[best]) < mean_ir(Y[cloned])
    assert clone_weights(best, len(Y)).max() - 1 <= 5
    assert len(best) - len(Y) <= int(0.25 * len(Y))
    # ML-ROS varies by about 2 % between seeds; the greedy rule only in the order of ties.
    assert mean_ir(Y[cloned]) == pytest.approx(after_mlros, rel=0.05)
    assert mean_ir(Y[best]) == pytest.approx(after_greedy, rel=2e-3)


def test_balanced_clones_win_also_with_no_more_rows_than_mlros_added(labkit_data: Path) -> None:
    # On Tox21 all labels leave the ML-ROS round early, after about 600 of 1,957 rows.
    Y = table(labkit_data, "tox21").iloc[:, 1:].to_numpy(dtype=float)
    for seed in range(3):
        cloned = MLROS(P=0.25, random_state=seed).fit_indices(Y)
        P = (len(cloned) - len(Y)) / len(Y)
        best = BalancedClones(P=P, random_state=seed).fit_indices(Y)
        assert len(best) == len(cloned)
        assert mean_ir(Y[best]) < mean_ir(Y[cloned])


def test_mlsmote_adds_864_rows_to_sider(labkit_data: Path) -> None:
    frame = table(labkit_data, "sider")
    X, Y = ecfp4(frame.smiles), frame.iloc[:, 1:]
    sampler = MLSMOTE(k_neighbors=5, random_state=0)
    X_new, Y_new = sampler.fit_resample(X, Y)
    assert len(X_new) - len(X) == len(Y_new) - len(Y) == 864
    assert Y.iloc[:, sampler.minority_labels_].to_numpy().sum() == 864
    assert len(sampler.minority_labels_) == 5
    made = sampler.is_synthetic_
    seed, partner = sampler.seed_indices_[made], sampler.neighbor_indices_[made]
    label = sampler.label_indices_[made]
    values = Y.to_numpy()
    assert (values[seed, label] == 1).all()
    assert (values[partner, label] == 1).all()
    # Bits of both parents stay 1, bits of neither stay 0, the others are weight or 1 - weight.
    weight = sampler.interpolation_weights_[made][:, None]
    start, end = X[seed].astype(float), X[partner].astype(float)
    np.testing.assert_allclose(X_new[made], start + weight * (end - start), atol=1e-6)


def test_mlsmote_adds_9914_rows_to_toxcast_and_raises_its_mean_ir(labkit_data: Path) -> None:
    frame = table(labkit_data, "toxcast")
    X, Y = ecfp4(frame.smiles), frame.iloc[:, 1:]
    sampler = MLSMOTE(k_neighbors=5, random_state=0)
    X_new, Y_new = sampler.fit_resample(X, Y)
    assert len(X_new) - len(X) == 9914
    assert len(sampler.minority_labels_) == 238
    assert X_new.dtype == np.float32
    assert Y_new.isna().any().any()
    assert sampler.report_after_.mean_ir > sampler.report_before_.mean_ir
    # With "not measured" read as "no", as elsewhere, MeanIR is the 34.6 of the prototype.
    blind = MLSMOTE(k_neighbors=5, random_state=0)
    blind.fit_resample(X, Y.fillna(0))
    assert blind.report_after_.mean_ir == pytest.approx(34.6, rel=2e-3)
    assert sampler.report_after_.mean_ir < 30


def test_remedial_decouples_sider_without_changing_a_count(labkit_data: Path) -> None:
    frame = table(labkit_data, "sider")
    sampler = REMEDIAL()
    _, Y_new = sampler.fit_resample(frame.smiles, frame.iloc[:, 1:])
    assert (Y_new.sum() == frame.iloc[:, 1:].sum()).all()
    assert sampler.report_after_.scumble < 0.5 * sampler.report_before_.scumble
