"""How wrong a step plan is from a given state: the labels that a controller learns from.

From a snapshot S a window w is run without noise (every thermostat at T = 0, friction kept) twice,
on a plan P and on a reference P* whose four steps are at most a quarter of any plan's::

    e_p(P) = sqrt( sum over beads i of platelet p of |x_i - x_i*|^2 / n_p )

with unwrapped positions at the end of the window. Without noise both runs follow the same equation,
so that e is the error of the steps alone. It falls with their square where friction is weak, and in
proportion to them where friction dominates, as with the default forces, since friction is computed
from velocities of half a step before: P* then leaves up to a quarter of the finest plan's error in
e, and less of a coarser one's. Velocities are no measure: their error is the phase of the fastest
bond vibrations. A controller bounds the largest e_p.

A trajectory wanders at random over the plans that are not far worse than the finest where it is, so
that labels cover the states that each of them leads to, and is labeled at the start of segments.
`make_labels` keeps one file a trajectory and goes on where it was stopped.

Command line: ``python -m labkit.clot.labels --help``.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.atomic import replace_bytes
from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.npz import read_arrays
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.series import (
    as_json,
    observation_arrays,
    observations_from,
    plan_array,
    plans_from,
)
from labkit.clot.simulation import EngineError, Simulation
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]

WINDOW = 0.1
"""Length of a noise-free window [time]: two and a half vibrations of a receptor bond, and so short
that neighbors do not drift apart for reasons other than the steps."""


def local_errors(
    engine: Simulation,
    snapshot: Snapshot,
    plans: Sequence[StepPlan],
    *,
    reference: StepPlan,
    window: float = WINDOW,
    keep_segments: bool = False,
) -> Array:
    """Return the error of each plan for each platelet from one state.

    The engine is left in `snapshot`'s state and, as labels are no part of a run, without the
    segments of the windows.

    Parameters
    ----------
    engine : Simulation
    snapshot : Snapshot
        State to start from.
    plans : sequence of StepPlan
    reference : StepPlan
        Much finer than all plans; see `Ladder.reference`.
    window : float
        A whole multiple of every plan's fluid step [time].
    keep_segments : bool
        Leave the segments of the windows in ``engine.segments``, for a controller that pays for
        them.

    Returns
    -------
    array of shape (n_plans, P)
        Rms distance of a platelet's beads from where they should be [rc]; inf where a plan blew up.

    Raises
    ------
    EngineError
        The reference blew up.
    """
    n_segments = len(engine.segments)
    try:
        truth = _end(engine, snapshot, reference, window)
        errors = [
            _error(engine.suspension, _end_or_nothing(engine, snapshot, plan, window), truth)
            for plan in plans
        ]
    finally:
        if not keep_segments:
            del engine.segments[n_segments:]
        engine.restore(snapshot)
    return np.array(errors)


def bead_errors(suspension: Suspension, positions: Array, truth: Array) -> Array:
    """Return the rms distance between two configurations of each platelet [rc], shape (P,).

    Parameters
    ----------
    suspension : Suspension
    positions, truth : array of shape (n, 3)
        Unwrapped; see `labkit.clot.state.Snapshot.unwrapped` [rc].
    """
    squares = np.sum((positions - truth) ** 2, axis=1)
    platelets = range(suspension.n_platelets)
    return np.array([np.sqrt(squares[suspension.beads(p)].mean()) for p in platelets])


def _end(engine: Simulation, snapshot: Snapshot, plan: StepPlan, window: float) -> Array:
    engine.restore(snapshot)
    engine.run(plan, window, noise=False)
    return engine.snapshot().unwrapped()


def _end_or_nothing(
    engine: Simulation, snapshot: Snapshot, plan: StepPlan, window: float
) -> Array | None:
    try:
        return _end(engine, snapshot, plan, window)
    except EngineError:
        return None


def _error(suspension: Suspension, positions: Array | None, truth: Array) -> Array:
    if positions is None:
        return np.full(suspension.n_platelets, np.inf)
    errors = bead_errors(suspension, positions, truth)
    return np.where(np.isfinite(errors), errors, np.inf)


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How trajectories are labeled.

    Attributes
    ----------
    plans : tuple of StepPlan
        From finest to coarsest.
    reference : StepPlan
    window : float
        Length of the noise-free window [time].
    segment : float
        Time between two observations [time].
    snapshots : int
        Observations of a trajectory.
    label_every : int
        Labels are computed at each so many observations.
    """

    plans: tuple[StepPlan, ...]
    reference: StepPlan
    window: float = WINDOW
    segment: float = 0.5
    snapshots: int = 60
    label_every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(self.plans))
        if not self.plans:
            raise ParameterError("plans=() is not allowed; give one plan or more.")
        for name in ("window", "segment"):
            require_positive(name, getattr(self, name))
        for name in ("snapshots", "label_every"):
            require_whole(name, getattr(self, name), low=1)
        for plan in (*self.plans, self.reference):
            plan.n_fluid_steps(self.window)
        for plan in self.plans:
            plan.n_fluid_steps(self.segment)


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A simulation to label.

    Attributes
    ----------
    scene : str
        Name of a scene, see `labkit.clot.scenes.scene`.
    seed : int
    changes : mapping
        Of the scene, such as ``{"shear_rate": 0.2}``; values that JSON can hold.
    """

    scene: str
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For a file: scene, changes and seed."""
        changes = [f"{key}{value}" for key, value in sorted(self.changes.items())]
        return re.sub(r"[^\w.-]+", "_", "-".join([self.scene, *changes, f"seed{self.seed}"]))


@dataclass(frozen=True, eq=False, kw_only=True)
class TrajectoryLabels:
    """One labeled trajectory; n observations of P platelets.

    Attributes
    ----------
    trajectory : Trajectory
    shear_rate : float
        Of the flow [1/time].
    kT : float
        Of the thermostats [energy].
    observations : tuple of Observation
    errors : array of shape (n, n_plans, P)
        As of `local_errors` [rc]; nan at observations without labels.
    ran_on : int array of shape (n,)
        Plan of the segment that led to each observation; -1 for the first.
    reference_error : float
        Largest error of the reference against one with half its steps [rc].
    """

    trajectory: Trajectory
    shear_rate: float
    kT: float
    observations: tuple[Observation, ...]
    errors: Array
    ran_on: NDArray[np.int64]
    reference_error: float


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelTable:
    """Labeled trajectories that share plans, reference and window.

    Attributes
    ----------
    plans : tuple of StepPlan
        From finest to coarsest.
    reference : StepPlan
    window, segment : float
        [time]
    trajectories : tuple of TrajectoryLabels
    """

    plans: tuple[StepPlan, ...]
    reference: StepPlan
    window: float
    segment: float
    trajectories: tuple[TrajectoryLabels, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each label: trajectory, scene, shear_rate, seed, time, plan, error [rc].

        ``error`` is the largest of the platelets; ``rung`` counts plans from the finest.
        """
        rows = []
        for labels in self.trajectories:
            who = labels.trajectory
            for observation, errors in zip(labels.observations, labels.errors, strict=True):
                when = (who.name, who.scene, labels.shear_rate, who.seed, observation.time)
                worst = enumerate(errors.max(axis=1))
                rows += [(*when, rung, str(self.plans[rung]), error) for rung, error in worst]
        names = ["trajectory", "scene", "shear_rate", "seed", "time", "rung", "plan", "error"]
        return pd.DataFrame(rows, columns=names).dropna(subset="error", ignore_index=True)

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> Path:
        """Write the table to one compressed npz.

        Parameters
        ----------
        path : path
        half : bool
            Write floats in half precision, 11 bits: as exact as labels are, and less than half as
            large a file. Default: single precision. Times are exact in both.
        """
        kind = np.float16 if half else np.float32
        target = Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        columns = [
            {**observation_arrays(labels.observations), **_label_arrays(labels)}
            for labels in self.trajectories
        ]
        shapes = [{name: values.shape for name, values in each.items()} for each in columns]
        arrays: dict[str, Any] = {
            "plans": plan_array(self.plans),
            "reference": plan_array([self.reference]),
            "about": as_json([_about(labels) for labels in self.trajectories]),
            "shapes": json.dumps(shapes),
            "spans": np.array([self.window, self.segment]),
        }
        for name in columns[0] if columns else ():
            values = np.concatenate([each[name].ravel() for each in columns])
            arrays[name] = values if name == "time" else _short(values, kind)
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)
        replace_bytes(target, written.getvalue())
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelTable:
        """Read a file that `save` wrote, or all trajectories in a folder of `make_labels`.

        Raises
        ------
        ParameterError
            There is no table, or it is damaged.
        """
        source = Path(path).expanduser()
        try:
            if source.is_dir():
                files = sorted(source.glob("*.labels.npz"))
                if not files:
                    raise ValueError("it has no labels of a whole trajectory")
                return merged(map(cls.load, files))
            arrays = read_arrays(source)
            about, shapes = (json.loads(str(arrays[name])) for name in ("about", "shapes"))
            window, segment = map(float, arrays["spans"])
            return cls(
                plans=plans_from(arrays["plans"]),
                reference=plans_from(arrays["reference"])[0],
                window=window,
                segment=segment,
                trajectories=tuple(map(_read, _parted(arrays, shapes), about)),
            )
        except (OSError, KeyError, ValueError, TypeError) as broken:
            if isinstance(broken, ParameterError):
                raise
            raise ParameterError(
                f"path={str(path)!r} cannot be read as labels ({broken}); name a file that "
                "LabelTable.save wrote or a folder of make_labels."
            ) from broken


def merged(tables: Iterable[LabelTable]) -> LabelTable:
    """Return the trajectories of all tables as one table.

    Raises
    ------
    ParameterError
        There are none, or their plans, reference, window or segment differ.
    """
    given = list(tables)
    if not given:
        raise ParameterError("tables=[] is not allowed; give one table or more.")
    shared = {name: getattr(given[0], name) for name in ("plans", "reference", "window", "segment")}
    for table in given[1:]:
        for name, value in shared.items():
            if getattr(table, name) != value:
                raise ParameterError(
                    f"tables differ in {name}: {value!r} and {getattr(table, name)!r}; merge only "
                    "labels that were made with the same settings."
                )
    return LabelTable(
        **shared, trajectories=tuple(t for table in given for t in table.trajectories)
    )


def _about(labels: TrajectoryLabels) -> dict[str, Any]:
    numbers = {name: getattr(labels, name) for name in ("shear_rate", "kT", "reference_error")}
    trajectory = labels.trajectory
    return {
        "scene": trajectory.scene,
        "seed": trajectory.seed,
        "changes": dict(trajectory.changes),
        **numbers,
    }


def _label_arrays(labels: TrajectoryLabels) -> dict[str, NDArray[Any]]:
    return {"errors": labels.errors, "ran_on": labels.ran_on}


def _short(values: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[Any]:
    """Floats with fewer digits, infinite where too large; labels are known to a few percent."""
    with np.errstate(over="ignore"):
        return values.astype(kind) if values.dtype == np.float64 else values


def _parted(
    arrays: Mapping[str, NDArray[Any]], shapes: Sequence[Mapping[str, Sequence[int]]]
) -> list[dict[str, NDArray[Any]]]:
    """Return the columns of each trajectory from those of all, one trajectory after the other."""
    parts: list[dict[str, NDArray[Any]]] = [{} for _ in shapes]
    for name in shapes[0] if shapes else ():
        values = arrays[name].astype(float) if arrays[name].dtype.kind == "f" else arrays[name]
        ends = np.cumsum([math.prod(each[name]) for each in shapes])
        for part, own, each in zip(parts, np.split(values, ends[:-1]), shapes, strict=True):
            part[name] = own.reshape(each[name])
    return parts


def _read(columns: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> TrajectoryLabels:
    return TrajectoryLabels(
        trajectory=Trajectory(scene=about["scene"], seed=about["seed"], changes=about["changes"]),
        shear_rate=about["shear_rate"],
        kT=about["kT"],
        observations=observations_from(columns),
        errors=columns["errors"],
        ran_on=columns["ran_on"],
        reference_error=about["reference_error"],
    )


if __name__ == "__main__":
    from labkit.clot.label_jobs import main

    raise SystemExit(main())
