"""What to measure next: three ways to choose a point of a space that was not tried yet.

`Ranked` trusts the cost model, `Parzen` learns from the trials alone or from the trials and the
model's memory, `Uniform` does neither. Each is given the trials that ended and the index of the
next one, and depends on nothing else, so that a search that was killed proposes the same again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from labkit.llm_parallel.columns import ModelColumns
from labkit.llm_parallel.guided import GuidedRanking
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.rules import RULES
from labkit.llm_parallel.space import Space
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.trials import TrialStore

if TYPE_CHECKING:
    from optuna.trial import Trial

STARTUP_TRIALS = 10
ATTEMPTS = 5


class Proposer(Protocol):
    """Chooses the next point and starts its trial."""

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Return a trial and its point, or None where nothing is left to try."""


@dataclass
class Ranked:
    """What `labkit.llm_parallel.guided` ranks first.

    Attributes
    ----------
    space : Space
    n_trials, seed : int
    efficiency : Efficiency, optional
    """

    space: Space
    n_trials: int
    seed: int
    efficiency: Efficiency | None = None
    ranking: GuidedRanking = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = GuidedRanking(
            self.space, self.n_trials, seed=self.seed, efficiency=self.efficiency
        )

    def start(self, store: TrialStore, index: int) -> tuple[Trial, int] | None:
        """Start what is worth most to measure."""
        point = self.ranking.next(store.ended(), store.taken())
        return None if point is None else (started_at(store, self.space, point), point)


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
        ``"memory"``: log of the predicted bytes over those of a device. Where a rule is broken it
        has no exact meaning, but tells the way to strategies that fit. ``"rules"``: how many are
        broken.
    """
    index = np.array([point])
    parallel = space.at(index)
    model = ModelColumns.of(space.model)
    n_broken = sum(bool(np.all(rule.broken(model, parallel))) for rule in RULES)
    uneven = bool((space.broken(index, parallel) == 0)[0])
    with np.errstate(all="ignore"):
        memory = float(peak_bytes(space.model, parallel)[0])
    known = math.isfinite(memory) and memory > 0
    excess = math.log(memory / space.system.hbm_bytes) if known else 0.0
    return {"memory": excess, "rules": float(n_broken + uneven)}
