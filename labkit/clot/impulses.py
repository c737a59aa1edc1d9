"""The impulse scheme of four time steps with one LAMMPS for each group of forces [1]_.

========== ========================== ============================= =================
instance   particles                  forces                        one step per
========== ========================== ============================= =================
fluid      plasma                     f4: plasma with plasma        h4
interface  platelets, plasma nearby   f3: plasma with platelets     h3
contacts   platelets                  f2: cytoplasm, receptors      h2
springs    platelets                  f1: springs                   h1
========== ========================== ============================= =================

One fluid step, with f4 zero for platelets and f3 zero for plasma that is far from them::

    v += h4/2 f4
    n3 times:  v += h3/2 f3
               n2 times:  v += h2/2 f2
                          n1 times, platelets:  v += h1/2 f1,  x += h1 v,  f1 new,  v += h1/2 f1
                          f2 new,  v += h2/2 f2
               plasma:  x += h3 v
               f3 new,  v += h3/2 f3
    f4 new,  v += h4/2 f4

Platelets move in the instance of their springs, which needs no box and no neighbors; plasma near
them in the interface's; all other plasma feels one impulse and moves once per fluid step. Forces
outlast a new choice of near plasma or of the box, so both halves of a kick have the same noise.

References
----------
.. [1] Tuckerman, Berne and Martyna, J. Chem. Phys. 97 (1992) 1990.
"""

from __future__ import annotations

import dataclasses
import time as clock

import numpy as np
from numpy.typing import NDArray

from labkit.clot import deck
from labkit.clot.coupling import Instance, part, part_of_state
from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.lees_edwards import wrapped
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.clot.vicinity import Wear, nearest_image, within

Array = NDArray[np.float64]

RANGE = 1.0
"""Of friction and noise, and of the plasma's repulsion [rc]."""
SHELL = 0.8
"""Plasma farther than this beyond the range of a platelet's forces is left to the fluid [rc]."""


class Impulses:
    """Four instances of LAMMPS that advance one state together.

    Parameters
    ----------
    suspension : Suspension
    forcefield : ForceField
    flow : Flow
        `Quiescent` or `Shear`.
    state : Snapshot
        Any state of the suspension.

    Attributes
    ----------
    setup_seconds : float
        Wall time of the last run before its first step.
    """

    setup_seconds = 0.0

    def __init__(
        self, suspension: Suspension, forcefield: ForceField, flow: Flow, state: Snapshot
    ) -> None:
        self._suspension, self._forcefield, self._flow = suspension, forcefield, flow
        self._beads, self._plasma = slice(suspension.n_beads), slice(suspension.n_beads, None)
        self._n_plasma = suspension.n_particles - suspension.n_beads
        self._range = max(RANGE, forcefield.interface.cutoff)
        self._fluid = self._periodic(self._plasma, state, RANGE)
        self._interface = self._periodic(slice(None), state, self._range)
        self._interface.command("neigh_modify exclude none", "fix motion plasma nve")
        self._contacts = self._periodic(self._beads, state, forcefield.cutoff)
        self._springs = Instance.open(
            part(suspension, self._beads, springs=True),
            forcefield,
            part_of_state(state, self._beads),
        )

    def run(
        self, state: Snapshot, plan: StepPlan, n_steps: int, *, kT: float, seed: int
    ) -> Snapshot:
        """Return the state after some fluid steps.

        Parameters
        ----------
        state : Snapshot
        plan : StepPlan
        n_steps : int
            Fluid steps.
        kT : float
            Temperature of the thermostats [energy].
        seed : int
            Of the noise.
        """
        self._before, self._plan, self._n_steps = state, plan, n_steps
        self._kT, self._seed, self._n_done = kT, seed, 0
        began = clock.perf_counter()
        self._start_springs(state)
        self._start_boxes(state)
        self.setup_seconds = clock.perf_counter() - began
        self._kick_plasma(plan.fluid / 2)
        for step in range(1, n_steps + 1):
            if self._box_tilt() > self._suspension.box[0] / 2:
                self._flip_boxes()
            elif len(self._near) < self._n_plasma and not self._shell.allows_mixed_pairs():
                self._renew_shell()
            for _ in range(plan.ratios[0]):
                self._interface_step()
            self._fluid_step()
            self._kick_plasma(plan.fluid if step < n_steps else plan.fluid / 2)
        after = self._present()
        self._stop_boxes()
        self._springs.stop("unfix guard")
        return after

    def close(self) -> None:
        """Free what LAMMPS holds."""
        for instance in (self._fluid, self._interface, self._contacts, self._springs):
            instance.close()

    def _start_springs(self, state: Snapshot) -> None:
        n3, n2, n1 = self._plan.ratios
        torn = deck.TEAR * deck.longest_bond(self._suspension)
        self._springs.load(self._whole(part_of_state(state, self._beads)))
        self._springs.start(
            [f"fix guard all halt {n3 * n2 * n1} bondmax > {torn:.6g} error hard"],
            step=self._plan.bonded,
            n_steps=self._n_steps * n3 * n2 * n1,
        )
        self._beads_then = self._springs.x.copy()

    def _whole(self, state: Snapshot) -> Snapshot:
        """Return platelets where their first beads are, so that no spring leaves the box."""
        first = [self._suspension.beads(p).start for p in range(self._suspension.n_platelets)]
        self._home = state.image[first][self._suspension.molecule[self._beads] - 1]
        away = state.image - self._home
        x = dataclasses.replace(state, image=away).unwrapped()
        v = state.v.copy()
        v[:, 0] += away[:, 1] * self._flow.rate * self._suspension.box[1]
        return dataclasses.replace(state, x=x, v=v)

    def _start_boxes(self, state: Snapshot) -> None:
        """Bring the instances with a box to a state, and compute their forces there."""
        plan, (n3, n2, _) = self._plan, self._plan.ratios
        left = self._n_steps * n3 * n2 - self._n_done
        self._tilt_at_start, self._n_at_start = state.tilt, self._n_done
        self._fluid.load(part_of_state(state, self._plasma))
        self._fluid.start(
            deck.plasma_style(self._forcefield, kT=self._kT, seed=self._seed),
            step=plan.fluid,
            n_steps=left // (n3 * n2),
        )
        self._contacts.load(part_of_state(state, self._beads))
        self._contacts.start(contact_style(self._forcefield), step=plan.nonbonded, n_steps=left)
        self._start_interface(state)
        self._lists = self._wear(deck.SKIN, self._forcefield.cutoff)
        for instance in (self._fluid, self._interface, self._contacts):
            instance.make_lists(now=False)

    def _start_interface(self, state: Snapshot) -> None:
        """Choose the plasma near platelets, and compute what it and they feel of each other."""
        n_beads, (n3, n2, _) = self._suspension.n_beads, self._plan.ratios
        self._near = within(
            state.x[self._plasma],
            state.x[self._beads],
            self._suspension.box,
            tilt=state.tilt,
            reach=self._range + SHELL,
        )
        self._known = np.r_[:n_beads, n_beads + self._near]
        self._interface.replace(
            self._suspension.types[self._known], part_of_state(state, self._known)
        )
        self._interface.start(
            interface_style(self._forcefield, kT=self._kT, seed=self._seed + 1),
            step=self._plan.interface,
            n_steps=self._n_steps * n3 - self._n_done // n2,
        )
        self._interface.make_lists(now=False)
        self._shell = self._wear(SHELL, self._range)

    def _stop_boxes(self) -> None:
        for instance in (self._fluid, self._interface, self._contacts):
            instance.stop()

    def _flip_boxes(self) -> None:
        """Take the box of the same lattice that leans to the other side; the forces stay."""
        f4, f3, f2 = self._fluid.f.copy(), self._interface_forces(), self._contacts.f.copy()
        self._seed += 2
        state = self._present()
        self._stop_boxes()
        self._start_boxes(state)
        self._fluid.f[:], self._interface.f[:], self._contacts.f[:] = f4, f3[self._known], f2

    def _renew_shell(self) -> None:
        """Choose the plasma near platelets anew; the forces stay, and with them their noise."""
        f3 = self._interface_forces()
        self._seed += 2
        self._interface.stop()
        self._start_interface(self._present())
        self._interface.f[:] = f3[self._known]

    def _interface_forces(self) -> Array:
        """Return f3 of all particles, shape (n, 3)."""
        f3 = np.zeros((self._suspension.n_particles, 3))
        f3[self._known] = self._interface.f
        return f3

    def _interface_step(self) -> None:
        """Advance platelets, and the plasma near them, by h3."""
        springs, interface, half = self._springs, self._interface, self._plan.interface / 2
        springs.v[:] += half * interface.f[self._beads]
        for _ in range(self._plan.ratios[1]):
            self._contact_step()
        x, gain = self._image(springs.x, interface.x[self._beads])
        interface.x[self._beads] = x
        interface.v[self._beads] = springs.v
        interface.v[self._beads, 0] += gain
        interface.advance()
        interface.make_lists(now=False)
        springs.v[:] += half * interface.f[self._beads]

    def _contact_step(self) -> None:
        """Advance platelets by h2 without plasma."""
        springs, contacts, half = self._springs, self._contacts, self._plan.nonbonded / 2
        springs.v[:] += half * contacts.f
        springs.advance(self._plan.ratios[2])
        self._n_done += 1
        contacts.x[:], _ = self._image(springs.x, contacts.x)
        contacts.advance()
        contacts.make_lists(now=False)
        springs.v[:] += half * contacts.f

    def _fluid_step(self) -> None:
        """Move plasma to the end of the fluid step, and compute f4 there."""
        fluid, interface, h4 = self._fluid, self._interface, self._plan.fluid
        fluid.x[:] += h4 * fluid.v
        x, gain = self._image(interface.x[self._plasma], fluid.x[self._near])
        v = interface.v[self._plasma].copy()
        v[:, 0] += gain
        fluid.x[self._near], fluid.v[self._near] = x, v
        self._note_moves()
        if not self._lists.allows_pairs():
            for instance in (fluid, interface, self._contacts):
                instance.make_lists(now=True)
            self._lists.renew()
        fluid.advance()
        fluid.make_lists(now=False)

    def _note_moves(self) -> None:
        """Take note of how far particles moved against the flow in a fluid step."""
        h4, rate = self._plan.fluid, self._flow.rate
        beads = self._springs.x.copy()
        moved = np.concatenate([beads - self._beads_then, h4 * self._fluid.v])
        moved[self._beads, 0] -= h4 * rate * beads[:, 1]
        moved[self._plasma, 0] -= h4 * rate * self._fluid.x[:, 1]
        if not float(np.abs(moved).max()) < deck.SKIN:
            raise OutrunError(
                "a particle moved farther in a fluid step than its neighbors are kept"
            )
        self._beads_then = beads
        for wear in (self._lists, self._shell):
            wear.move(moved, h4)

    def _kick_plasma(self, time: float) -> None:
        kick = time * self._fluid.f
        self._fluid.v[:] += kick
        self._interface.v[self._plasma] += kick[self._near]

    def _image(self, x: Array, near: Array) -> tuple[Array, Array]:
        box, rate = self._suspension.box, self._flow.rate
        return nearest_image(x, near, box, tilt=self._tilt(), rate=rate)

    def _shift(self) -> float:
        """Return the tilt that the box of the segment's start has by now [rc]."""
        return float(self._before.tilt + self._strained(self._n_done))

    def _box_tilt(self) -> float:
        """Return the tilt of the boxes now [rc]."""
        return float(self._tilt_at_start + self._strained(self._n_done - self._n_at_start))

    def _strained(self, n_done: int) -> float:
        height = self._suspension.box[1]
        return float(self._flow.rate * height * n_done * self._plan.nonbonded)

    def _tilt(self) -> float:
        """Return the smallest tilt of the same lattice [rc]."""
        width = self._suspension.box[0]
        return float(self._shift() - width * np.rint(self._shift() / width))

    def _present(self) -> Snapshot:
        """Return the state now."""
        box, rate, tilt = self._suspension.box, self._flow.rate, self._tilt()
        parts = []
        for instance, image, lean in (
            (self._springs, self._home.copy(), self._shift()),
            (self._fluid, self._fluid.image, self._box_tilt()),
        ):
            image[:, 0] += image[:, 1] * round((lean - tilt) / box[0])
            parts.append(wrapped(instance.x, instance.v, image, box, tilt=tilt, rate=rate))
        x, v, image = (np.concatenate(values) for values in zip(*parts, strict=True))
        return dataclasses.replace(self._before, x=x, v=v, image=image, tilt=tilt)

    def _wear(self, margin: float, cutoff: float) -> Wear:
        return Wear(
            margin,
            reach=cutoff + margin,
            rate=self._flow.rate,
            n_beads=self._suspension.n_beads,
            n_plasma=self._n_plasma,
        )

    def _periodic(self, particles: slice, state: Snapshot, reach: float) -> Instance:
        return Instance.periodic(
            part(self._suspension, particles),
            self._forcefield,
            self._flow,
            part_of_state(state, particles),
            reach=reach,
        )


class OutrunError(Exception):
    """Particles are faster than the lists of their neighbors allow for."""


def interface_style(forcefield: ForceField, *, kT: float, seed: int) -> list[str]:
    """Return the commands of the forces between plasma and platelets, and of no others."""
    wall, power = forcefield.interface, forcefield.plasma.power
    bath, friction = "dpd/tstat", f"{wall.gamma:.17g}"
    if power != 1:
        bath, friction = "dpd/ext/tstat", f"{wall.gamma:.17g} 0 {power:.17g} {power:.17g} {RANGE}"
    styles = (f"lj/cut {wall.cutoff:.17g}", f"{bath} {kT:.17g} {kT:.17g} {RANGE} {seed}")
    return [
        f"pair_style hybrid/overlay {' '.join(styles)}",
        f"pair_coeff 1 2*3 lj/cut {wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}",
        f"pair_coeff 1 2*3 {bath} {friction}",
        "pair_coeff 1 1 none",
        "pair_coeff 2*3 2*3 none",
    ]


def contact_style(forcefield: ForceField) -> list[str]:
    """Return the commands of the nonbonded forces of platelets, and of no others."""
    inside, wall, receptors = forcefield.cytoplasm, forcefield.interface, forcefield.receptors
    first = "morse"
    other = f"lj/cut {wall.cutoff:.17g}"
    between = f"lj/cut {wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}"
    if receptors is not None:
        first, other = "morse 1", f"morse {receptors.cutoff:.17g}"
        between = (
            f"morse 2 {receptors.D:.17g} {receptors.alpha:.17g} {receptors.r0:.17g} "
            f"{receptors.cutoff:.17g}"
        )
    morse = f"{inside.D:.17g} {inside.alpha:.17g} {inside.r0:.17g} {inside.cutoff:.17g}"
    return [
        f"pair_style hybrid/overlay morse {inside.cutoff:.17g} {other}",
        f"pair_coeff * 3 {first} {morse}",
        f"pair_coeff 1*2 1*2 {between}",
    ]
