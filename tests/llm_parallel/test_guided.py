from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from labkit.llm_parallel.guided import MEMBERS, GuidedRanking, drawn_efficiencies, learned
from labkit.llm_parallel.objective import benchmark
from labkit.llm_parallel.search import exhaustive
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.trials import Measured

CLUSTER, SPACES = benchmark(seed=0)
SPACE = SPACES["narrow"]


@pytest.fixture(scope="module")
def ranking():
    return GuidedRanking(SPACE, 10, seed=0)


def test_the_first_strategy_is_the_fastest_of_the_model(ranking):
    assert ranking.next([], set()) == exhaustive(SPACE, top=1).frame.point[0]


def test_the_set_of_constants_that_tells_the_ratios_gets_the_weight():
    predicted = np.log([[1.0, 2.0, 4.0], [1.0, 1.5, 2.0], [1.0, 1.0, 1.0]])
    offset, weight = learned(predicted, np.log([1.0, 1.5, 2.0]), spread=0.05)
    assert weight.sum() == pytest.approx(1.0)
    assert weight[1] > 0.999
    assert offset[1] == pytest.approx(0.0)


def test_a_factor_common_to_all_times_tells_nothing_about_the_sets():
    draws = np.random.default_rng(0)
    predicted, seconds = draws.normal(size=(5, 4)), draws.normal(size=4)
    offset, weight = learned(predicted, seconds, spread=0.5)
    shifted, same = learned(predicted, seconds + math.log(7.0), spread=0.5)
    np.testing.assert_allclose(same, weight)
    np.testing.assert_allclose(shifted - offset, math.log(7.0))


def test_one_measurement_leaves_all_sets_alike():
    _, weight = learned(np.log([[1.0], [2.0]]), np.log([5.0]), spread=0.05)
    assert weight.tolist() == [0.5, 0.5]


def test_constants_are_drawn_from_their_priors_within_their_bounds():
    center = Efficiency()
    sets = drawn_efficiencies(center, 500, seed=1)
    assert sets[0] == center
    for item in dataclasses.fields(Efficiency):
        values = np.array([getattr(one, item.name) for one in sets])
        low, high = item.metadata["low"], item.metadata["high"]
        assert values.min() >= low
        assert values.max() <= high
        median = getattr(center, item.name)
        # The median of 500 draws is within 4 of its standard errors, 1.25 sigma / sqrt(n) each.
        spread = 4 * 1.25 * item.metadata["sigma"] / math.sqrt(500)
        assert abs(math.log(np.median(values) / median)) < spread
    assert drawn_efficiencies(center, 3, seed=1) == sets[:3]


def test_a_measured_gain_draws_the_search_to_what_the_same_constants_promise(ranking):
    """Measured by one of the sets, the strategies that it thinks fast come first."""
    points = ranking.pool.point.to_numpy()
    member = int(np.argmax(np.ptp(ranking.predicted - ranking.predicted[0], axis=1)))
    ended, taken = [], set()
    for _ in range(8):
        point = ranking.next(ended, taken)
        taken.add(point)
        seconds = math.exp(ranking.known[point][member])
        ended.append(Measured(point=point, seconds=seconds, throughput=1 / seconds))
    best = np.exp(ranking.predicted[member, : len(points)].min())
    assert min(done.seconds for done in ended) < 1.01 * best


def test_what_is_recommended_is_not_fooled_by_one_lucky_measurement(ranking):
    predicted = np.exp(ranking.predicted[0])
    lucky = int(np.argmax(predicted > 1.06 * predicted[0]))
    rows = [*range(5), lucky]
    measured = predicted[rows]
    measured[-1] = 0.99 * predicted[0]
    points = ranking.pool.point.iloc[rows].tolist()
    ended = [
        Measured(point=point, seconds=time, throughput=1.0)
        for point, time in zip(points, measured.tolist(), strict=True)
    ]
    assert ranking.recommended(ended) == points[0]


def test_without_a_run_nothing_is_recommended(ranking):
    assert ranking.recommended([Measured(point=1, reason="crashed")]) is None


def test_memory_that_was_too_much_is_not_tried_again(ranking):
    pool = ranking.pool
    failed = int(pool.point[0])
    proposed = ranking.next([Measured(point=failed, reason="out of memory")], {failed})
    memory = pool.set_index("point").memory_bytes
    assert memory[proposed] < memory[failed]


def test_nothing_is_proposed_when_nothing_can_fit():
    ranking = GuidedRanking(SPACE, 3, seed=0)
    front = exhaustive(SPACE, top=1).pareto
    least = int(front.loc[front.memory_bytes.idxmin(), "point"])
    assert ranking.next([Measured(point=least, reason="out of memory")], {least}) is None


def test_every_set_of_constants_prices_every_strategy_of_the_pool(ranking):
    assert ranking.predicted.shape == (MEMBERS, len(ranking.pool))
    np.testing.assert_allclose(np.exp(ranking.predicted[0]), ranking.pool.seconds, rtol=1e-12)
