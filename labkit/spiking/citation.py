"""A citation graph with topics, words and a split: what every method of this study reads.

Papers are numbered 0 .. n_papers - 1. A citation counts in both directions, as in the papers on
this task, so an edge (i, j) is stored once with i < j. The task is transductive: the whole graph is
known, the topics of the training papers are known, and those of the others are to be found.

=============  =========================  =========================================================
symbol         variable                   meaning
=============  =========================  =========================================================
:math:`N`      ``n_papers``               papers
:math:`K`      ``n_topics``               topics
:math:`A`      ``adjacency()``            symmetric 0/1 matrix of citations, (N, N)
:math:`X`      ``features``               words of each paper, (N, n_words)
:math:`y`      ``labels``                 topic of each paper; -1 where it is unknown
=============  =========================  =========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from labkit.errors import ParameterError

SPLIT_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, repr=False)
class CitationGraph:
    """Papers, citations, topics, words and a split, checked for consistency.

    Parameters
    ----------
    name : str
        Name for tables and figures.
    edges : int ndarray of shape (2, n_edges)
        Pairs of papers, each once, the lower number first; no paper cites itself.
    labels : int ndarray of shape (n_papers,)
        Topic of each paper; -1 where it is unknown.
    topics : tuple of str
        Name of each topic.
    features : scipy.sparse.csr_matrix of shape (n_papers, n_words), optional
        Words of each paper; None where they are not available.
    train, validation, test : int ndarray
        Papers whose topic is given, papers to choose parameters on, and papers to report.
        No paper is in two of them.
    split : str
        How the three were chosen.
    source : mapping
        Where the data come from: ``files``, ``sha256``, ``license``, ``citation``.
    notes : tuple of str
        What a reader of results should know.
    untrained : tuple of str
        Topics that are known to have no training paper, so that no method can find them.

    Raises
    ------
    ParameterError
        The parts do not fit together, or a topic has no training paper.

    Examples
    --------
    >>> path = CitationGraph(
    ...     name="path of four",
    ...     edges=np.array([[0, 1, 2], [1, 2, 3]]),
    ...     labels=np.array([0, 0, 1, 1]),
    ...     topics=("left", "right"),
    ...     features=None,
    ...     train=np.array([0, 3]),
    ...     validation=np.array([1]),
    ...     test=np.array([2]),
    ... )
    >>> path
    CitationGraph('path of four': 4 papers, 3 citations, 2 topics, split 'given' 2/1/1)
    >>> path.other, path.degrees, path.hops_to_labels()
    (array([1, 2]), array([1, 2, 2, 1]), array([0, 1, 1, 0]))
    """

    name: str
    edges: np.ndarray
    labels: np.ndarray
    topics: tuple[str, ...]
    features: sparse.csr_matrix | None
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    split: str = "given"
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("edges", "labels", *SPLIT_PARTS):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        if self.features is not None:
            words = sparse.csr_matrix(self.features, dtype=np.float32)
            object.__setattr__(self, "features", words.sorted_indices())
        self.validate()

    def __repr__(self) -> str:
        sizes = "/".join(str(len(getattr(self, part))) for part in SPLIT_PARTS)
        return (
            f"CitationGraph({self.name!r}: {self.n_papers} papers, {self.n_edges} citations, "
            f"{self.n_topics} topics, split {self.split!r} {sizes})"
        )

    @property
    def n_papers(self) -> int:
        """Number of papers."""
        return len(self.labels)

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.topics)

    @property
    def n_edges(self) -> int:
        """Number of citations, each pair of papers counted once."""
        return self.edges.shape[1]

    @property
    def other(self) -> np.ndarray:
        """Papers that are not in `train`, ascending."""
        return np.setdiff1d(np.arange(self.n_papers), self.train)

    @property
    def degrees(self) -> np.ndarray:
        """Citations of each paper, given and received, shape (n_papers,)."""
        return np.bincount(self.edges.ravel(), minlength=self.n_papers)

    def adjacency(self) -> sparse.csr_matrix:
        """Citations as a symmetric 0/1 matrix of int32; made once, so do not change it."""
        return self._adjacency

    @cached_property
    def _adjacency(self) -> sparse.csr_matrix:
        low, high = self.edges
        rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
        ones = np.ones(len(rows), dtype=np.int32)
        matrix = sparse.csr_matrix((ones, (rows, columns)), shape=(self.n_papers,) * 2)
        matrix.sort_indices()
        return matrix

    def hops_to_labels(self, sources: np.ndarray | None = None) -> np.ndarray:
        """Citations on the shortest way from each paper to the nearest of `sources`.

        Parameters
        ----------
        sources : int ndarray, optional
            Papers to count from; the training papers when omitted.

        Returns
        -------
        int ndarray of shape (n_papers,)
            0 at the sources, -1 where none can be reached.
        """
        start = self.train if sources is None else np.atleast_1d(sources)
        if len(start) == 0:
            return np.full(self.n_papers, -1)
        hops = csgraph.dijkstra(self.adjacency(), indices=start, unweighted=True, min_only=True)
        return np.where(np.isinf(hops), -1, hops).astype(np.int64)

    def with_labels(self, labels: np.ndarray) -> CitationGraph:
        """Return the same graph with other topics, e.g. with the test papers' topics hidden."""
        return replace(self, labels=labels)

    def with_split(
        self, train: np.ndarray, validation: np.ndarray, test: np.ndarray, *, split: str = "given"
    ) -> CitationGraph:
        """Return the same graph with another split, named `split`."""
        return replace(self, train=train, validation=validation, test=test, split=split)

    def validate(self) -> None:
        """Raise a ParameterError where the parts do not fit together."""
        self._check_edges()
        self._check_labels()
        self._check_split()
        self._check_features()

    def _check_edges(self) -> None:
        if self.edges.ndim != 2 or self.edges.shape[0] != 2:
            raise ParameterError(f"edges has shape {self.edges.shape}; give (2, n_edges).")
        low, high = self.edges
        _check_papers("edges", self.edges, self.n_papers)
        if np.any(low >= high):
            raise ParameterError(
                "edges holds a pair whose first paper is not the lower one; give each citation "
                "once as (i, j) with i < j (unique_edges makes it so)."
            )
        if len(np.unique(low * self.n_papers + high)) != self.n_edges:
            raise ParameterError(
                "edges holds a citation twice; give each once (unique_edges makes it so)."
            )

    def _check_labels(self) -> None:
        if self.labels.ndim != 1 or self.n_papers == 0:
            raise ParameterError(f"labels has shape {self.labels.shape}; give (n_papers,).")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < -1 or high >= self.n_topics:
            raise ParameterError(
                f"labels runs from {low} to {high}; there are {self.n_topics} topics, so give "
                f"0 to {self.n_topics - 1}, or -1 where the topic is unknown."
            )

    def _check_features(self) -> None:
        if self.features is None:
            return
        if self.features.shape[0] != self.n_papers:
            raise ParameterError(
                f"features has {self.features.shape[0]} rows for {self.n_papers} papers; "
                "give one row for each paper."
            )
        wrong = np.flatnonzero(~np.isfinite(self.features.data))
        if len(wrong):
            paper = np.searchsorted(self.features.indptr, wrong[0], side="right") - 1
            raise ParameterError(
                f"features holds {self.features.data[wrong[0]]} for paper {paper}; give finite "
                "numbers, 0 where a paper lacks a word."
            )

    def _check_split(self) -> None:
        for part in SPLIT_PARTS:
            _check_papers(part, getattr(self, part), self.n_papers)
        papers, counts = np.unique(
            np.concatenate([getattr(self, part) for part in SPLIT_PARTS]), return_counts=True
        )
        if np.any(counts > 1):
            raise ParameterError(
                f"paper {papers[counts > 1][0]} is in train, validation and test more than once; "
                "give each paper one place."
            )
        given = self.labels[self.train]
        if np.any(given < 0):
            raise ParameterError(
                f"train holds paper {self.train[given < 0][0]}, whose topic is unknown; "
                "leave it out."
            )
        present = np.bincount(given, minlength=self.n_topics) > 0
        for topic, name in enumerate(self.topics):
            if not present[topic] and name not in self.untrained:
                raise ParameterError(
                    f"topic {name!r} has no paper in train, so it can never be found; add a paper "
                    "of it, or name it in untrained."
                )


def unique_edges(pairs: np.ndarray) -> np.ndarray:
    """Citations as `CitationGraph` wants them: undirected, each once, no paper citing itself.

    Parameters
    ----------
    pairs : int array of shape (2, n_pairs)
        Pairs of papers in any order and direction.

    Returns
    -------
    int64 ndarray of shape (2, n_edges)
        Sorted by the first paper, then the second.

    Examples
    --------
    >>> unique_edges(np.array([[3, 1, 2, 3], [1, 3, 2, 0]]))
    array([[0, 1],
           [3, 3]])
    """
    ordered = np.sort(np.asarray(pairs, dtype=np.int64).reshape(2, -1), axis=0)
    return np.unique(ordered[:, ordered[0] < ordered[1]], axis=1)


def _integers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ParameterError(f"{name} holds {array.dtype} values; give whole numbers of papers.")
    return array.astype(np.int64)


def _check_papers(name: str, papers: np.ndarray, n_papers: int) -> None:
    if papers.size and not 0 <= papers.min() <= papers.max() < n_papers:
        raise ParameterError(
            f"{name} names paper {papers.min() if papers.min() < 0 else papers.max()}; "
            f"papers are 0 to {n_papers - 1}."
        )
