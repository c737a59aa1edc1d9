"""Trials of a tuning study in one file, shared by processes and kept through a kill.

Optuna's journal appends every change of a study to a file, under a lock that also works on shared
file systems, so that processes of several machines can work on one study. Three things are added
here, all under a second lock that is held for milliseconds:

- A trial's *index* is the smallest whole number that no counted or running trial has. A study of
  ``n`` trials ends with the indices 0 to n-1, whoever ran them and however often it was killed.
- A running trial carries its *owner*: machine, process id and start time of the process. One whose
  owner has ended is failed and does not count; its index is free again. A machine cannot look at
  another's processes, so there a trial is given up after 20 times the longest trial so far, and
  never before 10 minutes.
- A *fingerprint* of what the study is about. A file with a study of something else is refused.

A process killed while it writes leaves half a line. Optuna would read the file until somebody
appends to it and never again after that, so the half line is cut off when the file is opened.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

logger = logging.getLogger(__name__)

FINGERPRINT = "labkit"
ENTRY = b'{"op_code":'
GIVE_UP_SECONDS = 600.0
GIVE_UP_FACTOR = 20.0
SAME_START_SECONDS = 1.0


@dataclass
class SharedStudy:
    """A study that any number of threads and processes work on.

    Attributes
    ----------
    study : optuna.Study
        Trials in memory, or in a journal file.
    lock : callable
        Gives the lock under which indices are taken.
    first : mapping, optional
        Settings of the trial with index 0.
    """

    study: Study
    lock: Callable[[], AbstractContextManager[Any]]
    first: Mapping[str, Any] | None = None
    owner: dict[str, Any] = field(default_factory=lambda: this_process())

    def claim(
        self, n_trials: int, sampler: Callable[[int], BaseSampler]
    ) -> Trial | Literal["wait", "done"]:
        """Start the next trial.

        Parameters
        ----------
        n_trials : int
            Trials that the study shall have.
        sampler : callable
            Index of a trial to the sampler that proposes it.

        Returns
        -------
        optuna.Trial or {"wait", "done"}
            "wait" where all that are missing are being run by others.
        """
        with self.lock():
            self.drop_lost()
            counted = self.counted()
            running = self._running()
            if len(counted) >= n_trials:
                return "done"
            if len(counted) + len(running) >= n_trials:
                return "wait"
            taken = {t.user_attrs["index"] for t in (*counted, *running)}
            index = next(i for i in range(n_trials) if i not in taken)
            self.study.sampler = sampler(index)
            if index == 0 and self.first is not None and not self._waiting():
                self.study.enqueue_trial(dict(self.first))
            trial = self.study.ask()
            trial.set_user_attr("index", index)
            trial.set_user_attr("owner", self.owner)
            return trial

    def complete(self, trial: Trial, value: float, **details: Any) -> None:
        """Store the value of a trial."""
        for name, detail in details.items():
            trial.set_user_attr(name, detail)
        self.study.tell(trial, value, skip_if_finished=True)

    def fail(self, trial: Trial, error: str, **details: Any) -> None:
        """Count a trial whose settings were refused."""
        for name, detail in {"error": error, **details}.items():
            trial.set_user_attr(name, detail)
        self.drop(trial)

    def drop(self, trial: Trial | int) -> None:
        """End a trial that does not count."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def counted(self) -> list[FrozenTrial]:
        """Trials that have a value or a refusal, by index."""
        from optuna.trial import TrialState

        ended = [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state == TrialState.COMPLETE
            or (trial.state == TrialState.FAIL and "error" in trial.user_attrs)
        ]
        return sorted(ended, key=lambda trial: trial.user_attrs["index"])

    def drop_lost(self) -> int:
        """End the running trials whose process has ended; to be called under the lock.

        Returns
        -------
        int
            How many there were.
        """
        longest = max((t.user_attrs.get("seconds", 0.0) for t in self.counted()), default=0.0)
        patience = max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * longest)
        lost = [trial for trial in self._running() if not _may_finish(trial, patience)]
        for trial in lost:
            logger.info("trial %d: its process has ended; it is run again", trial.number)
            self.drop(trial.number)
        return len(lost)

    def _running(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _waiting(self) -> bool:
        from optuna.trial import TrialState

        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def open_study(
    storage: str | os.PathLike[str] | None,
    study_name: str,
    fingerprint: Mapping[str, str],
    *,
    first: Mapping[str, Any] | None = None,
) -> SharedStudy:
    """A study to maximize, new or from a journal file.

    Parameters
    ----------
    storage : path, optional
        Journal file, made where it does not exist. None keeps the trials in memory.
    study_name : str
        Name in the file, which may hold several studies.
    fingerprint : mapping
        What the study is about: part to a text that differs when the part differs.
    first : mapping, optional
        Settings of the trial with index 0.

    Returns
    -------
    SharedStudy

    Raises
    ------
    ParameterError
        The file is a folder, damaged or not a journal, or its study has another fingerprint.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import (
        JournalFileBackend,
        JournalFileOpenLock,
        JournalFileSymlinkLock,
    )

    if storage is None:
        mutex = threading.Lock()
        return SharedStudy(optuna.create_study(direction="maximize"), lambda: mutex, first)
    path = _journal_path(storage)
    lock = lambda: _held(JournalFileOpenLock(f"{path}.claim"))  # noqa: E731
    with lock():
        with _held(JournalFileSymlinkLock(str(path))):
            cut_half_line(path)
        try:
            backend = JournalFileBackend(str(path))
            study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name=study_name,
                direction="maximize",
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError, AssertionError) as broken:
            raise ParameterError(
                f"storage={str(storage)!r}: the journal is damaged ({broken!r}); delete the file "
                "or name another."
            ) from broken
        _check_fingerprint(study, fingerprint, storage)
    return SharedStudy(study, lock, first)


def cut_half_line(path: Path) -> None:
    """Cut off what a killed process wrote of a line, after checking that the file is a journal.

    Parameters
    ----------
    path : Path
        File that may not exist yet.

    Raises
    ------
    ParameterError
        A line is no entry of a journal.
    """
    if not path.exists():
        return
    *lines, tail = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not _is_entry(line):
            raise ParameterError(
                f"storage={str(path)!r}: line {number} is no entry of an Optuna journal, so the "
                "file is damaged or something else; delete it or name another."
            )
    if not tail:
        return
    if tail[: len(ENTRY)] != ENTRY[: len(tail)]:
        raise ParameterError(f"storage={str(path)!r} is not an Optuna journal; name another file.")
    os.truncate(path, path.stat().st_size - len(tail))


def this_process() -> dict[str, Any]:
    """What tells this process from all others."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "started": process.create_time(),
    }


def _journal_path(storage: str | os.PathLike[str]) -> Path:
    """The file's absolute path, in a folder that exists.

    Optuna's lock is a link to the path as given, which leads nowhere from another folder.
    """
    if not isinstance(storage, str | os.PathLike):
        raise ParameterError(f"storage={storage!r}: name a file, for example 'tuning.log'.")
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


def _check_fingerprint(study: Study, fingerprint: Mapping[str, str], storage: object) -> None:
    known = study.user_attrs.get(FINGERPRINT)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(FINGERPRINT, dict(fingerprint))
        return
    known = known or {}
    names = sorted({*known, *fingerprint})
    differing = [name for name in names if known.get(name) != fingerprint.get(name)]
    if differing:
        raise ParameterError(
            f"storage={str(storage)!r} holds a study {study.study_name!r} that differs in "
            f"{', '.join(differing)}; use another study_name or another file."
        )


def _may_finish(trial: FrozenTrial, patience: float) -> bool:
    """Whether a running trial's owner may still be at work.

    A trial without owner was left by a process that died while it held the lock.
    """
    owner = trial.user_attrs.get("owner")
    if owner is None:
        return False
    if owner["host"] != socket.gethostname():
        started = trial.datetime_start or datetime.min
        return (datetime.now() - started).total_seconds() < patience
    try:
        started = psutil.Process(owner["pid"]).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(started - owner["started"]) < SAME_START_SECONDS


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


@contextmanager
def _held(lock: Any) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
