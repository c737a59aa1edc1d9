"""What a tuner maximizes: the accuracy of a network on the papers that it may look at.

Whatever is chosen depends on the graph, the labels of the training papers and those of the queried
papers; all other labels are erased before a network is built. A network in which no topic spikes
for the first 50 queries is left and gets what it would get if it stayed silent: all topics tied.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.float_sgnn import FloatSGNN
from labkit.spiking.readout import QueryScores, dead, tie_aware_accuracy
from labkit.spiking.search import Evaluation
from labkit.spiking.sgnn import SGNN
from labkit.spiking.spaces import Settings, Space

DEAD_AFTER = 50


def hide_labels(graph: CitationGraph, queries: np.ndarray) -> CitationGraph:
    """Return a graph that knows only the labels of its training papers and of the queries.

    Parameters
    ----------
    graph : CitationGraph
    queries : int ndarray of shape (n_queries,)

    Returns
    -------
    CitationGraph
        Label -1 for every other paper.
    """
    labels = np.full(graph.n_papers, -1)
    for papers in (graph.train, queries):
        labels[papers] = graph.labels[papers]
    return graph.with_labels(labels)


def checked_queries(graph: CitationGraph, queries: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Papers to tune on: the validation papers, or those given.

    Parameters
    ----------
    graph : CitationGraph
    queries : sequence of int, optional

    Returns
    -------
    int ndarray of shape (n_queries,)

    Raises
    ------
    ParameterError
        There is none, or one is unknown, repeated, unlabeled, a training or a test paper.
    """
    chosen = np.asarray(graph.validation if queries is None else queries)
    if chosen.ndim != 1 or not len(chosen) or not np.issubdtype(chosen.dtype, np.integer):
        raise ParameterError(
            f"queries: {chosen.size} papers in an array of shape {chosen.shape}; give one or more "
            "paper numbers, or a graph with validation papers."
        )
    if chosen.min() < 0 or chosen.max() >= graph.n_papers or len(np.unique(chosen)) < len(chosen):
        raise ParameterError(
            f"queries: give different papers from 0 to {graph.n_papers - 1}, each once."
        )
    for part, why in {
        "test": "tuning on them would make the test accuracy worthless",
        "train": "their topics are given to the network",
    }.items():
        wrong = np.isin(chosen, getattr(graph, part)).sum()
        if wrong:
            raise ParameterError(f"queries holds {wrong} {part} papers, and {why}; leave them out.")
    if (graph.labels[chosen] < 0).any():
        raise ParameterError("queries holds papers whose topic is unknown; leave them out.")
    return chosen.astype(np.int64)


def fingerprint(
    graph: CitationGraph, queries: np.ndarray, choices: Mapping[str, Any]
) -> dict[str, str]:
    """What the values of trials depend on, each part as a short text.

    Parameters
    ----------
    graph : CitationGraph
        With hidden labels; its name does not count.
    queries : int ndarray of shape (n_queries,)
    choices : mapping
        Further parts: name to anything whose ``repr`` tells it.

    Returns
    -------
    dict
        Part to the start of a SHA-256.
    """
    words = graph.features
    features = [] if words is None else [words.indptr, words.indices, words.data]
    arrays = {
        "graph": [graph.edges, graph.labels[graph.train], graph.train, *features],
        "queries": [queries, graph.labels[queries]],
    }
    parts = {name: b"|".join(a.tobytes() for a in parts) for name, parts in arrays.items()}
    parts |= {name: repr(choice).encode() for name, choice in choices.items()}
    return {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}


@dataclass(frozen=True)
class GivenObjective:
    """A caller's own function of the parameters.

    Attributes
    ----------
    value : callable
        Parameters to a finite number, the larger the better.
    space : Space
    start : SGNNParameters or FloatSGNNParameters
        Parameters that the settings are applied to.
    """

    value: Callable[[Any], float]
    space: Space
    start: Any

    def __call__(self, settings: Settings) -> Evaluation:
        """Value at settings."""
        given: Any = self.value(self.space.parameters(settings, self.start))
        try:
            value = math.nan if isinstance(given, str) else float(given)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise ParameterError(f"objective returned {given!r}; return a finite number.")
        return Evaluation(value)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a network with settings on the queries.

    Attributes
    ----------
    graph : CitationGraph
        With hidden labels.
    queries : int ndarray of shape (n_queries,)
    space : Space
    start : SGNNParameters or FloatSGNNParameters
        Parameters that the settings are applied to.
    precision : {"int", "float"}
    tie_rule : {"expected", "unique", "first"}
    backend : {"numpy", "numba", "torch"}
        Of the integer network.
    """

    graph: CitationGraph
    queries: np.ndarray
    space: Space
    start: Any
    precision: str
    tie_rule: str
    backend: str

    def __call__(self, settings: Settings) -> Evaluation:
        """Accuracy at settings."""
        run = self._network(self.space.parameters(settings, self.start))
        if len(self.queries) > DEAD_AFTER and dead(run(self.queries[:DEAD_AFTER])) == 1.0:
            return Evaluation(self._undecided(), dead=True)
        scores = run(self.queries)
        return Evaluation(self._value(scores.scores), dead=dead(scores) == 1.0)

    def _network(self, parameters: Any) -> Callable[[np.ndarray], QueryScores]:
        if self.precision == "float":
            return FloatSGNN(self.graph, parameters).run
        return partial(SGNN(self.graph, parameters).run, backend=self.backend)

    def _undecided(self) -> float:
        """Accuracy of a network in which all topics are always tied."""
        return self._value(np.zeros((len(self.queries), self.graph.n_topics)))

    def _value(self, scores: np.ndarray) -> float:
        report = tie_aware_accuracy(scores, self.graph.labels[self.queries])
        return float(getattr(report, self.tie_rule))
