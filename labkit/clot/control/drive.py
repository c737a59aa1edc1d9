"""A simulation in segments, each on the plan that a controller chooses, none lost to a bad choice.

::

    for each segment:
        S = snapshot
        P = controller.plan(history), or the next safer plan that is not barred
        run P for one segment
        where it blew up or the guard objects: restore S, bar P for some segments, P = next safer
        history += observation

The finest plan has no safer one; where it fails, the run ends with an error that names it.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.choices import require_folder, require_whole
from labkit.clot.control.guard import Guard
from labkit.clot.control.ladder import Ladder, require_divides
from labkit.clot.control.ledger import Ledger, segments_from
from labkit.clot.control.protocol import Controller
from labkit.clot.control.run_storage import ROLLBACK_COLUMNS, Run, has_run
from labkit.clot.forcefield import require_positive
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.series import as_json
from labkit.clot.simulation import EngineError, Segment, Simulation
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError

Array = NDArray[np.float64]

__all__ = ["Run", "drive"]

logger = logging.getLogger(__name__)


def drive(
    engine: Simulation,
    controller: Controller,
    *,
    time: float,
    segment: float,
    ladder: Ladder,
    guard: Guard | None = None,
    bins: int | None = None,
    keep_every: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Run a simulation on the plans of a controller.

    Parameters
    ----------
    engine : Simulation
        In the state to start from.
    controller : Controller
    time : float
        Length of the run, a whole multiple of `segment` [time].
    segment : float
        How long a plan is kept; a whole multiple of every plan's fluid step [time].
    ladder : Ladder
        Plans to go back to.
    guard : Guard, optional
        Limits of a healthy run; `Guard.of` the force field by default.
    bins : int, optional
        Average the profile, with this number of bins, and the stress over each segment.
    keep_every : int, optional
        Keep a snapshot after each so many segments, besides the first and the last.
    folder : path, optional
        Where the run is stored after every segment.
    resume : bool
        Go on with the run that `folder` holds, if there is one: `engine` goes to its last
        snapshot. The result is the same as that of a run that was not cut: bit for bit with
        `Engine`, to rounding with `SplitEngine`.
    about : mapping, optional
        Notes to keep with the run, of values that JSON can hold.

    Returns
    -------
    Run

    Raises
    ------
    ParameterError
        Times do not fit, or `folder` holds a run of something else.
    EngineError
        The finest plan failed; the message names it and the time.
    """
    n = require_segments(time, segment, ladder)
    if keep_every is not None:
        require_whole("keep_every", keep_every, low=1)
    if resume and folder is None:
        raise ParameterError("resume=True needs folder, the folder of the run to go on with.")
    if folder is not None:
        require_folder("folder", folder)
    noted = _noted(about)
    run = _Progress(engine, controller, ladder, guard or Guard.of(engine.forcefield), bins)
    setting = {"controller": controller.name, "ladder": ladder, "segment": segment, "time": time}
    if resume and folder is not None and has_run(folder):
        stored = Run.load(folder)
        setting["about"] = stored.about if about is None else noted
        run.go_on(stored, setting)
    else:
        setting["about"] = noted
        run.begin()
    while len(run.plans) < n:
        run.one_segment(segment, keep=len(run.plans) % (keep_every or n) == 0)
        if folder is not None:
            with run.ledger.charged(len(run.plans) - 1, "state"):
                run.result(setting).save(folder)
    return run.result(setting)


def require_segments(time: float, segment: float, ladder: Ladder) -> int:
    """Return how many segments a run has.

    Raises
    ------
    ParameterError
        The run is no whole number of segments, or a segment no whole number of fluid steps.
    """
    require_positive("time", time)
    require_divides("segment", segment, ladder.plans)
    n = round(time / segment)
    if n < 1 or not math.isclose(n * segment, time, rel_tol=1e-6):
        raise ParameterError(f"time={time:g}: use a whole multiple of segment={segment:g}.")
    return n


def _noted(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return notes as a file gives them back, so that those of a resumed run compare equal."""
    try:
        noted: dict[str, Any] = json.loads(as_json(dict(about or {})))
    except (TypeError, ValueError) as other:
        raise ParameterError(
            f"about={about!r} is not allowed ({other}); use numbers, words and lists of them."
        ) from other
    return noted


class _Progress:
    """A run on its way."""

    def __init__(
        self,
        engine: Simulation,
        controller: Controller,
        ladder: Ladder,
        guard: Guard,
        bins: int | None,
    ) -> None:
        self.engine, self.controller, self.ladder, self.guard = engine, controller, ladder, guard
        self.bins = bins
        self.ledger = Ledger()
        self.history: list[Observation] = []
        self.plans: list[StepPlan] = []
        self.rollbacks: list[dict[str, Any]] = []
        self.kept: list[Snapshot] = []
        self.averages: dict[str, list[Array]] = {"stress": [], "profile": []}
        self.barred: dict[str, int] = {}

    def begin(self) -> None:
        """Start where the engine is, from a restored state as a resumed run does."""
        self.start = self.engine.snapshot()
        self.engine.restore(self.start)
        self.history.append(self.engine.observe())

    def go_on(self, run: Run, setting: Mapping[str, Any]) -> None:
        """Start where a stored run ended."""
        bins = None if run.profile is None else run.profile.shape[1]
        before = {name: getattr(run, name) for name in setting} | {"bins": bins}
        for name, value in {**setting, "bins": self.bins}.items():
            if before[name] != value:
                raise ParameterError(
                    f"{name}={value!r} differs from {before[name]!r} of the run in folder; "
                    "name another folder, or give resume=False to replace the run."
                )
        self.ledger = Ledger(run.work)
        self.history, self.plans = list(run.observations), list(run.plans)
        self.rollbacks = run.rollbacks.to_dict("records")
        *self.kept, self.start = run.snapshots
        for name, values in self.averages.items():
            values.extend(stored if (stored := getattr(run, name)) is not None else ())
        self.barred = dict(run.barred)
        if hasattr(self.controller, "memory"):
            self.controller.memory = dict(run.memory)
        self.engine.restore(self.start)
        self.engine.segments[:] = segments_from(run.work)

    def one_segment(self, time: float, *, keep: bool) -> None:
        """Choose a plan and run it, or the coarsest safer one that does not fail."""
        number = len(self.plans)
        if keep:
            self.kept.append(self.start)
        plan = self._allowed(self._chosen(number), number)
        while True:
            try:
                segment, observation = self._attempt(plan, time, number)
                break
            except EngineError as failed:
                plan = self._safer(plan, str(failed), number)
        for name, values in self.averages.items():
            if getattr(segment, name) is not None:
                values.append(getattr(segment, name))
        self.plans.append(plan)
        self.history.append(observation)

    def result(self, setting: Mapping[str, Any]) -> Run:
        """Return the run so far."""
        averages = {k: np.array(v) if v else None for k, v in self.averages.items()}
        return Run(
            **setting,
            observations=tuple(self.history),
            plans=tuple(self.plans),
            work=self.ledger.frame(),
            rollbacks=pd.DataFrame(self.rollbacks, columns=list(ROLLBACK_COLUMNS)),
            snapshots=(*self.kept, self.start),
            memory=dict(getattr(self.controller, "memory", {})),
            barred=dict(self.barred),
            stress=averages["stress"],
            profile=averages["profile"],
        )

    def _chosen(self, number: int) -> StepPlan:
        """Ask the controller; what it probes is charged as probes, the rest as decision."""
        before = len(self.engine.segments)
        with self.ledger.charged(number, "decision") as decision:
            plan = self.controller.plan(tuple(self.history), self.engine)
        for probe in self.engine.segments[before:]:
            self.ledger.add(number, "probe", probe)
            decision.less(probe)
        return plan

    def _attempt(self, plan: StepPlan, time: float, number: int) -> tuple[Segment, Observation]:
        """Run a segment; an observation that the guard objects to counts as a blow-up."""
        before = len(self.engine.segments)
        kind = "rolled back"
        try:
            with self.ledger.charged(number, kind, keep=False) as charge:
                segment = self.engine.run(plan, time, bins=self.bins)
            with self.ledger.charged(number, "state"):
                observation = self.engine.observe()
                reason = self.guard.check(observation)
                if reason:
                    raise EngineError(reason)
                self.start = self.engine.snapshot()
            kind = "run"
        finally:
            done = self.engine.segments[before:]
            for segment in done:
                self.ledger.add(number, kind, segment)
            if not done:
                self.ledger.keep(charge)
        return segment, observation

    def _allowed(self, plan: StepPlan, number: int) -> StepPlan:
        """Return the plan, or the coarsest safer one that did not fail lately."""
        while self.barred.get(str(plan), 0) > number:
            safer = self.ladder.safer(plan)
            if safer is None:
                break
            plan = safer
        return plan

    def _safer(self, plan: StepPlan, reason: str, number: int) -> StepPlan:
        """Undo a segment and return the plan to try next."""
        safer = self.ladder.safer(plan)
        if safer is None:
            raise EngineError(
                f"the plan {plan} failed at time {self.start.time:g} ({reason}) and no plan of the "
                "ladder is safer; put plans with smaller steps below it."
            )
        logger.warning("time %g: %s rolled back (%s)", self.start.time, plan, reason)
        with self.ledger.charged(number, "state"):
            self.engine.restore(self.start)
        self.rollbacks.append(
            dict(
                zip(
                    ROLLBACK_COLUMNS,
                    (number, self.start.time, str(plan), reason, str(safer)),
                    strict=True,
                )
            )
        )
        self.barred[str(plan)] = number + self.guard.hold
        return self._allowed(safer, number)
