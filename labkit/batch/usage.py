"""Memory and CPU time of a kernel and its children, and the memory that there is.

Sampled from outside with psutil: a forked kernel's children are not children of the runner, and a
kernel that was killed can no longer tell. The kernel's own peak is the system's high-water mark
(``VmHWM``), so a short peak between two samples counts as long as the kernel lives to the next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

MIB = 2**20
GIB = 2**30

SAMPLE_S = 0.5
"""Shortest time between two samples."""

_COST_SHARE = 0.02
_CGROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 2**60


class Usage:
    """What the process tree of one kernel has used so far.

    Parameters
    ----------
    pid
        Process id of the kernel, which leads its process group.

    Attributes
    ----------
    peak_rss
        Largest resident memory of the kernel and its children together, in bytes, and at least
        the kernel's own. With children a page that several processes share counts in equal parts
        for each (``Pss``), so that the libraries of ten processes are not counted ten times.
    cpu_s
        CPU seconds of the kernel, its living children, and those it waited for.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_rss = 0
        self.cpu_s = 0.0
        self._descendants: dict[int, psutil.Process] = {}
        self._next_sample = 0.0
        self._kernel: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._kernel = psutil.Process(pid)

    def sample_if_due(self) -> None:
        """Take a sample unless the last one is younger than half a second or 50 times its cost."""
        now = time.monotonic()
        if now >= self._next_sample:
            self.sample()
            cost = time.monotonic() - now
            self._next_sample = now + max(SAMPLE_S, cost / _COST_SHARE)

    def sample(self) -> None:
        """Add the present state of the process tree to the peaks."""
        if self._kernel is None:
            return
        with contextlib.suppress(psutil.Error):
            children = self._kernel.children(recursive=True)
            self._descendants |= {child.pid: child for child in children}
            tree = [self._kernel, *children]
            resident = _proportional if children else _rss
            rss = sum(resident(process) for process in tree)
            self.peak_rss = max(self.peak_rss, rss, _high_water_mark(self.pid))
            self.cpu_s = max(self.cpu_s, sum(_cpu_s(process) for process in tree))

    def kill_leftovers(self) -> None:
        """Kill what the kernel started and left running, in its process group or out of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in self._descendants.values():
            with contextlib.suppress(psutil.Error):
                process.kill()


def memory_limit() -> int:
    """Return the memory that this process may use, in bytes: the machine's or its control group's.

    Examples
    --------
    >>> 0 < memory_limit() <= psutil.virtual_memory().total
    True
    """
    limits = [psutil.virtual_memory().total]
    for folder in _memory_cgroups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            value = _read_number(folder / name)
            if value is not None and 0 < value < _NO_LIMIT:
                limits.append(value)
    return int(min(limits))


def oom_kills() -> int:
    """Return how often the kernel's out-of-memory killer struck in this process's control group."""
    counts = [0]
    for folder in _memory_cgroups():
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                lines = (folder / name).read_text().splitlines()
                fields = dict(line.split(maxsplit=1) for line in lines)
                counts.append(int(fields.get("oom_kill", 0)))
    return max(counts)


def _memory_cgroups() -> list[Path]:
    """Return this process's memory control group and those above it (version 2, then 1)."""
    folders = [_CGROUPS, _CGROUPS / "memory"]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                base = _CGROUPS / controllers
                parts = Path(path.strip("/")).parts
                folders += [base.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return folders


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _high_water_mark(pid: int) -> int:
    """Return the peak resident memory of a process in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _proportional(process: psutil.Process) -> int:
    """Resident memory with each shared page divided among those that share it, where it is told."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, ValueError, StopIteration):
        return _rss(process)


def _rss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _cpu_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
