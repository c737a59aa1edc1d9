"""The wheel and the source distribution hold what a user needs, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import labkit


def build(source: Path, target: Path, kind: str) -> Path:
    """Build one distribution with the declared back end, and without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(repository, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel built from the source distribution, as an installer does."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "-xzf", sdist, "-C", unpacked], check=True)
    (source,) = unpacked.iterdir()
    return build(source, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as it lies in site-packages once installed."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(site: Path, script: str, cwd: Path) -> str:
    """Run a script that imports labkit from the unpacked wheel."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_the_package_and_the_studies_only(wheel, repository):
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"labkit", f"labkit-{labkit.__version__}.dist-info"}
    modules = {
        str(path.relative_to(repository))
        for path in (repository / "labkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    notebooks = {f"labkit/notebooks/{p.name}" for p in (repository / "notebooks").glob("*.ipynb")}
    grids = {f"labkit/notebooks/grids/{p.name}" for p in repository.glob("notebooks/grids/*.yaml")}
    assert {name for name in names if "dist-info" not in name} == modules | notebooks | grids
    assert "labkit/py.typed" in names


def test_wheel_is_small_and_runs_anywhere(wheel):
    assert wheel.name == f"labkit-{labkit.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 2_500_000  # 0.8 MB are labels and weights of the clot study


def test_notebooks_in_the_wheel_carry_no_outputs(site):
    shipped = sorted((site / "labkit" / "notebooks").glob("*.ipynb"))
    assert shipped
    for notebook in shipped:
        cells = json.loads(notebook.read_text())["cells"]
        assert not [cell for cell in cells if cell.get("outputs")], notebook.name


def test_wheel_announces_command_engine_and_kernels(site):
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    text = entry_points.read_text()
    assert "labkit = labkit.cli:main" in text
    assert "[papermill.engine]\nlabkit = labkit.batch.engine:LabkitEngine" in text
    assert "[jupyter_client.kernel_provisioners]\n" in text


def test_metadata_state_version_license_and_python(site, pyproject):
    (metadata,) = site.glob("*.dist-info/METADATA")
    fields = Parser().parsestr(metadata.read_text())
    assert fields["Version"] == labkit.__version__
    assert fields["License-Expression"] == "BSD-3-Clause"
    assert fields["Requires-Python"] == pyproject["project"]["requires-python"]
    runtime = [text for text in fields.get_all("Requires-Dist") if "extra ==" not in text]
    assert len(runtime) == len(pyproject["project"]["dependencies"])
    assert (metadata.parent / "licenses" / "LICENSE").read_text().startswith("BSD 3-Clause")


def test_installed_wheel_knows_its_studies(site, tmp_path):
    script = """
import labkit
from labkit.batch.notebooks import list_studies, resolve
print(labkit.__file__)
for study in list_studies():
    print(resolve(study.name))
"""
    module, *studies = python(site, script, tmp_path).splitlines()
    assert Path(module) == site / "labkit" / "__init__.py"
    assert studies
    assert all(Path(study).parent == site / "labkit" / "notebooks" for study in studies)


def test_every_module_of_the_wheel_compiles(site, tmp_path):
    script = f"import compileall, sys; sys.exit(not compileall.compile_dir({str(site)!r}, quiet=1))"
    python(site, script, tmp_path)


def test_source_distribution_lets_others_build_test_and_cite(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "Makefile",
        "constraints.txt",
        "environment.yml",
        "labkit/__init__.py",
        "notebooks/start_here.ipynb",
        "tests/conftest.py",
    }
    assert needed - names == set()
    assert not [name for name in names if name.startswith((".venv", "runs/", "tests/.cache"))]
