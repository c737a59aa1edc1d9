"""Figures of real runs: losses against one process, collectives against latency and bandwidth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from labkit.distributed.links import AlphaBeta
from labkit.errors import ParameterError
from labkit.llm_parallel.plots.colors import GRAY, INK
from labkit.llm_parallel.plots.marks import duration, legend_beside
from labkit.viz.style import MPLSTYLE, PALETTE, new_axes
from labkit.viz.tables import require_columns

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EXACT = 1e-18
"""Where a difference of zero is drawn on a logarithmic axis."""


def loss_overlay(
    single: Sequence[float],
    parallel: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    bound: float | None = 1e-10,
    title: str = "",
) -> Figure:
    """Loss of a parallel run over that of one process, and their difference.

    Parameters
    ----------
    single : sequence of float
        Loss of each step of the single process.
    parallel : sequence of float, or mapping of str to sequence of float
        Of the parallel run; several by name.
    bound : float, optional
        Difference below which they count as equal, drawn as a line.
    title : str, optional

    Returns
    -------
    Figure
        Left the losses, right the absolute differences on a logarithmic axis, with exactly equal
        ones at its foot.
    """
    several = dict(parallel) if isinstance(parallel, Mapping) else {"parallel": parallel}
    reference = np.asarray(single, dtype=float)
    for name, losses in several.items():
        if len(losses) != len(reference) or not len(reference):
            raise ParameterError(
                f"parallel: {name!r} has {len(losses)} losses, single has {len(reference)}; "
                "give runs of the same steps."
            )
    figure, (left, right) = _two_axes()
    steps = np.arange(len(reference))
    left.plot(steps, reference, color=GRAY, linewidth=4, label="one process")
    for number, (name, losses) in enumerate(several.items()):
        style: dict[str, Any] = {
            "color": PALETTE[number % len(PALETTE)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": "",
            "markerfacecolor": "none",
            "markeredgewidth": 1.5,
            "markersize": 5 + 2.5 * number,
        }
        left.plot(steps, losses, **style, label=name)
        apart = np.abs(np.asarray(losses, dtype=float) - reference)
        right.plot(steps, np.maximum(apart, EXACT), **style)
    left.set_ylabel("loss, measured here")
    _difference_axis(right, bound)
    for ax in (left, right):
        ax.set_xlabel("optimizer step")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.margins(x=0.06)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    left.set_title(title)
    return figure


def _two_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    import matplotlib.pyplot as plt

    with plt.style.context(MPLSTYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.7))
        interactive = plt.isinteractive()
    plt.interactive(interactive)  # see labkit.viz.style.use_style
    return figure, axes


def _difference_axis(ax: Axes, bound: float | None) -> None:
    ax.set_yscale("log")
    high = max(10 * ax.get_ylim()[1], 10 * bound if bound else 0, 1e-14)
    ax.set_ylim(0.2 * EXACT, high)
    powers = range(-16, int(np.floor(np.log10(high))) + 1, 2)
    ax.set_yticks([EXACT, *(10.0**k for k in powers)], ["0", *(f"$10^{{{k}}}$" for k in powers)])
    ax.yaxis.set_minor_locator(NullLocator())
    if bound is not None:
        ax.axhline(bound, color=INK, linestyle="--", linewidth=1.2)
        ax.annotate(
            f"equal below {bound:g}",
            (1, bound),
            (-2, -4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=9,
        )
    ax.set_ylabel("|difference| of the losses")


def collectives_figure(
    measured: pd.DataFrame,
    fits: AlphaBeta | Sequence[AlphaBeta],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Times of collectives, with the latency and bandwidth that were fitted to them.

    Parameters
    ----------
    measured : DataFrame
        Columns bytes and seconds; kind and size where there are several groups.
    fits : AlphaBeta or sequence of AlphaBeta
        Of `fit_alpha_beta`, one a group.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Time against size on logarithmic axes: points are measured, lines are fitted. A line is
        flat where latency rules and rises where bandwidth does.
    """
    require_columns("measured", measured, ("bytes", "seconds"))
    ax = new_axes(ax, width_in=7.8, height_in=4.0)
    handles = []
    for number, fit in enumerate([fits] if isinstance(fits, AlphaBeta) else list(fits)):
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        rows = _rows_of(measured, fit)
        ax.plot(rows["bytes"], rows["seconds"], marker, color=color, alpha=0.6, markersize=4.5)
        sizes = np.geomspace(rows["bytes"].min(), rows["bytes"].max(), 100)
        ax.plot(sizes, fit.seconds(sizes), color=color)
        label = f"{fit.kind.replace('_', '-')}, {fit.size} ranks\n{_fit_words(fit)}"
        handles.append(Line2D([], [], color=color, marker=marker, label=label))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(LogLocator(base=16))
    ax.set_yscale("log")
    ax.grid(axis="both")
    ax.xaxis.set_major_formatter(lambda value, _: _bytes(value))
    ax.yaxis.set_major_formatter(lambda value, _: duration(value))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("size of the message")
    ax.set_ylabel("time of a collective")
    legend_beside(ax, handles=handles, title="points measured, lines fitted", alignment="left")
    ax.set_title(title)
    return ax


def _rows_of(measured: pd.DataFrame, fit: AlphaBeta) -> pd.DataFrame:
    rows = measured
    for column, value in (("kind", fit.kind), ("size", fit.size)):
        if column in rows:
            rows = rows[rows[column] == value]
    if not len(rows):
        raise ParameterError(f"measured has no rows of {fit.kind} of {fit.size} ranks.")
    return rows


def _fit_words(fit: AlphaBeta) -> str:
    return f"{duration(fit.latency_s)}, {fit.bandwidth / 1e9:.3g} GB/s"


def _bytes(value: float) -> str:
    """Size of a message in binary units.

    Examples
    --------
    >>> _bytes(1024), _bytes(3 * 2**20), _bytes(512)
    ('1 KiB', '3 MiB', '512 B')
    """
    power = max((p for p in range(4) if value >= 1024**p), default=0)
    return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
