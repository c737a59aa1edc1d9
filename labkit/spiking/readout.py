"""Scores of queries, what one query did, and accuracies that say how they treat ties.

A query paper is classified by the topic whose score is largest. In this network many queries end
with several topics at the same largest score, so a single accuracy hides a choice [1]_. With
``T(q)`` the topics tied at the largest score of query ``q`` and ``y(q)`` its label, four rules are
reported:

    unique(q)   = 1 if T(q) = {y(q)}             the right topic is the sole winner
    expected(q) = [y(q) in T(q)] / |T(q)|        a winner is drawn at random
    first(q)    = 1 if min T(q) = y(q)           the first topic in label order wins
    any(q)      = 1 if y(q) in T(q)              the right topic is among the winners

The accuracy is the mean over queries; ``expected`` is the honest headline.

Intervals are Wilson's 95 % score intervals [2]_ for a mean ``p`` of ``n`` queries,

    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n),  z = 1.96.

The values of ``expected`` lie between 0 and 1, not only at its ends, so that their variance ``s^2``
is below ``p (1 - p)``. Their ``n`` is replaced by ``n p (1 - p) / s^2``, the number of right/wrong
queries whose mean would be as certain; without ties it is ``n`` itself. Both moments are taken
after ``z^2/2`` right and ``z^2/2`` wrong queries have been added, as Wilson's center does, so that
an interval never has width 0.

References
----------
.. [1] Cong et al., Semi-supervised graph structure learning on neuromorphic computers, ICONS 2022;
   its published code counts the rule ``any``.
.. [2] Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.choices import not_allowed
from labkit.errors import MissingDataError, ParameterError
from labkit.spiking.storage import read_arrays, require_parent, write_arrays

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

TIE_RULES = ("expected", "unique", "first", "any")
"""How a query with several winning topics counts; the headline first."""

TOPICS = "topic"
"""Name of the population of topic neurons."""

Z95 = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % above it."""


@dataclass(frozen=True)
class QueryScores:
    """What a network answered to each query.

    Attributes
    ----------
    queries : ndarray of shape (n_queries,)
        Paper ids, in the order in which they ran.
    scores : ndarray of shape (n_queries, n_topics)
        Learned weights from the query to each topic; the largest wins.
    spikes : mapping
        Population to its number of spikes at every step, (n_queries, window).
    counters : mapping
        What the arithmetic met, for example saturated weights.
    plasticity : str
        How learning was computed.
    backend : str
        What computed it.
    seconds : float
        Wall time of the run.
    """

    queries: np.ndarray
    scores: np.ndarray
    spikes: Mapping[str, np.ndarray]
    counters: Mapping[str, int]
    plasticity: str
    backend: str
    seconds: float

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or len(self.scores) != len(self.queries):
            raise ParameterError(
                f"scores of shape {self.scores.shape} for {len(self.queries)} queries; "
                "give one row a query and one column a topic."
            )

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return int(self.scores.shape[1])

    @property
    def winners(self) -> np.ndarray:
        """Whether each topic has the largest score of its query, (n_queries, n_topics)."""
        return _winners(self.scores)

    @property
    def tied(self) -> np.ndarray:
        """Number of topics that share the largest score, (n_queries,); 1 is a sole winner."""
        return self.winners.sum(axis=1)

    @property
    def silent(self) -> np.ndarray:
        """Whether no topic neuron spiked, (n_queries,)."""
        if TOPICS not in self.spikes:
            raise ParameterError(f"spikes: the population {TOPICS!r} was not counted in this run.")
        return self.spikes[TOPICS].sum(axis=1) == 0

    def predicted(self, tie_rule: str = "first") -> np.ndarray:
        """One topic for each query.

        Parameters
        ----------
        tie_rule : {"first", "unique"}
            At a tie, the first of the winners in label order, or -1. The rules "expected" and
            "any" are accuracies without a prediction of their own.

        Returns
        -------
        ndarray of shape (n_queries,)
        """
        if tie_rule not in ("first", "unique"):
            raise ParameterError(not_allowed("tie_rule", tie_rule, ("first", "unique")))
        first = self.winners.argmax(axis=1)
        return first if tie_rule == "first" else np.where(self.tied == 1, first, -1)

    def save(self, path: Path | str) -> Path:
        """Write everything to one ``.npz`` file; an older file is replaced whole or not at all."""
        path = Path(path)
        require_parent("path", path)
        info = {name: getattr(self, name) for name in ("plasticity", "backend", "seconds")}
        info["counters"] = {name: int(count) for name, count in self.counters.items()}
        arrays: dict[str, Any] = {"queries": self.queries, "scores": self.scores}
        arrays |= {f"spikes.{name}": counts for name, counts in self.spikes.items()}
        write_arrays(path, arrays | {"info": np.array(json.dumps(info))})
        return path

    @classmethod
    def load(cls, path: Path | str) -> QueryScores:
        """Read what `save` wrote.

        Raises
        ------
        MissingDataError
            There is no such file.
        ParameterError
            The file is damaged or not of this kind.
        """
        if not Path(path).is_file():
            raise MissingDataError(f"{path} does not exist; give a file that save() wrote.")
        arrays, _ = read_arrays(Path(path))
        prefix = "spikes."
        spikes = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        try:
            info = json.loads(str(arrays["info"]))
            return cls(arrays["queries"], arrays["scores"], spikes, **info)
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(
                f"{path} holds no scores of queries ({error}); give a file that "
                "QueryScores.save wrote."
            ) from error


@dataclass(frozen=True)
class QueryTrace:
    """Every step of one query.

    Attributes
    ----------
    query : int
        Paper id.
    window : int
        Steps.
    spikes : mapping
        Population to whether each neuron spiked, (window, n) of bool. Row i of a population of
        papers is the i-th paper of its ascending ids.
    first_spike : ndarray of shape (n_papers,)
        Step of each paper's first spike, -1 for none.
    weights : ndarray of shape (window, n_topics)
        Learned weights from the query to the topics after each step.
    topic_v : ndarray of shape (window, n_topics)
        Membrane voltage of the topic neurons after each step.
    scores : ndarray of shape (n_topics,)
        Weights after the last step.
    synaptic_operations : int
        Spikes times the synapses that each was sent through.
    """

    query: int
    window: int
    spikes: Mapping[str, np.ndarray]
    first_spike: np.ndarray
    weights: np.ndarray
    topic_v: np.ndarray
    scores: np.ndarray
    synaptic_operations: int


@dataclass(frozen=True)
class TieReport:
    """Accuracy under four rules for ties, with 95 % intervals.

    Attributes
    ----------
    expected, unique, first, any : float
        Accuracy by each rule, see the module.
    n : int
        Queries.
    tied : float
        Share of queries with more than one winner.
    undecided : float
        Share of queries with all topics tied; 0 where there is only one topic.
    intervals : mapping
        Rule to (low, high).
    """

    expected: float
    unique: float
    first: float
    any: float
    n: int
    tied: float
    undecided: float
    intervals: Mapping[str, tuple[float, float]]

    def frame(self) -> pd.DataFrame:
        """One row a rule: columns rule, accuracy, low, high, n."""
        rows = [(rule, getattr(self, rule), *self.intervals[rule], self.n) for rule in TIE_RULES]
        return pd.DataFrame(rows, columns=["rule", "accuracy", "low", "high", "n"])


def tie_aware_accuracy(scores: QueryScores | np.ndarray, labels: np.ndarray) -> TieReport:
    """Accuracy under four rules for ties.

    Parameters
    ----------
    scores : QueryScores or ndarray of shape (n_queries, n_topics)
        The largest of a row wins.
    labels : ndarray
        With `QueryScores` the labels of all papers of the graph, (n_papers,); with an array of
        scores one label a row, (n_queries,).

    Returns
    -------
    TieReport

    Raises
    ------
    ParameterError
        There is no query, a score is nan, or a query has no known label (-1).

    Examples
    --------
    Two queries of topic 0: the first ties with topic 1, the second is decided.

    >>> report = tie_aware_accuracy(np.array([[3, 3, 1], [2, 1, 0]]), np.array([0, 0]))
    >>> report.unique, report.expected, report.first, report.any
    (0.5, 0.75, 1.0, 1.0)
    """
    values, right = _values_and_labels(scores, labels)
    credit = _credit(values, right)
    tied = _winners(values).sum(axis=1)
    means = {rule: float(credit[rule].mean()) for rule in TIE_RULES}
    intervals = {rule: mean_interval(credit[rule]) for rule in TIE_RULES}
    return TieReport(
        **means,
        n=len(right),
        tied=float((tied > 1).mean()),
        undecided=float(((tied > 1) & (tied == values.shape[1])).mean()),
        intervals=intervals,
    )


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values between 0 and 1, see the module.

    Parameters
    ----------
    values : ndarray of shape (n,)

    Returns
    -------
    tuple of float
        Low and high, within 0 and 1.

    Examples
    --------
    >>> [round(x, 4) for x in mean_interval(np.array([1, 1, 1, 0, 0]))]
    [0.2307, 0.8824]
    """
    n, half = len(values), Z95**2 / 2
    padded = (float(values.sum()) + half) / (n + 2 * half)
    squares = float(((values - padded) ** 2).sum()) + half * (padded**2 + (1 - padded) ** 2)
    certain = n * padded * (1 - padded) / (squares / (n + 2 * half))
    return _wilson(float(values.mean()), certain)


def dead(scores: QueryScores) -> float:
    """Share of queries for which no topic neuron spiked: nothing was learned from them."""
    return float(scores.silent.mean())


def accuracy_by_hops(graph: CitationGraph, scores: QueryScores) -> pd.DataFrame:
    """Expected accuracy against the distance to the nearest labeled paper.

    Parameters
    ----------
    graph : CitationGraph
        The graph that was queried; its training papers are the labeled ones.
    scores : QueryScores

    Returns
    -------
    DataFrame
        One row a distance, ascending: hops (-1 where no path leads to a labeled paper), n, share
        (of all queries), expected, low, high (95 %), silent (share of these queries for which no
        topic spiked, which is: no label was reached in the window).
    """
    values, right = _values_and_labels(scores, graph.labels)
    credit = _credit(values, right)["expected"]
    hops = graph.hops_to_labels()[scores.queries]
    rows = []
    for distance in np.unique(hops):
        here = hops == distance
        n, mean = int(here.sum()), float(credit[here].mean())
        low, high = mean_interval(credit[here])
        silent = float(scores.silent[here].mean())
        rows.append((int(distance), n, n / len(hops), mean, low, high, silent))
    columns = ["hops", "n", "share", "expected", "low", "high", "silent"]
    return pd.DataFrame(rows, columns=columns)


def _winners(values: np.ndarray) -> np.ndarray:
    return values == values.max(axis=1, keepdims=True)


def _credit(values: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """Credit of each query by each rule, from 0 to 1, (n_queries,)."""
    winners = _winners(values)
    tied = winners.sum(axis=1)
    hit = winners[np.arange(len(right)), right].astype(float)
    return {
        "expected": hit / tied,
        "unique": hit * (tied == 1),
        "first": (winners.argmax(axis=1) == right).astype(float),
        "any": hit,
    }


def _wilson(mean: float, n: float) -> tuple[float, float]:
    center = (mean + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    spread = Z95 * np.sqrt(mean * (1 - mean) / n + Z95**2 / (4 * n**2)) / (1 + Z95**2 / n)
    return max(0.0, float(center - spread)), min(1.0, float(center + spread))


def _values_and_labels(
    scores: QueryScores | np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, (n_queries, n_topics), and the known label of each row."""
    labels = np.asarray(labels)
    if isinstance(scores, QueryScores):
        values, queries = scores.scores, scores.queries
        if len(queries) and queries.max() >= len(labels):
            raise ParameterError(
                f"labels has {len(labels)} entries, and paper {queries.max()} was queried; "
                "give the labels of all papers of the graph."
            )
        right = labels[queries]
    else:
        values, queries, right = np.asarray(scores), np.arange(len(scores)), labels
        if len(labels) != len(values):
            raise ParameterError(f"labels has {len(labels)} entries for {len(values)} rows.")
    if not len(values):
        raise ParameterError("scores: an accuracy needs at least one query.")
    _check_scores(values, queries)
    wrong = np.flatnonzero((right < 0) | (right >= values.shape[1]))
    if len(wrong):
        raise ParameterError(
            f"labels: {len(wrong)} of {len(right)} queries have no known label, the first is paper "
            f"{queries[wrong[0]]} (label {right[wrong[0]]}); query papers with a label from 0 to "
            f"{values.shape[1] - 1}."
        )
    return values, right


def _check_scores(values: np.ndarray, queries: np.ndarray) -> None:
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "iufb":
        raise ParameterError(
            f"scores is an array of {values.dtype} of shape {values.shape}; give numbers of shape "
            "(n_queries, n_topics)."
        )
    wrong = np.flatnonzero(np.isnan(values).any(axis=1))
    if len(wrong):
        raise ParameterError(
            f"scores: nan in {len(wrong)} of {len(values)} rows, the first is that of query "
            f"{queries[wrong[0]]}; no topic is the largest there. Give a number for every topic."
        )
