"""What the sweep commands read and show: grids, plans, the standing of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from labkit._cli import show
from labkit.batch import notebooks
from labkit.batch.grid import Grid
from labkit.batch.parameters import parse, read_parameters
from labkit.batch.values import split_items, unquoted
from labkit.errors import ParameterError

_ACTIVE = ("pending", "running")
_SHOWN = 10


def grid_from(notebook: str, file: str | None, texts: Mapping[str, str]) -> tuple[str, Grid]:
    """Return the notebook and the grid that the command line names.

    A grid file may stand alone when it names its notebook; options are added to it.
    """
    if file is None and notebook.endswith((".yaml", ".yml")):
        grid = Grid.from_yaml(notebook)
        if grid.notebook is None:
            raise click.UsageError(
                f"{notebook} names no notebook: labkit sweep NOTEBOOK {notebook}"
            )
        notebook = grid.notebook
    elif file is not None:
        grid = Grid.from_yaml(file)
    elif texts:
        grid = Grid.from_options({})
    else:
        raise click.UsageError("a sweep needs a GRID.yaml or values: -p seed=0,1,2")
    path = notebooks.resolve(notebook)
    known = read_parameters(path)
    values = {
        name: [parse(known, name, unquoted(item), notebook=path.stem) for item in split_items(text)]
        for name, text in texts.items()
    }
    for name, listed in values.items():
        if not listed:
            raise ParameterError(f"{name} has no value")
    return str(path), grid.with_options(values)


def options_from(settings: Mapping[str, Any]) -> Any:
    """Return the options of the chosen executor, None for the local one."""
    chunk = {} if settings["chunk"] is None else {"chunk": settings["chunk"]}
    if settings["executor"] == "dask":
        from labkit.batch.executors.dask import DaskOptions

        return DaskOptions(address=settings["address"], **chunk)
    if settings["executor"] == "slurm":
        from labkit.batch.executors.slurm import SlurmOptions

        names = ("partition", "cpus", "mem", "gpus", "max_parallel", "sbatch_args")
        asked = {name: settings[name] for name in names}
        return SlurmOptions(time=settings["time_limit"], **asked, **chunk)
    return None


def print_plan(notebook: str, grid: Grid, settings: Mapping[str, Any]) -> None:
    """Print how many runs a sweep has, the first and the last, and the expected time."""
    from labkit.batch.executors.local import default_jobs
    from labkit.batch.sweep import estimate_seconds, plan

    names = ("kernel", "max_runs")
    runs = plan(notebook, grid, settings["out"], **{name: settings[name] for name in names})
    jobs = settings["jobs"] or default_jobs()
    seconds = estimate_seconds(runs, jobs)
    click.echo(f"{len(runs)} runs in {show.near(runs[0].directory.parent)}")
    asked = {name for values in grid.configurations() for name in values}
    for label, run in (("first:", runs[0]), ("last: ", runs[-1])):
        chosen = {name: value for name, value in run.parameters.items() if name in asked}
        click.echo(f"{label} {show.assignments(chosen)}")
    expected = "unknown, there is no earlier run" if seconds is None else show.duration(seconds)
    click.echo(f"time with {jobs} at once: {expected}")


def standing(directory: Path) -> tuple[str, bool]:
    """Return how the runs in a folder stand, and whether any runs or waits."""
    from labkit.batch.results import runs_in

    runs = list(runs_in(directory))
    counts = Counter(str(status["status"]) for _, status in runs)
    lines = [", ".join(f"{count} {name}" for name, count in counts.items())]
    lines[0] += f" of {len(runs)} runs in {show.near(directory)}"
    lines += _queue_lines(directory)
    running = [folder.name for folder, status in runs if status["status"] == "running"]
    lines += [f"  running: {name}" for name in running[:_SHOWN]]
    bad = [(folder, status) for folder, status in runs if _is_bad(status)]
    lines += [show.failure(folder, status) for folder, status in bad[:_SHOWN]]
    hidden = len(bad) - _SHOWN
    return "\n".join([*lines, *([f"  ... and {hidden} more"] if hidden > 0 else [])]), any(
        name in counts for name in _ACTIVE
    )


def _is_bad(status: Mapping[str, Any]) -> bool:
    return status["status"] not in ("completed", *_ACTIVE)


def _queue_lines(directory: Path) -> list[str]:
    """Return what squeue knows of the sweep's arrays, one line each."""
    if not (directory / "sweep.json").is_file():
        return []
    from labkit.batch.executors.slurm import queued
    from labkit.batch.planning import load_sweep

    jobs = [entry["job"] for entry in load_sweep(directory).settings.get("submissions", ())]
    states = Counter((job, state.lower()) for (job, _), state in queued(jobs).items())
    return [f"  array {job}: {count} elements {state}" for (job, state), count in states.items()]
