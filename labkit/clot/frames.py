"""Coordinates in which LAMMPS runs: inside the box, and in shear those of `ShearFrame`.

A sheared box is tilted further while it runs. Where LAMMPS turns a tilt of more than half the box
into one to the other side, it puts particles that have just left at the top back at the bottom
without taking rate x height off their velocity. So it is not left to LAMMPS: before and after each
run the tilt is replaced by an equal one, which changes how often a particle left the box along x::

    s -> s - k Lx,    n_x -> n_x + k n_y

LAMMPS renews its neighbor lists by how far particles moved, the flow of the whole box included.
Neighbors move with each other, so in shear the lists are renewed every few steps instead, as many
as the fastest particle, seen from the flow around it, needs to use up what they reach beyond the
forces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot import deck, library
from labkit.clot.lees_edwards import HEIGHTS, free_height, lead, wrapped
from labkit.clot.library import repacked, unpacked
from labkit.clot.plans import StepPlan
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]
_FASTER = 1.3
_MOST_STEPS = 20


def put_in_box(
    lammps: Any, box: Array, *, tilt: float = 0.0, rate: float = 0.0, walls: bool = False
) -> None:
    """Put particles that left the box back in, as LAMMPS does when it renews its lists."""
    x, v, packed = library.local_particles(lammps)
    image = unpacked(packed)
    x[:], v[:], image = wrapped(x, v, image, box, tilt=tilt, rate=rate, walls=walls)
    packed[:] = repacked(image)


class ShearFrame:
    """Coordinates of one run in a sheared box.

    Their y = 0 is where fewest platelets are, and they move with the flow there; the box is tilted
    ahead, and to both sides alike over the run (see `labkit.clot.lees_edwards`).

    Parameters
    ----------
    lammps
        Its particles are in the box, and are again after `leave`.
    suspension : Suspension
    rate : float
        Shear rate [1/time].

    Attributes
    ----------
    border : float
        Height of their y = 0 [rc].
    """

    def __init__(self, lammps: Any, suspension: Suspension, *, rate: float) -> None:
        self._lammps, self._suspension, self._rate = lammps, suspension, rate
        self._box = np.asarray(suspension.box, dtype=float)
        self._ahead = self.border = 0.0

    def longest(self, step: float) -> int:
        """Return after how many fluid steps the box is tilted by its length, 1 at least."""
        return max(1, int(self._box[0] / (self._rate * self._box[1] * step)))

    def enter(self, plan: StepPlan, n_steps: int, *, bins: int | None) -> int:
        """Change to these coordinates, and return every how many steps lists must be renewed."""
        n, height = bins or HEIGHTS, float(self._box[1])
        if self._suspension.n_platelets:
            x, image = (library.gathered(self._lammps, name) for name in ("x", "image"))
            y = x[:, 1] + image[:, 1] * height
            self.border = free_height(self._suspension, y, height, n_heights=n) * height / n
        steps = self._steps_between_lists(plan.fluid)
        growth = self._rate * height * n_steps * plan.fluid
        tilt = self._turned(self._tilt(), middle=growth / 2)
        self._shift(-self.border, 0.0)
        self._place(tilt)
        self._ahead = lead(plan, rate=self._rate, height=height)
        self._lammps.command(deck.tilt_command(tilt + self._ahead))
        return steps

    def leave(self, time: float) -> None:
        """Change back, after a run of this time."""
        self._shift(self.border, time)
        tilt = self._turned(self._tilt() - self._ahead, middle=0.0)
        self._place(tilt)
        self._lammps.command(deck.tilt_command(tilt))

    def _shift(self, up: float, time: float) -> None:
        x, v, _ = library.local_particles(self._lammps)
        v[:, 0] += self._rate * up
        x[:, 0] += self._rate * up * time
        x[:, 1] += up

    def _turned(self, tilt: float, *, middle: float) -> float:
        """Return the equal tilt that is least where the run is half over."""
        turns = np.floor((tilt + middle) / self._box[0] + 0.5)
        _, _, packed = library.local_particles(self._lammps)
        image = unpacked(packed)
        image[:, 0] += int(turns) * image[:, 1]
        packed[:] = repacked(image)
        return float(tilt - turns * self._box[0])

    def _place(self, tilt: float) -> None:
        put_in_box(self._lammps, self._box, tilt=tilt, rate=self._rate)

    def _tilt(self) -> float:
        return float(self._lammps.extract_box()[2])

    def _steps_between_lists(self, step: float) -> int:
        x, v, _ = library.local_particles(self._lammps)
        own = v - self._rate * x[:, 1, None] * [1.0, 0.0, 0.0]
        fastest = library.largest(float(np.linalg.norm(own, axis=1).max(initial=0.0)))
        passing = self._rate * (1 + deck.SKIN) / 2
        steps = deck.SKIN / 2 / (step * (_FASTER * fastest + passing))
        return int(np.clip(steps, 1, _MOST_STEPS))
