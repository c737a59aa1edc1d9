"""Figure of the memory that each stage of a pipeline needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.llm_parallel.plots.colors import COMPONENTS, FAILED, INK
from labkit.llm_parallel.plots.marks import GIB, legend_beside
from labkit.viz.style import new_axes
from labkit.viz.tables import require_columns

MAX_TICKS = 16
SEPARATE = 24
"""Stages above which bars touch, so that their gaps do not flicker."""


def memory_by_stage(
    frame: pd.DataFrame, hbm_bytes: float, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Memory of a device by pipeline stage and component.

    Parameters
    ----------
    frame : DataFrame
        Of `memory_breakdown`: the index is the stage, the columns are bytes of each component and
        their total.
    hbm_bytes : float
        Memory of a device.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Stacked bars in GiB. A stage that reaches above the line does not fit and has a red top.
    """
    names = [name for name in COMPONENTS if name in frame and (frame[name] > 0).any()]
    require_columns("frame", frame, names or ("weights",))
    parts = frame[names].to_numpy(dtype=float) / GIB
    tops, limit = parts.sum(axis=1), hbm_bytes / GIB
    stages = frame.index.to_numpy(dtype=float)
    ax = new_axes(ax, width_in=7.8, height_in=3.7)
    width = 0.8 if len(frame) <= SEPARATE else 1.0
    foot, bars = np.zeros(len(frame)), []
    for name, part in zip(names, parts.T, strict=True):
        label, color = COMPONENTS[name]
        bars.append(ax.bar(stages, part, width=width, bottom=foot, color=color, label=label))
        foot += part
    label = f"memory of a device: {limit:.3g} GiB"
    handles: list[Any] = [ax.axhline(limit, color=INK, linewidth=1.4, linestyle="--", label=label)]
    over = tops > limit
    if over.any():
        left, right = stages[over] - width / 2, stages[over] + width / 2
        handles.append(
            ax.hlines(tops[over], left, right, color=FAILED, linewidth=3, label="does not fit")
        )
    ax.set_ylim(0, 1.05 * max(float(tops.max()), limit))
    _stage_axis(ax, stages)
    ax.set_ylabel("memory of a device (GiB)")
    legend_beside(ax, handles=[*handles, *reversed(bars)])
    ax.set_title(title)
    return ax


def _stage_axis(ax: Axes, stages: np.ndarray) -> None:
    ax.set_xlabel("pipeline stage")
    ax.set_xticks(stages[:: -(-len(stages) // MAX_TICKS)])
    around = max(0.6, 2.0 - len(stages) / 2)
    ax.set_xlim(stages[0] - around, stages[-1] + around)
    ax.tick_params(axis="x", length=0)
