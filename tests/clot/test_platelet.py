"""The platelet's mesh: its shape in closed form, its topology, its rigidity, its tightness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial import ConvexHull, cKDTree

from labkit.clot.forcefield import Interface
from labkit.clot.platelet import (
    CYTOPLASM_CLEARANCE,
    Platelet,
    spheroid_area,
    spheroid_volume,
)
from labkit.errors import ParameterError

SHAPES = [(2.0, 0.6, 0.6), (3.0, 0.75, 0.55), (4.0, 1.0, 0.6), (2.0, 1.2, 0.6)]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def shape(request):
    a, c, spacing = request.param
    return a, c, spacing, Platelet.oblate(a, c, spacing=spacing)


def test_area_and_volume_are_the_spheroids(shape):
    a, c, _, platelet = shape
    assert platelet.volume == pytest.approx(spheroid_volume(a, c), rel=1e-12)
    assert platelet.area == pytest.approx(spheroid_area(a, c), rel=0.01)


def test_area_and_volume_agree_with_scipys_hull(shape):
    _, _, _, platelet = shape
    hull = ConvexHull(platelet.membrane)
    assert platelet.volume == pytest.approx(hull.volume, rel=1e-12)
    assert platelet.area == pytest.approx(hull.area, rel=1e-12)


def test_area_in_closed_form_is_the_integral_over_the_surface_of_revolution():
    a, c = 2.0, 0.6
    integrand = lambda z: 2 * np.pi * (a / c) * np.sqrt(c**2 + ((a / c) ** 2 - 1) * z**2)  # noqa: E731
    assert spheroid_area(a, c) == pytest.approx(quad(integrand, -c, c)[0], rel=1e-9)


def test_finer_meshes_come_nearer_to_the_spheroid():
    errors = [
        abs(Platelet.oblate(3.0, 1.5, spacing=s).area / spheroid_area(3.0, 1.5) - 1)
        for s in (0.8, 0.4, 0.2)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_mesh_is_a_closed_surface_of_euler_characteristic_two(shape):
    _, _, _, platelet = shape
    triangles = platelet.triangles
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    once = np.unique(directed, axis=0)
    assert len(once) == len(directed)
    assert {tuple(side) for side in once} == {tuple(side[::-1]) for side in once}
    n_edges = np.count_nonzero(~platelet.is_strut)
    assert n_edges == len(directed) // 2
    assert platelet.n_membrane - n_edges + len(triangles) == 2
    assert set(triangles.ravel()) == set(range(platelet.n_membrane))


def test_all_faces_look_outward(shape):
    _, _, _, platelet = shape
    normals, offsets = platelet.half_spaces
    assert offsets.min() > 0
    heights = platelet.membrane @ normals.T
    assert np.all(heights <= offsets + 1e-9)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0)


def test_beads_stand_for_equal_areas(shape):
    # Second moments of a surface of equal mass per area, by quadrature over the height z.
    a, c, _, platelet = shape
    growth = lambda z: np.sqrt(c**2 + ((a / c) ** 2 - 1) * z**2)  # noqa: E731
    total = quad(growth, -c, c)[0]
    along = quad(lambda z: z**2 * growth(z), -c, c)[0] / total
    across = quad(lambda z: 0.5 * a**2 * (1 - z**2 / c**2) * growth(z), -c, c)[0] / total
    # The mesh is 1 to 3 % wider than the spheroid, so its second moments are 2 to 6 % larger.
    assert platelet.gyration_axes == pytest.approx([along, across, across], rel=0.07)
    moments = np.array([along, across, across])
    widening = platelet.gyration_axes / moments
    assert np.ptp(widening) < 0.005


def test_springs_are_at_rest_and_none_is_doubled(shape):
    _, _, _, platelet = shape
    ends = platelet.positions[platelet.bonds]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    assert platelet.rest_lengths == pytest.approx(lengths, rel=1e-12)
    assert len(np.unique(np.sort(platelet.bonds, axis=1), axis=0)) == len(platelet.bonds)
    assert np.all(platelet.bonds[:, 0] != platelet.bonds[:, 1])
    assert platelet.bonds.max() < platelet.n_membrane


def test_neighbors_on_the_membrane_are_the_spacing_apart(shape):
    _, _, spacing, platelet = shape
    nearest = cKDTree(platelet.membrane).query(platelet.membrane, k=2)[0][:, 1]
    assert nearest.min() > 0.75 * spacing
    assert nearest.mean() == pytest.approx(spacing, rel=0.15)


def test_springs_leave_only_the_six_motions_of_a_rigid_body_free():
    platelet = Platelet.oblate()
    n = platelet.n_membrane
    along = platelet.membrane[platelet.bonds[:, 0]] - platelet.membrane[platelet.bonds[:, 1]]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    compatibility = np.zeros((len(platelet.bonds), n, 3))
    rows = np.arange(len(platelet.bonds))
    compatibility[rows, platelet.bonds[:, 0]] = along
    compatibility[rows, platelet.bonds[:, 1]] = -along
    rank = np.linalg.matrix_rank(compatibility.reshape(len(rows), -1), tol=1e-8)
    assert rank == 3 * n - 6


def test_no_point_of_the_membrane_is_out_of_reach_of_a_beads_repulsion():
    platelet = Platelet.oblate()
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], size=200)
    points = np.einsum("wk,mkd->mwd", weights, platelet.positions[platelet.triangles])
    distance, _ = cKDTree(platelet.membrane).query(points.reshape(-1, 3))
    # At 0.45 the default repulsion is above 100 kT.
    assert distance.max() < 0.45 < Interface().sigma


def test_cytoplasm_is_inside_and_packed_at_its_spacing(shape):
    _, _, _, platelet = shape
    normals, offsets = platelet.half_spaces
    cytoplasm = platelet.positions[platelet.n_membrane :]
    assert np.all(cytoplasm @ normals.T < offsets)
    nearest = cKDTree(cytoplasm).query(cytoplasm, k=2)[0][:, 1]
    assert nearest == pytest.approx(0.62)
    to_membrane = cKDTree(platelet.membrane).query(cytoplasm)[0]
    assert to_membrane.min() >= CYTOPLASM_CLEARANCE * 0.62


def test_thick_cytoplasm_is_a_close_packing():
    platelet = Platelet.oblate(4.0, 2.4)
    cytoplasm = platelet.positions[platelet.n_membrane :]
    neighbors = cKDTree(cytoplasm).query_ball_point(cytoplasm, 0.62 * 1.01, return_length=True)
    assert neighbors.max() == 13


def test_struts_through_the_inside_are_as_many_as_asked_for():
    none, three = (Platelet.oblate(n_struts=n) for n in (0, 3))
    assert none.is_strut.sum() == pytest.approx((~none.is_strut).sum(), abs=12)
    assert none.is_strut.sum() < three.is_strut.sum() <= none.is_strut.sum() + 3 * 95


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"a": 1.2, "c": 0.9},
            r"a=1.2 is not allowed with c=0.9; .* at least 1.5 c, which is 1.35",
        ),
        ({"c": 0.3}, r"c=0.3 is not allowed with spacing=0.6 .* at least 0.6"),
        ({"c": 0.5, "spacing": 0.3, "cytoplasm_spacing": 0.8}, r"c=0.5 .* at least 0.6"),
        ({"a": -2.0}, r"a=-2.0 is not allowed; use a finite number above 0"),
        ({"a": float("nan")}, r"a=nan is not allowed"),
        ({"spacing": 0.0}, r"spacing=0.0 is not allowed"),
        ({"spacing": 0.001}, r"spacing=0.001 is not allowed with a=2; use at least 0.041"),
        ({"n_struts": 2.5}, r"n_struts=2.5: use a whole number"),
    ],
)
def test_shapes_that_are_no_platelet_are_refused(choice, message):
    with pytest.raises(ParameterError, match=message):
        Platelet.oblate(**choice)
