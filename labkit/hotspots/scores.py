"""Scores of ligand atoms: the latent spread, and the simple ones that it has to beat.

The score that ranks is the latent spread of atom ``a`` over its windows ``n``,

    spread_a = sqrt(sum_j var_n mu_j(a, n)),

the root-mean-square distance of its window images from their center, as the encoder sees them. Much
of such a signal may be plain motion or contact counting, so :func:`atom_scores` always puts RMSF,
contact count, flicker and the same spread in a PCA beside it, and :func:`baseline_correlations`
says how alike they rank.

| symbol | variable | meaning |
| --- | --- | --- |
| mu | ``mu`` | latent means (n_atoms, n_windows, latent_dim) |
| b | ``contact`` | closer than 4.5 angstrom, (n_frames, n_atoms, n_residues) |
| p | ``occupancy`` | share of frames in contact, (n_atoms, n_residues) |
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from labkit.errors import ParameterError
from labkit.hotspots.clustering import pca_latent

CONTACT_CUTOFF = 4.5
"""Distance below which an atom touches a residue, in angstrom."""
ROUNDING = 1e-5
"""Share of a latent's scale below which differences are those of float32 arithmetic."""
BASELINES = ("rmsf", "n_contacts", "flicker", "pca_spread")
"""What has to stand beside a latent score."""


@dataclass(frozen=True)
class Score:
    """What a column of scores means.

    Attributes
    ----------
    description : str
        One sentence.
    unit : str
        ``""`` for a number without unit.
    """

    description: str
    unit: str


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "latent_spread": Score(
            "How far an atom's window images lie from their center in the latent space.", "latent"
        ),
        "latent_velocity": Score(
            "Mean distance between consecutive windows in the latent space.", "latent/window"
        ),
        "cluster_entropy": Score("Entropy of an atom's windows over the clusters.", "nat"),
        "n_clusters": Score("Clusters that an atom's windows visit.", ""),
        "switch_rate": Score("Share of consecutive windows in different clusters.", ""),
        "occupancy": Score("Share of frames with a contact to any residue.", ""),
        "mean_lifetime": Score("Mean lifetime of an atom's contacts.", "frames"),
        "n_contacts": Score("Mean number of residues in contact.", ""),
        "flicker": Score("Contacts that form or break from one frame to the next.", "1/frame"),
        "rmsf": Score("Fluctuation about the mean position, protein superposed.", "Å"),
        "pca_spread": Score("The spread in the first 8 principal components.", "PCA"),
        "contact_entropy": Score(
            "Entropy of the contacts without regard to their order in time.", "nat"
        ),
    }
)


def stacked(latents: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Latents of all seeds as one array (n_seeds, n_atoms, n_windows, latent_dim).

    Latent spaces of fewer dimensions are filled up with zeros, which changes no distance.
    """
    arrays = [np.asarray(mu) for mu in latents]
    shapes = {mu.shape[:2] for mu in arrays}
    if not arrays or len(shapes) != 1 or any(mu.ndim != 3 for mu in arrays):
        raise ParameterError(
            f"latents has shapes {[mu.shape for mu in arrays]}; give one array of shape "
            "(n_atoms, n_windows, latent_dim) per seed, with the same atoms and windows."
        )
    widest = max(mu.shape[2] for mu in arrays)
    return np.stack([np.pad(mu, ((0, 0), (0, 0), (0, widest - mu.shape[2]))) for mu in arrays])


def latent_spread(mu: np.ndarray) -> np.ndarray:
    """Root of the summed variances over windows.

    Parameters
    ----------
    mu : ndarray of shape (n_atoms, n_windows, latent_dim)

    Returns
    -------
    ndarray of shape (n_atoms,)

    Examples
    --------
    >>> latent_spread(np.array([[[0.0, 0.0], [6.0, 8.0]]]))
    array([5.])
    """
    return np.sqrt(np.asarray(mu, dtype=np.float64).var(axis=1).sum(axis=-1))


def latent_scale(mu: np.ndarray) -> float:
    """Root-mean-square length of the latent vectors of all images; nan images do not count.

    Parameters
    ----------
    mu : ndarray of shape (..., latent_dim)
    """
    squares = np.square(np.asarray(mu, dtype=np.float64)).sum(axis=-1)
    known = squares[np.isfinite(squares)]
    return float(np.sqrt(known.mean())) if known.size else 0.0


def require_motion(latents: Sequence[np.ndarray] | np.ndarray) -> None:
    """Refuse latents that tell atoms apart but hardly change from window to window of any atom.

    Parameters
    ----------
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)
        One array per seed.

    Raises
    ------
    ParameterError
        If in every seed the spread of every atom is at most :data:`ROUNDING` times the scale of
        the latent.
    """
    n_windows = np.shape(latents[0])[1]
    if n_windows < 2:
        raise ParameterError(
            f"{n_windows} window of each atom shows no motion to rank; give more frames or use a "
            "shorter window."
        )
    shares = [latent_spread(mu) / (latent_scale(mu) or 1.0) for mu in latents]
    if not (np.asarray(shares) > ROUNDING).any():
        raise ParameterError(
            f"Nothing moves: in the {n_windows} windows of every atom the latent vector is the "
            "same but for rounding, so that scores would rank noise. Give a trajectory whose "
            "frames differ, and look at start, stop and step; if they do, train with more epochs."
        )


def ensemble_spread(latents: Sequence[np.ndarray]) -> np.ndarray:
    """Latent spread of each atom, the geometric mean over seeds.

    The scale of a latent space is arbitrary; a geometric mean lets no seed outweigh the others.

    Parameters
    ----------
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)

    Returns
    -------
    ndarray of shape (n_atoms,)
    """
    with np.errstate(divide="ignore"):
        return np.exp(np.mean([np.log(latent_spread(mu)) for mu in latents], axis=0))


def latent_velocity(mu: np.ndarray, replica: np.ndarray | None = None) -> np.ndarray:
    """Mean Euclidean distance between consecutive windows of the same replica.

    Parameters
    ----------
    mu : ndarray of shape (n_atoms, n_windows, latent_dim)
    replica : ndarray of shape (n_windows,), optional

    Returns
    -------
    ndarray of shape (n_atoms,)
        nan with fewer than two windows.
    """
    steps = np.linalg.norm(np.diff(np.asarray(mu, dtype=np.float64), axis=1), axis=-1)
    return _mean(steps[:, _same_replica(mu.shape[1], replica)], axis=1)


def pca_spread(windows: Any, *, n_components: int = 8) -> np.ndarray:
    """The spread of an atom's images in their first principal components: the linear baseline."""
    return latent_spread(pca_latent(windows, n_components=n_components))


def cluster_entropy(labels: np.ndarray) -> np.ndarray:
    """Entropy (nat) of each atom's labels, shape (n_atoms, n_windows); noise (-1) is left out."""
    return np.array([_entropy(np.unique(row[row >= 0], return_counts=True)[1]) for row in labels])


def n_clusters(labels: np.ndarray) -> np.ndarray:
    """Clusters that each atom visits; noise (-1) is left out."""
    return np.array([len(np.unique(row[row >= 0])) for row in labels], dtype=float)


def switch_rate(labels: np.ndarray, replica: np.ndarray | None = None) -> np.ndarray:
    """Share of consecutive windows (of one replica) with different labels."""
    labels = np.asarray(labels)
    changed = labels[:, 1:] != labels[:, :-1]
    return _mean(changed[:, _same_replica(labels.shape[1], replica)].astype(float), axis=1)


def contact_scores(contacts: Any, *, cutoff: float = CONTACT_CUTOFF) -> pd.DataFrame:
    """Scores that need distances only.

    Parameters
    ----------
    contacts : ContactMatrices
    cutoff : float
        Angstrom.

    Returns
    -------
    DataFrame
        occupancy, mean_lifetime, n_contacts, flicker, contact_entropy; one row per atom.
    """
    contact = np.asarray(contacts.distances) < cutoff
    occupancy = contact.mean(axis=0)
    same = _same_replica(len(contact), contacts.replica)
    changes = (contact[1:] != contact[:-1]).sum(axis=2)[same]
    p = occupancy.clip(1e-12, 1 - 1e-12)
    return pd.DataFrame(
        {
            "occupancy": contact.any(axis=2).mean(axis=0),
            "mean_lifetime": _mean_lifetime(contacts, cutoff),
            "n_contacts": contact.sum(axis=2).mean(axis=0),
            "flicker": _mean(changes.astype(float), axis=0),
            "contact_entropy": -(p * np.log(p) + (1 - p) * np.log1p(-p)).sum(axis=1),
        },
        index=pd.Index(list(contacts.atom_names), name="atom"),
    )


def _mean_lifetime(contacts: Any, cutoff: float) -> np.ndarray:
    """Mean lifetime over an atom's contacts, weighted by how often each formed."""
    table = contacts.lifetimes(cutoff=cutoff).dropna(subset=["mean"])
    weighted = (table["mean"] * table["n_events"]).groupby(table["atom"]).sum()
    mean = weighted / table.groupby("atom")["n_events"].sum()
    return mean.reindex(list(contacts.atom_names)).to_numpy(dtype=float)


def atom_scores(
    contacts: Any,
    windows: Any,
    latents: Sequence[np.ndarray],
    *,
    complex: Any = None,
    labels: Sequence[np.ndarray] | None = None,
    cutoff: float = CONTACT_CUTOFF,
) -> pd.DataFrame:
    """All scores of all atoms.

    Parameters
    ----------
    contacts : ContactMatrices
    windows : AtomWindows
        The images of `contacts` that were encoded.
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim)
        Latent means, one array per seed; scores are averaged over seeds (`latent_spread`
        geometrically).
    complex : Complex, optional
        For `rmsf`, which is nan without it.
    labels : sequence of int ndarray of shape (n_atoms, n_windows), optional
        Clusters, one array per seed; scores of clusters are nan without them.
    cutoff : float
        Contacts are closer than this, in angstrom.

    Returns
    -------
    DataFrame
        Indexed by atom, one column per name in :data:`SCORES`. A column that is the same for all
        atoms ranks nothing: it is nan, with a warning.
    """
    scores = contact_scores(contacts, cutoff=cutoff)
    n_atoms, replica = len(scores), getattr(windows, "replica", None)
    for mu in latents:
        if np.ndim(mu) != 3 or len(mu) != n_atoms:
            raise ParameterError(
                f"latents has an array of shape {np.shape(mu)}; each is (n_atoms, n_windows, "
                f"latent_dim) for the {n_atoms} atoms of contacts."
            )
    scores["latent_spread"] = ensemble_spread(latents) if len(latents) else np.nan
    scores["latent_velocity"] = _over_seeds([latent_velocity(m, replica) for m in latents], n_atoms)
    clusters = [np.asarray(row) for row in labels or ()]
    scores["cluster_entropy"] = _over_seeds([cluster_entropy(row) for row in clusters], n_atoms)
    scores["n_clusters"] = _over_seeds([n_clusters(row) for row in clusters], n_atoms)
    scores["switch_rate"] = _over_seeds([switch_rate(row, replica) for row in clusters], n_atoms)
    scores["pca_spread"] = pca_spread(windows)
    scores["rmsf"] = _rmsf(complex, n_atoms)
    return without_constant_columns(scores[list(SCORES)])


def _rmsf(complex: Any, n_atoms: int) -> np.ndarray:
    if complex is None:
        return np.full(n_atoms, np.nan)
    from labkit.hotspots.superposition import rmsf, superposed_ligand

    return rmsf(superposed_ligand(complex))


def without_constant_columns(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with nan in columns that have the same value in all of two rows or more."""
    values = scores.to_numpy(dtype=float)
    known = np.isfinite(values).all(axis=0)
    with np.errstate(invalid="ignore"):
        flat = np.ptp(values, axis=0) <= 1e-9 * np.abs(values).max(axis=0)
    constant = scores.columns[known & flat] if len(scores) > 1 else []
    if len(constant):
        warnings.warn(
            f"The same value for all atoms, so no ranking: {', '.join(constant)}.",
            UserWarning,
            stacklevel=3,
        )
    return scores.assign(**dict.fromkeys(constant, np.nan))


def baseline_correlations(
    scores: pd.DataFrame, *, reference: str = "latent_spread"
) -> pd.DataFrame:
    """How alike each other score ranks the atoms.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`atom_scores`.
    reference : str
        Column to compare with.

    Returns
    -------
    DataFrame
        Indexed by score, the four baselines first; columns spearman (nan where a column is constant
        or missing), n_atoms, baseline (whether it is one of :data:`BASELINES`).
    """
    if reference not in scores:
        raise ParameterError(f"reference={reference!r} is not one of {', '.join(scores.columns)}.")
    others = [name for name in BASELINES if name in scores and name != reference]
    others += [name for name in scores.columns if name not in (*others, reference)]
    rows = {name: _spearman(scores[reference], scores[name]) for name in others}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["spearman", "n_atoms"])
    frame["n_atoms"] = frame["n_atoms"].astype(int)
    return frame.assign(baseline=frame.index.isin(BASELINES)).rename_axis("score")


def _spearman(a: pd.Series, b: pd.Series) -> tuple[float, int]:
    both = pd.concat([a, b], axis=1).dropna().to_numpy(dtype=float)
    if len(both) < 3 or (np.ptp(both, axis=0) == 0).any():
        return np.nan, len(both)
    return float(spearmanr(both[:, 0], both[:, 1]).statistic), len(both)


def _same_replica(n: int, replica: np.ndarray | None) -> np.ndarray:
    """Which steps from one sample to the next stay within a replica, shape (n - 1,)."""
    if replica is None:
        return np.ones(max(0, n - 1), dtype=bool)
    return np.diff(np.asarray(replica)) == 0


def _mean(values: np.ndarray, *, axis: int) -> np.ndarray:
    if values.shape[axis] == 0:
        return np.full(np.delete(values.shape, axis), np.nan)
    return values.mean(axis=axis)


def _over_seeds(per_seed: list[np.ndarray], n_atoms: int) -> np.ndarray:
    return np.mean(per_seed, axis=0) if per_seed else np.full(n_atoms, np.nan)


def _entropy(counts: np.ndarray) -> float:
    p = counts / max(1, counts.sum())
    return float(-(p * np.log(p)).sum()) if len(p) else np.nan
