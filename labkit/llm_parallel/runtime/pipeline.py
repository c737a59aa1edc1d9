"""Pipeline parallelism: the model cut in depth, run in the order of one of torch's schedules.

A pipeline of p devices with v chunks of the model each has p v stages. In the loop, device r holds
the stages r, r + p, r + 2 p, ...; in the V of ``zbv`` it holds r and 2 p - 1 - r.

==================  =======================================================================
schedule            `torch.distributed.pipelining` class
==================  =======================================================================
gpipe               `ScheduleGPipe`
1f1b                `Schedule1F1B`
interleaved_1f1b    `ScheduleInterleaved1F1B`
looped_bfs          `ScheduleLoopedBFS`
zb_h1               `ScheduleInterleavedZeroBubble`
zbv                 `ScheduleZBVZeroBubble`
==================  =======================================================================

A tied output layer is a second copy of the embedding on the last stage: both begin with the same
values and get the sum of both gradients [1]_, so they stay equal.

References
----------
.. [1] Shoeybi et al., Megatron-LM: "first and last stage all-reduce the embedding's gradient".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.runtime.data_parallel import local
from labkit.llm_parallel.runtime.model import GPT

if TYPE_CHECKING:
    from torch.distributed.pipelining import PipelineStage

Loss = Callable[[Tensor, Tensor], Tensor]
SCHEDULE_CLASSES: Mapping[str, str] = {
    "gpipe": "ScheduleGPipe",
    "1f1b": "Schedule1F1B",
    "interleaved_1f1b": "ScheduleInterleaved1F1B",
    "looped_bfs": "ScheduleLoopedBFS",
    "zb_h1": "ScheduleInterleavedZeroBubble",
    "zbv": "ScheduleZBVZeroBubble",
}
"""Schedule to its class in torch.distributed.pipelining, which takes seconds and 40 MiB to import
and is left alone by processes without a pipeline."""
ONE_STAGE = ("gpipe", "1f1b")
"""Schedules whose classes take a stage, not a list."""
V_SCHEDULE = "zbv"
"""Here the first device holds both ends of the pipeline."""


def stages_of_rank(parallel: ParallelConfig, rank: int) -> tuple[int, ...]:
    """Return the stages of one device of the pipeline, in the order of the model.

    Examples
    --------
    >>> loop = ParallelConfig(pp=4, virtual_pp=2, schedule="interleaved_1f1b", global_batch_size=4)
    >>> stages_of_rank(loop, 1), stages_of_rank(loop.replace(schedule="zbv"), 1)
    ((1, 5), (1, 6))
    """
    if parallel.schedule == V_SCHEDULE:
        return rank, 2 * parallel.pp - 1 - rank
    return tuple(rank + chunk * parallel.pp for chunk in range(parallel.virtual_pp))


def layers_of_stage(model: ModelConfig, parallel: ParallelConfig, stage: int) -> range:
    """Return the layers of one of the p v stages.

    Examples
    --------
    >>> model = ModelConfig(num_layers=6, hidden_size=64, num_attention_heads=4)
    >>> strategy = ParallelConfig(pp=4, count_embeddings_as_layers=True)
    >>> [layers_of_stage(model, strategy, stage) for stage in (0, 1, 3)]
    [range(0, 1), range(1, 3), range(5, 6)]
    """
    extra = int(parallel.count_embeddings_as_layers)
    share = (model.num_layers + 2 * extra) // (parallel.pp * parallel.virtual_pp)
    first = stage * share - extra
    return range(max(first, 0), min(first + share, model.num_layers))


def make_schedule(
    parts: Mapping[int, GPT],
    parallel: ParallelConfig,
    *,
    mesh: DeviceMesh,
    device: torch.device,
    loss: Loss,
) -> Any:
    """Return torch's schedule of the stages that this process holds.

    Parameters
    ----------
    parts : mapping of int to GPT
        Stage to part of the model.
    parallel : ParallelConfig
    mesh : DeviceMesh
        With the dimension ``pp``.
    device : torch.device
    loss : callable
        Of the last part's output and the targets of a micro-batch.
    """
    from torch.distributed import pipelining

    kind = getattr(pipelining, SCHEDULE_CLASSES[parallel.schedule])
    stages = [
        _stage(part, index, parallel, mesh=mesh, device=device) for index, part in parts.items()
    ]
    return kind(
        stages[0] if parallel.schedule in ONE_STAGE else stages,
        parallel.num_microbatches,
        loss_fn=loss,
        scale_grads=False,
    )


class TiedEmbedding:
    """Keeps the embedding of the first stage and its copy on the last one equal.

    Parameters
    ----------
    parts : mapping of int to GPT
        Stage to part of the model, of this process.
    parallel : ParallelConfig
    mesh : DeviceMesh
        With the dimension ``pp``. All processes must take part.
    """

    def __init__(
        self, parts: Mapping[int, GPT], parallel: ParallelConfig, mesh: DeviceMesh
    ) -> None:
        self.copies = [table for part in parts.values() for table in _tables(part)]
        both_here = parallel.schedule == V_SCHEDULE
        self.group = None if both_here else _ends_of_pipelines(mesh)

    def reduce(self) -> None:
        """Add up the gradients of the two copies, once a step."""
        gradients = [local(module.weight.grad) for module in self.copies]
        if len(gradients) == 2:
            gradients[0] += gradients[1]
            gradients[1].copy_(gradients[0])
        elif gradients:
            dist.all_reduce(gradients[0], group=self.group)


def _tables(part: GPT) -> list[Any]:
    """Return the modules of a part whose weights have a row for each token."""
    embedding = [] if part.embedding is None else [part.embedding.tokens]
    return embedding + ([] if part.output is None else [part.output])


def _ends_of_pipelines(mesh: DeviceMesh) -> dist.ProcessGroup | None:
    """Make a group of the first and the last process of every pipeline, and return one's own."""
    axis = (mesh.mesh_dim_names or ()).index("pp")
    pipelines = mesh.mesh.movedim(axis, -1).flatten(0, -2)
    ends = [[int(ranks[0]), int(ranks[-1])] for ranks in pipelines]
    mine = None
    for pair in ends:
        group = dist.new_group(pair)
        if dist.get_rank() in pair:
            mine = group
    return mine


def _stage(
    part: GPT, index: int, parallel: ParallelConfig, *, mesh: DeviceMesh, device: torch.device
) -> PipelineStage:
    """Say what goes into a stage and out of it, so that no process has to find out by a trial."""
    from torch.distributed.pipelining import PipelineStage

    model, batch = part.config, parallel.micro_batch_size
    slices = parallel.tp if parallel.sequence_parallel else 1
    tokens = torch.empty(batch, model.seq_length, dtype=torch.int64, device="meta")
    floats = {
        "dtype": getattr(torch, parallel.param_dtype),
        "device": "meta",
        "requires_grad": True,
    }
    length = model.seq_length // slices
    between = torch.empty(batch, length, model.hidden_size, **floats)
    logits = torch.empty(batch, model.seq_length, model.vocab_size // parallel.tp, **floats)
    return PipelineStage(
        part,
        index,
        parallel.pp * parallel.virtual_pp,
        device,
        input_args=between if part.embedding is None else tokens,
        output_args=between if part.output is None else logits,
        group=mesh.get_group("pp"),
    )
