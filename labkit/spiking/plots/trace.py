"""Figures of one query: who spiked when, what the plastic synapses learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from labkit.spiking.plots.colors import (
    GRAY,
    INK,
    POPULATION_COLORS,
    POPULATION_NAMES,
    pale,
    topic_names,
    topic_styles,
)
from labkit.spiking.plots.graph import wave
from labkit.spiking.plots.labels import spread
from labkit.spiking.plots.layout import MAX_PAPERS, Neighborhood
from labkit.viz.style import MPLSTYLE, new_axes

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph
    from labkit.spiking.readout import QueryTrace

FEW = 24
"""A population of at most so many neurons shows a row for each, also for the silent ones;
topics are named then."""
FEWEST = 3
"""A band is as high as so many rows at least."""
NAMED = 3
"""Of topics that share a line, so many are named."""
LINE_IN = 0.155
"""Height of a line of small text in inches."""
ORDER = ("other", "train", "feature", "topic")
"""Populations from top to bottom: the way that spikes take."""


class _Band(NamedTuple):
    """Rows of one population: the neurons shown and the heights between which they stand."""

    name: str
    rows: np.ndarray
    top: float
    bottom: float


def raster(
    trace: QueryTrace, *, graph: CitationGraph | None = None, ax: Axes | None = None
) -> Axes:
    """Spikes of one query, a row a neuron and a column a step.

    Parameters
    ----------
    trace : QueryTrace
        Of `SGNN.trace`.
    graph : CitationGraph, optional
        Gives the topics their names, and labeled papers the color of their topic.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        A band a population, neurons in the order of their first spike; of large populations only
        those that spiked. In the gray guard step (0) the network is reset and nothing can spike.
    """
    ax = new_axes(ax, width_in=6.6, height_in=4.4)
    bands = list(_bands(trace))
    for band in bands:
        color = POPULATION_COLORS.get(band.name, GRAY)
        ax.axhspan(band.bottom, band.top, color=pale(color), linewidth=0, zorder=0)
        _draw_spikes(ax, trace.spikes[band.name], band, _row_colors(trace, graph, band))
    if not _spikes_at(trace, 0):
        ax.axvspan(-0.5, 0.5, color="#bdbdbd", alpha=0.45, linewidth=0, zorder=1)
        middle = (bands[0].top + bands[0].bottom) / 2
        if trace.window <= FEW:
            ax.text(0, middle, "guard", ha="center", va="center", rotation=90, fontsize=8.5)
    _band_labels(ax, trace, graph, bands)
    ax.set_xlim(-0.5, trace.window - 0.5)
    ax.set_ylim(bands[-1].bottom, bands[0].top)
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.grid(False)
    total = sum(int(spikes.sum()) for spikes in trace.spikes.values())
    ax.set_title(f"Paper {trace.query}: {total:,} {'spike' if total == 1 else 'spikes'}")
    return ax


def _bands(trace: QueryTrace) -> Iterator[_Band]:
    """Bands from top to bottom; heights grow with the square root of the rows."""
    names = [name for name in ORDER if name in trace.spikes]
    names += [name for name in trace.spikes if name not in ORDER]
    top = 0.0
    for name in names:
        spikes = np.asarray(trace.spikes[name])
        spiked = np.asarray(spikes.any(axis=0))
        shown = np.flatnonzero(spiked) if spikes.shape[1] > FEW else np.arange(spikes.shape[1])
        first = np.where(spiked[shown], spikes[:, shown].argmax(axis=0), len(spikes))
        few = spikes.shape[1] <= FEW
        rows = shown if few else shown[np.argsort(first, kind="stable")]
        named = few and name == "topic"
        height = max(len(rows), FEWEST) if named else 2.5 + 0.28 * min(len(rows), 1000) ** 0.5
        yield _Band(name, rows, top, top - height)
        top -= height + 0.35


def _draw_spikes(ax: Axes, spikes: np.ndarray, band: _Band, colors: list[str]) -> None:
    """Every spike as a block one row high; thin rows of one color are drawn together."""
    step, row = np.nonzero(np.asarray(spikes)[:, band.rows])
    if not len(step):
        return
    height = (band.top - band.bottom) / max(len(band.rows), FEWEST)
    fills = np.array(colors)[row]
    apart = height > 0.2
    new = np.r_[
        True, (np.diff(step) != 0) | (np.diff(row) != 1) | (fills[1:] != fills[:-1]) | apart
    ]
    first = np.flatnonzero(new)
    last = np.r_[first[1:], len(row)] - 1
    slim = 0.15 * height if apart else 0.0
    top, bottom = band.top - row[first] * height - slim, band.top - (row[last] + 1) * height + slim
    left, right = step[first] - 0.4, step[first] + 0.4
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    blocks = np.stack([np.column_stack(corner) for corner in corners], axis=1)
    shades = fills[first].tolist()
    ax.add_collection(
        PolyCollection(list(blocks), facecolors=shades, edgecolors=shades, lw=0.7, zorder=2),
        autolim=False,
    )


def _row_colors(trace: QueryTrace, graph: CitationGraph | None, band: _Band) -> list[str]:
    if band.name == "topic":
        styles = topic_styles(np.asarray(trace.spikes["topic"]).shape[1])
        return [styles[k][0] for k in band.rows.tolist()]
    if band.name == "train" and graph is not None:
        styles = topic_styles(graph.n_topics)
        return [styles[k][0] for k in graph.labels[np.sort(graph.train)[band.rows]].tolist()]
    return [POPULATION_COLORS.get(band.name, GRAY)] * len(band.rows)


def _spikes_at(trace: QueryTrace, step: int) -> bool:
    return any(bool(np.asarray(spikes)[step].any()) for spikes in trace.spikes.values())


def _band_labels(
    ax: Axes, trace: QueryTrace, graph: CitationGraph | None, bands: list[_Band]
) -> None:
    """Names at the left: of a population with its count, of a few neurons each one."""
    places: list[float] = []
    texts: list[str] = []
    for band in bands:
        n = np.asarray(trace.spikes[band.name]).shape[1]
        if band.name == "topic" and n <= FEW:
            height = (band.top - band.bottom) / max(n, FEWEST)
            places += [band.top - (row + 0.5) * height for row in range(n)]
            texts += topic_names(graph.topics if graph else (), n)
            continue
        spiked = int(np.asarray(trace.spikes[band.name]).any(axis=0).sum())
        places.append((band.top + band.bottom) / 2)
        texts.append(f"{POPULATION_NAMES.get(band.name, band.name)}\n{spiked:,} of {n:,} spiked")
    ax.set_yticks(places, texts, fontsize=8.5)
    ax.tick_params(axis="y", length=0)


def weight_traces(
    trace: QueryTrace, *, graph: CitationGraph | None = None, ax: Axes | None = None
) -> Axes:
    """Learned weights from the query to the topics over the steps of its window.

    Parameters
    ----------
    trace : QueryTrace
        Of `SGNN.trace`.
    graph : CitationGraph, optional
        Gives the topics their names, and the title the true one.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Topics whose weights are the same at every step share a line in which their colors take
        turns. The largest weight at the end wins; winners are drawn thick, and the title says
        how many tie.
    """
    weights = np.asarray(trace.weights)
    n_topics = weights.shape[1]
    names = topic_names(graph.topics if graph else (), n_topics)
    ax = new_axes(ax, width_in=6.6, height_in=3.6)
    winners = np.flatnonzero(weights[-1] == weights[-1].max()).tolist()
    groups = _same_columns(weights)
    for topics in groups:
        _draw_shared_line(ax, weights[:, topics[0]], topics, n_topics, topics[0] in winners)
    low, high = float(weights.min()), float(weights.max())
    room = 0.08 * (high - low) or max(abs(high), 1.0)
    ax.set_ylim(low - room, high + room)
    _name_lines(ax, weights[-1], groups, names, winners)
    ax.set_xlim(-0.5, len(weights) - 0.5)
    ax.set_xlabel("step")
    whole = np.issubdtype(weights.dtype, np.integer)
    ax.set_ylabel("weight from the query (integer)" if whole else "weight from the query")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
    ax.set_title(_verdict(trace, graph, winners, names))
    return ax


def _same_columns(weights: np.ndarray) -> list[list[int]]:
    """Topics grouped by equal weights at every step, in order of their first."""
    groups: dict[bytes, list[int]] = {}
    for k in range(weights.shape[1]):
        groups.setdefault(np.ascontiguousarray(weights[:, k]).tobytes(), []).append(k)
    return list(groups.values())


def _draw_shared_line(
    ax: Axes, values: np.ndarray, topics: list[int], n_topics: int, wins: bool
) -> None:
    """One line in turns of the topics' colors."""
    styles = topic_styles(n_topics)
    width = 3.0 if wins else 1.5
    dash, period = 4.0, 4.0 * len(topics)
    for turn, k in enumerate(topics):
        color, line = styles[k]
        pattern = line if len(topics) == 1 else (-turn * dash, (dash, period - dash))
        ax.step(
            np.arange(len(values)),
            values,
            where="mid",
            color=color,
            linestyle=pattern,
            linewidth=width,
            zorder=3 if wins else 2,
        )


def _name_lines(
    ax: Axes, last: np.ndarray, groups: list[list[int]], names: list[str], winners: list[int]
) -> None:
    """Names at the right end of the lines, moved apart where they would overlap."""
    texts = [_listed([names[k] for k in topics]) for topics in groups]
    ends = [float(last[topics[0]]) for topics in groups]
    heights = [text.count("\n") + 1 for text in texts]
    figure = ax.get_figure(root=True)
    assert figure is not None
    low, high = ax.get_ylim()
    line = LINE_IN * (high - low) / max(ax.get_position().height * figure.get_figheight(), 0.5)
    moved = spread(np.repeat(ends, heights), line, within=(low + line / 2, high - line / 2))
    places = np.split(moved, np.cumsum(heights)[:-1])
    for topics, text, place in zip(groups, texts, places, strict=True):
        wins = topics[0] in winners
        ax.text(
            1.015,
            float(place.mean()),
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            linespacing=1.1,
            color=topic_styles(len(last))[topics[0]][0] if len(topics) == 1 else INK,
            fontweight="bold" if wins else "normal",
        )


def _listed(names: list[str]) -> str:
    """Names a line each; of many the first few and how many more."""
    if len(names) <= NAMED + 1:
        return "\n".join(names)
    return "\n".join([*names[:NAMED], f"and {len(names) - NAMED} more"])


def _verdict(
    trace: QueryTrace, graph: CitationGraph | None, winners: list[int], names: list[str]
) -> str:
    """Who wins, and whether that is right where the label is known."""
    n_topics = len(names)
    if len(winners) == n_topics > 1:
        said = f"all {n_topics} topics tie"
    elif len(winners) > 1:
        said = f"{len(winners)} of {n_topics} topics tie"
    else:
        said = f"{names[winners[0]]} wins"
    label = -1 if graph is None else int(graph.labels[trace.query])
    if label < 0:
        return f"Paper {trace.query}: {said}"
    if len(winners) == 1 and label in winners:
        return f"Paper {trace.query}: {said} and is right"
    return f"Paper {trace.query}: {said}; {names[label]} is right"


def query_figure(
    graph: CitationGraph,
    trace: QueryTrace,
    *,
    hops: int = 2,
    max_papers: int = MAX_PAPERS,
    places: Neighborhood | None = None,
) -> np.ndarray:
    """One query at a glance: the wave, the spikes, and what was learned.

    Parameters
    ----------
    graph : CitationGraph
    trace : QueryTrace
        Of `SGNN.trace`.
    hops, max_papers, places
        See `wave`.

    Returns
    -------
    ndarray of three Axes
        Of `wave`, `raster` and `weight_traces`.
    """
    # Margins are set by hand: the engine that finds them would take longer than the network.
    with plt.style.context([MPLSTYLE, {"figure.constrained_layout.use": False}]):
        figure = plt.figure(figsize=(12.4, 5.8))
        left = figure.add_axes((0.01, 0.05, 0.35, 0.82))
        upper = figure.add_axes((0.657, 0.42, 0.2, 0.5))
        lower = figure.add_axes((0.657, 0.09, 0.2, 0.25))
        wave(graph, trace, hops=hops, max_papers=max_papers, places=places, ax=left)
        raster(trace, graph=graph, ax=upper)
        upper.set_xlabel("")
        upper.tick_params(axis="x", labelbottom=False)
        weight_traces(trace, graph=graph, ax=lower)
        lower.set_ylabel("weight")
        for ax in (upper, lower):
            ax.set_title(ax.get_title(loc="left").removeprefix(f"Paper {trace.query}: "))
    return np.array([left, upper, lower])
