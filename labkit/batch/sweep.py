"""Running one notebook many times: plan a grid, execute what is missing, say how it went."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.batch import notebooks, planning
from labkit.batch.grid import Grid
from labkit.batch.parameters import check_positive
from labkit.batch.planning import Sweep, load_sweep, plan, prepare, update_settings
from labkit.batch.results import duration_seconds
from labkit.batch.runs import Run, RunStatus, read_status
from labkit.batch.single import run
from labkit.errors import ParameterError

__all__ = ["Progress", "SweepSummary", "estimate_seconds", "load_sweep", "plan", "retry", "run"]
__all__ += ["run_chunk", "sweep"]

if TYPE_CHECKING:
    from labkit.batch.executors.dask import DaskOptions
    from labkit.batch.executors.slurm import SlurmOptions, Submission

EXECUTORS = ("local", "slurm", "dask")


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands, after each run.

    Parameters
    ----------
    done, total, failed
        Counts of runs.
    run, status
        The run that just became final and its status record.
    executed
        False when the run was finished before.
    seconds_left
        From the median time of the runs executed so far; None before the first.
    """

    done: int
    total: int
    failed: int
    run: Run
    status: Mapping[str, Any]
    executed: bool
    seconds_left: float | None


@dataclass(frozen=True)
class SweepSummary:
    """How a sweep went.

    Parameters
    ----------
    directory
        The sweep folder.
    counts
        Number of runs by status.
    executed
        Runs executed by this call.
    seconds
        Wall time of this call.
    failures
        Runs that are final and not completed, with their status records.
    submission
        What was submitted to Slurm's queue; None when nothing was.
    queued
        Whether the runs are left to Slurm, so that they are not final now.
    """

    directory: Path
    counts: dict[str, int]
    executed: int = 0
    seconds: float = 0.0
    failures: list[tuple[Run, dict[str, Any]]] = field(default_factory=list)
    submission: Submission | None = None
    queued: bool = False

    @property
    def total(self) -> int:
        """Number of runs in the sweep."""
        return sum(self.counts.values())

    @property
    def ok(self) -> bool:
        """Whether every run completed."""
        return self.counts.get("completed", 0) == self.total


OnProgress = Callable[[Progress], None]


def sweep(
    notebook: str | Path,
    grid: Grid,
    *,
    out: str | Path | None = None,
    executor: str = "local",
    jobs: int | None = None,
    retries: int = 1,
    timeout: float | None = None,
    warm: bool = True,
    kernel: str | None = None,
    max_runs: int = 10_000,
    options: SlurmOptions | DaskOptions | None = None,
    on_progress: OnProgress | None = None,
) -> SweepSummary:
    """Run a notebook with every configuration of a grid.

    The same call again, after a crash or in a second process, executes only what is missing.

    Parameters
    ----------
    notebook
        A study's name or a notebook's path.
    grid
        The configurations.
    out
        The sweep folder; ``runs/<notebook>-<8 hex of the grid>`` by default.
    executor
        ``local``; ``slurm``, which submits one job array and returns; or ``dask``.
    jobs
        Runs at once on this machine; as many as cores and memory allow by default.
    retries
        How often a failed run is tried again.
    timeout
        Seconds that one cell may take.
    warm
        Fork kernels from a process that has the notebook's imports loaded.
    kernel
        A kernel's name, where it is not the notebook's own.
    max_runs
        Larger grids are refused.
    options
        `SlurmOptions` or `DaskOptions`.
    on_progress
        Called after each run.

    Returns
    -------
    SweepSummary
        Failed runs are counted in it; they raise nothing.

    Raises
    ------
    ParameterError
        Before anything runs: unknown parameters, wrong values, an unknown kernel or executor.
    KeyboardInterrupt
        After running notebooks were saved and marked cancelled.
    """
    _check_executor(executor)
    check_positive(jobs=jobs, timeout=timeout)
    if retries < 0:
        raise ParameterError(f"retries must not be negative, got {retries}")
    runs = plan(notebook, grid, out, kernel=kernel, max_runs=max_runs)
    notebooks.check_kernel(runs[0].kernel)
    directory = planning.default_folder(runs[0].notebook, grid) if out is None else Path(out)
    settings = {
        "executor": executor,
        "jobs": jobs,
        "retries": retries,
        "timeout": timeout,
        "warm": warm,
        "cwd": str(Path.cwd()),
        "options": None if options is None else asdict(options),
    }
    return _execute(prepare(runs, directory, grid, settings), on_progress)


def retry(directory: str | Path, *, on_progress: OnProgress | None = None) -> SweepSummary:
    """Run what is not completed in a sweep folder again, with the sweep's own settings."""
    return _execute(load_sweep(directory), on_progress)


def run_chunk(
    directory: str | Path, chunk: int, chunk_size: int, *, on_progress: OnProgress | None = None
) -> SweepSummary:
    """Execute one chunk of a sweep: what an array element or a Dask task does.

    Parameters
    ----------
    directory
        The sweep folder.
    chunk
        The chunk's index.
    chunk_size
        Runs per chunk.
    on_progress
        Called after each run.
    """
    loaded = load_sweep(directory)
    mine = loaded.runs[chunk * chunk_size : (chunk + 1) * chunk_size]
    if not mine:
        raise ParameterError(f"{directory} has no chunk {chunk} of {chunk_size} runs")
    since = datetime.fromisoformat(loaded.settings["since"])
    return _run_here(loaded, mine, on_progress, jobs=1, since=since)


def estimate_seconds(runs: Sequence[Run], jobs: int) -> float | None:
    """Return the time that the unfinished runs will take, from the median of earlier ones.

    Earlier runs are those of the same notebook in the same runs folder; None without any.
    """
    todo = sum(read_status(item.directory)["status"] != RunStatus.completed for item in runs)
    times = list(_earlier_durations(runs[0]))
    return statistics.median(times) * -(-todo // jobs) if times else None


def _earlier_durations(item: Run) -> Iterator[float]:
    folder = item.directory.parent.resolve()
    homes = {folder, *folder.parent.glob(f"{item.notebook.stem}*")}
    for home in homes:
        for path in home.glob("[0-9]*/status.json"):
            status = read_status(path.parent)
            seconds = duration_seconds(status)
            if status["status"] == RunStatus.completed and seconds is not None:
                yield seconds


def _execute(prepared: Sweep, on_progress: OnProgress | None) -> SweepSummary:
    executor = prepared.settings["executor"]
    prepared = update_settings(prepared, since=datetime.now(UTC).isoformat())
    if executor == "local":
        return _run_here(prepared, prepared.runs, on_progress)
    if executor == "slurm":
        from labkit.batch.executors.slurm import submit_sweep

        return replace(summarize(prepared), submission=submit_sweep(prepared), queued=True)
    from labkit.batch.executors import dask

    started = time.monotonic()
    reporter = _Reporter(len(prepared.runs), 1, on_progress)
    dask.run_sweep(prepared, reporter)
    seconds = time.monotonic() - started
    return summarize(prepared, executed=reporter.executed, seconds=seconds)


def _run_here(
    prepared: Sweep,
    runs: Sequence[Run],
    on_progress: OnProgress | None,
    *,
    jobs: int | None = None,
    since: datetime | None = None,
) -> SweepSummary:
    from labkit.batch.executors.local import Execution, default_jobs, run_all

    settings = prepared.settings
    jobs = jobs or settings["jobs"] or default_jobs()
    execution = Execution(
        jobs=jobs,
        retries=settings["retries"],
        timeout=settings["timeout"],
        warm=settings["warm"],
        since=since or datetime.now(UTC),
        cwd=Path(settings["cwd"]),
    )
    reporter = _Reporter(len(runs), jobs, on_progress)
    started = time.monotonic()
    run_all(runs, execution, reporter)
    return summarize(prepared, runs, executed=reporter.executed, seconds=time.monotonic() - started)


def summarize(
    prepared: Sweep,
    runs: Sequence[Run] | None = None,
    *,
    executed: int = 0,
    seconds: float = 0.0,
) -> SweepSummary:
    """Return the state of a sweep's runs, or of some of them, as their folders tell it."""
    statuses = [(item, read_status(item.directory)) for item in runs or prepared.runs]
    counts = Counter(str(status["status"]) for _, status in statuses)
    ended = ("failed", "timeout", "died", "cancelled")
    failures = [(item, status) for item, status in statuses if status["status"] in ended]
    return SweepSummary(prepared.directory, dict(counts), executed, seconds, failures)


class _Reporter:
    """Counts runs as they become final, and tells the caller."""

    def __init__(self, total: int, jobs: int, on_progress: OnProgress | None) -> None:
        self._total, self._jobs, self._on_progress = total, jobs, on_progress
        self._done = self._failed = self.executed = 0
        self._durations: list[float] = []

    def __call__(self, item: Run, status: Mapping[str, Any], executed: bool) -> None:
        self._done += 1
        self._failed += status["status"] != RunStatus.completed
        self.executed += executed
        seconds = duration_seconds(status)
        if executed and seconds is not None and status["status"] == RunStatus.completed:
            self._durations.append(seconds)
        if self._on_progress is None:
            return
        remaining = -(-(self._total - self._done) // self._jobs)
        left = statistics.median(self._durations) * remaining if self._durations else None
        self._on_progress(
            Progress(self._done, self._total, self._failed, item, status, executed, left)
        )


def _check_executor(name: str) -> None:
    if name not in EXECUTORS:
        raise ParameterError(f"executor={name!r} must be one of {', '.join(EXECUTORS)}")
    if name == "slurm":
        from labkit.batch.executors.slurm import require_sbatch

        require_sbatch()
    elif name == "dask":
        from labkit.batch.executors.dask import require_distributed

        require_distributed()
