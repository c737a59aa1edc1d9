"""The views of the hotspots study, drawn and clicked in a real browser."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labkit.hotspots import view3d
from labkit.hotspots.examples import example

from .test_widgets_in_jupyterlab import errors, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LEVELS = 6
CELLS = [
    "from labkit import viz\nfrom labkit.hotspots import view3d, widgets\nviz.use_style()",
    """\
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.scores import contact_scores
system = example('ergotamine', step=2)
contacts = compute_contacts(system).pocket()
scores = contact_scores(contacts)
""",
    "widgets.atom_explorer(system, contacts, scores, score='flicker', n_frames=10)",
    "widgets.cutoff_explorer(contacts)",
    "widgets.score_explorer(system, scores, score='flicker')",
]


@pytest.fixture
def page(browser: Any, three_d_mol: bytes) -> Any:
    """Open a page that reaches nothing but 3Dmol.js."""
    context = browser.new_context(viewport={"width": 700, "height": 560})
    context.route("**/*", lambda route: route.abort())
    context.route(
        "**/npm/3dmol@*/**",
        lambda route: route.fulfill(body=three_d_mol, content_type="text/javascript"),
    )
    yield context.new_page()
    context.close()


def pixels(target: Any) -> np.ndarray:
    """Screenshot of a canvas or page as (height, width, 3) numbers from 0 to 255."""
    image = Image.open(io.BytesIO(target.screenshot())).convert("RGB")
    return np.asarray(image, dtype=float)


def share_of_each(colors: list[str], picture: np.ndarray) -> np.ndarray:
    """Share of the colored pixels that have each color, whatever the light on them.

    Light and haze turn a color c into a * c + b * white, which keeps its hue, measured here as
    (green - blue) / (red - blue) from yellow (1) to red (0); how colorful a pixel is tells pale
    colors from full ones of nearly the same hue. Background, protein and text are gray.
    """
    flat = picture.reshape(-1, 3)
    red, green, blue = flat.T
    flat = flat[(red > green) & (green > blue) & (red - blue > 40)]
    wanted = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors], dtype=float)
    gaps = np.linalg.norm(_hue(flat)[:, None] - _hue(wanted), axis=2)
    nearest = np.where(gaps.min(axis=1) < 0.04, gaps.argmin(axis=1), -1)
    return np.array([(nearest == i).mean() for i in range(len(colors))])


def _hue(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = rgb.T
    return np.column_stack([(green - blue) / (red - blue), 0.15 * (red - blue) / red])


def drawn(page: Any, fragment: str) -> np.ndarray:
    page.set_content(f"<html><body style='background:white'>{fragment}</body></html>")
    page.wait_for_selector(".labkit-solid canvas", timeout=60_000)
    page.wait_for_timeout(1500)
    return pixels(page.locator(".labkit-solid"))


def test_exported_view_shows_the_score_colors(page: Any) -> None:
    system = example("ergotamine")
    values = np.arange(system.n_atoms) * LEVELS // system.n_atoms / (LEVELS - 1)
    scale = view3d.score_scale(values)
    colors = [scale.color(value) for value in np.unique(values)[1:]]
    picture = drawn(page, view3d.show_hotspots(system, values).to_html())
    shares = share_of_each(colors, picture)
    assert (shares > 0.08).sum() >= 4, dict(zip(colors, shares, strict=True))
    # The measure itself: a ligand of one color must not look like several.
    alike = view3d.show_hotspots(system, np.full(system.n_atoms, 0.6), scale=scale)
    shares = share_of_each(colors, drawn(page, alike.to_html()))
    assert (shares > 0.08).tolist() == [color == scale.color(0.6) for color in colors]


def test_click_on_an_atom_of_the_exported_view_says_its_value(page: Any) -> None:
    system = example("ergotamine")
    values = np.zeros(system.n_atoms)
    values[-1] = 1.0
    view = view3d.show_hotspots(system, values)
    before = drawn(page, view.to_html())
    dark = np.argwhere((before[..., 0] > 90) & (before[..., 2] < 30) & (before[..., 1] < 90))
    row, column = dark[len(dark) // 2]
    box = page.locator(".labkit-solid").bounding_box()
    page.mouse.click(box["x"] + float(column), box["y"] + float(row))
    page.wait_for_timeout(1000)
    after = pixels(page.locator(".labkit-solid"))
    changed = np.abs(after - before).max(axis=2) > 30
    assert 100 < changed.sum() < 5000
    rows, columns = np.nonzero(changed)
    assert np.hypot(rows.mean() - row, columns.mean() - column) < 60


def ligand_pixel(canvas: Any) -> tuple[float, float]:
    """Page coordinates of a pixel on a vermillion or dark red atom."""
    picture, box = pixels(canvas), canvas.bounding_box()
    red, green, blue = (picture[..., i] for i in range(3))
    rows, columns = np.nonzero((red > 120) & (blue < 60) & (red - green > 40))
    assert len(rows) > 50
    middle = len(rows) // 2
    return box["x"] + float(columns[middle]), box["y"] + float(rows[middle])


def test_clicks_lists_and_sliders_change_the_timeline(lab: Any) -> None:
    write_notebook(lab.root / "hotspot_views.ipynb", CELLS)
    lab.open("hotspot_views.ipynb")
    assert not errors(lab.run_all())
    page = lab.page
    explorer = page.locator(".labkit-atom-explorer").first
    explorer.scroll_into_view_if_needed()
    assert min(lab.wait_for_canvases(1)) > 50
    lab.screenshot("hotspots-atom-explorer")

    image = explorer.locator(".labkit-atom-timeline")
    chosen = explorer.locator("select")

    def shown() -> str:
        return str(image.get_attribute("src"))

    def waits_for_another(old: str) -> bool:
        for _ in range(60):
            if shown() != old:
                lab.wait_idle()
                return True
            page.wait_for_timeout(250)
        return False

    chosen.select_option(index=12)
    page.wait_for_timeout(500)
    lab.wait_idle()
    before, listed = shown(), chosen.input_value()
    page.mouse.click(*ligand_pixel(explorer.locator("canvas").first))
    assert waits_for_another(before)
    assert chosen.input_value() != listed
    lab.screenshot("hotspots-atom-clicked")

    before = shown()
    lab.move(explorer.locator(".noUi-handle").last)
    assert waits_for_another(before)

    before = pixels(explorer.locator("canvas").first)
    explorer.locator("canvas").first.hover()
    explorer.locator(".widget-play button").first.click()
    page.wait_for_timeout(3000)
    assert (
        np.abs(pixels(explorer.locator("canvas").first) - before).max(axis=2) > 30
    ).mean() > 0.02

    for css in (".labkit-cutoff-explorer", ".labkit-score-explorer"):
        box = page.locator(css).first
        box.scroll_into_view_if_needed()
        control = box.locator(".noUi-handle, select").first
        assert lab.changes_something(control, css)
        lab.screenshot(f"hotspots{css.removeprefix('.labkit')}")
    page.locator(".labkit-score-explorer button", has_text="3D").click()
    page.wait_for_selector(".labkit-score-explorer .labkit-solid canvas", timeout=60_000)
    assert page.locator(".jupyter-widgets-error-widget").count() == 0
