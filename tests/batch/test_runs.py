"""Keys depend on what decides a result, and of all who want a run exactly one gets it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.atomic import replace_bytes, replace_text
from labkit.batch import claims, runs
from labkit.batch.claims import this_process
from labkit.batch.runs import claim, directory_name, read_status, run_key, write_status
from labkit.errors import ParameterError

KEY = "1f3a9c2e" + 56 * "0"


def _key(notebook: Path, kernel: str = "python3", **parameters: Any) -> str:
    return run_key(notebook, parameters, kernel=kernel)


def test_a_key_is_a_sha256_and_stable(make_notebook: Callable[..., Path]) -> None:
    notebook = make_notebook("b = 2")
    assert re.fullmatch("[0-9a-f]{64}", _key(notebook, a=1))
    assert _key(notebook, a=1, b="x") == run_key(notebook, {"b": "x", "a": 1}, kernel="python3")
    code = (
        "import sys; from pathlib import Path; from labkit.batch.runs import run_key\n"
        "print(run_key(Path(sys.argv[1]), {'a': 1}, kernel='python3'))"
    )
    other = subprocess.check_output([sys.executable, "-c", code, str(notebook)], text=True)
    runs._science_fingerprint.cache_clear()
    assert other.strip() == _key(notebook, a=1)


def test_a_key_ignores_outputs_text_metadata_and_place(
    tmp_path: Path, make_notebook: Callable[..., Path]
) -> None:
    notebook = make_notebook("b = 2")
    key = _key(notebook, a=1)
    nb = nbformat.read(notebook, as_version=4)
    nb.cells[1].outputs = [nbformat.v4.new_output("stream", text="x")]
    nb.cells[1].execution_count = 3
    nb.cells.insert(0, nbformat.v4.new_markdown_cell("words"))
    nb.metadata["title"] = "another"
    elsewhere = tmp_path / "elsewhere" / "renamed.ipynb"
    elsewhere.parent.mkdir()
    nbformat.write(nb, elsewhere)
    assert _key(elsewhere, a=1) == key


@pytest.mark.parametrize("other", [{"a": 2}, {"a": 1.0}, {"a": "1"}, {"a": [1]}, {"b": 1}, {}])
def test_a_key_tells_parameters_apart(
    other: dict[str, Any], make_notebook: Callable[..., Path]
) -> None:
    notebook = make_notebook("b = 2")
    assert run_key(notebook, other, kernel="python3") != _key(notebook, a=1)


def test_a_key_depends_on_the_code_its_division_into_cells_and_the_kernel(
    make_notebook: Callable[..., Path],
) -> None:
    notebooks = [make_notebook(*cells) for cells in (["b = 2"], ["b = 3"], ["b =", " 2"])]
    keys = {_key(notebook) for notebook in notebooks}
    assert len(keys | {_key(notebooks[0], kernel="other")}) == 4


def test_a_key_depends_on_the_content_of_named_files(
    tmp_path: Path, make_notebook: Callable[..., Path]
) -> None:
    notebook, data = make_notebook("b = 2"), tmp_path / "data.csv"
    keys = []
    for content in (None, "a,b\n1,2\n", "a,b\n1,3\n"):
        if content is not None:
            data.write_text(content)
            os.utime(data, ns=(len(keys), len(keys)))
        keys.append(_key(notebook, csv=str(data)))
        keys.append(_key(notebook, files=[{"name": str(data)}]))
    assert len(set(keys)) == 6


@pytest.mark.parametrize("value", ["x" * 5000, "a\0b", "", ".", "/no/such/file"])
def test_text_that_is_no_file_is_only_text(value: str, make_notebook: Callable[..., Path]) -> None:
    assert len(_key(make_notebook("b = 2"), a=value)) == 64


def test_a_key_of_something_else_is_refused(
    tmp_path: Path, make_notebook: Callable[..., Path]
) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text("[]")
    with pytest.raises(ParameterError, match="not a Jupyter notebook"):
        _key(path)
    with pytest.raises(ParameterError, match="plain JSON"):
        _key(make_notebook("b = 2"), a={1, 2})


@pytest.mark.parametrize(
    "varying",
    [{"a": "../../etc {x}\n"}, {"a": "é" * 300}, {f"n{i}": i for i in range(40)}, {"a": None}],
)
def test_directory_names_are_short_and_plain(varying: dict[str, Any]) -> None:
    name = directory_name(3, varying, KEY)
    assert re.fullmatch(r"0003-[A-Za-z0-9_=,.+-]*1f3a9c2e", name)
    assert len(name) < 80
    assert ".." not in Path(name).parts


def test_a_missing_status_is_pending_and_a_broken_one_is_not_completed(tmp_path: Path) -> None:
    assert read_status(tmp_path) == {"status": "pending"}
    (tmp_path / "status.json").write_text('{"status": "comp')
    assert read_status(tmp_path)["status"] == "died"


def test_a_running_status_lives_as_long_as_its_process(tmp_path: Path) -> None:
    write_status(tmp_path, {"status": "running", **this_process()})
    assert read_status(tmp_path)["status"] == "running"
    write_status(tmp_path, {"status": "running", **this_process(), "pid_started": 1.0})
    assert read_status(tmp_path)["status"] == "died"
    code = "import json; from labkit.batch.claims import this_process as t; print(json.dumps(t()))"
    ended = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    write_status(tmp_path, {"status": "running", **ended})
    assert read_status(tmp_path)["status"] == "died"
    assert str(ended["pid"]) in read_status(tmp_path)["error"]["message"]


def test_a_run_on_another_host_lives_by_its_heartbeat(tmp_path: Path) -> None:
    owner = {"host": "elsewhere", "pid": 1, "pid_started": 1.0}
    write_status(tmp_path, {"status": "running", **owner})
    file = tmp_path / ".claim-1"
    file.write_text(json.dumps(owner))
    assert read_status(tmp_path)["status"] == "running"
    with claim(tmp_path) as mine:
        assert not mine
    old = time.time() - claims.STALE_S - 10
    os.utime(file, (old, old))
    assert read_status(tmp_path)["status"] == "died"
    with claim(tmp_path) as mine:
        assert mine


def test_an_owner_keeps_its_claim_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.05)
    with claim(tmp_path) as mine:
        assert mine
        file = tmp_path / ".claim-1"
        os.utime(file, (0, 0))
        end = time.monotonic() + 10
        while file.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_claim_is_released_also_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with claim(tmp_path / "new") as mine:
            assert mine
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for _ in range(3):
        with claim(tmp_path / "new") as mine:
            assert mine
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    barrier, wins = threading.Barrier(8), []

    def contend() -> None:
        barrier.wait()
        with claim(tmp_path) as mine:
            wins.append(mine)
            barrier.wait()

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False] * 7 + [True]


CONTENDER = """
import sys, time
from pathlib import Path
from labkit.batch.runs import claim

folder, name, contenders = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def meet(directory, what):
    (directory / f"{what}-{name}").touch()
    while len(list(directory.glob(f"{what}-*"))) < contenders:
        time.sleep(0.0005)

for directory in sorted(folder.iterdir()):
    meet(directory, "ready")
    with claim(directory) as mine:
        if mine:
            print(directory.name)
        meet(directory, "tried")
"""


def test_of_processes_that_find_a_dead_owner_exactly_one_takes_over(tmp_path: Path) -> None:
    rounds, contenders = 40, 3
    dead = {**this_process(), "pid_started": 1.0}
    for number in range(rounds):
        directory = tmp_path / f"{number:02d}"
        directory.mkdir()
        if number % 4:
            (directory / f".claim-{number}").write_text(json.dumps(dead))
    arguments = [sys.executable, "-c", CONTENDER, str(tmp_path)]
    processes = [
        subprocess.Popen([*arguments, str(n), str(contenders)], stdout=subprocess.PIPE, text=True)
        for n in range(contenders)
    ]
    winners = [process.communicate(timeout=300)[0].split() for process in processes]
    won = sorted(name for names in winners for name in names)
    assert won == [f"{number:02d}" for number in range(rounds)]


def test_a_claim_whose_owner_died_before_writing_it_is_free_again_later(tmp_path: Path) -> None:
    (tmp_path / ".claim-7").touch()
    with claim(tmp_path) as mine:
        assert not mine
    os.utime(tmp_path / ".claim-7", (0, 0))
    with claim(tmp_path) as mine:
        assert mine
    assert (tmp_path / ".claim-8").exists()


def test_a_failed_replacement_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    replace_text(path, "old")
    with pytest.raises(TypeError):
        replace_bytes(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
