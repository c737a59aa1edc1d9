"""Running a notebook's cells in a kernel, and saying truthfully how that ended.

papermill's client runs the cells; this module decides when to stop a cell (its time is over, the
run was cancelled, the kernel outgrew its memory limit), tells these endings and a dead kernel
apart, and leaves no process behind. Everything happens in one thread, in an event loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger as papermill_log

from labkit.batch.interruption import stop_signals
from labkit.batch.kernels import PrivateKernelManager
from labkit.batch.livenotebook import LiveNotebook
from labkit.batch.outcome import FailedCell, Outcome
from labkit.batch.runs import RunStatus
from labkit.batch.usage import GIB, MIB, Usage, memory_limit, oom_kills

log = logging.getLogger(__name__)

_client_log = logging.getLogger(f"{__name__}.nbclient")
_client_log.setLevel(logging.CRITICAL)  # what nbclient logs as errors, the outcome says

GRACE_S = 5.0
"""Time that an interrupted cell has to end before its kernel is killed."""

_TICK_S = 0.1
_IOPUB_TIMEOUT_S = 60
_NEAR_LIMIT = 0.8
_T = TypeVar("_T")


@dataclass(frozen=True)
class Settings:
    """How to run a notebook.

    Parameters
    ----------
    cwd
        Working directory of the kernel; None for the runner's.
    imports
        Modules that a warm kernel should have loaded; None for a cold kernel.
    cell_timeout_s
        Longest time of one cell; None for no limit.
    start_timeout_s
        Longest time for the kernel to answer.
    memory_limit_mib
        Kill the kernel when it and its children hold more resident memory; None for no limit.
    cancel
        Set by anybody, at any time, to interrupt the running cell and end the run.
    log_file
        Where the kernel process writes what is not notebook output; None for the runner's own.
    """

    cwd: Path | None = None
    imports: tuple[str, ...] | None = None
    cell_timeout_s: float | None = None
    start_timeout_s: float = 60
    memory_limit_mib: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    log_file: Path | None = None


class LabkitClient(PapermillNotebookClient):  # type: ignore[misc]
    """One execution of one notebook.

    Parameters
    ----------
    nb_man
        The notebook; `LiveNotebook.end` has been called when `run_to_end` returns.
    kernel_name
        Name of the Jupyter kernel.
    settings
        Limits and surroundings.
    **kwargs
        Options of papermill's and nbclient's clients.

    Attributes
    ----------
    usage
        Memory and CPU time of the kernel; None until it started.
    was_warm
        Whether the kernel was forked with its imports loaded.
    """

    def __init__(
        self, nb_man: LiveNotebook, kernel_name: str, settings: Settings, **kwargs: Any
    ) -> None:
        kwargs.setdefault("iopub_timeout", _IOPUB_TIMEOUT_S)
        kwargs.setdefault("log", _client_log)
        super().__init__(
            nb_man, kernel_name=kernel_name, startup_timeout=settings.start_timeout_s, **kwargs
        )
        self.settings = settings
        self.usage: Usage | None = None
        self.was_warm = False
        self._stop_reason: RunStatus | None = None
        self._stop_message = ""
        self._deadline: float | None = None
        self._oom_kills = oom_kills()

    def run_to_end(self) -> Outcome:
        """Run all cells, save, clean up; return how it ended. Raises only what is not the run's."""
        try:
            outcome = run_in_loop(self._run())
        except BaseException as error:
            status = RunStatus.failed if isinstance(error, Exception) else RunStatus.cancelled
            self.nb_man.end(Outcome(status, error=(type(error).__name__, str(error))))
            raise
        self.nb_man.end(outcome)
        return outcome

    async def _run(self) -> Outcome:
        self.reset_execution_trackers()
        manager = PrivateKernelManager(
            kernel_name=self.kernel_name, imports=self.settings.imports, config=self.config
        )
        self.km = manager
        watch = asyncio.create_task(self._watch())
        try:
            outcome = await self._start() or await self._run_cells()
            with contextlib.suppress(DeadKernelError):
                await self._note_language_and_widgets(outcome)
            if self.usage is not None:
                self.usage.sample()
            return outcome
        finally:
            watch.cancel()
            await self._clean_up(manager)

    async def _start(self) -> Outcome | None:
        """Start the kernel; return how that failed, None when it did not."""
        cwd = self.settings.cwd or Path.cwd()
        options: dict[str, Any] = {"cwd": str(cwd)}
        try:
            with contextlib.ExitStack() as stack:
                if self.settings.log_file is not None:
                    stream = stack.enter_context(self.settings.log_file.open("ab"))
                    options |= {"stdout": stream, "stderr": stream}
                await self.async_start_new_kernel(**options)
            provisioner: Any = self.km.provisioner
            self.usage = Usage(provisioner.pid)
            self.was_warm = getattr(provisioner, "warm", False)
            await self.km.wait_for_sockets(self.settings.start_timeout_s)
            await self.async_start_new_kernel_client()
        except Exception as error:  # noqa: BLE001 - whatever a kernel start may raise
            if self._stop_reason is not None:
                return self._stopped(None)
            message = f"the kernel {self.kernel_name!r} did not start: {error}"
            return Outcome(RunStatus.failed, error=(type(error).__name__, message))
        return None

    async def _run_cells(self) -> Outcome:
        for index, cell in enumerate(self.nb.cells):
            if self._stop_reason is not None:
                return self._stopped(index)
            self.nb_man.cell_start(cell, index)
            outcome = await self._run_cell(cell, index)
            if outcome is not None and outcome.status is not RunStatus.completed:
                return outcome
            self.nb_man.cell_complete(self.nb.cells[index], index)
            if outcome is not None:
                return outcome
        return Outcome(RunStatus.completed)

    async def _run_cell(self, cell: NotebookNode, index: int) -> Outcome | None:
        """Run one cell; return the outcome when the notebook ends here, None to go on."""
        limit = self.settings.cell_timeout_s
        self._deadline = time.monotonic() + limit if limit else None
        try:
            await self.async_execute_cell(cell, index)
        except CellExecutionError as error:
            if self._stop_reason is not None:
                return self._stopped(index)
            if error.ename == "SystemExit" and error.evalue in ("", "0", "None"):
                return Outcome(RunStatus.completed)
            return self._failed(index, error.ename, error.evalue)
        except DeadKernelError:
            return self._stopped(index) if self._stop_reason else await self._died(index)
        except CellTimeoutError:
            message = f"outputs kept arriving {self.iopub_timeout} s after the cell had ended"
            return self._failed(index, "OutputTimeout", message)
        finally:
            self._deadline = None
        cut_short = self._stop_reason not in (None, RunStatus.cancelled)
        return self._stopped(index) if cut_short else None

    async def _watch(self) -> None:
        """Save, measure, and stop the run when there is a reason to."""
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self.nb_man.save_if_due()
                if self.usage is not None:
                    self.usage.sample_if_due()
            except Exception as error:  # noqa: BLE001 - limits must be watched all the same
                log.warning("could not save or measure %s: %s", self.nb_man.output_path, error)
            if self._reason_to_stop():
                await self._stop_kernel()
                return

    def _reason_to_stop(self) -> bool:
        limit_mib = self.settings.memory_limit_mib
        if self.settings.cancel.is_set():
            self._stop_reason, self._stop_message = RunStatus.cancelled, "was interrupted"
        elif self._deadline is not None and time.monotonic() > self._deadline:
            seconds = f"{self.settings.cell_timeout_s:g}"
            self._stop_reason, self._stop_message = RunStatus.timeout, f"passed {seconds} s"
        elif limit_mib and self.usage is not None and self.usage.peak_rss > limit_mib * MIB:
            used, allowed = self.usage.peak_rss / GIB, limit_mib * MIB / GIB
            self._stop_reason = RunStatus.died
            self._stop_message = (
                f"kernel killed at {used:.2f} GiB: the run may use {allowed:.2f} GiB"
            )
        return self._stop_reason is not None

    async def _stop_kernel(self) -> None:
        """Interrupt the running cell until it ends; kill the kernel when it does not in time."""
        manager: Any = self.km
        patience = 0.0 if self._stop_reason is RunStatus.died else GRACE_S
        if self.kc is None:
            patience = 0.0
        until = time.monotonic() + patience
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                await manager.interrupt_kernel()
            await asyncio.sleep(1.0)
        if manager.has_kernel:
            await manager.provisioner.send_signal(signal.SIGKILL)

    def _stopped(self, index: int | None) -> Outcome:
        assert self._stop_reason is not None
        cell = None if index is None else FailedCell.of(self.nb.cells[index], index)
        names = {RunStatus.timeout: "CellTimeout", RunStatus.died: "MemoryLimit"}
        error = (names.get(self._stop_reason, "Cancelled"), self._stop_message)
        return Outcome(self._stop_reason, cell, error)

    def _failed(self, index: int, name: str, message: str) -> Outcome:
        cell = self.nb.cells[index]
        errors = [out for out in cell.get("outputs", []) if out.output_type == "error"]
        traceback = tuple(errors[-1].traceback) if errors else ()
        return Outcome(
            RunStatus.failed,
            FailedCell.of(cell, index, traceback),
            (name, message.strip()),
            traceback,
        )

    async def _died(self, index: int) -> Outcome:
        manager: Any = self.km
        code = await manager.provisioner.poll()
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        message = f"kernel died ({how}; {self._memory_sentence(code)})"
        cell = FailedCell.of(self.nb.cells[index], index)
        return Outcome(RunStatus.died, cell, ("DeadKernel", message))

    def _memory_sentence(self, code: int | None) -> str:
        peak = self.usage.peak_rss if self.usage is not None else 0
        limit = memory_limit()
        sentence = f"peak memory {peak / GIB:.1f} of {limit / GIB:.1f} GiB"
        killed = code == -signal.SIGKILL
        starved = peak > _NEAR_LIMIT * limit or oom_kills() > self._oom_kills
        return f"{sentence}: out of memory?" if killed and starved else sentence

    async def _note_language_and_widgets(self, outcome: Outcome) -> None:
        self.set_widgets_metadata()
        if self.kc is None or outcome.status is not RunStatus.completed:
            return
        info = await self.async_wait_for_reply(self.kc.kernel_info())
        if info is not None:
            self.nb.metadata["language_info"] = info["content"]["language_info"]

    async def _clean_up(self, manager: PrivateKernelManager) -> None:
        """End the kernel, politely when it is idle, and whatever it left behind."""
        self.km = manager
        self.shutdown_kernel = "immediate" if self._stop_reason else "graceful"
        try:
            if manager.provisioner is not None:
                await self._async_cleanup_kernel()
        finally:
            if self.usage is not None:
                self.usage.kill_leftovers()
            manager.remove_private_folder()


def execute_for_papermill(
    nb: NotebookNode,
    kernel_name: str,
    output_path: str | None = None,
    *,
    progress_bar: bool | dict[str, Any] = True,
    log_output: bool = False,
    autosave_cell_every: float = 30,
    execution_timeout: float | None = None,
    start_timeout: float = 60,
    cancel: threading.Event | None = None,
    **kwargs: Any,
) -> NotebookNode:
    """Run a notebook as papermill asks an engine to; raise what papermill's callers expect.

    The arguments are papermill's, and the fields of `Settings` by name.
    """
    names = ("cwd", "imports", "memory_limit_mib", "log_file")
    given = {name: kwargs.pop(name) for name in names if name in kwargs}
    kwargs.pop("input_path", None)
    live = LiveNotebook(nb, output_path, log_output, progress_bar, autosave_cell_every)
    live.notebook_start()
    with stop_signals() as stop:
        settings = Settings(
            cell_timeout_s=execution_timeout or kwargs.pop("timeout", None),
            start_timeout_s=start_timeout,
            cancel=cancel or stop,
            **given,
        )
        options = {"log": papermill_log, "log_output": log_output, **kwargs}
        outcome = LabkitClient(live, kernel_name, settings, **options).run_to_end()
    if outcome.status is not RunStatus.completed:
        raise _exception(outcome, live.nb)
    return live.nb


def run_in_loop(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, in a thread of its own where a loop already runs (Jupyter)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="labkit-run") as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _exception(outcome: Outcome, nb: NotebookNode) -> BaseException:
    """Return what papermill's own engine raises for such an ending, where it raises at all."""
    name, message = outcome.error or ("", "")
    if outcome.status is RunStatus.cancelled:
        return KeyboardInterrupt(outcome.sentence())
    if outcome.status is RunStatus.timeout:
        return CellTimeoutError(outcome.sentence())
    if outcome.status is RunStatus.died:
        return DeadKernelError(outcome.sentence())
    if outcome.cell is None:
        return RuntimeError(message)
    return PapermillExecutionError(
        cell_index=outcome.cell.number - 1,
        exec_count=outcome.cell.execution_count,
        source=nb.cells[outcome.cell.number + 1].source,
        ename=name,
        evalue=message,
        traceback=list(outcome.traceback),
    )
