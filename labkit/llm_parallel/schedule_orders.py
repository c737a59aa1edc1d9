"""In which order each rank of a pipeline runs its forward and backward passes.

One function an order; each returns the actions of one rank. The orders are those of the papers
and of ``torch.distributed.pipelining`` in torch 2.13, rank by rank and action by action:

==================  ==================================================================
gpipe               all forward passes, then all backward passes [1]_
1f1b                as few forward passes ahead as keep the pipeline busy [2]_
interleaved_1f1b    the same with v model chunks a rank, in rounds of p micro-batches [3]_
looped_bfs          all micro-batches of a chunk before the next chunk [4]_
zb_h1               interleaved (v >= 1) with weight gradients held back to fill the bubble [5]_
zbv                 two chunks a rank, laid out as a V, with weight gradients apart [5]_
==================  ==================================================================

======  ===================  ============================================
symbol  variable             meaning
======  ===================  ============================================
p       ``p``                ranks of the pipeline
m       ``m``                micro-batches of a step
v       ``v``                model chunks of a rank; p v stages in all
F B     ``"F"``, ``"B"``     forward pass, whole backward pass
I W     ``"I"``, ``"W"``     backward pass for the input, for the weights
======  ===================  ============================================

References
----------
.. [1] Huang et al., NeurIPS 2019, arXiv:1811.06965.
.. [2] Narayanan et al., SOSP 2019 (PipeDream); Fan et al., PPoPP 2021 (DAPPLE).
.. [3] Narayanan et al., SC'21, arXiv:2104.04473, section 2.2.
.. [4] Lamy-Poirier, MLSys 2023, arXiv:2211.05953.
.. [5] Qi et al., ICLR 2024, arXiv:2401.10241, sections 2 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple


class Action(NamedTuple):
    """One pass of one micro-batch through one stage.

    Attributes
    ----------
    kind : {"F", "B", "I", "W"}
        Forward; whole backward; backward for the input, backward for the weights.
    stage : int
        Of the p v model chunks, from the embedding to the loss.
    microbatch : int
    """

    kind: str
    stage: int
    microbatch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.microbatch}"


Order = tuple[Action, ...]
"""What one rank does, first to last."""


def gpipe(rank: int, p: int, m: int) -> Order:
    """Return the order of one rank: all forward passes, then all backward passes."""
    return tuple(Action(kind, rank, j) for kind in "FB" for j in range(m))


def one_forward_one_backward(rank: int, p: int, m: int) -> Order:
    """Return the order of one rank: ``p - 1 - rank`` forward passes ahead, then by turns."""
    ahead = min(p - 1 - rank, m)
    order = [Action("F", rank, j) for j in range(ahead)]
    for j in range(m - ahead):
        order += (Action("F", rank, ahead + j), Action("B", rank, j))
    order += (Action("B", rank, j) for j in range(m - ahead, m))
    return tuple(order)


def looped_bfs(rank: int, p: int, m: int, v: int) -> Order:
    """Return the order of one rank: chunk by chunk, the backward passes in reverse."""
    stages = range(rank, p * v, p)
    forward = [Action("F", stage, j) for stage in stages for j in range(m)]
    backward = [Action("B", stage, j) for stage in reversed(stages) for j in reversed(range(m))]
    return (*forward, *backward)


def interleaved(rank: int, p: int, m: int, v: int) -> Order:
    """Return the order of one rank: one forward, one backward, over v chunks in rounds."""
    n = m * v
    ahead = min((v - 1) * round_size(p, m) + 2 * (p - 1 - rank), n)
    forward = _forward_in_rounds(rank, p, m, v)
    backward = _backward_in_rounds(rank, p, m, v)
    order = [Action("F", *next(forward)) for _ in range(ahead)]
    for _ in range(n - ahead):
        order += (Action("F", *next(forward)), Action("B", *next(backward)))
    order += (Action("B", *passed) for passed in backward)
    return tuple(order)


def zero_bubble_h1(rank: int, p: int, m: int, v: int) -> Order:
    """Return the order of one rank: weight gradients start `rank` backward passes late."""
    n = m * v
    ahead = min((v - 1) * round_size(p, m) + (p - 1 - rank), n)
    forward = _forward_in_rounds(rank, p, m, v)
    backward = _backward_in_rounds(rank, p, m, v)
    weights = _backward_in_rounds(rank, p, m, v)
    order = [Action("F", *next(forward)) for _ in range(ahead)]
    for step in range(n):
        if step < n - ahead:
            order.append(Action("F", *next(forward)))
        order.append(Action("I", *next(backward)))
        if step >= rank:
            order.append(Action("W", *next(weights)))
    order += (Action("W", *passed) for passed in weights)
    return tuple(order)


def zero_bubble_v(rank: int, p: int, m: int) -> Order:
    """Return the order of one rank of the V: chunk `rank` going down, its mirror coming up.

    With fewer than ``2 p - 1`` micro-batches it is the order of ``2 p - 1`` without those that do
    not exist.
    """
    full = max(m, 2 * p - 1)
    down, up = rank, 2 * p - 1 - rank
    counts = {(kind, stage): count() for kind in "FIW" for stage in (down, up)}
    forward_down, forward_up = 2 * p - 1 - rank, p  # passed by the end of the warm-up
    pattern = [("F", down)] * (2 * (p - rank) - 1)
    pattern += [("F", up), ("F", down)] * rank
    pattern += [("F", up), ("I", up), ("W", up)] * (p - rank)
    while forward_up < full:
        if forward_down < full:
            pattern.append(("F", down))
            forward_down += 1
        pattern += [("I", down), ("W", down), ("F", up), ("I", up), ("W", up)]
        forward_up += 1
    pattern += [("I", down), ("I", up)] * rank
    pattern += [("I", down), ("W", down)] * (p - rank)
    pattern += [("W", up)] * rank + [("W", down)] * rank
    order = (Action(kind, stage, next(counts[kind, stage])) for kind, stage in pattern)
    return tuple(action for action in order if action.microbatch < m)


def round_size(p: int, m: int) -> int:
    """Return the micro-batches that pass one chunk before the next: p where p divides m."""
    return m // max(1, m // p)


def _forward_in_rounds(rank: int, p: int, m: int, v: int) -> Iterator[tuple[int, int]]:
    size = round_size(p, m)
    for first in range(0, m, size):
        for chunk in range(v):
            for j in range(first, first + size):
                yield chunk * p + rank, j


def _backward_in_rounds(rank: int, p: int, m: int, v: int) -> Iterator[tuple[int, int]]:
    size = round_size(p, m)
    for first in range(0, m, size):
        for chunk in reversed(range(v)):
            for j in range(first, first + size):
                yield chunk * p + rank, j
