"""Figures show the numbers that they are given, name their axes, and legends cover nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from labkit.clot import plots
from labkit.clot.analysis.jeffery import compare_with_jeffery, jeffery_axis
from labkit.clot.analysis.profiles import poiseuille_viscosity
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.ledger import WORK_COLUMNS
from labkit.clot.control.run_storage import ROLLBACK_COLUMNS, Run
from labkit.clot.cost import CostModel
from labkit.clot.flows import ReversePoiseuille
from labkit.clot.forcefield import Receptors
from labkit.clot.labels import LabelTable, Trajectory, TrajectoryLabels
from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.plots.accuracy import front
from labkit.clot.plots.colors import FAMILY_COLORS, LEVEL_COLORS, REGIME_COLORS, family
from labkit.clot.plots.levels import cost_table
from labkit.clot.plots.tolerance import cheapest_plans, safest_fixed
from labkit.clot.published import comparison
from labkit.clot.scaling import CONSTANTS, WeakScaling
from labkit.clot.simulation import Segment
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Placed, Suspension
from labkit.clot.units import DPDUnits
from labkit.errors import ParameterError

FINE = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.00125, bonded=0.00125)
COARSE = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.00125)
CONTACTS = (0, 0, 4, 30, 60, 61, 60)


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)


def observation(time: float, pairs: float, *, temperature: float = 0.1) -> Observation:
    """Two platelets that share some pairs of beads."""
    ones, vectors = np.ones(2), np.zeros((2, 3))
    shape, axis = np.tile([0.2, 0.8, 0.8], (2, 1)), np.tile([0.0, 1.0, 0.0], (2, 1))
    return Observation(
        time=time, center=vectors, velocity=vectors, angular_velocity=vectors,
        gyration=shape, axis=axis,
        temperature=temperature * np.array([0.9, 1.1]), stretch_mean=0.01 * ones,
        stretch_max=0.05 * ones, contacts=pairs * ones, gap=ones, bond_energy=ones,
        receptor_energy=ones, fluid_temperature=1.2 * temperature,
    )  # fmt: skip


def driven(contacts=CONTACTS, *, rollbacks: int = 0) -> Run:
    """Coarse while the number of contacts stands still, fine while it changes."""
    rows = [(k, 0.5 * k, str(COARSE), "hot", str(FINE)) for k in range(rollbacks)]
    changes = np.abs(np.diff(contacts)) > 2
    return Run(
        controller="learned",
        ladder=Ladder((FINE, COARSE)),
        segment=0.5,
        time=0.5 * len(changes),
        observations=tuple(observation(0.5 * k, n) for k, n in enumerate(contacts)),
        plans=tuple(FINE if change else COARSE for change in changes),
        work=pd.DataFrame(columns=list(WORK_COLUMNS)),
        rollbacks=pd.DataFrame(rows, columns=list(ROLLBACK_COLUMNS)),
        snapshots=(),
    )


def labeled(n_times: int = 6) -> LabelTable:
    """Errors of the fine plan 0.1 and of the coarse one 0.2, 0.4, 0.6 ... mrc at times 0, 1, 2."""
    coarse = 2e-4 * np.arange(1, n_times + 1)
    errors = np.stack([np.full(n_times, 1e-4), coarse], axis=1)[:, :, None] * [1.0, 0.5]
    labels = TrajectoryLabels(
        trajectory=Trajectory(scene="collision", seed=1),
        shear_rate=0.2,
        kT=0.1,
        observations=tuple(observation(float(k), 0) for k in range(n_times)),
        errors=errors,
        ran_on=np.zeros(n_times, dtype=int),
        reference_error=1e-6,
    )
    return LabelTable(
        plans=(FINE, COARSE),
        reference=FINE.refined(4),
        window=0.2,
        segment=1.0,
        trajectories=(labels,),
    )


def assert_presentable(drawn: Axes | Figure) -> None:
    """Legends beside the data and within the figure, axes named, width for a page."""
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    figure.canvas.draw()
    assert figure.get_figwidth() <= 9.2
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    for legend in (one for one in legends if one is not None):
        box = legend.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        for ax in figure.axes:
            shared = Bbox.intersection(box, ax.get_window_extent())
            assert shared is None or min(shared.width, shared.height) < 1, "a legend covers data"
    bottom = [ax for ax in figure.axes if ax.get_subplotspec().is_last_row()]
    assert all(ax.get_xlabel() for ax in bottom)


def legend_words(drawn: Axes | Figure) -> list[str]:
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    return [text.get_text() for one in legends if one for text in one.get_texts()]


def line_at(ax: Axes, label: str) -> Any:
    return next(line for line in ax.lines if str(line.get_label()).startswith(label))


def test_things_that_are_told_apart_have_colors_of_their_own():
    for table in (LEVEL_COLORS, REGIME_COLORS, FAMILY_COLORS):
        assert len(set(table.values())) == len(table)
    assert set(LEVELS) < set(LEVEL_COLORS)
    names = ("learned", "fixed 0.02", "displacement limit", "step doubling", "LSTM", "GRU")
    kinds = ["learned", "fixed", "displacement", "doubling", "autoencoder", "autoencoder"]
    assert [family(name) for name in names] == kinds


def profile(height: float = 8.0, force: float = 0.06, viscosity: float = 2.0) -> np.ndarray:
    """Averages over the bins of the two parabolas of reverse Poiseuille flow, density 3."""
    y = (np.arange(32) + 0.5) * height / 32
    within = y % (height / 2)
    u = 3 * force / (2 * viscosity) * within * (height / 2 - within)
    u[16:] *= -1
    return np.column_stack([y, np.full(32, 3.0), u, np.full(32, 1.0)])


def test_profile_is_drawn_over_its_parabola_with_the_viscosity_in_words():
    bins, flow = profile(), ReversePoiseuille(0.06)
    fit = poiseuille_viscosity(np.stack([bins, bins * [1, 1, 1.01, 1]]), flow, 8.0)
    ax = plots.velocity_profile(bins, fit, title="Plasma")
    np.testing.assert_array_equal(line_at(ax, "simulated").get_xdata(), bins[:, 2])
    np.testing.assert_array_equal(line_at(ax, "parabola").get_ydata(), bins[:, 0])
    assert f"viscosity {fit.viscosity.estimate:.2f} ±" in " ".join(legend_words(ax))
    assert_presentable(ax)


def test_profiles_of_several_segments_are_averaged():
    segments = [
        Segment(plan=FINE, start=0.0, time=1.0, evaluations={}, cpu_seconds=1.0, wall_seconds=1.0,
                profile=profile(force=force))
        for force in (0.05, 0.07)
    ]  # fmt: skip
    ax = plots.velocity_profile(segments)
    np.testing.assert_allclose(line_at(ax, "simulated").get_xdata(), profile(force=0.06)[:, 2])
    bare = Segment(
        plan=FINE, start=0.0, time=1.0, evaluations={}, cpu_seconds=1.0, wall_seconds=1.0
    )
    with pytest.raises(ParameterError, match="run with bins="):
        plots.velocity_profile(bare)


def test_orbit_is_drawn_in_degrees_over_jefferys():
    strain = np.linspace(0, 30, 200)
    axes = jeffery_axis([-np.sin(0.35), np.cos(0.35), 0], strain, 0.3)
    one = compare_with_jeffery(strain, axes, 0.3)
    ax = plots.tumbling_figure([one, one])
    jeffery, simulated = line_at(ax, "Jeffery"), line_at(ax, "simulated, 2 runs")
    np.testing.assert_allclose(jeffery.get_ydata(), simulated.get_ydata(), atol=0.5)
    assert simulated.get_ydata()[0] == pytest.approx(-20.05, abs=0.1)
    assert_presentable(ax)
    assert_presentable(plots.tumbling_figure({"rate 0.1": one, "rate 0.2": one}))
    with pytest.raises(ParameterError, match="tumblings is empty"):
        plots.tumbling_figure([])


def test_a_run_beside_two_orbits_is_drawn_once():
    strain = np.linspace(0, 30, 200)
    axes = jeffery_axis([-np.sin(0.35), np.cos(0.35), 0], strain, 0.3)
    ratios = {f"ratio {ratio}": compare_with_jeffery(strain, axes, ratio) for ratio in (0.3, 0.5)}
    ax = plots.tumbling_figure(ratios)
    assert legend_words(ax) == ["ratio 0.3", "ratio 0.5", "simulated"]
    same, other = (np.asarray(line_at(ax, name).get_ydata()) for name in ratios)
    simulated = np.asarray(line_at(ax, "simulated").get_ydata())
    np.testing.assert_allclose(same, simulated, atol=0.5)
    assert np.abs(other - simulated).max() > 20
    assert_presentable(ax)


def lesson() -> pd.DataFrame:
    rows = [
        {"plan": plan, "rule": rule, "T_platelet": value, "T_fluid": 1.01,
         "T_platelet_low": 0.97 * value, "T_platelet_high": 1.02 * value}
        for plan, cold in (("a / b", 0.37), ("c / d", 0.23))
        for rule, value in ((True, 1.02), (False, cold))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_bars_of_the_lesson_are_its_temperatures():
    ax = plots.temperature_lesson(lesson(), title="Noise")
    widths = sorted(bar.get_width() for bar in ax.patches if bar.get_height() < 0.4)
    assert widths == pytest.approx([0.23, 0.37, 1.02, 1.02])
    assert set(legend_words(ax)) == {
        "platelets, noise rule", "platelets, without the rule", "plasma"
    }  # fmt: skip
    assert_presentable(ax)


def test_lesson_of_one_rule_has_its_bars_at_the_plans():
    rows = lesson()
    ax = plots.temperature_lesson(rows[~rows["rule"]])
    bars = [bar for bar in ax.patches if bar.get_width() in (0.37, 0.23)]
    assert [bar.get_y() + bar.get_height() / 2 for bar in bars] == pytest.approx([0, 1])
    with pytest.raises(ParameterError, match="lesson has 0 rows"):
        plots.temperature_lesson(rows[:0])


COST = CostModel(
    seconds={"fluid": 1e-3, "interface": 2e-4, "nonbonded": 1e-4, "bonded": 5e-5},
    setup=0.01, errors={}, residual=0.0, n_segments=1,
)  # fmt: skip


def test_cost_of_a_time_unit_is_that_of_the_model():
    table = cost_table(COST, {"fine": FINE, "coarse": COARSE}, segment=0.5)
    for name, plan in (("fine", FINE), ("coarse", COARSE)):
        parts = COST.parts(plan, 1.0, n_segments=2)
        assert table.loc[name].to_dict() == pytest.approx(parts)


def test_bars_of_the_cost_are_shares_and_the_words_beside_them_seconds():
    ax = plots.level_costs(COST, [FINE, COARSE], measured=[0.3, 0.25])
    sums = np.zeros(2)
    for bar in ax.patches:
        sums[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    np.testing.assert_allclose(sums, 100)
    total = cost_table(COST, {"f": FINE, "c": COARSE}).sum(axis=1)
    words = " ".join(text.get_text() for text in ax.texts)
    assert f"{total['f'] / total['c']:.1f}× less\nmeasured 250 ms" in words
    assert_presentable(ax)
    with pytest.raises(ParameterError, match="2 plans for 1 measured times"):
        plots.level_costs(COST, [FINE, COARSE], measured=[0.3])


def test_regimes_follow_the_number_of_contacts():
    found = plots.regimes(driven().observations)
    assert found == ["free", *["contacts changing"] * 3, "settled", "settled"]


def test_step_trace_shows_the_steps_of_the_plans_and_the_regimes():
    run = driven(rollbacks=2)
    figure = plots.step_trace(run, title="Collision")
    upper, lower = figure.axes
    contacts = upper.lines[-1]
    np.testing.assert_array_equal(contacts.get_ydata(), CONTACTS)
    stairs = {patch.get_label(): patch.get_data().values for patch in lower.patches
              if hasattr(patch, "get_data")}  # fmt: skip
    for level in LEVELS:
        np.testing.assert_array_equal(stairs[level], [getattr(p, level) for p in run.plans])
    assert "rolled back" in legend_words(figure)
    assert set(REGIME_COLORS) < set(legend_words(figure))
    assert_presentable(figure)


def test_a_run_without_segments_has_no_trace():
    with pytest.raises(ParameterError, match="run has no segments"):
        plots.step_trace(driven(contacts=(0,)))


def test_contacts_of_an_ensemble_are_its_mean_within_its_range():
    runs = [driven(), driven(contacts=[2 * n for n in CONTACTS])]
    ax = plots.contacts_in_time({"learned": runs, "best fixed": runs[:1]})
    np.testing.assert_allclose(line_at(ax, "learned (n = 2)").get_ydata(), 1.5 * np.array(CONTACTS))
    assert_presentable(ax)
    with pytest.raises(ParameterError, match="runs is empty"):
        plots.contacts_in_time({})


def test_temperatures_are_those_of_plasma_and_of_the_mean_platelet():
    ax = plots.temperatures_in_time(driven().observations)
    np.testing.assert_allclose(line_at(ax, "platelets").get_ydata(), 0.1)
    np.testing.assert_allclose(line_at(ax, "plasma").get_ydata(), 0.12)
    assert_presentable(ax)


def results() -> pd.DataFrame:
    names = ["fixed 1", "fixed 2", "fixed 3", "learned", "step doubling", "LSTM autoencoder"]
    frame = pd.DataFrame({"controller": names, "cpu_seconds": [3.0, 1.0, 0.4, 0.5, 1.6, 0.6]})
    frame["violation_rate"] = [0.0, 0.02, 0.5, 0.02, 0.03, 0.09]
    for end, factor in (("low", 0.9), ("high", 1.1)):
        frame[f"cpu_seconds_{end}"] = factor * frame["cpu_seconds"]
    return frame


def test_front_is_what_no_other_controller_beats():
    frame = results()
    best = front(frame["cpu_seconds"].to_numpy(), frame["violation_rate"].to_numpy())
    assert frame["controller"].iloc[best].tolist() == ["fixed 3", "learned", "fixed 1"]
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 60))
    brute = [
        i for i in range(60) if not ((x <= x[i]) & (y <= y[i]) & ((x < x[i]) | (y < y[i]))).any()
    ]
    assert sorted(front(x, y)) == brute


def test_every_controller_is_named_once_beside_its_point():
    ax = plots.pareto_front(results(), title="Clot")
    named = [text.get_text() for text in ax.texts]
    assert sorted(named) == sorted([*results()["controller"], "allowed: 5 %"])
    points = [c.lines[0] for c in ax.containers]
    drawn = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in points])
    np.testing.assert_allclose(np.sort(drawn), np.sort(results()["cpu_seconds"]))
    assert_presentable(ax)
    with pytest.raises(ParameterError, match="needs at least one row and controller, wall_seconds"):
        plots.pareto_front(results(), cost="wall_seconds")


def property_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "property": ["spin", "viscosity", "first_flip_strain", "stress_mean"],
            "relative_error": [0.01, -0.02, np.nan, 0.4],
            "low": [-0.01, -0.035, np.nan, 0.3],
            "high": [0.03, -0.005, np.nan, 0.5],
        }
    )


def test_intervals_of_the_properties_are_drawn_in_percent():
    ax = plots.property_errors_figure(property_table(), title="Errors")
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "angular speed", "viscosity", "strain of the first flip", "membrane stress, mean"
    ]  # fmt: skip
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose(segments[0][:, 0], [-1, 3])
    np.testing.assert_allclose(segments[1][:, 0], [-3.5, -0.5])
    assert "not known" in [t.get_text() for t in ax.texts]
    assert_presentable(ax)


def test_controllers_stand_side_by_side_in_the_forest():
    tables = [property_table().assign(controller=name) for name in ("learned", "best fixed plan")]
    ax = plots.property_errors_figure(pd.concat(tables))
    assert legend_words(ax) == ["learned", "best fixed plan"]
    assert_presentable(ax)


def test_projection_stacks_its_parts_and_labels_what_is_published():
    values = dict(zip(CONSTANTS, (2e-8, 8e-7, 6e-7, 4e-7, 2e-7, 5e-8, 3e-6), strict=True))
    model = WeakScaling(constants=values, samples=np.array([list(values.values())] * 3))
    units = DPDUnits(rc_m=2e-6 / 3, eta_star=2.2)
    projections = [model.project(12_000 * r, r, plan=FINE, units=units) for r in (1, 64, 8064)]
    figure = plots.scaling_figure(projections, comparison(projections[-1:]), title="102 M")
    upper, lower = figure.axes
    tops = [stack.get_paths()[0].vertices[:, 1].max() for stack in upper.collections[:4]]
    assert max(tops) == pytest.approx(1e3 * max(p.seconds for p in projections))
    words = [text.get_text() for text in lower.texts]
    assert sum(word.startswith("published: ") for word in words) == 3
    assert sum(word.startswith("projection: ") for word in words) == 1
    assert {"423", "3,077", "266"} <= set(words)
    assert_presentable(figure)
    with pytest.raises(ParameterError, match="projections is empty"):
        plots.scaling_figure([], comparison([]))


def test_cheapest_right_plan_follows_the_tolerance():
    table = labeled().frame
    picks = cheapest_plans(table, 5e-4)
    assert picks["rung"].tolist() == [1, 1, 0, 0, 0, 0]
    assert cheapest_plans(table, 5e-5)["rung"].tolist() == [0] * 6
    assert safest_fixed(table, 5e-4) == 0
    assert safest_fixed(table, 2e-3) == 1
    assert safest_fixed(table, 5e-4, allowed=0.7) == 1


def test_label_trace_shows_every_plan_and_the_choice():
    figure = plots.label_trace(labeled(), "collision-seed1", 5e-4, title="Labels")
    upper, lower = figure.axes
    np.testing.assert_allclose(
        line_at(upper, str(COARSE)).get_ydata(), 2e-4 * np.arange(1, 7), rtol=1e-6
    )
    chosen = line_at(lower, "coarsest that is right now").get_ydata()
    assert list(chosen) == [0.005] * 2 + [0.00125] * 4
    assert_presentable(figure)
    with pytest.raises(ParameterError, match="trajectory='clot' is not allowed"):
        plots.label_trace(labeled(), "clot", 5e-4)


def test_potential_of_receptors_has_its_minimum_where_they_bind():
    receptors = Receptors(D=8.0, alpha=10.0, r0=0.8, cutoff=1.8)
    ax = plots.receptor_potential(receptors)
    line = line_at(ax, "Morse")
    lowest = np.argmin(line.get_ydata())
    assert line.get_xdata()[lowest] == pytest.approx(0.8, abs=0.005)
    assert line.get_ydata()[lowest] == pytest.approx(-8.0, abs=0.05)


@pytest.mark.parametrize("color_by", ["platelet", "stretch"])
def test_platelets_have_a_panel_for_each_time(color_by):
    platelet = Platelet.oblate(2.0, 0.7, spacing=0.7)
    suspension = Suspension.build((9.0, 9.0, 9.0), [Placed(platelet, (4, 4, 4))], density=0.2)
    x, image = suspension.wrapped()
    states = [
        Snapshot(x=x, v=0 * x, image=image, box=suspension.box, time=float(k)) for k in range(5)
    ]
    figure = plots.platelets_figure(states, suspension, color_by=color_by, title="One")
    titles = [ax.get_title(loc="center") for ax in figure.axes]
    assert titles[:5] == [f"time {k}" for k in range(5)]
    figure.canvas.draw()
