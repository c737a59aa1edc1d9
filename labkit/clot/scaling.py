r"""Weak scaling of a suspension: from runs on one and two ranks to a machine, as a projection.

A rank holds n particles, of which q are platelet beads, in a cube of side s = (n / rho)^(1/3).
Level k of a plan is computed N_k times in a fluid step. Its wall time on R > 1 ranks is::

    t = sum_k N_k (a_k n + b_k q)  +  X (c_g g(n) + m c_l)  +  c_l log2 R
        compute, heaviest rank        halo exchange            collective

    g(n) = rho (s + 2 r_g)^3 - n,    X = 2 N_1 + N_2 + N_3 + N_4,    m = 6

Positions go out on the innermost level, forces come back on all four, as in LAMMPS's r-RESPA. An
exchange takes a latency and the bytes of its ghosts over the bandwidth [1]_, the latter inside c_g.
All ranks wait for the heaviest: platelets come in clumps of c, the number of clumps on a rank has a
Poisson distribution with the mean P / (c R), and the heaviest rank holds the median of the largest
of R such numbers, at most the share of beads in a rank full of platelets.

====== ======================== ===================================
symbol variable                 unit
====== ======================== ===================================
a_k    `per_particle_s`         s per particle and evaluation
b_k    `per_bead_s`             s per platelet bead and evaluation
c_g    `ghost_s`                s per ghost and exchange
c_l    `latency_s`              s per message
n, q   particles, beads         of a rank
rho    `density`                1/rc^3
r_g    `halo`                   rc, cutoff and skin
R, P   `ranks`, `n_platelets`
====== ======================== ===================================

References
----------
.. [1] Hockney, Parallel Computing 20 (1994) 389-398.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import poisson

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError

MESSAGES = 6
"""Neighbors of a rank in a halo exchange, one face after the other."""
FULL = 0.9
"""Share of platelet beads among the particles of a rank that is full of platelets."""
SECONDS_A_DAY = 86400.0
_MEASURED = ("particles", "beads", "ranks", *LEVELS, "seconds")
_INTERVAL = (5.0, 95.0)


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


@dataclass(frozen=True, eq=False, kw_only=True)
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
    per_particle_s, per_bead_s : mapping of str to float
        Seconds of one evaluation of a level per particle, and on top per platelet bead.
    ghost_s : float
        Seconds per ghost and exchange.
    latency_s : float
        Seconds per message.
    density : float
        Particles per rc^3.
    halo : float
        Cutoff and skin [rc].
    samples : array of shape (n_samples, 10)
        Constants from resampled runs: four `per_particle_s`, four `per_bead_s`, ghost, latency.
    spread : float
        Relative scatter of the runs about the fit (root mean square).
    n_rows : int
        Runs fitted.
    """

    per_particle_s: Mapping[str, float]
    per_bead_s: Mapping[str, float]
    ghost_s: float
    latency_s: float
    density: float
    halo: float
    samples: NDArray[np.float64]
    spread: float
    n_rows: int

    @classmethod
    def fit(
        cls,
        measured: pd.DataFrame | Iterable[Mapping[str, float]],
        *,
        density: float = 3.0,
        halo: float = 2.1,
        n_samples: int = 200,
        seed: int = 0,
    ) -> WeakScaling:
        """Fit the constants to runs by least squares of relative errors; none is negative.

        Parameters
        ----------
        measured : DataFrame or iterable of mapping
            Rows of `measurement`: runs of several plans and sizes, on one rank and on more.
        density : float
            Particles per rc^3.
        halo : float
            Cutoff and skin [rc].
        n_samples : int
            How often the runs are resampled for intervals.
        seed : int

        Raises
        ------
        ParameterError
            A column is missing, or all runs have the same number of ranks.

        Notes
        -----
        Runs of one plan tell the time of a fluid step of that plan, not how it is shared by the
        levels; vary the ratios of the steps to project other plans.
        """
        require_positive("density", density)
        require_positive("halo", halo)
        table = _checked(measured)
        features = _features(table, density, halo)
        seconds = table["seconds"].to_numpy(dtype=float)
        best = _solve(features, seconds)
        rng = np.random.default_rng(seed)
        rows = _resampled(table["ranks"].to_numpy(), n_samples, rng)
        samples = np.array([_solve(features[pick], seconds[pick]) for pick in rows])
        scatter = features @ best / seconds - 1
        return replace(
            cls._of(best, density, halo),
            samples=samples,
            spread=float(np.sqrt(np.mean(scatter**2))),
            n_rows=len(table),
        )

    @classmethod
    def _of(cls, constants: NDArray[np.float64], density: float, halo: float) -> WeakScaling:
        particle, bead = constants[:4].tolist(), constants[4:8].tolist()
        return cls(
            per_particle_s=dict(zip(LEVELS, particle, strict=True)),
            per_bead_s=dict(zip(LEVELS, bead, strict=True)),
            ghost_s=float(constants[8]),
            latency_s=float(constants[9]),
            density=density,
            halo=halo,
            samples=constants[None, :],
            spread=0.0,
            n_rows=0,
        )

    @property
    def frame(self) -> pd.DataFrame:
        """Constants with 90 % intervals: name, value, low, high, unit, kind."""
        names = [f"{kind}, {level}" for kind in ("per particle", "per bead") for level in LEVELS]
        low, high = np.percentile(self.samples, _INTERVAL, axis=0)
        return pd.DataFrame(
            {
                "name": [*names, "per ghost", "latency"],
                "value": self._constants,
                "low": low,
                "high": high,
                "unit": ["s/evaluation"] * 8 + ["s/exchange", "s"],
                "kind": "fitted to runs here",
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

        Returns
        -------
        Projection

        Raises
        ------
        ParameterError
            A number is not allowed.
        """
        require_whole("n_particles", n_particles, low=1)
        require_whole("ranks", ranks, low=1, high=n_particles)
        share = platelet_fraction if n_platelets else 0.0
        heavy = heaviest_fraction(ranks, n_platelets, share, clump=clump)
        times = _per_evaluation(plan)
        parts = _parts(self._constants, times, n_particles / ranks, ranks, share, heavy, self)
        drawn = self._drawn(network_spread, seed)
        totals = np.array(
            [sum(_parts(c, times, n_particles / ranks, ranks, share, heavy, self)) for c in drawn]
        )
        low, high = np.percentile(totals, _INTERVAL)
        seconds = sum(parts)
        low, high = min(float(low), seconds), max(float(high), seconds)
        speed = [microseconds_a_day(t, plan, units) for t in (seconds, high, low)]
        return Projection(
            n_particles=n_particles,
            ranks=ranks,
            plan=plan,
            seconds=seconds,
            low=low,
            high=high,
            compute_s=parts[0],
            imbalance_s=parts[1],
            halo_s=parts[2],
            collective_s=parts[3],
            us_per_day=speed[0],
            us_per_day_low=speed[1],
            us_per_day_high=speed[2],
        )

    @property
    def _constants(self) -> NDArray[np.float64]:
        per_level = [
            table[level] for table in (self.per_particle_s, self.per_bead_s) for level in LEVELS
        ]
        return np.array([*per_level, self.ghost_s, self.latency_s])

    def _drawn(self, network_spread: float, seed: int) -> NDArray[np.float64]:
        if network_spread < 1:
            raise ParameterError(
                f"network_spread={network_spread!r} is not allowed; use a factor of 1 or more."
            )
        rng = np.random.default_rng(seed)
        drawn = self.samples.copy()
        reach = np.log(network_spread)
        drawn[:, 8:] *= np.exp(rng.uniform(-reach, reach, (len(drawn), 2)))
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


def ghosts(n: float, *, density: float, halo: float) -> float:
    """Particles within a halo around a cube of n particles.

    Examples
    --------
    >>> ghosts(3 * 10**3, density=3, halo=1)
    2184.0
    """
    side = (n / density) ** (1 / 3)
    return float(round(density * (side + 2 * halo) ** 3 - n, 6))


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


def _features(table: pd.DataFrame, density: float, halo: float) -> NDArray[np.float64]:
    """Seconds of a run per unit of each constant, shape (n_runs, 10)."""
    counts = table[list(LEVELS)].to_numpy(dtype=float)
    ranks = table["ranks"].to_numpy(dtype=float)
    n = table["particles"].to_numpy(dtype=float) / ranks
    beads = table["beads"].to_numpy(dtype=float) / ranks
    halo_size = np.array([ghosts(one, density=density, halo=halo) for one in n])
    apart = (ranks > 1).astype(float)
    exchanges = counts @ _EXCHANGES * apart
    latency = exchanges * MESSAGES + counts[:, 0] * np.log2(ranks)
    return np.column_stack(
        [counts * n[:, None], counts * beads[:, None], exchanges * halo_size, latency]
    )


_EXCHANGES = np.array([1.0, 1.0, 1.0, 2.0])
"""Halo exchanges of an evaluation, in the order of `LEVELS`."""


def _solve(features: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    relative = features / seconds[:, None]
    scale = np.where(relative.any(axis=0), np.abs(relative).max(axis=0), 1.0)
    found, _ = nnls(relative / scale, np.ones(len(seconds)))
    return np.asarray(found / scale, dtype=float)


def _resampled(
    ranks: NDArray[np.float64], n_samples: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows drawn with replacement among the runs of each number of ranks."""
    groups = [np.flatnonzero(ranks == value) for value in np.unique(ranks)]
    return [np.concatenate([rng.choice(g, len(g)) for g in groups]) for _ in range(n_samples)]


def _per_evaluation(plan: StepPlan) -> NDArray[np.float64]:
    counts = plan.evaluations(plan.fluid)
    return np.array([float(counts[level]) for level in LEVELS])


def _parts(
    constants: NDArray[np.float64],
    times: NDArray[np.float64],
    n: float,
    ranks: int,
    share: float,
    heavy: float,
    model: WeakScaling,
) -> tuple[float, float, float, float]:
    """Compute, imbalance, halo and collective seconds of a fluid step."""
    compute = float(times @ (constants[:4] + share * constants[4:8])) * n
    imbalance = float(times @ constants[4:8]) * (heavy - share) * n
    if ranks == 1:
        return compute, imbalance, 0.0, 0.0
    exchanges = float(times @ _EXCHANGES)
    halo = ghosts(n, density=model.density, halo=model.halo)
    traffic = exchanges * (constants[8] * halo + constants[9] * MESSAGES)
    return compute, imbalance, float(traffic), float(constants[9] * np.log2(ranks))
