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

AXES = ("tp", "dp", "pp")
"""Who exchanges data: ranks that share a layer, replicas, stages of a pipeline."""
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "p2p")
"""How; messages between two ranks are those sent and those received."""
_FEW_LAYERS = (2, 3)
_KIND = {"send": "p2p", "receive": "p2p"}


def trace_memory(model: ModelConfig, parallel: ParallelConfig, *, stage: int = 0) -> MemoryTrace:
    """Return the memory of one step on the first rank of a pipeline stage.

    The optimizer has its state before the step. Pipelines of torch have a buffer for every message
    of the step, which formulas of other pipelines leave out.

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

    def bytes_of(small: ModelConfig, strategy: ParallelConfig) -> np.ndarray:
        build = partial(_build, small, strategy)
        trace = dry_run(build, _update, world_size=parallel.n_devices, rank=rank)
        return np.array(
            [[kinds[k] for k in KINDS] for kinds in (trace.by_kind, trace.marks["state"])]
        )

    peak, state = _extrapolated(bytes_of, model, parallel).tolist()
    by_kind = dict(zip(KINDS, peak, strict=True))
    marks = {"state": dict(zip(KINDS, state, strict=True))}
    return MemoryTrace(peak_bytes=sum(peak), by_kind=by_kind, marks=marks)


def trace_collectives(
    model: ModelConfig, parallel: ParallelConfig, *, stage: int = 0
) -> dict[str, dict[str, int]]:
    """Return how often the first rank of a pipeline stage exchanges data in one step.

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

    def counts_of(small: ModelConfig, strategy: ParallelConfig) -> np.ndarray:
        return alone(_count, small, strategy, rank)

    counts = _extrapolated(counts_of, model, parallel)
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


def _extrapolated(
    measure: Callable[[ModelConfig, ParallelConfig], np.ndarray],
    model: ModelConfig,
    parallel: ParallelConfig,
) -> np.ndarray:
    """Return a measure of a large model and a long step from small and short ones."""
    units = model.num_layers + 2 * parallel.count_embeddings_as_layers
    layers = units // (parallel.pp * parallel.virtual_pp)
    full_pipeline = (2 * parallel.pp, 3 * parallel.pp)

    def of_layers(n: int) -> np.ndarray:
        def of_microbatches(m: int) -> np.ndarray:
            return measure(*_small(model, parallel, n, m))

        return _on_a_line(of_microbatches, full_pipeline, parallel.num_microbatches)

    return _on_a_line(of_layers, _FEW_LAYERS, layers)


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


def _on_a_line(
    measure: Callable[[int], np.ndarray], few: tuple[int, int], wanted: int
) -> np.ndarray:
    """Return a measure that grows by equal steps, from two small sizes where it is large."""
    if wanted <= few[1]:
        return measure(wanted)
    low, high = (measure(size) for size in few)
    return low + (high - low) * (wanted - few[0]) // (few[1] - few[0])


def _trainer(model: ModelConfig, parallel: ParallelConfig) -> Trainer:
    import torch

    from labkit.llm_parallel.runtime.job import Job
    from labkit.llm_parallel.runtime.trainer import Trainer

    with torch.random.fork_rng(devices=[]):
        return Trainer(Job(model=model, parallel=parallel), torch.device("cpu"))


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
    trainer.update(others[-1], others[-1])


def _count(model: ModelConfig, parallel: ParallelConfig, rank: int) -> np.ndarray:
    """Return messages of one step, of shape (axes, collectives)."""
    from labkit.llm_parallel.runtime.counting import CollectiveCounter
    from labkit.memory.dryrun import fake_processes

    with fake_processes(parallel.n_devices, rank):
        trainer = _trainer(model, parallel)
        batch = _batch(model, parallel)
        with CollectiveCounter(trainer.mesh) as counter:
            trainer.update(batch, batch)
    counts = np.zeros((len(AXES), len(COLLECTIVES)), np.int64)
    for axis, kinds in counter.counts.items():
        row = AXES.index("pp" if axis == "other" else axis)  # the two ends of a tied pipeline
        for kind, number in kinds.items():
            counts[row, COLLECTIVES.index(_KIND.get(kind, kind))] += number
    return counts
