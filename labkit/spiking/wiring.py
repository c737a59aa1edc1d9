"""The integer spiking graph network as populations and synapses: who is connected to whom.

Papers are split into ``train`` (topic known, synapses to it and back) and ``other`` (plastic
synapses to every topic and back); each is in ascending order of its paper ids. Citations join
papers in both directions with one weight, in four blocks that are connections of their own, since
a connection shifts the sum of its own weights. With words there is one neuron each, joined to the
papers that contain it. Every window of steps belongs to one query: at its first step all neurons
are reset, discard their input and stay silent (the guard), at its second the query gets a pulse.

The paper names this neuron "LIF Long Reset" and does not publish the wiring: this is a documented
reconstruction from the earlier papers' published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.network import Network
from labkit.spiking.parameters import TOPIC_SEED_STEP, SGNNParameters
from labkit.spiking.projections import Population, Projection

TRAIN, OTHER, TOPIC, FEATURE = "train", "other", "topic", "feature"
POPULATIONS = (TRAIN, OTHER, TOPIC, FEATURE)
"""All populations; that of the words is optional."""
READOUT = "other_to_topic"
"""Name of the projection whose weights are the scores."""
FEATURE_SEED_STEPS = (20, 30)
"""Added to `rng_seed` for the connections from words to topics and back, where they learn."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Which neurons there are and which pairs are connected.

    Attributes
    ----------
    train, other : ndarray of int64
        Paper ids of the two populations, ascending.
    train_topic : ndarray of int64, shape (n_train,)
        Topic of each training paper.
    n_topics : int
    citations : csr_matrix of int32, shape (n_papers, n_papers)
        0/1, symmetric; rows and columns are the training papers, then the others.
    words : csr_matrix of int32, shape (n_papers, n_features), optional
        Words of each paper, 0/1, in the same order; None without words.
    """

    train: np.ndarray
    other: np.ndarray
    train_topic: np.ndarray
    n_topics: int
    citations: sparse.csr_matrix
    words: sparse.csr_matrix | None = None

    @property
    def n_train(self) -> int:
        """Number of training papers."""
        return len(self.train)

    @property
    def n_other(self) -> int:
        """Number of papers that can be queried."""
        return len(self.other)

    @property
    def n_features(self) -> int:
        """Number of word neurons."""
        return 0 if self.words is None else int(self.words.shape[1])

    def rows_of(self, queries: Sequence[int] | np.ndarray) -> np.ndarray:
        """Position of each query in the population of other papers, checked.

        Parameters
        ----------
        queries : sequence of int
            Paper ids; a paper may be asked for more than once.

        Returns
        -------
        ndarray of int64, shape (n_queries,)
        """
        ids = np.asarray(queries)
        if ids.ndim != 1 or not ids.size:
            raise ParameterError(
                f"queries has shape {ids.shape}; give one or more paper ids in a list, for "
                "example graph.test."
            )
        if ids.dtype.kind not in "iu":
            raise ParameterError(f"queries holds {ids.dtype} values; use whole paper ids.")
        n_papers = self.n_train + self.n_other
        wrong = ids[(ids < 0) | (ids >= n_papers)]
        if wrong.size:
            raise ParameterError(
                f"queries names paper {wrong[0]}; the graph has papers 0 to {n_papers - 1}."
            )
        given = ids[np.isin(ids, self.train)]
        if given.size:
            raise ParameterError(
                f"queries names paper {given[0]}, a training paper: its topic is given and it has "
                "no plastic synapses. Query papers of graph.other."
            )
        return np.searchsorted(self.other, ids).astype(np.int64)


def wire(graph: CitationGraph, *, features: bool = False) -> Wiring:
    """Read the wiring off a citation graph.

    Parameters
    ----------
    graph : CitationGraph
    features : bool
        Add a neuron for each word.

    Returns
    -------
    Wiring
    """
    train, other = np.sort(graph.train), graph.other
    if not len(other) or not len(train):
        missing = "paper outside of train" if len(train) else "training paper"
        raise ParameterError(f"graph {graph.name!r} has no {missing}; there is nothing to infer.")
    order = np.concatenate([train, other])
    return Wiring(
        train=train,
        other=other,
        train_topic=graph.labels[train],
        n_topics=graph.n_topics,
        citations=_pattern(graph.adjacency()[order][:, order]),
        words=_words(graph, order) if features else None,
    )


def build_sgnn(
    graph: CitationGraph, parameters: SGNNParameters, queries: Sequence[int] | np.ndarray
) -> Network:
    """The clocked network that answers the queries one after the other.

    Parameters
    ----------
    graph : CitationGraph
    parameters : SGNNParameters
    queries : sequence of int
        Paper ids outside of ``graph.train``.

    Returns
    -------
    Network
        Populations ``train``, ``other``, ``topic`` and, with words, ``feature``; one episode of
        ``window`` steps per query. The learned weights of the projection ``other_to_topic`` at the
        end of the episode are the scores: entry ``[k, row of the query]``.
    """
    wiring = wire(graph, features=parameters.features)
    rows = wiring.rows_of(queries)
    window = parameters.window
    onset = np.arange(len(rows), dtype=np.int64) * window + 1
    pulses = np.full(len(rows), parameters.pulse, dtype=np.int32)
    shape = (wiring.n_other, len(rows) * window)
    return Network(
        tuple(_populations(wiring, parameters)),
        tuple(_projections(wiring, parameters)),
        {OTHER: sparse.csr_matrix((pulses, (rows, onset)), shape=shape)},
        episode=window,
    )


def _populations(wiring: Wiring, parameters: SGNNParameters) -> list[Population]:
    p = parameters
    made = [
        Population(TRAIN, wiring.n_train, _neuron(p, p.paper_vth, p.paper_dv, p.ref_train)),
        Population(OTHER, wiring.n_other, _neuron(p, p.paper_vth, p.paper_dv, p.ref_other)),
        Population(TOPIC, wiring.n_topics, _neuron(p, p.topic_vth, p.topic_dv, 0)),
    ]
    if wiring.n_features:
        word = _neuron(p, p.feature_vth, p.feature_dv, p.ref_feature)
        made.append(Population(FEATURE, wiring.n_features, word))
    return made


def _neuron(parameters: SGNNParameters, vth: int, dv: int, refractory: int) -> LIFParameters:
    return LIFParameters(
        vth=vth,
        dv=dv,
        refractory=refractory,
        reset_interval=parameters.window,
        reset_offset=1,
        guard=True,
    )


def _projections(wiring: Wiring, parameters: SGNNParameters) -> list[Projection]:
    p, parts = parameters, {TRAIN: slice(0, wiring.n_train), OTHER: slice(wiring.n_train, None)}
    made = [
        _sparse(pre, post, wiring.citations[parts[post]][:, parts[pre]] * p.graph_w, p.graph_exp)
        for post in parts
        for pre in parts
    ]
    taught = np.zeros((wiring.n_topics, wiring.n_train), dtype=np.int32)
    taught[wiring.train_topic, np.arange(wiring.n_train)] = p.train_w
    made += [_dense(TRAIN, TOPIC, taught, p.train_exp), _dense(TOPIC, TRAIN, taught.T, p.train_exp)]
    start = np.full((wiring.n_topics, wiring.n_other), p.test_w, dtype=np.int32)
    made += [
        _dense(OTHER, TOPIC, start, p.test_exp, p, seed_step=0),
        _dense(TOPIC, OTHER, start.T, p.test_exp, p, seed_step=TOPIC_SEED_STEP),
    ]
    if wiring.words is not None:
        for paper, part in parts.items():
            words = wiring.words[part] * p.feature_w
            made.append(_sparse(paper, FEATURE, words.T, p.feature_exp))
            made.append(_sparse(FEATURE, paper, words, p.feature_exp))
        made += _topics_of_words(wiring, p)
    return made


def _topics_of_words(wiring: Wiring, parameters: SGNNParameters) -> list[Projection]:
    p = parameters
    if not p.feature_topic_w:
        return []
    start = np.full((wiring.n_topics, wiring.n_features), p.feature_topic_w, dtype=np.int32)
    learns, steps = (p if p.feature_stdp else None), FEATURE_SEED_STEPS
    return [
        _dense(FEATURE, TOPIC, start, p.feature_topic_exp, learns, seed_step=steps[0]),
        _dense(TOPIC, FEATURE, start.T, p.feature_topic_exp, learns, seed_step=steps[1]),
    ]


def _sparse(pre: str, post: str, weights: sparse.csr_matrix, exponent: int) -> Projection:
    return Projection(f"{pre}_to_{post}", pre, post, weights, kind="sparse", weight_exp=exponent)


def _dense(
    pre: str,
    post: str,
    weights: np.ndarray,
    exponent: int,
    learns: SGNNParameters | None = None,
    *,
    seed_step: int = 0,
) -> Projection:
    """All to all; plastic with the rule of the parameters where they are given."""
    return Projection(
        f"{pre}_to_{post}",
        pre,
        post,
        weights,
        kind="learning_dense" if learns else "dense",
        weight_exp=exponent,
        rule=learns.rule_seeded(learns.rng_seed + seed_step) if learns else None,
    )


def _pattern(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Where a matrix has entries, as int32 0/1."""
    found = sparse.csr_matrix(matrix)
    found.eliminate_zeros()
    found.sort_indices()
    ones = np.ones(found.nnz, dtype=np.int32)
    return sparse.csr_matrix((ones, found.indices, found.indptr), shape=found.shape)


def _words(graph: CitationGraph, order: np.ndarray) -> sparse.csr_matrix:
    if graph.features is None:
        raise ParameterError(
            f"features=True needs the words of the papers, and graph {graph.name!r} has none; "
            "use features=False."
        )
    return _pattern(graph.features[order])
