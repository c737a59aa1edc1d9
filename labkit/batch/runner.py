"""Executing one run, from its parameters to its final status.

`execute` turns a `Run` into an executed notebook and a status record, and comes back whatever the
notebook does. `describe` says in at most three lines what happened; `exit_code` says it to a shell.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.batch.claims import this_process
from labkit.batch.engine import quick_imports
from labkit.batch.interruption import stop_signals
from labkit.batch.provenance import provenance
from labkit.batch.runs import LOG_FILE, Run, RunStatus, read_status, write_status
from labkit.batch.usage import MIB

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from labkit.batch.execution import LabkitClient
    from labkit.batch.outcome import Outcome

__all__ = ["EXIT_CODES", "describe", "execute", "exit_code"]

log = logging.getLogger(__name__)

EXIT_CODES = {
    RunStatus.completed: 0,
    RunStatus.failed: 1,
    RunStatus.timeout: 1,
    RunStatus.died: 1,
    RunStatus.pending: 1,
    RunStatus.running: 1,
    RunStatus.cancelled: 130,
}
"""Run status to the exit code of a command; 2, bad usage, is decided before there is a run."""

_WIDTH = 400


def execute(
    run: Run,
    *,
    timeout: float | None = None,
    warm: bool = True,
    memory_limit_mib: float | None = None,
    cancel: threading.Event | None = None,
    cwd: Path | None = None,
) -> dict[str, Any]:
    """Execute a run and return its final status record.

    Writes ``status.json`` (``running`` first, the outcome last), the executed notebook and
    ``log.txt`` into the run's directory. A completed run with the same key is left untouched.
    Callers that share a directory between processes hold `labkit.batch.runs.claim` meanwhile.

    Parameters
    ----------
    run
        What to execute.
    timeout
        Longest time of one cell, in seconds; None for no limit.
    warm
        Fork the kernel from a process with the notebook's imports loaded, where that is possible.
    memory_limit_mib
        Kill the kernel when it and its children hold more resident memory, in MiB.
    cancel
        Set it, from any thread, to interrupt the running cell, save, and end as ``cancelled``.
        Without it, in the main thread, SIGINT, SIGTERM and SIGUSR1 do that.
    cwd
        Working directory of the kernel; None for that of this process.

    Returns
    -------
    dict
        The record in ``status.json``: key, notebook, parameters, status, cell, error, output,
        started and ended (ISO 8601, UTC), wall_s, cpu_s, peak_rss_mib, kernel, warm, attempt, pid,
        pid_started, and `labkit.batch.provenance.provenance`. ``cell`` is None or has number,
        execution_count and line (the one that failed); ``error`` is None or has name and message.

    Raises
    ------
    OSError
        The run's directory cannot be written. A failing notebook raises nothing.
    """
    earlier = read_status(run.directory)
    if earlier.get("status") == RunStatus.completed and earlier.get("key") == run.key:
        return earlier
    record = _first_record(run, earlier)
    write_status(run.directory, record)
    with nullcontext(cancel) if cancel is not None else stop_signals() as stop:
        assert stop is not None
        try:
            record |= _run_notebook(run, timeout, warm, memory_limit_mib, stop, cwd)
        except Exception as error:  # noqa: BLE001 - the record must become final
            record |= _unexpected(run, error)
        except BaseException as error:
            record |= _unexpected(run, error, RunStatus.cancelled)
            write_status(run.directory, record)
            raise
    write_status(run.directory, record)
    return record


def describe(status: Mapping[str, Any]) -> str:
    """Say in at most three lines what became of a run.

    Parameters
    ----------
    status
        A record from `execute` or `labkit.batch.runs.read_status`.

    Examples
    --------
    >>> print(describe({
    ...     "status": "failed",
    ...     "cell": {"number": 7, "execution_count": 5, "line": "y = 1 / x"},
    ...     "error": {"name": "ZeroDivisionError", "message": "division by zero"},
    ...     "output": "runs/a/notebook.ipynb",
    ... }))
    failed: cell 7 (In [5]) ZeroDivisionError: division by zero
      y = 1 / x
      -> runs/a/notebook.ipynb
    """
    state = RunStatus(status.get("status", "pending"))
    lines = [f"{state}: {_what_happened(state, status)}".removesuffix(": ")]
    cell = status.get("cell")
    if cell and cell.get("line"):
        lines.append(f"  {cell['line']}")
    if status.get("output") and state not in (RunStatus.pending, RunStatus.running):
        lines.append(f"  -> {status['output']}")
    return "\n".join(_one_line(line) for line in lines)


def exit_code(status: Mapping[str, Any]) -> int:
    """Return the exit code that a run's status stands for.

    Examples
    --------
    >>> exit_code({"status": "completed"}), exit_code({"status": "died"})
    (0, 1)
    """
    return EXIT_CODES[RunStatus(status.get("status", "pending"))]


def _what_happened(state: RunStatus, status: Mapping[str, Any]) -> str:
    error = status.get("error") or {}
    name, message = error.get("name", ""), error.get("message", "")
    if state is RunStatus.failed:
        message = f"{name}: {message}".removesuffix(": ")
    if state is RunStatus.completed and status.get("wall_s") is not None:
        return f"{status['wall_s']:.1f} s, peak memory {status.get('peak_rss_mib', 0):.0f} MiB"
    cell = status.get("cell")
    if not cell:
        return str(message)
    count = cell.get("execution_count")
    where = f"cell {cell['number']}" + ("" if count is None else f" (In [{count}])")
    return f"{where} {message}"


def _one_line(text: str) -> str:
    indent = text[: len(text) - len(text.lstrip())]
    flat = indent + " ".join(text.split())
    return flat if len(flat) <= _WIDTH or "->" in flat else flat[: _WIDTH - 3] + "..."


def _first_record(run: Run, earlier: Mapping[str, Any]) -> dict[str, Any]:
    same = earlier.get("key") == run.key
    return {
        "key": run.key,
        "notebook": str(run.notebook),
        "parameters": run.parameters,
        "status": RunStatus.running.value,
        "cell": None,
        "error": None,
        "output": str(run.output),
        "started": _now(),
        "ended": None,
        "wall_s": None,
        "cpu_s": None,
        "peak_rss_mib": None,
        "kernel": run.kernel,
        "warm": None,
        "attempt": int(earlier.get("attempt", 0)) + 1 if same else 1,
        **this_process(),
        **provenance(_imports(run), run.notebook),
    }


def _imports(run: Run) -> list[str]:
    from labkit.batch.imports import imports_of

    try:
        return imports_of(run.notebook)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _run_notebook(
    run: Run,
    timeout: float | None,
    warm: bool,
    memory_limit_mib: float | None,
    cancel: threading.Event,
    cwd: Path | None,
) -> dict[str, Any]:
    """Execute the notebook and return what that adds to the record."""
    with quick_imports():
        from labkit.batch.execution import LabkitClient, Settings
        from labkit.batch.livenotebook import LiveNotebook
    started = time.monotonic()
    live = LiveNotebook(_prepare(run), str(run.output))
    live.notebook_start()
    settings = Settings(
        cwd=Path(cwd) if cwd is not None else None,
        imports=tuple(_imports(run)) if warm else None,
        cell_timeout_s=timeout,
        memory_limit_mib=memory_limit_mib,
        cancel=cancel,
        log_file=run.directory / LOG_FILE,
    )
    client = LabkitClient(live, run.kernel, settings)
    outcome = client.run_to_end()
    return _last_record(client, outcome, time.monotonic() - started)


def _prepare(run: Run) -> NotebookNode:
    """Read the notebook, inject the parameters, and write papermill's metadata.

    These are the steps of ``papermill.execute_notebook`` without those that change the state of
    the whole process (working directory) or fill braces in paths with parameters.
    """
    from papermill.execute import prepare_notebook_metadata, remove_error_markers
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    nb = load_notebook_node(str(run.notebook))
    if run.parameters:
        language = nb.metadata.get("kernelspec", {}).get("language") or "python"
        nb = parameterize_notebook(nb, run.parameters, kernel_name=run.kernel, language=language)
    nb = prepare_notebook_metadata(nb, str(run.notebook), str(run.output), report_mode=False)
    return remove_error_markers(nb)


def _last_record(client: LabkitClient, outcome: Outcome, wall_s: float) -> dict[str, Any]:
    usage = client.usage
    cell = outcome.cell
    return {
        "status": outcome.status.value,
        "cell": None if cell is None else vars(cell),
        "error": outcome.error and dict(zip(("name", "message"), outcome.error, strict=True)),
        "ended": _now(),
        "wall_s": round(wall_s, 3),
        "cpu_s": None if usage is None else round(usage.cpu_s, 3),
        "peak_rss_mib": None if usage is None else round(usage.peak_rss / MIB, 1),
        "warm": client.was_warm,
    }


def _unexpected(
    run: Run, error: BaseException, status: RunStatus = RunStatus.failed
) -> dict[str, Any]:
    """Return the record of a run that an error outside the notebook ended; log the traceback."""
    log.debug("run %s", run.directory, exc_info=error)
    try:
        with (run.directory / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write("".join(traceback.format_exception(error)))
    except OSError:
        log.warning("could not write to %s", run.directory / LOG_FILE)
    message = {"name": type(error).__name__, "message": str(error)}
    return {"status": status.value, "error": message, "ended": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
