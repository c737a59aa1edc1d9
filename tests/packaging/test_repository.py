"""The repository itself: small, portable, of one style, and honest about its versions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

import labkit

TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".txt", ".ipynb", ".sh", ".json", ""}
TOOLS_IN_HOOKS = {
    "https://github.com/astral-sh/ruff-pre-commit": "ruff",
    "https://github.com/codespell-project/codespell": "codespell",
    "https://github.com/kynan/nbstripout": "nbstripout",
}


@pytest.fixture(scope="module")
def texts(tracked_files: list[Path], repository: Path) -> dict[str, str]:
    """Content of all text files by name."""
    return {
        str(path.relative_to(repository)): path.read_text(encoding="utf-8")
        for path in tracked_files
        if path.suffix in TEXT
    }


def occurrences(texts: dict[str, str], pattern: str) -> list[str]:
    """Lines that a pattern occurs in, except in this file, which names what it forbids."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        if name != "tests/packaging/test_repository.py"
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]


def test_no_file_is_over_one_megabyte(tracked_files):
    assert not [path for path in tracked_files if path.stat().st_size > 1_000_000]


def test_no_path_of_somebodys_machine_is_written_down(texts):
    homes = (
        r"/(?:home|Users)/(?!(?:\$|\{|<|you\b|user\b|me\b))\w+|(?<![\w.~}])/(?:work|root|opt)/\w"
    )
    assert not occurrences(texts, homes)


def test_no_package_index_or_mirror_is_written_down(texts):
    index = r"(?:index-url|find-links)[ =]+['\"]?\w*:?/|https?://[^\s/]+(?:/[^\s/]+)*/simple\b"
    assert not occurrences(texts, index)
    assert not occurrences(texts, r"(?i)\b(?:artifactory|nexus|devpi|verdaccio)\b")


def test_no_credentials_are_written_down(texts):
    assert not occurrences(texts, r"://[^\s/@:]+:[^\s/@]+@")
    assert not occurrences(
        texts, r"\b(?:gh[pousr]_\w{30,}|AKIA[0-9A-Z]{16}|BEGIN \w* ?PRIVATE KEY)"
    )


def test_nothing_is_left_for_later(texts):
    assert not occurrences(texts, r"\b(?:TODO|FIXME|XXX)\b|@@\w*@@")


@pytest.mark.parametrize("folder", ["labkit", "tests", "benchmarks"])
def test_no_source_file_is_over_five_hundred_lines(texts, folder):
    sources = {n: t for n, t in texts.items() if n.endswith(".py") and n.startswith(folder)}
    assert not [name for name, text in sources.items() if text.count("\n") > 500]


def test_no_module_is_named_for_what_it_is_not(tracked_files):
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}
    assert not [path for path in tracked_files if path.name in vague]


def test_notebooks_are_stripped_and_valid(repository):
    notebooks = sorted((repository / "notebooks").glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        nbformat.validate(nbformat.read(notebook, as_version=nbformat.NO_CONVERT))
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", *map(str, notebooks)]
    verified = subprocess.run(command, check=False, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout


def test_citation_agrees_with_the_package(repository, pyproject):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == labkit.__version__
    assert citation["license"] == pyproject["project"]["license"]
    assert citation["authors"] == pyproject["project"]["authors"]


def test_changelog_leads_to_the_present_version(repository):
    text = (repository / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## \[?([^\]\s]+)\]?", text, flags=re.MULTILINE)
    assert releases[0] == "Unreleased"
    assert releases[1] == labkit.__version__
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE)) <= allowed


def test_hooks_are_valid_and_use_the_tested_versions(repository):
    file = repository / ".pre-commit-config.yaml"
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    pins = dict(
        line.split("==")
        for line in (repository / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    revisions = {
        entry["repo"]: entry.get("rev") for entry in yaml.safe_load(file.read_text())["repos"]
    }
    for address, tool in TOOLS_IN_HOOKS.items():
        assert revisions[address].removeprefix("v") == pins[tool], tool


def test_workflow_runs_what_everybody_runs(repository):
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step.get("run") for step in workflow["jobs"]["check"]["steps"]]
    assert ".ci/run" in commands
    script = (repository / ".ci" / "run").read_text()
    assert script.rstrip().endswith("make test")
    subprocess.run(["bash", "-n", repository / ".ci" / "run"], check=True)
