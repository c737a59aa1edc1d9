"""Traces of the training code: formulas of memory and messages against what really is allocated."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributed.tensor.debug import CommDebugMode

from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.estimate import AXES, COLLECTIVES, trace_collectives, trace_memory
from labkit.llm_parallel.memory import activation_bytes_per_layer, stage_memory
from labkit.llm_parallel.network import collective_counts
from labkit.llm_parallel.parameters import stage_parameters
from labkit.llm_parallel.runtime.mesh import make_mesh
from labkit.llm_parallel.runtime.model import GPT
from labkit.llm_parallel.runtime.parallelize import tensor_parallel
from labkit.llm_parallel.runtime.trainer import build_part
from labkit.memory.dryrun import dry_run, fake_processes

MEGATRON_22B = ModelConfig(
    num_layers=2, hidden_size=6144, num_attention_heads=64, vocab_size=1024, dropout=0.0
)
SMALL = ModelConfig(
    num_layers=8,
    hidden_size=256,
    num_attention_heads=8,
    seq_length=256,
    vocab_size=2048,
    dropout=0.0,
)


def held_after_layers(model: ModelConfig, strategy: ParallelConfig) -> int:
    """Activations of all layers before the backward pass, by torch's memory tracker."""

    def build():
        part = GPT(
            model,
            flash_attention=strategy.flash_attention,
            recompute=strategy.recompute,
            dtype=torch.bfloat16,
        )
        if strategy.tp > 1:
            mesh = make_mesh(strategy, "cpu")
            tensor_parallel(part, mesh["tp"], sequence=strategy.sequence_parallel)
        batch = strategy.micro_batch_size, model.seq_length
        return part, torch.zeros(batch, dtype=torch.int64)

    def step(mark, part, tokens):
        x = part.embedding(tokens)
        for layer in part.layers.values():
            x = layer(x)
        mark("layers")

    return dry_run(build, step, world_size=strategy.tp).marks["layers"]["activation"]


@pytest.mark.parametrize(
    ("tp", "sequence_parallel"), [(1, False), (2, False), (2, True), (8, False), (8, True)]
)
@pytest.mark.parametrize(
    ("flash_attention", "recompute"),
    [(True, "none"), (True, "full"), (False, "none"), (False, "selective")],
)
def test_a_layer_keeps_what_the_law_says(tp, sequence_parallel, flash_attention, recompute):
    """Within 1 %: the law leaves out the statistics of norms (16 / 34 h) and the causal mask, which
    is a byte for each of s^2 scores where those of 64 / tp heads and 4 sequences take 2 each.
    """
    strategy = ParallelConfig(
        tp=tp,
        sequence_parallel=sequence_parallel,
        micro_batch_size=4,
        global_batch_size=4,
        flash_attention=flash_attention,
        recompute=recompute,
    )
    two, four = (
        held_after_layers(MEGATRON_22B.replace(num_layers=layers), strategy) for layers in (2, 4)
    )
    law = activation_bytes_per_layer(MEGATRON_22B, strategy).item()
    assert (four - two) / 2 == pytest.approx(law, rel=0.01)


RANDOM = [
    SMALL.replace(num_layers=4, **changes)
    for changes in (
        {"gated_mlp": True, "bias": False, "normalization": "rmsnorm", "position": "rope"},
        {"num_query_groups": 4, "ffn_hidden_size": 384},
        {"normalization": "rmsnorm", "num_query_groups": 4, "gated_mlp": True},
        {"bias": False},
    )
]


@pytest.mark.parametrize("model", RANDOM)
@pytest.mark.parametrize(("tp", "pp"), [(1, 2), (2, 1), (2, 2), (4, 1), (4, 4)])
def test_every_rank_holds_the_counted_parameters(model, tp, pp):
    strategy = ParallelConfig(tp=tp, pp=pp, global_batch_size=pp, param_dtype="float32")
    for stage, share in itertools.product(range(pp), {0, tp - 1}):
        with fake_processes(tp * pp, rank=stage * tp + share):
            mesh = make_mesh(strategy, "cpu")
            part = build_part(model, strategy, stage, mesh, torch.device("cpu"), seed=0)
            held = sum(getattr(p, "_local_tensor", p).numel() for p in part.parameters())
        assert held == stage_parameters(model, strategy, stage).item()


@pytest.mark.parametrize(
    "changes",
    [
        {"tp": 2},
        {"tp": 4, "recompute": "full"},
        {"tp": 2, "sequence_parallel": True},
        {"tp": 8, "sequence_parallel": True, "recompute": "full"},
        {"tp": 2, "flash_attention": False, "recompute": "selective"},
        *({"dp": 2, "zero_stage": zero} for zero in range(4)),
    ],
    ids=str,
)
def test_the_training_code_sends_what_the_cost_model_counts(changes):
    strategy = ParallelConfig(**changes, param_dtype="float32", global_batch_size=6)
    assert_counts_agree(strategy.replace(micro_batch_size=2 // strategy.dp), 0)


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"pp": 3}, 0),
        ({"pp": 3}, 1),
        ({"pp": 3}, 2),
        ({"pp": 2, "tp": 2, "dp": 2}, 0),
        ({"pp": 2, "virtual_pp": 2, "schedule": "interleaved_1f1b"}, 0),
        ({"pp": 2, "virtual_pp": 2, "schedule": "interleaved_1f1b"}, 1),
        ({"pp": 2, "virtual_pp": 2, "schedule": "zbv"}, 0),
        ({"pp": 2, "schedule": "zb_h1"}, 1),
    ],
    ids=str,
)
def test_every_stage_sends_what_the_cost_model_counts(changes, stage):
    strategy = ParallelConfig(**changes, param_dtype="float32", global_batch_size=12)
    assert_counts_agree(strategy, stage)


def assert_counts_agree(strategy: ParallelConfig, stage: int) -> None:
    model = SMALL.replace(num_layers=strategy.pp * strategy.virtual_pp)
    traced = trace_collectives(model, strategy, stage=stage)
    counted = collective_counts(model, strategy, stage=stage)
    for axis, kind in itertools.product(AXES, COLLECTIVES):
        expected = counted[axis].get(kind)
        assert traced[axis][kind] == (0 if expected is None else expected.item()), (axis, kind)


def test_messages_of_deep_models_follow_from_those_of_shallow_ones():
    strategy = ParallelConfig(
        tp=2, sequence_parallel=True, global_batch_size=3, param_dtype="float32"
    )
    deep = SMALL.replace(num_layers=96)
    traced = trace_collectives(deep, strategy)
    counted = collective_counts(deep, strategy)
    assert {k: v for k, v in traced["tp"].items() if v} == {
        k: v.item() for k, v in counted["tp"].items()
    }


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # of its own hooks
def test_torch_counts_the_same_messages():
    """`CommDebugMode` does not tell groups apart, and this strategy has only one."""
    from labkit.llm_parallel.runtime.job import Job
    from labkit.llm_parallel.runtime.trainer import Trainer

    strategy = ParallelConfig(tp=4, recompute="full", param_dtype="float32")
    model = SMALL.replace(num_layers=2)
    with fake_processes(4), torch.random.fork_rng(devices=[]):
        trainer = Trainer(Job(model=model, parallel=strategy), torch.device("cpu"))
        tokens = torch.zeros(1, model.seq_length, dtype=torch.int64)
        with CommDebugMode() as torch_counter:
            trainer.update(tokens, tokens)
    traced = trace_collectives(model, strategy)["tp"]
    assert sum(traced.values()) == torch_counter.get_total_counts()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recompute": "full"},
        {"dp": 2, "zero_stage": 0},
        {"dp": 2, "zero_stage": 1},
        {"dp": 2, "zero_stage": 2},
        {"dp": 2, "zero_stage": 3},
    ],
    ids=str,
)
def test_memory_of_a_step_is_that_of_the_training_code(changes):
    """Within 3 %. With ZeRO 3, FSDP keeps no 16-bit share of the weights beside the 32-bit one, and
    the model has a bound on what is gathered, which is much of a model with three layers.
    """
    strategy = ParallelConfig(**changes, global_batch_size=6)
    shallow = SMALL.replace(num_layers=3)
    memory = stage_memory(shallow, strategy, 0)
    expected = sum(memory.values()) - memory["weights"] * (strategy.zero_stage == 3)
    assert trace_memory(shallow, strategy).peak_bytes == pytest.approx(
        expected.item(), rel=0.08 if strategy.zero_stage == 3 else 0.03
    )


def test_states_between_steps_are_weights_and_moments():
    """Of 32 bits each: FSDP casts the shares of weights when it gathers them."""
    strategy = ParallelConfig(dp=4, zero_stage=3, global_batch_size=4)
    shallow = SMALL.replace(num_layers=2)
    state = trace_memory(shallow, strategy).marks["state"]
    held = stage_parameters(shallow, strategy, 0).item() / 4
    assert state["parameter"] == pytest.approx(4 * held, rel=1e-3)
    assert state["optstate"] == pytest.approx(8 * held, rel=1e-3)
    assert state["activation"] == state["gradient"] == 0


def test_torch_keeps_a_buffer_for_every_message_of_a_pipeline():
    """The model's pipeline has two; torch's has one for each micro-batch and neighbor."""
    model, strategy = SMALL.replace(num_layers=3), ParallelConfig(pp=3, global_batch_size=9)
    few, many = (
        trace_memory(model, strategy.replace(global_batch_size=m), stage=1).peak_bytes
        for m in (6, 9)
    )
    assert many - few == pytest.approx(3 * 2 * 2 * model.seq_length * model.hidden_size, rel=0.01)


def test_long_chunks_follow_from_short_ones():
    strategy = ParallelConfig(recompute="full")
    exact = trace_memory(SMALL.replace(num_layers=3), strategy).peak_bytes
    shallow, deep = (
        trace_memory(SMALL.replace(num_layers=layers), strategy).peak_bytes for layers in (2, 40)
    )
    assert deep - exact == 37 * (exact - shallow)


@pytest.mark.parametrize(
    ("changes", "stage", "message"),
    [
        ({"tp": 3}, 0, "tp=3 does not divide num_attention_heads=8"),
        ({"pp": 2}, 2, "stage=2: use a whole number from 0 to 1"),
        ({"cp": 2}, 0, "cp=2"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_traced(changes, stage, message):
    strategy = ParallelConfig(**changes, global_batch_size=4)
    with pytest.raises(ParameterError, match=message):
        trace_memory(SMALL, strategy, stage=stage)
