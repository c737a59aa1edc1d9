"""A run's status, its saved notebook and its message agree with what really happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from labkit.batch.runner import describe, execute, exit_code
from labkit.batch.runs import Run, read_status

KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
SLEEP = "import time\ntime.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
end = time.monotonic() + 600
while time.monotonic() < end:
    time.sleep(1)
"""

# what the third cell does, timeout, status, name of the error, exit code
ENDINGS = {
    "success": ("c = a", None, "completed", None, 0),
    "error": ("1 / 0", None, "failed", "ZeroDivisionError", 1),
    "memory error": ("raise MemoryError('no room')", None, "failed", "MemoryError", 1),
    "exit code 3": ("import sys\nsys.exit(3)", None, "failed", "SystemExit", 1),
    "timeout": (SLEEP, 1.0, "timeout", "CellTimeout", 1),
    "killed": (KILL, None, "died", "DeadKernel", 1),
    "os._exit": ("import os\nos._exit(3)", None, "died", "DeadKernel", 1),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("warm_pool", "no_process_left")
def test_every_ending_is_told_truthfully_everywhere(
    ending: str, warm: bool, make_run: Callable[..., Run]
) -> None:
    source, timeout, expected, error, code = ENDINGS[ending]
    background = "import subprocess\nleft = subprocess.Popen(['sleep', '600'])"
    run = make_run(background, source, "after = 1", parameters={"a": 5})

    status = execute(run, timeout=timeout, warm=warm)

    assert status == read_status(run.directory)
    assert status["status"] == expected
    assert exit_code(status) == code
    assert status["warm"] == warm
    assert (status["error"] or {}).get("name") == error
    assert len(describe(status).splitlines()) <= 3
    assert str(run.output) in describe(status)
    _check_notebook(json.loads(run.output.read_text()), status, source)


def _check_notebook(nb: dict[str, Any], status: dict[str, Any], source: str) -> None:
    nbformat.validate(nb)
    assert nb["metadata"]["papermill"]["status"] == status["status"]
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    states = [cell["metadata"]["papermill"]["status"] for cell in cells]
    markers = [cell for cell in nb["cells"] if cell["cell_type"] == "markdown"]
    if status["status"] == "completed":
        assert states == ["completed"] * 5
        assert status["cell"] is None
        assert not markers
        return
    assert states == ["completed"] * 3 + [status["status"], "pending"]
    assert "".join(cells[3]["source"]) == source
    assert status["cell"]["number"] == 4
    assert status["cell"]["line"] in source.splitlines()
    assert nb["metadata"]["papermill"]["exception"] is True
    assert len(markers) == 2
    assert f"{status['status']}: cell 4" in "".join(markers[0]["source"])


def test_a_cell_that_ignores_interrupts_is_killed(
    run_cells: Callable[..., Any], warm_pool: object, no_process_left: None
) -> None:
    started = time.monotonic()
    status, _ = run_cells(STUBBORN, timeout=1)
    assert status["status"] == "timeout"
    assert time.monotonic() - started < 60


def test_a_clean_exit_ends_the_notebook_early_and_well(
    run_cells: Callable[..., Any], warm_pool: object
) -> None:
    status, nb = run_cells("import sys\nsys.exit(0)", "1 / 0")
    assert status["status"] == "completed"
    assert nb.cells[-1].metadata.papermill["status"] == "pending"


def test_a_cell_tagged_raises_exception_may_raise(
    make_run: Callable[..., Run], warm_pool: object
) -> None:
    run = make_run("1 / 0", "b = 2")
    nb = nbformat.read(run.notebook, as_version=4)
    nb.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(nb, run.notebook)
    assert execute(run)["status"] == "completed"


def test_parameters_reach_the_notebook_whatever_they_hold(
    run_cells: Callable[..., Any], warm_pool: object
) -> None:
    values = {
        "a": [1, [2.5, None]],
        "text": 'it\'s {x} "quoted" \\n \u00e9\u4e2d',
        "table": {"k": [True, False]},
        "small": 1e-300,
    }
    _, nb = run_cells("print(repr((a, text, table, small)))", parameters=values)
    assert nb.cells[-1].outputs[0].text.strip() == repr(tuple(values.values()))


def test_braces_and_spaces_in_paths_do_not_matter(
    tmp_path: Path, make_run: Callable[..., Run], warm_pool: object
) -> None:
    folder = tmp_path / "{seed} {0} %d"
    folder.mkdir()
    run = make_run("b = 2", parameters={"a": 2}, folder=folder)
    run = Run(run.index, run.notebook, run.parameters, run.key, folder / "{run}", run.kernel)
    assert execute(run)["status"] == "completed"
    assert (folder / "{run}" / "notebook.ipynb").is_file()


def test_the_kernel_gets_its_working_directory_and_the_runner_keeps_its_own(
    tmp_path: Path, run_cells: Callable[..., Any], warm_pool: object
) -> None:
    here = Path.cwd()
    for warm in (False, True):
        _, nb = run_cells("import os\nprint(os.getcwd())", cwd=tmp_path, warm=warm)
        assert nb.cells[-1].outputs[0].text.strip() == str(tmp_path)
    assert Path.cwd() == here


def test_a_completed_run_is_left_untouched(make_run: Callable[..., Run], warm_pool: object) -> None:
    run = make_run("b = 2")
    first = execute(run)
    before = {path.name: path.stat().st_mtime_ns for path in run.directory.iterdir()}
    assert execute(run) == first
    assert {path.name: path.stat().st_mtime_ns for path in run.directory.iterdir()} == before


def test_a_failed_run_is_tried_again_from_a_clean_notebook(
    tmp_path: Path, make_run: Callable[..., Run], warm_pool: object
) -> None:
    flag = tmp_path / "flag"
    run = make_run(f"open({str(flag)!r}).close()")
    assert execute(run)["status"] == "failed"
    flag.touch()
    status = execute(run)
    assert (status["status"], status["attempt"]) == ("completed", 2)
    nb = nbformat.read(run.output, as_version=4)
    assert [cell.cell_type for cell in nb.cells] == ["code", "code"]


def test_another_key_in_the_same_directory_is_another_run(
    make_run: Callable[..., Run], warm_pool: object
) -> None:
    run = make_run("b = 2")
    execute(run)
    other = Run(0, run.notebook, {}, "0" * 64, run.directory, run.kernel)
    status = execute(other)
    assert (status["key"], status["attempt"]) == ("0" * 64, 1)


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"cells": 3}', '{"nbformat": 4}'])
def test_a_file_that_is_no_notebook_fails_without_raising(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    run = Run(0, path, {"a": 1}, "0" * 64, tmp_path / "run", "python3")
    status = execute(run)
    assert status["status"] == "failed"
    assert status["error"]["message"]
    assert read_status(run.directory) == status


def test_an_unknown_kernel_fails_and_is_named(make_run: Callable[..., Run]) -> None:
    run = make_run("b = 2")
    status = execute(Run(0, run.notebook, {}, run.key, run.directory, "no-such-kernel"))
    assert status["status"] == "failed"
    assert "no-such-kernel" in describe(status)
    assert json.loads(run.output.read_text())["metadata"]["papermill"]["status"] == "failed"


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_memory_and_cpu_of_the_kernel_and_its_children_are_recorded(
    warm: bool, run_cells: Callable[..., Any], warm_pool: object
) -> None:
    burn = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    status, _ = run_cells("b = bytearray(300 * 2**20)\ndel b", burn, child, warm=warm)
    # the block is freed within microseconds: only the system's high-water mark can have seen it
    assert 300 < status["peak_rss_mib"] < 700
    # two burns of one second each, and at most three for starting a cold kernel and the child
    assert 2 <= status["cpu_s"] < 5


def test_a_kernel_over_its_memory_limit_is_killed_and_says_so(
    run_cells: Callable[..., Any], warm_pool: object, no_process_left: None
) -> None:
    hoard = "import time\nb = []\nwhile True:\n    b.append(b'x' * 2**24); time.sleep(0.01)"
    status, _ = run_cells(hoard, memory_limit_mib=512)
    assert (status["status"], status["error"]["name"]) == ("died", "MemoryLimit")
    assert "0.50 GiB" in describe(status)


def test_an_event_set_by_another_thread_cancels_the_run(
    make_run: Callable[..., Run], warm_pool: object, no_process_left: None
) -> None:
    run = make_run("print('before')", SLEEP, "after = 1")
    cancel = threading.Event()
    timer = threading.Timer(2, cancel.set)
    timer.start()
    status = execute(run, cancel=cancel)
    timer.join()
    assert status["status"] == "cancelled"
    assert exit_code(status) == 130
    nb = nbformat.read(run.output, as_version=4)
    assert nb.cells[2].outputs[0].text == "before\n"


def test_a_run_cancelled_before_it_starts_executes_nothing(
    tmp_path: Path, make_run: Callable[..., Run], warm_pool: object
) -> None:
    cancel = threading.Event()
    cancel.set()
    run = make_run(f"import time\ntime.sleep(2)\nopen({str(tmp_path / 'made')!r}, 'w')")
    assert execute(run, cancel=cancel)["status"] == "cancelled"
    assert not (tmp_path / "made").exists()


RUNNER = """
import sys
from pathlib import Path
from labkit.batch.runner import execute
from labkit.batch.runs import Run
notebook, directory, warm = sys.argv[1:]
run = Run(0, Path(notebook), {}, "0" * 64, Path(directory), "python3")
print(execute(run, warm=warm == "warm")["status"])
"""


@pytest.mark.parametrize("warm", ["cold", "warm"])
@pytest.mark.parametrize(
    ("signum", "expected"),
    [
        (signal.SIGTERM, "cancelled"),
        (signal.SIGINT, "cancelled"),
        (signal.SIGUSR1, "cancelled"),
        (signal.SIGKILL, "died"),
    ],
)
def test_a_signal_to_the_runner_saves_and_leaves_no_process(
    signum: signal.Signals, expected: str, warm: str, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    ready = tmp_path / "ready"
    run = make_run("print('before')", f"open({str(ready)!r}, 'w').close()\n{SLEEP}")
    arguments = [sys.executable, "-c", RUNNER, str(run.notebook), str(run.directory), warm]
    runner = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    _wait_for(ready)
    family = psutil.Process(runner.pid).children(recursive=True)
    assert family
    runner.send_signal(signum)
    output, _ = runner.communicate(timeout=60)

    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert read_status(run.directory)["status"] == expected
    nb = nbformat.read(run.output, as_version=4)
    if signum == signal.SIGKILL:
        assert json.loads((run.directory / "status.json").read_text())["status"] == "running"
        assert nb.metadata.papermill["status"] == "running"
    else:
        assert output.strip() == "cancelled"
        assert nb.metadata.papermill["status"] == "cancelled"
        assert nb.cells[2].outputs[0].text == "before\n"


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def test_execute_works_inside_a_running_event_loop(
    make_run: Callable[..., Run], warm_pool: object
) -> None:
    import asyncio

    run = make_run("b = 2")

    async def as_in_jupyter() -> dict[str, Any]:
        return execute(run)

    assert asyncio.run(as_in_jupyter())["status"] == "completed"


def test_what_the_kernel_process_writes_outside_the_notebook_is_kept(
    make_run: Callable[..., Run], warm_pool: object
) -> None:
    crash = "import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)"
    for warm in (False, True):
        run = make_run(crash, f"warm = {warm}")
        status = execute(run, warm=warm)
        assert status["error"]["message"].startswith(f"kernel died (signal {signal.SIGSEGV:d};")
        assert "Segmentation fault" in (run.directory / "log.txt").read_text()


@pytest.mark.parametrize("status", ["pending", "running", "completed"])
def test_a_bare_status_can_be_described(status: str) -> None:
    assert describe({"status": status}).startswith(status)


def test_a_long_message_stays_on_three_short_lines() -> None:
    cell = {"number": 1, "execution_count": None, "line": "x" * 900}
    error = {"name": "ValueError", "message": "first\nsecond\n" + "y" * 5000}
    lines = describe({"status": "failed", "cell": cell, "error": error, "output": "/r"}).split("\n")
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= 400


def test_a_directory_that_cannot_be_written_raises(make_run: Callable[..., Run]) -> None:
    run = make_run("b = 2")
    run.directory.write_text("a file is in the way")
    with pytest.raises(OSError, match=str(run.directory)):
        execute(run)
    assert os.environ.get("LABKIT_PRELOAD") is None


def test_the_line_that_failed_is_named_not_the_first_of_its_cell(
    run_cells: Callable[..., Any], warm_pool: object
) -> None:
    status, _notebook = run_cells("a = 1\n\ndef half(x):\n    return x / 0\n\nhalf(a)")
    assert status["cell"]["line"] == "half(a)"
