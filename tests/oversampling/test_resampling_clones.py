"""Samplers that clone rows: MLROS, LPROS, BalancedClones, and clone weights."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labkit.errors import ParameterError
from labkit.oversampling.imbalance import mean_ir
from labkit.oversampling.resampling import LPROS, MLROS, BalancedClones, clone_weights
from labkit.oversampling.resampling.labelsets import shares

NAN = float("nan")
SEEDS = st.integers(0, 2**31 - 1)
FRACTIONS = st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.3])


@st.composite
def label_matrices(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(2, 14), st.integers(1, 5)))
    Y = draw(
        arrays(float, shape, elements=st.sampled_from([0.0, 0.0, 1.0, NAN]), fill=st.nothing())
    )
    Y[0, 0] = 1.0
    return Y


def ratios(counts: list[int]) -> list[Fraction]:
    return [Fraction(max(counts), c) if c else Fraction(0) for c in counts]


def replay_mlros(Y: np.ndarray, P: float, clones: list[int]) -> None:
    """Follow the published pseudocode and check each recorded clone against it."""
    n, q = Y.shape
    counts = [int((Y[:, label] == 1).sum()) for label in range(q)]
    start = [ratio for ratio in ratios(counts) if ratio]
    mean = sum(start) / len(start)
    bags = {label: {i for i in range(n) if Y[i, label] == 1} for label in range(q)}
    active = [label for label in range(q) if ratios(counts)[label] > mean]
    to_clone = int(P * n + 1e-9)
    waiting = list(clones)
    while to_clone > 0 and active:
        for label in list(active):
            if to_clone == 0:
                break
            row = waiting.pop(0)
            assert row in bags[label]
            for other in range(q):
                counts[other] += int(Y[row, other] == 1)
            to_clone -= 1
            if ratios(counts)[label] <= mean:
                active.remove(label)
    assert waiting == []


@settings(deadline=None, max_examples=150)
@given(label_matrices(), FRACTIONS, SEEDS)
def test_mlros_follows_the_published_pseudocode(Y: np.ndarray, P: float, seed: int) -> None:
    rows = MLROS(P=P, random_state=seed).fit_indices(Y)
    assert rows[: len(Y)].tolist() == list(range(len(Y)))
    replay_mlros(Y, P, rows[len(Y) :].tolist())


def test_mlros_draws_each_row_of_a_bag_equally_often() -> None:
    Y = np.zeros((40, 2))
    Y[:, 0] = 1
    Y[:4, 1] = 1
    drawn = Counter(
        int(row)
        for seed in range(400)
        for row in MLROS(P=0.1, random_state=seed).fit_indices(Y)[40:]
    )
    # 1,600 draws from 4 rows: 400 each, standard deviation 17; five of them.
    assert set(drawn) == {0, 1, 2, 3}
    assert all(abs(count - 400) < 87 for count in drawn.values())


def test_mlros_stops_a_label_at_the_mean_of_the_start() -> None:
    # Counts 5 and 1: IRLbl 1 and 5, MeanIR 3. One clone of the last row gives 6 / 2 = 3.
    Y = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 1]])
    assert MLROS(P=1.0, random_state=0).fit_indices(Y).tolist() == [0, 1, 2, 3, 4, 4]


@settings(deadline=None, max_examples=60)
@given(label_matrices(), SEEDS)
def test_never_measured_entries_are_never_a_reason_to_clone(Y: np.ndarray, seed: int) -> None:
    known = np.nan_to_num(Y)
    for sampler in (MLROS, LPROS, BalancedClones):
        np.testing.assert_array_equal(
            sampler(random_state=seed).fit_indices(Y), sampler(random_state=seed).fit_indices(known)
        )


def one_row_at_a_time(sizes: dict, mean: float, budget: int) -> list[int]:
    """Shares by giving single rows to whoever has had fewest, while below the mean."""
    given_rows = {labelset: 0 for labelset, size in sizes.items() if size < mean}
    while budget:
        open_sets = [s for s in given_rows if sizes[s] + given_rows[s] < mean]
        if not open_sets:
            break
        poorest = min(open_sets, key=lambda s: given_rows[s])
        given_rows[poorest] += 1
        budget -= 1
    return sorted(given_rows.values())


def labelset_of(row: np.ndarray) -> tuple[int, ...]:
    return tuple(int(label) for label in np.flatnonzero(row == 1))


@settings(deadline=None, max_examples=150)
@given(label_matrices(), FRACTIONS, SEEDS)
def test_lpros_shares_clones_equally_among_rare_labelsets(
    Y: np.ndarray, P: float, seed: int
) -> None:
    n = len(Y)
    rows = LPROS(P=P, random_state=seed).fit_indices(Y)
    sizes = Counter(labelset_of(row) for row in Y)
    mean = n / len(sizes)
    clones = Counter(labelset_of(Y[row]) for row in rows[n:])
    assert all(sizes[labelset] < mean for labelset in clones)
    rare = [labelset for labelset in sizes if sizes[labelset] < mean]
    budget = int(P * n + 1e-9)
    room = {s: int(np.ceil(mean - sizes[s])) for s in rare}
    assert sum(clones.values()) == min(budget, sum(room.values()))
    assert all(clones[s] <= room[s] for s in rare)
    expected = one_row_at_a_time(sizes, mean, budget)
    assert sorted(clones[s] for s in rare) == expected


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(0, 40), SEEDS)
def test_shares_equal_handing_out_single_rows_to_whoever_has_fewest(
    room: list[int], budget: int, seed: int
) -> None:
    given_rows = shares(np.array(room), budget, np.random.default_rng(seed))
    expected = [0] * len(room)
    for _ in range(budget):
        able = [i for i in range(len(room)) if expected[i] < room[i]]
        if able:
            expected[min(able, key=lambda i: expected[i])] += 1
    assert sorted(given_rows.tolist()) == sorted(expected)
    assert (given_rows <= room).all()


def test_odd_rows_go_to_labelsets_at_random() -> None:
    room = np.array([4, 4, 4])
    seen = {tuple(shares(room, 4, np.random.default_rng(seed)).tolist()) for seed in range(40)}
    assert seen == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}


@settings(deadline=None, max_examples=80)
@given(label_matrices(), st.sampled_from([0.25, 0.6, 1.5]), SEEDS, st.sampled_from([1, 2, 5, None]))
def test_balanced_clones_takes_the_best_row_each_time(
    Y: np.ndarray, P: float, seed: int, cap: int | None
) -> None:
    n = len(Y)
    rows = BalancedClones(P=P, max_copies=cap, random_state=seed).fit_indices(Y).tolist()
    assert rows[:n] == list(range(n))
    current, used = list(range(n)), Counter()
    for row in rows[n:]:
        allowed = [i for i in range(n) if cap is None or used[i] < cap]
        best = min(mean_ir(Y[[*current, i]]) for i in allowed)
        # Adding up fractions step by step or at once differs by rounding.
        assert mean_ir(Y[[*current, row]]) <= best + 1e-9
        assert mean_ir(Y[[*current, row]]) < mean_ir(Y[current]) + 1e-9
        assert row in allowed
        current.append(row)
        used[row] += 1
    if len(rows) - n < int(P * n + 1e-9):
        allowed = [i for i in range(n) if cap is None or used[i] < cap]
        assert all(mean_ir(Y[[*current, i]]) >= mean_ir(Y[current]) - 1e-9 for i in allowed)


def test_balanced_clones_lowers_mean_ir_below_random_clones_at_the_same_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((400, 8)) < np.geomspace(0.5, 0.02, 8)).astype(int)
    for seed in range(3):
        cloned = MLROS(P=0.25, random_state=seed).fit_indices(Y)
        P = (len(cloned) - 400) / 400
        best = BalancedClones(P=P, random_state=seed).fit_indices(Y)
        assert len(best) <= len(cloned)
        assert mean_ir(Y[best]) < mean_ir(Y[cloned])
        assert clone_weights(best, 400).max() <= 1 + 5


def test_balanced_clones_breaks_ties_by_the_random_state() -> None:
    Y = np.array([[1, 0]] * 8 + [[0, 1]] * 4)
    first = {int(BalancedClones(P=0.1, random_state=s).fit_indices(Y)[-1]) for s in range(40)}
    assert first == {8, 9, 10, 11}


def test_clone_weights_count_copies_and_deletions() -> None:
    assert clone_weights(np.array([0, 2, 2, 3, 2]), 5).tolist() == [1, 0, 3, 1, 0]
    assert clone_weights(np.array([], dtype=int), 2).tolist() == [0, 0]
    with pytest.raises(ParameterError, match="from 0 to 5; with n=5"):
        clone_weights(np.array([0, 5]), 5)
    with pytest.raises(ParameterError, match="from -1"):
        clone_weights(np.array([-1, 0]), 5)


@pytest.mark.parametrize("sampler", [MLROS, LPROS, BalancedClones], ids=lambda s: s.__name__)
def test_clones_and_weights_give_the_same_loss_and_gradient(sampler) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 7))
    Y = (rng.random((60, 4)) < [0.6, 0.3, 0.1, 0.05]).astype(float)
    Y[rng.random(Y.shape) < 0.2] = NAN
    rows = sampler(P=0.5, random_state=0).fit_indices(Y)
    assert len(rows) > 60
    results = []
    for index, weight in (
        (rows, np.ones(len(rows))),
        (np.arange(60), clone_weights(rows, 60)),
    ):
        torch.manual_seed(0)
        model = torch.nn.Linear(7, 4).double()
        target = torch.tensor(Y[index])
        known = ~torch.isnan(target)
        entry = torch.nn.functional.binary_cross_entropy_with_logits(
            model(torch.tensor(X[index])), torch.nan_to_num(target), reduction="none"
        )
        share = known * torch.tensor(weight, dtype=torch.float64)[:, None]
        loss = (entry * share).sum() / share.sum()
        loss.backward()
        results.append((loss.item(), model.weight.grad, model.bias.grad))
    clones, weights = results
    assert clones[0] == pytest.approx(weights[0], abs=1e-6)
    torch.testing.assert_close(clones[1], weights[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(clones[2], weights[2], atol=1e-6, rtol=0)
