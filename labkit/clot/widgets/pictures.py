"""Sliders of one look, and figures as pictures of a widget."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import ipywidgets as widgets
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SCREEN_DPI = 88
NAME_WIDTH = "120px"
CONTROL_WIDTH = "330px"


def slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """Return a slider over a range that holds its value."""
    return widgets.FloatSlider(
        value=value,
        min=min(low, value),
        max=high,
        step=step,
        description=name,
        continuous_update=False,
        style={"description_width": NAME_WIDTH},
        layout={"width": CONTROL_WIDTH},
    )


def show(image: widgets.Image, drawn: Axes | Figure) -> None:
    """Show a figure at its size, and close it so that it does not show twice."""
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=1.25 * SCREEN_DPI, bbox_inches=None)
    image.layout.width = f"{round(figure.get_figwidth() * SCREEN_DPI)}px"
    image.value = buffer.getvalue()
    image.layout.display = None
    plt.close(figure)


def hide(image: widgets.Image) -> None:
    """Take a figure away; browsers draw an image without data as a broken one."""
    image.value, image.layout.display = b"", "none"


def picture(css: str) -> widgets.Image:
    """Return a place for a figure."""
    image = widgets.Image(format="png")
    image.layout.max_width, image.layout.align_self = "100%", "flex-start"
    hide(image)
    return image.add_class(css)
