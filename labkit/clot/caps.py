"""Largest step of each level that no state of a simulation ever allows to exceed.

Three kinds of limits, for particles of mass 1:

* *bond*: velocity Verlet of an oscillator of frequency omega grows without bound above h = 2/omega;
  half of that keeps the error of a period to 1/24. omega_max^2 is the largest eigenvalue of the
  Hessian of all springs at rest, sum of 2 K e e^T over the springs, which Lanczos iteration finds.
* *resonance*: an impulse that acts once per half period of a faster vibration pumps it [1]_, so a
  slower level that acts on the same beads stays below 0.7 pi/omega.
* *drag*: friction takes the fraction xi h of a particle's velocity in a step, with the friction
  coefficient in plasma of density rho, xi = gamma rho/3 * integral of 4 pi r^2 (1 - r)^(2s) dr.
  Half is the limit, for plasma's own friction and for that of a bead with plasma all around it.

The receptors' stiffness is none of these: it acts in contact only, so that the largest step for it
depends on the state, and a controller finds it.

============= ================================================= ========
symbol        variable                                          unit
============= ================================================= ========
omega_max     ``bond_frequency``                                1/time
h             a step                                            time
xi            ``drag_rate``                                     1/time
============= ================================================= ========

References
----------
.. [1] Bishop, Skeel and Schlick, J. Comput. Chem. 18 (1997) 1785.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import eigsh
from scipy.special import beta

from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.plans import LEVELS, StepPlan
from labkit.clot.simulation import EngineError, Simulation
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

VERLET_MARGIN = 0.5
RESONANCE_MARGIN = 0.7
LARGEST_DRAG = 0.5


@dataclass(frozen=True)
class Limit:
    """One reason why a step cannot be larger.

    Attributes
    ----------
    level : str
        One of `labkit.clot.plans.LEVELS`.
    step : float
        [time]
    reason : str
    """

    level: str
    step: float
    reason: str


@dataclass(frozen=True)
class Caps:
    """Largest step of each level [time], each the smallest of its limits.

    Attributes
    ----------
    limits : tuple of Limit
        All that were considered.
    bond_frequency : float
        Largest angular frequency of the springs [1/time]; 0 without springs.
    """

    limits: tuple[Limit, ...]
    bond_frequency: float

    @property
    def fluid(self) -> float:
        """Largest step of plasma with plasma [time]."""
        return self._smallest("fluid")

    @property
    def interface(self) -> float:
        """Largest step of plasma with platelet [time]."""
        return self._smallest("interface")

    @property
    def nonbonded(self) -> float:
        """Largest step of cytoplasm, and of receptors that are not in contact [time]."""
        return self._smallest("nonbonded")

    @property
    def bonded(self) -> float:
        """Largest step of the springs [time]."""
        return self._smallest("bonded")

    @property
    def blow_up(self) -> float:
        """Step of the springs at which they blow up, 2 / omega_max [time]."""
        return 2 / self.bond_frequency if self.bond_frequency else math.inf

    @property
    def frame(self) -> pd.DataFrame:
        """All limits: level, step [time], reason, and whether it is the one that holds."""
        rows = [
            {
                "level": limit.level,
                "step": limit.step,
                "reason": limit.reason,
                "holds": limit.step == self._smallest(limit.level),
            }
            for level in LEVELS
            for limit in self.limits
            if limit.level == level
        ]
        return pd.DataFrame(rows, columns=["level", "step", "reason", "holds"])

    def _smallest(self, level: str) -> float:
        return min((limit.step for limit in self.limits if limit.level == level), default=math.inf)


def stability_caps(suspension: Suspension, forcefield: ForceField) -> Caps:
    """Return the largest steps of all levels.

    Parameters
    ----------
    suspension : Suspension
        The springs and their directions at rest.
    forcefield : ForceField

    Examples
    --------
    >>> from labkit.clot.suspension import plasma_box
    >>> caps = stability_caps(plasma_box([5, 5, 5]), ForceField())
    >>> round(caps.fluid, 3), caps.bonded
    (0.03, inf)
    """
    plasma, interface = forcefield.plasma, forcefield.interface
    own = drag_rate(plasma.gamma, density=plasma.density, power=plasma.power)
    wall = drag_rate(interface.gamma, density=plasma.density, power=plasma.power)
    limits = [Limit("fluid", LARGEST_DRAG / own, "drag of plasma on plasma")]
    omega = bond_frequency(suspension, forcefield)
    if omega:
        resonance = RESONANCE_MARGIN * math.pi / omega
        limits += [
            Limit("interface", LARGEST_DRAG / wall, "drag of plasma on a bead"),
            Limit("interface", resonance, "resonance with the springs"),
            Limit("nonbonded", resonance, "resonance with the springs"),
            Limit("bonded", VERLET_MARGIN * 2 / omega, "half the step at which springs blow up"),
        ]
    return Caps(tuple(limits), omega)


def drag_rate(gamma: float, *, density: float, power: float = 1.0) -> float:
    """Return the friction coefficient of a particle in plasma all around it [1/time].

    Parameters
    ----------
    gamma : float
        Of a pair [1/time].
    density : float
        Of the plasma [1/rc^3].
    power : float
        Exponent s of the random force's weight.

    Examples
    --------
    >>> round(drag_rate(40.0, density=3.0), 2)
    16.76
    """
    return gamma * density * 4 * math.pi / 3 * float(beta(3, 2 * power + 1))


def bond_frequency(suspension: Suspension, forcefield: ForceField) -> float:
    """Return the largest angular frequency of the springs at rest [1/time]; 0 without springs."""
    if not len(suspension.bonds):
        return 0.0
    hessian = bond_hessian(suspension, forcefield)
    start = np.random.default_rng(0).normal(size=hessian.shape[0])
    largest = eigsh(hessian, k=1, which="LA", v0=start, return_eigenvectors=False)
    return math.sqrt(float(largest[0]))


def bond_hessian(suspension: Suspension, forcefield: ForceField) -> csr_array:
    """Return the second derivatives of the springs' energy at rest, shape (3 n_beads, 3 n_beads).

    Each spring adds 2 K e e^T to the blocks of its two beads, and takes it from those between
    them; e is its direction.
    """
    membrane = forcefield.membrane
    first, second = suspension.bonds.T
    along = suspension.positions[second] - suspension.positions[first]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    stiffness = 2 * np.where(suspension.is_strut, membrane.K_strut, membrane.K_edge)
    block = stiffness[:, None, None] * along[:, :, None] * along[:, None, :]
    rows, columns, values = [], [], []
    for i, j, sign in ((first, first, 1), (second, second, 1), (first, second, -1)):
        for a, b in ((i, j), (j, i)) if sign < 0 else ((i, j),):
            rows.append(np.broadcast_to(3 * a[:, None, None] + np.arange(3)[:, None], block.shape))
            columns.append(np.broadcast_to(3 * b[:, None, None] + np.arange(3), block.shape))
            values.append(sign * block)
    n = 3 * suspension.n_beads
    place = (np.concatenate(rows).ravel(), np.concatenate(columns).ravel())
    return csr_array(coo_array((np.concatenate(values).ravel(), place), shape=(n, n)))


def blow_up_step(
    engine: Simulation,
    *,
    noise: bool = True,
    low: float,
    high: float,
    time: float = 2.0,
    hottest: float = 4.0,
    tolerance: float = 0.02,
) -> float:
    """Measure the step above which ordinary time stepping, all levels alike, blows up.

    Parameters
    ----------
    engine : Simulation
        In equilibrium. It is left in the state that it had.
    noise : bool
        False for the mechanical limit alone; friction stays.
    low, high : float
        A step that works and one that does not [time].
    time : float
        How long each trial runs [time].
    hottest : float
        Kinetic temperature of a platelet, over kT, from which on it counts as blown up.
    tolerance : float
        Relative width at which the bisection ends.

    Raises
    ------
    ParameterError
        `low` blows up, or `high` does not.
    """
    for name, value in {"low": low, "high": high, "time": time, "tolerance": tolerance}.items():
        require_positive(name, value)
    snapshot = engine.snapshot()
    n_segments = len(engine.segments)

    def works(step: float) -> bool:
        engine.restore(snapshot)
        try:
            engine.run(StepPlan.single(step), math.ceil(time / step) * step, noise=noise)
            heat = engine.observe().temperature.max() / engine.forcefield.kT
        except EngineError:
            return False
        return bool(heat < hottest)

    try:
        return _bisected(works, low, high, tolerance)
    finally:
        del engine.segments[n_segments:]
        engine.restore(snapshot)


def _bisected(works: Callable[[float], bool], low: float, high: float, tolerance: float) -> float:
    if not works(low):
        raise ParameterError(f"low={low:g} is not allowed, as that step blows up; use less.")
    if works(high):
        raise ParameterError(f"high={high:g} is not allowed, as that step works; use more.")
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if works(middle) else (low, middle)
    return math.sqrt(low * high)


def temperature_ladder(
    engine: Simulation,
    plans: Sequence[StepPlan],
    *,
    time: float = 20.0,
    segment: float = 1.0,
    settle: float = 2.0,
) -> pd.DataFrame:
    """Measure the temperatures that step plans lead to.

    Parameters
    ----------
    engine : Simulation
        In equilibrium. It is left in the state that it had.
    plans : sequence of StepPlan
    time, segment, settle : float
        Time to average over after the time to settle, and between two samples of it; rounded up to
        whole fluid steps [time].

    Returns
    -------
    DataFrame
        One row for each plan: ``plan``, the four steps, ``T_platelet`` and ``T_fluid`` over kT, and
        their standard errors ``T_platelet_error``, ``T_fluid_error``.
    """
    snapshot = engine.snapshot()
    rows = []
    for plan in plans:
        engine.restore(snapshot)
        samples = temperature_samples(engine, plan, time=time, segment=segment, settle=settle)
        error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
        rows.append(
            {
                "plan": str(plan),
                **dict(zip(LEVELS, plan.steps, strict=True)),
                "T_platelet": samples[:, 0].mean(),
                "T_platelet_error": error[0],
                "T_fluid": samples[:, 1].mean(),
                "T_fluid_error": error[1],
            }
        )
    engine.restore(snapshot)
    return pd.DataFrame(rows)


def temperature_samples(
    engine: Simulation, plan: StepPlan, *, time: float, segment: float, settle: float
) -> np.ndarray:
    """Return temperatures of platelets and plasma over kT along a run, shape (samples, 2)."""
    if settle > 0:
        engine.run(plan, whole_steps(plan, settle))
    samples = []
    for _ in range(max(2, round(time / segment))):
        engine.run(plan, whole_steps(plan, segment))
        seen = engine.observe()
        samples.append((seen.temperature.mean(), seen.fluid_temperature))
    return np.array(samples) / engine.forcefield.kT


def whole_steps(plan: StepPlan, time: float) -> float:
    """Return a time rounded up to whole fluid steps of a plan."""
    return math.ceil(time / plan.fluid - 1e-9) * plan.fluid
