"""Structures with nglview; how they look in a browser is tested in tests/browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nglview
import numpy as np
import pytest
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.viz import FrontEnd, embed, front_end_matches, view_frames, view_structure


@pytest.fixture
def other_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter path whose nglview extension has another version."""
    folder = tmp_path / "labextensions" / "nglview-js-widgets"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": "2.0.0"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return tmp_path


def test_installed_front_end_matches() -> None:
    found = front_end_matches()
    assert found
    assert found.asked == found.installed
    assert str(found) == f"nglview front end {found.installed} matches"


def test_other_front_end_is_found_and_explained_in_one_line(other_extension: Path) -> None:
    found = front_end_matches()
    assert not found
    assert found.installed == "2.0.0"
    assert "JupyterLab has 2.0.0" in str(found)
    assert "pip install" in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("asked", "installed", "fits", "words"),
    [
        ("3.1.5", "3.1.5", True, "matches"),
        ("4.0", "3.1.5", True, "matches"),
        ("4.0", "3.1.4", False, "would show an error"),
        ("3.1.5", None, False, "none is installed"),
        (None, "3.1.5", False, "nglview is not installed"),
        (None, None, False, "nglview is not installed"),
    ],
)
def test_only_versions_that_work_together_match(
    asked: str | None, installed: str | None, fits: bool, words: str
) -> None:
    front_end = FrontEnd(asked, installed)
    assert bool(front_end) is fits
    assert words in str(front_end)


def run_with_nglview_that_asks(version: str, tmp_path: Path, **environment: str) -> str:
    """Show a molecule with a copy of nglview that asks for another front end."""
    copy = tmp_path / "nglview"
    shutil.copytree(
        Path(nglview.__file__).parent, copy, ignore=shutil.ignore_patterns("datafiles", "*.pyc")
    )
    (copy / "datafiles").mkdir()
    shutil.copy(Path(nglview.__file__).parent / "datafiles" / "__init__.py", copy / "datafiles")
    (copy / "_frontend.py").write_text(f"__frontend_version__ = {version!r}\n")
    program = (
        "from labkit import viz\nfrom labkit.errors import LabkitError\n"
        "try:\n    print(viz.view_structure(viz.embed('CCO'))._view_module_version)\n"
        "except LabkitError as error:\n    print(error)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_mislabeled_wheel_is_given_the_front_end_that_is_installed(tmp_path: Path) -> None:
    assert run_with_nglview_that_asks("4.0", tmp_path) == front_end_matches().installed


def test_unknown_mismatch_ends_in_one_clear_line(tmp_path: Path) -> None:
    said = run_with_nglview_that_asks("9.9", tmp_path)
    assert said.startswith("nglview wants front end 9.9, JupyterLab has")
    assert "\n" not in said


def test_structure_is_taken_from_molecule_text_and_file(tmp_path: Path) -> None:
    mol = embed("CCO")
    block = Chem.MolToPDBBlock(mol)
    file = tmp_path / "ethanol.pdb"
    file.write_text(block)
    for source in (mol, block, file, str(file)):
        component = view_structure(source)._ngl_component_ids
        assert len(component) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pdb", "source='nowhere.pdb' is no file"),
        ("HEADER\nEND\n", "no ATOM or HETATM line"),
        (Chem.MolFromSmiles("CCO"), "no 3D conformer"),
    ],
)
def test_bad_sources_are_refused(source: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        view_structure(source)


def test_frames_are_handed_to_the_viewer_in_order() -> None:
    mol = embed("CCO")
    still = mol.GetConformer().GetPositions()
    frames = np.array([still, still + 1.0, still + 2.0])
    view = view_frames(mol, frames)
    assert view.max_frame == 2
    view.frame = 2
    shown = view._trajlist[0].get_coordinates(view.frame)
    assert np.allclose(shown, still + 2.0, atol=1e-5)


def test_frames_of_pdb_text_are_checked_against_its_atoms() -> None:
    mol = embed("CCO")
    still = mol.GetConformer().GetPositions()
    view = view_frames(Chem.MolToPDBBlock(mol), np.array([still, still + 1.0]))
    assert view.max_frame == 1
    with pytest.raises(ParameterError, match=r"needs \(n_frames, 9, 3\)"):
        view_frames(Chem.MolToPDBBlock(mol), still[None, :-1])
    with pytest.raises(ParameterError, match="no ATOM or HETATM line"):
        view_frames("END\n", still[None])


@pytest.mark.parametrize("shape", [(3, 3), (0, 9, 3), (2, 8, 3), (2, 9, 2)])
def test_frames_that_do_not_fit_are_refused_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match=r"needs \(n_frames, 9, 3\)") as caught:
        view_frames(embed("CCO"), np.zeros(shape))
    assert str(shape) in str(caught.value)
