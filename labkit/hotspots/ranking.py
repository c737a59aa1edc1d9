"""Ligand atoms ranked by how much their contacts change, with intervals and a verdict.

The score of atom ``a`` is its latent spread ``theta_a`` (:mod:`labkit.hotspots.scores`), the
geometric mean over an ensemble of ``S`` networks that differ in their seed only. Rank 1 is the
most dynamic atom; tied atoms share the average of their ranks. Two things make a rank uncertain,
and each draw of the scores varies both, on the scale of ``y = log theta``:

- **time**: the trajectory is short. Windows are drawn again in moving blocks
  (:mod:`labkit.hotspots.bootstrap`), the same for all atoms and seeds. A resampled variance is too
  small on average, so draws are centered on ``y``; and ``m`` blocks understate the variance by
  ``(m - 1) / m``, so deviations are stretched by ``sqrt(m / (m - 1))``.
- **seeds**: each draw adds ``sum_s g_s (y_s - y) / sqrt(S - 1)`` with standard normal ``g``, the
  deviation of a single network. It is not divided by ``sqrt(S)``: networks of one ensemble share
  their training trajectory, and averaging them does not remove what that did to all of them. On
  planted trajectories (``benchmarks/rank_intervals.py``) this part had half the variance of seeds.

Percentiles of the drawn ranks are not an interval for a rank: where atoms nearly tie, drawing
again adds noise to noise, and 95 % intervals covered 75 to 90 % in simulations. The interval here
comes from comparisons in pairs [1]_. Atom ``k`` is above atom ``a`` if ``y_k - y_a > c_a s_ka``,
with ``s_ka`` the standard deviation of the drawn difference and ``c_a`` the quantile, at
`confidence`, of the largest studentized ``|difference|`` over all ``k`` in a draw, lowered step by
step to the ``k`` that are not told apart yet [2]_. With ``n`` atoms,

    rank_low = 1 + number above a,    rank_high = n - number below a.

A verdict is given where that interval allows it. With ``t = n // 3``, *dynamic* is an atom surely
among the first ``t`` (``rank_high <= t``), *anchor* one surely among the last ``t``
(``rank_low > n - t``), *undetermined* any other; and all of them with fewer than three atoms, or
fewer than 64 windows per atom, counted as if windows began at least a quarter of a window apart
(`AtomWindows.n_counted`). That dynamic atoms are the ones to modify is a reading of the method,
not a result.

References
----------
.. [1] Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 91 (2024) 476-518.
.. [2] Romano and Wolf, Journal of the American Statistical Association 100 (2005) 94-108.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from labkit.errors import ParameterError
from labkit.hotspots.bootstrap import block_weights, optimal_block_length
from labkit.hotspots.scores import ROUNDING, latent_scale, require_motion, stacked
from labkit.hotspots.stability import half_agreement, seed_agreement, seed_scores
from labkit.hotspots.temporal import MIN_WINDOWS, AtomWindows

__all__ = [
    "VERDICTS",
    "HotspotTable",
    "choose_block_length",
    "half_agreement",
    "rank_atoms",
    "rank_intervals",
    "seed_agreement",
    "seed_scores",
]

VERDICTS = ("dynamic", "anchor", "undetermined")
FEW_BLOCKS = 10
"""With fewer blocks of windows, a note says that intervals may be too narrow."""


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
    n_counted : int
        Windows of each atom that count for verdicts: as if none began closer to the one before
        than a quarter of a window.
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
    n_counted: int
    block_length: int
    bootstrap: int
    top_k: int
    confidence: float
    notes: tuple[str, ...]
    draws: np.ndarray = field(repr=False)

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
        frame = _table(draws, names, top_k, self.confidence, self.n_counted >= MIN_WINDOWS)
        frame = frame.rename(columns={"atom": "fragment"})
        frame.insert(1, "n_atoms", sizes)
        counts = (self.n_seeds, self.n_windows, self.n_counted)
        notes = _notes(draws, *counts, self.block_length, "fragments")
        return replace(self, frame=frame, top_k=top_k, notes=notes, draws=draws)


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
        For the replica of each window, and how far windows overlap.
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
        Arrays that do not fit each other or `windows`, values out of range, or no motion.
    """
    stack = stacked(latents)
    replica = np.asarray(windows.replica)
    _check(stack, replica, bootstrap, top_k, confidence)
    require_motion(stack)
    length = choose_block_length(stack) if block is None else block
    if not 1 <= length <= len(replica):
        raise ParameterError(f"block={block}: a block has 1 to {len(replica)} windows.")
    draws = _draw(stack, replica, length, bootstrap, seed)
    n_seeds, _, n_windows, _ = stack.shape
    n_counted = getattr(windows, "n_counted", n_windows)
    names = _atom_names(stack, windows, atom_names)
    return HotspotTable(
        frame=_table(draws, names, top_k, confidence, n_counted >= MIN_WINDOWS),
        n_seeds=n_seeds,
        n_windows=n_windows,
        n_counted=n_counted,
        block_length=length,
        bootstrap=bootstrap,
        top_k=top_k,
        confidence=confidence,
        notes=_notes(draws, n_seeds, n_windows, n_counted, length, "atoms"),
        draws=draws,
    )


def choose_block_length(latents: Sequence[np.ndarray] | np.ndarray) -> int:
    """Windows in a bootstrap block, from the autocorrelation of the atoms' fluctuations.

    For each atom and seed, :func:`optimal_block_length` of the squared distance of its latent from
    its mean, the quantity whose average the score is; then the 90th percentile, rounded up. Blocks
    longer than most atoms need cost little, blocks too short for the slow ones make their
    intervals too narrow.
    """
    lengths = []
    for mu in stacked(latents):
        distance = mu - mu.mean(axis=1, keepdims=True, dtype=np.float64)
        series = (distance**2).sum(axis=-1)
        lengths += [optimal_block_length(row) for row in series if np.isfinite(row).all()]
    return int(np.ceil(np.quantile(lengths, 0.9) - 1e-9)) if lengths else 1


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


def _log_spreads(stack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of the latent spread of every seed, draw and atom, shape (n_seeds, n_draws, n_atoms).

    Spreads below a millionth of the largest, or at the rounding of the latent (atoms that never
    touch anything), count as that.
    """
    n_atoms, n_windows, d = stack.shape[1:]
    out = np.empty((len(stack), len(weights), n_atoms))
    share = weights / n_windows
    for number, mu in enumerate(stack):
        x = (
            (mu - mu.mean(axis=1, keepdims=True, dtype=np.float64))
            .transpose(1, 0, 2)
            .reshape(n_windows, -1)
        )
        variance = share @ x**2 - (share @ x) ** 2
        spread = np.sqrt(variance.reshape(-1, n_atoms, d).sum(axis=-1).clip(0))
        largest = np.nanmax(spread[0], initial=0)
        smallest = max(1e-6 * largest, ROUNDING * latent_scale(mu))
        out[number] = np.log(np.maximum(spread, smallest or 1.0))
    return out


def _draw(
    stack: np.ndarray, replica: np.ndarray, length: int, bootstrap: int, seed: int
) -> np.ndarray:
    """Scores of shape (bootstrap + 1, n_atoms); the first row is the score itself."""
    rng = np.random.default_rng(seed)
    n_seeds, _, n_windows, _ = stack.shape
    weights = block_weights(replica, length, bootstrap, seed=rng)
    y_s = _log_spreads(stack, np.concatenate([np.ones((1, n_windows)), weights]))
    y = y_s.mean(axis=0)
    blocks = max(2.0, n_windows / length)
    deviation = (y[1:] - y[1:].mean(axis=0)) * np.sqrt(blocks / (blocks - 1))
    if n_seeds > 1:
        by_seed = (y_s[:, 0] - y[0]) / np.sqrt(n_seeds - 1)
        deviation += rng.standard_normal((bootstrap, n_seeds)) @ by_seed
    return np.exp(np.concatenate([y[:1], y[0] + deviation]))


def _notes(
    draws: np.ndarray, n_seeds: int, n_windows: int, n_counted: int, length: int, what: str
) -> tuple[str, ...]:
    notes = []
    if n_counted < MIN_WINDOWS:
        notes.append(
            f"{n_counted} windows per atom are fewer than {MIN_WINDOWS} (windows that overlap by "
            "more than three quarters are not counted): every verdict is undetermined. Analyze "
            "more frames."
        )
    if n_windows < FEW_BLOCKS * length:
        notes.append(
            f"Windows resemble each other over {length} of {n_windows}: with fewer than "
            f"{FEW_BLOCKS} independent blocks the intervals may be too narrow."
        )
    if n_seeds == 1:
        notes.append("One seed: the intervals leave out what another training run would change.")
    known = np.isfinite(draws[0])
    if not known.all():
        notes.append(f"{(~known).sum()} of {known.size} {what} have no score (nan) and no rank.")
    if known.sum() < 3:
        notes.append(f"Fewer than three {what} with a score: there is no top or bottom third.")
    return tuple(notes)


def _table(
    draws: np.ndarray, names: Sequence[str], top_k: int, confidence: float, verdicts: bool
) -> pd.DataFrame:
    """Scores, ranks, intervals and verdicts of all columns of `draws`."""
    known = np.isfinite(draws).all(axis=0)
    if known.sum() > 1 and np.ptp(draws[0, known]) <= ROUNDING * draws[0, known].max():
        warnings.warn("All scores are equal: they rank nothing.", UserWarning, stacklevel=4)
        known[:] = False
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    frame = pd.DataFrame(
        {"atom": list(names), "score": draws[0], "score_low": low, "score_high": high}
    )
    ranks = np.full((4, draws.shape[1]), np.nan)
    if known.any():
        drawn = rankdata(-draws[:, known], axis=1)
        ranks[0, known] = drawn[0]
        ranks[1:3, known] = rank_intervals(np.log(draws[:, known]), confidence=confidence)
        ranks[3, known] = (drawn[1:] <= top_k).mean(axis=0)
    frame["rank"], frame["rank_low"], frame["rank_high"], frame["p_top"] = ranks
    ranked = int(known.sum())
    frame["verdict"] = _verdicts(frame, ranked) if verdicts and ranked > 2 else VERDICTS[2]
    return frame


def rank_intervals(draws: np.ndarray, *, confidence: float = 0.95) -> np.ndarray:
    """Intervals of ranks from comparisons in pairs; see the top of this module.

    Parameters
    ----------
    draws : ndarray of shape (n_draws + 1, n_atoms)
        The first row is the estimate, the others are draws around it.
    confidence : float

    Returns
    -------
    ndarray of shape (2, n_atoms)
        Lowest and highest rank; rank 1 is the largest.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (200, 3))
    >>> estimate = np.array([1.0, 5.0, 5.01])
    >>> rank_intervals(np.vstack([estimate, estimate + noise]))
    array([[3., 1., 1.],
           [3., 2., 2.]])
    """
    estimate, deviation = draws[0], draws[1:] - draws[0]
    n = len(estimate)
    bounds = np.empty((2, n))
    for a in range(n):
        difference = estimate - estimate[a]
        drawn = deviation - deviation[:, [a]]
        scale = np.sqrt((drawn**2).mean(axis=0))
        apart = _told_apart(difference, drawn, scale, confidence)
        bounds[:, a] = 1 + np.sum(apart & (difference > 0)), n - np.sum(apart & (difference < 0))
    return bounds


def _told_apart(
    difference: np.ndarray, drawn: np.ndarray, scale: np.ndarray, confidence: float
) -> np.ndarray:
    """Which differences are not 0, all at once, stepping down."""
    still = scale > 0
    apart = ~still & (difference != 0)
    studentized = np.abs(drawn[:, still]) / scale[still]
    ratio = np.abs(difference[still]) / scale[still]
    found = np.zeros(len(ratio), dtype=bool)
    while not found.all():
        largest = studentized[:, ~found].max(axis=1)
        critical = np.quantile(largest, confidence, method="higher")
        new = ~found & (ratio > critical)
        if not new.any():
            break
        found |= new
    apart[still] = found
    return apart


def _verdicts(frame: pd.DataFrame, n: int) -> np.ndarray:
    dynamic = frame["rank_high"] <= n // 3
    anchor = frame["rank_low"] > n - n // 3
    return np.where(dynamic, VERDICTS[0], np.where(anchor, VERDICTS[1], VERDICTS[2]))
