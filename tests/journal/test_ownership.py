"""Who holds a lock, and what becomes of it when the holder is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from labkit.journal.ownership import OwnedLock, has_ended, this_process

ELSEWHERE = {"machine": "elsewhere", "pid": 1, "started": 0.0}

HOLD = """
import sys
from pathlib import Path
from labkit.journal.ownership import OwnedLock
OwnedLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_is_told_by_machine_number_and_start() -> None:
    me = this_process()
    assert me["machine"].split()[0] == socket.gethostname()
    assert me["pid"] == os.getpid()
    assert me["started"] == psutil.Process(os.getpid()).create_time()


@pytest.mark.parametrize(
    ("owner", "ended"),
    [
        (this_process(), False),
        (this_process() | {"started": 1.0}, True),  # the number was given to another process
        (this_process() | {"pid": 2**22 + 1}, True),  # above the largest number of Linux
        (ELSEWHERE, None),
    ],
)
def test_only_a_process_of_this_machine_can_be_known_to_have_ended(
    owner: dict[str, object], ended: bool | None
) -> None:
    assert has_ended(owner) is ended


def test_threads_hold_a_lock_one_at_a_time(tmp_path: Path) -> None:
    lock, inside, seen = OwnedLock(tmp_path / "lock"), [], []

    def work() -> None:
        for _ in range(20):
            with lock.held():
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_at_once(tmp_path: Path) -> None:
    lock = OwnedLock(tmp_path / "lock", grace_s=1e6)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert json.loads(lock.path.readlink().name)["pid"] == process.pid
        process.kill()
    with lock.held():
        assert json.loads(lock.path.readlink().name)["pid"] == os.getpid()
    assert not lock.path.is_symlink()


@pytest.mark.parametrize("holder", [json.dumps(ELSEWHERE), "somebody", "[]"])
def test_a_lock_of_an_unknown_process_is_taken_after_its_grace(tmp_path: Path, holder: str) -> None:
    lock = OwnedLock(tmp_path / "lock", grace_s=0.05)
    lock.path.symlink_to(holder)
    with lock.held():
        assert json.loads(lock.path.readlink().name) == this_process()


def test_a_lock_that_passes_from_hand_to_hand_elsewhere_is_not_taken(tmp_path: Path) -> None:
    lock, taken = OwnedLock(tmp_path / "lock", grace_s=0.5), threading.Event()
    lock.path.symlink_to(json.dumps(ELSEWHERE | {"pid": 0}))

    def take() -> None:
        with lock.held():
            taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    for pid in range(1, 8):  # 0.7 s in all, each holder for less than the grace
        assert not taken.wait(0.1)
        other = tmp_path / "next"
        other.symlink_to(json.dumps(ELSEWHERE | {"pid": pid}))
        other.replace(lock.path)
    lock.release()
    thread.join(timeout=60)
    assert taken.is_set()
