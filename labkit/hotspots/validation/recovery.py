r"""Whether scores find a planted hotspot, and whether they need the order of the frames to do so.

For every dwell time and seed a trajectory is planted (:mod:`labkit.hotspots.validation.planted`)
and scored twice: as it is, and with its frames shuffled. The autoencoder is trained anew on the
shuffled frames, which is what would happen to somebody whose trajectory had no dynamics. Reported
are

- ``auroc``: the chance that an atom of the hotspot scores higher than an atom that is not of it;
- ``ratio``: mean score of the hotspot over that of its decoy, which has the same contacts equally
  often in an order without memory;
- ``ratio_shuffled``: the same after shuffling, where hotspot and decoy are the same by
  construction and only chance is left;
- ``fall``: the first ratio over the second. A score that does not read the order of frames has a
  fall of about 1.

The ratio of the latent spread is no constant: the longer an autoencoder trains, by epochs or by
frames, the more it learns of the decoy's windows too, and the ratio comes down (from 6 to 2 when
240 frames become 640) while the AUROC stays at 1. Compare falls at equal training only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from labkit.errors import ParameterError
from labkit.hotspots.contacts import ContactMatrices
from labkit.hotspots.scores import contact_scores, ensemble_spread, pca_spread
from labkit.hotspots.temporal import atom_windows
from labkit.hotspots.training import FAST, CVAEConfig, fit_cvae, require_active
from labkit.hotspots.validation.auroc import auroc
from labkit.hotspots.validation.planted import Planted, planted_trajectory, time_shuffle

SCORES = ("latent_spread", "pca_spread", "flicker", "contact_entropy", "n_contacts", "rmsf")
"""The learned score first, its baselines after it."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class PlantedResults:
    """How well each score finds the planted hotspot.

    Attributes
    ----------
    frame : DataFrame
        One row per dwell time, seed and score: dwell, seed, score, auroc, ratio, ratio_shuffled,
        fall.
    atoms : DataFrame
        One row per dwell time, seed and atom: dwell, seed, atom, role and the scores of the
        trajectory as it is.
    n_frames : dict
        Frames of the trajectories of each dwell time.
    """

    frame: pd.DataFrame
    atoms: pd.DataFrame
    n_frames: dict[float, int]

    @property
    def summary(self) -> pd.DataFrame:
        """Lowest and median AUROC, and median ratios and fall, of each score."""
        grouped = self.frame.groupby("score", sort=False)
        return pd.DataFrame(
            {
                "auroc_min": grouped["auroc"].min(),
                "auroc": grouped["auroc"].median(),
                "ratio": grouped["ratio"].median(),
                "ratio_shuffled": grouped["ratio_shuffled"].median(),
                "fall": grouped["fall"].median(),
                "fall_min": grouped["fall"].min(),
            }
        )


def planted_check(
    *,
    seeds: Sequence[int] = (0,),
    dwells: Sequence[float] = (25,),
    epochs: int = 10,
    networks: int = 1,
    n_frames: int | None = None,
    window: int = 16,
    stride: int = 4,
    config: CVAEConfig = FAST,
    progress: Progress | None = None,
) -> PlantedResults:
    """Plant hotspots, score them, shuffle the frames, score again.

    Parameters
    ----------
    seeds : sequence of int
        Of the trajectory, its shuffling and the autoencoder.
    dwells : sequence of float
        Mean dwell times of the hotspot's states, frames.
    epochs : int
        Of each autoencoder.
    networks : int
        Autoencoders whose spreads are averaged, for the trajectory as it is and as many again for
        the shuffled one.
    n_frames : int, optional
        As for :func:`planted_trajectory`.
    window, stride : int
        As for :func:`labkit.hotspots.temporal.atom_windows`, frames.
    config : CVAEConfig
        Everything about the autoencoder but its epochs.
    progress : callable, optional
        Called with epochs done, epochs in all and a text.

    Returns
    -------
    PlantedResults

    Raises
    ------
    ParameterError
        No seed, no dwell time or no network.
    CollapsedLatentError
        The autoencoder learned nothing from a trajectory; too few epochs, usually.
    """
    if not len(seeds) or not len(dwells) or networks < 1:
        raise ParameterError(
            f"seeds={list(seeds)}, dwells={list(dwells)} and networks={networks}: give at least "
            "one of each."
        )
    cases = [(float(dwell), int(seed)) for dwell in dwells for seed in seeds]
    recipe = _Recipe(window, stride, replace(config, epochs=epochs), networks)
    counted = _Epochs(progress, 2 * epochs * networks * len(cases))
    rows, atoms, lengths = [], [], {}
    for dwell, seed in cases:
        planted = planted_trajectory(seed=seed, dwell=dwell, n_frames=n_frames)
        shuffled = time_shuffle(planted.contacts, seed=seed)
        scores = _scored(planted, planted.contacts, recipe, counted, "planted")
        after = _scored(planted, shuffled, recipe, counted, "shuffled")
        rows.append(_judged(planted, scores, after))
        atoms.append(_labeled(planted, scores))
        lengths[dwell] = planted.contacts.n_frames
    return PlantedResults(
        pd.concat(rows, ignore_index=True), pd.concat(atoms, ignore_index=True), lengths
    )


@dataclass(frozen=True)
class _Recipe:
    window: int
    stride: int
    config: CVAEConfig
    networks: int


class _Epochs:
    """Counts epochs over all fits."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._before = progress, total, 0

    def during(self, text: str) -> Progress:
        def report(done: int, _total: int, _text: str) -> None:
            if self._progress:
                self._progress(self._before + done, self._total, f"planted check: {text}")

        return report

    def fitted(self, epochs: int) -> None:
        self._before += epochs


def _scored(
    planted: Planted, contacts: ContactMatrices, recipe: _Recipe, counted: _Epochs, text: str
) -> pd.DataFrame:
    """All scores of all atoms, columns :data:`SCORES`; only the unshuffled fits must be active."""
    windows = atom_windows(contacts, window=recipe.window, stride=recipe.stride)
    fits = []
    for seed in range(planted.seed, planted.seed + recipe.networks):
        fits.append(fit_cvae(windows, recipe.config, seed=seed, progress=counted.during(text)))
        counted.fitted(recipe.config.epochs)
    if contacts is planted.contacts:
        require_active(fits)
    scores = contact_scores(contacts)
    scores["latent_spread"] = ensemble_spread([fit.latent(windows) for fit in fits])
    scores["pca_spread"] = pca_spread(windows)
    scores["rmsf"] = planted.rmsf
    return scores[list(SCORES)]


def _judged(planted: Planted, scores: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    ratio, shuffled = (_ratio(planted, table) for table in (scores, after))
    return pd.DataFrame(
        {
            "dwell": planted.dwell,
            "seed": planted.seed,
            "score": list(SCORES),
            "auroc": [float(auroc(scores[s].to_numpy(), planted.is_hotspot)) for s in SCORES],
            "ratio": ratio,
            "ratio_shuffled": shuffled,
            "fall": ratio / shuffled,
        }
    )


def _ratio(planted: Planted, scores: pd.DataFrame) -> np.ndarray:
    """Mean of the hotspot over mean of the decoy, one per score."""
    hotspot, decoy = (scores[planted.roles == role].mean() for role in ("hotspot", "decoy"))
    return (hotspot / decoy).to_numpy()


def _labeled(planted: Planted, scores: pd.DataFrame) -> pd.DataFrame:
    table = scores.rename_axis("atom").reset_index()
    table.insert(1, "role", planted.roles)
    table.insert(0, "seed", planted.seed)
    table.insert(0, "dwell", planted.dwell)
    return table
