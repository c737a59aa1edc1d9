"""Search by measuring: a few strategies are tried on the machine, and failures are results.

Four engines propose what to measure next:

``model``
    The cost model ranks all strategies, and again after each measurement, see
    `labkit.llm_parallel.guided`.
``optuna``
    Tree-structured Parzen estimator [1]_. With ``constrained=True`` it also gets, for every trial,
    how far the strategy is from being possible: the log of the memory that the model predicts over
    what a device has, and the number of broken rules. Without, a failure is a throughput of 0.
``deephyper``
    The search of the Frontier study [2]_, see `labkit.llm_parallel.tune_deephyper`.
``random``
    Uniform, without repetition: the baseline.

Strategies that break a rule are failures with the rule as message; they are not started. An
objective that raises is a failure with the reason "crashed". Only KeyboardInterrupt and its kind
end a search, and what was measured until then is in the file.

References
----------
.. [1] Bergstra, Bardenet, Bengio and Kegl, NIPS 2011; constraints as in Ozaki et al., GECCO 2020.
.. [2] Dash et al., arXiv:2312.12705.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.journal.file import quiet_optuna
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.outcome import Failure, Outcome, Run
from labkit.llm_parallel.proposals import Parzen, Proposer, Ranked, Uniform, started_at
from labkit.llm_parallel.rules import RULES
from labkit.llm_parallel.space import Space
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.trials import Measured, TrialStore, open_trials

if TYPE_CHECKING:
    from optuna.trial import Trial

ENGINES = ("model", "optuna", "deephyper", "random")
MAX_TRIALS = 100_000
MAX_SEED = 2**32 - 1
POLL_SECONDS = 0.1
LONGEST_MESSAGE = 500

Objective = Callable[[ParallelConfig], Outcome]
"""Measures a strategy: a `SimulatedCluster`, or a real `measure`."""


@dataclass(frozen=True)
class TuningResult:
    """Strategies that were measured, and the best of them.

    Attributes
    ----------
    trials : DataFrame
        One row a trial: number, point (of the space), the columns of a strategy, seconds (nan for a
        failure), throughput (tokens a second, 0 for a failure), memory_bytes, state ("complete" or
        "failed"), reason, message, wall_s, best_so_far.
    best : ParallelConfig, optional
        The strategy with the highest measured throughput; None where all failed.
    recommended : ParallelConfig, optional
        The strategy to use. Of the engine "model" the one that is fastest when measured times are
        averaged with the model's, so that luck counts less; of the others the best.
    n_resumed : int
        Trials that were in the file already.
    engine : str
    space : Space
    notes : tuple of str
        What a reader of the result should know.
    """

    trials: pd.DataFrame
    best: ParallelConfig | None
    recommended: ParallelConfig | None
    n_resumed: int
    engine: str
    space: Space
    notes: tuple[str, ...] = ()

    @property
    def best_seconds(self) -> float:
        """Shortest measured step, nan where all failed."""
        return float(self.trials["seconds"].min())

    @property
    def n_failed(self) -> int:
        """Trials whose strategy did not run."""
        return int((self.trials["state"] == "failed").sum())

    @property
    def failures(self) -> dict[str, int]:
        """Reason to the number of trials that failed for it, the most frequent first."""
        failed = self.trials.loc[self.trials["state"] == "failed", "reason"]
        return {str(reason): int(n) for reason, n in failed.value_counts().items()}

    def summary(self) -> str:
        """The best strategy and what failed, in two sentences."""
        listed = ", ".join(f"{n} {reason}" for reason, n in self.failures.items())
        failed = f"{self.n_failed} of {len(self.trials)} trials failed"
        failed += f" ({listed})." if listed else "."
        if self.best is None:
            return f"No strategy ran. {failed}"
        return f"The fastest is {self.best.label()}: {self.best_seconds:.4g} s a step. {failed}"


def tune(
    space: Space,
    objective: Objective,
    *,
    engine: str = "model",
    n_trials: int = 30,
    seed: int = 42,
    storage: str | os.PathLike[str] | None = None,
    start: ParallelConfig | None = None,
    efficiency: Efficiency | None = None,
    constrained: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> TuningResult:
    """Measure strategies of a space to find the fastest.

    Parameters
    ----------
    space : Space
    objective : callable
        Strategy to a `Run` or a `Failure`, such as a `SimulatedCluster`.
    engine : {"model", "optuna", "deephyper", "random"}
        What proposes strategies.
    n_trials : int
        Strategies to measure in all, those in `storage` and those that fail included.
    seed : int
        Of the engine; the Frontier study used 42.
    storage : path, optional
        Where the trials are kept: a journal file, which several processes may share and several
        engines may go on with; for DeepHyper a folder. A killed search that is started again
        goes on where it was.
    start : ParallelConfig, optional
        Strategy to measure first.
    efficiency : Efficiency, optional
        Constants by which the engine "model" ranks, such as calibration found them.
    constrained : bool
        Whether "optuna" is told how far a strategy is from being possible.
    progress : callable, optional
        Called with the number of trials that have ended and with `n_trials`.

    Returns
    -------
    TuningResult

    Raises
    ------
    ParameterError
        An argument is not allowed, or `storage` is of another search.

    Examples
    --------
    >>> from labkit.llm_parallel.objective import benchmark
    >>> cluster, spaces = benchmark(seed=1)
    >>> found = tune(spaces["narrow"], cluster, n_trials=4)
    >>> len(found.trials), found.best is not None
    (4, True)
    """
    _check(space, objective, engine, n_trials, seed)
    first = None if start is None else space.index_of(start)
    about = _about(space, objective)
    if engine == "deephyper":
        from labkit.llm_parallel.tune_deephyper import search_with_deephyper

        ended, n_resumed = search_with_deephyper(
            space,
            lambda point: measured(space, objective, point),
            n_trials=n_trials,
            seed=seed,
            storage=storage,
            about=about,
            first=first,
            progress=progress,
        )
        return _result(space, engine, ended, n_resumed, n_trials)
    proposer: Proposer
    if engine == "model":
        proposer = Ranked(space, n_trials, seed, efficiency)
    elif engine == "optuna":
        proposer = Parzen(space, seed, constrained)
    else:
        proposer = Uniform(space, seed)
    with quiet_optuna():
        store = open_trials(storage, about)
        n_resumed = len(store.ended())
        _work(store, proposer, space, objective, n_trials, first, progress)
        ended = store.ended()
        better = proposer.ranking.recommended(ended) if isinstance(proposer, Ranked) else None
        return _result(space, engine, ended, n_resumed, n_trials, better)


def measured(space: Space, objective: Objective, point: int) -> Measured:
    """Measure one point of a space; whatever goes wrong is a failure with a reason.

    Parameters
    ----------
    space : Space
    objective : callable
    point : int

    Returns
    -------
    Measured
    """
    begin = time.perf_counter()
    outcome = _outcome(space, objective, point)
    wall = time.perf_counter() - begin
    if isinstance(outcome, Run) and not 0 < outcome.seconds < math.inf:
        message = f"the objective returned seconds={outcome.seconds!r}"
        outcome = Failure(strategy=outcome.strategy, reason="lost", message=message)
    if isinstance(outcome, Run):
        tokens = space.global_batch_size * space.model.seq_length
        return Measured(
            point=point,
            throughput=tokens / outcome.seconds,
            seconds=float(outcome.seconds),
            memory_bytes=outcome.memory_bytes,
            wall_s=wall,
        )
    reason, message = outcome if isinstance(outcome, tuple) else (outcome.reason, outcome.message)
    line = " ".join(message.split())[:LONGEST_MESSAGE]
    return Measured(point=point, reason=reason, message=line, wall_s=wall)


def _outcome(space: Space, objective: Objective, point: int) -> Outcome | tuple[str, str]:
    """The objective's answer, or (reason, message) where there is none."""
    index = np.array([point])
    parallel = space.at(index)
    rule = int(space.broken(index, parallel)[0])
    if rule == 0:
        devices = space.domain("n_devices").values[int(space.digits(index, "n_devices")[0])]
        share = int((parallel.tp * parallel.cp * parallel.pp)[0])
        return "illegal", f"n_devices={devices} is no multiple of tp * cp * pp = {share}."
    try:
        strategy = parallel.row(0)
    except ParameterError as refused:
        return "illegal", str(refused)
    if rule > 0:
        return "illegal", RULES[rule - 1].message(space.model, strategy)
    try:
        outcome = objective(strategy)
    except Exception as error:  # noqa: BLE001 - a user's objective may raise anything
        return "crashed", f"{type(error).__name__}: {error}"
    if not isinstance(outcome, Run | Failure):
        raise ParameterError(f"objective returned {outcome!r}; it must return a Run or a Failure.")
    return outcome


def _work(
    store: TrialStore,
    proposer: Proposer,
    space: Space,
    objective: Objective,
    n_trials: int,
    first: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Measure until enough trials have ended, here or in other processes."""
    while len(store.ended()) < n_trials:
        claimed = None
        with store.claiming():
            store.drop_lost()
            n_running = store.n_running()
            index = len(store.ended()) + n_running
            if index < n_trials:
                claimed = _claimed(store, proposer, space, first, index)
        if claimed is None and not n_running:
            return
        if claimed is None:
            time.sleep(POLL_SECONDS)
            continue
        trial, point = claimed
        try:
            found = measured(space, objective, point)
        except BaseException:
            store.drop(trial)
            raise
        store.end(trial, found)
        if progress is not None:
            progress(min(len(store.ended()), n_trials), n_trials)


def _claimed(
    store: TrialStore, proposer: Proposer, space: Space, first: int | None, index: int
) -> tuple[Trial, int] | None:
    if first is not None and first not in store.taken():
        return started_at(store, space, first), first
    return proposer.start(store, index)


def _check(space: Space, objective: Objective, engine: str, n_trials: int, seed: int) -> None:
    if not isinstance(space, Space):
        raise ParameterError(f"space is a {type(space).__name__}; make one with search_space(...).")
    if not callable(objective):
        raise ParameterError(f"objective={objective!r}: give a function of a strategy.")
    if engine not in ENGINES:
        raise ParameterError(not_allowed("engine", engine, ENGINES))
    require_whole("n_trials", n_trials, low=1, high=MAX_TRIALS)
    require_whole("seed", seed, low=0, high=MAX_SEED)


def _about(space: Space, objective: Objective) -> dict[str, str]:
    """What trials must have in common to be of one search."""
    named = getattr(objective, "__qualname__", type(objective).__qualname__)
    return {
        "model": repr(space.model),
        "system": space.system.name,
        "global_batch_size": str(space.global_batch_size),
        "domains": repr([(domain.name, domain.values) for domain in space.domains]),
        "objective": repr(objective) if dataclasses.is_dataclass(objective) else named,
    }


def _result(
    space: Space,
    engine: str,
    ended: list[Measured],
    n_resumed: int,
    n_trials: int,
    recommended: int | None = None,
) -> TuningResult:
    points = np.array([done.point for done in ended], np.int64)
    parallel = space.at(points)
    frame = parallel.frame()
    frame.insert(0, "point", points)
    frame.insert(0, "number", np.arange(len(ended)))
    frame["n_devices"] = parallel.n_devices
    for name in ("seconds", "throughput", "memory_bytes"):
        frame[name] = np.array([getattr(done, name) for done in ended], float)
    frame["state"] = ["failed" if done.reason else "complete" for done in ended]
    for name in ("reason", "message", "wall_s"):
        frame[name] = [getattr(done, name) for done in ended]
    frame["best_so_far"] = frame["throughput"].cummax()
    ran = bool(len(ended)) and frame["throughput"].max() > 0
    best = parallel.row(int(frame["throughput"].argmax())) if ran else None
    notes = []
    if len(ended) < n_trials:
        notes.append(f"Only {len(ended)} of {n_trials} trials: no other strategy is left to try.")
    chosen = best if recommended is None else space.at(np.array([recommended])).row(0)
    return TuningResult(frame, best, chosen, n_resumed, engine, space, tuple(notes))
