"""Data parallelism: replicas of a part that share out its state, by FSDP2.

What each process of d replicas keeps of P parameters, and what it sends in a step of m
micro-batches [1]_:

=======  ==================  ==========  ==========  ============================================
stage    optimizer state     gradients   weights     collectives of each group of parameters
=======  ==================  ==========  ==========  ============================================
0        P                   P           P           1 all-reduce
1        P / d               P           P           1 all-gather, 1 reduce-scatter
2        P / d               P / d       P           1 all-gather, m reduce-scatters
3        P / d               P / d       P / d       2 m all-gathers, m reduce-scatters
=======  ==================  ==========  ==========  ============================================

A group is one layer, or all that is not in layers. Where weights are 16-bit numbers, the share of
the optimizer state has the 32-bit ones from which they are cast; gradients of micro-batches add up
as ``grad_dtype``.

References
----------
.. [1] Rajbhandari et al., ZeRO, arXiv:1910.02054.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.runtime.mesh import REPLICAS
from labkit.llm_parallel.runtime.model import GPT


def master_dtype(parallel: ParallelConfig) -> torch.dtype:
    """Type of the numbers that the optimizer updates: 32 bits or more."""
    return torch.float64 if parallel.param_dtype == "float64" else torch.float32


def data_parallel(part: GPT, mesh: DeviceMesh, parallel: ParallelConfig) -> GPT:
    """Share out the state of a part among its replicas, in place.

    Parameters
    ----------
    part : GPT
        With its first values, of `master_dtype`.
    mesh : DeviceMesh
        With the dimensions `REPLICAS`.
    parallel : ParallelConfig
    """
    master = master_dtype(parallel)
    compute, gradient = (
        getattr(torch, name) for name in (parallel.param_dtype, parallel.grad_dtype)
    )
    if parallel.dp == 1 and compute == gradient == master:
        return part
    replicas = mesh[REPLICAS] if parallel.zero_stage == 0 else mesh[REPLICAS[1]]
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=gradient)
    after_forward = parallel.zero_stage == 3
    for module in (*part.layers.values(), part):
        fully_shard(module, mesh=replicas, mp_policy=policy, reshard_after_forward=after_forward)
        cast(FSDPModule, module).set_force_sum_reduction_for_comms(True)
    return part


def prepare_backward(part: nn.Module, parallel: ParallelConfig, *, last: bool) -> None:
    """Say before a backward pass whether gradients are reduced after it, and weights dropped."""
    if isinstance(part, FSDPModule):
        part.set_requires_gradient_sync(last or parallel.zero_stage >= 2)
        part.set_reshard_after_backward(last or parallel.zero_stage == 3)
        part.set_is_last_backward(last)


def make_optimizer(
    parameters: list[nn.Parameter], *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW for parameters of which some are cut over processes and some are not.

    They are in groups of one kind each, as torch updates the many parameters of a group together.
    """
    groups: dict[object, list[nn.Parameter]] = {}
    for parameter in parameters:
        mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
        groups.setdefault(mesh, []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group} for group in groups.values()],
        lr=learning_rate,
        weight_decay=weight_decay,
    )


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
