"""Every description of the environment names the same packages and versions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

CONDA_NAMES = {
    "jupyter-client": "jupyter_client",
    "matplotlib": "matplotlib-base",
    "py3dmol": "py3dmol",
    "torch": "pytorch",
    "torch-geometric": "pytorch_geometric",
}


def specifiers(requirements: list[str]) -> dict[str, SpecifierSet]:
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(r.name): r.specifier for r in parsed}


def conda_dependencies(file: Path) -> dict[str, SpecifierSet]:
    """Names and versions of a conda environment, less Python and pip and what pip installs."""
    entries = [e for e in yaml.safe_load(file.read_text())["dependencies"] if isinstance(e, str)]
    split = [re.fullmatch(r"([\w.-]+?)([<>=!].*)?", entry).groups("") for entry in entries]
    return {name: SpecifierSet(version) for name, version in split if name not in ("python", "pip")}


@pytest.fixture(scope="module")
def dependencies(pyproject: dict[str, Any]) -> dict[str, SpecifierSet]:
    return specifiers(pyproject["project"]["dependencies"])


@pytest.fixture(scope="module")
def constraints(repository: Path) -> dict[str, SpecifierSet]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    return specifiers([line for line in lines if line and not line.startswith("#")])


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_conda_environment_has_the_dependencies_of_the_package(repository, dependencies, file):
    names = dict(CONDA_NAMES)
    if file.startswith("binder"):
        names["torch"] = "pytorch-cpu"
    expected = {names.get(name, name): versions for name, versions in dependencies.items()}
    assert conda_dependencies(repository / file) == expected


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_conda_environment_takes_the_engine_of_the_clot_study_from_pip(repository, pyproject, file):
    *_, pip = yaml.safe_load((repository / file).read_text())["dependencies"]
    assert pip == {"pip": pyproject["project"]["optional-dependencies"]["clot"]}


@pytest.mark.parametrize("file", ["environment.yml", "binder/environment.yml"])
def test_conda_environment_has_a_python_that_labkit_runs_on(repository, pyproject, file):
    text = (repository / file).read_text()
    minimum = re.search(r"python>?=(\d+\.\d+)", text)[1]
    assert SpecifierSet(pyproject["project"]["requires-python"]).contains(minimum)
    assert yaml.safe_load(text)["channels"] == ["conda-forge", "nodefaults"]


def test_classifiers_name_the_oldest_supported_python(pyproject):
    oldest = pyproject["project"]["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in pyproject["project"]["classifiers"]


def test_constraints_are_exact_and_satisfy_the_package(pyproject, constraints):
    project = pyproject["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    wanted = [Requirement(text) for text in project["dependencies"] + extras]
    for name, versions in constraints.items():
        assert re.fullmatch(r"==[\w.]+", str(versions)), name
    for requirement in wanted:
        pin = constraints[canonicalize_name(requirement.name)]
        version = str(pin).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} but {version} is tested"


def test_constraints_hold_those_that_must_not_move(constraints):
    # Reasons in CONTRIBUTING.md: later torch brings CUDA, later nglview has no matching front end.
    assert constraints["torch"] == SpecifierSet("==2.13.0")
    assert constraints["nglview"] == SpecifierSet("==4.0")


def test_constraints_file_holds_no_place_of_this_machine(repository):
    text = (repository / "constraints.txt").read_text()
    assert "@" not in text
    assert "+" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert "--" not in text


def test_every_dependency_has_its_reason(repository, pyproject):
    text = (repository / "CONTRIBUTING.md").read_text()
    extras = pyproject["project"]["optional-dependencies"]
    names = ("clot", "dask", "deephyper", "md", "numba", "parquet")
    users = [each for name in names for each in extras[name]]
    for stated in (*pyproject["project"]["dependencies"], *users):
        assert f"`{Requirement(stated).name}`" in text, stated


def test_lava_environment_is_the_one_that_lava_can_run_in(repository):
    environment = yaml.safe_load((repository / "environment-lava.yml").read_text())
    *plain, pip = environment["dependencies"]
    pinned = specifiers(pip["pip"])
    assert environment["name"] == "labkit-lava"
    assert "python=3.10" in plain
    assert "ipykernel" in plain
    assert pinned["lava-nc"] == SpecifierSet("==0.10.0")
    assert pinned["lava-optimization"] == SpecifierSet("==0.5.0")
    assert not pinned["numpy"].contains("2.0")
    assert not pinned["scipy"].contains("2.0")


def test_scripts_that_binder_and_ci_start_may_be_executed(repository):
    for name in ("binder/postBuild", "binder/start", ".ci/run"):
        assert os.access(repository / name, os.X_OK), name
        assert (repository / name).read_text().startswith("#!/usr/bin/env bash\n"), name
