"""Labels along one trajectory, stored after every observation so that a kill loses none.

The part of a trajectory that is done is one npz: the last snapshot, the observations and their
labels. It is replaced as a whole; whoever finds it goes on from there.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_bytes
from labkit.clot.labels import (
    LabelSettings,
    LabelTable,
    Trajectory,
    TrajectoryLabels,
    local_errors,
)
from labkit.clot.npz import read_arrays
from labkit.clot.series import observation_arrays, observations_from
from labkit.clot.simulation import EngineError, Simulation
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError

logger = logging.getLogger(__name__)

Series = dict[str, NDArray[Any]]
_HOLD = 4
"""Segments after which the trajectory draws another plan."""
_FAR_WORSE = 10.0
_SNAPSHOT = "snapshot/"


def label_trajectory(
    trajectory: Trajectory, settings: LabelSettings, *, folder: str | os.PathLike[str]
) -> Path:
    """Label one trajectory, from where its part ends, and return its file.

    Parameters
    ----------
    trajectory : Trajectory
    settings : LabelSettings
    folder : path
    """
    target = Path(folder).expanduser()
    done, part = (target / f"{trajectory.name}.{kind}.npz" for kind in ("labels", "part"))
    if done.is_file():
        return done
    with _started(trajectory, settings, part) as (engine, series):
        while len(series["ran_on"]) < settings.snapshots:
            _advance(engine, trajectory, settings, series)
            _store_part(part, engine.snapshot(), series)
            logger.info("%s: %d of %d", trajectory.name, len(series["ran_on"]), settings.snapshots)
        labels = TrajectoryLabels(
            trajectory=trajectory,
            shear_rate=engine.flow.rate,
            kT=engine.forcefield.kT,
            observations=observations_from(series),
            errors=series["errors"],
            ran_on=series["ran_on"],
            reference_error=float(series["reference_error"].max()),
        )
    LabelTable(
        plans=settings.plans,
        reference=settings.reference,
        window=settings.window,
        segment=settings.segment,
        trajectories=(labels,),
    ).save(done)
    part.unlink(missing_ok=True)
    return done


@contextmanager
def _started(
    trajectory: Trajectory, settings: LabelSettings, part: Path
) -> Iterator[tuple[Simulation, Series]]:
    """Give an engine in the state that a trajectory has reached, and its series so far."""
    from labkit.clot.engine import Engine
    from labkit.clot.scenes import equilibrate, scene

    ready = scene(trajectory.scene, seed=trajectory.seed, **trajectory.changes)
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=trajectory.seed) as engine:
        if part.is_file():
            snapshot, series = _load_part(part)
            engine.restore(snapshot)
        else:
            equilibrate(engine, plan=settings.plans[0])
            series = _empty_series(len(settings.plans), engine.suspension.n_platelets)
        yield engine, series


def _empty_series(n_plans: int, n_platelets: int) -> Series:
    return {
        "errors": np.empty((0, n_plans, n_platelets)),
        "ran_on": np.empty(0, dtype=np.int64),
        "reference_error": np.zeros(1),
    }


def _advance(
    engine: Simulation,
    trajectory: Trajectory,
    settings: LabelSettings,
    series: Series,
) -> None:
    """Add the next observation and its labels; the first one is of the start."""
    number = len(series["ran_on"])
    ran_on = _run(engine, trajectory, settings, series) if number else -1
    observed = observation_arrays([engine.observe()])
    labeled = number % settings.label_every == 0
    errors = np.full((1, *series["errors"].shape[1:]), np.nan)
    if labeled:
        errors[0] = local_errors(
            engine,
            engine.snapshot(),
            settings.plans,
            reference=settings.reference,
            window=settings.window,
        )
    if number == settings.snapshots // 2:
        series["reference_error"] = np.array([_reference_error(engine, settings)])
    new = {**observed, "errors": errors, "ran_on": np.array([ran_on])}
    for name, values in new.items():
        series[name] = np.concatenate([series[name], values]) if name in series else values


def _run(
    engine: Simulation, trajectory: Trajectory, settings: LabelSettings, series: Series
) -> int:
    """Run a segment on a plan drawn for it, a finer one where that blows up; return its rung."""
    number = len(series["ran_on"])
    draw = np.random.default_rng([trajectory.seed, number // _HOLD]).random()
    before = engine.snapshot()
    for rung in range(int(draw * _n_allowed(series["errors"])), -1, -1):
        try:
            engine.run(settings.plans[rung], settings.segment)
            return rung
        except EngineError:
            engine.restore(before)
            if rung == 0:
                raise
    raise AssertionError("the loop returns or raises")


def _n_allowed(errors: NDArray[Any]) -> int:
    """Return how many plans, from the finest on, were not far worse than it at the last label."""
    labeled = errors.max(axis=2)
    last = labeled[~np.isnan(labeled).any(axis=1)][-1]
    too_bad = last > _FAR_WORSE * last[0]
    return int(np.argmax(too_bad)) if too_bad.any() else len(last)


def _reference_error(engine: Simulation, settings: LabelSettings) -> float:
    """Return the largest error of the reference against one with half its steps [rc]."""
    finer = settings.reference.refined(2)
    errors = local_errors(
        engine, engine.snapshot(), [settings.reference], reference=finer, window=settings.window
    )
    return float(errors.max(initial=0.0))


def _store_part(path: Path, snapshot: Snapshot, series: Series) -> None:
    arrays: dict[str, Any] = dict(series)
    for item in fields(snapshot):
        arrays[f"{_SNAPSHOT}{item.name}"] = getattr(snapshot, item.name)
    written = io.BytesIO()
    np.savez(written, **arrays)
    replace_bytes(path, written.getvalue())


def _load_part(path: Path) -> tuple[Snapshot, Series]:
    try:
        arrays = read_arrays(path)
        state: dict[str, Any] = {
            f.name: arrays.pop(f"{_SNAPSHOT}{f.name}") for f in fields(Snapshot)
        }
    except (OSError, KeyError, ValueError) as broken:
        raise ParameterError(
            f"{path} cannot be read ({broken}); remove it, and its trajectory is made anew."
        ) from broken
    for name, scalar in (("tilt", float), ("time", float), ("n_segments", int)):
        state[name] = scalar(state[name])
    return Snapshot(**state), arrays
