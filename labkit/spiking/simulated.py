r"""A simulated citation graph that resembles Cora, for runs without any files.

Its papers and words do not exist, and it is named "simulated" wherever it is shown.

Paper :math:`i` has a topic :math:`k_i` and belongs a little, :math:`x_i \sim` Beta, to a second
topic :math:`k'_i`. Its citations stay in its topic or go to papers of the second one
(`labkit.spiking.growth`). Its :math:`n_i` different words are drawn one after another without
replacement from

.. math::

    p_i(w) = (1 - s)\, c(w) + s\, [(1 - x_i)\, t_{k_i}(w) + x_i\, t_{k'_i}(w)]

with a common vocabulary :math:`c(w) \propto 1 / (r_0 + \mathrm{rank}(w))` and vocabularies
:math:`t_k` of the topics, of the same form over 1/K of the words each.

Compared with Cora's public data (Sen et al., AI Magazine 29 (2008) 93-106, in the files and with
the split of Yang et al., ICML 2016):

============================  =============  ====================================================
statistic                     Cora           here, at the defaults
============================  =============  ====================================================
papers, citations, words      2708, 5278,    equal
                              1433
papers of each topic          351 ... 180    equal, in the same order (`CORA_TOPIC_SIZES`)
split                         140/500/1000   equal, 20 training papers of each topic
citations within topics       0.810          equal to 0.001
components, largest           78, 2485       equal
mean degree, smallest degree  3.90, 1        equal
largest degree                168            100 to 270, far ahead of the next
papers with 1, 2, 3 citations 485, 583, 553  within 20 %
clustering coefficient        0.241          0.22 to 0.27
words of a paper              18.2 +- 5.8    18.2 +- 5.8, from 1 to 30
papers of a word, median      15             15 to 19
============================  =============  ====================================================

Not matched: the sizes of the small components (here few have more than ten papers), which topics
cite each other, degree correlations, words that papers share with those they cite beyond their
topics, time and direction. The strength of the words :math:`s`, the distribution of :math:`x` and
the closure of triangles are set by hand so that the untuned integer SGNN (0.62 to 0.65; Cora 0.63)
and methods that use citations, words, or both come in the same order as on Cora; those that use
both do 4 to 9 points better here. A result on this graph is a result about this graph, not about
Cora.
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
_SMALLEST_RATE = 1e-12
_MIXING = (0.25, 1.0)  # Beta distribution


def simulated_citation_graph(
    *,
    n_papers: int = 2708,
    n_topics: int = 7,
    n_edges: int = 5278,
    n_words: int = 1433,
    words_per_paper: float = 18.2,
    homophily: float = 0.81,
    closure: float = 0.57,
    degree_exponent: float = 2.6,
    word_strength: float = 0.36,
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
        Share of the words that are drawn from the vocabularies of the topics, 0 to 1.
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
    second, mixing = _mixture(labels, n_topics, rng)
    edges = grow_citations(
        labels,
        second,
        mixing,
        n_edges,
        n_components=n_small + 1,
        largest=largest,
        homophily=homophily,
        closure=closure,
        degree_exponent=degree_exponent,
        rng=rng,
    )
    vocabularies = _vocabularies(n_topics, n_words, word_strength, rng)
    rates = (1 - mixing[:, None]) * vocabularies[labels] + mixing[:, None] * vocabularies[second]
    return CitationGraph(
        name="simulated",
        edges=edges,
        labels=labels,
        topics=tuple(f"topic {topic}" for topic in range(n_topics)),
        features=_words(rates, words_per_paper, rng),
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


def _mixture(
    labels: np.ndarray, n_topics: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Second topic of each paper, and how much it belongs to that one."""
    others = rng.integers(n_topics - 1, size=len(labels))
    second = others + (others >= labels)
    return second, np.clip(rng.beta(*_MIXING, size=len(labels)), 1e-6, 1 - 1e-6)


def _words(
    rates: np.ndarray, words_per_paper: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Words of each paper as 0/1, shape (n_papers, n_words), from their relative rates.

    The papers' words are the smallest of independent exponential times with these rates, which is
    drawing one word after another without replacement.
    """
    n_papers, n_words = rates.shape
    spread = _WORDS_SD / _CORA_WORDS * words_per_paper
    drawn = np.rint(rng.normal(words_per_paper, spread, size=n_papers))
    most = min(n_words, round(_WORDS_MOST / _CORA_WORDS * words_per_paper))
    counts = np.clip(drawn, 1, most).astype(np.int64)
    speeds = np.maximum(rates, _SMALLEST_RATE).astype(np.float32)
    times = rng.standard_exponential(rates.shape, dtype=np.float32) / speeds
    earliest = np.argpartition(times, most - 1, axis=1)[:, :most]
    order = np.argsort(np.take_along_axis(times, earliest, axis=1), axis=1)
    ranked = np.take_along_axis(earliest, order, axis=1)
    kept = np.arange(most) < counts[:, None]
    rows = np.repeat(np.arange(n_papers), counts)
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_matrix((ones, (rows, ranked[kept])), shape=rates.shape)


def _vocabularies(
    n_topics: int, n_words: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Probability of each word in each topic, shape (n_topics, n_words)."""
    common = 1 / (rng.permutation(n_words) + _RANK_OFFSET)
    rates = np.tile((1 - strength) * common / common.sum(), (n_topics, 1))
    for topic, words in enumerate(np.array_split(rng.permutation(n_words), n_topics)):
        own = 1 / (np.arange(len(words)) + _RANK_OFFSET)
        rates[topic, words] += strength * own / own.sum()
    return rates


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
