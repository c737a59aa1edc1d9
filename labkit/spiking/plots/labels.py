"""Texts and marks that several figures share: shares in percent, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes


def percent(share: float, digits: int = 1) -> str:
    """Share as a text.

    Examples
    --------
    >>> percent(0.6286), percent(1 / 3, 0)
    ('62.9 %', '33 %')
    """
    return f"{100 * share:.{digits}f} %"


def percent_axis(ax: Axes, which: str = "y") -> None:
    """Label one axis of shares in percent."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_formatter(lambda share, _: f"{round(100 * share, 6):g} %")


def spread(
    places: Sequence[float] | np.ndarray,
    gap: float,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray:
    """Places moved as little as possible so that neighbors are at least `gap` apart.

    Groups that are too dense are spaced evenly about their mean, so that labels stay as close to
    what they name as their height allows.

    Parameters
    ----------
    places : sequence of float of shape (n,)
    gap : float
    within : tuple of float
        Bounds that hold as far as there is room; the upper one goes first.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> spread([1.0, 1.0, 5.0], gap=2.0).tolist()
    [0.0, 2.0, 5.0]
    >>> spread([1.0, 1.0, 5.0], gap=2.0, within=(1.0, 6.0)).tolist()
    [1.0, 3.0, 5.0]
    """
    order = np.argsort(places, kind="stable")
    blocks: list[list[float]] = []  # sum of the places, and their number
    for place in np.asarray(places, dtype=float)[order]:
        blocks.append([float(place), 1.0])
        while len(blocks) > 1 and _start(blocks[-1], gap) < _end(blocks[-2], gap) + gap:
            total, n = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + n]
    moved = np.empty(len(order))
    filled = 0
    for block in blocks:
        n = int(block[1])
        moved[order[filled : filled + n]] = _start(block, gap) + gap * np.arange(n)
        filled += n
    rank = np.argsort(order, kind="stable")
    low, high = within
    moved = np.maximum(moved, low + gap * rank)
    return np.minimum(moved, high - gap * (len(order) - 1 - rank))


def _start(block: list[float], gap: float) -> float:
    total, n = block
    return total / n - gap * (n - 1) / 2


def _end(block: list[float], gap: float) -> float:
    return _start(block, gap) + gap * (block[1] - 1)


def words_only(ax: Axes, text: str) -> None:
    """Write a sentence where there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")


def bare(ax: Axes) -> None:
    """Take grid, ticks and frame away from a picture of cells."""
    ax.grid(False)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def horizontal(ax: Axes) -> None:
    """Grid for rows of bars or dots: vertical lines only, no ticks at the names."""
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
