"""A simulation said in the language of LAMMPS: particles, forces, steps, flow, and a whole deck.

A channel's walls are frozen particles of the plasma's density, as thick as its forces reach, with a
stiff spring at their surface that throws plasma back; the friction with them stops it there.

A run is halted by LAMMPS itself once it has blown up, on all ranks alike: a rank that fails alone
would leave the others waiting.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_text
from labkit.choices import require_folder, require_whole
from labkit.clot.averages import average_commands
from labkit.clot.datafile import data_file, longest_bond
from labkit.clot.flows import Channel, Flow, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.lees_edwards import first_snapshot, lead, require_start
from labkit.clot.library import NO_KOKKOS
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.styles import pair_styles, plasma_style, run_style
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]

SKIN = 0.4
"""What a neighbor list reaches beyond the forces [rc]."""
WALL_STIFFNESS = 20.0
"""Of the spring that throws plasma back from a wall, in units of the plasma's a [1/rc]."""
RELAXATION_STEP = 0.002
"""Step of all forces while the energy of a built state flows into the plasma [time]."""
MOTION = "fix motion mobile nve"
REDISTRIBUTE = "displace_atoms all move 0 0 0 units box"
"""Gives every particle to the rank in whose part of the box it is, however far it was moved."""
HALTED = "particles outran their neighbor lists, or a spring tore"
TEAR = 1.25
"""Springs longer than this many times the longest rest length are torn: the run blew up."""
_GHOST_BONDS = 1.5
_BATH_TIME = 0.1
_WALL_DEPTH = 0.5
_SEEDS = 800_000_000
_NAME = re.compile(r"[\w.+-]+", re.ASCII)
_NOTES = """\
# Platelets in plasma, written by labkit.clot. In this folder: mpirun -np 4 lmp -in {name}
# Time steps: {plan} (fluid / interface / nonbonded / bonded); time: 2 x {time:g}.
# The noise of the interface would be drawn for the step {h4:g} of the fluid: its thermostat has
# kT x fluid / interface.
# A warning of levels without forces is no concern, it does not know of hybrid levels; respa itself
# needs a LAMMPS without KOKKOS switched on.
# A platelet across the border of a sheared box is distorted there; see write_input."""


def write_input(
    path: str | os.PathLike[str],
    suspension: Suspension,
    forcefield: ForceField,
    flow: Flow,
    plan: StepPlan,
    *,
    time: float,
    seed: int = 0,
    snapshot: Snapshot | None = None,
    bins: int = 20,
) -> Path:
    """Write a deck and its data for LAMMPS alone: ``mpirun -np 64 lmp -in in.clot``.

    The deck runs the forces and steps of `labkit.clot.engine.Engine` for twice the time, and
    averages over the second half into ``<name>.profile`` and ``<name>.stress`` (see
    `labkit.clot.averages.read_files`); the end is ``<name>.end``. Without a snapshot it relaxes the
    built state first. Platelets across the border of a sheared box are distorted there by up to
    rate x height x fluid step, which `Engine` avoids: start them away from it.

    Parameters
    ----------
    path : path
        The deck; run it in its folder.
    suspension, forcefield, flow, plan
        What is simulated.
    time : float
        Of each half [time].
    seed : int
    snapshot : Snapshot, optional
        Where to start; None starts at rest in the flow.
    bins : int
        Of the profile along y.

    Returns
    -------
    Path
        The deck.
    """
    require_whole("seed", seed, low=0)
    require_whole("bins", bins, low=1)
    n_steps = plan.n_fluid_steps(time)
    target = Path(path).expanduser()
    name = target.name
    if not _NAME.fullmatch(name) or target.is_dir():
        raise ParameterError(
            f"path={str(path)!r} is not allowed; LAMMPS needs a file's name without spaces, of "
            "letters, digits and . _ + -"
        )
    require_folder("path", target.parent)
    start = snapshot or first_snapshot(suspension, forcefield, flow, seed=seed)
    require_start(start, suspension, flow)
    target.parent.mkdir(parents=True, exist_ok=True)
    averages = average_commands(flow, start.box, bins=bins, n_steps=n_steps, files=name)
    commands = [
        *_NOTES.format(name=name, plan=plan, h4=plan.fluid, time=time).splitlines(),
        f"if \"$(is_active(package,kokkos))\" then 'print \"{NO_KOKKOS}\"' 'quit 1'",
        *header(suspension, forcefield, flow, data=f"{name}.data"),
        *flow_commands(flow, start.box, forcefield),
        *_tilted_ahead(flow, plan, start),
        *([] if snapshot else _relaxation(suspension, forcefield, flow, seed)),
        *_forces(plan, suspension, forcefield, flow, noise_seed(seed, 1)),
        *guard_commands(suspension, plan, error="hard"),
        f"thermo {max(1, n_steps // 20)}",
        *_sheared(flow, f"run {n_steps}"),
        *_sheared(flow, *averages, f"run {n_steps}"),
        f"write_data {name}.end",
    ]
    replace_text(target.with_name(f"{name}.data"), data_file(suspension, start, forcefield, flow))
    replace_text(target, "\n".join(commands) + "\n")
    return target


def _forces(
    plan: StepPlan, suspension: Suspension, forcefield: ForceField, flow: Flow, seed: int
) -> list[str]:
    platelets, walls = suspension.n_platelets > 0, isinstance(flow, Channel)
    return plan_commands(plan, forcefield, platelets=platelets, walls=walls, seed=seed)


def _relaxation(suspension: Suspension, forcefield: ForceField, flow: Flow, seed: int) -> list[str]:
    plan = StepPlan.single(RELAXATION_STEP)
    return [
        *_forces(plan, suspension, forcefield, flow, noise_seed(seed, 0)),
        *small_moves(0.02, forcefield.kT, flow, noise_seed(seed, 0, 1)),
        *_sheared(flow, f"run {plan.n_fluid_steps(1.0)}"),
        *end_of_small_moves(flow),
    ]


def _tilted_ahead(flow: Flow, plan: StepPlan, start: Snapshot) -> list[str]:
    ahead = lead(plan, rate=flow.rate, height=float(start.box[1]))
    return [tilt_command(start.tilt + ahead)] if isinstance(flow, Shear) else []


def _sheared(flow: Flow, *run: str) -> list[str]:
    """Return the commands of a run, with the box sheared where the flow says so."""
    if not isinstance(flow, Shear):
        return ["reset_timestep 0", *run]
    return ["reset_timestep 0", shear_command(flow.rate), *run, "unfix shear"]


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
    lists = renewal_command(1, check=True)
    if not suspension.n_platelets:
        return [f"neighbor {SKIN} bin", lists, f"comm_modify vel yes cutoff {1 + SKIN:.6g}"]
    plasma = "1,4" if isinstance(flow, Channel) else "1"
    reach = max(forcefield.cutoff, _GHOST_BONDS * longest_bond(suspension))
    return [
        f"neighbor {SKIN} multi",
        f"{lists} collection/type 2 {plasma} 2,3",
        "comm_modify mode multi vel yes",
        f"comm_modify cutoff/multi 1 {1 + SKIN:.6g}",
        f"comm_modify cutoff/multi 2 {reach + SKIN:.6g}",
    ]


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
            f"timestep {plan.fluid}",
        ]
    scale = plan.noise_scale("interface") if correct_noise else 1.0
    return [
        *pair_styles(forcefield, kT=kT, kT_interface=kT * scale, seed=seed, walls=walls),
        run_style(plan),
        f"timestep {plan.fluid}",
    ]


def flow_commands(flow: Flow, box: Sequence[float] | Array, forcefield: ForceField) -> list[str]:
    """Return the commands that move the particles and drive the plasma."""
    commands = [MOTION]
    if isinstance(flow, ReversePoiseuille):
        middle = f"{box[1] / 2}"
        commands += [
            f"region low block INF INF INF {middle} INF INF units box",
            f"region high block INF INF {middle} INF INF INF units box",
            f"fix drive_low mobile addforce {flow.force} 0 0 region low",
            f"fix drive_high mobile addforce {-flow.force} 0 0 region high",
        ]
    if isinstance(flow, Channel):
        commands += [
            f"fix drive mobile addforce {flow.force} 0 0",
            _surface(WALL_STIFFNESS * forcefield.plasma.a, box[1]),
        ]
    return commands


def renewal_command(steps: int, *, check: bool) -> str:
    """Return the command that renews the neighbor lists, if need be or always, every some steps."""
    return f"neigh_modify delay 0 every {steps} check {'yes' if check else 'no'}"


def guard_commands(
    suspension: Suspension, plan: StepPlan, *, steps: int = 1, error: str = "continue"
) -> list[str]:
    """Return the commands that halt a run which has blown up, before neighbors are lost.

    That is when a spring is torn (`TEAR`), or particles move farther between two renewals of the
    neighbor lists than these reach beyond the forces, in the root of the mean square.

    Parameters
    ----------
    suspension : Suspension
    plan : StepPlan
    steps : int
        Fluid steps between two renewals, at least.
    error : str
        What follows, in the words of ``fix halt``.
    """
    end = f"error {error} message {'yes' if error == 'hard' else 'no'}"
    limit = (SKIN / (steps * plan.fluid)) ** 2 / 3
    torn = f"fix guard_springs all halt 1 bondmax > {TEAR * longest_bond(suspension):.6g} {end}"
    return [
        "compute guard mobile temp",
        "variable guard equal c_guard",
        f"fix guard_moves all halt 1 v_guard > {limit:.6g} {end}",
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


def noise_seed(seed: int, n_segments: int, part: int = 0) -> int:
    """Return the seed of noise, from 1, given the engine's, the segments before, and the part."""
    words = np.random.SeedSequence([seed, n_segments, part]).generate_state(1)
    return 1 + int(words[0]) % _SEEDS


def small_moves(max_move: float, kT: float, flow: Flow, seed: int) -> list[str]:
    """Return the commands that let no particle move farther in a step, and cool what gets hot.

    Parameters
    ----------
    max_move : float
        [rc]
    kT : float
        Temperature of a bath of all particles, relative to the flow [energy].
    flow : Flow
    seed : int
        Of the bath's noise.
    """
    return [
        "unfix motion",
        f"fix motion mobile nve/limit {max_move}",
        f"fix bath mobile langevin {kT} {kT} {_BATH_TIME} {seed} zero yes",
        *(
            ["compute bath mobile temp/deform", "fix_modify bath temp bath"]
            if isinstance(flow, Shear)
            else []
        ),
    ]


def end_of_small_moves(flow: Flow) -> list[str]:
    """Return the commands that undo `small_moves`."""
    bias = ["uncompute bath"] if isinstance(flow, Shear) else []
    return ["unfix bath", *bias, "unfix motion", MOTION]


def tilt_command(tilt: float) -> str:
    """Return the command that shifts the upper end of y to a place along x [rc]."""
    return f"change_box all xy final {tilt} units box"


def shear_command(rate: float) -> str:
    """Return the command that shears the box."""
    return f"fix shear all deform 1 xy erate {rate} remap v"


def _surface(stiffness: float, height: float) -> str:
    low, high = -_WALL_DEPTH, height + _WALL_DEPTH
    spring = f"{stiffness} 1.0 {_WALL_DEPTH}"
    return f"fix surface mobile wall/harmonic ylo {low} {spring} yhi {high} {spring} units box"
