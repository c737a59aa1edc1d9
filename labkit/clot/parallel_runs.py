"""The same start on one rank and on several, to see whether they agree and what it saves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.clot.analysis.intervals import mean_interval
from labkit.clot.plans import StepPlan
from labkit.clot.ranks import Job, RanksRun, run_ranks
from labkit.clot.scenes import Scene
from labkit.clot.settings import ClotConfig
from labkit.clot.state import Snapshot

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.0025, bonded=0.0025)
SEGMENT = 0.5
"""Between two looks at the temperature [time]."""


def on_ranks(
    config: ClotConfig,
    made: Scene,
    start: Snapshot,
    *,
    time: float = 4.0,
    folder: str | os.PathLike[str] | None = None,
) -> pd.DataFrame | None:
    """Run one plan on one rank and on ``config.ranks`` ranks, with the ensemble's seeds.

    Noise differs between them, so that it is the means that have to agree. Each run is a process of
    its own, which takes some seconds to start.

    Parameters
    ----------
    config : ClotConfig
    made, start
        Of `labkit.clot.aggregation.start_of`.
    time : float
        Length of a run [time].
    folder : path, optional
        For jobs and results; a temporary one by default.

    Returns
    -------
    DataFrame or None
        None where ``config.ranks`` is 1: there is nothing to compare. Otherwise a row for each
        number of ranks: ranks, ``T_platelet`` over kT with its 95 % interval (``T_platelet_low``,
        ``T_platelet_high``), ``T_fluid`` likewise, and ``wall_seconds`` of a time unit.
    """
    if config.ranks == 1:
        return None
    rows = []
    with tempfile.TemporaryDirectory() as spare:
        place = Path(spare if folder is None else folder)
        for ranks in (1, config.ranks):
            runs = [
                run_ranks(
                    Job(
                        suspension=made.suspension,
                        forcefield=made.forcefield,
                        flow=made.flow,
                        plan=PLAN,
                        time=time,
                        segment=SEGMENT,
                        seed=seed,
                        snapshot=start,
                    ),
                    ranks=ranks,
                    folder=place / f"ranks_{ranks}" / f"seed_{seed}",
                )
                for seed in config.ensemble()
            ]
            rows.append(_row(ranks, runs, made.forcefield.kT, time))
    return pd.DataFrame(rows)


def _row(ranks: int, runs: Iterable[RanksRun], kT: float, time: float) -> dict[str, float]:
    done = list(runs)
    row: dict[str, float] = {"ranks": ranks}
    for name, values in {
        "T_platelet": [run.temperature.mean() for run in done],
        "T_fluid": [run.fluid_temperature.mean() for run in done],
    }.items():
        interval = mean_interval(np.array(values) / kT)
        row |= {
            name: interval.estimate,
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
        }
    return row | {"wall_seconds": min(run.wall_seconds.sum() for run in done) / time}
