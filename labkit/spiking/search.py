"""Search of a space of settings for the largest value: samplers, workers, and a table of trials.

Samplers are Optuna's: a Gaussian process with expected improvement [1]_, the tree-structured Parzen
estimator [2]_, and random search. A new one is made for every trial, with a seed taken from the
seed of the study and the index of the trial. What it proposes therefore depends on the trials that
have ended and on nothing else, and a study that was killed and resumed tries the same settings as
one that was not.

References
----------
.. [1] Jones, Schonlau and Welch, Journal of Global Optimization 13 (1998) 455-492.
.. [2] Bergstra, Bardenet, Bengio and Kegl, NIPS 2011.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.errors import LabkitError
from labkit.journal.file import quiet_optuna
from labkit.spiking.journal import SharedStudy, open_study
from labkit.spiking.spaces import Settings, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("gp", "tpe", "random")
STARTUP_TRIALS = 10
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Evaluation:
    """What an objective found.

    Attributes
    ----------
    value : float
        To be maximized.
    dead : bool
        Whether the network was left early because nothing happened in it.
    """

    value: float
    dead: bool = False


@dataclass(frozen=True)
class Search:
    """What a search tried.

    Attributes
    ----------
    trials : DataFrame
        One row a trial: number, value, state ("complete", "dead" or "failed"), seconds, one column
        a dimension, error (why a trial failed, else empty), best_so_far.
    importance : Series
        Share of the variance of the values that each dimension explains, largest first, see
        `importance_of`.
    n_resumed : int
        Trials that were in the journal already.
    notes : tuple of str
        What a reader of the result should know.
    """

    trials: pd.DataFrame
    importance: pd.Series
    n_resumed: int
    notes: tuple[str, ...] = ()


def search(
    objective: Callable[[Settings], Evaluation],
    space: Space,
    *,
    n_trials: int,
    sampler: str = "gp",
    seed: int = 0,
    n_jobs: int = 1,
    first: Settings | None = None,
    storage: str | os.PathLike[str] | None = None,
    study_name: str = "tuning",
    fingerprint: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Search:
    """Try settings until a study has `n_trials` trials.

    Parameters
    ----------
    objective : callable
        Settings to their value. A `labkit.errors.LabkitError` fails the trial, which counts and has
        no value; any other error ends the search.
    space : Space
    n_trials : int
        Trials in all, those in `storage` included.
    sampler : {"gp", "tpe", "random"}
        What proposes settings.
    seed : int
        Of the sampler. The trials are the same in every run with ``n_jobs=1``.
    n_jobs : int
        Threads that evaluate at the same time.
    first : mapping, optional
        Settings of the first trial.
    storage : path, optional
        Journal file, see `labkit.spiking.journal`.
    study_name : str
        Name of the study in the file.
    fingerprint : mapping, optional
        What the study is about, see `open_study`.
    progress : callable, optional
        Called with the number of trials that have ended and with `n_trials`.

    Returns
    -------
    Search
    """
    with quiet_optuna():
        study = open_study(storage, study_name, fingerprint or {}, first=first)
        n_resumed = len(study.counted())
        workers = _Workers(study, objective, space, n_trials, sampler, seed, progress)
        workers.run(n_jobs)
        ended = study.counted()
        return Search(
            trials=trial_table([_row(trial, space) for trial in ended], space.names),
            importance=importance_of(study.study, space),
            n_resumed=n_resumed,
        )


def make_sampler(name: str, seed: int, index: int) -> BaseSampler:
    """The sampler that proposes the trial with an index.

    Parameters
    ----------
    name : {"gp", "tpe", "random"}
    seed : int
        Of the study.
    index : int
        Of the trial.

    Returns
    -------
    optuna.samplers.BaseSampler
    """
    from optuna import samplers

    state = int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
    if name == "gp":
        return samplers.GPSampler(seed=state, n_startup_trials=STARTUP_TRIALS)
    if name == "tpe":
        return samplers.TPESampler(seed=state, n_startup_trials=STARTUP_TRIALS)
    return samplers.RandomSampler(seed=state)


def trial_table(rows: list[dict[str, Any]], names: tuple[str, ...]) -> pd.DataFrame:
    """Trials in the order of their numbers, with the best value so far.

    Parameters
    ----------
    rows : list of dict
        Keys number, value (nan where it failed), state, seconds, error and the dimensions.
    names : tuple of str
        The dimensions.

    Returns
    -------
    DataFrame
        Columns number, value, state, seconds, the dimensions, error, best_so_far.
    """
    frame = pd.DataFrame(rows, columns=["number", "value", "state", "seconds", *names, "error"])
    frame["best_so_far"] = frame["value"].astype(float).cummax().ffill()
    return frame


def importance_of(study: Study, space: Space) -> pd.Series:
    """Share of the variance of the values that each dimension explains, by functional ANOVA.

    Trees are fitted to the trials [1]_; with a few dozen of them the ranking is rough.

    Returns
    -------
    Series
        Dimension to share, largest first; nan where all values are equal, or there are fewer than
        two: nothing can be told then.

    References
    ----------
    .. [1] Hutter, Hoos and Leyton-Brown, ICML 2014.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    unknown = pd.Series(np.nan, index=list(space.names), name="importance")
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in ended}) < 2:
        return unknown
    try:
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # no tree saw two values
        return unknown
    known = pd.Series({name: float(share) for name, share in shares.items()}, name="importance")
    return known.reindex(list(space.names)).sort_values(ascending=False, kind="stable")


@contextmanager
def one_thread(*, torch_too: bool) -> Iterator[None]:
    """Let the libraries below numpy, and torch, calculate in one thread.

    A Gaussian process of a few dozen trials is a long row of tiny operations, which two pools of
    threads that wait for each other's cores make five times slower.
    """
    from threadpoolctl import threadpool_limits

    if torch_too:
        import torch  # noqa: F401  # what is loaded later would not be limited
    with threadpool_limits(1):
        yield


@dataclass
class _Workers:
    """Threads that take trials until the study is complete."""

    study: SharedStudy
    objective: Callable[[Settings], Evaluation]
    space: Space
    n_trials: int
    sampler: str
    seed: int
    progress: Callable[[int, int], None] | None
    proposing: threading.Lock = field(default_factory=threading.Lock)
    reporting: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, n_jobs: int) -> None:
        if n_jobs == 1:
            self._work()
            return
        with ThreadPoolExecutor(n_jobs, thread_name_prefix="tuning") as pool:
            futures = [pool.submit(self._work) for _ in range(n_jobs)]
            try:
                for future in futures:
                    future.result()
            finally:
                self.stopped.set()

    def _work(self) -> None:
        while not self.stopped.is_set():
            with self.proposing:
                claimed = self.study.claim(self.n_trials, self._sampler_of)
                settings = {} if isinstance(claimed, str) else self._propose(claimed)
            if claimed == "done":
                return
            if isinstance(claimed, str):
                self.stopped.wait(POLL_SECONDS)
                continue
            self._evaluate(claimed, settings)
            self._report()

    def _sampler_of(self, index: int) -> BaseSampler:
        return make_sampler(self.sampler, self.seed, index)

    def _propose(self, trial: Trial) -> Settings:
        modeled = self.sampler == "gp" and trial.number >= STARTUP_TRIALS
        with self._dropped_on_error(trial), one_thread(torch_too=modeled):
            return self.space.suggest(trial)

    def _evaluate(self, trial: Trial, settings: Settings) -> None:
        start = time.perf_counter()
        with self._dropped_on_error(trial):
            try:
                found = self.objective(settings)
            except LabkitError as refused:
                self.study.fail(trial, str(refused), seconds=time.perf_counter() - start)
            else:
                seconds = time.perf_counter() - start
                self.study.complete(trial, found.value, dead=found.dead, seconds=seconds)

    @contextmanager
    def _dropped_on_error(self, trial: Trial) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stopped.set()
            self.study.drop(trial)
            raise

    def _report(self) -> None:
        if self.progress is not None:
            with self.reporting:
                self.progress(min(len(self.study.counted()), self.n_trials), self.n_trials)


def _row(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    details = trial.user_attrs
    failed = "error" in details
    return {
        "number": details["index"],
        "value": np.nan if failed else trial.value,
        "state": "failed" if failed else "dead" if details["dead"] else "complete",
        "seconds": details["seconds"],
        **{d.name: d.nearest(trial.params[d.name]) for d in space},
        "error": details.get("error", ""),
    }
