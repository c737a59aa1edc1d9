"""Figures of what accuracy costs: the Pareto front of controllers, errors of all properties."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from labkit.clot.plans import LEVELS
from labkit.clot.plots.colors import FAMILY_COLORS, FAMILY_MARKERS, GRAY, MODEL, WRONG, family
from labkit.clot.plots.marks import horizontal, legend_below, name_points, whiskers
from labkit.viz.colors import pale
from labkit.viz.style import axis_label, new_axes
from labkit.viz.tables import require_columns

_PLAN = re.compile(r"\S+ / \S+ / \S+ / \S+$")
BEST = "beaten by none in both"
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
PROPERTIES = {
    "fluid_temperature": "plasma temperature",
    "platelet_temperature": "platelet temperature",
    "stretch_mean": "stretch of springs, mean",
    "stretch_std": "stretch of springs, std",
    "gyration_1": "gyration, short axis",
    "gyration_2": "gyration, middle axis",
    "gyration_3": "gyration, long axis",
    "spin": "angular speed",
    "first_flip_strain": "strain of the first flip",
    "contacts_at_end": "contacts at the end",
    "receptor_energy": "receptor energy",
    "stress_mean": "membrane stress, mean",
    "stress_95": "membrane stress, 95th pct.",
    "viscosity": "viscosity",
}
"""Properties of `labkit.clot.analysis.properties`, in the words of a figure."""
_MOST_LEVELS = 2


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
    ax.step(
        x[best], y[best], where="post", color=pale(MODEL, 0.4), linewidth=4, zorder=1, label=BEST
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
                markersize=9 if kind == "learned" else 6.5,
                linewidth=1.3,
                zorder=4 if kind == "learned" else 3,
            )
    _scales(ax, x, y, limit)
    ax.set_xlabel(axis_label(*QUANTITIES.get(cost, (cost, ""))))
    ax.set_ylabel(axis_label(*QUANTITIES.get(error, (error, "%"))))
    ax.set_title(title)
    names, plans = short_names([str(name) for name in frame["controller"]])
    if plans:
        words = f"fixed plans: {plans}"
        ax.plot([], [], FAMILY_MARKERS["fixed"], color=FAMILY_COLORS["fixed"], label=words)
    legend_below(ax, ncols=1 if len(plans) > 40 else 2)
    name_points(ax, x, y, names)
    return ax


def short_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Names of controllers without the steps that all plans in them share, and what is left.

    Plans that differ in more than two levels are numbered in their order.

    Examples
    --------
    >>> short_names(["fixed 0.02 / 0.005 / 0.0025 / 0.00125", "learned",
    ...              "fixed 0.02 / 0.005 / 0.005 / 0.00125"])
    (['fixed 0.0025', 'learned', 'fixed 0.005'], 'steps of nonbonded')
    >>> short_names(["fixed 0.01 / 0.005 / 0.005 / 0.005", "fixed 0.02 / 0.01 / 0.01 / 0.005"])
    (['fixed 1', 'fixed 2'], '1 is 0.01 / 0.005 / 0.005 / 0.005, 2 is 0.02 / 0.01 / 0.01 / 0.005')
    """
    plans = {name: found.group().split(" / ") for name in names if (found := _PLAN.search(name))}
    if len(set(map(tuple, plans.values()))) < 2:
        return list(names), ""
    differ = [k for k, steps in enumerate(zip(*plans.values(), strict=True)) if len(set(steps)) > 1]
    if len(differ) > _MOST_LEVELS:
        number = {name: n for n, name in enumerate(plans, 1)}
        ends = list(plans.values())
        first, last = (" / ".join(steps) for steps in (ends[0], ends[-1]))
        short = {name: _PLAN.sub(str(n), name) for name, n in number.items()}
        return [short.get(name, name) for name in names], f"1 is {first}, {len(plans)} is {last}"
    short = {
        name: _PLAN.sub(" / ".join(steps[k] for k in differ), name) for name, steps in plans.items()
    }
    return [short.get(name, name) for name in names], "steps of " + " / ".join(
        LEVELS[k] for k in differ
    )


def _scales(ax: Axes, x: np.ndarray, y: np.ndarray, limit: float | None) -> None:
    """Logarithmic cost; errors linear up to what is allowed, logarithmic above."""
    ax.grid(axis="both")
    ax.set_xscale("log")
    low, high = x.min() / 1.25, x.max() * 1.25
    ax.set_xlim(low, high)
    ticks = [m * 10.0**k for k in range(-6, 9) for m in (1, 2, 3, 5)]
    ax.set_xticks([t for t in ticks if low <= t <= high])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.5g}")
    ax.xaxis.set_minor_locator(NullLocator())
    top = ax.get_ylim()[1]
    bend = 100 * (limit or 0.05)
    if top > 3 * bend:
        ax.set_yscale("symlog", linthresh=bend, linscale=1.2)
        whole = [0, *(t for t in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if t < 1.2 * top)]
        ax.set_yticks(whole)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(min(-0.03 * bend, 1.1 * float(y.min())), 1.15 * top)


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


def property_errors_figure(
    errors: pd.DataFrame, *, band: float = BAND, title: str = "", ax: Axes | None = None
) -> Axes:
    """Relative error of every property against fixed small steps, with intervals.

    Parameters
    ----------
    errors : DataFrame
        Of `labkit.clot.analysis.properties.property_errors`: property, relative_error, low, high
        (shares); a column controller where there are several. Properties without an interval are
        named and left empty.
    band : float
        Relative error that is allowed.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        An interval within the band is right by the bar of the study; one that reaches out of it on
        one side does not tell. Ends beyond the axis have an arrow.
    """
    require_columns("errors", errors, ("property", "relative_error", "low", "high"))
    names = list(dict.fromkeys(errors["property"].astype(str)))
    several = errors.groupby("controller", sort=False) if "controller" in errors else [("", errors)]
    groups = [(str(name), rows) for name, rows in several]
    ax = new_axes(ax, width_in=7.4, height_in=(0.2 + 0.11 * len(groups)) * len(names) + 1.5)
    ax.axvspan(-100 * band, 100 * band, color=pale(MODEL, 0.16), linewidth=0, zorder=0)
    ax.axvline(0, color=GRAY, linewidth=1, zorder=1)
    reach = _reach(errors, band)
    offsets = np.linspace(-0.26, 0.26, len(groups)) if len(groups) > 1 else np.zeros(1)
    for (name, rows), offset in zip(groups, offsets, strict=True):
        y = np.array([names.index(str(one)) for one in rows["property"]]) + offset
        _intervals(ax, name, rows, y, reach)
    ax.set_yticks(range(len(names)), [PROPERTIES.get(name, name) for name in names])
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-0.6, len(names) - 0.4)
    horizontal(ax)
    ax.set_xlabel(f"error against small steps (%), 95 % intervals; band ±{100 * band:g} %")
    ax.set_title(title)
    if len(groups) > 1:
        legend_below(ax, ncols=4)
    return ax


def _reach(errors: pd.DataFrame, band: float) -> float:
    """Half width of the axis [%]: the band, and nine tenths of the intervals."""
    ends = 100 * errors[["low", "high"]].abs().to_numpy(dtype=float)
    known = ends[np.isfinite(ends)]
    far = float(np.percentile(known, 90)) if len(known) else 0.0
    return max(160 * band, 1.15 * far)


def _intervals(ax: Axes, name: str, rows: pd.DataFrame, y: np.ndarray, reach: float) -> None:
    kind = family(name) if name else "learned"
    color = FAMILY_COLORS[kind]
    middle, low, high = (
        100 * rows[column].to_numpy(dtype=float) for column in ("relative_error", "low", "high")
    )
    ax.hlines(y, low.clip(-reach, reach), high.clip(-reach, reach), color=color, linewidth=2)
    seen = np.abs(middle) <= reach
    size = 7 if kind == "learned" else 5
    marker = FAMILY_MARKERS[kind]
    ax.plot(middle[seen], y[seen], marker, color=color, markersize=size, label=name or None)
    for end, marker in ((low < -reach, "<"), (high > reach, ">")):
        for place in y[end]:
            at = reach if marker == ">" else -reach
            ax.plot(at, place, marker, color=color, markersize=6, clip_on=False)
    for place in y[np.isnan(middle)]:
        ax.text(0, place, "not known", ha="center", va="center", fontsize=8.5, color=GRAY)
