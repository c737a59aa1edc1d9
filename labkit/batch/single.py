"""Running a notebook once, unless that run is there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from labkit.batch import notebooks, planning
from labkit.batch.parameters import check, check_positive, read_parameters
from labkit.batch.runs import STATUS_FILE, Run, RunStatus, read_status, run_key


class SingleRun(NamedTuple):
    """A run and what became of it.

    Attributes
    ----------
    run
        The run.
    status
        Its status record.
    executed
        False when it was completed before.
    """

    run: Run
    status: dict[str, Any]
    executed: bool


def run(
    notebook: str | Path,
    overrides: Mapping[str, object],
    *,
    out: str | Path | None = None,
    timeout: float | None = None,
    kernel: str | None = None,
    warm: bool = True,
    force: bool = False,
    on_start: Callable[[Run], None] | None = None,
) -> SingleRun:
    """Run a notebook once, unless a run with the same key is completed already.

    Parameters
    ----------
    notebook
        A study's name or a notebook's path.
    overrides
        Parameters that differ from the notebook's defaults.
    out
        The folder that holds the run's folder; ``runs/<notebook>`` by default.
    timeout
        Seconds that one cell may take.
    kernel
        A kernel's name, where it is not the notebook's own.
    warm
        Fork the kernel from a process that has the notebook's imports loaded.
    force
        Run it even if it is completed.
    on_start
        Called before the run is executed, not if it is completed already.

    Raises
    ------
    ParameterError
        Before anything runs: an unknown notebook, parameter or kernel, or a wrong value.
    LabkitError
        If the folder cannot be written.
    KeyboardInterrupt
        After the notebook was saved and marked cancelled.
    """
    check_positive(timeout=timeout)
    item = _locate(notebooks.resolve(notebook), overrides, out, kernel)
    if force:
        (item.directory / STATUS_FILE).unlink(missing_ok=True)
    if on_start is not None and read_status(item.directory)["status"] != RunStatus.completed:
        on_start(item)
    from labkit.batch.executors.local import Execution, run_all

    ends: list[SingleRun] = []
    run_all(
        [item],
        Execution(retries=0, timeout=timeout, warm=warm),
        lambda _, status, executed: ends.append(SingleRun(item, dict(status), executed)),
    )
    return ends[0]


def _locate(
    path: Path, overrides: Mapping[str, object], out: str | Path | None, kernel: str | None
) -> Run:
    """Return the run with its folder, which exists already where the same run was made before."""
    defaults = read_parameters(path)
    parameters = check(defaults, overrides, notebook=path.stem)
    kernel = kernel or notebooks.kernel_of(notebooks.read_notebook(path))
    notebooks.check_kernel(kernel)
    key = run_key(path, parameters, kernel=kernel)
    changed = {
        name: value
        for name, value in parameters.items()
        if name in overrides and value != defaults[name].default
    }
    home = planning.RUNS / path.stem if out is None else Path(out)
    directory = planning.home_of_single_run(home, key, changed)
    return Run(int(directory.name.partition("-")[0]), path, parameters, key, directory, kernel)
