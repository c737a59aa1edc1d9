"""Forces and time steps in the language of LAMMPS.

The groups of forces of `labkit.clot.forcefield` become the sub-styles of one pair style, each on
the level of its time step:

============================= ======================= =====
forces                        style                   level
============================= ======================= =====
plasma with plasma            dpd                     4
plasma with platelet          lj/cut, dpd/tstat       3
cytoplasm                     morse                   2
membranes of two platelets    morse, or lj/cut        2
springs                       bond harmonic           1
============================= ======================= =====

Levels of the same step are one level of ``run_style respa``, which costs less, and all of the same
step are ``verlet``.

LAMMPS draws the noise of every level as if it acted for the largest step h4, so that of the
interface lacks h4 / h3 in its variance. Its thermostat is therefore given kT h4 / h3, which changes
the noise (sigma^2 = 2 gamma kT) and leaves the friction.

Beads of one membrane act on each other by springs alone. Platelets without receptors repel each
other as the interface does. Cytoplasm attracts the beads of another platelet, too, should they
come within its range.
"""

from __future__ import annotations

from labkit.clot.forcefield import ForceField
from labkit.clot.plans import StepPlan

WALL_FRICTION = 20.0
"""Least friction coefficient of plasma with a wall [mass/time]; with less it slips."""


def plasma_style(forcefield: ForceField, *, kT: float, seed: int, walls: bool = False) -> list[str]:
    """Return the commands of the forces where there is plasma alone."""
    style, coefficients = _dpd(forcefield)
    wall = f"pair_coeff 1 4 {_at_wall(forcefield)}"
    return [
        f"pair_style {style} {kT} 1.0 {seed}",
        f"pair_coeff * * {coefficients}",
        *([wall] if walls else []),
    ]


def pair_styles(
    forcefield: ForceField, *, kT: float, kT_interface: float, seed: int, walls: bool = False
) -> list[str]:
    """Return the commands of all nonbonded forces, in the order of levels 4, 3, 3, 2, 2."""
    plasma, coefficients = _dpd(forcefield)
    bath, friction = _interface_bath(forcefield)
    cytoplasm, wall = forcefield.cytoplasm, forcefield.interface
    repulsion = f"{wall.epsilon} {wall.sigma} {wall.cutoff}"
    inside = f"{cytoplasm.D} {cytoplasm.alpha} {cytoplasm.r0} {cytoplasm.cutoff}"
    receptors = forcefield.receptors
    if receptors is None:
        names = ("lj/cut 1", "morse", f"lj/cut {wall.cutoff}")
        between = f"lj/cut 2 {repulsion}"
    else:
        names = ("lj/cut", "morse 1", f"morse {receptors.cutoff}")
        between = f"morse 2 {receptors.D} {receptors.alpha} {receptors.r0} {receptors.cutoff}"
    at_walls = (
        f"1 4 {plasma} {_at_wall(forcefield)}",
        f"2*3 4 {names[0]} {repulsion}",
        f"2*3 4 {bath} {friction}",
        "4 4 none",
    )
    styles = (
        f"{plasma} {kT} 1.0 {seed}",
        f"lj/cut {wall.cutoff}",
        f"{bath} {kT_interface} {kT_interface} 1.0 {seed + 1}",
        f"morse {cytoplasm.cutoff}",
        names[2],
    )
    return [
        f"pair_style hybrid/overlay {' '.join(styles)}",
        f"pair_coeff 1 1 {plasma} {coefficients}",
        f"pair_coeff 1 2*3 {names[0]} {repulsion}",
        f"pair_coeff 1 2*3 {bath} {friction}",
        f"pair_coeff 2*3 3 {names[1]} {inside}",
        f"pair_coeff 2 2 {between}",
        *([f"pair_coeff {pair}" for pair in at_walls] if walls else []),
    ]


def run_style(plan: StepPlan) -> str:
    """Return the command of the integrator.

    Examples
    --------
    >>> run_style(StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.0005))
    'run_style respa 3 10 4 bond 1 hybrid 3 2 2 2 2'
    >>> run_style(StepPlan.single(0.001))
    'run_style verlet'
    """
    n3, n2, n1 = plan.ratios
    nonbonded = 1 + (n1 > 1)
    interface = nonbonded + (n2 > 1)
    fluid = interface + (n3 > 1)
    if fluid == 1:
        return "run_style verlet"
    loops = " ".join(str(n) for n in (n1, n2, n3) if n > 1)
    levels = f"{fluid} {interface} {interface} {nonbonded} {nonbonded}"
    return f"run_style respa {fluid} {loops} bond 1 hybrid {levels}"


def _dpd(forcefield: ForceField, *, least_friction: float = 0.0) -> tuple[str, str]:
    plasma = forcefield.plasma
    gamma = max(plasma.gamma, least_friction)
    if plasma.power == 1:
        return "dpd", f"{plasma.a} {gamma}"
    power = f"{plasma.power}"
    return "dpd/ext", f"{plasma.a} {gamma} 0 {power} {power} 1.0"


def _at_wall(forcefield: ForceField) -> str:
    return _dpd(forcefield, least_friction=WALL_FRICTION)[1]


def _interface_bath(forcefield: ForceField) -> tuple[str, str]:
    gamma, power = forcefield.interface.gamma, forcefield.plasma.power
    if power == 1:
        return "dpd/tstat", f"{gamma}"
    return "dpd/ext/tstat", f"{gamma} 0 {power} {power} 1.0"
