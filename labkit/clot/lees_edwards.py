"""Simple shear without walls: particles and borders of a box that is tilted as time goes on [1]_.

The periodic images of a box of height Ly are stacked along b = (s, Ly, 0); under the shear rate g
the tilt s grows by g Ly dt. A particle that leaves at the top comes back at the bottom::

    x -> x - s,    y -> y - Ly,    v_x -> v_x - g Ly

LAMMPS tilts the box at the end of each fluid step h4, by g Ly h4. Forces of smaller steps are
computed in between, where particles have moved on and the border has not. Two things keep that
away from the springs of platelets:

* The flow has no marked height: before a run the coordinates are moved along y, and with the flow
  there, such that the border lies where fewest platelets are. Afterwards they are moved back.
* The box is tilted ahead by `lead`, so that the border is right on average over the n computations
  of the springs in a fluid step, and exactly where all steps are the same.

What is left, a plasma particle that is moved by up to the lead where it crosses the border, is
small against the range of its soft forces.

========== ============================ =========
symbol     variable                     unit
========== ============================ =========
s          tilt                         rc
g          rate                         1/time
b          lattice vector, not stored   rc
========== ============================ =========

References
----------
.. [1] Lees and Edwards, J. Phys. C 5 (1972) 1921.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labkit.clot.flows import Channel, Flow, Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.plans import StepPlan
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]
Images = NDArray[np.int32]

HEIGHTS = 24
"""Places along y that are tried for the border."""
_REACH = 1.0


def wrapped(
    x: Array,
    v: Array,
    image: Images,
    box: Array,
    *,
    tilt: float = 0.0,
    rate: float = 0.0,
    walls: bool = False,
) -> tuple[Array, Array, Images]:
    """Return positions inside the box, and the velocities and box counts that go with them.

    Parameters
    ----------
    x, v : array of shape (n, 3)
        [rc], [rc/time]
    image : int array of shape (n, 3)
        How many times each particle left the box already.
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    rate : float
        Shear rate [1/time].
    walls : bool
        Nothing leaves the box along y.
    """
    x, v, moved = x.copy(), v.copy(), np.zeros(x.shape, dtype=np.int32)
    for axis in (2, 0) if walls else (2, 1, 0):
        lean = tilt / box[1] * x[:, 1] if axis == 0 else 0.0
        times = np.floor((x[:, axis] - lean) / box[axis])
        x[:, axis] -= times * box[axis]
        if axis == 1:
            x[:, 0] -= times * tilt
            v[:, 0] -= times * rate * box[1]
        moved[:, axis] = times
    return x, v, image + moved


def lead(plan: StepPlan, *, rate: float, height: float) -> float:
    """Return by how much the box is tilted ahead during a run [rc].

    Parameters
    ----------
    plan : StepPlan
    rate : float
        Shear rate [1/time].
    height : float
        Of the box [rc].

    Examples
    --------
    >>> lead(StepPlan.single(0.02), rate=0.1, height=10.0)
    0.02
    """
    n = plan.evaluations(plan.fluid)["bonded"]
    return rate * height * plan.fluid * (n + 1) / (2 * n)


def free_height(suspension: Suspension, y: Array, height: float, *, n_heights: int) -> int:
    """Return which of so many heights of a box fewest platelets lie across.

    Parameters
    ----------
    suspension : Suspension
    y : array of shape (n,)
        Positions along y that do not jump at the border [rc].
    height : float
        Of the box [rc].
    n_heights : int
        Heights are tried at 0, height / n_heights, and so on.

    Returns
    -------
    int
        The number of the height, from 0; the lowest of equals.
    """
    if not suspension.n_platelets:
        return 0
    ends = [suspension.beads(p) for p in range(suspension.n_platelets)]
    low = np.array([y[beads].min() for beads in ends])
    high = np.array([y[beads].max() for beads in ends])
    places = np.arange(n_heights)[:, None] * height / n_heights
    above = (places - low) % height
    depth = np.minimum(above, high - low - above)
    return int(np.argmin(np.maximum(depth + _REACH, 0).sum(axis=1)))


def require_start(snapshot: Snapshot, suspension: Suspension, flow: Flow) -> None:
    """Refuse a snapshot from which a suspension cannot go on in a flow.

    Raises
    ------
    ParameterError
        It is no state of the suspension, is tilted without shear, or reaches into walls.
    """
    snapshot.require_of(suspension.n_particles, suspension.box)
    if snapshot.tilt and not isinstance(flow, Shear):
        raise ParameterError(
            f"snapshot has tilt={snapshot.tilt:g}, which only Shear can continue; use a "
            "snapshot without tilt."
        )
    if isinstance(flow, Channel) and np.any(snapshot.image[:, 1]):
        raise ParameterError(
            "snapshot has particles beyond the ends of y, where a Channel has its walls; "
            "place platelets between them."
        )


def first_snapshot(
    suspension: Suspension, forcefield: ForceField, flow: Flow, *, seed: int = 0
) -> Snapshot:
    """Return a suspension at rest in the flow, with thermal velocities and no net momentum."""
    generator = np.random.default_rng([seed, 0])
    v = generator.normal(scale=np.sqrt(forcefield.kT), size=suspension.positions.shape)
    v -= v.mean(axis=0)
    v[:, 0] += flow.rate * suspension.positions[:, 1]
    box = np.array(suspension.box, dtype=float)
    image = np.zeros(v.shape, dtype=np.int32)
    x, v, image = wrapped(suspension.positions, v, image, box, rate=flow.rate)
    return Snapshot(x=x, v=v, image=image, box=box)
