"""What the training code itself says about memory and messages, without memory or other processes.

`trace_memory` and `trace_collectives` run the `Trainer` that trains for real, as any one rank of a
strategy, on tensors without data. They check the formulas of `labkit.llm_parallel.memory` and
`labkit.llm_parallel.cost`, which know all machines and ten million strategies at once, and they see
what formulas leave out, such as copies that the kernels of this machine make. Chunks of the model
with more layers, and steps with more micro-batches once the pipeline is full, only add::

    f(n, m) = c0 + c1 n + m (c2 + c3 n)

for n layers a chunk and m micro-batches. So small models and short steps tell those of large ones
exactly; nothing is fitted. Models are traced without dropout, whose masks the kernels of CPUs store
in other ways than those of GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.choices import require_whole
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.rules import check

if TYPE_CHECKING:
    from labkit.llm_parallel.runtime.trainer import Trainer
    from labkit.memory.dryrun import MemoryTrace

AXES = ("tp", "dp", "pp", "embedding")
"""Who talks: ranks that share a layer, replicas, stages, and the ends of a pipeline whose embedding
is tied."""
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "p2p")
"""What they say; of messages between two ranks, those that this rank sends."""
ALL_AT_ONCE = ("gpipe", "looped_bfs")
"""Schedules that hold all micro-batches of a step."""
_FEW_LAYERS = (2, 3)


def trace_memory(model: ModelConfig, parallel: ParallelConfig, *, stage: int = 0) -> MemoryTrace:
    """Return the memory of one step on the first rank of a pipeline stage.

    The optimizer has its state before the step. Chunks of more than three layers are extrapolated,
    and with schedules that do not hold all micro-batches at once, so are long steps.

    Parameters
    ----------
    model : ModelConfig
        Traced with ``dropout=0``.
    parallel : ParallelConfig
    stage : int
        Place in the pipeline, from 0.

    Returns
    -------
    MemoryTrace
        Bytes; ``marks["state"]`` is what stays between steps.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or the training code cannot run it.
    DryRunUnavailableError
        torch has moved what a dry run needs.
    """
    from labkit.memory.dryrun import KINDS, MemoryTrace, dry_run

    rank = _rank_of_stage(model, parallel, stage)
    m = parallel.num_microbatches
    if parallel.schedule not in ALL_AT_ONCE:
        m = min(m, 2 * parallel.pp)

    def bytes_of(layers: int) -> np.ndarray:
        small = _small(model, parallel, layers, m)
        trace = dry_run(partial(_build, *small), _update, world_size=parallel.n_devices, rank=rank)
        return np.array(
            [[kinds[kind] for kind in KINDS] for kinds in (trace.by_kind, trace.marks["state"])]
        )

    peak, state = _extended(bytes_of, _FEW_LAYERS, _layers_of_chunk(model, parallel)).tolist()
    by_kind = dict(zip(KINDS, peak, strict=True))
    marks = {"state": dict(zip(KINDS, state, strict=True))}
    return MemoryTrace(peak_bytes=sum(peak), by_kind=by_kind, marks=marks)


def trace_collectives(
    model: ModelConfig, parallel: ParallelConfig, *, stage: int = 0
) -> dict[str, dict[str, int]]:
    """Return how many messages the first rank of a pipeline stage sends in one step.

    Parameters
    ----------
    model : ModelConfig
    parallel : ParallelConfig
    stage : int
        Place in the pipeline, from 0.

    Returns
    -------
    dict of str to dict of str to int
        By name in `AXES`, then by name in `COLLECTIVES`.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or the training code cannot run it.
    DryRunUnavailableError
        torch has moved what a dry run needs.
    """
    from labkit.memory.dryrun import alone

    rank = _rank_of_stage(model, parallel, stage)
    rounds = (parallel.pp, 2 * parallel.pp)

    def counts_of(layers: int) -> np.ndarray:
        def counts(m: int) -> np.ndarray:
            return alone(_count, *_small(model, parallel, layers, m), rank)

        return _extended(counts, rounds, parallel.num_microbatches)

    counts = _extended(counts_of, _FEW_LAYERS, _layers_of_chunk(model, parallel))
    return {
        axis: dict(zip(COLLECTIVES, row, strict=True))
        for axis, row in zip(AXES, counts.tolist(), strict=True)
    }


def _rank_of_stage(model: ModelConfig, parallel: ParallelConfig, stage: int) -> int:
    """Return the first rank of a stage, after all checks."""
    check(model, parallel)
    require_whole("stage", stage, low=0, high=parallel.pp - 1)
    replicas_are_closer = parallel.rank_order.endswith("dp-pp")
    return stage * parallel.tp * (parallel.dp if replicas_are_closer else 1)


def _layers_of_chunk(model: ModelConfig, parallel: ParallelConfig) -> int:
    """Return the layers of a chunk, with those that embeddings stand for."""
    units = model.num_layers + 2 * parallel.count_embeddings_as_layers
    return units // (parallel.pp * parallel.virtual_pp)


def _small(
    model: ModelConfig, parallel: ParallelConfig, layers: int, m: int
) -> tuple[ModelConfig, ParallelConfig]:
    """Return the model with few layers a chunk, and the strategy with few micro-batches a step."""
    chunks = parallel.pp * parallel.virtual_pp
    depth = layers * chunks - 2 * parallel.count_embeddings_as_layers
    halves = parallel.param_dtype in ("bfloat16", "float16")
    strategy = parallel.replace(
        global_batch_size=m * parallel.micro_batch_size * parallel.dp,
        param_dtype="bfloat16" if halves else parallel.param_dtype,
    )
    return model.replace(num_layers=depth, dropout=0.0), strategy


def _extended(
    measure: Callable[[int], np.ndarray], few: tuple[int, int], wanted: int
) -> np.ndarray:
    """Return a measure that is linear in a size, from two small sizes where it is large."""
    if wanted <= few[1]:
        return measure(wanted)
    low, high = (measure(size) for size in few)
    return low + (high - low) * (wanted - few[0]) // (few[1] - few[0])


def _trainer(model: ModelConfig, parallel: ParallelConfig) -> Trainer:
    """Return the training code of one rank, which gives no loss: there is none without data."""
    import torch

    from labkit.llm_parallel.runtime.job import Job
    from labkit.llm_parallel.runtime.trainer import Trainer

    class Traced(Trainer):
        def _mean(self, loss: Any) -> float:
            return float("nan")

    with torch.random.fork_rng(devices=[]):
        return Traced(Job(model=model, parallel=parallel), torch.device("cpu"))


def _batch(model: ModelConfig, parallel: ParallelConfig) -> Any:
    import torch

    sequences = parallel.global_batch_size // parallel.dp
    return torch.zeros(sequences, model.seq_length, dtype=torch.int64)


def _build(model: ModelConfig, parallel: ParallelConfig) -> tuple[Any, ...]:
    """Return a trainer whose optimizer has its state, what is counted of it, and a batch."""
    import torch

    trainer = _trainer(model, parallel)
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return trainer, *trainer.parts.values(), trainer.optimizer, _batch(model, parallel)


def _update(mark: Callable[[str], None], trainer: Trainer, *others: Any) -> None:
    mark("state")
    trainer.step(others[-1], others[-1])


def _count(model: ModelConfig, parallel: ParallelConfig, rank: int) -> np.ndarray:
    """Return messages of one step, of shape (axes, collectives)."""
    from labkit.memory.dryrun import fake_processes
    from labkit.memory.messages import MessageCounter

    with fake_processes(parallel.n_devices, rank):
        trainer = _trainer(model, parallel)
        batch = _batch(model, parallel)
        with MessageCounter() as counter:
            trainer.step(batch, batch)
        groups = _axis_of_group(trainer)
    counts = np.zeros((len(AXES), len(COLLECTIVES)), np.int64)
    for (group, kind), number in counter.counts.items():
        if group in groups:
            counts[AXES.index(groups[group]), COLLECTIVES.index(kind)] += number
    return counts


def _axis_of_group(trainer: Trainer) -> dict[str, str]:
    """Return the axis of each group of more than one process, by its name."""
    mesh = trainer.mesh
    axes = {"tp": "tp", "pp": "pp", "dp_replicate": "dp", "dp_shard": "dp"}
    groups = {
        str(mesh.get_group(name).group_name): axis
        for name, axis in axes.items()
        if mesh[name].size() > 1
    }
    tied = None if trainer.tied is None else trainer.tied.group
    return groups if tied is None else groups | {str(tied.group_name): "embedding"}
