"""A module run by several processes of this machine under torchrun, watched and ended as a whole.

Every process that a launch starts carries the launch's token in its environment, so that none is
missed when the launch ends: by itself, by the death of a rank, by the time limit or by Ctrl-C.
Should this process itself be killed, the system ends torchrun, and with torchrun its ranks
(`labkit.distributed.tether`).
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from labkit.choices import require_folder, require_whole
from labkit.distributed.agent import LAUNCHER_VARIABLE
from labkit.distributed.verdict import Launch, clear, conclude
from labkit.errors import LabkitError, ParameterError

TOKEN_VARIABLE = "LABKIT_LAUNCH"
_ENDING_SECONDS = 30.0
_LOOPBACK = ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1")
_logger = logging.getLogger(__name__)


def launch(
    module: str,
    arguments: Sequence[str] = (),
    *,
    n_processes: int,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    log_folder: str | os.PathLike[str] | None = None,
) -> Launch:
    """Run ``python -m module arguments`` as the ranks of one torchrun on this machine.

    Parameters
    ----------
    module : str
        Importable by name, such as ``"labkit.distributed.collectives"``.
    arguments : sequence of str
        Command-line arguments of the module.
    n_processes : int
        Ranks.
    timeout_s : float
        Seconds after which all of them are ended.
    environment : mapping, optional
        Variables to add to those of this process.
    log_folder : path, optional
        Where ``rank-<n>.log`` holds what each rank printed; a temporary folder where None.

    Returns
    -------
    Launch
        How it ended; a rank that fails is a result, not an exception.

    Raises
    ------
    ParameterError
        A parameter is not allowed.
    LabkitError
        A process could not be ended.
    """
    require_whole("n_processes", n_processes, low=1)
    require_seconds("timeout_s", timeout_s)
    with ExitStack() as stack:
        if log_folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labkit-")))
        else:
            folder = prepared_folder(log_folder)
        command = local_command(module, arguments, n_processes=n_processes, folder=folder)
        started = time.monotonic()
        returncode = _run(command, timeout_s, environment or {}, folder / "agent.log")
        return conclude(
            folder,
            n_processes=n_processes,
            returncode=-9 if returncode is None else returncode,
            seconds=time.monotonic() - started,
            limit_s=timeout_s if returncode is None else None,
        )


def local_command(
    module: str, arguments: Sequence[str], *, n_processes: int, folder: Path
) -> list[str]:
    """Return the command line of a launch on a free port of the loopback interface."""
    return [
        *(sys.executable, "-m", "labkit.distributed.agent", str(folder)),
        *("--nnodes=1", f"--nproc-per-node={n_processes}", *_LOOPBACK),
        *("-m", "labkit.distributed.rank", str(folder), module, *map(str, arguments)),
    ]


def prepared_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a folder for the records of a launch, absolute, made and without earlier records."""
    require_folder("log_folder", folder)
    path = Path(folder).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    clear(path)
    return path


def require_seconds(name: str, value: object) -> None:
    """Refuse what is not a positive, finite number of seconds."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]
        raise ParameterError(f"{name}={value!r}: use a number of seconds above 0.")


def marked_processes(token: str) -> list[psutil.Process]:
    """Return the processes that a launch started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN_VARIABLE) == token:
                found.append(process)
        except psutil.Error:
            continue  # it ended, or it is somebody else's
    return found


def end_marked(token: str) -> None:
    """End all processes of a launch and wait until they are gone.

    Raises
    ------
    LabkitError
        A process does not end.
    """
    deadline = time.monotonic() + _ENDING_SECONDS
    while left := marked_processes(token):
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise LabkitError(f"processes {pids} do not end; end them by hand: kill -9 {pids}")
        for process in left:
            _logger.debug("ending process %d", process.pid)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)


def _run(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str], log: Path
) -> int | None:
    """Return the exit code of a command, None if the time limit ended it."""
    token = uuid.uuid4().hex
    own = {TOKEN_VARIABLE: token, LAUNCHER_VARIABLE: str(os.getpid())}
    process = None
    try:
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_marked(token)
        if process is not None:
            process.wait()
