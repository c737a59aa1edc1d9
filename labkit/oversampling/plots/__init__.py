"""Figures of the oversampling study; every function returns its axes."""

from labkit.oversampling.plots import colors
from labkit.oversampling.plots.imbalance import (
    cooccurrence_map,
    imbalance_bars,
    imbalance_before_after,
    plain_number,
    scumble_histogram,
    sparsity_curve,
)
from labkit.oversampling.plots.leakage import leakage_scores, seen_and_unseen, split_flow
from labkit.oversampling.plots.molecules import chemical_space, most_copied
from labkit.oversampling.plots.scores import (
    METRIC_LABELS,
    arm_scores,
    difference_intervals,
    parity,
    per_label_scores,
)

__all__ = [
    "METRIC_LABELS",
    "arm_scores",
    "chemical_space",
    "colors",
    "cooccurrence_map",
    "difference_intervals",
    "imbalance_bars",
    "imbalance_before_after",
    "leakage_scores",
    "most_copied",
    "parity",
    "per_label_scores",
    "plain_number",
    "scumble_histogram",
    "seen_and_unseen",
    "sparsity_curve",
    "split_flow",
]
