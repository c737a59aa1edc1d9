"""What runs inside the forkserver and in the kernels forked from it.

The forkserver imports modules and forks; a forked kernel must be as a cold one would be. So the
child becomes the leader of its own session, takes over everything that a new process would have
got from the runner at this moment (environment, working directory, limits, standard streams),
forgets that it came from a forkserver, draws new random seeds, and then starts ipykernel.

What a notebook still can tell: output that a module prints while it is imported is not repeated,
and the order of sets of strings is the same in all kernels of a pool.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import io
import json
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASE_MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "IPython.core.completer",
    "IPython.core.pylabtools",
    "matplotlib_inline.config",
    "comm",
    "psutil",
)
"""What every ipykernel imports until its first cell."""

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FORK_SAFE_THREADS = {"jemalloc_bg_thd"}
_PR_SET_PDEATHSIG = 1


@dataclass
class Preloaded:
    """What the forkserver holds.

    Attributes
    ----------
    refused
        Module to the reason why kernels forked from this server would not be like cold ones.
    events
        IPython event callbacks that modules registered while they were imported.
    """

    path: list[str] = field(default_factory=list)
    handlers: dict[signal.Signals, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, Callable[..., Any]]] = field(default_factory=list)
    seconds: float = 0.0


STATE = Preloaded()


def preload(modules: Sequence[str], folder: str) -> None:
    """Turn this process, a forkserver at its start, into one that holds some modules.

    Parameters
    ----------
    modules
        To import, after ipykernel's own.
    folder
        The runner's private folder, removed when this server ends.
    """
    started = time.monotonic()
    with contextlib.suppress(PermissionError):
        os.setsid()
    for signum in _HANDLED:
        STATE.handlers[signum] = signal.signal(signum, signal.SIG_IGN)
    sys.path[:] = [entry for entry in sys.path if entry]
    STATE.path = list(sys.path)
    with _as_if_in_a_kernel():
        for name in (*BASE_MODULES, *modules):
            if not _import(name):
                break
    atexit.register(_end_kernels, folder)
    gc.collect()
    gc.freeze()
    STATE.seconds = time.monotonic() - started


def _import(name: str) -> bool:
    """Import a module, note why it must not be preloaded; False when importing on is pointless."""
    try:
        importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        if name not in BASE_MODULES:
            STATE.refused[name] = f"importing it raised {type(error).__name__}: {error}"
        return True
    reason = _why_not_fork()
    if reason:
        STATE.refused[name] = reason
    return not reason


def _why_not_fork() -> str:
    """Return why forking this process now would break the child; empty when it would not.

    Threads do not survive a fork. Those of OpenBLAS end by themselves before one, so the native
    threads are counted after a trial.
    """
    if threading.active_count() > 1:
        return "importing it starts a thread"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "importing it initializes CUDA"
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    if sum(name not in _FORK_SAFE_THREADS for name in names) > 1:
        return f"importing it starts native threads ({', '.join(sorted(set(names)))})"
    return ""


class _ImportTimeShell:
    """Stands for the kernel's shell while modules are imported that look for one."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"IPKernelApp": {}}
        self.events = self

    def register(self, event: str, function: Callable[..., Any]) -> None:
        STATE.events.append((event, function))


@contextmanager
def _as_if_in_a_kernel() -> Iterator[None]:
    """Let modules find a Jupyter kernel's shell and matplotlib backend while they are imported."""
    import IPython
    from IPython.core import getipython

    original, shell, importing = getipython.get_ipython, _ImportTimeShell(), True

    def get_ipython() -> Any:
        return shell if importing else original()

    get_ipython.__doc__ = original.__doc__
    backend = os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    IPython.get_ipython = getipython.get_ipython = get_ipython
    try:
        yield
    finally:
        importing = False
        IPython.get_ipython = getipython.get_ipython = original
        del backend


def _end_kernels(folder: str) -> None:
    """End all kernels of this server, with their process groups: the runner is gone."""
    pid = os.getpid()
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        for child in children.read_text().split():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(child), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class KernelStart:
    """Everything a forked kernel needs; the forkserver unpickles it and calls ``_bootstrap``.

    Attributes
    ----------
    arguments
        Of ``python -m ipykernel_launcher``; None to report on the server and end.
    command
        The whole command that a cold start would have run.
    """

    arguments: list[str] | None
    command: list[str]
    cwd: str
    env: dict[str, str]
    limits: dict[int, tuple[int, int]]
    affinity: set[int]
    niceness: int

    def _bootstrap(self, sentinel: int) -> int:
        """Be a kernel (or a report) until it ends; return the exit code."""
        os.close(sentinel)
        server = os.getppid()
        os.setsid()
        _die_with(server)
        _forget_forkserver()
        if self.arguments is None:
            return _report()
        self._take_over()
        _reseed()
        code = _run_kernel(self.arguments, server)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        return code

    def _take_over(self) -> None:
        """Become what a process started by the runner now would be."""
        atexit.unregister(_end_kernels)
        for signum, handler in STATE.handlers.items():
            signal.signal(signum, handler)
        os.environ.clear()
        os.environ.update(self.env)
        time.tzset()
        tempfile.tempdir = None
        for which, limit in self.limits.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(which, limit)
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, self.affinity)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, self.niceness)
        os.chdir(self.cwd)
        sys.path[:] = STATE.path
        launcher = importlib.util.find_spec("ipykernel_launcher")
        assert launcher is not None
        sys.argv = [launcher.origin or "", *(self.arguments or [])]
        sys.orig_argv = self.command


def _die_with(server: int) -> None:
    """Let the system kill this process when the server ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _forget_forkserver() -> None:
    """Put on the standard streams; drop what multiprocessing keeps in a forkserver's child."""
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    tracker = multiprocessing.resource_tracker._resource_tracker  # type: ignore[attr-defined]
    stdout, stderr = server._inherited_fds
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
    spent = {null, stdout, stderr, server._forkserver_alive_fd, tracker._fd}
    for descriptor in spent - {0, 1, 2, None}:
        os.close(descriptor)
    server.__init__()
    tracker._fd = None
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        raw = open(descriptor, f"{mode}b", closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            raw,
            encoding="utf-8",
            errors="backslashreplace" if name == "stderr" else "strict",
            line_buffering=name == "stderr",
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _report() -> int:
    """Write what the server holds to standard output, as JSON."""
    answer = {
        "server": os.getppid(),
        "refused": STATE.refused,
        "seconds": STATE.seconds,
    }
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    return 0


def _reseed() -> None:
    """Draw new seeds where a fork repeats its parent's (``random`` does it by itself)."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(None)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.seed()


def _run_kernel(arguments: list[str], server: int) -> int:
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.parent_handle = server
    try:
        app.initialize(arguments)
        for event, function in STATE.events:
            app.shell.events.register(event, function)
        app.start()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
