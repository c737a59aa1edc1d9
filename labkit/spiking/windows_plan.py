"""The SGNN with its plastic weights held at their start, laid out for many queries at once.

Nodes are numbered train, other, feature; their mutual synapses are one symmetric matrix, since
every pair is joined both ways with one weight. A nonnegative exponent is multiplied into the
weights. A negative one shifts the sum of each connection by itself, which is the sum over the
senders of one population (`WindowPlan.right_shifts`). Topics stand apart: all their synapses to a
population are equal, so that only counts of spikes are needed.

`WindowPlan.quiet` holds where no current can wrap and no voltage can saturate, by the largest input
that a neuron of each population could get if all others spiked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from labkit.spiking.citation import CitationGraph
from labkit.spiking.fixedpoint import INPUT_SHIFT, STATE_LIMIT, WEIGHT_MAX, shift
from labkit.spiking.network import INPUT_LIMIT
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.wiring import FEATURE, OTHER, TOPIC, TRAIN, Wiring, wire

LEARNED_MAX = WEIGHT_MAX + 1
"""Largest magnitude of a learned weight."""
INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True)
class Layer:
    """A population of nodes: its rows in the matrix of synapses, and its neurons.

    Attributes
    ----------
    name : str
    rows : slice
    threshold : int
        Before it is aligned with the state (``vth``).
    dv, refractory : int
    once : bool
        No neuron can fire twice in a window.
    """

    name: str
    rows: slice
    threshold: int
    dv: int
    refractory: int
    once: bool

    @property
    def n(self) -> int:
        """Number of neurons."""
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True)
class WindowSpikes:
    """What a batch of queries did.

    Attributes
    ----------
    topics : ndarray of bool, shape (n_queries, window, n_topics)
        Spikes of the topics.
    counts : mapping
        Population to its number of spikes, int32 of shape (n_queries, window).
    u_wrapped, v_saturated : int
        Events among neurons that are not refractory.
    """

    topics: np.ndarray
    counts: Mapping[str, np.ndarray]
    u_wrapped: int = 0
    v_saturated: int = 0


class WindowKernel(Protocol):
    """A back end: the spikes of queries, given as positions among the other papers."""

    def __call__(self, plan: WindowPlan, rows: np.ndarray) -> WindowSpikes:
        """Run one window per query."""


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """A wiring and its parameters, laid out for the back ends.

    Attributes
    ----------
    wiring : Wiring
    parameters : SGNNParameters
    """

    wiring: Wiring
    parameters: SGNNParameters

    @classmethod
    def of(cls, graph: CitationGraph, parameters: SGNNParameters) -> WindowPlan:
        """Plan of a graph."""
        return cls(wire(graph, features=parameters.features), parameters)

    @property
    def n_papers(self) -> int:
        """Training and other papers."""
        return self.wiring.n_train + self.wiring.n_other

    @property
    def n_nodes(self) -> int:
        """Papers and words."""
        return self.n_papers + self.wiring.n_features

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Populations of nodes: train, other and, with words, feature."""
        p, n_train = self.parameters, self.wiring.n_train
        papers = (p.paper_vth, p.paper_dv)
        made = [
            self._layer(TRAIN, slice(0, n_train), *papers, p.ref_train),
            self._layer(OTHER, slice(n_train, self.n_papers), *papers, p.ref_other),
        ]
        if self.wiring.n_features:
            words = (p.feature_vth, p.feature_dv, p.ref_feature)
            made.append(self._layer(FEATURE, slice(self.n_papers, self.n_nodes), *words))
        return tuple(made)

    @cached_property
    def topic_layer(self) -> Layer:
        """The topics; `rows` count among themselves."""
        rows = slice(0, self.wiring.n_topics)
        return self._layer(TOPIC, rows, self.parameters.topic_vth, self.parameters.topic_dv, 0)

    @cached_property
    def synapses(self) -> sparse.csr_matrix:
        """Synapses between nodes, int32; nonnegative exponents are multiplied in."""
        p, wiring = self.parameters, self.wiring
        papers = wiring.citations * (p.graph_w << max(p.graph_exp, 0))
        if wiring.words is None:
            return sparse.csr_matrix(papers)
        words = wiring.words * (p.feature_w << max(p.feature_exp, 0))
        return sparse.csr_matrix(sparse.bmat([[papers, words], [words.T, None]], dtype=np.int32))

    @property
    def right_shifts(self) -> tuple[int, int]:
        """Remaining right shifts: of sums of citations, and of sums between papers and words."""
        p = self.parameters
        return -min(p.graph_exp, 0), -min(p.feature_exp, 0) if self.wiring.n_features else 0

    @property
    def folded(self) -> bool:
        """Whether one product with `synapses` is the input, without further shifts."""
        return self.right_shifts == (0, 0)

    @cached_property
    def teaching(self) -> sparse.csr_matrix:
        """Synapses from the training papers to the topics, int32 of shape (n_topics, n_train)."""
        wiring = self.wiring
        weights = np.full(wiring.n_train, self.parameters.train_w, dtype=np.int32)
        places = (wiring.train_topic, np.arange(wiring.n_train))
        return sparse.csr_matrix((weights, places), shape=(wiring.n_topics, wiring.n_train))

    @property
    def taught(self) -> int:
        """Input of a training paper from its topic's spike."""
        return _shifted(self.parameters.train_w, self.parameters.train_exp)

    def to_papers(self, n_topic_spikes: Any) -> Any:
        """Input of each other paper from so many topic spikes (array or tensor of int32)."""
        return shift(n_topic_spikes * self.parameters.test_w, self.parameters.test_exp)

    def to_words(self, n_topic_spikes: Any) -> Any:
        """Input of each word from so many topic spikes (array or tensor of int32)."""
        p = self.parameters
        return shift(n_topic_spikes * p.feature_topic_w, p.feature_topic_exp)

    def to_topics(self, taught: Any, n_other: Any, n_feature: Any) -> Any:
        """Input of the topics.

        Parameters
        ----------
        taught : array or tensor of int32, shape (n_topics, n_queries)
            Summed weights of the spiking training papers of each topic.
        n_other, n_feature : array or tensor of int32, shape (n_queries,)
            Spikes of the other papers and of the words.
        """
        return (
            shift(taught, self.parameters.train_exp)
            + self.to_papers(n_other)
            + self.to_words(n_feature)
        )

    @cached_property
    def largest_inputs(self) -> dict[str, int]:
        """Bound on the input of a neuron of each population, in the full network too."""
        p, sums = self.parameters, self._largest_sums
        sizes = self.row_sums
        bounds = {layer.name: int(sizes[layer.rows].max(initial=0)) for layer in self.layers}
        bounds[TRAIN] += self.taught
        bounds[OTHER] += max(p.pulse, _shifted(sums["topic to other"], p.test_exp))
        if FEATURE in bounds:
            bounds[FEATURE] += _shifted(sums["topic to feature"], p.feature_topic_exp)
        bounds[TOPIC] = (
            _shifted(sums["train to topic"], p.train_exp)
            + _shifted(sums["other to topic"], p.test_exp)
            + _shifted(sums["feature to topic"], p.feature_topic_exp)
        )
        return bounds

    @property
    def _largest_sums(self) -> dict[str, int]:
        """Largest sum of weights that enters a neuron through a connection, before its shift."""
        p, wiring = self.parameters, self.wiring
        word = LEARNED_MAX if p.feature_stdp else p.feature_topic_w
        return {
            "train to topic": int(np.bincount(wiring.train_topic).max()) * p.train_w,
            "other to topic": wiring.n_other * p.test_w,
            "topic to other": wiring.n_topics * LEARNED_MAX,
            "feature to topic": wiring.n_features * word,
            "topic to feature": wiring.n_topics * word,
        }

    @property
    def overflows(self) -> bool:
        """Whether a sum may exceed 32 bits before or after it is shifted and aligned."""
        sums = max(self._largest_sums.values())
        return sums > INT32_MAX or max(self.largest_inputs.values()) > INPUT_LIMIT

    @cached_property
    def row_sums(self) -> np.ndarray:
        """Summed synapses of each node, int64 of shape (n_nodes,)."""
        return self.synapses.astype(np.int64) @ np.ones(self.n_nodes, dtype=np.int64)

    @cached_property
    def compact_synapses(self) -> sparse.csr_matrix:
        """`synapses` in 16 bits where they hold every sum: their product is three times as fast."""
        narrow = self.folded and self.row_sums.max(initial=0) <= np.iinfo(np.uint16).max
        return self.synapses.astype(np.uint16) if narrow else self.synapses

    @cached_property
    def quiet(self) -> bool:
        """Whether no current can wrap and no voltage can saturate."""
        return all(
            (layer.threshold + self.largest_inputs[layer.name]) << INPUT_SHIFT < STATE_LIMIT
            for layer in (*self.layers, self.topic_layer)
        )

    def prepare(self) -> None:
        """Compute what is computed once, before several threads ask for it."""
        _ = self.layers, self.topic_layer, self.compact_synapses, self.teaching, self.quiet

    def _layer(self, name: str, rows: slice, vth: int, dv: int, refractory: int) -> Layer:
        return Layer(name, rows, vth, dv, refractory, once=refractory >= self.parameters.window)


def _shifted(value: int, exponent: int) -> int:
    return value << exponent if exponent > 0 else value >> -exponent
