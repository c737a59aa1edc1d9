"""Figure of the labels: the error of every plan in time, and the cheapest one that is right."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.choices import not_allowed
from labkit.clot.forcefield import require_positive
from labkit.clot.labels import LabelTable
from labkit.clot.plans import StepPlan
from labkit.clot.plots.colors import INK, WRONG
from labkit.clot.plots.marks import legend_beside, panels, step_axis
from labkit.errors import ParameterError
from labkit.viz.colors import ColorScale

ALLOWED = 0.05
"""Share of labels above the tolerance that a fixed plan may have and still count as safe."""

BLOWN_UP = 1.0
"""Error at which a plan that blew up is drawn [rc]."""


def cheapest_plans(table: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Coarsest plan within a tolerance at every labeled state: what no controller can beat.

    Parameters
    ----------
    table : DataFrame
        Of `LabelTable.frame`.
    tolerance : float
        Largest error of a platelet's beads in a window [rc].

    Returns
    -------
    DataFrame
        trajectory, time, rung (0 is the finest plan) and error [rc] of that plan; the finest plan
        where none is within the tolerance.
    """
    require_positive("tolerance", tolerance)
    errors = table.set_index(["trajectory", "time", "rung"])["error"].unstack()
    values = errors.to_numpy(dtype=float)
    right = values <= tolerance
    coarsest = right.shape[1] - 1 - np.argmax(right[:, ::-1], axis=1)
    rung = np.where(right.any(axis=1), coarsest, 0)
    chosen = values[np.arange(len(rung)), rung]
    return errors.index.to_frame(index=False).assign(rung=rung, error=chosen)


def safest_fixed(table: pd.DataFrame, tolerance: float, *, allowed: float = ALLOWED) -> int:
    """Coarsest plan that is above the tolerance at no more than a share of the labels.

    Parameters
    ----------
    table : DataFrame
        Of `LabelTable.frame`.
    tolerance : float
        [rc]
    allowed : float
        Share.

    Returns
    -------
    int
        Its rung; 0, the finest, where none is.
    """
    late = (table["error"] > tolerance).groupby(table["rung"]).mean()
    return int(max(late.index[late.to_numpy() <= allowed], default=0))


def evaluations_a_unit(plan: StepPlan, level: str = "nonbonded") -> float:
    """How often a level is computed in a time unit."""
    return 1.0 / float(getattr(plan, level))


def label_trace(
    labels: LabelTable, trajectory: str, tolerance: float, *, title: str = ""
) -> Figure:
    """Error of every plan along a trajectory, and which is the coarsest within a tolerance.

    Parameters
    ----------
    labels : LabelTable
    trajectory : str
        Name of one of its trajectories.
    tolerance : float
        [rc]
    title : str, optional

    Returns
    -------
    Figure
        Above errors on a logarithmic axis, from blue for the finest plan to dark red for the
        coarsest, at the top where it blew up; below the step of nonbonded forces and receptors in
        the coarsest plan whose error is below the dashed line. The dotted line is the best fixed
        plan for all trajectories of the same scene.
    """
    table = labels.frame
    known = list(dict.fromkeys(table["trajectory"]))
    if trajectory not in known:
        raise ParameterError(not_allowed("trajectory", trajectory, known))
    figure, (upper, lower) = panels(
        2, 1, width_in=8.2, height_in=4.4, sharex=True, height_ratios=(1.6, 1)
    )
    own = table[table["trajectory"] == trajectory]
    alike = table[table["scene"] == own["scene"].iloc[0]]
    ramp = ColorScale(-1.0, max(1.0, len(labels.plans) - 1.0), "heat")
    for rung, rows in own.groupby("rung"):
        color = ramp.color(float(rung))
        shown = rows["error"].clip(upper=BLOWN_UP)
        upper.plot(rows["time"], shown, color=color, label=str(labels.plans[int(rung)]))
    upper.axhline(tolerance, color=INK, linestyle="--", linewidth=1.2, label="tolerance")
    upper.set_yscale("log")
    upper.set_ylabel("error of a platelet's\nbeads (rc)")
    legend_beside(upper, title="fluid / interface /\nnonbonded / bonded", fontsize=8.5)
    upper.set_title(title)
    _picks(lower, labels, own, alike, tolerance)
    return figure


def _picks(
    ax: Axes, labels: LabelTable, own: pd.DataFrame, alike: pd.DataFrame, tolerance: float
) -> None:
    picks = cheapest_plans(own, tolerance)
    steps = [labels.plans[rung].nonbonded for rung in picks["rung"]]
    ax.step(picks["time"], steps, where="post", color=INK, label="coarsest that is right now")
    fixed = labels.plans[safest_fixed(alike, tolerance)].nonbonded
    words = f"coarsest that is right\nat {100 * (1 - ALLOWED):.0f} % of states\nof such scenes"
    ax.axhline(fixed, color=WRONG, linewidth=1.6, linestyle=":", label=words)
    step_axis(ax, {plan.nonbonded for plan in labels.plans})
    ax.margins(x=0.01)
    ax.set_ylabel("nonbonded step\n(DPD units)")
    ax.set_xlabel("time (DPD units)")
    legend_beside(ax, fontsize=8.5)
