"""Figures of label imbalance: how rare each effect is and what a sampler changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from labkit.oversampling.imbalance import ImbalanceReport, cooccurrence, scumble
from labkit.oversampling.plots.colors import GRAY, MINORITY_COLOR, series_colors
from labkit.viz.style import OKABE_ITO, new_axes

_MAX_LABELS_NAMED = 40


def plain_number(value: float, _position: object = None) -> str:
    """Tick label without an exponent: ``0.5``, ``2``, ``20``."""
    return f"{value:g}"


def imbalance_bars(report: ImbalanceReport, ax: Axes | None = None) -> Axes:
    """Imbalance ratio of every label on a log axis, minority labels in color.

    Parameters
    ----------
    report : ImbalanceReport
        From `labkit.oversampling.imbalance_report`.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        One horizontal bar a label, rarest on top; the dashed line is MeanIR, the border beyond
        which a label counts as a minority.
    """
    labels = report.labels.dropna(subset=["irlbl"]).sort_values("irlbl")
    named = len(labels) <= _MAX_LABELS_NAMED
    height_in = 0.26 * len(labels) + 1.0 if named else 4.5
    ax = new_axes(ax, width_in=7.0, height_in=height_in)
    colors = np.where(labels["minority"], MINORITY_COLOR, GRAY)
    positions = range(len(labels))
    ax.barh(positions, labels["irlbl"], color=colors, height=0.75 if named else 1.0, left=0.0)
    ax.set_xscale("log")
    ax.set_xlim(left=0.9, right=float(labels["irlbl"].max()) * 1.6)
    ax.xaxis.set_major_formatter(FuncFormatter(plain_number))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.axvline(report.mean_ir, color=OKABE_ITO["black"], linestyle="--", linewidth=1)
    ax.text(report.mean_ir * 1.03, -0.4, f"MeanIR {report.mean_ir:.2f}", va="bottom", fontsize=9)
    if named:
        ax.set_yticks(positions, labels["label"])
        for position, ratio, count in zip(
            positions, labels["irlbl"], labels["n_positive"], strict=True
        ):
            ax.text(ratio * 1.04, position, f"{int(count)}", va="center", fontsize=8)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(labels)} labels, rarest on top")
    ax.set_xlabel("imbalance ratio IRLbl (1 = as frequent as the most frequent label)")
    ax.grid(axis="y", visible=False)
    return ax


def cooccurrence_map(y: object, label_names: list[str], ax: Axes | None = None) -> Axes:
    """How often the column's effect is found among the molecules that show the row's effect.

    Parameters
    ----------
    y : array-like of shape (n_samples, n_labels)
        Labels 0, 1 or nan.
    label_names : list of str
        One name per label.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Heat map of P(column | row), labels sorted from frequent to rare.
    """
    counts = np.asarray(cooccurrence(y), dtype=float)
    order = np.argsort(-np.diag(counts), kind="stable")
    counts = counts[np.ix_(order, order)]
    totals = np.diag(counts)[:, None]
    share = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    ax = new_axes(ax, width_in=6.6, height_in=5.6)
    image = ax.imshow(share, cmap="cividis", vmin=0.0, vmax=1.0, aspect="equal")
    if len(order) <= _MAX_LABELS_NAMED:
        names = [label_names[i] for i in order]
        ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("... the share that also shows this one")
    ax.set_ylabel("of the molecules with this effect ...")
    ax.figure.colorbar(image, ax=ax, label="P(column | row)", shrink=0.85)
    ax.grid(visible=False)
    return ax


def scumble_histogram(y: object, ax: Axes | None = None) -> Axes:
    """Distribution of SCUMBLE over molecules: how much rare and frequent labels share rows.

    Parameters
    ----------
    y : array-like of shape (n_samples, n_labels)
        Labels 0, 1 or nan.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Histogram with the data set's mean as a dashed line.
    """
    values = scumble(y, per="instance")
    ax = new_axes(ax, width_in=6.0, height_in=3.2)
    ax.hist(values, bins=np.linspace(0, 1, 41).tolist(), color=OKABE_ITO["sky blue"])
    ax.set_yscale("log")
    mean = float(np.mean(values))
    ax.axvline(mean, color=OKABE_ITO["black"], linestyle="--", linewidth=1)
    ax.text(mean + 0.01, ax.get_ylim()[1] * 0.5, f"mean {mean:.3f}", fontsize=9)
    ax.set_xlabel("SCUMBLE of a molecule (0: only equally frequent labels together)")
    ax.set_ylabel("molecules")
    return ax


def imbalance_before_after(
    before: ImbalanceReport, after: Mapping[str, ImbalanceReport], ax: Axes | None = None
) -> Axes:
    """MeanIR and SCUMBLE of the training labels before and after each sampler.

    Parameters
    ----------
    before : ImbalanceReport
        Of the original training labels.
    after : mapping of str to ImbalanceReport
        Sampler name to the report of its output.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        One arrow a sampler; down is less imbalance, left is less mixing of rare with frequent
        labels.
    """
    ax = new_axes(ax, width_in=6.4, height_in=4.4)
    ax.scatter(before.scumble, before.mean_ir, color=OKABE_ITO["black"], zorder=3)
    ax.annotate(
        "original", (before.scumble, before.mean_ir), xytext=(6, 6), textcoords="offset points"
    )
    colors = series_colors(list(after))
    for name, report in after.items():
        ax.annotate(
            "",
            (report.scumble, report.mean_ir),
            (before.scumble, before.mean_ir),
            arrowprops={"arrowstyle": "->", "color": colors[name], "linewidth": 1.6},
        )
        ax.scatter(report.scumble, report.mean_ir, color=colors[name], zorder=3, label=name)
    ax.set_xlabel("SCUMBLE (rare and frequent labels in one molecule)")
    ax.set_ylabel("MeanIR (mean imbalance ratio)")
    ax.margins(0.15)
    ax.legend()
    return ax


def sparsity_curve(
    targets: np.ndarray, chosen: float | None = None, ax: Axes | None = None
) -> Axes:
    """Sparsity of the labels made from continuous effects, against the quantile of the cut.

    Parameters
    ----------
    targets : ndarray of shape (n_molecules, n_targets)
        Continuous effects, nan where not measured.
    chosen : float, optional
        Quantile used by the study, marked in the figure.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Label density on the left axis, share of molecules without any label on the right one.
    """
    quantiles = np.linspace(0.5, 0.98, 25)
    known = ~np.isnan(targets)
    positives = [(targets > np.nanquantile(targets, q, axis=0)) & known for q in quantiles]
    density = [p.sum() / known.sum() for p in positives]
    empty = [1.0 - p.any(axis=1).mean() for p in positives]
    ax = new_axes(ax, width_in=6.4, height_in=3.6)
    ax.plot(quantiles, density, color=OKABE_ITO["blue"], label="label density")
    ax.plot(quantiles, empty, color=OKABE_ITO["vermillion"], label="molecules without any effect")
    if chosen is not None:
        ax.axvline(
            chosen, color=OKABE_ITO["black"], linestyle="--", linewidth=1, label="this study"
        )
    ax.set_xlabel("quantile above which an effect counts as present")
    ax.set_ylabel("share")
    ax.set_ylim(0, 1)
    ax.legend()
    return ax
