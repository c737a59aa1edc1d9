"""The page holds the meshes of all times in little space, and a flat picture in their place."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from labkit.clot.platelet import Platelet
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Placed, Suspension
from labkit.clot.view import film, flat_drawing, outlines, polygons, projected, show_platelets
from labkit.errors import ParameterError

BOX = np.array([9.0, 9.0, 9.0])


@pytest.fixture(scope="module")
def suspension() -> Suspension:
    platelet = Platelet.oblate(2.0, 0.7, spacing=0.6)
    places = [(3.0, 2.0, 3.0), (5.0, 4.5, 5.0), (4.0, 7.0, 4.0)]
    return Suspension.build(BOX, [Placed(platelet, c, (0, 1, 0)) for c in places], density=0.2)


@pytest.fixture(scope="module")
def snapshot(suspension) -> Snapshot:
    x, image = suspension.wrapped()
    return Snapshot(x=x, v=0 * x, image=image, box=BOX, time=1.5)


def page_data(page: str) -> dict:
    found = re.search(r"var data = (\{.*?\}), shown", page)
    assert found is not None
    return json.loads(found.group(1))


def test_page_holds_every_time_to_a_hundredth(suspension, snapshot):
    later = replace(snapshot, x=snapshot.x + 0.2, time=2.0)
    data = page_data(show_platelets([snapshot, later], suspension).to_html())
    assert [now["t"] for now in data["times"]] == ["1.5", "2"]
    pictures = film([snapshot, later], suspension)
    for now, picture in zip(data["times"], pictures, strict=True):
        for flat, surface in zip(now["v"], picture.surfaces, strict=True):
            shown = np.reshape(flat, (-1, 3)) / 100
            np.testing.assert_allclose(shown, surface.vertices, atol=0.0051)


def test_faces_and_colors_point_at_vertices_that_are_there(suspension, snapshot):
    data = page_data(show_platelets(snapshot, suspension, color_by="stretch").to_html())
    [now] = data["times"]
    assert len(data["meshes"]) == 1  # three equal platelets share their faces
    for flat, colors, mesh in zip(now["v"], now["c"], data["mesh"], strict=True):
        n = len(flat) // 3
        assert max(data["meshes"][mesh]) == n - 1
        assert len(colors) in (1, n)
        assert max(colors) < len(data["colors"])


@pytest.mark.parametrize("color_by", ["platelet", "contacts"])
def test_a_long_film_stays_below_two_megabytes(suspension, snapshot, color_by):
    rng = np.random.default_rng(0)
    times = [
        replace(snapshot, x=snapshot.x + rng.normal(0, 0.05, snapshot.x.shape), time=float(k))
        for k in range(150)
    ]
    page = show_platelets(times, suspension, color_by=color_by).to_html()
    assert len(page) < 2e6
    assert len(page_data(page)["times"]) == 150


def test_times_are_left_out_evenly_where_there_are_too_many(suspension, snapshot, monkeypatch):
    monkeypatch.setattr("labkit.clot.view.LIMIT", 24 * 3 * 4)
    times = [replace(snapshot, time=float(k)) for k in range(10)]
    assert [picture.time for picture in film(times, suspension)] == [0, 3, 6, 9]


def test_platelets_have_colors_of_their_own(suspension, snapshot):
    [picture] = film(snapshot, suspension)
    colors = [set(shades) for shades in picture.colors]
    assert all(len(one) == 1 for one in colors)
    assert len(set.union(*colors)) == 3
    assert picture.scale is None


def test_legend_says_what_the_colors_mean_at_all_times(suspension, snapshot):
    view = show_platelets(snapshot, suspension, color_by="contacts")
    assert "Beads of other platelets within reach" in view.to_html()
    assert view.drawing.text.startswith("3 platelets at time 1.5, colored by beads of other")


def test_box_has_twelve_edges_as_long_as_its_sides():
    edges = outlines(np.array([4.0, 5.0, 6.0]), 3.0)
    lengths = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    # Tilted by 3 of 4, the nearest equal box is tilted by -1.
    expected = [4.0] * 4 + [np.hypot(5.0, 1.0)] * 4 + [6.0] * 4
    np.testing.assert_allclose(np.sort(lengths), np.sort(expected))


def test_flat_picture_shows_the_triangles_that_face_the_viewer_nearest_last(suspension, snapshot):
    [picture] = film(snapshot, suspension)
    corners, colors = polygons(picture)
    assert len(corners) == len(colors)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0).all()
    # A convex body shows the area of its outline: here that of its projected hull.
    from scipy.spatial import ConvexHull

    shadow = sum(
        ConvexHull(projected(surface.vertices, picture)[:, :2]).volume
        for surface in picture.surfaces
    )
    area = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    assert area == pytest.approx(shadow, rel=1e-3)


def test_flat_picture_is_within_its_frame(suspension, snapshot):
    drawing = flat_drawing(film(snapshot, suspension), width_px=300, height_px=200)
    points = re.findall(r'points="([^"]*)"', drawing.svg)
    places = np.array([[float(v) for v in p.split(",")] for line in points for p in line.split()])
    assert (places >= 0).all()
    assert (places <= [300, 200]).all()


def test_states_of_something_else_are_refused(suspension, snapshot):
    with pytest.raises(ParameterError, match="use a snapshot of the same suspension"):
        show_platelets(replace(snapshot, x=snapshot.x[1:]), suspension)


def test_unknown_colors_are_refused(suspension, snapshot):
    with pytest.raises(ParameterError, match="color_by='speed' is not allowed; use 'platelet'"):
        show_platelets(snapshot, suspension, color_by="speed")
