"""The spiking graph network that classifies papers of a citation graph, in Loihi's integers.

A query paper gets one pulse. Its spike runs along the citations as a wave; labeled papers that the
wave reaches make their topic fire, and the plastic synapses from the query to the topics grow by
spike-timing dependent plasticity, the more the sooner a topic fires. After a window of steps

    score(q, k) = w(q -> k)        predicted topic = argmax_k score(q, k)

[1]_ [2]_. Every query has a window of its own, from which nothing is left but the state of the
random streams: the score of a query depends on its place in the list, not on the other queries.

The network itself is `labkit.spiking.wiring.build_sgnn`; `SGNN` runs it, either as it is
(``plasticity="full"``, all plastic synapses of every window) or with only those that can act
(``"lazy"``, exact under the conditions that `labkit.spiking.windows` states and proves).

Notation: q query, k topic, w learned weight, window steps of a query (the first is the guard).

References
----------
.. [1] Cong et al., Semi-supervised graph structure learning on neuromorphic computers, ICONS 2022.
.. [2] Snyder et al., Transductive spiking graph neural networks for Loihi, GLSVLSI 2024, 608-613;
   its wiring is not published, this is a documented reconstruction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.engine import simulate, simulate_episodes
from labkit.spiking.fixedpoint import WEIGHT_MAX, WEIGHT_MIN
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.readout import QueryScores, QueryTrace
from labkit.spiking.recording import synaptic_operations
from labkit.spiking.windows import check_backend, lazy_obstacles, readout_weights, run_plan
from labkit.spiking.windows_numpy import run_windows
from labkit.spiking.windows_plan import WindowPlan
from labkit.spiking.wiring import (
    OTHER,
    POPULATIONS,
    READOUT,
    TOPIC,
    TRAIN,
    Wiring,
    build_sgnn,
    wire,
)

__all__ = ["PLASTICITY", "SGNN", "SGNNParameters", "Wiring", "build_sgnn", "run_notes", "wire"]

PLASTICITY = ("auto", "lazy", "full")

_WAVE = "a wave needs 4 steps and more to reach a topic"

logger = logging.getLogger(__name__)


class SGNN:
    """The integer network on a citation graph.

    Parameters
    ----------
    graph : CitationGraph
    parameters : SGNNParameters

    Examples
    --------
    A path of four papers, the first of topic 0 and the last of topic 1: each paper between them is
    nearer to one of the labels.

    >>> path = CitationGraph(
    ...     name="path", edges=np.array([[0, 1, 2], [1, 2, 3]]), labels=np.array([0, 0, 1, 1]),
    ...     topics=("left", "right"), features=None,
    ...     train=np.array([0, 3]), validation=np.array([1]), test=np.array([2]),
    ... )
    >>> scores = SGNN(path).run([1, 2])
    >>> scores.predicted("unique"), scores.plasticity
    (array([0, 1]), 'lazy')
    """

    def __init__(self, graph: CitationGraph, parameters: SGNNParameters | None = None) -> None:
        if not isinstance(graph, CitationGraph):
            raise ParameterError(
                f"graph is of type {type(graph).__name__}; give a CitationGraph, for example "
                "load_citation_graph('cora')."
            )
        if not isinstance(parameters, SGNNParameters | None):
            raise ParameterError(
                f"parameters is of type {type(parameters).__name__}; the integer network needs "
                "SGNNParameters, for example SGNNParameters(window=12)."
            )
        self.graph = graph
        self.parameters = SGNNParameters() if parameters is None else parameters
        self.plan = WindowPlan.of(graph, self.parameters)

    @property
    def lazy_obstacles(self) -> tuple[str, ...]:
        """Why lazy plasticity is not exact with these parameters; empty where it is."""
        return lazy_obstacles(self.plan)

    def run(
        self,
        queries: Sequence[int] | np.ndarray,
        *,
        plasticity: str = "auto",
        backend: str = "numpy",
        threads: int = 1,
        device: str = "cpu",
        batch: int = 128,
    ) -> QueryScores:
        """Scores of queries, one window each, in their order.

        Parameters
        ----------
        queries : sequence of int
            Paper ids outside of ``graph.train``; a paper may occur more than once.
        plasticity : {"auto", "lazy", "full"}
            "full" learns every plastic synapse. "lazy" learns only those that are read, and is
            refused where that is not proven exact. "auto" is "lazy" where it is exact.
        backend : {"numpy", "numba", "torch"}
            The integers are the same.
        threads : int
            Of the numpy and numba back ends; does not change the result.
        device : str
            Of the torch back end.
        batch : int
            Windows that run together at most; does not change the result.

        Returns
        -------
        QueryScores
            ``counters`` holds ``silent_queries`` (no topic spiked), ``scores_at_limit`` (of 8
            bits), ``u_wrapped`` and ``v_saturated``; of these two, ``lower_bounds`` says whether
            more may have happened among papers that had fired. "full" adds
            ``weight_saturated`` and ``trace_saturated``. `run_notes` puts them into sentences.

        Raises
        ------
        ParameterError
            A query is a training paper or not in the graph, a choice is unknown, or
            plasticity="lazy" is not exact: says which parameter is in the way.
        """
        check_backend(backend)
        chosen = self._chosen(plasticity)
        rows = self.plan.wiring.rows_of(queries)
        start = time.perf_counter()
        options = {"backend": backend, "threads": threads, "device": device, "batch": batch}
        run = self._lazy if chosen == "lazy" else self._full
        scores, spikes, counters = run(rows, options)
        counters["silent_queries"] = int(np.count_nonzero(spikes[TOPIC].sum(axis=1) == 0))
        at_limit = (scores <= WEIGHT_MIN) | (scores >= WEIGHT_MAX)
        counters["scores_at_limit"] = int(np.count_nonzero(at_limit))
        result = QueryScores(
            queries=np.array(queries, dtype=np.int64),
            scores=scores,
            spikes=_in_order(spikes),
            counters=counters,
            plasticity=chosen,
            backend=backend,
            seconds=time.perf_counter() - start,
        )
        for sentence in _saturation_notes(result):
            logger.warning(sentence)
        return result

    def trace(self, query: int, *, place: int = 0, plasticity: str = "auto") -> QueryTrace:
        """Everything one query does, step by step.

        Parameters
        ----------
        query : int
            Paper id.
        place : int
            Place in a list of queries whose window this is: its random numbers are used, so that
            ``trace(queries[i], place=i)`` shows what ``run(queries)`` did.
        plasticity : {"auto", "lazy", "full"}
            As in `run`; "full" takes the time of ``place + 1`` windows.

        Returns
        -------
        QueryTrace
        """
        require_whole("place", place, low=0)
        rows = self.plan.wiring.rows_of([query])
        lazy = self._chosen(plasticity) == "lazy"
        recorded = self._lazy_trace(rows, place) if lazy else self._full_trace(query, rows, place)
        spikes, weights, topic_v = recorded
        network = build_sgnn(self.graph, self.parameters, [query])
        counts = {name: fired.sum(axis=0) for name, fired in spikes.items()}
        return QueryTrace(
            query=int(query),
            window=self.parameters.window,
            spikes=_in_order(spikes),
            first_spike=self._first_spikes(spikes),
            weights=weights,
            topic_v=topic_v,
            scores=weights[-1],
            synaptic_operations=synaptic_operations(network, counts),
        )

    def _chosen(self, plasticity: str) -> str:
        if plasticity not in PLASTICITY:
            raise ParameterError(not_allowed("plasticity", plasticity, PLASTICITY))
        if plasticity == "full":
            return "full"
        obstacles = self.lazy_obstacles
        if obstacles and plasticity == "lazy":
            raise ParameterError(
                f"plasticity='lazy' is not exact here. {' '.join(obstacles)} Or use "
                "plasticity='full'."
            )
        return "full" if obstacles else "lazy"

    def _lazy(
        self, rows: np.ndarray, options: Mapping[str, Any]
    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
        ran = run_plan(self.plan, rows, **options)
        counters = {"u_wrapped": ran.u_wrapped, "v_saturated": ran.v_saturated}
        counters["lower_bounds"] = int(not self.plan.quiet)
        return readout_weights(ran.topics, self.parameters)[:, -1], dict(ran.counts), counters

    def _full(
        self, rows: np.ndarray, options: Mapping[str, Any]
    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int]]:
        network = build_sgnn(self.graph, self.parameters, self.plan.wiring.other[rows])
        ran = simulate_episodes(network, n_episodes=len(rows), **options)
        names = ("u_wrapped", "v_saturated", "weight_saturated", "trace_saturated")
        counters = {name: sum(getattr(ran.counters, name).values()) for name in names}
        scores = ran.final_weights[READOUT][np.arange(len(rows)), :, rows]
        return scores.astype(np.int32), dict(ran.spike_counts), counters | {"lower_bounds": 0}

    def _lazy_trace(
        self, rows: np.ndarray, place: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        plan, window = self.plan, self.parameters.window
        nodes = np.zeros((window, plan.n_nodes), dtype=bool)
        topic_v = np.zeros((window, plan.wiring.n_topics), dtype=np.int32)

        def keep(step: int, spikes: np.ndarray, v: np.ndarray) -> None:
            nodes[step], topic_v[step] = spikes[:, 0] > 0, v[:, 0]

        ran = run_windows(plan, rows, observe=keep)
        spikes = {layer.name: nodes[:, layer.rows] for layer in plan.layers}
        weights = readout_weights(ran.topics, self.parameters, first=place)[0]
        return spikes | {TOPIC: ran.topics[0]}, weights, topic_v

    def _full_trace(
        self, query: int, rows: np.ndarray, place: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        window = self.parameters.window
        network = build_sgnn(self.graph, self.parameters, [query] * (place + 1))
        ran = simulate(network, window * (place + 1), record=("s_out", "v", "w"))
        spikes = {name: fired[-window:] for name, fired in ran.s_out.items()}
        weights = ran.weights[READOUT][-window:, :, rows[0]].astype(np.int32)
        return spikes, weights, ran.v[TOPIC][-window:]

    def _first_spikes(self, spikes: dict[str, np.ndarray]) -> np.ndarray:
        """Step of each paper's first spike, -1 for none, (n_papers,)."""
        first = np.full(self.graph.n_papers, -1, dtype=np.int64)
        wiring = self.plan.wiring
        for papers, fired in ((wiring.train, spikes[TRAIN]), (wiring.other, spikes[OTHER])):
            first[papers] = np.where(fired.any(axis=0), fired.argmax(axis=0), -1)
        return first


def run_notes(scores: QueryScores) -> tuple[str, ...]:
    """What a reader of the scores should know: silent queries, and values that did not fit.

    Parameters
    ----------
    scores : QueryScores

    Returns
    -------
    tuple of str
        One sentence for each thing that happened.
    """
    silent, n = scores.counters.get("silent_queries", 0), len(scores.queries)
    notes = []
    if silent == n:
        notes.append(
            "The network is dead: no topic spiked for any query. Raise graph_w above paper_vth, "
            f"train_w above topic_vth, or window ({_WAVE})."
        )
    elif silent:
        notes.append(
            f"No topic spiked for {silent} of {n} queries, so all topics tie: no labeled paper is "
            f"in reach. A larger window reaches farther ({_WAVE})."
        )
    return (*notes, *_saturation_notes(scores))


def _in_order(spikes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: spikes[name] for name in POPULATIONS if name in spikes}


def _saturation_notes(scores: QueryScores) -> list[str]:
    counters = scores.counters
    least = "at least " if counters.get("lower_bounds") else ""
    sentences = {
        "scores_at_limit": "{n} of the scores are at the limit of 8 bits, where topics tie that "
        "differ; lower A_plus or x1_impulse.",
        "u_wrapped": f"Currents wrapped around 24 bits {least}{{n}} times; lower the weights or "
        "their exponents.",
        "v_saturated": f"Voltages were cut off at 24 bits {least}{{n}} times; lower the weights or "
        "thresholds.",
    }
    return [text.format(n=counters[name]) for name, text in sentences.items() if counters.get(name)]
