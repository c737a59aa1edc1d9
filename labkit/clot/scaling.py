r"""Weak scaling of a suspension: from runs on one and two ranks to a machine, as a projection.

A rank holds n particles, of which q are platelet beads, in a cube of side s = (n / rho)^(1/3).
Level k of a plan is computed N_k times in a fluid step. Its wall time on R > 1 ranks is::

    t = u n sum_k N_k + f (n - q) N_4 + q (i N_3 + o N_2 + b N_1)   compute, heaviest rank
        + X (c g(n) + m l)                                          halo exchange
        + l log2 R                                                  collective

    g(n) = rho (s + 2 r_g)^3 - n,    X = 2 N_1 + N_2 + N_3 + N_4,    m = 6

Every level moves all particles; forces are computed for plasma on the outermost level and for beads
on the others. Positions go out on the innermost level, forces come back on all four, as in LAMMPS's
r-RESPA. An exchange takes a latency and the bytes of its ghosts over the bandwidth [1]_, the latter
inside c.

All ranks wait for the heaviest. Platelets come in clumps; the number of clumps on a rank has a
Poisson distribution, and the rank with most platelets holds the median of the largest of R such
numbers, at most the share of beads in a rank full of platelets. Where beads cost less than plasma
the heaviest rank is one without any.

====== ========================== ===========================================
symbol entry of `CONSTANTS`       unit
====== ========================== ===========================================
u      update                     s per particle and evaluation of any level
f      fluid                      s per plasma particle and evaluation
i o b  interface nonbonded bonded s per platelet bead and evaluation
c      ghost                      s per ghost and exchange
l      latency                    s per message
rho    ``density``                1/rc^3
r_g    ``halo``                   rc
====== ========================== ===========================================

References
----------
.. [1] Hockney, Parallel Computing 20 (1994) 389-398.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.stats import poisson

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError

Array = NDArray[np.float64]

CONSTANTS: Mapping[str, str] = {
    "update": "s per particle and evaluation",
    "fluid": "s per plasma particle and evaluation",
    "interface": "s per bead and evaluation",
    "nonbonded": "s per bead and evaluation",
    "bonded": "s per bead and evaluation",
    "ghost": "s per ghost and exchange",
    "latency": "s per message",
}
"""What is fitted, and its unit."""
MESSAGES = 6
"""Neighbors of a rank in a halo exchange, one face after the other."""
EXCHANGES = np.array([1.0, 1.0, 1.0, 2.0])
"""Halo exchanges of an evaluation, in the order of `LEVELS`."""
FULL = 0.9
"""Share of platelet beads among the particles of a rank that is full of platelets."""
SECONDS_A_DAY = 86400.0
_MEASURED = ("particles", "beads", "ranks", *LEVELS, "seconds")
_INTERVAL = (5.0, 95.0)
_OUTLIER = 0.1
_ROUNDS = 8


class TimeUnit(Protocol):
    """What a projection needs of `labkit.clot.units.DPDUnits`."""

    @property
    def tau_s(self) -> float:
        """Seconds of a DPD time unit."""


def measurement(
    segment: Segment, *, particles: int, beads: int, ranks: int = 1
) -> dict[str, float]:
    """Return a run as a row of the table that `WeakScaling.fit` reads.

    Parameters
    ----------
    segment : Segment
        Of a run on all `ranks`.
    particles, beads : int
        Of the whole suspension; `beads` are the platelets' among them.
    ranks : int

    Returns
    -------
    dict
        particles, beads, ranks, how often each level was computed, seconds of wall time without
        the setup.
    """
    row: dict[str, float] = {"particles": particles, "beads": beads, "ranks": ranks}
    row |= {level: float(segment.evaluations[level]) for level in LEVELS}
    return row | {"seconds": segment.wall_seconds - segment.setup_seconds}


@dataclass(frozen=True)
class Projection:
    """Speed of a suspension on a machine, by the model; never a measurement.

    Attributes
    ----------
    n_particles, ranks : int
    plan : StepPlan
    seconds : float
        Wall time of a fluid step [s].
    low, high : float
        Its 90 % interval [s].
    compute_s, imbalance_s, halo_s, collective_s : float
        What it is made of: mean rank, what the heaviest rank adds, halo, collective [s].
    us_per_day : float
        Microseconds of physical time a day; nan without units.
    us_per_day_low, us_per_day_high : float
        Its 90 % interval.
    """

    n_particles: int
    ranks: int
    plan: StepPlan
    seconds: float
    low: float
    high: float
    compute_s: float
    imbalance_s: float
    halo_s: float
    collective_s: float
    us_per_day: float
    us_per_day_low: float
    us_per_day_high: float

    @property
    def efficiency(self) -> float:
        """Time of one balanced rank without communication over that of a step."""
        return self.compute_s / self.seconds


@dataclass(frozen=True, eq=False, kw_only=True)
class WeakScaling:
    """Constants of the model, fitted to runs.

    Attributes
    ----------
    constants : mapping of str to float
        Values of `CONSTANTS`.
    samples : array of shape (n_samples, 7)
        The same from resampled runs.
    density : float
        Particles per rc^3.
    halo : float
        How far the copies of neighbors' particles reach [rc].
    spread : float
        Relative scatter of the runs about the fit (median of the absolute values).
    n_runs : int
        Runs fitted.
    """

    constants: Mapping[str, float]
    samples: Array
    density: float = 3.0
    halo: float = 1.3
    spread: float = 0.0
    n_runs: int = 0

    @classmethod
    def fit(
        cls,
        measured: pd.DataFrame | Iterable[Mapping[str, float]],
        *,
        density: float = 3.0,
        halo: float = 1.3,
        n_samples: int = 200,
        seed: int = 0,
    ) -> WeakScaling:
        """Fit the constants, none of them negative, to runs.

        Relative deviations are minimized; those above a tenth count in proportion, not squared, as
        other work on a machine makes some runs slow.

        Parameters
        ----------
        measured : DataFrame or iterable of mapping
            Rows of `measurement`: runs of plans with different ratios, and of systems with
            different shares of platelets, on one rank and on more.
        density : float
            Particles per rc^3.
        halo : float
            Cutoff of the plasma and skin of its neighbor lists [rc].
        n_samples : int
            How often the runs are resampled for intervals.
        seed : int

        Raises
        ------
        ParameterError
            A column is missing, or all runs have the same number of ranks.
        """
        require_positive("density", density)
        require_positive("halo", halo)
        require_whole("n_samples", n_samples, low=1)
        table = _checked(measured)
        seconds = table["seconds"].to_numpy(dtype=float)
        per_second = _features(table, density, halo) / seconds[:, None]
        best = _solve(per_second)
        rng = np.random.default_rng(seed)
        rows = _resampled(table["ranks"].to_numpy(), n_samples, rng)
        return cls(
            constants=dict(zip(CONSTANTS, best.tolist(), strict=True)),
            samples=np.array([_solve(per_second[pick]) for pick in rows]),
            density=density,
            halo=halo,
            spread=float(np.median(np.abs(per_second @ best - 1))),
            n_runs=len(table),
        )

    @property
    def frame(self) -> pd.DataFrame:
        """Constants with 90 % intervals: name, value, low, high, unit."""
        low, high = np.percentile(self.samples, _INTERVAL, axis=0)
        return pd.DataFrame(
            {
                "name": list(CONSTANTS),
                "value": list(self.constants.values()),
                "low": low,
                "high": high,
                "unit": list(CONSTANTS.values()),
            }
        )

    def project(
        self,
        n_particles: int,
        ranks: int,
        *,
        plan: StepPlan,
        units: TimeUnit | None = None,
        n_platelets: int = 250,
        platelet_fraction: float = 0.1,
        clump: int = 1,
        network_spread: float = 3.0,
        seed: int = 0,
    ) -> Projection:
        """Return the speed of a suspension on a machine of such ranks, as a projection.

        Parameters
        ----------
        n_particles, ranks : int
            Of the whole suspension, and processes that share it.
        plan : StepPlan
        units : DPDUnits, optional
            For microseconds a day.
        n_platelets : int
        platelet_fraction : float
            Share of platelet beads among the particles.
        clump : int
            Platelets that stick together; 1 for flowing apart.
        network_spread : float
            The network of a cluster is not the shared memory measured here: its constants are drawn
            log-uniform between the fitted ones divided and multiplied by this factor.
        seed : int
            Of these draws.

        Raises
        ------
        ParameterError
            A number is not allowed.
        """
        require_whole("n_particles", n_particles, low=1)
        require_whole("ranks", ranks, low=1, high=n_particles)
        share = platelet_fraction if n_platelets else 0.0
        heavy = heaviest_fraction(ranks, n_platelets, share, clump=clump)
        shares = (share, heavy, share if ranks == 1 else 0.0)
        parts = self._parts(
            np.array(list(self.constants.values())), plan, n_particles, ranks, shares
        )
        drawn = self._drawn(network_spread, seed)
        totals = [self._parts(one, plan, n_particles, ranks, shares).sum() for one in drawn]
        seconds = float(parts.sum())
        low, high = np.percentile([*totals, seconds], _INTERVAL)
        low, high = min(float(low), seconds), max(float(high), seconds)
        speeds = [microseconds_a_day(time, plan, units) for time in (seconds, high, low)]
        return Projection(
            n_particles,
            ranks,
            plan,
            seconds,
            low,
            high,
            *map(float, parts),
            *speeds,
        )

    def _parts(
        self,
        constants: Array,
        plan: StepPlan,
        n_particles: int,
        ranks: int,
        shares: tuple[float, float, float],
    ) -> Array:
        """Seconds of compute on a mean rank, of waiting, halo and collective."""
        step = plan.evaluations(plan.fluid)
        table = pd.DataFrame({**step, "particles": n_particles, "ranks": ranks}, index=range(3))
        table["beads"] = np.array(shares) * n_particles
        features = _features(table, self.density, self.halo)
        work = features[:, :5] @ constants[:5]
        waiting = max(0.0, work.max() - work[0])
        collective = constants[6] * np.log2(ranks)
        halo = features[0, 5:] @ constants[5:] - collective
        return np.array([work[0], waiting, halo, collective])

    def _drawn(self, network_spread: float, seed: int) -> Array:
        if not network_spread >= 1:
            raise ParameterError(
                f"network_spread={network_spread!r} is not allowed; use a factor of 1 or more."
            )
        rng, reach = np.random.default_rng(seed), np.log(network_spread)
        drawn = self.samples.copy()
        drawn[:, 5:] *= np.exp(rng.uniform(-reach, reach, (len(drawn), 2)))
        return drawn


def heaviest_fraction(
    ranks: int, n_platelets: int, platelet_fraction: float, *, clump: int = 1
) -> float:
    """Share of platelet beads on the rank that has most of them.

    Clumps per rank are Poisson distributed; the largest of `ranks` such numbers is taken at its
    median.

    Parameters
    ----------
    ranks, n_platelets : int
    platelet_fraction : float
        Share of platelet beads among all particles.
    clump : int
        Platelets that stick together.

    Returns
    -------
    float
        Between `platelet_fraction` and `FULL`.

    Examples
    --------
    >>> heaviest_fraction(1, 250, 0.1)
    0.1
    >>> heaviest_fraction(1000, 250, 0.1)
    0.9
    """
    require_whole("clump", clump, low=1)
    require_whole("n_platelets", n_platelets, low=0)
    if not 0 <= platelet_fraction <= FULL:
        raise ParameterError(
            f"platelet_fraction={platelet_fraction!r} is not allowed; use 0 to {FULL}."
        )
    if ranks == 1 or not n_platelets or not platelet_fraction:
        return platelet_fraction
    mean = n_platelets / (clump * ranks)
    largest = float(poisson.ppf(0.5 ** (1 / ranks), mean))
    return float(np.clip(platelet_fraction * largest / mean, platelet_fraction, FULL))


def ghosts(n: ArrayLike, *, density: float, halo: float) -> Array:
    """Particles within a halo around a cube of n particles.

    Examples
    --------
    >>> ghosts([3 * 10**3], density=3, halo=1).round(6)
    array([2184.])
    """
    held = np.asarray(n, dtype=float)
    return density * ((held / density) ** (1 / 3) + 2 * halo) ** 3 - held


def microseconds_a_day(seconds: float, plan: StepPlan, units: TimeUnit | None) -> float:
    """Physical time a day at a wall time of a fluid step [us/day]; nan without units."""
    if units is None:
        return float("nan")
    return 1e6 * units.tau_s * plan.fluid * SECONDS_A_DAY / seconds


def _checked(measured: pd.DataFrame | Iterable[Mapping[str, float]]) -> pd.DataFrame:
    table = measured if isinstance(measured, pd.DataFrame) else pd.DataFrame(list(measured))
    missing = [name for name in _MEASURED if name not in table]
    if missing or not len(table):
        raise ParameterError(
            f"measured has {len(table)} rows and lacks {', '.join(missing) or 'nothing'}; give "
            "rows of labkit.clot.scaling.measurement."
        )
    if table["ranks"].min() != 1 or table["ranks"].nunique() < 2:
        raise ParameterError(
            f"measured has runs on {sorted(set(table['ranks']))} ranks; give runs on 1 rank and on "
            "more, without which communication cannot be told from work."
        )
    return table


def _features(table: pd.DataFrame, density: float, halo: float) -> Array:
    """Seconds of a run per unit of each constant, shape (n_runs, 7)."""
    counts = table[list(LEVELS)].to_numpy(dtype=float)
    ranks = table["ranks"].to_numpy(dtype=float)
    n = table["particles"].to_numpy(dtype=float) / ranks
    beads = table["beads"].to_numpy(dtype=float) / ranks
    exchanges = counts @ EXCHANGES * (ranks > 1)
    return np.column_stack(
        [
            counts.sum(axis=1) * n,
            counts[:, 0] * (n - beads),
            counts[:, 1:] * beads[:, None],
            exchanges * ghosts(n, density=density, halo=halo),
            exchanges * MESSAGES + counts[:, 0] * np.log2(ranks),
        ]
    )


def _solve(per_second: Array) -> Array:
    """Constants that make all rows sum to 1, by nonnegative least squares with outliers weighed."""
    scale = np.where(per_second.any(axis=0), per_second.max(axis=0), 1.0)
    weights = np.ones(len(per_second))
    for _ in range(_ROUNDS):
        found, _ = nnls(per_second / scale * weights[:, None], weights)
        off = np.abs(per_second @ (found / scale) - 1)
        weights = np.sqrt(_OUTLIER / np.maximum(off, _OUTLIER))
    return np.asarray(found / scale, dtype=float)


def _resampled(ranks: Array, n_samples: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rows drawn with replacement among the runs of each number of ranks."""
    groups = [np.flatnonzero(ranks == value) for value in np.unique(ranks)]
    return [np.concatenate([rng.choice(g, len(g)) for g in groups]) for _ in range(n_samples)]
