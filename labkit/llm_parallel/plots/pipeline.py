"""A pipeline's step as a Gantt chart: who computes what, and who waits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from labkit.llm_parallel.plots.colors import GRAY, INK, PARTS
from labkit.llm_parallel.plots.marks import percent
from labkit.viz.colors import is_light, pale
from labkit.viz.style import OKABE_ITO, axis_label, new_axes

if TYPE_CHECKING:
    from labkit.llm_parallel.schedule import Timeline

KINDS = {
    "F": ("forward", PARTS["forward"][1]),
    "B": ("backward", OKABE_ITO["orange"]),
    "I": ("input gradients", OKABE_ITO["orange"]),
    "W": ("weight gradients", OKABE_ITO["green"]),
}
"""Kind of an action to its name for a reader and its color; later model chunks are paler."""
NAMES = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved_1f1b": "Interleaved 1F1B",
    "looped_bfs": "Looped breadth-first",
    "zb_h1": "Zero bubble H1",
    "zbv": "Zero bubble V",
}
MAX_NUMBERS = 800
"""Bars above which no micro-batch numbers are drawn."""
_HEIGHT = 0.82
_FONT_PT = 7.5


def gantt(timeline: Timeline, *, ax: Axes | None = None) -> Axes:
    """Draw a simulated step, one row a rank.

    Parameters
    ----------
    timeline : Timeline
        Of `labkit.llm_parallel.schedule.simulate`.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Bars are passes of micro-batches, with their numbers where they fit; gray is waiting. At
        the right stands how many micro-batches' activations each rank holds at most.
    """
    p = timeline.schedule.p
    ax = new_axes(ax, width_in=9.0, height_in=min(1.5 + 0.32 * p, 8.0))
    scale, unit = (1.0, "s") if timeline.makespan >= 1 else (1e3, "ms")
    span = timeline.makespan * scale or 1.0
    ranks = np.arange(p)
    ax.add_collection(_bars(ranks, np.zeros(p), np.full(p, span), [PARTS["bubble"][1]]))
    frame = timeline.frame
    colors = _colors(frame, timeline.schedule.v)
    bars = _bars(frame["rank"], frame["start"] * scale, frame["end"] * scale, colors)
    ax.add_collection(bars)
    ax.set_xlim(0, span)
    ax.set_ylim(p - 0.5, -0.5)
    _draw_numbers(ax, frame, colors, scale)
    _label_axes(ax, timeline, unit)
    return ax


def _bars(rank: object, start: object, end: object, colors: list[str]) -> PolyCollection:
    middle, left, right = (np.asarray(values, float) for values in (rank, start, end))
    top, foot = middle - _HEIGHT / 2, middle + _HEIGHT / 2
    x = np.stack([left, left, right, right], 1)
    y = np.stack([top, foot, foot, top], 1)
    line = 0.5 if len(middle) <= MAX_NUMBERS else 0.0
    corners = list(np.stack([x, y], 2))
    return PolyCollection(corners, facecolors=colors, edgecolors="w", linewidths=line)


def _colors(frame: pd.DataFrame, v: int) -> list[str]:
    """Return one color an action."""
    table = {
        (kind, chunk): _paler(color, chunk, v)
        for kind, (_, color) in KINDS.items()
        for chunk in range(v)
    }
    return [table[key] for key in zip(frame["kind"], frame["chunk"], strict=True)]


def _paler(color: str, chunk: int, v: int) -> str:
    return pale(color, 1.0 - 0.6 * chunk / max(v, 2))


def _draw_numbers(ax: Axes, frame: pd.DataFrame, colors: list[str], scale: float) -> None:
    if len(frame) > MAX_NUMBERS:
        return
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    row_pt = box.height * points / abs(np.diff(ax.get_ylim())[0])
    if row_pt < _FONT_PT * 1.2:
        return
    pt_per_unit = box.width * points / np.diff(ax.get_xlim())[0]
    columns = ("rank", "microbatch", "start", "end")
    for row, color in zip(frame[list(columns)].itertuples(index=False), colors, strict=True):
        text = str(row.microbatch)
        width_pt = (row.end - row.start) * scale * pt_per_unit
        if width_pt > 0.62 * _FONT_PT * len(text) + 1.5:
            ax.text(
                (row.start + row.end) / 2 * scale,
                row.rank,
                text,
                ha="center",
                va="center_baseline",
                fontsize=_FONT_PT,
                color=INK if is_light(color) else "w",
            )


def _label_axes(ax: Axes, timeline: Timeline, unit: str) -> None:
    schedule = timeline.schedule
    ax.grid(visible=False)
    ax.set_xlabel(axis_label("time", unit))
    ax.set_ylabel("rank")
    every = math.ceil(schedule.p / 16)
    ax.set_yticks(range(0, schedule.p, every))
    ax.xaxis.set_major_locator(MaxNLocator(8))
    side = ax.get_yaxis_transform()
    for rank in range(0, schedule.p, every):
        held = str(timeline.peak_in_flight[rank])
        ax.text(1.012, rank, held, transform=side, va="center", fontsize=8.5, color=INK)
    ax.text(1.012, schedule.p - 0.4, "held", transform=side, va="top", fontsize=8.5, color=GRAY)
    ax.set_title(_title(timeline), loc="left")
    below = ax.transAxes + ScaledTranslation(0, -0.48, ax.figure.dpi_scale_trans)
    ax.legend(
        handles=_patches(timeline),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=below,
        ncols=5,
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.4,
    )


def _title(timeline: Timeline) -> str:
    schedule = timeline.schedule
    chunks = f", v = {schedule.v}" if schedule.v > 1 else ""
    name = f"{NAMES.get(schedule.kind, schedule.kind)}, p = {schedule.p}, m = {schedule.m}{chunks}"
    simulated = f"bubble {percent(timeline.bubble_fraction)} simulated"
    known = not math.isnan(timeline.formula)
    return f"{name}: {simulated}" + (f", {percent(timeline.formula)} by formula" if known else "")


def _patches(timeline: Timeline) -> list[Patch]:
    present, v = set(timeline.frame["kind"]), timeline.schedule.v
    patches = [Patch(color=c, label=name) for k, (name, c) in KINDS.items() if k in present]
    patches.append(Patch(color=PARTS["bubble"][1], label="bubble"))
    if v > 1:
        patches.append(Patch(color=_paler(KINDS["F"][1], v - 1, v), label="paler: later chunk"))
    return patches
