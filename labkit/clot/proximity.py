"""Which beads of different platelets are close, through the lattice of a tilted periodic box.

The box has the edges (Lx, 0, 0), (t, Ly, 0), (0, 0, Lz); t is the tilt of Lees-Edwards shear. Of a
pair of platelets every image is a candidate whose bounding spheres are nearer than what is looked
for; candidates are taken from the nearest on, and of each platelet only the beads that face the
other one are compared. The result is that of all beads against all, at a small part of the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Proximity:
    """Close pairs of beads that belong to different groups; G groups, m pairs.

    Attributes
    ----------
    first, second : int array of shape (m,)
        Rows of the beads in the concatenated groups; the group of `first` comes earlier.
    offset : array of shape (m, 3)
        From the first bead to the nearest image of the second that is meant [rc].
    gap : array of shape (G,)
        Smallest distance of each group to another one [rc]; inf for one alone.
    """

    first: Indices
    second: Indices
    offset: Array
    gap: Array

    @property
    def distance(self) -> Array:
        """Distance of each pair [rc], shape (m,)."""
        return np.sqrt(np.einsum("ij,ij->i", self.offset, self.offset))


def lattice(box: Array, tilt: float = 0.0) -> Array:
    """Return the edges of the box as rows [rc], shape (3, 3), with the smallest equal tilt.

    Examples
    --------
    >>> lattice(np.array([10.0, 8.0, 6.0]), 9.0)[1]
    array([-1.,  8.,  0.])
    """
    edges = np.diag(np.asarray(box, dtype=float))
    edges[1, 0] = tilt - box[0] * np.round(tilt / box[0])
    return edges


def minimum_image(offset: Array, box: Array, tilt: float = 0.0) -> Array:
    """Return offsets shifted by edges of the box until they are short.

    They are the shortest where those are below half of the smallest height of the box.

    Parameters
    ----------
    offset : array of shape (..., 3)
        [rc]
    box : array of shape (3,)
        Edge lengths [rc].
    tilt : float
        Shift along x of the upper end of y [rc].

    Examples
    --------
    >>> minimum_image(np.array([3.0, 7.0, 0.0]), np.array([10.0, 8.0, 6.0]), 2.0)
    array([ 1., -1.,  0.])
    """
    short = np.array(offset, dtype=float)
    for edge, k in zip(lattice(box, tilt)[::-1], (2, 1, 0), strict=True):
        short -= np.round(short[..., k : k + 1] / box[k]) * edge
    return short


def close_beads(
    groups: Sequence[Array],
    box: Array,
    tilt: float = 0.0,
    *,
    cutoff: float,
    periodic: Sequence[bool] = (True, True, True),
) -> Proximity:
    """Return all pairs of beads of different groups below a distance, and the gap of each group.

    Parameters
    ----------
    groups : sequence of arrays of shape (n_g, 3)
        Positions of each group's beads, whole: no group is cut by the box [rc].
    box : array of shape (3,)
        Edge lengths [rc].
    tilt : float
        Shift along x of the upper end of y [rc].
    cutoff : float
        Pairs are closer than this [rc].
    periodic : three of bool
        False along an axis that has walls.

    Examples
    --------
    >>> box = np.array([10.0, 10.0, 10.0])
    >>> left, right = np.array([[0.2, 5, 5]]), np.array([[9.5, 5, 5]])
    >>> found = close_beads([left, right], box, cutoff=1.0)
    >>> found.distance.round(3), found.gap.round(3)
    (array([0.7]), array([0.7, 0.7]))
    """
    starts = np.cumsum([0, *map(len, groups)])
    gap = np.full(len(groups), np.inf)
    found: list[tuple[Indices, Indices, Array]] = []
    for bound, p, q, image in _candidates(groups, box, tilt, periodic):
        widest = max(gap[p], gap[q])
        if bound >= max(cutoff, widest):
            if bound >= max(cutoff, gap.max()):
                break
            continue
        near, far = groups[p], groups[q] + image
        facing_p, facing_q = _facing(near, far, cutoff, widest)
        if not (len(facing_p) and len(facing_q)):
            continue
        distances = cdist(near[facing_p], far[facing_q])
        smallest = distances.min()
        gap[p], gap[q] = min(gap[p], smallest), min(gap[q], smallest)
        if smallest < cutoff:
            rows, columns = np.nonzero(distances < cutoff)
            i, j = facing_p[rows], facing_q[columns]
            found.append((starts[p] + i, starts[q] + j, far[j] - near[i]))
    return Proximity(*_joined(found), gap=gap)


def _candidates(
    groups: Sequence[Array], box: Array, tilt: float, periodic: Sequence[bool]
) -> Iterator[tuple[float, int, int, Array]]:
    """Lower bound of the distance, p, q and shift of q, from the nearest pair of spheres on."""
    if len(groups) < 2:
        return
    centers = np.array([group.mean(axis=0) for group in groups])
    radii = np.array(
        [
            np.sqrt(((group - c) ** 2).sum(axis=1).max())
            for group, c in zip(groups, centers, strict=True)
        ]
    )
    p, q = np.triu_indices(len(groups), k=1)
    edges = lattice(box, tilt) * np.asarray(periodic)[:, None]
    offset = centers[q] - centers[p]
    short = np.array(offset)
    for k in (2, 1, 0):
        if periodic[k]:
            short -= np.round(short[:, k : k + 1] / box[k]) * edges[k]
    spans = [(-1, 0, 1) if along else (0,) for along in periodic]
    images = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) @ edges
    shifts = (short - offset)[:, None] + images
    bounds = np.linalg.norm(short[:, None] + images, axis=-1) - (radii[p] + radii[q])[:, None]
    for flat in np.argsort(bounds, axis=None):
        pair, image = divmod(int(flat), len(images))
        yield bounds[pair, image], int(p[pair]), int(q[pair]), shifts[pair, image]


def _facing(near: Array, far: Array, cutoff: float, widest: float) -> tuple[Indices, Indices]:
    """Rows of both sets that can be in a pair below the cutoff, or below `widest` and closest.

    A pair is never closer than its projections on the line of centers.
    """
    line = far.mean(axis=0) - near.mean(axis=0)
    line /= np.linalg.norm(line) or 1.0
    along_near, along_far = near @ line, far @ line
    tip = near[along_near.argmax()] - far[along_far.argmin()]
    reach = max(cutoff, min(widest, np.linalg.norm(tip))) * (1 + 1e-9)
    return (
        np.flatnonzero(along_near >= along_far.min() - reach),
        np.flatnonzero(along_far <= along_near.max() + reach),
    )


def _joined(found: list[tuple[Indices, Indices, Array]]) -> tuple[Indices, Indices, Array]:
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, 3))
    first, second, offset = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(offset)
