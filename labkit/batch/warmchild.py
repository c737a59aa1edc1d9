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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BASE_MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.core.completer",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
    "tornado.queues",
    "comm",
    "psutil",
)
"""What every ipykernel imports until its first cell."""

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FORK_SAFE_THREADS = {"jemalloc_bg_thd"}
_PR_SET_PDEATHSIG = 1
_CONTROL_THREAD_S = 2.0


@dataclass
class Preloaded:
    """What the forkserver holds.

    Attributes
    ----------
    runner, server
        Process ids of the runner and of the forkserver itself.
    path, handlers
        ``sys.path`` and signal handlers as a new interpreter had them.
    refused
        Module to the reason why kernels forked from this server would not be like cold ones.
    variables
        Environment variables that modules set while they were imported.
    printed
        What modules wrote while they were imported.
    seconds
        Time that the imports took.
    """

    runner: int = 0
    server: int = 0
    path: list[str] = field(default_factory=list)
    handlers: dict[signal.Signals, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    printed: str = ""
    seconds: float = 0.0


STATE = Preloaded()


def preload(modules: Sequence[str], folder: str) -> None:
    """Turn this process, a forkserver at its start, into one that holds some modules.

    Parameters
    ----------
    modules
        To import, after ipykernel's own.
    folder
        The runner's private folder, removed by this server when the runner was killed.
    """
    started = time.monotonic()
    STATE.runner, STATE.server = os.getppid(), os.getpid()
    with contextlib.suppress(PermissionError):
        os.setsid()
    for signum in _HANDLED:
        STATE.handlers[signum] = signal.signal(signum, signal.SIG_IGN)
    sys.path[:] = [entry for entry in sys.path if entry]
    STATE.path = list(sys.path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        _import_all(modules)
    STATE.printed = printed.getvalue()
    atexit.register(_end_kernels, folder)
    gc.collect()
    gc.freeze()
    STATE.seconds = time.monotonic() - started


def _import_all(modules: Sequence[str]) -> None:
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    before = dict(os.environ)
    for name in BASE_MODULES:
        _import(name)
    _import_tqdm()
    for name in modules:
        if not _import(name):
            break
    STATE.variables = {
        name: value for name, value in os.environ.items() if before.get(name) != value
    }


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


def _import_tqdm() -> None:
    """Let tqdm find a Jupyter kernel: it decides when it is imported how progress bars look."""
    import IPython

    original = IPython.get_ipython
    IPython.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
    try:
        _import("tqdm.auto")
    finally:
        IPython.get_ipython = original


def _end_kernels(folder: str) -> None:
    """End all kernels of this server and what they started; tidy up for a runner that is gone."""
    import psutil

    children = psutil.Process().children()
    family = [process for child in children for process in child.children(recursive=True)]
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    if os.getppid() != STATE.runner:
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
        os.setsid()
        _die_with(STATE.server)
        _forget_forkserver()
        if self.arguments is None:
            return _report()
        self._take_over()
        _reseed()
        code = _run_kernel(self.arguments, STATE.server)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        return code

    def _take_over(self) -> None:
        """Become what a process started by the runner now would be."""
        atexit.unregister(_end_kernels)
        for signum, handler in STATE.handlers.items():
            signal.signal(signum, handler)
        os.environ.clear()
        os.environ.update(self.env | STATE.variables)
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
    server: Any = multiprocessing.forkserver._forkserver
    tracker: Any = multiprocessing.resource_tracker._resource_tracker
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
        stream = _standard_stream(name, descriptor, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _standard_stream(name: str, descriptor: int, mode: str) -> Any:
    """Return a stream like the ones that Python opens when it starts."""
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    is_stderr, unbuffered = name == "stderr", bool(os.environ.get("PYTHONUNBUFFERED"))
    stream: Any = io.TextIOWrapper(
        buffer,
        encoding="utf-8",
        errors="backslashreplace" if is_stderr else "strict",
        line_buffering=is_stderr and not unbuffered,
        write_through=unbuffered,
    )
    stream.mode = mode
    return stream


def _report() -> int:
    """Write what the server holds to standard output, as JSON."""
    answer = {
        "server": os.getppid(),
        "refused": STATE.refused,
        "printed": STATE.printed,
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


def _forget_matplotlib_backend() -> None:
    """Let the inline backend be imported again: it looks for the kernel's shell when it is."""
    for name in [name for name in sys.modules if name.startswith("matplotlib_inline")]:
        del sys.modules[name]


def _run_kernel(arguments: list[str], server: int) -> int:
    from ipykernel.kernelapp import IPKernelApp

    app: Any = IPKernelApp.instance()
    app.parent_handle = server
    try:
        app.initialize(arguments)
        _forget_matplotlib_backend()
        app.start()
        _let_control_thread_end(app)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _let_control_thread_end(app: Any) -> None:
    """Wait until a shutdown request has been answered in full.

    ipykernel stops its main loop while its control thread still flushes streams through the IOPub
    thread. When the main thread closes that one first, the flush waits for it in vain, and the
    kernel lives on until Jupyter terminates it 2.5 s later.
    """
    if app.control_thread is not None and app.kernel._shutdown_message is not None:
        app.control_thread.join(_CONTROL_THREAD_S)
