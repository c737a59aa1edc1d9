"""Processes that train for real: under torchrun, or many small jobs in one launch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from labkit.llm_parallel.runtime.job import Job

RANKS = Path(__file__).with_name("jobs_of_ranks.py")
LIMIT_SECONDS = 400


@pytest.fixture
def torchrun() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ranks on a free port of the loopback interface; none outlives the test."""
    with ExitStack() as stack:

        def start(n_processes: int, *command: str) -> subprocess.Popen[str]:
            options = ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0")
            launcher = (sys.executable, "-m", "torch.distributed.run", "--local-addr=127.0.0.1")
            ranks = subprocess.Popen(
                [*launcher, *options, f"--nproc-per-node={n_processes}", *command],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(ranks)
            stack.callback(ranks.terminate)
            return ranks

        yield start


@pytest.fixture
def train_all(tmp_path: Path) -> Callable[[list[Job]], list[list[dict[str, Any]]]]:
    """Train jobs of the same number of processes, and return what each rank says of each."""

    def trained(jobs: list[Job]) -> list[list[dict[str, Any]]]:
        (n_processes,) = {job.parallel.n_devices for job in jobs}
        listed = tmp_path / "jobs.json"
        listed.write_text(json.dumps([job.to_mapping() for job in jobs]))
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        meeting_point = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        done = subprocess.run(
            [sys.executable, str(RANKS), str(listed), str(n_processes)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **meeting_point},
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(listed.with_suffix(".results").read_text())

    return trained
