"""Does the ranking repeat: between ensembles of other seeds, and between halves of the trajectory.

A ranking that changes with the seed is noise of the training; one that changes from the first to
the second half is noise of the trajectory, or a trajectory that has not settled. Agreement is
Spearman's rank correlation of the scores, and how many atoms the two tops share.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from labkit.errors import ParameterError
from labkit.hotspots.scores import latent_spread, stacked
from labkit.hotspots.temporal import AtomWindows

Members = tuple[int, ...]


def seed_scores(latents: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Latent spread of every seed and atom, shape (n_seeds, n_atoms)."""
    return np.stack([latent_spread(mu) for mu in stacked(latents)])


def seed_agreement(
    latents: Sequence[np.ndarray],
    size: int = 3,
    *,
    top_k: int = 8,
    max_pairs: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """How alike two ensembles that share no seed rank the atoms.

    Parameters
    ----------
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)
        One array per seed.
    size : int
        Seeds of an ensemble; needs at least twice as many arrays.
    top_k : int
        Atoms counted in `top_overlap`.
    max_pairs : int
        Of all pairs of disjoint ensembles, at most so many, drawn with `seed`.
    seed : int

    Returns
    -------
    DataFrame
        Columns ensemble_a, ensemble_b (tuples of positions in `latents`), spearman, top_overlap.
    """
    scores = seed_scores(latents)
    if size < 1 or len(scores) < 2 * size:
        raise ParameterError(
            f"size={size} needs {2 * size} seeds and there are {len(scores)}; train more seeds or "
            "compare smaller ensembles."
        )
    pairs = _disjoint_pairs(len(scores), size, max_pairs, seed)
    rows = [
        (a, b, *_compare(_ensemble(scores[list(a)]), _ensemble(scores[list(b)]), top_k))
        for a, b in pairs
    ]
    return pd.DataFrame(rows, columns=["ensemble_a", "ensemble_b", "spearman", "top_overlap"])


def _disjoint_pairs(n: int, size: int, most: int, seed: int) -> list[tuple[Members, Members]]:
    """All pairs of disjoint ensembles, or so many of them at random."""
    if comb(n, size) * comb(n - size, size) // 2 <= most:
        return [
            (a, b)
            for a in combinations(range(n), size)
            for b in combinations(sorted(set(range(n)) - set(a)), size)
            if a < b
        ]
    rng = np.random.default_rng(seed)
    drawn: set[tuple[Members, Members]] = set()
    while len(drawn) < most:
        order = rng.permutation(n).tolist()
        a, b = sorted((tuple(sorted(order[:size])), tuple(sorted(order[size : 2 * size]))))
        drawn.add((a, b))
    return sorted(drawn)


def half_agreement(
    latents: Sequence[np.ndarray], *, windows: AtomWindows, top_k: int = 8
) -> pd.DataFrame:
    """How alike the first and the second half of every trajectory rank the atoms.

    The same networks encode both halves. Windows of the two halves share no frame.

    Returns
    -------
    DataFrame
        Rows "ensemble" and each seed; columns spearman, top_overlap, n_first, n_second (windows).
    """
    stack = stacked(latents)
    first, second = _halves(windows)
    halves = [seed_scores(stack[:, :, half]) for half in (first, second)]
    rows = {"ensemble": _compare(_ensemble(halves[0]), _ensemble(halves[1]), top_k)}
    rows |= {f"seed {i}": _compare(halves[0][i], halves[1][i], top_k) for i in range(len(stack))}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["spearman", "top_overlap"])
    return frame.assign(n_first=int(first.sum()), n_second=int(second.sum()))


def _halves(windows: AtomWindows) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the windows before and after the middle of their replica."""
    replica, starts, window = np.asarray(windows.replica), windows.starts, windows.window
    first = np.zeros(len(replica), dtype=bool)
    second = np.zeros(len(replica), dtype=bool)
    for number in np.unique(replica):
        mine = replica == number
        middle = (starts[mine].min() + starts[mine].max() + window) / 2
        first |= mine & (starts + window <= middle)
        second |= mine & (starts >= middle)
    if not first.any() or not second.any():
        raise ParameterError(
            f"{len(replica)} windows of {window} frames leave a half without any; analyze more "
            "frames."
        )
    return first, second


def _ensemble(scores: np.ndarray) -> np.ndarray:
    """Geometric mean over seeds, shape (n_atoms,)."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(scores).mean(axis=0))


def _compare(a: np.ndarray, b: np.ndarray, top_k: int) -> tuple[float, int]:
    """Spearman correlation (nan where a score is constant) and common atoms among the top."""
    known = np.isfinite(a) & np.isfinite(b)
    x, y = rankdata(-a[known]), rankdata(-b[known])
    constant = len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0
    spearman = np.nan if constant else float(np.corrcoef(x, y)[0, 1])
    return spearman, int(np.sum((x <= top_k) & (y <= top_k)))
