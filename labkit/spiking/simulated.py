r"""A simulated citation graph that resembles Cora, for runs without any files.

It is made of papers and words that do not exist, and is named "simulated" wherever it is shown.

**Citations** grow as a degree-corrected block model (Karrer and Newman, Phys. Rev. E 83 (2011)
016107) with triadic closure (Holme and Kim, Phys. Rev. E 65 (2002) 026107). Papers arrive one by
one; paper :math:`i` makes :math:`m_i \ge 1` citations, each marked beforehand as staying in the
topic or leaving it. Its partner is

- with probability ``closure``, after the first citation: a paper that one of its partners cites or
  is cited by, chosen uniformly;
- else: a paper :math:`j` drawn with :math:`P(j) \propto \theta_j` among those already there,

in both cases from its own topic or from the others as marked. :math:`\theta` follows a power law.
Some papers leave their topic more often than others. 8 % of the papers lie in small components
of their own.

**Words.** Paper :math:`i` of topic :math:`k` has :math:`n_i` different words, drawn one after
another without replacement from

.. math::

    p_k(w) = (1 - s)\, c(w) + s\, t_k(w)

with a common vocabulary :math:`c(w) \propto 1 / \mathrm{rank}(w)` and a vocabulary :math:`t_k` of
the topic, of the same form over its own 1/K of the words.

Matched to Cora's public data (Sen et al., AI Magazine 29 (2008) 93-106; Planetoid's files):

===========================  ============  ======================================================
statistic                    Cora          here
===========================  ============  ======================================================
papers, citations, words     2708, 5278,   exact
                             1433
papers of each topic         see below     exact, in the same order
edge homophily               0.810         exact to 0.001
components, largest          78, 2485      exact
mean degree                  3.90          exact; no paper without a citation, as in Cora
largest degrees              168, 78, 74   100 to 300, one far ahead of the next
clustering coefficient       0.24          0.24 +- 0.03
words per paper              18.2 +- 5.8   18.2 +- 5.8, 1 to 30
split                        140/500/1000  exact, 20 training papers of each topic
===========================  ============  ======================================================

Not matched: which topics cite each other, how degrees of neighbors correlate, whether papers that
cite each other share words beyond their topic, the document frequency of each word, time, and
direction. Accuracies on it are therefore about this graph, not about Cora; the strength of the
words, the closure and the variation between papers were set by hand so that the methods of this
study come in the same order as on Cora.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.growth import grow_citations

CORA_TOPIC_SIZES = (351, 217, 418, 818, 426, 298, 180)
_CORA_PAPERS = sum(CORA_TOPIC_SIZES)
_CORA_SMALL_COMPONENTS = 77
_CORA_SMALL_PAPERS = _CORA_PAPERS - 2485
_CORA_WORDS = 18.2
_WORDS_SD = 5.8
_WORDS_MOST = 30
_RANK_OFFSET = 3.0


def simulated_citation_graph(
    *,
    n_papers: int = 2708,
    n_topics: int = 7,
    n_edges: int = 5278,
    n_words: int = 1433,
    words_per_paper: float = 18.2,
    homophily: float = 0.81,
    closure: float = 0.5,
    degree_exponent: float = 2.6,
    word_strength: float = 0.25,
    topic_sizes: Sequence[float] | None = None,
    train_per_topic: int = 20,
    n_validation: int = 500,
    n_test: int = 1000,
    seed: int = 0,
) -> CitationGraph:
    """Simulate a citation graph with topics and words, by default one that resembles Cora.

    Parameters
    ----------
    n_papers, n_topics, n_edges, n_words : int
        Sizes. Citations must be enough to connect the papers, and at most a quarter of all pairs.
    words_per_paper : float
        Mean number of different words of a paper.
    homophily : float
        Share of citations between papers of the same topic, 0 to 1.
    closure : float
        Probability that a citation after a paper's first closes a triangle, 0 to 1.
    degree_exponent : float
        Exponent of the power law of the propensity to be cited, above 2; smaller has larger hubs.
    word_strength : float
        Share of the words that are drawn from the topic's vocabulary, 0 to 1.
    topic_sizes : sequence of float, optional
        Relative size of each topic; Cora's when omitted and there are 7, else all equal.
    train_per_topic, n_validation, n_test : int
        Size of the split.
    seed : int
        Same seed, same graph, on every machine.

    Returns
    -------
    CitationGraph
        Named "simulated". The training papers come first, then the validation papers; the test
        papers are the last.

    Raises
    ------
    ParameterError
        A number is out of range, or the numbers do not fit together.
    """
    sizes = _sizes(n_papers, n_topics, topic_sizes)
    _check_split(sizes, train_per_topic, n_validation, n_test)
    _check_shares(homophily, closure, word_strength, degree_exponent)
    _check_words(n_words, words_per_paper, n_topics)
    rng = np.random.default_rng(seed)
    labels = _labels(sizes, train_per_topic, rng)
    n_small = round(_CORA_SMALL_COMPONENTS / _CORA_PAPERS * n_papers)
    largest = n_papers - round(_CORA_SMALL_PAPERS / _CORA_PAPERS * n_papers)
    _check_edges(n_papers, n_edges, n_small + 1)
    edges = grow_citations(
        labels,
        n_edges,
        n_components=n_small + 1,
        largest=largest,
        homophily=homophily,
        closure=closure,
        degree_exponent=degree_exponent,
        rng=rng,
    )
    return CitationGraph(
        name="simulated",
        edges=edges,
        labels=labels,
        topics=tuple(f"topic {topic}" for topic in range(n_topics)),
        features=_words(labels, n_topics, n_words, words_per_paper, word_strength, rng),
        train=np.arange(train_per_topic * n_topics),
        validation=train_per_topic * n_topics + np.arange(n_validation),
        test=np.arange(n_papers - n_test, n_papers),
        split="planetoid",
        source={"files": (), "sha256": (), "license": "none", "citation": "simulated by labkit"},
        notes=("simulated: papers, citations and words do not exist",),
    )


def _labels(sizes: np.ndarray, train_per_topic: int, rng: np.random.Generator) -> np.ndarray:
    """Topics in Planetoid's order: the training papers first, the others mixed."""
    n_topics = len(sizes)
    first = np.repeat(np.arange(n_topics), train_per_topic)
    rest = np.repeat(np.arange(n_topics), sizes - train_per_topic)
    return np.concatenate([rng.permutation(first), rng.permutation(rest)])


def _words(
    labels: np.ndarray,
    n_topics: int,
    n_words: int,
    words_per_paper: float,
    strength: float,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Words of each paper as 0/1, shape (n_papers, n_words).

    The papers' words are the smallest of independent exponential times with rates p_k(w), which
    is drawing one word after another without replacement.
    """
    rates = _vocabularies(n_topics, n_words, strength, rng)
    spread = _WORDS_SD / _CORA_WORDS * words_per_paper
    drawn = np.rint(rng.normal(words_per_paper, spread, size=len(labels)))
    most = min(n_words, round(_WORDS_MOST / _CORA_WORDS * words_per_paper))
    counts = np.clip(drawn, 1, most).astype(np.int64)
    times = rng.standard_exponential((len(labels), n_words), dtype=np.float32) / rates[labels]
    earliest = np.argpartition(times, most - 1, axis=1)[:, :most]
    order = np.argsort(np.take_along_axis(times, earliest, axis=1), axis=1)
    ranked = np.take_along_axis(earliest, order, axis=1)
    kept = np.arange(most) < counts[:, None]
    rows = np.repeat(np.arange(len(labels)), counts)
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_matrix((ones, (rows, ranked[kept])), shape=(len(labels), n_words))


def _vocabularies(
    n_topics: int, n_words: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Probability of each word in each topic, float32 of shape (n_topics, n_words)."""
    common = 1 / (rng.permutation(n_words) + _RANK_OFFSET)
    rates = np.tile((1 - strength) * common / common.sum(), (n_topics, 1))
    for topic, words in enumerate(np.array_split(rng.permutation(n_words), n_topics)):
        own = 1 / (np.arange(len(words)) + _RANK_OFFSET)
        rates[topic, words] += strength * own / own.sum()
    return rates.astype(np.float32)


def _sizes(n_papers: int, n_topics: int, topic_sizes: Sequence[float] | None) -> np.ndarray:
    """Papers of each topic, by largest remainders."""
    if n_topics < 2 or n_papers < 10 * n_topics:
        raise ParameterError(
            f"n_topics={n_topics}, n_papers={n_papers}: give at least 2 topics and 10 papers each."
        )
    if topic_sizes is None:
        topic_sizes = CORA_TOPIC_SIZES if n_topics == len(CORA_TOPIC_SIZES) else (1,) * n_topics
    shares = np.asarray(topic_sizes, dtype=float)
    if shares.shape != (n_topics,) or not np.all(np.isfinite(shares) & (shares > 0)):
        raise ParameterError(
            f"topic_sizes={topic_sizes!r}: give {n_topics} positive numbers, one for each topic."
        )
    exact = shares / shares.sum() * n_papers
    sizes = np.floor(exact).astype(np.int64)
    largest = np.argsort(sizes - exact, kind="stable")[: n_papers - sizes.sum()]
    sizes[largest] += 1
    return sizes


def _check_split(sizes: np.ndarray, train_per_topic: int, n_validation: int, n_test: int) -> None:
    wanted = train_per_topic * len(sizes) + n_validation + n_test
    if train_per_topic < 1 or n_validation < 0 or n_test < 0 or wanted > sizes.sum():
        raise ParameterError(
            f"train_per_topic={train_per_topic}, n_validation={n_validation}, n_test={n_test} "
            f"take {wanted} of {sizes.sum()} papers; give positive numbers that fit."
        )
    if sizes.min() < train_per_topic:
        raise ParameterError(
            f"train_per_topic={train_per_topic} is more than the smallest topic has "
            f"({sizes.min()} papers); lower it."
        )


def _check_edges(n_papers: int, n_edges: int, n_components: int) -> None:
    least, most = n_papers - n_components, n_papers * (n_papers - 1) // 8
    if not least <= n_edges <= most:
        raise ParameterError(
            f"n_edges={n_edges} is not between {least} (to connect {n_papers} papers) and {most} "
            "(a quarter of all pairs)."
        )


def _check_shares(
    homophily: float, closure: float, word_strength: float, degree_exponent: float
) -> None:
    shares = {"homophily": homophily, "closure": closure, "word_strength": word_strength}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ParameterError(f"{name}={share} is not a share between 0 and 1.")
    if not 2 < degree_exponent < np.inf:
        raise ParameterError(
            f"degree_exponent={degree_exponent} has no mean degree; give more than 2."
        )


def _check_words(n_words: int, words_per_paper: float, n_topics: int) -> None:
    if n_words < max(n_topics, _WORDS_MOST):
        raise ParameterError(f"n_words={n_words} is too few; give {_WORDS_MOST} or more.")
    if not 1 <= words_per_paper <= n_words / 2:
        raise ParameterError(
            f"words_per_paper={words_per_paper} is not between 1 and half of n_words={n_words}."
        )
