"""Memory of a step: published bytes, sharing laws, and held micro-batches as simulated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.memory import (
    COMPONENTS,
    activation_bytes_per_layer,
    in_flight,
    memory_breakdown,
    peak_bytes,
    stage_memory,
)
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.parameters import layer_parameters, stage_parameters
from labkit.llm_parallel.rules import legality
from labkit.llm_parallel.schedule import pipeline_schedule

GIB = 2**30
PUBLISHED = {  # Korthikanti et al., MLSys 2023: configurations of Table 3, memory of Figure 1
    "22B": ("megatron-22b", {"tp": 8, "micro_batch_size": 4, "global_batch_size": 4}),
    "175B": (
        "gpt-175b",
        {
            "tp": 8,
            "pp": 8,
            "virtual_pp": 3,
            "schedule": "interleaved_1f1b",
            "global_batch_size": 64,
        },
    ),
    "530B": (
        "megatron-530b",
        {
            "tp": 8,
            "pp": 35,
            "virtual_pp": 3,
            "schedule": "interleaved_1f1b",
            "global_batch_size": 280,
        },
    ),
    "1T": ("megatron-1t", {"tp": 8, "pp": 64, "global_batch_size": 512}),
}


def published(size: str, **changes: object) -> tuple[ModelConfig, ParallelConfig]:
    name, strategy = PUBLISHED[size]
    values = {"flash_attention": False, "zero_stage": 0} | strategy | changes
    return model_preset(name), ParallelConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "none", "selective"),
    [
        ("22B", 59.25, 9.5625),
        ("175B", 66.84, 12.35),
        ("530B", 114.02, 23.08),
        ("1T", 131.25, 26.56),
    ],
)
def test_activations_of_the_first_stage_are_the_published_ones(size, none, selective):
    plain = memory_breakdown(*published(size))["activations"]
    saved = memory_breakdown(*published(size, sequence_parallel=True, recompute="selective"))
    # The figure is rounded to 0.01 GiB.
    assert plain.iloc[0] / GIB == pytest.approx(none, abs=0.0051)
    assert saved["activations"].iloc[0] / GIB == pytest.approx(selective, abs=0.0051)


@pytest.mark.parametrize(
    ("size", "gib"), [("22B", 45.56), ("175B", 45.56), ("530B", 31.64), ("1T", 32.96)]
)
def test_weights_and_optimizer_of_layers_are_the_published_ones(size, gib):
    """The figure has 18 bytes for each of the 12 h^2 weights of a layer; biases and norms add
    (7 / t + 6) / (12 h / t) of that, 0.08 % at most here.
    """
    model, strategy = published(size)
    layers = model.num_layers / strategy.pp
    counted = layers * layer_parameters(ModelColumns.of(model), 8.0).item()
    assert 18 * counted / GIB == pytest.approx(gib, rel=2e-3)


@pytest.mark.parametrize(
    ("param_dtype", "grad_dtype", "expected"),
    [
        ("bfloat16", "bfloat16", 16),
        ("bfloat16", "float32", 18),
        ("float16", "float32", 18),
        ("float32", "float32", 16),
        ("float64", "float64", 32),
    ],
)
def test_adam_needs_16_or_18_bytes_a_parameter_and_never_24(param_dtype, grad_dtype, expected):
    model = model_preset("gpt-22b")
    strategy = ParallelConfig(param_dtype=param_dtype, grad_dtype=grad_dtype, zero_stage=0)
    memory = memory_breakdown(model, strategy).iloc[0]
    parameters = stage_parameters(model, strategy, 0).item()
    states = memory["weights"] + memory["gradients"] + memory["optimizer"]
    assert states / parameters == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("zero_stage", "per_parameter"), [(0, 16), (1, 4 + 12 / 64), (2, 2 + 14 / 64), (3, 16 / 64)]
)
def test_zero_shares_states_out_as_in_its_paper(zero_stage, per_parameter):
    """Rajbhandari et al., SC'20, Figure 1: 16, 4 + 12 / N, 2 + 14 / N and 16 / N bytes."""
    model = model_preset("gpt-1.4b")
    strategy = ParallelConfig(
        dp=64, global_batch_size=64, zero_stage=zero_stage, grad_dtype="bfloat16"
    )
    memory = memory_breakdown(model, strategy).iloc[0]
    states = memory["weights"] + memory["gradients"] + memory["optimizer"]
    expected = per_parameter * stage_parameters(model, strategy, 0).item()
    assert states == pytest.approx(expected, rel=1e-12)


def test_context_parallel_ranks_share_states_like_replicas():
    model = model_preset("gpt-1.4b")
    by_data = memory_breakdown(model, ParallelConfig(dp=4, global_batch_size=4, zero_stage=1))
    by_context = memory_breakdown(model, ParallelConfig(cp=4, global_batch_size=1, zero_stage=1))
    assert by_context["optimizer"].equals(by_data["optimizer"])
    assert (4 * by_context["activations"]).equals(by_data["activations"])


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved_1f1b", "looped_bfs"])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 8, 9, 24])
def test_held_microbatches_are_those_of_the_simulated_pipeline(schedule, p, m):
    assert_as_simulated(schedule, p, m)


@pytest.mark.parametrize("schedule", ["zb_h1", "zbv"])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("m", [1, 2, 3, 5, 7, 8, 16, 24])
def test_split_backward_passes_hold_activations_until_the_weights_are_done(schedule, p, m):
    assert_as_simulated(schedule, p, m)


def assert_as_simulated(schedule: str, p: int, m: int) -> None:
    chunks = {"interleaved_1f1b": (2, 3), "looped_bfs": (2, 3), "zb_h1": (1, 2), "zbv": (2,)}
    for v in chunks.get(schedule, (1,)):
        try:
            simulated = pipeline_schedule(schedule, p, m, v).peak_in_flight
        except ParameterError:  # rounds of unequal size
            continue
        strategy = ParallelConfig(pp=p, virtual_pp=v, schedule=schedule, global_batch_size=m)
        assert tuple(in_flight(strategy, stage).item() for stage in range(p)) == simulated


def many_strategies(model: ModelConfig, count: int = 4000) -> ParallelColumns:
    """Random legal strategies with every choice that memory depends on."""
    rng = np.random.default_rng(3)
    strategies = []
    while len(strategies) < count:
        schedule = str(
            rng.choice(["gpipe", "1f1b", "interleaved_1f1b", "looped_bfs", "zb_h1", "zbv"])
        )
        tp, pp, dp = (int(rng.choice([1, 2, 4])) for _ in range(3))
        several = schedule in ("interleaved_1f1b", "looped_bfs", "zbv")
        strategies.append(
            ParallelConfig(
                tp=tp,
                cp=int(rng.choice([1, 2])),
                pp=pp,
                dp=dp,
                virtual_pp=2 if several else 1,
                micro_batch_size=int(rng.choice([1, 2])),
                global_batch_size=int(rng.integers(1, 20)) * 2 * dp,
                zero_stage=int(rng.integers(4)),
                sequence_parallel=bool(rng.integers(2)) and tp > 1,
                recompute=str(rng.choice(["none", "selective", "full"])),
                schedule=schedule,
                flash_attention=bool(rng.integers(2)),
                grad_dtype=str(rng.choice(["bfloat16", "float32"])),
                count_embeddings_as_layers=bool(rng.integers(2)),
            )
        )
    columns = ParallelColumns.of(strategies)
    return columns.take(legality(model, columns) < 0)


@pytest.mark.parametrize(
    "model",
    [
        model_preset("gpt-1.4b", num_layers=24, num_attention_heads=16, hidden_size=2048),
        model_preset("gpt-tiny", num_layers=8, vocab_size=4096, tie_embeddings=False),
        model_preset("gpt-1.4b", num_layers=14, num_attention_heads=16, hidden_size=2048),
    ],
)
def test_the_peak_is_that_of_the_fullest_of_all_stages(model):
    columns = many_strategies(model)
    assert len(columns) > 100
    fullest = [
        max(
            sum(stage_memory(model, columns.take([row]), stage).values()).item()
            for stage in range(p)
        )
        for row, p in enumerate(columns.pp)
    ]
    np.testing.assert_allclose(peak_bytes(model, columns), fullest, rtol=1e-12)


def test_breakdown_adds_up_and_no_component_is_negative():
    model = model_preset("gpt-1.4b", num_attention_heads=16, hidden_size=2048)
    columns = many_strategies(model, 400)
    for row in range(0, len(columns), 7):
        frame = memory_breakdown(model, columns.row(row))
        assert list(frame.columns) == [*COMPONENTS, "total"]
        assert (frame >= 0).all(axis=None)
        np.testing.assert_allclose(frame["total"], frame[list(COMPONENTS)].sum(axis=1))


def test_rows_do_not_depend_on_their_neighbors():
    model = model_preset("gpt-1.4b", num_attention_heads=16, hidden_size=2048)
    columns = many_strategies(model, 300)
    repeated = columns.take(np.tile(np.arange(len(columns)), 60))
    alone = [peak_bytes(model, columns.take([row])).item() for row in range(len(columns))]
    assert np.array_equal(peak_bytes(model, repeated), np.tile(alone, 60))


def test_one_strategy_serves_many_models():
    models = [model_preset("gpt-22b"), model_preset("gpt-175b")] * 3000
    strategy = ParallelConfig(tp=8, pp=8, global_batch_size=64)
    single = [peak_bytes(model, strategy).item() for model in models[:2]]
    assert np.array_equal(peak_bytes(ModelColumns.of(models), strategy), single * 3000)


@pytest.mark.parametrize("flash_attention", [False, True])
def test_recompute_and_sequence_parallelism_keep_less(flash_attention):
    model = model_preset("gpt-22b")
    plain = ParallelConfig(tp=8, flash_attention=flash_attention)
    by_choice = {
        (recompute, sequence): activation_bytes_per_layer(
            model, plain.replace(recompute=recompute, sequence_parallel=sequence)
        ).item()
        for recompute, sequence in itertools.product(("none", "selective", "full"), (False, True))
    }
    for recompute in ("none", "selective", "full"):
        assert by_choice[recompute, True] < by_choice[recompute, False]
    for sequence in (False, True):
        ordered = [by_choice[recompute, sequence] for recompute in ("none", "selective", "full")]
        assert ordered[0] > ordered[1] > ordered[2]


def test_full_recompute_keeps_the_input_of_each_layer():
    model = model_preset("gpt-22b")
    strategy = ParallelConfig(tp=8, micro_batch_size=2, global_batch_size=2, recompute="full")
    kept = activation_bytes_per_layer(model, strategy).item()
    assert kept == 2 * 2 * model.seq_length * model.hidden_size


def test_recomputed_layers_and_kept_ones_come_to_the_same_for_one_layer():
    """With a single layer there is nothing to gain: it is all there in its backward pass."""
    model = model_preset("gpt-22b", num_layers=1, vocab_size=128)
    plain, full = (
        memory_breakdown(model, ParallelConfig(recompute=recompute)).iloc[0]
        for recompute in ("none", "full")
    )
    assert full["activations"] < plain["activations"]
    assert full["total"] == pytest.approx(plain["total"], rel=1e-12)


def test_grouped_queries_store_fewer_keys_and_values():
    model = model_preset("gpt-22b", num_attention_heads=48)
    grouped = model.replace(num_query_groups=12)
    strategy = ParallelConfig(tp=4)
    tokens = model.seq_length
    saved = activation_bytes_per_layer(model, strategy) - activation_bytes_per_layer(
        grouped, strategy
    )
    assert saved.item() == 2 * tokens * 2 * model.hidden_size * (1 - 12 / 48) / 4


def test_gpipe_keeps_the_logits_of_all_microbatches():
    model = model_preset("gpt-1.4b", num_attention_heads=16, hidden_size=2048, vocab_size=256000)
    few, many = (
        memory_breakdown(model, ParallelConfig(pp=2, schedule="gpipe", global_batch_size=m))
        for m in (4, 8)
    )
    words = 4 * model.seq_length * model.vocab_size
    added = many["logits"].iloc[-1] - few["logits"].iloc[-1]
    assert added == pytest.approx(4 * words, rel=0.02)
    assert many["logits"].iloc[0] == 0


def test_breakdown_refuses_a_strategy_that_does_not_suit_the_model():
    with pytest.raises(ParameterError, match="tp=5 does not divide num_attention_heads=48"):
        memory_breakdown(model_preset("gpt-22b"), ParallelConfig(tp=5))
