"""The parameter form, without a browser; with one in tests/browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import ui
from labkit.batch.parameters import check, read_parameters
from labkit.batch.results import read_record
from labkit.batch.runs import RunStatus, read_status, run_key
from labkit.errors import ParameterError


def test_form_shows_current_values_and_the_command_for_them(notebook: Path) -> None:
    form = ui.parameter_form({"n": 8, "lr": "broken"}, notebook)
    assert form.controls["n"].value == 8
    assert form.controls["lr"].value == 1e-3
    assert form.overrides == {"n": 8}
    assert form.shell_line == f"labkit run {notebook} -p n 8"


def test_apply_writes_checked_values_and_calls_rerun_with_them(notebook: Path) -> None:
    namespace: dict[str, Any] = {}
    seen = []
    form = ui.parameter_form(namespace, notebook, lambda **values: seen.append(values))
    form.controls["sizes"].widget.value = "8, 9"
    form.controls["model"].widget.label = "b"
    assert form.apply()
    assert (namespace["sizes"], namespace["model"], namespace["limit"]) == ([8, 9], "b", None)
    assert "stamp" not in namespace
    assert seen == [namespace]


def test_rerun_gets_only_what_its_signature_names(notebook: Path) -> None:
    seen = []
    form = ui.parameter_form({}, notebook, lambda n, lr=0.5, other=1: seen.append((n, lr, other)))
    form.apply()
    assert seen == [(3, 1e-3, 1)]


def test_refused_value_changes_nothing_and_is_named_in_red(notebook: Path) -> None:
    namespace: dict[str, Any] = {"n": 3}
    called = []
    form = ui.parameter_form(namespace, notebook, lambda **_: called.append(1))
    form.controls["n"].widget.value = 4
    form.controls["sizes"].widget.value = "1,<b>"
    assert not form.apply()
    assert namespace == {"n": 3}
    assert not called
    assert "sizes must be a list of int" in form.message.value
    assert "#B3261E" in form.message.value
    assert "<b>" not in form.message.value
    assert form.run_in_batch() is None
    form.controls["sizes"].widget.value = "1"
    assert form.message.value == ""


def test_error_in_rerun_is_one_line_and_the_form_stays_usable(notebook: Path) -> None:
    def fail(n: int) -> None:
        raise RuntimeError(f"no luck with {n}")

    form = ui.parameter_form({}, notebook, fail)
    assert not form.apply()
    assert "RuntimeError: no luck with 3" in form.message.value
    assert not form.apply_button.disabled


def test_without_rerun_the_form_says_what_to_do_next(notebook: Path) -> None:
    form = ui.parameter_form({}, notebook)
    form.controls["n"].widget.value = 5
    form.apply()
    assert "n = 5" in form.message.value
    assert "run the cells below" in form.message.value


def test_defaults_come_back(notebook: Path) -> None:
    form = ui.parameter_form({"n": 8}, notebook)
    form.reset()
    assert form.overrides == {}


def test_hidden_parameters_keep_their_values_in_the_batch_run(notebook: Path) -> None:
    form = ui.parameter_form({"n": 8, "name": "y"}, notebook, names=["n"])
    assert list(form.controls) == ["n"]
    assert form.overrides == {"n": 8, "name": "y"}


def test_text_form_lists_values_help_and_command(notebook: Path) -> None:
    form = ui.parameter_form({}, notebook, names=["n", "stamp"])
    lines = form._repr_mimebundle_()["text/plain"].splitlines()
    assert lines[0] == f"Parameters of {notebook}"
    assert lines[1].split() == ["n", "=", "3", "a", "count"]
    assert lines[2].split()[:3] == ["stamp", "=", "(computed)"]
    assert lines[3] == f"  $ labkit run {notebook}"


def test_unknown_names_and_notebooks_are_refused(notebook: Path) -> None:
    with pytest.raises(ParameterError, match=r"no parameter 'size'\. Did you mean 'sizes'"):
        ui.parameter_form({}, notebook, names=["size"])
    with pytest.raises(ParameterError, match="no parameter 'z'"):
        ui.parameter_form({}, notebook, bounds={"z": (0, 1)})
    with pytest.raises(ParameterError, match="no notebook or study 'kinde'"):
        ui.parameter_form({}, "kinde")


def test_batch_run_is_the_run_of_the_command_line(notebook: Path) -> None:
    form = ui.parameter_form({}, notebook)
    form.controls["n"].widget.value = 21
    form.controls["name"].widget.value = "a b"
    run = form.run_in_batch()
    assert not run.ended
    assert run.wait(120) == RunStatus.completed
    assert read_record(run.result) == {"double": 42, "text": "a b"}
    assert run.result.is_relative_to(notebook.parent / "runs" / "kinds")
    effective = check(read_parameters(notebook), {"n": 21, "name": "a b"})
    key = run_key(notebook, effective, kernel="python3")
    assert read_status(run.directory)["key"] == run.key == key

    written = run.result.stat().st_mtime_ns
    again = form.run_in_batch()
    assert again.wait(120) == RunStatus.completed
    assert again.result.stat().st_mtime_ns == written


def test_batch_run_that_cannot_start_is_failed_with_the_reason(notebook: Path) -> None:
    form = ui.parameter_form({}, notebook)
    notebook.with_name("runs").write_text("a file where a folder should be")
    assert form.run_in_batch() is None
    assert "runs" in form.message.value


def test_stopped_batch_run_is_cancelled_and_the_form_says_so(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    content.cells[1].source = "import time\ntime.sleep(600)"
    nbformat.write(content, notebook)
    form = ui.parameter_form({}, notebook)
    run = form.run_in_batch()
    deadline = time.monotonic() + 60
    while run.status != RunStatus.running and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not form.stop_button.disabled
    form.stop()
    assert run.wait(60) == RunStatus.cancelled
    while not form.stop_button.disabled and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "batch run cancelled" in form.run_output.outputs[0]["data"]["text/plain"]


def test_batch_run_that_is_killed_at_its_start_is_failed(notebook: Path) -> None:
    run = ui.parameter_form({}, notebook).run_in_batch()
    run._process.kill()
    assert run.wait(30) == RunStatus.failed
