"""Trials of a tuning study, in memory or in a journal file (`labkit.journal`).

A trial's *index* is the smallest whole number that no counted or running trial has. A study of
``n`` trials ends with the indices 0 to n-1, whoever ran them and however often it was killed: the
trial of a process that has ended is failed and does not count, and its index is free again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from labkit.journal.file import Journal, lost_trials, open_journal
from labkit.journal.ownership import this_process

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

logger = logging.getLogger(__name__)


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
        lost = lost_trials(running, longest_s=longest)
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

    def shared(journal: Journal) -> SharedStudy:
        return SharedStudy(journal.study, journal.lock, first)

    return shared(
        open_journal(
            storage,
            study_name,
            fingerprint,
            example="tuning.log",
            advice="use another study_name or another file",
            check=lambda journal: _check_complete(shared(journal).counted()),
        )
    )


def _check_complete(trials: list[FrozenTrial]) -> None:
    """Raise a KeyError or a ValueError where a line of a trial is missing."""
    indices = [trial.user_attrs["index"] for trial in trials if trial.user_attrs["seconds"] >= 0]
    if len(dict.fromkeys(indices)) < len(trials):
        raise ValueError("two trials have the same index")
