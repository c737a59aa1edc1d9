"""The command line: parse, call, print.

Commands import what they need when they run, so that ``labkit --help`` is immediate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from labkit import __version__
from labkit._cli.options import WithParameters, parameter_options, slurm_options, split
from labkit.errors import LabkitError, ParameterError

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class InOrder(click.Group):
    """A group that lists its commands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names as they were added."""
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all completed, 1 a run failed, 2 wrong usage or parameters, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="labkit")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Run study notebooks: once, in sweeps, on a cluster."""


@cli.command("list")
def list_command() -> None:
    """List the studies, their time and memory."""
    from labkit._cli import show
    from labkit.batch.notebooks import list_studies

    rows = [
        (
            study.name,
            "" if study.quick_seconds is None else show.duration(study.quick_seconds),
            "" if study.quick_mib is None else f"{study.quick_mib:g} MiB",
            study.full_time,
            study.title,
        )
        for study in list_studies()
    ]
    header = ("study", "quick", "memory", "full", "")
    click.echo(show.columns(rows, header=header) if rows else "no studies found")


@cli.command()
@click.argument("notebook")
def params(notebook: str) -> None:
    """Show the parameters of NOTEBOOK.

    NOTEBOOK is a study's name, a path, or an address that papermill reads.
    """
    from labkit._cli import show
    from labkit.batch.notebooks import resolve
    from labkit.batch.parameters import read_parameters

    path = resolve(notebook)
    parameters = read_parameters(path)
    if not parameters:
        raise ParameterError(
            f"{path.stem} has no parameters. Tag the cell that defines them with 'parameters'."
        )
    click.echo(show.parameter_table(parameters))


@cli.command(cls=WithParameters)
@click.argument("notebook")
@parameter_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run's folder.")
@click.option("--timeout", type=float, metavar="S", help="Seconds that one cell may take.")
@click.option("--kernel", metavar="NAME", help="Kernel, where it is not the notebook's own.")
@click.option("--cold", is_flag=True, help="Start the kernel as a fresh process.")
@click.option("--force", is_flag=True, help="Run it even if the same run is completed.")
def run(
    notebook: str,
    assignments: Sequence[str],
    preset: str | None,
    out: Path | None,
    timeout: float | None,
    kernel: str | None,
    cold: bool,
    force: bool,
) -> None:
    """Run NOTEBOOK once, show its results.

    NOTEBOOK is a study's name, a path, or an address that papermill reads. A run that is
    completed already is not repeated.
    """
    from labkit._cli import show
    from labkit.batch import notebooks, results, runner
    from labkit.batch.parameters import parse, read_parameters
    from labkit.batch.single import run as run_once

    path = notebooks.resolve(notebook)
    known = read_parameters(path)
    texts = _texts(assignments, preset)
    overrides = {n: parse(known, n, text, notebook=path.stem) for n, text in texts.items()}
    done = run_once(
        path,
        overrides,
        out=out,
        timeout=timeout,
        kernel=kernel,
        warm=not cold,
        force=force,
        on_start=show.start,
    )
    if done.status["status"] != "completed":
        click.echo(runner.describe(done.status), err=True)
        raise click.exceptions.Exit(EXIT_FAILED)
    click.echo(f"{path.stem}: {show.completion(done)}")
    recorded = results.read_record(done.run.output)
    click.echo(results.as_text(recorded) if recorded else "the notebook recorded no results")
    click.echo(f"open {show.near(done.run.output)}")


@cli.command(cls=WithParameters)
@click.argument("notebook")
@click.argument("grid_file", metavar="[GRID.yaml]", required=False)
@parameter_options
@click.option("--out", type=click.Path(path_type=Path), help="The sweep folder.")
@click.option("--jobs", type=int, help="Runs at once on this machine.")
@click.option("--executor", type=click.Choice(["local", "slurm", "dask"]), default="local")
@click.option("--retries", type=int, default=1, show_default=True, help="Tries after a failure.")
@click.option("--timeout", type=float, metavar="S", help="Seconds that one cell may take.")
@click.option("--kernel", metavar="NAME", help="Kernel, where it is not the notebook's own.")
@click.option("--cold", is_flag=True, help="Start every kernel as a fresh process.")
@click.option("--max-runs", type=int, default=10_000, show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what would run.")
@click.option("--address", default="local", help="Dask: the scheduler's address.")
@click.option("--chunk", type=int, help="Slurm, Dask: runs per array element or task.")
@slurm_options
def sweep(
    notebook: str,
    grid_file: str | None,
    assignments: Sequence[str],
    preset: str | None,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Run NOTEBOOK with all values of a grid.

    The grid is a YAML file, or comma-separated values: -p seed=0,1,2 (a list as one value is
    written [64,64]). The same command again runs only what is missing.
    """
    from labkit._cli import show
    from labkit._cli.sweeps import grid_from, options_from, print_plan
    from labkit.batch import sweep as sweeps

    notebook, grid = grid_from(notebook, grid_file, _texts(assignments, preset))
    options = options_from(settings)
    if dry_run:
        print_plan(notebook, grid, settings)
        return
    result = sweeps.sweep(
        notebook,
        grid,
        **{name: settings[name] for name in _SWEEP_SETTINGS},
        warm=not settings["cold"],
        options=options,
        on_progress=show.progress,
    )
    _finish(result)


_SWEEP_SETTINGS = ("out", "jobs", "executor", "retries", "timeout", "kernel", "max_runs")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Update until nothing runs or waits.")
def status(directory: Path, watch: bool) -> None:
    """Show how the runs in DIRECTORY stand."""
    from labkit._cli.sweeps import standing

    while True:
        text, active = standing(directory)
        click.echo(text)
        if not (watch and active):
            return
        time.sleep(2)
        click.clear()


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("-o", "--output", help="A .csv, .parquet or .json file.")
def collect(directory: Path, output: str | None) -> None:
    """Make one table of the runs in DIRECTORY.

    Parameters, results, status, time and memory; failed runs stay in it.
    """
    from labkit._cli import show
    from labkit.batch.results import collect as collect_table
    from labkit.batch.results import write_table

    table = collect_table(directory)
    if output is None:
        click.echo(show.result_table(table))
    else:
        write_table(table, output)
        click.echo(f"wrote {len(table)} runs to {show.near(output)}")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
def retry(directory: Path) -> None:
    """Run what is not completed again.

    DIRECTORY is a sweep's folder; the sweep's own executor and settings are used.
    """
    from labkit._cli import show
    from labkit.batch.sweep import retry as retry_sweep

    _finish(retry_sweep(directory, on_progress=show.progress))


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--chunk", type=int, required=True, help="Index of the chunk.")
@click.option("--chunk-size", type=int, default=4, show_default=True, help="Runs per chunk.")
def worker(directory: Path, chunk: int, chunk_size: int) -> None:
    """Run one chunk; what an array element does."""
    from labkit._cli import show
    from labkit.batch.sweep import run_chunk

    _finish(run_chunk(directory, chunk, chunk_size, on_progress=show.progress))


@cli.command()
def doctor() -> None:
    """Check the installation of labkit."""
    from labkit._cli import show
    from labkit.batch.doctor import diagnose

    findings = diagnose()
    click.echo(show.columns((f.level, f.subject, f.text) for f in findings))
    if any(finding.level == "bad" for finding in findings):
        raise click.exceptions.Exit(EXIT_FAILED)


@cli.group()
def data() -> None:
    """Find, fetch and verify data sets."""


@data.command("list")
def data_list() -> None:
    """List the data sets, where each one is, and its license."""
    from labkit._cli.data import table
    from labkit.datasets import status as dataset_status

    click.echo(table(dataset_status()))


@data.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Bring the data set NAME to this machine and print its path."""
    from labkit._cli import show
    from labkit.datasets import fetch as fetch_dataset

    click.echo(show.near(fetch_dataset(name)))


@data.command()
@click.argument("names", nargs=-1)
def verify(names: Sequence[str]) -> None:
    """Compare the data sets on this machine with their checksums."""
    from labkit._cli.data import table
    from labkit.datasets import verify as verify_datasets

    checked = verify_datasets(names or None)
    click.echo(table(checked))
    if any(entry.state == "wrong" for entry in checked):
        raise click.exceptions.Exit(EXIT_FAILED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = cli.main(
            [item for item in given if item != "--debug"], "labkit", standalone_mode=False
        )
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        click.echo(f"labkit: {error.format_message()}", err=True)
        click.echo(f"Try '{where or 'labkit'} --help'", err=True)
        code = EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; the same command goes on from here", err=True)
        code = EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            raise
        click.echo(f"labkit: {_one_line(error)}", err=True)
        code = EXIT_USAGE if isinstance(error, ParameterError) else EXIT_FAILED
    sys.exit(code or 0)


def _one_line(error: Exception) -> str:
    if isinstance(error, LabkitError):
        return str(error)
    first = str(error).strip().partition("\n")[0]
    return f"unexpected {type(error).__name__}: {first} (--debug shows where)"


def _texts(assignments: Sequence[str], preset: str | None) -> dict[str, str]:
    return split(assignments) if preset is None else {"preset": preset, **split(assignments)}


def _finish(result: Any) -> None:
    from labkit._cli import show

    click.echo(show.summary(result))
    if result.queued:
        click.echo(show.submission(result))
    elif not result.ok:
        raise click.exceptions.Exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
