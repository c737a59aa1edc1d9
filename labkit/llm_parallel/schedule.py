"""A pipeline's order of work and its timeline: bubbles and held activations, simulated.

Each rank runs its actions in the given order; an action starts when its rank is free and what it
needs has arrived::

    start(F, s, j) >= end(F, s - 1, j) + lag
    start(B or I, s, j) >= end(B or I, s + 1, j) + lag,  end(F, s, j)
    start(W, s, j) >= end(I, s, j)

``lag`` is the time a tensor takes to another rank, during which both ranks go on working; between
two chunks of one rank it is 0. No formula of a bubble is used: the closed forms of
`ideal_bubble` are there to compare with.

======  ===================  ===========================================
symbol  variable             unit
======  ===================  ===========================================
p       ``p``                ranks
m       ``m``                micro-batches
v       ``v``                model chunks of a rank
s, j    ``stage``            places of a chunk and of a micro-batch
t_F     ``forward``          seconds of one micro-batch in one stage
t_B     ``backward``         seconds, for input and weights together
w       ``weight``           share of t_B for the weights
======  ===================  ===========================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Real

import numpy as np
import pandas as pd

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.config import SCHEDULES
from labkit.llm_parallel.schedule_orders import (
    Order,
    gpipe,
    interleaved,
    looped_bfs,
    one_forward_one_backward,
    round_size,
    zero_bubble_h1,
    zero_bubble_v,
)
from labkit.llm_parallel.schedule_plan import KINDS, Plan, plan

_HELD = {"F": 1, "B": -1, "I": 0, "W": -1}
"""Change of the held activations: a split backward pass needs them until its second half."""


@dataclass(frozen=True)
class Schedule:
    """What every rank of a pipeline does, first to last.

    Attributes
    ----------
    order : tuple of tuple of Action
        One a rank.
    kind : str
        One of `labkit.llm_parallel.config.SCHEDULES`, or any name for an order of your own.

    Raises
    ------
    ParameterError
        There are no actions, or some of an unknown kind.
    """

    order: tuple[Order, ...]
    kind: str = "custom"

    def __post_init__(self) -> None:
        kinds = {action.kind for order in self.order for action in order}
        if not kinds or kinds - set(KINDS):
            wrong = ", ".join(map(repr, sorted(kinds - set(KINDS)))) or "no actions"
            raise ParameterError(f"order: {wrong}; use actions of the kinds {', '.join(KINDS)}.")

    @property
    def p(self) -> int:
        """Ranks."""
        return len(self.order)

    @cached_property
    def m(self) -> int:
        """Micro-batches."""
        return 1 + max(action.microbatch for order in self.order for action in order)

    @cached_property
    def n_stages(self) -> int:
        """Model chunks of the whole pipeline."""
        return 1 + max(action.stage for order in self.order for action in order)

    @property
    def v(self) -> int:
        """Model chunks of a rank."""
        return self.n_stages // self.p

    @property
    def peak_in_flight(self) -> tuple[int, ...]:
        """Most micro-batches times chunks whose activations each rank holds at once."""
        changes = ([_HELD[action.kind] for action in order] for order in self.order)
        return tuple(int(np.max(np.cumsum(change), initial=0)) for change in changes)

    @cached_property
    def _plan(self) -> Plan:
        return plan(self.order, self.n_stages)


@dataclass(frozen=True, eq=False)
class Timeline:
    """A simulated step of a pipeline.

    Attributes
    ----------
    schedule : Schedule
    frame : DataFrame
        One row an action: rank, kind, stage, chunk (of the rank), microbatch, start, end (s).
    makespan : float
        Seconds from the first start to the last end.
    bubble_fraction : float
        Share of the ranks' time in which they wait.
    formula : float
        The same by `ideal_bubble`; nan where there is no closed form.
    """

    schedule: Schedule
    frame: pd.DataFrame
    makespan: float
    bubble_fraction: float
    formula: float

    @property
    def peak_in_flight(self) -> tuple[int, ...]:
        """Most micro-batches times chunks that each rank holds at once."""
        return self.schedule.peak_in_flight


def pipeline_schedule(kind: str, p: int, m: int, v: int | None = None) -> Schedule:
    """Return the order of work of a pipeline.

    Parameters
    ----------
    kind : {"gpipe", "1f1b", "interleaved_1f1b", "looped_bfs", "zb_h1", "zbv"}
    p : int
        Ranks of the pipeline.
    m : int
        Micro-batches of a step.
    v : int, optional
        Model chunks of a rank; by default the fewest that the kind allows.

    Raises
    ------
    ParameterError
        The kind is unknown, or it does not go with `m` or `v`.

    Examples
    --------
    >>> schedule = pipeline_schedule("1f1b", 2, 3)
    >>> for order in schedule.order:
    ...     print(*order)
    0F0 0F1 0B0 0F2 0B1 0B2
    1F0 1B0 1F1 1B1 1F2 1B2
    >>> schedule.peak_in_flight
    (2, 1)
    """
    if kind not in SCHEDULES:
        raise ParameterError(not_allowed("schedule", kind, SCHEDULES))
    v = (2 if kind in ("interleaved_1f1b", "looped_bfs", "zbv") else 1) if v is None else v
    for name, value in (("pp", p), ("num_microbatches", m), ("virtual_pp", v)):
        require_whole(name, value, low=1)
    if kind in ("gpipe", "1f1b") and v != 1:
        raise ParameterError(f"virtual_pp={v}: schedule={kind!r} has 1 model chunk a rank.")
    if kind == "zbv" and v != 2:
        raise ParameterError(f"virtual_pp={v}: schedule='zbv' has 2 model chunks a rank.")
    if kind in ("interleaved_1f1b", "zb_h1") and m % round_size(p, m):
        raise ParameterError(
            f"num_microbatches={m}: schedule={kind!r} runs rounds of equal size; "
            f"use a multiple of pp={p}, e.g. {-(-m // p) * p}."
        )
    return _schedule(kind, int(p), int(m), int(v))


@lru_cache(maxsize=8)
def _schedule(kind: str, p: int, m: int, v: int) -> Schedule:
    return Schedule(tuple(_order_of_rank(kind, rank, p, m, v) for rank in range(p)), kind)


def _order_of_rank(kind: str, rank: int, p: int, m: int, v: int) -> Order:
    if kind == "gpipe":
        return gpipe(rank, p, m)
    if kind == "1f1b":
        return one_forward_one_backward(rank, p, m)
    if kind == "zbv":
        return zero_bubble_v(rank, p, m)
    several = {"interleaved_1f1b": interleaved, "looped_bfs": looped_bfs, "zb_h1": zero_bubble_h1}
    return several[kind](rank, p, m, v)


def ideal_bubble(
    schedule: Schedule, *, forward: float = 1.0, backward: float = 2.0, weight: float = 0.5
) -> float:
    """Return the idle share in closed form: equal stages, and no time between ranks.

    Each rank idles ``(p - 1) (t_F + t_B)`` of ``(m v + p - 1) (t_F + t_B)`` seconds [1]_; with
    zb_h1 it idles ``(p - 1) max(t_F + t_I - t_W, t_F, t_I)``, the first of which is the paper's
    [2]_, and with zbv ``(p - 1) t_F`` while ``t_F = t_I = t_W``.

    Parameters
    ----------
    schedule : Schedule
    forward, backward, weight : float
        As in `simulate`; only the zero-bubble orders depend on them.

    Returns
    -------
    float
        nan where there is no closed form, e.g. too few micro-batches to fill the pipeline.

    References
    ----------
    .. [1] Narayanan et al., SC'21, arXiv:2104.04473, section 2.2.
    .. [2] Qi et al., ICLR 2024, arXiv:2401.10241, table 2.

    Examples
    --------
    >>> ideal_bubble(pipeline_schedule("interleaved_1f1b", 4, 8, 2)) == 3 / (8 * 2 + 3)
    True
    """
    p, m, v, kind = schedule.p, schedule.m, schedule.v, schedule.kind
    whole_rounds = m % p == 0
    if kind in ("gpipe", "1f1b") or (kind in ("interleaved_1f1b", "looped_bfs") and whole_rounds):
        return (p - 1) / (m * v + p - 1)
    weights = backward * weight
    inputs = backward - weights
    work = m * v * (forward + backward)
    if kind == "zb_h1" and whole_rounds:
        idle = (p - 1) * max(forward + inputs - weights, forward, inputs)
        return idle / (work + idle)
    if kind == "zbv" and m >= 2 * p - 1 and np.allclose(forward, (inputs, weights), rtol=1e-12):
        return (p - 1) * forward / (work + (p - 1) * forward)
    return math.nan


def simulate(
    schedule: Schedule,
    *,
    forward: float | Sequence[float] | np.ndarray,
    backward: float | Sequence[float] | np.ndarray,
    weight: float | None = None,
    p2p: float = 0.0,
) -> Timeline:
    """Run a schedule with given durations.

    Parameters
    ----------
    schedule : Schedule
        Of `pipeline_schedule`, or an order of your own.
    forward, backward : float or array of shape (p * v,)
        Seconds of one micro-batch in one stage; arrays give each stage its own.
    weight : float, optional
        Share of `backward` that is for the weights, where the order splits it; by default a half.
    p2p : float
        Seconds that a tensor takes to another rank.

    Returns
    -------
    Timeline

    Raises
    ------
    ParameterError
        A duration is negative or has the wrong shape, or the order makes ranks wait forever.

    Examples
    --------
    >>> timeline = simulate(pipeline_schedule("1f1b", 4, 8), forward=1.0, backward=2.0)
    >>> timeline.makespan, round(timeline.bubble_fraction, 4)
    (33.0, 0.2727)
    """
    sequence = schedule._plan
    share = 0.5 if weight is None else weight
    stage_seconds = _stage_seconds(schedule.n_stages, forward, backward, share)
    seconds = stage_seconds[sequence.kind, sequence.stage]
    end = _ends(sequence, seconds, float(_seconds("p2p", p2p, 1)))
    makespan = float(end.max())
    bubble = 1 - float(seconds.sum()) / (makespan * schedule.p) if makespan else 0.0
    columns = {
        "rank": sequence.rank,
        "kind": np.array(list(KINDS))[sequence.kind],
        "stage": sequence.stage,
        "chunk": sequence.stage // schedule.p,
        "microbatch": sequence.microbatch,
        "start": end - seconds,
        "end": end,
    }
    means = stage_seconds.mean(1)
    formula = ideal_bubble(schedule, forward=means[0], backward=means[1], weight=share)
    return Timeline(schedule, pd.DataFrame(columns), makespan, bubble, formula)


def _ends(sequence: Plan, seconds: np.ndarray, p2p: float) -> np.ndarray:
    """Return when each action ends."""
    lag = np.where(sequence.sent, p2p, 0.0).tolist()
    ends = [0.0] * (len(seconds) + 1)  # the last, at place -1, is the start of the step
    rows = zip(sequence.before, sequence.needed, lag, seconds.tolist(), strict=True)
    for place, (before, needed, late, duration) in enumerate(rows):
        free, ready = ends[before], ends[needed] + late
        ends[place] = max(free, ready) + duration
    return np.array(ends[:-1])


def _stage_seconds(n_stages: int, forward: object, backward: object, share: object) -> np.ndarray:
    """Return seconds of shape (4 kinds, stages)."""
    later = float(share) if isinstance(share, Real) else math.nan
    if not 0 <= later <= 1:
        raise ParameterError(f"weight={share!r}: use a share from 0 to 1.")
    whole = np.broadcast_to(_seconds("backward", backward, n_stages), n_stages)
    ahead = np.broadcast_to(_seconds("forward", forward, n_stages), n_stages)
    return np.array([ahead, whole, whole * (1 - later), whole * later])


def _seconds(name: str, value: object, n_stages: int) -> np.ndarray:
    """Return one number or one of each stage, 0 or more."""
    try:
        seconds = np.asarray(value, float)
    except (TypeError, ValueError):
        seconds = np.array(np.nan)
    if seconds.shape not in ((), (n_stages,)):
        allowed = f"one number or {n_stages}, one a stage" if n_stages > 1 else "one number"
        raise ParameterError(f"{name} has shape {seconds.shape}: give {allowed}.")
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ParameterError(f"{name}={value!r}: use seconds of 0 or more.")
    return seconds
