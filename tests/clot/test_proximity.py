import itertools

import numpy as np
import pytest

from labkit.clot.proximity import close_beads, lattice, minimum_image


def disc(rng, n, center, radii):
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return center + rng.uniform(-1, 1, size=(n, 3)) * radii @ turn.T


def all_distances(first, second, edges, periodic):
    """Of every bead to every image of every bead, two boxes around; shape (images, n, m)."""
    spans = [range(-2, 3) if along else (0,) for along in periodic]
    shifts = np.array(list(itertools.product(*spans))) @ edges
    offsets = second[None, None] + shifts[:, None, None] - first[None, :, None]
    return np.linalg.norm(offsets, axis=-1)


@pytest.mark.parametrize("tilt", [0.0, 2.9, -3.9])
@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True)])
@pytest.mark.parametrize("cutoff", [0.3, 1.8])
def test_close_beads_are_those_of_all_images_of_all_beads(tilt, periodic, cutoff):
    rng = np.random.default_rng([round(10 * tilt) % 97, periodic[1], round(10 * cutoff)])
    box = np.array([8.0, 9.0, 7.0])
    for _ in range(5):
        groups = [
            disc(rng, 20 + k, rng.uniform(-0.3, 1.3, 3) * box, [1.7, 1.7, 0.5]) for k in range(4)
        ]
        found = close_beads(groups, box, tilt, cutoff=cutoff, periodic=periodic)
        gap, expected = np.full(4, np.inf), []
        starts = np.cumsum([0, *map(len, groups)])
        for p, q in itertools.combinations(range(4), 2):
            r = all_distances(groups[p], groups[q], lattice(box, tilt), periodic)
            gap[p], gap[q] = min(gap[p], r.min()), min(gap[q], r.min())
            _, i, j = np.nonzero(r < cutoff)
            expected += zip(i + starts[p], j + starts[q], r[r < cutoff], strict=True)
        np.testing.assert_allclose(found.gap, gap, rtol=1e-12)
        pairs = sorted(zip(found.first, found.second, found.distance, strict=True))
        np.testing.assert_allclose(np.array(pairs), np.array(sorted(expected)), rtol=1e-12)


def test_offsets_lead_from_the_first_bead_to_an_image_of_the_second():
    rng = np.random.default_rng(3)
    box, tilt = np.array([8.0, 9.0, 7.0]), 2.5
    groups = [disc(rng, 30, rng.uniform(0, 1, 3) * box, [2, 2, 0.5]) for _ in range(5)]
    found = close_beads(groups, box, tilt, cutoff=2.0)
    assert len(found.first)
    x = np.concatenate(groups)
    images = (found.offset - x[found.second] + x[found.first]) @ np.linalg.inv(lattice(box, tilt))
    np.testing.assert_allclose(images, np.round(images), atol=1e-9)


def test_one_group_alone_has_no_pair_and_an_infinite_gap():
    found = close_beads([np.zeros((4, 3))], np.full(3, 10.0), cutoff=1.0)
    assert found.gap.tolist() == [np.inf]
    assert len(found.distance) == 0
    assert len(close_beads([], np.full(3, 10.0), cutoff=1.0).gap) == 0


@pytest.mark.parametrize("tilt", [0.0, 3.3, -4.0, 14.0])
def test_minimum_image_is_the_shortest_one_where_that_is_below_half_a_height(tilt):
    rng = np.random.default_rng(5)
    box = np.array([8.0, 9.0, 7.0])
    edges = lattice(box, tilt)
    short = rng.normal(size=(200, 3))
    short *= (rng.uniform(0, 3.2, size=200) / np.linalg.norm(short, axis=1))[:, None]
    moved = short + rng.integers(-3, 4, size=(200, 3)) @ edges
    np.testing.assert_allclose(minimum_image(moved, box, tilt), short, atol=1e-9)


def test_a_tilt_of_a_whole_box_is_no_tilt():
    box = np.array([8.0, 9.0, 7.0])
    np.testing.assert_allclose(lattice(box, 8.0), np.diag(box))
    np.testing.assert_allclose(lattice(box, 11.0), lattice(box, 3.0))
