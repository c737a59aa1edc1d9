"""Figures that hold one computation against another: float against integer, labkit against Lava."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from labkit.errors import ParameterError
from labkit.spiking.plots.colors import INK, OWN, pale
from labkit.spiking.plots.labels import bare, percent
from labkit.viz.colors import ColorScale
from labkit.viz.style import MPLSTYLE, OKABE_ITO

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from labkit.spiking.lava import LavaCheck
    from labkit.spiking.readout import QueryScores


def float_against_int(floats: QueryScores, integers: QueryScores) -> np.ndarray:
    """Scores of the float and of the integer network, and how many winners each has.

    Parameters
    ----------
    floats, integers : QueryScores
        Of the same queries in the same order.

    Returns
    -------
    ndarray of two Axes
        Left a bubble for every pair of scores that a query gives a topic, each over the lowest
        score of its query, the larger the more often it occurs. Right the queries by the
        number of topics that tie: below the diagonal the integer network decides more.
    """
    if not np.array_equal(floats.queries, integers.queries):
        raise ParameterError(
            f"floats has {len(floats.queries)} queries and integers {len(integers.queries)}; "
            "both must answer the same queries in the same order."
        )
    with plt.style.context(MPLSTYLE):
        _, (left, right) = plt.subplots(1, 2, figsize=(10.2, 4.2), width_ratios=[1.15, 1])
    _score_bubbles(left, floats.scores, integers.scores)
    _tie_matrix(right, floats.tied, integers.tied)
    shared = (floats.winners & integers.winners).any(axis=1).mean()
    same = (floats.winners == integers.winners).all(axis=1).mean()
    right.set_title(f"Same winners for {percent(same, 0)}, one in common for {percent(shared, 0)}")
    return np.array([left, right])


def _score_bubbles(ax: Axes, floats: np.ndarray, integers: np.ndarray) -> None:
    x = floats - floats.min(axis=1, keepdims=True)
    y = integers - integers.min(axis=1, keepdims=True)
    # Float sums of the same terms in another order differ in their last digits.
    pairs = np.column_stack([np.round(x.ravel(), 9), y.ravel()])
    places, counts = np.unique(pairs, axis=0, return_counts=True)
    ax.scatter(
        places[:, 0],
        places[:, 1],
        s=9 + 420 * (counts / counts.max()) ** 0.7,
        color=OWN,
        alpha=0.45,
        edgecolor="white",
        linewidth=0.5,
    )
    ax.set_title(f"{x.size:,} scores, {_rank_correlation(*pairs.T)}")
    ax.set_xlabel("float score over the lowest of its query")
    ax.set_ylabel("integer score over the lowest")
    ax.grid(axis="x")
    ax.margins(0.07)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> str:
    constant = [name for name, v in (("float", x), ("integer", y)) if (v == v[0]).all()]
    if constant:
        return f"all {' and all '.join(constant)} ones tied"
    rho = pd.Series(x).corr(pd.Series(y), method="spearman")
    return f"Spearman {rho:.2f}".replace("-", "−")


def _tie_matrix(ax: Axes, floats: np.ndarray, integers: np.ndarray) -> None:
    most = int(max(floats.max(), integers.max()))
    counts = np.zeros((most, most), dtype=int)
    np.add.at(counts, (integers - 1, floats - 1), 1)
    cmap = ColorScale(0, 1, "sequential").colormap()
    shade = (counts / counts.max()) ** 0.5
    ax.imshow(shade, cmap=cmap, vmin=0, vmax=1, origin="lower", aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = shade[row, column] > 0.75
            ax.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "#222222",
            )
    names = [str(k + 1) for k in range(most)]
    ax.set_xticks(range(most), names)
    ax.set_yticks(range(most), names)
    ax.plot([-0.5, most - 0.5], [-0.5, most - 0.5], color="#999999", linestyle=":", linewidth=1)
    ax.set_xlabel("winning topics, float (1: no tie)")
    ax.set_ylabel("winning topics, integer")
    bare(ax)


def exactness_table(check: LavaCheck | pd.DataFrame) -> Styler:
    """Table of the comparison with Lava: green where every value is equal, else how far it held.

    Parameters
    ----------
    check : LavaCheck or DataFrame
        Of `check_against_lava`, or its ``frame``: variable, steps, values, differing, first_step.

    Returns
    -------
    Styler
        Shows in a notebook; ``.data`` is the DataFrame behind it.
    """
    frame = check if isinstance(check, pd.DataFrame) else check.frame
    table = pd.DataFrame(
        {
            "variable": frame["variable"],
            "steps": frame["steps"],
            "values compared": frame["values"],
            "differing": frame["differing"],
            "verdict": [
                _equality(differing, first)
                for differing, first in zip(frame["differing"], frame["first_step"], strict=True)
            ],
        }
    )
    styler = table.style.hide(axis="index").format(thousands=",")
    styler = styler.apply(_verdict_style, subset=["differing", "verdict"], axis=1)
    return styler.set_caption(_exactness_words(check, table))


def _equality(differing: int, first_step: Any) -> str:
    return "equal at every step" if not differing else f"differs from step {first_step}"


def _verdict_style(row: pd.Series) -> list[str]:
    color = OKABE_ITO["vermillion"] if row["differing"] else OKABE_ITO["green"]
    style = f"color: {INK}; background-color: {to_hex(pale(color, 0.25))}"
    return [style] * len(row)


def _exactness_words(check: LavaCheck | pd.DataFrame, table: pd.DataFrame) -> str:
    values, differing = int(table["values compared"].sum()), int(table["differing"].sum())
    said = f"{differing:,} of {values:,} values differ" if differing else f"{values:,} values equal"
    if isinstance(check, pd.DataFrame):
        return said
    ratio = check.lava_seconds_per_step / check.labkit_seconds_per_step
    return (
        f"{said} to Lava {check.version}; a recorded step took Lava "
        f"{1000 * check.lava_seconds_per_step:.3g} ms, labkit ({check.backend}) "
        f"{1000 * check.labkit_seconds_per_step:.3g} ms: {ratio:,.0f} times"
    )
