"""A process with a notebook's imports loaded, from which kernels are forked.

multiprocessing's forkserver holds the modules: a single-threaded process that forks on request and
reports how its children end. This module starts one per runner process, asks it whether forking is
safe, and replaces it when a notebook needs other modules or an import-time setting changed.

Notation: *pool* is the forkserver with what it has loaded; *refused* modules are those that fail to
import, start threads or initialize CUDA. They are left to each kernel to import.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import multiprocessing.forkserver as mp_forkserver
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.batch.imports import locations
from labkit.batch.preloaded import PRELOAD_VARIABLE
from labkit.batch.warmchild import KernelStart
from labkit.batch.warmprocess import WarmProcess

log = logging.getLogger(__name__)

WARM_UP_S = 600.0
"""Longest time for the imports."""

_STOP_S = 3.0

_IMPORT_TIME = (
    *("PYTHON", "LD_", "LC_", "LANG", "MALLOC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "BLIS_", "VECLIB_"),
    *("MPL", "TORCH", "PYTORCH_", "CUDA_", "NVIDIA_", "HF_", "TRANSFORMERS_", "JAX_", "XLA_"),
)
_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))

_lock = threading.RLock()
_current: WarmPool | None = None
_retired: list[WarmPool] = []
_folder: Path | None = None
_workers = 1


class WarmPool:
    """A forkserver with modules loaded.

    Parameters
    ----------
    modules
        What to load.
    env
        The environment of the kernels to come; what libraries read of it when they are imported
        must be the same at each launch.

    Attributes
    ----------
    refused
        Module to the reason why it is not loaded here but in each kernel.
    usable
        Whether kernels can be forked.
    seconds
        Time that the imports took.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str]) -> None:
        self.modules = tuple(dict.fromkeys(modules))
        self.settings = _import_time_settings(env)
        self.refused: dict[str, str] = {}
        self.usable = False
        self.seconds = 0.0
        self._server: Any = None
        self._server_pid = 0
        self._kernels: list[WarmProcess] = []

    def start(self, cancel: threading.Event | None = None) -> None:
        """Load the modules; again without those that cannot be shared, until the rest can."""
        while True:
            wanted = [name for name in self.modules if name not in self.refused]
            report = self._start_server(wanted, cancel)
            if report is None:
                self.stop()
                return
            log.debug("imports of %s printed: %s", wanted, report["printed"])
            self.seconds += report["seconds"]
            self._server_pid = report["server"]
            if not report["refused"]:
                self.usable = True
                return
            for name, reason in report["refused"].items():
                log.warning("%s is not preloaded: %s", name, reason)
            if not set(report["refused"]) & set(wanted):
                self.stop()
                return
            self.refused |= report["refused"]
            self.stop()

    def serves(self, modules: Sequence[str], env: Mapping[str, str]) -> bool:
        """Tell whether kernels with these modules and this environment can come from here."""
        same = self.settings == _import_time_settings(env)
        alive = not self.usable or _is_alive(self._server_pid)
        return same and alive and set(modules) <= set(self.modules)

    def shadows(self, cwd: Path) -> bool:
        """Tell whether a working directory holds another module by the name of a loaded one."""
        for top in {name.partition(".")[0] for name in self.modules}:
            for candidate in (cwd / f"{top}.py", cwd / top / "__init__.py"):
                if candidate.exists() and str(candidate.resolve()) not in locations(top):
                    return True
        return False

    def launch(
        self, arguments: list[str], *, cwd: str, env: dict[str, str], stdout: Any, stderr: Any
    ) -> WarmProcess:
        """Fork a kernel.

        Parameters
        ----------
        arguments
            Of ``python -m ipykernel_launcher``.
        cwd, env
            Working directory and environment.
        stdout, stderr
            Files for what is not notebook output; None for the runner's own.
        """
        streams = [
            1 if stdout is None else stdout.fileno(),
            2 if stderr is None else stderr.fileno(),
        ]
        kernel = self._fork(_kernel_start(arguments, cwd, env), streams)
        with _lock:
            self._kernels = [other for other in self._kernels if other.poll() is None]
            self._kernels.append(kernel)
        return kernel

    def busy(self) -> bool:
        """Tell whether a kernel of this pool still runs."""
        return any(kernel.poll() is None for kernel in self._kernels)

    def stop(self) -> None:
        """End the server, and with it every kernel."""
        self.usable = False
        server, self._server = self._server, None
        if server is None or server._forkserver_pid is None:
            return
        os.close(server._forkserver_alive_fd)
        until = time.monotonic() + _STOP_S
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            while not os.waitpid(server._forkserver_pid, os.WNOHANG)[0]:
                if time.monotonic() > until:  # a module's thread keeps the process alive
                    os.kill(server._forkserver_pid, signal.SIGKILL)
                time.sleep(0.01)
        server._forkserver_pid = server._forkserver_alive_fd = None

    def forget(self) -> None:
        """Let go of the server without ending it: this process is a fork of its owner."""
        self.usable = False
        if self._server is not None and self._server._forkserver_alive_fd is not None:
            os.close(self._server._forkserver_alive_fd)
        self._server = None

    def _start_server(
        self, modules: list[str], cancel: threading.Event | None
    ) -> dict[str, Any] | None:
        """Start a server and return its report; None when it cannot be had."""
        self._server = mp_forkserver.ForkServer()
        self._server.set_forkserver_preload(["labkit.batch.preloaded"])
        arguments = json.dumps({"modules": modules, "folder": str(private_folder())})
        with _environ({**self.settings, PRELOAD_VARIABLE: arguments}):
            self._server.ensure_running()
        reader, writer = os.pipe()
        try:
            probe = threading.Thread(target=self._probe, args=(writer,), daemon=True)
            probe.start()
            text = _read_all(reader, time.monotonic() + WARM_UP_S, cancel)
        finally:
            os.close(reader)
        try:
            if text:
                return dict(json.loads(text))
            self._give_up()
            return None
        finally:
            probe.join()

    def _probe(self, writer: int) -> None:
        """Ask for a report; the server answers when it has imported everything."""
        with contextlib.suppress(OSError, EOFError):
            self._fork(_kernel_start(None, "/", {}), [writer, 2]).wait()
        os.close(writer)

    def _give_up(self) -> None:
        log.warning("no warm kernels: the process that loads %s gave no answer", self.modules)
        with contextlib.suppress(OSError, TypeError):
            os.kill(self._server._forkserver_pid, signal.SIGKILL)

    def _fork(self, start: KernelStart, descriptors: list[int]) -> WarmProcess:
        status, data = self._server.connect_to_new_process(descriptors)
        with open(data, "wb") as stream:  # noqa: PTH123
            stream.write(pickle.dumps({}) + pickle.dumps(start))
        try:
            return WarmProcess(status)
        except BaseException:
            os.close(status)
            raise


def start_warm_pool(
    imports: Sequence[str], *, workers: int = 1, cancel: threading.Event | None = None
) -> WarmPool:
    """Load modules once for all kernels that this process starts from now on.

    Does nothing when a pool with these modules runs. Kernels get ``OMP_NUM_THREADS`` = cores //
    `workers` unless the environment has it.

    Parameters
    ----------
    imports
        Modules to load, as `labkit.batch.imports.imports_of` finds them.
    workers
        How many kernels will run at a time.
    cancel
        Set it to give up waiting for the imports.

    Returns
    -------
    WarmPool
        ``usable`` is False where kernels must start cold; the log says why.
    """
    global _workers
    _workers = max(1, workers)
    return _pool_for(imports, kernel_environment(), cancel)


def warm_pool(imports: Sequence[str], env: Mapping[str, str]) -> WarmPool | None:
    """Return a pool for kernels with these modules and this environment; None if none can be."""
    pool = _pool_for(imports, env, None)
    return pool if pool.usable else None


def stop_warm_pools() -> None:
    """End all forkservers of this process, and every kernel that came from them."""
    global _current
    with _lock:
        for pool in [*_retired, *([_current] if _current else [])]:
            pool.stop()
        _retired.clear()
        _current = None


def kernel_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a kernel: the given one or this process's, with thread settings.

    Idle OpenMP threads sleep instead of spinning: on a busy machine a spinning thread keeps the
    core from the thread that it waits for (small tensors trained over 10 times slower here).
    """
    environment = dict(os.environ if env is None else env)
    environment.pop(PRELOAD_VARIABLE, None)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // _workers)))
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment


def private_folder() -> Path:
    """Return this process's folder for sockets, which only its user can open."""
    global _folder
    with _lock:
        if _folder is None or not _folder.is_dir():
            parent = tempfile.gettempdir()
            short = parent if len(parent) < 60 else "/tmp"
            _folder = Path(tempfile.mkdtemp(prefix="labkit-", dir=short))
        return _folder


def _pool_for(
    imports: Sequence[str], env: Mapping[str, str], cancel: threading.Event | None
) -> WarmPool:
    global _current
    with _lock:
        _stop_idle_retired()
        if _current is not None and _current.serves(imports, env):
            return _current
        modules: list[str] = []
        if _current is not None:
            _retired.append(_current)
            modules += _current.modules if _current.usable else ()
        pool = WarmPool([*modules, *imports], env)
        if sys.platform == "linux":
            pool.start(cancel)
        if cancel is None or not cancel.is_set():
            _current = pool
        return pool


def _stop_idle_retired() -> None:
    for pool in [pool for pool in _retired if not pool.busy()]:
        pool.stop()
        _retired.remove(pool)


def _kernel_start(arguments: list[str] | None, cwd: str, env: dict[str, str]) -> KernelStart:
    command = [sys.executable, "-m", "ipykernel_launcher", *(arguments or [])]
    return KernelStart(
        arguments,
        command,
        cwd,
        env,
        limits={which: resource.getrlimit(which) for which in _LIMITS},
        affinity=os.sched_getaffinity(0),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
    )


def _import_time_settings(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_IMPORT_TIME)}


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(allowed, int(granted)) if granted.isdecimal() and int(granted) else allowed


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _read_all(reader: int, until: float, cancel: threading.Event | None) -> bytes:
    """Read to the end; return nothing when that does not come in time or `cancel` is set."""
    content = b""
    while time.monotonic() < until and not (cancel is not None and cancel.is_set()):
        if select.select([reader], [], [], 0.1)[0]:
            block = os.read(reader, 65536)
            if not block:
                return content
            content += block
    return b""


@contextmanager
def _environ(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block; other import-time ones are unset."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(_IMPORT_TIME)]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _forget_pools() -> None:
    """In a fork of the runner: the pools and the folder are the parent's."""
    global _current, _folder, _lock
    _lock = threading.RLock()
    for pool in [*_retired, *([_current] if _current else [])]:
        pool.forget()
    _retired.clear()
    _current = _folder = None


def _at_exit() -> None:
    stop_warm_pools()
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
