"""The papermill engine: light to import, honest in papermill's own interface, rare atomic saves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.batch.engine import LabkitEngine, quick_imports

with quick_imports():
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

from labkit.batch.livenotebook import LiveNotebook
from labkit.batch.outcome import FailedCell, Outcome, mark
from labkit.batch.runs import RunStatus

SLEEP = "import time\ntime.sleep(600)"
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


def _in_a_new_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_engine_imports_nothing_heavy() -> None:
    heavy = ("papermill", "nbclient", "nbformat", "jupyter_client", "torch", "numpy", "psutil")
    code = f"import sys, labkit.batch.engine\nprint([n for n in {heavy} if n in sys.modules])"
    assert _in_a_new_process(code) == "[]"


def test_quick_imports_skip_the_grammar_and_hide_it_no_longer_than_needed() -> None:
    code = """
import sys
from labkit.batch.engine import quick_imports
with quick_imports():
    import papermill
print("rfc3987_syntax" in sys.modules, "lark" in sys.modules)
import rfc3987_syntax
print(rfc3987_syntax.is_valid_syntax("iri", "http://a.b/c"))
"""
    assert _in_a_new_process(code).split("\n") == ["False False", "True"]


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_the_grammar_is_never_hidden_from_a_kernel(
    warm: bool, run_cells: Callable[..., Any], warm_pool: object
) -> None:
    status, _ = run_cells("import rfc3987_syntax", warm=warm)
    assert status["status"] == "completed"


def test_papermill_finds_the_engine_by_its_entry_point() -> None:
    assert papermill_engines.get_engine("labkit") is LabkitEngine


def _papermill(notebook: Path, output: Path, **options: Any) -> Any:
    return papermill.execute_notebook(
        notebook, output, {"a": 7}, engine_name="labkit", progress_bar=False, **options
    )


def test_papermill_runs_a_notebook_through_the_engine(
    tmp_path: Path, make_notebook: Callable[..., Path]
) -> None:
    output = tmp_path / "out.ipynb"
    nb = _papermill(make_notebook("print(a)"), output, cwd=tmp_path)
    assert nb.cells[-1].outputs[0].text == "7\n"
    saved = nbformat.read(output, as_version=4)
    assert [cell.metadata.papermill["status"] for cell in saved.cells] == ["completed"] * 3
    assert saved.metadata.language_info["name"] == "python"


@pytest.mark.parametrize(
    ("source", "options", "error", "status"),
    [
        ("1 / 0", {}, PapermillExecutionError, "failed"),
        (SLEEP, {"execution_timeout": 1}, CellTimeoutError, "timeout"),
        (KILL, {}, DeadKernelError, "died"),
    ],
)
def test_papermill_raises_what_it_always_did_and_the_notebook_tells_the_truth(
    source: str,
    options: dict[str, Any],
    error: type[Exception],
    status: str,
    tmp_path: Path,
    make_notebook: Callable[..., Path],
    no_process_left: None,
) -> None:
    output = tmp_path / "out.ipynb"
    with pytest.raises(error):
        _papermill(make_notebook(source, "b = 2"), output, **options)
    nb = nbformat.read(output, as_version=4)
    nbformat.validate(nb)
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    states = [cell.metadata.papermill["status"] for cell in cells]
    assert states == ["completed", "completed", status, "pending"]
    assert nb.metadata.papermill["exception"] is True
    assert status in nb.cells[0].source


def test_papermill_removes_our_markers_when_it_runs_the_notebook_again(
    tmp_path: Path, make_notebook: Callable[..., Path]
) -> None:
    output, flag = tmp_path / "out.ipynb", tmp_path / "flag"
    with pytest.raises(PapermillExecutionError):
        _papermill(make_notebook(f"open({str(flag)!r}).close()"), output)
    assert len(nbformat.read(output, as_version=4).cells) == 5
    flag.touch()
    _papermill(output, output)
    assert len(nbformat.read(output, as_version=4).cells) == 3


def test_papermills_command_interrupted_saves_what_there_is(
    tmp_path: Path, make_notebook: Callable[..., Path], no_process_left: None
) -> None:
    output, ready = tmp_path / "out.ipynb", tmp_path / "ready"
    notebook = make_notebook("print('before')", f"open({str(ready)!r}, 'w').close()\n{SLEEP}")
    command = [sys.executable, "-m", "papermill", "--engine", "labkit", "--no-progress-bar"]
    runner = subprocess.Popen([*command, str(notebook), str(output)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not ready.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(60) == 1
    nb = nbformat.read(output, as_version=4)
    assert nb.metadata.papermill["status"] == "cancelled"
    assert nb.cells[2].outputs[0].text == "before\n"


def _live(path: Path, text: str = "", every: float = 30) -> LiveNotebook:
    cell = nbformat.v4.new_code_cell("x", metadata={"papermill": {}})
    cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    nb = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {}})
    return LiveNotebook(nb, str(path), autosave_cell_every=every)


def test_a_notebook_is_saved_at_the_start_then_rarely_then_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "live.ipynb"
    live = _live(path)
    live.notebook_start()
    first = path.stat().st_mtime_ns
    for _ in range(1000):
        live.cell_start(live.nb.cells[0], 0)
        live.autosave_cell()
        live.cell_complete(live.nb.cells[0], 0)
        live.save_if_due()
    assert path.stat().st_mtime_ns == first
    live.end(Outcome(RunStatus.completed))
    assert path.stat().st_mtime_ns > first
    assert json.loads(path.read_text())["metadata"]["papermill"]["status"] == "completed"


def test_a_reader_never_sees_half_a_notebook(tmp_path: Path) -> None:
    path = tmp_path / "live.ipynb"
    live = _live(path, text=(999 * "x" + "\n") * 1000)
    live.save_now()
    done = threading.Event()
    broken: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                json.loads(path.read_text())
            except ValueError as error:
                broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        live.save_now()
    done.set()
    reader.join()
    assert not broken
    assert [file.name for file in tmp_path.iterdir()] == ["live.ipynb"]


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_lone_surrogates_in_outputs_arrive_and_give_valid_json(
    run_cells: Callable[..., Any], warm_pool: object, warm: bool
) -> None:
    status, nb = run_cells(r"print('\udc80 and \ud83d')", warm=warm)
    assert (status["status"], status["warm"]) == ("completed", warm)
    (output,) = nb.cells[-1].outputs
    assert (output.name, output.text) == ("stdout", "\udc80 and \ud83d\n")


def test_marks_name_the_cell_and_are_escaped() -> None:
    nb = _live(Path("unused")).nb
    nb.cells[0].metadata.papermill["status"] = "running"
    cell = FailedCell.of(nb.cells[0], 0)
    mark(nb, Outcome(RunStatus.failed, cell, ("Error", "<script>alert(1)</script>")))
    assert "<script>" not in nb.cells[0].source
    assert "failed: cell 1" in nb.cells[0].source
    assert nb.cells[-1].metadata.papermill["status"] == "failed"
