"""Oversampling before the split and after it, on SIDER with a random forest.

Prints, for each sampler and both orders, the mean over seeds of macro F1, micro F1, AUC and average
precision on the test rows at threshold 0.5, and the leaky test rows taken apart into molecules seen
and not seen in training. Real data: `labkit data fetch sider` or LABKIT_DATA. About 90 CPU seconds.

    python benchmarks/leakage_sider.py [--seeds 0 1 2] [--bits 1024] [--P 0.25]
"""

from __future__ import annotations

import argparse

import pandas as pd

from labkit.oversampling.data import load_molecules
from labkit.oversampling.evaluation import trivial_baselines
from labkit.oversampling.featurize import featurize
from labkit.oversampling.leakage import DUPLICATE, leakage_lab
from labkit.oversampling.splits import split

METRICS = ["macro_f1", "micro_f1", "macro_auc", "macro_ap"]


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--bits", type=int, default=1024)
    parser.add_argument("--P", type=float, default=0.25)
    arguments = parser.parse_args()
    table = load_molecules("sider")
    packed = featurize(table.smiles, fingerprint=f"ecfp4:{arguments.bits}")
    labs = [
        leakage_lab(table, packed, sampler=samplers, P=P, seeds=arguments.seeds)
        for samplers, P in ((("MLROS", "MLSMOTE", "BalancedClones"), arguments.P), (DUPLICATE, 1.0))
    ]
    scores = pd.concat([lab.scores for lab in labs]).drop_duplicates(
        ["seed", "sampler", "protocol"]
    )
    grouped = scores.groupby(["sampler", "protocol"], sort=False)
    shown = grouped[[*METRICS, "share_seen"]].mean()
    shown.insert(1, "sd", grouped["macro_f1"].std())
    pd.set_option("display.width", 160)
    print(f"SIDER, forest of 100 trees on ECFP4-{arguments.bits}, seeds {arguments.seeds}")
    print(shown.round(3).to_string())
    parts = pd.concat([lab.seen_unseen for lab in labs]).groupby(["sampler", "part"], sort=False)
    print("\nLEAKY test rows by whether their molecule is also in training")
    print(parts[["n_molecules", *METRICS]].mean().round(3).to_string())
    all_positive = [
        trivial_baselines(table.Y[s.train], table.Y[s.test])["all_positive"].summary[METRICS[:2]]
        for s in (split(table, "random", seed=seed) for seed in arguments.seeds)
    ]
    mean = pd.concat(all_positive, axis=1).mean(axis=1)
    print(f"\nall-positive: macro F1 {mean['macro_f1']:.3f}, micro F1 {mean['micro_f1']:.3f}")


if __name__ == "__main__":
    main()
