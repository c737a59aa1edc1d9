"""Trials of a search of strategies: claimed, measured and kept, in memory or in a shared file.

The file is a journal (`labkit.journal`): several processes, also of several machines, can work on
it; a process that is killed loses the trial it was at and no other, and the same command goes on.

A trial that ended counts, whether the strategy ran or failed. Optuna knows a failed one as complete
with throughput 0: its samplers learn nothing from what it calls a failed trial.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.journal.file import Journal, lost_trials, open_journal
from labkit.journal.ownership import this_process

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

logger = logging.getLogger(__name__)

STUDY_NAME = "strategies"


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
        trial.set_user_attr("owner", this_process())
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
        lost = lost_trials(self._running(), longest_s=longest)
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

    def stored(journal: Journal) -> TrialStore:
        return TrialStore(journal.study, journal.lock)

    store = stored(
        open_journal(storage, STUDY_NAME, about, check=lambda journal: stored(journal).ended())
    )
    with store.claiming():
        store.drop_lost()
    return store


def _measured(trial: FrozenTrial) -> Measured:
    names = ("point", "seconds", "memory_bytes", "reason", "message", "wall_s")
    return Measured(throughput=trial.values[0], **{name: trial.user_attrs[name] for name in names})
