"""Which package may import which: the arrows of the design point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SHARED = {
    "atomic",
    "choices",
    "datasets",
    "devices",
    "distributed",
    "errors",
    "journal",
    "memory",
    "viz",
}
STUDIES = {"clot", "hotspots", "llm_parallel", "oversampling", "spiking"}
NOT_ON_PYPI = {"openff"}
"""Used where somebody has it (conda-forge has), never required."""
ANOTHER_ENVIRONMENT = "lava_env"
"""Folder of scripts that environment-lava.yml's Python runs; nothing of labkit imports them."""
BELOW_THE_STUDIES = {
    "batch",
    "datasets",
    "distributed",
    "errors",
    "journal",
    "memory",
    "ui",
    "viz",
    "cli",
    "_cli",
}


def imported(file: Path, repository: Path) -> set[str]:
    """Dotted names of all that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = file.relative_to(repository).parts[: -node.level] if node.level else ()
            module = ".".join((*parts, *filter(None, [node.module])))
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def packages_imported(file: Path, repository: Path) -> set[str]:
    """Names of the packages of labkit that a file imports."""
    names = (name.split(".") for name in imported(file, repository))
    return {parts[1] for parts in names if parts[0] == "labkit" and len(parts) > 1}


def sources(repository: Path, package: str) -> list[Path]:
    return sorted((repository / "labkit" / package).rglob("*.py"))


def packages(repository: Path) -> set[str]:
    return {path.parent.name for path in (repository / "labkit").glob("*/__init__.py")}


def test_every_package_is_either_a_study_or_shared(repository):
    assert packages(repository) == (BELOW_THE_STUDIES | STUDIES) - {"errors", "cli"}


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_studies_import_shared_packages_only(repository, study):
    for file in sources(repository, study):
        beyond = packages_imported(file, repository) - SHARED - {study, "__version__"}
        assert not beyond, f"{file.relative_to(repository)} imports {beyond} of labkit"


@pytest.mark.parametrize("package", sorted(BELOW_THE_STUDIES - {"errors", "cli"}))
def test_shared_packages_do_not_know_the_studies(repository, package):
    for file in sources(repository, package):
        assert not packages_imported(file, repository) & STUDIES, file


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_science_does_not_import_its_figures(repository, study):
    for file in sources(repository, study):
        relative = file.relative_to(repository / "labkit" / study)
        if relative.parts[0] in ("plots", "plots.py", "widgets", "widgets.py", "__init__.py"):
            continue
        drawing = ("matplotlib", "ipywidgets", f"labkit.{study}.plots", f"labkit.{study}.widgets")
        drawn = [name for name in imported(file, repository) if name.startswith(drawing)]
        assert not drawn, f"{relative} imports {drawn}"


def test_everything_imported_is_declared_or_comes_with_what_is(repository, pyproject):
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    stated = [
        *project["dependencies"],
        *extras["clot"],
        *extras["dask"],
        *extras["deephyper"],
        *extras["md"],
        *extras["numba"],
        *extras["parquet"],
    ]
    declared = {canonicalize_name(Requirement(text).name) for text in stated}
    below = (Requirement(text) for name in declared for text in metadata.requires(name) or [])
    brought = {
        canonicalize_name(requirement.name)
        for requirement in below
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    distributions = metadata.packages_distributions()
    for file in sources(repository, "."):
        if ANOTHER_ENVIRONMENT in file.parts:
            continue
        for module in {name.partition(".")[0] for name in imported(file, repository)}:
            if module in sys.stdlib_module_names | NOT_ON_PYPI | {"labkit"}:
                continue
            names = {canonicalize_name(name) for name in distributions.get(module, [])}
            assert names & (declared | brought), f"{file.relative_to(repository)} imports {module}"


def test_everything_declared_is_used(repository, pyproject):
    # Started as programs or by name, never imported.
    unimported = {"jupyterlab"}
    modules = {
        name.partition(".")[0]
        for folder in ("labkit", "tests")
        for file in (repository / folder).rglob("*.py")
        if ".cache" not in file.parts  # environments that tests made
        for name in imported(file, repository)
    }
    distributions = metadata.packages_distributions()
    used = {canonicalize_name(n) for module in modules for n in distributions.get(module, [])}
    declared = {
        canonicalize_name(Requirement(text).name) for text in pyproject["project"]["dependencies"]
    }
    assert declared - used - unimported == set()


def test_importing_labkit_is_cheap():
    script = "import sys, labkit; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"torch", "papermill", "pandas", "numpy", "matplotlib", "rdkit", "ipywidgets", "pooch"}
    assert "labkit" in loaded
    assert not heavy.intersection(loaded)
