"""One control for each parameter: what it shows, and the value that it holds.

The type of a parameter decides its control. A parameter that may be None has an entry *None* in
its list, or takes an empty text for None.
"""

from __future__ import annotations

import json
import math
from typing import Any

import ipywidgets as widgets

from labkit.batch.parameters import Parameter
from labkit.batch.values import ValueType
from labkit.errors import ParameterError

CONTROL_WIDTH = "240px"
UNSET = object()
"""Value of a control that leaves a parameter to the notebook's own expression."""

_NONE = object()
"""Stands for None in a list, where ipywidgets takes None for no choice at all."""


class Control:
    """The widget of one parameter.

    Parameters
    ----------
    parameter : Parameter
        As read from the notebook.
    bounds : (low, high), optional
        Turns the control of a number into a slider.

    Attributes
    ----------
    widget : Widget
        What the form shows.
    """

    def __init__(self, parameter: Parameter, bounds: tuple[float, float] | None = None) -> None:
        self.parameter = parameter
        self.optional, self.kind = _without_none(parameter.type)
        self.widget = self._make(bounds)
        self.widget.layout.width = CONTROL_WIDTH
        self.widget.tooltip = parameter.help
        self.widget.add_class(f"labkit-parameter-{parameter.name}")
        self.show(parameter.default)

    @property
    def value(self) -> Any:
        """Value that the control holds.

        Raises
        ------
        ParameterError
            Its text is not of the parameter's type.
        """
        shown = self.widget.value
        if isinstance(self.widget, widgets.SelectMultiple):
            return None if self.optional and not shown else list(shown)
        if not isinstance(self.widget, widgets.Text):
            return None if shown is _NONE else shown
        if not shown.strip() and self.parameter.computed:
            return UNSET
        if not shown.strip() and self.optional:
            return None
        try:
            return self.parameter.type.parse(shown)
        except ValueError as exc:
            raise ParameterError(f"{self.parameter.name} {exc}") from exc

    def text(self) -> str:
        """What the control holds, as Python writes it."""
        try:
            value = self.value
        except ParameterError:
            value = self.widget.value
        return "(computed)" if value is UNSET else repr(value)

    def show(self, value: Any) -> None:
        """Put a value into the control; one that does not fit its list is left out."""
        if isinstance(self.widget, widgets.SelectMultiple):
            allowed = [choice for _, choice in self.widget.options]
            self.widget.value = [item for item in value or () if item in allowed]
        elif isinstance(self.widget, widgets.Text):
            self.widget.value = "" if value is None else as_text(value)
        elif isinstance(self.widget, widgets.Dropdown):
            self.widget.value = _NONE if value is None else value
        else:
            self.widget.value = value

    def _make(self, bounds: tuple[float, float] | None) -> Any:
        numeric = self.kind.name in ("int", "float") and not self.optional
        if self.parameter.computed:
            return widgets.Text(placeholder="as the notebook computes it")
        if self.kind.name in ("choice", "bool") and (self.optional or self.kind.name == "choice"):
            return widgets.Dropdown(options=_entries(self.kind, self.optional))
        if self.kind.name == "bool":
            return widgets.Checkbox(indent=False)
        if numeric and bounds is not None:
            return _slider(self.kind.name, bounds)
        if numeric:
            return widgets.IntText() if self.kind.name == "int" else widgets.FloatText(step=None)
        if self.kind.name == "list" and self.kind.arguments[:1]:
            item = self.kind.arguments[0]
            if item.name == "choice":
                return widgets.SelectMultiple(options=_entries(item, False), rows=_rows(item))
        return widgets.Text(placeholder="None" if self.optional else "", continuous_update=False)


def as_text(value: Any) -> str:
    """Return a value as command-line text, so that its type's ``parse`` reads it back.

    Examples
    --------
    >>> as_text([1, 2]), as_text(["a", "b"]), as_text(None), as_text(True), as_text(["a,b"])
    ('1,2', 'a,b', 'none', 'true', "'a,b'")
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and value and all(not _nested(item) for item in value):
        return ",".join(_item(item) for item in value)
    if isinstance(value, list | dict):
        return json.dumps(value)
    return str(value)


def _item(value: Any) -> str:
    text = as_text(value)
    return repr(text) if isinstance(value, str) and ("," in text or text != text.strip()) else text


def _nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def _without_none(kind: ValueType) -> tuple[bool, ValueType]:
    """Whether a type includes None, and the type without it."""
    if kind.name != "union":
        optional = kind.name in ("any", "none") or None in kind.choices
        return optional, kind
    rest = tuple(member for member in kind.arguments if member.name != "none")
    optional = len(rest) < len(kind.arguments)
    return optional, rest[0] if len(rest) == 1 else ValueType("union", rest)


def _entries(kind: ValueType, optional: bool) -> list[tuple[str, Any]]:
    choices = kind.choices if kind.name == "choice" else (True, False)
    some = [(str(choice), choice) for choice in choices if choice is not None]
    return [("None", _NONE), *some] if optional or None in choices else some


def _rows(kind: ValueType) -> int:
    return min(len(kind.choices), 5)


def _slider(name: str, bounds: tuple[float, float]) -> Any:
    low, high = bounds
    if name == "int":
        return widgets.IntSlider(min=int(low), max=int(high), continuous_update=False)
    step = 10.0 ** math.floor(math.log10((high - low) / 20))
    return widgets.FloatSlider(
        min=low, max=high, step=step, continuous_update=False, readout_format=".5g"
    )
