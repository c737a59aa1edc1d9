"""A real two-node Slurm and a real Dask cluster, on loopback and free ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SLURM_CONF = """\
ClusterName=labkit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=300
MaxArraySize=6
KillWait=5
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] RealMemory=1000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes with one core each; no accounting, so that sacct fails as on many clusters."""
    programs = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"Slurm cannot be started: {', '.join(missing) or 'not root'}")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "log"):
        (folder / name).mkdir()
    port = three_free_ports()
    host = socket.gethostname().partition(".")[0]
    text = SLURM_CONF.format(folder=folder, host=host, port=port, first=port + 1, second=port + 2)
    (folder / "slurm.conf").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        commands = (
            ["slurmctld", "-D", "-c"],
            *(["slurmd", "-D", "-c", "-N", n] for n in ("n1", "n2")),
        )
        daemons = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for command in commands
        ]
        try:
            wait_until(lambda: slurm_says("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2)
            yield
        finally:
            slurm_says("scancel", "--full", "-u", "root")
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                stop(daemon)


@pytest.fixture
def dask_address(tmp_path: Path) -> Iterator[str]:
    """Address of a scheduler with two workers, each a process of its own."""
    port = three_free_ports()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli"]
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["dask_worker", address, "--nthreads", "1", "--nworkers", "2", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*dask[:2], f"distributed.cli.{name}", *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, *arguments in (scheduler, worker)
    ]
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            stop(process)


def three_free_ports() -> int:
    """Return the first of three ports in a row that nobody listens on."""
    while True:
        sockets = [socket.socket() for _ in range(3)]
        try:
            sockets[0].bind(("127.0.0.1", 0))
            port = int(sockets[0].getsockname()[1])
            for offset, other in enumerate(sockets[1:], start=1):
                other.bind(("127.0.0.1", port + offset))
        except (OSError, OverflowError):
            continue
        else:
            return port
        finally:
            for each in sockets:
                each.close()


def slurm_says(*command: str) -> str:
    """Return what a Slurm command prints, nothing when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout


def stop(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to end; kill it when it does not."""
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 150, *, every: float = 0.1) -> None:
    """Wait for a condition that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited too long")
        time.sleep(every)
