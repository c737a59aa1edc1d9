"""Figures of the model against measured runs, and of the constants that they teach it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from labkit.llm_parallel.plots.colors import GRAY, INK, MODEL
from labkit.llm_parallel.plots.marks import amount, duration, horizontal, legend_beside, percent
from labkit.llm_parallel.system import Efficiency
from labkit.viz.colors import pale
from labkit.viz.style import PALETTE, new_axes
from labkit.viz.tables import require_columns

if TYPE_CHECKING:
    from labkit.llm_parallel.calibrate import Calibration

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BAND = 0.10
NORMAL_90 = 1.645
"""Half the width of the interval that holds 90 % of a normal distribution, in its deviations."""


def parity(
    rows: pd.DataFrame, *, title: str = "", predicted: str = "predicted", ax: Axes | None = None
) -> Axes:
    """Predicted against measured time of a step.

    Parameters
    ----------
    rows : DataFrame
        Columns measured and predicted in seconds; ``set`` names the data sets, ``low`` and
        ``high`` are the ends of the predictive intervals of a calibrated model.
    title : str, optional
    predicted : str, optional
        Name of the prediction on its axis, e.g. "calibrated on other runs".
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        A point a run, a color and marker a set, with its mean absolute percentage error in the
        legend. On the line the prediction is right.
    """
    require_columns("rows", rows, ("measured", "predicted"))
    rows = rows if "set" in rows else rows.assign(set="runs")
    ax = new_axes(ax, width_in=7.2, height_in=4.8)
    values = rows[["measured", "predicted"]].to_numpy(dtype=float)
    low, high = 0.8 * np.nanmin(values), 1.25 * np.nanmax(values)
    sets = sorted(rows.groupby("set", sort=False), key=lambda item: -len(item[1]))
    places = {name: place for place, name in enumerate(dict.fromkeys(rows["set"]))}
    for name, here in sets:
        _parity_points(ax, here, str(name), places[name])
    ends = np.array([low, high])
    ax.plot(ends, ends, color=INK, linewidth=1, label="ideal")
    for share, label in ((1 - BAND, None), (1 + BAND, "± 10 %")):
        ax.plot(ends, ends * share, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    ax.grid(axis="both")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("time of a step (s), measured")
    ax.set_ylabel(f"time of a step (s), {predicted}")
    legend_beside(ax)
    ax.set_title(title)
    return ax


def _parity_points(ax: Axes, rows: pd.DataFrame, name: str, number: int) -> None:
    color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    measured = rows["measured"].to_numpy(dtype=float)
    predicted = rows["predicted"].to_numpy(dtype=float)
    error = float(np.mean(np.abs(predicted / measured - 1)))
    many = len(rows) > 200
    if "low" in rows and rows["low"].notna().any():
        ax.vlines(
            measured,
            rows["low"].to_numpy(dtype=float),
            rows["high"].to_numpy(dtype=float),
            color=color,
            linewidth=0.8 if many else 1.5,
            alpha=0.15 if many else 0.45,
        )
    ax.plot(
        measured,
        predicted,
        marker,
        color=color,
        markersize=3 if many else 5.5,
        markeredgewidth=0 if many else 0.6,
        markeredgecolor="white",
        alpha=0.4 if many else 1.0,
        label=f"{name} (n = {len(rows):,})\nMAPE {percent(error)}",
    )


def calibration_figure(
    calibration: Calibration | pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Constants of the machine before and after they are fitted to runs.

    Parameters
    ----------
    calibration : Calibration or DataFrame
        Of `calibrate`, or its frame: columns name, prior, value, low, high, identified.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Each constant over its prior median, with 90 % intervals: gray what was believed, blue what
        the runs say. A hollow point is not identified: the runs hardly tell it, so that it is no
        fact about the machine.
    """
    frame = calibration if isinstance(calibration, pd.DataFrame) else calibration.frame
    require_columns("calibration", frame, ("name", "prior", "value", "low", "high", "identified"))
    ax = new_axes(ax, width_in=8.0, height_in=0.36 * len(frame) + 1.5)
    prior = frame["prior"].to_numpy(dtype=float)
    ratios = frame[["value", "low", "high"]].to_numpy(dtype=float) / prior[:, None]
    rows = np.arange(len(frame))
    spread = {field.name: field.metadata["sigma"] for field in dataclasses.fields(Efficiency)}
    reach = np.exp(NORMAL_90 * np.array([spread[name] for name in frame["name"]]))
    ax.hlines(
        rows - 0.16, 1 / reach, reach, color=pale(GRAY, 0.6), linewidth=5, label="prior, 90 %"
    )
    ax.hlines(rows + 0.16, ratios[:, 1], ratios[:, 2], color=MODEL, linewidth=2)
    for sure, label in ((True, "fitted to the runs"), (False, "fitted, not identified")):
        here = frame["identified"].to_numpy(dtype=bool) == sure
        if here.any():
            ax.plot(
                ratios[here, 0],
                rows[here] + 0.16,
                "o",
                color=MODEL,
                markerfacecolor=MODEL if sure else "white",
                markeredgewidth=1.5,
                label=label,
            )
    ax.axvline(1, color=GRAY, linewidth=1)
    _calibration_axes(ax, frame)
    ax.set_title(title)
    return ax


def _calibration_axes(ax: Axes, frame: pd.DataFrame) -> None:
    names = [
        f"{name}  {_constant(str(name), prior)} → {_constant(str(name), value)}"
        for name, prior, value in frame[["name", "prior", "value"]].itertuples(index=False)
    ]
    ax.set_yticks(range(len(frame)), names, fontsize=9)
    horizontal(ax)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ticks = [t for t in (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100) if low <= t <= high]
    ax.set_xticks(ticks, [f"{t:g}×" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("value over the prior median, 90 % intervals")
    legend_beside(ax)


def _constant(name: str, value: float) -> str:
    """Value of a constant of `Efficiency`, with its unit.

    Examples
    --------
    >>> _constant("launch_s", 5.5e-6), _constant("gemm", 0.8123)
    ('5.5 µs', '0.812')
    """
    return duration(value) if name.endswith("_s") else amount(value)
