import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from labkit.clot.engine import Engine
from labkit.clot.flows import Shear
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.ranks import Job, n_cells, run_ranks
from labkit.clot.simulation import EngineError
from labkit.clot.suspension import Placed, Suspension, plasma_box
from labkit.errors import LabkitError, ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.001)
SMALL = Platelet.oblate(1.2, 0.6)
TWO = {"ranks": 2, "oversubscribe": True}


def job(**changes):
    placed = Placed(SMALL, [2.6, 2.6, 5.2], [0.3, 1.0, 0.2])
    values = {
        "suspension": Suspension.build([5.2, 5.2, 10.4], [placed]),
        "forcefield": ForceField(),
        "flow": Shear(0.4),
        "plan": PLAN,
        "time": 0.04,
        "segment": 0.02,
    }
    return Job(**{**values, **changes})


def processes_of(folder):
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_job_is_read_as_it_was_written(tmp_path):
    written = job(forcefield=ForceField(kT=0.3, receptors=None), bins=np.int64(4))
    written.save(tmp_path)
    read = Job.load(tmp_path / "job.json")
    for name in ("forcefield", "flow", "plan", "time", "segment", "bins", "noise", "snapshot"):
        assert getattr(read, name) == getattr(written, name)
    assert np.array_equal(read.suspension.positions, written.suspension.positions)
    assert Job.load(tmp_path / "job.json").forcefield.receptors is None
    job(forcefield=ForceField(receptors=Receptors(D=3.0))).save(tmp_path)
    assert Job.load(tmp_path / "job.json").forcefield.receptors == Receptors(D=3.0)


def test_two_ranks_give_what_one_gives_without_noise(tmp_path):
    """Sums in another order differ in the last digits, which grow tenfold in each time unit."""
    plan = StepPlan.single(0.001)
    quiet = job(noise=False, bins=2, plan=plan)
    two = run_ranks(quiet, **TWO, folder=tmp_path, timeout_s=120)
    assert processes_of(tmp_path) == []
    with Engine(quiet.suspension, quiet.forcefield, quiet.flow) as engine:
        for segment in range(2):
            one = engine.run(plan, 0.02, noise=False, bins=2)
            assert two.stress[segment] == pytest.approx(one.stress, abs=1e-9)
        end = engine.snapshot()
    assert np.abs(two.snapshot.unwrapped() - end.unwrapped()).max() < 1e-9
    assert two.snapshot.tilt == pytest.approx(end.tilt, abs=1e-12)
    assert two.time == pytest.approx([0.02, 0.04])


def test_a_plan_that_blows_up_on_two_ranks_is_named(tmp_path):
    with pytest.raises(EngineError, match=r"plan 0.1 / 0.1 / 0.1 / 0.1 blew up"):
        run_ranks(
            *[job(plan=StepPlan.single(0.1), time=1.0, segment=1.0)],
            **{**TWO, "folder": tmp_path, "timeout_s": 120},
        )
    assert processes_of(tmp_path) == []


def test_ranks_end_at_the_time_limit(tmp_path):
    with pytest.raises(LabkitError, match="timeout_s=2 was not enough for the 2 ranks"):
        run_ranks(job(time=1e5, segment=1e5), **TWO, folder=tmp_path, timeout_s=2)
    assert processes_of(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tether is Linux's")
def test_ranks_do_not_outlive_the_program_that_started_them(tmp_path):
    job(time=1e5, segment=1e5).save(tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\nfrom labkit.clot.ranks import Job, run_ranks\n"
        "place = Path(sys.argv[1])\n"
        "run_ranks(Job.load(place / 'job.json'), ranks=2, oversubscribe=True, folder=place)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(processes_of(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(processes_of(tmp_path)) >= 4, "this program, mpirun and two ranks"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"ranks": 0}, "ranks=0"),
        ({}, {"ranks": 10_000}, "use fewer, or oversubscribe=True"),
        ({}, {"ranks": 10_000, "oversubscribe": True}, "cells as wide as the forces"),
        ({"time": 0.05}, {"ranks": 1}, "whole multiple of segment=0.02"),
        ({}, {"ranks": 1, "timeout_s": -1.0}, "timeout_s=-1"),
        ({"time": float("inf")}, {"ranks": 1}, "time=inf"),
        ({"relax": -1.0}, {"ranks": 1}, "relax=-1"),
        ({"seed": -1}, {"ranks": 1}, "seed=-1"),
        ({"bins": 0}, {"ranks": 1}, "bins=0"),
    ],
)
def test_ranks_that_cannot_be_are_refused_before_anything_runs(tmp_path, changes, options, message):
    with pytest.raises(ParameterError, match=message):
        run_ranks(job(**changes), folder=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_box_has_as_many_cells_as_the_reach_of_the_forces_fits_into_it():
    assert n_cells(plasma_box([6, 6, 3]), ForceField()) == 4 * 4 * 2


def ranks_of(folder):
    """Only the ranks: neither mpirun nor what watches it."""
    start = [sys.executable, "-m", "labkit.clot.ranks", "--job"]
    return [pid for pid in processes_of(folder) if psutil.Process(pid).cmdline()[:4] == start]


def kill_a_rank(folder):
    deadline = time.monotonic() + 60
    while len(ranks_of(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(ranks_of(folder)[-1], signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tether is Linux's")
def test_a_rank_that_dies_is_an_error_with_the_end_of_its_log(tmp_path):
    killer = threading.Thread(target=kill_a_rank, args=(tmp_path,))
    killer.start()
    with pytest.raises(LabkitError, match=r"(?s)ended with code.*ranks.log ends:"):
        run_ranks(job(time=1e5, segment=1e5), **TWO, folder=tmp_path, timeout_s=120)
    killer.join()
    assert processes_of(tmp_path) == []
