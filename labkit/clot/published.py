"""Speeds that papers state, beside those of this study, each labeled with what it is.

The papers' full texts give neither step sizes nor beads of a platelet to compare with: rows share a
unit, microseconds of physical time that a day of computing covers, and no workload.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.scaling import SECONDS_A_DAY, Projection, TimeUnit, microseconds_a_day

PUBLISHED = pd.DataFrame(
    [
        (
            102e6,
            "up to 192 nodes of a Summit-like machine",
            423.0,
            "Han et al., J. Supercomput. 78 (2022) 19707-19724, abstract",
        ),
        (
            6e6,
            "AiMOS",
            3077.0,
            "Zhu et al., ISC High Performance 2021, LNCS 12728, ch. 13, abstract",
        ),
        (
            6e6,
            "SeaWulf",
            266.0,
            "Zhu et al., ISC High Performance 2021, LNCS 12728, ch. 13, abstract",
        ),
    ],
    columns=["particles", "machine", "us_per_day", "source"],
)
"""Speeds that the papers which inspired the study state: microseconds of blood flow a day."""


def reality(units: TimeUnit, plan: StepPlan) -> str:
    """Say what the published speeds are in time units of this study.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> plan = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.0005)
    >>> reality(SimpleNamespace(tau_s=3.0e-7), plan)
    'One DPD time unit is 0.3 µs, a fluid step 6 ns: 423 µs a day are 1,410 time units, or 70,500
    fluid steps of 1.23 s each.'
    """
    tau_us = 1e6 * units.tau_s
    speed = float(PUBLISHED["us_per_day"].iloc[0])
    steps = speed / (tau_us * plan.fluid)
    return (
        f"One DPD time unit is {tau_us:.2g} µs, a fluid step {1e3 * tau_us * plan.fluid:.2g} ns: "
        f"{speed:g} µs a day are {speed / tau_us:,.0f} time units, or {steps:,.0f} fluid steps of "
        f"{SECONDS_A_DAY / steps:.3g} s each."
    )


def comparison(
    projections: Sequence[Projection],
    *,
    measured: pd.DataFrame | None = None,
    plan: StepPlan | None = None,
    units: TimeUnit | None = None,
) -> pd.DataFrame:
    """Lay our speeds beside the published ones; every row says what it is.

    Parameters
    ----------
    projections : sequence of Projection
    measured : DataFrame, optional
        Rows of `measurement`; those of `plan` and of the largest system are averaged for
        each number of ranks.
    plan : StepPlan, optional
        Which of the measured runs.
    units : DPDUnits, optional
        For the measured runs.

    Returns
    -------
    DataFrame
        kind (measured, projection or published), particles, machine, us_per_day, low, high, source.
        The published model resolves platelets with other step sizes, which are not known: the rows
        share a unit, not a workload.
    """
    rows = [] if measured is None or plan is None else _measured_rows(measured, plan, units)
    rows += [
        {
            "kind": "projection",
            "particles": float(item.n_particles),
            "machine": f"{item.ranks:,} ranks like this one",
            "us_per_day": item.us_per_day,
            "low": item.us_per_day_low,
            "high": item.us_per_day_high,
            "source": "weak-scaling model of labkit, own parameters",
        }
        for item in projections
    ]
    published = PUBLISHED.assign(kind="published", low=np.nan, high=np.nan)
    columns = ["kind", "particles", "machine", "us_per_day", "low", "high", "source"]
    return pd.concat([pd.DataFrame(rows, columns=columns), published[columns]], ignore_index=True)


def _measured_rows(
    measured: pd.DataFrame, plan: StepPlan, units: TimeUnit | None
) -> list[dict[str, object]]:
    largest = measured["particles"] == measured["particles"].max()
    steps = measured["fluid"].to_numpy(dtype=float)
    n3, n2, n1 = plan.ratios
    wanted = np.column_stack([steps * n3, steps * n3 * n2, steps * n3 * n2 * n1])
    of_plan = (measured[list(LEVELS[1:])].to_numpy(dtype=float) == wanted).all(axis=1)
    rows = []
    for (particles, ranks), runs in measured[of_plan & largest].groupby(["particles", "ranks"]):
        speeds = [
            microseconds_a_day(t, plan, units) for t in (runs["seconds"] / runs["fluid"]).tolist()
        ]
        rows.append(
            {
                "kind": "measured",
                "particles": float(particles),
                "machine": f"{ranks:.0f} rank{'s' if ranks > 1 else ''} here",
                "us_per_day": float(np.mean(speeds)),
                "low": min(speeds),
                "high": max(speeds),
                "source": f"{len(runs)} runs here, mean" if len(runs) > 1 else "one run here",
            }
        )
    return rows
