"""Figures of one step of training: its parts, and how close its products come to the peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.plots.colors import INK, PARTS
from labkit.llm_parallel.plots.marks import (
    duration,
    horizontal,
    percent,
    percent_axis,
)
from labkit.viz.colors import is_light
from labkit.viz.style import new_axes

if TYPE_CHECKING:
    from labkit.llm_parallel.cost import StepTime

UNITS = ("percent", "seconds")
WRITTEN = 0.05
"""Share of the axis above which a segment has room for its own."""

EDGE: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.6}


def step_anatomy(
    step_times: StepTime | Sequence[StepTime],
    labels: Sequence[str],
    *,
    unit: str = "percent",
    ax: Axes | None = None,
) -> Axes:
    """Parts of the time of a step, one bar a strategy.

    Parameters
    ----------
    step_times : StepTime or sequence of StepTime
        Of `step_time`; their strategies in order.
    labels : sequence of str
        One a strategy.
    unit : {"percent", "seconds"}
        Length of the bars: all the same, or the time.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Segments are labeled with their share of the step; beside each bar stand the time of the
        step, HFU and MFU. All of it is the model's.
    """
    if unit not in UNITS:
        raise ParameterError(not_allowed("unit", unit, UNITS))
    frame = anatomy_frame(step_times, labels)
    ax = new_axes(ax, width_in=8.4, height_in=1.75 + 0.42 * len(frame))
    seconds = frame[list(PARTS)].to_numpy(dtype=float)
    total = seconds.sum(axis=1)
    scale = 1 / total if unit == "percent" else np.ones(len(total))
    rows, left = np.arange(len(frame)), np.zeros(len(frame))
    longest = float((total * scale).max())
    for (label, color), part in zip(PARTS.values(), seconds.T, strict=True):
        if not (part > 0).any():
            continue
        ax.barh(rows, part * scale, left=left, height=0.66, color=color, label=label, **EDGE)
        for row in np.flatnonzero(part * scale > WRITTEN * longest):
            ax.text(
                left[row] + part[row] * scale[row] / 2,
                row,
                f"{100 * part[row] / total[row]:.0f}",
                ha="center",
                va="center",
                fontsize=9,
                color=INK if is_light(color) else "white",
            )
        left += part * scale
    for row, (end, whole) in enumerate(zip(left, total, strict=True)):
        said = f"{duration(whole)}\nHFU {percent(frame['hfu'].iloc[row])}, "
        _beside(ax, end, row, said + f"MFU {percent(frame['mfu'].iloc[row])}")
    _finish(ax, frame, unit, longest)
    return ax


def anatomy_frame(step_times: StepTime | Sequence[StepTime], labels: Sequence[str]) -> pd.DataFrame:
    """Parts of several steps as a table.

    Parameters
    ----------
    step_times : StepTime or sequence of StepTime
    labels : sequence of str
        One a strategy.

    Returns
    -------
    DataFrame
        One row a strategy, by its label: seconds of each part, hfu and mfu.

    Raises
    ------
    ParameterError
        There are not as many labels as strategies.
    """
    several: list[Any] = list(step_times) if isinstance(step_times, Sequence) else [step_times]
    names = [*PARTS, "hfu", "mfu"]
    columns = {
        name: np.concatenate([np.atleast_1d(getattr(time, name)) for time in several])
        for name in names
    }
    frame = pd.DataFrame(columns)
    if len(frame) != len(labels) or not len(frame):
        raise ParameterError(f"labels has {len(labels)} names for {len(frame)} strategies.")
    frame.index = pd.Index([str(label) for label in labels])
    return frame


def _beside(ax: Axes, end: float, row: int, text: str) -> None:
    ax.annotate(text, (end, row), (6, 0), textcoords="offset points", va="center", fontsize=8.5)


def _finish(ax: Axes, frame: pd.DataFrame, unit: str, longest: float) -> None:
    ax.set_yticks(range(len(frame)), list(frame.index))
    ax.set_ylim(-0.6, len(frame) - 0.4)
    horizontal(ax)
    ax.set_xlim(0, 1.32 * longest)
    if unit == "percent":
        ax.set_xticks(np.linspace(0, 1, 6))
        percent_axis(ax, "x")
        ax.set_xlabel("share of the step, model")
    else:
        ax.set_xlabel("time of a step (s), model; numbers are % of the step")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.01), ncols=3, fontsize=9)
