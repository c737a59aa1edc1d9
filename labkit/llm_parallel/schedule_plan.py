"""All actions of a pipeline in one row, each after what it waits for; or which ranks deadlock.

An action waits for the one before it on its rank, and takes the result of at most one other:

===========  ======================================================================
F of s       F of stage s - 1; nothing on the first
B, I of s    B or I of stage s + 1; F of the same stage on the last
W of s       I of the same stage
===========  ======================================================================

That a stage's F comes before its B follows: B of s + 1 comes after F of s + 1, and so after F of s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.errors import ParameterError
from labkit.llm_parallel.schedule_orders import Action, Order

KINDS = "FBIW"
"""Kinds of actions, in the order of their codes."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All actions in an order in which each comes after what it waits for.

    `before` is the place of the action before it on its rank, `needed` that of the action whose
    result it takes, -1 where there is none; `sent` says that the result comes from another rank.
    """

    rank: np.ndarray
    kind: np.ndarray
    stage: np.ndarray
    microbatch: np.ndarray
    before: list[int]
    needed: list[int]
    sent: np.ndarray


def plan(order: tuple[Order, ...], n_stages: int) -> Plan:
    """Sort the actions of all ranks so that each comes after what it waits for.

    Parameters
    ----------
    order : tuple of tuple of Action
        One a rank.
    n_stages : int
        Model chunks of the pipeline.

    Raises
    ------
    ParameterError
        Ranks wait for each other forever; the message says who waits for what.
    """
    place_of: dict[tuple[str, int, int], int] = {}
    rows: list[tuple[int, Action, int, int]] = []
    next_action, last = [0] * len(order), [-1] * len(order)
    before_round = -1
    while before_round < len(rows):
        before_round = len(rows)
        for rank, actions in enumerate(order):
            while next_action[rank] < len(actions):
                action = actions[next_action[rank]]
                source = _source(action, n_stages)
                if source is not None and source not in place_of:
                    break
                # A whole backward pass hands on what its half for the input does.
                result = ("I" if action.kind == "B" else action.kind, *action[1:])
                place_of[result] = len(rows)
                rows.append((rank, action, last[rank], -1 if source is None else place_of[source]))
                last[rank] = len(rows) - 1
                next_action[rank] += 1
    _require_end(order, next_action, n_stages)
    return _columns(rows)


def _source(action: Action, n_stages: int) -> tuple[str, int, int] | None:
    """Return whose result an action takes from outside its rank's order; None for inputs."""
    kind, stage, microbatch = action
    if kind == "F":
        return ("F", stage - 1, microbatch) if stage else None
    if kind == "W":
        return "I", stage, microbatch
    return ("F", stage, microbatch) if stage == n_stages - 1 else ("I", stage + 1, microbatch)


def _columns(rows: list[tuple[int, Action, int, int]]) -> Plan:
    rank = np.array([row[0] for row in rows])
    needed = [row[3] for row in rows]
    return Plan(
        rank=rank,
        kind=np.array([KINDS.index(row[1].kind) for row in rows]),
        stage=np.array([row[1].stage for row in rows]),
        microbatch=np.array([row[1].microbatch for row in rows]),
        before=[row[2] for row in rows],
        needed=needed,
        sent=(rank[needed] != rank) & (np.array(needed) >= 0),
    )


def _require_end(order: tuple[Order, ...], next_action: list[int], n_stages: int) -> None:
    """Refuse an order in which ranks wait for each other forever, and say who waits for what."""
    stuck = [
        f"rank {rank} at {actions[place]} for {''.join(_label(actions[place], n_stages))}"
        for rank, (actions, place) in enumerate(zip(order, next_action, strict=True))
        if place < len(actions)
    ]
    if stuck:
        raise ParameterError(
            f"order: a deadlock, {len(stuck)} of {len(order)} ranks wait forever: "
            f"{'; '.join(stuck[:4])}{'; ...' if len(stuck) > 4 else ''}. "
            "Let every rank run what the others wait for before it waits itself."
        )


def _label(action: Action, n_stages: int) -> str:
    source = _source(action, n_stages)
    assert source is not None
    kind, stage, microbatch = source
    return f"{stage}{'B' if kind == 'I' and action.kind == 'B' else kind}{microbatch}"
