"""``LABKIT_REQUIRE`` turns the skips that it names into failures, and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.slurm
def test_cluster(): pytest.skip("no sbatch")

@pytest.mark.browser
def test_page(): pytest.skip("no chromium")

def test_table(labkit_data): assert labkit_data.is_dir()

def test_elsewhere(): pytest.skip("not on this system")

@pytest.mark.slurm
@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_settings():
    import os
    assert os.environ["LABKIT_CACHE"] != "the user's"
    assert os.environ["OMP_NUM_THREADS"]
"""
INI = "[pytest]\nmarkers =\n    data\n    slurm\n    browser\nxfail_strict = true\n"


@pytest.fixture
def suite(tmp_path: Path, repository: Path) -> Path:
    """A folder of tests that skip, under the repository's own conftest."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "tests").mkdir()
    shutil.copy(repository / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_skips.py").write_text(TESTS)
    return tmp_path


def run(suite: Path, *, require: str, data: str = "") -> tuple[int, str]:
    settings = {"LABKIT_REQUIRE": require, "LABKIT_DATA": data, "LABKIT_CACHE": "the user's"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "tests"],
        cwd=suite,
        env=os.environ | settings,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_without_the_variable_skips_are_skips(suite):
    code, output = run(suite, require="")
    assert code == 0
    assert "1 passed, 4 skipped, 1 xfailed" in output


@pytest.mark.parametrize(
    ("require", "failed"),
    [
        ("slurm", {"test_cluster"}),
        ("browser", {"test_page"}),
        ("data", {"test_table"}),
        ("data, slurm,browser", {"test_cluster", "test_page", "test_table"}),
    ],
)
def test_required_skips_fail_and_say_why(suite, require, failed):
    code, output = run(suite, require=require)
    assert code == 1
    # A fixture that skips does so before the test: pytest calls its failure an error.
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert {line.split("::")[1].split(" ")[0] for line in lines} == failed
    assert all("LABKIT_REQUIRE=" in line for line in lines)
    assert f"1 passed, {4 - len(failed)} skipped, 1 xfailed" in output


def test_data_folder_that_exists_is_handed_over(suite):
    code, output = run(suite, require="data", data=str(suite))
    assert code == 0, output
    assert "2 passed, 3 skipped, 1 xfailed" in output


def test_module_that_skips_itself_fails_because_it_hides_its_markers(suite):
    hidden = "import pytest\npytest.importorskip('not_installed_anywhere')\n"
    (suite / "tests" / "test_hidden.py").write_text(hidden)
    assert run(suite, require="")[0] == 0
    code, output = run(suite, require="slurm")
    assert code != 0
    assert "hides its tests' markers" in output


def test_misspelled_requirement_is_refused(suite):
    code, output = run(suite, require="slrum")
    assert code == 4
    assert "LABKIT_REQUIRE names slrum; it knows data, slurm, browser, lava." in output
