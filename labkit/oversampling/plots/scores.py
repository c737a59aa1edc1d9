"""Figures of results: which arm predicts better, for which effects, and by how much for sure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from labkit.oversampling.plots.colors import GRAY, series_colors
from labkit.viz.style import MPLSTYLE, OKABE_ITO, new_axes

METRIC_LABELS = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "samples_f1": "F1 per molecule",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_auc": "macro ROC AUC",
    "macro_ap": "macro average precision",
    "r2": "mean R²",
    "rmse": "mean RMSE (units of the targets)",
    "mae": "mean MAE (units of the targets)",
    "spearman": "mean Spearman correlation",
}


def arm_scores(scores: pd.DataFrame, metric: str = "macro_f1", ax: Axes | None = None) -> Axes:
    """Score of every arm, one dot a seed and a bar at the mean; references as vertical lines.

    Parameters
    ----------
    scores : DataFrame
        `StudyResults.scores`: one row per seed, model, sampler and threshold rule.
    metric : str
        A column of ``scores``.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Models in color, arms on the vertical axis.
    """
    arms = scores[~scores["reference"]].dropna(subset=[metric])
    order = list(dict.fromkeys(zip(arms["sampler"], arms["thresholds"], strict=True)))[::-1]
    models = list(dict.fromkeys(arms["model"]))
    ax = new_axes(ax, width_in=9.0, height_in=0.42 * len(order) + 1.4)
    colors = series_colors(models)
    for offset, model in zip(np.linspace(-0.18, 0.18, len(models)), models, strict=True):
        for position, arm in enumerate(order):
            here = (arms["model"] == model) & (arms["sampler"] == arm[0])
            here &= arms["thresholds"] == arm[1]
            values = arms.loc[here, metric].to_numpy(dtype=float)
            if not len(values):
                continue
            label = model if position == 0 else None
            ax.plot(
                values,
                np.full(len(values), position + offset),
                "o",
                alpha=0.6,
                color=colors[model],
                markersize=5,
                label=label,
            )
            ax.plot(
                [values.mean()] * 2,
                position + offset + np.array([-0.14, 0.14]),
                color=colors[model],
                linewidth=2.5,
            )
    _reference_lines(scores, metric, ax)
    ax.set_yticks(range(len(order)), [_arm_name(*arm) for arm in order])
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlabel(METRIC_LABELS.get(metric, metric) + " on the test molecules")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    return ax


def _arm_name(sampler: str, thresholds: str) -> str:
    shown = "no resampling" if sampler == "none" else sampler
    return f"{shown}, tuned thresholds" if thresholds == "tuned" else shown


def _reference_lines(scores: pd.DataFrame, metric: str, ax: Axes) -> None:
    references = scores[scores["reference"]].groupby("model", sort=False)[metric].mean().dropna()
    styles = ["--", ":", "-."]
    for style, (name, value) in zip(styles * 3, references.items(), strict=False):
        ax.axvline(
            value,
            color=OKABE_ITO["black"],
            linestyle=style,
            linewidth=1.2,
            label=f"{name} ({value:.2f})",
        )


def per_label_scores(
    per_label: pd.DataFrame,
    model: str,
    samplers: tuple[str, str],
    metric: str = "f1",
    ax: Axes | None = None,
) -> Axes:
    """Score of each label under two samplers, against how rare the label is.

    Parameters
    ----------
    per_label : DataFrame
        `StudyResults.per_label`.
    model : str
        Model whose labels are shown.
    samplers : tuple of two str
        Start and end of each label's line.
    metric : str
        Column of ``per_label``.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        A line up means that the second sampler helped that label.
    """
    chosen = per_label[(per_label["model"] == model) & (per_label["thresholds"] == "0.5")]
    table = chosen.pivot_table(index="label", columns="sampler", values=metric, aggfunc="mean")
    share = chosen.groupby("label")["prevalence"].mean().reindex(table.index)
    first, second = (table[name].to_numpy() for name in samplers)
    ax = new_axes(ax, width_in=7.0, height_in=4.0)
    color = np.where(second >= first, OKABE_ITO["blue"], OKABE_ITO["vermillion"])
    ax.vlines(share, first, second, colors=list(color), linewidth=1.8, alpha=0.8)
    ax.plot(share, first, "o", color=GRAY, markersize=5, label=_arm_name(samplers[0], ""))
    ax.scatter(share, second, c=list(color), s=28, zorder=3, label=_arm_name(samplers[1], ""))
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlabel("share of training molecules with the effect")
    ax.set_ylabel({"f1": "F1", "auc": "ROC AUC", "ap": "average precision"}.get(metric, metric))
    ax.legend()
    return ax


def difference_intervals(comparisons: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Paired bootstrap intervals of each sampler's gain over no resampling.

    Parameters
    ----------
    comparisons : DataFrame
        `StudyResults.comparisons`: columns model, sampler, thresholds, difference, low, high.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        An interval that crosses zero is not a gain.
    """
    rows = comparisons.iloc[::-1].reset_index(drop=True)
    ax = new_axes(ax, width_in=7.0, height_in=0.36 * len(rows) + 1.1)
    sure = (rows["low"] > 0) | (rows["high"] < 0)
    for position, row in rows.iterrows():
        color = OKABE_ITO["blue"] if sure[position] else GRAY
        ax.plot([row["low"], row["high"]], [position, position], color=color, linewidth=2.2)
        ax.plot(row["difference"], position, "o", color=color)
    ax.axvline(0, color=OKABE_ITO["black"], linewidth=1)
    names = [f"{r.model}: {_arm_name(r.sampler, r.thresholds)}" for r in rows.itertuples()]
    ax.set_yticks(range(len(rows)), names)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel("gain in macro F1 over no resampling (95 % interval)")
    return ax


def parity(y: np.ndarray, prediction: np.ndarray, names: list[str]) -> np.ndarray:
    """Predicted against measured value for each target, one panel a target.

    Parameters
    ----------
    y, prediction : ndarray of shape (n_molecules, n_targets)
        Measured (nan where not measured) and predicted values, in the target's unit.
    names : list of str
        One a target; a unit in the name is shown as it stands.

    Returns
    -------
    ndarray of Axes
        At most six panels: the targets with the most measurements.
    """
    shown = np.argsort(-(~np.isnan(y)).sum(axis=0), kind="stable")[:6]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with plt.style.context(MPLSTYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.1 * columns, 3.0 * rows), squeeze=False
        )
    for ax, target in zip(axes.flat, shown, strict=False):
        known = ~np.isnan(y[:, target])
        measured, predicted = y[known, target], prediction[known, target]
        ax.scatter(measured, predicted, s=9, alpha=0.5, color=OKABE_ITO["blue"], linewidth=0)
        low, high = measured.min(), measured.max()
        ax.plot([low, high], [low, high], color=OKABE_ITO["black"], linewidth=1)
        residual = np.sum((measured - predicted) ** 2) / np.sum((measured - measured.mean()) ** 2)
        ax.set_title(f"{names[target]}\nR² = {1 - residual:.2f}, n = {known.sum()}", fontsize=9)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    figure.supxlabel("measured", fontsize=10)
    figure.supylabel("predicted", fontsize=10)
    return axes
