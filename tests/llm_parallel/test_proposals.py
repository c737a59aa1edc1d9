from __future__ import annotations

import numpy as np
import pytest

from labkit.journal.file import quiet_optuna
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.objective import benchmark
from labkit.llm_parallel.proposals import Parzen, Uniform, constraints, started_at, suggested
from labkit.llm_parallel.trials import Measured, open_trials

SPACE = benchmark()[1]["narrow"]


@pytest.fixture
def store():
    with quiet_optuna():
        yield open_trials(None, {})


@pytest.mark.parametrize("point", [0, 1, 777, 1279])
def test_a_trial_can_be_started_at_any_point(store, point):
    trial = started_at(store, SPACE, point)
    assert store.taken() == {point}
    assert suggested(trial, SPACE) == point


def test_constraints_are_kept_by_the_strategies_that_can_run():
    index = np.arange(0, len(SPACE), 13)
    parallel = SPACE.at(index)
    can_run = SPACE.broken(index, parallel) < 0
    can_run &= peak_bytes(SPACE.model, parallel) <= SPACE.system.hbm_bytes
    kept = [max(constraints(SPACE, int(point)).values()) <= 0 for point in index]
    assert kept == can_run.tolist()
    assert 10 < sum(kept) < len(kept) - 10


def test_uniform_draws_every_point_once(store):
    uniform = Uniform(SPACE, seed=0)
    points = []
    for index in range(50):
        trial, point = uniform.start(store, index)
        store.end(trial, Measured(point=point, throughput=1.0))
        points.append(point)
    assert len(set(points)) == 50
    # The mean of 50 draws of 1280 without repetition: 4 standard errors are 209.
    assert abs(np.mean(points) - 639.5) < 4 * 1280 / np.sqrt(12 * 50)


def test_parzen_learns_where_throughput_is(store):
    """With the throughput a function of one choice alone, that choice is soon made well."""
    parzen = Parzen(SPACE, seed=0, constrained=False)
    best = len(SPACE.domain("pp")) - 1
    chosen = []
    for index in range(40):
        trial, point = parzen.start(store, index)
        digit = int(SPACE.digits(np.array([point]), "pp")[0])
        store.end(trial, Measured(point=point, throughput=float(digit)))
        chosen.append(digit == best)
    assert np.mean(chosen[20:]) > 2 / len(SPACE.domain("pp"))
