import numpy as np
import pytest

from labkit.clot.vicinity import Wear, nearest_image, within


def test_points_near_beads_are_those_near_any_image():
    rng = np.random.default_rng(0)
    box, tilt = np.array([6.0, 5.0, 7.0]), 2.9
    edges = np.diag(box)
    edges[1, 0] = tilt
    points, beads = (rng.uniform(size=(n, 3)) @ edges for n in (400, 5))
    cells = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    images = (beads + (cells @ edges)[:, None]).reshape(-1, 3)
    distance = np.linalg.norm(points[:, None] - images, axis=-1).min(axis=1)
    found = within(points, beads, box, tilt=tilt, reach=1.7)
    assert found.tolist() == np.flatnonzero(distance < 1.7).tolist()


def test_the_nearest_image_does_not_depend_on_the_image_that_is_given():
    rng = np.random.default_rng(1)
    box, tilt, rate = np.array([6.0, 5.0, 7.0]), -2.0, 0.5
    edges = np.diag(box)
    edges[1, 0] = tilt
    near = rng.uniform(-10, 10, size=(50, 3))
    cells = rng.integers(-4, 5, size=(50, 3))
    x, gain = nearest_image(near + 0.3 + cells @ edges, near, box, tilt=tilt, rate=rate)
    assert x == pytest.approx(near + 0.3)
    assert gain == pytest.approx(-cells[:, 1] * rate * box[1])


def test_pairs_do_not_come_closer_than_their_wear_allows():
    """Random walks in shear; a pair that was farther apart than cutoff and margin stays out."""
    rng = np.random.default_rng(2)
    n, cutoff, margin, rate, step = 300, 1.0, 0.4, 0.5, 0.02
    x = rng.uniform(0, 4, size=(n, 3))
    wear = Wear(margin, reach=cutoff + margin, rate=rate, n_beads=20, n_plasma=n - 20)
    apart = np.linalg.norm(x[:, None] - x, axis=-1) > cutoff + margin
    n_steps = 0
    while wear.allows_pairs():
        moved = rng.normal(scale=0.01, size=(n, 3))
        x += moved
        x[:, 0] += rate * step * x[:, 1]
        wear.move(moved, step)
        n_steps += 1
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    assert distance[apart].min() > cutoff
    assert n_steps > 3
    wear.renew()
    assert wear.allows_pairs()
