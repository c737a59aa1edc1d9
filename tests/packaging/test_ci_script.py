"""`.ci/run` finds the real data, requires what is there, and fails when any step fails.

The steps themselves are this test suite; here a stand-in for `make` writes down how it is called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("slurmctld", "slurmd", "sbatch", "chromium")
MAKE = """#!/bin/sh
echo "make $1: data=$LABKIT_DATA require=$LABKIT_REQUIRE threads=$OMP_NUM_THREADS"
[ "$1" != "$FAILING" ] || exit 2
"""


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A checkout with the script alone, on a machine that has all tools."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).write_text("#!/bin/sh\necho a version\n")
    (tools / "make").write_text(MAKE)
    (tools / "python3.10").write_text("#!/bin/sh\nexit ${NO_PYTHON_3_10:-0}\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = tmp_path / "checkout" / ".ci" / "run"
    script.parent.mkdir(parents=True)
    shutil.copy(repository / ".ci" / "run", script)
    return tmp_path / "checkout"


def run(checkout: Path, **settings: str) -> tuple[int, list[str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LABKIT_")}
    path = f"{checkout.parent / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        [checkout / ".ci" / "run"],
        cwd="/",
        env=environment | {"PATH": path, **settings},
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("make ")]


def test_without_real_data_slurm_browser_and_lava_are_required(checkout):
    code, steps = run(checkout)
    assert code == 0
    assert [step.partition(":")[0] for step in steps] == ["make env", "make lint", "make test"]
    assert steps[-1] == "make test: data= require=slurm,browser,lava threads=1"


def test_without_a_python_3_10_lava_is_not_required(checkout):
    _, steps = run(checkout, NO_PYTHON_3_10="127", PYENV_ROOT="/nowhere")
    assert steps[-1] == "make test: data= require=slurm,browser threads=1"


def test_real_data_beside_the_checkout_are_used_and_required(checkout):
    data = checkout.parent / "shared" / "data"
    data.mkdir(parents=True)
    _, steps = run(checkout)
    assert steps[-1] == f"make test: data={data} require=slurm,browser,lava,data threads=1"


def test_settings_given_from_outside_stand(checkout):
    _, steps = run(checkout, LABKIT_DATA="/elsewhere", LABKIT_REQUIRE="")
    assert steps[-1] == "make test: data=/elsewhere require= threads=1"


@pytest.mark.parametrize("step", ["env", "lint", "test"])
def test_a_failing_step_ends_the_run_with_failure(checkout, step):
    code, steps = run(checkout, FAILING=step)
    assert code != 0
    assert steps[-1].startswith(f"make {step}:")
