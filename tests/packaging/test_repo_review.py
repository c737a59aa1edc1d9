"""Scientific Python's own review of the repository's set-up has no complaint left unargued."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def review(repository: Path) -> dict[str, dict[str, object]]:
    """Every check that ran, by its code; ``result`` is None for those that did not apply."""
    command = [sys.executable, "-m", "repo_review", "--format", "json", str(repository)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return json.loads(done.stdout)["checks"]


@pytest.mark.parametrize("family", ["PY", "PP", "RF", "MY", "PC", "GH", "SEC"])
def test_no_check_fails(review, family):
    checks = {code: c for code, c in review.items() if code.rstrip("0123456789") == family}
    assert any(check["result"] for check in checks.values())
    failed = {code: c["description"] for code, c in checks.items() if c["result"] is False}
    assert not failed


def test_every_check_that_is_left_out_is_argued(repository, pyproject):
    contributing = (repository / "CONTRIBUTING.md").read_text()
    for code in pyproject.get("tool", {}).get("repo-review", {}).get("ignore", []):
        assert f"`{code}`" in contributing, f"CONTRIBUTING.md does not say why {code} is left out"
