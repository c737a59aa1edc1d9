"""Which choice decides the throughput: exact shares of its variance over a whole space.

Let Y be the logarithm of the throughput, X_1 ... X_K the choices, and X uniform over a set of
strategies. What some choices S explain together is the variance of a conditional mean,

    c(S) = Var( E[ Y | X_S ] ),    c({}) = 0,  c(all) = Var(Y)

from which come, as shares of Var(Y),

    first order   S_i = c({i})                                        [1]_
    total         T_i = c(all) - c(all without i)                     [1]_
    Shapley       sum over S without i of  |S|! (K-|S|-1)! / K!  (c(S + i) - c(S))    [2]_

Shapley shares sum to 1 always. First-order and total ones do so only where choices do not interact
and the set is a full factorial. Where failures are left out the choices depend on each other (large
micro-batches survive only with many devices a replica): then S_i also counts what X_i tells about
the others, T_i may be below S_i, and the Shapley share, between both, is the one to read [2]_.

All 2^K conditional means are computed from the whole set, by summing one axis after the other:
prod (n_k + 1) additions and no sampling.

======  ==============================  ================
symbol  variable                        unit
======  ==============================  ================
Y       ``y``                           log of tokens/s
c(S)    ``explained[mask of S]``        squared log
n_k     ``y.shape[k]``                  values
======  ==============================  ================

References
----------
.. [1] Sobol', Mathematics and Computers in Simulation 55 (2001) 271-280; Homma and Saltelli,
   Reliability Engineering and System Safety 52 (1996) 1-17.
.. [2] Owen, SIAM/ASA Journal on Uncertainty Quantification 2 (2014) 245-251; Song, Nelson and
   Staum, the same 4 (2016) 1060-1083.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from labkit.choices import not_allowed, unknown_choice
from labkit.errors import ParameterError
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.space import CHUNK, Space
from labkit.llm_parallel.system import Efficiency

FAILURES_AS = ("left out", "slowest")
MAX_CHOICES = 16
MAX_POINTS = 20_000_000
_NO_VARIANCE = 1e-24
"""Variance of a logarithm below which all strategies count as equally fast."""


def sensitivity(
    strategies: Space | pd.DataFrame,
    *,
    choices: Sequence[str] | None = None,
    value: str = "tokens_per_second",
    failures: str = "left out",
    efficiency: Efficiency | None = None,
) -> pd.DataFrame:
    """Return how much of the variance of log throughput each choice explains.

    Parameters
    ----------
    strategies : Space or DataFrame
        A space, of which every point is priced by the cost model; or a table with one row a
        strategy, such as the trials of a search.
    choices : sequence of str, optional
        Columns of a table that are choices; needed for a table. Of a space always all that have
        more than one value.
    value : str
        Column of a table to explain; its values must be positive, or nan for a failure. Of a
        space always the throughput.
    failures : {"left out", "slowest"}
        Whether strategies that break a rule or run out of memory are no part of the set, or have
        the throughput of the slowest one that runs. With the second the set of a space is a full
        factorial, and the shares mix two questions: what makes a strategy possible, and fast.
    efficiency : Efficiency, optional
        That of the system when omitted.

    Returns
    -------
    DataFrame
        Columns choice, shapley, sobol_first, sobol_total, largest Shapley share first. All are
        nan where the throughput does not vary. Rows of a table with the same choices are averaged
        first.

    Raises
    ------
    ParameterError
        An argument is not allowed, or no strategy can run.

    Examples
    --------
    >>> table = pd.DataFrame({"tp": [1, 1, 2, 2], "pp": [1, 2, 1, 2], "speed": [1, 2, 1, 2]})
    >>> sensitivity(table, choices=["tp", "pp"], value="speed")
      choice  shapley  sobol_first  sobol_total
    0     pp      1.0          1.0          1.0
    1     tp      0.0          0.0          0.0
    """
    if failures not in FAILURES_AS:
        raise ParameterError(not_allowed("failures", failures, FAILURES_AS))
    if isinstance(strategies, Space):
        if choices is not None:
            raise ParameterError("choices: all choices of a space are compared; leave it out.")
        names = [domain.name for domain in strategies.free]
        y, weight = _of_space(strategies, failures, efficiency)
    elif isinstance(strategies, pd.DataFrame):
        names = _checked_choices(strategies, choices, value)
        y, weight = _of_table(strategies, names, value, failures)
    else:
        raise ParameterError(f"strategies is a {type(strategies).__name__}; use a space or table.")
    return variance_shares(names, y, weight)


def variance_shares(names: Sequence[str], y: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    """Return exact Shapley, first-order and total shares of the variance of an array.

    Parameters
    ----------
    names : sequence of str, length K
        One an axis.
    y : ndarray of K axes
        Value at each combination of the choices.
    weight : ndarray of the shape of `y`
        How often a combination is in the set; 0 where it is not.

    Returns
    -------
    DataFrame
        As of `sensitivity`.
    """
    explained = explained_variances(y, weight)
    n, every = len(names), 2 ** len(names) - 1
    total = explained[every]
    if total <= _NO_VARIANCE:
        shares = np.full((3, n), np.nan)
    else:
        bits = 1 << np.arange(n)
        first = explained[bits]
        last = total - explained[every - bits]
        shares = np.array([_shapley(explained, n), first, last]) / total
    table = pd.DataFrame(dict(zip(("shapley", "sobol_first", "sobol_total"), shares, strict=True)))
    table.insert(0, "choice", list(names))
    return table.sort_values("shapley", ascending=False, kind="stable", ignore_index=True)


def explained_variances(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the variance of the mean of `y` given each subset of the axes.

    Parameters
    ----------
    y, weight : ndarray of K axes

    Returns
    -------
    ndarray of shape (2**K,)
        Entry ``sum of 2**k for k in S`` is c(S).
    """
    total = weight.sum()
    centered = y - (weight * y).sum() / total
    explained = np.zeros(2**y.ndim)

    def descend(sums: np.ndarray, weights: np.ndarray, axes: tuple[int, ...], after: int) -> None:
        """Store c of these axes, then of all subsets that lack one at place `after` or later."""
        means = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
        explained[sum(1 << axis for axis in axes)] = (sums * means).sum() / total
        for place in range(after, len(axes)):
            fewer = axes[:place] + axes[place + 1 :]
            descend(sums.sum(axis=place), weights.sum(axis=place), fewer, place)

    descend(weight * centered, weight.astype(float), tuple(range(y.ndim)), 0)
    explained[0] = 0.0
    return explained


def _shapley(explained: np.ndarray, n: int) -> np.ndarray:
    """Weighted gains of each axis over all subsets without it, shape (n,)."""
    subsets = np.arange(2**n)
    size = np.array([int(mask).bit_count() for mask in subsets])
    weight = np.array([1 / (n * math.comb(n - 1, k)) if k < n else 0.0 for k in range(n + 1)])
    values = np.empty(n)
    for axis in range(n):
        without = subsets[subsets & (1 << axis) == 0]
        gain = explained[without | (1 << axis)] - explained[without]
        values[axis] = (weight[size[without]] * gain).sum()
    return values


def _of_space(
    space: Space, failures: str, efficiency: Efficiency | None
) -> tuple[np.ndarray, np.ndarray]:
    """Log throughput and weight of each point; one axis a free domain."""
    if len(space) > MAX_POINTS:
        raise ParameterError(
            f"strategies has {len(space):,} points; at most {MAX_POINTS:,} fit in memory."
        )
    y = np.full(len(space), np.nan)
    for index in space.chunks(CHUNK):
        parallel = space.at(index)
        legal = np.flatnonzero(space.broken(index, parallel) < 0)
        if len(legal):
            rows = parallel.take(legal)
            cost = step_time(space.model, rows, space.system, efficiency=efficiency)
            fits = cost.memory_bytes <= space.system.hbm_bytes
            y[index[legal[fits]]] = np.log(cost.tokens_per_second[fits])
    y, weight = _without_failures(y, failures)
    shape = [len(domain) for domain in space.free]
    return y.reshape(shape), weight.reshape(shape)


def _of_table(
    table: pd.DataFrame, names: Sequence[str], value: str, failures: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean log value and number of rows of each combination of the choices."""
    given = pd.to_numeric(table[value], errors="coerce").to_numpy(float)
    if (given <= 0).any():
        raise ParameterError(f"{value} holds {given.min()}; use values above 0, nan for failures.")
    y, weight = _without_failures(np.log(given), failures)
    codes, levels = zip(*(pd.factorize(table[name]) for name in names), strict=True)
    shape = tuple(len(level) for level in levels)
    if math.prod(shape) > MAX_POINTS:
        raise ParameterError(
            f"choices has {math.prod(shape):,} combinations; at most {MAX_POINTS:,} fit in memory."
        )
    cell = np.ravel_multi_index(codes, shape)
    count = np.bincount(cell, weight, minlength=math.prod(shape))
    total = np.bincount(cell, weight * y, minlength=math.prod(shape))
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean.reshape(shape), count.reshape(shape)


def _without_failures(y: np.ndarray, failures: str) -> tuple[np.ndarray, np.ndarray]:
    """Finite values and their weights, failures treated as the user chose."""
    failed = ~np.isfinite(y)
    if failed.all():
        raise ParameterError(f"strategies: none of the {len(y):,} can run; widen the space.")
    if failures == "slowest":
        return np.where(failed, y[~failed].min(), y), np.ones_like(y)
    return np.where(failed, 0.0, y), np.where(failed, 0.0, 1.0)


def _checked_choices(table: pd.DataFrame, choices: Sequence[str] | None, value: str) -> list[str]:
    if not choices or isinstance(choices, str):
        raise ParameterError(f"choices={choices!r}: list the columns of the table to compare.")
    if len(choices) > MAX_CHOICES:
        raise ParameterError(f"choices has {len(choices)} names; use at most {MAX_CHOICES}.")
    known = [str(column) for column in table.columns]
    for name in (*choices, value):
        if name not in known:
            raise ParameterError(unknown_choice(name, known))
        if name != value and table[name].isna().any():
            raise ParameterError(f"{name} has missing values; drop these rows first.")
    return list(choices)
