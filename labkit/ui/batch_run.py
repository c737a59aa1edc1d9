"""A headless run started from a notebook, in a process of its own, watched from a thread.

The run is `labkit run` on the command line, so it has the same key, the same folder and the same
record as a run that a person or a sweep starts; it goes on when the notebook's kernel stops.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.batch.notebooks import kernel_of, read_notebook
from labkit.batch.parameters import check, read_parameters
from labkit.batch.runs import RunStatus, read_status, run_key
from labkit.ui.controls import as_text

POLL_SECONDS = 0.5


def runs_folder() -> Path:
    """Folder of runs, also for a notebook's kernel, whose current folder is the notebook's.

    Returns
    -------
    Path
        ``runs`` beside the folder ``notebooks``, if that is the current one; else ``runs`` here:
        the folder that `labkit run` uses in the project's root.
    """
    here = Path.cwd()
    return (here.parent if here.name == "notebooks" else here) / "runs"


def shell_command(name: str, overrides: Mapping[str, Any], out: Path | None = None) -> list[str]:
    """Arguments of the `labkit` command that runs a notebook headless.

    Examples
    --------
    >>> shell_command("oversampling", {"P": 0.5, "seeds": [0, 1]})
    ['run', 'oversampling', '-p', 'P', '0.5', '-p', 'seeds', '0,1']
    """
    command = ["run", name]
    for parameter, value in overrides.items():
        command += ["-p", parameter, as_text(value)]
    return command if out is None else [*command, "--out", str(out)]


class BatchRun:
    """One headless run.

    Parameters
    ----------
    name : str
        Study or path, as on the command line.
    notebook : Path
        The notebook that `name` stands for.
    overrides : mapping
        Parameters that differ from the notebook's defaults; already checked.
    out : Path
        Folder for the run's folder.
    """

    def __init__(self, name: str, notebook: Path, overrides: Mapping[str, Any], out: Path) -> None:
        self.out = out
        self.arguments = shell_command(name, overrides, out)
        content = read_notebook(notebook)
        effective = check(read_parameters(content), overrides)
        self.key = run_key(notebook, effective, kernel=kernel_of(content))
        self._started = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = out / f"{self.key[:8]}.log"

    @property
    def shell_line(self) -> str:
        """The command for a terminal."""
        return shlex.join(["labkit", *self.arguments])

    @property
    def directory(self) -> Path | None:
        """Folder of the run once it exists.

        It is known by the run's key, or by the process where labkit's code was edited after this
        kernel started, so that the process computes another key.
        """
        by_key = next(iter(sorted(self.out.glob(f"*-{self.key[:8]}"))), None)
        if by_key is not None or self._process is None:
            return by_key
        pid = self._process.pid
        folders = (status.parent for status in self.out.glob("*/status.json"))
        return next((path for path in folders if read_status(path).get("pid") == pid), None)

    def start(self, watch: Callable[[BatchRun], None] | None = None) -> None:
        """Start the run and return; `watch` is called from a thread until the run has ended."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "labkit.cli", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if watch is not None:
            threading.Thread(target=self._follow, args=(watch,), daemon=True).start()

    @property
    def status(self) -> RunStatus:
        """State of the run; a process that ended without a record counts as failed."""
        if self._process is None:
            return RunStatus.pending
        code = self._process.poll()
        if code == 0:
            return RunStatus.completed
        folder = self.directory
        status = RunStatus(read_status(folder)["status"]) if folder else RunStatus.pending
        if code is None:
            return RunStatus.running if status == RunStatus.running else RunStatus.pending
        unfinished = (RunStatus.pending, RunStatus.running, RunStatus.completed)
        return RunStatus.failed if status in unfinished else status

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    @property
    def result(self) -> Path | None:
        """The executed notebook once there is one."""
        folder = self.directory
        notebook = folder / "notebook.ipynb" if folder else None
        return notebook if notebook is not None and notebook.is_file() else None

    def last_words(self) -> str:
        """Last line that the command printed."""
        if not self._log.is_file():
            return ""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def wait(self, timeout_s: float | None = None) -> RunStatus:
        """Wait for the end of the run and return its state."""
        if self._process is not None:
            self._process.wait(timeout_s)
        return self.status

    def stop(self) -> None:
        """Ask the run to stop; it ends its kernel and is recorded as cancelled."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _follow(self, watch: Callable[[BatchRun], None]) -> None:
        while not self.ended:
            watch(self)
            time.sleep(POLL_SECONDS)
        watch(self)
