"""The same module on several nodes: a batch script whose srun starts one torchrun a node.

The torchruns find each other at the first node of the job, by the c10d rendezvous of torch. The
script works both ways: ``sbatch`` queues it, and inside an allocation ``bash`` runs it, because
all it needs are the variables that Slurm sets for a job.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.atomic import replace_text
from labkit.choices import require_whole
from labkit.distributed.launch import prepared_folder, require_seconds
from labkit.distributed.verdict import Launch, conclude
from labkit.errors import LabkitError, ParameterError

_POLL_SECONDS = 0.2
_QUEUE_POLL_SECONDS = 15.0
_FIRST_QUEUE_POLL_SECONDS = 2.0
_HOPELESS = ("PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "BadConstraints")
"""Reasons of Slurm for jobs that wait for something that waiting does not change."""
_ENDING_SECONDS = 60.0
_ENDED = ("", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
_FIRST_NODE = """\
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p' | head -n 1)
port={port}"""
_JOB_PORT = "$((20000 + SLURM_JOB_ID % 20000))"


@dataclass(frozen=True, kw_only=True)
class SlurmRequest:
    """What a job asks of Slurm.

    Attributes
    ----------
    nodes : int
    processes_per_node : int
        Ranks of a node, one for each of its devices.
    time : str, optional
        Limit as sbatch writes it, e.g. ``"00:30:00"``; the cluster's default where None.
    partition, account : str, optional
    cpus_per_task : int, optional
        Cores of a node, which its ranks share.
    gpus_per_node : int, optional
    job_name : str
    sbatch_arguments : tuple of str
        Further options, such as ``"--constraint=a100"``.

    Examples
    --------
    >>> SlurmRequest(nodes=2, processes_per_node=8, time="00:30:00").n_processes
    16
    """

    nodes: int = 1
    processes_per_node: int = 1
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    cpus_per_task: int | None = None
    gpus_per_node: int | None = None
    job_name: str = "labkit"
    sbatch_arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sbatch_arguments", tuple(self.sbatch_arguments))
        require_whole("nodes", self.nodes, low=1)
        require_whole("processes_per_node", self.processes_per_node, low=1)
        for name in ("cpus_per_task", "gpus_per_node"):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), low=1)
        for name in ("time", "partition", "account", "job_name"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\w.:,@+-]+", str(value)):
                raise ParameterError(f"{name}={value!r}: use letters, digits and . : , @ + - _.")

    @property
    def n_processes(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.processes_per_node


def srun_line(
    module: str,
    arguments: Sequence[str] = (),
    *,
    nodes: int,
    processes_per_node: int,
    torchrun: Sequence[str] = ("torchrun",),
) -> str:
    """Return the command that starts a module on the nodes of a job.

    Parameters
    ----------
    module : str
        Importable on all nodes.
    arguments : sequence of str
        Command-line arguments of the module.
    nodes, processes_per_node : int
    torchrun : sequence of str
        Words that start torchrun, such as ``("python", "-m", "torch.distributed.run")``.

    Returns
    -------
    str
        One line of shell; it uses the variables ``head`` and ``port``, which `sbatch_text` sets.

    Examples
    --------
    >>> srun_line("train", ["--job", "job.json"], nodes=2, processes_per_node=8)
    'srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1 torchrun --nnodes=2
     --nproc-per-node=8 --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d
     --rdzv-endpoint="$head:$port" -m train --job job.json'
    """
    srun = f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=1"
    meeting = '--rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$head:$port"'
    options = f"--nnodes={nodes} --nproc-per-node={processes_per_node} {meeting}"
    words = shlex.join(["-m", module, *map(str, arguments)])
    return f"{srun} {shlex.join(torchrun)} {options} {words}"


def sbatch_text(
    module: str,
    arguments: Sequence[str] = (),
    *,
    request: SlurmRequest,
    torchrun: Sequence[str] = ("torchrun",),
    environment: Mapping[str, str] | None = None,
    output: str = "slurm-%j.out",
    port: int | None = None,
) -> str:
    """Return a batch script that runs a module as one torchrun over the nodes of a job.

    Parameters
    ----------
    module : str
        Importable on all nodes.
    arguments : sequence of str
        Command-line arguments of the module.
    request : SlurmRequest
    torchrun : sequence of str
        Words that start torchrun.
    environment : mapping, optional
        Variables to set.
    output : str
        File for what the job prints.
    port : int, optional
        Of the rendezvous; one that depends on the job where None.

    Returns
    -------
    str
        For sbatch, or for bash inside an allocation.
    """
    line = srun_line(
        module,
        arguments,
        nodes=request.nodes,
        processes_per_node=request.processes_per_node,
        torchrun=torchrun,
    )
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    head = _FIRST_NODE.format(port=_JOB_PORT if port is None else port)
    lines = ["#!/bin/bash", *_directives(request, output), *exports, head, line]
    return "\n".join(lines) + "\n"


def launch_slurm(
    module: str,
    arguments: Sequence[str] = (),
    *,
    request: SlurmRequest,
    timeout_s: float,
    log_folder: str | os.PathLike[str],
    environment: Mapping[str, str] | None = None,
) -> Launch:
    """Run a module on the nodes of a Slurm job and wait for its end.

    Inside an allocation (``SLURM_JOB_ID`` is set) the module runs there; elsewhere a job is
    queued. Interrupted, or past its time, the job is canceled.

    Parameters
    ----------
    module : str
        Importable on all nodes.
    arguments : sequence of str
        Command-line arguments of the module.
    request : SlurmRequest
    timeout_s : float
        Seconds from the start of the first torchrun; waiting in the queue does not count.
    log_folder : path
        On a file system that all nodes share.
    environment : mapping, optional
        Variables to add to those of this process.

    Returns
    -------
    Launch
        As of `labkit.distributed.launch.launch`.

    Raises
    ------
    ParameterError
        A parameter is not allowed.
    LabkitError
        There is no Slurm here, or it refuses the job.
    """
    require_seconds("timeout_s", timeout_s)
    inside = "SLURM_JOB_ID" in os.environ
    _require_program("srun" if inside else "sbatch")
    folder = prepared_folder(log_folder)
    text = sbatch_text(
        "labkit.distributed.rank",
        [str(folder), module, *arguments],
        request=request,
        torchrun=(sys.executable, "-m", "labkit.distributed.agent", str(folder)),
        environment=environment,
        output=str(folder / "agent.log"),
    )
    script = folder / "job.sbatch"
    replace_text(script, f"{text}code=$?\necho $code > {shlex.quote(str(folder))}/exit_code\n")
    started = time.monotonic()
    job = _Step(script) if inside else _Job(script)
    try:
        returncode = _wait(job, folder, timeout_s)
    finally:
        if _exit_code(folder) is None:
            job.end()
    return conclude(
        folder,
        n_processes=request.n_processes,
        returncode=-9 if returncode is None else returncode,
        seconds=time.monotonic() - started,
        limit_s=timeout_s if returncode is None else None,
    )


class _Job:
    """A queued job."""

    def __init__(self, script: Path) -> None:
        command = ["sbatch", "--parsable", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.replace("sbatch: error: ", "").strip().splitlines()
            raise LabkitError(
                f"sbatch refused the job: {lines[-1] if lines else 'no reason given'}"
            )
        self.number = done.stdout.strip().partition(";")[0]
        self._next_poll = time.monotonic() + _FIRST_QUEUE_POLL_SECONDS
        self._known = True

    def runs(self) -> bool:
        """Whether Slurm still has the job; it is not asked often."""
        if time.monotonic() > self._next_poll:
            self._next_poll = time.monotonic() + _QUEUE_POLL_SECONDS
            state, reason = self._state()
            if state == "PENDING" and reason in _HOPELESS:
                raise LabkitError(
                    f"Slurm cannot start the job ({reason}); ask for fewer nodes, less time or "
                    "another partition."
                )
            self._known = state not in _ENDED
        return self._known

    def end(self) -> None:
        """Cancel the job and wait until it is gone."""
        deadline = time.monotonic() + _ENDING_SECONDS
        while self._state()[0] not in _ENDED and time.monotonic() < deadline:
            subprocess.run(["scancel", self.number], capture_output=True, check=False)
            time.sleep(_POLL_SECONDS)

    def _state(self) -> tuple[str, str]:
        """Return state and reason; nothing where Slurm has forgotten the job."""
        command = ["squeue", "-h", "-j", self.number, "-o", "%T %r"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        state, _, reason = done.stdout.strip().partition(" ")
        return state, reason


class _Step:
    """A script that runs inside an allocation."""

    def __init__(self, script: Path) -> None:
        self._folder = script.parent
        with (self._folder / "agent.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def runs(self) -> bool:
        """Whether the script still runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Cancel the step, whose processes then end before srun does."""
        if not self.runs():
            return
        steps = {_step(path) for path in self._folder.glob("agent-*.json")} - {"."}
        if not steps:
            os.killpg(self._process.pid, signal.SIGTERM)
        for step in steps:
            subprocess.run(["scancel", step], capture_output=True, check=False)
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _step(record: Path) -> str:
    return str(json.loads(record.read_text()).get("slurm_step", "."))


def _wait(job: _Job | _Step, folder: Path, timeout_s: float) -> int | None:
    """Return the exit code that the script leaves, None past the limit, 1 if it left none."""
    deadline = math.inf
    while time.monotonic() < deadline:
        alive = job.runs()
        code = _exit_code(folder)
        if code is not None or not alive:
            return 1 if code is None else code
        if math.isinf(deadline) and any(folder.glob("agent-*.json")):
            deadline = time.monotonic() + timeout_s
        time.sleep(_POLL_SECONDS)
    return None


def _exit_code(folder: Path) -> int | None:
    path = folder / "exit_code"
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text else None


def _directives(request: SlurmRequest, output: str) -> list[str]:
    asked = {
        "job-name": request.job_name,
        "nodes": request.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": request.cpus_per_task,
        "gpus-per-node": request.gpus_per_node,
        "time": request.time,
        "partition": request.partition,
        "account": request.account,
        "output": f'"{output}"',
    }
    lines = [f"--{name}={value}" for name, value in asked.items() if value is not None]
    return [f"#SBATCH {line}" for line in (*lines, *request.sbatch_arguments)]


def _require_program(name: str) -> None:
    if shutil.which(name) is None:
        raise LabkitError(
            f"there is no {name} on this machine; use a Slurm cluster or a local run."
        )
