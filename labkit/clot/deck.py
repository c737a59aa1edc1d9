"""What is simulated, said in the language of LAMMPS.

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
come within its range. A channel's walls are frozen particles of the plasma's density, one rc
thick and more, with a stiff spring at their surface that throws plasma back; the friction with
them stops it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from labkit.clot.flows import Channel, Flow, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]

SKIN = 0.4
"""What a neighbor list reaches beyond the forces [rc]."""
STRETCH = 1.25
"""Springs longer than this many times the longest rest length are torn: the run blew up."""
WALL = 1.0
"""Thickness of a channel's walls, the range of the plasma's forces [rc]."""
WALL_FRICTION = 20.0
"""Least friction coefficient of plasma with a wall [mass/time]; with less it slips."""
WALL_STIFFNESS = 20.0
"""Of the spring that throws plasma back from a wall, in units of the plasma's a [1/rc]."""
MOTION = "fix motion mobile nve"
REDISTRIBUTE = "displace_atoms all move 0 0 0 units box"
"""Gives every particle to the rank in whose part of the box it is, however far it was moved."""
HALTED = "particles outran their neighbor lists, or a spring tore"
_WALL_DEPTH = 0.5
_DIGITS = 9
_HALT = "error continue message no"


@dataclass(frozen=True, eq=False)
class BondTypes:
    """Springs sorted by stiffness and rest length.

    Attributes
    ----------
    of_bond : int array of shape (k,)
        Type of each bond, from 1.
    is_strut : bool array of shape (t,)
    rest_lengths : array of shape (t,)
        To `_DIGITS` digits, so that no elastic energy is stored by rounding [rc].
    """

    of_bond: NDArray[np.intp]
    is_strut: NDArray[np.bool_]
    rest_lengths: Array

    @classmethod
    def of(cls, suspension: Suspension) -> BondTypes:
        """Return the types of a suspension's bonds."""
        lengths = np.round(suspension.rest_lengths, _DIGITS)
        kinds = np.column_stack([suspension.is_strut.astype(float), lengths])
        types, of_bond = np.unique(kinds, axis=0, return_inverse=True)
        return cls(of_bond.reshape(-1) + 1, types[:, 0] > 0, types[:, 1])


def longest_bond(suspension: Suspension) -> float:
    """Return the length at which a spring is torn [rc]; 0 without springs."""
    return STRETCH * float(np.max(suspension.rest_lengths, initial=0.0))


def header(
    suspension: Suspension, forcefield: ForceField, flow: Flow, *, data: str, sort: bool = True
) -> list[str]:
    """Return the commands from the units to the neighbor lists.

    Parameters
    ----------
    suspension, forcefield, flow
        What is simulated.
    data : str
        File with the text of `data_file`.
    sort : bool
        False keeps the particles in the order of the file, on one rank, so that sums of forces
        repeat bit for bit; True keeps neighbors near in memory.
    """
    channel = isinstance(flow, Channel)
    return [
        "units lj",
        "atom_style bond",
        "atom_modify map array" + ("" if sort else " sort 0 0"),
        "newton on",
        f"boundary p {'f' if channel else 'p'} p",
        "box tilt large",
        "special_bonds lj/coul 0 1 1",
        *(["bond_style harmonic"] if len(suspension.bonds) else []),
        f"read_data {data}",
        *neighbor_commands(suspension, forcefield, flow),
        "group membrane type 2",
        "group mobile type 1 2 3",
        "neigh_modify exclude molecule/intra membrane",
        *(["group wall type 4", "neigh_modify exclude group wall wall"] if channel else []),
        "thermo_style custom step temp cpu",
        "thermo 0",
    ]


def neighbor_commands(suspension: Suspension, forcefield: ForceField, flow: Flow) -> list[str]:
    """Return the commands of the neighbor lists and of the copies of particles near the borders.

    Plasma has a shorter reach than platelets, whose springs end in such copies, too; where both
    are present each has its own reach, which saves a third of the time and more.
    """
    lists = "neigh_modify delay 0 every 1 check yes"
    if not suspension.n_platelets:
        return [f"neighbor {SKIN} bin", lists, f"comm_modify vel yes cutoff {1 + SKIN:.6g}"]
    plasma = "1,4" if isinstance(flow, Channel) else "1"
    reach = max(forcefield.cutoff, longest_bond(suspension))
    return [
        f"neighbor {SKIN} multi",
        f"{lists} collection/type 2 {plasma} 2,3",
        "comm_modify mode multi vel yes",
        f"comm_modify cutoff/multi 1 {1 + SKIN:.6g}",
        f"comm_modify cutoff/multi 2 {reach + SKIN:.6g}",
    ]


def data_file(
    suspension: Suspension, snapshot: Snapshot, forcefield: ForceField, flow: Flow
) -> str:
    """Return the text of a LAMMPS data file.

    Parameters
    ----------
    suspension
        Which particle is what, and the springs.
    snapshot
        Where the particles are and how they move.
    forcefield
        Stiffness of the springs.
    flow
        Whether the box can be tilted.
    """
    types = BondTypes.of(suspension)
    lx, ly, lz = snapshot.box
    channel = isinstance(flow, Channel)
    wall = wall_particles(snapshot.box, forcefield.plasma.density) if channel else np.zeros((0, 3))
    thickness = WALL if channel else 0.0
    n = len(snapshot.x)
    lines = [
        "platelets in plasma (labkit.clot)",
        f"{n + len(wall)} atoms",
        f"{4 if channel else 3} atom types",
        f"{len(suspension.bonds)} bonds",
        f"{len(types.rest_lengths)} bond types",
        f"0 {lx:.17g} xlo xhi",
        f"{-thickness:.17g} {ly + thickness:.17g} ylo yhi",
        f"0 {lz:.17g} zlo zhi",
        *([f"{snapshot.tilt:.17g} 0 0 xy xz yz"] if isinstance(flow, Shear) else []),
        "\nMasses\n",
        *(f"{kind} 1" for kind in range(1, 5 if channel else 4)),
        "\nAtoms # bond\n",
        *_atoms(suspension, snapshot),
        *(f"{i} 0 4 {x:.17g} {y:.17g} {z:.17g} 0 0 0" for i, (x, y, z) in enumerate(wall, n + 1)),
        "\nVelocities\n",
        *(f"{i} {x:.17g} {y:.17g} {z:.17g}" for i, (x, y, z) in enumerate(snapshot.v.tolist(), 1)),
        *(f"{i} 0 0 0" for i in range(n + 1, n + 1 + len(wall))),
    ]
    if len(suspension.bonds):
        stiffness = (forcefield.membrane.K_edge, forcefield.membrane.K_strut)
        pairs = (suspension.bonds + 1).tolist()
        lines += [
            "\nBond Coeffs # harmonic\n",
            *(
                f"{i} {stiffness[strut]:.17g} {length:.17g}"
                for i, (strut, length) in enumerate(
                    zip(types.is_strut.astype(int), types.rest_lengths, strict=True), 1
                )
            ),
            "\nBonds\n",
            *(
                f"{i} {kind} {first} {second}"
                for i, (kind, (first, second)) in enumerate(
                    zip(types.of_bond.tolist(), pairs, strict=True), 1
                )
            ),
        ]
    return "\n".join(lines) + "\n"


def plan_commands(
    plan: StepPlan,
    forcefield: ForceField,
    *,
    platelets: bool,
    walls: bool = False,
    noise: bool = True,
    seed: int = 1,
    correct_noise: bool = True,
) -> list[str]:
    """Return the commands of the forces and the time steps.

    Parameters
    ----------
    plan : StepPlan
    forcefield : ForceField
    platelets : bool
        Whether there are any.
    walls : bool
        Whether the flow is a `Channel`.
    noise : bool
        False sets the temperature of the thermostats to zero; friction stays.
    seed : int
        Of the noise, from 1.
    correct_noise : bool
        False leaves the interface's noise as LAMMPS draws it, which is wrong: platelets freeze.
    """
    kT = forcefield.kT if noise else 0.0
    if not platelets:
        return [
            *plasma_style(forcefield, kT=kT, seed=seed, walls=walls),
            "run_style verlet",
            f"timestep {plan.fluid:.17g}",
        ]
    scale = plan.noise_scale("interface") if correct_noise else 1.0
    return [
        *pair_styles(forcefield, kT=kT, kT_interface=kT * scale, seed=seed, walls=walls),
        run_style(plan),
        f"timestep {plan.fluid:.17g}",
    ]


def plasma_style(forcefield: ForceField, *, kT: float, seed: int, walls: bool = False) -> list[str]:
    """Return the commands of the forces where there is plasma alone."""
    style, coefficients = _dpd(forcefield)
    wall = f"pair_coeff 1 4 {_at_wall(forcefield)}"
    return [
        f"pair_style {style} {kT:.17g} 1.0 {seed}",
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
    repulsion = f"{wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}"
    inside = (
        f"{cytoplasm.D:.17g} {cytoplasm.alpha:.17g} {cytoplasm.r0:.17g} {cytoplasm.cutoff:.17g}"
    )
    receptors = forcefield.receptors
    if receptors is None:
        names = ("lj/cut 1", "morse", f"lj/cut {wall.cutoff:.17g}")
        between = f"lj/cut 2 {repulsion}"
    else:
        names = ("lj/cut", "morse 1", f"morse {receptors.cutoff:.17g}")
        between = (
            f"morse 2 {receptors.D:.17g} {receptors.alpha:.17g} {receptors.r0:.17g} "
            f"{receptors.cutoff:.17g}"
        )
    at_walls = (
        f"1 4 {plasma} {_at_wall(forcefield)}",
        f"2*3 4 {names[0]} {repulsion}",
        f"2*3 4 {bath} {friction}",
        "4 4 none",
    )
    styles = (
        f"{plasma} {kT:.17g} 1.0 {seed}",
        f"lj/cut {wall.cutoff:.17g}",
        f"{bath} {kT_interface:.17g} {kT_interface:.17g} 1.0 {seed + 1}",
        f"morse {cytoplasm.cutoff:.17g}",
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


def flow_commands(flow: Flow, box: Sequence[float] | Array, forcefield: ForceField) -> list[str]:
    """Return the commands that move the particles and drive the plasma."""
    commands = [MOTION]
    if isinstance(flow, ReversePoiseuille):
        middle = f"{box[1] / 2:.17g}"
        commands += [
            f"region low block INF INF INF {middle} INF INF units box",
            f"region high block INF INF {middle} INF INF INF units box",
            f"fix drive_low mobile addforce {flow.force:.17g} 0 0 region low",
            f"fix drive_high mobile addforce {-flow.force:.17g} 0 0 region high",
        ]
    if isinstance(flow, Channel):
        commands += [
            f"fix drive mobile addforce {flow.force:.17g} 0 0",
            _surface(WALL_STIFFNESS * forcefield.plasma.a, box[1]),
        ]
    return commands


def wall_particles(box: Array, density: float) -> Array:
    """Return the frozen particles of both walls [rc], shape (n, 3), the same for the same box."""
    n = round(density * WALL * box[0] * box[2])
    layers = qmc.Halton(d=3, seed=0).random(2 * n) * [box[0], WALL, box[2]]
    layers[:n, 1] -= WALL
    layers[n:, 1] += box[1]
    return layers


def guard_commands(suspension: Suspension, plan: StepPlan) -> list[str]:
    """Return the commands that halt a run which has blown up, before neighbors are lost.

    That is when a spring is torn (see `STRETCH`), or particles move farther in a fluid step than
    the neighbor lists reach beyond the forces, in the root of the mean square.
    """
    limit = (SKIN / plan.fluid) ** 2 / 3
    torn = f"fix guard_springs all halt 1 bondmax > {longest_bond(suspension):.6g} {_HALT}"
    return [
        "compute guard mobile temp",
        "variable guard equal c_guard",
        f"fix guard_moves all halt 1 v_guard > {limit:.6g} {_HALT}",
        *([torn] if len(suspension.bonds) else []),
    ]


def end_of_guard(suspension: Suspension) -> list[str]:
    """Return the commands that undo `guard_commands`."""
    return [
        *(["unfix guard_springs"] if len(suspension.bonds) else []),
        "unfix guard_moves",
        "variable guard delete",
        "uncompute guard",
    ]


def tilt_command(tilt: float) -> str:
    """Return the command that shifts the upper end of y to a place along x [rc]."""
    return f"change_box all xy final {tilt:.17g} units box"


def shear_command(rate: float) -> str:
    """Return the command that shears the box."""
    return f"fix shear all deform 1 xy erate {rate:.17g} remap v"


def _atoms(suspension: Suspension, snapshot: Snapshot) -> list[str]:
    table = zip(
        suspension.molecule.tolist(),
        suspension.types.tolist(),
        snapshot.x.tolist(),
        snapshot.image.tolist(),
        strict=True,
    )
    return [
        f"{i} {molecule} {kind} {x:.17g} {y:.17g} {z:.17g} {ix} {iy} {iz}"
        for i, (molecule, kind, (x, y, z), (ix, iy, iz)) in enumerate(table, 1)
    ]


def _surface(stiffness: float, height: float) -> str:
    low, high = -_WALL_DEPTH, height + _WALL_DEPTH
    spring = f"{stiffness:.17g} 1.0 {_WALL_DEPTH}"
    return f"fix surface mobile wall/harmonic ylo {low} {spring} yhi {high:.17g} {spring} units box"


def _dpd(forcefield: ForceField, *, least_friction: float = 0.0) -> tuple[str, str]:
    plasma = forcefield.plasma
    gamma = max(plasma.gamma, least_friction)
    if plasma.power == 1:
        return "dpd", f"{plasma.a:.17g} {gamma:.17g}"
    power = f"{plasma.power:.17g}"
    return "dpd/ext", f"{plasma.a:.17g} {gamma:.17g} 0 {power} {power} 1.0"


def _at_wall(forcefield: ForceField) -> str:
    return _dpd(forcefield, least_friction=WALL_FRICTION)[1]


def _interface_bath(forcefield: ForceField) -> tuple[str, str]:
    gamma, power = forcefield.interface.gamma, forcefield.plasma.power
    if power == 1:
        return "dpd/tstat", f"{gamma:.17g}"
    return "dpd/ext/tstat", f"{gamma:.17g} 0 {power:.17g} {power:.17g} 1.0"
