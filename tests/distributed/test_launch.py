import json
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch

from labkit.distributed.launch import launch
from labkit.distributed.rank import says_memory_ran_out
from labkit.distributed.verdict import conclude
from labkit.errors import ParameterError

RANK = """
import os, pathlib, subprocess, sys, time
task, folder = sys.argv[1:3]
rank = int(os.environ["RANK"])
print(f"rank {rank} of {os.environ['WORLD_SIZE']} does {task} for {os.environ['WHO']}", flush=True)
os.write(2, b"a complaint\\n")
if task == "memory" and rank == 1:
    bytearray(2**60)
if task != "greet":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    written = pathlib.Path(folder) / f"{rank}.part"
    written.write_text(f"{os.getpid()} {os.getppid()}")
    written.rename(written.with_suffix(".pid"))
    time.sleep(600)
"""
LAUNCHER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background job
from labkit.distributed.launch import launch
launch("busy", ["wait", sys.argv[1]], n_processes=2, timeout_s=120)
"""


@pytest.fixture
def environment(tmp_path):
    """Where the ranks' module is, and a mark on every process that a test starts."""
    (tmp_path / "busy.py").write_text(RANK)
    return {"PYTHONPATH": str(tmp_path), "WHO": uuid.uuid4().hex}


def left(environment):
    """Processes of a test that still run, of whichever session."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("WHO") == environment["WHO"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition, *, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def pids(folder, rank):
    """Process id of a rank and of its torchrun, once it runs."""
    path = folder / f"{rank}.pid"
    wait_until(path.exists)
    return [int(word) for word in path.read_text().split()]


def started(environment, tmp_path):
    """A program that launches two ranks, once both run."""
    program = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    for rank in (0, 1):
        pids(tmp_path, rank)
    return program


def test_ranks_know_their_number_and_what_they_print_is_kept(environment, tmp_path):
    logs = tmp_path / "logs" / "of-one-run"
    done = launch(
        "busy",
        ["greet", tmp_path],
        n_processes=3,
        timeout_s=100,
        environment=environment,
        log_folder=logs,
    )
    expected = [f"rank {n} of 3 does greet for {environment['WHO']}\na complaint" for n in range(3)]
    assert list(done.tails) == expected
    assert (done.ok, done.reason, done.returncode) == (True, None, 0)
    assert done.message.startswith("3 ranks ended well after ")
    assert [(logs / f"rank-{n}.log").read_text().strip() for n in range(3)] == expected


def test_a_rank_without_memory_ends_all_and_is_named(environment, tmp_path):
    done = launch(
        "busy", ["memory", tmp_path], n_processes=2, timeout_s=100, environment=environment
    )
    assert (done.reason, done.message) == (
        "out of memory",
        "rank 1 ran out of memory: MemoryError",
    )
    assert "bytearray(2**60)" in done.tails[1]
    assert not left(environment)


def test_past_the_time_limit_all_are_ended(environment, tmp_path):
    done = launch("busy", ["wait", tmp_path], n_processes=2, timeout_s=1, environment=environment)
    assert done.reason == "time limit"
    assert done.message == "time limit of 1 s passed; all ranks were ended"
    assert not left(environment)


@pytest.mark.parametrize(
    ("who", "reason", "message"),
    [
        ("rank 1", "crashed", "rank 1 was ended by signal 9 (SIGKILL): by somebody, or by"),
        ("torchrun", "lost", "torchrun was ended by signal 9 (SIGKILL)"),
    ],
)
def test_a_killed_process_ends_all_others_and_is_named(environment, tmp_path, who, reason, message):
    with ThreadPoolExecutor() as pool:
        launched = pool.submit(
            launch,
            "busy",
            ["wait", str(tmp_path)],
            n_processes=2,
            timeout_s=100,
            environment=environment,
        )
        rank, torchrun = pids(tmp_path, 1)
        pids(tmp_path, 0)
        os.kill(rank if who == "rank 1" else torchrun, signal.SIGKILL)
        done = launched.result()
    assert done.reason == reason
    assert done.message.startswith(message)
    assert not left(environment)


def test_after_ctrl_c_nothing_is_left(environment, tmp_path):
    with started(environment, tmp_path) as program:
        program.send_signal(signal.SIGINT)
        _, printed = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in printed
    assert not left(environment)


def test_ranks_do_not_outlive_a_launcher_that_is_killed(environment, tmp_path):
    """Their own children, whom nobody told, are the ranks' affair and ended here."""
    with started(environment, tmp_path) as program:
        ranks = [pids(tmp_path, rank)[0] for rank in (0, 1)]
        program.kill()
    try:
        wait_until(lambda: not {process.pid for process in left(environment)} & set(ranks))
        assert {process.name() for process in left(environment)} <= {"sleep"}
    finally:
        for process in left(environment):
            process.kill()


def test_choices_that_are_not_allowed_are_refused_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="n_processes=0: use a whole number of 1 or more"):
        launch("busy", n_processes=0, timeout_s=1)
    with pytest.raises(ParameterError, match="timeout_s=inf: use a number of seconds above 0"):
        launch("busy", n_processes=1, timeout_s=float("inf"))
    with pytest.raises(ParameterError, match=r"log_folder=.* is a file; name a folder"):
        launch("busy", n_processes=1, timeout_s=1, log_folder=tmp_path / "file")


LOST = "RuntimeError: Read error [127.0.0.1]:1: Connection reset by peer"
WATCHDOG = "Watchdog caught collective operation timeout"
ENDED = "rank 1 was ended by signal 9 (SIGKILL)"
KILLED = "by somebody, or by the system for lack of memory"


@pytest.mark.parametrize(
    ("errors", "codes", "oom_kills", "printed", "verdict"),
    [
        ({}, {2: 3}, 0, "", ("crashed", "rank 2 ended with exit code 3")),
        (
            {},
            {0: 2, 1: 2},
            0,
            "starting\nno such job\n",
            ("crashed", "rank 0 ended with exit code 2: no such job"),
        ),
        (
            {0: (LOST, 1.0), 3: ("ValueError: a bad batch\nmore", 2.0)},
            {0: 1, 1: -15, 2: -15, 3: 1},
            0,
            "",
            ("crashed", "rank 3 failed: ValueError: a bad batch"),
        ),
        ({0: (LOST, 2.0), 1: (LOST, 1.0)}, {}, 0, "", ("crashed", f"rank 1 failed: {LOST}")),
        (
            {0: (LOST, 1.0)},
            {0: 1, 1: -6, 2: -15, 3: -9},
            0,
            "",
            ("crashed", f"rank 3 was ended by signal 9 (SIGKILL): {KILLED}"),
        ),
        (
            {},
            {1: 137},
            0,
            "",
            ("crashed", f"{ENDED}: {KILLED}"),
        ),
        (
            {},
            {1: -9},
            2,
            "",
            (
                "out of memory",
                f"{ENDED} while the system ended processes for lack of memory",
            ),
        ),
        (
            {},
            {0: -6},
            0,
            "terminate called\n  what():  std::bad_alloc\n",
            (
                "out of memory",
                "rank 0 was ended by signal 6 (SIGABRT): what():  std::bad_alloc",
            ),
        ),
        ({}, {1: -11}, 0, "", ("crashed", "rank 1 was ended by signal 11 (SIGSEGV)")),
        (
            {1: (LOST, 1.0)},
            {0: -6, 1: 1},
            0,
            WATCHDOG,
            (
                "crashed",
                f"rank 0 was ended by signal 6 (SIGABRT): {WATCHDOG}",
            ),
        ),
        (
            {0: (LOST, 1.0), 1: ("OutOfMemoryError: CUDA out of memory. Tried 2 GiB", 2.0)},
            {0: 1, 1: 1},
            0,
            "",
            (
                "out of memory",
                "rank 1 ran out of memory: OutOfMemoryError: CUDA out of memory. Tried 2 GiB",
            ),
        ),
    ],
)
def test_the_cause_is_told_from_its_consequences(
    tmp_path, errors, codes, oom_kills, printed, verdict
):
    for rank, (error, when) in errors.items():
        record = {"error": error, "time": when, "out_of_memory": "out of memory" in error}
        (tmp_path / f"rank-{rank}.json").write_text(json.dumps(record))
    (tmp_path / "rank-0.log").write_text(printed)
    agent = {"exit_codes": codes, "oom_kills": oom_kills}
    (tmp_path / "agent-host-1.json").write_text(json.dumps(agent))
    done = conclude(tmp_path, n_processes=4, returncode=1, seconds=2.5)
    assert (done.reason, done.message) == verdict


def test_a_torchrun_that_fails_without_ranks_says_why(tmp_path):
    (tmp_path / "agent.log").write_text("Traceback\nRuntimeError: no address\n")
    done = conclude(tmp_path, n_processes=1, returncode=1, seconds=1)
    assert (done.reason, done.message) == (
        "lost",
        "torchrun ended with exit code 1 and no word of its ranks: RuntimeError: no address",
    )


def test_the_time_limit_of_slurm_is_told_as_such(tmp_path):
    line = (
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-21T17:00:00 DUE TO TIME LIMIT ***"
    )
    (tmp_path / "agent.log").write_text(f"{line}\nsrun: Job step aborted\n")
    done = conclude(tmp_path, n_processes=1, returncode=1, seconds=60)
    assert (done.reason, done.message) == ("time limit", f"Slurm ended the job: {line}")


def test_a_lack_of_memory_is_recognized_as_torch_and_python_tell_it():
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_python:
        bytearray(2**60)
    for error in (of_torch.value, of_python.value):
        assert says_memory_ran_out(f"{type(error).__name__}: {error}")
