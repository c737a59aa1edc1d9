"""Results of a study: tidy tables, predictions and where they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.atomic import replace_text
from labkit.errors import ParameterError
from labkit.oversampling.config import StudyConfig
from labkit.oversampling.featurize import PackedMolecules
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.splits import Split
from labkit.oversampling.training import MoleculeEstimator

Arm = tuple[int, str, str]
"""Seed, model, sampler."""

NO_SAMPLER = "-"
"""In the sampler column of references, which are not trained."""
THRESHOLD_METRICS = ("macro_f1", "macro_precision", "macro_recall")
HEADLINE_METRICS = {
    "multilabel": ("macro_f1", "macro_auc"),
    "regression": ("r2", "rmse", "spearman"),
}
SHOWN_METRICS = {
    "multilabel": ("macro_precision", "macro_recall", "macro_f1", "macro_auc", "macro_ap"),
    "regression": HEADLINE_METRICS["regression"],
}


@dataclass(frozen=True)
class StudyResults:
    """What `run_study` found.

    Attributes
    ----------
    config : StudyConfig
        The choices.
    table : MoleculeTable
        The molecules.
    packed : PackedMolecules
        Their graphs and fingerprints; molecule i is row i of ``table``.
    scores : DataFrame
        One row a seed, model, sampler and threshold rule: columns seed, model, sampler, thresholds
        ("0.5", "tuned" on validation molecules, or "none" for regression), protocol
        ("train-only"), reference (True for trivial baselines and ceilings), n_train, cpu_s and the
        metrics on the test molecules.
    per_label : DataFrame
        The same, label by label, with the label's share of positives among training molecules.
    comparisons : DataFrame
        Gain of each sampler over none: columns model, sampler, thresholds, metric, difference,
        low, high (95 % interval from resampling the test molecules, paired).
    resampling : DataFrame
        What each sampler did to the training rows of each seed.
    predictions : dict
        Arm (seed, model, sampler) to predictions for the test molecules, (n_test, n_outputs).
    thresholds : dict
        Arm to the thresholds tuned on its validation molecules, (n_labels,).
    splits : list of Split
        One a seed, in the order of ``config.seeds``.
    models : dict
        (model, sampler) to the trained graph network of the first seed.
    provenance : dict
        Data checksum, split digests, versions, choices, times.
    """

    config: StudyConfig
    table: MoleculeTable
    packed: PackedMolecules
    scores: pd.DataFrame
    per_label: pd.DataFrame
    comparisons: pd.DataFrame
    resampling: pd.DataFrame
    predictions: Mapping[Arm, np.ndarray]
    splits: list[Split]
    provenance: Mapping[str, Any]
    thresholds: Mapping[Arm, np.ndarray] = field(default_factory=dict)
    models: Mapping[tuple[str, str], MoleculeEstimator] = field(default_factory=dict)

    def test_predictions(
        self, *, model: str, sampler: str = "none", seed: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """True values and predictions of one arm on its test molecules.

        Parameters
        ----------
        model, sampler : str
            Which arm.
        seed : int, optional
            Which split; the first if not given.

        Returns
        -------
        tuple of ndarray
            Each of shape (n_test, n_outputs).
        """
        seed = self.config.seeds[0] if seed is None else seed
        arm = (seed, model, sampler)
        if arm not in self.predictions:
            known = ", ".join(f"{m}/{s}/seed {i}" for i, m, s in self.predictions)
            raise ParameterError(f"{model}/{sampler}/seed {seed} was not run; there are {known}.")
        rows = self.splits[self.config.seeds.index(seed)].test
        return self.table.Y[rows], self.predictions[arm]

    def headline(self) -> dict[str, float]:
        """Main numbers as plain floats, the same names for the same choices.

        Returns
        -------
        dict
            Sizes and imbalance; the mean over seeds of each metric as
            ``<metric>_<model>_<sampler>``, with ``_tuned`` for tuned thresholds where they matter;
            ``<metric>_<reference>``; and at tuned thresholds the gain of each sampler over none,
            ``gain_<model>_<sampler>``, with its interval ``_low`` and ``_high``.
        """
        numbers = {
            "n_molecules": float(len(self.table)),
            "n_labels": float(self.table.Y.shape[1]),
            "n_seeds": float(len(self.config.seeds)),
        }
        if "n_labels_scored" in self.scores:
            numbers["n_labels_scored"] = float(self.scores["n_labels_scored"].mean())
        if "mean_ir_before" in self.resampling:
            numbers["mean_ir"] = float(self.resampling["mean_ir_before"].mean())
        means = self.scores.groupby(["model", "sampler", "thresholds"], sort=False)
        for metric in HEADLINE_METRICS[self.config.task]:
            for arm, value in means[metric].mean().dropna().items():
                numbers.setdefault(_headline_name(metric, *arm), float(value))
        for gain in self.comparisons.query("thresholds == 'tuned'").itertuples():
            name = f"gain_{gain.model}_{gain.sampler}"
            numbers[name] = float(gain.difference)
            numbers[f"{name}_low"], numbers[f"{name}_high"] = float(gain.low), float(gain.high)
        return numbers

    def predictions_frame(self) -> pd.DataFrame:
        """Predictions of all arms, one row a test molecule, one column an effect."""
        frames = []
        for (seed, model, sampler), values in self.predictions.items():
            rows = self.splits[self.config.seeds.index(seed)].test
            frame = pd.DataFrame(values, columns=list(self.table.label_names))
            head = {"seed": seed, "model": model, "sampler": sampler, "row": rows}
            head["smiles"] = self.table.smiles[rows]
            frames.append(pd.concat([pd.DataFrame(head), frame], axis=1))
        return pd.concat(frames, ignore_index=True)

    def splits_frame(self) -> pd.DataFrame:
        """Side of every molecule in every split: columns seed, part, row, smiles."""
        frames = []
        for seed, split in zip(self.config.seeds, self.splits, strict=True):
            for part in ("train", "valid", "test"):
                rows = getattr(split, part)
                smiles = self.table.smiles[rows]
                frame = {"seed": seed, "part": part, "row": rows, "smiles": smiles}
                frames.append(pd.DataFrame(frame))
        return pd.concat(frames, ignore_index=True)

    def export(self, directory: str | Path) -> list[Path]:
        """Write all tables and the provenance; each file appears complete or not at all.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; files of an earlier export are replaced.

        Returns
        -------
        list of Path
            The CSV files and provenance.json.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {
            "scores": self.scores,
            "per_label": self.per_label,
            "comparisons": self.comparisons,
            "resampling": self.resampling,
            "predictions": self.predictions_frame(),
            "splits": self.splits_frame(),
            "dropped": self.table.dropped,
        }
        written = []
        for name, frame in tables.items():
            written.append(folder / f"{name}.csv")
            replace_text(written[-1], frame.to_csv(index=False))
        text = json.dumps(self.provenance, indent=2, default=str) + "\n"
        written.append(folder / "provenance.json")
        replace_text(written[-1], text)
        return written

    def _repr_html_(self) -> str:
        metrics = list(SHOWN_METRICS[self.config.task])
        keys = ["model", "sampler", "thresholds"]
        table = self.scores.groupby(keys, sort=False)[metrics].mean()
        title = f"{self.table.name}, {len(self.config.seeds)} split(s), means over test molecules"
        return f"<p>{title}</p>" + table.to_html(float_format="{:.3f}".format)


def _headline_name(metric: str, model: str, sampler: str, rule: str) -> str:
    """Name without spaces; the threshold rule shows only where it changes the metric."""
    parts = [metric, re.sub(r"\W+", "_", model)]
    if sampler != NO_SAMPLER:
        parts.append(sampler)
        if rule == "tuned" and metric in THRESHOLD_METRICS:
            parts.append(rule)
    return "_".join(parts)
