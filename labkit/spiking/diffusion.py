"""Spiking label diffusion: labels spread as spikes over citations and similar words.

There is a neuron for every pair of a paper ``i`` and a topic ``k``. The neurons of one topic form a
copy of the graph with the 8-bit weights ``W`` of :mod:`labkit.spiking.neighbors`; copies are
independent. A training paper's neuron of its own topic gets a bias above the threshold and spikes
at every step. With ``s`` the spikes of a step, 0 or 1, and du = 4095,

    a(i, k, t) = sum_j W[i, j] s(j, k, t - 1)                               synaptic input
    v <- trunc(v (4096 - dv) / 4096) + (a << 6) + (bias << 6);  where v > vth << 6: spike, v <- 0

in the integer arithmetic of Loihi 2 (:mod:`labkit.spiking.fixedpoint`). A paper is given the topic
with the largest total synaptic input ``sum_t a(i, k, t)``; counting spikes instead is coarser. With
a low threshold every topic runs through the graph as a wave until all neurons spike at every step:
what decides is how early, and from how many sides, the wave arrived. With a threshold above 255 the
rates ``r`` stay low and approach the linear diffusion ``r = W r / vth``, as in label spreading [1]_
(a spike discards what exceeds the threshold, so that they stay below it).

This network is labkit's own: no weight is trained. Weights and settings come from a host; all that
a chip would compute is integer, and `FittedDiffusion.to_network` gives the same computation as a
network for any engine. The optional readout (:mod:`labkit.spiking.hybrid`) is trained off-chip in
floating point and enters as bias currents.

Notation: n papers, K topics; vth threshold, du and dv decays of 4096, ``a`` synaptic input.

References
----------
.. [1] Zhou et al., Learning with local and global consistency, NeurIPS 16 (2003).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.diffusion_parameters import DiffusionParameters
from labkit.spiking.fixedpoint import INPUT_SHIFT, LIFParameters, LIFState, lif_step
from labkit.spiking.hybrid import bias_currents, readout_probabilities, smoothed_words
from labkit.spiking.neighbors import mixed_graph, quantized, word_neighbors
from labkit.spiking.network import Network
from labkit.spiking.projections import Population, Projection
from labkit.spiking.readout import TieReport, tie_aware_accuracy

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

logger = logging.getLogger(__name__)

DECISIONS = ("input", "spikes")
POPULATION, PROJECTION = "paper_topic", "graph"
"""Names in the network that `FittedDiffusion.to_network` makes."""


class DiffusionStep(NamedTuple):
    """What one step of the diffusion did.

    Attributes
    ----------
    input : ndarray of shape (n_papers, n_topics)
        Synaptic input.
    spikes : ndarray of shape (n_papers, n_topics)
        0 or 1.
    counters : mapping of str to int
        Saturated voltages and wrapped currents of this step.
    """

    input: np.ndarray
    spikes: np.ndarray
    counters: dict[str, int]


def diffuse(
    weights: sparse.csr_matrix, bias: np.ndarray, parameters: DiffusionParameters
) -> Iterator[DiffusionStep]:
    """Run the diffusion step by step.

    Parameters
    ----------
    weights : csr_matrix of shape (n_papers, n_papers) of int32
        From paper (column) to paper (row), the same for every topic.
    bias : ndarray of shape (n_papers, n_topics) of int
        Bias mantissas.
    parameters : DiffusionParameters
        `vth`, `du`, `dv` and `steps` are used.

    Yields
    ------
    DiffusionStep
    """
    lif = _neurons(parameters, bias)
    state = LIFState.zeros((bias.size,))
    spikes = np.zeros(bias.shape, dtype=np.int32)
    for time_step in range(1, parameters.steps + 1):
        a = weights @ spikes
        fired, state, counts = lif_step(a.ravel(), state, lif, time_step=time_step)
        spikes = fired.reshape(bias.shape).astype(np.int32)
        yield DiffusionStep(a, spikes, counts._asdict())


def _neurons(parameters: DiffusionParameters, bias: np.ndarray) -> LIFParameters:
    return LIFParameters(
        vth=parameters.vth,
        du=parameters.du,
        dv=parameters.dv,
        bias_mant=bias.ravel(),
        bias_exp=INPUT_SHIFT,
    )


class DiffusionInputs:
    """Weights and biases of a graph for many settings; what settings share is computed once.

    Only the topics of the training papers are read.

    Parameters
    ----------
    graph : CitationGraph
    """

    def __init__(self, graph: CitationGraph) -> None:
        self.graph = graph
        self._words: dict[int, sparse.csr_matrix] = {}
        self._neighbors: dict[tuple[int, int], sparse.csr_matrix] = {}
        self._probabilities: dict[float, np.ndarray] = {}

    def graph_weights(self, parameters: DiffusionParameters) -> sparse.csr_matrix:
        """Weights ``G`` before they are made whole numbers, (n_papers, n_papers) from 0 to 1."""
        if not parameters.knn:
            return mixed_graph(self.graph, mix=1.0, neighbors=None)
        key = (parameters.word_hops, parameters.knn)
        if key not in self._neighbors:
            self._neighbors[key] = word_neighbors(self._smoothed(key[0]), key[1])
        return mixed_graph(self.graph, mix=parameters.mix, neighbors=self._neighbors[key])

    def probabilities(self, parameters: DiffusionParameters) -> np.ndarray | None:
        """Topic probabilities of the off-chip readout, (n_papers, n_topics), or None without."""
        if parameters.readout is None:
            return None
        C = float(parameters.readout_C)
        if C not in self._probabilities:
            words = self._smoothed(2)
            self._probabilities[C] = readout_probabilities(self.graph, C=C, words=words)
        return self._probabilities[C]

    def bias(self, parameters: DiffusionParameters) -> np.ndarray:
        """Bias mantissas, (n_papers, n_topics) of int64."""
        graph, p = self.graph, self.probabilities(parameters)
        bias = np.zeros((graph.n_papers, graph.n_topics), dtype=np.int64)
        if p is not None:
            bias += bias_currents(p, vth=parameters.vth, scale=parameters.readout_scale)
        bias[graph.train, graph.labels[graph.train]] = parameters.label_bias
        return bias

    def _smoothed(self, hops: int) -> sparse.csr_matrix:
        if hops not in self._words:
            self._words[hops] = smoothed_words(self.graph, hops=hops)
        return self._words[hops]


@dataclass(frozen=True, eq=False)
class FittedDiffusion:
    """A diffusion that ran to its end.

    Attributes
    ----------
    graph : CitationGraph
    parameters : DiffusionParameters
    graph_weights : csr_matrix of shape (n_papers, n_papers), float64
        Weights before they were made whole numbers, 0 to 1.
    weights : csr_matrix of shape (n_papers, n_papers), int32
        8-bit weights in use, 1 to 255.
    bias : ndarray of shape (n_papers, n_topics)
        Bias mantissas.
    scores : ndarray of shape (n_papers, n_topics), int64
        Total synaptic input; the largest of a row is the paper's topic.
    spike_counts : ndarray of shape (n_papers, n_topics), int64
    history : DataFrame
        One row a step: step, spikes, synaptic_operations, validation (expected accuracy on the
        validation papers if the run had ended here; nan without such papers).
    counters : dict
        Saturated voltages and wrapped currents over the run.
    probabilities : ndarray of shape (n_papers, n_topics), optional
        Of the off-chip readout.
    """

    graph: CitationGraph
    parameters: DiffusionParameters
    graph_weights: sparse.csr_matrix = field(repr=False)
    weights: sparse.csr_matrix = field(repr=False)
    bias: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    spike_counts: np.ndarray = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    counters: dict[str, int]
    probabilities: np.ndarray | None = field(default=None, repr=False)

    @property
    def synaptic_operations(self) -> int:
        """Spikes times the synapses that each was sent through."""
        return int(self.history["synaptic_operations"].sum())

    @cached_property
    def predicted(self) -> np.ndarray:
        """Topic of each paper, (n_papers,); the first in label order at a tie."""
        return self.scores.argmax(axis=1)

    def report(self, papers: np.ndarray, *, decision: str = "input") -> TieReport:
        """Accuracy on some papers under four rules for ties, with intervals.

        Parameters
        ----------
        papers : ndarray of shape (n,)
            Paper ids outside of ``graph.train``, with known topics.
        decision : {"input", "spikes"}
            Largest total synaptic input, or most spikes.

        Returns
        -------
        TieReport

        Raises
        ------
        ParameterError
            An id is a training paper or not in the graph, or `decision` is unknown.
        """
        if decision not in DECISIONS:
            raise ParameterError(not_allowed("decision", decision, DECISIONS))
        scores = self.scores if decision == "input" else self.spike_counts
        ids = _unlabeled_ids(self.graph, papers)
        return tie_aware_accuracy(scores[ids], self.graph.labels[ids])

    def accuracy(self, papers: np.ndarray, *, decision: str = "input") -> float:
        """Expected accuracy on some papers: ties are drawn at random, see `report`."""
        return self.report(papers, decision=decision).expected

    def raster(self) -> np.ndarray:
        """Spikes, bool of shape (steps, n_papers, n_topics); runs the network again."""
        steps = diffuse(self.weights, self.bias, self.parameters)
        return np.stack([step.spikes.astype(bool) for step in steps])

    def to_network(self, topics: Sequence[int] | None = None) -> Network:
        """The same computation as a network for an engine, Lava or a resource report.

        Parameters
        ----------
        topics : sequence of int, optional
            Topics to keep, as copies do not influence each other. Default: all.

        Returns
        -------
        Network
            One population ``"paper_topic"``; neuron ``i * len(topics) + j`` is paper i and topic
            ``topics[j]``. With du = 4095 its ``u >> 6`` summed over the steps is the score.

        Examples
        --------
        >>> from labkit.spiking.simulated import simulated_citation_graph
        >>> fitted = SpikingLabelDiffusion().fit(simulated_citation_graph())
        >>> fitted.to_network(topics=[0, 3]).n_neurons
        5416
        """
        K = self.graph.n_topics
        chosen = np.arange(K) if topics is None else np.asarray(topics, dtype=np.int64)
        if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= K:
            raise ParameterError(f"topics={topics} is not allowed; use numbers from 0 to {K - 1}.")
        bias = self.bias[:, chosen]
        copies = sparse.identity(len(chosen), dtype=np.int32, format="csr")
        weights = sparse.kron(self.weights, copies, format="csr").astype(np.int32)
        population = Population(POPULATION, bias.size, _neurons(self.parameters, bias))
        projection = Projection(PROJECTION, POPULATION, POPULATION, weights, kind="sparse")
        return Network((population,), (projection,), {})


class SpikingLabelDiffusion:
    """Classifies the papers of a citation graph by spikes that spread from the labeled ones.

    Parameters
    ----------
    parameters : DiffusionParameters, optional

    See Also
    --------
    select_parameters : choose settings on the validation papers.
    """

    def __init__(self, parameters: DiffusionParameters | None = None) -> None:
        self.parameters = DiffusionParameters() if parameters is None else parameters

    def fit(
        self, graph: CitationGraph, *, inputs: DiffusionInputs | None = None
    ) -> FittedDiffusion:
        """Run the diffusion on all papers at once.

        Parameters
        ----------
        graph : CitationGraph
            Topics of the training papers are injected; those of the validation papers are read
            for the history only.
        inputs : DiffusionInputs, optional
            Of this graph, to save time over several fits.

        Returns
        -------
        FittedDiffusion

        Raises
        ------
        ParameterError
            The settings need words and the graph has none, or `inputs` are of another graph.
        """
        inputs = DiffusionInputs(graph) if inputs is None else inputs
        if inputs.graph is not graph:
            raise ParameterError(
                f"inputs are of {inputs.graph!r} and not of the graph given; leave them out."
            )
        G = inputs.graph_weights(self.parameters)
        W, bias = quantized(G), inputs.bias(self.parameters)
        total = np.zeros(bias.shape, dtype=np.int64)
        spike_counts = np.zeros(bias.shape, dtype=np.int64)
        fan_out = np.bincount(W.indices, minlength=graph.n_papers)
        counters: dict[str, int] = {}
        rows = []
        for number, step in enumerate(diffuse(W, bias, self.parameters), start=1):
            total += step.input
            spike_counts += step.spikes
            sent = step.spikes.sum(axis=1)
            rows.append((number, sent.sum(), sent @ fan_out, validation_accuracy(graph, total)))
            for name, count in step.counters.items():
                counters[name] = counters.get(name, 0) + int(count)
        _warn_about(counters)
        columns = ["step", "spikes", "synaptic_operations", "validation"]
        return FittedDiffusion(
            graph=graph,
            parameters=self.parameters,
            graph_weights=G,
            weights=W,
            bias=bias,
            scores=total,
            spike_counts=spike_counts,
            history=pd.DataFrame(rows, columns=columns),
            counters=counters,
            probabilities=inputs.probabilities(self.parameters),
        )


def validation_accuracy(graph: CitationGraph, scores: np.ndarray) -> float:
    """Expected accuracy of scores (n_papers, n_topics) on validation papers; nan without any."""
    if not len(graph.validation):
        return float("nan")
    papers = graph.validation
    return tie_aware_accuracy(scores[papers], graph.labels[papers]).expected


def _unlabeled_ids(graph: CitationGraph, papers: np.ndarray) -> np.ndarray:
    ids = np.asarray(papers)
    if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu":
        raise ParameterError(
            f"papers is an array of {ids.dtype} of shape {ids.shape}; give one or more whole paper "
            "ids in a list, for example graph.test."
        )
    outside = ids[(ids < 0) | (ids >= graph.n_papers)]
    if len(outside):
        raise ParameterError(
            f"papers names paper {outside[0]}; the graph has papers 0 to {graph.n_papers - 1}."
        )
    given = ids[np.isin(ids, graph.train)]
    if len(given):
        raise ParameterError(
            f"papers names paper {given[0]}, whose topic was given to the network; leave training "
            "papers out."
        )
    return ids


def _warn_about(counters: dict[str, int]) -> None:
    for name, count in counters.items():
        if count:
            logger.warning("%s: %d times in this run; lower the weights or vth", name, count)
