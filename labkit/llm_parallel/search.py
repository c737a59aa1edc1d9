"""Exhaustive search: every strategy of a space priced by the cost model, in chunks.

Points that break a rule are counted by the rule, those that exceed the memory of a device are
counted as out of memory, and of the others are kept the fastest, the exact front of Pareto over
time, memory and devices, and the best of each pair of tensor- and pipeline-parallel sizes.

A point *dominates* another if it is no worse in all of the three and better in one. The front of
a union of sets is the front of the union of their fronts, so that chunks can be merged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from labkit.choices import require_whole, unknown_choice
from labkit.errors import ParameterError
from labkit.llm_parallel.cost import step_seconds, step_time
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.space import CHUNK, REASONS, Space
from labkit.llm_parallel.system import Efficiency

OUT_OF_MEMORY = "out of memory"
OBJECTIVES = ("seconds", "memory_bytes", "n_devices")
"""What the front is over; less is better in each."""
MAX_TOP = 100_000
SAME_TIME = 1e-9
"""Relative difference below which two predicted times are the same."""
_FIGURES = ("seconds", "tokens_per_second", "memory_bytes", "mfu", "hfu")


@dataclass(frozen=True)
class SearchResult:
    """What an exhaustive search found.

    Attributes
    ----------
    frame : DataFrame
        The fastest strategies, fastest first: rank, point (of the space), label, the columns of a
        strategy, n_devices, seconds, tokens_per_second, memory_bytes, mfu, hfu. All are the
        model's.
    counts : dict of str to int
        Reason to the points that it excludes: the rules broken (the first of each point), and
        ``"out of memory"``.
    n_points, n_evaluated, n_feasible : int
        Of the space; those that keep all rules; those that fit in memory too.
    pareto : DataFrame
        As `frame`, the strategies that no other one dominates in seconds, memory and devices; of
        equal ones the first.
    map : DataFrame
        One row a pair of `tp` and `pp`: n_points, n_feasible, tokens_per_second of the best (nan
        where none is feasible), point of the best (-1), reason that excludes most points.
    """

    frame: pd.DataFrame
    counts: dict[str, int]
    n_points: int
    n_evaluated: int
    n_feasible: int
    pareto: pd.DataFrame
    map: pd.DataFrame

    def summary(self) -> str:
        """How many strategies there are, what excludes the others, and the best, in a sentence."""
        kept = f"{self.n_feasible:,} of {self.n_points:,} strategies can run"
        memory = self.counts.get(OUT_OF_MEMORY, 0)
        illegal = self.n_points - self.n_evaluated
        lost = f"{illegal:,} break a rule, {memory:,} run out of memory"
        if self.frame.empty:
            return f"{kept}; {lost}."
        best = self.frame.iloc[0]
        return f"{kept}; {lost}. The model's fastest is {best.label}: {best.seconds:.4g} s a step."


def exhaustive(
    space: Space,
    *,
    efficiency: Efficiency | None = None,
    top: int = 20,
    memory_limit: float | None = None,
    distinct: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Price every strategy of a space.

    Parameters
    ----------
    space : Space
    efficiency : Efficiency, optional
        Such as calibration found it; that of the system when omitted.
    top : int
        Strategies to keep, fastest first.
    memory_limit : float, optional
        Bytes that a strategy may need on a device; ``system.hbm_bytes`` when omitted.
    distinct : bool
        Of strategies with the same time keep only the one that needs the least memory: most differ
        in a choice that does nothing, such as the ZeRO stage of one replica.
    progress : callable, optional
        Called with the points that are done and with all.

    Returns
    -------
    SearchResult

    Raises
    ------
    ParameterError
        An argument is not allowed.
    """
    require_whole("top", top, low=1, high=MAX_TOP)
    limit: Any = space.system.hbm_bytes if memory_limit is None else memory_limit
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise ParameterError(f"memory_limit={memory_limit!r}: use a number of bytes above 0.")
    found = _Search(space, efficiency, float(limit), top, distinct)
    done = 0
    for index in space.chunks(CHUNK):
        found.add(index)
        done += len(index)
        if progress is not None:
            progress(done, len(space))
    return found.result()


def pareto(frame: pd.DataFrame, columns: Sequence[str] = OBJECTIVES) -> pd.DataFrame:
    """Return the rows that no other row dominates; less is better in every column.

    Parameters
    ----------
    frame : DataFrame
    columns : sequence of str

    Returns
    -------
    DataFrame
        In the order of the frame; of equal rows the first.

    Examples
    --------
    >>> pareto(pd.DataFrame({"seconds": [1, 2, 3], "memory": [5, 6, 4]}), ["seconds", "memory"])
       seconds  memory
    0        1       5
    2        3       4
    """
    for name in columns:
        if name not in frame:
            raise ParameterError(unknown_choice(name, [str(column) for column in frame.columns]))
    return frame.iloc[pareto_rows(frame[list(columns)].to_numpy(float))]


def pareto_rows(values: np.ndarray) -> np.ndarray:
    """Return the rows of a matrix that no other row dominates, in order.

    Parameters
    ----------
    values : ndarray of shape (n, k)
        Less is better; rows with a nan are left out.

    Returns
    -------
    ndarray of int
        Of equal rows the first.
    """
    alive = np.flatnonzero(~np.isnan(values).any(axis=1))
    order = np.lexsort(values[alive].T[::-1])
    alive = alive[order]
    front = []
    while len(alive):
        first, rest = alive[0], alive[1:]
        front.append(first)
        better_somewhere = (values[rest] < values[first]).any(axis=1)
        alive = rest[better_somewhere]
    return np.sort(np.array(front, np.int64))


@dataclass
class _Kept:
    """Some feasible points and the model's figures of them."""

    index: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))

    def merged(self, index: np.ndarray, values: np.ndarray) -> _Kept:
        return _Kept(np.concatenate([self.index, index]), np.vstack([self.values, values]))

    def take(self, rows: np.ndarray) -> _Kept:
        return _Kept(self.index[rows], self.values[rows])


class _Search:
    """What is known after some chunks."""

    def __init__(
        self,
        space: Space,
        efficiency: Efficiency | None,
        limit: float,
        top: int,
        distinct: bool,
    ) -> None:
        self.space, self.efficiency, self.limit = space, efficiency, limit
        self.top, self.distinct = top, distinct
        self.reasons = (*REASONS, OUT_OF_MEMORY)
        self.pairs = len(space.domain("tp")) * len(space.domain("pp"))
        self.excluded = np.zeros((self.pairs, len(self.reasons)), np.int64)
        self.points = np.zeros(self.pairs, np.int64)
        self.best = np.full(self.pairs, np.inf)
        self.best_index = np.full(self.pairs, -1, np.int64)
        self.fastest, self.front = _Kept(), _Kept()

    def add(self, index: np.ndarray) -> None:
        parallel = self.space.at(index)
        code = self.space.broken(index, parallel).astype(np.int64)
        legal = np.flatnonzero(code < 0)
        seconds, memory = np.full(len(index), np.nan), np.full(len(index), np.nan)
        if len(legal):
            memory[legal] = peak_bytes(self.space.model, parallel.take(legal))
        code[legal[memory[legal] > self.limit]] = len(self.reasons) - 1
        if len(fits := np.flatnonzero(code < 0)):
            seconds[fits] = step_seconds(
                self.space.model,
                parallel.take(fits),
                self.space.system,
                efficiency=self.efficiency,
            )
        pair = self._pair(index)
        self.points += np.bincount(pair, minlength=self.pairs)
        out = code >= 0
        np.add.at(self.excluded, (pair[out], code[out]), 1)
        rows = np.flatnonzero(~out)
        values = np.column_stack([seconds, memory, parallel.n_devices])[rows]
        self._keep(index[rows], values, pair[rows])

    def _pair(self, index: np.ndarray) -> np.ndarray:
        tp, pp = self.space.digits(index, "tp"), self.space.digits(index, "pp")
        return tp * len(self.space.domain("pp")) + pp

    def _keep(self, index: np.ndarray, values: np.ndarray, pair: np.ndarray) -> None:
        order = np.lexsort((index, values[:, 0]))
        index, values, pair = index[order], values[order], pair[order]
        seen, first = np.unique(pair, return_index=True)
        better = values[first, 0] < self.best[seen]
        self.best[seen[better]] = values[first[better], 0]
        self.best_index[seen[better]] = index[first[better]]
        self.fastest = self._shortened(self.fastest.merged(index, values))
        mine = pareto_rows(values)
        merged = self.front.merged(index[mine], values[mine])
        self.front = merged.take(pareto_rows(merged.values))

    def _shortened(self, kept: _Kept) -> _Kept:
        order = np.lexsort((kept.index, kept.values[:, 1], kept.values[:, 0]))
        if self.distinct:
            seconds = kept.values[order, 0]
            order = order[np.diff(seconds, prepend=-np.inf) > SAME_TIME * seconds]
        return kept.take(order[: self.top])

    def result(self) -> SearchResult:
        excluded = dict(zip(self.reasons, self.excluded.sum(axis=0).tolist(), strict=True))
        n_points, n_out = len(self.space), sum(excluded.values())
        front = self.front.take(np.lexsort(self.front.values.T[::-1]))
        return SearchResult(
            frame=strategy_table(self.space, self.fastest.index, efficiency=self.efficiency),
            counts={reason: count for reason, count in excluded.items() if count},
            n_points=n_points,
            n_evaluated=n_points - n_out + excluded[OUT_OF_MEMORY],
            n_feasible=n_points - n_out,
            pareto=strategy_table(self.space, front.index, efficiency=self.efficiency),
            map=self._map(),
        )

    def _map(self) -> pd.DataFrame:
        tp, pp = self.space.domain("tp").values, self.space.domain("pp").values
        tokens = self.space.global_batch_size * self.space.model.seq_length
        n_out = self.excluded.sum(axis=1)
        worst = np.array(self.reasons, object)[self.excluded.argmax(axis=1)]
        return pd.DataFrame(
            {
                "tp": np.repeat(tp, len(pp)),
                "pp": np.tile(pp, len(tp)),
                "n_points": self.points,
                "n_feasible": self.points - n_out,
                "tokens_per_second": np.where(
                    np.isinf(self.best), np.nan, tokens / np.where(self.best > 0, self.best, 1)
                ),
                "point": self.best_index,
                "reason": np.where(n_out > 0, worst, ""),
            }
        )


def strategy_table(
    space: Space, index: np.ndarray, *, efficiency: Efficiency | None = None
) -> pd.DataFrame:
    """Return a table of points that keep all rules, with what the model says about them.

    Parameters
    ----------
    space : Space
    index : ndarray of int, shape (n,)
    efficiency : Efficiency, optional

    Returns
    -------
    DataFrame
        Columns as in `SearchResult.frame`, in the order of `index`.
    """
    parallel = space.at(index)
    frame = parallel.frame()
    frame.insert(0, "label", [parallel.row(row).label() for row in range(len(index))])
    frame.insert(0, "point", index)
    frame.insert(0, "rank", np.arange(1, len(index) + 1))
    frame["n_devices"] = parallel.n_devices
    if frame.empty:
        return frame.assign(**dict.fromkeys(_FIGURES, np.empty(0)))
    cost = step_time(space.model, parallel, space.system, efficiency=efficiency)
    frame["seconds"] = cost.total
    for name in _FIGURES[1:]:
        frame[name] = getattr(cost, name)
    return frame
