"""The notebook contract of CONTRIBUTING.md, for every notebook; nothing is executed here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.batch.grid import Grid
from labkit.batch.notebooks import list_studies
from labkit.batch.parameters import check, read_parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GRIDS = sorted((ROOT / "notebooks" / "grids").glob("*.y*ml"))

FIRST_CELL = ("**The question.**", "**What you will learn**", "**The paper.**")
LAST_SECTIONS = ["What to try", "Limits", "References"]
METADATA = {"title", "summary", "quick_seconds", "quick_mib", "full_time"}
TAGS = {"parameters", "hide-input"}
LONGEST_CELL, LONGEST_FUNCTION, LONGEST_NOTEBOOK = 12, 5, 150
QUICK_SECONDS, QUICK_MIB = 60, 900


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture
def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def body(code: list[Any]) -> list[tuple[int, ast.Module, str]]:
    """Code cells but for the parameters: number, parsed source, source."""
    cells = [cell for cell in code if not is_tagged(cell, "parameters")]
    return [(number, ast.parse(cell.source), cell.source) for number, cell in enumerate(cells, 1)]


def is_tagged(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def text_of(notebook: Any) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def headings(notebook: Any) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text_of(notebook), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^## (?:\d+\. )?(.+)$", prose, flags=re.MULTILINE)


def lines_of(source: str) -> int:
    """Lines of code: neither blank nor comment."""
    stripped = (line.strip() for line in source.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in stripped)


def test_there_are_notebooks():
    assert {"start_here", "oversampling"} <= {notebook.stem for notebook in NOTEBOOKS}


def test_first_cell_says_what_why_from_whom_and_at_what_cost(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S.*\n", first.source)
    assert [part for part in FIRST_CELL if part not in first.source] == []
    question = first.source.partition("**The question.**")[2].partition("**What you will learn**")
    assert "?" in question[0]
    cost = first.source.partition("**Time and memory.**")[2]
    assert "`quick`" in cost
    assert "`full`" in cost
    about = notebook.metadata.labkit
    assert re.search(rf"\b{about.quick_seconds} s", cost)
    assert re.search(rf"\b{about.quick_mib} MiB", cost)


def test_metadata_describe_the_study(notebook, path):
    about = notebook.metadata.labkit
    assert set(about) >= METADATA
    assert notebook.cells[0].source.startswith(f"# {about.title}\n")
    assert about.summary.endswith(".")
    assert path.stem in {study.name for study in list_studies()}


def test_quick_preset_is_stated_to_fit_binder(notebook):
    about = notebook.metadata.labkit
    assert 0 < about.quick_seconds < QUICK_SECONDS
    assert 0 < about.quick_mib < QUICK_MIB


def test_parameters_are_the_first_code_and_there_is_one_such_cell(code):
    tagged = [number for number, cell in enumerate(code) if is_tagged(cell, "parameters")]
    assert tagged == [0]


def test_parameters_are_annotated_literals_with_a_comment_each(code, path):
    for statement in ast.parse(code[0].source).body:
        if isinstance(statement, ast.ImportFrom):
            assert statement.module == "typing"
            continue
        assert isinstance(statement, ast.AnnAssign), ast.unparse(statement)
        assert statement.simple
        ast.literal_eval(statement.value)
    for parameter in read_parameters(path).values():
        assert parameter.help, f"{parameter.name} has no comment"
        assert not parameter.computed


def test_preset_comes_first_and_is_quick(path):
    first, *_ = read_parameters(path).values()
    assert first.name == "preset"
    assert first.default == "quick"
    assert set(first.choices) >= {"quick", "full"}


def test_defaults_are_values_that_the_command_line_would_accept(path):
    known = read_parameters(path)
    assert check(known, {}) == {name: parameter.default for name, parameter in known.items()}


def test_story_ends_with_what_to_try_limits_and_references(notebook):
    found = headings(notebook)
    assert found[0] == "Parameters"
    assert found[-3:] == LAST_SECTIONS
    numbers = re.findall(r"^## (\d+)\. ", text_of(notebook), flags=re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))


def test_every_figure_is_followed_by_what_to_see_in_it(notebook):
    waiting = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            waiting |= "plots." in cell.source
        elif waiting:
            assert "**What to see.**" in cell.source, cell.source[:80]
            waiting = False
    assert not waiting


def test_something_can_be_explored(body):
    calls = re.compile(r"\bwidgets\.\w+\(|\bui\.\w+\(")
    assert [source for _, _, source in body if calls.search(source)]


def test_code_cells_are_short_and_there_are_not_many(body):
    lengths = {number: lines_of(source) for number, _, source in body}
    assert {n: length for n, length in lengths.items() if length > LONGEST_CELL} == {}
    assert sum(lengths.values()) <= LONGEST_NOTEBOOK


def test_code_cells_call_the_library_and_hold_no_algorithm(body):
    for number, tree, _ in body:
        for node in ast.walk(tree):
            assert not isinstance(node, ast.ClassDef | ast.While | ast.AsyncFunctionDef), number
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"cell {number}"
            if isinstance(node, ast.ImportFrom):
                assert "*" not in [alias.name for alias in node.names], f"cell {number}"


def test_code_depends_on_no_shell_no_magic_and_no_place(body):
    for number, _, source in body:
        # Magics and shell escapes would not have parsed; this is how IPython spells them itself.
        assert "get_ipython" not in source, f"cell {number}"
        assert not re.search(r"['\"](?:/|~/|[A-Z]:\\|\.\./)", source), f"cell {number}"


def test_last_code_cell_records_the_headline_numbers(body):
    _, tree, _ = body[-1]
    last = ast.unparse(tree.body[-1])
    assert re.match(r"(?:labkit\.)?record\(.+\)$", last, flags=re.DOTALL)


def test_notebook_is_stored_as_text_that_git_can_compare(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "labkit", "language_info"}
    identifiers = [cell.id for cell in notebook.cells]
    assert len(set(identifiers)) == len(identifiers)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert set(cell.metadata.get("tags", [])) <= TAGS
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.stem)
def test_example_grids_can_be_planned(grid):
    notebook = Grid.from_yaml(grid).notebook
    assert (ROOT / "notebooks" / f"{notebook}.ipynb").is_file()
    command = [sys.executable, "-m", "labkit.cli", "sweep", notebook, str(grid), "--dry-run"]
    planned = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr


def test_every_study_has_an_example_grid():
    studies = {notebook.stem for notebook in NOTEBOOKS} - {"start_here"}
    assert studies <= {Grid.from_yaml(grid).notebook for grid in GRIDS}
