"""How a notebook ended, as a record and as marks in the notebook itself."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nbformat
from nbformat import NotebookNode
from papermill.execute import ERROR_MARKER_TAG, ERROR_STYLE

from labkit.batch.runs import RunStatus

_ANCHOR = "papermill-error-cell"
_WIDTH = 120
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CELL_FRAME = re.compile(r"^Cell In\[\d+\], line (\d+)", flags=re.MULTILINE)


@dataclass(frozen=True)
class FailedCell:
    """The cell in which a run stopped.

    Parameters
    ----------
    number
        Position in the executed notebook, from 1, the injected parameters cell included.
    execution_count
        The number in ``In [ ]``; None when the kernel did not get to tell.
    line
        The line that failed, where the kernel's traceback tells; else the first line.
    """

    number: int
    execution_count: int | None
    line: str

    @classmethod
    def of(cls, cell: NotebookNode, index: int, traceback: Sequence[str] = ()) -> FailedCell:
        """Describe the cell at position `index`, from 0."""
        lines = cell.source.splitlines()
        number = _failing_line(traceback)
        named = [line for line in lines if line.strip()] or [""]
        line = lines[number - 1] if number is not None and number <= len(lines) else named[0]
        return cls(index + 1, cell.get("execution_count"), line.strip()[:_WIDTH])

    def __str__(self) -> str:
        count = "" if self.execution_count is None else f" (In [{self.execution_count}])"
        return f"cell {self.number}{count}"


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended.

    Parameters
    ----------
    status
        Never ``pending`` or ``running``.
    cell
        Where it stopped; None when it completed or never started.
    error
        Name and message of the error; None when it completed.
    traceback
        The kernel's traceback lines, for a cell that raised.
    """

    status: RunStatus
    cell: FailedCell | None = None
    error: tuple[str, str] | None = None
    traceback: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Say in one line what happened."""
        name, message = self.error or ("", "")
        where = f"{self.cell}" if self.cell else ""
        if self.status is RunStatus.failed:
            said = f"{name}: {message}" if message else name
            return f"{where} {said}".strip()
        return f"{where} {message}".strip()


def _failing_line(traceback: Sequence[str]) -> int | None:
    """Number of the line of the cell that failed, from IPython's traceback."""
    found = _CELL_FRAME.search(_ANSI.sub("", "\n".join(traceback)))
    return int(found[1]) if found else None


def mark(nb: NotebookNode, outcome: Outcome) -> None:
    """Write an outcome into a notebook: metadata, and marker cells where it stopped.

    The failing cell's papermill status becomes the run's (``failed``, ``timeout``, ``died``,
    ``cancelled``); later cells stay ``pending``. Two marker cells with papermill's tag say what
    happened, at the top and before the failing cell, so papermill removes them on the next run.
    """
    completed = outcome.status is RunStatus.completed
    nb.metadata.papermill["status"] = outcome.status.value
    nb.metadata.papermill["exception"] = None if completed else True
    if completed:
        return
    nb.metadata.papermill["error"] = outcome.sentence()
    index = 0
    if outcome.cell is not None:
        index = outcome.cell.number - 1
        nb.cells[index].metadata.papermill["status"] = outcome.status.value
        nb.cells[index].metadata.papermill["exception"] = True
        nb.cells.insert(index, _marker(f'<span id="{_ANCHOR}" {ERROR_STYLE}>Stopped here:</span>'))
    what = html.escape(f"{outcome.status}: {outcome.sentence()}")
    link = f'<a href="#{_ANCHOR}">{what}</a>' if outcome.cell is not None else what
    nb.cells.insert(0, _marker(f"<span {ERROR_STYLE}>{link}</span>"))


def _marker(source: str) -> NotebookNode:
    v4: Any = nbformat.v4
    cell: NotebookNode = v4.new_markdown_cell(source)
    cell.metadata["tags"] = [ERROR_MARKER_TAG]
    return cell
