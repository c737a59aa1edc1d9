"""Messages of one process, counted as they are sent, by axis of the grid and kind.

Every collective that a program starts passes torch's dispatcher with the group that it is for, in
one of two forms: as a function of ``_c10d_functional`` (tensor parallelism) or in place as an
operator of ``c10d`` (FSDP2, the pipeline, the loss).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

KINDS = {
    "all_reduce": "all_reduce",
    "allreduce_": "all_reduce",
    "all_gather_into_tensor": "all_gather",
    "_allgather_base_": "all_gather",
    "allgather_": "all_gather",
    "reduce_scatter_tensor": "reduce_scatter",
    "_reduce_scatter_base_": "reduce_scatter",
    "reduce_scatter_": "reduce_scatter",
    "send": "send",
    "recv_": "receive",
    "broadcast": "broadcast",
    "broadcast_": "broadcast",
}
"""Name of torch's operator to kind of message."""
AXES = {"tp": "tp", "pp": "pp", "dp_replicate": "dp", "dp_shard": "dp"}
"""Dimension of the grid to axis of the strategy."""


class CollectiveCounter(TorchDispatchMode):
    """Counts the messages that this process takes part in while it is entered.

    Parameters
    ----------
    mesh : DeviceMesh
        As `labkit.llm_parallel.runtime.mesh.make_mesh` gives it.

    Attributes
    ----------
    counts : dict of str to Counter
        Axis (``tp``, ``dp``, ``pp``; ``other`` for the rest) to number of messages by kind. Groups
        of one process are left out.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        super().__init__()
        names = mesh.mesh_dim_names or ()
        self.axis_of_group = {mesh[name].get_group().group_name: AXES[name] for name in names}
        self.counts: dict[str, Counter[str]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count an operator if it sends something, and run it.

        Operators on `DTensor` come again as what they do to the tensors of this process.
        """
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        namespace = func.namespace
        kind = KINDS.get(func._opname)
        if namespace in ("c10d", "_c10d_functional") and kind is not None:
            self._count(kind, _group(args))
        return func(*args, **(kwargs or {}))

    def _count(self, kind: str, group: dist.ProcessGroup) -> None:
        if group.size() > 1:
            axis = self.axis_of_group.get(group.group_name, "other")
            self.counts.setdefault(axis, Counter())[kind] += 1


def _group(arguments: tuple[Any, ...]) -> dist.ProcessGroup:
    """Return the group among the arguments of an operator: an object, or its name at the end."""
    for argument in arguments:
        if isinstance(argument, torch.ScriptObject):
            return dist.ProcessGroup.unbox(argument)
    return dist.distributed_c10d._resolve_process_group(arguments[-1])
