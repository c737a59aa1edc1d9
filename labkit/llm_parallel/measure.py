"""Strategies that are trained for real, a few steps each: a time, or a failure with its reason.

What `measure` returns is what a simulated cluster returns, so a search can use either; the runs
among the outcomes calibrate the cost model (`labkit.llm_parallel.runs.runs_from_outcomes`). The
first steps of a run allocate memory and open connections, so its time is the median of the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from labkit.choices import not_allowed, require_folder, require_whole
from labkit.distributed.launch import launch, require_seconds
from labkit.distributed.slurm import SlurmRequest, launch_slurm
from labkit.distributed.verdict import Launch
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.outcome import Failure, Outcome, Run
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.runtime.job import SYNTHETIC, Job, require_ready, require_runnable

LAUNCHERS = ("local", "slurm")
TRAIN = "labkit.llm_parallel.runtime.train"
MAX_LOCAL_PROCESSES = 64
"""Each takes about 300 MiB before the model has a parameter."""


def measure(
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    steps: int = 8,
    warmup: int | None = None,
    launcher: str = "local",
    timeout_s: float = 600.0,
    device: str = "auto",
    data: str = SYNTHETIC,
    seed: int = 0,
    learning_rate: float = 1e-3,
    count_collectives: bool = False,
    compare_single: bool = False,
    out: str | os.PathLike[str] | None = None,
    request: SlurmRequest | None = None,
) -> Outcome:
    """Train a few steps with a strategy and return how long one takes.

    With its first argument fixed (``functools.partial(measure, model)``) it is an objective for
    `labkit.llm_parallel.tune.tune`.

    Parameters
    ----------
    model : ModelConfig
    parallel : ParallelConfig
        One process is started for each of its devices.
    steps : int
        Steps to train.
    warmup : int, optional
        How many of the first do not count; two, or all but one of fewer than three, where None.
    launcher : {"local", "slurm"}
        Processes of this machine, or of a Slurm job.
    timeout_s : float
        Seconds after which the run is ended.
    device : {"auto", "cpu", "cuda"}
    data : str
        Text file, or ``"synthetic"``.
    seed : int
    learning_rate : float
    count_collectives : bool
        Count the messages of one step; its own time is kept out of the median by `warmup`.
    compare_single : bool
        Also take the same steps in one process; ``details["single_losses"]`` has their losses.
    out : path, optional
        Folder that gets one folder a strategy, with its job, result and log files; temporary
        where None (for Slurm in the working folder, which nodes share).
    request : SlurmRequest, optional
        What the Slurm job asks for; one node with all processes where None.

    Returns
    -------
    Run or Failure
        A strategy that is illegal, runs out of memory, crashes or takes too long is a `Failure`.

    Raises
    ------
    ParameterError, MissingDataError
        What is wrong is not the strategy.
    LabkitError
        Slurm is not here, or refuses the job.
    """
    require_whole("steps", steps, low=1)
    warmup = min(2, steps - 1) if warmup is None else warmup
    _require_choices(steps, warmup, launcher, timeout_s, request, parallel)
    refusal = _refusal(model, parallel, launcher, device)
    if refusal is not None:
        return refusal
    with ExitStack() as stack:
        folder = _folder(stack, out, parallel, launcher)
        job = Job(
            model=model,
            parallel=parallel,
            steps=steps,
            seed=seed,
            learning_rate=learning_rate,
            device=device,
            data=data,
            out=str(folder),
            count_collectives=count_collectives,
            compare_single=compare_single,
        )
        require_ready(job, n_processes=parallel.n_devices)
        job.result_path.unlink(missing_ok=True)
        done = _launched(job, folder, launcher, timeout_s, request)
        return _outcome(job, done, warmup)


def _require_choices(
    steps: int,
    warmup: int,
    launcher: str,
    timeout_s: float,
    request: SlurmRequest | None,
    parallel: ParallelConfig,
) -> None:
    require_whole("warmup", warmup, low=0)
    if steps <= warmup:
        raise ParameterError(f"steps={steps}: the first {warmup} do not count; use more.")
    if launcher not in LAUNCHERS:
        raise ParameterError(not_allowed("launcher", launcher, LAUNCHERS))
    require_seconds("timeout_s", timeout_s)
    n_devices = parallel.n_devices
    if launcher == "local" and n_devices > MAX_LOCAL_PROCESSES:
        raise ParameterError(
            f"launcher='local': {parallel.label()} needs {n_devices} processes; this machine "
            f"starts {MAX_LOCAL_PROCESSES} at most. Use fewer devices or launcher='slurm'."
        )
    if request is not None and request.n_processes != n_devices:
        raise ParameterError(
            f"request: nodes * processes_per_node = {request.nodes} * "
            f"{request.processes_per_node} is not the {n_devices} devices of {parallel.label()}."
        )


def _refusal(
    model: ModelConfig, parallel: ParallelConfig, launcher: str, device: str
) -> Failure | None:
    """Return why a strategy is not started, or None.

    One that cannot fit into this machine would freeze it before the system ends a process, so it
    is not tried; the message says that the number is the model's.
    """
    try:
        check(model, parallel)
        require_runnable(model, parallel)
    except ParameterError as error:
        return Failure(strategy=parallel, reason="illegal", message=str(error))
    if launcher == "local" and _on_cpu(device):
        needed = float(peak_bytes(model, parallel)[0]) * parallel.n_devices
        there = psutil.virtual_memory().total
        if needed > there:
            message = (
                f"not started: by the cost model it needs {needed / 2**30:.1f} GiB, and this "
                f"machine has {there / 2**30:.1f} GiB"
            )
            return Failure(strategy=parallel, reason="out of memory", message=message)
    return None


def _on_cpu(device: str) -> bool:
    """Whether the ranks will use the main memory, told without importing torch."""
    has_gpu = any(Path(driver).exists() for driver in ("/dev/nvidia0", "/dev/kfd"))
    return device == "cpu" or (device == "auto" and not has_gpu)


def _folder(
    stack: ExitStack, out: str | os.PathLike[str] | None, parallel: ParallelConfig, launcher: str
) -> Path:
    if out is None:
        shared = Path.cwd() if launcher == "slurm" else None
        made = tempfile.TemporaryDirectory(prefix="labkit-measure-", dir=shared)
        return Path(stack.enter_context(made)).resolve()
    require_folder("out", out)
    code = hashlib.sha256(repr(parallel).encode()).hexdigest()[:8]
    name = f"{parallel.label().replace(' ', '-')}-{code}"
    folder = Path(out).expanduser().resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _launched(
    job: Job, folder: Path, launcher: str, timeout_s: float, request: SlurmRequest | None
) -> Launch:
    arguments = ["--job", str(job.write(folder / "job.json"))]
    n_processes = job.parallel.n_devices
    logs = folder / "logs"
    if launcher == "local":
        return launch(
            TRAIN, arguments, n_processes=n_processes, timeout_s=timeout_s, log_folder=logs
        )
    return launch_slurm(
        TRAIN,
        arguments,
        request=request or SlurmRequest(processes_per_node=n_processes),
        timeout_s=timeout_s,
        log_folder=logs,
    )


def _outcome(job: Job, done: Launch, warmup: int) -> Outcome:
    if done.reason is not None:
        return Failure(strategy=job.parallel, reason=done.reason, message=done.message)
    try:
        result: Mapping[str, Any] = json.loads(job.result_path.read_text())
    except (OSError, ValueError) as error:
        message = f"the ranks ended well, but their result cannot be read: {error}"
        return Failure(strategy=job.parallel, reason="lost", message=message)
    seconds = [float(value) for value in result["seconds"]]
    low, median, high = np.quantile(seconds[warmup:], (0.25, 0.5, 0.75))
    memory = [float(value) for value in result["peak_memory_bytes"] if value is not None]
    known = {"seconds", "losses", "peak_memory_bytes"}
    return Run(
        strategy=job.parallel,
        seconds=float(median),
        memory_bytes=max(memory, default=None),
        steps=tuple(seconds),
        losses=tuple(float(value) for value in result["losses"]),
        details={
            "seconds_low": float(low),
            "seconds_high": float(high),
            **{name: value for name, value in result.items() if name not in known},
        },
    )
