"""Train as a job says, as one process of those that torchrun starts.

``torchrun --standalone --nproc_per_node=8 -m labkit.llm_parallel.runtime.train --job job.json``

The same module runs on a laptop and, under ``srun``, on many nodes. Process r writes what it does
to ``rank-r.log`` in the job's folder; process 0 leaves the result there as one file, at the end. A
job that cannot run ends with one line and code 2 before any process waits for another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import platform
import resource
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

import labkit
from labkit.atomic import replace_text
from labkit.errors import LabkitError
from labkit.llm_parallel.runtime.counting import CollectiveCounter
from labkit.llm_parallel.runtime.data import TextBatches
from labkit.llm_parallel.runtime.job import Job, read_job, require_ready
from labkit.llm_parallel.runtime.processes import BACKENDS, Process, joined
from labkit.llm_parallel.runtime.single import single_process
from labkit.llm_parallel.runtime.trainer import Trainer

COUNTED_STEP = 1
"""The first step also sets things up, so messages are counted in the second."""
_logger = logging.getLogger("labkit.llm_parallel.runtime.train")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a job as one of its processes.

    Raises
    ------
    SystemExit
        With code 2, if the job cannot run.
    """
    parser = argparse.ArgumentParser(prog="labkit.llm_parallel.runtime.train")
    parser.add_argument("--job", required=True, help="file written by Job.write")
    path = parser.parse_args(arguments).job
    process = Process.here()
    try:
        job = read_job(path)
        require_ready(job, n_processes=process.n_processes)
        device = process.device(job.device)
    except LabkitError as error:
        if process.rank == 0:
            sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    if process.rank == 0:
        job.result_path.unlink(missing_ok=True)
    with _logging(job, process):
        run(job, process, device)


def run(job: Job, process: Process, device: torch.device) -> None:
    """Train with all processes, and let process 0 write the result."""
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    with joined(process, device):
        own = train(job, device)
        everyone: list[Any] = [None] * process.n_processes
        dist.all_gather_object(everyone, own)
    if process.rank == 0:
        result = _result(job, device, everyone)
        if job.compare_single:
            result["single_losses"] = single_process(job)
        replace_text(job.result_path, json.dumps(result, indent=2) + "\n")


def train(job: Job, device: torch.device) -> dict[str, Any]:
    """Take all steps as one of the processes of a group that is already there.

    Returns
    -------
    dict
        ``losses`` and ``seconds`` of each step; ``peak_memory_bytes``, ``parameters`` and ``host``
        of this process; ``collectives``, axis to kind to number, of one step if they are counted.
    """
    trainer = Trainer(job, device)
    _logger.info("%d parameters in stages %s", trainer.n_parameters, sorted(trainer.parts))
    batches = TextBatches.of(job)
    counter = CollectiveCounter(trainer.mesh)
    losses, seconds = [], []
    for step in range(job.steps):
        batch = batches.batch(step, replica=trainer.replica, n_replicas=job.parallel.dp)
        counted = job.count_collectives and step == min(COUNTED_STEP, job.steps - 1)
        started = time.perf_counter()
        with counter if counted else contextlib.nullcontext():
            share = trainer.update(*batch)
        losses.append(trainer.mean(share))
        seconds.append(time.perf_counter() - started)
        _logger.info("step %d: loss %.6f, %.3f s", step, losses[-1], seconds[-1])
    return {
        "losses": losses,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(device),
        "parameters": trainer.n_parameters,
        "collectives": {axis: dict(kinds) for axis, kinds in counter.counts.items()},
        "host": socket.gethostname(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that this process had: of its GPU, else of the process itself."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _result(job: Job, device: torch.device, everyone: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "job": job.to_mapping(),
        "losses": everyone[0]["losses"],
        "seconds": everyone[0]["seconds"],
        **{
            name: [own[name] for own in everyone]
            for name in ("peak_memory_bytes", "parameters", "collectives", "host")
        },
        "n_processes": len(everyone),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "backend": BACKENDS[device.type],
        "versions": {
            "labkit": labkit.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


@contextlib.contextmanager
def _logging(job: Job, process: Process) -> Iterator[None]:
    """Write this process's log, and the exception that ends it, to its own file."""
    folder = Path(job.out)
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"rank-{process.rank}.log", mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("labkit")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except BaseException:
        _logger.exception("rank %d of %d failed", process.rank, process.n_processes)
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    record(main)()
