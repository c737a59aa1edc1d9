"""The notebook while it runs: cell states, and saves that are atomic and rare.

papermill writes the whole notebook twice per cell, in place. Here a save replaces the file, and
happens at the start, at the end, and in between at most every 30 seconds while there is news.
"""

from __future__ import annotations

import time
from typing import Any

import nbformat
from nbformat import NotebookNode
from papermill.engines import NotebookExecutionManager
from papermill.iorw import write_ipynb

from labkit.atomic import replace_text
from labkit.batch.outcome import Outcome, mark

_MOST_TIME_SAVING = 0.1


class LiveNotebook(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's bookkeeping of cell states, with its own rule for saving.

    Parameters
    ----------
    nb
        The notebook, parameters injected; changed in place.
    output_path
        Where to save; a remote address goes through papermill. None saves nowhere.
    log_output, progress_bar, autosave_cell_every
        As in papermill; 0 for the last saves only at the start and the end.
    """

    def __init__(
        self,
        nb: NotebookNode,
        output_path: str | None = None,
        log_output: bool = False,
        progress_bar: bool | dict[str, Any] = False,
        autosave_cell_every: float = 30,
    ) -> None:
        super().__init__(nb, output_path, log_output, progress_bar, autosave_cell_every)
        self._interval = autosave_cell_every or float("inf")
        self._news = False
        self._next_save = 0.0

    def save(self, **_: Any) -> None:
        """Note that there is something to save, and save if that is due."""
        self._news = True
        self.save_if_due()

    def autosave_cell(self) -> None:
        """Note that an output arrived."""
        self.save()

    def save_if_due(self) -> None:
        """Save what changed since the last save, unless that was moments ago."""
        if self._news and time.monotonic() >= self._next_save:
            self.save_now()

    def save_now(self) -> None:
        """Save, whatever the interval; a slow disk stretches the interval."""
        started = time.monotonic()
        self._news = False
        if self.output_path is None:
            return
        if "://" in str(self.output_path):
            write_ipynb(self.nb, self.output_path)
        else:
            text: str = nbformat.writes(self.nb)  # type: ignore[no-untyped-call]
            replace_text(self.output_path, text + "\n")
        ended = time.monotonic()
        self._next_save = ended + max(self._interval, (ended - started) / _MOST_TIME_SAVING)

    def notebook_start(self, **kwargs: Any) -> None:
        """Clear old outputs and states, and save for the first time."""
        self.nb.metadata.papermill["status"] = self.RUNNING
        self.nb.metadata.papermill.pop("error", None)
        super().notebook_start(**kwargs)

    def end(self, outcome: Outcome) -> None:
        """Write the outcome into the notebook and save for the last time."""
        self.end_time = self.now()
        self.nb.metadata.papermill["end_time"] = self.end_time.isoformat()
        duration = (self.end_time - self.start_time).total_seconds()
        self.nb.metadata.papermill["duration"] = duration
        self.cleanup_pbar()
        mark(self.nb, outcome)
        self.save_now()

    def notebook_complete(self, **_: Any) -> None:
        """Do nothing: `end` has the last word, and never calls a pending cell completed."""
