"""Notebooks made on the spot, real kernels, one warm pool for the whole session."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from labkit.batch.kernels import WarmPool, start_warm_pool
from labkit.batch.pool import stop_warm_pools
from labkit.batch.runner import execute
from labkit.batch.runs import Run, run_key

WARM_MODULES = ("numpy", "matplotlib.pyplot", "torch")


@pytest.fixture(scope="session")
def warm_pool() -> Iterator[WarmPool]:
    """The pool that all tests share: loading its modules takes seconds."""
    pool = start_warm_pool(WARM_MODULES)
    assert pool.usable, pool.refused
    yield pool
    stop_warm_pools()


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a notebook with these code cells, the first for parameters."""
    numbers = itertools.count()

    def make(*sources: str, parameters: str = "a = 1", folder: Path = tmp_path) -> Path:
        cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *sources)]
        cells[0].metadata["tags"] = ["parameters"]
        nb = nbformat.v4.new_notebook(cells=cells)
        nb.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        path = folder / f"nb{next(numbers)}.ipynb"
        nbformat.write(nb, path)
        return path

    return make


@pytest.fixture
def make_run(tmp_path: Path, make_notebook: Callable[..., Path]) -> Callable[..., Run]:
    """Return a function that makes a run of a notebook with these code cells."""

    def make(*sources: str, parameters: dict[str, Any] | None = None, **kwargs: Any) -> Run:
        notebook = make_notebook(*sources, **kwargs)
        parameters = parameters or {}
        key = run_key(notebook, parameters, kernel="python3")
        directory = tmp_path / f"{notebook.stem}-run"
        return Run(0, notebook, parameters, key, directory, "python3")

    return make


@pytest.fixture
def run_cells(make_run: Callable[..., Run]) -> Callable[..., tuple[dict[str, Any], Any]]:
    """Return a function that executes code cells and returns the status and the saved notebook."""

    def run(*sources: str, parameters: dict[str, Any] | None = None, **options: Any) -> Any:
        job = make_run(*sources, parameters=parameters)
        status = execute(job, **options)
        return status, nbformat.read(job.output, as_version=4)

    return run


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fail when a test leaves a process behind: kernels, and what their cells started."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    _, alive = psutil.wait_procs(_others(before), timeout=5)
    assert [process.cmdline() for process in alive] == []


def _others(known: set[int]) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.pid not in known and "multiprocessing" not in " ".join(process.cmdline()[:4])
    ]
