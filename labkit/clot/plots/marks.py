"""Texts, axes and legends that several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.errors import ParameterError
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


def legend_above(ax: Axes, **options: Any) -> None:
    """Legend in one line above the axes, where it covers nothing."""
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, **options)


def legend_beside(ax: Axes, **options: Any) -> None:
    """Legend to the right of the axes, where it covers nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), **options)


def whiskers(frame: pd.DataFrame, column: str) -> list[Any] | None:
    """Distances from a column to its ``_low`` and ``_high``, as matplotlib wants them."""
    if f"{column}_low" not in frame or f"{column}_high" not in frame:
        return None
    middle = frame[column].to_numpy(dtype=float)
    low = middle - frame[f"{column}_low"].to_numpy(dtype=float)
    high = frame[f"{column}_high"].to_numpy(dtype=float) - middle
    return [low.clip(min=0), high.clip(min=0)]


def require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Refuse a table without rows, or without a column that a figure needs.

    Raises
    ------
    ParameterError
        Naming the table, what it has and what it lacks.
    """
    missing = [column for column in needed if column not in frame]
    if missing or not len(frame):
        raise ParameterError(
            f"{name} has {len(frame)} rows and the columns {', '.join(map(str, frame.columns))}; "
            f"it needs at least one row and {', '.join(needed)}."
        )
