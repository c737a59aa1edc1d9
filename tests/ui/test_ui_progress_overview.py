"""Progress bars, the table of studies and the check of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labkit import ui
from labkit.batch.doctor import diagnose
from labkit.batch.notebooks import list_studies


def test_progress_counts_to_the_end_and_says_how_long_it_took() -> None:
    bar = ui.progress("training")
    for done in range(5):
        bar(done + 1, 5, f"epoch {done + 1}")
    assert bar.text().startswith("training: 5 of 5 (epoch 5, 0 s)")
    assert (bar._bar.value, bar._bar.max, bar._bar.bar_style) == (5, 5, "success")


def test_progress_may_start_again_and_may_have_nothing_to_do() -> None:
    bar = ui.progress()
    bar(0, 0)
    assert bar.text() == "working: 0 of 0 (0 s)"
    bar(3, 3)
    bar(4, 4, "again")
    assert bar.text() == "working: 4 of 4 (again, 0 s)"


def test_every_study_but_the_start_page_is_listed() -> None:
    page = ui.studies_table()
    names = [study.name for study in list_studies() if study.name != "start_here"]
    for name in names:
        assert f">{name}</a>" in page.fragment
        assert name in page.text
    assert "start_here" not in page.fragment


def test_check_of_the_machine_is_the_doctors() -> None:
    text = ui.environment_check()._repr_mimebundle_()["text/plain"]
    assert len(text.splitlines()) == len(diagnose())
    assert "nglview front end" in text


def test_packages_are_light_until_used() -> None:
    program = (
        "import sys, labkit.ui, labkit.viz\n"
        "heavy = {'ipywidgets', 'pandas', 'rdkit', 'matplotlib', 'nglview', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["ui", "viz"])
def test_every_public_name_is_there_however_often_it_is_asked_for(package: str) -> None:
    import importlib

    module = importlib.import_module(f"labkit.{package}")
    for _ in range(2):
        for name in module.__all__:
            assert getattr(module, name).__class__.__name__ != "module", name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing
