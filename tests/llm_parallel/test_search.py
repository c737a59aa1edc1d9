from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.errors import ParameterError
from labkit.llm_parallel import search
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.search import OBJECTIVES, exhaustive, pareto, pareto_rows
from labkit.llm_parallel.space import search_space
from labkit.llm_parallel.systems import system_preset

MODEL, SYSTEM = model_preset("gpt-22b"), system_preset("frontier")


@pytest.fixture(scope="module")
def space():
    return search_space(
        MODEL,
        SYSTEM,
        [16, 32],
        128,
        tp=[1, 2, 6],
        pp=[1, 2, 4, 8],
        virtual_pp=[1, 2],
        micro_batch_size=[1, 4],
        zero_stage=[0, 1],
        sequence_parallel=[False, True],
        recompute=["none", "full"],
        schedule=["1f1b", "interleaved_1f1b"],
    )


@pytest.fixture(scope="module")
def one_by_one(space):
    """Every point priced alone, by the checks and the cost model of a single strategy."""
    rows = []
    for point in range(len(space)):
        parallel = space.columns(point, point + 1)
        devices = space.domain("n_devices").values[point // (len(space) // 2)]
        try:
            strategy = parallel.row(0)
            check(MODEL, strategy, n_devices=devices)
        except ParameterError:
            continue
        cost = step_time(MODEL, strategy, SYSTEM)
        rows.append((point, cost.total[0], cost.memory_bytes[0], devices))
    return pd.DataFrame(rows, columns=["point", *OBJECTIVES])


@pytest.fixture(scope="module")
def found(space):
    return exhaustive(space, top=10, distinct=False)


def dominated(values: np.ndarray) -> np.ndarray:
    """Whether any other row is no worse everywhere and better somewhere; by definition."""
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    return (no_worse & better).any(axis=0)


def test_the_fastest_are_those_of_pricing_each_strategy_alone(found, one_by_one):
    fits = one_by_one[one_by_one.memory_bytes <= SYSTEM.hbm_bytes]
    expected = fits.sort_values("seconds").seconds.head(10)
    np.testing.assert_allclose(found.frame.seconds, expected, rtol=1e-12)
    assert found.n_evaluated == len(one_by_one)
    assert found.n_feasible == len(fits)


def test_every_point_is_counted_once(found, space):
    assert found.n_feasible + sum(found.counts.values()) == found.n_points == len(space)
    assert found.map.n_points.sum() == len(space)
    assert found.map.n_feasible.sum() == found.n_feasible
    illegal = sum(n for reason, n in found.counts.items() if reason != "out of memory")
    assert found.n_evaluated == len(space) - illegal


def test_the_front_is_that_of_all_strategies_at_once(found, one_by_one):
    fits = one_by_one[one_by_one.memory_bytes <= SYSTEM.hbm_bytes]
    values = fits[list(OBJECTIVES)].to_numpy()
    expected = np.unique(values[~dominated(values)], axis=0)
    front = found.pareto[list(OBJECTIVES)].to_numpy()
    np.testing.assert_allclose(front[np.lexsort(front.T[::-1])], expected, rtol=1e-12)
    assert set(found.pareto.n_devices) == {16, 32}


def test_the_map_holds_the_best_of_each_pair(found, space, one_by_one):
    fits = one_by_one[one_by_one.memory_bytes <= SYSTEM.hbm_bytes]
    columns = space.at(fits.point.to_numpy())
    tokens = 128 * MODEL.seq_length
    for row in found.map.itertuples():
        mine = fits.seconds[(columns.tp == row.tp) & (columns.pp == row.pp)]
        if mine.empty:
            assert np.isnan(row.tokens_per_second)
            assert row.point == -1
            assert row.reason
        else:
            assert row.tokens_per_second == pytest.approx(tokens / mine.min(), rel=1e-12)
            assert row.n_feasible == len(mine)


def test_results_do_not_depend_on_the_chunks(space, found, monkeypatch):
    monkeypatch.setattr(search, "CHUNK", 97)
    again = exhaustive(space, top=10, distinct=False)
    pd.testing.assert_frame_equal(again.frame, found.frame)
    pd.testing.assert_frame_equal(again.pareto, found.pareto)
    pd.testing.assert_frame_equal(again.map, found.map)
    assert again.counts == found.counts


def test_of_equally_fast_strategies_the_one_with_the_least_memory_is_listed(space, one_by_one):
    best = exhaustive(space, top=20).frame
    assert (np.diff(best.seconds) > 0).all()
    for row in best.itertuples():
        same = one_by_one[np.isclose(one_by_one.seconds, row.seconds, rtol=1e-10)]
        assert row.memory_bytes == pytest.approx(same.memory_bytes.min(), rel=1e-12)


def test_less_memory_excludes_more(space):
    limits = [SYSTEM.hbm_bytes / 2, SYSTEM.hbm_bytes, 2 * SYSTEM.hbm_bytes]
    found = [exhaustive(space, top=1, memory_limit=limit) for limit in limits]
    feasible = [result.n_feasible for result in found]
    assert feasible == sorted(feasible)
    assert len(set(feasible)) == 3
    assert {result.n_evaluated for result in found} == {found[0].n_evaluated}


def test_constants_given_are_the_constants_used(space):
    slow = SYSTEM.efficiency.replace(gemm=SYSTEM.efficiency.gemm / 2)
    usual, slowed = exhaustive(space, top=1), exhaustive(space, top=1, efficiency=slow)
    assert slowed.frame.seconds[0] > 1.3 * usual.frame.seconds[0]


def test_a_space_without_a_strategy_that_runs_has_an_empty_table():
    space = search_space(
        model_preset("gpt-1t"),
        SYSTEM,
        8,
        8,
        tp=[1, 8],
        pp=1,
        micro_batch_size=1,
        virtual_pp=1,
        schedule="1f1b",
    )
    found = exhaustive(space)
    assert found.frame.empty
    assert found.pareto.empty
    assert {"seconds", "hfu", "label", "tp"} <= set(found.frame.columns)
    assert found.map.tokens_per_second.isna().all()
    assert "0 of 32 strategies can run" in found.summary()


def test_the_summary_names_the_fastest(found):
    assert found.frame.label[0] in found.summary()
    assert f"{found.n_feasible:,} of {found.n_points:,}" in found.summary()


def test_progress_ends_with_all_points(space, monkeypatch):
    monkeypatch.setattr(search, "CHUNK", 500)
    seen = []
    exhaustive(space, top=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(space), len(space))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@given(
    hnp.arrays(
        float,
        st.tuples(st.integers(0, 30), st.integers(1, 4)),
        elements=st.integers(0, 4).map(float),
    )
)
def test_front_is_what_nothing_dominates_and_equal_rows_stand_once(values):
    rows = pareto_rows(values)
    expected = values[~dominated(values)]
    assert np.array_equal(np.unique(values[rows], axis=0), np.unique(expected, axis=0))
    assert len(np.unique(values[rows], axis=0)) == len(rows)
    for row in rows:
        assert row == np.flatnonzero((values == values[row]).all(axis=1))[0]


def test_front_leaves_out_what_was_not_measured():
    frame = pd.DataFrame({"seconds": [1.0, np.nan, 2.0], "memory_bytes": [2.0, 0.0, 1.0]})
    assert pareto(frame, ["seconds", "memory_bytes"]).index.tolist() == [0, 2]


def test_front_over_an_unknown_column_is_refused():
    with pytest.raises(ParameterError, match=r"'second' .* Did you mean 'seconds'"):
        pareto(pd.DataFrame({"seconds": [1.0]}), ["second"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top=0"),
        ({"top": 10**7}, "top=10000000"),
        ({"memory_limit": 0}, "memory_limit=0"),
        ({"memory_limit": "64 GiB"}, "memory_limit='64 GiB'"),
        ({"memory_limit": True}, "memory_limit=True"),
    ],
)
def test_options_that_cannot_be_are_refused(space, options, message):
    with pytest.raises(ParameterError, match=message):
        exhaustive(space, **options)
