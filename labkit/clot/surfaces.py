"""Membranes as closed surfaces for pictures: whole, in the box, and no finer than can be seen.

A platelet is put together across the periodic box and moved so that its center lies inside. Where a
mesh has too many vertices, some are kept that are spread evenly (each the farthest from those
before), as seen from the center of a shape whose gyration tensor has been made round; their convex
hull on the unit sphere gives the faces. What a bead carries, a kept vertex carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from labkit.choices import not_allowed, require_whole
from labkit.clot.analysis.stress import membrane_stress
from labkit.clot.flows import Flow, Quiescent
from labkit.clot.forcefield import ForceField
from labkit.clot.observe import (
    contact_range,
    membrane_beads,
    membrane_proximity,
    unwrapped_platelets,
)
from labkit.clot.proximity import lattice
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.errors import ParameterError

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

QUANTITIES: dict[str, tuple[str, str]] = {
    "platelet": ("platelet", ""),
    "stretch": ("stretch of the membrane's springs", "%"),
    "contacts": ("beads of other platelets within reach", ""),
    "stress": ("membrane stress", "energy/rc³"),
}
"""What surfaces can be colored by, to its name and unit."""


@dataclass(frozen=True, eq=False)
class Surface:
    """One platelet's membrane.

    Attributes
    ----------
    vertices : array of shape (n, 3)
        [rc]
    triangles : int array of shape (m, 3)
        Counterclockwise as seen from outside.
    beads : int array of shape (n,)
        Bead of each vertex, in the numbers of the suspension.
    """

    vertices: Array
    triangles: Indices
    beads: Indices


def surfaces(
    snapshots: Sequence[Snapshot], suspension: Suspension, *, most_vertices: int = 150
) -> list[list[Surface]]:
    """Membranes of all platelets at several times.

    Parameters
    ----------
    snapshots : sequence of Snapshot
    suspension : Suspension
    most_vertices : int
        Of one membrane; a finer one is thinned out, to the same vertices at all times.

    Returns
    -------
    list of list of Surface
        One list a snapshot, in it one surface a platelet.
    """
    require_whole("most_vertices", most_vertices, low=4)
    if not snapshots or not suspension.n_platelets:
        raise ParameterError(
            f"snapshots has {len(snapshots)} states of {suspension.n_platelets} platelets; give at "
            "least one state of one platelet or more."
        )
    first = unwrapped_platelets(suspension, snapshots[0])
    meshes = [_mesh(suspension, first, p, most_vertices) for p in range(suspension.n_platelets)]
    return [[_placed(suspension, snapshot, *mesh) for mesh in meshes] for snapshot in snapshots]


def bead_values(
    kind: str,
    snapshot: Snapshot,
    suspension: Suspension,
    *,
    forcefield: ForceField | None = None,
    flow: Flow | None = None,
) -> Array:
    """What the beads of the platelets carry, shape (n_beads,).

    Parameters
    ----------
    kind : str
        One of `QUANTITIES`: the platelet's number, the mean stretch of a bead's membrane springs
        [%], its contacts, or its von Mises stress (`labkit.clot.analysis.stress`).
    snapshot : Snapshot
    suspension : Suspension
    forcefield : ForceField, optional
        For contacts and stress; the default one otherwise.
    flow : Flow, optional
        For contacts: a channel is not periodic across.
    """
    if kind not in QUANTITIES:
        raise ParameterError(not_allowed("color_by", kind, QUANTITIES))
    forces = forcefield or ForceField()
    if kind == "stretch":
        return _stretch(snapshot, suspension)
    if kind == "contacts":
        return _contacts(snapshot, suspension, forces, flow or Quiescent())
    if kind == "stress":
        return _stress(snapshot, suspension, forces)
    return suspension.molecule[: suspension.n_beads].astype(float)


def thinned(vertices: ArrayLike, n: int) -> tuple[Indices, Indices]:
    """Choose vertices of a closed, roughly ellipsoidal surface and join them to triangles.

    Parameters
    ----------
    vertices : array of shape (k, 3)
    n : int
        How many to keep.

    Returns
    -------
    indices : int array of shape (n,)
    triangles : int array of shape (2 n - 4, 3)
        Of the kept vertices, counterclockwise as seen from outside.
    """
    directions = _directions(np.asarray(vertices, dtype=float))
    kept = [int(np.argmax(directions[:, 2]))]
    distance = np.full(len(directions), np.inf)
    while len(kept) < n:
        gaps = np.linalg.norm(directions - directions[kept[-1]], axis=1)
        distance = np.minimum(distance, gaps)
        kept.append(int(np.argmax(distance)))
    hull = ConvexHull(directions[kept])
    corners = directions[kept][hull.simplices]
    outward = np.einsum(
        "ij,ij->i", np.cross(*np.diff(corners, axis=1).swapaxes(0, 1)), corners[:, 0]
    )
    faces = np.where(outward[:, None] > 0, hull.simplices, hull.simplices[:, ::-1])
    return np.array(kept), faces.astype(np.intp)


def _directions(vertices: Array) -> Array:
    """Vertices on the unit sphere, as seen from the center of a round gyration tensor."""
    centered = vertices - vertices.mean(axis=0)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(centered))
    round_ = centered @ vectors / np.sqrt(values) @ vectors.T
    return np.asarray(round_ / np.linalg.norm(round_, axis=1, keepdims=True))


def _mesh(suspension: Suspension, x: Array, platelet: int, most: int) -> tuple[Indices, Indices]:
    """Beads that are drawn of a platelet, and their triangles."""
    block = suspension.membrane(platelet)
    beads = np.arange(block.start, block.stop)
    if len(beads) > most:
        kept, triangles = thinned(x[block], most)
        return beads[kept], triangles
    faces = suspension.triangles
    own = (faces[:, 0] >= block.start) & (faces[:, 0] < block.stop)
    return beads, faces[own] - block.start


def _placed(
    suspension: Suspension, snapshot: Snapshot, beads: Indices, triangles: Indices
) -> Surface:
    vertices = unwrapped_platelets(suspension, snapshot)[beads]
    edges = lattice(snapshot.box, snapshot.tilt)
    center = vertices.mean(axis=0)
    for edge, k in zip(edges[::-1], (2, 1, 0), strict=True):
        shift = np.floor(center[k] / snapshot.box[k]) * edge
        vertices, center = vertices - shift, center - shift
    return Surface(vertices, triangles, beads)


def _stretch(snapshot: Snapshot, suspension: Suspension) -> Array:
    edge = ~suspension.is_strut
    bonds, rest = suspension.bonds[edge], suspension.rest_lengths[edge]
    x = unwrapped_platelets(suspension, snapshot)
    length = np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)
    share = np.tile(100 * np.abs(length - rest) / rest, 2)
    ends, n = bonds.T.ravel(), suspension.n_beads
    total = np.bincount(ends, share, minlength=n)
    return np.asarray(total / np.maximum(np.bincount(ends, minlength=n), 1))


def _contacts(
    snapshot: Snapshot, suspension: Suspension, forcefield: ForceField, flow: Flow
) -> Array:
    near = membrane_proximity(suspension, snapshot, flow, cutoff=contact_range(forcefield))
    beads = membrane_beads(suspension)
    touched = beads[np.concatenate([near.first, near.second])]
    return np.bincount(touched, minlength=suspension.n_beads).astype(float)


def _stress(snapshot: Snapshot, suspension: Suspension, forcefield: ForceField) -> Array:
    values = np.zeros(suspension.n_beads)
    stress = membrane_stress(suspension, snapshot, forcefield)
    values[membrane_beads(suspension)] = stress.von_mises
    return values
