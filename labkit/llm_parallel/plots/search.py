"""Figures of a search: the map of strategies, the Pareto front, trials in order, what matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from labkit.llm_parallel.plots.colors import BEST, FAILED, GRAY, INK, MODEL
from labkit.llm_parallel.plots.marks import (
    GIB,
    amount,
    bare,
    horizontal,
    legend_beside,
    percent,
    percent_axis,
    words_only,
)
from labkit.viz.colors import ColorScale, pale
from labkit.viz.style import OKABE_ITO, PALETTE, new_axes
from labkit.viz.tables import require_columns

if TYPE_CHECKING:
    from labkit.llm_parallel.search import SearchResult
    from labkit.llm_parallel.tune import TuningResult

WIDE_RANGE = 4.0
"""Quotient of the slowest and the fastest above which the axis of time is logarithmic."""
REASON_MARKERS = ("x", "v", "s", "P", "D")


def search_map(
    result: SearchResult | pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Best throughput of each pair of tensor- and pipeline-parallel sizes.

    Parameters
    ----------
    result : SearchResult or DataFrame
        Of `exhaustive`, or its map: one row a cell with the columns tp, pp, tokens_per_second (of
        the best of everything else, nan where nothing works) and reason (why not, e.g. "out of
        memory").
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Cells are labeled with their share of the best throughput, which has a frame. A cross marks
        pairs that break a rule, a red cell with "OOM" those that never fit.
    """
    frame = result if isinstance(result, pd.DataFrame) else result.map
    require_columns("result.map", frame, ("tp", "pp", "tokens_per_second", "reason"))
    table = frame.pivot(index="tp", columns="pp", values="tokens_per_second").sort_index()
    reasons = frame.pivot(index="tp", columns="pp", values="reason").reindex_like(table)
    reasons = reasons.where(table.isna(), "")
    n_rows, n_columns = table.shape
    ax = new_axes(ax, width_in=min(0.62 * n_columns + 3.2, 9.0), height_in=0.5 * n_rows + 1.5)
    speed = table.to_numpy(dtype=float)
    if not np.isfinite(speed).any():
        words_only(ax, "no strategy of this search is legal and fits in memory")
        return ax
    share = speed / np.nanmax(speed)
    scale = ColorScale(0, 1, "sequential")
    ax.imshow(share, cmap=scale.colormap(), vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        _cell(ax, row, column, value, str(reasons.iat[row, column]))
    ax.vlines(np.arange(1, n_columns) - 0.5, -0.5, n_rows - 0.5, color="white", linewidth=1.5)
    ax.hlines(np.arange(1, n_rows) - 0.5, -0.5, n_columns - 0.5, color="white", linewidth=1.5)
    best_row, best_column = np.unravel_index(np.nanargmax(speed), speed.shape)
    best = {"fill": False, "edgecolor": BEST, "linewidth": 3.0, "zorder": 4}
    ax.add_patch(_rectangle(int(best_row), int(best_column), **best))
    ax.set_xticks(range(n_columns), [f"{pp:g}" for pp in table.columns])
    ax.set_yticks(range(n_rows), [f"{tp:g}" for tp in table.index])
    ax.invert_yaxis()
    ax.set_xlabel("pipeline stages (PP)")
    ax.set_ylabel("tensor-parallel devices (TP)")
    bare(ax)
    _map_legend(ax, float(np.nanmax(speed)), reasons)
    ax.set_title(title)
    return ax


def _rectangle(row: int, column: int, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, **style)


def _cell(ax: Axes, row: int, column: int, share: float, reason: str) -> None:
    if np.isfinite(share):
        text, color = f"{100 * share:.0f}", "white" if share > 0.7 else INK
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    elif reason == "out of memory":
        ax.add_patch(_rectangle(row, column, facecolor=pale(FAILED, 0.25)))
        ax.text(column, row, "OOM", ha="center", va="center", fontsize=7.5, color="#8a3a00")
    else:
        ax.plot(column, row, "x", color="#bbbbbb", markersize=5, markeredgewidth=1.0)


def _map_legend(ax: Axes, best: float, reasons: pd.DataFrame) -> None:
    blue = pale(MODEL, 0.6)
    frame = Patch(fill=False, edgecolor=BEST, linewidth=2.5, label=f"best: {amount(best)} tokens/s")
    entries: list[Any] = [Patch(facecolor=blue, label="% of the best"), frame]
    if (reasons == "out of memory").to_numpy().any():
        entries.append(Patch(facecolor=pale(FAILED, 0.25), label="out of memory"))
    if (~reasons.isin(["", "out of memory"])).to_numpy().any():
        cross: dict[str, Any] = {"color": "#999999", "linestyle": "", "marker": "x"}
        entries += ax.plot([], [], **cross, label="breaks a rule")
    legend_beside(ax, handles=entries)


def pareto_front(
    result: SearchResult | pd.DataFrame, *, hbm_bytes: float | None = None,
    title: str = "", ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Strategies than which none is both faster and smaller.

    Parameters
    ----------
    result : SearchResult or DataFrame
        Of `exhaustive`, or its pareto frame: columns seconds, memory_bytes and n_devices.
    hbm_bytes : float, optional
        Memory of a device, drawn as a line.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Time of a step against memory of the fullest device, one step line a number of devices.
    """
    frame = result if isinstance(result, pd.DataFrame) else result.pareto
    require_columns("result.pareto", frame, ("seconds", "memory_bytes"))
    ax = new_axes(ax, width_in=7.0, height_in=4.3)
    named = "label" in frame
    devices = frame["n_devices"] if "n_devices" in frame else pd.Series(0, frame.index)
    for number, (n, rows) in enumerate(frame.groupby(devices)):
        rows = rows.sort_values("memory_bytes")
        memory = rows["memory_bytes"] / GIB
        color = PALETTE[number % len(PALETTE)]
        words = [f"{n:,} devices"] if n else []
        words += [f"fastest: {rows.sort_values('seconds')['label'].iloc[0]}"] if named else []
        label = "\n".join(words) or None
        ax.step(memory, rows["seconds"], where="post", color=color, alpha=0.5)
        ax.plot(memory, rows["seconds"], "o", color=color, markersize=5, label=label)
    if hbm_bytes is not None:
        limit = hbm_bytes / GIB
        ax.axvline(limit, color=INK, linestyle="--", label=f"memory of a device: {limit:.3g} GiB")
    ax.set_xlim(left=0)
    if frame["seconds"].max() > WIDE_RANGE * frame["seconds"].min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(bottom=0)
    ax.grid(axis="both")
    ax.set_xlabel("memory of the fullest device (GiB), model")
    ax.set_ylabel("time of a step (s), model")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), ncols=2)
    ax.set_title(title)
    return ax


def tuning_trace(
    result: TuningResult | pd.DataFrame, *, optimum: float | None = None,
    title: str = "", ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Every trial of a tuning in order, failures included.

    Parameters
    ----------
    result : TuningResult or DataFrame
        Of `tune`, or its trials: columns number, throughput (tokens a second, nan where the trial
        failed), reason ("" or why it failed) and best_so_far.
    optimum : float, optional
        Best throughput that there is, where it is known.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Dots are trials that trained, red marks at the foot those that failed, a shape a reason;
        the line is the best so far.
    """
    trials = result if isinstance(result, pd.DataFrame) else result.trials
    require_columns("result.trials", trials, ("number", "throughput", "best_so_far"))
    ax = new_axes(ax, width_in=7.8, height_in=3.8)
    speed = trials["throughput"].to_numpy(dtype=float)
    worked = np.isfinite(speed) & (speed > 0)
    number = trials["number"].to_numpy(dtype=float)
    label = f"trained ({worked.sum()})"
    ax.plot(number[worked], speed[worked], "o", color=MODEL, alpha=0.7, label=label)
    best = trials["best_so_far"].to_numpy(dtype=float)
    best = np.where(best > 0, best, np.nan)
    if np.isfinite(best).any():
        words = f"best so far: {amount(float(np.nanmax(best)))} tokens/s"
        ax.step(number, best, where="post", color=INK, linewidth=2, label=words)
    if optimum is not None:
        ax.axhline(optimum, color=GRAY, linestyle="--", linewidth=1.2, label="best there is")
    _failed_trials(ax, trials[~worked])
    ax.margins(y=0.08)
    ax.set_ylim(bottom=0, top=1.08 * ax.get_ylim()[1])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: amount(value))
    ax.set_xlabel("trial")
    ax.set_ylabel("throughput (tokens/s)")
    legend_beside(ax)
    ax.set_title(title)
    return ax


def _failed_trials(ax: Axes, failed: pd.DataFrame) -> None:
    if not len(failed):
        return
    reasons = failed["reason"] if "reason" in failed else pd.Series("failed", failed.index)
    foot = ax.get_xaxis_transform()
    groups = sorted(failed.groupby(reasons.replace("", "failed")), key=lambda item: -len(item[1]))
    for place, (reason, rows) in enumerate(groups):
        ax.plot(
            rows["number"],
            np.full(len(rows), 0.03),
            REASON_MARKERS[place % len(REASON_MARKERS)],
            color=FAILED,
            markersize=5,
            transform=foot,
            label=f"failed: {reason} ({len(rows)})",
            clip_on=False,
        )


def sensitivity_bars(frame: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """How much of the spread of the result each choice explains.

    Parameters
    ----------
    frame : DataFrame
        Of `sensitivity`: columns choice, shapley, sobol_first and sobol_total, shares of the
        variance.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Bars are Shapley effects, which add up to 100 %. A line from the first-order to the total
        Sobol index shows how much a choice acts together with others; where strategies that cannot
        run are left out, choices depend on each other, and it may point backwards.
    """
    require_columns("frame", frame, ("choice", "shapley", "sobol_first", "sobol_total"))
    shown = frame.dropna(subset="shapley").sort_values("shapley", ascending=False, kind="stable")
    if not len(shown):
        ax = new_axes(ax, width_in=5.6, height_in=1.2)
        words_only(ax, "the throughput does not vary, so that no choice explains it")
        return ax
    ax = new_axes(ax, width_in=7.4, height_in=0.36 * len(shown) + 1.4)
    rows = np.arange(len(shown))
    ax.barh(rows, shown["shapley"], height=0.62, color=pale(MODEL, 0.6), label="Shapley effect")
    ax.hlines(rows, shown["sobol_first"], shown["sobol_total"], color=INK, linewidth=1.5)
    ax.plot(shown["sobol_first"], rows, "o", color=INK, label="Sobol index, first order")
    orange = OKABE_ITO["orange"]
    ax.plot(shown["sobol_total"], rows, "D", color=orange, label="Sobol index, total")
    names = [
        f"{str(name).replace('_', ' ')}  {percent(share, 0)}"
        for name, share in zip(shown["choice"], shown["shapley"], strict=True)
    ]
    ax.set_yticks(rows, names)
    horizontal(ax)
    ax.set_xlim(left=min(0.0, float(shown["sobol_total"].min())))
    percent_axis(ax, "x")
    ax.set_xlabel("share of the variance explained")
    legend_beside(ax)
    ax.set_title(title)
    return ax
