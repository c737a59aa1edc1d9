"""Where Lava's Python is found, and that nothing of Lava outlives those who asked for it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from labkit.errors import LabkitError
from labkit.spiking.fixedpoint import LIFParameters
from labkit.spiking.lava import run_in_lava
from labkit.spiking.lava_process import (
    LavaError,
    LavaScript,
    MissingLavaError,
    has_lava,
    lava_python,
)
from labkit.spiking.network import Network
from labkit.spiking.projections import Population, Projection


def small() -> Network:
    """One neuron that is connected to itself."""
    onto_itself = Projection("k", "a", "a", np.array([[1]]))
    return Network([Population("a", 1, LIFParameters(vth=10))], [onto_itself])


def running(group: int) -> list[psutil.Process]:
    """Processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def shared_memory(group: int) -> set[str]:
    """Shared memory that the processes of a group have mapped."""
    names = set()
    for process in running(group):
        try:
            maps = Path(f"/proc/{process.pid}/maps").read_text()
        except OSError:
            continue
        names.update(re.findall(r"/dev/shm/\S+", maps))
    return names


def until(condition: Callable[[], object], seconds: float = 60.0) -> object:
    """Wait for something to become true and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return value


def lava_below(folder: Path) -> int | None:
    """Process group of the Lava that works in a folder, once it shares memory."""
    for process in psutil.process_iter():
        try:
            leads = os.getpgid(process.pid) == process.pid
            if (
                leads
                and str(folder) in " ".join(process.cmdline())
                and "--steps" in process.cmdline()
            ):
                return process.pid if len(shared_memory(process.pid)) > 5 else None
        except (ProcessLookupError, psutil.Error):
            continue
    return None


def gone(names: set[str]) -> bool:
    """Whether shared memory is removed."""
    return not any(Path(name).exists() for name in names)


def test_missing_lava_is_one_line_that_says_what_to_do(monkeypatch, tmp_path):
    for variable in ("LABKIT_LAVA_PYTHON", "CONDA_PREFIX", "CONDA_EXE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_lava()
    with pytest.raises(MissingLavaError) as missing:
        run_in_lava(small(), 5)
    message = str(missing.value)
    assert isinstance(missing.value, LabkitError)
    assert "\n" not in message
    assert "conda env create -f environment-lava.yml" in message
    assert "LABKIT_LAVA_PYTHON" in message


def test_a_python_without_lava_is_refused_with_what_it_said(monkeypatch):
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", sys.executable)
    with pytest.raises(MissingLavaError, match="No module named 'lava'") as refused:
        lava_python()
    assert sys.executable in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_python_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", "/nowhere/python")
    with pytest.raises(MissingLavaError, match="LABKIT_LAVA_PYTHON=/nowhere/python cannot run"):
        lava_python()


def test_a_program_that_is_no_python_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", "/bin/true")
    with pytest.raises(MissingLavaError, match="LABKIT_LAVA_PYTHON=/bin/true cannot run Lava"):
        run_in_lava(small(), 5)
    talks = tmp_path / "python"
    talks.write_text("#!/bin/sh\necho 0.10.0\n")
    talks.chmod(talks.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", str(talks))
    with pytest.raises(LavaError, match="Lava ended without a result; check that LABKIT_LAVA_PYT"):
        run_in_lava(small(), 5)


@pytest.mark.parametrize("known_from", ["the active environment", "the base", "conda's list"])
def test_the_conda_environment_is_found(lava_interpreter, monkeypatch, tmp_path, known_from):
    monkeypatch.delenv("LABKIT_LAVA_PYTHON", raising=False)
    for variable in ("CONDA_PREFIX", "CONDA_EXE"):
        monkeypatch.delenv(variable, raising=False)
    python = tmp_path / "envs" / "labkit-lava" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(lava_interpreter)
    python.parent.with_name("pyvenv.cfg").write_bytes(
        (lava_interpreter.parents[1] / "pyvenv.cfg").read_bytes()
    )
    python.parent.with_name("lib").symlink_to(lava_interpreter.parents[1] / "lib")
    if known_from == "the active environment":
        monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "envs" / "labkit"))
    elif known_from == "the base":
        monkeypatch.setenv("CONDA_PREFIX", str(tmp_path))
    else:
        conda = tmp_path / "conda"
        answer = json.dumps({"envs": [str(tmp_path), str(python.parents[1])]})
        conda.write_text(f"#!/bin/sh\n[ \"$*\" = 'env list --json' ] && echo '{answer}'\n")
        conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CONDA_EXE", str(conda))
    assert lava_python() == python


def test_a_failure_inside_a_process_of_lava_is_shown(lava_environment, tmp_path):
    small().save(tmp_path / "network")
    nowhere = tmp_path / "missing"
    arguments = [str(tmp_path / "network"), str(nowhere), "--steps", "5", "--record", "v"]
    with (
        LavaScript(
            "run_network.py", arguments, folder=tmp_path, python=lava_environment, timeout_s=60
        ) as script,
        pytest.raises(LavaError, match=re.escape(f"No such file or directory: '{nowhere}")),
    ):
        script.wait()
    assert not running(script.pid)


def test_lava_that_runs_out_of_time_leaves_nothing_behind(lava_environment, monkeypatch, tmp_path):
    begin = time.monotonic()
    run_in_lava(small(), 1)
    long_enough_to_start = 2 + 3 * (time.monotonic() - begin)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: dict[str, object] = {}

    def watch() -> None:
        seen["group"] = group = until(lambda: lava_below(tmp_path))
        seen["memory"] = shared_memory(group)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(LavaError, match=r"Lava needed more than timeout_s=[\d.]+ and was ended"):
        run_in_lava(small(), 10**6, record=(), timeout_s=long_enough_to_start)
    watcher.join()
    assert seen["memory"]
    assert not running(seen["group"])
    assert gone(seen["memory"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def busy(lava_environment, tmp_path) -> Iterator[subprocess.Popen[str]]:
    """Another Python that runs a network in Lava for a long time, working in `tmp_path`."""
    small().save(tmp_path / "small")
    script = (
        "from labkit.spiking.lava import run_in_lava\n"
        "from labkit.spiking.network import Network\n"
        f"run_in_lava(Network.load({str(tmp_path / 'small')!r}), 10**6, record=())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_lava_goes_with_the_one_who_asked(busy, tmp_path, signum):
    group = until(lambda: lava_below(tmp_path))
    memory = shared_memory(group)
    busy.send_signal(signum)
    _, said = busy.communicate()
    assert ("KeyboardInterrupt" in said) == (signum == signal.SIGINT)
    until(lambda: not running(group), seconds=20)
    until(lambda: gone(memory), seconds=20)
