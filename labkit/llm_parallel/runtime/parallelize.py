"""Tensor and sequence parallelism: every layer cut over a few processes, as Megatron-LM does.

Products are cut between their rows, then between their columns [1]_; with sequence parallelism
norms and dropouts work on a slice of the sequence [2]_. Collectives of one layer and micro-batch,
on u = b s h activations:

=====================  =========================  ==============================================
pass                   tensor parallel            tensor and sequence parallel
=====================  =========================  ==============================================
forward                2 all-reduce               2 all-gather, 2 reduce-scatter
backward               2 all-reduce               4 all-gather, 2 reduce-scatter
full recompute, more   2 all-reduce               2 all-gather, 2 reduce-scatter
=====================  =========================  ==============================================

Two of the four all-gathers fetch the inputs of the products again: only slices of them are kept,
so activations take 34 u / t bytes (with 2-byte numbers), not 30 u / t + 4 u. Besides the layers
there are one all-reduce of the embedding, one of the gradient of the logits' input (with sequence
parallelism a reduce-scatter and an all-gather each), and three of the loss [3]_, for which logits
stay cut by vocabulary. Once a step, gradients of weights that saw slices of the sequence are
summed.

References
----------
.. [1] Shoeybi et al., Megatron-LM, arXiv:1909.08053, section 3.
.. [2] Korthikanti et al., Reducing activation recomputation, arXiv:2205.05198, section 4.2.
.. [3] `torch.distributed.tensor.parallel.loss_parallel`: maximum, sum of exponentials, target.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import Placement
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from labkit.llm_parallel.runtime.model import GPT, Positions

SEQUENCE = 1
"""Dimension of activations (b, s, h) that sequence parallelism cuts."""


def tensor_parallel(part: GPT, mesh: DeviceMesh, *, sequence: bool) -> GPT:
    """Cut the layers of a part over the processes of a mesh, in place.

    Parameters
    ----------
    part : GPT
        Best on the device ``meta``: then no process ever holds a whole layer.
    mesh : DeviceMesh
        Of one dimension.
    sequence : bool
        Sequence parallelism: activations between layers are slices of the sequence.

    Returns
    -------
    GPT
        It takes whole tokens or activations as its predecessor leaves them, and gives the logits
        of this process's share of the vocabulary.
    """
    between: Placement = Shard(SEQUENCE) if sequence else Replicate()
    if part.embedding is not None:
        table = VocabularyParallelEmbedding(part.embedding.tokens, mesh, between)
        part.embedding.set_submodule("tokens", table)
    by_columns = RowwiseParallel(output_layouts=between)
    plan: dict[str, ParallelStyle] = {}
    for name in part.layers:
        plan[f"layers.{name}.attention.proj"] = plan[f"layers.{name}.mlp.down"] = by_columns
    products = [f"layers.{i}.{kind}" for i in part.layers for kind in ("attention.qkv", "mlp.up")]
    products += [] if part.output is None else ["output"]
    if sequence:
        plan.update(_sequence_parallel_plan(part, mesh))
        for name in products:
            product = cast(nn.Linear, part.get_submodule(name))
            part.set_submodule(name, GatheredLinear(product, mesh))
    else:
        plan.update(dict.fromkeys(products, ColwiseParallel()))
    parallelize_module(part, mesh, plan)
    part.tie()
    return part


def vocabulary_parallel_loss(logits: Tensor, targets: Tensor, mesh: DeviceMesh) -> Tensor:
    """Mean cross entropy of logits that are cut by vocabulary.

    Forward and backward passes must run within `loss_parallel`.

    Parameters
    ----------
    logits : Tensor of shape (n, V / t)
    targets : Tensor of int64, shape (n,)
    mesh : DeviceMesh
        Of one dimension.
    """
    whole = DTensor.from_local(logits, mesh, [Shard(1)], run_check=False)
    loss = F.cross_entropy(whole, targets)
    return loss.to_local() if isinstance(loss, DTensor) else loss


def reduce_partial_gradients(part: nn.Module) -> None:
    """Sum the gradients that each process has for its slice of the sequence, once a step."""
    for parameter in part.parameters():
        gradient = parameter.grad
        if isinstance(gradient, DTensor) and isinstance(parameter, DTensor):
            parameter.grad = gradient.redistribute(placements=parameter.placements)


class VocabularyParallelEmbedding(nn.Module):
    """An embedding cut by vocabulary: each process looks up its own tokens, and all are summed.

    Unlike `RowwiseParallel` it has no shapes that depend on the data, so it also runs on fake
    tensors.

    Parameters
    ----------
    whole : nn.Embedding
    mesh : DeviceMesh
        Of one dimension.
    output : Replicate or Shard
        Placement of the activations.
    """

    def __init__(self, whole: nn.Embedding, mesh: DeviceMesh, output: Placement) -> None:
        super().__init__()
        self.mesh = mesh
        self.output = output
        self.weight = _cut(whole.weight, mesh, Shard(0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map whole tokens (b, s) to activations, as placed."""
        rows = cast(DTensor, self.weight).to_local()
        index = tokens - self.mesh.get_local_rank() * rows.shape[0]
        elsewhere = (index < 0) | (index >= rows.shape[0])
        found = F.embedding(index.masked_fill(elsewhere, 0), rows)
        share = found.masked_fill(elsewhere.unsqueeze(-1), 0)
        summed = DTensor.from_local(share, self.mesh, [Partial()], run_check=False)
        return summed.redistribute(placements=[self.output]).to_local()


class SlicedPositions(nn.Module):
    """Adds to a slice of the sequence the learned vectors of its own places."""

    def __init__(self, whole: Positions, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh = mesh
        self.weight = _cut(whole.weight, mesh, Replicate())

    def forward(self, x: Tensor) -> Tensor:
        """Activations (b, s / t, h)."""
        first = self.mesh.get_local_rank() * x.shape[SEQUENCE]
        table = cast(DTensor, self.weight).to_local(grad_placements=[Partial()])
        return x + table[first : first + x.shape[SEQUENCE]]


class GatheredLinear(nn.Module):
    """A product cut by its rows, of slices of the sequence that are gathered for it.

    Only the slice is kept for the backward pass, where it is gathered again.
    """

    def __init__(self, whole: nn.Linear, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh = mesh
        self.weight = _cut(whole.weight, mesh, Shard(0))
        bias: Tensor | None = whole.bias
        self.bias = None if bias is None else _cut(bias, mesh, Shard(0))

    def forward(self, x: Tensor) -> Tensor:
        """Map a slice (b, s / t, h) to this process's columns of the whole, (b, s, columns / t)."""
        with set_checkpoint_early_stop(True):
            return checkpoint(self._product, x, use_reentrant=False, preserve_rng_state=False)

    def _product(self, x: Tensor) -> Tensor:
        cut = DTensor.from_local(x, self.mesh, [Shard(SEQUENCE)], run_check=False)
        whole = cut.redistribute(placements=[Replicate()])
        return cast(DTensor, F.linear(whole, self.weight, self.bias)).to_local()


def _sequence_parallel_plan(part: GPT, mesh: DeviceMesh) -> dict[str, ParallelStyle]:
    if part.embedding is not None and part.embedding.positions is not None:
        table = SlicedPositions(part.embedding.positions, mesh)
        part.embedding.set_submodule("positions", table)
    norms = [f"layers.{i}.{kind}" for i in part.layers for kind in ("attention_norm", "mlp_norm")]
    norms += [] if part.norm is None else ["norm"]
    style = SequenceParallel(sequence_dim=SEQUENCE, use_local_output=True)
    return dict.fromkeys(norms, style)


def _cut(whole: Tensor, mesh: DeviceMesh, placement: Placement) -> nn.Parameter:
    return nn.Parameter(distribute_tensor(whole, mesh, [placement]))
