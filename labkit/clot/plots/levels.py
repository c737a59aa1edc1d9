"""Figures of multiple time stepping: temperature with and without the noise rule, cost by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit.clot.cost import SETUP, CostModel
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.plots.colors import GRAY, INK, LEVEL_COLORS, MODEL, WRONG
from labkit.clot.plots.marks import duration, horizontal, legend_below, whiskers
from labkit.errors import ParameterError
from labkit.viz.colors import is_light, pale
from labkit.viz.style import new_axes
from labkit.viz.tables import require_columns

WRITTEN = 0.055
"""Share of a bar above which a part has room for its number."""
TOLERANCE = 0.03
STEPS = "steps of fluid / interface /\nnonbonded / bonded"


def temperature_lesson(lesson: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Temperature of platelets and plasma by plan, with the noise rule and without.

    Parameters
    ----------
    lesson : DataFrame
        Of `labkit.clot.noise.noise_lesson`: plan, rule (bool), T_platelet and T_fluid over kT;
        T_platelet_low and T_platelet_high where there are intervals. Rows of one rule may be left
        out.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Vermillion without the rule, blue with it; the diamond is the plasma, which looks right in
        both. The band is 3 % about the thermostat.
    """
    require_columns("lesson", lesson, ("plan", "rule", "T_platelet", "T_fluid"))
    plans = list(dict.fromkeys(lesson["plan"].astype(str)))
    rules = [rule for rule in (False, True) if (lesson["rule"].astype(bool) == rule).any()]
    ax = new_axes(ax, width_in=6.8, height_in=0.34 * len(plans) * len(rules) + 1.9)
    ax.axvspan(1 - TOLERANCE, 1 + TOLERANCE, color=pale(MODEL, 0.2), linewidth=0)
    ax.axvline(1, color=GRAY, linewidth=1)
    for rule in rules:
        rows = lesson[lesson["rule"].astype(bool) == rule]
        shift = 0.0 if len(rules) == 1 else 0.19 if rule else -0.19
        y = np.array([plans.index(str(plan)) for plan in rows["plan"]]) + shift
        _temperatures(ax, rows, y, rule, 0.5 if len(rules) == 1 else 0.34)
    ax.plot([], [], "D", color="white", markeredgecolor=INK, linestyle="", label="plasma")
    ax.set_yticks(range(len(plans)), plans)
    horizontal(ax)
    ax.set_xlim(0, max(1.12, 1.06 * float(lesson["T_platelet"].max())))
    ax.set_xlabel("kinetic temperature / that of the thermostat, measured")
    ax.set_ylabel(STEPS, fontsize=9)
    ax.set_title(title)
    legend_below(ax, ncols=3)
    return ax


def _temperatures(ax: Axes, rows: pd.DataFrame, y: np.ndarray, rule: bool, height: float) -> None:
    label = "platelets, noise rule" if rule else "platelets, without the rule"
    ratio = rows["T_platelet"].to_numpy(dtype=float)
    ax.barh(
        y,
        ratio,
        height=height,
        color=MODEL if rule else WRONG,
        label=label,
        xerr=whiskers(rows, "T_platelet"),
        error_kw={"ecolor": INK, "elinewidth": 1.2},
    )
    for place, value in zip(y, ratio, strict=True):
        ax.text(0.015, place, f"{value:.2f}", va="center", fontsize=9, color="white")
    ax.plot(rows["T_fluid"], y, "D", color="white", markeredgecolor=INK, markersize=5.5)


def level_costs(
    cost: CostModel,
    plans: Sequence[StepPlan] | Mapping[str, StepPlan],
    *,
    segment: float | None = None,
    measured: Sequence[float] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Shares of the four levels in the CPU time, one bar a plan.

    Parameters
    ----------
    cost : CostModel
        Fitted to runs of the system.
    plans : sequence of StepPlan, or mapping of str to StepPlan
        The first one is what others are compared with.
    segment : float, optional
        Length of a segment, each with a setup; none by default [time].
    measured : sequence of float, optional
        CPU seconds of a time unit of each plan as run.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Beside each bar stand the CPU time of a time unit by the cost model, how many times less
        that is than with the first plan, and what was measured.
    """
    named = plans if isinstance(plans, Mapping) else {str(plan): plan for plan in plans}
    if not named or (measured is not None and len(measured) != len(named)):
        raise ParameterError(
            f"plans has {len(named)} plans for {len(measured or ())} measured times; give at least "
            "one plan, and one time for each."
        )
    table = cost_table(cost, named, segment=segment)
    ax = new_axes(ax, width_in=8.4, height_in=0.46 * len(table) + 1.7)
    total, rows, left = table.sum(axis=1).to_numpy(), np.arange(len(table)), np.zeros(len(table))
    for name in table.columns:
        share, color = 100 * table[name].to_numpy() / total, LEVEL_COLORS[name]
        ax.barh(rows, share, left=left, height=0.64, color=color, edgecolor="white", linewidth=0.6)
        for row in np.flatnonzero(share > 100 * WRITTEN):
            ink = INK if is_light(color) else "white"
            at = (left[row] + share[row] / 2, row)
            ax.text(*at, f"{share[row]:.0f}", ha="center", va="center", fontsize=9, color=ink)
        left += share
    for row, whole in enumerate(total):
        words = duration(whole) + (f", {total[0] / whole:.1f}× less" if row else "")
        words += f"\nmeasured {duration(measured[row])}" if measured is not None else ""
        ax.annotate(words, (100, row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks(rows, list(table.index))
    horizontal(ax)
    ax.set_xlim(0, 138)
    ax.set_xticks(range(0, 101, 25))
    ax.set_xlabel("share of the CPU time of a time unit (%), cost model", loc="left")
    if not isinstance(plans, Mapping):
        ax.set_ylabel(STEPS, fontsize=9)
    ax.set_title(title)
    handles = [Patch(color=LEVEL_COLORS[name], label=name) for name in table.columns]
    legend_below(ax, handles=handles, ncols=5)
    return ax


def cost_table(
    cost: CostModel, plans: Mapping[str, StepPlan], *, segment: float | None = None
) -> pd.DataFrame:
    """CPU seconds of a time unit by level, one row a plan; setup where segments have one."""
    rows = []
    for plan in plans.values():
        parts = {level: cost.seconds[level] / getattr(plan, level) for level in LEVELS}
        rows.append(parts | ({SETUP: cost.setup / segment} if segment else {}))
    return pd.DataFrame(rows, index=list(plans))
