"""Every notebook, run in a real JupyterLab and looked at in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
CONTROLS = (".widget-slider .noUi-handle", ".widget-dropdown select")
TRIES = 6

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def _wishes(name: str) -> dict[str, str]:
    """Metadata ``labkit.browser`` of a notebook: which control to move and what to watch."""
    notebook = json.loads((ROOT / "notebooks" / name).read_text())
    return notebook["metadata"].get("labkit", {}).get("browser", {})


def _controls(lab: Any) -> list[Any]:
    """Sliders, then lists, that are not part of a parameter form."""
    found = []
    for control in CONTROLS:
        selector = f".jp-OutputArea {control}:not(.labkit-parameter-form *)"
        found += lab.page.locator(selector).all()
    return found[:TRIES]


def _has_picture(cell: dict[str, Any]) -> bool:
    shown = [output.get("data", {}) for output in cell["outputs"]]
    return any("image/png" in data or "<img" in str(data.get("text/html")) for data in shown)


def _problems(cells: list[dict[str, Any]]) -> list[str]:
    """Say which code cells did not run, ended in an error, or lack the figure they draw."""
    found = []
    for i, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        if cell["execution_count"] is None:
            found.append(f"cell {i} did not run")
        if "plots." in cell["source"] and not _has_picture(cell):
            found.append(f"cell {i} shows no figure")
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"cell {i}: {output['ename']}: {output['evalue']}")
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_and_shows_everything_in_jupyterlab(lab: Any, name: str) -> None:
    lab.open(f"notebooks/{name}")
    cells = lab.run_all()
    assert not _problems(cells)

    colors = lab.wait_for_canvases(0)
    lab.screenshot(Path(name).stem)
    assert all(number > 50 for number in colors), f"blank canvas: colors {colors}"
    assert lab.page.locator(".jupyter-widgets-error-widget").count() == 0

    wishes = _wishes(name)
    wished = wishes.get("control")
    controls = [lab.page.locator(wished).first] if wished else _controls(lab)
    assert controls, "no slider and no list: a notebook needs a control to play with"
    watch = wishes.get("watch", ".jp-OutputArea-output")
    assert any(lab.changes_something(control, watch) for control in controls)
    lab.screenshot(f"{Path(name).stem}-moved")
    assert lab.page.locator(".jupyter-widgets-error-widget").count() == 0
