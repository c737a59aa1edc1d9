"""What an arm of the study is made of: rows after resampling, and a model to train on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.errors import ParameterError
from labkit.oversampling.baselines import ForestBaseline, GradientBoostingBaseline
from labkit.oversampling.config import CLASS_WEIGHT, StudyConfig
from labkit.oversampling.featurize import PackedMolecules
from labkit.oversampling.imbalance import ImbalanceReport, imbalance_report
from labkit.oversampling.resampling import IndexSampler, make_sampler
from labkit.oversampling.rows import TrainingRows
from labkit.oversampling.training import MoleculeEstimator, Progress

Model = MoleculeEstimator | ForestBaseline | GradientBoostingBaseline


@dataclass(frozen=True)
class ResampledRows:
    """Rows after a sampler, and what it did.

    Attributes
    ----------
    rows : TrainingRows
        Molecule, labels and, for synthetic rows, fingerprint of each row.
    is_synthetic : ndarray of bool, shape (n_rows,)
        Rows whose features were interpolated.
    before, after : ImbalanceReport, or None
        Imbalance of the labels given and of the labels returned; None for regression.
    """

    rows: TrainingRows
    is_synthetic: np.ndarray
    before: ImbalanceReport | None = None
    after: ImbalanceReport | None = None

    @property
    def n_before(self) -> int:
        """Rows before resampling."""
        return len(self.rows) if self.before is None else self.before.n_samples

    def summary(self) -> dict[str, float]:
        """Counts and imbalance before and after, one number a name."""
        copies = np.unique(self.rows.index, return_counts=True)[1]
        counts: dict[str, float] = {
            "n_after": len(self.rows),
            "n_synthetic": int(self.is_synthetic.sum()),
            "max_copies": int(copies.max()),
        }
        if self.before is None or self.after is None:
            return counts
        return counts | {
            "n_before": self.before.n_samples,
            "mean_ir_before": self.before.mean_ir,
            "mean_ir_after": self.after.mean_ir,
            "scumble_before": self.before.scumble,
            "scumble_after": self.after.scumble,
        }


def resample_rows(
    sampler: str,
    packed: PackedMolecules,
    Y: np.ndarray,
    index: np.ndarray,
    *,
    P: float,
    k: int,
    seed: int,
) -> ResampledRows:
    """Resample labeled rows; the rows that come out name the molecules they come from.

    Parameters
    ----------
    sampler : str
        ``"none"``, ``"class_weight"`` (both leave the rows as they are) or a sampler's name.
    packed : PackedMolecules
        All molecules; fingerprints are the features of samplers that have neighbors.
    Y : ndarray of shape (n_rows, n_labels)
        Labels of the rows.
    index : ndarray of int, shape (n_rows,)
        Molecule of each row.
    P, k, seed
        Share of rows to add or remove, neighbors, random state.

    Returns
    -------
    ResampledRows
    """
    if sampler in ("none", CLASS_WEIGHT):
        report = imbalance_report(Y)
        return ResampledRows(TrainingRows(index, Y), np.zeros(len(Y), dtype=bool), report, report)
    made = make_sampler(sampler, P=P, k=k, random_state=seed)
    features = packed.fingerprint[index]
    if isinstance(made, IndexSampler):
        chosen = made.fit_indices(Y, features)
        rows = TrainingRows(index[chosen], Y[chosen])
    else:
        X, labels = made.fit_resample(features, Y)
        own = np.asarray(X, dtype=np.float32) if made.is_synthetic_.any() else None
        rows = TrainingRows(index[made.sample_indices_], np.asarray(labels, dtype=float), own)
    return ResampledRows(rows, made.is_synthetic_, made.report_before_, made.report_after_)


def make_model(
    name: str,
    config: StudyConfig,
    *,
    seed: int,
    sampler: str = "none",
    growth: float = 1.0,
) -> Model:
    """An untrained model of the study.

    Parameters
    ----------
    name : {"forest", "boosting", "gnn", "hybrid"}
        Which model.
    config : StudyConfig
        Its sizes and training.
    seed : int
        Of the model.
    sampler : str
        ``"class_weight"`` gives positives and negatives of a label the same total weight.
    growth : float
        Training rows per row before resampling: networks train ``epochs / growth`` epochs, so that
        every arm takes the same number of gradient steps and a gain is not mere longer training.

    Returns
    -------
    MoleculeEstimator, ForestBaseline or GradientBoostingBaseline
    """
    weighted = sampler == CLASS_WEIGHT
    balance = "balanced" if weighted else None
    if name == "forest":
        return ForestBaseline(config.task, n_trees=config.n_trees, class_weight=balance, seed=seed)
    if name == "boosting":
        return GradientBoostingBaseline(config.task, class_weight=balance, seed=seed)
    if name not in ("gnn", "hybrid"):
        raise ParameterError(f"model={name!r} is not known; use forest, boosting, gnn or hybrid.")
    return MoleculeEstimator(
        config.task,
        config.encoder,
        fingerprint=name == "hybrid",
        hidden=config.hidden,
        layers=config.layers,
        dropout=config.dropout,
        epochs=max(1, round(config.epochs / growth)),
        lr=config.lr,
        batch_size=config.batch_size,
        loss="pos_weight" if weighted else config.loss,
        seed=seed,
        device=config.device,
    )


def train(
    model: Model, packed: PackedMolecules, rows: TrainingRows, progress: Progress | None = None
) -> Model:
    """Fit a model on rows; returns it."""
    model.fit(packed, rows.Y, rows=rows.index, fingerprint=rows.fingerprint, progress=progress)
    return model


def predict(
    model: Model,
    packed: PackedMolecules,
    rows: np.ndarray,
    fingerprint: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities, or values for regression, of shape (n_rows, n_outputs)."""
    if model.task == "regression":
        return model.predict(packed, rows, fingerprint=fingerprint)
    return model.predict_proba(packed, rows, fingerprint=fingerprint)


def steps_of(name: str, config: StudyConfig) -> int:
    """Progress steps that training a model takes: its epochs, or 1."""
    return config.epochs if name in ("gnn", "hybrid") else 1
