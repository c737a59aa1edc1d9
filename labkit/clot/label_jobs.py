"""Labels of many trajectories: several processes of one machine, or an array of Slurm jobs.

A folder of labels holds ``settings.json`` (trajectories, plans, windows), a ``<name>.labels.npz``
for each trajectory that is complete and a ``<name>.part.npz`` for one on its way. The part is
replaced after every observation; whoever finds it goes on from there (`labkit.clot.labeling`).

::

    python -m labkit.clot.labels --folder labels --scene collision --rates 0.1 0.2 --seeds 0 1 2
    python -m labkit.clot.labels --folder labels --slurm 6 > labels.sbatch
    python -m labkit.clot.labels --folder labels --task 0 --tasks 6    # what each job of it does
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from labkit.atomic import replace_text
from labkit.choices import require_folder, require_whole
from labkit.clot.labeling import label_trajectory
from labkit.clot.labels import WINDOW, LabelSettings, LabelTable, Trajectory
from labkit.clot.series import as_json, plan_array, plans_from
from labkit.distributed.slurm import SlurmRequest
from labkit.distributed.tether import tether
from labkit.errors import LabkitError, ParameterError

Progress = Callable[[int, int, str], None]
TETHER_VARIABLE = "LABKIT_LABELS_PARENT"
_PLANS = ("plans", "reference")
_POLL_SECONDS = 0.2


def make_labels(
    trajectories: Sequence[Trajectory],
    settings: LabelSettings,
    *,
    folder: str | os.PathLike[str],
    processes: int = 1,
    progress: Progress | None = None,
) -> LabelTable:
    """Label trajectories, those that a folder does not hold yet.

    Parameters
    ----------
    trajectories : sequence of Trajectory
    settings : LabelSettings
    folder : path
        Of the files, and of those left by a call that was stopped.
    processes : int
        Each works on trajectories of its own.
    progress : callable, optional
        Gets the trajectories done, their number and the name of the last one.

    Returns
    -------
    LabelTable

    Raises
    ------
    ParameterError
        The folder holds labels of something else.
    EngineError
        A trajectory failed on the finest plan.
    """
    require_whole("processes", processes, low=1)
    target = prepare(trajectories, settings, folder=folder)
    if processes == 1:
        for done, trajectory in enumerate(trajectories, start=1):
            label_trajectory(trajectory, settings, folder=target)
            if progress is not None:
                progress(done, len(trajectories), trajectory.name)
    else:
        _work_in_processes(target, min(processes, len(trajectories)), trajectories, progress)
    return LabelTable.load(target)


def prepare(
    trajectories: Sequence[Trajectory],
    settings: LabelSettings,
    *,
    folder: str | os.PathLike[str],
) -> Path:
    """Write down in a folder what is to be labeled, and return the folder.

    Raises
    ------
    ParameterError
        The folder holds labels with other settings, or two trajectories are the same.
    """
    require_folder("folder", folder)
    names = [trajectory.name for trajectory in trajectories]
    if not names or len(set(names)) < len(names):
        raise ParameterError(
            f"trajectories={names!r} is not allowed; give one or more, each different."
        )
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    record = {
        "plans": plan_array(settings.plans).tolist(),
        "reference": list(settings.reference.steps),
        **{f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in _PLANS},
    }
    path = target / "settings.json"
    before = _settings_record(target)["settings"] if path.is_file() else record
    if before != record:
        changed = ", ".join(key for key in record if before.get(key) != record[key])
        raise ParameterError(
            f"folder={str(folder)!r} holds labels with other settings ({changed}); name another."
        )
    listed = [{**asdict(each), "changes": dict(each.changes)} for each in trajectories]
    content = json.loads(as_json({"settings": record, "trajectories": listed}))
    replace_text(path, json.dumps(content, indent=1) + "\n")
    return target


def prepared(folder: str | os.PathLike[str]) -> tuple[list[Trajectory], LabelSettings]:
    """Return what `prepare` wrote down.

    Raises
    ------
    ParameterError
        The folder has not been prepared.
    """
    record = _settings_record(Path(folder).expanduser())
    try:
        given = dict(record["settings"])
        plans, (reference,) = plans_from(given.pop("plans")), plans_from([given.pop("reference")])
        settings = LabelSettings(plans=plans, reference=reference, **given)
        return [Trajectory(**each) for each in record["trajectories"]], settings
    except (KeyError, TypeError) as broken:
        raise _unprepared(folder, broken) from broken


def slurm_array(
    folder: str | os.PathLike[str], *, tasks: int, request: SlurmRequest | None = None
) -> str:
    """Return a batch script for Slurm, an array of jobs that share the trajectories of a folder.

    Parameters
    ----------
    folder : path
        Prepared, on a file system that all nodes share.
    tasks : int
        Jobs of the array; each takes every `tasks`-th trajectory.
    request : SlurmRequest, optional
        What each job asks for.
    """
    require_whole("tasks", tasks, low=1)
    asked = request or SlurmRequest(job_name="labels", cpus_per_task=1)
    place = Path(folder).expanduser().absolute()
    options = {
        "job-name": asked.job_name,
        "array": f"0-{tasks - 1}",
        "ntasks": 1,
        "cpus-per-task": asked.cpus_per_task,
        "time": asked.time,
        "partition": asked.partition,
        "account": asked.account,
        "output": f'"{place}/slurm-%A_%a.out"',
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    words = shlex.join([sys.executable, "-m", "labkit.clot.labels", "--folder", str(place)])
    command = f'{words} --task "$SLURM_ARRAY_TASK_ID" --tasks {tasks}'
    lines = [f"#SBATCH {line}" for line in (*given, *asked.sbatch_arguments)]
    return "\n".join(["#!/bin/bash", *lines, "export OMP_NUM_THREADS=1", command]) + "\n"


def _work_in_processes(
    folder: Path, n: int, trajectories: Sequence[Trajectory], progress: Progress | None
) -> None:
    """Start workers, wait for them, and end them all when one fails or this process is stopped."""
    workers = [_Worker(folder, task, n) for task in range(n)]
    reported = 0
    try:
        while any(worker.process.poll() is None for worker in workers):
            done = [t.name for t in trajectories if (folder / f"{t.name}.labels.npz").is_file()]
            if progress is not None and len(done) > reported:
                progress(len(done), len(trajectories), done[-1])
            reported = len(done)
            if any(worker.process.poll() for worker in workers):
                break
            time.sleep(_POLL_SECONDS)
        for worker in workers:
            worker.require_success()
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that labels every `tasks`-th trajectory of a folder."""

    def __init__(self, folder: Path, task: int, tasks: int) -> None:
        self._log = folder / f"worker-{task}.log"
        command = [sys.executable, "-m", "labkit.clot.labels", "--folder", str(folder)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--task", str(task), "--tasks", str(tasks)],
                env={**os.environ, TETHER_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def require_success(self) -> None:
        """Raise what ended the process, if something did."""
        if self.process.poll():
            lines = self._log.read_text(errors="replace").strip().splitlines()
            said = lines[-1].removeprefix("error: ") if lines else "it said nothing"
            raise LabkitError(f"a process that makes labels ended early: {said}")

    def end(self) -> None:
        """End the process, wait for it, and remove its log."""
        self.process.terminate()
        self.process.wait()
        self._log.unlink(missing_ok=True)


def _settings_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / "settings.json").read_text())
    except (OSError, ValueError) as broken:
        raise _unprepared(folder, broken) from broken
    return record


def _unprepared(folder: str | os.PathLike[str], cause: Exception) -> ParameterError:
    return ParameterError(
        f"folder={str(folder)!r} holds no settings of labels ({cause}); name trajectories with "
        "--scene, --rates and --seeds, or a folder of make_labels."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    tether(TETHER_VARIABLE)
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _obey(given)
    except LabkitError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m labkit.clot.labels",
        description="Label trajectories with the errors of step plans; goes on where it stopped.",
    )
    parser.add_argument("--folder", required=True, help="of the files")
    parser.add_argument("--scene", nargs="+", help="of the trajectories, such as collision clot")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.2], help="shear rates")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="whole numbers")
    parser.add_argument("--snapshots", type=int, default=60, help="observations of a trajectory")
    parser.add_argument("--segment", type=float, default=0.5, help="time between observations")
    parser.add_argument("--window", type=float, default=WINDOW, help="time of a label's window")
    parser.add_argument("--processes", type=int, default=1, help="of this machine")
    parser.add_argument("--task", type=int, help="work on every TASKS-th trajectory from TASK on")
    parser.add_argument("--tasks", type=int, default=1, help="see --task")
    parser.add_argument("--slurm", type=int, metavar="JOBS", help="print a batch script instead")
    return parser


def _obey(given: argparse.Namespace) -> None:
    if given.scene:
        trajectories = [
            Trajectory(scene=scene, seed=seed, changes={"shear_rate": rate})
            for scene in given.scene
            for rate in given.rates
            for seed in given.seeds
        ]
        prepare(trajectories, _settings(given, trajectories[0]), folder=given.folder)
    trajectories, settings = prepared(given.folder)
    if given.slurm is not None:
        sys.stdout.write(slurm_array(given.folder, tasks=given.slurm))
    elif given.task is None:
        make_labels(trajectories, settings, folder=given.folder, processes=given.processes)
    else:
        require_whole("tasks", given.tasks, low=1)
        require_whole("task", given.task, low=0, high=given.tasks - 1)
        for trajectory in trajectories[given.task :: given.tasks]:
            label_trajectory(trajectory, settings, folder=given.folder)


def _settings(given: argparse.Namespace, example: Trajectory) -> LabelSettings:
    """Return settings with the default ladder of a scene's force field."""
    from labkit.clot.caps import stability_caps
    from labkit.clot.control.ladder import ladder
    from labkit.clot.scenes import scene

    ready = scene(example.scene, seed=example.seed, **example.changes)
    steps = ladder(stability_caps(ready.suspension, ready.forcefield))
    return LabelSettings(
        plans=steps.plans,
        reference=steps.reference(),
        window=given.window,
        segment=given.segment,
        snapshots=given.snapshots,
    )
