import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.batch.grid import Grid
from labkit.errors import ParameterError

BRIEF = """\
notebook: oversampling
parameters: {dataset: [tox21, sider], model: [gcn, gin, hybrid], seed: [0, 1, 2]}
zip: [{lr: [1e-3, 3e-4], epochs: [50, 150]}]
exclude: [{dataset: sider, model: gin}]
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return Grid.from_yaml(path)

    return from_text


def test_a_grid_is_the_product_without_what_is_excluded(read):
    expected = [
        {"dataset": d, "model": m, "seed": s, "lr": lr, "epochs": e}
        for d, m, s, (lr, e) in itertools.product(
            ["tox21", "sider"], ["gcn", "gin", "hybrid"], [0, 1, 2], [(1e-3, 50), (3e-4, 150)]
        )
        if (d, m) != ("sider", "gin")
    ]
    grid = read(BRIEF)
    assert grid.configurations() == expected
    assert len(expected) == 30
    assert grid.upper_bound == 36
    assert grid.notebook == "oversampling"


@pytest.mark.parametrize(
    ("text", "configurations"),
    [
        ("x: [0, 1, 2]", [{"x": 0}, {"x": 1}, {"x": 2}]),
        ("x: [0, 1]\ny: a", [{"x": 0, "y": "a"}, {"x": 1, "y": "a"}]),
        ("x: [1, 1, 2, 1]", [{"x": 1}, {"x": 2}]),
        ("x: [1, true, 1.0]", [{"x": 1}, {"x": True}, {"x": 1.0}]),
        ("x: [[64, 64], [8]]", [{"x": [64, 64]}, {"x": [8]}]),
        ("include: [{x: 1}, {x: 2, y: 3}]", [{"x": 1}, {"x": 2, "y": 3}]),
        ("parameters: {x: [1, 2]}\ninclude: {x: 2}", [{"x": 1}, {"x": 2}]),
        ("parameters: {x: [1, 2, 3]}\nexclude: {x: [1, 3]}", [{"x": 2}]),
        ("parameters: {x: [0, false]}\nexclude: {x: 0}", [{"x": False}]),
        ("parameters: {x: [1]}\nexclude: [{x: 1}]\ninclude: [{x: 1}]", [{"x": 1}]),
    ],
)
def test_a_small_grid_file_means(read, text, configurations):
    made = read(text).configurations()
    assert [list(map(repr, c.items())) for c in made] == [
        list(map(repr, c.items())) for c in configurations
    ]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-3", 0.001),
        ("1e5", 1e5),
        (".5", 0.5),
        ("-3", -3),
        ("012", 12),
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("null", None),
        ("TRUE", True),
        ("'1'", "1"),
        ("-.inf", float("-inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(read, scalar, value):
    (made,) = read(f"x: [{scalar}]").configurations()
    assert made["x"] == value
    assert type(made["x"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "be not empty"),
        ("[1, 2]", "must map parameters to lists"),
        ("x: []", "x has an empty list"),
        ("x: [1]\nx: [2]", "'x' is there twice"),
        ("x: {", "not valid YAML"),
        ("1: [2]", "cannot be a parameter's name"),
        ("bad name: [2]", "cannot be a parameter's name"),
        ("parameter: {x: [1]}\nzip: []", "unknown key 'parameter'. Did you mean 'parameters'?"),
        ("parameters: [1]", "'parameters' must map names"),
        ("zip: [{a: [1, 2], b: [1]}]", "equal length, got a 2, b 1"),
        ("zip: [{}]", "equal length"),
        ("zip: 3", "'zip' must be a list of mappings"),
        ("parameters: {x: [1]}\nzip: [{x: [1, 2]}]", "x is set twice"),
        ("parameters: {x: [1]}\nexclude: {y: 1}", "'exclude' names y"),
    ],
)
def test_a_wrong_grid_file_is_refused_in_one_line(read, text, message):
    with pytest.raises(ParameterError) as error:
        read(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"cannot read .*none.yaml"):
        Grid.from_yaml(tmp_path / "none.yaml")


def test_options_replace_the_files_values_and_add_new_ones(read):
    grid = read("parameters: {x: [1, 2], y: [3]}").with_options({"x": [5], "z": [6, 7]})
    assert grid.configurations() == [{"x": 5, "y": 3, "z": 6}, {"x": 5, "y": 3, "z": 7}]


def test_an_option_that_a_zip_group_sets_is_refused(read):
    with pytest.raises(ParameterError, match="change it there"):
        read(BRIEF).with_options({"lr": [1]})


def test_the_size_of_a_huge_grid_is_known_without_making_it(read):
    axes = {f"p{i}": list(range(100)) for i in range(6)}
    assert Grid.from_options(axes).upper_bound == 10**12


def test_a_grid_written_and_read_again_is_the_same(read):
    grid = read(BRIEF)
    again = read(yaml.safe_dump(grid.to_mapping(), sort_keys=False))
    assert again.configurations() == grid.configurations()
    assert again.digest() == grid.digest()


def test_the_digest_depends_on_configurations_not_on_spelling(read):
    assert read("x: [1, 2]").digest() == read("parameters:\n  x: [1, 1, 2]").digest()
    assert read("x: [1, 2]").digest() != read("x: [2, 1]").digest()


AXES = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=4
)


@given(AXES)
def test_configurations_are_unique_ordered_and_complete(axes):
    made = [tuple(c.items()) for c in Grid.from_options(axes).configurations()]
    product = [tuple(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    assert made == list(dict.fromkeys(product))


def test_an_exclusion_that_matches_nothing_is_refused(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("parameters: {x: [1, 2], y: [a, b]}\nexclude: [{x: 9, y: a}]\n")
    with pytest.raises(ParameterError, match=r"'exclude' entry .*9.* matches no run of the grid"):
        Grid.from_yaml(file)
    file.write_text("zip: [{x: [1, 2], y: [a, b]}]\nexclude: [{x: 1, y: b}]\n")
    with pytest.raises(ParameterError, match="matches no run"):
        Grid.from_yaml(file)
    file.write_text("zip: [{x: [1, 2], y: [a, b]}]\nexclude: [{x: 1, y: a}]\n")
    assert Grid.from_yaml(file).configurations() == [{"x": 2, "y": "b"}]
