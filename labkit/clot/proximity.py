"""Which beads of different platelets are close, through the lattice of a tilted periodic box.

The box has the edges (Lx, 0, 0), (t, Ly, 0), (0, 0, Lz); t is the tilt of Lees-Edwards shear. Of a
pair of platelets every image is a candidate whose bounding spheres are nearer than what is looked
for; candidates are taken from the smallest separation along their line of centers on, and of each
platelet only the beads that face the other one are compared. The result is that of all beads
against all images of all others, at a small part of the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
_ROUNDING = 1e-9


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
    for p, q, shift, line, separation, bounds in _candidates(
        groups, lattice(box, tilt), periodic, cutoff
    ):
        reach = max(cutoff, min(gap[p], bounds[p]), min(gap[q], bounds[q]))
        if separation > reach:
            continue
        along_p, along_q = groups[p] @ line, groups[q] @ line + shift @ line
        i = (along_p >= along_q.min() - reach).nonzero()[0]
        j = (along_q <= along_p.max() + reach).nonzero()[0]
        near, far = groups[p].take(i, axis=0), groups[q].take(j, axis=0) + shift
        distances = cdist(near, far)
        smallest = distances.min()
        gap[p], gap[q] = min(gap[p], smallest), min(gap[q], smallest)
        if smallest < cutoff:
            rows, columns = np.divmod((distances.ravel() < cutoff).nonzero()[0], len(far))
            offset = far.take(columns, axis=0) - near.take(rows, axis=0)
            found.append((starts[p] + i[rows], starts[q] + j[columns], offset))
    return Proximity(*_joined(found), gap=gap)


class _Candidate(NamedTuple):
    """An image of platelet q beside platelet p."""

    p: int
    q: int
    shift: Array
    line: Array
    separation: float
    bounds: Array


def _candidates(
    groups: Sequence[Array], edges: Array, periodic: Sequence[bool], cutoff: float
) -> Iterator[_Candidate]:
    """Images that may hold a close pair, from the smallest separation along the line of centers on.

    No group is farther from its nearest other one than the two beads that face each other.
    """
    if len(groups) < 2:
        return
    p, q, shift, line = _images_in_reach(groups, edges, periodic, cutoff)
    tips = _facing_tips(groups, p, q, line, shift)
    separation = np.einsum("ij,ij->i", tips, line) - _ROUNDING
    apart = np.sqrt(np.einsum("ij,ij->i", tips, tips)) * (1 + _ROUNDING)
    bounds = _least(apart, p, q, len(groups))
    kept = np.flatnonzero(separation <= np.maximum(cutoff, np.maximum(bounds[p], bounds[q])))
    for k in kept[np.argsort(separation[kept])]:
        yield _Candidate(p[k], q[k], shift[k], line[k], separation[k], bounds)


def _images_in_reach(
    groups: Sequence[Array], edges: Array, periodic: Sequence[bool], cutoff: float
) -> tuple[Indices, Indices, Array, Array]:
    """Rows p and q of pairs of groups, the shift of q to an image, and the unit vector to there.

    Of two groups with centers D apart, some bead of one is within sqrt(D^2 + g_p^2 + g_q^2) of some
    bead of the other, g being the radii of gyration: that is the mean square distance of all pairs.
    Images whose bounding spheres are farther than that, and than the cutoff, are left out.
    """
    centers = np.array([group.mean(axis=0) for group in groups])
    squares = [((group - c) ** 2).sum(axis=1) for group, c in zip(groups, centers, strict=True)]
    radii = np.sqrt([square.max() for square in squares])
    gyration = np.array([square.mean() for square in squares])
    p, q = np.triu_indices(len(groups), k=1)
    shifts = _images(centers[q] - centers[p], edges, periodic)
    offset = (centers[q] - centers[p])[:, None] + shifts
    distance = np.linalg.norm(offset, axis=-1)
    apart = np.sqrt(distance.min(axis=1) ** 2 + gyration[p] + gyration[q]) * (1 + _ROUNDING)
    bounds = _least(apart, p, q, len(groups))
    reach = np.maximum(cutoff, np.maximum(bounds[p], bounds[q]))
    pair, image = np.nonzero(distance - (radii[p] + radii[q])[:, None] <= reach[:, None])
    line = offset[pair, image] / np.maximum(distance[pair, image], _ROUNDING)[:, None]
    return p[pair], q[pair], shifts[pair, image], line


def _least(apart: Array, p: Indices, q: Indices, count: int) -> Array:
    """Smallest value of each group over the pairs it is in, shape (count,)."""
    least = np.full(count, np.inf)
    np.minimum.at(least, p, apart)
    np.minimum.at(least, q, apart)
    return least


def _facing_tips(
    groups: Sequence[Array], p: Indices, q: Indices, line: Array, shift: Array
) -> Array:
    """From the bead of p that is farthest along the line to the one of q that is least far."""
    tips = shift.copy()
    for g, group in enumerate(groups):
        here, there = (p == g).nonzero()[0], (q == g).nonzero()[0]
        if len(here):
            tips[here] -= group[(group @ line[here].T).argmax(axis=0)]
        if len(there):
            tips[there] += group[(group @ line[there].T).argmin(axis=0)]
    return tips


def _images(offset: Array, edges: Array, periodic: Sequence[bool]) -> Array:
    """Shifts to the nearest images of each offset, shape (pairs, images, 3)."""
    short = np.array(offset)
    for k in (2, 1, 0):
        if periodic[k]:
            short -= np.round(short[:, k : k + 1] / edges[k, k]) * edges[k]
    spans = [(-1, 0, 1) if along else (0,) for along in periodic]
    around = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) @ edges
    return (short - offset)[:, None] + around


def _joined(found: list[tuple[Indices, Indices, Array]]) -> tuple[Indices, Indices, Array]:
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, 3))
    first, second, offset = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(offset)
