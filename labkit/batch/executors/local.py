"""Running a list of runs in this process: a pool of threads, one kernel process each.

Array elements and Dask tasks use this too, for their chunk. Several processes may work on the same
runs at the same time: each run is claimed before it starts, and what another process owns is waited
for, and taken over if that process dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from labkit.batch.imports import imports_of
from labkit.batch.pool import start_warm_pool
from labkit.batch.runner import execute
from labkit.batch.runs import Run, RunStatus, claim, read_status

MIB_PER_KERNEL = 1024
_POLL_SECONDS = 1.0
_FAILURES = (RunStatus.failed, RunStatus.timeout, RunStatus.died)


@dataclass(frozen=True)
class Execution:
    """How runs are executed.

    Parameters
    ----------
    jobs
        Runs at once.
    retries
        How often a failed run is tried again.
    timeout
        Seconds that one cell may take; None for no limit.
    warm
        Fork kernels from a process that has the notebook's imports loaded.
    since
        A run that failed after this moment is final: another process of this sweep, or this one
        before it was requeued, has tried it.
    cwd
        Working directory of the kernels; None for that of this process.
    """

    jobs: int = 1
    retries: int = 1
    timeout: float | None = None
    warm: bool = True
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    cwd: Path | None = None


Report = Callable[[Run, Mapping[str, Any], bool], None]


def run_all(runs: Sequence[Run], execution: Execution, report: Report) -> None:
    """Execute the runs that are not completed yet.

    Parameters
    ----------
    runs
        The runs.
    execution
        How to execute them.
    report
        Called as ``report(run, status, executed_here)`` when a run is final, one call at a time.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt or a termination signal, once every running notebook is saved and
        marked cancelled.
    """
    work = _Work(runs, execution, report)
    with (
        signals_as_interrupt(),
        ThreadPoolExecutor(execution.jobs, thread_name_prefix="labkit-run") as pool,
    ):
        threads = [pool.submit(work.loop) for _ in range(min(execution.jobs, len(runs)))]
        try:
            _wait(threads)
        except BaseException:
            work.stop.set()
            raise


def available_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs() -> int:
    """Return how many runs fit this machine at once: one per core, and one GiB of memory each."""
    free = psutil.virtual_memory().available // 2**20
    return int(max(1, min(available_cores(), free // MIB_PER_KERNEL)))


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class _Work:
    """The queue that the threads share."""

    def __init__(self, runs: Sequence[Run], execution: Execution, report: Report) -> None:
        self._queue = deque(runs)
        self._execution = execution
        self._report = report
        self._reporting = threading.Lock()
        self.stop = threading.Event()

    def loop(self) -> None:
        """Take runs from the queue until it is empty or work is stopped."""
        while not self.stop.is_set():
            try:
                run = self._queue.popleft()
            except IndexError:
                return
            self._attend(run)

    def _attend(self, run: Run) -> None:
        status = read_status(run.directory)
        if status["status"] == RunStatus.completed:
            return self._final(run, status, executed=False)
        with claim(run.directory) as mine:
            if mine:
                return self._own(run)
        self._queue.append(run)
        self.stop.wait(_POLL_SECONDS)
        return None

    def _own(self, run: Run) -> None:
        status = read_status(run.directory)
        if status["status"] == RunStatus.completed or self._failed_already(status):
            return self._final(run, status, executed=False)
        self._warm_up(run)
        for _ in range(self._execution.retries + 1):
            status = execute(
                run,
                timeout=self._execution.timeout,
                warm=self._execution.warm,
                cancel=self.stop,
                cwd=self._execution.cwd,
            )
            if status["status"] not in _FAILURES or self.stop.is_set():
                break
        return self._final(run, status, executed=True)

    def _warm_up(self, run: Run) -> None:
        """Load the notebook's imports for all kernels to come; an interrupt ends the wait."""
        if self._execution.warm and run.kernel == "python3":
            imports = imports_of(run.notebook)
            start_warm_pool(imports, workers=self._execution.jobs, cancel=self.stop)

    def _failed_already(self, status: Mapping[str, Any]) -> bool:
        if status["status"] not in _FAILURES or not status.get("ended"):
            return False
        return datetime.fromisoformat(status["ended"]) >= self._execution.since

    def _final(self, run: Run, status: Mapping[str, Any], *, executed: bool) -> None:
        with self._reporting:
            self._report(run, status, executed)


def _wait(threads: list[Future[None]]) -> None:
    """Wait for the threads, leaving the main thread free to handle signals."""
    pending = set(threads)
    while pending:
        done, pending = wait(pending, timeout=0.2)
        for thread in done:
            thread.result()
