"""Figures show the numbers of the tables that they are drawn from, and legends cover nothing."""

from __future__ import annotations

import dataclasses
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

from labkit.distributed.links import fit_alpha_beta
from labkit.errors import ParameterError
from labkit.llm_parallel import plots
from labkit.llm_parallel.calibrate import calibrate
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.cost import PARTS, step_time
from labkit.llm_parallel.memory import COMPONENTS, memory_breakdown
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.objective import benchmark
from labkit.llm_parallel.plots import colors
from labkit.llm_parallel.plots.roofline import products
from labkit.llm_parallel.published import FRONTIER_SCALING, megatron_runs
from labkit.llm_parallel.search import exhaustive
from labkit.llm_parallel.sensitivity import sensitivity
from labkit.llm_parallel.sweeps import LAWS, frontier_scaling, frontier_strategy, laws
from labkit.llm_parallel.systems import system_preset
from labkit.llm_parallel.tune import tune

GIB = 2**30
FRONTIER = system_preset("frontier")
GPT_175B, GPT_1T = model_preset("gpt-175b"), model_preset("gpt-1t")
STRATEGY = frontier_strategy(GPT_175B)


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)


def legend_words(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def lines_labeled(ax: Axes, words: str) -> list[Any]:
    return [line for line in ax.lines if str(line.get_label()).startswith(words)]


def assert_presentable(drawn: Axes | Figure) -> None:
    """Legends beside the data, named axes with units where they are not counts, and it fits."""
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    figure.canvas.draw()
    assert figure.get_figwidth() <= 9.0
    axes = figure.axes
    for legend in [*figure.legends, *(ax.get_legend() for ax in axes)]:
        if legend is None:
            continue
        box = legend.get_window_extent()
        for ax in axes:
            inside = ax.get_window_extent()
            shared = Bbox.intersection(box, inside)
            assert shared is None or min(shared.width, shared.height) < 1, "a legend covers data"
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1
    for ax in axes:
        assert ax.get_xlabel()


@pytest.mark.parametrize("table", [colors.PARTS, colors.COMPONENTS])
def test_every_part_has_a_color_of_its_own(table):
    shown = [color for _, color in table.values()]
    assert len(set(shown)) == len(shown)
    assert set(colors.PARTS) == set(PARTS)
    assert set(colors.COMPONENTS) == set(COMPONENTS)


def test_stacks_are_the_memory_of_the_stages_and_the_line_that_of_a_device():
    frame = memory_breakdown(GPT_175B, STRATEGY)
    ax = plots.memory_by_stage(frame, FRONTIER.hbm_bytes, title="175B")
    heights = {}
    for bar in ax.patches:
        stage = round(bar.get_x() + bar.get_width() / 2)
        heights[stage] = heights.get(stage, 0) + bar.get_height()
    np.testing.assert_allclose([heights[k] for k in range(16)], frame["total"] / GIB)
    assert ax.lines[0].get_ydata()[0] == FRONTIER.hbm_bytes / GIB
    assert "GiB" in ax.get_ylabel()
    assert "does not fit" not in legend_words(ax.get_legend())
    assert_presentable(ax)


@pytest.mark.parametrize(("pp", "recompute"), [(1, "full"), (128, "none")])
def test_one_stage_and_many_are_readable(pp, recompute):
    frame = memory_breakdown(
        GPT_1T, ParallelConfig(tp=8, pp=pp, global_batch_size=512, recompute=recompute)
    )
    ax = plots.memory_by_stage(frame, FRONTIER.hbm_bytes)
    assert 1 <= len(ax.get_xticks()) <= 16
    assert "does not fit" in legend_words(ax.get_legend())
    assert_presentable(ax)


def test_bars_of_a_step_are_its_parts_and_add_up():
    strategies = [STRATEGY, STRATEGY.replace(tp=8, pp=8)]
    times = [step_time(GPT_175B, s, FRONTIER) for s in strategies]
    for unit, wholes in (("percent", [1, 1]), ("seconds", [t.total[0] for t in times])):
        ax = plots.step_anatomy(times, [s.label() for s in strategies], unit=unit)
        sums = np.zeros(2)
        for bar in ax.patches:
            sums[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
        np.testing.assert_allclose(sums, wholes)
        said = [text.get_text() for text in ax.texts]
        for time in times:
            words = f"HFU {100 * time.hfu[0]:.1f} %, MFU {100 * time.mfu[0]:.1f} %"
            assert any(words in text for text in said)
        assert_presentable(ax)


def test_one_call_of_many_strategies_draws_the_same_bars():
    several = [STRATEGY, STRATEGY.replace(pp=8)]
    together = step_time(GPT_175B, ParallelColumns.of(several), FRONTIER)
    ax = plots.step_anatomy(together, ["a", "b"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    with pytest.raises(ParameterError, match="labels has 1 names for 2 strategies"):
        plots.step_anatomy(together, ["a"])
    with pytest.raises(ParameterError, match="unit='hours' is not allowed"):
        plots.step_anatomy(together, ["a", "b"], unit="hours")


def test_products_lie_under_the_roofs_of_the_data_sheet():
    table = products(GPT_175B, STRATEGY, FRONTIER)
    roof = np.minimum(FRONTIER.peak_flops, table["intensity"] * FRONTIER.hbm_bandwidth)
    assert (table["achieved"] < roof).all()
    assert (table["achieved"] > 0.2 * roof).all()
    # Closed form for a square product: 2 k^3 / (3 k^2 w) operations a byte.
    square = model_preset("gpt-175b", seq_length=12288)
    rows = products(square, STRATEGY.replace(tp=1), FRONTIER).set_index("product")
    assert rows.loc["projection", "intensity"] == pytest.approx(2 * 12288 / (3 * 2))


def test_operations_of_the_products_are_those_of_a_layer():
    # 24 b s h^2 a layer forward, and 2 b s h V for the output layer, on t devices.
    table = products(GPT_175B, STRATEGY, FRONTIER).set_index("product")["operations"]
    tokens, h = GPT_175B.seq_length, GPT_175B.hidden_size
    assert table.drop("output layer").sum() == pytest.approx(24 * tokens * h**2 / STRATEGY.tp)
    assert table["output layer"] == pytest.approx(2 * tokens * h * GPT_175B.vocab_size / 4)


def test_roofline_takes_one_strategy_or_several():
    assert_presentable(plots.roofline(GPT_175B, STRATEGY, FRONTIER))
    ax = plots.roofline(GPT_175B, [STRATEGY, STRATEGY.replace(tp=32)], FRONTIER, title="175B")
    assert "TP32, micro-batch 1" in legend_words(ax.get_legend())
    assert "Tflop/s" in ax.get_ylabel()
    assert_presentable(ax)


def test_laws_figure_shows_hfu_and_mfu_of_every_sweep():
    frames = laws(GPT_175B, FRONTIER)
    figure = plots.laws_figure(frames, title="175B on Frontier")
    for ax, (name, column) in zip(figure.axes, LAWS.items(), strict=True):
        drawn = {tuple(line.get_ydata()) for line in ax.lines if line.get_linestyle() != "None"}
        for quantity in ("hfu", "mfu"):
            assert tuple(frames[name][quantity]) in drawn
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), frames[name][column])
    words = legend_words(figure.legends[0])
    assert words[0].startswith("HFU")
    assert words[1].startswith("MFU")
    assert words[2] == "does not fit in memory"
    assert_presentable(figure)


def test_change_at_the_edge_of_the_node_is_written():
    frames = laws(GPT_175B, FRONTIER)
    hfu = frames["tensor_parallel"].set_index("tp")["hfu"]
    texts = " ".join(t.get_text() for t in plots.laws_figure(frames).axes[0].texts)
    for before, after in ((4, 8), (8, 16)):
        change = f"{100 * (hfu[after] / hfu[before] - 1):+.0f} %".replace("-", "−")
        assert f"TP {before} → {after}: {change}" in texts


def test_published_points_stand_apart_from_the_curves_of_the_model():
    frames = [frontier_scaling(model, FRONTIER) for model in (GPT_175B, GPT_1T)]
    figure = plots.scaling_figure(frames)
    for ax, kind in zip(figure.axes, ("weak", "strong"), strict=True):
        published = FRONTIER_SCALING[FRONTIER_SCALING["kind"] == kind]
        diamonds = [line for line in ax.lines if line.get_marker() == "D"]
        drawn = sorted(float(d.get_ydata()[0]) for d in diamonds)
        assert drawn == sorted(published["efficiency_percent"] / 100)
        assert all(d.get_markerfacecolor() == "white" for d in diamonds)
        said = {text.get_text().split()[0] for text in ax.texts}
        assert said == {"model", "published"}
    assert set(legend_words(figure.legends[0])) == {
        "gpt-175b, model", "gpt-1t, model", "published", "ideal",
        "total batch remembered", "total batch inferred",
    }  # fmt: skip
    assert_presentable(figure)


def test_scaling_of_one_model_shows_only_its_published_points():
    figure = plots.scaling_figure(frontier_scaling(GPT_1T, FRONTIER), title="1T")
    diamonds = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    assert [float(d.get_ydata()[0]) for d in diamonds] == [0.87]


def test_published_points_of_frontier_stand_beside_no_other_machine():
    frames = frontier_scaling(GPT_175B, FRONTIER).assign(system="dgx-h100")
    figure = plots.scaling_figure(frames)
    assert all(text.get_text().startswith("model") for ax in figure.axes for text in ax.texts)
    assert "published" not in legend_words(figure.legends[0])


def measured_rows() -> pd.DataFrame:
    measured = np.geomspace(0.1, 100, 40)
    off = np.where(np.arange(40) % 2, 1.1, 0.9)
    return pd.DataFrame(
        {"set": "ten percent off", "measured": measured, "predicted": measured * off}
    )


def test_parity_states_the_error_of_each_set():
    rows = measured_rows()
    exact = rows.assign(set="exact", predicted=rows["measured"])
    ax = plots.parity(pd.concat([rows, exact]), title="Runs", predicted="calibrated on other runs")
    words = legend_words(ax.get_legend())
    assert "ten percent off (n = 40)\nMAPE 10.0 %" in words
    assert "exact (n = 40)\nMAPE 0.0 %" in words
    assert {"ideal", "± 10 %"} <= set(words)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert "(s)" in ax.get_xlabel()
    assert_presentable(ax)


def test_parity_draws_the_intervals_that_it_is_given():
    rows = measured_rows().assign(
        low=lambda r: r["predicted"] * 0.8, high=lambda r: r["predicted"] * 1.2
    )
    ax = plots.parity(rows)
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], rows[["low", "high"]])
    assert not plots.parity(measured_rows()).collections


def test_calibration_shows_each_constant_over_its_prior():
    fitted = calibrate(megatron_runs(), system_preset("selene-a100"), fit=["gemm", "launch_s"])
    ax = plots.calibration_figure(fitted, title="A100")
    table = fitted.frame.set_index("name")
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names[0].startswith("gemm")
    drawn = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(sorted(drawn), sorted(table["value"] / table["prior"]))
    assert_presentable(ax)


def test_prior_interval_is_that_of_the_field():
    sigma = {f.name: f.metadata["sigma"] for f in dataclasses.fields(FRONTIER.efficiency)}
    row = {"name": "gemm", "prior": 0.8, "value": 0.7, "low": 0.6, "high": 0.8}
    ax = plots.calibration_figure(pd.DataFrame([row | {"identified": False}]))
    ends = ax.collections[0].get_segments()[0][:, 0]
    np.testing.assert_allclose(np.log(ends), [-1.645 * sigma["gemm"], 1.645 * sigma["gemm"]])
    assert "fitted, not identified" in legend_words(ax.get_legend())


@pytest.fixture(scope="module")
def searched() -> Any:
    return exhaustive(benchmark()[1]["wide"])


def test_map_shows_shares_of_the_best_and_frames_it(searched):
    ax = plots.search_map(searched, title="175B on 128 devices")
    table = searched.map.dropna(subset="tokens_per_second")
    shares = 100 * table["tokens_per_second"] / table["tokens_per_second"].max()
    numbers = sorted(int(t.get_text()) for t in ax.texts if t.get_text().isdigit())
    assert numbers == sorted(round(share) for share in shares)
    assert 100 in numbers
    best = table.loc[table["tokens_per_second"].idxmax()]
    frame = next(p for p in ax.patches if not p.get_fill())
    columns = [t.get_text() for t in ax.get_xticklabels()]
    rows = [t.get_text() for t in ax.get_yticklabels()]
    assert columns[round(frame.get_x() + 0.5)] == str(int(best["pp"]))
    assert rows[round(frame.get_y() + 0.5)] == str(int(best["tp"]))
    assert_presentable(ax)


def test_illegal_and_out_of_memory_cells_look_different():
    cells = pd.DataFrame(
        {
            "tp": [1, 1, 2, 2],
            "pp": [1, 2, 1, 2],
            "tokens_per_second": [np.nan, np.nan, 5.0, 10.0],
            "reason": ["out of memory", "heads / tp", "", "out of memory"],
        }
    )
    ax = plots.search_map(cells)
    assert [t.get_text() for t in ax.texts] == ["OOM", "50", "100"]
    crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == [(1, 0)]
    assert legend_words(ax.get_legend())[2:] == ["out of memory", "breaks a rule"]
    nothing = plots.search_map(cells.assign(tokens_per_second=np.nan))
    assert "no strategy" in nothing.texts[0].get_text()


def test_front_is_drawn_with_the_memory_that_there_is(searched):
    ax = plots.pareto_front(searched, hbm_bytes=FRONTIER.hbm_bytes)
    points = np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() == "o"])
    table = searched.pareto.sort_values("memory_bytes")
    np.testing.assert_allclose(points[:, 0], table["memory_bytes"] / GIB)
    np.testing.assert_allclose(points[:, 1], table["seconds"])
    assert (points[:, 0] <= FRONTIER.hbm_bytes / GIB).all()
    assert_presentable(ax)


def test_failed_trials_stand_at_the_foot_with_their_reasons():
    cluster, spaces = benchmark()
    found = tune(spaces["narrow"], cluster, engine="random", n_trials=25, seed=3)
    ax = plots.tuning_trace(found, optimum=1e5, title="Random search")
    assert found.n_failed > 0
    for reason, count in found.failures.items():
        line = lines_labeled(ax, f"failed: {reason} ({count})")[0]
        assert len(line.get_xdata()) == count
        assert line.get_color() == colors.FAILED
        assert max(line.get_ydata()) < 0.05
    worked = lines_labeled(ax, "trained")[0]
    assert len(worked.get_xdata()) == 25 - found.n_failed
    best = lines_labeled(ax, "best so far")[0].get_ydata()
    assert np.nanmax(best) == found.trials["throughput"].max()
    assert (np.diff(best[np.isfinite(best)]) >= 0).all()
    assert_presentable(ax)


def test_a_tuning_in_which_nothing_ran_is_drawn():
    trials = pd.DataFrame(
        {"number": [0, 1], "throughput": 0.0, "reason": "out of memory", "best_so_far": 0.0}
    )
    ax = plots.tuning_trace(trials)
    assert "failed: out of memory (2)" in legend_words(ax.get_legend())


def test_sensitivity_bars_are_shapley_shares_in_order():
    frame = sensitivity(benchmark()[1]["narrow"])
    ax = plots.sensitivity_bars(frame, title="What decides")
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, sorted(frame["shapley"], reverse=True))
    assert sum(widths) == pytest.approx(1)
    assert_presentable(ax)
    same = plots.sensitivity_bars(frame.assign(shapley=np.nan))
    assert "does not vary" in same.texts[0].get_text()


def test_losses_lie_on_one_another_and_their_difference_apart():
    single = [4.0, 3.0, 2.5]
    figure = plots.loss_overlay(single, {"TP2": [4.0, 3.0 + 1e-13, 2.5], "PP2": single})
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == single
    differences = right.lines[0].get_ydata()
    assert differences[1] == pytest.approx(1e-13, rel=1e-2)
    assert differences[0] == differences[2] == right.get_yticks()[0]
    assert right.get_yscale() == "log"
    assert right.get_yticklabels()[0].get_text() == "0"
    assert legend_words(figure.legends[0]) == ["one process", "TP2", "PP2"]
    assert_presentable(figure)


def test_losses_of_other_steps_are_refused():
    with pytest.raises(ParameterError, match="'parallel' has 1 losses, single has 2"):
        plots.loss_overlay([1.0, 2.0], [1.0])


def test_lines_of_collectives_are_latency_and_bandwidth_of_the_fit():
    sizes = 2.0 ** np.arange(10, 28)
    table = pd.concat(
        pd.DataFrame({"bytes": sizes, "seconds": a + sizes / 1e9, "kind": kind, "size": 2})
        for kind, a in (("all_reduce", 1e-4), ("p2p", 3e-5))
    )
    fits = [fit_alpha_beta(table[table["kind"] == k], 2, k) for k in ("all_reduce", "p2p")]
    ax = plots.collectives_figure(table, fits, title="gloo")
    curves = [line for line in ax.lines if len(line.get_xdata()) == 100]
    for curve, latency in zip(curves, (1e-4, 3e-5), strict=True):
        x, y = curve.get_data()
        np.testing.assert_allclose(y, latency + x / 1e9, rtol=1e-5)
    words = " ".join(legend_words(ax.get_legend()))
    assert "all-reduce, 2 ranks" in words
    assert "30 µs, 1 GB/s" in words
    assert_presentable(ax)
    with pytest.raises(ParameterError, match="no rows of all_reduce of 2 ranks"):
        plots.collectives_figure(table[table["kind"] == "p2p"], fits)


@pytest.mark.parametrize(
    "draw", [plots.parity, plots.search_map, plots.tuning_trace, plots.sensitivity_bars]
)
def test_a_table_without_rows_or_columns_is_refused_by_name(draw):
    with pytest.raises(ParameterError, match="0 rows and the columns x; it needs"):
        draw(pd.DataFrame({"x": []}))


def test_axes_of_the_caller_are_drawn_on():
    _, ax = plt.subplots()
    assert plots.parity(measured_rows(), ax=ax) is ax
