"""Figures of the flow: the profile of the plasma, and a platelet that tumbles in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from labkit.clot.analysis.jeffery import Tumbling
from labkit.clot.analysis.profiles import PoiseuilleFit
from labkit.clot.plots.colors import GRAY, MEASURED, MODEL
from labkit.clot.plots.marks import legend_below
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError
from labkit.viz.style import PALETTE, new_axes


def velocity_profile(
    profiles: ArrayLike | Segment | Sequence[Segment],
    fit: PoiseuilleFit | ArrayLike | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Velocity of the plasma across the flow, against the parabola of a Newtonian fluid.

    Parameters
    ----------
    profiles : array of shape (bins, 4) or (k, bins, 4), Segment or sequence of Segment
        y [rc], density, velocity along x [rc/time], temperature, as `Segment.profile`; several are
        averaged.
    fit : PoiseuilleFit or array of shape (k, 2), optional
        Of `labkit.clot.analysis.profiles.poiseuille_viscosity`; or y and velocity of another closed
        form.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Velocity to the right, y upwards, as in the box.
    """
    bins = _mean_profile(profiles)
    ax = new_axes(ax, width_in=4.8, height_in=4.2)
    ax.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=1)
    if fit is not None:
        curve = np.asarray(getattr(fit, "curve", fit), dtype=float)
        ax.plot(curve[:, 1], curve[:, 0], color=MODEL, label=_fit_words(fit), zorder=2)
    ax.plot(bins[:, 2], bins[:, 0], "o", color=MEASURED, markersize=4, label="simulated", zorder=3)
    ax.grid(axis="both")
    ax.set_xlabel("velocity along the flow (rc/time)")
    ax.set_ylabel("y (rc)")
    ax.set_title(title)
    legend_below(ax)
    return ax


def _mean_profile(profiles: Any) -> NDArray[np.float64]:
    given = [profiles] if isinstance(profiles, Segment) else profiles
    rows = [one.profile if isinstance(one, Segment) else one for one in given]
    table = np.empty(0) if any(row is None for row in rows) else np.asarray(rows, dtype=float)
    table = table.mean(axis=0) if table.ndim == 3 else table
    if table.ndim != 2 or table.shape[1] != 4:
        raise ParameterError(
            f"profiles has the shape {table.shape}; give profiles of segments that were run with "
            "bins=, shape (bins, 4)."
        )
    return table


def _fit_words(fit: PoiseuilleFit | ArrayLike) -> str:
    if not isinstance(fit, PoiseuilleFit):
        return "closed form"
    eta = fit.viscosity
    half = (eta.high - eta.low) / 2
    return f"parabola: viscosity {eta.estimate:.2f} ± {half:.2f}, {100 * fit.rms:.1f} % rms off"


def tumbling_figure(
    tumblings: Tumbling | Sequence[Tumbling] | Mapping[str, Tumbling],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Angle of a platelet's short axis in shear, against Jeffery's orbit.

    Parameters
    ----------
    tumblings : Tumbling, sequence or mapping of str to Tumbling
        Of `labkit.clot.analysis.jeffery.compare_with_jeffery`; named ones have colors of their own.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Angle in degrees; a platelet lies flat in the flow at 0 and 180, and flips through 90. The
        thick line is Jeffery's orbit from the same start as the first run. One run under several
        names, compared with Jeffery's orbit of several aspect ratios, is drawn once.
    """
    named = tumblings if isinstance(tumblings, Mapping) else _named(tumblings)
    if not named:
        raise ParameterError("tumblings is empty; give at least one of compare_with_jeffery.")
    ax = new_axes(ax, width_in=6.4, height_in=3.8)
    if len(named) > 1 and isinstance(tumblings, Mapping) and _one_run(list(named.values())):
        _orbits(ax, named)
    else:
        _runs(ax, named, colored=isinstance(tumblings, Mapping))
    low, high = ax.get_ylim()
    ax.set_yticks(np.arange(90 * np.ceil(low / 90), high + 1, 90))
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter(lambda value, _: f"{round(value)}°".replace("-", "−"))
    ax.axhline(90, color=GRAY, linewidth=1, linestyle=":")
    ax.set_xlabel("strain (shear rate × time)")
    ax.set_ylabel("angle of the short axis")
    ax.margins(x=0.02)
    ax.set_title(title)
    legend_below(ax, ncols=4)
    return ax


def _one_run(several: Sequence[Tumbling]) -> bool:
    first = several[0].orbit["angle"]
    return all(one.orbit["angle"].equals(first) for one in several)


def _orbits(ax: Axes, named: Mapping[str, Tumbling]) -> None:
    """One run, and an orbit for each name."""
    for number, (name, one) in enumerate(named.items()):
        degrees = np.degrees(one.orbit["jeffery"].to_numpy(dtype=float))
        color = PALETTE[number % len(PALETTE)]
        ax.plot(one.orbit["strain"], degrees, color=color, linewidth=3.5, alpha=0.7, label=name)
    orbit = next(iter(named.values())).orbit
    degrees = np.degrees(orbit["angle"].to_numpy(dtype=float))
    ax.plot(orbit["strain"], degrees, ".", color=MEASURED, markersize=7, label="simulated")


def _runs(ax: Axes, named: Mapping[str, Tumbling], *, colored: bool) -> None:
    """Several runs, and the orbit of the first."""
    first = next(iter(named.values())).orbit
    degrees = np.degrees(first["jeffery"].to_numpy(dtype=float))
    ax.plot(first["strain"], degrees, color="#b8b8b8", linewidth=5, label="Jeffery's orbit")
    for number, (name, one) in enumerate(named.items()):
        color = PALETTE[number % len(PALETTE)] if colored else MODEL
        degrees = np.degrees(one.orbit["angle"].to_numpy(dtype=float))
        ax.plot(one.orbit["strain"], degrees, color=color, linewidth=1.5, label=name)


def _named(tumblings: Tumbling | Sequence[Tumbling]) -> dict[str, Tumbling]:
    """Runs of one kind: the first has the label of all."""
    several = [tumblings] if isinstance(tumblings, Tumbling) else list(tumblings)
    label = "simulated" if len(several) == 1 else f"simulated, {len(several)} runs"
    return {label if not n else f"_{n}": one for n, one in enumerate(several)}
