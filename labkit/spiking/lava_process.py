"""Lava's own Python and scripts that run in it, as child processes that leave nothing behind.

Lava 0.10 runs on Python 3.10 only, so it lives in an environment of its own
(environment-lava.yml) and labkit starts the scripts of ``lava_env`` there. A script is the leader
of a session of its own: Lava starts one process for each population and projection, and shared
memory between them, and all of it goes when the script ends, runs out of time, or is interrupted,
and also when labkit itself is killed (the script watches its standard input).
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from labkit.errors import LabkitError

logger = logging.getLogger(__name__)

ENVIRONMENT = "labkit-lava"
VARIABLE = "LABKIT_LAVA_PYTHON"
SCRIPTS = Path(__file__).with_name("lava_env")

_REMEDY = (
    f"run `conda env create -f environment-lava.yml`, or set {VARIABLE} to the Python 3.10 of an "
    "environment with its packages"
)
_FLAGS = ("-E", "-s", "-B")
"""Nothing of this interpreter's settings or of the user's packages, and no files beside scripts."""
_ASK_VERSION = (
    "import lava.magma.core.run_configs\n"
    "from importlib.metadata import version\n"
    "print(version('lava-nc'))\n"
)
_QUESTION_SECONDS = 120.0
_TICK_SECONDS = 0.01
_GRACE_SECONDS = 5.0
_TAIL_LINES = 12


class LavaError(LabkitError):
    """Something asked of Lava did not succeed there."""


class MissingLavaError(LavaError):
    """No Python with Lava is to be had."""


def lava_python() -> Path:
    """Python interpreter that can run Lava.

    ``LABKIT_LAVA_PYTHON`` if it is set, else the one of the conda environment ``labkit-lava``. It
    is tried out: it has to import Lava.

    Raises
    ------
    MissingLavaError
        There is none, or the one that there is cannot import Lava; says what to do.
    """
    given = os.environ.get(VARIABLE, "")
    if given:
        found = shutil.which(Path(given).expanduser()) or given
        python, source = Path(found).absolute(), f"{VARIABLE}={given}"
    else:
        python, source = _conda_python(), f"the conda environment {ENVIRONMENT}"
    try:
        version = _lava_version(python)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingLavaError(
            f"{source} cannot run Lava ({_reason(error)}); {_REMEDY}."
        ) from error
    if not version:
        raise MissingLavaError(
            f"{source} cannot run Lava (asked for Lava's version, it printed nothing); {_REMEDY}."
        )
    return python


def has_lava() -> bool:
    """Whether `lava_python` finds an interpreter that runs Lava."""
    try:
        lava_python()
    except MissingLavaError as missing:
        logger.info("%s", missing)
        return False
    return True


class LavaScript:
    """A script of ``lava_env``, running; used as a context manager.

    Parameters
    ----------
    name : str
        File in ``lava_env``.
    arguments : sequence of str
    folder : Path
        Where it runs and where what it prints is kept.
    python : Path
        Interpreter that has Lava.
    timeout_s : float
        Seconds after which `check` gives up.
    pass_fds : sequence of int
        Descriptors that the script may use.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        python: Path,
        timeout_s: float,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._output = folder / "output.txt"
        command = [str(python), *_FLAGS, str(SCRIPTS / name), *arguments, "--end-with-stdin"]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
                cwd=folder,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Process, and process group, of the script."""
        return self._process.pid

    def check(self) -> bool:
        """Return whether the script has finished well.

        Raises
        ------
        LavaError
            It failed, with the end of what it printed, or is over its time.
        """
        # WNOWAIT leaves the process as a zombie, so that its group's number stays its own.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            if time.monotonic() > self._until:
                raise LavaError(
                    f"Lava needed more than timeout_s={self._timeout_s:g} and was ended; raise "
                    f"timeout_s or ask for less.{self._tail()}"
                )
            return False
        if ended.si_code != os.CLD_EXITED or ended.si_status:
            how = "exit code" if ended.si_code == os.CLD_EXITED else "signal"
            raise LavaError(f"Lava failed with {how} {ended.si_status}.{self._tail()}")
        return True

    def wait(self) -> None:
        """Wait until the script has finished well; raises as `check` does."""
        while not self.check():
            time.sleep(_TICK_SECONDS)

    def end(self) -> None:
        """End every process of the script; none is left when this returns.

        They are asked first: the tracker of shared memory, which is one of them, ignores the
        signal, outlives the others and removes what they shared.
        """
        _signal_group(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        until = time.monotonic() + _GRACE_SECONDS
        while _group_lives(self.pid) and time.monotonic() < until:
            time.sleep(_TICK_SECONDS)
        _signal_group(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _tail(self) -> str:
        lines = self._output.read_text(errors="replace").strip().splitlines()
        if not lines:
            return ""
        return "".join(f"\n  {line}" for line in ["It printed last:", *lines[-_TAIL_LINES:]])


def _signal_group(group: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signum)


def _group_lives(group: int) -> bool:
    """Whether a process of the group runs; the dead that nobody has asked for do not count."""
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


@functools.cache
def _lava_version(python: Path) -> str:
    done = subprocess.run(
        [str(python), *_FLAGS, "-c", _ASK_VERSION],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=_QUESTION_SECONDS,
    )
    return done.stdout.strip()


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return " ".join((error.stderr or "").strip().splitlines()[-1:]) or "it failed"
    return str(error)


def _conda_python() -> Path:
    for folder in [*_sibling_environments(), *_listed_environments()]:
        python = folder / "bin" / "python"
        if folder.name == ENVIRONMENT and python.is_file():
            return python
    raise MissingLavaError(
        f"Lava is not on this machine ({VARIABLE} is not set and there is no conda environment "
        f"{ENVIRONMENT}); {_REMEDY}."
    )


def _sibling_environments() -> list[Path]:
    prefix = os.environ.get("CONDA_PREFIX", "")
    if not prefix:
        return []
    return [Path(prefix).parent / ENVIRONMENT, Path(prefix) / "envs" / ENVIRONMENT]


def _listed_environments() -> list[Path]:
    names = (os.environ.get("CONDA_EXE", ""), "conda", "mamba", "micromamba")
    conda = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if conda is None:
        return []
    try:
        listed = subprocess.run(
            [conda, "env", "list", "--json"],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_QUESTION_SECONDS,
        )
        return [Path(folder) for folder in json.loads(listed.stdout)["envs"]]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        logger.warning("%s could not list its environments: %s", conda, error)
        return []
