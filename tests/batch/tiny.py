"""Notebooks small enough to run many times in a test."""

from __future__ import annotations

from pathlib import Path

import nbformat

DEFAULTS = "seed: int = 0\nscale: float = 1.0"


def write_notebook(
    path: Path, *cells: str, parameters: str | None = DEFAULTS, kernel: str = "python3"
) -> Path:
    """Write a notebook of code cells, the first one tagged ``parameters``."""
    nb = nbformat.v4.new_notebook()
    if parameters is not None:
        first = nbformat.v4.new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        nb.cells.append(first)
    nb.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nb.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
    nbformat.write(nb, path)
    return path
