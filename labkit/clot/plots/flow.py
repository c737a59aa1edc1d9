"""Figures of the flow: the profile of the plasma, and a platelet that tumbles in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from labkit.clot.plots.colors import GRAY, MEASURED, MODEL
from labkit.clot.plots.marks import legend_above, require_columns
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError
from labkit.viz.style import PALETTE, new_axes


def velocity_profile(
    profile: ArrayLike | Segment,
    curve: ArrayLike | None = None,
    *,
    curve_label: str = "parabola",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Velocity of the plasma across the flow, against its closed form.

    Parameters
    ----------
    profile : array of shape (bins, 4) or Segment
        y [rc], density, velocity along x [rc/time], temperature: as `Segment.profile`.
    curve : array of shape (k, 2), optional
        y and velocity of the closed form, such as the fitted parabola.
    curve_label : str
        What it is.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Velocity to the right, y upwards, as in the box. The root mean square distance from the
        curve stands in the legend, relative to the largest velocity.
    """
    bins = _profile(profile)
    y, velocity = bins[:, 0], bins[:, 2]
    ax = new_axes(ax, width_in=4.6, height_in=3.8)
    ax.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=1)
    label = "simulated"
    if curve is not None:
        line = np.asarray(curve, dtype=float)
        ax.plot(line[:, 1], line[:, 0], color=MODEL, label=curve_label, zorder=2)
        off = velocity - np.interp(y, line[:, 0], line[:, 1])
        share = np.sqrt(np.mean(off**2)) / np.abs(line[:, 1]).max()
        label = f"simulated, {100 * share:.1f} % rms off"
    ax.plot(velocity, y, "o", color=MEASURED, markersize=4, label=label, zorder=3)
    ax.grid(axis="both")
    ax.set_xlabel("velocity along the flow (rc/time)")
    ax.set_ylabel("y (rc)")
    legend_above(ax, ncols=2, title=title or None, alignment="left")
    return ax


def _profile(profile: ArrayLike | Segment) -> np.ndarray:
    bins = profile.profile if isinstance(profile, Segment) else profile
    table = np.empty((0, 0)) if bins is None else np.asarray(bins, dtype=float)
    if table.ndim != 2 or table.shape[1] != 4:
        raise ParameterError(
            f"profile has shape {table.shape}; give the profile of a segment that was run with "
            "bins=, shape (bins, 4)."
        )
    return table


def jeffery_angle(
    measured: pd.DataFrame,
    theory: pd.DataFrame | None = None,
    *,
    theory_label: str = "Jeffery's orbit",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Angle of a platelet's axis in shear, against Jeffery's orbit.

    Parameters
    ----------
    measured : DataFrame
        Columns strain (shear rate times time) and angle [rad], unwrapped; run where there are
        several.
    theory : DataFrame, optional
        Columns strain and angle [rad] of the closed form.
    theory_label : str
        What it is, such as its aspect ratio.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Angle in degrees; a platelet flips where its line crosses a multiple of 180.
    """
    require_columns("measured", measured, ("strain", "angle"))
    ax = new_axes(ax, width_in=6.4, height_in=3.6)
    if theory is not None:
        require_columns("theory", theory, ("strain", "angle"))
        degrees = np.degrees(theory["angle"].to_numpy(dtype=float))
        ax.plot(theory["strain"], degrees, color=GRAY, linewidth=4, label=theory_label)
    runs = measured.groupby("run") if "run" in measured else [("simulated", measured)]
    for number, (name, rows) in enumerate(runs):
        color = PALETTE[number % len(PALETTE)]
        degrees = np.degrees(rows["angle"].to_numpy(dtype=float))
        ax.plot(rows["strain"], degrees, color=color, linewidth=1.4, label=str(name))
    low, high = ax.get_ylim()
    ax.set_yticks(np.arange(90 * np.floor(low / 90), high + 1, 90))
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}°".replace("-", "−"))
    ax.set_xlabel("strain, shear rate × time")
    ax.set_ylabel("angle of the short axis")
    ax.margins(x=0.02)
    legend_above(ax, ncols=3, title=title or None, alignment="left")
    return ax
