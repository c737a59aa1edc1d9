"""Samplers that delete rows: MLRUS, LPRUS, MLUL, MLeNN, MLTL."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labkit.errors import ParameterError
from labkit.oversampling.resampling import LPRUS, MLRUS, MLTL, MLUL, MLeNN

NAN = float("nan")
SEEDS = st.integers(0, 2**31 - 1)
FRACTIONS = st.sampled_from([0.1, 0.25, 0.5, 0.9])


@st.composite
def labels_and_features(
    draw: st.DrawFn, max_rows: int = 12, most_labels: int = 5, with_nan: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, max_rows))
    q = draw(st.integers(1, most_labels))
    entries = [0.0, 1.0, NAN] if with_nan else [0.0, 1.0]
    Y = draw(arrays(float, (n, q), elements=st.sampled_from(entries), fill=st.nothing()))
    Y[0, 0] = 1.0
    # Few distinct integers: equal distances and duplicate rows all the time.
    X = draw(arrays(np.int64, (n, 2), elements=st.integers(0, 4), fill=st.nothing()))
    return X, Y


def start_of(Y: np.ndarray) -> tuple[list[Fraction | None], Fraction]:
    """IRLbl and MeanIR as exact fractions."""
    counts = [int((column == 1).sum()) for column in Y.T]
    ratios = [Fraction(max(counts), c) if c else None for c in counts]
    known = [r for r in ratios if r is not None]
    return ratios, sum(known) / len(known)


def reachable_by_mlrus(Y: np.ndarray, P: float) -> set[frozenset[int]]:
    """All sets of rows that ML-RUS may delete: every random choice is tried."""
    n, q = Y.shape
    ratios, mean = start_of(Y)
    minority = [j for j in range(q) if ratios[j] is not None and ratios[j] > mean]
    bags = {
        j: {i for i in range(n) if Y[i, j] == 1 and not any(Y[i, m] == 1 for m in minority)}
        for j in range(q)
        if ratios[j] is not None and ratios[j] < mean
    }
    outcomes = set()

    def turn(deleted: frozenset[int], waiting: tuple[int, ...], active: tuple[int, ...]) -> None:
        if len(deleted) == int(P * n + 1e-9) or not (waiting or active):
            outcomes.add(deleted)
            return
        if not waiting:
            turn(deleted, active, active)
            return
        label, rest = waiting[0], waiting[1:]
        left = tuple(other for other in active if other != label)
        candidates = bags[label] - deleted
        if not candidates:
            turn(deleted, rest, left)
        for row in candidates:
            gone = deleted | {row}
            left_rows = [i for i in range(n) if i not in gone]
            counts = [sum(int(Y[i, j] == 1) for i in left_rows) for j in range(q)]
            leaves = max(counts) >= mean * counts[label]
            turn(gone, rest, left if leaves else active)

    turn(frozenset(), (), tuple(bags))
    return outcomes


@settings(deadline=None, max_examples=80)
@given(labels_and_features(max_rows=7, most_labels=4), FRACTIONS, SEEDS)
def test_mlrus_ends_where_the_pseudocode_can_end(data, P: float, seed: int) -> None:
    _, Y = data
    rows = MLRUS(P=P, random_state=seed).fit_indices(Y)
    assert frozenset(range(len(Y))) - set(rows.tolist()) in reachable_by_mlrus(Y, P)


def test_mlrus_reaches_every_outcome_of_the_pseudocode() -> None:
    Y = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    outcomes = reachable_by_mlrus(Y, 0.4)
    seen = {
        frozenset(range(6)) - set(MLRUS(P=0.4, random_state=s).fit_indices(Y).tolist())
        for s in range(300)
    }
    assert len(outcomes) > 3
    assert seen == outcomes


@settings(deadline=None, max_examples=100)
@given(labels_and_features(), FRACTIONS, SEEDS)
def test_mlrus_keeps_every_row_with_a_minority_label(data, P: float, seed: int) -> None:
    _, Y = data
    sampler = MLRUS(P=P, random_state=seed)
    rows = sampler.fit_indices(Y)
    protected = np.flatnonzero((Y[:, sampler.minority_labels_] == 1).any(axis=1))
    assert set(protected.tolist()) <= set(rows.tolist())
    assert len(rows) >= len(Y) - int(P * len(Y) + 1e-9)


def test_mlrus_stops_a_label_at_the_mean_of_the_start() -> None:
    # Counts 8, 4, 2: IRLbl 1, 2, 4; MeanIR 7/3. After one turn each the counts are 7 and 3, and the
    # second label has reached 7/3: only the first goes on.
    Y = np.repeat(np.eye(3), (8, 4, 2), axis=0)
    for seed in range(20):
        stays = MLRUS(P=0.5, random_state=seed).fit_indices(Y)
        assert Y[stays].sum(axis=0).tolist() == [2, 3, 2]


def test_mlrus_deletes_exactly_the_fraction_when_rows_are_plenty() -> None:
    # 593 rows, P = 0.25: 148 go, 445 stay, which sampling victims with replacement misses.
    rng = np.random.default_rng(0)
    Y = (rng.random((593, 6)) < [0.5, 0.45, 0.4, 0.35, 0.05, 0.02]).astype(int)
    assert len(MLRUS(P=0.25, random_state=0).fit_indices(Y)) == 445


@settings(deadline=None, max_examples=150)
@given(labels_and_features(max_rows=14), FRACTIONS, SEEDS)
def test_lprus_takes_equal_shares_from_frequent_labelsets(data, P: float, seed: int) -> None:
    _, Y = data
    n = len(Y)
    rows = LPRUS(P=P, random_state=seed).fit_indices(Y)
    assert rows.tolist() == sorted(set(rows.tolist()))
    sets = [tuple(np.flatnonzero(row == 1)) for row in Y]
    sizes, after = Counter(sets), Counter(sets[row] for row in rows)
    mean = n / len(sizes)
    lost = {labelset: sizes[labelset] - after[labelset] for labelset in sizes}
    assert all(lost[s] == 0 for s in sizes if sizes[s] <= mean)
    assert min(after[s] for s in sizes) >= 1
    # By hand: single rows, one after the other, from whoever has lost fewest.
    expected = {s: 0 for s in sizes if sizes[s] > mean}
    for _ in range(int(P * n + 1e-9)):
        able = [s for s in expected if sizes[s] - expected[s] > mean]
        if able:
            expected[min(able, key=lambda s: expected[s])] += 1
    assert sorted(lost[s] for s in expected) == sorted(expected.values())


def nearest_by_sorting(X: np.ndarray, i: int, k: int) -> list[int]:
    squared = [
        (sum((int(a) - int(b)) ** 2 for a, b in zip(X[i], X[j], strict=True)), j)
        for j in range(len(X))
        if j != i
    ]
    return [j for _, j in sorted(squared)[:k]]


def label_difference(one: np.ndarray, other: np.ndarray, denominator: str) -> float:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if not np.isnan(a) and not np.isnan(b)]
    different = sum(a != b for a, b in pairs)
    total = sum(a + b for a, b in pairs)
    either = sum(a == 1 or b == 1 for a, b in pairs)
    divisor = total if denominator == "sum" else either
    return different / divisor if divisor else 0.0


@settings(deadline=None, max_examples=120)
@given(
    labels_and_features(),
    st.sampled_from([0.0, 0.3, 0.5, 0.75]),
    st.integers(1, 5),
    st.sampled_from(["sum", "union"]),
)
def test_mlenn_deletes_what_the_pseudocode_marks(data, threshold, k, denominator) -> None:
    X, Y = data
    ratios, mean = start_of(Y)
    kept = []
    for i in range(len(X)):
        active = [ratios[j] for j in range(Y.shape[1]) if Y[i, j] == 1]
        neighbors = nearest_by_sorting(X, i, k)
        unlike = sum(label_difference(Y[i], Y[m], denominator) > threshold for m in neighbors)
        if any(r > mean for r in active) or unlike < len(neighbors) / 2:
            kept.append(i)
    sampler = MLeNN(threshold, k_neighbors=k, denominator=denominator)
    assert sampler.fit_indices(Y, X).tolist() == kept


@settings(deadline=None, max_examples=120)
@given(
    labels_and_features(),
    st.sampled_from([None, 0.0, 0.4, 0.8]),
    st.sampled_from(["undersampling", "cleaning"]),
    st.booleans(),
    st.sampled_from(["sum", "union"]),
)
def test_mltl_deletes_tomek_links(data, threshold, mode, mutual, denominator) -> None:
    X, Y = data
    ratios, mean = start_of(Y)
    sampler = MLTL(threshold, mode=mode, mutual=mutual, denominator=denominator)
    rows = sampler.fit_indices(Y, X)
    kept = []
    for i in range(len(X)):
        [near] = nearest_by_sorting(X, i, 1)
        linked = label_difference(Y[i], Y[near], denominator) > sampler.threshold_
        if mutual and nearest_by_sorting(X, near, 1) != [i]:
            linked = False
        majority = any(Y[i, j] == 1 and ratios[j] < mean for j in range(Y.shape[1]))
        if mode == "undersampling" and not majority:
            linked = False
        if not linked:
            kept.append(i)
    assert rows.tolist() == kept


@pytest.mark.parametrize(
    ("counts", "threshold"),
    [((10, 10), 0.5), ((36, 9, 6), 0.5), ((64, 8, 8), 0.3), ((120, 4, 3), 0.15)],
)
def test_mltl_threshold_follows_mean_ir(counts: tuple[int, ...], threshold: float) -> None:
    # One label in each row: SCUMBLE is 0, and 1 / sqrt(MeanIR) is 1, 0.54, 0.42 and 0.21.
    Y = np.repeat(np.eye(len(counts)), counts, axis=0)
    sampler = MLTL()
    sampler.fit_indices(Y, np.arange(len(Y)).reshape(-1, 1))
    assert sampler.threshold_ == threshold


def test_mltl_threshold_is_half_where_rare_and_frequent_labels_concur() -> None:
    # IRLbl 1 and 201 meet in one row of 201: SCUMBLE is small, and 1 / sqrt(MeanIR) is 0.1.
    Y = np.array([[1, 1]] + [[1, 0]] * 200)
    sampler = MLTL()
    sampler.fit_indices(Y, np.arange(len(Y)).reshape(-1, 1))
    assert sampler.threshold_ == 0.15
    mixed = np.zeros((40, 41))
    mixed[:, 0] = 1
    mixed[np.arange(40), 1 + np.arange(40)] = 1
    sampler.fit_indices(mixed, np.arange(40).reshape(-1, 1))
    # IRLbl 1 and 40 in each row: 1 - sqrt(40) / 20.5 = 0.69.
    assert sampler.threshold_ == 0.5


def naive_retention(X: np.ndarray, Y: np.ndarray, k: int) -> list[float]:
    """v of MLUL by plain loops."""
    n, q = Y.shape
    neighbors = [nearest_by_sorting(X, i, k) for i in range(n)]
    score = np.zeros((n, q))
    for j in range(q):
        ones, zeros = (Y[:, j] == 1).sum(), (Y[:, j] == 0).sum()
        rare = 1 if ones <= zeros else 0
        danger = {}
        for i in range(n):
            if Y[i, j] == rare:
                known = [Y[m, j] for m in neighbors[i] if not np.isnan(Y[m, j])]
                share = sum(v != rare for v in known) / len(known) if known else 0
                if share < 1:
                    danger[i] = share
        total = sum(danger.values())
        for i, share in danger.items():
            score[i, j] = share / total if total else 0
    worth = []
    for i in range(n):
        asking = [r for r in range(n) if i in neighbors[r]]
        support = 0.0
        for r in asking:
            for j in range(q):
                if not np.isnan(Y[i, j]):
                    support += score[r, j] if Y[i, j] == Y[r, j] else -score[r, j]
        worth.append(score[i].sum() + (support / len(asking) if asking else 0))
    return [value - min(worth) for value in worth]


@settings(deadline=None, max_examples=100)
@given(labels_and_features(), st.integers(1, 4), SEEDS)
def test_mlul_weights_rows_by_their_own_danger_and_their_support(data, k, seed) -> None:
    X, Y = data
    sampler = MLUL(P=0.3, k_neighbors=k, random_state=seed)
    rows = sampler.fit_indices(Y, X)
    np.testing.assert_allclose(sampler.retention_weights_, naive_retention(X, Y, k), atol=1e-12)
    assert len(rows) == len(Y) - int(0.3 * len(Y) + 1e-9)
    worthy = np.flatnonzero(sampler.retention_weights_ > 0)
    if len(worthy) >= len(rows):
        assert set(rows.tolist()) <= set(worthy.tolist())


def test_mlul_keeps_rows_with_the_probability_of_a_weighted_draw() -> None:
    X = np.arange(6).reshape(-1, 1)
    Y = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0]])
    sampler = MLUL(P=0.5, k_neighbors=2, random_state=0)
    sampler.fit_indices(Y, X)
    weight = sampler.retention_weights_
    # Exact probability that each row is among three drawn one after the other without replacement.
    exact = np.zeros(6)
    for draw in itertools.permutations(np.flatnonzero(weight), 3):
        chance, left = 1.0, weight.sum()
        for row in draw:
            chance *= weight[row] / left
            left -= weight[row]
        exact[list(draw)] += chance
    trials = 4000
    kept = np.zeros(6)
    for seed in range(trials):
        kept[MLUL(P=0.5, k_neighbors=2, random_state=seed).fit_indices(Y, X)] += 1
    # Standard deviation of a frequency is at most 0.5 / sqrt(4000) = 0.008; five of them.
    np.testing.assert_allclose(kept / trials, exact, atol=0.04)


@pytest.mark.parametrize("sampler", [MLUL(), MLeNN(), MLTL()], ids=lambda s: type(s).__name__)
def test_samplers_that_look_at_neighbors_ask_for_features(sampler) -> None:
    Y = np.array([[1, 0], [0, 1], [1, 1]])
    with pytest.raises(ParameterError, match="looks at neighbors"):
        sampler.fit_indices(Y)
    with pytest.raises(ParameterError, match="two or more"):
        sampler.fit_indices(Y[:1], np.zeros((1, 2)))
