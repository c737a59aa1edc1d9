import json
import runpy
from pathlib import Path

import pytest

from labkit.batch import notebooks
from labkit.errors import ParameterError

write_notebook = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["write_notebook"]


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two folders of studies, of which the first comes first."""
    folders = [tmp_path / "checkout", tmp_path / "installed"]
    for folder in folders:
        folder.mkdir()
    for folder, name, about in (
        (folders[0], "oversampling", {"title": "Many effects", "quick_seconds": 40}),
        (folders[1], "oversampling", {"title": "hidden"}),
        (folders[1], "clot", {"title": "Clots", "quick_mib": 300, "full_time": "2 h"}),
        (folders[1], "scratch", None),
    ):
        path = write_notebook(folder / f"{name}.ipynb", "1")
        content = json.loads(path.read_text())
        if about:
            content["metadata"]["labkit"] = about
        path.write_text(json.dumps(content))
    monkeypatch.setattr(notebooks, "notebook_folders", lambda: folders)
    monkeypatch.chdir(tmp_path)
    return folders


def test_a_study_is_found_by_name_in_the_first_folder(studies):
    assert notebooks.resolve("oversampling") == studies[0] / "oversampling.ipynb"
    assert notebooks.resolve("clot.ipynb") == studies[1] / "clot.ipynb"


def test_a_path_comes_before_a_study(studies, tmp_path):
    path = write_notebook(tmp_path / "clot.ipynb", "2")
    assert notebooks.resolve("clot.ipynb") == path
    assert notebooks.resolve(path) == path


def test_studies_are_listed_by_name_with_what_they_need(studies):
    clot, oversampling = notebooks.list_studies()
    assert (clot.name, clot.title, clot.quick_mib, clot.full_time) == ("clot", "Clots", 300, "2 h")
    assert (oversampling.title, oversampling.quick_seconds) == ("Many effects", 40)
    assert oversampling.quick_mib is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oversamplin", "Did you mean 'oversampling'? Studies: clot, oversampling, scratch"),
        ("nothing/here.ipynb", "no notebook or study 'nothing/here.ipynb'"),
        ("checkout", "is a folder"),
        ("../checkout/oversampling", "no notebook or study"),
        ("file:///none.ipynb://", "cannot read file:///none.ipynb://"),
    ],
)
def test_an_unknown_notebook_is_refused_with_what_there_is(studies, name, message):
    with pytest.raises(ParameterError) as error:
        notebooks.resolve(name)
    assert message in str(error.value)


def test_the_checkouts_own_studies_are_found(repository):
    names = {study.name for study in notebooks.list_studies()}
    assert names >= {
        path.stem
        for path in (repository / "notebooks").glob("*.ipynb")
        if "labkit" in json.loads(path.read_text())["metadata"]
    }


def test_an_unknown_kernel_is_refused_with_the_installed_ones():
    notebooks.check_kernel("python3")
    with pytest.raises(ParameterError, match=r"no kernel 'julia-9'\. Installed: .*python3"):
        notebooks.check_kernel("julia-9")


@pytest.mark.parametrize(
    ("metadata", "kernel"),
    [({}, "python3"), ({"kernelspec": {"name": "labkit-lava"}}, "labkit-lava")],
)
def test_a_notebook_names_its_kernel_or_takes_python3(metadata, kernel):
    assert notebooks.kernel_of({"metadata": metadata}) == kernel
