"""Dask: the chunks of a sweep as tasks on a cluster that exists already, or on a local one.

The workers need the same environment and see the same files. A task starts `labkit worker` as a
process of its own, because a Dask worker's process must not fork kernels.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.batch.executors.local import Report, default_jobs
from labkit.batch.planning import Sweep
from labkit.batch.runs import Run, RunStatus, read_status
from labkit.errors import LabkitError, ParameterError

_CONNECT_SECONDS = 30
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class DaskOptions:
    """Where the Dask cluster is.

    Parameters
    ----------
    address
        A scheduler's address, such as ``tcp://10.0.0.1:8786``, or ``local`` for a cluster of
        processes on this machine.
    chunk
        Runs per task; those of a chunk share one warm pool.
    """

    address: str = "local"
    chunk: int = 1

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ParameterError(f"--chunk must be at least 1, got {self.chunk}")


def run_sweep(sweep: Sweep, report: Report) -> None:
    """Run the unfinished chunks of a sweep and wait for them.

    Parameters
    ----------
    sweep
        The prepared sweep.
    report
        Called as ``report(run, status, executed)`` when a run is final.

    Raises
    ------
    LabkitError
        If distributed is not installed or the scheduler does not answer.
    KeyboardInterrupt
        After the workers were told to save and stop.
    """
    options = DaskOptions(**(sweep.settings["options"] or {}))
    directory = sweep.directory.resolve()
    chunks: dict[int, list[Run]] = {}
    for run in sweep.runs:
        status = read_status(run.directory)
        if status["status"] == RunStatus.completed:
            report(run, status, False)
        else:
            chunks.setdefault(run.index // options.chunk, []).append(run)
    if not chunks:
        return
    stop = directory / f".stop-{uuid.uuid4().hex[:8]}"
    with _client(options.address, sweep.settings["jobs"]) as client:
        arguments = (str(directory), options.chunk, str(stop))
        futures = {
            client.submit(run_chunk_process, chunk, *arguments, pure=False): chunk
            for chunk in chunks
        }
        try:
            for future in require_distributed().as_completed(futures):
                _report_chunk(future.result(), chunks[futures[future]], report)
        except BaseException:
            stop.touch()
            _wait_for_stop(chunks)
            raise
        finally:
            stop.unlink(missing_ok=True)


def run_chunk_process(chunk: int, directory: str, chunk_size: int, stop: str) -> str:
    """Run ``labkit worker`` for a chunk, ending it when the file `stop` appears.

    Returns
    -------
    str
        The last line that it wrote to its standard error.
    """
    command = [sys.executable, "-m", "labkit.cli", "worker", directory]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--chunk", str(chunk), "--chunk-size", str(chunk_size)],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            if Path(stop).exists():
                process.terminate()
                process.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {process.returncode}"


def _report_chunk(last_words: str, runs: list[Run], report: Report) -> None:
    for run in runs:
        status = read_status(run.directory)
        if status["status"] == RunStatus.pending:
            raise LabkitError(f"a Dask worker could not start {run.directory.name}: {last_words}")
        report(run, status, True)


def require_distributed() -> Any:
    """Return the distributed package; LabkitError, with what to install, where it is missing."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise LabkitError(
            "the dask executor needs distributed: pip install 'labkit[dask]'"
        ) from error


@contextlib.contextmanager
def _client(address: str, jobs: int | None) -> Iterator[Any]:
    distributed = require_distributed()
    if address == "local":
        with (
            distributed.LocalCluster(
                n_workers=jobs or default_jobs(), threads_per_worker=1, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise LabkitError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def _wait_for_stop(chunks: Mapping[int, list[Run]], seconds: float = 15.0) -> None:
    """Give the workers time to save and mark what they were running."""
    deadline = time.monotonic() + seconds
    runs = [run for chunk in chunks.values() for run in chunk]
    while time.monotonic() < deadline:
        if not any(read_status(run.directory)["status"] == RunStatus.running for run in runs):
            return
        time.sleep(0.2)
