"""Make the README's figure: the oversampling study on SIDER, three splits, honest protocol.

Needs the SIDER data (``labkit data fetch sider`` or LABKIT_DATA). Takes about ten minutes on one
core::

    python benchmarks/readme_figure.py docs/images/oversampling.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from labkit import oversampling as study
from labkit.viz import use_style

SAMPLERS = ("none", "MLROS", "MLSMOTE", "BalancedClones")


def main() -> None:
    """Run the study and write the figure and, beside the terminal, its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    config = study.StudyConfig.from_preset(
        "standard", samplers=SAMPLERS, models=("forest", "hybrid"), seeds=arguments.seeds
    )
    started = time.process_time()
    results = study.run_study(config, progress=lambda done, total, text: None)
    use_style()
    ax = study.plots.arm_scores(results.scores, "macro_f1")
    ax.set_title("SIDER: 1,427 drugs, 27 side-effect classes, three random splits")
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(arguments.figure, dpi=110)
    keys = ["model", "sampler", "thresholds"]
    print(results.scores.groupby(keys, sort=False)[["macro_f1", "macro_auc"]].mean().round(3))
    print(results.comparisons.round(3).to_string(index=False))
    print(f"{time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    main()
