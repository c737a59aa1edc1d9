"""A platelet at rest: a disc-like cage of beads, springs and struts, with cytoplasm inside.

The membrane's beads lie on an oblate spheroid of semi-axes a = a > c, at equal steps of its area
and turned by the golden angle from one to the next (a Fibonacci spiral [1]_), so that every bead
stands for the same area, and then all are moved outward by the one factor (1 to 3 %) that makes the
triangles of their convex hull hold the spheroid's volume. The triangles' edges are the membrane's
springs. Two kinds of struts, softer springs, keep the shape:

* across each edge, between the two vertices opposite to it, against bending;
* through the inside, from each bead to the ones nearest to its mirror image in the plane z = 0,
  against flattening.

Cytoplasm beads start on a close packing. Closed forms of the smooth spheroid, with e the
eccentricity::

    volume = (4/3) pi a^2 c,    area = 2 pi a^2 [1 + (1 - e^2)/e artanh(e)],    e^2 = 1 - (c/a)^2

============ ============================================== ======
symbol       variable                                       unit
============ ============================================== ======
a, c         ``a``, ``c``: semi-axes, c along z             rc
s            ``spacing``: of neighbors on the membrane      rc
============ ============================================== ======

References
----------
.. [1] Gonzalez, Math. Geosci. 42 (2010) 49.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from labkit.choices import require_whole
from labkit.clot.forcefield import require_positive
from labkit.errors import ParameterError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LOWEST_ASPECT_RATIO = 1.5
"""Of a to c. Rounder cells have no short axis to follow."""
CYTOPLASM_CLEARANCE = 0.75
"""Least distance of a cytoplasm bead to the membrane's at the start, in units of its spacing."""
MOST_BEADS = 20_000
"""On one membrane."""
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True, eq=False)
class Platelet:
    """Beads and springs of one platelet, centered at the origin, its short axis along z.

    Attributes
    ----------
    positions : array of shape (n, 3)
        Beads: those of the membrane first, cytoplasm after them [rc].
    n_membrane : int
        Number of beads of the membrane.
    triangles : int array of shape (m, 3)
        The membrane's faces, counterclockwise as seen from outside.
    bonds : int array of shape (k, 2)
        Beads that a spring joins.
    rest_lengths : array of shape (k,)
        [rc]
    is_strut : bool array of shape (k,)
        False for the springs of the membrane.
    """

    positions: Array
    n_membrane: int
    triangles: Indices
    bonds: Indices
    rest_lengths: Array
    is_strut: NDArray[np.bool_]

    @classmethod
    def oblate(
        cls,
        a: float = 2.0,
        c: float = 0.6,
        *,
        spacing: float = 0.6,
        n_struts: int = 3,
        cytoplasm_spacing: float = 0.62,
    ) -> Platelet:
        """Return a platelet whose membrane lies on an oblate spheroid.

        Parameters
        ----------
        a, c : float
            Semi-axes, c along z [rc].
        spacing : float
            Mean length of the membrane's springs [rc]. Wider than the interface's sigma lets
            plasma through.
        n_struts : int
            Struts from each bead through the inside.
        cytoplasm_spacing : float
            Distance of neighbors in the cytoplasm [rc].

        Raises
        ------
        ParameterError
            The shape is too round, too thin or too fine.

        Examples
        --------
        >>> platelet = Platelet.oblate(a=2.0, c=0.6)
        >>> len(platelet.positions), platelet.n_membrane
        (114, 95)
        """
        check_shape(a, c, spacing=spacing, n_struts=n_struts, cytoplasm_spacing=cytoplasm_spacing)
        membrane = _fibonacci_spheroid(a, c, _bead_count(a, c, spacing))
        triangles = _outward_faces(membrane)
        membrane *= (spheroid_volume(a, c) / _enclosed_volume(membrane, triangles)) ** (1 / 3)
        edges = _edges(triangles)
        struts = _struts(membrane, triangles, edges, n_struts)
        cytoplasm = _close_packing(membrane, a, c, cytoplasm_spacing)
        bonds = np.concatenate([edges, struts])
        return cls(
            positions=np.concatenate([membrane, cytoplasm]),
            n_membrane=len(membrane),
            triangles=triangles,
            bonds=bonds,
            rest_lengths=np.linalg.norm(membrane[bonds[:, 0]] - membrane[bonds[:, 1]], axis=1),
            is_strut=np.arange(len(bonds)) >= len(edges),
        )

    @property
    def membrane(self) -> Array:
        """Positions of the membrane's beads [rc], shape (n_membrane, 3)."""
        return self.positions[: self.n_membrane]

    @property
    def volume(self) -> float:
        """Volume inside the triangles [rc^3]."""
        return _enclosed_volume(self.positions, self.triangles)

    @property
    def area(self) -> float:
        """Area of the triangles [rc^2]."""
        first, second, third = self._corners()
        return float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)

    @property
    def gyration_axes(self) -> Array:
        """Eigenvalues of the membrane's gyration tensor, ascending [rc^2], shape (3,)."""
        centered = self.membrane - self.membrane.mean(axis=0)
        return np.linalg.eigvalsh(centered.T @ centered / self.n_membrane)

    @property
    def radius(self) -> float:
        """Distance of the farthest bead from the origin [rc]."""
        return float(np.linalg.norm(self.positions, axis=1).max())

    @property
    def half_spaces(self) -> tuple[Array, Array]:
        """Outward normals (m, 3) and offsets (m,) [rc]; inside is where normals @ x <= offsets."""
        first, second, third = self._corners()
        normals = np.cross(second - first, third - first)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return normals, np.einsum("ij,ij->i", normals, first)

    def _corners(self) -> Array:
        return self.positions[self.triangles.T]


def spheroid_area(a: float, c: float) -> float:
    """Return the area of an oblate spheroid of semi-axes a > c [rc^2].

    Examples
    --------
    >>> round(spheroid_area(3.0, 0.75), 2)
    64.08
    """
    e = math.sqrt(1 - (c / a) ** 2)
    return 2 * math.pi * a**2 * (1 + (1 - e**2) / e * math.atanh(e))


def spheroid_volume(a: float, c: float) -> float:
    """Return the volume of a spheroid [rc^3].

    Examples
    --------
    >>> round(spheroid_volume(3.0, 0.75), 2)
    28.27
    """
    return 4 / 3 * math.pi * a**2 * c


def check_shape(
    a: float,
    c: float,
    *,
    spacing: float = 0.6,
    n_struts: int = 3,
    cytoplasm_spacing: float = 0.62,
    prefix: str = "",
) -> None:
    """Refuse what `Platelet.oblate` cannot build.

    Parameters
    ----------
    a, c, spacing, n_struts, cytoplasm_spacing
        As in `Platelet.oblate`.
    prefix : str
        What the caller writes before a and c, so that the message names them as given.

    Raises
    ------
    ParameterError
    """
    long, short = f"{prefix}a", f"{prefix}c"
    lengths = {long: a, short: c, "spacing": spacing, "cytoplasm_spacing": cytoplasm_spacing}
    for name, value in lengths.items():
        require_positive(name, value)
    require_whole("n_struts", n_struts, low=0, high=12)
    if a < LOWEST_ASPECT_RATIO * c:
        raise ParameterError(
            f"{long}={a:g} is not allowed with {short}={c:g}; a platelet is a disc, so use at "
            f"least {LOWEST_ASPECT_RATIO:g} {short}, which is {LOWEST_ASPECT_RATIO * c:g}."
        )
    thinnest = max(spacing, CYTOPLASM_CLEARANCE * cytoplasm_spacing)
    if c < thinnest * (1 - 1e-9):
        raise ParameterError(
            f"{short}={c:g} is not allowed with spacing={spacing:g} and cytoplasm_spacing="
            f"{cytoplasm_spacing:g}; use at least {thinnest:g}, so that cytoplasm fits in."
        )
    n = _bead_count(a, c, spacing)
    if n > MOST_BEADS:
        raise ParameterError(
            f"spacing={spacing:g} is not allowed with {long}={a:g}; use at least "
            f"{spacing * math.sqrt(n / MOST_BEADS):.2g}, so that a membrane has no more than "
            f"{MOST_BEADS} beads."
        )


def _bead_count(a: float, c: float, spacing: float) -> int:
    """Return how many vertices of a triangular lattice of this spacing cover the spheroid."""
    return round(spheroid_area(a, c) / (math.sqrt(3) / 2 * spacing**2))


def _fibonacci_spheroid(a: float, c: float, n: int) -> Array:
    """Return n points at equal steps of area from one pole to the other, shape (n, 3)."""
    heights = np.linspace(-c, c, 4001)
    # dA/dz = 2 pi (a/c) sqrt(c^2 + (a^2/c^2 - 1) z^2)
    growth = np.sqrt(c**2 + ((a / c) ** 2 - 1) * heights**2)
    area = np.concatenate([[0.0], np.cumsum((growth[1:] + growth[:-1]) / 2)])
    z = np.interp((np.arange(n) + 0.5) / n, area / area[-1], heights)
    around = np.sqrt(1 - (z / c) ** 2) * a
    angle = _GOLDEN_ANGLE * np.arange(n)
    return np.column_stack([around * np.cos(angle), around * np.sin(angle), z])


def _outward_faces(points: Array) -> Indices:
    hull = ConvexHull(points)
    faces = hull.simplices.astype(np.int64)
    first, second, third = points[faces.T]
    inward = np.einsum("ij,ij->i", np.cross(second - first, third - first), hull.equations[:, :3])
    faces[inward < 0] = faces[inward < 0][:, ::-1]
    return faces


def _enclosed_volume(points: Array, triangles: Indices) -> float:
    first, second, third = points[triangles.T]
    return float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6)


def _edges(triangles: Indices) -> Indices:
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0)


def _struts(membrane: Array, triangles: Indices, edges: Indices, n_struts: int) -> Indices:
    """Return the struts against bending and through the inside that are no edges, shape (k, 2)."""
    found = [_across_edges(triangles)]
    if n_struts:
        mirrored = membrane * [1, 1, -1]
        _, nearest = cKDTree(membrane).query(mirrored, k=list(range(1, n_struts + 1)))
        start = np.repeat(np.arange(len(membrane)), n_struts)
        found.append(np.column_stack([start, nearest.ravel()]))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    n = len(membrane)
    known = np.isin(pairs @ [n, 1], edges @ [n, 1]) | (pairs[:, 0] == pairs[:, 1])
    return pairs[~known]


def _across_edges(triangles: Indices) -> Indices:
    """Return the two vertices opposite to each edge, shape (edges, 2)."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    opposite = np.concatenate([triangles[:, 2], triangles[:, 0], triangles[:, 1]])
    sides = np.sort(sides, axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0]))
    return opposite[order].reshape(-1, 2)


def _close_packing(membrane: Array, a: float, c: float, spacing: float) -> Array:
    """Return the sites of a close packing that are clear of the membrane, shape (n, 3)."""
    reach = math.ceil(2 * a / spacing)
    i, j, k = np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij")
    x = spacing * (i + (j + k) % 2 / 2)
    y = spacing * math.sqrt(3) / 2 * (j + k % 2 / 3)
    z = spacing * math.sqrt(2 / 3) * k
    sites = np.column_stack([x.ravel(), y.ravel(), z.ravel()]).astype(np.float64)
    sites = sites[((sites / [a, a, c]) ** 2).sum(axis=1) < 1]
    distance, _ = cKDTree(membrane).query(sites)
    return sites[distance >= CYTOPLASM_CLEARANCE * spacing]
