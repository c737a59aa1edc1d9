"""Every notebook runs headless in its quick preset, and records numbers that make sense."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from labkit.batch.results import read_record
from labkit.batch.runs import read_status
from labkit.batch.sweep import run

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MIB_ON_BINDER = 900


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders by notebook name; each notebook is run once, in a folder of its own.

    The kernels start cold, as on Binder: one that was forked from a process with the modules of
    several notebooks counts a part of that process.
    """
    out = tmp_path_factory.mktemp("quick")
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)  # figures go into the notebook, as for a user
        for notebook in NOTEBOOKS:
            item, _status, _executed = run(
                notebook, {"preset": "quick"}, out=out / notebook.stem, warm=False
            )
            folders[notebook.stem] = item.directory
    return folders


@pytest.mark.parametrize("name", [notebook.stem for notebook in NOTEBOOKS])
def test_quick_preset_completes_within_the_memory_of_binder(executed, name):
    status = read_status(executed[name])
    assert status["status"] == "completed", status["error"]
    assert status["peak_rss_mib"] < MIB_ON_BINDER


@pytest.mark.parametrize("name", [notebook.stem for notebook in NOTEBOOKS])
def test_executed_notebook_writes_nothing_to_stderr(executed, name):
    nb = nbformat.read(executed[name] / "notebook.ipynb", as_version=4)
    written = [
        output["text"]
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    assert written == []


@pytest.mark.parametrize("name", [notebook.stem for notebook in NOTEBOOKS])
def test_every_cell_that_plots_shows_a_picture(executed, name):
    nb = nbformat.read(executed[name] / "notebook.ipynb", as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code" and ".plots." in cell.source:
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            assert {"image/png", "text/html"} & kinds, cell.source


@pytest.mark.parametrize("name", [notebook.stem for notebook in NOTEBOOKS])
def test_quick_preset_leaves_nothing_beside_its_own_folder(executed, name):
    files = {path.name for path in executed[name].iterdir() if not path.name.startswith(".claim")}
    assert files <= {"notebook.ipynb", "status.json", "log.txt"}


def test_oversampling_scores_lie_between_chance_and_the_best_possible(executed):
    numbers = read_record(executed["oversampling"] / "notebook.ipynb")
    best = numbers["macro_auc_best_possible_simulated"]
    for model in ("forest", "hybrid"):
        assert 0.6 < numbers[f"macro_auc_{model}_none"] < best
    # 0.6: a model that learned nothing has 0.5 with a standard error of about 0.03 over 12 labels


def test_leaky_gain_dwarfs_the_honest_one(executed):
    numbers = read_record(executed["oversampling"] / "notebook.ipynb")
    assert numbers["leaky_gain_duplicate"] > 0.08
    assert numbers["honest_gain_duplicate"] < numbers["leaky_gain_duplicate"] / 2
    assert numbers["leaky_gain_MLROS"] > 2 * numbers["honest_gain_MLROS"]
