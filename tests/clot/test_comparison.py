import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest

from labkit.clot.comparison import (
    CHOOSING,
    COSTS,
    Comparison,
    compare,
    contestants,
    folder_of,
    single_step,
)
from labkit.clot.control.classical import FixedPlan
from labkit.clot.control.ladder import Ladder
from labkit.clot.plans import StepPlan
from labkit.clot.settings import ClotConfig
from labkit.errors import ParameterError

FINE = StepPlan(fluid=0.01, interface=0.005, nonbonded=0.0025, bonded=0.0025)
COARSE = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
LADDER = Ladder((FINE, COARSE))
SEEDS = (3, 4, 5)


def rows(controller, *, seconds=2.0, violations=0.0, length=10.0, seeds=SEEDS, **properties):
    """A controller's runs; the machine is slower in each seed, and properties depend on it."""
    return pd.DataFrame(
        {
            "controller": controller,
            "seed": seed,
            "time": length,
            "cpu_seconds": length * seconds * (1 + 0.5 * number),
            "wall_seconds": length * seconds * (1 + 0.5 * number),
            "fluid": 100,
            "interface": 200,
            "nonbonded": round(400 * seconds),
            "bonded": 800,
            "controller_share": 0.01,
            "rollbacks": number,
            "violation_rate": violations,
            "hopeless_rate": 0.0,
            **{name: value * (1 + 0.2 * number) for name, value in properties.items()},
        }
        for number, seed in enumerate(seeds)
    )


@pytest.fixture
def comparison():
    """Plans whose costs, violations and properties are known."""
    table = pd.concat(
        [
            rows("single step", seconds=8.0, heat=1.0, contacts=50.0),
            rows("fixed fine", seconds=4.0, violations=0.01, heat=1.002, contacts=50.2),
            rows("fixed middle", seconds=3.0, violations=0.04, heat=1.01, contacts=55.0),
            rows("fixed coarse", seconds=1.0, violations=0.5, heat=1.2, contacts=80.0),
            rows("learned", seconds=1.5, violations=0.02, heat=1.001, contacts=50.1),
        ],
        ignore_index=True,
    )
    return Comparison(table, "single step")


def test_costs_are_those_of_a_time_unit(comparison):
    costs = comparison.costs.set_index("controller")
    assert costs.loc["learned", "cpu_seconds"] == pytest.approx(1.5 * 1.5)
    assert costs.loc["learned", "nonbonded"] == pytest.approx(60)
    assert costs.loc["learned", "evaluations"] == pytest.approx(60 + 20)
    assert costs.loc["learned", "rollbacks"] == 1.0
    assert costs.loc["fixed coarse", "violation_rate"] == 0.5
    twice = comparison.table.copy()
    twice[[c for c in COSTS if c not in ("controller_share", "rollbacks")]] *= 2
    longer = Comparison(twice, "single step").costs.set_index("controller")
    assert longer["cpu_seconds"].tolist() == pytest.approx(costs["cpu_seconds"].tolist())


def test_costs_and_violations_have_intervals_that_hold_their_means(comparison):
    costs = comparison.costs
    for name in ("cpu_seconds", "wall_seconds", "violation_rate"):
        assert (costs[f"{name}_low"] <= costs[name]).all()
        assert (costs[name] <= costs[f"{name}_high"]).all()
    assert (costs["violation_rate_low"] >= 0).all()


def test_speeds_are_compared_in_pairs_so_that_a_slow_start_is_no_uncertainty(comparison):
    """Every seed costs another time, and every controller the same multiple of it."""
    speeds = comparison.speeds("fixed fine").set_index("controller")
    assert speeds.loc["learned", ["times_faster", "low", "high"]].tolist() == pytest.approx(
        [4 / 1.5] * 3
    )
    assert speeds.loc["learned", "evaluations"] == pytest.approx((600 + 200) / (1600 + 200))
    assert speeds.loc["fixed fine", "times_faster"] == 1.0


def test_speeds_of_seeds_that_only_one_has_are_left_out(comparison):
    table = comparison.table
    extra = rows("learned", seconds=100.0, seeds=(99,), heat=1.0, contacts=50.0)
    speeds = Comparison(pd.concat([table, extra]), "single step").speeds("fixed fine")
    assert speeds.set_index("controller").loc["learned", "times_faster"] == pytest.approx(4 / 1.5)


def test_a_ratio_of_one_pair_has_no_interval(comparison):
    table = comparison.table[comparison.table["seed"] == 3]
    speed = Comparison(table, "single step").speeds("fixed fine").set_index("controller")
    assert speed.loc["learned", "times_faster"] == pytest.approx(4 / 1.5)
    assert np.isnan(speed.loc["learned", "low"])


def test_errors_are_paired_by_seed_whatever_the_order_of_the_table(comparison):
    mixed = comparison.table.sample(frac=1.0, random_state=0)
    errors = Comparison(mixed, "single step").errors.set_index(["controller", "property"])
    found = errors.loc[("fixed fine", "heat")]
    assert found["paired"]
    assert [found["low"], found["high"]] == pytest.approx([0.002, 0.002])
    assert set(errors.index.get_level_values("property")) == {"heat", "contacts"}


def test_the_best_fixed_plan_is_the_cheapest_safe_one_and_never_one_that_chooses(comparison):
    assert comparison.best_fixed("tolerance") == "fixed middle"
    assert comparison.best_fixed("within") == "fixed fine"
    assert comparison.best_fixed("not outside") == "fixed fine"


def test_no_plan_is_best_where_none_is_safe(comparison):
    table = comparison.table.assign(violation_rate=0.2)
    assert Comparison(table, "single step").best_fixed("tolerance") is None


def test_a_property_that_nobody_could_tell_forbids_nothing(comparison):
    table = comparison.table.assign(first_flip_strain=np.nan)
    assert Comparison(table, "single step").best_fixed("within") == "fixed fine"


def test_a_reference_that_is_a_fixed_plan_is_safe_by_its_own_properties(comparison):
    table = comparison.table[comparison.table["controller"].isin(("fixed fine", "fixed coarse"))]
    assert Comparison(table, "fixed fine").best_fixed("within") == "fixed fine"


def test_summary_counts_verdicts(comparison):
    summary = comparison.summary.set_index("controller")
    assert summary.loc["fixed middle", ["within", "outside"]].tolist() == [1, 1]
    assert summary.loc["learned", "times_faster"] == pytest.approx(8 / 1.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: Comparison(c.table.drop(columns="fluid"), "learned"), "'fluid'"),
        (lambda c: Comparison(c.table, "nobody"), "reference='nobody'"),
        (lambda c: c.speeds("nobody"), "baseline='nobody'"),
        (lambda c: c.best_fixed("luck"), "rule='luck'"),
        (
            lambda c: Comparison(c.table.drop(columns="violation_rate"), "learned").best_fixed(),
            "judged=True",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(comparison, call, message):
    with pytest.raises(ParameterError, match=message):
        call(comparison)


def test_every_fixed_plan_and_every_way_to_choose_is_a_contestant():
    found = contestants(LADDER, tolerance=1e-3)
    assert list(found) == [f"fixed {FINE}", f"fixed {COARSE}", *CHOOSING]
    assert found[f"fixed {COARSE}"]().fixed == COARSE
    [(name, make)] = single_step(LADDER).items()
    assert name == make().name == "single step 0.0025"
    assert make().fixed == StepPlan.single(0.0025)


def test_stored_runs_give_the_same_table_in_the_order_of_the_controllers(tmp_path):
    """A segment of two platelets in two seeds; the second call reads what the first one ran, and
    the third runs both seeds at the same time, in processes of their own."""
    config = ClotConfig.from_preset("quick", time=0.5, seeds=2, seed=7)
    controllers = {f"fixed {plan}": partial(FixedPlan, plan) for plan in LADDER}
    done: list[str] = []
    found, again = (
        compare(
            config,
            LADDER,
            controllers,
            reference=f"fixed {FINE}",
            folder=tmp_path,
            progress=lambda n, total, what: done.append(f"{n}/{total} {what}"),
        )
        for _ in range(2)
    )
    seconds = ["cpu_seconds", "wall_seconds", "controller_share"]
    pd.testing.assert_frame_equal(
        found.table.drop(columns=seconds), again.table.drop(columns=seconds)
    )
    assert found.table["controller"].tolist() == [*controllers] * 2
    assert found.table["seed"].tolist() == [7, 7, 8, 8]
    assert found.table["nonbonded"].tolist() == [200, 50] * 2
    assert done[3].startswith("4/4")
    assert (folder_of(tmp_path, f"fixed {COARSE}", 8) / "run.json").is_file()
    beside = compare(config, LADDER, controllers, reference=f"fixed {FINE}", processes=2)
    pd.testing.assert_frame_equal(
        found.table.drop(columns=seconds), beside.table.drop(columns=seconds)
    )
    other = dataclasses.replace(config, shear_rate=0.1)
    with pytest.raises(ParameterError, match="differs from"):
        compare(other, LADDER, controllers, reference=f"fixed {FINE}", folder=tmp_path)
    starts = found.table["gyration_3"].groupby(found.table["seed"]).mean()
    assert starts.nunique() == 2
