"""Controls of one look, and the line that says what they lead to."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets

GOOD, BAD = "#00805c", "#c04f00"
"""Colors of a verdict that read on white and on black."""
NAME_WIDTH = "92px"
CONTROL_WIDTH = "274px"


def verdict(said: str, words: str, *, good: bool) -> str:
    """Return a verdict and its reason as HTML.

    Examples
    --------
    >>> verdict("fits", "2 < 3", good=True)
    '<b style="color:#00805c">fits</b>: 2 &lt; 3'
    """
    color = GOOD if good else BAD
    return f'<b style="color:{color}">{html.escape(said)}</b>: {html.escape(words)}'


def slider(name: str, value: int, options: Iterable[int]) -> widgets.SelectionSlider:
    """Return a slider over some numbers, its start among them."""
    numbers = sorted({value, *options})
    return _styled(widgets.SelectionSlider(value=value, options=numbers, description=name))


def whole(name: str, value: int, high: int) -> widgets.IntSlider:
    """Return a slider over the whole numbers from 1."""
    return _styled(widgets.IntSlider(value=value, min=1, max=high, description=name))


def ratio(name: str, value: float, low: float, high: float) -> widgets.FloatSlider:
    """Return a slider over a range, in steps of 0.05."""
    control = widgets.FloatSlider(
        value=value, min=low, max=high, step=0.05, description=name, readout_format=".2f"
    )
    return _styled(control)


def dropdown(name: str, value: object, options: Iterable[Any]) -> widgets.Dropdown:
    """Return a choice of values, or of pairs of a name and a value."""
    return _styled(widgets.Dropdown(value=value, options=list(options), description=name))


def checkbox(name: str, value: bool) -> widgets.Checkbox:
    """Return a box to tick."""
    box = widgets.Checkbox(value=value, description=name, indent=False)
    box.layout.width, box.layout.margin = "150px", "2px 0 2px 12px"
    return box


def _styled(control: Any) -> Any:
    control.style.description_width = NAME_WIDTH
    control.layout.width = CONTROL_WIDTH
    return control
