"""Figures of a citation graph: degrees, topics, and the wave of one query through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, Colormap, to_rgba
from matplotlib.lines import Line2D

from labkit.spiking.plots.colors import GRAY, INK, UNREACHED, step_colors, topic_names, topic_styles
from labkit.spiking.plots.labels import horizontal
from labkit.spiking.plots.layout import MAX_PAPERS, Neighborhood, neighborhood
from labkit.viz.style import OKABE_ITO, PALETTE, new_axes

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph
    from labkit.spiking.readout import QueryTrace

SPLIT_COLORS = {
    "labeled (training)": OKABE_ITO["orange"],
    "validation": OKABE_ITO["sky blue"],
    "test": OKABE_ITO["blue"],
    "rest": "#d5d5d5",
}


def degree_plot(graphs: CitationGraph | Sequence[CitationGraph], *, ax: Axes | None = None) -> Axes:
    """How many papers have at least so many citations, on two logarithmic axes.

    Parameters
    ----------
    graphs : CitationGraph or sequence of CitationGraph
        Several are drawn over one another.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        A line that stays nearly straight is a heavy tail: a few papers are cited by very many,
        and one spike of theirs reaches all of these. Papers without a citation are not on it;
        the legend counts them.
    """
    several = graphs if isinstance(graphs, Sequence) else [graphs]
    ax = new_axes(ax, width_in=5.4, height_in=3.6)
    for number, graph in enumerate(several):
        degrees = np.asarray(graph.degrees)
        values, counts = np.unique(degrees[degrees > 0], return_counts=True)
        share = counts[::-1].cumsum()[::-1] / graph.n_papers
        alone = int((degrees == 0).sum())
        label = f"{graph.name}: {graph.n_papers:,} papers, mean {degrees.mean():.1f}"
        label += f", {alone} with none" if alone else ""
        color, marker = PALETTE[number % len(PALETTE)], "osD^v"[number % 5]
        ax.plot(values, share, marker, ls="-", ms=4, lw=1, color=color, label=label)
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel("citations of a paper, in or out (degree)")
    ax.set_ylabel("share of papers with as many or more")
    ax.grid(axis="x")
    ax.legend(loc="upper right")
    return ax


def topic_counts(graph: CitationGraph, *, ax: Axes | None = None) -> Axes:
    """Papers of each topic, by what they are used for.

    Parameters
    ----------
    graph : CitationGraph
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The orange share is all that the network is told.
    """
    names = topic_names(graph.topics, graph.n_topics)
    ax = new_axes(ax, width_in=6.4, height_in=0.34 * graph.n_topics + 1.5)
    rest = np.ones(graph.n_papers, dtype=bool)
    left = np.zeros(graph.n_topics)
    for part, color in SPLIT_COLORS.items():
        ids = _papers_of(graph, part, rest)
        rest[ids] = False
        known = graph.labels[ids]
        counts = np.bincount(known[known >= 0], minlength=graph.n_topics)
        if counts.any():
            label = f"{part}: {counts.sum():,}"
            ax.barh(range(graph.n_topics), counts, left=left, color=color, label=label)
        left += counts
    for row, total in enumerate(left):
        ax.annotate(
            f"{total:,.0f}", (total, row), (4, 0), textcoords="offset points", va="center", size=9
        )
    ax.set_yticks(range(graph.n_topics), names)
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.set_xlabel("papers")
    horizontal(ax)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return ax


def _papers_of(graph: CitationGraph, part: str, rest: np.ndarray) -> np.ndarray:
    ids = {"labeled (training)": graph.train, "validation": graph.validation, "test": graph.test}
    return np.asarray(ids.get(part, np.flatnonzero(rest)))


def wave(
    graph: CitationGraph,
    trace: QueryTrace,
    *,
    hops: int = 2,
    max_papers: int = MAX_PAPERS,
    places: Neighborhood | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Wave of spikes that a query starts, on the citations around it.

    Parameters
    ----------
    graph : CitationGraph
    trace : QueryTrace
        Of `SGNN.trace`.
    hops : int
        How far from the query papers are drawn.
    max_papers : int
        Papers drawn at most; labeled ones and their paths to the query come first.
    places : Neighborhood, optional
        Of `neighborhood` for the same query, where it is drawn again and again.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Circles are hops from the query (the star); the fill is the step of a paper's first spike,
        white where it never spiked. Squares are labeled papers, framed in their topic's color:
        the topics whose squares the wave meets first gain most.
    """
    near = places or neighborhood(graph, trace.query, hops=hops, max_papers=max_papers)
    ax = new_axes(ax, width_in=6.6, height_in=5.0)
    ax.set_aspect("equal")
    ax.axis("off")
    _draw_rings(ax, near)
    _draw_citations(ax, near)
    steps = trace.first_spike[near.papers]
    topics = _labeled_topics(graph, near.papers)
    known = steps[steps >= 0]
    first, last = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    cmap = step_colors(last - first + 1)
    fills = np.where(steps[:, None] >= 0, cmap(np.maximum(steps - first, 0)), to_rgba(UNREACHED))
    colors = [color for color, _ in topic_styles(graph.n_topics)]
    _draw_papers(ax, near, fills, topics, colors)
    if len(known):
        _step_bar(ax, cmap, first, last)
    _topic_legend(ax, graph, topics, bool((steps < 0).any()))
    drawn, reached = len(near.papers), int((trace.first_spike >= 0).sum())
    none = "" if (topics >= 0).any() else ", none of them labeled"
    some = f"{drawn} of {near.n_within:,}" if drawn < near.n_within else f"all {drawn}"
    ax.set_title(
        f"Paper {trace.query}: {reached:,} of {graph.n_papers:,} papers spiked\n", loc="left"
    )
    ax.text(
        0,
        1.015,
        f"drawn: {some} papers within {near.hops} {'hop' if near.hops == 1 else 'hops'}{none}",
        transform=ax.transAxes,
        fontsize=9,
        color="#555555",
    )
    return ax


def _labeled_topics(graph: CitationGraph, papers: np.ndarray) -> np.ndarray:
    """Topic of each labeled paper, -1 for the others, (n,)."""
    told = np.full(graph.n_papers, -1)
    told[graph.train] = graph.labels[graph.train]
    return told[papers]


def _draw_rings(ax: Axes, near: Neighborhood) -> None:
    angle = np.linspace(0, 2 * np.pi, 181)
    reach = int(near.distance.max())
    for ring in range(1, reach + 1):
        ax.plot(ring * np.cos(angle), ring * np.sin(angle), color="#e9e9e9", lw=1, zorder=0)
    edge = reach + 0.35
    ax.set(xlim=(-edge, edge), ylim=(-edge, edge))


def _draw_citations(ax: Axes, near: Neighborhood) -> None:
    """Citations along which a wave can move outwards are darker than those within a circle."""
    ends = near.distance[near.edges]
    outwards = ends[:, 0] != ends[:, 1]
    for chosen, color, order in ((~outwards, "#dddddd", 1), (outwards, "#b0b0b0", 2)):
        lines = near.places[near.edges[chosen]]
        ax.add_collection(
            LineCollection(list(lines), colors=color, linewidths=0.8, zorder=order), autolim=False
        )


def _draw_papers(
    ax: Axes,
    near: Neighborhood,
    fills: np.ndarray,
    topics: np.ndarray,
    colors: Sequence[str],
) -> None:
    """Dots for papers, squares for labeled ones, a star for the query."""
    frames = np.array([colors[k] if k >= 0 else GRAY for k in topics.tolist()])
    query = np.arange(len(topics)) == 0
    for chosen, marker, size, width in (
        (~query & (topics < 0), "o", 34, 0.7),
        (~query & (topics >= 0), "s", 62, 2.2),
        (query, "*", 260, 2.0 if topics[0] >= 0 else 1.0),
    ):
        ax.scatter(
            near.places[chosen, 0],
            near.places[chosen, 1],
            s=size,
            marker=marker,
            facecolor=fills[chosen],
            edgecolor=frames[chosen] if marker != "*" or topics[0] >= 0 else INK,
            linewidth=width,
            zorder=3 + "os*".index(marker),
        )


def _step_bar(ax: Axes, cmap: Colormap, first: int, last: int) -> None:
    norm = BoundaryNorm(np.arange(first - 0.5, last + 1), last - first + 1)
    height = min(0.46, 0.065 * (last - first + 1))
    place = ax.inset_axes((1.03, 0.0, 0.035, height))
    bar = ax.figure.colorbar(ScalarMappable(norm, cmap), cax=place)
    bar.set_ticks(range(first, last + 1, max(1, round((last - first) / 10))))
    place.set_title("first spike at step", fontsize=9, fontweight="normal", loc="left", pad=5)
    bar.ax.tick_params(length=0, labelsize=8.5)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _topic_legend(ax: Axes, graph: CitationGraph, topics: np.ndarray, unreached: bool) -> None:
    names = topic_names(graph.topics, graph.n_topics)
    colors = [color for color, _ in topic_styles(graph.n_topics)]
    marks = [
        _mark("s", "white", colors[k], 8, f"{names[k]} ({(topics == k).sum()})", width=2.2)
        for k in np.unique(topics[topics >= 0]).tolist()
    ]
    marks.append(_mark("*", INK, INK, 12, "query"))
    if unreached:
        marks.append(_mark("o", UNREACHED, GRAY, 6.5, "never spiked"))
    heading = "labeled papers" if (topics >= 0).any() else None
    ax.legend(
        handles=marks, loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=9, title=heading
    )


def _mark(
    marker: str, fill: str, frame: str, size: float, label: str, *, width: float = 1.0
) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker=marker,
        markerfacecolor=fill,
        markeredgecolor=frame,
        markeredgewidth=width,
        markersize=size,
        label=label,
    )
