from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.objective import SimulatedCluster, benchmark
from labkit.llm_parallel.outcome import FAILURES, Failure, Run
from labkit.llm_parallel.search import exhaustive
from labkit.llm_parallel.space import search_space
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.systems import system_preset

MODEL, SYSTEM = model_preset("gpt-175b"), system_preset("frontier")
RECIPE = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640, recompute="full")


def test_a_cluster_without_errors_is_the_model():
    exact = SimulatedCluster(MODEL, SYSTEM, noise=0.0, constants_error=0.0, memory_error=0.0)
    run, cost = exact(RECIPE), step_time(MODEL, RECIPE, SYSTEM)
    assert isinstance(run, Run)
    assert run.seconds == pytest.approx(cost.total[0], rel=1e-12)
    assert run.memory_bytes == pytest.approx(cost.memory_bytes[0], rel=1e-12)


def test_the_same_strategy_is_measured_the_same_again_and_on_another_cluster_otherwise():
    assert SimulatedCluster(MODEL, SYSTEM, seed=3)(RECIPE) == SimulatedCluster(
        MODEL, SYSTEM, seed=3
    )(RECIPE)
    other = SimulatedCluster(MODEL, SYSTEM, seed=4)(RECIPE)
    assert other.seconds != SimulatedCluster(MODEL, SYSTEM, seed=3)(RECIPE).seconds


def test_noise_has_the_spread_that_it_is_said_to_have():
    cluster = SimulatedCluster(MODEL, SYSTEM, noise=0.03, constants_error=0.0, memory_error=0.0)
    strategies = [RECIPE.replace(global_batch_size=640 + 32 * k) for k in range(300)]
    measured = np.array([cluster(strategy).seconds for strategy in strategies])
    true = step_time(MODEL, ParallelColumns.of(strategies), SYSTEM).total
    noise = np.log(measured / true)
    # 300 normal draws: the sample sigma is within 4 standard errors of 4.1 % each.
    assert noise.std() == pytest.approx(0.03, rel=4 / math.sqrt(2 * 300))
    assert abs(noise.mean()) < 4 * 0.03 / math.sqrt(300)


def test_every_constant_is_wrong_by_the_given_sigma():
    names = [item.name for item in dataclasses.fields(Efficiency)]
    unlimited = [name for name in names if name not in ("gemm", "attention", "memory")]
    unlimited = [name for name in unlimited if name != "dp_overlap"]
    errors = np.array(
        [
            [
                math.log(getattr(cluster.efficiency, name) / getattr(SYSTEM.efficiency, name))
                for name in unlimited
            ]
            for cluster in (SimulatedCluster(MODEL, SYSTEM, seed=seed) for seed in range(200))
        ]
    )
    assert errors.std(axis=0) == pytest.approx(0.35, rel=4 / math.sqrt(2 * 200))
    correlation = np.corrcoef(errors.T) - np.eye(len(unlimited))
    assert np.abs(correlation).max() < 5 / math.sqrt(200)


def test_shares_of_the_truth_are_shares():
    for seed in range(50):
        true = SimulatedCluster(MODEL, SYSTEM, seed=seed).efficiency
        assert max(true.gemm, true.attention, true.memory, true.dp_overlap) <= 1.0


def test_memory_is_never_less_than_the_models():
    factors = [SimulatedCluster(MODEL, SYSTEM, seed=seed).memory_factor for seed in range(50)]
    assert min(factors) >= 1.0
    assert 1.0 < np.mean(factors) < 1.1


@pytest.mark.parametrize(
    ("strategy", "reason", "message"),
    [
        (ParallelConfig(dp=128, global_batch_size=640), "out of memory", "GiB needed"),
        (ParallelConfig(tp=5, dp=2, global_batch_size=640), "illegal", "tp=5 does not divide"),
    ],
)
def test_what_cannot_run_is_a_failure_with_its_reason(strategy, reason, message):
    failure = SimulatedCluster(MODEL, SYSTEM)(strategy)
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert failure.reason in FAILURES
    assert message in failure.message
    assert failure.strategy == strategy


def test_the_optimum_is_the_fastest_of_all_that_run():
    cluster = SimulatedCluster(MODEL, SYSTEM, seed=5)
    space = search_space(
        MODEL, SYSTEM, 128, 640, tp=[4, 8], pp=[8, 16], virtual_pp=1, schedule="1f1b"
    )
    quiet = dataclasses.replace(cluster, noise=0.0)
    seconds = []
    for point in range(len(space)):
        parallel = space.columns(point, point + 1)
        if space.broken(np.array([point]), parallel)[0] < 0:
            outcome = quiet(parallel.row(0))
            seconds.append(outcome.seconds if isinstance(outcome, Run) else math.inf)
    assert cluster.optimum(space) == pytest.approx(min(seconds), rel=1e-12)


def test_the_shipped_spaces_are_as_large_and_as_hard_as_they_are_said_to_be():
    _, spaces = benchmark()
    sizes = {place: len(space) for place, space in spaces.items()}
    shares = {
        place: exhaustive(space, top=1).n_feasible / len(space) for place, space in spaces.items()
    }
    assert sizes == {"wide": 19_200, "narrow": 1_280}
    assert 0.01 < shares["wide"] < 0.06
    assert 0.15 < shares["narrow"] < 0.33


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -0.1}, "noise=-0.1"),
        ({"noise": True}, "noise=True"),
        ({"constants_error": "35 %"}, "constants_error='35 %'"),
        ({"memory_error": math.nan}, "memory_error=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_errors_that_cannot_be_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        SimulatedCluster(MODEL, SYSTEM, **options)
