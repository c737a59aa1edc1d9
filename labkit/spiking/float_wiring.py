"""Neurons and synapses of the spiking citation network in real numbers, as the papers set them.

One neuron per paper, per topic and, with `features`, per word [1]_ [2]_. All synapses have delay 1:

    paper <-> paper          every citation                    graph_weight
    train paper <-> topic    its own topic                     train_to_topic_weight
    other paper <-> topic    every topic              STDP     test_to_topic_weight
    paper <-> word           every word of the paper  (STDP)   paper_to_feature_weight and back
    word <-> topic           every topic              (STDP)   feature_to_topic_weight and back

The neurons are numbered train papers, other papers, topics, words, each in ascending order.
Defaults are those of the published code of the same authors.

References
----------
.. [1] Cong et al., Semi-supervised graph structure learning on neuromorphic computers, ICONS 2022.
.. [2] Cong et al., Hyperparameter optimization and feature inclusion in graph neural networks for
   spiking implementation (2023).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from labkit.choices import require_whole
from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph

QUERY_INPUT = 100.0
"""What the neuron of the query is given at step 0."""


@dataclass(frozen=True, kw_only=True)
class FloatSGNNParameters:
    """Parameters of the float network; potentials and weights share one arbitrary unit.

    Attributes
    ----------
    paper_threshold, topic_threshold, feature_threshold : float
        A neuron spikes when its potential is above (not at) its threshold.
    paper_leak, topic_leak, feature_leak : float
        How far a potential moves towards 0 in each step.
    train_ref, other_ref, feature_ref : int
        Refractory steps of labeled papers, of validation and test papers, and of words.
    graph_weight, train_to_topic_weight, test_to_topic_weight : float
        Weights of citations, of labeled papers to their topic and back, and the initial weight of
        the plastic synapses between the other papers and the topics.
    simtime : int
        Steps of one query.
    apos, aneg : tuple of float
        Weight change for a pair of spikes, and for its absence, at lags of 1, 2, ... steps.
    features : bool
        Whether words have neurons.
    feature_to_topic : bool
        Whether these are joined to the topics.
    paper_to_feature_weight, feature_to_paper_weight : float
    feature_to_topic_weight, topic_to_feature_weight : float
    paper_to_feature_weighted : bool
        Scale paper to word by the share of all words that the paper has, and word to paper by the
        share of all papers that have the word.
    paper_to_feature_stdp, feature_to_topic_stdp : bool
        Whether these synapses learn, in both directions.
    """

    paper_threshold: float = 1.0
    topic_threshold: float = 1.0
    paper_leak: float = 0.0
    topic_leak: float = 0.0
    train_ref: int = 1
    other_ref: int = 1000
    graph_weight: float = 100.0
    train_to_topic_weight: float = 1.0
    test_to_topic_weight: float = 0.001
    simtime: int = 10
    apos: tuple[float, ...] = (1.0, 0.5, 0.1, 0.01, 0.001)
    aneg: tuple[float, ...] = (-0.0001,) * 5
    features: bool = False
    feature_to_topic: bool = False
    feature_threshold: float = 0.25
    feature_leak: float = 0.0
    feature_ref: int = 1
    paper_to_feature_weight: float = 0.2
    feature_to_paper_weight: float = 0.2
    feature_to_topic_weight: float = 0.2
    topic_to_feature_weight: float = 0.2
    paper_to_feature_weighted: bool = False
    paper_to_feature_stdp: bool = False
    feature_to_topic_stdp: bool = False

    def __post_init__(self) -> None:
        for name in ("apos", "aneg"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        self.validate()

    @property
    def window(self) -> int:
        """Steps of one query, by the name that the integer network uses."""
        return self.simtime

    def replace(self, **changes: Any) -> FloatSGNNParameters:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def validate(self) -> None:
        """Refuse what the network cannot run.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        require_whole("simtime", self.simtime, low=2)
        for name in ("train_ref", "other_ref", "feature_ref"):
            require_whole(name, getattr(self, name), low=0)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and not (_is_number(value) and math.isfinite(value)):
                raise ParameterError(f"{field.name}={value!r}: use a finite number.")
            if field.type == "bool" and not isinstance(value, bool):
                raise ParameterError(f"{field.name}={value!r}: use True or False.")
            if field.name.endswith("_leak") and value < 0:
                raise ParameterError(f"{field.name}={value!r}: use 0 or more.")
        if self.paper_threshold >= QUERY_INPUT:
            raise ParameterError(
                f"paper_threshold={self.paper_threshold!r}: use less than {QUERY_INPUT:g}, which a "
                "query is given, or no query spikes."
            )
        self._validate_stdp()

    def _validate_stdp(self) -> None:
        if not self.apos or len(self.apos) != len(self.aneg):
            raise ParameterError(
                f"apos has {len(self.apos)} values and aneg {len(self.aneg)}; give one of each "
                "for every lag."
            )
        if any(not 0 <= a < math.inf for a in self.apos):
            raise ParameterError(f"apos={self.apos}: use finite numbers of 0 or more.")
        if any(not -math.inf < a <= 0 for a in self.aneg):
            raise ParameterError(f"aneg={self.aneg}: use finite numbers of 0 or less.")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _numbers(name: str, values: object) -> tuple[float, ...]:
    listed: list[Any] = list(values) if isinstance(values, Iterable) else [None]
    if not all(_is_number(value) for value in listed):
        raise ParameterError(f"{name}={values!r}: give a list of numbers, one for every lag.")
    return tuple(float(value) for value in listed)


CORA = FloatSGNNParameters(topic_threshold=0.5, graph_weight=10.0, simtime=5)
"""Published setting for Cora."""
CITESEER = FloatSGNNParameters()
"""Published setting for Citeseer, which is also that for Pubmed."""
PUBMED = CITESEER
"""Published setting for Pubmed."""


@dataclass(frozen=True)
class FloatNetwork:
    """Neurons and synapses.

    Attributes
    ----------
    populations : dict
        Population to its slice of the neurons.
    neuron : ndarray of shape (n_papers,)
        Neuron of each paper.
    weights : csc_array of shape (n_neurons, n_neurons)
        Initial weights, row to (post), column from (pre); a stored 0 is a synapse.
    plastic : ndarray of bool, one for each stored weight
        Whether STDP acts on it.
    threshold, leak, refractory : ndarray of shape (n_neurons,)
    """

    populations: dict[str, slice]
    neuron: np.ndarray
    weights: sparse.csc_array
    plastic: np.ndarray
    threshold: np.ndarray
    leak: np.ndarray
    refractory: np.ndarray

    @property
    def n_neurons(self) -> int:
        """All neurons."""
        return len(self.threshold)

    def plastic_synapses(self, within: np.ndarray | None = None) -> sparse.csr_array:
        """1 for each plastic synapse, (n_neurons, n_neurons).

        Parameters
        ----------
        within : ndarray of bool, shape (n_neurons,), optional
            Only synapses both of whose ends are in it.
        """
        coordinates = self.weights.tocoo()
        keep = self.plastic.copy()
        if within is not None:
            keep &= within[coordinates.row] & within[coordinates.col]
        ones = np.ones(int(keep.sum()))
        place = (coordinates.row[keep], coordinates.col[keep])
        return sparse.csr_array((ones, place), shape=self.weights.shape)


def wire(graph: CitationGraph, parameters: FloatSGNNParameters) -> FloatNetwork:
    """Build the network of a graph.

    Parameters
    ----------
    graph : CitationGraph
        Its training papers are the labeled ones.
    parameters : FloatSGNNParameters

    Raises
    ------
    ParameterError
        The graph or the parameters are of another type, or ``features=True`` for a graph without
        words.
    """
    if not isinstance(graph, CitationGraph):
        raise ParameterError(
            f"graph is of type {type(graph).__name__}; give a CitationGraph, for example "
            "load_citation_graph('cora')."
        )
    if not isinstance(parameters, FloatSGNNParameters):
        raise ParameterError(
            f"parameters is of type {type(parameters).__name__}; the float network needs "
            "FloatSGNNParameters, for example CORA."
        )
    words = graph.features if parameters.features else None
    if parameters.features and words is None:
        raise ParameterError(
            f"features=True: the graph {graph.name!r} comes without words; use features=False."
        )
    train, other = np.sort(graph.train), np.asarray(graph.other)
    n_words = 0 if words is None else words.shape[1]
    sizes = {"train": len(train), "other": len(other), "topic": graph.n_topics, "feature": n_words}
    starts = np.cumsum([0, *sizes.values()])
    populations = {
        name: slice(int(start), int(start) + n)
        for (name, n), start in zip(sizes.items(), starts[:-1], strict=True)
        if n
    }
    neuron = np.empty(graph.n_papers, dtype=np.int64)
    neuron[np.concatenate([train, other])] = np.arange(graph.n_papers)
    weights, plastic = _assemble(_synapses(graph, parameters, neuron, starts), int(starts[-1]))
    p, counts = parameters, list(sizes.values())
    return FloatNetwork(
        populations=populations,
        neuron=neuron,
        weights=weights,
        plastic=plastic,
        threshold=np.repeat(
            [p.paper_threshold, p.paper_threshold, p.topic_threshold, p.feature_threshold], counts
        ),
        leak=np.repeat([p.paper_leak, p.paper_leak, p.topic_leak, p.feature_leak], counts),
        refractory=np.repeat([p.train_ref, p.other_ref, 0, p.feature_ref], counts),
    )


_Block = tuple[np.ndarray, np.ndarray, Any, bool]
"""Pre neurons, post neurons, weight or weights, whether plastic."""


def _synapses(
    graph: CitationGraph, p: FloatSGNNParameters, neuron: np.ndarray, starts: np.ndarray
) -> Iterator[_Block]:
    first, second = neuron[graph.edges]
    yield first, second, p.graph_weight, False
    yield second, first, p.graph_weight, False
    topics = np.arange(starts[2], starts[3])
    train, own = neuron[graph.train], topics[graph.labels[graph.train]]
    yield train, own, p.train_to_topic_weight, False
    yield own, train, p.train_to_topic_weight, False
    other, topic = _all_pairs(neuron[graph.other], topics)
    yield other, topic, p.test_to_topic_weight, True
    yield topic, other, p.test_to_topic_weight, True
    if p.features and graph.features is not None:
        words = np.arange(starts[3], starts[4])
        yield from _word_synapses(graph.features.tocoo(), p, neuron, topics, words)


def _word_synapses(
    present: sparse.coo_matrix,
    p: FloatSGNNParameters,
    neuron: np.ndarray,
    topics: np.ndarray,
    words: np.ndarray,
) -> Iterator[_Block]:
    nonzero = present.data != 0
    paper, word = present.row[nonzero], present.col[nonzero]
    to_word: Any = p.paper_to_feature_weight
    to_paper: Any = p.feature_to_paper_weight
    if p.paper_to_feature_weighted:
        to_word = to_word * np.bincount(paper)[paper] / len(words)
        to_paper = to_paper * np.bincount(word)[word] / len(neuron)
    yield neuron[paper], words[word], to_word, p.paper_to_feature_stdp
    yield words[word], neuron[paper], to_paper, p.paper_to_feature_stdp
    if p.feature_to_topic:
        word_neuron, topic = _all_pairs(words, topics)
        yield word_neuron, topic, p.feature_to_topic_weight, p.feature_to_topic_stdp
        yield topic, word_neuron, p.topic_to_feature_weight, p.feature_to_topic_stdp


def _all_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(first, len(second)), np.tile(second, len(first))


def _assemble(blocks: Iterator[_Block], n: int) -> tuple[sparse.csc_array, np.ndarray]:
    """Weights, and whether each stored one is plastic."""
    pre, post, weight, plastic = zip(
        *(
            (a, b, np.broadcast_to(w, a.shape), np.full(a.shape, learns))
            for a, b, w, learns in blocks
        ),
        strict=True,
    )
    rows, columns = np.concatenate(post), np.concatenate(pre)
    order = np.lexsort((rows, columns))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=n))])
    values = np.concatenate(weight)[order].astype(float)
    weights = sparse.csc_array((values, rows[order], indptr), shape=(n, n))
    return weights, np.concatenate(plastic)[order]
