"""The runs browser, without a browser; with one in tests/browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import ui
from labkit.batch.results import SCRAP_MIME, collect
from labkit.batch.runs import directory_name, write_status


def write_run(
    folder: Path, index: int, status: str, values: dict[str, Any], **parameters: Any
) -> None:
    """Write a run's folder as the runner leaves it."""
    key = f"{index:08x}" + 56 * "0"
    run = folder / directory_name(index, parameters, key)
    run.mkdir(parents=True)
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={SCRAP_MIME: {"name": name, "data": value, "encoder": "json", "version": 1}},
        )
        for name, value in values.items()
    ]
    cell = nbformat.v4.new_code_cell("labkit.record()", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), run / "notebook.ipynb")
    write_status(
        run,
        {
            "key": key,
            "status": status,
            "parameters": parameters,
            "error": None
            if status == "completed"
            else {"name": "ValueError", "message": "<i>no</i>"},
            "started": "2026-01-01T00:00:00+00:00",
            "ended": f"2026-01-01T00:00:{index + 1:02d}+00:00",
        },
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "study-1"
    for i, seed in enumerate([2, 0, 1]):
        for j, model in enumerate(["gin", "gcn"]):
            n = 2 * i + j
            values = {"auc": 0.5 + 0.01 * n, "note": f"run {n}"}
            state = "failed" if n == 3 else "completed"
            write_run(folder, n, state, {} if n == 3 else values, seed=seed, model=model, lr=0.1)
    return folder


def table_html(table: ui.RunsTable) -> str:
    return table.table.outputs[0]["data"]["text/html"]


def test_all_runs_are_shown_at_first_with_what_varies(sweep: Path) -> None:
    table = ui.runs_table(sweep)
    assert len(table.shown) == len(collect(sweep)) == 6
    assert table.columns.value == ("seed", "model", "auc", "note", "status", "duration_s")
    assert "5 completed, 1 failed" in table.summary.value
    assert table_html(table).count("<tr>") == 7


def test_first_plot_is_the_result_against_the_parameter_varied_most(sweep: Path) -> None:
    table = ui.runs_table(sweep)
    assert (table.x.value, table.y.value, table.color.value) == ("seed", "auc", "model")
    assert "image/png" in table.plot.outputs[0]["data"]


def test_status_filters_and_columns_sort(sweep: Path) -> None:
    table = ui.runs_table(sweep)
    table.status.value = "completed"
    table.sort_by.value = "auc"
    table.descending.value = True
    expected = collect(sweep).query("status == 'completed'").sort_values("auc", ascending=False)
    assert list(table.shown["auc"]) == list(expected["auc"])
    page = table_html(table)
    assert page.index("run 5") < page.index("run 4") < page.index("run 0")
    assert "run 3" not in page
    table.status.value = "failed"
    table.columns.value = ("model", "error")
    assert "ValueError: &lt;i&gt;no&lt;/i&gt;" in table_html(table)
    assert table.plot.outputs == ()


def test_every_choice_of_columns_can_be_plotted(sweep: Path) -> None:
    table = ui.runs_table(sweep)
    nothing = table.x.options[0][1]
    for control in (table.x, table.color):
        for _, name in control.options[1:]:
            control.value = name
            assert "image/png" in table.plot.outputs[0]["data"], name
    table.x.value = nothing
    assert table.plot.outputs == ()


def test_links_lead_to_the_notebooks_from_the_current_folder(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep.parent.parent / "notebooks").mkdir()
    monkeypatch.chdir(sweep.parent.parent / "notebooks")
    table = ui.runs_table()
    assert table.folder.value == sweep
    assert table_html(table).count('href="../runs/study-1/000') == 6
    assert table_html(table).count("/notebook.ipynb") == 6


def test_refresh_finds_new_runs_and_goes_to_a_new_folder(sweep: Path) -> None:
    table = ui.runs_table(sweep.parent)
    assert table.folder.layout.display == "flex"
    write_run(sweep, 6, "timeout", {}, seed=9, model="gin", lr=0.1)
    table.sort_by.value = "seed"
    table.refresh()
    assert len(table.frame) == 7
    assert table.sort_by.value == "seed"
    write_run(sweep.with_name("study-2"), 0, "completed", {"auc": 0.9}, seed=0)
    table.refresh()
    assert table.folder.value == sweep.with_name("study-2")
    assert len(table.frame) == 1
    table.folder.value = sweep
    assert len(table.frame) == 7


def test_single_run_shows_all_its_values_once(tmp_path: Path) -> None:
    write_run(tmp_path / "s", 0, "completed", {"auc": 0.5}, seed=0)
    table = ui.runs_table(tmp_path / "s")
    assert table.columns.value == ("seed", "auc", "status", "duration_s")
    assert table.text().startswith("1 run in")


def test_text_form_is_the_table(sweep: Path) -> None:
    lines = ui.runs_table(sweep)._repr_mimebundle_()["text/plain"].splitlines()
    assert "6 runs in" in lines[0]
    assert lines[1].split() == ["seed", "model", "auc", "note", "status", "duration_s"]
    assert len(lines) == 8


@pytest.mark.parametrize("make", [False, True])
def test_no_runs_is_one_line_with_the_command_that_makes_some(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "runs"
    if make:
        (folder / "unrelated").mkdir(parents=True)
    table = ui.runs_table(folder)
    assert "no runs in" in table.text()
    assert "labkit sweep oversampling" in table.text()
    assert "\n" not in table.text()
    assert table.table.outputs == ()
    write_run(folder / "study", 0, "completed", {"auc": 0.5}, seed=0)
    table.refresh()
    assert len(table.shown) == 1


def test_damaged_status_file_does_not_hide_the_other_runs(sweep: Path) -> None:
    next(sweep.glob("*/status.json")).write_text('{"status": "comp')
    table = ui.runs_table(sweep)
    assert table.text() != ""
    assert table.frame is None or len(table.frame) >= 5


def test_long_tables_show_their_beginning(tmp_path: Path) -> None:
    for n in range(60):
        write_run(tmp_path / "s", n % 59 if n < 59 else 59, "completed", {"auc": 0.1}, seed=n)
    page = table_html(ui.runs_table(tmp_path / "s"))
    assert page.count("<tr>") == 51
    assert "the first 50 of 60" in page
