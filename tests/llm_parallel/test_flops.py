"""Operations of a step: counted product by product, and the conventions of the literature."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.flops import (
    frontier_flops,
    hardware_flops,
    hfu,
    mfu,
    model_flops,
    tokens_per_second,
)
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.systems import system_preset

SHAPES = [
    model_preset("gpt-tiny"),
    model_preset("gpt-22b"),
    model_preset("llama-3-8b"),
    ModelConfig(
        num_layers=3,
        hidden_size=96,
        num_attention_heads=6,
        num_query_groups=2,
        ffn_hidden_size=200,
        gated_mlp=True,
        seq_length=40,
        vocab_size=77,
    ),
]


def products(model: ModelConfig) -> list[tuple[int, int, int]]:
    """Rows, inner size and columns of every matrix product of a forward pass of one sequence."""
    s, h, head = model.seq_length, model.hidden_size, model.head_size
    listed = []
    for _ in range(model.num_layers):
        listed += [(s, h, h)] + [(s, h, model.groups * head)] * 2
        listed += [(s, head, s), (s, s, head)] * model.heads
        listed += [(s, h, h)]
        listed += [(s, h, model.ffn_size)] * (2 if model.gated_mlp else 1)
        listed += [(s, model.ffn_size, h)]
    return [*listed, (s, h, model.vocab_size)]


def counted(model: ModelConfig) -> int:
    return sum(2 * m * k * n for m, k, n in products(model))


@pytest.mark.parametrize("model", SHAPES, ids=lambda model: model.name)
def test_model_flops_are_three_forward_passes_of_all_products(model):
    strategy = ParallelConfig(tp=1, dp=2, micro_batch_size=3, global_batch_size=12)
    assert model_flops(model, strategy)[0] == pytest.approx(3 * 12 * counted(model), rel=1e-12)


@pytest.mark.parametrize("model", SHAPES, ids=lambda model: model.name)
def test_full_recompute_adds_a_forward_pass_of_the_layers_but_not_of_the_output(model):
    strategy = ParallelConfig(recompute="full", global_batch_size=4)
    output = 2 * model.seq_length * model.hidden_size * model.vocab_size
    again = hardware_flops(model, strategy) - model_flops(model, strategy)
    assert again[0] == pytest.approx(4 * (counted(model) - output), rel=1e-9)


def test_selective_recompute_adds_the_scores_alone():
    model = model_preset("gpt-22b")
    strategy = ParallelConfig(recompute="selective", flash_attention=False)
    again = hardware_flops(model, strategy) - model_flops(model, strategy)
    assert again[0] == pytest.approx(4 * 48 * 2048**2 * 6144, rel=1e-9)
    plain = strategy.replace(recompute="none")
    assert hardware_flops(model, plain)[0] == model_flops(model, plain)[0]


@pytest.mark.parametrize("name", ["gpt-22b", "gpt-175b", "gpt-1t", "megatron-530b"])
def test_the_formula_of_the_frontier_study_is_hardware_operations_of_a_gpt(name):
    strategy = ParallelConfig(recompute="full", global_batch_size=8)
    model = model_preset(name)
    assert frontier_flops(model, strategy)[0] == pytest.approx(
        hardware_flops(model, strategy)[0], rel=1e-12
    )
    plain = strategy.replace(recompute="none")
    assert frontier_flops(model, plain)[0] == pytest.approx(
        0.75 * frontier_flops(model, strategy)[0], rel=1e-12
    )


@pytest.mark.parametrize(
    ("name", "percent", "tflops"),  # Dash et al.: 38.38, 36.14, 31.96 % of 191.5 Tflop/s a GCD
    [("gpt-22b", 38.38, 73.5), ("gpt-175b", 36.14, 69.2), ("gpt-1t", 31.96, 61.2)],
)
def test_published_utilization_is_hfu_and_mfu_is_about_three_quarters_of_it(name, percent, tflops):
    model, system = model_preset(name), system_preset("frontier")
    strategy = ParallelConfig(tp=8, recompute="full", global_batch_size=64)
    seconds = frontier_flops(model, strategy) / (8 * percent / 100 * 191.5e12)
    hardware, useful = hfu(model, strategy, seconds, system), mfu(model, strategy, seconds, system)
    assert hardware[0] == pytest.approx(percent / 100, rel=1e-12)
    assert hardware[0] * 191.5 == pytest.approx(tflops, abs=0.05)
    # 3/4 of the layers' share, all of the output layer's.
    assert 0.75 < useful[0] / hardware[0] < 0.76


def test_the_peak_is_that_of_the_type_of_the_numbers():
    model, system = model_preset("gpt-tiny"), system_preset("selene-a100")
    half, single = ParallelConfig(), ParallelConfig(param_dtype="float32")
    ratio = mfu(model, single, 1.0, system) / mfu(model, half, 1.0, system)
    assert ratio[0] == pytest.approx(312 / 19.5)


def test_tokens_per_second_count_the_whole_batch():
    model = model_preset("gpt-22b")
    rate = tokens_per_second(model, ParallelConfig(dp=4, global_batch_size=40), 2.0)
    assert rate.tolist() == [40 * 2048 / 2.0]


def test_rows_of_many_models_equal_each_alone():
    strategies = [
        ParallelConfig(recompute=kind, flash_attention=False, global_batch_size=2 * i + 1)
        for i, kind in enumerate(("none", "selective", "full", "full"))
    ]
    for function in (model_flops, hardware_flops, frontier_flops):
        together = function(ModelColumns.of(SHAPES), ParallelColumns.of(strategies))
        alone = [function(m, p)[0] for m, p in zip(SHAPES, strategies, strict=True)]
        np.testing.assert_array_equal(together, alone)
