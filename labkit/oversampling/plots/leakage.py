"""Figures of the leakage lab: what oversampling before the split does to a score, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.oversampling.plots.colors import GRAY, HONEST_COLOR, LEAKY_COLOR
from labkit.viz.style import new_axes

HONEST, LEAKY = "train-only", "LEAKY"


def leakage_scores(scores: pd.DataFrame, metric: str = "macro_f1", ax: Axes | None = None) -> Axes:
    """Score with no resampling, the training set resampled, and everything resampled first.

    Parameters
    ----------
    scores : DataFrame
        `LeakageResults.scores`.
    metric : str
        A column of ``scores``.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Leaky bars are hatched: the number is not an estimate of anything on new molecules.
    """
    table = scores.groupby(["sampler", "protocol"], sort=False)[metric].agg(["mean", "min", "max"])
    ax = new_axes(ax, width_in=7.0, height_in=0.45 * len(table) + 1.2)
    for position, ((_sampler, protocol), row) in enumerate(table.iloc[::-1].iterrows()):
        leaky = protocol == LEAKY
        ax.barh(
            position,
            row["mean"],
            color=LEAKY_COLOR if leaky else HONEST_COLOR,
            hatch="//" if leaky else None,
            edgecolor="white",
            xerr=[[row["mean"] - row["min"]], [row["max"] - row["mean"]]],
        )
        ax.text(row["max"] + 0.01, position, f"{row['mean']:.2f}", va="center", fontsize=9)
    ax.set_yticks(range(len(table)), [_title(*key) for key in table.index[::-1]])
    ax.set_xlim(0, 1.08)
    ax.set_xlabel(
        f"{metric.replace('_', ' ').replace('f1', 'F1')} (bar: mean, line: range over seeds)"
    )
    ax.grid(axis="y", visible=False)
    return ax


def _title(sampler: str, protocol: str) -> str:
    if sampler == "none":
        return "no resampling"
    return f"{sampler}, {'LEAKY: before the split' if protocol == LEAKY else 'training set only'}"


def seen_and_unseen(seen: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The leaky test set taken apart: molecules also in training against molecules that are not.

    Parameters
    ----------
    seen : DataFrame
        `LeakageResults.seen_unseen`: columns sampler, seed, part ("seen" or "unseen"),
        n_molecules, macro_f1.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Bars of macro F1 with the share of test rows in each part.
    """
    table = seen.groupby(["sampler", "part"], sort=False)[["macro_f1", "n_molecules"]].mean()
    ax = new_axes(ax, width_in=6.4, height_in=0.45 * len(table) + 1.2)
    totals = table["n_molecules"].groupby(level="sampler").transform("sum")
    for position, ((sampler, part), row) in enumerate(table.iloc[::-1].iterrows()):
        share = row["n_molecules"] / totals[(sampler, part)]
        color = LEAKY_COLOR if part == "seen" else HONEST_COLOR
        ax.barh(position, row["macro_f1"], color=color, edgecolor="white")
        ax.text(
            row["macro_f1"] + 0.01,
            position,
            f"{row['macro_f1']:.2f}  ({share:.0%} of the test rows)",
            va="center",
            fontsize=9,
        )
    names = {"seen": "also in training", "unseen": "not in training"}
    ax.set_yticks(range(len(table)), [f"{s}: {names[p]}" for s, p in table.index[::-1]])
    ax.set_xlim(0, 1.45)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set_xlabel("macro F1 on that part of the leaky test set")
    ax.grid(axis="y", visible=False)
    return ax


def split_flow(overlap: pd.DataFrame, sampler: str, ax: Axes | None = None) -> Axes:
    """Where the molecules of an oversampled data set go when it is split afterwards.

    Parameters
    ----------
    overlap : DataFrame
        `LeakageResults.overlap`: columns sampler, seed, kind ("once", "copied"), side ("train",
        "test only", "test, also in train"), n_rows.
    sampler : str
        Which oversampler.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Ribbons from molecules (left) to sides of the split (right), as wide as the row counts.
    """
    chosen = overlap[overlap["sampler"] == sampler]
    rows = chosen.groupby(["kind", "side"])["n_rows"].sum() / chosen["seed"].nunique()
    kinds = [k for k in ("once", "copied") if k in rows.index.get_level_values("kind")]
    sides = ["train", "test only", "test, also in train"]
    colors = {
        "train": GRAY,
        "test only": HONEST_COLOR,
        "test, also in train": LEAKY_COLOR,
    }
    ax = new_axes(ax, width_in=7.0, height_in=3.8)
    gap = 0.06 * rows.sum()
    left = _stack(rows.groupby(level="kind").sum().reindex(kinds), gap)
    right = _stack(rows.groupby(level="side").sum().reindex(sides).fillna(0.0), gap)
    tops_left = {k: left[k] for k in kinds}
    tops_right = {s: right[s] for s in sides}
    for kind in kinds:
        for side in sides:
            width = float(rows.get((kind, side), 0.0))
            if width:
                _ribbon(ax, tops_left[kind], tops_right[side], width, colors[side])
                tops_left[kind] += width
                tops_right[side] += width
    _name(
        ax,
        left,
        rows.groupby(level="kind").sum(),
        -0.02,
        "right",
        {"once": "molecules\npresent once", "copied": "molecules with\ncopies"},
    )
    _name(ax, right, rows.groupby(level="side").sum(), 1.02, "left", {s: s for s in sides})
    ax.set_xlim(-0.42, 1.55)
    ax.invert_yaxis()
    ax.set_axis_off()
    return ax


def _stack(sizes: pd.Series, gap: float) -> dict[str, float]:
    """Top of each block when blocks of these sizes stand above one another."""
    tops = np.concatenate([[0.0], np.cumsum(sizes.to_numpy() + gap)[:-1]])
    return dict(zip(sizes.index, tops, strict=True))


def _ribbon(ax: Axes, left: float, right: float, width: float, color: str) -> None:
    x = np.linspace(0, 1, 60)
    ease = x * x * (3 - 2 * x)
    top = left + (right - left) * ease
    ax.fill_between(x, top, top + width, color=color, alpha=0.75, linewidth=0)


def _name(
    ax: Axes, tops: dict[str, float], sizes: pd.Series, x: float, side: str, names: dict[str, str]
) -> None:
    for key, top in tops.items():
        size = float(sizes.get(key, 0.0))
        if size:
            ax.text(
                x,
                top + size / 2,
                f"{names[key]}\n{size:.0f} rows",
                ha=side,
                va="center",
                fontsize=9,
            )
