"""The figure style, and that its colors survive color blindness."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from nbclient import NotebookClient

from labkit.viz.style import MPLSTYLE, OKABE_ITO, PALETTE, axis_label, new_axes, use_style

# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291-1298, table for severity 1.0.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def seen_as_lab(color: str, vision: str) -> np.ndarray:
    """CIELAB coordinates of a color as a person with that vision sees it."""
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_palette_colors_stay_apart_for_color_blind_readers(vision: str) -> None:
    # A difference of 2.3 is just noticeable; series in a figure need several times that.
    lab = [seen_as_lab(color, vision) for color in PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 10


def test_palette_holds_only_okabe_and_itos_colors() -> None:
    assert set(PALETTE) <= set(OKABE_ITO.values())
    assert len(set(PALETTE)) == len(PALETTE)


def test_style_file_cycles_through_the_palette() -> None:
    with plt.style.context(MPLSTYLE):
        cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert [to_rgb(color) for color in cycle] == [to_rgb(color) for color in PALETTE]


def test_new_axes_have_the_style_without_changing_the_defaults() -> None:
    before = plt.rcParams["axes.spines.top"]
    ax = new_axes(width_in=3, height_in=2)
    assert tuple(ax.figure.get_size_inches()) == (3, 2)
    assert not ax.spines["top"].get_visible()
    assert plt.rcParams["axes.spines.top"] == before
    plt.close(ax.figure)


def test_style_draws_without_complaints(caplog: pytest.LogCaptureFixture) -> None:
    ax = new_axes()
    ax.set(title="title", xlabel="x", ylabel="y")
    ax.plot([0, 1], label="line")
    ax.legend()
    ax.figure.canvas.draw()
    plt.close(ax.figure)
    assert not caplog.records


def test_use_style_changes_the_defaults() -> None:
    with plt.rc_context():
        use_style()
        assert plt.rcParams["axes.spines.top"] is False


@pytest.mark.parametrize(
    ("quantity", "unit", "label"),
    [
        ("torsion angle", "degree", "Torsion angle (degree)"),
        ("logP", "", "logP"),
        ("IRLbl", "", "IRLbl"),
        ("", "nm", " (nm)"),
    ],
)
def test_axis_labels_keep_names_and_carry_units(quantity: str, unit: str, label: str) -> None:
    assert axis_label(quantity, unit) == label


@pytest.mark.parametrize(
    "first",
    [
        "viz.new_axes().plot([1, 2])",
        "viz.use_style()\nwith plt.style.context('labkit.viz.labkit'):\n    plt.plot([1, 2])",
    ],
)
def test_figures_of_all_cells_show_in_a_notebook(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    setup = "import matplotlib.pyplot as plt\nfrom labkit import viz\n"
    cells = [setup + first, "viz.new_axes().plot([2, 1])", "plt.figure()\nplt.plot([1])"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    for cell in notebook.cells:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source
