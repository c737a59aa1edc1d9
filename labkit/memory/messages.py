"""Messages that one process of a torch program sends, counted by the group that they pass.

The counter sees every collective that torch's dispatcher sees, whether it comes from DTensor, FSDP
or a pipeline schedule, in a real process group or in one of `labkit.memory.dryrun.fake_processes`.
torch's own `CommDebugMode` counts the same and does not tell the groups apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

KINDS: Mapping[str, str] = {
    "c10d::allreduce_": "all_reduce",
    "c10d::allgather_": "all_gather",
    "c10d::_allgather_base_": "all_gather",
    "c10d::reduce_scatter_": "reduce_scatter",
    "c10d::_reduce_scatter_base_": "reduce_scatter",
    "c10d::broadcast_": "broadcast",
    "c10d::send": "p2p",
    "_c10d_functional::all_reduce": "all_reduce",
    "_c10d_functional::all_reduce_": "all_reduce",
    "_c10d_functional::all_gather_into_tensor": "all_gather",
    "_c10d_functional::reduce_scatter_tensor": "reduce_scatter",
    "_c10d_functional::broadcast": "broadcast",
    "_dtensor::shard_dim_alltoall": "all_to_all",
}
"""Operation to kind; of messages between two processes, those that are sent."""


class MessageCounter(TorchDispatchMode):
    """Counts messages while it is active.

    Attributes
    ----------
    counts : Counter
        Number of messages by (name of the group, kind).

    Examples
    --------
    >>> from labkit.memory.dryrun import fake_processes
    >>> with fake_processes(64), MessageCounter() as counter:
    ...     for _ in range(3):
    ...         dist.all_reduce(torch.zeros(2))
    >>> sorted(counter.counts.values())
    [3]
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and let it happen."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # DTensor comes back with what it sends
        kind = KINDS.get(func.name().split(".")[0]) if hasattr(func, "name") else None
        if kind is not None:
            self.counts[_group_name((*args, *(kwargs or {}).values())), kind] += 1
        return func(*args, **(kwargs or {}))


def _group_name(arguments: tuple[Any, ...]) -> str:
    """Name of the group among the arguments of an operation: an object, or else the last text."""
    for value in arguments:
        if isinstance(value, torch.ScriptObject):
            try:
                return str(dist.ProcessGroup.unbox(value).group_name)
            except RuntimeError:
                continue  # the reduction is an object too
    return next((value for value in reversed(arguments) if isinstance(value, str)), "")
