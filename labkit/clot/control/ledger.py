"""What a driven run computed and what it took, one row for each thing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import Segment

KINDS = ("run", "rolled back", "probe", "decision", "state")
"""What work is for: segments kept and thrown away, trials of the controller, the rest of its
thinking, and taking, restoring and storing states."""
_STEPS = tuple(f"step_{level}" for level in LEVELS)
_SECONDS = ("cpu_seconds", "wall_seconds", "setup_seconds")
WORK_COLUMNS = ("segment", "kind", "start", "time", *_STEPS, *LEVELS, *_SECONDS)


class Charge:
    """Seconds of one piece of work that is not a segment."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.row: dict[str, Any] = {}

    def stop(self) -> dict[str, Any]:
        """Return the seconds since the start."""
        self.row |= {
            "cpu_seconds": time.process_time() - self._cpu,
            "wall_seconds": time.perf_counter() - self._wall,
        }
        return self.row

    def less(self, segment: Segment) -> None:
        """Take off what a segment took, which has a row of its own."""
        for name in ("cpu_seconds", "wall_seconds"):
            self.row[name] = max(0.0, self.row[name] - getattr(segment, name))


class Ledger:
    """Rows with the columns `WORK_COLUMNS`.

    Parameters
    ----------
    work : DataFrame, optional
        To go on with.
    """

    def __init__(self, work: pd.DataFrame | None = None) -> None:
        self._rows: list[dict[str, Any]] = [] if work is None else work.to_dict("records")

    def add(self, number: int, kind: str, segment: Segment) -> None:
        """Write down what a segment of the engine took.

        Parameters
        ----------
        number : int
            Segment of the run for which it was done.
        kind : str
            One of `KINDS`.
        segment : Segment
        """
        self._rows.append(
            {
                "segment": number,
                "kind": kind,
                "start": segment.start,
                "time": segment.time,
                **dict(zip(_STEPS, segment.plan.steps, strict=True)),
                **segment.evaluations,
                **{name: getattr(segment, name) for name in _SECONDS},
            }
        )

    @contextmanager
    def charged(self, number: int, kind: str, *, keep: bool = True) -> Iterator[Charge]:
        """Write down the seconds of what is done inside, without counting evaluations.

        Parameters
        ----------
        number, kind
            As in `add`.
        keep : bool
            False only measures; see `keep`.
        """
        charge = Charge()
        nothing = dict.fromkeys((*LEVELS, *_SECONDS), 0)
        charge.row |= {"segment": number, "kind": kind, **nothing}
        try:
            yield charge
        finally:
            charge.stop()
            if keep:
                self.keep(charge)

    def keep(self, charge: Charge) -> None:
        """Write down what was only measured: a run that blew up leaves no segment."""
        self._rows.append(charge.row)

    def frame(self) -> pd.DataFrame:
        """Return all rows."""
        return pd.DataFrame(self._rows, columns=list(WORK_COLUMNS))


def segments_from(work: pd.DataFrame) -> list[Segment]:
    """Return the segments of an engine that a ledger holds, without their averages.

    A plan that blew up left costs and no segment.
    """
    whole = work["step_fluid"].notna()
    rows = work[whole & work["kind"].isin(("run", "rolled back", "probe"))]
    return [
        Segment(
            plan=StepPlan(**{level: row[f"step_{level}"] for level in LEVELS}),
            start=row["start"],
            time=row["time"],
            evaluations={level: int(row[level]) for level in LEVELS},
            **{name: row[name] for name in _SECONDS},
        )
        for row in rows.to_dict("records")
    ]
