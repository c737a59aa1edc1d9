"""Membranes in pictures are closed, whole, inside the box, and carry what their beads carry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labkit.clot.analysis.stress import membrane_stress
from labkit.clot.flows import Quiescent
from labkit.clot.forcefield import ForceField
from labkit.clot.observe import observe
from labkit.clot.platelet import Platelet
from labkit.clot.state import Snapshot
from labkit.clot.surfaces import bead_values, surfaces, thinned
from labkit.clot.suspension import Placed, Suspension
from labkit.errors import ParameterError

PLATELET = Platelet.oblate(2.0, 0.7, spacing=0.6)
BOX = np.array([9.0, 9.0, 9.0])


@pytest.fixture(scope="module")
def pair() -> Suspension:
    """Two flat platelets close to each other, one of them across the corner of the box."""
    places = [(0.3, 0.2, 0.5), (0.8, 2.2, 0.5)]
    placed = [Placed(PLATELET, center, (0, 1, 0)) for center in places]
    return Suspension.build(BOX, placed, density=0.2)


def snapshot_of(suspension: Suspension, *, tilt: float = 0.0, scale: float = 1.0) -> Snapshot:
    """Wrap the built state, each platelet `scale` times larger, into a box that is tilted."""
    x = suspension.positions.copy()
    for p in range(suspension.n_platelets):
        beads = suspension.beads(p)
        x[beads] = x[beads].mean(axis=0) + scale * (x[beads] - x[beads].mean(axis=0))
    image = np.zeros(x.shape, dtype=np.int32)
    image[:, 1] = np.floor(x[:, 1] / BOX[1])
    x[:, 0] -= image[:, 1] * tilt
    x[:, 1] -= image[:, 1] * BOX[1]
    for axis in (0, 2):
        image[:, axis] = np.floor(x[:, axis] / BOX[axis])
        x[:, axis] -= image[:, axis] * BOX[axis]
    return Snapshot(x=x, v=0 * x, image=image, box=BOX, tilt=tilt)


def volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = vertices[triangles].swapaxes(0, 1)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def assert_closed(triangles: np.ndarray) -> None:
    """Each edge belongs to two faces, which run along it in opposite directions."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert set(map(tuple, edges)) == set(map(tuple, edges[:, ::-1]))


@pytest.mark.parametrize("n", [24, 60, 95])
def test_thinned_platelets_are_closed_and_keep_most_of_their_volume(n):
    kept, triangles = thinned(PLATELET.membrane, n)
    assert len(set(kept)) == n
    assert_closed(triangles)
    assert len(triangles) == 2 * n - 4  # Euler: V - E + F = 2 with 3 F = 2 E
    found = volume(PLATELET.membrane[kept], triangles)
    # A polyhedron of n vertices inside a sphere lacks about 7 / n of its volume, an ellipsoid too.
    assert 1 - 9 / n < found / PLATELET.volume <= 1.001


@pytest.mark.parametrize("tilt", [0.0, 2.5, -4.0])
@pytest.mark.parametrize("most", [150, 40])
def test_platelets_across_the_box_are_whole_and_centered_inside(pair, tilt, most):
    snapshot = snapshot_of(pair, tilt=tilt)
    [both] = surfaces([snapshot], pair, most_vertices=most)
    for platelet, surface in enumerate(both):
        assert len(surface.vertices) == min(most, PLATELET.n_membrane)
        built = pair.positions[surface.beads]
        shape = built - built.mean(axis=0)
        center = surface.vertices.mean(axis=0)
        np.testing.assert_allclose(surface.vertices - center, shape, atol=1e-9)
        assert (center[1:] >= 0).all()
        assert (center[1:] < BOX[1:]).all()
        along = center[0] - tilt * center[1] / BOX[1]
        assert -abs(tilt) <= along < BOX[0] + abs(tilt)
        assert_closed(surface.triangles)
        assert volume(surface.vertices, surface.triangles) > 0
        assert set(pair.molecule[surface.beads]) == {platelet + 1}


def test_meshes_are_the_same_at_all_times(pair):
    first, second = surfaces(
        [snapshot_of(pair), snapshot_of(pair, scale=1.1)], pair, most_vertices=40
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.triangles, b.triangles)
        np.testing.assert_array_equal(a.beads, b.beads)


def test_stretch_of_a_swollen_platelet_is_how_much_it_swelled(pair):
    values = bead_values("stretch", snapshot_of(pair, scale=1.05), pair)
    membrane = pair.types[: pair.n_beads] == 2
    np.testing.assert_allclose(values[membrane], 5.0)
    np.testing.assert_array_equal(values[~membrane], 0)


def test_contacts_of_beads_add_up_to_those_of_platelets(pair):
    snapshot, forces = snapshot_of(pair), ForceField()
    wide = replace(forces, receptors=replace(forces.receptors, cutoff=1.4))
    values = bead_values("contacts", snapshot, pair, forcefield=wide)
    observed = observe(pair, snapshot, wide, Quiescent())
    sums = [values[pair.beads(p)].sum() for p in range(2)]
    np.testing.assert_array_equal(sums, observed.contacts)
    assert sums[0] > 0


def test_stress_stands_at_the_membrane_beads(pair):
    snapshot, forces = snapshot_of(pair, scale=1.02), ForceField()
    values = bead_values("stress", snapshot, pair, forcefield=forces)
    stress = membrane_stress(pair, snapshot, forces).von_mises
    np.testing.assert_array_equal(values[pair.types[: pair.n_beads] == 2], stress)


def test_platelets_are_numbered_from_one(pair):
    values = bead_values("platelet", snapshot_of(pair), pair)
    assert set(values) == {1.0, 2.0}


def test_what_cannot_be_shown_is_refused(pair):
    snapshot = snapshot_of(pair)
    with pytest.raises(ParameterError, match=r"color_by='stres' is not allowed.*Did you mean"):
        bead_values("stres", snapshot, pair)
    with pytest.raises(ParameterError, match="give at least one state"):
        surfaces([], pair)
    with pytest.raises(ParameterError, match="most_vertices=3"):
        surfaces([snapshot], pair, most_vertices=3)
