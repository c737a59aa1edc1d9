"""Do clusters of frames survive a change of seed? The obvious view of a trajectory, measured.

One image per frame (ligand atoms x residues, with its temporal channels side by side), a latent
space of eight numbers, k-means on it: the adjusted Rand index of the clusters between every pair of
seeds says how much of them is the trajectory and how much the random numbers. Beside it the
same for the windows of atoms that labkit ranks with, and the Spearman correlation of their scores.

Run ``python benchmarks/frame_view.py --seeds 3``.
"""

from __future__ import annotations

import argparse
import os
from itertools import combinations

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import spearmanr

from labkit.hotspots.clustering import agreement, cluster
from labkit.hotspots.contacts import compute_contacts, soft_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.scores import latent_spread
from labkit.hotspots.temporal import CHANNELS, AtomWindows, atom_windows, temporal_channels
from labkit.hotspots.training import CVAEConfig, fit_ensemble

LAGS = {"none": 1, "difference": 1, "window_moments": 5}


def main() -> None:
    """Print agreement between seeds for every view."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clusters", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40, help="of the frame view")
    arguments = parser.parse_args()
    contacts = compute_contacts(example("ergotamine")).pocket()
    C = soft_contacts(contacts.distances)
    print(f"ergotamine: {len(C)} frames, {contacts.n_atoms} atoms, {contacts.n_residues} residues")
    for kind in CHANNELS:
        channels = temporal_channels(C, kind=kind, lag=LAGS[kind], replica=contacts.replica)
        report(
            f"frames, {kind}", as_images(channels), CVAEConfig(epochs=arguments.epochs), arguments
        )
    windows = atom_windows(C, replica=contacts.replica)
    report("windows of atoms", windows, CVAEConfig(), arguments)


def as_images(channels: np.ndarray) -> AtomWindows:
    """Frames as the images of one "atom", their channels side by side."""
    n_frames = len(channels)
    images = np.concatenate(list(np.moveaxis(channels, 1, 0)), axis=2).astype(np.float32)
    starts = np.arange(n_frames)
    return AtomWindows(images[None], starts, np.zeros(n_frames, dtype=int), 1, 1, n_frames)


def report(
    name: str, windows: AtomWindows, config: CVAEConfig, arguments: argparse.Namespace
) -> None:
    """Train one network a seed and print how their clusters agree."""
    fits = fit_ensemble(
        windows, config, seeds=range(arguments.seeds), n_jobs=2, allow_collapsed=True
    )
    latents = [fit.latent(windows) for fit in fits]
    labels = [cluster(mu, k=arguments.clusters, seed=i) for i, mu in enumerate(latents)]
    ari = agreement(labels)["ari"]
    line = f"{name:24s} {windows.n_images:5d} images, KL {np.mean([f.kl.sum() for f in fits]):5.2f}"
    line += (
        f" nats, ARI between seeds: mean {ari.mean():.2f}, range {ari.min():.2f} to {ari.max():.2f}"
    )
    if windows.n_atoms > 1:
        scores = [latent_spread(mu) for mu in latents]
        rho = [spearmanr(a, b).statistic for a, b in combinations(scores, 2)]
        line += f"; Spearman of atom scores {min(rho):.2f} to {max(rho):.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
