"""Figures of the checks: planted hotspots, shuffled time, and measured affinities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from labkit.hotspots.plots.colors import series_style
from labkit.hotspots.quantities import quantity
from labkit.viz.style import MPLSTYLE, OKABE_ITO, new_axes


def planted_plot(frame: pd.DataFrame) -> np.ndarray:
    """Whether each score finds a planted hotspot, and whether it needs the order of time for it.

    Parameters
    ----------
    frame : DataFrame
        ``PlantedResults.frame``: columns score, auroc, ratio, ratio_shuffled; one row a score and
        trajectory.

    Returns
    -------
    ndarray of two Axes
        Left, the chance that a planted atom scores above another one: 1 finds all, 0.5 (line) is
        guessing. Right, the hotspot's score over that of its decoy, which has the same contacts
        in random order: only a score that sees time keeps it above 1, and falls to 1 when the
        frames are shuffled (hollow).
    """
    names = list(dict.fromkeys(frame["score"]))
    rows = {name: len(names) - 1 - i for i, name in enumerate(names)}
    with plt.style.context(MPLSTYLE):
        _, (left, right) = plt.subplots(1, 2, figsize=(8.6, 0.42 * len(names) + 1.3), sharey=True)
    for name, row in rows.items():
        here = frame[frame["score"] == name]
        spots = row + _spread(len(here), 0.28)
        left.plot(here["auroc"], spots, "o", color=OKABE_ITO["blue"], alpha=0.8)
        for y, ratio, shuffled in zip(spots, here["ratio"], here["ratio_shuffled"], strict=True):
            right.plot([ratio, shuffled], [y, y], color="#bbbbbb", linewidth=1.2, zorder=1)
        right.plot(here["ratio"], spots, "o", color=OKABE_ITO["vermillion"])
        right.plot(
            here["ratio_shuffled"], spots, "o", mfc="white", mec=OKABE_ITO["vermillion"], mew=1.3
        )
    left.axvline(0.5, color="#555555", linestyle="--", linewidth=1)
    left.set(xlim=(-0.03, 1.05), xlabel="AUROC of the planted atoms")
    left.set_yticks(list(rows.values()), [quantity(name)[0] for name in names])
    left.set_ylim(-0.6, len(names) - 0.4)
    right.axvline(1.0, color="#555555", linestyle="--", linewidth=1)
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set_xlabel("hotspot / decoy ratio")
    right.plot([], [], "o", color=OKABE_ITO["vermillion"], label="as simulated")
    right.plot([], [], "o", mfc="white", mec=OKABE_ITO["vermillion"], label="frames shuffled")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for ax in (left, right):
        ax.grid(axis="x")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    return np.array([left, right])


def sar_plot(
    panel: pd.DataFrame, *, mean: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """Whether a score points at the atoms where chemists changed the affinity, by target.

    Parameters
    ----------
    panel : DataFrame
        Columns target, score, auroc, low, high.
    mean : DataFrame, optional
        Columns score, auroc, low, high: over all targets; left out when there is one.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        AUROC with its interval for every score and target; an interval that crosses the line at
        0.5 is no evidence.
    """
    scores = list(dict.fromkeys(panel["score"]))
    targets = list(dict.fromkeys(panel["target"]))
    styles = series_style(targets)
    if len(targets) == 1:
        mean = None
    lines = [*targets, "mean"] if mean is not None else targets
    shifts = dict(zip(lines, _spread(len(lines), 0.7)[::-1], strict=True))
    ax = new_axes(ax, width_in=7.2, height_in=(0.15 * len(lines) + 0.1) * len(scores) + 1.2)
    for row, name in enumerate(reversed(scores)):
        ax.axhspan(row - 0.5, row + 0.5, color="#f6f6f6" if row % 2 else "white", linewidth=0)
        for target in targets:
            color, marker = styles[target]
            for entry in _rows(panel, name, target):
                label = target if row == 0 else None
                _interval(ax, entry, row + shifts[target], color, marker, label)
        if mean is not None:
            for entry in _rows(mean, name):
                label = "mean" if row == 0 else None
                _interval(ax, entry, row + shifts["mean"], "#222222", "d", label)
    ax.axvline(0.5, color="#555555", linestyle="--", linewidth=1)
    ax.annotate(
        "chance",
        (0.5, 1.0),
        (0, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color="#555555",
    )
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.5, len(scores) - 0.5)
    ax.set_yticks(range(len(scores)), [quantity(name)[0] for name in reversed(scores)])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("AUROC for the atoms that chemists varied")
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), title="target")
    return ax


def _rows(frame: pd.DataFrame, score: str, target: str | None = None) -> list[dict[str, float]]:
    here = frame["score"] == score
    if target is not None:
        here &= frame["target"] == target
    return frame.loc[here, ["auroc", "low", "high"]].to_dict("records")


def _interval(
    ax: Axes, entry: dict[str, float], y: float, color: str, marker: str, label: str | None
) -> None:
    ax.plot([entry["low"], entry["high"]], [y, y], color=color, linewidth=1.8, alpha=0.6)
    ax.plot(entry["auroc"], y, marker, color=color, markersize=6, label=label)


def _spread(n: int, width: float) -> np.ndarray:
    return np.linspace(-width / 2, width / 2, n) if n > 1 else np.zeros(n)
