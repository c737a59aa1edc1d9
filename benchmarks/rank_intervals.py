"""How often 95 % intervals of rank hold the rank from a trajectory ten times longer.

Each planted trajectory has 11 parts. The first is analyzed as usual: an ensemble trained on its
windows, ranks with intervals. The other ten parts, which share no frame with it, say what the ranks
should have been, twice:

- own: an ensemble of other seeds, trained on windows of the long trajectory ten times as far
  apart, so on as many images and steps as the first, then shown all windows. This is the claim: at
  least 85 %.
- same: the networks of the first part. Their ranks vary with time only, so coverage is higher.

Percentiles of the drawn ranks, the interval one would think of first, stand beside it. About 20 CPU
seconds per trajectory; ``--rows`` keeps finished ones in a file, so that a run can be cut up.

    OMP_NUM_THREADS=1 python benchmarks/rank_intervals.py [--first 0] [--n 20] [--rows rows.csv]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from labkit.hotspots.ranking import HotspotTable, rank_atoms
from labkit.hotspots.scores import ensemble_spread
from labkit.hotspots.temporal import AtomWindows, atom_windows
from labkit.hotspots.training import FAST, fit_ensemble
from labkit.hotspots.validation.planted import Planted, planted_trajectory

BAR = 0.85


class Cut(NamedTuple):
    """Frames and networks of a run."""

    n_frames: int
    n_seeds: int
    window: int
    stride: int


def windows_of(planted: Planted, part: slice, cut: Cut, apart: int = 1) -> AtomWindows:
    """Windows of some frames, `apart` times as far apart as usual."""
    contacts = planted.contacts.select_frames(part)
    return atom_windows(contacts, window=cut.window, stride=apart * cut.stride)


def ranks_of_long_run(planted: Planted, cut: Cut) -> np.ndarray:
    """Ranks by an ensemble of its own."""
    part = slice(cut.n_frames, None)
    sparse, dense = windows_of(planted, part, cut, 10), windows_of(planted, part, cut)
    fits = fit_ensemble(sparse, FAST, seeds=range(100, 100 + cut.n_seeds), device="cpu")
    return rankdata(-ensemble_spread([fit.latent(dense) for fit in fits]))


def percentile_intervals(table: HotspotTable) -> np.ndarray:
    """Percentiles of the ranks of the draws, shape (2, n_atoms)."""
    tail = (1 - table.confidence) / 2
    ranks = rankdata(-table.draws[1:], axis=1)
    return np.quantile(ranks, [tail, 1 - tail], axis=0)


def one_trajectory(seed: int, cut: Cut, dwell: float) -> pd.DataFrame:
    """One row per atom and reference: which intervals hold its rank, and how wide they are."""
    planted = planted_trajectory(seed=seed, n_frames=11 * cut.n_frames, dwell=dwell)
    short = windows_of(planted, slice(0, cut.n_frames), cut)
    fits = fit_ensemble(short, FAST, seeds=range(cut.n_seeds), device="cpu")
    table = rank_atoms([fit.latent(short) for fit in fits], windows=short)
    low, high = table.frame[["rank_low", "rank_high"]].to_numpy().T
    naive_low, naive_high = percentile_intervals(table)
    long = windows_of(planted, slice(cut.n_frames, None), cut)
    references = {
        "own": ranks_of_long_run(planted, cut),
        "same": rankdata(-ensemble_spread([fit.latent(long) for fit in fits])),
    }
    atoms = pd.DataFrame(
        {
            "trajectory": seed,
            "role": planted.roles,
            "width": high - low,
            "naive_width": naive_high - naive_low,
            "block": table.block_length,
            "verdict": table.frame["verdict"],
        }
    )
    third = len(low) / 3
    return pd.concat(
        atoms.assign(
            reference=name,
            covered=(low <= rank) & (rank <= high),
            naive=(naive_low <= rank) & (rank <= naive_high),
            wrong=((table.frame["verdict"] == "dynamic") & (rank > third))
            | ((table.frame["verdict"] == "anchor") & (rank <= 2 * third)),
        )
        for name, rank in references.items()
    )


def main() -> None:
    """Run the trajectories that are not in the file yet, and print the coverage of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--frames", type=int, default=320)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--dwell", type=float, default=25)
    parser.add_argument("--rows", type=Path)
    arguments = parser.parse_args()
    cut = Cut(arguments.frames, arguments.seeds, arguments.window, arguments.stride)
    kept = arguments.rows is not None and arguments.rows.exists()
    rows = [pd.read_csv(arguments.rows)] if kept else []
    done = set(rows[0]["trajectory"]) if kept else set()
    for seed in range(arguments.first, arguments.first + arguments.n):
        if seed in done:
            continue
        found = one_trajectory(seed, cut, arguments.dwell)
        rows.append(found)
        own = found[found["reference"] == "own"]
        print(
            f"{seed:3}: covered {own['covered'].mean():.2f}, width {own['width'].mean():.1f}",
            flush=True,
        )
        if arguments.rows is not None:
            pd.concat(rows).to_csv(arguments.rows, index=False)
    table = pd.concat(rows)
    print(f"\n{table['trajectory'].nunique()} trajectories of {arguments.frames} frames, 25 atoms")
    print(f"verdicts {(table['verdict'] != 'undetermined').mean():.2f} of atoms")
    columns = ["covered", "width", "naive", "naive_width", "wrong", "block"]
    print(table.groupby("reference")[columns].mean().round(3).to_string())
    own = table[table["reference"] == "own"]
    print(own.groupby("role")[columns].mean().round(2).to_string())
    coverage = own["covered"].mean()
    spread = own.groupby("trajectory")["covered"].mean().sem()
    verdict = "met" if coverage >= BAR else "MISSED"
    print(f"coverage {coverage:.3f} +- {spread:.3f} (bar {BAR}: {verdict})")


if __name__ == "__main__":
    main()
