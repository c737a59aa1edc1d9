"""Ligand atoms ranked by how much their contacts change, with intervals and a verdict.

The score of atom ``a`` is the latent spread (:mod:`labkit.hotspots.scores`), averaged over an
ensemble of ``S`` networks that differ in their seed only. Rank 1 is the most dynamic atom; tied
atoms share the average of their ranks. Two things make a rank uncertain:

- **time**: the trajectory is short. Windows are drawn again in moving blocks
  (:mod:`labkit.hotspots.bootstrap`), the same for all atoms and seeds.
- **seeds**: the ensemble is small. Resampling ``S`` seeds would give a variance that is too small
  by ``(S - 1) / S``; each draw instead adds ``sum_s g_s (theta_s - mean) / sqrt(S (S - 1))`` with
  standard normal ``g``.

A verdict is given where the interval of the rank allows it: *dynamic* where it lies wholly in the
top third of the atoms, *anchor* where it lies wholly in the bottom third, *undetermined* otherwise.
That dynamic atoms are the ones to modify is a reading of the method, not a result.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from labkit.errors import ParameterError
from labkit.hotspots.bootstrap import block_weights, optimal_block_length
from labkit.hotspots.scores import stacked
from labkit.hotspots.stability import half_agreement, seed_agreement, seed_scores
from labkit.hotspots.temporal import MIN_WINDOWS, AtomWindows

__all__ = [
    "VERDICTS",
    "HotspotTable",
    "choose_block_length",
    "half_agreement",
    "rank_atoms",
    "seed_agreement",
    "seed_scores",
]

VERDICTS = ("dynamic", "anchor", "undetermined")


@dataclass(frozen=True, eq=False)
class HotspotTable:
    """Ranked atoms (or fragments) with intervals and verdicts.

    Attributes
    ----------
    frame : DataFrame
        One row per atom in the order of the ligand's heavy atoms. Columns atom, score, score_low,
        score_high, rank, rank_low, rank_high, p_top (share of draws with a rank of at most
        `top_k`), verdict.
    n_seeds, n_windows : int
        Networks of the ensemble, and windows of each atom.
    block_length : int
        Windows in a bootstrap block.
    bootstrap : int
        Draws.
    top_k : int
        What `p_top` counts.
    confidence : float
        Coverage aimed at.
    notes : tuple of str
        What a reader should know: why there are no verdicts, what the intervals leave out.
    draws : ndarray of shape (bootstrap + 1, n_atoms)
        Scores of every draw; the first row is the score itself.
    """

    frame: pd.DataFrame
    n_seeds: int
    n_windows: int
    block_length: int
    bootstrap: int
    top_k: int
    confidence: float
    notes: tuple[str, ...] = ()
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def ordered(self) -> pd.DataFrame:
        """The table from the most dynamic row down; rows without a score last."""
        return self.frame.sort_values("rank", kind="stable")

    def fragments(self, assignment: object, *, top_k: int | None = None) -> HotspotTable:
        """The same for fragments: a fragment's score is the mean score of its atoms.

        Parameters
        ----------
        assignment : Fragments or array_like of shape (n_atoms,)
            Fragment of each atom; names are taken from `Fragments`.
        top_k : int, optional
            Default: a third of the fragments, rounded up.

        Returns
        -------
        HotspotTable
            The first column is called fragment, and n_atoms follows it.
        """
        ids = np.asarray(getattr(assignment, "ids", assignment))
        if ids.shape != (self.draws.shape[1],):
            raise ParameterError(
                f"assignment has shape {ids.shape}; it needs one fragment for each of the "
                f"{self.draws.shape[1]} atoms."
            )
        labels, index, sizes = np.unique(ids, return_inverse=True, return_counts=True)
        names = getattr(assignment, "names", None)
        names = [str(label) if names is None else names[label] for label in labels]
        draws = np.stack([self.draws[:, index == i].mean(axis=1) for i in range(len(labels))], 1)
        top_k = -(-len(labels) // 3) if top_k is None else top_k
        verdicts = self.n_windows >= MIN_WINDOWS
        frame = _table(draws, names, top_k, self.confidence, verdicts)
        frame = frame.rename(columns={"atom": "fragment"})
        frame.insert(1, "n_atoms", sizes)
        return HotspotTable(
            frame,
            self.n_seeds,
            self.n_windows,
            self.block_length,
            self.bootstrap,
            top_k,
            self.confidence,
            self.notes,
            draws,
        )


def rank_atoms(
    latents: Sequence[np.ndarray],
    *,
    windows: AtomWindows,
    atom_names: Sequence[str] | None = None,
    bootstrap: int = 200,
    top_k: int = 8,
    block: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> HotspotTable:
    """Rank atoms by latent spread, with intervals over time and seeds.

    Parameters
    ----------
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)
        Latent means, one array per seed.
    windows : AtomWindows
        For the replica of each window.
    atom_names : sequence of str, optional
        Default: ``windows.atom_names`` if there is such a thing, else row numbers.
    bootstrap : int
        Draws.
    top_k : int
        `p_top` is the probability of a rank of at most this.
    block : int, optional
        Windows in a bootstrap block. Default: see :func:`choose_block_length`.
    confidence : float
        Coverage of the intervals, in (0, 1).
    seed : int
        Of the bootstrap.

    Returns
    -------
    HotspotTable

    Raises
    ------
    ParameterError
        Arrays that do not fit each other or `windows`, or values out of range.
    """
    stack = stacked(latents)
    replica = np.asarray(windows.replica)
    _check(stack, replica, bootstrap, top_k, confidence)
    length = choose_block_length(stack, replica) if block is None else block
    draws = _draws(stack, replica, length, bootstrap, seed)
    notes = _notes(stack, draws)
    frame = _table(
        draws,
        _atom_names(stack, windows, atom_names),
        top_k,
        confidence,
        verdicts=stack.shape[2] >= MIN_WINDOWS,
    )
    return HotspotTable(
        frame, len(stack), stack.shape[2], length, bootstrap, top_k, confidence, notes, draws
    )


def choose_block_length(latents: Sequence[np.ndarray] | np.ndarray, replica: np.ndarray) -> int:
    """Windows in a bootstrap block: that of a typical atom, never below 1.

    For each atom, the rule of :func:`optimal_block_length` for the squared distance of its latent
    to its mean, the quantity whose average the score is; the median over atoms and seeds, rounded
    up.
    """
    stack = stacked(latents)
    squared = ((stack - stack.mean(axis=2, keepdims=True)) ** 2).sum(axis=-1)
    series = squared.reshape(-1, squared.shape[-1])
    series = series[np.isfinite(series).all(axis=1)]
    if not len(series):
        return 1
    return int(np.ceil(np.median([optimal_block_length(row) for row in series])))


def _check(
    stack: np.ndarray, replica: np.ndarray, bootstrap: int, top_k: int, confidence: float
) -> None:
    if replica.shape != (stack.shape[2],):
        raise ParameterError(
            f"latents hold {stack.shape[2]} windows and windows.replica has shape {replica.shape}; "
            "give the windows that the latents were computed from."
        )
    if bootstrap < 1 or top_k < 1 or not 0 < confidence < 1:
        raise ParameterError(
            f"bootstrap={bootstrap}, top_k={top_k}, confidence={confidence}: the first two are 1 "
            "or more, the last between 0 and 1."
        )


def _atom_names(
    stack: np.ndarray, windows: AtomWindows, atom_names: Sequence[str] | None
) -> list[str]:
    names = getattr(windows, "atom_names", None) if atom_names is None else atom_names
    names = [str(i) for i in range(stack.shape[1])] if names is None else list(names)
    if len(names) != stack.shape[1]:
        raise ParameterError(f"atom_names has {len(names)} names for {stack.shape[1]} atoms.")
    return names


def _spreads(stack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Latent spread of every seed, draw and atom, shape (n_seeds, n_draws, n_atoms)."""
    n_atoms, n_windows, d = stack.shape[1:]
    out = np.empty((len(stack), len(weights), n_atoms))
    share = weights / n_windows
    for number, mu in enumerate(stack):
        x = (mu - mu.mean(axis=1, keepdims=True)).transpose(1, 0, 2).reshape(n_windows, -1)
        variance = share @ x**2 - (share @ x) ** 2
        out[number] = np.sqrt(variance.reshape(-1, n_atoms, d).sum(axis=-1).clip(0))
    return out


def _draws(
    stack: np.ndarray, replica: np.ndarray, length: int, bootstrap: int, seed: int
) -> np.ndarray:
    """Scores of shape (bootstrap + 1, n_atoms); the first row is the score itself."""
    rng = np.random.default_rng(seed)
    n_seeds, _, n_windows, _ = stack.shape
    weights = block_weights(replica, length, bootstrap, seed=rng)
    spreads = _spreads(stack, np.concatenate([np.ones((1, n_windows)), weights]))
    draws = spreads.mean(axis=0)
    if n_seeds > 1:
        deviation = (spreads[:, 0] - draws[0]) / np.sqrt(n_seeds * (n_seeds - 1))
        draws[1:] += rng.standard_normal((bootstrap, n_seeds)) @ deviation
    return draws


def _notes(stack: np.ndarray, draws: np.ndarray) -> tuple[str, ...]:
    notes = []
    n_seeds, n_atoms, n_windows, _ = stack.shape
    if n_windows < MIN_WINDOWS:
        notes.append(
            f"{n_windows} windows per atom are fewer than {MIN_WINDOWS}: every verdict is "
            "undetermined. Analyze more frames."
        )
    if n_seeds == 1:
        notes.append("One seed: the intervals leave out what another training run would change.")
    missing = int(np.isnan(draws[0]).sum())
    if missing:
        notes.append(f"{missing} of {n_atoms} atoms have no score (nan) and no rank.")
    if n_atoms == 1:
        notes.append("One atom has nothing to be ranked against.")
    return tuple(notes)


def _table(
    draws: np.ndarray, names: Sequence[str], top_k: int, confidence: float, verdicts: bool
) -> pd.DataFrame:
    """Scores, ranks, percentile intervals and verdicts of all columns of `draws`."""
    known = np.isfinite(draws).all(axis=0)
    if known.sum() > 1 and np.ptp(draws[0, known]) <= 1e-9 * np.abs(draws[0, known]).max():
        warnings.warn("All scores are equal: they rank nothing.", UserWarning, stacklevel=3)
        known[:] = False
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    frame = pd.DataFrame(
        {"atom": list(names), "score": draws[0], "score_low": low, "score_high": high}
    )
    ranks = np.full(draws.shape, np.nan)
    ranks[:, known] = rankdata(-draws[:, known], axis=1)
    frame["rank"] = ranks[0]
    frame["rank_low"], frame["rank_high"] = _interval(ranks, tail)
    frame["p_top"] = np.where(known, (ranks[1:] <= top_k).mean(axis=0), np.nan)
    frame["verdict"] = _verdicts(frame, int(known.sum()), verdicts)
    return frame


def _interval(ranks: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the ranks, rounded outwards to drawn ones, never without the rank itself."""
    low = np.quantile(ranks[1:], tail, axis=0, method="lower")
    high = np.quantile(ranks[1:], 1 - tail, axis=0, method="higher")
    return np.minimum(low, ranks[0]), np.maximum(high, ranks[0])


def _verdicts(frame: pd.DataFrame, n: int, allowed: bool) -> np.ndarray:
    part = n / 3
    dynamic = frame["rank_high"] <= part
    anchor = frame["rank_low"] > n - part
    verdict = np.where(dynamic, "dynamic", np.where(anchor, "anchor", "undetermined"))
    return verdict if allowed and n > 1 else np.full(len(frame), "undetermined")
