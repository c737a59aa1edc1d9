"""Texts, axes and legends that several figures share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

GIB = 1024.0**3


def percent(share: float, digits: int = 1) -> str:
    """Share as a text.

    Examples
    --------
    >>> percent(0.3614), percent(0.9, 0)
    ('36.1 %', '90 %')
    """
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Time in the unit that suits it.

    Examples
    --------
    >>> duration(13.754), duration(0.0421), duration(2.5e-5), duration(140.2), duration(1.0)
    ('13.8 s', '42.1 ms', '25 µs', '140 s', '1 s')
    """
    factor, unit = (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    value = seconds * factor
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def amount(value: float) -> str:
    """Large number with a prefix.

    Examples
    --------
    >>> amount(12_345), amount(3.2e6), amount(871), amount(0.41)
    ('12.3 k', '3.2 M', '871', '0.41')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g}"


def percent_axis(ax: Axes, which: str = "y") -> None:
    """Label one axis of shares in percent."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_formatter(lambda share, _: f"{round(100 * share, 6):g} %")


def whole_log_axis(ax: Axes, values: Iterable[float]) -> None:
    """Logarithmic axis of counts, with these ticks and no others; crowded ones are left out."""
    ticks = sorted(set(values))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(_uncrowded(ticks)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())


def _uncrowded(ticks: list[float]) -> list[float]:
    """Ticks with room for their labels on a logarithmic axis: the ends, then powers of two.

    Examples
    --------
    >>> _uncrowded([128, 256, 512, 1024, 2048, 3072])
    [128, 256, 512, 1024, 3072]
    >>> _uncrowded([4, 6, 8, 12, 16, 24, 32, 48])
    [4, 8, 16, 32, 48]
    """
    ends = [ticks[0], ticks[-1]]
    gap = np.log2(max(ticks[-1] / ticks[0], 2.0)) / 7.6
    kept = ends[: len(set(ends))]
    for tick in sorted(ticks[1:-1], key=lambda tick: (np.log2(tick) % 1 != 0, tick)):
        if min(abs(np.log2(tick / other)) for other in kept) >= gap:
            kept.append(tick)
    return sorted(kept)


def legend_beside(ax: Axes, **options: Any) -> None:
    """Legend to the right of the axes, where it covers nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), **options)


def horizontal(ax: Axes) -> None:
    """Grid for rows of bars: vertical lines only, no ticks at the names, the first row on top."""
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()


def bare(ax: Axes) -> None:
    """Take grid, ticks and frame away from a picture of cells."""
    ax.grid(False)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def words_only(ax: Axes, text: str) -> None:
    """Write a sentence where there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
