"""Figures of the ranking: the atoms in order, how sure that is, and what else would do as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from labkit.errors import ParameterError
from labkit.hotspots.plots.colors import GRAY, VERDICT_COLORS
from labkit.hotspots.plots.labels import name_points
from labkit.hotspots.plots.latent import matrix
from labkit.hotspots.quantities import quantity_label
from labkit.viz.style import MPLSTYLE, OKABE_ITO, new_axes

if TYPE_CHECKING:
    from labkit.hotspots.ranking import HotspotTable

ROW_IN = 0.165


def rank_plot(
    table: HotspotTable | pd.DataFrame,
    *,
    top: int | None = None,
    score: str = "score",
    ax: Axes | None = None,
) -> Axes:
    """Atoms or fragments in order of their score, with intervals and verdicts.

    Parameters
    ----------
    table : HotspotTable or DataFrame
        Columns atom (or fragment), score, score_low, score_high, verdict.
    top : int, optional
        Only so many from the top; all by default.
    score : str
        What the score is, for the axis.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The most dynamic above. Vermillion is dynamic, blue an anchor, gray undetermined: its
        interval does not allow a verdict.
    """
    frame = ranked_frame(table)[:top]
    rows = np.arange(len(frame))
    names = frame["name"].astype(str).tolist()
    many = len(rows) > 20
    height = (ROW_IN if many else 0.27) * len(rows) + 1.0
    ax = new_axes(ax, width_in=5.8, height_in=height)
    for verdict, color in VERDICT_COLORS.items():
        here = (frame["verdict"] == verdict).to_numpy()
        middle, low, high = (frame.loc[here, c] for c in ("score", "score_low", "score_high"))
        ax.hlines(rows[here], low, high, color=color, linewidth=2.2, alpha=0.55)
        ax.plot(middle, rows[here], "o", color=color, markersize=5, label=verdict)
    ax.set_yticks(rows, names, fontsize=7.5 if many else 9.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(quantity_label(score))
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)}
    ax.legend(title="verdict", **({"loc": "lower right"} if many else beside))
    return ax


def ranked_frame(table: HotspotTable | pd.DataFrame) -> pd.DataFrame:
    """Table of a ranking, best first, with the atoms or fragments in a column ``name``."""
    frame = table if isinstance(table, pd.DataFrame) else table.frame
    frame = frame.reset_index() if frame.index.name in ("atom", "fragment") else frame
    column = next((c for c in ("fragment", "atom") if c in frame), None)
    if "atom" in frame and "rank" in frame and frame["atom"].is_unique:
        column = "atom"
    needed = {"score", "score_low", "score_high", "verdict"}
    if column is None or not needed <= set(frame.columns):
        raise ParameterError(
            f"table has the columns {', '.join(map(str, frame.columns))}; a ranking has atom or "
            f"fragment, {', '.join(sorted(needed))}."
        )
    frame = frame.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    return frame.assign(name=frame[column])


def seed_agreement_matrix(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Spearman correlation of the atoms' scores between networks of different seeds.

    Parameters
    ----------
    scores : DataFrame
        One column a network or ensemble, one row an atom.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Close to 1 everywhere: the ranking does not hang on the seed.
    """
    correlation = scores.corr(method="spearman")
    return matrix(correlation, "Spearman correlation", ax=ax)


def baseline_plot(
    scores: pd.DataFrame,
    *,
    score: str = "latent_spread",
    baselines: Sequence[str] = ("pca_spread", "rmsf", "flicker", "n_contacts"),
    name: int = 3,
) -> np.ndarray:
    """Whether a simpler quantity would have done as well as the score.

    Parameters
    ----------
    scores : DataFrame
        Of `atom_scores`: one row an atom.
    score : str
        Column on the vertical axis.
    baselines : sequence of str
        Columns on the horizontal axes; columns that are missing or constant are left out.
    name : int
        How many of the highest atoms to name in each panel.

    Returns
    -------
    ndarray of Axes
        One panel a baseline with its Spearman correlation.
    """
    shown = [c for c in baselines if c in scores and scores[c].nunique() > 1]
    if score not in scores or not shown:
        raise ParameterError(
            f"scores has the columns {', '.join(scores.columns)}; it needs {score} and at least "
            f"one of {', '.join(baselines)} that is not constant."
        )
    with plt.style.context(MPLSTYLE):
        _, axes = plt.subplots(
            1, len(shown), figsize=(2.45 * len(shown) + 0.5, 2.9), sharey=True, squeeze=False
        )
    y = scores[score].to_numpy(dtype=float)
    top = np.argsort(-np.nan_to_num(y, nan=-np.inf), kind="stable")[:name]
    for ax, column in zip(axes.flat, shown, strict=True):
        x = scores[column].to_numpy(dtype=float)
        rest = np.setdiff1d(np.arange(len(x)), top)
        ax.scatter(x[rest], y[rest], s=20, color=GRAY)
        ax.scatter(x[top], y[top], s=26, color=OKABE_ITO["black"])
        rho = scores[[score, column]].corr(method="spearman").iloc[0, 1]
        ax.set_title(f"Spearman {rho:.2f}".replace("-", "−"), fontsize=10)
        ax.set_xlabel(quantity_label(column), fontsize=9.5)
        ax.locator_params(axis="x", nbins=4)
        ax.margins(0.12)
    for ax, column in zip(axes.flat, shown, strict=True):
        name_points(ax, scores[column].to_numpy(dtype=float), y, _names(scores), top.tolist())
    axes[0, 0].set_ylabel(quantity_label(score))
    return axes[0]


def pca_against_cvae(
    scores: pd.DataFrame, *, verdicts: pd.Series | None = None, ax: Axes | None = None
) -> Axes:
    """Ranks of the atoms by the network's spread and by plain PCA of the same windows.

    Parameters
    ----------
    scores : DataFrame
        Of `atom_scores`, with columns latent_spread and pca_spread.
    verdicts : Series, optional
        Verdict of each atom, in the rows' order, for the colors.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        On the diagonal both methods agree; the atoms they disagree on most are named.
    """
    ranks = scores[["pca_spread", "latent_spread"]].rank(ascending=False)
    x, y = ranks.to_numpy().T
    ax = new_axes(ax, width_in=4.9, height_in=4.6)
    ax.plot([1, len(x)], [1, len(x)], color="#bbbbbb", linewidth=1, zorder=1)
    shown = pd.Series("undetermined", range(len(x))) if verdicts is None else verdicts
    kinds = np.asarray(shown)
    for verdict, color in VERDICT_COLORS.items():
        here = kinds == verdict
        if here.any():
            label = verdict if verdicts is not None else None
            ax.scatter(x[here], y[here], s=26, color=color, zorder=2, label=label)
    rho = ranks.corr(method="spearman").iloc[0, 1]
    ax.set_title(f"Spearman {rho:.2f} over {len(x)} atoms".replace("-", "−"))
    ax.set_xlabel("rank by PCA spread (1: most dynamic)")
    ax.set_ylabel("rank by latent spread (1: most dynamic)")
    ax.grid(axis="x")
    ax.set_xlim(len(x) + 1.5, -0.5)
    ax.set_ylim(len(x) + 1.5, -0.5)
    ax.set_aspect("equal")
    if verdicts is not None:
        ax.legend(loc="lower right", title="verdict by latent spread", title_fontsize=9)
    apart = np.argsort(-np.abs(x - y), kind="stable")[:6]
    name_points(ax, x, y, _names(scores), apart.tolist())
    return ax


def growth_plot(
    growth: pd.DataFrame,
    values: Sequence[float] | np.ndarray | pd.Series,
    *,
    score: str = "latent_spread",
    room: str = "free_volume_A3",
    verdicts: Sequence[str] | pd.Series | None = None,
    name: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Score of each atom against the room there is to grow from it.

    Parameters
    ----------
    growth : DataFrame
        Of `growth_space`: one row a heavy atom; nan where it carries no hydrogen.
    values : sequence of float of shape (n_atoms,)
        Score of each atom, in the same order.
    score, room : str
        What is on the vertical and the horizontal axis.
    verdicts : sequence of str, optional
        For the colors.
    name : int
        Atoms named: those highest in both.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Upper right: dynamic, with room. Atoms without a hydrogen to replace stand in the strip on
        the left; dotted lines are the medians.
    """
    x = growth[room].to_numpy(dtype=float)
    y = np.asarray(values, dtype=float)
    kinds = np.asarray(["undetermined"] * len(y) if verdicts is None else list(verdicts))
    known = np.isfinite(x)
    ax = new_axes(ax, width_in=6.6, height_in=4.2)
    width = float(np.ptp(x[known])) if known.sum() > 1 else 1.0
    left = (float(x[known].min()) if known.any() else 0.0) - 0.09 * width
    ax.axvspan(left - 0.05 * width, left + 0.045 * width, color="#f2f2f2", linewidth=0)
    for verdict, color in VERDICT_COLORS.items():
        here, bare = (kinds == verdict) & known, (kinds == verdict) & ~known
        label = verdict if verdicts is not None and (here | bare).any() else None
        ax.scatter(x[here], y[here], s=34, color=color, zorder=2, label=label)
        ax.scatter(
            np.full(bare.sum(), left),
            y[bare],
            s=22,
            facecolor="none",
            edgecolor=color,
            linewidth=1.2,
            zorder=2,
        )
    if known.any():
        ax.axvline(float(np.median(x[known])), color="#999999", linestyle=":", linewidth=1)
        ax.axhline(float(np.nanmedian(y)), color="#999999", linestyle=":", linewidth=1)
    ax.set_xlabel(quantity_label(room) + " around its hydrogens")
    ax.set_ylabel(quantity_label(score))
    ax.set_xlim(left - 0.05 * width, None)
    ax.annotate(
        "no hydrogen",
        (left, 1.0),
        (0, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color="#666666",
    )
    if verdicts is not None:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), title="verdict")
    names = _names(growth)
    together = np.where(known, _rank(x) * _rank(y), -1.0)
    name_points(ax, np.where(known, x, left), y, names, np.argsort(-together)[:name].tolist())
    return ax


def _rank(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).rank(pct=True).fillna(0.0).to_numpy()


def _names(frame: pd.DataFrame) -> list[str]:
    """Atom names of a table: its column ``atom``, else its index."""
    return [str(name) for name in frame.get("atom", frame.index)]
