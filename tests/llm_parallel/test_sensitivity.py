from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.sensitivity import explained_variances, sensitivity, variance_shares
from labkit.llm_parallel.space import search_space
from labkit.llm_parallel.systems import system_preset

MODEL, SYSTEM = model_preset("gpt-22b"), system_preset("frontier")
NAMES = ["a", "b", "c", "d"]


def table_of(y: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    """One row a combination that is in the set, with its value and its weight."""
    rows = [(*place, y[place], weight[place]) for place in np.ndindex(y.shape)]
    table = pd.DataFrame(rows, columns=[*NAMES[: y.ndim], "y", "weight"])
    return table[table.weight > 0]


def variance_of_means(table: pd.DataFrame, known: tuple[str, ...]) -> float:
    """Var(E[y | known]) by its definition: group, average, take the variance."""
    if not known:
        return 0.0
    mean = np.average(table.y, weights=table.weight)
    total = 0.0
    for _, group in table.groupby(list(known)):
        total += group.weight.sum() * (np.average(group.y, weights=group.weight) - mean) ** 2
    return total / table.weight.sum()


def shapley_by_orders(table: pd.DataFrame, names: list[str]) -> dict[str, float]:
    """Average gain of each choice over all orders in which the choices can become known."""
    gains = dict.fromkeys(names, 0.0)
    orders = list(itertools.permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            before = variance_of_means(table, order[:place])
            gains[name] += variance_of_means(table, order[: place + 1]) - before
    return {name: gain / len(orders) for name, gain in gains.items()}


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_shares_are_those_of_the_definition_over_all_orders(shape, holes):
    draws = np.random.default_rng(len(shape))
    y = draws.normal(size=shape)
    weight = (draws.random(shape) >= holes) * draws.integers(1, 4, shape).astype(float)
    names = NAMES[: len(shape)]
    found = variance_shares(names, y, weight).set_index("choice")
    table = table_of(y, weight)
    total = variance_of_means(table, tuple(names))
    expected = shapley_by_orders(table, names)
    for name in names:
        others = tuple(other for other in names if other != name)
        assert found.shapley[name] == pytest.approx(expected[name] / total, abs=1e-12)
        first = variance_of_means(table, (name,)) / total
        assert found.sobol_first[name] == pytest.approx(first, abs=1e-12)
        last = 1 - variance_of_means(table, others) / total
        assert found.sobol_total[name] == pytest.approx(last, abs=1e-12)
    assert found.shapley.sum() == pytest.approx(1.0, abs=1e-12)


def test_of_a_sum_each_choice_explains_the_variance_of_its_own_term():
    terms = [np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0]), np.array([1.0, 1.0, 1.0, 9.0])]
    y = terms[0][:, None, None] + terms[1][:, None] + terms[2]
    found = variance_shares(NAMES[:3], y, np.ones_like(y)).set_index("choice")
    variances = np.array([term.var() for term in terms])
    for column in ("shapley", "sobol_first", "sobol_total"):
        np.testing.assert_allclose(
            found.loc[NAMES[:3], column], variances / variances.sum(), atol=1e-12
        )


def test_a_product_of_signs_is_all_interaction():
    signs = np.array([-1.0, 1.0])
    y = signs[:, None] * signs
    found = variance_shares(["a", "b"], y, np.ones_like(y))
    assert found.sobol_first.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert found.sobol_total.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert found.shapley.tolist() == pytest.approx([0.5, 0.5], abs=1e-12)


def test_a_choice_that_does_nothing_explains_nothing():
    y = np.broadcast_to(np.arange(3.0)[:, None], (3, 4))
    found = variance_shares(["speed", "nothing"], y, np.ones_like(y)).set_index("choice")
    assert found.loc["nothing"].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert found.loc["speed"].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-12)


def test_two_choices_that_always_go_together_share_what_they_explain():
    """Owen and Prieur (2017): of two inputs that determine each other each gets one half."""
    y = np.diag([1.0, 2.0, 4.0])
    found = variance_shares(["a", "b"], y, np.eye(3))
    assert found.shapley.tolist() == pytest.approx([0.5, 0.5], abs=1e-12)
    assert found.sobol_first.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert found.sobol_total.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_knowing_more_never_explains_less():
    draws = np.random.default_rng(0)
    explained = explained_variances(draws.normal(size=(3, 2, 4, 2)), np.ones((3, 2, 4, 2)))
    for mask in range(16):
        for bit in range(4):
            assert explained[mask | 1 << bit] >= explained[mask] - 1e-12


@pytest.fixture(scope="module")
def space():
    return search_space(
        MODEL,
        SYSTEM,
        32,
        128,
        tp=[1, 2, 4, 8],
        pp=[1, 2, 4, 8],
        virtual_pp=1,
        micro_batch_size=[1, 2, 4],
        zero_stage=1,
        sequence_parallel=[False, True],
        recompute=["none", "full"],
        schedule="1f1b",
    )


def priced(space) -> pd.DataFrame:
    """Every point with its throughput, nan where it cannot run."""
    index = np.arange(len(space))
    parallel = space.at(index)
    legal = np.flatnonzero(space.broken(index, parallel) < 0)
    cost = step_time(MODEL, parallel.take(legal), SYSTEM)
    table = parallel.frame()
    table["speed"] = np.nan
    table.loc[legal[cost.fits], "speed"] = cost.tokens_per_second[cost.fits]
    return table


@pytest.mark.parametrize("failures", ["left out", "slowest"])
def test_a_space_and_the_table_of_its_strategies_tell_the_same(space, failures):
    names = [domain.name for domain in space.free]
    of_space = sensitivity(space, failures=failures).set_index("choice")
    table = priced(space).sample(frac=1, random_state=0)
    of_table = sensitivity(table, choices=names, value="speed", failures=failures)
    pd.testing.assert_frame_equal(
        of_table.set_index("choice").loc[of_space.index], of_space, rtol=1e-9, atol=1e-12
    )
    assert of_space.shapley.sum() == pytest.approx(1.0, abs=1e-9)


def test_the_unit_of_the_throughput_does_not_matter(space):
    table = priced(space)
    names = [domain.name for domain in space.free]
    tokens = sensitivity(table, choices=names, value="speed")
    table["speed"] /= 4096.0
    pd.testing.assert_frame_equal(
        sensitivity(table, choices=names, value="speed"), tokens, atol=1e-9
    )


def test_repeated_runs_of_a_strategy_are_averaged_in_the_logarithm():
    table = pd.DataFrame({"tp": [1, 1, 2, 2], "pp": [1, 1, 1, 1], "speed": [1.0, 4.0, 2.0, 2.0]})
    found = sensitivity(table, choices=["tp", "pp"], value="speed")
    assert found.shapley.isna().all()  # both means are log 2: nothing varies


def test_failures_left_out_are_no_part_of_the_set():
    table = pd.DataFrame({"tp": [1, 2, 4], "speed": [1.0, 3.0, np.nan], "pp": [1, 1, 2]})
    without = sensitivity(table.iloc[:2], choices=["tp", "pp"], value="speed")
    pd.testing.assert_frame_equal(sensitivity(table, choices=["tp", "pp"], value="speed"), without)


def test_failures_as_the_slowest_make_the_choice_that_fails_count():
    table = pd.DataFrame(itertools.product([1, 2], [1, 2]), columns=["tp", "pp"])
    table["speed"] = [np.nan, 2.0, np.nan, 2.1]
    left_out = sensitivity(table, choices=["tp", "pp"], value="speed").set_index("choice")
    counted = sensitivity(table, choices=["tp", "pp"], value="speed", failures="slowest").set_index(
        "choice"
    )
    assert left_out.shapley["tp"] == pytest.approx(1.0)
    assert counted.shapley.tolist() == pytest.approx([0.5, 0.5])  # one of four is faster


def test_a_space_in_which_nothing_runs_says_so():
    space = search_space(
        model_preset("gpt-1t"), SYSTEM, 8, 8, tp=[1, 2], pp=1, virtual_pp=1, schedule="1f1b"
    )
    with pytest.raises(ParameterError, match="none of the 160 can run"):
        sensitivity(space)


TABLE = pd.DataFrame({"tp": [1, 2], "pp": [1, np.nan], "speed": [1.0, -2.0]})


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (TABLE, {}, "choices=None: list the columns"),
        (TABLE, {"choices": "tp"}, "choices='tp': list the columns"),
        (TABLE, {"choices": ["tpp"], "value": "speed"}, "Did you mean 'tp'"),
        (TABLE, {"choices": ["tp"], "value": "sped"}, "Did you mean 'speed'"),
        (TABLE, {"choices": ["pp"], "value": "speed"}, "pp has missing values"),
        (TABLE, {"choices": ["tp"], "value": "speed"}, "speed holds -2.0"),
        (TABLE, {"choices": ["tp"], "failures": "dropped"}, "failures='dropped' is not allowed"),
        (TABLE, {"choices": ["tp"] * 17, "value": "speed"}, "choices has 17 names"),
        ([1, 2], {}, "strategies is a list"),
    ],
)
def test_arguments_that_cannot_be_are_refused(given, options, message):
    with pytest.raises(ParameterError, match=message):
        sensitivity(given, **options)


def test_a_space_is_explained_by_all_its_choices(space):
    with pytest.raises(ParameterError, match="all choices of a space"):
        sensitivity(space, choices=["tp"])
