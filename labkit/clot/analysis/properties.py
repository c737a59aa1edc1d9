"""The properties by which two ways of stepping are compared, and their errors with intervals.

A run is reduced to one number for each property. An ensemble of runs, one for each seed, is
compared with a reference ensemble by the relative error of its mean. What the comparison says is
one of three things: the interval lies within the tolerance, outside of it, or reaches across its
end, and then the runs are too few to tell. An interval wider than the tolerance is never a pass;
how many runs would make it narrow enough follows from its width, which falls as 1/sqrt(n).

======================== ===================================================== =================
property                 definition                                            unit
======================== ===================================================== =================
fluid_temperature        mean over time                                        energy
platelet_temperature     mean over platelets and time                          energy
stretch_mean             mean of abs(r - r0)/r0 of the membrane's springs      1
stretch_std              its standard deviation over the springs, snapshots    1
gyration_1, _2, _3       eigenvalues of the membrane's gyration tensor         rc^2
spin                     mean size of the angular velocity                     1/time
first_flip_strain        mean over platelets, of those whose axis passes 90°   1
contacts_at_end          pairs of beads in contact, last fifth of the time     1
receptor_energy          mean per bead, last fifth of the time                 energy
stress_mean, stress_95   von Mises stress of membrane beads, mean and 95th     energy/rc^3
                         percentile, snapshots
viscosity                -<P_xy>/rate                                          mass/(rc time)
======================== ===================================================== =================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from labkit.clot.analysis.intervals import CONFIDENCE, RESAMPLES, relative_error
from labkit.clot.analysis.jeffery import axis_angle, flip_strains
from labkit.clot.analysis.stress import membrane_stress
from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.observation import Observation
from labkit.clot.observe import unwrapped_platelets
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]
TOLERANCE = 0.03
"""Relative error that the published method allows itself."""
WITHIN, OUTSIDE, UNDECIDED = "within", "outside", "undecided"
_END = 0.2


class Recorded(Protocol):
    """What a run leaves, such as `labkit.clot.control.drive.Run`."""

    @property
    def observations(self) -> Sequence[Observation]:
        """From the start to the end."""

    @property
    def snapshots(self) -> Sequence[Snapshot]:
        """Those that were kept."""

    @property
    def stress(self) -> Array | None:
        """Pressure tensor of each segment, shape (n, 6)."""


def properties(
    run: Recorded,
    *,
    suspension: Suspension | None = None,
    forcefield: ForceField | None = None,
    flow: Flow | None = None,
    skip: float = 0.0,
) -> pd.Series:
    """Return the properties of one run.

    Parameters
    ----------
    run : Run
    suspension, forcefield : optional
        For what is taken from the snapshots: stretch_std, stress_mean, stress_95.
    flow : Flow, optional
        For what needs the shear rate: first_flip_strain, viscosity.
    skip : float
        Time at the start that counts for none but the first flip [time].

    Returns
    -------
    Series
        Those that the run and the arguments allow. first_flip_strain is nan if no platelet flipped
        or the run ended before all did: the slow ones would be missing from the mean.
    """
    start = run.observations[0].time
    kept = [o for o in run.observations if o.time >= start + skip - 1e-9]
    if not kept:
        raise ParameterError(f"skip={skip:g} leaves nothing of the run; use less.")
    values = {"fluid_temperature": _mean(kept, "fluid_temperature")}
    if len(kept[0].temperature):
        values |= _of_platelets(kept)
        if flow is not None and flow.rate > 0:
            values["first_flip_strain"] = _first_flip(run.observations, flow.rate)
        if suspension is not None and forcefield is not None:
            snapshots = [s for s in run.snapshots if s.time >= start + skip - 1e-9]
            values |= _of_snapshots(snapshots or run.snapshots[-1:], suspension, forcefield)
    if run.stress is not None and flow is not None and flow.rate > 0:
        begins = np.array([o.time for o in run.observations[: len(run.stress)]])
        used = run.stress[begins >= start + skip - 1e-9]
        if len(used):
            values["viscosity"] = -float(used[:, 3].mean()) / flow.rate
    return pd.Series(values, dtype=float)


def property_errors(
    runs: pd.DataFrame | Iterable[pd.Series],
    references: pd.DataFrame | Iterable[pd.Series],
    *,
    paired: bool = False,
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how far the properties of an ensemble are from those of a reference.

    Parameters
    ----------
    runs, references : DataFrame or iterable of Series
        One row, or Series, for each seed, as `properties` returns it.
    paired : bool
        Whether row k of both started from the same state. They need the same index (seeds), and are
        resampled together.
    tolerance : float
        Relative error that is allowed; declare it before the run.
    confidence : float
        Of the intervals, each property on its own.
    n_resamples : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        property, mean, reference, relative_error, low, high (of the relative error), verdict
        ("within", "outside" or "undecided"), runs_needed (of that name), n_runs, n_references (with
        a finite value), paired.

    Raises
    ------
    ParameterError
        An ensemble has fewer than two runs, or pairs do not match.

    Notes
    -----
    Where a property is missing from a run (no flip, no contact) the others are not a fair sample;
    the error is then nan and undecided, and n_runs says how many had it.
    """
    require_positive("tolerance", tolerance)
    a, b = _ensemble("runs", runs), _ensemble("references", references)
    if paired and list(a.index) != list(b.index):
        raise ParameterError(
            f"paired=True needs the same seeds; runs have {list(a.index)}, references "
            f"{list(b.index)}. Use paired=False."
        )
    rows = []
    for name in [name for name in b.columns if name in a.columns]:
        x, y = a[name].to_numpy(float), b[name].to_numpy(float)
        row: dict[str, object] = {"property": name, "mean": x.mean(), "reference": y.mean()}
        needed: float = np.nan
        if np.isfinite(x).all() and np.isfinite(y).all():
            found = relative_error(
                x, y, paired=paired, confidence=confidence, n_resamples=n_resamples, seed=seed
            )
            ends = found.estimate, found.low, found.high
            if np.isfinite(found.error):
                needed = runs_needed(found.error, len(x), tolerance, confidence=confidence)
        else:
            ends = (np.nan, np.nan, np.nan)
        row |= dict(zip(("relative_error", "low", "high"), ends, strict=True))
        row |= {"verdict": verdict(*ends[1:], tolerance), "runs_needed": needed}
        row |= {"n_runs": int(np.isfinite(x).sum()), "n_references": int(np.isfinite(y).sum())}
        rows.append(row | {"paired": paired})
    return pd.DataFrame(rows)


def verdict(low: float, high: float, tolerance: float) -> str:
    """Return what an interval of a relative error says about a tolerance.

    Examples
    --------
    >>> verdict(-0.01, 0.02, 0.03), verdict(0.04, 0.06, 0.03), verdict(-0.01, 0.04, 0.03)
    ('within', 'outside', 'undecided')
    """
    if -tolerance <= low and high <= tolerance:
        return WITHIN
    return OUTSIDE if low > tolerance or high < -tolerance else UNDECIDED


def runs_needed(error: float, n: int, tolerance: float, *, confidence: float = CONFIDENCE) -> float:
    """Return how many runs would make an interval as narrow as the tolerance to each side.

    Parameters
    ----------
    error : float
        Standard error with n runs.
    n : int
    tolerance, confidence : float

    Examples
    --------
    >>> runs_needed(0.05, 5, 0.03)
    56
    """
    quantile = (1 + confidence) / 2
    spread = error * np.sqrt(n) / tolerance
    runs = max(2, int((stats.norm.ppf(quantile) * spread) ** 2))
    while stats.t.ppf(quantile, runs - 1) * spread > np.sqrt(runs):
        runs += 1
    return runs


def _of_platelets(kept: Sequence[Observation]) -> dict[str, float]:
    gyration = np.mean([o.gyration.mean(axis=0) for o in kept], axis=0)
    last = kept[-max(1, round(_END * len(kept))) :]
    return {
        "platelet_temperature": _mean(kept, "temperature"),
        "stretch_mean": _mean(kept, "stretch_mean"),
        "gyration_1": float(gyration[0]),
        "gyration_2": float(gyration[1]),
        "gyration_3": float(gyration[2]),
        "spin": float(np.mean([np.linalg.norm(o.angular_velocity, axis=1) for o in kept])),
        "contacts_at_end": float(np.mean([o.contacts.sum() / 2 for o in last])),
        "receptor_energy": _mean(last, "receptor_energy"),
    }


def _of_snapshots(
    snapshots: Sequence[Snapshot], suspension: Suspension, forcefield: ForceField
) -> dict[str, float]:
    edges = ~suspension.is_strut
    i, j = suspension.bonds[edges].T
    spreads, stresses = [], []
    for snapshot in snapshots:
        x = unwrapped_platelets(suspension, snapshot)
        length = np.linalg.norm(x[i] - x[j], axis=1)
        spreads.append(float(np.std(np.abs(length / suspension.rest_lengths[edges] - 1))))
        stresses.append(membrane_stress(suspension, snapshot, forcefield).von_mises)
    return {
        "stretch_std": float(np.mean(spreads)),
        "stress_mean": float(np.mean(stresses)),
        "stress_95": float(np.mean([np.percentile(values, 95) for values in stresses])),
    }


def _first_flip(observations: Sequence[Observation], rate: float) -> float:
    strain = rate * np.array([o.time - observations[0].time for o in observations])
    axes = np.stack([o.axis for o in observations])
    flips = [flip_strains(strain, axis_angle(axes[:, p])) for p in range(axes.shape[1])]
    return float(np.mean([f[0] if len(f) else np.nan for f in flips]))


def _mean(observations: Sequence[Observation], name: str) -> float:
    return float(np.mean([getattr(o, name) for o in observations]))


def _ensemble(name: str, runs: pd.DataFrame | Iterable[pd.Series]) -> pd.DataFrame:
    frame = runs if isinstance(runs, pd.DataFrame) else pd.DataFrame(list(runs))
    if len(frame) < 2:
        raise ParameterError(f"{name} has {len(frame)} runs; an interval needs two or more.")
    return frame
