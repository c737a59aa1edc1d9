"""What must hold before a ranking is believed: agreement of seeds and halves, time order, a plant.

None of the checks shows that the ranking is *right*. Each can show that it is noise:

- **seeds**: networks that differ in their random numbers only must rank the atoms alike;
- **halves**: so must the first and the second half of the trajectory;
- **time order**: with the frames shuffled, a score of dynamics must fall (`time_shuffle`);
- **plant**: on a trajectory with a known answer, the score must find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from labkit.hotspots.ranking import half_agreement, seed_agreement
from labkit.hotspots.scores import latent_spread
from labkit.hotspots.study import HotspotResults, network_config, windows_of
from labkit.hotspots.training import fit_cvae
from labkit.hotspots.validation import PlantedResults, planted_check, time_shuffle

Progress = Callable[[int, int, str], None]

EXPECTED = {
    "spearman_seeds_min": (
        "networks (ensembles, from six on) that share no seed: lowest Spearman of atom scores",
        "1 is the same ranking; below 0.8 the ranking hangs on the seed",
    ),
    "spearman_halves": (
        "first against second half of the trajectory: Spearman correlation",
        "1 is the same ranking; below 0.8 the trajectory is too short for one",
    ),
    "shuffled_share": (
        "score after shuffling the frames, as a share of the score (median atom)",
        "clearly below 1 if order in time matters",
    ),
    "spearman_shuffled": (
        "ranking after shuffling the frames against the ranking: Spearman correlation",
        "the nearer to 1, the less the order of frames matters for who ranks where",
    ),
    "planted_auroc": (
        "planted trajectory: chance that a hotspot atom scores above another one",
        "1 finds every planted atom; 0.5 is guessing",
    ),
    "planted_flicker_auroc": (
        "the same for flicker, a score without memory",
        "0.5 or less: flicker cannot see it",
    ),
    "planted_fall": (
        "planted trajectory: hotspot over decoy, divided by the same after shuffling",
        "2 or more if the score reads time order; 1 if it does not",
    ),
}
"""Headline name of a check to what it is and what to expect."""


@dataclass(frozen=True, eq=False)
class Checks:
    """What the checks found.

    Attributes
    ----------
    seeds : DataFrame
        Spearman correlation of atom scores between disjoint ensembles.
    halves : DataFrame
        Between the two halves of the trajectory.
    shuffled : DataFrame
        One row an atom: columns score and shuffled, the latent spread of the first seed's network
        trained on the frames in order and on the same frames in random order.
    planted : PlantedResults or None
        Recovery of a planted hotspot; None when it was left out.
    """

    seeds: pd.DataFrame
    halves: pd.DataFrame
    shuffled: pd.DataFrame
    planted: PlantedResults | None

    def table(self) -> pd.DataFrame:
        """Every check with what was found and what noise, or a good ranking, would give."""
        numbers = self.headline()
        rows = [
            (text, numbers[name], expected)
            for name, (text, expected) in EXPECTED.items()
            if name in numbers
        ]
        return pd.DataFrame(rows, columns=["check", "found", "expect"]).set_index("check")

    def _repr_html_(self) -> str:
        return self.table().to_html(float_format="{:.2f}".format)

    def headline(self) -> dict[str, float]:
        """Main numbers as plain floats."""
        numbers = {
            "spearman_halves": float(self.halves.loc["ensemble", "spearman"]),
            "shuffled_share": float((self.shuffled["shuffled"] / self.shuffled["score"]).median()),
            "spearman_shuffled": float(
                spearmanr(self.shuffled["score"], self.shuffled["shuffled"]).statistic
            ),
        }
        if len(self.seeds):
            numbers["spearman_seeds_min"] = float(self.seeds["spearman"].min())
        if self.planted is not None:
            found = self.planted.summary
            numbers["planted_auroc"] = float(found.loc["latent_spread", "auroc"])
            numbers["planted_flicker_auroc"] = float(found.loc["flicker", "auroc"])
            numbers["planted_fall"] = float(found.loc["latent_spread", "fall"])
        return numbers


def run_checks(results: HotspotResults, *, progress: Progress | None = None) -> Checks:
    """Try to show that a ranking is noise.

    Parameters
    ----------
    results : HotspotResults
    progress : callable, optional
        Called after each epoch of the shuffled trajectory's network.

    Returns
    -------
    Checks
        With one seed, `Checks.seeds` is empty.
    """
    config = results.config
    pairs = pd.DataFrame(columns=["ensemble_a", "ensemble_b", "spearman", "top_overlap"])
    if len(results.latents) > 1:
        half = max(1, min(3, len(results.latents) // 2))
        pairs = seed_agreement(results.latents, half, top_k=config.top_k)
    planted = None
    if config.planted_epochs:
        planted = planted_check(seeds=(config.seed,), epochs=config.planted_epochs)
    return Checks(
        seeds=pairs,
        halves=half_agreement(results.latents, windows=results.windows, top_k=config.top_k),
        shuffled=_shuffled_scores(results, progress),
        planted=planted,
    )


def _shuffled_scores(results: HotspotResults, progress: Progress | None) -> pd.DataFrame:
    config = results.config
    windows = windows_of(config, time_shuffle(results.contacts, seed=config.seed))
    fit = fit_cvae(
        windows, network_config(config), seed=config.seed, device=config.device, progress=progress
    )
    values: dict[str, np.ndarray] = {
        "score": latent_spread(results.latents[0]),
        "shuffled": latent_spread(fit.latent(windows)),
    }
    return pd.DataFrame(values, index=pd.Index(results.complex.atom_names, name="atom"))
