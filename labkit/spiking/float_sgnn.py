"""The spiking citation network in real numbers: what SuperNeuroMAT computes, for many queries.

Each query paper is classified by a fresh copy of the network of `labkit.spiking.float_wiring`: its
neuron is made to spike at step 0, a wave runs along the citations, the topics of labeled papers
that it reaches spike, and STDP leaves the answer in the weights from the query to the topics
[1]_ [2]_. Every step ``t`` of every neuron, in this order::

    v <- v moved towards 0 by its leak
    v <- v + sum over pre of w(pre, post) s_pre(t - 1)      (+ 100 for the query at t = 0)
    s(t) = [v > threshold and not refractory];  where s(t): v <- 0, refractory for ref steps
    w(pre, post) <- w + sum over lags i = 1..min(L, t) of
                    apos_i s_pre(t - i) s_post(t) + aneg_i (1 - s_pre(t - i) s_post(t))

the last line on plastic synapses only. A refractory neuron still integrates its input.

All queries of a batch share one matrix of weights, although each learns its own: what they have
in common, ``w0`` and all ``aneg_i``, is in the matrix, and the rest follows from the spikes alone.
With ``a_i = apos_i - aneg_i`` the plastic current into ``post`` at ``t`` has besides that part

    sum over u < t - 1 of [sum over pre of s_pre(t - 1) s_pre(u)] E_post(u),
    E_post(u) = sum over i of a_i s_post(u + i),  u + i < t.

It is 0 unless a presynaptic neuron spikes twice, and of no effect on spikes unless the postsynaptic
one can: where the refractory period of either outlasts the query it is left out ("lazy", exact).

Sums over synapses run in ascending order of neurons, so that rounding is that of SuperNeuroMAT's
sparse back end for the same order of neurons wherever plasticity is lazy.

References
----------
.. [1] Cong et al., Semi-supervised graph structure learning on neuromorphic computers,
   ICONS 2022.
.. [2] Date et al., SuperNeuro: a fast and scalable simulator for neuromorphic computing,
   ICONS 2023.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.spiking.float_wiring import (
    CITESEER,
    CORA,
    PUBMED,
    QUERY_INPUT,
    FloatNetwork,
    FloatSGNNParameters,
    wire,
)
from labkit.spiking.readout import TOPICS, QueryScores, QueryTrace

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

__all__ = ["CITESEER", "CORA", "PUBMED", "FloatSGNN", "FloatSGNNParameters"]

PLASTICITY = ("auto", "lazy", "full")


class FloatSGNN:
    """Spiking citation network in double precision, equal to SuperNeuroMAT 3.5.

    Parameters
    ----------
    graph : CitationGraph
        Its training papers are the labeled ones.
    parameters : FloatSGNNParameters
        `CORA`, `CITESEER` and `PUBMED` are the published settings.

    Examples
    --------
    >>> from labkit.spiking.simulated import simulated_citation_graph
    >>> graph = simulated_citation_graph(seed=0)
    >>> result = FloatSGNN(graph, CORA).run(graph.test[:5])
    >>> result.scores.shape, result.plasticity
    ((5, 7), 'lazy')
    """

    def __init__(self, graph: CitationGraph, parameters: FloatSGNNParameters = CITESEER) -> None:
        self.graph = graph
        self.parameters = parameters
        self.network: FloatNetwork = wire(graph, parameters)

    def run(
        self, queries: Sequence[int] | np.ndarray, *, plasticity: str = "auto", batch: int = 64
    ) -> QueryScores:
        """Classify papers, each in a fresh copy of the network.

        Parameters
        ----------
        queries : sequence of int
            Ids of papers that are not training papers.
        plasticity : {"auto", "lazy", "full"}
            "full" computes every learned weight that can act; "lazy" only those that are read out,
            and is refused where that would not be exact; "auto" takes "lazy" where it is exact.
        batch : int
            Queries simulated together; only memory and speed depend on it.

        Returns
        -------
        QueryScores
        """
        start = time.perf_counter()
        ids = self._checked(queries)
        require_whole("batch", batch, low=1)
        mode, acting = self._plasticity(plasticity)
        parts = [self._batch(ids[i : i + batch], acting) for i in range(0, len(ids), batch)]
        scores = np.concatenate([score for score, _ in parts])
        spikes = {
            name: np.concatenate([counts[name] for _, counts in parts])
            for name in self.network.populations
        }
        seconds = time.perf_counter() - start
        return QueryScores(ids, scores, spikes, {}, mode, "numpy", seconds)

    def trace(self, query: int) -> QueryTrace:
        """Every step of one query.

        Parameters
        ----------
        query : int
            Id of a paper that is not a training paper.
        """
        ids = self._checked([query])
        network = self.network
        topics = network.populations[TOPICS]
        steps = self._steps(ids, self._plasticity("auto")[1])
        spikes, topic_v = zip(*((s[:, 0], v[topics, 0].copy()) for s, v in steps), strict=True)
        fired = np.stack(spikes)
        weights = self._learned(fired[:, network.neuron[ids]], fired[:, topics, None])[:, 0]
        papers = fired[:, network.neuron]
        fan_out = np.diff(network.weights.indptr)
        return QueryTrace(
            query=int(query),
            window=self.parameters.simtime,
            spikes={name: fired[:, part] for name, part in network.populations.items()},
            first_spike=np.where(papers.any(axis=0), papers.argmax(axis=0), -1),
            weights=weights,
            topic_v=np.stack(topic_v),
            scores=weights[-1],
            synaptic_operations=int((fired.sum(axis=0) * fan_out).sum()),
        )

    def _batch(
        self, ids: np.ndarray, acting: sparse.csr_array
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores, (n, n_topics), and spike counts of each population, (n, simtime)."""
        populations = self.network.populations
        rows, column = self.network.neuron[ids], np.arange(len(ids))
        of_query, of_topic = [], []
        counts: dict[str, list[np.ndarray]] = {name: [] for name in populations}
        for fired, _ in self._steps(ids, acting):
            of_query.append(fired[rows, column])
            of_topic.append(fired[populations[TOPICS]])
            for name, part in populations.items():
                counts[name].append(fired[part].sum(axis=0, dtype=np.int32))
        scores = self._learned(np.stack(of_query), np.stack(of_topic))[-1]
        return scores, {name: np.stack(steps, axis=1) for name, steps in counts.items()}

    def _steps(
        self, ids: np.ndarray, acting: sparse.csr_array
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Spikes (bool) and potentials after each step, (n_neurons, n_queries)."""
        network, steps = self.network, self.parameters.simtime
        weights = network.weights.copy()
        threshold, leak = network.threshold[:, None], network.leak[:, None]
        rest = np.minimum(network.refractory, steps)[:, None]
        learned = _LearnedCurrent(acting, np.subtract(self.parameters.apos, self.parameters.aneg))
        v: np.ndarray = np.zeros((network.n_neurons, len(ids)))
        ready = np.zeros(v.shape, dtype=np.min_scalar_type(2 * steps))
        fired: np.ndarray = np.zeros(v.shape, dtype=bool)
        spikes = fired.astype(float)
        for t in range(steps):
            if leak.any():
                v = np.sign(v) * np.maximum(np.abs(v) - leak, 0)
            active = np.flatnonzero(fired.any(axis=1))
            if active.size:
                v += weights[:, active] @ spikes[active]
            learned.add_to(v)
            if t == 0:
                v[network.neuron[ids], np.arange(len(ids))] += QUERY_INPUT
            fired = (v > threshold) & (ready <= t)
            np.copyto(spikes, fired)
            v *= ~fired
            np.maximum(ready, fired * (t + 1 + rest).astype(ready.dtype), out=ready)
            weights.data += self._common_change(t) * network.plastic
            learned.remember(fired)
            yield fired, v

    def _common_change(self, t: int) -> float:
        """What step t adds to every plastic weight."""
        return float(np.sum(self.parameters.aneg[: min(t, len(self.parameters.aneg))][::-1]))

    def _learned(self, query: np.ndarray, topic: np.ndarray) -> np.ndarray:
        """Weights from the query to the topics after each step, (simtime, n_queries, n_topics).

        Parameters
        ----------
        query : ndarray of bool, shape (simtime, n_queries)
        topic : ndarray of bool, shape (simtime, n_topics, n_queries)
        """
        p = self.parameters
        pair = np.subtract(p.apos, p.aneg)
        spikes = topic.transpose(0, 2, 1)
        weight = np.full(spikes.shape[1:], p.test_to_topic_weight)
        weights = np.empty(spikes.shape)
        for t in range(p.simtime):
            lags = range(min(t, len(pair)), 0, -1)
            recent = sum((pair[i - 1] * query[t - i] for i in lags), start=np.zeros(query.shape[1]))
            weight = weight + (recent[:, None] * spikes[t] + self._common_change(t))
            weights[t] = weight
        return weights

    def _plasticity(self, plasticity: str) -> tuple[str, sparse.csr_array]:
        """Mode, and the plastic synapses whose own learned weight can act during the query."""
        if plasticity not in PLASTICITY:
            raise ParameterError(not_allowed("plasticity", plasticity, PLASTICITY))
        network = self.network
        again = network.refractory < self.parameters.simtime - 1
        acting = network.plastic_synapses(again)
        if plasticity == "lazy" and acting.nnz:
            names = [n for n, part in network.populations.items() if again[part].any()]
            raise ParameterError(
                f"plasticity='lazy' is not exact here: {', '.join(names)} neurons can spike twice "
                f"in {self.parameters.simtime} steps and share plastic synapses; use 'auto', or "
                f"refractory periods of {self.parameters.simtime - 1} or more."
            )
        if plasticity == "full":
            acting = network.plastic_synapses()
        return ("full" if acting.nnz else "lazy"), acting

    def _checked(self, queries: Sequence[int] | np.ndarray) -> np.ndarray:
        ids = np.asarray(queries)
        if ids.ndim != 1 or not ids.size or not np.issubdtype(ids.dtype, np.integer):
            raise ParameterError(f"queries={queries!r}: give the ids of one paper or more.")
        n = self.graph.n_papers
        outside = ids[(ids < 0) | (ids >= n)]
        if outside.size:
            raise ParameterError(f"queries: paper {outside[0]} is not one of 0 to {n - 1}.")
        labeled = ids[np.isin(ids, self.graph.train)]
        if labeled.size:
            raise ParameterError(
                f"queries: {labeled.size} are training papers, the first is {labeled[0]}; their "
                "labels are given to the network. Query validation or test papers."
            )
        return ids.astype(np.int64)


class _LearnedCurrent:
    """Current through what single queries have learned, beyond the common weights.

    Parameters
    ----------
    acting : csr_array of shape (n_neurons, n_neurons)
        1 for each synapse that counts.
    pair : ndarray of shape (n_lags,)
        Weight change of a pair of spikes at lag 1, 2, ...
    """

    def __init__(self, acting: sparse.csr_array, pair: np.ndarray) -> None:
        self._acting = acting
        self._pair = pair
        self._spikes: list[np.ndarray] = []
        self._answers: list[np.ndarray] = []

    def remember(self, fired: np.ndarray) -> None:
        """Note the spikes of a step, and what earlier presynaptic spikes learn from them."""
        if not self._acting.nnz:
            return
        for lag, answer in enumerate(reversed(self._answers[-len(self._pair) :]), start=1):
            answer += self._pair[lag - 1] * fired
        self._spikes.append(fired)
        self._answers.append(np.zeros(fired.shape))

    def add_to(self, v: np.ndarray) -> None:
        """Add the current of the step after the last one remembered."""
        for spikes, answer in zip(self._spikes[:-1], self._answers, strict=False):
            twice = spikes & self._spikes[-1]
            if twice.any():
                v += (self._acting @ twice.astype(float)) * answer
