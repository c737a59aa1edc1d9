"""How long contacts last, from trajectories that end in the middle of some of them.

A contact is a run of frames in contact; an interruption of at most `gap` frames does not end it. A
run whose end was not seen, because its trajectory ends first (or ends within `gap` frames, so that
the contact may return), has lasted at least as long as was seen: it is right-censored. The survival
function is the Kaplan-Meier estimate

    S(t) = product over lengths l <= t of (1 - d_l / n_l)

with d_l contacts that ended after l frames and n_l contacts that were seen for l frames or more
(Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958) 457-481). Its sum up to the longest length seen is
the mean lifetime, a lower bound where the longest contact is censored. A contact that is there in
the first frame counts from that frame: exact where contacts end without memory, else too short.
Lifetimes are in frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.errors import ParameterError

COLUMNS = ("atom", "residue", "n_events", "mean", "median", "censored_share")


def contact_lifetimes(
    touching: np.ndarray,
    *,
    atom_names: Sequence[str],
    residue_labels: Sequence[str],
    replica: np.ndarray | None = None,
    gap: int = 1,
) -> pd.DataFrame:
    """Lifetime of each contact that ever forms.

    Parameters
    ----------
    touching : ndarray of shape (n_frames, n_atoms, n_residues), bool
        Whether an atom is in contact with a residue.
    atom_names, residue_labels : sequence of str
        Names along the last two axes.
    replica : ndarray of shape (n_frames,), optional
        Trajectory of each frame; no contact lasts from one into the next.
    gap : int
        Longest interruption that does not end a contact, frames.

    Returns
    -------
    DataFrame
        ``atom``, ``residue``, ``n_events``, ``mean`` and ``median`` lifetime in frames (``median``
        is nan where more than half outlast what was seen), ``censored_share`` of the events.
    """
    if gap < 0:
        raise ParameterError(f"gap={gap} is not allowed. Give 0 or more frames.")
    n_frames = len(touching)
    flat = touching.reshape(n_frames, -1)
    pairs = np.flatnonzero(flat.any(axis=0))
    runs = _runs_of_replicas(flat[:, pairs], replica, gap)
    order = np.argsort(runs.column, kind="stable")
    split = np.searchsorted(runs.column[order], np.arange(1, len(pairs)))
    rows = []
    for pair, mine in zip(pairs, np.split(order, split), strict=True) if len(pairs) else ():
        atom, residue = divmod(int(pair), len(residue_labels))
        length, censored = runs.length[mine], runs.censored[mine]
        mean, median = kaplan_meier(length, censored)
        rows.append(
            (atom_names[atom], residue_labels[residue], len(mine), mean, median, censored.mean())
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def kaplan_meier(length: np.ndarray, censored: np.ndarray) -> tuple[float, float]:
    """Mean and median of lifetimes of which some are only known to be longer.

    Parameters
    ----------
    length : ndarray of shape (n,), int
        Lengths, 1 or more.
    censored : ndarray of shape (n,), bool
        Whether a length is a lower bound.

    Returns
    -------
    mean, median : float
        Of the Kaplan-Meier survival function; the median is nan where it stays above one half.

    Examples
    --------
    >>> kaplan_meier(np.array([2, 4]), np.array([False, False]))
    (3.0, 2.0)
    >>> kaplan_meier(np.array([10]), np.array([True]))
    (10.0, nan)
    """
    longest = int(length.max())
    seen = np.bincount(length, minlength=longest + 1)
    ended = np.bincount(length[~censored], minlength=longest + 1)
    at_risk = seen[::-1].cumsum()[::-1]
    survival = np.cumprod(1.0 - ended / np.maximum(at_risk, 1))
    below = np.flatnonzero(survival <= 0.5 + 1e-12)
    median = float(below[0]) if len(below) else float("nan")
    return float(survival[:longest].sum()), median


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of contact: `column` of the pair, `length` in frames, whether `censored`."""

    column: np.ndarray
    length: np.ndarray
    censored: np.ndarray


def _runs_of_replicas(flat: np.ndarray, replica: np.ndarray | None, gap: int) -> _Runs:
    which = np.zeros(len(flat), dtype=int) if replica is None else np.asarray(replica)
    parts = [_runs(part, gap) for part in np.split(flat, np.flatnonzero(np.diff(which)) + 1)]
    return _Runs(
        column=np.concatenate([p.column for p in parts]),
        length=np.concatenate([p.length for p in parts]),
        censored=np.concatenate([p.censored for p in parts]),
    )


def _runs(flat: np.ndarray, gap: int) -> _Runs:
    n_frames = len(flat)
    padded = np.zeros((flat.shape[1], n_frames + 2), dtype=np.int8)
    padded[:, 1:-1] = flat.T
    change = np.diff(padded, axis=1)
    column, start = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    resumes = (column[1:] == column[:-1]) & (start[1:] - end[:-1] <= gap)
    begins = np.concatenate([[True], ~resumes])[: len(column)]
    ends = np.concatenate([~resumes, [True]])[: len(column)]
    return _Runs(column[begins], end[ends] - start[begins], n_frames - end[ends] <= gap)
