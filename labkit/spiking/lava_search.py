"""Search of a space by LavaBO, the Bayesian solver of Lava, for comparison with Optuna's samplers.

The solver moves real numbers (`labkit.spiking.lavabo`). Whole numbers are rounded on their way to
the objective, dimensions with a logarithmic scale are searched in logarithms, and dimensions
without order stay where the search starts. The first trial is that start, the solver runs the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import LabkitError, ParameterError
from labkit.spiking.lavabo import lavabo
from labkit.spiking.search import Evaluation, Search, trial_table
from labkit.spiking.spaces import Float, Int, Settings, Space


def search_with_lavabo(
    objective: Callable[[Settings], Evaluation],
    space: Space,
    *,
    n_trials: int,
    first: Settings,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    timeout_s: float = 3600.0,
) -> Search:
    """Try settings that the solver of Lava proposes.

    Parameters
    ----------
    objective : callable
        Settings to their value. A `labkit.errors.LabkitError` fails the trial; the solver is told
        the lowest value so far.
    space : Space
        With one dimension of numbers or more.
    n_trials : int
    first : dict
        Settings of the first trial, and of the dimensions without order.
    seed : int
        Of the solver.
    progress : callable, optional
        Called with the number of trials that have ended and with `n_trials`.
    timeout_s : float
        Seconds after which the solver is ended.

    Returns
    -------
    Search
        Without importance.

    Raises
    ------
    ParameterError
        The space has no dimension of numbers.
    MissingLavaError
        Lava is not on this machine.
    """
    moved = {d.name: d for d in space if isinstance(d, Int | Float)}
    if not moved:
        raise ParameterError("space: sampler='lavabo' needs an Int, Float or Ratio dimension.")
    asked = _Asked(objective, space, first, moved, n_trials, progress)
    asked.evaluate({})
    if n_trials > 1:
        lavabo(
            asked.at_point,
            {name: _box(dimension) for name, dimension in moved.items()},
            n_trials=n_trials - 1,
            seed=seed,
            maximize=True,
            timeout_s=timeout_s,
        )
    held = [name for name in space.names if name not in moved]
    note = f"The solver of Lava moves numbers only: {', '.join(held)} stayed at the start."
    return Search(
        trials=trial_table(asked.rows, space.names),
        importance=pd.Series(np.nan, index=list(space.names), name="importance"),
        n_resumed=0,
        notes=(note,) if held else (),
    )


@dataclass
class _Asked:
    """The objective as the solver sees it, and what it found."""

    objective: Callable[[Settings], Evaluation]
    space: Space
    first: Settings
    moved: dict[str, Int | Float]
    n_trials: int
    progress: Callable[[int, int], None] | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def at_point(self, point: dict[str, float]) -> float:
        """Value at a point of the solver's box."""
        value = self.evaluate({name: _inside(self.moved[name], x) for name, x in point.items()})
        known = [row["value"] for row in self.rows if not math.isnan(row["value"])]
        return min(known, default=0.0) if math.isnan(value) else value

    def evaluate(self, changes: Settings) -> float:
        """Value of the start with changes, nan where it is refused; adds a row."""
        settings = {name: (self.first | changes)[name] for name in self.space.names}
        value, state, error = math.nan, "failed", ""
        start = time.perf_counter()
        try:
            found = self.objective(settings)
            value, state = found.value, "dead" if found.dead else "complete"
        except LabkitError as refused:
            error = str(refused)
        about = {"number": len(self.rows), "value": value, "state": state, "error": error}
        self.rows.append({**about, "seconds": time.perf_counter() - start, **settings})
        if self.progress is not None:
            self.progress(len(self.rows), self.n_trials)
        return value


def _box(dimension: Int | Float) -> tuple[float, float]:
    if dimension.log:
        return math.log(dimension.low), math.log(dimension.high)
    return float(dimension.low), float(dimension.high)


def _inside(dimension: Int | Float, x: float) -> int | float:
    return dimension.nearest(math.exp(x) if dimension.log else x)
