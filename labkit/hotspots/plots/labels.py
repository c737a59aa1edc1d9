"""Texts beside points, placed so that they cover neither one another nor a point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

PLACES = (
    (5, 3),
    (-5, 3),
    (5, -3),
    (-5, -3),
    (0, 7),
    (0, -7),
    (14, 10),
    (-14, 10),
    (14, -10),
    (-14, -10),
    (22, 0),
    (-22, 0),
    (0, 18),
    (0, -18),
)
"""Offsets in points that are tried in turn."""


def name_points(
    ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], chosen: Sequence[int]
) -> None:
    """Write the names of some points beside them; one for which there is no room is left out.

    Parameters
    ----------
    ax : Axes
        Where the points are drawn already, with its final limits.
    x, y : ndarray of shape (n_points,)
        All points, in data coordinates: none is written over.
    names : sequence of str
        One a point.
    chosen : sequence of int
        Points to name, the most important first.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    finite = np.isfinite(x) & np.isfinite(y)
    pixels = ax.transData.transform(np.column_stack([x[finite], y[finite]]))
    taken: list[Bbox] = []
    for point in chosen:
        if finite[point]:
            _place(ax, (float(x[point]), float(y[point])), names[point], pixels, taken)


def _place(
    ax: Axes, at: tuple[float, float], name: str, pixels: np.ndarray, taken: list[Bbox]
) -> None:
    inside = ax.get_window_extent()
    for dx, dy in PLACES:
        text = _annotate(ax, at, name, dx, dy)
        box = text.get_window_extent()
        free = not any(box.overlaps(other) for other in taken)
        covered = box.count_contains(pixels.tolist()) if len(pixels) else 0
        if free and not covered and inside.contains(box.x0, box.y0) and inside.x1 > box.x1:
            taken.append(box)
            return
        text.remove()


def _annotate(ax: Axes, at: tuple[float, float], name: str, dx: int, dy: int) -> Annotation:
    far = max(abs(dx), abs(dy)) > 8
    return ax.annotate(
        name,
        at,
        (dx, dy),
        textcoords="offset points",
        fontsize=8,
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6} if far else None,
    )
