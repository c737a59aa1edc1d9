"""A notebook with one parameter of each kind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

PARAMETERS = """\
from pathlib import Path
from typing import Literal

preset: Literal["quick", "full"] = "quick"  # how much work
n: int = 3  # a count
lr: float = 1e-3  # a rate
on: bool = True  # a switch
name: str = "x"  # a text
limit: int | None = None  # at most so many
model: Literal["a", "b"] | None = None  # as in the preset
maybe: bool | None = None
sizes: list[int] = [64, 32]  # layer widths
parts: list[Literal["p", "q", "r"]] = ["p"]
words: list[str] | None = None
csv: Path = Path("in.csv")
options: dict = {"k": 1}
stamp = sum([1, 2])  # only the kernel knows
"""


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the notebook into the current folder, which is a fresh one."""
    monkeypatch.chdir(tmp_path)
    cell = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    work = nbformat.v4.new_code_cell("import labkit\nlabkit.record(double=2 * n, text=name)")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = nbformat.v4.new_notebook(cells=[cell, work], metadata={"kernelspec": kernel})
    path = tmp_path / "kinds.ipynb"
    nbformat.write(content, path)
    return path
