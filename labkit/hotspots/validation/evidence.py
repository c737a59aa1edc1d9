r"""What a panel of targets says about scores: means over targets, and sentences they support.

Over :math:`n` targets with AUROC :math:`A_k` the mean and its interval are

.. math::

    \bar A \pm t_{n - 1} \, s / \sqrt{n}, \qquad s^2 = \tfrac{1}{n - 1} \sum_k (A_k - \bar A)^2 .

Targets, not atoms, are what varies independently, so four targets give a wide interval, and that
is what four targets are worth.

Of five scores one may well stand out by luck. A score is therefore called *told from chance* only
if its interval leaves out one half and its permutation p value, times the number of scores (the
Bonferroni correction), is below 1 - confidence; differences between scores have simultaneous
intervals. `SarPanel.summary` says this in words and nothing else; it is what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, t

from labkit.errors import ParameterError
from labkit.hotspots.validation.auroc import auroc, patches
from labkit.hotspots.validation.sar import SCORES, SarSites, sar_benchmark

ABOVE, BELOW, UNTOLD = "sites score higher", "sites score lower", "not told from chance"
"""What can be said of a score."""
_ONE_TARGET = "One target says nothing of others."
_REMINDER = (
    "That an atom was varied is a choice of chemists, not a proof that varying it was right."
)


@dataclass(frozen=True, eq=False, repr=False)
class SarPanel:
    """Scores against sites over several targets.

    Attributes
    ----------
    frame : DataFrame
        One row per target and score: target, lead, score, auroc, low, high, p_permutation,
        p_patch, n_sites, n_atoms, verdict. The intervals take atoms as independent.
    mean : DataFrame
        One row per score: score, auroc, low, high (over targets; nan for one target), p_patch
        (connected site sets drawn in all targets at once), verdict, n_targets.
    differences : DataFrame
        One row per baseline: score, difference (mean AUROC of the learned score minus that of the
        baseline, paired by target), low, high (simultaneous over the baselines), n_targets.
    correlation : DataFrame
        Spearman correlation of the learned score with each baseline, targets x baselines.
    confidence : float
        Coverage of all intervals.
    sites : dict of str to SarSites
        The sites of each target, in the order of its scores.
    notes : tuple of str
        What a reader of the figures should know.
    """

    frame: pd.DataFrame
    mean: pd.DataFrame
    differences: pd.DataFrame
    correlation: pd.DataFrame
    confidence: float
    sites: dict[str, SarSites]
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(dict.fromkeys(self.frame["target"]))

    def summary(self) -> str:
        """What the panel shows, in sentences that its intervals support."""
        asked = "Do scores point at the atoms that chemists varied? AUROC (0.5 is chance)"
        level, n = f"{self.confidence:.0%}", len(self.targets)
        if n == 1:
            head = f"{asked}, {level} interval over atoms, {self.targets[0]} alone:"
            said = [*map(_sentence, self.frame.to_dict("records")), _ONE_TARGET]
        else:
            names = ", ".join(self.targets)
            head = f"{asked}, mean and {level} interval over {n} targets ({names}):"
            said = [*map(_sentence, self.mean.to_dict("records")), _conclusion(self.mean)]
            learned = self.mean["score"].iloc[0]
            said += [_compared(learned, row) for row in self.differences.to_dict("records")]
        return "\n".join([head, *said, _REMINDER, *self.notes])

    def __repr__(self) -> str:
        return self.summary()


def panel_of(
    scores: Mapping[str, pd.DataFrame],
    sites: Mapping[str, SarSites],
    *,
    columns: Sequence[str] = SCORES,
    n_permutations: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    notes: Sequence[str] = (),
) -> SarPanel:
    """Panel of scores that are already there.

    Parameters
    ----------
    scores : mapping of str to DataFrame
        For each target one row per heavy atom of the lead.
    sites : mapping of str to SarSites
        Of the same targets, in the order of `scores`.
    columns : sequence of str
        Scores to judge; the first is compared with the others.
    n_permutations, seed : int
    confidence : float
    notes : sequence of str

    Returns
    -------
    SarPanel

    Raises
    ------
    ParameterError
        No target, or targets that differ.
    """
    if not scores or set(scores) != set(sites):
        raise ParameterError(
            f"scores has the targets {sorted(scores)} and sites {sorted(sites)}; give the same, at "
            "least one."
        )
    parts = []
    for target, table in scores.items():
        part = sar_benchmark(
            table,
            sites[target],
            columns=columns,
            n_permutations=n_permutations,
            seed=seed,
            confidence=confidence,
        )
        part.insert(0, "lead", sites[target].lead)
        part.insert(0, "target", target)
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame["verdict"] = _verdicts(frame, len(columns), confidence)
    areas = frame.pivot(index="target", columns="score", values="auroc")[list(columns)]
    drawn = _drawn(scores, sites, columns, n_permutations, seed)
    return SarPanel(
        frame=frame,
        mean=_mean(areas, drawn, confidence),
        differences=_differences(areas, confidence),
        correlation=_correlation(scores, columns),
        confidence=confidence,
        sites=dict(sites),
        notes=tuple(notes),
    )


def _drawn(
    scores: Mapping[str, pd.DataFrame],
    sites: Mapping[str, SarSites],
    columns: Sequence[str],
    n: int,
    seed: int,
) -> pd.DataFrame:
    """Mean AUROC over targets of connected site sets drawn in all of them, n x scores."""
    areas = []
    for number, (target, table) in enumerate(scores.items()):
        rng = np.random.default_rng([seed, number])
        sets = patches(sites[target].sites, sites[target].bonds, n, rng)
        areas.append([auroc(table[column].to_numpy(dtype=float), sets) for column in columns])
    stacked = pd.DataFrame(np.concatenate(areas, axis=0))
    by_score = stacked.groupby(np.tile(np.arange(len(columns)), len(scores))).mean()
    return by_score.T.set_axis(list(columns), axis=1)


def _mean(areas: pd.DataFrame, drawn: pd.DataFrame, confidence: float) -> pd.DataFrame:
    rows = []
    for score in areas.columns:
        values = areas[score].dropna()
        low, high = _t_interval(values, confidence)
        far = (drawn[score] - 0.5).abs() >= abs(values.mean() - 0.5) - 1e-12
        rows.append(
            {
                "score": score,
                "auroc": values.mean(),
                "low": max(low, 0.0) if len(values) > 1 else low,
                "high": min(high, 1.0) if len(values) > 1 else high,
                "p_patch": (1 + far.sum()) / (1 + len(drawn)) if len(values) else np.nan,
                "n_targets": len(values),
            }
        )
    mean = pd.DataFrame(rows)
    mean.insert(5, "verdict", _verdicts(mean, len(mean), confidence))
    return mean


def _verdicts(frame: pd.DataFrame, n_scores: int, confidence: float) -> np.ndarray:
    """What each row's interval and its p value, corrected for `n_scores`, support."""
    rare = frame["p_patch"] * n_scores <= 1 - confidence
    above, below = rare & (frame["low"] > 0.5), rare & (frame["high"] < 0.5)
    return np.select([above, below], [ABOVE, BELOW], UNTOLD)


def _differences(areas: pd.DataFrame, confidence: float) -> pd.DataFrame:
    rows = []
    baselines = list(areas.columns[1:])
    each = 1 - (1 - confidence) / max(1, len(baselines))
    for score in baselines:
        paired = (areas.iloc[:, 0] - areas[score]).dropna()
        low, high = _t_interval(paired, each)
        difference = float(paired.mean())
        rows.append([score, difference, low, high, len(paired)])
    return pd.DataFrame(rows, columns=["score", "difference", "low", "high", "n_targets"])


def _t_interval(values: pd.Series, confidence: float) -> tuple[float, float]:
    """Interval of a mean; nan for fewer than two values."""
    n = len(values)
    if n < 2:
        return np.nan, np.nan
    half = t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def _correlation(scores: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    first, *others = columns
    rows = {
        target: {
            other: float(spearmanr(table[first], table[other]).statistic)
            if table[[first, other]].notna().all(axis=None) and table[other].nunique() > 1
            else np.nan
            for other in others
        }
        for target, table in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _sentence(row: dict[str, Any]) -> str:
    """A score with its interval and verdict."""
    interval = f"{row['auroc']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"  {row['score']}: {interval}, p = {row['p_patch']:.2g}, {row['verdict']}"


def _conclusion(mean: pd.DataFrame) -> str:
    told = mean.loc[mean["verdict"] != UNTOLD, "score"]
    tried = f"of the {len(mean)} scores tried"
    if told.empty:
        return f"None {tried} is shown to point at the varied atoms, or away from them."
    return f"Told from chance, {tried}: {', '.join(told)}."


def _compared(learned: str, row: dict[str, Any]) -> str:
    verdict = "no difference shown"
    if row["low"] > 0:
        verdict = f"{learned} is higher"
    elif row["high"] < 0:
        verdict = f"{learned} is lower"
    interval = f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
    return f"  {learned} minus {row['score']}: {interval}, {verdict}"
