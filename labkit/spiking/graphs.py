"""Citation graphs by name: simulated, Cora, Citeseer, Pubmed and microseer, with their splits.

========== ======== ========= ====== ======================= ====================================
name       papers   citations topics words                   where from
========== ======== ========= ====== ======================= ====================================
simulated  2708     5278      7      1433, simulated         `labkit.spiking.simulated`; no files
cora       2708     5278      7      1433                    Planetoid; LINQS for split "linqs"
citeseer   3327     4552      6      3703                    Planetoid
pubmed     19717    44324     3      none                    Planetoid
microseer  84       84        6      3703                    ORNL's part of Citeseer
========== ======== ========= ====== ======================= ====================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph, unique_edges
from labkit.spiking.linqs import read_linqs_cora, read_microseer
from labkit.spiking.planetoid import read_planetoid
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.splits import Split, linqs_split

__all__ = [
    "GRAPHS",
    "SPLITS",
    "CitationGraph",
    "Split",
    "linqs_split",
    "load_citation_graph",
    "unique_edges",
]

GRAPHS = ("simulated", "cora", "citeseer", "pubmed", "microseer")
SPLITS = ("planetoid", "linqs")


def load_citation_graph(name: str, *, split: str = "planetoid", seed: int = 0) -> CitationGraph:
    """Load a citation graph with a split.

    Parameters
    ----------
    name : {"simulated", "cora", "citeseer", "pubmed", "microseer"}
        Which graph. Only "simulated" needs no files.
    split : {"planetoid", "linqs"}
        "planetoid": the fixed split that comes with the graph, 20 papers of each topic for
        training, 500 for validation, 1000 for testing (microseer: 17, 0, 67). "linqs": the random
        split of the spiking graph network papers, 20 of each topic for training, 20 for
        validation, the others for testing; for Cora with the files and the order of those papers,
        for the other graphs in their own order.
    seed : int
        Seed of the random split; for "simulated" also of the graph.

    Returns
    -------
    CitationGraph

    Raises
    ------
    ParameterError
        The name or the split is unknown, or a topic has too few papers for the split.
    MissingDataError
        A file is neither on this machine nor to be had from its source.

    Examples
    --------
    >>> graph = load_citation_graph("simulated")
    >>> graph.n_papers, graph.n_edges, graph.n_topics, graph.split
    (2708, 5278, 7, 'planetoid')
    >>> load_citation_graph("simulated", split="linqs", seed=3).split
    'linqs, seed 3'
    """
    if name not in GRAPHS:
        raise ParameterError(not_allowed("name", name, GRAPHS))
    if split not in SPLITS:
        raise ParameterError(not_allowed("split", split, SPLITS))
    if name == "cora" and split == "linqs":
        return read_linqs_cora(seed=seed)
    graph = _reader(name, seed)()
    if split == "planetoid":
        return graph
    drawn = linqs_split(graph.labels, n_topics=graph.n_topics, seed=seed)
    return replace(
        graph.with_split(drawn.train, drawn.validation, drawn.test, split=f"linqs, seed {seed}"),
        notes=(*graph.notes, "random split over this graph's own order of papers"),
    )


def _reader(name: str, seed: int) -> Callable[[], CitationGraph]:
    if name == "simulated":
        return lambda: simulated_citation_graph(seed=seed)
    if name == "microseer":
        return read_microseer
    return lambda: read_planetoid(name)
