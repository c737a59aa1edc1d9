"""Trials of a search of strategies: claimed, measured and kept, in memory or in a shared file.

The file is an Optuna journal: every change of a study appended under a lock. Several processes,
also of several machines, can work on one file; a process that is killed loses the trial it was at
and no other, and the same command goes on.

- A trial that ended counts, whether the strategy ran or failed. Optuna knows a failed one as
  complete with throughput 0: its samplers learn nothing from what it calls a failed trial.
- A running trial names its owner. One whose process has ended does not count; about a process of
  another machine nothing is known, and its trial is waited for 20 times as long as the longest
  one took, and never less than 10 minutes.
- A process killed while it writes leaves half a line, after which Optuna could not read the file
  any more. It is cut off when the file is opened.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

logger = logging.getLogger(__name__)

STUDY_NAME = "strategies"
ABOUT = "labkit"
GIVE_UP_SECONDS = 600.0
GIVE_UP_FACTOR = 20.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of one point of a space.

    Attributes
    ----------
    point : int
        Index in the space.
    throughput : float
        Tokens a second; 0 for a failure.
    seconds, memory_bytes : float, optional
        Of one step, and of the fullest device; None for a failure or what was not measured.
    reason, message : str
        Of a failure, else empty.
    wall_s : float
        Seconds that the measurement took.
    """

    point: int
    throughput: float = 0.0
    seconds: float | None = None
    memory_bytes: float | None = None
    reason: str = ""
    message: str = ""
    wall_s: float = 0.0


@dataclass
class TrialStore:
    """Trials that any number of processes work on.

    Attributes
    ----------
    study : optuna.Study
    claiming : callable
        Gives the lock under which trials are started.
    """

    study: Study
    claiming: Callable[[], AbstractContextManager[Any]]

    def ended(self) -> list[Measured]:
        """Trials that count, in the order in which they were started."""
        return [_measured(trial) for trial in self._trials()[0]]

    def taken(self) -> set[int]:
        """Points that were tried, or are being tried."""
        ended, running = self._trials()
        return {trial.user_attrs["point"] for trial in (*ended, *running)}

    def n_running(self) -> int:
        """Trials that a living process is at."""
        return len(self._trials()[1])

    def start(self, trial: Trial, point: int, constraints: Mapping[str, float]) -> None:
        """Note whose trial it is, and how far the strategy is from being possible."""
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        trial.set_user_attr("owner", _this_process())
        trial.set_user_attr("point", point)

    def end(self, trial: Trial, measured: Measured) -> None:
        """Keep what became of a trial."""
        for name in ("seconds", "memory_bytes", "reason", "message", "wall_s"):
            trial.set_user_attr(name, getattr(measured, name))
        self.study.tell(trial, measured.throughput, skip_if_finished=True)

    def drop(self, trial: Trial | int) -> None:
        """End a trial that does not count."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def drop_lost(self) -> int:
        """End the running trials whose process has ended; to be called under the lock.

        Returns
        -------
        int
            How many there were.
        """
        ended = self._trials()[0]
        longest = max((trial.user_attrs["wall_s"] for trial in ended), default=0.0)
        patience = max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * longest)
        lost = [trial for trial in self._running() if not _may_end(trial, patience)]
        for trial in lost:
            logger.info("trial %d: its process has ended; it does not count", trial.number)
            self.drop(trial.number)
        return len(lost)

    def _running(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _trials(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """Ended and running ones of one moment: between two looks a trial could be in neither."""
        from optuna.trial import TrialState

        known = [t for t in self.study.get_trials(deepcopy=False) if "point" in t.user_attrs]
        ended = [trial for trial in known if trial.state == TrialState.COMPLETE]
        return ended, [trial for trial in known if trial.state == TrialState.RUNNING]


def open_trials(storage: str | os.PathLike[str] | None, about: Mapping[str, str]) -> TrialStore:
    """Return the trials of a file, or new ones in memory.

    Parameters
    ----------
    storage : path, optional
        Made where it does not exist.
    about : mapping of str to str
        What the search is about: part to a text that differs when the part differs.

    Returns
    -------
    TrialStore

    Raises
    ------
    ParameterError
        The file is a folder, no journal, or of another search.
    """
    import optuna

    if storage is None:
        mutex = threading.Lock()
        return TrialStore(optuna.create_study(direction="maximize"), lambda: mutex)
    path = _journal_path(storage)
    claiming, writing = _lock(f"{path}.claim"), _lock(f"{path}.lock")
    with _held(claiming):
        with _held(writing):
            _cut_half_line(path)
        try:
            store = TrialStore(_stored_study(path, about, writing), lambda: _held(claiming))
            store.ended()
        except ParameterError:
            raise
        except (ValueError, KeyError, TypeError, AssertionError) as broken:
            raise ParameterError(
                f"storage={str(storage)!r}: the journal is damaged ({broken!r}); delete the file "
                "or name another."
            ) from broken
        store.drop_lost()
    return store


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log errors only."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class KernelLock:
    """A lock between threads and processes that the kernel takes from a process that was killed.

    It can be given to `optuna.storages.journal.JournalFileBackend`.

    Parameters
    ----------
    path : str
        File that is locked; it stays.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle = -1

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back."""
        handle, self._handle = self._handle, -1
        os.close(handle)


def _lock(path: str) -> Any:
    """The kernel's lock, or where a file system has none that of Optuna, which times out."""
    lock = KernelLock(path)
    try:
        with _held(lock):
            return lock
    except OSError:
        from optuna.storages.journal import JournalFileOpenLock

        return JournalFileOpenLock(path)


@contextmanager
def _held(lock: Any) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _measured(trial: FrozenTrial) -> Measured:
    names = ("point", "seconds", "memory_bytes", "reason", "message", "wall_s")
    return Measured(throughput=trial.values[0], **{name: trial.user_attrs[name] for name in names})


def _journal_path(storage: str | os.PathLike[str]) -> Path:
    """The file's absolute path, in a folder that exists."""
    if not isinstance(storage, str | os.PathLike):
        raise ParameterError(f"storage={storage!r}: name a file, for example 'trials.log'.")
    path = Path(storage).expanduser().resolve()
    if path.is_dir():
        raise ParameterError(f"storage={str(storage)!r} is a folder; name a file in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as refused:
        raise ParameterError(
            f"storage={str(storage)!r} cannot be written ({refused.strerror}); name another file."
        ) from refused
    return path


def _cut_half_line(path: Path) -> None:
    content = path.read_bytes()
    *lines, tail = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not _is_entry(line):
            raise ParameterError(
                f"storage={str(path)!r}: line {number} is no entry of an Optuna journal, so the "
                "file is damaged or something else; delete it or name another."
            )
    if tail and not tail.startswith(b"{"):
        raise ParameterError(f"storage={str(path)!r} is not an Optuna journal; name another file.")
    if tail:
        os.truncate(path, len(content) - len(tail))


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _stored_study(path: Path, about: Mapping[str, str], lock: Any) -> Study:
    """The study of a file; a new one is signed with what it is about."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path), lock)),
        study_name=STUDY_NAME,
        direction="maximize",
        load_if_exists=True,
    )
    known = study.user_attrs.get(ABOUT)
    if known is None:
        study.set_user_attr(ABOUT, dict(about))
        return study
    differing = [name for name in sorted({*known, *about}) if known.get(name) != about.get(name)]
    if differing:
        raise ParameterError(
            f"storage={str(path)!r} holds a search that differs in {', '.join(differing)}; "
            "name another file."
        )
    return study


def _this_process() -> dict[str, Any]:
    started = psutil.Process().create_time()
    return {"machine": socket.gethostname(), "pid": os.getpid(), "started": started}


def _may_end(trial: FrozenTrial, patience: float) -> bool:
    """Whether somebody may still be at a trial; one without owner was left when it was started."""
    owner = trial.user_attrs.get("owner")
    if owner is None:
        return False
    if owner["machine"] != socket.gethostname():
        started = trial.datetime_start or datetime.min
        return (datetime.now() - started).total_seconds() < patience
    try:
        process = psutil.Process(owner["pid"])
        same = abs(process.create_time() - owner["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
