"""What a driven run leaves: all that tables and figures are made from, in memory and in a folder.

A folder of a run holds ``run.json`` (plans, work, rollbacks, what the controller remembers), an npz
with the observations and averages, and an npz for each snapshot, named after its content.
``run.json`` is replaced last and names the others, so that a process killed at any point leaves a
run that can be read and resumed.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.atomic import replace_bytes, replace_text
from labkit.clot.control.ladder import Ladder
from labkit.clot.control.ledger import KINDS, WORK_COLUMNS
from labkit.clot.npz import read_arrays
from labkit.clot.observation import Observation
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.series import observation_arrays, observations_from, plan_array, plans_from
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError

Array = NDArray[np.float64]

FORMAT = 1
ROLLBACK_COLUMNS = ("segment", "time", "plan", "reason", "next_plan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """A driven run, complete or so far; n segments of it.

    Attributes
    ----------
    controller : str
        Name of the controller.
    ladder : Ladder
    segment, time : float
        Length of a segment, and of the whole run [time].
    observations : tuple of Observation
        At the start of each segment and at the end, n + 1 of them.
    plans : tuple of StepPlan
        On which each segment was completed, n of them.
    work : DataFrame
        One row for each thing that was computed: number of the segment, kind (see `KINDS`), start
        and length [time], the plan's steps [time], evaluations of each level, and seconds.
    rollbacks : DataFrame
        Segment, time, plan that failed, reason, plan tried next.
    snapshots : tuple of Snapshot
        The first, those kept on the way, and the last.
    stress : array of shape (n, 6), optional
    profile : array of shape (n, bins, 4), optional
        Averages over each segment, as in `labkit.clot.simulation.Segment`.
    about : mapping
        What the caller noted: scene, seed, tolerance.
    memory, barred : mapping
        What controller and guard remember, for a resume.
    """

    controller: str
    ladder: Ladder
    segment: float
    time: float
    observations: tuple[Observation, ...]
    plans: tuple[StepPlan, ...]
    work: pd.DataFrame
    rollbacks: pd.DataFrame
    snapshots: tuple[Snapshot, ...]
    stress: Array | None = None
    profile: Array | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    barred: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the run reached its end."""
        return len(self.plans) == round(self.time / self.segment)

    @property
    def costs(self) -> pd.DataFrame:
        """Evaluations of each level and seconds, one row for each kind of work and a total."""
        columns = [*LEVELS, "cpu_seconds", "wall_seconds", "setup_seconds"]
        sums = self.work.groupby("kind")[columns].sum().reindex(KINDS, fill_value=0)
        sums.loc["total"] = sums.sum()
        return sums.astype(dict.fromkeys(LEVELS, int))

    @property
    def controller_share(self) -> float:
        """CPU time of decisions and probes over that of everything."""
        seconds = self.costs["cpu_seconds"]
        return float((seconds["decision"] + seconds["probe"]) / max(seconds["total"], 1e-12))

    def summary(self) -> str:
        """Say in two or three sentences what was chosen, what it cost and what was undone."""
        costs = self.costs.loc["total"]
        used = sorted({self.ladder.rung(plan) for plan in self.plans})
        words = (
            f"{self.controller}: {len(self.plans)} segments of {self.segment:g} on "
            f"{len(used)} of {len(self.ladder)} plans, from {self.ladder[used[0]]} to "
            f"{self.ladder[used[-1]]}. Nonbonded forces were computed {costs['nonbonded']:,.0f} "
            f"times, in {costs['cpu_seconds']:.1f} CPU s, {self.controller_share:.1%} of it for "
            f"choosing; {len(self.rollbacks)} segments were undone."
        )
        reasons = self.memory.get("reasons", {})
        told = "; ".join(f"{n} times ({reason})" for reason, n in reasons.items())
        return f"{words} The finest plan was taken {told}." if told else words

    def table(self) -> pd.DataFrame:
        """Return one row for each segment: plan, cost, and the worst platelet at its end."""
        ends = self.observations[1:]
        rows = {
            "time": [o.time for o in ends],
            "plan": [str(plan) for plan in self.plans],
            "rung": [self.ladder.rung(plan) for plan in self.plans],
            **{f"step_{name}": [getattr(p, name) for p in self.plans] for name in LEVELS},
        }
        frame = pd.DataFrame(rows)
        kept = self.work[self.work["kind"] == "run"].set_index("segment")
        for name in (*LEVELS, "cpu_seconds"):
            frame[name] = kept[name].reindex(frame.index)
        spent = self.work.pivot_table("cpu_seconds", "segment", "kind", "sum", fill_value=0.0)
        for kind in ("probe", "decision"):
            column = spent[kind] if kind in spent else pd.Series(dtype=float)
            frame[f"{kind}_seconds"] = column.reindex(frame.index, fill_value=0.0)
        undone = self.rollbacks["segment"].value_counts()
        frame["rollbacks"] = undone.reindex(frame.index, fill_value=0).astype(int)
        for name in ("temperature", "stretch_max", "contacts"):
            frame[name] = [np.max(getattr(o, name), initial=0.0) for o in ends]
        frame["gap"] = [np.min(o.gap, initial=np.inf) for o in ends]
        return frame

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the run to a folder; what was there before stays readable until all is written."""
        target = Path(folder).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = observation_arrays(self.observations)
        arrays["plans"], arrays["ladder"] = plan_array(self.plans), plan_array(self.ladder)
        averages = {"stress": self.stress, "profile": self.profile}
        arrays |= {name: values for name, values in averages.items() if values is not None}
        written = io.BytesIO()
        np.savez(written, **arrays)
        series = f"series-{zlib.crc32(written.getvalue()):08x}.npz"
        replace_bytes(target / series, written.getvalue())
        names = [_store_snapshot(target, snapshot) for snapshot in self.snapshots]
        replace_text(target / "run.json", json.dumps(self._record(series, names)) + "\n")
        _drop_unnamed(target, {series, *names})
        return target

    def _record(self, series: str, snapshots: Sequence[str]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "controller": self.controller,
            "segment": self.segment,
            "time": self.time,
            "series": series,
            "snapshots": list(snapshots),
            "about": dict(self.about),
            "memory": dict(self.memory),
            "barred": dict(self.barred),
            "work": self.work.to_dict("list"),
            "rollbacks": self.rollbacks.to_dict("list"),
        }

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """Read a run.

        Raises
        ------
        ParameterError
            The folder holds no run, or one that is damaged.
        """
        source = Path(folder).expanduser()
        try:
            record = json.loads((source / "run.json").read_text())
            arrays = read_arrays(source / record["series"])
            return cls(
                controller=record["controller"],
                ladder=Ladder(plans_from(arrays["ladder"])),
                segment=record["segment"],
                time=record["time"],
                observations=observations_from(arrays),
                plans=plans_from(arrays["plans"]),
                work=pd.DataFrame(record["work"], columns=list(WORK_COLUMNS)),
                rollbacks=pd.DataFrame(record["rollbacks"], columns=list(ROLLBACK_COLUMNS)),
                snapshots=tuple(Snapshot.load(source / name) for name in record["snapshots"]),
                stress=arrays.get("stress"),
                profile=arrays.get("profile"),
                about=record["about"],
                memory=record["memory"],
                barred=record["barred"],
            )
        except (OSError, KeyError, ValueError, TypeError) as broken:
            raise ParameterError(
                f"folder={str(folder)!r} cannot be read as a run ({broken}); name a folder that "
                "Run.save or drive wrote."
            ) from broken


def has_run(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a run."""
    return (Path(folder).expanduser() / "run.json").is_file()


def _store_snapshot(folder: Path, snapshot: Snapshot) -> str:
    """Write a snapshot that is not there yet; its name is made from its content."""
    name = f"snapshot-{zlib.crc32(snapshot.x.tobytes() + snapshot.v.tobytes()):08x}.npz"
    if not (folder / name).is_file():
        snapshot.save(folder / name)
    return name


def _drop_unnamed(folder: Path, named: set[str]) -> None:
    """Remove what an earlier version of the run held, and only that."""
    for pattern in ("series-*.npz", "snapshot-*.npz"):
        for path in folder.glob(pattern):
            if path.name not in named:
                path.unlink(missing_ok=True)
