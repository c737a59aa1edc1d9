"""What `make` installed is what labkit is tested with, and carries no CUDA."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def installed() -> dict[str, Version]:
    return {
        canonicalize_name(d.metadata["Name"]): Version(d.version) for d in metadata.distributions()
    }


def closure(package: str, extras: set[str]) -> set[str]:
    """Names of everything that a package needs on this machine, itself included."""
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(package), extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                below = canonicalize_name(needed.name)
                todo += [(below, each) for each in ("", *needed.extras)]
    return {name for name, _ in seen}


def test_torch_has_no_cuda(installed):
    script = "import torch; print(torch.__version__, torch.version.cuda)"
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert printed[0].endswith("+cpu")
    assert printed[1] == "None"
    assert not [name for name in installed if re.match(r"nvidia-|triton|cuda-", name)]


def test_installed_versions_are_the_tested_ones(repository, installed):
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    other = {
        pin.name: str(installed[canonicalize_name(pin.name)])
        for pin in pins
        if canonicalize_name(pin.name) in installed
        and not pin.specifier.contains(installed[canonicalize_name(pin.name)].public)
    }
    assert not other, f"run `make env`: not the versions of constraints.txt: {other}"


def test_everything_installed_runs_on_the_oldest_python_that_labkit_names(pyproject):
    oldest = pyproject["project"]["requires-python"].removeprefix(">=") + ".0"
    demanding = {
        distribution.metadata["Name"]: distribution.metadata.get("Requires-Python")
        for distribution in metadata.distributions()
        if not SpecifierSet(distribution.metadata.get("Requires-Python") or "").contains(oldest)
    }
    assert not demanding


def test_everything_that_labkit_needs_is_pinned(repository):
    text = (repository / "constraints.txt").read_text()
    pinned = {
        canonicalize_name(line.partition("==")[0]) for line in text.splitlines() if "==" in line
    }
    needed = closure("labkit", {"test", "dask", "parquet"}) - {"labkit"}
    assert needed - pinned == set()


def test_installed_package_is_this_checkout(repository):
    script = "import labkit; print(labkit.__file__)"
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd="/"
    ).stdout.strip()
    assert printed == str(repository / "labkit" / "__init__.py")
