"""From a grid to a sweep folder: which runs there are, and where each one lives.

A run is known by its key (notebook code, parameters, science code, kernel), not by its place in the
grid: a run that an earlier plan already finished is found again whatever its index is now, in this
sweep folder or in one beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.atomic import replace_text
from labkit.batch import notebooks
from labkit.batch.grid import Grid
from labkit.batch.parameters import check, read_parameters
from labkit.batch.runs import Run, RunStatus, directory_name, read_status, run_key
from labkit.errors import LabkitError, ParameterError

RUNS = Path("runs")
SWEEP_FILE = "sweep.json"
TASKS_FILE = "tasks.jsonl"
_RUN_FOLDER = re.compile(r"^\d{4,}-.*?([0-9a-f]{8})$")


@dataclass(frozen=True)
class Sweep:
    """A sweep folder's contents.

    Parameters
    ----------
    directory
        The sweep folder.
    runs
        The planned runs in the grid's order.
    settings
        What sweep.json holds: executor, retries, timeout, submissions, ...
    """

    directory: Path
    runs: list[Run]
    settings: dict[str, Any] = field(default_factory=dict)


def plan(
    notebook: str | Path,
    grid: Grid,
    out: str | Path | None = None,
    *,
    kernel: str | None = None,
    max_runs: int = 10_000,
) -> list[Run]:
    """Return the runs of a grid; nothing is written.

    Parameters
    ----------
    notebook
        A study's name or a notebook's path.
    grid
        The configurations; values are checked against the notebook's parameters.
    out
        The sweep folder; ``runs/<notebook>-<8 hex of the grid>`` by default.
    kernel
        A kernel's name, where it is not the notebook's own.
    max_runs
        Larger grids are refused.

    Raises
    ------
    ParameterError
        For a parameter or value that the notebook does not take, an empty grid, or one that is
        too large.
    """
    path = notebooks.resolve(notebook)
    configurations = _configurations(path, grid, max_runs)
    directory = default_folder(path, grid) if out is None else Path(out)
    kernel = kernel or notebooks.kernel_of(notebooks.read_notebook(path))
    keys = [run_key(path, parameters, kernel=kernel) for parameters in configurations]
    unique = dict(zip(reversed(keys), reversed(configurations), strict=True))
    known = _run_folders(directory)
    varied = _varying(list(unique.values()))
    runs = []
    for index, key in enumerate(dict.fromkeys(keys)):
        parameters = unique[key]
        slug = {name: parameters[name] for name in varied if name in parameters}
        home = _known_folder(known, key) or directory / directory_name(index, slug, key)
        runs.append(Run(index, path, parameters, key, home, kernel))
    return runs


def default_folder(notebook: Path, grid: Grid) -> Path:
    """Return ``runs/<notebook>-<8 hex of the grid>``."""
    return RUNS / f"{notebook.stem}-{grid.digest()[:8]}"


def prepare(runs: Sequence[Run], directory: Path, grid: Grid, settings: Mapping[str, Any]) -> Sweep:
    """Write a sweep folder and return it; finished runs of sweeps beside it are copied in.

    Raises
    ------
    LabkitError
        If the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory):
            return _prepare(runs, directory, grid, settings)
    except OSError as error:
        raise LabkitError(f"cannot write to {directory}: {error.strerror or error}") from error


def home_of_single_run(folder: Path, key: str, changed: Mapping[str, Any]) -> Path:
    """Return the run folder for a single run in `folder`: the one with its key, or a new one.

    Raises
    ------
    LabkitError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            known = _run_folders(folder)
            home = _known_folder(known, key)
            if home is None:
                taken = [
                    int(path.name.partition("-")[0]) for paths in known.values() for path in paths
                ]
                home = folder / directory_name(max(taken, default=-1) + 1, changed, key)
                home.mkdir()
            return home
    except OSError as error:
        raise LabkitError(f"cannot write to {folder}: {error.strerror or error}") from error


def load_sweep(directory: str | Path) -> Sweep:
    """Return the sweep that a folder holds.

    Raises
    ------
    ParameterError
        If it holds none.
    """
    folder = Path(directory)
    if not (folder / SWEEP_FILE).is_file():
        raise ParameterError(f"{directory} is not a sweep's folder: it has no {SWEEP_FILE}")
    try:
        settings = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        return Sweep(folder, read_tasks(folder, settings["kernel"]), settings)
    except (OSError, ValueError, KeyError) as error:
        raise ParameterError(f"the sweep in {directory} cannot be read: {error}") from error


def read_tasks(directory: Path, kernel: str = "python3") -> list[Run]:
    """Return the runs that a sweep folder's tasks.jsonl lists."""
    lines = (directory / TASKS_FILE).read_text(encoding="utf-8").splitlines()
    return [
        Run(
            task["index"],
            directory / "notebook.ipynb",
            task["parameters"],
            task["key"],
            directory / task["directory"],
            kernel,
        )
        for task in map(json.loads, lines)
    ]


def update_settings(sweep: Sweep, **changes: Any) -> Sweep:
    """Write changes to sweep.json and return the sweep with them."""
    with locked(sweep.directory):
        path = sweep.directory / SWEEP_FILE
        settings = {**json.loads(path.read_text(encoding="utf-8")), **changes}
        replace_text(path, json.dumps(settings, indent=1) + "\n")
    return Sweep(sweep.directory, sweep.runs, settings)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a folder's lock while its plan is read and written."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _configurations(path: Path, grid: Grid, max_runs: int) -> list[dict[str, Any]]:
    bound = grid.upper_bound
    if bound > max_runs and (not grid.exclude or bound > 100 * max_runs):
        raise ParameterError(_too_large(bound, max_runs))
    configurations = grid.configurations()
    if not configurations:
        raise ParameterError("the grid is empty: 'exclude' leaves no configuration")
    if len(configurations) > max_runs:
        raise ParameterError(_too_large(len(configurations), max_runs))
    parameters = read_parameters(path)
    try:
        return [check(parameters, values, notebook=path.stem) for values in configurations]
    except ParameterError as error:
        hint = " (in a grid, a list is several values: write [[1, 2]] for one list)"
        listed = " must be a list" in str(error) or " must be a tuple" in str(error)
        raise ParameterError(f"{error}{hint if listed else ''}") from error


def _too_large(count: int, limit: int) -> str:
    return f"the grid has {count:,} runs, more than {limit:,}. Raise --max-runs to allow it."


def _varying(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values differ between configurations."""
    return [
        name
        for name in dict.fromkeys(name for values in configurations for name in values)
        if len({json.dumps(values.get(name)) for values in configurations}) > 1
    ]


def _run_folders(directory: Path) -> dict[str, list[Path]]:
    """Return the run folders in a folder by the last eight characters of their names."""
    folders: dict[str, list[Path]] = {}
    if directory.is_dir():
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                match = _RUN_FOLDER.match(entry.name)
                if match and entry.is_dir():
                    folders.setdefault(match[1], []).append(directory / entry.name)
    return folders


def _known_folder(known: Mapping[str, list[Path]], key: str) -> Path | None:
    for folder in known.get(key[:8], ()):
        if read_status(folder).get("key", key) == key:
            return folder
    return None


def _prepare(
    runs: Sequence[Run], directory: Path, grid: Grid, settings: Mapping[str, Any]
) -> Sweep:
    import yaml

    path = directory / SWEEP_FILE
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    source = runs[0].notebook
    if Path(old.get("source", source)).stem not in (source.stem, "notebook"):
        raise ParameterError(f"{directory} holds a sweep of {old['source']}; choose another --out")
    target = directory / "notebook.ipynb"
    if source.resolve() != target.resolve():
        replace_text(target, source.read_text(encoding="utf-8"))
    known = _run_folders(directory)
    beside = _folders_beside(directory, source.stem)
    lines = []
    for run in runs:
        home = _known_folder(known, run.key) or run.directory
        if not home.exists():
            _adopt(beside, run.key, home)
        home.mkdir(exist_ok=True)
        task = {"index": run.index, "directory": home.name, "key": run.key}
        lines.append(json.dumps({**task, "parameters": run.parameters}) + "\n")
    replace_text(directory / TASKS_FILE, "".join(lines))
    replace_text(directory / "grid.yaml", yaml.safe_dump(grid.to_mapping(), sort_keys=False))
    new = {**old, **settings, "source": str(source), "kernel": runs[0].kernel, "runs": len(runs)}
    replace_text(path, json.dumps(new, indent=1) + "\n")
    return load_sweep(directory)


def _folders_beside(directory: Path, stem: str) -> dict[str, list[Path]]:
    """Return the run folders of the same notebook's other sweeps and single runs."""
    folders: dict[str, list[Path]] = {}
    for sibling in sorted(directory.resolve().parent.glob(f"{stem}*")):
        if sibling != directory.resolve():
            for key, paths in _run_folders(sibling).items():
                folders.setdefault(key, []).extend(paths)
    return folders


def _adopt(beside: Mapping[str, list[Path]], key: str, home: Path) -> None:
    """Copy a completed run with this key into `home`, times included."""
    for folder in beside.get(key[:8], ()):
        status = read_status(folder)
        if status.get("key") == key and status["status"] == RunStatus.completed:
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=".adopt-") as temporary:
                copy = Path(temporary) / home.name
                shutil.copytree(folder, copy)
                copy.rename(home)
            return
