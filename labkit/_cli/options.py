"""Options that several commands share, and ``-p``, which takes one argument or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

_FLAGS = ("-p", "--parameter")


class WithParameters(click.Command):
    """A command whose ``-p`` takes ``NAME=VALUE`` as one argument or ``NAME VALUE`` as two."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join names and values before click sees them."""
        return super().parse_args(ctx, joined(args))


def joined(args: Sequence[str]) -> list[str]:
    """Return arguments with every ``-p NAME VALUE`` written as ``-p NAME=VALUE``.

    Examples
    --------
    >>> joined(["oversampling", "-p", "seed", "3", "-p", "lr=0.1", "--force"])
    ['oversampling', '-p', 'seed=3', '-p', 'lr=0.1', '--force']
    """
    result: list[str] = []
    remaining = iter(args)
    for argument in remaining:
        result.append(argument)
        if argument == "--":
            return [*result, *remaining]
        if argument in _FLAGS:
            name = next(remaining, None)
            if name is None:
                raise click.UsageError(f"{argument} needs a name and a value")
            result.append(
                name if "=" in name else f"{name}={_value_for(name, next(remaining, None))}"
            )
    return result


def split(assignments: Sequence[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a dict; the last of a repeated name counts.

    Examples
    --------
    >>> split(["seed=3", "text=a=b"])
    {'seed': '3', 'text': 'a=b'}
    """
    pairs = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p takes NAME VALUE or NAME=VALUE, got '{assignment}'")
        pairs[name.strip()] = value
    return pairs


def parameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-p`` and ``--preset``."""
    command = click.option("--preset", help="Short for -p preset NAME, such as quick or full.")(
        command
    )
    return click.option(
        "-p",
        "--parameter",
        "assignments",
        multiple=True,
        metavar="NAME VALUE",
        help="Set a parameter (also NAME=VALUE). May be repeated.",
    )(command)


def slurm_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the Slurm executor."""
    for option in (
        click.option("--sbatch-arg", "sbatch_args", multiple=True, help="Slurm: passed to sbatch."),
        click.option("--max-parallel", type=int, help="Slurm: array elements at once."),
        click.option("--gpus", help="Slurm: GPUs per array element."),
        click.option("--mem", help="Slurm: memory per array element, such as 4G."),
        click.option("--cpus", type=int, default=1, help="Slurm: cores per array element."),
        click.option("--time", "time_limit", help="Slurm: time limit, such as 2:00:00."),
        click.option("--partition", help="Slurm: partition."),
    ):
        command = option(command)
    return command


def _value_for(name: str, value: str | None) -> str:
    if value is None or value.startswith("--"):
        raise click.UsageError(f"-p {name} needs a value: -p {name} VALUE or -p {name}=VALUE")
    return value
