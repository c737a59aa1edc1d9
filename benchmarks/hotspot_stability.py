"""Does the ranking of ergotamine's atoms repeat: other seeds, the other half, the same seed again.

The claims: Spearman correlation of the atoms' scores is at least 0.95 between any two ensembles of
three networks that share no seed, and at least 0.85 between the two halves of the trajectory; the
same seeds on one thread give the identical table. PCA ranks the same halves for comparison.
Packaged trajectory, frames 25 to 249. About 60 CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/hotspot_stability.py [--seeds 6] [--epochs 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from labkit.hotspots.clustering import compare_clusterings, pca_latent
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.ranking import half_agreement, rank_atoms, seed_agreement
from labkit.hotspots.scores import atom_scores, baseline_correlations
from labkit.hotspots.temporal import AtomWindows, atom_windows
from labkit.hotspots.training import FAST, CVAEConfig, fit_ensemble

SEEDS_BAR, HALVES_BAR = 0.95, 0.85


def encode(windows: AtomWindows, config: CVAEConfig, seeds: Sequence[int]) -> list[np.ndarray]:
    """Latents of one network per seed, on the CPU."""
    fits = fit_ensemble(windows, config, seeds=seeds, n_jobs=1, device="cpu")
    return [fit.latent(windows) for fit in fits]


def identical(windows: AtomWindows, config: CVAEConfig, latents: list[np.ndarray]) -> bool:
    """Train the first three seeds again and compare the tables to the last bit."""
    again = encode(windows, config, range(3))
    tables = [rank_atoms(mu, windows=windows).frame for mu in (latents[:3], again)]
    return tables[0].equals(tables[1])


def main() -> None:
    """Train, compare, print one line per claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=FAST.epochs)
    arguments = parser.parse_args()
    config = replace(FAST, epochs=arguments.epochs)
    system = example("ergotamine")
    contacts = compute_contacts(system).pocket()
    windows = atom_windows(contacts)
    latents = encode(windows, config, range(arguments.seeds))
    print(
        f"ergotamine: {windows.n_atoms} atoms x {windows.n_windows} windows, {config.epochs} epochs"
    )
    for size in (1, 3):
        pairs = seed_agreement(latents, size)
        verdict = (" met" if pairs["spearman"].min() >= SEEDS_BAR else " MISSED") * (size == 3)
        print(
            f"ensembles of {size}, {len(pairs)} disjoint pairs: Spearman min "
            f"{pairs['spearman'].min():.3f}, median {pairs['spearman'].median():.3f}; atoms in "
            f"both top 8 {pairs['top_overlap'].mean():.1f}{verdict}"
        )
    halves = half_agreement(latents[:3], windows=windows).loc["ensemble", "spearman"]
    linear = half_agreement([pca_latent(windows)], windows=windows).loc["ensemble", "spearman"]
    verdict = "met" if halves >= HALVES_BAR else "MISSED"
    print(f"first and second half: Spearman {halves:.3f} {verdict}; PCA {linear:.3f}")
    same = identical(windows, config, latents)
    print(f"same three seeds again: table {'identical, met' if same else 'differs, MISSED'}")
    table = rank_atoms(latents[:3], windows=windows, atom_names=contacts.atom_names)
    width = (table.frame["rank_high"] - table.frame["rank_low"]).mean()
    print(f"mean width of rank intervals {width:.1f} of {windows.n_atoms}; {' '.join(table.notes)}")
    comparison = compare_clusterings(windows, latents[:3], complex=system)
    labels = [comparison.labels[f"cvae/kmeans/{i}"] for i in range(3)]
    scores = atom_scores(contacts, windows, latents[:3], complex=system, labels=labels)
    with pd.option_context("display.width", 160, "display.max_columns", None):
        print("\nHow alike simple scores rank\n", baseline_correlations(scores).round(2))
        print("\nClusters of windows\n", comparison.frame.round(2))


if __name__ == "__main__":
    main()
