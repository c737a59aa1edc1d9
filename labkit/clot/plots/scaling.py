"""Figure of the projection: time of a step on many ranks, and microseconds a day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.clot.plots.colors import MEASURED, MODEL, PUBLISHED
from labkit.clot.plots.marks import amount, panels, require_columns
from labkit.clot.scaling import Projection
from labkit.errors import ParameterError

KINDS = {"measured": MEASURED, "projection": MODEL, "published": PUBLISHED}
PARTS = {
    "compute_s": ("compute", "#0072B2"),
    "imbalance_s": ("waiting for the heaviest rank", "#c8c8c8"),
    "halo_s": ("halo exchange", "#D55E00"),
    "collective_s": ("collective", "#E69F00"),
}
"""Part of a projected step to its name and color."""


def scaling_figure(
    projections: Sequence[Projection], table: pd.DataFrame, *, title: str = ""
) -> Figure:
    """Weak scaling as projected, and speeds beside the published ones.

    Parameters
    ----------
    projections : sequence of Projection
        With the same number of particles a rank, by rising ranks.
    table : DataFrame
        Of `labkit.clot.scaling.comparison`.
    title : str, optional

    Returns
    -------
    Figure
        Left the parts of a fluid step, projected, with the 90 % interval of their sum; right
        microseconds a day on a logarithmic axis: measured black, projected blue, published
        vermillion. The published model is another one; the rows share a unit, not a workload.
    """
    if not projections:
        raise ParameterError("projections is empty; give at least one of WeakScaling.project.")
    require_columns("table", table, ("kind", "particles", "machine", "us_per_day"))
    figure, (left, right) = panels(1, 2, width_in=9.0, height_in=3.9, width_ratios=(1.15, 1))
    _stack(left, projections)
    left.set_title(title)
    _speeds(right, table)
    return figure


def _stack(ax: Axes, projections: Sequence[Projection]) -> None:
    ranks = np.array([item.ranks for item in projections], dtype=float)
    parts = [[1e3 * getattr(item, name) for item in projections] for name in PARTS]
    ax.stackplot(
        ranks,
        parts,
        colors=[color for _, color in PARTS.values()],
        labels=[name for name, _ in PARTS.values()],
        linewidth=0,
    )
    low, high = (np.array([getattr(p, end) for p in projections]) * 1e3 for end in ("low", "high"))
    middle = np.array([p.seconds for p in projections]) * 1e3
    ax.errorbar(ranks, middle, [middle - low, high - middle], fmt="none", color=MEASURED)
    ax.set_xscale("log")
    per_rank = projections[-1].n_particles / projections[-1].ranks
    ax.set_xlabel(f"ranks, {amount(per_rank)} particles each")
    ax.set_ylabel("wall time of a fluid step (ms), projection")
    ax.set_ylim(0, None)
    ax.legend(loc="upper left", fontsize=8.5)


def _speeds(ax: Axes, table: pd.DataFrame) -> None:
    rows = np.arange(len(table))
    for kind, color in KINDS.items():
        here = (table["kind"] == kind).to_numpy()
        if not here.any():
            continue
        speeds = table.loc[here, "us_per_day"].to_numpy(dtype=float)
        ax.plot(speeds, rows[here], "D" if kind == "published" else "o", color=color, label=kind)
        if {"low", "high"} <= set(table.columns):
            ax.hlines(rows[here], table.loc[here, "low"], table.loc[here, "high"], color=color)
    names = [
        f"{amount(p)} particles,\n{machine}"
        for p, machine in zip(table["particles"], table["machine"], strict=True)
    ]
    ax.set_yticks(rows, names, fontsize=8.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xscale("log")
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("physical time a day (µs)")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
