"""Scores of planted hotspots over dwell times, and after shuffling the frames.

Prints, for each dwell time, the AUROC with which each score finds the dynamic ring (lowest and
median over seeds) and the ratio of its score to that of its decoy before and after shuffling. The
autoencoder (latent_spread) should reach 0.95 at every dwell time and its ratio should at least
halve; flicker, contact entropy, contact count and RMSF are there to show that the planted
trajectories do not give the answer away. About three CPU minutes.

    python benchmarks/planted_hotspots.py [--dwells 10 20 40 80] [--seeds 0 1 2] [--frames 400]
"""

from __future__ import annotations

import argparse
import time

import pandas as pd

from labkit.hotspots.validation.recovery import planted_check

AUROC_BAR, FALL_BAR = 0.95, 2.0


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dwells", type=float, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, help="default: 240 or five dwell times")
    parser.add_argument("--networks", type=int, default=3, help="averaged, as in the study")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    started = time.process_time()
    results = planted_check(
        seeds=arguments.seeds,
        dwells=arguments.dwells,
        epochs=arguments.epochs,
        networks=arguments.networks,
        n_frames=arguments.frames,
    )
    seconds = time.process_time() - started
    pd.set_option("display.width", 160)
    print(
        f"seeds {arguments.seeds}, {arguments.networks} networks of {arguments.epochs} epochs "
        f"averaged, {seconds:.0f} CPU s in all"
    )
    for dwell, part in results.frame.groupby("dwell"):
        grouped = part.groupby("score", sort=False)
        table = grouped[["auroc", "ratio", "ratio_shuffled", "fall"]].median()
        table.insert(0, "auroc_min", grouped["auroc"].min())
        table["fall_min"] = grouped["fall"].min()
        print(f"\ndwell {dwell:g} frames, {results.n_frames[dwell]} frames (medians over seeds)")
        print(table.round(2).to_string())
    learned = results.frame[results.frame["score"] == "latent_spread"]
    for name, low, bar in (
        ("lowest AUROC of latent_spread", learned["auroc"].min(), AUROC_BAR),
        ("smallest fall of its ratio", learned["fall"].min(), FALL_BAR),
    ):
        print(f"\n{name}: {low:.2f} (bar {bar}: {'met' if low >= bar else 'NOT met'})")


if __name__ == "__main__":
    main()
