"""The weak-scaling model finds the constants of a machine, and projects what follows from them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.scaling import (
    CONSTANTS,
    FULL,
    WeakScaling,
    ghosts,
    heaviest_fraction,
    measurement,
)
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.0025, bonded=0.0005)
PLANS = (
    PLAN,
    StepPlan.single(0.02),
    StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.0025),
    StepPlan(fluid=0.04, interface=0.005, nonbonded=0.0025, bonded=0.0025),
)
MACHINE = {
    "update": 2e-8,
    "fluid": 8e-7,
    "interface": 6e-7,
    "nonbonded": 4e-7,
    "bonded": 2e-7,
    "ghost": 5e-8,
    "latency": 3e-6,
}
UNITS = SimpleNamespace(tau_s=3e-7)


def seconds_on_the_machine(
    n: float, q: float, ranks: int, counts: dict[str, int], machine=MACHINE
) -> float:
    """Written out from the module's equation for one run."""
    n3, n2, n1 = (counts[level] for level in LEVELS[1:])
    n4, a = counts["fluid"], machine
    n, q = n / ranks, q / ranks
    work = a["update"] * n * (n1 + n2 + n3 + n4) + a["fluid"] * (n - q) * n4
    work += q * (a["interface"] * n3 + a["nonbonded"] * n2 + a["bonded"] * n1)
    if ranks == 1:
        return work
    side = (n / 3.0) ** (1 / 3)
    shell = 3.0 * (side + 2 * 1.3) ** 3 - n
    exchange = a["ghost"] * shell + 6 * a["latency"]
    return work + (2 * n1 + n2 + n3 + n4) * exchange + n4 * a["latency"] * np.log2(ranks)


def runs(noise: float = 0.0, *, seed: int = 0, repeats: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for n, q in ((3000, 0), (12000, 0), (2300, 900), (7000, 300)):
        for plan in PLANS:
            counts = dict(plan.evaluations(0.4))
            for ranks in (1, 2, 4):
                for _ in range(repeats):
                    seconds = seconds_on_the_machine(n, q, ranks, counts)
                    seconds *= np.exp(noise * rng.normal())
                    row = {"particles": n, "beads": q, "ranks": ranks, **counts}
                    rows.append(row | {"seconds": seconds})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def model() -> WeakScaling:
    return WeakScaling.fit(runs(0.03, repeats=3), n_samples=60)


def test_constants_of_a_machine_are_found_from_its_exact_times():
    fitted = WeakScaling.fit(runs(), n_samples=1)
    assert set(fitted.constants) == set(CONSTANTS)
    for name, value in MACHINE.items():
        assert fitted.constants[name] == pytest.approx(value, rel=1e-6)
    assert fitted.spread < 1e-9


def test_intervals_from_noisy_runs_hold_the_constants(model):
    frame = model.frame.set_index("name")
    inside = [frame.loc[k, "low"] <= v <= frame.loc[k, "high"] for k, v in MACHINE.items()]
    # Seven 90 % intervals: fewer than five would have a chance of 0.3 %.
    assert sum(inside) >= 5
    assert 0.01 < model.spread < 0.03  # the median of |noise| is 0.67 standard deviations


def test_a_few_runs_slowed_by_other_work_hardly_move_the_projection():
    table = runs(0.02, repeats=3)
    slowed = table.copy()
    slowed.loc[::10, "seconds"] *= 3
    clean, disturbed = (
        WeakScaling.fit(t, n_samples=1).project(10**8, 8000, plan=PLAN).seconds
        for t in (table, slowed)
    )
    assert disturbed == pytest.approx(clean, rel=0.1)


def test_constants_are_never_negative():
    table = runs(0.5, seed=3)
    fitted = WeakScaling.fit(table, n_samples=20)
    assert (fitted.samples >= 0).all()


def test_ghosts_are_the_particles_within_the_halo_of_a_cube():
    rng = np.random.default_rng(0)
    side, halo, density = 9.0, 1.3, 3.0
    wide = side + 6.0
    points = rng.uniform(-3.0, side + 3.0, (400_000, 3))
    outside = np.maximum(np.maximum(-points, points - side), 0).max(axis=1)
    counted = np.mean((outside > 0) & (outside < halo)) * density * wide**3
    # 400,000 points, about a fifth of them in the shell: 0.4 % standard error.
    assert ghosts(density * side**3, density=density, halo=halo) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("n_platelets", "ranks", "clump"), [(5000, 50, 1), (2000, 40, 5)])
def test_heaviest_rank_has_the_median_largest_number_of_clumps(n_platelets, ranks, clump):
    rng = np.random.default_rng(1)
    mean = n_platelets / clump / ranks
    largest = np.median(rng.poisson(mean, (4000, ranks)).max(axis=1))
    share = heaviest_fraction(ranks, n_platelets, 0.1, clump=clump)
    assert share == pytest.approx(0.1 * largest / mean, abs=0.1 / mean)


def test_platelets_larger_than_a_rank_fill_one():
    assert heaviest_fraction(8064, 250, 0.1) == FULL
    assert heaviest_fraction(1, 250, 0.1) == 0.1
    assert heaviest_fraction(64, 0, 0.0) == 0.0


def test_one_rank_takes_what_the_equation_says(model):
    n = 50_000
    projected = model.project(n, 1, plan=PLAN, n_platelets=100, platelet_fraction=0.2)
    counts = dict(PLAN.evaluations(PLAN.fluid))
    expected = seconds_on_the_machine(n, 0.2 * n, 1, counts, model.constants)
    assert projected.seconds == pytest.approx(expected, rel=1e-9)
    assert projected.halo_s == projected.collective_s == projected.imbalance_s == 0
    assert projected.efficiency == 1


def test_many_equal_ranks_take_what_the_equation_says(model):
    projected = model.project(64 * 5000, 64, plan=PLAN, n_platelets=0)
    counts = dict(PLAN.evaluations(PLAN.fluid))
    expected = seconds_on_the_machine(64 * 5000, 0, 64, counts, model.constants)
    assert projected.seconds == pytest.approx(expected, rel=1e-9)
    assert projected.imbalance_s == 0


def test_parts_add_up_and_the_interval_holds_the_time(model):
    projected = model.project(10**8, 8000, plan=PLAN, units=UNITS)
    parts = ("compute_s", "imbalance_s", "halo_s", "collective_s")
    assert sum(getattr(projected, name) for name in parts) == pytest.approx(projected.seconds)
    assert projected.low <= projected.seconds <= projected.high
    assert projected.us_per_day_low <= projected.us_per_day <= projected.us_per_day_high
    # 6 ns a step: so many in a day, whatever the model says of one.
    steps = 86400 / projected.seconds
    assert projected.us_per_day == pytest.approx(steps * 6e-3)


@pytest.mark.parametrize("per_rank", [0, 1])
def test_efficiency_falls_with_ranks(model, per_rank):
    found = [
        model.project(12_000 * r, r, plan=PLAN, n_platelets=r * per_rank).efficiency
        for r in (1, 8, 64, 512, 4096)
    ]
    assert all(a >= b for a, b in itertools.pairwise(found))
    if not per_rank:  # the halo is the same on all; the collective grows with the logarithm alone
        assert found[-1] > 0.99 * found[1]


def test_clumps_make_other_ranks_wait(model):
    loose = model.project(10**7, 100, plan=PLAN, n_platelets=2000)
    stuck = model.project(10**7, 100, plan=PLAN, n_platelets=2000, clump=50)
    assert stuck.imbalance_s > loose.imbalance_s > 0
    assert stuck.compute_s == pytest.approx(loose.compute_s)


def test_ranks_without_platelets_are_the_heaviest_where_beads_are_cheap():
    cheap = {**MACHINE, "interface": 0.0, "nonbonded": 0.0, "bonded": 0.0}
    model = WeakScaling(constants=cheap, samples=np.array([list(cheap.values())]))
    projected = model.project(10**6, 100, plan=PLAN, n_platelets=1000, platelet_fraction=0.3)
    plasma_lacked = 0.3 * 10**4
    assert projected.imbalance_s == pytest.approx(cheap["fluid"] * plasma_lacked)


def test_less_known_networks_widen_the_interval(model):
    same, other = (
        model.project(10**8, 8000, plan=PLAN, network_spread=spread) for spread in (1.0, 5.0)
    )
    assert other.high - other.low > same.high - same.low
    assert other.seconds == same.seconds


def test_a_measurement_leaves_the_setup_out():
    counts = PLAN.evaluations(0.2)
    segment = Segment(
        plan=PLAN, start=0.0, time=0.2, evaluations=counts, cpu_seconds=1.0, wall_seconds=1.5,
        setup_seconds=0.5,
    )  # fmt: skip
    row = measurement(segment, particles=2000, beads=100, ranks=2)
    assert row["seconds"] == 1.0
    assert [row[level] for level in LEVELS] == list(counts.values())


def test_runs_on_one_rank_alone_are_refused():
    table = runs()
    with pytest.raises(ParameterError, match="give runs on 1 rank and on more"):
        WeakScaling.fit(table[table["ranks"] == 1])
    with pytest.raises(ParameterError, match="lacks seconds"):
        WeakScaling.fit(table.drop(columns="seconds"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": 0}, "ranks=0: use a whole number of 1 or more"),
        ({"n_particles": 2.5}, "n_particles=2.5"),
        ({"platelet_fraction": 1.2}, "platelet_fraction=1.2 is not allowed; use 0 to 0.9"),
        ({"clump": 0}, "clump=0"),
        ({"network_spread": 0.5}, "network_spread=0.5 is not allowed; use a factor of 1 or more"),
    ],
)
def test_impossible_machines_are_refused(model, changes, words):
    given = {"n_particles": 10**6, "ranks": 10, **changes}
    with pytest.raises(ParameterError, match=words):
        model.project(given.pop("n_particles"), given.pop("ranks"), plan=PLAN, **given)
