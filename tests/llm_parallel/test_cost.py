"""Time of a step: its parts and limits, simulated pipelines, published and measured runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import SCHEDULES, ModelConfig, ParallelConfig
from labkit.llm_parallel.cost import PARTS, StepTime, step_seconds, step_time
from labkit.llm_parallel.flops import frontier_flops, model_flops
from labkit.llm_parallel.layers import Device, layer_times
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.published import published_runs
from labkit.llm_parallel.runs import load_vtrain
from labkit.llm_parallel.schedule import pipeline_schedule, simulate
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.systems import SYSTEMS, system_preset

SELENE = system_preset("selene-a100")
FRONTIER = system_preset("frontier")
GPT = model_preset("gpt-22b")
# Without embeddings, output layer and exchange all stages take equally long.
UNIFORM = model_preset("gpt-22b", vocab_size=2, tie_embeddings=False)
FREE = Efficiency(
    intra_link=1e9,
    inter_link=1e9,
    intra_latency_s=0.0,
    inter_latency_s=0.0,
    congestion=0.0,
    launch_s=0.0,
    step_overhead_s=0.0,
)


def one(model: ModelConfig, system=SELENE, efficiency=None, **strategy: object) -> StepTime:
    strategy = {"recompute": "full", **strategy}
    return step_time(model, ParallelConfig(**strategy), system, efficiency=efficiency)  # type: ignore[arg-type]


def varied() -> list[ParallelConfig]:
    """Strategies that differ in every field that the model looks at."""
    base = ParallelConfig(tp=2, pp=4, dp=4, micro_batch_size=2, global_batch_size=64)
    changes: list[dict[str, object]] = [
        {},
        *({"zero_stage": stage} for stage in range(4)),
        *({"recompute": kind, "flash_attention": False} for kind in ("none", "selective", "full")),
        *({"schedule": kind} for kind in ("gpipe", "zb_h1")),
        {"schedule": "zbv", "virtual_pp": 2},
        {"schedule": "interleaved_1f1b", "virtual_pp": 3},
        {"sequence_parallel": True},
        {"overlap_grad_reduce": True},
        {"rank_order": "tp-cp-pp-dp"},
        {"count_embeddings_as_layers": True, "pp": 5},
        {"cp": 2, "dp": 2},
        {"tp": 16, "dp": 1},
        {"param_dtype": "float32"},
        {"grad_dtype": "bfloat16"},
        {"pp": 1, "dp": 1},
    ]
    return [base.replace(**change) for change in changes]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_total_is_the_sum_of_the_parts_and_no_part_is_negative(name):
    times = step_time(GPT, ParallelColumns.of(varied()), SYSTEMS[name])
    total = sum(getattr(times, part) for part in PARTS)
    np.testing.assert_array_equal(times.total, total)
    assert all((getattr(times, part) >= 0).all() for part in PARTS)
    assert np.isfinite(times.total).all()


def test_many_strategies_at_once_equal_each_alone_to_the_last_bit():
    together = step_time(GPT, ParallelColumns.of(varied()), FRONTIER).frame()
    alone = [step_time(GPT, strategy, FRONTIER).frame().iloc[0] for strategy in varied()]
    for i, row in enumerate(alone):
        assert together.iloc[i].equals(row), varied()[i]


def test_many_models_at_once_equal_each_alone():
    models = [GPT, model_preset("llama-3-8b"), model_preset("gpt-tiny", num_layers=12)]
    strategies = [ParallelConfig(tp=2, pp=4, global_batch_size=b) for b in (8, 16, 32)]
    together = step_seconds(ModelColumns.of(models), ParallelColumns.of(strategies), SELENE)
    alone = [step_seconds(m, p, SELENE)[0] for m, p in zip(models, strategies, strict=True)]
    np.testing.assert_array_equal(together, alone)
    one_strategy = step_time(ModelColumns.of(models), strategies[0], SELENE)
    assert all(len(getattr(one_strategy, part)) == 3 for part in PARTS)


def test_the_fast_total_is_the_total():
    columns = ParallelColumns.of(varied())
    np.testing.assert_array_equal(
        step_seconds(GPT, columns, FRONTIER), step_time(GPT, columns, FRONTIER).total
    )


def test_the_frame_has_a_row_a_strategy_and_utilization_follows_from_the_time():
    columns = ParallelColumns.of(varied())
    times = step_time(GPT, columns, SELENE)
    frame = times.frame()
    assert len(frame) == len(times) == len(columns)
    assert set(PARTS) < set(frame.columns)
    half = columns.param_bytes == 2
    expected = model_flops(GPT, columns) / (times.total * columns.n_devices * 312e12)
    np.testing.assert_allclose(frame["mfu"][half], expected[half], rtol=1e-12)
    assert (frame["hfu"] >= frame["mfu"]).all()
    np.testing.assert_allclose(
        frame["tokens_per_second"] * frame["total"], 2048 * columns.global_batch_size
    )


def test_memory_is_that_of_the_memory_model_and_fits_says_whether_it_does():
    columns = ParallelColumns.of([ParallelConfig(), ParallelConfig(tp=8, pp=8)])
    times = step_time(GPT, columns, FRONTIER)
    np.testing.assert_array_equal(times.memory_bytes, peak_bytes(GPT, columns))
    assert times.fits.tolist() == [False, True]


def test_one_device_computes_and_does_nothing_else():
    alone = one(GPT, global_batch_size=4)
    for part in ("tensor_parallel", "context_parallel", "pipeline_p2p", "bubble", "data_parallel"):
        assert getattr(alone, part)[0] == 0, part
    assert alone.forward[0] > 0
    assert alone.overhead[0] == SELENE.efficiency.step_overhead_s


def test_recompute_repeats_the_forward_pass_of_the_layers():
    full = one(UNIFORM, global_batch_size=4)
    plain = one(UNIFORM, global_batch_size=4, recompute="none")
    assert plain.recompute[0] == 0
    assert full.recompute[0] == pytest.approx(full.forward[0], rel=1e-3)
    selective = one(UNIFORM, global_batch_size=4, recompute="selective", flash_attention=False)
    assert 0 < selective.recompute[0] < 0.5 * selective.forward[0]


def test_time_in_the_layers_grows_with_the_batch_and_the_rest_does_not():
    once, twice = (one(GPT, tp=8, pp=4, dp=2, global_batch_size=b) for b in (64, 128))
    for part in ("forward", "backward", "recompute", "tensor_parallel", "pipeline_p2p"):
        assert getattr(twice, part)[0] == pytest.approx(2 * getattr(once, part)[0], rel=1e-12)
    for part in ("bubble", "data_parallel", "optimizer", "overhead"):
        assert getattr(twice, part)[0] == getattr(once, part)[0]


def test_the_share_of_the_bubble_vanishes_with_many_microbatches():
    shares = []
    for m in (1, 10, 1000, 1_000_000):
        times = one(GPT, tp=8, pp=8, global_batch_size=m)
        shares.append(times.bubble[0] / times.total[0])
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert shares[-1] < 1e-4


SIMULATED = [
    (kind, p, v, recompute)
    for kind, v in (
        ("gpipe", 1),
        ("1f1b", 1),
        ("interleaved_1f1b", 2),
        ("looped_bfs", 2),
        ("zb_h1", 1),
        ("zb_h1", 2),
        ("zbv", 2),
    )
    for p in (2, 4, 8)
    for recompute in ("none", "full")
]


@pytest.mark.parametrize(("kind", "p", "v", "recompute"), SIMULATED)
def test_bubbles_are_those_of_simulated_pipelines(kind, p, v, recompute):
    """Equal stages: makespan of `schedule.simulate` with the same forward and backward times."""
    m = 4 * p
    strategy = ParallelConfig(
        pp=p, virtual_pp=v, schedule=kind, recompute=recompute, global_batch_size=m
    )
    times = step_time(UNIFORM, strategy, SELENE, efficiency=FREE)
    forward = times.forward[0] / m
    backward = (times.backward[0] + times.recompute[0]) / m
    timeline = simulate(
        pipeline_schedule(kind, p, m, v),
        forward=forward / v,
        backward=backward / v,
        weight=weight_share(strategy) if kind.startswith("zb") else None,
    )
    expected = timeline.makespan - m * (forward + backward)
    # Embedding and loss of two words are not quite nothing.
    assert times.bubble[0] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("m", [1, 3, 6, 8, 12, 15, 32])
def test_a_v_of_few_micro_batches_idles_as_it_is_simulated(m):
    strategy = ParallelConfig(pp=8, virtual_pp=2, schedule="zbv", global_batch_size=m)
    times = step_time(UNIFORM, strategy, SELENE, efficiency=FREE)
    forward, backward = times.forward[0] / m, times.backward[0] / m
    timeline = simulate(
        pipeline_schedule("zbv", 8, m),
        forward=forward / 2,
        backward=backward / 2,
        weight=weight_share(strategy),
    )
    expected = timeline.makespan - m * (forward + backward)
    assert times.bubble[0] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_faster_memory_makes_no_pipeline_slower(kind):
    """With few micro-batches there are few gradients of weights to fill gaps with."""
    v = 2 if kind in ("interleaved_1f1b", "looped_bfs", "zbv") else 1
    batches = [m for m in (1, 2, 4, 8, 16, 64) if kind in ("gpipe", "1f1b", "zbv") or m % 8 == 0]
    strategies = [
        ParallelConfig(tp=8, pp=8, virtual_pp=v, schedule=kind, global_batch_size=m)
        for m in batches
    ]
    faster = SELENE.replace(hbm_bandwidth=2 * SELENE.hbm_bandwidth)
    columns = ParallelColumns.of(strategies)
    assert (step_time(GPT, columns, faster).total <= step_time(GPT, columns, SELENE).total).all()


def weight_share(strategy: ParallelConfig) -> float:
    """Share of the backward pass, recompute included, that the gradients of weights take."""
    model, parallel = ModelColumns.of(UNIFORM), ParallelColumns.of(strategy)
    layer = layer_times(model, parallel, Device.of(SELENE, FREE, parallel.param_bytes))
    again = layer.forward if strategy.recompute == "full" else 0.0
    return float((layer.weight_backward / (layer.backward + again))[0])


def test_schedules_that_postpone_gradients_of_weights_idle_less():
    bubbles = {}
    for kind in SCHEDULES:
        v = 2 if kind in ("interleaved_1f1b", "looped_bfs", "zbv") else 1
        bubbles[kind] = one(GPT, tp=8, pp=8, virtual_pp=v, schedule=kind, global_batch_size=64)
    idle = {kind: times.bubble[0] for kind, times in bubbles.items()}
    assert idle["zbv"] < idle["zb_h1"] < idle["1f1b"] == idle["gpipe"]
    assert idle["interleaved_1f1b"] == idle["looped_bfs"] < idle["1f1b"]


def test_the_output_layer_makes_the_last_stage_the_busiest():
    """BLOOM's vocabulary of 250,880: two layers fewer on the ends make the stages even."""
    bloom = ModelConfig(
        num_layers=70, hidden_size=14336, num_attention_heads=112, vocab_size=250880
    )
    strategy = ParallelConfig(tp=4, pp=12, global_batch_size=96, recompute="full")
    even = step_time(bloom, strategy.replace(count_embeddings_as_layers=True), SELENE)
    seventh = step_time(bloom.replace(num_layers=72), strategy, SELENE)
    assert even.total[0] < seventh.total[0] * 70 / 72
    small = step_time(bloom.replace(vocab_size=1024), strategy.replace(pp=10), SELENE)
    large = step_time(bloom, strategy.replace(pp=10), SELENE)
    assert large.forward[0] > 1.1 * small.forward[0]


def test_replicas_exchange_more_with_each_stage_of_zero():
    times = [
        one(GPT, tp=8, dp=16, zero_stage=stage, global_batch_size=64).data_parallel[0]
        for stage in range(4)
    ]
    # 16-bit weights are gathered where 32-bit gradients would have travelled a second time.
    assert times[1] < times[0] < times[2] < times[3]
    alike = [
        one(
            GPT, tp=8, dp=16, zero_stage=stage, global_batch_size=16, grad_dtype="bfloat16"
        ).data_parallel[0]
        for stage in (0, 1)
    ]
    assert alike[0] == pytest.approx(alike[1], rel=1e-12)


def test_zero_shares_the_optimizer_out():
    times = [
        one(GPT, tp=8, dp=16, zero_stage=stage, global_batch_size=16).optimizer[0]
        for stage in range(4)
    ]
    assert times[0] == pytest.approx(16 * times[1], rel=1e-12)
    assert times[1] == times[2] == times[3]


def test_overlap_hides_a_share_of_the_reduction_and_no_more_than_the_backward_pass():
    strategy = {
        "tp": 8,
        "dp": 16,
        "zero_stage": 0,
        "micro_batch_size": 16,
        "global_batch_size": 256,
    }
    exposed = one(GPT, **strategy).data_parallel[0]
    for share in (0.0, 0.3, 0.6):
        shares = SELENE.efficiency.replace(dp_overlap=share)
        hidden = one(GPT, efficiency=shares, overlap_grad_reduce=True, **strategy)
        assert hidden.data_parallel[0] == pytest.approx((1 - share) * exposed, rel=1e-12)
    slow = system_preset("selene-a100", nic_bandwidth=1e6)
    plain, overlapped = (
        one(GPT, slow, overlap_grad_reduce=choice, **strategy) for choice in (False, True)
    )
    saved = plain.data_parallel[0] - overlapped.data_parallel[0]
    assert saved == pytest.approx(plain.backward[0] + plain.recompute[0], rel=1e-9)


def test_a_ring_of_keys_hides_behind_attention_where_sequences_are_long():
    long = model_preset("llama-3-8b", seq_length=131072)
    assert one(long, tp=8, cp=4).context_parallel[0] == 0
    short = model_preset("llama-3-8b", seq_length=1024)
    assert one(short, tp=1, cp=64).context_parallel[0] > 0


def test_grouped_queries_shorten_the_ring_of_keys_and_the_layer():
    many = model_preset("llama-3-8b", seq_length=1024, num_query_groups=32)
    few = model_preset("llama-3-8b", seq_length=1024)
    strategy = ParallelConfig(cp=64)
    ring = [step_time(m, strategy, SELENE).context_parallel[0] for m in (many, few)]
    assert ring[1] < ring[0]
    assert step_seconds(few, ParallelConfig(), SELENE) < step_seconds(
        many, ParallelConfig(), SELENE
    )


def by_hand(system, shares: Efficiency, *, seq: int, hidden: int, heads: int, tp: int) -> float:
    """Forward pass of one layer of a GPT in plain numbers, written apart from `layers`."""
    bandwidth = system.hbm_bandwidth * shares.memory

    def gemm(m: int, n: int, k: int, batch: float = 1) -> float:
        tiles = batch * -(-m // 128) * -(-n // 128)
        waves = batch * -(-m // 128) * -(-n // 256) / system.compute_units
        speed = system.peak_flops * shares.gemm * (0.5 + 0.5 * waves / -(-waves // 1))
        arithmetic = tiles * 2 * 128 * 128 * (k + shares.gemm_half_depth) / speed
        return max(arithmetic, 2 * batch * (m * k + k * n + m * n) / bandwidth, shares.launch_s)

    def moved(n_bytes: float, kernels: int) -> float:
        return max(n_bytes / bandwidth, kernels * shares.launch_s)

    head, mine = hidden // heads, heads // tp
    linear = gemm(seq, 3 * hidden // tp, hidden) + gemm(seq, hidden, hidden // tp)
    linear += gemm(seq, 4 * hidden // tp, hidden) + gemm(seq, hidden, 4 * hidden // tp)
    attention = gemm(seq, seq, head, mine) + gemm(seq, head, seq, mine)
    softmax = moved(mine * seq**2 * (2 * 2 + 2 * 2 + 1), 2)
    norms = moved(seq * hidden * (2 * 2 * 2 + 2 * (3 * 2 + 1)), 4)
    gelu, turns = moved(seq * 8 * hidden / tp * 2, 1), moved(seq * 6 * hidden / tp * 2, 2)
    return linear + attention + softmax + norms + gelu + turns


@pytest.mark.parametrize("tp", [1, 8])
def test_a_forward_pass_agrees_with_the_same_equations_by_hand(tp):
    model = model_preset("gpt-22b", vocab_size=2)
    times = step_time(model, ParallelConfig(tp=tp, flash_attention=False), SELENE)
    layer = by_hand(SELENE, SELENE.efficiency, seq=2048, hidden=6144, heads=48, tp=tp)
    assert times.forward[0] == pytest.approx(48 * layer, rel=0.01)


def errors(name: str) -> np.ndarray:
    runs = published_runs(name)  # type: ignore[arg-type]
    return step_seconds(runs.model, runs.parallel, SELENE) / runs.seconds - 1


def test_one_set_of_constants_predicts_the_megatron_table_within_five_percent():
    """Narayanan et al., SC'21, Table 1: 10 models on 32 to 3072 A100; a constant scores 5.3 %."""
    assert len(errors("megatron")) == 10
    assert abs(errors("megatron")).mean() < 0.05
    assert abs(errors("megatron")).max() < 0.10


def test_the_same_constants_predict_korthikantis_steps_within_six_percent():
    """Korthikanti et al., MLSys 2023: 4 models, full and selective recompute."""
    assert len(errors("korthikanti")) == 8
    assert abs(errors("korthikanti")).mean() < 0.06


def test_selective_recompute_and_sequence_parallelism_save_what_was_published():
    runs = published_runs("korthikanti")
    predicted = step_seconds(runs.model, runs.parallel, SELENE)
    np.testing.assert_allclose(
        predicted[4:] / predicted[:4], runs.seconds[4:] / runs.seconds[:4], rtol=0.08
    )


@pytest.mark.parametrize(("nodes", "error", "rank"), [("multi", 0.12, 0.8), ("single", 0.26, 0.94)])
def test_shipped_constants_rank_steps_that_they_were_not_made_with(labkit_data, nodes, error, rank):
    """vTrain's 109 and 1440 A100 rows, zero-shot; rank correlation of throughput."""
    runs = load_vtrain(nodes)
    predicted = step_seconds(runs.model, runs.parallel, system_preset("vtrain-a100"))
    work = model_flops(runs.model, runs.parallel) / runs.parallel.n_devices
    assert abs(predicted / runs.seconds - 1).mean() < error
    assert spearmanr(work / predicted, work / runs.seconds)[0] > rank


def frontier_hfu(efficiency: Efficiency | None = None) -> np.ndarray:
    runs = published_runs("frontier")
    seconds = step_seconds(runs.model, runs.parallel, FRONTIER, efficiency=efficiency)
    work = frontier_flops(runs.model, runs.parallel)
    return 100 * work / (seconds * runs.parallel.n_devices * 191.5e12)


def test_one_efficiency_of_the_22b_run_predicts_the_larger_frontier_runs_within_8_percent():
    """Dash et al.: 38.38, 36.14 and 31.96 % hardware utilization; only `gemm` was fitted."""
    predicted = frontier_hfu()
    assert predicted[0] == pytest.approx(38.38, rel=0.005)
    np.testing.assert_allclose(predicted[1:], [36.14, 31.96], rtol=0.08)
    fitted = dataclasses.asdict(FRONTIER.efficiency)
    assert {key for key, value in fitted.items() if value != getattr(Efficiency(), key)} == {"gemm"}


SCALED = {  # of Dash et al.: strategy, replicas, batch of a replica, of a step
    "gpt-175b": ({"tp": 4, "pp": 16}, (2, 16), 640, 1600, 0.89),
    "gpt-1t": ({"tp": 8, "pp": 64}, (2, 6), 1600, 1608, 0.87),
}


@pytest.mark.parametrize("name", SCALED)
def test_scaling_on_frontier_is_weakly_perfect_and_strongly_limited_by_the_bubble(name):
    """Published: weak 100 %, strong 89 % (175B to 1024 GCDs) and 87 % (1T to 3072).

    The batch of strong scaling is not known. With 1600 sequences in all the idle share of 1F1B
    alone gives 88.6 % and 87.2 %, so this one number explains both; with 8000 it gives 97 %, and
    no loss of the network could make up for it without spoiling weak scaling.
    """
    split, replicas, weak_batch, strong_batch, published = SCALED[name]
    base = ParallelConfig(**split, recompute="full", param_dtype="float16", grad_dtype="float16")
    model = model_preset(name)

    def throughput(dp: int, batch: int) -> float:
        strategy = base.replace(dp=dp, global_batch_size=batch)
        return batch / (dp * step_seconds(model, strategy, FRONTIER)[0])

    few, many = replicas
    weak = throughput(many, many * weak_batch) / throughput(few, few * weak_batch)
    strong = throughput(many, strong_batch // many * many) / throughput(few, strong_batch)
    assert 0.97 <= weak <= 1.0
    assert strong == pytest.approx(published, abs=0.04)


def test_the_four_laws_of_the_frontier_study_hold():
    base = ParallelConfig(
        tp=4, pp=16, dp=2, global_batch_size=640, recompute="full", param_dtype="float16"
    )
    model = model_preset("gpt-175b")

    def hfu(**changes: object) -> float:
        return float(step_time(model, base.replace(**changes), FRONTIER).hfu[0])

    by_tp = [hfu(tp=tp) for tp in (1, 2, 4, 8, 16)]
    assert by_tp == sorted(by_tp, reverse=True)
    assert by_tp[3] - by_tp[4] > by_tp[2] - by_tp[3]
    by_batch = [hfu(global_batch_size=2 * m) for m in (16, 32, 64, 128, 256, 512, 1024)]
    assert by_batch == sorted(by_batch)
    by_depth = [hfu(pp=p) for p in (4, 8, 16, 32)]
    assert by_depth == sorted(by_depth, reverse=True)
    # With fewer than 8 layers a stage the output layer, beside the last, weighs too much.
    fixed_ratio = [hfu(pp=p, global_batch_size=2 * 20 * p) for p in (6, 8, 12)]
    assert max(fixed_ratio) / min(fixed_ratio) < 1.03
