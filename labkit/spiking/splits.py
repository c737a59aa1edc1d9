"""Which papers' topics are given: the random split of the spiking graph network papers.

Cong et al. (ICONS 2022) and what followed draw papers one by one with numpy's legacy generator and
keep a paper where its topic still needs one: 20 of each topic for training, then 20 of each for
validation; all others are for testing. The draw depends on the order of the papers in the file.

    repeat: i ~ uniform{0 .. N - 1}; keep i if it is unused and topic y(i) has < n so far
    until each topic has n papers

For Cora this is 140 / 140 / 2428 papers, not the public split of 140 / 500 / 1000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.errors import ParameterError

MAX_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint sets of papers, each ascending.

    Parameters
    ----------
    train, validation, test : int ndarray
        Numbers of the papers.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def linqs_split(
    labels: np.ndarray,
    *,
    n_topics: int,
    per_topic: int = 20,
    per_topic_validation: int | None = None,
    seed: int = 0,
) -> Split:
    """Draw the random split of the spiking graph network papers.

    Parameters
    ----------
    labels : int ndarray of shape (n_papers,)
        Topic of each paper in the order of the file. Papers with -1 are never drawn, and are not
        in the test set either.
    n_topics : int
        Number of topics.
    per_topic : int
        Training papers of each topic.
    per_topic_validation : int, optional
        Validation papers of each topic; as many as training papers when omitted.
    seed : int
        Seed of ``numpy.random.RandomState``, 0 to 4294967295.

    Raises
    ------
    ParameterError
        A topic has too few papers, or a number is out of range.

    Examples
    --------
    >>> split = linqs_split(np.arange(12) % 2, n_topics=2, per_topic=2, seed=1)
    >>> split.train, split.validation, split.test
    (array([ 0,  5,  8, 11]), array([1, 2, 6, 7]), array([ 3,  4,  9, 10]))
    """
    wanted_validation = per_topic if per_topic_validation is None else per_topic_validation
    labels = np.asarray(labels, dtype=np.int64)
    _check(labels, n_topics, per_topic, wanted_validation, seed)
    generator = np.random.RandomState(seed)
    used = labels < 0
    train = _draw(labels, used, n_topics, per_topic, generator)
    validation = _draw(labels, used, n_topics, wanted_validation, generator)
    return Split(train, validation, np.flatnonzero(~used))


def _draw(
    labels: np.ndarray,
    used: np.ndarray,
    n_topics: int,
    per_topic: int,
    generator: np.random.RandomState,
) -> np.ndarray:
    """Draw papers until each topic has `per_topic`, and mark them in `used`."""
    counts = np.zeros(n_topics, dtype=np.int64)
    chosen: list[int] = []
    while len(chosen) < n_topics * per_topic:
        paper = generator.randint(len(labels))
        if not used[paper] and counts[labels[paper]] < per_topic:
            used[paper] = True
            counts[labels[paper]] += 1
            chosen.append(paper)
    return np.array(sorted(chosen), dtype=np.int64)


def _check(
    labels: np.ndarray, n_topics: int, per_topic: int, per_topic_validation: int, seed: int
) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise ParameterError(f"seed={seed} is out of range; give 0 to {MAX_SEED}.")
    if per_topic < 1 or per_topic_validation < 0:
        raise ParameterError(
            f"per_topic={per_topic}, per_topic_validation={per_topic_validation}: give at least "
            "1 training paper and 0 validation papers of each topic."
        )
    counts = np.bincount(labels[labels >= 0], minlength=n_topics)
    if len(counts) > n_topics:
        raise ParameterError(f"labels runs to {len(counts) - 1}; n_topics={n_topics} is too small.")
    if counts.min() < per_topic + per_topic_validation:
        raise ParameterError(
            f"topic {int(counts.argmin())} has {counts.min()} papers, too few for per_topic="
            f"{per_topic} training and {per_topic_validation} validation papers; lower per_topic."
        )
