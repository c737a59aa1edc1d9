"""Which process owns a run: exclusive claims that outlive no crash.

A run directory holds claim files ``.claim-1``, ``.claim-2``, ... each created with ``O_EXCL``.
The newest one names the owner; it may be succeeded only when it is released or its owner is
gone. Numbers never go back, so of several processes that find the same dead owner exactly one
creates the next number: there is no moment at which a file is removed and created again.

An owner is gone when its process is (same host: the process id with that start time no longer
exists) or when its heartbeat, the modification time of the claim file, stopped (other hosts).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from labkit.atomic import replace_text

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
"""How often an owner touches its claim."""

STALE_S = 120.0
"""A claim of another host that was not touched for this long is void."""

_PREFIX = ".claim-"


def this_process() -> dict[str, Any]:
    """Return what identifies this process: host, process id and its start time."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
    }


def process_is_gone(owner: dict[str, Any]) -> bool | None:
    """Tell whether the process that `owner` names has ended; None when it ran on another host."""
    if owner.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(owner["pid"]))
        started = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return True
    except psutil.AccessDenied:
        return False
    return abs(started - float(owner.get("pid_started") or started)) > 1.0


@contextmanager
def claim(directory: Path | str) -> Iterator[bool]:
    """Own a run directory for the length of a ``with`` block, if nobody else does.

    Parameters
    ----------
    directory
        The run directory; created when missing.

    Yields
    ------
    bool
        True when this call owns the directory until the block ends. False when another
        process, or another thread of this one, does.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with claim(folder) as first, claim(folder) as second:
    ...         print(first, second)
    ...     with claim(folder) as third:
    ...         print(third)
    True False
    True
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    mine = _take(directory)
    if mine is None:
        yield False
        return
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(mine, stop), name="labkit-claim", daemon=True)
    heart.start()
    try:
        yield True
    finally:
        stop.set()
        heart.join()
        _release(mine)


def owner_is_gone(directory: Path | str) -> bool:
    """Tell whether nobody owns the directory now: no claim, a released one, or a dead owner's."""
    newest = _newest(Path(directory))
    return newest == 0 or _is_void(_file(Path(directory), newest))


def _take(directory: Path) -> Path | None:
    """Create the next claim when the newest is void; None when somebody owns the directory."""
    newest = _newest(directory)
    if newest and not _is_void(_file(directory, newest)):
        return None
    mine = _file(directory, newest + 1)
    try:
        handle = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(this_process()))
    if _newest(directory) > newest + 1:
        # this process slept while others took, released and tidied away this very number
        mine.unlink()
        return None
    _file(directory, newest).unlink(missing_ok=True)
    return mine


def _release(mine: Path) -> None:
    try:
        replace_text(mine, json.dumps({"released": True}))
    except OSError as error:
        log.warning("could not release %s: %s", mine, error)


def _beat(mine: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(mine)


def _file(directory: Path, number: int) -> Path:
    return directory / f"{_PREFIX}{number}"


def _newest(directory: Path) -> int:
    numbers = (entry.name.removeprefix(_PREFIX) for entry in directory.glob(f"{_PREFIX}*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _is_void(file: Path) -> bool:
    """Tell whether a claim no longer counts.

    The newest claim is never removed, so a file that vanished has a successor: not void. A file
    without content is one whose owner is about to write it, or died just then.
    """
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return _age_s(file) > STALE_S
    if owner.get("released"):
        return True
    gone = process_is_gone(owner)
    return _age_s(file) > STALE_S if gone is None else gone


def _age_s(file: Path) -> float:
    """Return the age of the last heartbeat by the file server's clock, not this host's."""
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".clock-") as now:
            return Path(now.name).stat().st_mtime - file.stat().st_mtime
    except OSError:
        return 0.0
