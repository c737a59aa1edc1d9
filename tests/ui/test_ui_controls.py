"""The control of each kind of parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.batch.parameters import parse_cell, read_parameters
from labkit.batch.values import annotation_type
from labkit.errors import ParameterError
from labkit.ui.controls import UNSET, Control, as_text

KINDS = {
    "preset": widgets.Dropdown,
    "n": widgets.IntText,
    "lr": widgets.FloatText,
    "on": widgets.Checkbox,
    "name": widgets.Text,
    "limit": widgets.Text,
    "model": widgets.Dropdown,
    "maybe": widgets.Dropdown,
    "sizes": widgets.Text,
    "parts": widgets.SelectMultiple,
    "words": widgets.Text,
    "csv": widgets.Text,
    "options": widgets.Text,
    "stamp": widgets.Text,
}


def test_every_kind_gets_its_control_and_holds_its_default(notebook: Path) -> None:
    parameters = read_parameters(notebook)
    assert list(parameters) == list(KINDS)
    for name, parameter in parameters.items():
        control = Control(parameter)
        assert type(control.widget) is KINDS[name], name
        expected = UNSET if parameter.computed else parameter.default
        assert control.value == expected, name
        assert control.widget.tooltip == parameter.help


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("x: int | None = 3", None),
        ("x: int | None = None", 7),
        ('x: Literal["a", "b"] | None = "a"', None),
        ('x: Literal["a", "b"] | None = None', "b"),
        ('x: Literal["a", None] = "a"', None),
        ("x: Literal[1, 2] = 1", 2),
        ("x: bool | None = None", False),
        ("x: bool = True", False),
        ("x: list[int] = []", [1, 2]),
        ("x: list[int] = [1]", []),
        ("x: list[float] | None = None", [0.5]),
        ('x: list[str] = ["a"]', ["b,c", " d ", "e"]),
        ('x: list[Literal["a", "b"]] = ["a"]', ["b"]),
        ('x: list[Literal["a", "b"]] | None = None', ["a", "b"]),
        ('x: list[Literal["a", "b"]] | None = ["a"]', None),
        ("x: dict = {}", {"a": [1, 2]}),
        ("x: list[list[int]] = [[1]]", [[1, 2], [3]]),
        ('x: str = "a"', "none"),
        ("x = 1.5", 2.5),
        ("x: tuple[int, int] = (1, 2)", [3, 4]),
    ],
)
def test_shown_values_come_back_unchanged(cell: str, value: Any) -> None:
    control = Control(parse_cell(cell)["x"])
    control.show(value)
    assert control.value == value
    assert type(control.value) is type(value)


@given(
    st.one_of(
        st.tuples(st.just("list[int]"), st.lists(st.integers(), min_size=1)),
        st.tuples(st.just("list[float]"), st.lists(st.floats(allow_nan=False), min_size=1)),
        st.tuples(st.just("float"), st.floats(allow_nan=False)),
        st.tuples(st.just("list[bool]"), st.lists(st.booleans(), min_size=1)),
    )
)
def test_command_line_text_of_a_value_parses_to_that_value(case: tuple[str, Any]) -> None:
    annotation, value = case
    assert annotation_type(annotation).parse(as_text(value)) == value


def test_none_is_an_entry_of_a_list_and_an_empty_text() -> None:
    choice = Control(parse_cell('x: Literal["a"] | None = None')["x"])
    assert [label for label, _ in choice.widget.options] == ["None", "a"]
    assert choice.widget.label == "None"
    text = Control(parse_cell("x: int | None = 4")["x"])
    text.widget.value = "  "
    assert text.value is None
    assert text.widget.placeholder == "None"


def test_text_of_a_wrong_type_is_refused_by_name() -> None:
    control = Control(parse_cell("sizes: list[int] = [1]")["sizes"])
    control.widget.value = "1,x"
    with pytest.raises(ParameterError, match=r"sizes must be a list of int, got '1,x'"):
        _ = control.value
    assert control.text() == "'1,x'"


def test_computed_parameter_is_left_alone_until_something_is_typed() -> None:
    control = Control(parse_cell("x = len('abc')")["x"])
    assert control.value is UNSET
    assert control.text() == "(computed)"
    control.widget.value = "5"
    assert control.value == 5


def test_bounds_make_a_slider() -> None:
    parameters = parse_cell("x: float = 0.25\nk: int = 5")
    x, k = Control(parameters["x"], (0.0, 1.0)), Control(parameters["k"], (1, 9))
    assert (type(x.widget), x.value) == (widgets.FloatSlider, 0.25)
    assert (type(k.widget), k.value) == (widgets.IntSlider, 5)
    assert x.widget.step == pytest.approx(0.01)
