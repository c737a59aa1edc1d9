"""Slurm: a sweep as one job array, without a process that has to stay alive.

Each array element runs one chunk of the sweep (`labkit worker`). The time limit's warning signal
makes the worker save and the element requeue itself, at most `MAX_REQUEUES` times. State is in the
run folders; `squeue` is asked only to tell what still waits, `sacct` never.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.atomic import replace_text
from labkit.batch.planning import Sweep, update_settings
from labkit.batch.runs import RunStatus, read_status
from labkit.errors import LabkitError, ParameterError

MAX_REQUEUES = 3
WARNING_SECONDS = 90

_SCRIPT = """\
#!/bin/bash
{directives}
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}
{worker} --chunk "$SLURM_ARRAY_TASK_ID" --chunk-size {chunk} &
worker=$!
save_and_requeue() {{
  kill -TERM $worker
  wait $worker
  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
  fi
}}
trap save_and_requeue USR1
wait $worker
"""


@dataclass(frozen=True)
class SlurmOptions:
    """What a sweep asks of Slurm.

    Parameters
    ----------
    partition, time, mem, gpus
        As sbatch's options of the same names; the cluster's defaults where None.
    cpus
        Cores per array element, which runs one notebook at a time.
    chunk
        Runs per array element.
    max_parallel
        Elements that may run at once; None for no limit.
    sbatch_args
        Further sbatch options, such as ``--account=chem``.
    """

    partition: str | None = None
    time: str | None = None
    cpus: int = 1
    mem: str | None = None
    gpus: str | None = None
    chunk: int = 4
    max_parallel: int | None = None
    sbatch_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sbatch_args", tuple(self.sbatch_args))
        for name in ("cpus", "chunk", "max_parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


@dataclass(frozen=True)
class Submission:
    """A submitted array.

    Parameters
    ----------
    job
        The array's job id.
    gather
        The id of the job that writes results.csv when the array has ended.
    chunk
        Runs per element.
    elements
        Number of elements submitted.
    """

    job: int
    gather: int
    chunk: int
    elements: int


def submit_sweep(sweep: Sweep) -> Submission | None:
    """Submit the unfinished runs of a sweep that are not in the queue already.

    Returns
    -------
    Submission or None
        None when there is nothing to submit.

    Raises
    ------
    LabkitError
        If there is no sbatch here, or it refuses.
    """
    require_sbatch()
    options = SlurmOptions(**(sweep.settings["options"] or {}))
    earlier = [Submission(**values) for values in sweep.settings.get("submissions", ())]
    busy = _runs_in_queue(earlier, len(sweep.runs))
    unfinished = [
        run.index
        for run in sweep.runs
        if run.index not in busy and read_status(run.directory)["status"] != RunStatus.completed
    ]
    if not unfinished:
        return None
    submission = submit(sweep.directory, unfinished, options)
    update_settings(sweep, submissions=[asdict(entry) for entry in (*earlier, submission)])
    return submission


def submit(directory: Path, unfinished: Sequence[int], options: SlurmOptions) -> Submission:
    """Submit the chunks that hold unfinished runs as one array, and a job that gathers.

    Parameters
    ----------
    directory
        The sweep folder.
    unfinished
        Indices of the runs that still have to run.
    options
        What to ask for.
    """
    directory = directory.resolve()
    chunk = chunk_size(max(unfinished) + 1, options.chunk, max_array_size())
    elements = sorted({index // chunk for index in unfinished})
    (directory / "slurm").mkdir(exist_ok=True)
    script = directory / "sweep.sbatch"
    replace_text(script, script_text(directory, elements, chunk, options))
    job = _sbatch(str(script))
    gather = _sbatch(*_gather_arguments(directory, job, options))
    return Submission(job, gather, chunk, len(elements))


def script_text(
    directory: Path,
    elements: Sequence[int],
    chunk: int,
    options: SlurmOptions,
    python: str = sys.executable,
) -> str:
    """Return the array's batch script.

    Parameters
    ----------
    directory
        The sweep folder, absolute.
    elements
        Indices of the array's elements.
    chunk
        Runs per element.
    options
        What to ask for.
    python
        The interpreter that has labkit.
    """
    limit = f"%{options.max_parallel}" if options.max_parallel else ""
    asked = {
        "job-name": _job_name(directory),
        "array": f"{ranges(elements)}{limit}",
        "partition": options.partition,
        "cpus-per-task": options.cpus,
        "mem": options.mem,
        "time": options.time,
        "gpus": options.gpus,
        "output": f'"{directory}/slurm/%A_%a.out"',
        "open-mode": "append",
        "signal": f"B:USR1@{WARNING_SECONDS}",
    }
    lines = [f"--{name}={value}" for name, value in asked.items() if value is not None]
    directives = [*lines, "--requeue", *options.sbatch_args]
    return _SCRIPT.format(
        directives="\n".join(f"#SBATCH {line}" for line in directives),
        worker=shlex.join([python, "-m", "labkit.cli", "worker", str(directory)]),
        chunk=chunk,
        requeues=MAX_REQUEUES,
    )


def chunk_size(runs: int, wanted: int, max_array: int) -> int:
    """Return the runs per element: `wanted`, or more where the array would grow too long.

    Examples
    --------
    >>> chunk_size(10_000, 4, 1001)
    10
    """
    return max(wanted, -(-runs // max_array))


def max_array_size() -> int:
    """Return how many elements the cluster allows in an array (Slurm's default is 1001)."""
    for line in _output("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return 1001


def ranges(numbers: Iterable[int]) -> str:
    """Return sorted numbers as sbatch writes them.

    Examples
    --------
    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def queued(jobs: Iterable[int]) -> dict[tuple[int, int], str]:
    """Return the state of each array element of `jobs` that squeue still knows.

    Returns
    -------
    dict
        ``(job, element)`` to ``PENDING``, ``RUNNING``, ``COMPLETING``, ...; empty without squeue.
    """
    states = {}
    for job in jobs:
        for line in _output("squeue", "-h", "-r", "-o", "%F %K %T", "-j", str(job)).splitlines():
            array, element, state = line.split()[:3]
            if element.isdigit():
                states[int(array), int(element)] = state
    return states


def require_sbatch() -> None:
    """Raise LabkitError, with the way to run locally, where there is no sbatch."""
    if shutil.which("sbatch") is None:
        raise LabkitError(
            "there is no sbatch on this machine. Run this on a Slurm login node, or locally: "
            "--executor local"
        )


def _job_name(directory: Path) -> str:
    return "labkit-" + re.sub(r"[^\w.-]+", "_", directory.name)


def _runs_in_queue(submissions: Sequence[Submission], runs: int) -> set[int]:
    """Return the indices of the runs whose array element waits or runs."""
    chunk_of = {entry.job: entry.chunk for entry in submissions}
    return {
        index
        for job, element in queued(chunk_of)
        for index in range(element * chunk_of[job], min((element + 1) * chunk_of[job], runs))
    }


def _gather_arguments(directory: Path, job: int, options: SlurmOptions) -> list[str]:
    command = [sys.executable, "-m", "labkit.cli", "collect", str(directory)]
    arguments = [
        f"--dependency=afterany:{job}",
        f"--job-name={_job_name(directory)}-gather",
        f"--output={directory}/slurm/gather-%j.out",
        *([f"--partition={options.partition}"] if options.partition else []),
        *options.sbatch_args,
    ]
    return [*arguments, "--wrap", shlex.join([*command, "-o", str(directory / "results.csv")])]


def _sbatch(*arguments: str) -> int:
    done = subprocess.run(
        ["sbatch", "--parsable", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().removeprefix("sbatch: error: ").partition("\n")[0]
        raise LabkitError(f"sbatch refused the sweep: {reason}")
    return int(done.stdout.strip().partition(";")[0])


def _output(*command: str) -> str:
    """Return what a command prints, nothing where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout
