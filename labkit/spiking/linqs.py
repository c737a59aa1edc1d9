"""Reads the citation graphs as the spiking graph network papers used them.

Cora comes from two tables of LINQS (Sen et al., AI Magazine 29 (2008) 93-106): pairs of paper ids,
and the topic of each paper id. Papers are numbered in the order of the second table and topics in
the order of their first appearance there, so that nothing depends on the order of a Python ``set``;
the random split depends on that order. microseer is a part of Citeseer with 84 papers and a split
of its own (17 for training, 67 for testing).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from labkit import datasets
from labkit.spiking.citation import CitationGraph, unique_edges
from labkit.spiking.planetoid import source_of
from labkit.spiking.splits import linqs_split


def read_linqs_cora(*, seed: int = 0) -> CitationGraph:
    """Read Cora with the random split of the spiking graph network papers.

    Parameters
    ----------
    seed : int
        Seed of the split.

    Returns
    -------
    CitationGraph
        Without words. 140 / 140 / 2428 papers.

    Raises
    ------
    MissingDataError
        A file is neither on this machine nor to be had from its source.
    """
    entries = [datasets.get(f"spiking/linqs_cora_{part}") for part in ("topics", "edges")]
    papers, pairs = (_table(datasets.path(entry).read_text()) for entry in entries)
    numbers = {paper: number for number, (paper, _) in enumerate(papers)}
    labels, topics = number_by_appearance([topic for _, topic in papers])
    split = linqs_split(labels, n_topics=len(topics), seed=seed)
    return CitationGraph(
        name="cora",
        edges=_edges(pairs, numbers),
        labels=labels,
        topics=topics,
        features=None,
        train=split.train,
        validation=split.validation,
        test=split.test,
        split=f"linqs, seed {seed}",
        source=source_of(entries),
        notes=("words are left out: the files of this split do not hold them",),
    )


def read_microseer() -> CitationGraph:
    """Read the 84 papers of Citeseer with their words and the split that comes with them.

    Raises
    ------
    MissingDataError
        A file is neither on this machine nor to be had from its source.
    """
    parts = ("content", "cites", "indices")
    entries = [datasets.get(f"spiking/microseer_{part}") for part in parts]
    content, cites, indices = (datasets.path(entry).read_text() for entry in entries)
    papers = [line.split() for line in content.splitlines()]
    numbers = {fields[0]: number for number, fields in enumerate(papers)}
    labels, topics = number_by_appearance([fields[-1] for fields in papers])
    train, test = (
        np.sort([numbers[paper.strip()] for paper in line.split(",")])
        for line in indices.splitlines()[1:3]
    )
    trained = np.unique(labels[train])
    return CitationGraph(
        name="microseer",
        edges=_edges([line.split() for line in cites.splitlines()], numbers),
        labels=labels,
        topics=topics,
        features=sparse.csr_matrix(np.array([fields[1:-1] for fields in papers], dtype=np.float32)),
        train=train,
        validation=np.empty(0, dtype=np.int64),
        test=test,
        split="microseer",
        source=source_of(entries),
        notes=("topic AI has no training paper: its 3 papers cannot be found",),
        untrained=tuple(name for topic, name in enumerate(topics) if topic not in trained),
    )


def number_by_appearance(names: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number names in the order of their first appearance.

    Examples
    --------
    >>> number_by_appearance(["b", "a", "b"])
    (array([0, 1, 0]), ('b', 'a'))
    """
    numbers: dict[str, int] = {}
    labels = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
    return labels, tuple(numbers)


def _table(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def _edges(pairs: Sequence[Sequence[str]], numbers: dict[str, int]) -> np.ndarray:
    return unique_edges(np.array([(numbers[a], numbers[b]) for a, b in pairs]).T)
