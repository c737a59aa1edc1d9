"""What a measurement of a strategy can be: a time, or a failure with its reason.

Running out of memory is a result of a search, not an error of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from labkit.llm_parallel.config import ParallelConfig

FAILURES = ("illegal", "out of memory", "crashed", "time limit", "lost")
"""Reasons of a failure: rules broken, memory exceeded, exit code, limit passed, no answer."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A strategy that trained.

    Attributes
    ----------
    strategy : ParallelConfig
    seconds : float
        Time of one step: the median of the steps after the first ones.
    memory_bytes : float, optional
        Peak on the fullest device; None where it was not measured.
    steps : tuple of float
        Seconds of each step, the first ones included.
    losses : tuple of float
        Loss of each step.
    details : dict
        What else was measured, by name.
    """

    strategy: ParallelConfig
    seconds: float
    memory_bytes: float | None = None
    steps: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A strategy that did not.

    Attributes
    ----------
    strategy : ParallelConfig
    reason : str
        One of `FAILURES`.
    message : str
        One line for a reader.
    """

    strategy: ParallelConfig
    reason: str
    message: str = ""


Outcome = Run | Failure
"""What an objective returns for a strategy."""
