"""Figure of platelets in their box at several times, for print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.plots.marks import panels
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.clot.view import BOX_GRAY, Picture, film, outlines, polygons, projected
from labkit.viz.style import axis_label


def platelets_figure(
    snapshots: Snapshot | Sequence[Snapshot],
    suspension: Suspension,
    *,
    color_by: str = "platelet",
    forcefield: ForceField | None = None,
    flow: Flow | None = None,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Draw platelets in their box, one panel a snapshot.

    Parameters
    ----------
    snapshots : Snapshot or sequence of Snapshot
    suspension : Suspension
    color_by : {"platelet", "stretch", "contacts", "stress"}
        As in `labkit.clot.view.show_platelets`.
    forcefield : ForceField, optional
    flow : Flow, optional
    columns : int
        Panels in a row.
    title : str, optional

    Returns
    -------
    Figure
        The view of `labkit.clot.view.show_platelets` before it is turned: flow to the right, its
        gradient upwards.
    """
    pictures = film(snapshots, suspension, color_by=color_by, forcefield=forcefield, flow=flow)
    n_columns = min(columns, len(pictures))
    n_rows = -(-len(pictures) // n_columns)
    figure, axes = panels(
        n_rows, n_columns, width_in=2.2 * n_columns + 0.3, height_in=2.2 * n_rows + 0.7,
        squeeze=False,
    )  # fmt: skip
    for ax in axes.flat:
        ax.set_axis_off()
    limits = _limits(pictures)
    for ax, picture in zip(axes.flat, pictures, strict=False):
        _draw(ax, picture)
        ax.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    scale = pictures[0].scale
    if scale is not None:
        colors = ScalarMappable(Normalize(scale.low, scale.high), scale.colormap())
        label = axis_label(scale.label, scale.unit)
        figure.colorbar(colors, ax=axes, location="bottom", shrink=0.5, aspect=30, label=label)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _draw(ax: Axes, picture: Picture) -> None:
    edges = projected(outlines(picture.box, picture.tilt), picture)[:, :, :2]
    corners, colors = polygons(picture)
    ax.add_collection(LineCollection(list(edges), colors=BOX_GRAY, linewidths=0.7))
    ax.add_collection(
        PolyCollection(list(corners), facecolors=colors, edgecolors=colors, linewidths=0.3)
    )
    ax.set_title(f"time {picture.time:.4g}", fontsize=9.5, fontweight="normal", loc="center")


def _limits(pictures: Sequence[Picture]) -> list[tuple[float, float]]:
    """Common limits of all panels along x and y [rc]."""
    shown = [projected(outlines(p.box, p.tilt), p)[:, :, :2].reshape(-1, 2) for p in pictures]
    shown += [polygons(p)[0].reshape(-1, 2) for p in pictures]
    every = np.concatenate(shown)
    low, high = every.min(axis=0), every.max(axis=0)
    edge = 0.02 * float((high - low).max())
    return [(float(a) - edge, float(b) + edge) for a, b in zip(low, high, strict=True)]
