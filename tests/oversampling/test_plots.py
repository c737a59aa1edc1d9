"""Figures show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from labkit.oversampling import plots
from labkit.oversampling.imbalance import imbalance_report
from labkit.oversampling.results import HEADLINE_METRICS, SHOWN_METRICS

pytestmark = pytest.mark.usefixtures("figures")


def test_bars_are_the_imbalance_ratios_and_only_minority_labels_are_colored(small_study):
    report = imbalance_report(small_study.table.targets)
    ax = plots.imbalance_bars(report)
    labels = report.labels.sort_values("irlbl")
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(labels["irlbl"].tolist())
    colored = [bar.get_facecolor() != ax.patches[0].get_facecolor() for bar in ax.patches]
    assert colored == labels["minority"].tolist()
    assert ax.lines[0].get_xdata()[0] == pytest.approx(report.mean_ir)


def test_bars_of_hundreds_of_labels_fit_a_screen():
    y = (np.random.default_rng(0).random((50, 617)) < 0.2).astype(float)
    ax = plots.imbalance_bars(imbalance_report(y))
    assert ax.figure.get_figheight() < 6
    assert "labels" in ax.get_ylabel()


def test_cooccurrence_map_shows_conditional_probabilities_from_frequent_to_rare():
    y = np.array([[1, 0], [1, 1], [0, 1], [0, 1], [np.nan, 1]])
    ax = plots.cooccurrence_map(y, ["two", "four"])
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown, [[1, 1 / 4], [1 / 2, 1]])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["four", "two"]


def test_arrows_end_at_what_each_sampler_leaves(small_study):
    preview = small_study.preview
    ax = plots.imbalance_before_after(preview.before, preview.after)
    ends = [tuple(points.get_offsets()[0]) for points in ax.collections[1:]]
    assert ends == [(r.scumble, r.mean_ir) for r in preview.after.values()]


def test_scumble_histogram_counts_every_molecule_and_marks_the_mean(small_study):
    ax = plots.scumble_histogram(small_study.table.Y)
    assert sum(bar.get_height() for bar in ax.patches) == len(small_study.table)
    report = imbalance_report(small_study.table.targets)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(report.scumble)


def test_density_of_labels_cut_at_a_quantile_is_one_minus_the_quantile():
    targets = np.random.default_rng(1).normal(size=(1000, 3))
    ax = plots.sparsity_curve(targets, 0.75)
    quantiles, density = ax.lines[0].get_data()
    np.testing.assert_allclose(density, 1 - quantiles, atol=2 / 1000)


def test_dots_are_the_scores_of_every_seed(small_study):
    scores = small_study.results.scores
    ax = plots.arm_scores(scores, "macro_auc")
    dots = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    expected = scores.loc[~scores["reference"], "macro_auc"]
    assert sorted(dots) == pytest.approx(sorted(expected))
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any(text.startswith("all positive") for text in legend)


def test_per_label_lines_join_the_two_samplers(small_study):
    per_label = small_study.results.per_label
    ax = plots.per_label_scores(per_label, "forest", ("none", "MLROS"))
    chosen = per_label.query("model == 'forest' and thresholds == '0.5'")
    means = chosen.groupby(["sampler", "label"])["f1"].mean()
    starts = ax.lines[0].get_ydata()
    np.testing.assert_allclose(sorted(starts), sorted(means["none"]))


def test_an_interval_that_crosses_zero_is_gray(small_study):
    rows = small_study.results.comparisons.iloc[:2].copy()
    rows[["difference", "low", "high"]] = [[0.1, -0.1, 0.3], [0.2, 0.1, 0.3]]
    ax = plots.difference_intervals(rows)
    by_end = {
        line.get_xdata()[0]: line.get_color() for line in ax.lines if len(line.get_xdata()) == 2
    }
    assert by_end[-0.1] == plots.colors.GRAY
    assert by_end[0.1] != plots.colors.GRAY


def test_parity_panels_state_the_r2_of_the_known_values():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(60, 2))
    prediction = y + rng.normal(scale=0.5, size=y.shape)
    y[:20, 1] = np.nan
    axes = plots.parity(y, prediction, ["a", "b"])
    expected = r2_score(y[20:, 1], prediction[20:, 1])
    assert (
        f"R² = {expected:.2f}, n = 40"
        in axes.flat[1].get_title(loc="left") + axes.flat[1].get_title()
    )


def test_only_leaky_bars_are_hatched(small_study):
    scores = small_study.leakage.scores
    ax = plots.leakage_scores(scores)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    hatched = [bar.get_hatch() is not None for bar in ax.patches]
    assert hatched == ["LEAKY" in name for name in names]
    assert any(hatched)
    assert not all(hatched)


def test_ribbons_carry_every_row_of_training_and_test(small_study):
    overlap = small_study.leakage.overlap
    chosen = overlap[overlap["protocol"] == "LEAKY"]
    ax = plots.split_flow(chosen, "MLROS")
    widths = 0.0
    for ribbon in ax.collections:
        at_left = ribbon.get_paths()[0].vertices
        at_left = at_left[np.isclose(at_left[:, 0], 0.0)]
        widths += np.ptp(at_left[:, 1])
    per_seed = chosen.groupby("seed")["n_rows"].sum().mean()
    assert widths == pytest.approx(per_seed)


def test_circles_grow_with_the_number_of_copies(small_study):
    picture = small_study.preview.chemical_space("MLROS")
    ax = plots.chemical_space(**picture)
    copies = np.bincount(picture["source"], minlength=len(small_study.preview.train)) - 1
    areas = ax.collections[1].get_sizes()
    np.testing.assert_allclose(areas, 18 * copies[copies > 0])


def test_most_copied_names_counts_and_refuses_when_nothing_was_copied(small_study):
    preview = small_study.preview
    drawing = plots.most_copied(preview.train, preview.source_rows("MLROS"), n=2)
    copies = np.bincount(preview.source_rows("MLROS")).max() - 1
    assert f"{copies} copies" in drawing.text
    with pytest.raises(ValueError, match="no molecule was copied; use a sampler that clones"):
        plots.most_copied(preview.train, np.arange(len(preview.train)))


def test_every_metric_of_a_study_has_a_name_for_people(small_study):
    shown = {
        name for group in (HEADLINE_METRICS, SHOWN_METRICS) for m in group.values() for name in m
    }
    assert shown <= set(plots.METRIC_LABELS)
    assert (
        plots.arm_scores(small_study.results.scores, "micro_f1").get_xlabel().startswith("micro F1")
    )
