"""Tuning of the spiking networks by Bayesian optimization, on validation papers only.

A trial builds the network with proposed settings, queries the validation papers, and its value is
their accuracy by a rule for ties, as LavaBO [1]_ did it for the network on the chip. Four rules:

- The labels of all papers but the training and the queried ones are erased before anything else,
  so that no choice can depend on a test label.
- The first trial is the setting that the search starts from, so that the best one is never worse on
  the queried papers.
- A network in which no topic spikes for the first 50 queries is left. Its value is what it would
  get if it stayed silent: all topics tied.
- An accuracy ``a`` of ``n`` papers has a standard error of ``sqrt(a (1 - a)/n)``, 2 points for 500
  papers. The best of many trials is also too high by chance: report the test papers, once.

References
----------
.. [1] Snyder, Risbud and Parsa, Neuromorphic Bayesian Optimization in Lava, arXiv 2305.11060
   (2023).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.float_sgnn import CITESEER, CORA, FloatSGNNParameters
from labkit.spiking.objective import (
    Accuracy,
    GivenObjective,
    checked_queries,
    fingerprint,
    hide_labels,
)
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.search import SAMPLERS, Evaluation, Search, search
from labkit.spiking.sgnn import SGNN
from labkit.spiking.spaces import ORNL_SPACE, SGNN_SPACE, Settings, Space

PRECISIONS = ("int", "float")
TUNING_RULES = ("expected", "unique", "first")
"""Rules for ties that can be tuned; by the rule "any" a network that never decides is perfect."""
STUDY_NAME = "tuning"
LAVABO = "lavabo"


@dataclass(frozen=True)
class TuningResult:
    """Settings that were tried, and the best of them.

    Attributes
    ----------
    trials : DataFrame
        One row a trial: number, value, state ("complete", "dead" or "failed"), seconds, one column
        a dimension, error (why a trial failed, else empty), best_so_far.
    best : SGNNParameters or FloatSGNNParameters
        Parameters of the trial with the highest value, the earliest of several.
    importance : Series
        Share of the variance of the values that each dimension explains, largest first; nan where
        all values are equal.
    n_resumed : int
        Trials that were in the journal already.
    n_queries : int
        Papers behind each value.
    space : Space
    sampler : str
    tie_rule : str
    notes : tuple of str
        What a reader of the result should know.
    """

    trials: pd.DataFrame
    best: Any
    importance: pd.Series
    n_resumed: int
    n_queries: int
    space: Space
    sampler: str
    tie_rule: str
    notes: tuple[str, ...] = ()

    @property
    def best_value(self) -> float:
        """Highest value."""
        return float(self.trials["value"].max())

    @property
    def untuned_value(self) -> float:
        """Value of the first trial, from which the search started; nan if it failed."""
        return float(self.trials["value"].iloc[0])

    @property
    def standard_error(self) -> float:
        """Standard error of the best value from the number of papers, see the module."""
        share = min(max(self.best_value, 0.0), 1.0)
        return math.sqrt(share * (1 - share) / self.n_queries)

    @property
    def n_dead(self) -> int:
        """Trials whose network was left because no topic spiked."""
        return int((self.trials["state"] == "dead").sum())

    @property
    def n_failed(self) -> int:
        """Trials whose settings were refused."""
        return int((self.trials["state"] == "failed").sum())

    def summary(self) -> str:
        """The result and how sure it is, in two or three sentences."""
        gain, noise = self.best_value - self.untuned_value, self.standard_error
        against = "" if math.isnan(gain) else f", {100 * gain:.1f} above the start"
        left = f" {self.n_dead} trials were dead." if self.n_dead else ""
        refused = f" {self.n_failed} trials were refused." if self.n_failed else ""
        return (
            f"The best of {len(self.trials)} trials gets {100 * self.best_value:.1f} % of "
            f"{self.n_queries} papers (rule {self.tie_rule!r}{against}).{left}{refused} The "
            f"standard error of such an accuracy is {100 * noise:.1f} points: differences below "
            "that are noise, and the best of many trials is too high by chance."
        )


def tune(
    graph: CitationGraph,
    *,
    space: Space | None = None,
    n_trials: int = 20,
    sampler: str = "gp",
    storage: str | Path | None = None,
    study_name: str = STUDY_NAME,
    n_jobs: int = 1,
    seed: int = 0,
    precision: str = "int",
    tie_rule: str = "expected",
    queries: Sequence[int] | np.ndarray | None = None,
    start: Any = None,
    backend: str = "numpy",
    objective: Callable[[Any], float] | None = None,
    progress: Callable[[int, int], None] | None = None,
    timeout_s: float = 3600.0,
) -> TuningResult:
    """Choose the parameters of a spiking network on validation papers.

    Parameters
    ----------
    graph : CitationGraph
    space : Space, optional
        What may change; `SGNN_SPACE` or `ORNL_SPACE` by `precision` when omitted.
    n_trials : int
        Settings tried in all, those in `storage` included.
    sampler : {"gp", "tpe", "random", "lavabo"}
        Gaussian process, Parzen estimator, random search (all by Optuna), or the Bayesian solver
        of Lava, which has an environment of its own, is slow, and moves numbers only.
    storage : path, optional
        Journal file. A killed run goes on where it was when it is started again with the same
        arguments; several processes with the same arguments share the work.
    study_name : str
        Name of the study in the file.
    n_jobs : int
        Threads that evaluate at the same time. With more than one the trials depend on their
        timing; several processes on one journal use more cores than threads do.
    seed : int
        Of the sampler.
    precision : {"int", "float"}
        Which network.
    tie_rule : {"expected", "unique", "first"}
        How a query counts whose best score several topics share.
    queries : sequence of int, optional
        Papers to choose on; ``graph.validation`` when omitted. Test papers are refused.
    start : SGNNParameters or FloatSGNNParameters, optional
        Parameters of the first trial, and of everything that is not in `space`.
    backend : {"numpy", "numba", "torch"}
        What computes the integer network; the values are the same.
    objective : callable, optional
        Parameters to the value to maximize, instead of the accuracy.
    progress : callable, optional
        Called with the number of trials that have ended and with `n_trials`.
    timeout_s : float
        Seconds after which the solver of Lava is ended.

    Returns
    -------
    TuningResult

    Raises
    ------
    ParameterError
        An argument is not allowed, the journal is of another study, or all settings are refused.

    Examples
    --------
    >>> from labkit.spiking.simulated import simulated_citation_graph
    >>> graph = simulated_citation_graph(seed=0)
    >>> tuned = tune(graph, n_trials=3, sampler="random", objective=lambda p: -abs(p.window - 8))
    >>> tuned.untuned_value, len(tuned.trials)
    (-2.0, 3)
    """
    if precision not in PRECISIONS:
        raise ParameterError(not_allowed("precision", precision, PRECISIONS))
    if space is None:
        space = SGNN_SPACE if precision == "int" else ORNL_SPACE
    start = default_start(graph, precision) if start is None else start
    _check(space, start, precision, sampler, storage, tie_rule)
    for name, value in {"n_trials": n_trials, "n_jobs": n_jobs}.items():
        require_whole(name, value, low=1)
    require_whole("seed", seed, low=0)
    if objective is not None and not callable(objective):
        raise ParameterError(
            f"objective={objective!r}: give a function of the parameters, or None for the accuracy."
        )
    chosen = checked_queries(graph, queries)
    hidden = hide_labels(graph, chosen)
    evaluate: Callable[[Settings], Evaluation]
    if objective is None:
        evaluate = Accuracy(hidden, chosen, space, start, precision, tie_rule, backend)
    else:
        evaluate = GivenObjective(objective, space, start)
    first = space.settings(start)
    if sampler == LAVABO:
        from labkit.spiking.lava_search import search_with_lavabo

        found = search_with_lavabo(
            evaluate,
            space,
            n_trials=n_trials,
            first=first,
            seed=seed,
            progress=progress,
            timeout_s=timeout_s,
        )
        return _result(found, space, start, len(chosen), sampler, tie_rule)
    about = {"space": space, "start": start, "sampler": sampler, "seed": seed}
    about |= {"tie_rule": tie_rule, "objective": getattr(objective, "__name__", "accuracy")}
    with _no_run_warnings():
        found = search(
            evaluate,
            space,
            n_trials=n_trials,
            sampler=sampler,
            seed=seed,
            n_jobs=n_jobs,
            first=first,
            storage=storage,
            study_name=study_name,
            fingerprint=fingerprint(hidden, chosen, about),
            progress=progress,
        )
    return _result(found, space, start, len(chosen), sampler, tie_rule)


def default_start(graph: CitationGraph, precision: str) -> Any:
    """Parameters that a search starts from: the untuned integers, or the published reals.

    Parameters
    ----------
    graph : CitationGraph
    precision : {"int", "float"}

    Returns
    -------
    SGNNParameters or FloatSGNNParameters
    """
    if precision == "int":
        return SGNNParameters()
    return CORA if graph.name == "cora" else CITESEER


@contextmanager
def _no_run_warnings() -> Iterator[None]:
    """Leave out what a network warns of: a search meets many settings that nobody will use."""
    runs = logging.getLogger(SGNN.__module__)
    before = runs.level
    runs.setLevel(logging.ERROR)
    try:
        yield
    finally:
        runs.setLevel(before)


def _check(
    space: Space, start: Any, precision: str, sampler: str, storage: object, tie_rule: str
) -> None:
    if not isinstance(space, Space):
        raise ParameterError(
            f"space is of type {type(space).__name__}; use SGNN_SPACE.only(...) or Space(...)."
        )
    wanted = SGNNParameters if precision == "int" else FloatSGNNParameters
    if not isinstance(start, wanted):
        raise ParameterError(
            f"start is of type {type(start).__name__}; precision={precision!r} needs "
            f"{wanted.__name__}."
        )
    space.check(start)
    if sampler not in (*SAMPLERS, LAVABO):
        raise ParameterError(not_allowed("sampler", sampler, (*SAMPLERS, LAVABO)))
    if sampler == LAVABO and storage is not None:
        raise ParameterError(
            f"storage={str(storage)!r}: the solver of Lava cannot resume; leave storage out or "
            "use another sampler."
        )
    if tie_rule not in TUNING_RULES:
        raise ParameterError(not_allowed("tie_rule", tie_rule, TUNING_RULES))


def _result(
    found: Search, space: Space, start: Any, n_queries: int, sampler: str, tie_rule: str
) -> TuningResult:
    trials = found.trials
    if trials["value"].isna().all():
        raise ParameterError(f"all {len(trials)} trials were refused: {trials['error'].iloc[-1]}")
    row = trials.loc[trials["value"].idxmax()]
    notes = list(found.notes)
    if space.parameters(space.settings(start), start) != start:
        notes.append("The start lies outside the space; the first trial is the nearest point.")
    return TuningResult(
        trials=trials,
        best=space.parameters({d.name: d.nearest(row[d.name]) for d in space}, start),
        importance=found.importance,
        n_resumed=found.n_resumed,
        n_queries=n_queries,
        space=space,
        sampler=sampler,
        tie_rule=tie_rule,
        notes=tuple(notes),
    )
