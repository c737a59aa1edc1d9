r"""Grows the citations of a simulated graph: hubs, triangles, topics, and small components.

Papers arrive one by one. Each makes at least one citation, so that the papers of a component are
connected; the others are spread at random. A citation is marked beforehand as staying in its
paper's topic or leaving it, so that the share of citations within topics is exact. Its partner is

- with probability ``closure``, after a paper's first citation: a neighbor of one of the papers that
  it already cites, chosen uniformly (Holme and Kim, Phys. Rev. E 65 (2002) 026107), else
- a paper :math:`j` among those already there, with :math:`P(j) \propto \theta_j` (degree-corrected
  blocks: Karrer and Newman, Phys. Rev. E 83 (2011) 016107),

where :math:`\theta` are the quantiles of a power law, :math:`P(\theta > x) = x^{1 - \gamma}`.

==============  ====================  =========================================================
symbol          variable              meaning
==============  ====================  =========================================================
:math:`\theta`  ``propensity``        how readily a paper is cited
:math:`\gamma`  ``degree_exponent``   exponent of the density of the propensities
==============  ====================  =========================================================
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from labkit.spiking.citation import unique_edges

_TRIES = 30
_CITES_OUTSIDE = (0.55, 2.35)  # Beta distribution of how often a paper's citations leave its topic


def grow_citations(
    labels: np.ndarray,
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
    for papers in small:
        inside[papers] = False
        pairs += [(paper, papers[rng.integers(i)]) for i, paper in enumerate(papers) if i]
    n_leaving = round((1 - homophily) * n_edges) - sum(labels[a] != labels[b] for a, b in pairs)
    component = _LargestComponent(labels, closure, rng)
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
    waiting = [list(order[labels[order] == topic]) for topic in range(labels.max() + 1)]
    components = []
    for size in sizes:
        topic = labels[rng.integers(len(labels))]
        papers = []
        for _ in range(size):
            stays = rng.random() < homophily and len(waiting[topic]) > 1
            pool = waiting[topic] if stays else max(waiting, key=len)
            papers.append(int(pool.pop()))
        components.append(papers)
    return components


class _LargestComponent:
    """Citations between the papers that have arrived so far."""

    def __init__(self, labels: np.ndarray, closure: float, rng: np.random.Generator) -> None:
        n_topics = int(labels.max()) + 1
        self.labels = labels.tolist()
        self.closure = closure
        self.rng = rng
        self.pairs: list[tuple[int, int]] = []
        self.neighbors: dict[int, list[int]] = {}
        self.arrived: list[list[int]] = [[] for _ in range(n_topics)]
        self.propensity: list[list[float]] = [[] for _ in range(n_topics)]  # cumulative
        self.owed = 0  # citations that should have left their topic, less those that should not

    def grow(
        self, papers: np.ndarray, n_citations: int, n_leaving: int, degree_exponent: float
    ) -> None:
        """Let the papers arrive and cite."""
        counts, leaves = self._plan(len(papers), n_citations, n_leaving)
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
        self, n_papers: int, n_citations: int, n_leaving: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Citations of each paper in the order of arrival, and which of them leave the topic."""
        rest = n_citations - (n_papers - 1)
        counts = 1 + self.rng.multinomial(rest, np.full(n_papers, 1 / n_papers))
        counts[0] -= 1
        outside = np.repeat(self.rng.beta(*_CITES_OUTSIDE, size=n_papers), counts)
        leaves = np.zeros(n_citations, dtype=bool)
        # Weighted sampling without replacement (Efraimidis and Spirakis 2006).
        keys = self.rng.exponential(size=n_citations) / np.maximum(outside, 1e-9)
        leaves[np.argsort(keys, kind="stable")[:n_leaving]] = True
        return counts, leaves

    def _arrive(self, paper: int, propensity: float) -> None:
        topic = self.labels[paper]
        total = self.propensity[topic]
        total.append((total[-1] if total else 0.0) + propensity)
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
        topic = self.labels[paper]
        topics = [k for k in range(len(self.arrived)) if (k != topic) == leave and self.arrived[k]]
        if not topics:
            return None
        ends = np.cumsum([self.propensity[k][-1] for k in topics])
        for first, second in self.rng.random((_TRIES, 2)):
            chosen = topics[int(np.searchsorted(ends, first * ends[-1], side="right"))]
            total = self.propensity[chosen]
            partner = self.arrived[chosen][bisect_right(total, second * total[-1])]
            if self._may_cite(paper, partner, leave):
                return partner
        rest = [p for k in topics for p in self.arrived[k] if self._may_cite(paper, p, leave)]
        return rest[self.rng.integers(len(rest))] if rest else None

    def _may_cite(self, paper: int, partner: int, leave: bool) -> bool:
        if partner == paper or partner in self.neighbors[paper]:
            return False
        return (self.labels[partner] != self.labels[paper]) == leave


def _power_law(n: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Quantiles of a power law in random order: the largest does not change from seed to seed."""
    upper = (np.arange(n) + 0.5) / n
    return rng.permutation(upper ** (-1 / (exponent - 1)))
