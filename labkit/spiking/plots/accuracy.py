"""Figures of accuracy: ties, hops to a label, mistakes, two networks side by side, baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.plots.colors import GRAY, OWN, PUBLISHED, pale, topic_names
from labkit.spiking.plots.labels import bare, horizontal, percent, percent_axis
from labkit.spiking.readout import TIE_RULES, QueryScores, TieReport
from labkit.viz.colors import ColorScale
from labkit.viz.style import PALETTE, new_axes

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

RULE_NAMES = {
    "expected": "expected: a tied winner is drawn",
    "unique": "unique: a tie counts as wrong",
    "first": "first: the first tied topic is taken",
    "any": "any: right if among the tied",
}


def tie_bars(reports: TieReport | Mapping[str, TieReport], *, ax: Axes | None = None) -> Axes:
    """Accuracy by four rules for ties, with 95 % intervals.

    Parameters
    ----------
    reports : TieReport or mapping of str to TieReport
        Of `tie_aware_accuracy`; several networks by name.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The headline above. How far the bars of one network differ is how much the choice of the
        rule decides; the title says how many queries tie.
    """
    several = {"": reports} if isinstance(reports, TieReport) else dict(reports)
    ax = new_axes(ax, width_in=7.0, height_in=1.1 + 0.34 * len(TIE_RULES) * max(len(several), 1.3))
    width = 0.8 / len(several)
    for number, (name, report) in enumerate(several.items()):
        rows = np.arange(len(TIE_RULES)) + (number - (len(several) - 1) / 2) * width
        values = np.array([getattr(report, rule) for rule in TIE_RULES])
        ends = np.array([report.intervals[rule] for rule in TIE_RULES]).T
        color = PALETTE[number % len(PALETTE)]
        shades = [color if rule == "expected" else pale(color, 0.45) for rule in TIE_RULES]
        ax.barh(rows, values, height=0.88 * width, color=shades, label=name or None)
        ax.hlines(rows, *ends, color="#222222", linewidth=1.3)
        for row, value, high in zip(rows, values, ends[1], strict=True):
            ax.annotate(
                percent(value),
                (high, row),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    ax.set_yticks(range(len(TIE_RULES)), [RULE_NAMES[rule] for rule in TIE_RULES])
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    percent_axis(ax, "x")
    ax.set_xlabel("accuracy, with 95 % interval")
    horizontal(ax)
    if len(several) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
    ax.set_title(_tie_words(several))
    return ax


def _tie_words(reports: Mapping[str, TieReport]) -> str:
    said = [
        f"{name + ': ' if name else ''}{percent(report.tied, 0)} of {report.n:,} queries tie, "
        f"{percent(report.undecided, 0)} of all topics"
        for name, report in reports.items()
    ]
    return "\n".join(said)


def accuracy_by_hops(hops: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Accuracy against the distance to the nearest labeled paper.

    Parameters
    ----------
    hops : DataFrame
        Of `labkit.spiking.readout.accuracy_by_hops`: columns hops, n, expected, low, high.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Expected accuracy with its 95 % interval; under each bar the number of queries it is of.
        The dashed line is the mean over all queries.
    """
    _require_columns("hops", hops, ("hops", "n", "expected", "low", "high"))
    far = (hops["hops"] < 0).to_numpy()
    shown = pd.concat([hops[~far], hops[far]], ignore_index=True)
    ax = new_axes(ax, width_in=max(4.4, 0.75 * len(shown) + 1.5), height_in=3.6)
    x = np.arange(len(shown))
    colors = [pale(GRAY if hop < 0 else OWN, 0.75) for hop in shown["hops"]]
    ax.bar(x, shown["expected"], width=0.72, color=colors)
    ax.vlines(x, shown["low"], shown["high"], color="#222222", linewidth=1.3)
    names = ["no path" if hop < 0 else str(hop) for hop in shown["hops"]]
    ticks = [f"{name}\nn = {n:,}" for name, n in zip(names, shown["n"], strict=True)]
    ax.set_xticks(x, ticks, fontsize=9)
    mean = float(np.average(shown["expected"], weights=shown["n"]))
    ax.axhline(mean, color="#444444", linestyle="--", linewidth=1)
    ax.annotate(
        f"all: {percent(mean)}",
        (1, mean),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        fontsize=9,
        annotation_clip=False,
    )
    ax.set_ylim(0, max(1.0, float(shown["high"].max())))
    percent_axis(ax)
    ax.set_ylabel("expected accuracy")
    ax.set_xlabel("hops from the query to the nearest labeled paper")
    ax.tick_params(axis="x", length=0)
    return ax


def confusion_shares(
    scores: QueryScores, labels: np.ndarray, *, tie_rule: str = "expected"
) -> tuple[np.ndarray, np.ndarray]:
    """What the queries of each topic were taken for.

    Parameters
    ----------
    scores : QueryScores
    labels : ndarray of shape (n_papers,)
        Topics of all papers of the graph; queries without one (-1) are left out.
    tie_rule : {"expected", "first", "unique"}
        At a tie every winner gets an equal part of the query, or the first gets it, or none.

    Returns
    -------
    shares : ndarray of shape (n_topics, n_topics)
        Rows are true topics and sum to 1 (to less by the rule "unique"; to nan where a topic has
        no query), columns what was predicted.
    counts : ndarray of shape (n_topics,)
        Queries of each topic.
    """
    rules = ("expected", "first", "unique")
    if tie_rule not in rules:
        raise ParameterError(not_allowed("tie_rule", tie_rule, rules))
    winners = scores.winners.astype(float)
    if tie_rule == "expected":
        credit = winners / scores.tied[:, None]
    else:
        predicted = scores.predicted(tie_rule)
        credit = (predicted[:, None] == np.arange(scores.n_topics)).astype(float)
    right = np.asarray(labels)[scores.queries]
    table = np.zeros((scores.n_topics, scores.n_topics))
    np.add.at(table, right[right >= 0], credit[right >= 0])
    counts = np.bincount(right[right >= 0], minlength=scores.n_topics)
    return np.where(counts[:, None] > 0, table / np.maximum(counts, 1)[:, None], np.nan), counts


def confusion(
    graph: CitationGraph,
    scores: QueryScores,
    *,
    tie_rule: str = "expected",
    ax: Axes | None = None,
) -> Axes:
    """Confusion matrix in percent of each true topic.

    Parameters
    ----------
    graph : CitationGraph
    scores : QueryScores
        Of ``run``.
    tie_rule : {"expected", "first", "unique"}
        See `confusion_shares`.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Rows are what papers are, with their number, columns what they were taken for; every row
        sums to 100 %, by the rule "unique" to less where queries tie.
    """
    shares, counts = confusion_shares(scores, graph.labels, tie_rule=tie_rule)
    names = topic_names(graph.topics, graph.n_topics)
    n = len(names)
    ax = new_axes(ax, width_in=0.66 * n + 2.8, height_in=0.46 * n + 1.7)
    ax.imshow(shares, cmap=ColorScale(0, 1, "sequential").colormap(), vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            ax.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=9.5,
                fontweight="bold" if row == column else "normal",
                color="white" if share > 0.7 else "#222222" if share >= 0.005 else "#999999",
            )
    ax.set_xticks(range(n), names, rotation=40, ha="right", rotation_mode="anchor")
    rows = [f"{name} (n = {count})" for name, count in zip(names, counts, strict=True)]
    ax.set_yticks(range(n), rows)
    ax.set_xlabel("predicted topic")
    ax.set_ylabel("true topic")
    bare(ax)
    ax.set_title(f"Percent of each true topic, ties: {tie_rule}")
    return ax


def baseline_plot(
    table: pd.DataFrame, *, highlight: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Accuracy of every method, those measured here apart from those that papers state.

    Parameters
    ----------
    table : DataFrame
        Of `baseline_table`, rows of other methods may be added: columns method, accuracy,
        provenance; low, high, spread and uses where known.
    highlight : sequence of str
        Methods whose names are printed bold.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The best above. Filled circles were measured here, with the 95 % interval for the test
        papers being a sample; open diamonds are published, with the standard deviation of their
        runs where it is stated. Under a method's name stands what it uses.
    """
    _require_columns("table", table, ("method", "accuracy", "provenance"))
    order = _best_first(table)
    methods = list(dict.fromkeys(order["method"]))
    ax = new_axes(ax, width_in=8.2, height_in=0.42 * len(methods) + 1.2)
    for own in (True, False):
        here = order[(order["provenance"] != "published") == own]
        if len(here):
            _baseline_dots(ax, here, methods, own)
    uses = dict(zip(order["method"], order.get("uses", pd.Series("", order.index)), strict=True))
    names = [f"{name}\n{uses[name]}" if uses[name] else str(name) for name in methods]
    ax.set_yticks(range(len(methods)), names, fontsize=8.5)
    for label, name in zip(ax.get_yticklabels(), methods, strict=True):
        label.set_fontweight("bold" if name in highlight else "normal")
    ax.set_ylim(len(methods) - 0.4, -0.6)
    ax.margins(x=0.12)
    percent_axis(ax, "x")
    ax.set_xlabel("test accuracy")
    horizontal(ax)
    ax.legend(loc="lower right", fontsize=8.5)
    return ax


def _best_first(table: pd.DataFrame) -> pd.DataFrame:
    best = table.groupby("method")["accuracy"].transform("max")
    by = ["best", "method"]
    return table.assign(best=best).sort_values(by, ascending=[False, True], kind="stable")


def _baseline_dots(ax: Axes, rows: pd.DataFrame, methods: list[str], own: bool) -> None:
    known = rows["accuracy"].notna()
    y = np.array([methods.index(method) for method in rows["method"]]) + (-0.14 if own else 0.14)
    color = OWN if own else PUBLISHED
    shown, places = rows[known], y[known]
    values = shown["accuracy"].to_numpy(dtype=float)
    low, high = _ends(shown, values, own)
    ax.hlines(places, low, high, color=color, linewidth=2, alpha=0.5)
    ax.plot(
        values,
        places,
        "o" if own else "D",
        color=color,
        markersize=6.5 if own else 6,
        markerfacecolor=color if own else "white",
        markeredgewidth=1.5,
        label="measured here, 95 % interval" if own else "published, ± s.d. of runs where stated",
    )
    for value, place, end in zip(values, places, high, strict=True):
        ax.annotate(
            percent(value),
            (end, place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=color,
        )
    for place in y[~known].tolist():
        left = ax.get_yaxis_transform()
        ax.text(0.02, place, "not measured", va="center", size=8, color=GRAY, transform=left)


def _ends(rows: pd.DataFrame, values: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals; the value itself where there is none."""
    nothing = pd.Series(np.nan, rows.index)
    low, high = (rows.get(end, nothing).to_numpy(dtype=float) for end in ("low", "high"))
    if not own:
        spread = rows.get("spread", nothing).to_numpy(dtype=float)
        low, high = np.fmin(low, values - spread), np.fmax(high, values + spread)
    return np.fmin(values, low), np.fmax(values, high)


def _require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in frame]
    if missing or not len(frame):
        raise ParameterError(
            f"{name} has {len(frame)} rows and the columns {', '.join(map(str, frame.columns))}; "
            f"it needs at least one row and {', '.join(needed)}."
        )
