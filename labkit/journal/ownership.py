"""Which process holds something in a shared folder, and whether it has ended.

A process is named by its machine, its number, and the time when it started, since numbers are given
again. On its own machine it can be asked whether it still runs; about another machine nothing is
known, and neither about a container that counts its processes apart.

A lock is a symbolic link whose target names the owner: made in one step, also on shared file
systems. A lock whose owner has ended is taken away at once, so that a killed process holds up
nobody; one of another machine when it has stayed the same for half a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SAME_START_SECONDS = 1.0
GRACE_SECONDS = 30.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.001, 0.05


def this_process() -> dict[str, Any]:
    """Machine, number and start of this process."""
    return dict(_process(os.getpid()))


def has_ended(owner: Mapping[str, Any]) -> bool | None:
    """Whether a process has ended; None where that cannot be known.

    Parameters
    ----------
    owner : mapping
        What `this_process` returned in that process.
    """
    if owner["machine"] != _machine():
        return None
    try:
        process = psutil.Process(owner["pid"])
        another = abs(process.create_time() - owner["started"]) > SAME_START_SECONDS
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True)
class OwnedLock:
    """A lock between threads, processes and machines.

    It can be given to `optuna.storages.journal.JournalFileBackend`.

    Attributes
    ----------
    path : Path
        The link, which is there while the lock is held.
    grace_s : float
        Seconds after which the lock of another machine is taken away.
    """

    path: Path
    grace_s: float = GRACE_SECONDS

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        wait, seen, since = FIRST_WAIT_SECONDS, "", time.monotonic()
        me = json.dumps(this_process())
        while True:
            try:
                self.path.symlink_to(me)
            except FileExistsError:
                holder = self._holder()
                if holder != seen:
                    seen, since = holder, time.monotonic()
                if holder and self._abandoned(holder, time.monotonic() - since):
                    self._take_away(holder)
                    continue
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                return True

    def release(self) -> None:
        """Give the lock back."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a while."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _holder(self) -> str:
        """What the link says, empty where there is none any more."""
        try:
            return str(self.path.readlink())
        except OSError:
            return ""

    def _abandoned(self, holder: str, watched_s: float) -> bool:
        try:
            ended = has_ended(json.loads(holder))
        except (ValueError, KeyError, TypeError):
            ended = None
        return watched_s > self.grace_s if ended is None else ended

    def _take_away(self, holder: str) -> None:
        """Remove the link if it still names this holder; one process of a machine at a time."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some shared file systems have no such lock
                fcntl.flock(folder, fcntl.LOCK_EX)
            if self._holder() == holder:
                self.release()
        finally:
            os.close(folder)


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> dict[str, Any]:
    return {"machine": _machine(), "pid": pid, "started": psutil.Process(pid).create_time()}


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    """Name of the machine, and of the part of it whose processes can be seen."""
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()
