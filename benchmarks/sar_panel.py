"""Scores of ligand atoms against the sites that chemists varied, over the affinity panel.

Prints, for every target, the sites of its lead and the AUROC of each score with its interval and
permutation p values; then what the panel supports in words. Trajectories of the leads lie under a
folder as `<target>/topology.pdb`, `trajectory.xtc`, `ligand.sdf` (labkit.hotspots.simulate.run_md
writes them); TYK2's comes from the registry if the folder has none. Real data: LABKIT_DATA or
`labkit data fetch`. About 30 CPU seconds in all.

    python benchmarks/sar_panel.py FOLDER [--targets tyk2 mcl1 cdk2 hif2a] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse

import pandas as pd

from labkit.hotspots.examples import SERIES
from labkit.hotspots.validation.panel import panel_complexes, sar_panel


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--targets", nargs="+", default=list(SERIES), choices=SERIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    pd.set_option("display.width", 160)
    complexes = panel_complexes(arguments.folder, arguments.targets)
    panel = sar_panel(complexes, seeds=arguments.seeds)
    for target, system in complexes.items():
        sites = panel.sites[target]
        print(
            f"\n{target}: lead {sites.lead} ({sites.kind}), {sites.sites.sum()} of "
            f"{len(sites.sites)} atoms are sites, {system.n_frames} frames, left out: "
            f"{', '.join(sites.left_out) or 'none'}"
        )
        single = int((sites.changes["places"] == 1).sum())
        print(
            f"{single} ligands changed in one place, RMS ddG {sites.rms_ddG:.2f} kcal/mol (300 K)"
        )
        shown = panel.frame[panel.frame["target"] == target].set_index("score")
        print(shown.drop(columns=["target", "lead"]).round(3).to_string())
    print("\nSpearman correlation of latent_spread with its baselines")
    print(panel.correlation.round(2).to_string())
    print("\nMean over targets")
    print(panel.mean.set_index("score").round(3).to_string())
    print(f"\n{panel.summary()}")


if __name__ == "__main__":
    main()
