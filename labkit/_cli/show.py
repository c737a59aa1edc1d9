"""Text for people: durations, tables, progress."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labkit.batch.notebooks import StudyInfo
from labkit.batch.results import duration_seconds

if TYPE_CHECKING:
    import pandas as pd

    from labkit.batch.parameters import Parameter
    from labkit.batch.runs import Run
    from labkit.batch.single import SingleRun
    from labkit.batch.sweep import Progress, SweepSummary
    from labkit.batch.values import ValueType

_MAX_FAILURES = 10
_INDENT = "    "


def duration(seconds: float) -> str:
    """Return seconds in words.

    Examples
    --------
    >>> duration(4.24), duration(200), duration(7500)
    ('4.2 s', '3 min 20 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def near(path: str | Path) -> str:
    """Return a path as short as it can be from the current folder."""
    resolved = Path(path).resolve()
    relative = os.path.relpath(resolved)
    return str(resolved) if relative.startswith("..") else relative


def columns(rows: Iterable[Sequence[str]], *, header: Sequence[str] = ()) -> str:
    """Return rows as aligned columns; the last one is not padded."""
    table = [tuple(header), *map(tuple, rows)] if header else [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "\n".join(lines)


def parameter_table(parameters: Mapping[str, Parameter]) -> str:
    """Return the parameters of a notebook with type, default, help and, below, their choices."""
    rows = [
        (
            parameter.name,
            str(_without_choices(parameter.type)),
            "(computed)" if parameter.computed else json.dumps(parameter.default),
            parameter.help,
        )
        for parameter in parameters.values()
    ]
    lines = columns(rows, header=("name", "type", "default", "")).splitlines()
    shown = [lines[0]]
    for line, parameter in zip(lines[1:], parameters.values(), strict=True):
        choices = ", ".join(map(str, _choices(parameter.type)))
        shown += [
            line,
            *textwrap.wrap(choices, 90, initial_indent=_INDENT, subsequent_indent=_INDENT),
        ]
    return "\n".join(shown)


def _without_choices(kind: ValueType) -> ValueType:
    inner = tuple(_without_choices(argument) for argument in kind.arguments)
    return replace(kind, choices=(), arguments=inner)


def _choices(kind: ValueType) -> tuple[Any, ...]:
    return kind.choices + tuple(c for argument in kind.arguments for c in _choices(argument))


def assignments(parameters: Mapping[str, Any]) -> str:
    """Return parameters on one line."""
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in parameters.items())


def start(run: Run) -> None:
    """Say what starts, and how long that takes where the study says so."""
    about = (
        StudyInfo.of(run.notebook).quick_seconds
        if run.parameters.get("preset") == "quick"
        else None
    )
    takes = "" if about is None else f", about {duration(about)} on two idle cores"
    click.echo(f"running {run.notebook.stem} in {near(run.directory)}{takes}", err=True)


def completion(done: SingleRun) -> str:
    """Return when a completed run was made, how long it took and how much memory."""
    took = duration(duration_seconds(done.status) or 0)
    note = "completed in" if done.executed else "already done (--force runs it again); it took"
    peak = done.status.get("peak_rss_mib")
    return f"{note} {took}" + ("" if peak is None else f", peak memory {peak:.0f} MiB")


def progress(step: Progress) -> None:
    """Print a line for a run; on a terminal, keep only those of failed runs."""
    status = str(step.status["status"])
    left = "" if step.seconds_left is None else f", about {duration(step.seconds_left)} left"
    left = left if step.done < step.total else ""
    what = status if step.executed else f"{status} before"
    line = f"[{step.done}/{step.total}] {what} {step.run.directory.name}{left}"
    if not sys.stderr.isatty():
        click.echo(line, err=True)
        return
    last = step.done == step.total
    click.echo(f"\r\033[K{line}", err=True, nl=last or status != "completed")


def summary(result: SweepSummary) -> str:
    """Return how a sweep went: counts, the first failures, what to do next."""
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    lines = [f"{counts} of {result.total} runs in {near(result.directory)}"]
    for run, status in result.failures[:_MAX_FAILURES]:
        lines.append(failure(run.directory, status))
    if len(result.failures) > _MAX_FAILURES:
        lines.append(f"  ... and {len(result.failures) - _MAX_FAILURES} more")
    return "\n".join(lines)


def failure(directory: Path, status: Mapping[str, Any]) -> str:
    """Return what happened to a run, and the first line of the cell in which it did."""
    from labkit.batch.runner import describe

    lines = [line for line in describe(status).splitlines() if not line.startswith("  ->")]
    return "\n    ".join([f"  {directory.name}: {lines[0]}", *lines[1:]])


def submission(result: SweepSummary) -> str:
    """Return what was submitted to Slurm and how to follow it."""
    folder = near(result.directory)
    if result.submission is None:
        return f"nothing to submit: all runs are completed or in the queue (labkit status {folder})"
    sent = result.submission
    return (
        f"submitted array {sent.job}: {sent.elements} elements of up to {sent.chunk} runs; "
        f"job {sent.gather} writes results.csv after it\n"
        f"follow it with: labkit status {folder} --watch"
    )


def result_table(table: pd.DataFrame) -> str:
    """Return a table of results without the columns that are the same in every row."""
    hidden = {"path", "cpu_s", "peak_rss_mib", "error"}
    shown = [
        name
        for name in table.columns
        if name not in hidden and (name in ("status", "duration_s") or _varies(table[name]))
    ]
    return str(table[shown].to_string(index=False, float_format=lambda value: f"{value:.5g}"))


def _varies(column: pd.Series) -> bool:
    return len(column) == 1 or len({json.dumps(value, default=str) for value in column}) > 1
