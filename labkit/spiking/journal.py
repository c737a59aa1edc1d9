"""Trials of a tuning study in one file, shared by processes and kept through a kill.

Optuna's journal appends every change of a study to a file, under a lock that also works on shared
file systems, so that processes of several machines can work on one study. Three things are added
here, all under a second lock that is held for milliseconds:

- A trial's *index* is the smallest whole number that no counted or running trial has. A study of
  ``n`` trials ends with the indices 0 to n-1, whoever ran them and however often it was killed.
- A running trial carries its *owner*, see `labkit.spiking.ownership`. One whose owner has ended is
  failed and does not count; its index is free again. Where that cannot be known, because the owner
  is on another machine, the trial is given up after 20 times the longest trial so far, and never
  before 10 minutes.
- A *fingerprint* of what the study is about. A file with a study of something else is refused.

A process killed while it writes leaves half a line. Optuna would read the file until somebody
appends to it and never again after that, so the half line is cut off when the file is opened.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labkit.errors import ParameterError
from labkit.spiking.ownership import OwnedLock, has_ended, this_process

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

logger = logging.getLogger(__name__)

FINGERPRINT = "labkit"
ENTRY = b'{"op_code":'
GIVE_UP_SECONDS = 600.0
GIVE_UP_FACTOR = 20.0


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
            counted, running = self._counted_and_running()
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
            trial.set_user_attr("owner", this_process())
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
        return self._counted_and_running()[0]

    def drop_lost(self) -> int:
        """End the running trials whose process has ended; to be called under the lock.

        Returns
        -------
        int
            How many there were.
        """
        counted, running = self._counted_and_running()
        longest = max((trial.user_attrs["seconds"] for trial in counted), default=0.0)
        patience = max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * longest)
        lost = [trial for trial in running if not _may_finish(trial, patience)]
        for trial in lost:
            logger.info("trial %d: its process has ended; it is run again", trial.number)
            self.drop(trial.number)
        return len(lost)

    def _counted_and_running(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """Both of one moment: a trial that ends between two looks would be in neither."""
        from optuna.trial import TrialState

        counted, running = [], []
        for trial in self.study.get_trials(deepcopy=False):
            state = trial.state
            refused = state == TrialState.FAIL and "error" in trial.user_attrs
            if state == TrialState.COMPLETE or refused:
                counted.append(trial)
            elif state == TrialState.RUNNING:
                running.append(trial)
        return sorted(counted, key=lambda trial: trial.user_attrs["index"]), running

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

    if storage is None:
        mutex = threading.Lock()
        return SharedStudy(optuna.create_study(direction="maximize"), lambda: mutex, first)
    path = _journal_path(storage)
    claiming, writing = (
        OwnedLock(path.with_name(f"{path.name}{end}")) for end in (".claim", ".lock")
    )
    with claiming.held():
        with writing.held():
            cut_half_line(path)
        try:
            study = _stored_study(path, study_name, fingerprint, writing)
            shared = SharedStudy(study, claiming.held, first)
            _check_complete(shared.counted())
        except ParameterError:
            raise
        except (ValueError, KeyError, TypeError, AssertionError) as broken:
            raise ParameterError(
                f"storage={str(storage)!r}: the journal is damaged ({broken!r}); delete the file "
                "or name another."
            ) from broken
    return shared


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


def _journal_path(storage: str | os.PathLike[str]) -> Path:
    """The file's absolute path, in a folder that exists."""
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


def _stored_study(path: Path, study_name: str, fingerprint: Mapping[str, str], lock: Any) -> Study:
    """The study of a file; a new one is signed with the fingerprint."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path), lock)),
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
    )
    known = study.user_attrs.get(FINGERPRINT, {})
    if not known and not study.get_trials(deepcopy=False):
        study.set_user_attr(FINGERPRINT, dict(fingerprint))
        return study
    names = sorted({*known, *fingerprint})
    differing = [name for name in names if known.get(name) != fingerprint.get(name)]
    if differing:
        raise ParameterError(
            f"storage={str(path)!r} holds a study {study_name!r} that differs in "
            f"{', '.join(differing)}; use another study_name or another file."
        )
    return study


def _check_complete(trials: list[FrozenTrial]) -> None:
    """Raise a KeyError or a ValueError where a line of a trial is missing."""
    indices = [trial.user_attrs["index"] for trial in trials if trial.user_attrs["seconds"] >= 0]
    if len(dict.fromkeys(indices)) < len(trials):
        raise ValueError("two trials have the same index")


def _may_finish(trial: FrozenTrial, patience: float) -> bool:
    """Whether a running trial's owner may still be at work.

    A trial without owner was left by a process that died while it held the lock.
    """
    owner = trial.user_attrs.get("owner")
    if owner is None:
        return False
    ended = has_ended(owner)
    if ended is None:
        started = trial.datetime_start or datetime.min
        return (datetime.now() - started).total_seconds() < patience
    return not ended


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry
