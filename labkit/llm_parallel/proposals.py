"""What to measure next: three ways to choose a point of a space that was not tried yet.

`Ranked` trusts the cost model, `Parzen` learns from the trials alone or from the trials and the
model's memory, `Uniform` does neither. Each is given the trials that ended and the index of the
next one, and depends on nothing else, so that a search that was killed proposes the same again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from labkit.llm_parallel.columns import ModelColumns
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.rules import RULES
from labkit.llm_parallel.search import MAX_TOP, OUT_OF_MEMORY, exhaustive, strategy_table
from labkit.llm_parallel.space import Space
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.trials import TrialStore

if TYPE_CHECKING:
    from optuna.trial import Trial

STARTUP_TRIALS = 10
ATTEMPTS = 5
SPARE = 200
"""Ranked strategies kept beyond the number of trials."""


class Proposer(Protocol):
    """Chooses the next point and starts its trial."""

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Return a trial and its point, or None where nothing is left to try."""


@dataclass
class Ranked:
    """The fastest of the model that is not known to need too much memory.

    Attributes
    ----------
    space : Space
    n_trials : int
    efficiency : Efficiency, optional
    """

    space: Space
    n_trials: int
    efficiency: Efficiency | None = None
    ranking: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = self._ranked(None)

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Start the first of the ranking that is not tried and may fit."""
        limit = self._memory_that_failed(store)
        for _ in range(2):
            fits = self.ranking[self.ranking["memory_bytes"] < limit]
            left = fits[~fits["point"].isin(store.taken())]
            if not left.empty:
                point = int(left["point"].iloc[0])
                return started_at(store, self.space, point), point
            self.ranking = self._ranked(min(limit, self.space.system.hbm_bytes))
        return None

    def _ranked(self, limit: float | None) -> pd.DataFrame:
        top = min(self.n_trials + SPARE, MAX_TOP)
        found = exhaustive(self.space, efficiency=self.efficiency, top=top, memory_limit=limit)
        return found.frame

    def _memory_that_failed(self, store: TrialStore) -> float:
        failed = [done.point for done in store.ended() if done.reason == OUT_OF_MEMORY]
        if not failed:
            return np.inf
        table = strategy_table(self.space, np.array(failed), efficiency=self.efficiency)
        return float(table["memory_bytes"].min())


@dataclass
class Parzen:
    """Optuna's tree-structured Parzen estimator.

    Attributes
    ----------
    space : Space
    seed : int
    constrained : bool
        Tell it how far a strategy is from being possible.
    """

    space: Space
    seed: int
    constrained: bool = True

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Start what the estimator proposes, or a random point if it insists on known ones."""
        from optuna.samplers import TPESampler

        taken = store.taken()
        for attempt in range(ATTEMPTS):
            state = np.random.SeedSequence((self.seed, index, attempt)).generate_state(1)
            store.study.sampler = TPESampler(seed=int(state[0]), n_startup_trials=STARTUP_TRIALS)
            trial = store.study.ask()
            point = suggested(trial, self.space)
            if point not in taken:
                known = constraints(self.space, point) if self.constrained else {}
                store.start(trial, point, known)
                return trial, point
            store.drop(trial)
        return Uniform(self.space, self.seed, self.constrained).start(store, index)


@dataclass
class Uniform:
    """Any point that was not tried, all with the same probability.

    Attributes
    ----------
    space : Space
    seed : int
    constrained : bool
        As of `Parzen`, which goes on from these trials.
    """

    space: Space
    seed: int
    constrained: bool = False

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Start a random point."""
        taken = store.taken()
        if len(taken) >= len(self.space):
            return None
        draws = np.random.default_rng((self.seed, index, ATTEMPTS))
        while (point := int(draws.integers(len(self.space)))) in taken:
            pass
        known = constraints(self.space, point) if self.constrained else {}
        return started_at(store, self.space, point, known), point


def started_at(
    store: TrialStore, space: Space, point: int, known: Mapping[str, float] | None = None
) -> Trial:
    """Start the trial of a given point; to be called under the lock of the store."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import PartialFixedSampler, RandomSampler

    digits = {d.name: int(space.digits(np.array([point]), d.name)[0]) for d in space.free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        store.study.sampler = PartialFixedSampler(digits, RandomSampler(seed=0))
    trial = store.study.ask()
    suggested(trial, space)
    store.start(trial, point, known or {})
    return trial


def suggested(trial: Trial, space: Space) -> int:
    """Let a trial choose every free domain, and return the point.

    Numbers are proposed by their place in the domain, as neighbors; the rest as categories.
    """
    point = 0
    for domain in space.domains:
        places = range(len(domain))
        if len(domain) == 1:
            digit = 0
        elif domain.is_ordered:
            digit = trial.suggest_int(domain.name, 0, places[-1])
        else:
            digit = trial.suggest_categorical(domain.name, tuple(places))
        point = point * len(domain) + digit
    return point


def constraints(space: Space, point: int) -> dict[str, float]:
    """Return how far a point is from being possible; 0 and less is possible.

    Parameters
    ----------
    space : Space
    point : int

    Returns
    -------
    dict of str to float
        ``"memory"``: predicted bytes over those of a device, less 1, and 0 where a rule is broken.
        ``"rules"``: how many are broken.
    """
    index = np.array([point])
    parallel = space.at(index)
    model = ModelColumns.of(space.model)
    n_broken = sum(bool(np.all(rule.broken(model, parallel))) for rule in RULES)
    uneven = bool((space.broken(index, parallel) == 0)[0])
    if n_broken + uneven:
        return {"memory": 0.0, "rules": float(n_broken + uneven)}
    memory: Any = peak_bytes(space.model, parallel)
    return {"memory": float(memory[0]) / space.system.hbm_bytes - 1.0, "rules": 0.0}
