"""Figures of a run in time: the steps that a controller chose, and the contacts of platelets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.plots.colors import INK, LEVEL_COLORS, REGIME_COLORS, pale
from labkit.clot.plots.marks import legend_above, panels
from labkit.errors import ParameterError
from labkit.viz.style import PALETTE, new_axes

CHANGE = 0.1
"""Contacts form while their number changes by more than this share of a segment's."""


class Drive(Protocol):
    """What a figure needs of `labkit.clot.control.drive.Run`.

    Attributes
    ----------
    observations : sequence of Observation
        At the start and at the end of each segment.
    plans : sequence of StepPlan
        Of each segment.
    rollbacks : DataFrame
        Column time: where a segment was rolled back.
    """

    @property
    def observations(self) -> Sequence[Observation]: ...
    @property
    def plans(self) -> Sequence[StepPlan]: ...
    @property
    def rollbacks(self) -> pd.DataFrame: ...


def regimes(observations: Sequence[Observation]) -> list[str]:
    """Regime of each segment between two observations.

    Parameters
    ----------
    observations : sequence of Observation
        n + 1 for n segments.

    Returns
    -------
    list of str
        "free" where no platelet touches another, "contact forming" where the number of contacts
        changes by more than a tenth and by more than two pairs, else "settled".
    """
    contacts = [float(np.sum(one.contacts)) / 2 for one in observations]
    found = []
    for before, after in itertools.pairwise(contacts):
        if before == after == 0:
            found.append("free")
        elif abs(after - before) > max(2.0, CHANGE * max(before, after)):
            found.append("contact forming")
        else:
            found.append("settled")
    return found


def step_trace(run: Drive, *, title: str = "") -> Figure:
    """Contacts of a run colored by regime, with the chosen steps of the four levels below.

    Parameters
    ----------
    run : Run
        Of `labkit.clot.control.drive.drive`.
    title : str, optional

    Returns
    -------
    Figure
        Above contacts in time; below the steps on a logarithmic axis. Both are shaded by regime;
        crosses mark segments that the guard rolled back.
    """
    observations, plans = list(run.observations), list(run.plans)
    if len(observations) != len(plans) + 1 or not plans:
        raise ParameterError(
            f"run has {len(observations)} observations and {len(plans)} plans; it needs one "
            "observation more than plans, and at least one plan."
        )
    figure, (upper, lower) = panels(
        2, 1, width_in=7.2, height_in=4.6, sharex=True, height_ratios=(1, 1.35)
    )
    times = np.array([one.time for one in observations])
    kinds = regimes(observations)
    for ax in (upper, lower):
        _shade(ax, times, kinds)
    contacts = [float(np.sum(one.contacts)) / 2 for one in observations]
    upper.plot(times, contacts, color=INK, linewidth=1.4)
    upper.set_ylabel("pairs of beads\nin contact")
    upper.set_ylim(0, None)
    _steps(lower, times, plans)
    rolled = run.rollbacks
    if len(rolled):
        top = max(plan.fluid for plan in plans)
        lower.plot(rolled["time"], np.full(len(rolled), top), "x", color=INK, label="rolled back")
    lower.set_xlabel("time (DPD units)")
    lower.set_ylabel("step (DPD units)")
    present = [kind for kind in REGIME_COLORS if kind in kinds]
    handles: list[Any] = [Patch(color=pale(REGIME_COLORS[k], 0.4), label=k) for k in present]
    legend_above(upper, handles=handles, ncols=3, title=title or None, alignment="left")
    lower.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), title="step of", alignment="left")
    return figure


def _shade(ax: Axes, times: np.ndarray, kinds: Sequence[str]) -> None:
    start = 0
    for stop in range(1, len(kinds) + 1):
        if stop == len(kinds) or kinds[stop] != kinds[start]:
            color = pale(REGIME_COLORS[kinds[start]], 0.4)
            ax.axvspan(times[start], times[stop], color=color, linewidth=0, zorder=0)
            start = stop
    ax.set_xlim(times[0], times[-1])


def _steps(ax: Axes, times: np.ndarray, plans: Sequence[StepPlan]) -> None:
    for number, level in enumerate(LEVELS):
        steps = np.array([getattr(plan, level) for plan in plans])
        ax.stairs(
            steps,
            times,
            baseline=None,
            color=LEVEL_COLORS[level],
            linewidth=3.4 - 0.5 * number,
            label=level,
        )
    ax.set_yscale("log")
    ax.grid(axis="y")


def contacts_in_time(
    runs: Mapping[str, Sequence[Drive]], *, title: str = "", ax: Axes | None = None
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
    legend_above(ax, ncols=3, title=title or None, alignment="left")
    return ax


def _ensemble(runs: Sequence[Drive]) -> tuple[np.ndarray, np.ndarray]:
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
    ax.set_ylabel("temperature (kT)")
    ax.set_ylim(0, None)
    legend_above(ax, ncols=2, title=title or None, alignment="left")
    return ax
