"""The study: every arm on the same splits, resampled in training only, scored on test molecules.

For each seed: split the molecules, resample the *training* rows, fit, choose thresholds on the
*validation* molecules, score on the *test* molecules. Before a model sees a row it is checked that
its molecule is in no other part (`assert_no_leakage`); there is no switch to leave the check out.
References stand in the same table: predictions that need no model, and for simulated effects the
best possible prediction, which knows their true probabilities.
"""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from labkit import __version__
from labkit.errors import LabkitError, ParameterError
from labkit.oversampling.arms import (
    Model,
    ResampledRows,
    make_model,
    predict,
    resample_rows,
    steps_of,
    train,
)
from labkit.oversampling.config import FULL, PRESETS, QUICK, STANDARD, StudyConfig
from labkit.oversampling.data import load_molecules
from labkit.oversampling.evaluation import (
    multilabel_scores,
    paired_bootstrap,
    regression_scores,
    trivial_baselines,
    tune_thresholds,
)
from labkit.oversampling.featurize import PackedMolecules, featurize
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.resampling import make_sampler
from labkit.oversampling.results import NO_SAMPLER, Arm, StudyResults
from labkit.oversampling.rows import TrainingRows
from labkit.oversampling.simulated import bayes_ceiling
from labkit.oversampling.splits import Split, split
from labkit.oversampling.training import MoleculeEstimator, Progress

__all__ = [
    "FULL",
    "PRESETS",
    "QUICK",
    "STANDARD",
    "LeakageError",
    "StudyConfig",
    "StudyResults",
    "assert_no_leakage",
    "load_table",
    "run_study",
]

logger = logging.getLogger(__name__)

HONEST = "train-only"
SIMULATED_LIMIT = "best possible, simulated"
COMPARED = {"multilabel": "macro_f1", "regression": "r2"}
PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "torch-geometric", "rdkit")


class LeakageError(LabkitError, ValueError):
    """A molecule of the training rows is also in validation or test."""


def assert_no_leakage(train_rows: np.ndarray, test_rows: np.ndarray, canonical: np.ndarray) -> None:
    """Raise if a molecule is on both sides.

    Parameters
    ----------
    train_rows, test_rows : ndarray of int
        Rows of the table, with repeats for clones.
    canonical : ndarray of str, shape (n_molecules,)
        Canonical SMILES: the same molecule under two row numbers counts as one.

    Raises
    ------
    LeakageError
        Saying how many molecules are on both sides, and naming one.

    Examples
    --------
    >>> assert_no_leakage(np.array([0, 0]), np.array([1]), np.array(["C", "O", "C"]))
    >>> assert_no_leakage(np.array([0, 0]), np.array([2]), np.array(["C", "O", "C"]))
    Traceback (most recent call last):
        ...
    labkit.oversampling.protocol.LeakageError: 1 molecule is in training and in test, such as C. ...
    """
    both = set(canonical[np.unique(train_rows)]) & set(canonical[np.unique(test_rows)])
    if both:
        n = f"{len(both)} molecule{' is' if len(both) == 1 else 's are'}"
        raise LeakageError(
            f"{n} in training and in test, such as {min(both)}. Split first, with duplicates on "
            "one side (labkit's split does), and resample the training rows alone."
        )


def load_table(config: StudyConfig) -> MoleculeTable:
    """Molecules and targets that a configuration asks for.

    Parameters
    ----------
    config : StudyConfig
        Its dataset or CSV, task, thresholds for labels and number of molecules.

    Returns
    -------
    MoleculeTable
        With ``task`` as in the configuration: measured values become labels where labels are asked.

    Raises
    ------
    ParameterError
        If regression is asked of a table of labels.
    """
    source = config.csv if config.csv is not None else config.dataset
    asked = config.task if config.csv is None and config.dataset == "nci_simulated" else None
    table = load_molecules(
        source,
        smiles_col=config.smiles_col,
        target_cols=config.target_cols,
        task=asked,
        n_molecules=config.n_molecules,
    )
    if table.task == config.task:
        return table
    if config.task == "regression":
        raise ParameterError(
            f"task='regression' but {table.name} holds labels; use task='multilabel', or data with "
            "measured values such as biogen_adme."
        )
    return table.threshold(
        quantile=config.label_quantile,
        value=config.label_value,
        direction=config.label_direction,
    )


def run_study(
    config: StudyConfig, progress: Progress | None = None, *, table: MoleculeTable | None = None
) -> StudyResults:
    """Run every arm of a study.

    Parameters
    ----------
    config : StudyConfig
        What to run.
    progress : callable, optional
        Called with (steps done, steps in all, text); a step is an epoch of a graph network or the
        whole training of another model.
    table : MoleculeTable, optional
        Result of `load_table` for this configuration, if at hand.

    Returns
    -------
    StudyResults

    Raises
    ------
    ParameterError
        If a choice is not allowed or does not fit the data.
    LeakageError
        If a molecule of the training rows is also in validation or test.
    """
    started = datetime.now(UTC)
    config.validate()
    table = load_table(config) if table is None else table
    if table.task != config.task:
        raise ParameterError(f"task={config.task!r} but the table given is {table.task}.")
    packed = featurize(table.smiles, fingerprint=config.fingerprint)
    run = _Run(config, table, packed, progress)
    for seed in config.seeds:
        run.run_seed(seed)
    return run.results(started)


class _Run:
    """Collects the rows of the result tables, arm by arm."""

    def __init__(
        self,
        config: StudyConfig,
        table: MoleculeTable,
        packed: PackedMolecules,
        progress: Progress | None,
    ) -> None:
        self.config, self.table, self.packed = config, table, packed
        self.progress = progress or (lambda done, total, text: None)
        self.done = 0
        per_seed = len(config.samplers) * sum(steps_of(m, config) for m in config.models)
        self.total = per_seed * len(config.seeds)
        self.Y = table.Y
        self.scores: list[dict[str, Any]] = []
        self.per_label: list[pd.DataFrame] = []
        self.resampling: list[dict[str, Any]] = []
        self.predictions: dict[Arm, np.ndarray] = {}
        self.thresholds: dict[Arm, np.ndarray] = {}
        self.splits: list[Split] = []
        self.models: dict[tuple[str, str], MoleculeEstimator] = {}
        self.cpu_start = time.process_time()

    def run_seed(self, seed: int) -> None:
        """Split, then run all arms on that split."""
        parts = split(self.table, self.config.split, seed=seed)
        assert_no_leakage(parts.valid, parts.test, self.table.canonical)
        self.splits.append(parts)
        self._score_references(seed, parts)
        plain: dict[str, Model] = {}
        for sampler in sorted(self.config.samplers, key=lambda name: name != "none"):
            resampled = self._resample(seed, sampler, parts)
            for name in self.config.models:
                start = time.process_time()
                model = self._fit(seed, name, sampler, resampled, plain.get(name))
                if sampler == "none":
                    plain[name] = model
                if isinstance(model, MoleculeEstimator) and seed == self.config.seeds[0]:
                    self.models[name, sampler] = model
                cpu_s = time.process_time() - start
                self._score_arm((seed, name, sampler), model, parts, len(resampled.rows), cpu_s)

    def results(self, started: datetime) -> StudyResults:
        """All tables."""
        return StudyResults(
            config=self.config,
            table=self.table,
            packed=self.packed,
            scores=pd.DataFrame(self.scores),
            per_label=pd.concat(self.per_label, ignore_index=True),
            comparisons=self._comparisons(),
            resampling=pd.DataFrame(self.resampling),
            predictions=self.predictions,
            thresholds=self.thresholds,
            splits=self.splits,
            models=self.models,
            provenance=self._provenance(started),
        )

    def _resample(self, seed: int, sampler: str, parts: Split) -> ResampledRows:
        if self.config.task == "regression":
            rows = TrainingRows(parts.train, self.Y[parts.train])
            resampled = ResampledRows(rows, np.zeros(len(rows), dtype=bool))
        else:
            config = self.config
            resampled = resample_rows(
                sampler,
                self.packed,
                self.Y[parts.train],
                parts.train,
                P=config.P,
                k=config.k,
                seed=seed,
            )
        for part in (parts.valid, parts.test):
            assert_no_leakage(resampled.rows.index, part, self.table.canonical)
        self.resampling.append({"seed": seed, "sampler": sampler} | resampled.summary())
        return resampled

    def _fit(
        self, seed: int, name: str, sampler: str, resampled: ResampledRows, plain: Model | None
    ) -> Model:
        steps = steps_of(name, self.config)
        text = f"{name}, {sampler}, seed {seed}"

        def report(done: int, total: int, _what: str) -> None:
            self.progress(self.done + min(done, steps), self.total, text)

        in_embedding = self.config.space == "embedding" and resampled.is_synthetic.any()
        if in_embedding and isinstance(plain, MoleculeEstimator):
            model: Model = self._refit_head(plain, sampler, resampled, seed)
        else:
            growth = len(resampled.rows) / resampled.n_before
            model = make_model(name, self.config, seed=seed, sampler=sampler, growth=growth)
            train(model, self.packed, resampled.rows, report)
        self.done += steps
        self.progress(self.done, self.total, text)
        return model

    def _refit_head(
        self, plain: MoleculeEstimator, sampler: str, resampled: ResampledRows, seed: int
    ) -> MoleculeEstimator:
        """Resample between the embeddings of the network trained without resampling."""
        index = resampled.rows.index[~resampled.is_synthetic]
        made = make_sampler(sampler, P=self.config.P, k=self.config.k, random_state=seed)
        X, Y = made.fit_resample(plain.embed(self.packed, index), self.Y[index])
        return plain.refit_head(np.asarray(X), np.asarray(Y, dtype=float))

    def _score_arm(self, arm: Arm, model: Model, parts: Split, n_train: int, cpu_s: float) -> None:
        prediction = predict(model, self.packed, parts.test)
        self.predictions[arm] = prediction
        facts = {"n_train": n_train, "cpu_s": cpu_s}
        if self.config.task == "regression":
            self._add(arm, "none", prediction, parts, **facts)
            return
        tuned = tune_thresholds(self.Y[parts.valid], predict(model, self.packed, parts.valid))
        self.thresholds[arm] = tuned
        self._add(arm, "0.5", prediction, parts, **facts)
        self._add(arm, "tuned", prediction, parts, thresholds=tuned, **facts)

    def _score_references(self, seed: int, parts: Split) -> None:
        Y_train, Y_test = self.Y[parts.train], self.Y[parts.test]
        if self.config.task == "regression":
            mean = np.broadcast_to(_known_mean(Y_train), Y_test.shape)
            self._add((seed, "training mean", NO_SAMPLER), "none", mean, parts, reference=True)
            if self.table.expected is not None:
                best = self.table.expected[parts.test]
                self._add((seed, SIMULATED_LIMIT, NO_SAMPLER), "none", best, parts, reference=True)
            return
        for name, scores in trivial_baselines(Y_train, Y_test).items():
            arm = (seed, name.replace("_", " "), NO_SAMPLER)
            self._append(arm, "0.5", scores, parts, reference=True)
        if self.table.probability is not None:
            best = self.table.probability[parts.test]
            cut = bayes_ceiling(self.table.probability[parts.train])["threshold"].to_numpy()
            arm = (seed, SIMULATED_LIMIT, NO_SAMPLER)
            self._add(arm, "tuned", best, parts, thresholds=cut, reference=True)

    def _add(
        self,
        arm: Arm,
        rule: str,
        prediction: np.ndarray,
        parts: Split,
        thresholds: np.ndarray | float = 0.5,
        **facts: Any,
    ) -> None:
        Y = self.Y[parts.test]
        if self.config.task == "regression":
            scores: Any = regression_scores(Y, prediction)
        else:
            scores = multilabel_scores(Y, prediction, thresholds)
        self._append(arm, rule, scores, parts, **facts)

    def _append(
        self, arm: Arm, rule: str, scores: Any, parts: Split, reference: bool = False, **facts: Any
    ) -> None:
        seed, model, sampler = arm
        head = {"seed": seed, "model": model, "sampler": sampler, "thresholds": rule}
        about = {"protocol": HONEST, "reference": reference, "n_test": len(parts.test)}
        self.scores.append(head | about | facts | scores.summary.to_dict())
        if reference:
            return
        frame = scores.per_label.assign(
            label=list(self.table.label_names), prevalence=_known_mean(self.Y[parts.train])
        )
        for position, (name, value) in enumerate(head.items()):
            frame.insert(position, name, value)
        self.per_label.append(frame)

    def _comparisons(self) -> pd.DataFrame:
        """Each sampler against none, on the test molecules of all seeds together."""
        columns = ["model", "sampler", "thresholds", "metric", "difference", "low", "high"]
        config, rows = self.config, []
        if not config.n_bootstrap or config.task == "regression":
            return pd.DataFrame(columns=columns)
        for model in config.models:
            for sampler in config.samplers[1:]:
                for rule in ("0.5", "tuned"):
                    interval = self._compare(model, sampler, rule)
                    shown = (interval.difference, interval.low, interval.high)
                    rows.append((model, sampler, rule, COMPARED[config.task], *shown))
        return pd.DataFrame(rows, columns=columns)

    def _compare(self, model: str, sampler: str, rule: str) -> Any:
        Y = np.concatenate([self.Y[parts.test] for parts in self.splits])
        calls = []
        for arm_sampler in ("none", sampler):
            arms = [(seed, model, arm_sampler) for seed in self.config.seeds]
            cuts = [self.thresholds[arm] if rule == "tuned" else 0.5 for arm in arms]
            predicted = [self.predictions[a] >= c for a, c in zip(arms, cuts, strict=True)]
            calls.append(np.concatenate(predicted).astype(float))
        n, seed = self.config.n_bootstrap, self.config.seeds[0]
        plain, resampled = calls
        return paired_bootstrap(
            Y, plain, resampled, metric=COMPARED[self.config.task], n=n, seed=seed
        )

    def _provenance(self, started: datetime) -> dict[str, Any]:
        table = self.table
        return {
            "data": {
                "name": table.name,
                "sha256": table.sha256,
                "simulated": table.simulated,
                "molecules": len(table),
                "dropped_rows": len(table.dropped),
                "targets": list(table.label_names),
                "citation": table.citation,
            },
            "splits": {
                str(seed): parts.digest
                for seed, parts in zip(self.config.seeds, self.splits, strict=True)
            },
            "config": self.config.as_dict(),
            "versions": {"labkit": __version__, "python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpu_s": round(time.process_time() - self.cpu_start, 2),
        }


def _known_mean(Y: np.ndarray) -> np.ndarray:
    """Mean of the known values of each column; 0 where nothing is known."""
    known = ~np.isnan(Y)
    return np.where(known, Y, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
