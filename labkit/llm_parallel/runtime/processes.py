"""A process among those of a run: as torchrun numbers them, joined and left in order.

A process that leaves while a neighbor still waits for its last message breaks the connection, and
the neighbor ends with an error although all work is done. So all wait for each other before any
of them leaves. A process with an error does not wait: its end tells torchrun to end the others.

On CPUs gloo gets one thread a group, not its usual two: in torch 2.13 two threads that gather for
`torch.distributed.tensor` at the same time now and then corrupt the memory of the process, which
then ends by SIGABRT or SIGSEGV. The messages of a group share their connections anyway.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from labkit.devices import pick_device
from labkit.errors import ParameterError

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""Device to library of collectives."""
ONE_THREAD = "gloo_one_thread"
"""Name under which torch knows gloo as it is used here."""


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes
    ----------
    rank : int
    n_processes : int
    local_rank : int
        Among those of this machine; says which GPU it takes.
    """

    rank: int
    n_processes: int
    local_rank: int

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Process:
        """Return what torchrun's variables say; without them, the only process.

        Examples
        --------
        >>> Process.here({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
        Process(rank=5, n_processes=8, local_rank=1)
        """
        names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        return cls(*(int(environment.get(name, alone)) for name, alone in names.items()))

    def device(self, name: str) -> torch.device:
        """Return the device of this process.

        Raises
        ------
        ParameterError
            There are fewer GPUs than processes on this machine.
        """
        kind = pick_device(name).type
        if kind != "cuda":
            return torch.device(kind)
        if self.local_rank >= torch.cuda.device_count():
            raise ParameterError(
                f"device={name!r}: process {self.local_rank} of this machine has no GPU of its "
                f"own, there are {torch.cuda.device_count()}; start fewer, or use device='cpu'."
            )
        return torch.device(kind, self.local_rank)


@contextmanager
def joined(process: Process, device: torch.device) -> Iterator[None]:
    """Be one of the processes of a run, until all of them are done."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        BACKENDS[device.type] if on_gpu else _gloo_of_one_thread(),
        store=dist.HashStore() if process.n_processes == 1 else None,
        rank=process.rank,
        world_size=process.n_processes,
        device_id=device if on_gpu else None,
    )
    yield
    dist.barrier()
    dist.destroy_process_group()


def _gloo_of_one_thread() -> str:
    """Return the name of a gloo whose groups have one thread each, where torch lets them."""
    if not hasattr(dist.ProcessGroupGloo, "_Options"):
        return BACKENDS["cpu"]
    if ONE_THREAD not in dist.Backend.backend_list:
        dist.Backend.register_backend(ONE_THREAD, _make_gloo, devices=["cpu"])
    return ONE_THREAD


def _make_gloo(store: dist.Store, rank: int, size: int, timeout: timedelta) -> Any:
    gloo: Any = dist.ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_default_device()]
    options._timeout = timeout
    options._threads = 1
    return gloo(store, rank, size, options)
