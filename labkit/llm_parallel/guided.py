"""Model-guided search: the strategies that the cost model thinks fastest, re-ranked as it learns.

The model ranks all strategies and the first one is measured. Its constants are uncertain, and what
was measured tells some of it: K sets of constants are drawn from their priors, and each is weighted
by how well it tells the *ratios* of the measured times; a factor common to all times ranks nothing
and is left free. The next strategy is the one with the largest expected improvement,

    e_ij = log y_i - log f_j(x_i),    w_j ~ exp( - sum_i (e_ij - mean_i e_ij)^2 / (2 s^2) )
    EI(x) = sum_j w_j max(0, log y_best - mean_i e_ij - log f_j(x))

Of several strategies with noisy times the fastest owes its place to luck, too. What is recommended
in the end is therefore the shortest of the times averaged with what the weighted model says, each
by its variance, v_i being that of the sets of constants:

    (y_i (v_i + s^2/2) + m_i s^2/2) / (v_i + s^2),    m_i = sum_j w_j (log f_j(x_i) + mean_i e_ij)

A strategy that ran out of memory tells that those which the model expects to need as much or more
would do so, too; they are passed over.

======  ====================  ======================================================
symbol  variable              unit
======  ====================  ======================================================
x       points                of the space, the `POOL` fastest by the model
f_j(x)  ``predicted``         seconds, by the constants of set j
y_i     ``seconds``           measured
s       ``SPREAD``            sigma of the log of a ratio: noise, and what the model misses
======  ====================  ======================================================
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd

from labkit.llm_parallel.cost import step_seconds
from labkit.llm_parallel.search import OUT_OF_MEMORY, exhaustive, strategy_table
from labkit.llm_parallel.space import Space
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.trials import Measured

POOL = 300
MEMBERS = 128
SPREAD = 0.05


class GuidedRanking:
    """The strategies of a space in the order in which they are worth measuring.

    Parameters
    ----------
    space : Space
    n_trials : int
        Strategies that will be measured.
    seed : int
        Of the sets of constants.
    efficiency : Efficiency, optional
        Median of the constants, e.g. calibrated; that of the system when omitted.
    """

    def __init__(
        self, space: Space, n_trials: int, *, seed: int, efficiency: Efficiency | None = None
    ) -> None:
        self.space, self.n_trials = space, n_trials
        self.center = efficiency or space.system.efficiency
        self.members = drawn_efficiencies(self.center, MEMBERS, seed=seed)
        self.known: dict[int, np.ndarray] = {}
        self._fill(None)

    def next(self, ended: list[Measured], taken: set[int]) -> int | None:
        """Return the point to measure next, None where nothing is left that may fit.

        Parameters
        ----------
        ended : list of Measured
            What is known.
        taken : set of int
            Points that were tried, or are being tried.
        """
        limit = self._memory_that_failed(ended)
        for _ in range(2):
            fits = self.pool["memory_bytes"].to_numpy() < limit
            rows = np.flatnonzero(fits & ~self.pool["point"].isin(taken).to_numpy())
            if len(rows):
                return int(self.pool["point"].iloc[rows[self._best_of(rows, ended)]])
            self._fill(limit)
        return None

    def _fill(self, limit: float | None) -> None:
        """Rank the space anew, over what needs less memory than a limit."""
        hbm = self.space.system.hbm_bytes
        below = hbm if limit is None else min(hbm, math.nextafter(limit, 0.0))
        self.pool: pd.DataFrame = exhaustive(
            self.space,
            efficiency=self.center,
            top=POOL + self.n_trials,
            memory_limit=below,
        ).frame
        self.predicted = self._log_seconds(self.pool["point"].to_numpy(np.int64))

    def recommended(self, ended: list[Measured]) -> int | None:
        """Return the point to use, None where no strategy ran."""
        ran = [done for done in ended if done.seconds is not None]
        if not ran:
            return None
        seconds, predicted, offset, weight = self._learned(ran)
        known = predicted + offset[:, None]
        mean = weight @ known
        variance = weight @ (known - mean) ** 2
        noise = SPREAD**2 / 2
        averaged = (seconds * (variance + noise) + mean * noise) / (variance + 2 * noise)
        return ran[int(averaged.argmin())].point

    def _log_seconds(self, points: np.ndarray) -> np.ndarray:
        """Log of the predicted seconds, shape (sets of constants, points)."""
        new = [point for point in points.tolist() if point not in self.known]
        if new:
            rows = self.space.at(np.array(new))
            model, system = self.space.model, self.space.system
            times = [step_seconds(model, rows, system, efficiency=m) for m in self.members]
            self.known.update(zip(new, np.log(times).T, strict=True))
        columns = [self.known[point] for point in points.tolist()]
        return np.column_stack(columns) if columns else np.empty((len(self.members), 0))

    def _learned(
        self, ran: list[Measured]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Log of the measured and predicted times, factor and weight of each set of constants."""
        seconds = np.log([float(done.seconds or math.nan) for done in ran])
        predicted = self._log_seconds(np.array([done.point for done in ran]))
        return (seconds, predicted, *learned(predicted, seconds, spread=SPREAD))

    def _best_of(self, rows: np.ndarray, ended: list[Measured]) -> int:
        ran = [done for done in ended if done.seconds is not None]
        if not ran:
            return 0
        seconds, _, offset, weight = self._learned(ran)
        times = self.predicted[:, rows] + offset[:, None]
        gain = weight @ np.maximum(seconds.min() - times, 0.0)
        return int(np.lexsort((weight @ times, -gain))[0])

    def _memory_that_failed(self, ended: list[Measured]) -> float:
        failed = [done.point for done in ended if done.reason == OUT_OF_MEMORY]
        if not failed:
            return math.inf
        return float(strategy_table(self.space, np.array(failed))["memory_bytes"].min())


def drawn_efficiencies(center: Efficiency, n: int, *, seed: int) -> list[Efficiency]:
    """Return sets of constants from their priors about a median, the median first.

    Parameters
    ----------
    center : Efficiency
    n : int
    seed : int

    Returns
    -------
    list of Efficiency, length n
        Within the bounds of each constant.
    """
    fields = dataclasses.fields(Efficiency)
    draws = np.random.default_rng(seed).standard_normal((n, len(fields)))
    draws[0] = 0.0
    sets = []
    for row in draws.tolist():
        values = {}
        for item, z in zip(fields, row, strict=True):
            value = getattr(center, item.name) * math.exp(item.metadata["sigma"] * z)
            values[item.name] = min(max(value, item.metadata["low"]), item.metadata["high"])
        sets.append(Efficiency(**values))
    sets[0] = center
    return sets


def learned(
    predicted: np.ndarray, seconds: np.ndarray, *, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the free factor and the weight of each set of constants.

    Parameters
    ----------
    predicted : ndarray of shape (K, n)
        Log of the seconds that each set predicts of what was measured.
    seconds : ndarray of shape (n,)
        Log of the measured seconds.
    spread : float
        Sigma of the log of a ratio of measured times.

    Returns
    -------
    offset : ndarray of shape (K,)
        Log of the factor by which the measured times exceed the predicted ones.
    weight : ndarray of shape (K,)
        Sums to 1.
    """
    error = seconds - predicted
    offset = error.mean(axis=1)
    misfit = ((error - offset[:, None]) ** 2).sum(axis=1) / (2 * spread**2)
    weight = np.exp(misfit.min() - misfit)
    return offset, weight / weight.sum()
