"""A simulation on several MPI ranks of this machine, from a program that has one.

`run_ranks` writes a `Job` to a folder and starts ``mpirun python -m labkit.clot.ranks``, each rank
of which runs an `Engine` on its part of the box. Rank 0 writes the result. All processes end with
the call: after the last segment, when a rank fails, at the time limit, on Ctrl-C, and when this
program is killed.

Without noise and with one step on all levels, ranks change a trajectory by rounding alone. With
several levels friction across the border of two ranks, as across that of the box, sees velocities
that lack the last half kick of the smaller steps, since LAMMPS sends them with the positions; runs
then agree as ensembles do.

For more than one machine write a deck (`labkit.clot.deck.write_input`) and submit that.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_text
from labkit.choices import require_folder, require_whole
from labkit.clot import deck, flows, forcefield, library
from labkit.clot.flows import Flow, Quiescent
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.lees_edwards import require_start
from labkit.clot.plans import StepPlan
from labkit.clot.series import as_json
from labkit.clot.simulation import EngineError
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension
from labkit.distributed.launch import TOKEN_VARIABLE, end_marked
from labkit.distributed.tether import tether
from labkit.errors import LabkitError, ParameterError

Array = NDArray[np.float64]

_LAUNCHER_VARIABLE = "LABKIT_MPIRUN_PARENT"
_OF_ANOTHER_MPI = ("PMI", "PMIX", "HYDI", "HYDRA", "MPI_LOCAL", "MPIEXEC", "MPIR_CVAR")
_RESULT, _END, _ERROR, _LOG = "result.npz", "end.npz", "error.txt", "ranks.log"
_LOG_LINES = 15
_PLAIN = ("time", "segment", "relax", "seed", "noise", "bins")


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """A simulation on one plan.

    Attributes
    ----------
    suspension : Suspension
    forcefield : ForceField
    flow : Flow
    plan : StepPlan
    time, segment : float
        How long, and how often the platelets are observed on the way [time].
    relax : float
        How long the built state is relaxed first; 0 for a state that is relaxed [time].
    seed : int
    snapshot : Snapshot, optional
        Where to start.
    noise : bool
        False sets the temperature of every thermostat to zero; friction stays.
    bins : int, optional
        Average profile and stress over each segment, with this number of bins along y.
    """

    suspension: Suspension
    forcefield: ForceField
    plan: StepPlan
    time: float
    segment: float
    flow: Flow = dataclasses.field(default_factory=Quiescent)
    relax: float = 0.0
    seed: int = 0
    snapshot: Snapshot | None = None
    noise: bool = True
    bins: int | None = None

    def save(self, folder: Path) -> None:
        """Write the job to ``job.json``, ``suspension.npz`` and ``snapshot.npz``."""
        values = {
            "forcefield": dataclasses.asdict(self.forcefield),
            "flow": {"name": type(self.flow).__name__, **dataclasses.asdict(self.flow)},
            "plan": dataclasses.asdict(self.plan),
            **{name: getattr(self, name) for name in _PLAIN},
            "starts_at_snapshot": self.snapshot is not None,
        }
        np.savez(folder / "suspension.npz", **_arrays(self.suspension))
        if self.snapshot is not None:
            self.snapshot.save(folder / "snapshot.npz")
        replace_text(folder / "job.json", as_json(values))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read the job of a ``job.json`` and of the files beside it."""
        values = json.loads(path.read_text())
        with np.load(path.with_name("suspension.npz")) as stored:
            suspension = Suspension(**stored)
        with_state = values.pop("starts_at_snapshot")
        flow = values.pop("flow")
        return cls(
            suspension=suspension,
            forcefield=_forcefield(values.pop("forcefield")),
            flow=getattr(flows, flow.pop("name"))(**flow),
            plan=StepPlan(**values.pop("plan")),
            snapshot=Snapshot.load(path.with_name("snapshot.npz")) if with_state else None,
            **values,
        )


@dataclass(frozen=True, eq=False)
class RanksRun:
    """What a job gave; n segments, P platelets.

    Attributes
    ----------
    snapshot : Snapshot
        The end.
    time : array of shape (n,)
        At the end of each segment [time].
    temperature : array of shape (n, P)
        Of the platelets [energy].
    fluid_temperature : array of shape (n,)
        [energy]
    stress : array of shape (n, 6)
        See `labkit.clot.simulation.Segment`; (n, 0) without averages.
    profile : array of shape (n, bins, 4)
        As above; (n, 0) without averages.
    wall_seconds : array of shape (n,)
        Of rank 0.
    """

    snapshot: Snapshot
    time: Array
    temperature: Array
    fluid_temperature: Array
    stress: Array
    profile: Array
    wall_seconds: Array


def run_ranks(
    job: Job,
    *,
    ranks: int,
    folder: str | os.PathLike[str],
    timeout_s: float = 3600.0,
    oversubscribe: bool = False,
) -> RanksRun:
    """Run a simulation on several ranks of this machine.

    Parameters
    ----------
    job : Job
    ranks : int
        At most the number of cores, and of cells as wide as the forces reach.
    folder : path
        For the job, the result and ``ranks.log``.
    timeout_s : float
        Seconds after which all ranks are ended.
    oversubscribe : bool
        Allow more ranks than cores; slow, since ranks wait by spinning.

    Raises
    ------
    EngineError
        The plan blew up.
    LabkitError
        A rank ended for another reason, or the time limit was reached.
    ParameterError
        A parameter is not allowed.
    """
    _check_ranks(job, ranks, oversubscribe)
    require_positive("timeout_s", timeout_s)
    require_folder("folder", folder)
    place = Path(folder).expanduser().resolve()
    place.mkdir(parents=True, exist_ok=True)
    for name in (_RESULT, _END, _ERROR):
        (place / name).unlink(missing_ok=True)
    job.save(place)
    code = _run(mpirun_command(ranks, place / "job.json"), timeout_s, place)
    if code is None:
        raise LabkitError(
            f"timeout_s={timeout_s:g} was not enough for the {ranks} ranks; use more."
        )
    if (place / _ERROR).exists():
        raise EngineError((place / _ERROR).read_text())
    if code != 0 or not (place / _RESULT).exists():
        last = "\n".join((place / _LOG).read_text().splitlines()[-_LOG_LINES:])
        raise LabkitError(f"a rank of {ranks} ended with code {code}; {place / _LOG} ends:\n{last}")
    with np.load(place / _RESULT) as stored:
        return RanksRun(snapshot=Snapshot.load(place / _END), **stored)


def mpirun_command(ranks: int, job: Path) -> list[str]:
    """Return the command line of a job on this machine.

    Raises
    ------
    LabkitError
        There is no mpirun beside this Python.
    """
    mpirun = Path(sys.executable).with_name("mpirun")
    if not mpirun.exists():
        raise LabkitError(f"there is no mpirun beside {sys.executable}; install it: {library.CURE}")
    module = (sys.executable, "-m", "labkit.clot.ranks")
    return [
        *(*module, "--tethered"),
        *(str(mpirun), "-launcher", "fork", "-host", "localhost", "-n", str(ranks)),
        *(*module, "--job", str(job)),
    ]


def n_cells(suspension: Suspension, force: ForceField) -> int:
    """Return into how many parts, each as wide as the forces reach, a box can be cut."""
    reach = 1.0
    if suspension.n_platelets:
        reach = max(force.cutoff, deck.longest_bond(suspension))
    return math.prod(max(1, int(edge // (reach + deck.SKIN))) for edge in suspension.box)


def _check_ranks(job: Job, ranks: int, oversubscribe: bool) -> None:
    require_whole("ranks", ranks, low=1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if ranks > (cores or 1) and not oversubscribe:
        raise ParameterError(
            f"ranks={ranks} is not allowed on {cores} cores; use fewer, or oversubscribe=True."
        )
    cells = n_cells(job.suspension, job.forcefield)
    if ranks > cells:
        raise ParameterError(
            f"ranks={ranks} is not allowed, the box has {cells} cells as wide as the forces "
            "reach; use fewer ranks or a larger box."
        )
    job.plan.n_fluid_steps(job.segment)
    require_positive("time", job.time)
    if job.relax:
        require_positive("relax", job.relax)
        StepPlan.single(deck.RELAXATION_STEP).n_fluid_steps(job.relax)
    require_whole("seed", job.seed, low=0)
    if job.bins is not None:
        require_whole("bins", job.bins, low=1)
    if job.snapshot is not None:
        require_start(job.snapshot, job.suspension, job.flow)
    n = job.time / job.segment
    if n < 1 - 1e-6 or abs(n - round(n)) > 1e-6 * n:
        raise ParameterError(
            f"time={job.time:g} is not allowed; use a whole multiple of segment={job.segment:g}."
        )


def _run(command: Sequence[str], timeout_s: float, folder: Path) -> int | None:
    """Return the exit code of mpirun, None if the time limit ended it."""
    token = uuid.uuid4().hex
    process = None
    try:
        with (folder / _LOG).open("wb") as stream:
            process = subprocess.Popen(
                command,
                env=_environment(token, folder),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_marked(token)
        if process is not None:
            process.wait()


def _environment(token: str, folder: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(_OF_ANOTHER_MPI)}
    return {
        **clean,
        TOKEN_VARIABLE: token,
        _LAUNCHER_VARIABLE: str(os.getpid()),
        library.ERROR_FILE_VARIABLE: str(folder / _ERROR),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a job as one rank, or become mpirun.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--tethered"]:
        tether(_LAUNCHER_VARIABLE)
        os.execv(words[1], words[1:])
    parser = argparse.ArgumentParser(prog="python -m labkit.clot.ranks", description=__doc__)
    parser.add_argument("--job", type=Path, required=True, help="file written by Job.save")
    place = parser.parse_args(words).job.resolve()
    try:
        _drive(Job.load(place), place.parent)
    except EngineError as error:
        if _rank() == 0:
            replace_text(place.with_name(_ERROR), str(error))
        raise SystemExit(1) from error


def _drive(job: Job, folder: Path) -> None:
    from labkit.clot.engine import Engine

    rows: dict[str, list[Any]] = {
        name: []
        for name in (
            *("time", "temperature", "fluid_temperature"),
            *("stress", "profile", "wall_seconds"),
        )
    }
    with Engine(
        job.suspension, job.forcefield, job.flow, seed=job.seed, snapshot=job.snapshot
    ) as engine:
        if job.relax:
            engine.relax(time=job.relax)
        for _ in range(round(job.time / job.segment)):
            segment = engine.run(job.plan, job.segment, noise=job.noise, bins=job.bins)
            seen = engine.observe()
            rows["time"].append(engine.time)
            rows["temperature"].append(seen.temperature)
            rows["fluid_temperature"].append(seen.fluid_temperature)
            rows["wall_seconds"].append(segment.wall_seconds)
            rows["stress"].append([] if segment.stress is None else segment.stress)
            rows["profile"].append([] if segment.profile is None else segment.profile)
        end = engine.snapshot()
    if _rank() == 0:
        end.save(folder / _END)
        arrays: dict[str, Any] = {name: np.asarray(row, float) for name, row in rows.items()}
        np.savez(folder / _RESULT, **arrays)


def _rank() -> int:
    library.load_lammps()
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.rank)


def _arrays(suspension: Suspension) -> dict[str, Any]:
    fields = dataclasses.fields(suspension)
    return {item.name: np.asarray(getattr(suspension, item.name)) for item in fields}


def _forcefield(values: Mapping[str, Any]) -> ForceField:
    groups: dict[str, Any] = {
        "plasma": forcefield.Plasma,
        "membrane": forcefield.Membrane,
        "cytoplasm": forcefield.Cytoplasm,
        "interface": forcefield.Interface,
        "receptors": forcefield.Receptors,
    }
    built: dict[str, Any] = {
        name: kind(**values[name]) if values[name] is not None else None
        for name, kind in groups.items()
    }
    return ForceField(kT=values["kT"], **built)


if __name__ == "__main__":
    main()
