"""Which particles of a sheared box are near which, and for how long that holds.

The images of a particle are its positions plus whole multiples of the lattice vectors ::

    a = (Lx, 0, 0),    b = (s, Ly, 0),    c = (0, 0, Lz),    s(t) = s(0) + g Ly t

of the box sheared at the rate g, and move faster by g Ly along x for each b [1]_.

Neighbors move with the flow together, so `Wear` counts displacements against it, and the strain of
the flow between neighbors, to say for how long the result of a search holds. LAMMPS counts those in
the box, which in shear wear its neighbor lists out several times as soon.

References
----------
.. [1] Lees and Edwards, J. Phys. C 5 (1972) 1921.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

CAUTION = 1.5
"""The next step may move particles this many times as far as the last one did."""


class Wear:
    """How much of a margin particles have used up since neighbors were looked for.

    Parameters
    ----------
    margin : float
        How much closer than at the search a pair may come [rc].
    reach : float
        Largest distance of the pairs that were found [rc].
    rate : float
        Shear rate [1/time].
    n_beads, n_plasma : int
        Numbers of particles; beads come first.
    """

    def __init__(
        self, margin: float, *, reach: float, rate: float, n_beads: int, n_plasma: int
    ) -> None:
        self._margin, self._reach, self._rate = margin, reach, rate
        self._beads, self._plasma = slice(n_beads), slice(n_beads, None)
        self._moved: Array = np.zeros((n_beads + n_plasma, 3))
        self._last = self._moved
        self._time = self._step = 0.0

    def move(self, displacement: Array, time: float) -> None:
        """Take note of displacements against the flow, shape (n, 3) [rc], in a step of a time."""
        self._moved += displacement
        self._last, self._step = displacement, time
        self._time += time

    def renew(self) -> None:
        """Begin with a fresh search."""
        self._moved[:], self._time = 0.0, 0.0

    def allows_pairs(self) -> bool:
        """Return whether no pair of any particles can use up the margin in the next step."""
        used, next_step = (2 * max(self._largest(each)) for each in (self._moved, self._last))
        return self._allows(used, next_step)

    def allows_mixed_pairs(self) -> bool:
        """Return the same for pairs of a bead and a plasma particle."""
        used, next_step = (sum(self._largest(each)) for each in (self._moved, self._last))
        return self._allows(used, next_step)

    def _allows(self, used: float, next_step: float) -> bool:
        strain = self._rate * self._reach
        used += strain * self._time
        return used + CAUTION * (next_step + strain * self._step) < self._margin

    def _largest(self, displacement: Array) -> tuple[float, float]:
        squared = np.einsum("ij,ij->i", displacement, displacement)
        beads, plasma = (squared[some].max(initial=0.0) for some in (self._beads, self._plasma))
        return float(np.sqrt(beads)), float(np.sqrt(plasma))


def nearest_image(
    x: Array, near: Array, box: Array, *, tilt: float, rate: float
) -> tuple[Array, Array]:
    """Return the images of positions nearest to others, and what their velocities gain along x.

    Parameters
    ----------
    x, near : array of shape (n, 3)
        [rc]
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    rate : float
        Shear rate [1/time].

    Returns
    -------
    x : array of shape (n, 3)
        [rc]
    gain : array of shape (n,)
        [rc/time]

    Examples
    --------
    >>> box = np.array([10.0, 10.0, 10.0])
    >>> nearest_image(
    ...     np.array([[3.0, 0.1, 5.0]]), np.array([[4.2, 9.9, 5.0]]), box, tilt=1.0, rate=0.5
    ... )
    (array([[ 4. , 10.1,  5. ]]), array([5.]))
    """
    times = np.rint((near - x) / box)
    shift = times * box
    if times[:, 1].any():
        shift[:, 0] = tilt * times[:, 1]
        shift[:, 0] += box[0] * np.rint((near[:, 0] - x[:, 0] - shift[:, 0]) / box[0])
    return x + shift, times[:, 1] * (rate * box[1])


def within(points: Array, beads: Array, box: Array, *, tilt: float, reach: float) -> Indices:
    """Return which points are near a bead or an image of one, their rows in ascending order.

    Parameters
    ----------
    points, beads : array of shape (n, 3), (k, 3)
        Inside the box or near it [rc].
    box : array of shape (3,)
        [rc]
    tilt : float
        Shift along x of the upper end of y [rc].
    reach : float
        Less than half an edge of the box [rc].

    Examples
    --------
    >>> points = np.array([[0.2, 5.0, 5.0], [5.0, 5.0, 5.0]])
    >>> within(points, np.array([[9.9, 5.0, 5.0]]), np.full(3, 10.0), tilt=0.0, reach=1.0)
    array([0])
    """
    edges: Array = np.diag(box)
    edges[1, 0] = tilt
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ edges
    images: Array = (beads + shifts[:, None]).reshape(-1, 3)
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    images = images[np.all((images > low) & (images < high), axis=1)]
    distance, _ = cKDTree(images).query(points, distance_upper_bound=reach)
    return np.flatnonzero(np.isfinite(distance))
