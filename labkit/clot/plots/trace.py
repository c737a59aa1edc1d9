"""Figures of a run in time: the steps that a controller chose, and the contacts of platelets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from labkit.clot.control.run_storage import Run
from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.plots.colors import INK, LEVEL_COLORS, REGIME_COLORS
from labkit.clot.plots.marks import legend_below, legend_beside, panels, step_axis
from labkit.errors import ParameterError
from labkit.viz.colors import pale
from labkit.viz.style import PALETTE, new_axes

CHANGE, FEW = 0.1, 2
"""Contacts change where more than this share of them come or go in a time unit, and more than a few
in a segment."""


def regimes(observations: Sequence[Observation]) -> list[str]:
    """Regime of each segment between two observations.

    Parameters
    ----------
    observations : sequence of Observation
        n + 1 for n segments.

    Returns
    -------
    list of str
        "free" where no platelet touches another, "contacts changing" where more than a tenth of
        the pairs in contact come or go in a time unit, and more than two, else "settled".
    """
    contacts = [float(np.sum(one.contacts)) / 2 for one in observations]
    times = [one.time for one in observations]
    found = []
    for (before, after), (start, end) in zip(pairwise(contacts), pairwise(times), strict=True):
        change = abs(after - before)
        if before == after == 0:
            found.append("free")
        elif change > FEW and change > CHANGE * (end - start) * max(before, after):
            found.append("contacts changing")
        else:
            found.append("settled")
    return found


def step_trace(run: Run, *, title: str = "") -> Figure:
    """Contacts of a run colored by regime, with the chosen steps of the four levels below.

    Parameters
    ----------
    run : Run
        Of `labkit.clot.control.drive.drive`.
    title : str, optional

    Returns
    -------
    Figure
        Above contacts in time, colored by regime; below the steps on a logarithmic axis. Crosses
        mark segments that the guard rolled back.
    """
    plans, observations = run.plans, run.observations
    if not plans:
        raise ParameterError("run has no segments; drive it for at least one.")
    figure, (upper, lower) = panels(
        2, 1, width_in=7.2, height_in=4.6, sharex=True, height_ratios=(1, 1.35)
    )
    times = np.array([one.time for one in observations])
    kinds = regimes(observations)
    contacts = np.array([float(np.sum(one.contacts)) / 2 for one in observations])
    for kind, first, last in _stretches(kinds):
        color = REGIME_COLORS[kind]
        here = slice(first, last + 1)
        upper.fill_between(times[here], contacts[here], color=pale(color, 0.55), linewidth=0)
        lower.axvspan(times[first], times[last], color=pale(color, 0.2), linewidth=0, zorder=0)
        upper.axvspan(times[first], times[last], color=pale(color, 0.2), linewidth=0, zorder=0)
    upper.plot(times, contacts, color=INK, linewidth=1.4)
    upper.set_ylabel("pairs of beads\nin contact")
    upper.set_ylim(0, max(1.0, 1.1 * contacts.max()))
    _steps(lower, times, plans)
    rolled = run.rollbacks
    if len(rolled):
        top = np.full(len(rolled), 1.25 * max(plan.fluid for plan in plans))
        lower.plot(rolled["time"], top, "x", color=INK, markeredgewidth=1.6, label="rolled back")
    lower.set_xlabel("time (DPD units)")
    lower.set_ylabel("step (DPD units)")
    lower.set_xlim(times[0], times[-1])
    present = [kind for kind in REGIME_COLORS if kind in kinds]
    handles: list[Any] = [Patch(color=pale(REGIME_COLORS[k], 0.55), label=k) for k in present]
    legend_beside(upper, handles=handles)
    legend_beside(lower, title="step of", alignment="left")
    upper.set_title(title)
    return figure


def _stretches(kinds: Sequence[str]) -> list[tuple[str, int, int]]:
    """Regimes that last, with their first observation and their last.

    Examples
    --------
    >>> _stretches(["free", "free", "settled"])
    [('free', 0, 2), ('settled', 2, 3)]
    """
    ends = [k for k in range(1, len(kinds)) if kinds[k] != kinds[k - 1]]
    bounds = pairwise([0, *ends, len(kinds)])
    return [(kinds[first], first, last) for first, last in bounds]


def _steps(ax: Axes, times: np.ndarray, plans: Sequence[StepPlan]) -> None:
    for number, level in enumerate(LEVELS):
        steps = np.array([getattr(plan, level) for plan in plans])
        ax.stairs(
            steps,
            times,
            baseline=None,
            color=LEVEL_COLORS[level],
            linewidth=3.4 - 0.6 * number,
            label=level,
        )
    step_axis(ax, {step for plan in plans for step in plan.steps})


def contacts_in_time(
    runs: Mapping[str, Sequence[Run]], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Contacts between platelets in time, by controller, over seeds.

    Parameters
    ----------
    runs : mapping of str to sequence of Run
        Name of a controller to its runs of several seeds.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Lines are means over seeds, bands reach from the lowest to the highest run: single runs are
        chaotic, only ensembles can be compared.
    """
    if not runs or not all(len(several) for several in runs.values()):
        raise ParameterError("runs is empty; give the runs of one controller or more, by name.")
    ax = new_axes(ax, width_in=6.8, height_in=3.6)
    for number, (name, several) in enumerate(runs.items()):
        color = PALETTE[number % len(PALETTE)]
        times, contacts = _ensemble(several)
        ax.fill_between(
            times, contacts.min(axis=0), contacts.max(axis=0), color=color, alpha=0.18, linewidth=0
        )
        label = f"{name} (n = {len(several)})"
        ax.plot(times, contacts.mean(axis=0), color=color, label=label)
    ax.set_xlabel("time (DPD units)")
    ax.set_ylabel("pairs of beads in contact")
    ax.set_ylim(0, None)
    ax.margins(x=0.01)
    ax.set_title(title)
    legend_below(ax, ncols=3)
    return ax


def _ensemble(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Times of the shortest run, and contacts of all runs at them, shape (n_runs, n_times)."""
    series = [
        (
            np.array([one.time for one in run.observations]),
            np.array([float(np.sum(one.contacts)) / 2 for one in run.observations]),
        )
        for run in runs
    ]
    times = min((times for times, _ in series), key=lambda t: float(t[-1]))
    return times, np.array([np.interp(times, t, c) for t, c in series])


def temperatures_in_time(
    observations: Sequence[Observation], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Kinetic temperature of the plasma and of each platelet in time.

    Parameters
    ----------
    observations : sequence of Observation
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Platelets in thin lines, their mean in a thick one.
    """
    ax = new_axes(ax, width_in=6.4, height_in=3.0)
    times = [one.time for one in observations]
    each = np.array([one.temperature for one in observations])
    ax.plot(times, each, color=pale(PALETTE[1], 0.45), linewidth=0.9)
    ax.plot(times, each.mean(axis=1), "o-", color=PALETTE[1], label="platelets")
    fluid = [one.fluid_temperature for one in observations]
    ax.plot(times, fluid, "o-", color=PALETTE[0], label="plasma")
    ax.set_xlabel("time (DPD units)")
    ax.set_ylabel("temperature (DPD energy)")
    ax.set_ylim(0, None)
    ax.set_title(title)
    legend_below(ax, ncols=2)
    return ax
