"""Texts, axes and legends that several figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

from labkit.viz.style import MPLSTYLE


def panels(
    n_rows: int, n_columns: int, *, width_in: float, height_in: float, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure of several axes in the labkit style."""
    with plt.style.context(MPLSTYLE):
        figure, axes = plt.subplots(n_rows, n_columns, figsize=(width_in, height_in), **options)
        interactive = plt.isinteractive()
    plt.interactive(interactive)  # see labkit.viz.style.use_style
    return figure, axes


def duration(seconds: float) -> str:
    """Time in the unit that suits it.

    Examples
    --------
    >>> duration(13.754), duration(0.0421), duration(2.5e-5), duration(4e-9)
    ('13.8 s', '42.1 ms', '25 µs', '4 ns')
    """
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def amount(value: float) -> str:
    """Large number with a prefix.

    Examples
    --------
    >>> amount(12_345), amount(102e6), amount(871)
    ('12.3 k', '102 M', '871')
    """
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g}"


def horizontal(ax: Axes) -> None:
    """Grid for rows of bars: vertical lines only, no ticks at the names, the first row on top."""
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()


def legend_below(ax: Axes, **options: Any) -> None:
    """Legend below the axes, across the whole of a figure that is theirs alone."""
    figure: Any = ax.get_figure(root=True)
    handles = options.pop("handles", None) or ax.get_legend_handles_labels()[0]
    alone = len(figure.axes) == 1 and figure.get_layout_engine() is not None
    if alone:
        figure.legend(handles=handles, loc="outside lower center", **options)
    else:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, -0.2), **options)


def legend_beside(ax: Axes, **options: Any) -> None:
    """Legend to the right of the axes, where it covers nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), **options)


def name_points(
    ax: Axes, x: ArrayLike, y: ArrayLike, names: Sequence[str], *, fontsize: float = 8.5
) -> None:
    """Write names beside points so that they cover neither one another nor a point.

    Parameters
    ----------
    ax : Axes
        With its final limits.
    x, y : array of shape (n,)
    names : sequence of str of shape (n,)
    fontsize : float
    """
    figure: Any = ax.get_figure(root=True)
    figure.canvas.draw()
    places = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    pixels = ax.transData.transform(places)
    taken = [Bbox.from_bounds(px - 7, py - 7, 14, 14) for px, py in pixels]
    inside = ax.get_window_extent()
    for own, (name, at) in enumerate(zip(names, places, strict=True)):
        others = [*taken[:own], *taken[own + 1 :]]
        tried = [_beside(ax, name, at, shift, fontsize) for shift in _SHIFTS]
        costs = [_crossings(text.get_window_extent(), others, inside) for text in tried]
        best = int(np.argmin(costs))
        taken.append(tried[best].get_window_extent())
        for text in (*tried[:best], *tried[best + 1 :]):
            text.remove()


_SHIFTS = (
    (12, 0),
    (-12, 0),
    (0, 9),
    (0, -9),
    (8, 9),
    (-8, 9),
    (8, -9),
    (-8, -9),
    (14, 20),
    (14, -20),
)
"""Offsets in points that are tried in turn."""


def _beside(
    ax: Axes, name: str, at: NDArray[np.float64], shift: tuple[int, int], fontsize: float
) -> Annotation:
    dx, dy = shift
    far = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6} if abs(dy) > 10 else None
    return ax.annotate(
        name,
        (float(at[0]), float(at[1])),
        shift,
        textcoords="offset points",
        fontsize=fontsize,
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        arrowprops=far,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        zorder=5,
    )


def _crossings(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    shared = [Bbox.intersection(box, other) for other in taken]
    area = sum(part.width * part.height for part in shared if part is not None)
    return area + (0.0 if inside.x0 <= box.x0 and box.x1 <= inside.x1 else 1e4)


def step_axis(ax: Axes, steps: Iterable[float]) -> None:
    """Vertical axis for steps of plans: logarithmic, with these ticks and room above and below."""
    values = sorted(set(steps))
    ax.set_yscale("log")
    ax.set_yticks(_spread_ticks(values))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(values[0] / 1.25, values[-1] * 1.25)
    ax.grid(axis="y")


def _spread_ticks(values: Iterable[float]) -> list[float]:
    """Values with room for their labels on a logarithmic axis, from the largest down.

    Examples
    --------
    >>> _spread_ticks([0.02, 0.005, 0.0025, 0.0024])
    [0.02, 0.005, 0.0025]
    """
    kept: list[float] = []
    for value in sorted(values, reverse=True):
        if not kept or kept[-1] / value > 1.3:
            kept.append(value)
    return kept


def whiskers(frame: pd.DataFrame, column: str) -> NDArray[np.float64] | None:
    """Distances from a column to its ``_low`` and ``_high``, as matplotlib wants them."""
    if f"{column}_low" not in frame or f"{column}_high" not in frame:
        return None
    middle = frame[column].to_numpy(dtype=float)
    low = middle - frame[f"{column}_low"].to_numpy(dtype=float)
    high = frame[f"{column}_high"].to_numpy(dtype=float) - middle
    return np.array([low.clip(min=0), high.clip(min=0)])
