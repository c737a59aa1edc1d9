"""The processes of a strategy as a grid: which of them share a layer, a batch, a pipeline.

Ranks of the first dimension in ``rank_order`` are consecutive, so ``"tp-cp-dp-pp"`` puts the
processes that share a layer next to each other, and those of a pipeline far apart. Replicas take
two dimensions, of which one has size 1: copies (ZeRO 0), or holders of shares (ZeRO 1 to 3).
"""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from labkit.llm_parallel.config import ParallelConfig

REPLICAS = ("dp_replicate", "dp_shard")
"""Dimensions of the replicas."""


def make_mesh(parallel: ParallelConfig, device: str) -> DeviceMesh:
    """Return the grid, with the dimensions ``pp``, ``dp_replicate``, ``dp_shard`` and ``tp``.

    Parameters
    ----------
    parallel : ParallelConfig
    device : {"cpu", "cuda"}
    """
    copies = parallel.dp if parallel.zero_stage == 0 else 1
    sizes = {
        "pp": (("pp", parallel.pp),),
        "dp": ((REPLICAS[0], copies), (REPLICAS[1], parallel.dp // copies)),
        "cp": (),
        "tp": (("tp", parallel.tp),),
    }
    outermost_first = reversed(parallel.rank_order.split("-"))
    dimensions = [dimension for axis in outermost_first for dimension in sizes[axis]]
    names, shape = zip(*dimensions, strict=True)
    return init_device_mesh(device, shape, mesh_dim_names=names)


def replica_rank(mesh: DeviceMesh) -> int:
    """Return which replica this process belongs to, from 0 to dp - 1."""
    copy, share = (mesh[name] for name in REPLICAS)
    return copy.get_local_rank() * share.size() + share.get_local_rank()
