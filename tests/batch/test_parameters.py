import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.batch.parameters import check, parse, parse_cell, read_parameters
from labkit.batch.values import annotation_type
from labkit.errors import ParameterError

CELL = """\
from pathlib import Path
%matplotlib inline
preset: Literal["quick", "full"] = "quick"  # how much

# where the molecules are
csv: Path | None = None
data: Path = Path("data")
lr = 1e-3  # step size
s = "a#b"  # hash
n: int | None = None
sizes: tuple[int, ...] = (64, 64)  # hidden layers
pair: tuple[int, str] = (1, "a")
weights: dict[str, float] = {"a": 1}
samplers: list[str] = [  # resampling
    "none",
    "mlros",  # clones
]
level: Optional[Literal[1, 2]] = None
flag = True
width = 1024 * 4
workers = os.cpu_count()
"""


@pytest.fixture(scope="module")
def cell():
    return parse_cell(CELL)


def notebook(source, tags=("parameters",)):
    cell = {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}


@pytest.mark.parametrize(
    ("name", "type_text", "default", "help_text"),
    [
        ("preset", "one of 'quick', 'full'", "quick", "how much"),
        ("csv", "path or None", None, "where the molecules are"),
        ("data", "path", "data", ""),
        ("lr", "float", 0.001, "step size"),
        ("s", "str", "a#b", "hash"),
        ("n", "int or None", None, ""),
        ("sizes", "tuple of int", [64, 64], "hidden layers"),
        ("pair", "tuple of int, str", [1, "a"], ""),
        ("weights", "dict of str to float", {"a": 1.0}, ""),
        ("samplers", "list of str", ["none", "mlros"], "resampling"),
        ("level", "one of 1, 2 or None", None, ""),
        ("flag", "bool", True, ""),
        ("width", "int", 4096, ""),
    ],
)
def test_a_parameter_has_the_type_default_and_help_of_its_line(
    cell, name, type_text, default, help_text
):
    parameter = cell[name]
    assert (str(parameter.type), parameter.default, parameter.help) == (
        type_text,
        default,
        help_text,
    )


def test_choices_are_listed_also_inside_optional(cell):
    assert cell["preset"].choices == ("quick", "full")
    assert cell["level"].choices == (1, 2)


def test_a_default_that_only_the_kernel_can_compute_is_left_to_the_kernel(cell):
    assert cell["workers"].computed
    assert "workers" not in check(cell, {})
    assert check(cell, {"workers": 3})["workers"] == 3


def test_a_heading_separated_by_a_blank_line_is_not_help():
    assert parse_cell("# settings\n\nx = 1")["x"].help == ""


def test_comment_lines_above_come_before_the_trailing_comment():
    assert parse_cell("# one\n# two\nx = 1  # three")["x"].help == "one two three"


def test_a_hash_inside_a_multiline_string_is_not_a_comment():
    parameter = parse_cell('text = """a\n# b\nc"""')["text"]
    assert (parameter.default, parameter.help) == ("a\n# b\nc", "")


def test_chained_and_unpacked_assignments_are_parameters_too():
    found = parse_cell("a = b = 3\nx, y = 1, 'z'")
    assert {name: parameter.default for name, parameter in found.items()} == {
        "a": 3,
        "b": 3,
        "x": 1,
        "y": "z",
    }


def test_only_the_tagged_cell_is_read():
    content = notebook("x = 1", tags=())
    assert read_parameters(content) == {}
    content["cells"] += notebook("y = 2")["cells"] + notebook("z = 3")["cells"]
    assert list(read_parameters(content)) == ["y"]


def test_source_may_be_a_list_of_lines(tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(notebook(["x = 1\n", "y = 2"])))
    assert list(read_parameters(path)) == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sizes", "64,64", [64, 64]),
        ("sizes", "[64, 64]", [64, 64]),
        ("sizes", "(64, 64)", [64, 64]),
        ("sizes", "7", [7]),
        ("sizes", "", []),
        ("pair", "3,x", [3, "x"]),
        ("samplers", "['a,b', c]", ["a,b", "c"]),
        ("lr", "1", 1.0),
        ("lr", "-2.5e-3", -0.0025),
        ("n", "none", None),
        ("n", "-4", -4),
        ("flag", "yes", True),
        ("flag", "False", False),
        ("s", "[1, 2]", "[1, 2]"),
        ("s", "", ""),
        ("preset", "full", "full"),
        ("level", "2", 2),
        ("weights", '{"a": 2}', {"a": 2.0}),
        ("weights", "{a: 2, b: 0.5}", {"a": 2.0, "b": 0.5}),
        ("csv", "my data.csv", "my data.csv"),
    ],
)
def test_text_is_read_by_the_parameters_type(cell, name, text, value):
    parsed = parse(cell, name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lr", "fast", "lr must be a float, got 'fast'"),
        ("n", "3.5", "n must be an int or None, got '3.5'"),
        ("flag", "2", "flag must be a bool, got '2'"),
        ("preset", "fast", "preset must be one of 'quick', 'full', got 'fast'"),
        ("sizes", "64,x", "sizes must be a tuple of int, got '64,x'"),
        ("pair", "3", "pair must have 2 items, got 1"),
        ("weights", "x", "weights must be a dict of str to float, got 'x'"),
        ("sead", "3", "no parameter 'sead'"),
    ],
)
def test_text_of_the_wrong_type_is_refused_with_what_is_allowed(cell, name, text, message):
    with pytest.raises(ParameterError) as error:
        parse(cell, name, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"flag": 1}, "flag must be a bool, got 1"),
        ({"width": True}, "width must be an int, got True"),
        ({"lr": True}, "lr must be a float, got True"),
        ({"width": 3.0}, "width must be an int, got 3.0"),
        ({"level": True}, "level must be one of 1, 2 or None, got True"),
        ({"sizes": [1, 2.5]}, "sizes must be a tuple of int, got [1, 2.5]"),
        ({"weights": {1: 2.0}}, "weights must have text keys"),
        ({"workers": {1, 2}}, "workers must be a number, text, bool, None, list or dict"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(cell, overrides, message):
    with pytest.raises(ParameterError) as error:
        check(cell, overrides)
    assert message in str(error.value)


def test_an_int_is_accepted_for_a_float_and_becomes_one(cell):
    value = check(cell, {"lr": 1})["lr"]
    assert (value, type(value)) == (1.0, float)


def test_numpy_values_and_tuples_become_plain_values(cell):
    effective = check(cell, {"width": np.int64(3), "sizes": np.array([1, 2]), "pair": (1, "b")})
    assert json.dumps([effective["width"], effective["sizes"], effective["pair"]]) == (
        '[3, [1, 2], [1, "b"]]'
    )


def test_a_misspelled_name_is_answered_with_the_nearest_known_one():
    cell = parse_cell("seed = 0\nepochs = 5")
    with pytest.raises(ParameterError) as error:
        check(cell, {"sead": 1}, notebook="oversampling")
    assert str(error.value) == (
        "oversampling has no parameter 'sead'. Did you mean 'seed'? Known: seed, epochs"
    )


def test_a_notebook_without_parameters_says_how_to_add_them():
    with pytest.raises(ParameterError, match="Tag the cell that defines them with 'parameters'"):
        check({}, {"x": 1})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x: int = 'a'", "x: int must be an int, got 'a'"),
        ("x: Literal['a'] = 'b'", "must be one of 'a', got 'b'"),
        ("x = (", "not valid Python: line 1"),
    ],
)
def test_a_broken_parameters_cell_is_named(source, message):
    with pytest.raises(ParameterError) as error:
        parse_cell(source)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ("[]", "no cells"), ('{"cells": 3}', "no cells"), ("\x00", "not JSON")],
)
def test_a_file_that_is_no_notebook_is_refused(tmp_path, content, message):
    path = tmp_path / "n.ipynb"
    path.write_text(content)
    with pytest.raises(ParameterError, match=message):
        read_parameters(path)


JSON_VALUES = st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(max_size=8),
    st.lists(st.integers(0, 99), max_size=4),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


@given(JSON_VALUES)
def test_every_literal_default_is_accepted_by_its_own_inferred_type(value):
    parameter = parse_cell(f"x = {value!r}" if value != math.inf else "x = 1.0")["x"]
    if not parameter.computed:
        assert check({"x": parameter}, {"x": parameter.default})["x"] == parameter.default


@given(st.lists(st.integers(), max_size=5))
def test_a_list_of_numbers_survives_its_text(numbers):
    kind = annotation_type("list[int]")
    assert kind.parse(json.dumps(numbers)) == numbers
    assert kind.parse(",".join(map(str, numbers))) == numbers


@given(st.floats(allow_nan=False))
def test_a_float_survives_its_text(number):
    assert annotation_type("float").parse(repr(number)) == number
