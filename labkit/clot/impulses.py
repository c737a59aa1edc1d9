"""The impulse scheme of four time steps with one LAMMPS for each group of forces [1]_.

========== ========================== ==================================== =================
instance   particles                  forces                               its own time step
========== ========================== ==================================== =================
fluid      plasma                     f4: plasma with plasma               h4
interface  platelets, plasma nearby   f3: plasma with platelets            h3
platelets  platelets                  f2: cytoplasm, receptors             h1
                                      f1: springs
========== ========================== ==================================== =================

One fluid step, with f3 and f4 zero where the instance does not know the particle::

    v += h4/2 f4
    n3 times:  v += h3/2 f3
               n2 times:  v_platelets += h2/2 f2
                          n1 steps of velocity Verlet with f1, of size h1
                          v_platelets += h2/2 f2, f2 new
               x_plasma += h3 v_plasma
               f3 new,  v += h3/2 f3
    f4 new,  v += h4/2 f4

Platelets move in the instance of that name, plasma near them in the interface's, and all other
plasma once per fluid step. An impulse of f2 after n1 steps is velocity Verlet with the force f1,
and f1 + n1 f2 on every n1-th step, which LAMMPS computes with all energies of f2 times n1.

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
from labkit.clot.coupling import (
    Instance,
    Wear,
    nearest_image,
    part,
    part_of_state,
    within,
)
from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField
from labkit.clot.lees_edwards import wrapped
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]

RANGE = 1.0
"""Of the forces of plasma [rc]."""
SHELL = 0.8
"""Plasma that is farther from platelets than the range of their forces and this is left out [rc]."""
_USABLE = 0.75
"""Part of a margin that may be used up before the next fluid step."""


class Impulses:
    """Three instances of LAMMPS that advance one state together.

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
        self._beads = slice(suspension.n_beads)
        self._plasma = slice(suspension.n_beads, None)
        self._interface: Instance | None = None
        self._fluid = self._instance(state, self._plasma)
        self._platelets = self._instance(
            state, self._beads, "comm_modify vel no", "fix motion all nve", springs=True
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
        self._state, self._plan, self._n_steps, self._seed = state, plan, n_steps, seed
        self._n_done = 0
        n_plasma = self._suspension.n_particles - self._suspension.n_beads
        began = clock.perf_counter()
        self._start(kT)
        self.setup_seconds = clock.perf_counter() - began
        self._kick_plasma(plan.fluid / 2)
        for step in range(1, n_steps + 1):
            if len(self._near) < n_plasma and self._shell.of_shell > _USABLE * SHELL:
                self._renew_interface()
            for _ in range(plan.ratios[0]):
                self._interface_step()
                self._interface.make_lists(now=False)
            self._fluid_step()
            self._kick_plasma(plan.fluid if step < n_steps else plan.fluid / 2)
        after = self._present()
        for instance in (self._fluid, self._platelets):
            instance.stop()
        return after

    def close(self) -> None:
        """Free what LAMMPS holds."""
        for instance in (self._fluid, self._platelets, self._interface):
            if instance is not None:
                instance.close()

    def _start(self, kT: float) -> None:
        """Bring all instances to the state and compute their forces there."""
        n3, n2, n1 = self._plan.ratios
        n = self._n_steps
        self._fluid.load(part_of_state(self._state, self._plasma))
        self._fluid.start(
            deck.plasma_style(self._forcefield, kT=_even(kT, n), seed=self._seed),
            step=self._plan.fluid,
            n_steps=n,
        )
        self._fluid.make_lists(now=False)
        self._lists = self._wear(RANGE + deck.SKIN)
        self._platelets.load(part_of_state(self._state, self._beads))
        self._platelets.start(
            nonbonded_style(self._forcefield, factor=n1),
            step=self._plan.bonded,
            n_steps=n * n3 * n2 * n1,
        )
        self._interface_kT = _even(kT, n * n3)
        self._beads_then = self._platelets.x.copy()
        self._start_interface(self._state)

    def _start_interface(self, state: Snapshot) -> None:
        """Choose the plasma near platelets, and compute what it feels."""
        if self._interface is not None:
            self._interface.close()
        x, tilt, box = state.x, state.tilt, self._suspension.box
        found = within(x[self._plasma], x[self._beads], box, tilt=tilt, reach=RANGE + SHELL)
        self._near = np.flatnonzero(found)
        self._interface = self._instance(
            state,
            np.r_[: self._suspension.n_beads, self._suspension.n_beads + self._near],
            "neigh_modify exclude none",
            f"comm_modify cutoff/multi 2 {RANGE + deck.SKIN:.6g}",
            "group plasma type 1",
            "fix motion plasma nve",
        )
        self._interface.start(
            interface_style(self._forcefield, kT=self._interface_kT, seed=self._seed + 1),
            step=self._plan.interface,
            n_steps=self._n_steps * self._plan.ratios[0] - self._n_done,
        )
        self._interface.make_lists(now=False)
        self._shell = self._wear(RANGE + SHELL)

    def _renew_interface(self) -> None:
        """Choose the plasma near platelets anew; the forces stay, and with them their noise."""
        f = np.zeros_like(self._fluid.f)
        f[self._near] = self._interface.f[self._plasma]
        f_beads = self._interface.f[self._beads].copy()
        self._seed += 1
        self._start_interface(self._present())
        self._interface.f[self._beads] = f_beads
        self._interface.f[self._plasma] = f[self._near]

    def _interface_step(self) -> None:
        """Advance platelets and the plasma near them by h3."""
        self._n_done += 1
        platelets, interface, half = self._platelets, self._interface, self._plan.interface / 2
        platelets.v[:] += half * interface.f[self._beads]
        self._platelet_steps()
        x, gain = self._image(platelets.x, interface.x[self._beads])
        interface.x[self._beads] = x
        interface.v[self._beads] = platelets.v
        interface.v[self._beads, 0] += gain
        interface.advance()
        platelets.v[:] += half * interface.f[self._beads]

    def _platelet_steps(self) -> None:
        """Advance platelets by h3 without plasma."""
        _, n2, n1 = self._plan.ratios
        if n1 == 1:
            self._platelets.advance(n2)
            return
        for _ in range(n2):
            self._platelets.command("pair_modify compute no")
            self._platelets.advance(n1 - 1)
            self._platelets.command("pair_modify compute yes")
            self._platelets.advance()

    def _fluid_step(self) -> None:
        """Move plasma to the end of the fluid step, and compute f4 there."""
        fluid, interface, h4 = self._fluid, self._interface, self._plan.fluid
        fluid.x[:] += h4 * fluid.v
        x, gain = self._image(interface.x[self._plasma], fluid.x[self._near])
        fluid.x[self._near] = x
        v = interface.v[self._plasma].copy()
        v[:, 0] += gain
        fluid.v[self._near] = v
        self._note_moves()
        worn = self._lists.of_lists > _USABLE * deck.SKIN
        if worn:
            fluid.make_lists(now=True)
            interface.make_lists(now=True)
            self._lists.renew()
        fluid.advance()
        if worn:
            fluid.make_lists(now=False)

    def _note_moves(self) -> None:
        """Take note of how far particles moved against the flow in a fluid step."""
        h4, rate = self._plan.fluid, self._flow.rate
        beads, _ = self._image(self._platelets.x, self._beads_then)
        moved = np.concatenate([beads - self._beads_then, h4 * self._fluid.v])
        moved[self._beads, 0] -= h4 * rate * beads[:, 1]
        moved[self._plasma, 0] -= h4 * rate * self._fluid.x[:, 1]
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

    def _tilt(self) -> float:
        """Return the shift along x of the upper end of y now, the smallest of equals [rc]."""
        width, height, _ = self._suspension.box
        passed = self._n_done * self._plan.interface
        tilt = self._state.tilt + self._flow.rate * height * passed
        return float(tilt - width * np.rint(tilt / width))

    def _present(self) -> Snapshot:
        """Return the state now."""
        box, rate, tilt = self._suspension.box, self._flow.rate, self._tilt()
        parts = [
            wrapped(i.x, i.v, i.images(tilt), box, tilt=tilt, rate=rate)
            for i in (self._platelets, self._fluid)
        ]
        x, v, image = (np.concatenate(values) for values in zip(*parts, strict=True))
        return dataclasses.replace(self._state, x=x, v=v, image=image, tilt=tilt)

    def _wear(self, reach: float) -> Wear:
        n, beads = self._suspension.n_particles, self._suspension.n_beads
        return Wear(beads, n - beads, reach=reach, rate=self._flow.rate)

    def _instance(
        self,
        state: Snapshot,
        particles: NDArray[np.intp] | slice,
        *commands: str,
        springs: bool = False,
    ) -> Instance:
        return Instance(
            part(self._suspension, particles, springs=springs),
            self._forcefield,
            self._flow,
            part_of_state(state, particles),
            commands,
        )


def interface_style(forcefield: ForceField, *, kT: float, seed: int) -> list[str]:
    """Return the commands of the forces between plasma and platelets, and of no others."""
    wall, power = forcefield.interface, forcefield.plasma.power
    bath, friction = "dpd/tstat", f"{wall.gamma:.17g}"
    if power != 1:
        bath, friction = "dpd/ext/tstat", f"{wall.gamma:.17g} 0 {power:.17g} {power:.17g} {RANGE}"
    return [
        f"pair_style hybrid/overlay lj/cut {wall.cutoff:.17g} {bath} {kT:.17g} {kT:.17g} {RANGE} "
        f"{seed}",
        f"pair_coeff 1 2*3 lj/cut {wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}",
        f"pair_coeff 1 2*3 {bath} {friction}",
        "pair_coeff 1 1 none",
        "pair_coeff 2*3 2*3 none",
    ]


def nonbonded_style(forcefield: ForceField, *, factor: float) -> list[str]:
    """Return the commands of the nonbonded forces of platelets, times a factor."""
    inside, wall, receptors = forcefield.cytoplasm, forcefield.interface, forcefield.receptors
    morse = f"{factor * inside.D:.17g} {inside.alpha:.17g} {inside.r0:.17g} {inside.cutoff:.17g}"
    between = f"lj/cut {factor * wall.epsilon:.17g} {wall.sigma:.17g} {wall.cutoff:.17g}"
    styles, first = f"morse {inside.cutoff:.17g} lj/cut {wall.cutoff:.17g}", "morse"
    if receptors is not None:
        between = (
            f"morse 2 {factor * receptors.D:.17g} {receptors.alpha:.17g} {receptors.r0:.17g} "
            f"{receptors.cutoff:.17g}"
        )
        styles, first = f"morse {inside.cutoff:.17g} morse {receptors.cutoff:.17g}", "morse 1"
    return [
        f"pair_style hybrid/overlay {styles}",
        f"pair_coeff * 3 {first} {morse}",
        f"pair_coeff 1*2 1*2 {between}",
    ]


def _even(kT: float, n: int) -> float:
    """Return the temperature that makes up for the noise of the two ends of a run.

    The first and the last of n + 1 draws act for half a step each, a quarter of the variance.
    """
    return kT * n / (n - 0.5)
