"""The leakage lab: what oversampling *before* the split does to a score.

Every oversampler repeats molecules. Split afterwards, and copies of one molecule land in training
and in test; a model that memorizes then scores as if it understood. This module runs both orders
on the same molecules and takes the leaky test set apart into molecules seen and not seen in
training. It is the only place of labkit where resampling before the split is possible, and every
number made that way is labeled LEAKY: it estimates nothing about new molecules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.errors import ParameterError
from labkit.oversampling.arms import make_model, predict, resample_rows, train
from labkit.oversampling.config import ARMS, CLASS_WEIGHT, SAMPLER_NAMES, StudyConfig
from labkit.oversampling.evaluation import multilabel_scores
from labkit.oversampling.featurize import PackedMolecules
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.protocol import HONEST, assert_no_leakage
from labkit.oversampling.rows import TrainingRows
from labkit.oversampling.splits import split
from labkit.oversampling.training import Progress

LEAKY = "LEAKY"
DUPLICATE = "duplicate"
"""Adds P x n rows that are copies of molecules drawn at random, each at most once more."""
FRACTIONS = (0.8, 0.1, 0.1)
SEEN, UNSEEN = "seen", "unseen"


@dataclass(frozen=True)
class LeakageResults:
    """Scores of both orders of resampling and splitting.

    Attributes
    ----------
    scores : DataFrame
        One row a seed, sampler and protocol ("train-only", or "LEAKY": resampled before the
        split): columns seed, sampler, protocol, model, n_train, n_test, share_seen (of the test
        rows, whose molecule is also in training) and the metrics at threshold 0.5.
    seen_unseen : DataFrame
        Leaky test rows in two parts: columns seed, sampler, protocol, part ("seen", "unseen" in
        training), n_molecules (rows) and the metrics; nan metrics for an empty part.
    overlap : DataFrame
        Where rows went: columns seed, sampler, protocol, kind ("once" or "copied": molecules with
        one or more rows), side ("train", "test only", "test, also in train") and n_rows.
        Validation rows are not shown.
    """

    scores: pd.DataFrame
    seen_unseen: pd.DataFrame
    overlap: pd.DataFrame

    def headline(self) -> dict[str, float]:
        """Mean gains in macro F1 over no resampling, honest and leaky, and the share seen.

        Returns
        -------
        dict
            ``honest_gain_<sampler>``, ``leaky_gain_<sampler>``, ``leaky_share_seen_<sampler>``.
        """
        mean = self.scores.groupby(["sampler", "protocol"])[["macro_f1", "share_seen"]].mean()
        base = float(mean.loc[("none", HONEST), "macro_f1"])
        numbers = {}
        for sampler, protocol in mean.index:
            if sampler == "none":
                continue
            row = mean.loc[(sampler, protocol)]
            word = "leaky" if protocol == LEAKY else "honest"
            numbers[f"{word}_gain_{sampler}"] = float(row["macro_f1"]) - base
            if protocol == LEAKY:
                numbers[f"leaky_share_seen_{sampler}"] = float(row["share_seen"])
        return numbers


@dataclass(frozen=True)
class _Sides:
    """Rows of training and test, whatever the order of resampling and splitting was."""

    train: TrainingRows
    test: TrainingRows

    def seen(self, canonical: np.ndarray) -> np.ndarray:
        """Which test rows have their molecule in training, (n_test,)."""
        return np.isin(canonical[self.test.index], canonical[np.unique(self.train.index)])


def leakage_lab(
    table: MoleculeTable,
    packed: PackedMolecules,
    *,
    sampler: str | Sequence[str] = "MLROS",
    P: float = 0.25,
    k: int = 5,
    seeds: Sequence[int] = (0,),
    model: str = "forest",
    config: StudyConfig | None = None,
    progress: Progress | None = None,
) -> LeakageResults:
    """Resample after the split and before the split, side by side.

    Parameters
    ----------
    table : MoleculeTable
        Multilabel data.
    packed : PackedMolecules
        Its molecules, in the same order.
    sampler : str or sequence of str
        Samplers to compare, or ``"duplicate"`` for copies of random molecules.
    P, k
        Share of rows to add, neighbors.
    seeds : sequence of int
        Of splits, samplers and models.
    model : str
        As in `StudyConfig.models`.
    config : StudyConfig, optional
        Sizes of the model.
    progress : callable, optional
        Called after each training with (done, total, text).

    Returns
    -------
    LeakageResults

    Raises
    ------
    ParameterError
        If the table holds no labels, does not fit ``packed``, or a sampler is not known.
    """
    if table.task != "multilabel" or len(table) != len(packed):
        raise ParameterError(
            f"leakage_lab needs labels and their {len(table)} molecules; the table holds "
            f"{table.task} data and {len(packed)} molecules are packed."
        )
    names = _sampler_names(sampler)
    config = StudyConfig() if config is None else config
    total, done = len(seeds) * (1 + 2 * len(names)), 0
    scores, parts, overlap = [], [], []
    for seed in seeds:
        arms = [("none", HONEST), *((n, p) for n in names for p in (HONEST, LEAKY))]
        for name, protocol in arms:
            order = _split_first if protocol == HONEST else _resample_first
            sides = order(table, packed, name, P, k, seed)
            fitted = train(make_model(model, config, seed=seed), packed, sides.train)
            test = sides.test
            prediction = predict(fitted, packed, test.index, test.fingerprint)
            head = {"seed": seed, "sampler": name, "protocol": protocol}
            seen = sides.seen(table.canonical)
            scores.append(_score_row(head | {"model": model}, sides, prediction, seen))
            if protocol == LEAKY:
                parts += _part_rows(head, test.Y, prediction, seen)
            if name != "none":
                overlap += _overlap_rows(head, sides, table.canonical, seen)
            done += 1
            if progress is not None:
                progress(done, total, f"{name}, {protocol}, seed {seed}")
    return LeakageResults(pd.DataFrame(scores), pd.DataFrame(parts), pd.DataFrame(overlap))


def _sampler_names(sampler: str | Sequence[str]) -> list[str]:
    given = [sampler] if isinstance(sampler, str) else list(sampler)
    names = [SAMPLER_NAMES.get(name.lower(), name) for name in given]
    allowed = [name for name in (*ARMS, DUPLICATE) if name not in ("none", CLASS_WEIGHT)]
    for name in names:
        if name not in allowed:
            raise ParameterError(f"sampler={name!r} is not known; use one of {', '.join(allowed)}.")
    return names


def _resampled(
    packed: PackedMolecules,
    Y: np.ndarray,
    index: np.ndarray,
    name: str,
    P: float,
    k: int,
    seed: int,
) -> TrainingRows:
    if name == DUPLICATE:
        extra = np.random.default_rng(seed).permutation(len(index))[: round(P * len(index))]
        chosen = np.concatenate([np.arange(len(index)), extra])
        return TrainingRows(index[chosen], Y[chosen])
    return resample_rows(name, packed, Y, index, P=P, k=k, seed=seed).rows


def _split_first(
    table: MoleculeTable, packed: PackedMolecules, name: str, P: float, k: int, seed: int
) -> _Sides:
    """The honest order."""
    parts = split(table, "random", fractions=FRACTIONS, seed=seed)
    train_rows = _resampled(packed, table.Y[parts.train], parts.train, name, P, k, seed)
    assert_no_leakage(train_rows.index, parts.test, table.canonical)
    return _Sides(train_rows, TrainingRows(parts.test, table.Y[parts.test]))


def _resample_first(
    table: MoleculeTable, packed: PackedMolecules, name: str, P: float, k: int, seed: int
) -> _Sides:
    """The leaky order: rows, not molecules, are dealt to the sides."""
    rows = _resampled(packed, table.Y, np.arange(len(table)), name, P, k, seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    first, second = (int(f * len(rows)) for f in (FRACTIONS[0], FRACTIONS[0] + FRACTIONS[1]))
    return _Sides(rows.take(order[:first]), rows.take(order[second:]))


def _score_row(
    head: dict[str, object], sides: _Sides, prediction: np.ndarray, seen: np.ndarray
) -> dict[str, object]:
    sizes = {"n_train": len(sides.train), "n_test": len(sides.test)}
    metrics = multilabel_scores(sides.test.Y, prediction).summary.to_dict()
    return head | sizes | {"share_seen": float(seen.mean())} | metrics


def _part_rows(
    head: dict[str, object], Y: np.ndarray, prediction: np.ndarray, seen: np.ndarray
) -> list[dict[str, object]]:
    rows = []
    for part, chosen in ((SEEN, seen), (UNSEEN, ~seen)):
        row = head | {"part": part, "n_molecules": int(chosen.sum())}
        if chosen.any():
            row |= multilabel_scores(Y[chosen], prediction[chosen]).summary.to_dict()
        rows.append(row)
    return rows


def _overlap_rows(
    head: dict[str, object], sides: _Sides, canonical: np.ndarray, seen: np.ndarray
) -> list[dict[str, object]]:
    """Rows by whether their molecule has others, and by the side they fell on."""
    index = np.concatenate([sides.train.index, sides.test.index])
    _, inverse, counts = np.unique(canonical[index], return_inverse=True, return_counts=True)
    kind = np.where(counts[inverse] > 1, "copied", "once")
    side = np.concatenate(
        [
            np.full(len(sides.train), "train", dtype=object),
            np.where(seen, "test, also in train", "test only").astype(object),
        ]
    )
    found = pd.DataFrame({"kind": kind, "side": side}).value_counts(sort=False)
    return [head | {"kind": k, "side": s, "n_rows": int(n)} for (k, s), n in found.items()]
