"""Binder's own tool accepts the repository and would build what we mean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    """Return what repo2docker says it would build, without building it."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(repository)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_conda_environment_of_the_binder_folder_is_used(dockerfile):
    assert "Building conda environment for python=3.11" in dockerfile
    assert "COPY --chown=0:0 src/binder/environment.yml" in dockerfile


def test_labkit_is_installed_after_the_environment(dockerfile, repository):
    steps = dockerfile.splitlines()
    assert steps.index("RUN ./binder/postBuild") > next(
        number for number, step in enumerate(steps) if "env update" in step
    )
    assert (
        "pip install --no-cache-dir --no-deps -e ."
        in (repository / "binder" / "postBuild").read_text()
    )


def test_start_script_passes_the_command_on(dockerfile, repository):
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in dockerfile
    start = [repository / "binder" / "start", sys.executable, "-c"]
    printed = subprocess.run(
        [*start, "import os, sys; print(os.environ['OMP_NUM_THREADS'], *sys.argv[1:])", "a b"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed == "1 a b\n"
