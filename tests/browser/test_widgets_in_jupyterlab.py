"""The widgets and views of labkit.ui and labkit.viz, used in JupyterLab as a person does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

RED = "rgb(179, 38, 30)"

FORM = [
    """\
from typing import Literal

preset: Literal["quick", "full"] = "quick"  # how much work
n: int = 3  # a count
sizes: list[int] = [1, 2]  # some numbers
limit: int | None = None  # at most so many
""",
    "import labkit\nfrom labkit import ui",
    "def show(n, sizes, limit):\n    print(f'result {n} {sum(sizes)} {limit}')",
    "ui.parameter_form(globals(), 'form.ipynb', show, bounds={'n': (0, 10)})",
    "ui.runs_table('runs')",
    "labkit.record(total=n * sum(sizes))",
]

VIEWS = [
    "from labkit import viz\nfrom rdkit import Chem",
    "viz.view_molecule('CC(=O)Oc1ccccc1C(=O)O', range(13), label='order', unit='1')",
    "viz.view_molecule('CN1C=NC2=C1C(=O)N(C(=O)N2C)C', style='sphere')",
    "viz.view_structure(viz.embed('CC(=O)Oc1ccccc1C(=O)O'))",
    "import nglview\nviz.view_structure(nglview.datafiles.PDB, representation='cartoon')",
]


def write_notebook(path: Path, sources: list[str]) -> None:
    """Write a notebook whose first cell is its parameters cell."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def errors(cells: list[dict[str, Any]]) -> list[str]:
    return [
        output["evalue"]
        for cell in cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "error"
    ]


def test_form_applies_refuses_and_runs_in_batch(lab: Any) -> None:
    write_notebook(lab.root / "form.ipynb", FORM)
    lab.open("form.ipynb")
    assert not errors(lab.run_all())
    page = lab.page

    page.locator(".labkit-parameter-sizes input").fill("4, 5, 6")
    lab.move(page.locator(".labkit-parameter-n .noUi-handle"))
    page.locator(".labkit-parameter-limit input").fill("7")
    page.locator(".labkit-apply").click()
    page.wait_for_selector(".labkit-form-output >> text=result 4 15 7", timeout=30_000)
    assert "-p n 4 -p sizes 4,5,6 -p limit 7" in page.inner_text(".labkit-form-command")
    lab.screenshot("form-applied")

    page.locator(".labkit-parameter-sizes input").fill("4, five")
    page.locator(".labkit-apply").click()
    refused = page.locator(".labkit-form-message span", has_text="must be")
    refused.wait_for(timeout=30_000)
    assert "sizes must be a list of int, got '4, five'" in refused.inner_text()
    assert refused.evaluate("node => getComputedStyle(node).color") == RED
    assert "result 4 15 7" in page.inner_text(".labkit-form-output")
    lab.screenshot("form-refused")

    page.locator(".labkit-parameter-sizes input").fill("10")
    page.locator(".labkit-parameter-sizes input").press("Tab")
    # on a busy machine a click can overtake the text, and the kernel refuse the old one again
    page.wait_for_selector(".labkit-form-command >> text=-p sizes 10", timeout=30_000)
    page.locator(".labkit-batch").click()
    page.wait_for_selector(".labkit-form-run >> text=batch run completed", timeout=180_000)
    lab.screenshot("form-batch")

    page.locator(".labkit-refresh").click()
    page.wait_for_selector(".labkit-runs-table table", timeout=30_000)
    table = page.inner_text(".labkit-runs-table")
    assert "40" in table.split()
    lab.screenshot("runs-table", ".labkit-runs")
    page.locator(".labkit-runs-table a").first.click()
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.context?.path?.startsWith('runs/form/0000')",
        timeout=60_000,
    )


def test_views_show_pictures(lab: Any) -> None:
    write_notebook(lab.root / "views.ipynb", VIEWS)
    lab.open("views.ipynb")
    assert not errors(lab.run_all())
    colors = lab.wait_for_canvases(4)
    for i, canvas in enumerate(lab.page.query_selector_all(".jp-OutputArea canvas")):
        canvas.scroll_into_view_if_needed()
        lab.screenshot(f"views-{i}")
    assert len(colors) == 4
    assert min(colors) > 50
    assert lab.page.locator(".jupyter-widgets-error-widget").count() == 0
    solid = lab.page.locator(".labkit-solid").first
    assert solid.evaluate("node => node.style.visibility") == "visible"


def test_molecule_without_network_stays_a_flat_drawing_with_a_reason(offline_lab: Any) -> None:
    write_notebook(offline_lab.root / "offline.ipynb", VIEWS[:2])
    offline_lab.open("offline.ipynb")
    assert not errors(offline_lab.run_all())
    page = offline_lab.page
    page.wait_for_selector(".labkit-note >> text=no network", timeout=60_000)
    offline_lab.screenshot("molecule-offline")
    assert page.locator(".labkit-flat img").evaluate("node => node.naturalWidth") > 100
    assert page.locator(".labkit-solid canvas").count() == 0
