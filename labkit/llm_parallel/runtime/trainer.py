"""One process's share of a training run: its parts of the model, its optimizer, its steps.

Everything follows from the job's `ParallelConfig`. The parts are built without memory, cut over
the processes that share a layer, given their first values, and shared out among replicas. A step
adds up gradients over micro-batches of the loss divided by their number, which replicas average:
the gradient of the mean over all tokens, whatever the strategy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import loss_parallel

from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.runtime.data_parallel import (
    data_parallel,
    local,
    make_optimizer,
    master_dtype,
    prepare_backward,
)
from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.mesh import make_mesh, replica_rank
from labkit.llm_parallel.runtime.model import GPT, initialize
from labkit.llm_parallel.runtime.parallelize import (
    reduce_partial_gradients,
    tensor_parallel,
    vocabulary_parallel_loss,
)
from labkit.llm_parallel.runtime.pipeline import (
    TiedEmbedding,
    layers_of_stage,
    make_schedule,
    stages_of_rank,
)


class Trainer:
    """What one process of a training run holds and does; all processes make one each.

    Parameters
    ----------
    job : Job
    device : torch.device

    Attributes
    ----------
    mesh : DeviceMesh
    replica : int
        The share of each batch that this process reads.
    parts : dict of int to GPT
        Stage to part of the model.
    n_parameters : int
        Parameters that this process computes with, before replicas share them out.
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self.parallel = job.parallel
        self.device = device
        self.mesh = make_mesh(job.parallel, device.type)
        self.replica = replica_rank(self.mesh)
        self.parts = {
            stage: build_part(job.model, job.parallel, stage, self.mesh, device, seed=job.seed)
            for stage in stages_of_rank(job.parallel, self.mesh["pp"].get_local_rank())
        }
        held = (p for part in self.parts.values() for p in part.parameters())
        self.n_parameters = sum(local(p).numel() for p in held)
        for part in self.parts.values():
            data_parallel(part, self.mesh, job.parallel)
        _seed_dropout(job, self.mesh, self.replica)
        staged = job.parallel.pp > 1
        tied = job.model.tie_embeddings and staged
        self.tied = TiedEmbedding(self.parts, job.parallel, self.mesh) if tied else None
        self.schedule: Any = self._schedule() if staged else None
        parameters = [p for part in self.parts.values() for p in part.parameters()]
        self.optimizer = make_optimizer(
            parameters, learning_rate=job.learning_rate, weight_decay=job.weight_decay
        )

    def step(self, tokens: Tensor, targets: Tensor) -> float:
        """Update the weights once and return the loss, the mean over the tokens of all replicas.

        Parameters
        ----------
        tokens, targets : Tensor of int64, shape (B / d, s)
            This process's share of the batch.
        """
        return self.mean(self.update(tokens, targets))

    def update(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Update the weights once and return what this process knows of the loss."""
        self.optimizer.zero_grad()
        tokens, targets = tokens.to(self.device), targets.to(self.device)
        with loss_parallel():
            loss = self._staged(tokens, targets) if self.schedule else self._whole(tokens, targets)
        for part in self.parts.values():
            reduce_partial_gradients(part)
        if self.tied is not None:
            self.tied.reduce()
        self.optimizer.step()
        return loss

    def mean(self, loss: Tensor) -> float:
        """Average the loss over replicas; all processes that share a layer know the same."""
        loss /= self.parallel.dp * self.parallel.tp
        dist.all_reduce(loss)
        return loss.item()

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of one micro-batch divided by the number of micro-batches."""
        scores, wanted = logits.flatten(0, 1), targets.flatten()
        if scores.dtype.itemsize < 4:
            scores = scores.float()
        if self.parallel.tp > 1:
            value = vocabulary_parallel_loss(scores, wanted, self.mesh["tp"])
        else:
            value = F.cross_entropy(scores, wanted)
        return value / self.parallel.num_microbatches

    def _schedule(self) -> Any:
        return make_schedule(
            self.parts, self.parallel, mesh=self.mesh, device=self.device, loss=self.loss
        )

    def _whole(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Run all micro-batches through the one part there is."""
        (part,) = self.parts.values()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        size = self.parallel.micro_batch_size
        pairs = list(zip(tokens.split(size), targets.split(size), strict=True))
        for i, (x, wanted) in enumerate(pairs):
            prepare_backward(part, self.parallel, last=i == len(pairs) - 1)
            loss = self.loss(part(x), wanted)
            loss.backward()
            total += loss.detach()
        return total

    def _staged(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Run all micro-batches through the pipeline; only its end knows the loss."""
        last = self.parallel.pp * self.parallel.virtual_pp - 1
        losses: list[Tensor] = []
        inputs = (tokens,) if 0 in self.parts else ()
        wanted = targets if last in self.parts else None
        self.schedule.step(*inputs, target=wanted, losses=losses, return_outputs=False)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        return total + sum(loss.detach() for loss in losses)


def build_part(
    model: ModelConfig,
    parallel: ParallelConfig,
    stage: int,
    mesh: DeviceMesh,
    device: torch.device,
    *,
    seed: int,
) -> GPT:
    """Return this process's share of a stage with its first values, before replicas share it out.

    Parameters
    ----------
    model : ModelConfig
    parallel : ParallelConfig
    stage : int
    mesh : DeviceMesh
        As `make_mesh` gives it.
    device : torch.device
    seed : int
        Of the first weights.
    """
    part = GPT(
        model,
        flash_attention=parallel.flash_attention,
        recompute=parallel.recompute,
        layers=layers_of_stage(model, parallel, stage),
        first=stage == 0,
        last=stage == parallel.pp * parallel.virtual_pp - 1,
        device="meta",
        dtype=master_dtype(parallel),
    )
    if parallel.tp > 1:
        tensor_parallel(part, mesh["tp"], sequence=parallel.sequence_parallel)
    part.to_empty(device=device)
    part.tie()
    return initialize(part, seed=seed)


def _seed_dropout(job: Job, mesh: DeviceMesh, replica: int) -> None:
    """Let replicas, stages and slices of the sequence drop different activations.

    Processes that hold the same activations must drop the same.
    """
    place = replica * job.parallel.pp + mesh["pp"].get_local_rank()
    slices = mesh["tp"].get_local_rank() if job.parallel.sequence_parallel else 0
    torch.manual_seed(job.seed + 1 + place * job.parallel.tp + slices)
