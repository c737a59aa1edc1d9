"""Ranks that train the jobs of a file: ``python jobs_of_ranks.py jobs.json 8``.

Imports take longer than small jobs, so they happen once, and the ranks are forked after them. They
have the environment that torchrun would give them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import wait
from pathlib import Path

import torch
import torch.distributed as dist

from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.processes import Process, joined
from labkit.llm_parallel.runtime.train import train


def train_jobs(rank: int, n_processes: int, listed: Path) -> None:
    """Train every job as one of the ranks, each with a grid of its own."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n_processes))
    device = torch.device("cpu")
    with joined(Process.here(), device):
        results = []
        for values in json.loads(listed.read_text()):
            everyone = [None] * n_processes
            dist.all_gather_object(everyone, train(Job.from_mapping(values), device))
            results.append(everyone)
        if rank == 0:
            listed.with_suffix(".results").write_text(json.dumps(results))


if __name__ == "__main__":
    jobs, count = Path(sys.argv[1]), int(sys.argv[2])
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=train_jobs, args=(i, count, jobs)) for i in range(count)]
    for process in ranks:
        process.start()
    running = {process.sentinel: process for process in ranks}
    while running:
        for ended in wait(list(running)):
            running.pop(ended).join()
        if any(process.exitcode for process in ranks):
            for process in running.values():
                process.terminate()
    sys.exit(any(process.exitcode for process in ranks))
