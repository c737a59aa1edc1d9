r"""Grows the citations of a simulated graph: hubs, triangles, topics, and small components.

Papers arrive one by one. Each makes at least one citation, so that the papers of a component are
connected; the others are spread at random. A citation is marked beforehand as staying in its
paper's topic or leaving it for the paper's second topic, with a weight :math:`x_i`, so that the
share of citations within topics comes out as wanted. Its partner is

- with probability ``closure``, after a paper's first citation: a neighbor of one of the papers that
  it already cites, chosen uniformly (Holme and Kim, Phys. Rev. E 65 (2002) 026107), else
- a paper :math:`j` of the topic among those already there, with :math:`P(j) \propto \theta_j
  (1 - x_j)` within a topic and :math:`\theta_j x_j` from outside (degree-corrected blocks: Karrer
  and Newman, Phys. Rev. E 83 (2011) 016107),

where :math:`\theta` are the quantiles of a power law, :math:`P(\theta > z) = z^{1 - \gamma}`.

==============  ====================  =========================================================
symbol          variable              meaning
==============  ====================  =========================================================
:math:`\theta`  ``propensity``        how readily a paper is cited
:math:`\gamma`  ``degree_exponent``   exponent of the density of the propensities
:math:`x`       ``mixing``            how much a paper belongs to its second topic
==============  ====================  =========================================================
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from labkit.spiking.citation import unique_edges

_TRIES = 30
_MOST_CITED_ARRIVES = 0.05


def grow_citations(
    labels: np.ndarray,
    second: np.ndarray,
    mixing: np.ndarray,
    n_edges: int,
    *,
    n_components: int,
    largest: int,
    homophily: float,
    closure: float,
    degree_exponent: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Grow the citations between papers of given topics.

    Parameters
    ----------
    labels : int ndarray of shape (n_papers,)
        Topic of each paper.
    second : int ndarray of shape (n_papers,)
        Topic that citations which leave go to.
    mixing : float ndarray of shape (n_papers,)
        How much each paper belongs to its second topic, in [0, 1].
    n_edges : int
        Number of citations.
    n_components, largest : int
        Connected components, and papers in the largest; the others have two papers or more.
    homophily : float
        Share of citations within topics.
    closure : float
        Probability that a citation after a paper's first closes a triangle.
    degree_exponent : float
        Exponent of the power law of propensities.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    int64 ndarray of shape (2, n_edges)
        As `CitationGraph.edges`.
    """
    small = small_components(labels, n_components - 1, len(labels) - largest, homophily, rng)
    inside = np.ones(len(labels), dtype=bool)
    pairs: list[tuple[int, int]] = []
    for members in small:
        inside[members] = False
        pairs += [(paper, members[rng.integers(i)]) for i, paper in enumerate(members) if i]
    n_leaving = round((1 - homophily) * n_edges) - sum(labels[a] != labels[b] for a, b in pairs)
    component = _LargestComponent(labels, second, mixing, closure, rng)
    papers = rng.permutation(np.flatnonzero(inside))
    component.grow(papers, n_edges - len(pairs), max(n_leaving, 0), degree_exponent)
    return unique_edges(np.array(pairs + component.pairs, dtype=np.int64).T)


def small_components(
    labels: np.ndarray, count: int, n_papers: int, homophily: float, rng: np.random.Generator
) -> list[list[int]]:
    """Choose the papers of the small components, most of a component from one topic.

    Sizes start at two; the other papers join components with a probability that grows with their
    size, which gives many pairs and few larger ones.
    """
    if count == 0:
        return []
    sizes = np.full(count, 2)
    for _ in range(n_papers - 2 * count):
        weight = sizes - 1.5
        sizes[rng.choice(count, p=weight / weight.sum())] += 1
    order = rng.permutation(len(labels))
    waiting = [order[labels[order] == topic].tolist() for topic in range(labels.max() + 1)]
    components = []
    for size in sizes:
        topic = _any_topic(waiting, rng)
        members: list[int] = []
        while len(members) < size:
            stays = rng.random() < homophily and len(waiting[topic]) > 1
            members.append(waiting[topic if stays else _any_topic(waiting, rng)].pop())
        components.append(members)
    return components


def _any_topic(waiting: list[list[int]], rng: np.random.Generator) -> int:
    """A topic in proportion to its waiting papers, so that no topic runs out of them."""
    counts = np.array([len(papers) - 1 for papers in waiting], dtype=float)
    return int(rng.choice(len(waiting), p=counts / counts.sum()))


class _LargestComponent:
    """Citations between the papers that have arrived so far."""

    def __init__(
        self,
        labels: np.ndarray,
        second: np.ndarray,
        mixing: np.ndarray,
        closure: float,
        rng: np.random.Generator,
    ) -> None:
        n_topics = int(labels.max()) + 1
        self.labels = labels.tolist()
        self.second = second.tolist()
        self.mixing = mixing
        self.closure = closure
        self.rng = rng
        self.pairs: list[tuple[int, int]] = []
        self.neighbors: dict[int, list[int]] = {}
        self.arrived: list[list[int]] = [[] for _ in range(n_topics)]
        # Cumulative over the papers of a topic: to be cited from within, and from outside.
        self.propensity: list[list[list[float]]] = [[[] for _ in range(n_topics)] for _ in range(2)]
        self.owed = 0  # citations that should have left their topic, less those that should not

    def grow(
        self, papers: np.ndarray, n_citations: int, n_leaving: int, degree_exponent: float
    ) -> None:
        """Let the papers arrive and cite."""
        counts, leaves = self._plan(papers, n_citations, n_leaving)
        propensity = _power_law(len(papers), degree_exponent, self.rng)
        marks = iter(leaves.tolist())
        for paper, weight, count in zip(papers.tolist(), propensity.tolist(), counts, strict=True):
            self.neighbors[paper] = []
            for _ in range(count):
                self._cite(paper, next(marks))
            self._arrive(paper, weight)
        while len(self.pairs) < n_citations:
            self._cite(int(papers[self.rng.integers(len(papers))]), False)

    def _plan(
        self, papers: np.ndarray, n_citations: int, n_leaving: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Citations of each paper in the order of arrival, and which of them leave the topic."""
        n_papers = len(papers)
        rest = n_citations - (n_papers - 1)
        counts = 1 + self.rng.multinomial(rest, np.full(n_papers, 1 / n_papers))
        counts[0] -= 1
        outside = np.repeat(self.mixing[papers], counts)
        leaves = np.zeros(n_citations, dtype=bool)
        # Weighted sampling without replacement (Efraimidis and Spirakis 2006).
        keys = self.rng.exponential(size=n_citations) / np.maximum(outside, 1e-9)
        leaves[np.argsort(keys, kind="stable")[:n_leaving]] = True
        return counts, leaves

    def _arrive(self, paper: int, propensity: float) -> None:
        topic, outside = self.labels[paper], float(self.mixing[paper])
        for totals, share in zip(self.propensity, (1 - outside, outside), strict=True):
            total = totals[topic]
            total.append((total[-1] if total else 0.0) + share * propensity)
        self.arrived[topic].append(paper)

    def _cite(self, paper: int, leave: bool) -> None:
        """Add a citation; where none is left of the wanted kind, take the other and owe one."""
        if self.owed and leave == (self.owed < 0):
            partner = self._partner(paper, not leave)
            if partner is not None:
                self.owed -= 1 if self.owed > 0 else -1
                return self._connect(paper, partner)
        partner = self._partner(paper, leave)
        if partner is None:
            partner = self._partner(paper, not leave)
            if partner is None:
                return None
            self.owed += 1 if leave else -1
        return self._connect(paper, partner)

    def _connect(self, paper: int, partner: int) -> None:
        self.neighbors[paper].append(partner)
        self.neighbors[partner].append(paper)
        self.pairs.append((paper, partner))

    def _partner(self, paper: int, leave: bool) -> int | None:
        if self.neighbors[paper] and self.rng.random() < self.closure:
            partner = self._closing(paper, leave)
            if partner is not None:
                return partner
        return self._attracting(paper, leave)

    def _closing(self, paper: int, leave: bool) -> int | None:
        """A neighbor of a neighbor, of the wanted kind; None if none was met."""
        mine = self.neighbors[paper]
        for first, second in self.rng.random((_TRIES, 2)):
            around = self.neighbors[mine[int(first * len(mine))]]
            partner = around[int(second * len(around))]
            if self._may_cite(paper, partner, leave):
                return partner
        return None

    def _attracting(self, paper: int, leave: bool) -> int | None:
        """A paper drawn by propensity, of the wanted kind; None if there is none."""
        topics = self._topics(paper, leave)
        if not topics:
            return None
        totals = [self.propensity[leave][k] for k in topics]
        ends = np.cumsum([total[-1] for total in totals])
        for first, second in self.rng.random((_TRIES, 2)):
            chosen = int(np.searchsorted(ends, first * ends[-1], side="right"))
            place = bisect_right(totals[chosen], second * totals[chosen][-1])
            partner = self.arrived[topics[chosen]][place]
            if self._may_cite(paper, partner, leave):
                return partner
        rest = [p for k in topics for p in self.arrived[k] if self._may_cite(paper, p, leave)]
        return rest[self.rng.integers(len(rest))] if rest else None

    def _topics(self, paper: int, leave: bool) -> list[int]:
        """Topics to cite: the own one, or the second one, or any other while that one is empty."""
        topic, second = self.labels[paper], self.second[paper]
        if not leave:
            return [topic] if self.arrived[topic] else []
        if self.arrived[second]:
            return [second]
        return [k for k in range(len(self.arrived)) if k != topic and self.arrived[k]]

    def _may_cite(self, paper: int, partner: int, leave: bool) -> bool:
        if partner == paper or partner in self.neighbors[paper]:
            return False
        return (self.labels[partner] != self.labels[paper]) == leave


def _power_law(n: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Quantiles of a power law in random order, but the largest after the first few percent.

    With the largest value and its time of arrival fixed, the largest degree varies less by seed.
    """
    upper = (np.arange(n) + 0.5) / n
    propensity = upper ** (-1 / (exponent - 1))
    return np.insert(rng.permutation(propensity[1:]), round(_MOST_CITED_ARRIVES * n), propensity[0])
