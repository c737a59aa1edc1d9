"""Figures of what accuracy costs: the Pareto front of controllers, errors of all properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.clot.plots.colors import FAMILY_COLORS, FAMILY_MARKERS, GRAY, MODEL, WRONG, family, pale
from labkit.clot.plots.marks import (
    horizontal,
    legend_above,
    legend_beside,
    require_columns,
    whiskers,
)
from labkit.viz.style import axis_label, new_axes

BAND = 0.03
"""Relative error within which a property counts as right."""
QUANTITIES = {
    "cpu_seconds": ("CPU time of a time unit", "s"),
    "wall_seconds": ("wall time of a time unit", "s"),
    "evaluations": ("force evaluations of a time unit, platelet levels", ""),
    "worst_error": ("largest error of a property, with interval", "%"),
    "violation_rate": ("segments above the tolerance", "%"),
}
"""Columns that the Pareto figure knows, to what they are and their unit on the axis."""


def pareto_front(
    results: pd.DataFrame,
    *,
    cost: str = "cpu_seconds",
    error: str = "violation_rate",
    limit: float | None = 0.05,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Cost of every controller against its error; below and left is better.

    Parameters
    ----------
    results : DataFrame
        Column controller, and `cost` and `error`; ``<cost>_low``, ``<cost>_high`` and the same of
        the error where there are intervals. Errors are shares, drawn in percent.
    cost, error : str
        Columns; `QUANTITIES` names the axes.
    limit : float, optional
        Error that was declared as allowed before the runs.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The line joins the controllers that no other beats in both; gray are plans that never
        change.
    """
    require_columns("results", results, ("controller", cost, error))
    ax = new_axes(ax, width_in=7.0, height_in=4.2)
    frame = _in_percent(results, error)
    x, y = (frame[name].to_numpy(dtype=float) for name in (cost, error))
    if limit is not None:
        ax.axhline(100 * limit, color=WRONG, linewidth=1, linestyle="--")
        words = f"allowed: {100 * limit:g} %"
        ax.annotate(
            words,
            (1, 100 * limit),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=WRONG,
        )
    best = front(x, y)
    ax.plot(
        x[best], y[best], color=pale(MODEL, 0.5), linewidth=5, zorder=1, label="best trade-offs"
    )
    for kind in FAMILY_COLORS:
        rows = frame[[family(str(name)) == kind for name in frame["controller"]]]
        if len(rows):
            ax.errorbar(
                rows[cost],
                rows[error],
                xerr=whiskers(rows, cost),
                yerr=whiskers(rows, error),
                fmt=FAMILY_MARKERS[kind],
                color=FAMILY_COLORS[kind],
                markersize=8 if kind == "learned" else 6,
                linewidth=1.2,
                zorder=3 if kind == "learned" else 2,
            )
    _name(ax, frame, cost, error)
    ax.grid(axis="both")
    ax.set_xscale("log")
    ax.set_xlabel(axis_label(*QUANTITIES.get(cost, (cost, ""))))
    ax.set_ylabel(axis_label(*QUANTITIES.get(error, (error, "%"))))
    ax.set_ylim(min(0.0, float(y.min())), None)
    legend_above(ax, title=title or None, alignment="left")
    return ax


def front(cost: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Points that no other one beats in both, by rising cost.

    Examples
    --------
    >>> front(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 1.0])).tolist()
    [0, 2]
    """
    order = np.lexsort((error, cost))
    kept, lowest = [], np.inf
    for index in order:
        if error[index] < lowest:
            kept.append(index)
            lowest = error[index]
    return np.array(kept, dtype=int)


def _in_percent(results: pd.DataFrame, error: str) -> pd.DataFrame:
    frame = results.copy()
    for name in (error, f"{error}_low", f"{error}_high"):
        if name in frame:
            frame[name] = 100 * results[name].to_numpy(dtype=float)
    return frame


def _name(ax: Axes, frame: pd.DataFrame, cost: str, error: str) -> None:
    for name, x, y in frame[["controller", cost, error]].itertuples(index=False):
        ax.annotate(str(name), (x, y), (7, 5), textcoords="offset points", fontsize=8.5)


def property_errors_figure(
    errors: pd.DataFrame, *, band: float = BAND, title: str = "", ax: Axes | None = None
) -> Axes:
    """Relative error of every property against fixed small steps, with intervals.

    Parameters
    ----------
    errors : DataFrame
        Columns property, relative_error, low, high (shares); controller where there are several.
    band : float
        Relative error that is allowed.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        An interval within the band is right by the bar of the study; one that reaches out of it
        does not tell.
    """
    require_columns("errors", errors, ("property", "relative_error", "low", "high"))
    names = list(dict.fromkeys(errors["property"].astype(str)))
    several = errors.groupby("controller", sort=False) if "controller" in errors else [("", errors)]
    groups = [(str(name), rows) for name, rows in several]
    ax = new_axes(ax, width_in=7.0, height_in=(0.26 + 0.1 * len(groups)) * len(names) + 1.4)
    ax.axvspan(-100 * band, 100 * band, color=pale(MODEL, 0.16), linewidth=0, zorder=0)
    ax.axvline(0, color=GRAY, linewidth=1, zorder=1)
    offsets = np.linspace(-0.24, 0.24, len(groups)) if len(groups) > 1 else [0.0]
    for (name, rows), offset in zip(groups, offsets, strict=True):
        kind = family(name) if name else "learned"
        y = np.array([names.index(str(one)) for one in rows["property"]]) + offset
        middle, low, high = (
            100 * rows[c].to_numpy(float) for c in ("relative_error", "low", "high")
        )
        color = FAMILY_COLORS[kind]
        ax.hlines(y, low, high, color=color, linewidth=2)
        ax.plot(middle, y, FAMILY_MARKERS[kind], color=color, label=name or None)
    ax.set_yticks(range(len(names)), names)
    horizontal(ax)
    ax.set_xlabel(f"error against fixed small steps (%); band ±{100 * band:g} %")
    if len(groups) > 1:
        legend_beside(ax)
    ax.set_title(title)
    return ax
