"""What others reach on the same graph: graph networks, label propagation, words alone.

With the adjacency ``A``, degrees ``D`` and ``Y`` the topics of the training papers (one column a
topic), two closed forms need the citations only:

    label spreading    F = (1 - alpha) (I - alpha S)^-1 Y,   S = D^-1/2 A D^-1/2          [1]_
    harmonic function  F_u = (D_uu - A_uu)^-1 A_ul Y_l                                    [2]_

``l`` being training papers and ``u`` the others: the value at an unlabeled paper is the mean of its
neighbors. Papers that no citation path joins to a training paper get 0 for all topics, a tie. Class
mass normalization [2]_ then scales each topic's column so that its sum over the unlabeled papers is
the topic's share of the training papers; without it one topic can swallow a large graph. Both forms
are solved by conjugate gradients. Logistic regression on words, on words smoothed over two hops
(the simplified graph convolution, which is the readout of :mod:`labkit.spiking.hybrid` alone), and
graph networks (:mod:`labkit.spiking.graph_networks`) need words.

All accuracies here are expected under ties, with 95 % intervals for the test papers
(:mod:`labkit.spiking.readout`).

References
----------
.. [1] Zhou et al., Learning with local and global consistency, NeurIPS 16 (2003).
.. [2] Zhu, Ghahramani and Lafferty, ICML 2003, eq. 5 and 9.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import cg

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.spiking.diffusion import validation_accuracy
from labkit.spiking.graph_networks import TrainedNetwork, train_gat, train_gcn
from labkit.spiking.hybrid import readout_probabilities, smoothed_words
from labkit.spiking.neighbors import (
    inverse_root,
    mixed_graph,
    unit_words,
    word_neighbors,
    words_of,
)
from labkit.spiking.readout import TieReport, mean_interval, tie_aware_accuracy

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

TOLERANCE = 1e-10
"""Relative residual at which conjugate gradients stop."""
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse penalties among which the validation papers choose."""

GCN_PAPER = "Kipf and Welling, ICLR 2017, table 2"
GAT_PAPER = "Velickovic et al., ICLR 2018, table 2"
PUBLISHED: dict[str, tuple[tuple[str, float, float, str], ...]] = {
    "cora": (("GCN", 0.815, np.nan, GCN_PAPER), ("GAT", 0.830, 0.007, GAT_PAPER)),
    "citeseer": (("GCN", 0.703, np.nan, GCN_PAPER), ("GAT", 0.725, 0.007, GAT_PAPER)),
    "pubmed": (("GCN", 0.790, np.nan, GCN_PAPER), ("GAT", 0.790, 0.003, GAT_PAPER)),
}
"""Graph -> (method, accuracy, standard deviation over runs, source), on the Planetoid split."""
COLUMNS = (
    *("method", "accuracy", "low", "high", "n_seeds", "spread"),
    *("uses", "provenance", "source", "note"),
)


@dataclass(frozen=True, eq=False)
class BaselineScores:
    """What a method says about every paper.

    Attributes
    ----------
    graph : CitationGraph
    method : str
    scores : ndarray of shape (n_papers, n_topics)
        The largest of a row is the paper's topic.
    seconds : float
        Wall time.
    """

    graph: CitationGraph
    method: str
    scores: np.ndarray
    seconds: float

    def report(self, papers: np.ndarray) -> TieReport:
        """Accuracy on some papers under four rules for ties, with intervals."""
        return tie_aware_accuracy(self.scores[papers], self.graph.labels[papers])

    def accuracy(self, papers: np.ndarray) -> float:
        """Expected accuracy on some papers: ties are drawn at random."""
        return self.report(papers).expected

    def credit(self, papers: np.ndarray) -> np.ndarray:
        """Chance that each paper is classified right, (n,): below 1 at a tie."""
        values, right = self.scores[papers], self.graph.labels[papers]
        winners = values == values.max(axis=1, keepdims=True)
        return winners[np.arange(len(right)), right] / winners.sum(axis=1)


def label_spreading(
    graph: CitationGraph, *, alpha: float = 0.9, knn: int = 0, mix: float = 0.6
) -> BaselineScores:
    """Label spreading in floating point, the linear counterpart of the spiking diffusion.

    Parameters
    ----------
    graph : CitationGraph
    alpha : float
        Share that a paper takes from its neighbors, at least 0 and below 1.
    knn : int
        Neighbors by words, as in the diffusion; 0 uses the citations only.
    mix : float
        Share of the citations where there are word neighbors.

    Returns
    -------
    BaselineScores
    """
    if not 0 <= alpha < 1:
        raise ParameterError(f"alpha={alpha} is not allowed; use a number of 0 or more, below 1.")
    start = time.perf_counter()
    neighbors = word_neighbors(words_of(graph), knn) if knn else None
    S = mixed_graph(graph, mix=mix, neighbors=neighbors)
    matrix = sparse.identity(graph.n_papers, format="csr") - alpha * S
    F = (1 - alpha) * _solve(matrix, _given(graph))
    return BaselineScores(graph, "label spreading", F, time.perf_counter() - start)


def harmonic(graph: CitationGraph, *, class_mass: bool = False) -> BaselineScores:
    """Harmonic function: every unlabeled paper has the mean of its neighbors.

    Parameters
    ----------
    graph : CitationGraph
    class_mass : bool
        Normalize class masses to the topics' shares of the training papers.

    Returns
    -------
    BaselineScores

    Examples
    --------
    Between two labeled papers the values change linearly.

    >>> from labkit.spiking.citation import CitationGraph
    >>> path = CitationGraph(
    ...     name="path", edges=np.array([[0, 1, 2], [1, 2, 3]]), labels=np.array([0, 0, 1, 1]),
    ...     topics=("left", "right"), features=None, train=np.array([0, 3]),
    ...     validation=np.array([1]), test=np.array([2]),
    ... )
    >>> harmonic(path).scores.round(3)
    array([[1.   , 0.   ],
           [0.667, 0.333],
           [0.333, 0.667],
           [0.   , 1.   ]])
    """
    start = time.perf_counter()
    A, F = sparse.csr_matrix(graph.adjacency(), dtype=np.float64), _given(graph)
    free = np.setdiff1d(np.flatnonzero(graph.hops_to_labels() > 0), graph.train)
    if len(free):
        degrees = np.asarray(A[free].sum(axis=1)).ravel()
        scale = sparse.diags(inverse_root(degrees))
        inner = scale @ A[free][:, free] @ scale
        matrix = sparse.identity(len(free), format="csr") - sparse.csr_matrix(inner)
        F[free] = scale @ _solve(matrix, scale @ (A[free][:, graph.train] @ F[graph.train]))
    if class_mass:
        F[free] *= F[graph.train].mean(axis=0) * inverse_root(F[free].sum(axis=0)) ** 2
    return BaselineScores(graph, "harmonic function", F, time.perf_counter() - start)


def _given(graph: CitationGraph) -> np.ndarray:
    """Topics of the training papers, one column a topic; 0 for other papers."""
    Y = np.zeros((graph.n_papers, graph.n_topics))
    Y[graph.train, graph.labels[graph.train]] = 1.0
    return Y


def _solve(matrix: sparse.csr_matrix, right: np.ndarray) -> np.ndarray:
    """Solution of a symmetric positive definite system, column by column."""
    columns = []
    for b in right.T:
        x, failed = cg(matrix, b, rtol=TOLERANCE, atol=0.0, maxiter=20 * len(b) + 100)
        if failed:
            raise ParameterError(
                "conjugate gradients did not converge; use an alpha further below 1."
            )
        columns.append(x)
    return np.stack(columns, axis=1)


def logistic(
    graph: CitationGraph, *, hops: int = 0, penalties: Sequence[float] = PENALTIES
) -> BaselineScores:
    """Logistic regression on words; the validation papers choose its penalty.

    Parameters
    ----------
    graph : CitationGraph
    hops : int
        Hops over which words are smoothed: 0 is the papers' own words, 2 the simplified graph
        convolution.
    penalties : sequence of float
        Inverse penalties C to choose from, the first of the best; without validation papers the
        first.

    Returns
    -------
    BaselineScores
    """
    start = time.perf_counter()
    words = smoothed_words(graph, hops=hops) if hops else unit_words(graph)
    name = "logistic regression on words" + (f" smoothed over {hops} hops" if hops else "")
    tried = penalties if len(graph.validation) else penalties[:1]
    found = [readout_probabilities(graph, C=C, words=words) for C in tried]
    best = int(np.argmax([validation_accuracy(graph, p) for p in found]))
    return BaselineScores(graph, name, found[best], time.perf_counter() - start)


def gcn(graph: CitationGraph, *, seed: int = 0) -> BaselineScores:
    """Graph convolution network, see :mod:`labkit.spiking.graph_networks`."""
    return _trained(graph, "GCN", train_gcn(graph, seed=seed))


def gat(graph: CitationGraph, *, seed: int = 0) -> BaselineScores:
    """Graph attention network, see :mod:`labkit.spiking.graph_networks`."""
    return _trained(graph, "GAT", train_gat(graph, seed=seed))


def _trained(graph: CitationGraph, name: str, network: TrainedNetwork) -> BaselineScores:
    return BaselineScores(graph, name, network.scores, network.seconds)


@dataclass(frozen=True)
class Method:
    """A row of the table: its name, what computes it, and what it needs."""

    name: str
    run: Callable[..., BaselineScores]
    words: bool
    citations: bool = True
    seeded: bool = False
    source: str = ""

    @property
    def uses(self) -> str:
        """What the method reads of the graph."""
        parts = ("citations", self.citations), ("words", self.words)
        return " + ".join(part for part, used in parts if used)


METHODS: dict[str, Method] = {
    "label_spreading": Method(
        "label spreading", label_spreading, words=False, source="Zhou et al. 2003; alpha 0.9"
    ),
    "label_spreading_words": Method(
        "label spreading with word neighbors",
        lambda graph: label_spreading(graph, knn=20),
        words=True,
        source="Zhou et al. 2003; alpha 0.9, knn 20, mix 0.6",
    ),
    "harmonic": Method("harmonic function", harmonic, words=False, source="Zhu et al. 2003"),
    "harmonic_class_mass": Method(
        "harmonic function, class mass normalized",
        lambda graph: harmonic(graph, class_mass=True),
        words=False,
        source="Zhu et al. 2003",
    ),
    "logistic": Method(
        "logistic regression on words", logistic, words=True, citations=False, source="scikit-learn"
    ),
    "sgc": Method(
        "logistic regression on smoothed words (SGC)",
        lambda graph: logistic(graph, hops=2),
        words=True,
        source="Wu et al. 2019; scikit-learn",
    ),
    "gcn": Method("GCN", gcn, words=True, seeded=True, source="torch_geometric"),
    "gat": Method("GAT", gat, words=True, seeded=True, source="torch_geometric"),
}
"""Methods that `baseline_table` knows."""


def baseline_table(
    graph: CitationGraph,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    which: Sequence[str] = tuple(METHODS),
    published: bool = True,
) -> pd.DataFrame:
    """Test accuracy of other methods, measured here and published.

    Parameters
    ----------
    graph : CitationGraph
    seeds : sequence of int
        One training each, for methods that are random.
    which : sequence of str
        Keys of `METHODS`.
    published : bool
        Append the papers' numbers if they are for this graph and split.

    Returns
    -------
    DataFrame
        Columns method, accuracy (expected, mean over seeds), low and high (95 % interval for the
        test papers being a sample), n_seeds, spread (standard deviation over seeds), uses
        (citations, words), provenance ("measured here" or "published"), source, note. A method
        that needs words on a graph without has accuracy nan and a note that says so.

    Examples
    --------
    >>> from labkit.spiking.simulated import simulated_citation_graph
    >>> table = baseline_table(simulated_citation_graph(), which=["harmonic"])
    >>> table[["method", "uses", "provenance"]].to_numpy().tolist()
    [['harmonic function', 'citations', 'measured here']]
    """
    for key in which:
        if key not in METHODS:
            raise ParameterError(not_allowed("which", key, METHODS))
    _check_seeds(seeds)
    rows = [_measured(graph, METHODS[key], seeds) for key in which]
    if published and graph.split == "planetoid":
        rows += [_published(*entry) for entry in PUBLISHED.get(graph.name, ())]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_seeds(seeds: object) -> None:
    if isinstance(seeds, str) or not isinstance(seeds, Sequence | np.ndarray):
        raise ParameterError(f"seeds={seeds!r}: give a list of whole numbers, such as (0, 1, 2).")
    if not len(seeds):
        raise ParameterError("seeds is empty; give at least one.")
    for position, seed in enumerate(seeds):
        require_whole(f"seeds[{position}]", seed, low=0)


def _measured(graph: CitationGraph, method: Method, seeds: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": method.name,
        "uses": method.uses,
        "provenance": "measured here",
        "source": method.source,
        "note": "",
        "n_seeds": 0,
    }
    row |= dict.fromkeys(("accuracy", "low", "high", "spread"), np.nan)
    if method.words and graph.features is None:
        return row | {"note": f"not measured: {graph.name} has no words here"}
    if not len(graph.test):
        return row | {"note": f"not measured: {graph.name} has no test papers"}
    runs = [{"seed": int(seed)} for seed in seeds] if method.seeded else [{}]
    credit = np.stack([method.run(graph, **run).credit(graph.test) for run in runs])
    low, high = mean_interval(credit.mean(axis=0))
    row |= {"accuracy": float(credit.mean()), "low": low, "high": high, "n_seeds": len(runs)}
    if len(runs) > 1:
        row["spread"] = float(credit.mean(axis=1).std(ddof=1))
    return row


def _published(method: str, accuracy: float, spread: float, source: str) -> dict[str, Any]:
    return {
        "method": method,
        "accuracy": accuracy,
        "low": np.nan,
        "high": np.nan,
        "n_seeds": 100,
        "spread": spread,
        "uses": "citations + words",
        "provenance": "published",
        "source": source,
        "note": "mean of 100 runs; the paper gives no interval for the test papers",
    }
