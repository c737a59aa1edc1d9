"""An Optuna study in a journal file that several processes share and a kill does not break.

Optuna's journal appends every change of a study to a file, under a lock that also works on shared
file systems, so that processes of several machines can work on one study. Three things are added:

- A lock under which trials are claimed, held for milliseconds.
- A *fingerprint* of what the study is about. A file with a study of something else is refused.
- A running trial carries its *owner*, see `labkit.journal.ownership`. One whose owner has ended
  does not count. Where that cannot be known, because the owner is on another machine, the trial is
  given up after 20 times the longest trial so far, and never before 10 minutes.

A process killed while it writes leaves half a line. Optuna would read the file until somebody
appends to it and never again after that, so the half line is cut off when the file is opened.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError
from labkit.journal.ownership import OwnedLock, has_ended

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FINGERPRINT = "labkit"
ENTRY = b'{"op_code":'
GIVE_UP_SECONDS = 600.0
GIVE_UP_FACTOR = 20.0


@dataclass(frozen=True)
class Journal:
    """A study to maximize.

    Attributes
    ----------
    study : optuna.Study
        Trials in memory, or in a file.
    lock : callable
        Gives the lock under which trials are claimed.
    """

    study: Study
    lock: Callable[[], AbstractContextManager[Any]]


def open_journal(
    storage: str | os.PathLike[str] | None,
    study_name: str,
    fingerprint: Mapping[str, str],
    *,
    example: str = "trials.log",
    advice: str = "name another file",
    check: Callable[[Journal], object] | None = None,
) -> Journal:
    """Open a study, new or from a file.

    Parameters
    ----------
    storage : path, optional
        Journal file, made where it does not exist. None keeps the trials in memory.
    study_name : str
        Name in the file, which may hold several studies.
    fingerprint : mapping of str to str
        What the study is about: part to a text that differs when the part differs.
    example : str
        Name of a file, for the message about what is no path.
    advice : str
        What to do where the file's study is another one.
    check : callable, optional
        Reads the trials; a KeyError, ValueError, TypeError or AssertionError from it says that the
        file is damaged.

    Returns
    -------
    Journal

    Raises
    ------
    ParameterError
        The file is a folder, damaged or not a journal, or its study has another fingerprint.
    """
    import optuna

    if storage is None:
        mutex = threading.Lock()
        return Journal(optuna.create_study(direction="maximize"), lambda: mutex)
    path = _journal_path(storage, example)
    claiming, writing = (
        OwnedLock(path.with_name(f"{path.name}{end}")) for end in (".claim", ".lock")
    )
    with claiming.held():
        with writing.held():
            cut_half_line(path)
        try:
            journal = Journal(
                _stored_study(path, study_name, fingerprint, writing, advice), claiming.held
            )
            if check is not None:
                check(journal)
        except ParameterError:
            raise
        except (ValueError, KeyError, TypeError, AssertionError) as broken:
            raise ParameterError(
                f"storage={str(storage)!r}: the journal is damaged ({broken!r}); delete the file "
                "or name another."
            ) from broken
    return journal


def lost_trials(running: list[FrozenTrial], *, longest_s: float) -> list[FrozenTrial]:
    """Return the running trials that nobody will end.

    Parameters
    ----------
    running : list of FrozenTrial
        With what `labkit.journal.ownership.this_process` returned as ``owner``; a trial without it
        was left by a process that died while it held the lock.
    longest_s : float
        Seconds of the longest trial so far.
    """
    patience = max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * longest_s)
    return [trial for trial in running if not _may_finish(trial, patience)]


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


def _journal_path(storage: str | os.PathLike[str], example: str) -> Path:
    """The file's absolute path, in a folder that exists."""
    if not isinstance(storage, str | os.PathLike):
        raise ParameterError(f"storage={storage!r}: name a file, for example {example!r}.")
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


def _stored_study(
    path: Path, study_name: str, fingerprint: Mapping[str, str], lock: Any, advice: str
) -> Study:
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
            f"{', '.join(differing)}; {advice}."
        )
    return study


def _may_finish(trial: FrozenTrial, patience: float) -> bool:
    """Whether a running trial's owner may still be at work."""
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
