"""What ranks send is what the modules' tables say, and what two counters of torch's calls agree on.

Steps run on fake tensors as one rank of a fake group, so any number of ranks takes one process.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed.tensor.debug import CommDebugMode

from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.runtime.counting import KINDS, CollectiveCounter
from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.trainer import Trainer
from labkit.memory.dryrun import fake_processes

LAYER = {
    "tp": {"all_reduce": 4},
    "tp, full": {"all_reduce": 6},
    "sp": {"all_gather": 6, "reduce_scatter": 4, "all_reduce": 4},
    "sp, full": {"all_gather": 8, "reduce_scatter": 6, "all_reduce": 4},
}
"""Of one layer and micro-batch; with sequence parallelism once a step those of two norms."""
ENDS = {
    "tp": {"all_reduce": 5},
    "tp, full": {"all_reduce": 5},
    "sp": {"all_gather": 3, "reduce_scatter": 2, "all_reduce": 6},
    "sp, full": {"all_gather": 3, "reduce_scatter": 2, "all_reduce": 6},
}
"""Of embedding, logits, loss, and with sequence parallelism of positions and the last norm."""


def _trainer(layers: int, micro_batches: int, **changes: Any) -> tuple[Trainer, torch.Tensor]:
    values = {"param_dtype": "float32", "zero_stage": 1, **changes}
    batch = micro_batches * values.get("dp", 1)
    model = model_preset("gpt-tiny", num_layers=layers, num_attention_heads=8, seq_length=16)
    job = Job(model=model, parallel=ParallelConfig(global_batch_size=batch, **values))
    trainer = Trainer(job, torch.device("cpu"))
    return trainer, torch.zeros(micro_batches, 16, dtype=torch.int64)


def _counts(layers: int, micro_batches: int, **changes: Any) -> dict[str, dict[str, int]]:
    """Messages of the second step; the first one sets things up."""
    with fake_processes(ParallelConfig(global_batch_size=64, **changes).n_devices):
        trainer, batch = _trainer(layers, micro_batches, **changes)
        trainer.update(batch, batch)
        with CollectiveCounter(trainer.mesh) as counter:
            trainer.update(batch, batch)
    return {axis: dict(kinds) for axis, kinds in counter.counts.items()}


@pytest.mark.parametrize("kind", list(LAYER))
@pytest.mark.parametrize("layers", [2, 3])
def test_tensor_parallel_messages_are_those_of_megatron(kind, layers):
    recompute = "full" if "full" in kind else "none"
    sequence = kind.startswith("sp")
    counts = _counts(layers, 1, tp=8, sequence_parallel=sequence, recompute=recompute)
    expected = {name: ENDS[kind][name] + layers * n for name, n in LAYER[kind].items()}
    assert counts == {"tp": expected}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_another_counter_of_torch_finds_the_same_messages(sequence_parallel):
    with fake_processes(4):
        trainer, batch = _trainer(2, 1, tp=4, sequence_parallel=sequence_parallel)
        with CollectiveCounter(trainer.mesh) as ours, CommDebugMode() as theirs:
            trainer.update(batch, batch)
    names = {str(name).split(".")[-1]: n for name, n in theirs.get_comm_counts().items() if n}
    assert {KINDS[name]: n for name, n in names.items()} == dict(ours.counts["tp"])


@pytest.mark.parametrize(
    ("zero_stage", "expected"),
    [
        (0, {"all_reduce": 3}),
        (1, {"all_gather": 3, "reduce_scatter": 3}),
        (2, {"all_gather": 3, "reduce_scatter": 3 * 4}),
        (3, {"all_gather": 2 * 3 * 4, "reduce_scatter": 3 * 4}),
    ],
)
def test_replicas_send_what_their_zero_stage_says(zero_stage, expected):
    """Three groups of parameters: two layers and the rest; four micro-batches."""
    assert _counts(2, 4, dp=4, zero_stage=zero_stage) == {"dp": expected}


@pytest.mark.parametrize(
    ("changes", "neighbors"),
    [
        ({"schedule": "1f1b"}, 1),
        ({"schedule": "gpipe"}, 1),
        ({"schedule": "zb_h1"}, 1),
        ({"schedule": "interleaved_1f1b", "virtual_pp": 2}, 3),
        ({"schedule": "looped_bfs", "virtual_pp": 2}, 3),
        ({"schedule": "zbv", "virtual_pp": 2}, 2),
    ],
)
def test_each_boundary_between_devices_is_crossed_twice_a_micro_batch(changes, neighbors):
    """Activations forward, gradients back; the turn of a V stays on its device."""
    counts = _counts(4, 4, pp=2, **changes)
    messages = 4 * neighbors
    assert counts["pp"] == {"send": messages, "receive": messages}
    tied = {} if changes["schedule"] == "zbv" else {"other": {"all_reduce": 1}}
    assert {axis: kinds for axis, kinds in counts.items() if axis != "pp"} == tied


def test_axes_of_a_grid_are_counted_apart():
    counts = _counts(2, 2, pp=2, dp=2, tp=2, sequence_parallel=True)
    assert set(counts) == {"tp", "dp", "pp", "other"}
    assert counts["dp"] == {"all_gather": 2, "reduce_scatter": 2}
    assert counts["pp"] == {"send": 2, "receive": 2}
