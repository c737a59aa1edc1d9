"""Figures of a tuning: what was tried, what it brought, which parameters matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from labkit.errors import ParameterError
from labkit.spiking.plots.colors import GRAY, INK
from labkit.spiking.plots.labels import horizontal, percent, percent_axis, words_only
from labkit.viz.colors import ColorScale
from labkit.viz.style import OKABE_ITO, PALETTE, new_axes

if TYPE_CHECKING:
    from labkit.spiking.search import Search
    from labkit.spiking.tuning import TuningResult

FIXED_COLUMNS = ("number", "value", "state", "seconds", "error", "best_so_far")
MAX_AXES = 10
WIDE_RANGE = 30.0
"""Quotient of the ends of an axis above which it is logarithmic."""


def convergence(
    results: TuningResult | Search | Mapping[str, TuningResult | Search],
    *,
    default: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every trial and the best so far.

    Parameters
    ----------
    results : TuningResult or mapping of str to TuningResult
        Of `tune`; several samplers by name.
    default : float, optional
        Validation accuracy of the untuned network, drawn as a line; by default the first trial's,
        from which `tune` starts.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Dots are trials, crosses dead networks (left early: no topic spiked), triangles at the
        foot trials that failed; the line is the best so far. Accuracies are of the validation
        papers, on which the best was chosen: the test papers give less.
    """
    several = dict(results) if isinstance(results, Mapping) else {"": results}
    ax = new_axes(ax, width_in=6.6, height_in=3.9)
    if default is None:
        default = getattr(next(iter(several.values())), "untuned_value", None)
    if default is not None and np.isfinite(default):
        label = f"untuned: {percent(default)}"
        ax.axhline(default, color=GRAY, linestyle="--", linewidth=1.2, zorder=1, label=label)
    for number, (name, result) in enumerate(several.items()):
        _draw_trials(ax, result.trials, PALETTE[number % len(PALETTE)], name, number == 0)
    ax.set_xlabel("trial")
    ax.set_ylabel("validation accuracy")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(y=0.1)
    percent_axis(ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return ax


def _draw_trials(ax: Axes, trials: pd.DataFrame, color: str, name: str, say: bool) -> None:
    state = trials["state"]
    suffix = f", {name}" if name else ""
    x, y = trials["number"], trials["value"].astype(float)
    for kind, marker, shown in (("complete", "o", color), ("dead", "x", GRAY)):
        here = state == kind
        if here.any():
            label = f"trial{suffix}" if kind == "complete" else "dead network" if say else None
            ax.plot(x[here], y[here], marker, color=shown, alpha=0.7, markersize=5, label=label)
    failed = state == "failed"
    if failed.any():
        foot = ax.get_xaxis_transform()
        ax.plot(
            x[failed],
            np.full(failed.sum(), 0.02),
            "^",
            color=OKABE_ITO["black"],
            markersize=5,
            transform=foot,
            label="failed" if say else None,
        )
    best = trials["best_so_far"].astype(float)
    if best.notna().any():
        label = f"best so far{suffix}: {percent(float(best.max()))}"
        ax.step(x, best, where="post", color=color, linewidth=2, label=label, zorder=2)


def parallel_coordinates(
    result: TuningResult | Search,
    *,
    parameters: list[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every trial as a line through its parameters, the best on top.

    Parameters
    ----------
    result : TuningResult
        Of `tune`.
    parameters : list of str, optional
        Which parameters, from left to right; by default those that varied, the most important
        first, 10 at most.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Dark blue lines are the most accurate, pale ones the worst quarter, gray ones dead or
        failed; the best is black. Where the dark lines of an axis lie together, the parameter
        matters. Words instead where fewer than two parameters varied, unless `parameters` is given.
    """
    trials = result.trials
    names = _axes_shown(result) if parameters is None else list(parameters)
    if parameters is None and len(names) < 2:
        ax = new_axes(ax, width_in=5.0, height_in=1.2)
        words_only(ax, f"only {names[0]} varied" if names else "no parameter varied")
        return ax
    unknown = [name for name in names if name not in trials or name in FIXED_COLUMNS]
    if unknown or len(names) < 2:
        tuned = [name for name in trials if name not in FIXED_COLUMNS]
        raise ParameterError(
            f"parameters={names!r}: give two or more of those that were tuned and varied: "
            f"{', '.join(tuned)}."
        )
    ax = new_axes(ax, width_in=max(5.0, 1.12 * len(names) + 1.4), height_in=4.2)
    places = np.column_stack([_on_axis(ax, trials[name], i) for i, name in enumerate(names)])
    values = trials["value"].astype(float).to_numpy()
    alive = (trials["state"] == "complete").to_numpy() & np.isfinite(values)
    _draw_lines(ax, places, values, alive)
    ax.set_xticks(range(len(names)), [name.replace("/", "\n/ ") for name in names], fontsize=9)
    ax.xaxis.tick_top()
    ax.set_xlim(-0.35, len(names) - 0.6)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([])
    ax.tick_params(axis="x", length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def _axes_shown(result: TuningResult | Search) -> list[str]:
    trials, importance = result.trials, result.importance
    names = [n for n in trials if n not in FIXED_COLUMNS and trials[n].nunique() > 1]
    weight = {name: float(importance.get(name, 0.0)) for name in names}
    return sorted(names, key=lambda name: -np.nan_to_num(weight[name]))[:MAX_AXES]


def _on_axis(ax: Axes, column: pd.Series, number: int) -> np.ndarray:
    """Height of each trial on one axis, 0 to 1; draws the axis with its tick labels."""
    kinds = sorted(column.unique(), key=lambda value: (isinstance(value, str), value))
    numeric = not any(isinstance(value, str | bool) for value in kinds)
    if not numeric or len(kinds) <= 5:
        heights = {value: i / max(len(kinds) - 1, 1) for i, value in enumerate(kinds)}
        ticks = [(heights[value], _short(value)) for value in kinds]
        places = column.map(heights).to_numpy(dtype=float)
    else:
        values = column.to_numpy(dtype=float)
        low, high = float(values.min()), float(values.max())
        logs = low > 0 and high / low > WIDE_RANGE
        move = np.log if logs else np.asarray
        places = (move(values) - move(low)) / (move(high) - move(low))
        middle = float(np.exp(np.log(low * high) / 2)) if logs else (low + high) / 2
        ticks = [(0.0, _short(low)), (0.5, _short(middle)), (1.0, _short(high))]
    ax.plot([number, number], [0, 1], color="#999999", linewidth=1, zorder=4)
    for height, text in ticks:
        ax.text(
            number + 0.04,
            height,
            text,
            fontsize=8.5,
            va="center",
            zorder=6,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    return places


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _draw_lines(ax: Axes, places: np.ndarray, values: np.ndarray, alive: np.ndarray) -> None:
    lines = [np.column_stack([np.arange(places.shape[1]), row]) for row in places]
    ax.add_collection(
        LineCollection([lines[i] for i in np.flatnonzero(~alive)], colors="#d9d9d9", linewidths=0.8)
    )
    if not alive.any():
        return
    order = np.flatnonzero(alive)[np.argsort(values[alive], kind="stable")]
    low, high = float(np.quantile(values[alive], 0.25)), float(values[alive].max())
    norm = Normalize(low, high if high > low else low + 1e-9, clip=True)
    cmap = ColorScale(0, 1, "sequential").colormap()
    colors = cmap(0.15 + 0.85 * norm(values[order]))
    ax.add_collection(
        LineCollection([lines[i] for i in order], colors=colors, linewidths=1.3, zorder=3)
    )
    ax.add_collection(LineCollection([lines[order[-1]]], colors=INK, linewidths=2.6, zorder=5))
    scale = ScalarMappable(norm, cmap)
    bar = ax.figure.colorbar(scale, ax=ax, shrink=0.7, aspect=22, pad=0.02, extend="min")
    bar.set_label("validation accuracy")
    percent_axis(bar.ax)
    bar.outline.set_visible(False)


def importance(result: TuningResult | Search, *, ax: Axes | None = None) -> Axes:
    """How much of the variance of the accuracy each parameter explains.

    Parameters
    ----------
    result : TuningResult
        Of `tune`.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Of functional ANOVA over all trials, dead ones included; with a few dozen trials the order
        is rough. Words instead where no importance is known.
    """
    shares = result.importance.dropna()
    if not len(shares):
        ax = new_axes(ax, width_in=5.6, height_in=1.2)
        words_only(ax, "no importance is known: it takes trials of different accuracy")
        return ax
    shares = shares.sort_values(ascending=False, kind="stable")
    ax = new_axes(ax, width_in=5.6, height_in=0.29 * len(shares) + 1.1)
    rows = range(len(shares))
    ax.barh(rows, shares, color=PALETTE[0], height=0.68)
    for row, share in zip(rows, shares, strict=True):
        ax.annotate(
            percent(share, 0), (share, row), (4, 0), textcoords="offset points", va="center", size=9
        )
    ax.set_yticks(rows, [str(name).replace("/", " / ") for name in shares.index])
    ax.invert_yaxis()
    ax.margins(x=0.12)
    percent_axis(ax, "x")
    ax.set_xlabel("share of the variance explained")
    horizontal(ax)
    return ax
