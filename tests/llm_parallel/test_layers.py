"""Times of products and layers: limits of the roofline, and operations counted by brute force."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.flops import model_flops
from labkit.llm_parallel.layers import Device, embedding_times, layer_times, output_times
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.systems import system_preset

A100 = system_preset("selene-a100")
PERFECT = Efficiency(gemm=1.0, attention=1.0, gemm_half_depth=0.0, memory=1.0, launch_s=0.0)
SHAPES = {
    "gpt": model_preset("gpt-22b"),
    "llama": model_preset("llama-3-8b"),
    "odd": ModelConfig(
        num_layers=2,
        hidden_size=384,
        num_attention_heads=12,
        num_query_groups=4,
        ffn_hidden_size=1000,
        gated_mlp=True,
        seq_length=512,
        vocab_size=3000,
    ),
}


def device(efficiency: Efficiency, n_bytes: int = 2) -> Device:
    return Device.of(A100, efficiency, np.array([n_bytes]))


def product(efficiency: Efficiency, m: float, n: float, k: float) -> float:
    one = device(efficiency).product(np.array([m]), np.array([n]), np.array([k]), np.array([2.0]))
    return float(one[0])


@dataclass(frozen=True)
class Counter(Device):
    """A device whose seconds are operations: no tiles, no memory, no launches."""

    def product(self, m, n, k, width, batch=1.0):
        return 2.0 * batch * m * n * k

    def stream(self, n_bytes, kernels):
        return 0.0 * n_bytes


COUNTER = Counter(np.ones(1), np.inf, 0.0, 0.0, 1.0, 1.0)


def columns(model: ModelConfig, **strategy: object) -> tuple[ModelColumns, ParallelColumns]:
    config = ParallelConfig(**{"flash_attention": False, **strategy})  # type: ignore[arg-type]
    return ModelColumns.of(model), ParallelColumns.of(config)


def test_a_large_product_runs_at_the_peak():
    """108 units share 96 x 48 tiles of 128 x 256: 42.67 waves, 43 with the last one."""
    m = n = k = 128 * 96
    waves = 96 * 48 / 108
    filled = 0.5 + 0.5 * waves / np.ceil(waves)
    assert product(PERFECT, m, n, k) == pytest.approx(2 * m * n * k / (312e12 * filled), rel=1e-12)
    assert product(PERFECT, m, n, k) == pytest.approx(2 * m * n * k / 312e12, rel=5e-3)


def test_a_shallow_product_is_bound_by_memory():
    m, n, k = 8192, 8192, 16
    moved = 2 * (m * k + k * n + m * n)
    assert product(PERFECT, m, n, k) == pytest.approx(moved / 2039e9, rel=1e-12)


def test_the_smallest_product_takes_a_launch():
    assert product(PERFECT.replace(launch_s=25e-6), 8, 8, 8) == 25e-6


def test_a_row_over_a_tile_costs_a_whole_tile():
    small, over, next_one = (product(PERFECT, m, 8192, 8192) for m in (4096, 4097, 4224))
    assert over == pytest.approx(next_one, rel=1e-12)
    assert over > small


def test_a_product_reaches_half_of_the_peak_at_the_half_depth():
    deep = PERFECT.replace(gemm_half_depth=512.0)
    ratio = product(deep, 8192, 8192, 512) / product(PERFECT, 8192, 8192, 512)
    assert ratio == pytest.approx(2.0)


def test_wider_numbers_take_the_peak_of_their_type():
    m = np.array([8192.0])
    half = device(PERFECT, 2).product(m, m, m, np.array([2.0]))
    single = device(PERFECT, 4).product(m, m, m, np.array([4.0]))
    assert single / half == pytest.approx(312 / 19.5)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("strategy", [{}, {"tp": 2}, {"tp": 4, "micro_batch_size": 2}, {"cp": 2}])
def test_operations_of_all_ranks_are_those_of_the_model(name, strategy):
    """Layers and output layer together, forward and backward, counted product by product."""
    model = SHAPES[name]
    strategy = {"global_batch_size": strategy.get("micro_batch_size", 1), **strategy}
    pair = columns(model, **strategy)
    layer, output = layer_times(*pair, COUNTER), output_times(*pair, COUNTER)
    ranks = pair[1].tp * pair[1].cp
    forward = ranks * (model.num_layers * layer.forward + output.forward)
    backward = ranks * (model.num_layers * layer.backward + output.backward)
    expected = model_flops(*pair)[0]
    assert forward[0] == pytest.approx(expected / 3, rel=1e-12)
    assert backward[0] == pytest.approx(2 * expected / 3, rel=1e-12)


def test_scores_are_the_quadratic_part_of_a_layer():
    model = SHAPES["gpt"]
    scores = layer_times(*columns(model), COUNTER).scores
    assert scores[0] == pytest.approx(4 * 2048**2 * 6144, rel=1e-12)


def test_fused_attention_skips_the_causal_half_and_recomputes_in_its_backward_pass():
    pair = columns(SHAPES["gpt"], flash_attention=True)
    plain = columns(SHAPES["gpt"])
    fused, unfused = layer_times(*pair, COUNTER), layer_times(*plain, COUNTER)
    assert fused.scores[0] == pytest.approx(unfused.scores[0] / 2, rel=1e-12)
    linear = unfused.backward - 2 * unfused.scores
    assert (fused.backward - linear)[0] == pytest.approx(2.5 * fused.scores[0], rel=1e-9)


def test_fused_attention_is_faster_and_more_so_for_long_sequences():
    gains = []
    for seq in (1024, 4096, 16384):
        model = SHAPES["gpt"].replace(seq_length=seq)
        times = [
            layer_times(*columns(model, flash_attention=fused), device(A100.efficiency)).forward[0]
            for fused in (False, True)
        ]
        gains.append(times[0] / times[1])
    assert gains[0] > 1
    assert gains == sorted(gains)


def test_gradients_of_weights_are_the_part_of_the_backward_pass_that_can_wait():
    layer = layer_times(*columns(SHAPES["gpt"]), COUNTER)
    linear = layer.forward - layer.scores
    assert layer.weight_backward[0] == pytest.approx(linear[0], rel=1e-12)
    assert layer.input_backward[0] == pytest.approx((linear + 2 * layer.scores)[0], rel=1e-12)


@pytest.mark.parametrize("part", [layer_times, embedding_times, output_times])
def test_tensor_parallelism_never_makes_a_device_slower(part):
    times = [
        part(*columns(SHAPES["gpt"], tp=tp), device(A100.efficiency)).forward[0]
        for tp in (1, 2, 4, 8, 16)
    ]
    assert times == sorted(times, reverse=True)


def test_sequence_parallelism_shares_norms_and_dropouts_out():
    plain, split = (
        layer_times(*columns(SHAPES["gpt"], tp=8, sequence_parallel=choice), device(PERFECT))
        for choice in (False, True)
    )
    # Two norms read and write 2 bytes; two dropouts read two, write one, and write a mask of 1.
    n_bytes = 2048 * 6144 * (2 * 2 * 2 + 2 * (3 * 2 + 1))
    saved = (1 - 1 / 8) * n_bytes / 2039e9
    assert (plain.forward - split.forward)[0] == pytest.approx(saved, rel=1e-9)


def test_without_dropout_no_masks_move():
    with_masks = layer_times(*columns(SHAPES["gpt"]), device(PERFECT))
    without = layer_times(*columns(SHAPES["gpt"].replace(dropout=0.0)), device(PERFECT))
    seq, heads, hidden = 2048, 48, 6144
    scores = heads * seq**2 * (2 * 2 + 1)
    assert (with_masks.forward - without.forward)[0] == pytest.approx(
        (scores + 2 * seq * hidden) / 2039e9, rel=1e-9
    )


def test_a_slow_launch_sets_the_time_of_a_small_layer():
    """4 linear products, 2 of attention, 2 kernels of softmax, 7 that only move memory."""
    model = model_preset("gpt-tiny")
    slow = device(PERFECT.replace(launch_s=1e-3))
    layer = layer_times(*columns(model), slow)
    assert layer.forward[0] == pytest.approx(15e-3)
    assert layer.backward[0] == pytest.approx((8 + 4 + 2 + 7) * 1e-3, rel=1e-3)


def test_many_strategies_at_once_equal_each_alone():
    model = ModelColumns.of(SHAPES["gpt"])
    strategies = [
        ParallelConfig(
            tp=tp, micro_batch_size=b, global_batch_size=b, flash_attention=fused, param_dtype=kind
        )
        for tp in (1, 2, 8)
        for b in (1, 3)
        for fused in (False, True)
        for kind in ("bfloat16", "float32")
    ]
    many = ParallelColumns.of(strategies)
    shares = A100.efficiency
    together = layer_times(model, many, Device.of(A100, shares, many.param_bytes))
    for i in range(len(strategies)):
        one = many.take([i])
        alone = layer_times(model, one, Device.of(A100, shares, one.param_bytes))
        assert together.forward[i] == alone.forward[0]
        assert together.backward[i] == alone.backward[0]


def test_a_device_is_described_by_its_data_sheet_and_its_shares():
    half = device(Efficiency(gemm=0.5, memory=0.25))
    assert half.peak[0] == 0.5 * 312e12
    assert half.bandwidth == 0.25 * 2039e9
    assert replace(half, launch_s=1.0).product(*[np.ones(1)] * 4)[0] == 1.0
