"""Platelets in a box of plasma, before anything has moved.

Platelets are convex, so two of them overlap where the half-spaces of all their faces have a point
in common, which a linear program decides; a plasma particle is inside where it is behind every
face. Both are exact for any orientation and across the periodic boundaries.

Plasma starts on points of a scrambled Halton sequence [1]_ that are in no platelet and not nearer
to a bead than `CLEARANCE`, where the interface's repulsion begins. There are as many of them as
the stated density asks for in the volume that the platelets leave, which begins `SURFACE` off
their beads: once the layers on the membranes have formed, the plasma between them has that density.

References
----------
.. [1] Owen, A randomized Halton algorithm in R, arXiv:1706.02808 (2017).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.spatial import cKDTree
from scipy.stats import qmc

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.platelet import Indices, Platelet
from labkit.errors import ParameterError

Array = NDArray[np.float64]

PLASMA, MEMBRANE, CYTOPLASM = 1, 2, 3
"""Types of particles."""
GAP = 0.5
"""Least distance of two platelets' surfaces at the start [rc]."""
SURFACE = 0.33
"""Distance from the beads at which the plasma's volume begins, as seen from afar [rc].

Measured: with it the plasma farther than 1.6 rc from beads settles at the stated density to 1 %
around 1, 2 and 4 platelets with the default `Interface`, where it would be 2 to 6 % short if only
the space beyond `CLEARANCE` were counted, because a dense layer forms on the membranes.
"""
CLEARANCE = 0.65
"""Least distance of plasma to a bead at the start, where the interface's repulsion begins [rc]."""
SMALLEST_BOX = 3.0
"""Edge of a box of plasma [rc]; less and particles meet their own images."""
MOST_PARTICLES = 20_000_000
"""That are built in the memory of one machine."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A platelet at its place.

    Attributes
    ----------
    platelet : Platelet
    center : sequence of 3 floats
        [rc]
    normal : sequence of 3 floats
        Direction of the short axis, of any length.
    """

    platelet: Platelet
    center: ArrayLike
    normal: ArrayLike = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        center, normal = (numbers_or_nan(value) for value in (self.center, self.normal))
        if center.shape != (3,) or not np.all(np.isfinite(center)):
            raise ParameterError(f"center={self.center!r} is not allowed; use three lengths [rc].")
        length = np.linalg.norm(normal)
        if normal.shape != (3,) or not np.isfinite(length) or length == 0:
            raise ParameterError(
                f"normal={self.normal!r} is not allowed; use a vector of length > 0."
            )

    @property
    def rotation(self) -> Array:
        """Matrix R of a turn of z to the normal, so that x = R x0 + center; shape (3, 3)."""
        normal = np.asarray(self.normal, dtype=float)
        x, y, z = normal / np.linalg.norm(normal)
        side = 1.0 if z >= 0 else -1.0
        x, y, z = side * x, side * y, side * z
        cross = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])
        shortest = np.eye(3) + cross + cross @ cross / (1 + z)
        return shortest @ np.diag([1.0, side, side])

    @property
    def positions(self) -> Array:
        """Beads of the platelet [rc], shape (n, 3)."""
        return self.platelet.positions @ self.rotation.T + np.asarray(self.center, dtype=float)


@dataclass(frozen=True, eq=False)
class Suspension:
    """Particles and springs; platelets first, each its membrane and then its cytoplasm.

    Attributes
    ----------
    box : array of shape (3,)
        Edges [rc]; the lower corner is the origin.
    positions : array of shape (n, 3)
        [rc]. Plasma is inside the box; platelets are whole and may reach out of it.
    types : int array of shape (n,)
        1 plasma, 2 membrane, 3 cytoplasm.
    molecule : int array of shape (n,)
        0 for plasma, 1 and up for the platelets.
    bonds : int array of shape (k, 2)
        Beads that a spring joins, counted from 0.
    rest_lengths : array of shape (k,)
        [rc]
    is_strut : bool array of shape (k,)
    triangles : int array of shape (m, 3)
        Faces of the membranes, counterclockwise as seen from outside.
    """

    box: Array
    positions: Array
    types: Indices
    molecule: Indices
    bonds: Indices
    rest_lengths: Array
    is_strut: NDArray[np.bool_]
    triangles: Indices

    @classmethod
    def build(
        cls,
        box: ArrayLike,
        platelets: Sequence[Placed],
        *,
        density: float = 3.0,
        seed: int = 0,
    ) -> Suspension:
        """Place platelets and fill the rest of the box with plasma.

        Parameters
        ----------
        box : array of shape (3,)
            Edges, each at least two diameters of the largest platelet [rc].
        platelets : sequence of Placed
        density : float
            Plasma particles per volume that is free to them [1/rc^3].
        seed : int
            Of the plasma's positions.

        Raises
        ------
        ParameterError
            The box is too small, platelets overlap, or a value is not allowed.
        """
        edges = require_box(box)
        require_positive("density", density)
        require_whole("seed", seed, low=0)
        if density * np.prod(edges) > MOST_PARTICLES:
            raise ParameterError(
                f"density={density:g} is not allowed in a box of {np.prod(edges):g} rc^3; use a "
                f"smaller box, for no more than {MOST_PARTICLES:g} particles."
            )
        _check_room(edges, platelets)
        for first, second in itertools.combinations(range(len(platelets)), 2):
            if overlap(platelets[first], platelets[second], edges, gap=GAP):
                raise ParameterError(
                    f"platelets {first + 1} and {second + 1} overlap or are closer than {GAP} rc; "
                    "move their centers apart or use a larger box."
                )
        beads = [placed.positions for placed in platelets]
        plasma = _plasma_around(platelets, edges, density=density, seed=seed)
        return cls._assembled(edges, [placed.platelet for placed in platelets], beads, plasma)

    @classmethod
    def _assembled(
        cls, box: Array, platelets: Sequence[Platelet], beads: Sequence[Array], plasma: Array
    ) -> Suspension:
        starts = np.cumsum([0, *map(len, beads)])
        types = [np.full(len(p.positions), CYTOPLASM) for p in platelets]
        for kind, platelet in zip(types, platelets, strict=True):
            kind[: platelet.n_membrane] = MEMBRANE
        shifted = list(zip(platelets, starts, strict=False))
        none = np.zeros((0, 2), dtype=np.int64)
        return cls(
            box=box,
            positions=np.concatenate([*beads, plasma]),
            types=np.concatenate([*types, np.full(len(plasma), PLASMA)]).astype(np.int64),
            molecule=np.repeat(
                np.r_[1 : len(beads) + 1, 0], [*map(len, beads), len(plasma)]
            ).astype(np.int64),
            bonds=np.concatenate([none, *(p.bonds + start for p, start in shifted)]),
            rest_lengths=np.concatenate([np.zeros(0), *(p.rest_lengths for p in platelets)]),
            is_strut=np.concatenate([np.zeros(0, bool), *(p.is_strut for p in platelets)]),
            triangles=np.concatenate(
                [np.zeros((0, 3), np.int64), *(p.triangles + start for p, start in shifted)]
            ),
        )

    @property
    def n_particles(self) -> int:
        """Number of all particles."""
        return len(self.positions)

    @property
    def n_platelets(self) -> int:
        """Number of platelets."""
        return int(self.molecule.max(initial=0))

    @property
    def n_beads(self) -> int:
        """Number of beads of all platelets."""
        return int(np.count_nonzero(self.molecule))

    @property
    def platelet_fraction(self) -> float:
        """Fraction of the particles that are beads of platelets."""
        return self.n_beads / self.n_particles

    def beads(self, platelet: int) -> slice:
        """Return the particles of a platelet, which is counted from 0."""
        start, end = np.searchsorted(self.molecule[: self.n_beads], [platelet + 1, platelet + 2])
        return slice(int(start), int(end))

    def membrane(self, platelet: int) -> slice:
        """Return the membrane's particles of a platelet, which is counted from 0."""
        beads = self.beads(platelet)
        n = int(np.count_nonzero(self.types[beads] == MEMBRANE))
        return slice(beads.start, beads.start + n)

    def wrapped(self) -> tuple[Array, NDArray[np.int32]]:
        """Return positions inside the box [rc] and the boxes each is moved by, both (n, 3)."""
        image = np.floor(self.positions / self.box)
        x = self.positions - image * self.box
        rounded_up = x >= self.box
        return np.where(rounded_up, 0.0, x), (image + rounded_up).astype(np.int32)


def plasma_box(box: ArrayLike, *, density: float = 3.0, seed: int = 0) -> Suspension:
    """Return plasma alone.

    Parameters
    ----------
    box : array of shape (3,)
        Edges, 3 rc or more each.
    density : float
        Particles per volume [1/rc^3].
    seed : int

    Examples
    --------
    >>> plasma_box([5, 5, 5], density=3.0).n_particles
    375
    """
    return Suspension.build(box, [], density=density, seed=seed)


def overlap(first: Placed, second: Placed, box: ArrayLike, *, gap: float = 0.0) -> bool:
    """Return whether two platelets in a periodic box have a point in common.

    Parameters
    ----------
    first, second : Placed
    box : array of shape (3,)
        Edges, each at least twice the platelets' diameter [rc].
    gap : float
        Faces are moved outward by half of this [rc], so that a distance below it counts, too.

    Notes
    -----
    The largest t for which a point lies t or more behind every face of both is found by a linear
    program; they overlap where it is positive.
    """
    offset = np.asarray(second.center, float) - np.asarray(first.center, float)
    offset -= np.round(offset / box) * np.asarray(box, float)
    if np.linalg.norm(offset) > first.platelet.radius + second.platelet.radius + gap:
        return False
    normals, limits = [], []
    for placed, center in ((first, np.zeros(3)), (second, offset)):
        local, distance = placed.platelet.half_spaces
        turned = local @ placed.rotation.T
        normals.append(turned)
        limits.append(distance + turned @ center + gap / 2)
    faces = np.concatenate(normals)
    best = linprog(
        [0, 0, 0, -1],
        A_ub=np.column_stack([faces, np.ones(len(faces))]),
        b_ub=np.concatenate(limits),
        bounds=(None, None),
    )
    return bool(best.x[3] > 0)


def inside(points: Array, placed: Placed, box: Array) -> NDArray[np.bool_]:
    """Return which points of a periodic box are in a platelet; shape (n,) for points (n, 3)."""
    offset = points - np.asarray(placed.center, float)
    offset -= np.round(offset / box) * box
    found = np.zeros(len(points), dtype=bool)
    near = np.flatnonzero(np.linalg.norm(offset, axis=1) <= placed.platelet.radius)
    normals, distance = placed.platelet.half_spaces
    found[near] = np.all(offset[near] @ placed.rotation @ normals.T <= distance, axis=1)
    return found


def folded(x: Array, box: Array) -> Array:
    """Return positions in a periodic box, below its edges also where rounding reaches them."""
    within = x % box
    return np.where(within < box, within, 0.0)


def numbers_or_nan(values: ArrayLike) -> Array:
    """Return numbers as an array, one nan where they are none, for a check that refuses that."""
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.array(math.nan)


def require_box(box: ArrayLike) -> Array:
    """Return the edges of a box [rc], shape (3,), if there are three and they are long enough.

    Raises
    ------
    ParameterError
        Naming the argument and the least edge.
    """
    edges = numbers_or_nan(box)
    if edges.shape != (3,) or not np.all(np.isfinite(edges)) or edges.min() < SMALLEST_BOX:
        raise ParameterError(
            f"box={box!r} is not allowed; use three edges of at least {SMALLEST_BOX:g} rc."
        )
    return edges


def _plasma_around(platelets: Sequence[Placed], box: Array, *, density: float, seed: int) -> Array:
    """Return where plasma starts, shape (n, 3) [rc]."""
    points = qmc.Halton(d=3, seed=seed).random(round(2 * density * float(np.prod(box)))) * box
    distance = np.full(len(points), np.inf)
    for placed in platelets:
        tree = cKDTree(folded(placed.positions, box), boxsize=box)
        distance = np.minimum(distance, tree.query(points)[0])
        distance[inside(points, placed, box)] = 0.0
    n = np.count_nonzero(distance[: len(points) // 2] > SURFACE)
    return points[distance > CLEARANCE][:n]


def _check_room(box: Array, platelets: Sequence[Placed]) -> None:
    if not platelets:
        return
    needed = 4 * max(placed.platelet.radius for placed in platelets)
    if box.min() < needed:
        listed = ", ".join(f"{edge:g}" for edge in box)
        raise ParameterError(
            f"box=({listed}) is not allowed; use edges of at least two platelet diameters, "
            f"{math.ceil(100 * needed) / 100:g} rc."
        )
