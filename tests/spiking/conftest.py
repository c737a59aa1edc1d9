"""An environment that runs Lava, made once and kept in ``tests/.cache``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

MADE = "made"
"""File that a finished environment holds: one without it is the rest of an interrupted attempt."""


@pytest.fixture(scope="session")
def lava_interpreter(repository: Path) -> Path:
    """Python with Lava: what ``LABKIT_LAVA_PYTHON`` names, else a virtual environment made here.

    It holds the pip packages of environment-lava.yml and is made again when they change.
    """
    given = os.environ.get("LABKIT_LAVA_PYTHON", "")
    if given:
        return Path(given)
    python = _python_3_10()
    pins = _pip_requirements(repository / "environment-lava.yml")
    key = hashlib.sha256("\n".join([str(python), *pins]).encode()).hexdigest()[:16]
    folder = repository / "tests" / ".cache" / f"lava-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / MADE).is_file():
            _make(folder, python, pins)
    return folder / "bin" / "python"


@pytest.fixture
def lava_environment(lava_interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let labkit find `lava_interpreter` during one test."""
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", str(lava_interpreter))
    return lava_interpreter


def _python_3_10() -> Path:
    """Find a Python 3.10 that starts: a shim on the path may lead nowhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which("python3.10"),
        _asked_of_uv(),
        *sorted(pyenv.glob("versions/3.10*/bin/python")),
    ]
    for candidate in filter(None, candidates):
        question = "import ensurepip, sys, venv; print(*sys.version_info[:2], sys.executable)"
        answer = _output([str(candidate), "-c", question])
        if answer.startswith("3 10 "):
            return Path(answer.removeprefix("3 10 "))
    pytest.skip("Lava needs a Python 3.10, and none was found (python3.10, uv, pyenv)")


def _asked_of_uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    return _output([uv, "python", "find", "--no-python-downloads", "3.10"]) if uv else ""


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _pip_requirements(environment: Path) -> list[str]:
    *_, pip = yaml.safe_load(environment.read_text())["dependencies"]
    return sorted(pip["pip"])


def _make(folder: Path, python: Path, pins: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *pins]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Lava could not be installed: {done.stderr.strip().splitlines()[-1]}")
    (folder / MADE).touch()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other test runs of this checkout out; the lock goes with its holder."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
