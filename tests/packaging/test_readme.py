"""What the README, the pages and the notebooks tell people to type exists; links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from labkit.batch.notebooks import resolve
from labkit.batch.parameters import read_parameters
from labkit.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "notebooks/*.ipynb")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it may name what is gone
)
BADGE_HOSTS = "https://mybinder.org"


def text_of(page: str) -> str:
    """Text of a page, or of a notebook between its code cells."""
    text = (ROOT / page).read_text()
    if not page.endswith(".ipynb"):
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def code_in(page: str) -> list[str]:
    """Lines of code blocks, and code within the text."""
    text = text_of(page)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", outside)


def commands(page: str, program: str) -> list[list[str]]:
    """Arguments of every call of a program, without comments and leading variables."""
    found = []
    for line in code_in(page):
        plain = re.sub(r"\s#\s.*", "", line).strip().removeprefix("$ ")
        match = re.fullmatch(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{program}((?: .+)?)", plain)
        if match:
            found.append(shlex.split(match[1]))
    return found


def all_commands(program: str) -> list[object]:
    calls = {(page, *args) for page in PAGES for args in commands(page, program)}
    return [pytest.param(list(args), id=" ".join((page, *args))) for page, *args in sorted(calls)]


def is_placeholder(arguments: list[str]) -> bool:
    return any(re.search(r"\b[A-Z]{2,}\b|<|\.\.\.|…|\|", argument) for argument in arguments)


def command_of(arguments: list[str]) -> tuple[click.Command, list[str]]:
    """The (sub)command that arguments select, and the arguments left for it."""
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"labkit has no command {name!r}"
        command = command.commands[name]
    return command, rest


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_readme_shows_how_to_start():
    assert ["demo"] in commands("README.md", "make")
    assert ["test"] in commands("README.md", "make")


@pytest.mark.parametrize("arguments", all_commands("make"))
def test_make_knows_the_targets_that_are_named(arguments):
    targets = [item for item in arguments if "=" not in item]
    checked = subprocess.run(
        ["make", "--dry-run", "--always-make", *targets],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("arguments", all_commands("labkit"))
def test_commands_and_options_that_are_named_exist(arguments):
    command, rest = command_of(arguments)
    options = {name for parameter in command.params for name in parameter.opts} | {"-h", "--help"}
    for argument in rest:
        name = argument.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", name):
            assert name in options, f"labkit {' '.join(arguments)}: no option {name}"


@pytest.mark.parametrize("arguments", all_commands("labkit"))
def test_commands_are_complete_and_their_studies_parameters_and_grids_exist(arguments):
    command, rest = command_of(arguments)
    if is_placeholder(rest) or isinstance(command, click.Group) or not rest:
        return
    context = command.make_context(command.name, list(rest))
    notebook = context.params.get("notebook")
    if notebook is None:
        return
    known = read_parameters(resolve(notebook))
    for name in re.findall(r"(?:^| )-p ([A-Za-z_]\w*)", " ".join(rest)):
        assert name in known, f"{notebook} has no parameter {name}"
    if context.params.get("preset"):
        assert "preset" in known
    grid = context.params.get("grid_file")
    if command.name == "sweep" and (grid is None or grid.startswith("notebooks/")):
        dry = [sys.executable, "-m", "labkit.cli", *arguments, "--dry-run"]
        checked = subprocess.run(dry, cwd=ROOT, check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files_and_headings(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page} links to {target}"


def anchors(file: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
    plain = (re.sub(r"[`*\[\]]|\(.*?\)", "", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_binder_links_open_a_notebook_that_exists(page):
    for path in re.findall(rf"{BADGE_HOSTS}/\S+?urlpath=lab/tree/([\w./-]+)", text_of(page)):
        if "NAME" not in path:
            assert (ROOT / path).is_file(), path
