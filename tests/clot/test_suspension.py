"""Suspensions: exact overlap and inside tests against independent ones, density, numbering."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree

from labkit.clot.platelet import Platelet
from labkit.clot.suspension import (
    CLEARANCE,
    SURFACE,
    Placed,
    Suspension,
    inside,
    overlap,
    plasma_box,
)
from labkit.errors import ParameterError

BOX = np.array([9.0, 10.0, 11.0])
NORMALS = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (1, 2, -3), (1e-7, 0, -1), (-0.3, 0.2, 1)]


@pytest.fixture(scope="module")
def platelet():
    return Platelet.oblate()


@pytest.fixture(scope="module")
def pair(platelet):
    placed = [Placed(platelet, (4, 3, 5), (0.2, 1, 0)), Placed(platelet, (1, 9.5, 10), (1, 1, 1))]
    return placed, Suspension.build(BOX, placed, density=3.0, seed=4)


def winding_numbers(points, vertices, triangles):
    """How often a closed surface goes around each point (van Oosterom and Strackee, 1983)."""
    a, b, c = (vertices[triangles[:, k]][None] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=2) for side in (a, b, c))
    dot = lambda u, v: np.einsum("ptk,ptk->pt", u, v)  # noqa: E731
    below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
    return 2 * np.arctan2(dot(a, np.cross(b, c)), below).sum(axis=1) / (4 * np.pi)


def nearest_images(points, center, box):
    offset = points - center
    return center + offset - np.round(offset / box) * box


@pytest.mark.parametrize("normal", NORMALS)
def test_rotation_is_proper_and_takes_z_to_the_normal(platelet, normal):
    rotation = Placed(platelet, (0, 0, 0), normal).rotation
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert rotation[:, 2] == pytest.approx(np.array(normal) / np.linalg.norm(normal), abs=1e-14)


@pytest.mark.parametrize("center", [(4, 5, 5), (0.1, 9.9, 0.0)])
@pytest.mark.parametrize("normal", [(0, 1, 0), (1, -2, 0.5)])
def test_inside_agrees_with_the_winding_number_across_the_boundaries(platelet, center, normal):
    placed = Placed(platelet, center, normal)
    points = np.random.default_rng(0).uniform(0, BOX, size=(1500, 3))
    images = nearest_images(points, np.array(center), BOX)
    expected = winding_numbers(images, placed.positions, platelet.triangles) > 0.5
    assert expected.sum() > 5
    np.testing.assert_array_equal(inside(points, placed, BOX), expected)


def test_overlap_agrees_with_the_hull_of_all_differences(platelet):
    # Convex bodies A and B meet where the origin lies in the hull of all differences a - b.
    rng = np.random.default_rng(1)
    found = []
    for _ in range(12):
        first = Placed(platelet, rng.uniform(0, BOX), rng.normal(size=3))
        away = rng.normal(size=3)
        away *= rng.uniform(1.0, 4.0) / np.linalg.norm(away)
        second = Placed(platelet, np.asarray(first.center) + away, rng.normal(size=3))
        a, b = (p.positions[: platelet.n_membrane] for p in (first, second))
        differences = ConvexHull((a[:, None] - b[None]).reshape(-1, 3))
        expected = bool(np.all(differences.equations[:, 3] < 0))
        moved = Placed(platelet, np.asarray(second.center) % BOX, second.normal)
        assert overlap(first, moved, BOX) == expected
        found.append(expected)
    assert 3 <= sum(found) <= 9


def test_gap_widens_what_counts_as_overlap(platelet):
    top = platelet.membrane[:, 2].max()
    lower = Placed(platelet, (4, 4, 4))
    upper = Placed(platelet, (4, 4, 4 + 2 * top + 0.3))
    assert not overlap(lower, upper, BOX)
    assert not overlap(lower, upper, BOX, gap=0.29)
    assert overlap(lower, upper, BOX, gap=0.5)


def test_overlapping_platelets_are_refused_by_their_numbers(platelet):
    far = Placed(platelet, (4.5, 2, 2), (0, 0, 1))
    low = Placed(platelet, (4.5, 5, 0.2), (0, 0, 1))
    high = Placed(platelet, (4.5, 5.5, 10.4), (0, 0.2, 1))
    with pytest.raises(ParameterError, match=r"platelets 2 and 3 overlap or are closer than 0.5"):
        Suspension.build(BOX, [far, low, high], density=3.0, seed=0)


@pytest.mark.parametrize("edge", [0, 1, 2])
def test_box_below_two_diameters_is_refused_along_every_edge(platelet, edge):
    box = [9.0, 9.0, 9.0]
    box[edge] = 8.0
    with pytest.raises(ParameterError, match=r"box=.*8.* two platelet diameters, 8.2 rc"):
        Suspension.build(box, [Placed(platelet, (4, 4, 4))], density=3.0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"box": (9, 9)}, "box="),
        ({"box": "large"}, "box='large' is not allowed; use three edges"),
        ({"box": (9, 9, float("nan"))}, "box="),
        ({"box": (2, 9, 9)}, "three edges of at least 3 rc"),
        ({"density": 0.0}, "density=0.0 is not allowed"),
        ({"seed": -1}, "seed=-1"),
        ({"box": (900, 900, 900)}, "density=3 is not allowed in a box of"),
    ],
)
def test_plasma_that_cannot_be_is_refused(choice, message):
    with pytest.raises(ParameterError, match=message):
        plasma_box(**{"box": (9, 9, 9), **choice})


@pytest.mark.parametrize("place", [{"center": (1, 2)}, {"center": "abc"}, {"normal": (0, 0, 0)}])
def test_places_that_are_none_are_refused(platelet, place):
    with pytest.raises(ParameterError, match=next(iter(place))):
        Placed(platelet, **{"center": (1, 2, 3), **place})


def test_plasma_alone_has_exactly_its_density_and_is_even():
    plasma = plasma_box((8, 10, 6), density=3.0, seed=2)
    assert plasma.n_particles == 1440
    assert plasma.platelet_fraction == 0
    assert plasma.n_platelets == 0
    octants = (plasma.positions // (np.array([8, 10, 6]) / 2)).astype(int) @ [4, 2, 1]
    # 180 in each: independent points would scatter by 12.
    assert np.abs(np.bincount(octants) - 180).max() <= 6


def test_no_plasma_starts_in_a_platelet_or_on_a_bead(pair):
    placed, suspension = pair
    plasma = suspension.positions[suspension.n_beads :]
    assert plasma.min() >= 0
    assert np.all(plasma < BOX)
    for one in placed:
        assert not inside(plasma, one, BOX).any()
        images = nearest_images(plasma, np.asarray(one.center, float), BOX)
        # The nearest image of a center is that of its beads too: the box is two diameters wide.
        assert cKDTree(one.positions).query(images)[0].min() >= CLEARANCE


def test_plasma_has_its_density_in_the_volume_outside(pair):
    placed, suspension = pair
    points = np.random.default_rng(3).uniform(0, BOX, size=(30_000, 3))
    outside = np.ones(len(points), dtype=bool)
    for one in placed:
        images = nearest_images(points, np.asarray(one.center, float), BOX)
        distance = cKDTree(one.positions).query(images)[0]
        # Every point of a platelet is nearer than 0.7 to a bead.
        near = np.flatnonzero(distance < 0.7)
        around = winding_numbers(images[near], one.positions, one.platelet.triangles)
        outside[near[(around > 0.5) | (distance[near] <= SURFACE)]] = False
    volume = outside.mean() * np.prod(BOX)
    n_plasma = suspension.n_particles - suspension.n_beads
    # The estimate of the volume scatters by 0.1 %, the number of a Halton sequence by less.
    assert n_plasma / volume == pytest.approx(3.0, rel=0.005)


def test_numbering_is_platelets_first_and_each_its_membrane_first(pair, platelet):
    _, suspension = pair
    n = len(platelet.positions)
    assert suspension.n_beads == 2 * n
    assert (suspension.beads(0), suspension.beads(1)) == (slice(0, n), slice(n, 2 * n))
    assert suspension.membrane(1) == slice(n, n + platelet.n_membrane)
    for p in (0, 1):
        assert np.all(suspension.molecule[suspension.beads(p)] == p + 1)
        assert np.all(suspension.types[suspension.membrane(p)] == 2)
        assert np.count_nonzero(suspension.types[suspension.beads(p)] == 3) == (
            n - platelet.n_membrane
        )
    assert np.all(suspension.types[2 * n :] == 1)
    assert np.all(suspension.molecule[2 * n :] == 0)


def test_springs_and_faces_stay_within_their_platelet(pair, platelet):
    _, suspension = pair
    for indices in (suspension.bonds, suspension.triangles):
        owners = suspension.molecule[indices]
        assert np.all(owners == owners[:, :1])
        assert np.all(suspension.types[indices] == 2)
    assert len(suspension.bonds) == 2 * len(platelet.bonds)
    ends = suspension.positions[suspension.bonds]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    assert suspension.rest_lengths == pytest.approx(lengths, rel=1e-12)


def test_platelets_of_two_sizes_share_a_box(platelet):
    large = Platelet.oblate(2.4, 0.8)
    placed = [Placed(large, (3, 3, 3)), Placed(platelet, (7, 7, 7))]
    suspension = Suspension.build((10, 10, 10), placed, density=3.0)
    assert suspension.membrane(0) == slice(0, large.n_membrane)
    assert suspension.beads(1).start == len(large.positions)
    assert suspension.membrane(1).stop - suspension.membrane(1).start == platelet.n_membrane


def test_wrapped_positions_and_box_counts_give_the_whole_platelets_back(pair):
    _, suspension = pair
    x, image = suspension.wrapped()
    assert x.min() >= 0
    assert np.all(x < BOX)
    assert x + image * BOX == pytest.approx(suspension.positions, abs=1e-12)
    assert np.any(image != 0)


def test_seed_moves_the_plasma_and_nothing_else(pair):
    placed, suspension = pair
    again, other = (Suspension.build(BOX, placed, density=3.0, seed=s) for s in (4, 5))
    np.testing.assert_array_equal(again.positions, suspension.positions)
    beads = slice(0, suspension.n_beads)
    np.testing.assert_array_equal(other.positions[beads], suspension.positions[beads])
    assert not np.array_equal(other.positions[-50:], suspension.positions[-50:])
