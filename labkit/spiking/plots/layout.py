"""Papers around a query and where to draw them: a circle for every hop.

The wave of spikes travels one citation a step, so that a picture in which a paper's distance from
the middle is its distance from the query in hops shows the wave as rings. Every paper stands in
the sector of the paper through which a breadth-first walk from the query found it; a sector is as
wide as ``size^0.7`` of the tree behind it, which keeps one paper with a hundred citations from
taking the whole circle. Nothing is random.

Where there are more papers than can be drawn, those with a label come first, each with a shortest
path to the query, then the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.choices import require_whole
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

MAX_PAPERS = 80
DENSE = (7.0, 14.0)
"""Papers a radian and hop above which a ring is drawn two and three deep."""
START = 0.3
"""Angle of the first sector in radians, off the axes so that no path lies on a label."""


@dataclass(frozen=True)
class Neighborhood:
    """Papers around a query and their places.

    Attributes
    ----------
    query : int
        Paper id, in the middle.
    hops : int
        How far the walk went.
    papers : ndarray of shape (n,)
        Ids of the papers drawn, the query first.
    distance : ndarray of shape (n,)
        Hops from the query.
    places : ndarray of shape (n, 2)
        Where they stand, in hops.
    edges : ndarray of shape (m, 2)
        Citations between them, as positions in `papers`.
    n_within : int
        Papers within `hops` of the query, drawn or not.
    """

    query: int
    hops: int
    papers: np.ndarray
    distance: np.ndarray
    places: np.ndarray
    edges: np.ndarray
    n_within: int


def neighborhood(
    graph: CitationGraph, query: int, *, hops: int = 2, max_papers: int = MAX_PAPERS
) -> Neighborhood:
    """Papers within some hops of a query, placed on one circle a hop.

    Parameters
    ----------
    graph : CitationGraph
    query : int
        Paper id.
    hops : int
        Citations to walk at most.
    max_papers : int
        Papers drawn at most.

    Returns
    -------
    Neighborhood
    """
    require_whole("hops", hops, low=1)
    require_whole("max_papers", max_papers, low=1)
    if not 0 <= query < graph.n_papers:
        raise ParameterError(
            f"query={query} is no paper of {graph.name}; use an id from 0 to {graph.n_papers - 1}."
        )
    parent, distance = _walk(graph, query, hops)
    papers = _chosen(list(parent), parent, set(graph.train.tolist()), max_papers)
    places = _places(papers, parent)
    return Neighborhood(
        query=query,
        hops=hops,
        papers=np.array(papers),
        distance=np.array([distance[paper] for paper in papers]),
        places=np.array([places[paper] for paper in papers]),
        edges=_edges_between(graph, papers),
        n_within=len(parent),
    )


def _walk(graph: CitationGraph, query: int, hops: int) -> tuple[dict[int, int], dict[int, int]]:
    """Parent and distance of every paper within `hops`, nearest first; the query is its own."""
    adjacency = graph.adjacency()
    parent, distance = {query: query}, {query: 0}
    order = [query]
    for paper in order:
        if distance[paper] == hops:
            break
        start, stop = adjacency.indptr[paper : paper + 2]
        for cited in np.sort(adjacency.indices[start:stop]).tolist():
            if cited not in parent:
                parent[cited], distance[cited] = paper, distance[paper] + 1
                order.append(cited)
    return parent, distance


def _chosen(order: list[int], parent: dict[int, int], labeled: set[int], most: int) -> list[int]:
    """Papers to draw, parents before children: labeled ones and their paths before the rest."""
    drawn: dict[int, None] = {order[0]: None}
    first = [paper for paper in order if paper in labeled]
    for paper in [*first, *order]:
        path = []
        while paper not in drawn:
            path.append(paper)
            paper = parent[paper]
        if len(drawn) + len(path) <= most:
            drawn.update(dict.fromkeys(reversed(path)))
    return list(drawn)


def _places(papers: list[int], parent: dict[int, int]) -> dict[int, tuple[float, float]]:
    children: dict[int, list[int]] = {paper: [] for paper in papers}
    for paper in papers[1:]:
        children[parent[paper]].append(paper)
    size = dict.fromkeys(papers, 1)
    for paper in reversed(papers[1:]):
        size[parent[paper]] += size[paper]
    places = {papers[0]: (0.0, 0.0)}
    sectors = {papers[0]: (START, START + 2 * np.pi, 0)}
    for paper in papers:
        start, stop, ring = sectors[paper]
        widths = np.array([size[child] ** 0.7 for child in children[paper]])
        bounds = start + (stop - start) * np.r_[0.0, np.cumsum(widths)] / max(widths.sum(), 1e-9)
        crowd = len(widths) / ((stop - start) * (ring + 1))
        depth = 1 + sum(crowd > limit for limit in DENSE)
        for i, child in enumerate(children[paper]):
            radius = ring + 1 + (i % depth - (depth - 1) / 2) * 0.6 / depth
            angle = (bounds[i] + bounds[i + 1]) / 2
            places[child] = (float(radius * np.cos(angle)), float(radius * np.sin(angle)))
            sectors[child] = (float(bounds[i]), float(bounds[i + 1]), ring + 1)
    return places


def _edges_between(graph: CitationGraph, papers: list[int]) -> np.ndarray:
    position = np.full(graph.n_papers, -1)
    position[papers] = np.arange(len(papers))
    ends = position[graph.edges]
    return ends[:, (ends >= 0).all(axis=0)].T
