"""Figures of multiple time stepping: temperature with and without the noise rule, cost by level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit.clot.plans import LEVELS
from labkit.clot.plots.colors import GRAY, INK, LEVEL_COLORS, MODEL, WRONG, light, pale
from labkit.clot.plots.marks import horizontal, legend_above, require_columns, whiskers
from labkit.viz.style import new_axes

WRITTEN = 0.06
"""Share of the axis above which a segment has room for its number."""
TOLERANCE = 0.03


def temperature_lesson(
    lesson: pd.DataFrame, *, kT: float = 1.0, title: str = "", ax: Axes | None = None
) -> Axes:
    """Temperature of platelets and plasma by plan, with the noise rule and without.

    Parameters
    ----------
    lesson : DataFrame
        Columns plan, rule (bool), T_platelet, T_fluid [energy]; T_platelet_low and T_platelet_high
        where there are intervals.
    kT : float
        Temperature of the thermostat, by which all are divided.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Vermillion without the rule, blue with it; the diamond is the plasma, which looks right in
        both. The band is 3 % about the thermostat.
    """
    require_columns("lesson", lesson, ("plan", "rule", "T_platelet", "T_fluid"))
    plans = list(dict.fromkeys(lesson["plan"].astype(str)))
    ax = new_axes(ax, width_in=6.6, height_in=0.62 * len(plans) + 1.6)
    ax.axvspan(1 - TOLERANCE, 1 + TOLERANCE, color=pale(MODEL, 0.2), linewidth=0)
    ax.axvline(1, color=GRAY, linewidth=1)
    for rule, color, shift in ((False, WRONG, -0.19), (True, MODEL, 0.19)):
        rows = lesson[lesson["rule"].astype(bool) == rule]
        if not len(rows):
            continue
        y = np.array([plans.index(str(plan)) for plan in rows["plan"]]) + shift
        ratio = rows["T_platelet"].to_numpy(dtype=float) / kT
        label = "platelet, noise rule" if rule else "platelet, noise of the outer step"
        bars = whiskers(rows / kT if False else _over(rows, kT), "T_platelet")
        ax.barh(y, ratio, height=0.34, color=color, label=label, xerr=bars)
        for place, value in zip(y, ratio, strict=True):
            ax.text(0.02, place, f"{value:.2f}", va="center", fontsize=9, color="white")
        fluid = rows["T_fluid"].to_numpy(dtype=float) / kT
        ax.plot(fluid, y, "D", color="white", markeredgecolor=INK, markersize=5.5, linestyle="")
    ax.plot([], [], "D", color="white", markeredgecolor=INK, linestyle="", label="plasma")
    ax.set_yticks(range(len(plans)), plans)
    horizontal(ax)
    ax.set_xlim(0, None)
    ax.set_xlabel("kinetic temperature over that of the thermostat")
    ax.set_ylabel("steps: " + " / ".join(LEVELS), fontsize=9)
    legend_above(ax, ncols=3, title=title or None, alignment="left")
    return ax


def _over(rows: pd.DataFrame, kT: float) -> pd.DataFrame:
    scaled = rows.copy()
    for column in rows.columns:
        if str(column).startswith("T_platelet"):
            scaled[column] = rows[column] / kT
    return scaled


def level_costs(costs: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """CPU time of a time unit by level, one bar a plan.

    Parameters
    ----------
    costs : DataFrame
        Columns plan, and fluid, interface, nonbonded, bonded [CPU s per time unit]; setup where it
        counts; measured [CPU s per time unit] for a mark beside the model's bar.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Bars are the fitted cost model, marks runs. The speed-up over the first plan stands beside
        each bar.
    """
    require_columns("costs", costs, ("plan", *LEVELS))
    ax = new_axes(ax, width_in=7.4, height_in=0.48 * len(costs) + 1.7)
    parts = [name for name in (*LEVELS, "setup") if name in costs]
    seconds = costs[parts].to_numpy(dtype=float)
    total, rows, left = seconds.sum(axis=1), np.arange(len(costs)), np.zeros(len(costs))
    for name, part in zip(parts, seconds.T, strict=True):
        color = LEVEL_COLORS[name]
        ax.barh(rows, part, left=left, height=0.62, color=color, edgecolor="white", linewidth=0.6)
        for row in np.flatnonzero(part > WRITTEN * total.max()):
            ink = INK if light(color) else "white"
            middle = left[row] + part[row] / 2
            text = f"{100 * part[row] / total[row]:.0f} %"
            ax.text(middle, row, text, ha="center", va="center", fontsize=9, color=ink)
        left += part
    handles = [Patch(color=LEVEL_COLORS[name], label=name) for name in parts]
    if "measured" in costs:
        mark = ax.plot(costs["measured"], rows, "|", color=INK, markersize=18, markeredgewidth=2)
        mark[0].set_label("measured")
        handles.append(mark[0])
    ends = np.maximum(total, costs["measured"]) if "measured" in costs else total
    for row, (end, whole) in enumerate(zip(ends, total, strict=True)):
        said = f"{whole:.3g} s" + (f", {total[0] / whole:.1f}× less" if row else "")
        ax.annotate(said, (end, row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks(rows, costs["plan"].astype(str).tolist())
    horizontal(ax)
    ax.set_xlim(0, 1.22 * float(ends.max()))
    ax.set_xlabel("CPU time of one time unit (s), cost model")
    ax.set_ylabel("steps: " + " / ".join(LEVELS), fontsize=9)
    legend_above(ax, handles=handles, ncols=6, title=title or None, alignment="left")
    return ax
