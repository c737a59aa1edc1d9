"""Figure of the projection: time of a step on many ranks, and microseconds a day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.clot.plots.colors import INK, MEASURED, MODEL, PUBLISHED
from labkit.clot.plots.marks import amount, legend_beside, panels
from labkit.clot.scaling import Projection
from labkit.errors import ParameterError
from labkit.viz.tables import require_columns

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
        Above the parts of a fluid step, projected, with the 90 % interval of their sum; below
        microseconds a day on a logarithmic axis: measured black, projected blue, published
        vermillion. The published model is another one: the rows share a unit, not a workload.
    """
    if not projections:
        raise ParameterError("projections is empty; give at least one of WeakScaling.project.")
    require_columns("table", table, ("kind", "particles", "machine", "us_per_day", "high"))
    height = 3.2 + 0.42 * len(table)
    figure, (upper, lower) = panels(
        2, 1, width_in=7.2, height_in=height, height_ratios=(2.6, 0.42 * len(table))
    )
    _stack(upper, projections)
    upper.set_title(title)
    _speeds(lower, table)
    return figure


def _stack(ax: Axes, projections: Sequence[Projection]) -> None:
    ranks = np.array([item.ranks for item in projections], dtype=float)
    parts = [[1e3 * getattr(item, name) for item in projections] for name in PARTS]
    names, colors = zip(*PARTS.values(), strict=True)
    ax.stackplot(ranks, parts, labels=names, colors=colors, linewidth=0)
    low, middle, high = (
        1e3 * np.array([getattr(item, name) for item in projections])
        for name in ("low", "seconds", "high")
    )
    ends = [middle - low, high - middle]
    ax.errorbar(ranks, middle, ends, fmt="none", color=INK, label="90 % interval")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    per_rank = projections[-1].n_particles / projections[-1].ranks
    ax.set_xlabel(f"ranks, {amount(per_rank)} particles each")
    ax.set_ylabel("wall time of a\nfluid step (ms), projection")
    ax.set_ylim(0, 1.05 * high.max())
    legend_beside(ax, reverse=True)


def _speeds(ax: Axes, table: pd.DataFrame) -> None:
    for row, (_, item) in enumerate(table.iterrows()):
        color, speed = KINDS[item["kind"]], float(item["us_per_day"])
        marker = "D" if item["kind"] == "published" else "o"
        ax.plot(speed, row, marker, color=color, markersize=7)
        known = np.isfinite(item["high"])
        if known:
            ax.hlines(row, item["low"], item["high"], color=color)
        words = f"{item['kind']}: {amount(item['particles'])} particles, {item['machine']}"
        ax.text(0.01, row - 0.36, words, transform=ax.get_yaxis_transform(), fontsize=8.8)
        end = (float(item["high"]) if known else speed, row)
        ax.annotate(f"{speed:,.0f}", end, (8, -3), textcoords="offset points", fontsize=8.8)
    ax.set_ylim(len(table) - 0.4, -0.75)
    ax.set_yticks([])
    ax.set_xscale("log")
    ax.margins(x=0.15)
    ax.grid(axis="x")
    ax.set_xlabel("physical time in a day of computing (µs); the models differ")
