"""Exchange between devices: groups as ranks are numbered, closed forms of rings, measured NCCL."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.network import (
    Ring,
    collective_counts,
    collective_seconds,
    group_members,
    members_per_node,
    message_seconds,
    ring_bandwidth,
)
from labkit.llm_parallel.system import Efficiency
from labkit.llm_parallel.systems import system_preset

IDEAL = Efficiency(
    intra_link=1.0, inter_link=1.0, intra_latency_s=0.0, inter_latency_s=0.0, congestion=0.0
)
SELENE = system_preset("selene-a100", efficiency=IDEAL)
FRONTIER = system_preset("frontier", efficiency=IDEAL)


def ranks_of_groups(parallel: ParallelConfig, axis: str) -> list[np.ndarray]:
    """Groups of an axis, from a mesh of all ranks: independent of sizes and strides."""
    order = parallel.rank_order.split("-")
    shape = [getattr(parallel, name) for name in order]
    mesh = np.arange(parallel.n_devices).reshape(shape[::-1])
    place = len(order) - 1 - order.index(axis)
    return list(np.moveaxis(mesh, place, -1).reshape(-1, shape[order.index(axis)]))


@pytest.mark.parametrize("order", ["tp-cp-dp-pp", "tp-cp-pp-dp"])
@pytest.mark.parametrize("axis", ["tp", "cp", "dp", "pp"])
def test_groups_are_those_of_a_mesh_of_ranks(order, axis):
    for tp, cp, pp, dp in itertools.product((1, 2, 4), (1, 2), (1, 2, 16), (1, 4)):
        parallel = ParallelConfig(
            tp=tp, cp=cp, pp=pp, dp=dp, global_batch_size=dp, rank_order=order
        )
        size, stride = (int(value[0]) for value in group_members(parallel, axis))
        for group in ranks_of_groups(parallel, axis):
            assert len(group) == size
            assert (np.diff(group) == stride).all()
            nodes = pd.Series(group // 8).value_counts()
            assert nodes.max() == members_per_node(SELENE, size, stride)


def test_gradients_are_reduced_over_replicas_and_ranks_of_a_sequence():
    parallel = ParallelConfig(tp=2, cp=2, pp=4, dp=8, global_batch_size=8)
    size, stride = group_members(parallel, "gradients")
    assert (size[0], stride[0]) == (16, 2)
    far = parallel.replace(rank_order="tp-cp-pp-dp")
    assert group_members(far, "gradients")[1][0] == 2 * 4


def test_the_ends_of_a_pipeline_are_a_pair_far_apart():
    parallel = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=2)
    size, stride = group_members(parallel, "ends")
    assert (size[0], stride[0]) == (2, 15 * 8)
    assert group_members(ParallelConfig(), "ends")[0][0] == 1


@pytest.mark.parametrize("size", [2, 3, 8, 16, 64])
@pytest.mark.parametrize("stride", [1, 8])
def test_a_ring_moves_size_minus_one_shares_each_way(size, stride):
    """Counted: in each of size - 1 steps every member sends one share to its neighbor."""
    shares = Efficiency(intra_latency_s=3e-6, inter_latency_s=2e-5, congestion=0.0)
    n_bytes, leaves = 1e8, size * stride > 8
    bandwidth = float(ring_bandwidth(SELENE, size, stride, efficiency=shares))
    latency = 2e-5 if leaves else 3e-6
    one_way = sum(n_bytes / size / bandwidth + latency for _ in range(size - 1))
    for kind in ("all_gather", "reduce_scatter"):
        seconds = collective_seconds(kind, n_bytes, size, stride, SELENE, efficiency=shares)
        assert seconds == pytest.approx(one_way, rel=1e-12)
    both = collective_seconds("all_reduce", n_bytes, size, stride, SELENE, efficiency=shares)
    assert both == pytest.approx(2 * one_way, rel=1e-12)


@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter", "p2p"])
def test_no_collective_is_shorter_than_the_launch_of_a_kernel(kind):
    slow = IDEAL.replace(launch_s=1e-3)
    assert collective_seconds(kind, 1.0, 8, 1, SELENE, efficiency=slow) == 1e-3
    assert collective_seconds(kind, 1e12, 8, 1, SELENE, efficiency=slow) > 1e-3


@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter", "p2p"])
def test_a_group_of_one_exchanges_nothing(kind):
    assert collective_seconds(kind, 1e9, 1, 1, system_preset("frontier")) == 0


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [  # Selene: 300 GB/s of NVLink, 8 cards of 25 GB/s; rings of a node share the cards
        (8, 1, 300e9),  # inside
        (16, 1, 200e9),  # one ring with 8 members a node has all cards
        (16, 2, 100e9),  # two rings with 4 members each
        (8, 4, 50e9),
        (8, 8, 25e9),  # eight rings, a card each
        (8, 64, 25e9),
        (2, 4, 300e9),  # two members in one node
    ],
)
def test_members_in_a_node_share_its_cards(size, stride, expected):
    assert ring_bandwidth(SELENE, size, stride) == pytest.approx(expected)


def test_all_rings_of_a_node_together_use_exactly_its_cards():
    for stride in (1, 2, 4, 8):
        rings = stride
        each = ring_bandwidth(FRONTIER, 64, stride)
        assert rings * each == pytest.approx(min(100e9, rings * 50e9))


@pytest.mark.parametrize(("size", "expected"), [(2, 200e9), (4, 50e9), (8, 50e9), (16, 50e9)])
def test_nested_links_end_where_the_group_grows_over_them(size, expected):
    assert ring_bandwidth(FRONTIER, size, 1) == pytest.approx(expected)


def test_every_collective_between_nodes_is_slowed_by_the_same_crowd():
    crowded = IDEAL.replace(congestion=0.05)
    for kind in ("all_reduce", "all_gather", "reduce_scatter"):
        quiet, loud = (
            collective_seconds(kind, 1e9, 16, 8, FRONTIER, nodes=nodes, efficiency=crowded)
            for nodes in (0, 400)
        )
        assert loud / quiet == pytest.approx(1 + 0.05 * 20)
        inside = collective_seconds(kind, 1e9, 8, 1, FRONTIER, nodes=400, efficiency=crowded)
        assert inside == collective_seconds(kind, 1e9, 8, 1, FRONTIER, efficiency=crowded)


@pytest.mark.parametrize(
    ("system", "stride", "expected"),
    [
        (SELENE, 1, 25e9),  # the last device of a node has a card
        (SELENE, 8, 25e9),
        (FRONTIER, 1, 25e9),
        (FRONTIER, 8, 12.5e9),  # 8 devices of a node talk, over 4 cards
        (FRONTIER, 64, 12.5e9),
    ],
)
def test_a_message_crosses_the_slowest_hop_of_its_pipeline(system, stride, expected):
    assert message_seconds(1e9, 16, stride, system) == pytest.approx(1e9 / expected)


def test_a_pipeline_inside_a_node_uses_its_links():
    assert message_seconds(1e9, 2, 1, FRONTIER) == pytest.approx(1e9 / 200e9)
    assert message_seconds(1e9, 4, 2, FRONTIER) == pytest.approx(1e9 / 50e9)


@pytest.mark.parametrize("members", [2, 4, 8])
def test_the_shipped_constants_are_those_of_measured_nccl(labkit_data, members):
    """All-reduce tables of one A100 node, 1 MiB to 1 GiB (vTrain's microbenchmark).

    One latency and one bandwidth serve all sizes and 2 to 8 devices: within 10 % on the mean where
    bandwidth counts, and within a factor of 2 where latency does.
    """
    table = pd.read_csv(labkit_data / f"llm_parallel/vtrain/a100_allreduce_gpu{members}.txt")
    n_bytes, seconds = table["size(B)"].to_numpy(float), table["time(ns)"].to_numpy(float) * 1e-9
    system = system_preset("vtrain-a100")
    ratio = collective_seconds("all_reduce", n_bytes, members, 1, system) / seconds
    large = n_bytes > 64e6
    assert abs(ratio[large] - 1).mean() < (0.10 if members > 2 else 0.20)
    assert ((ratio > 0.5) & (ratio < 1.5))[~large].mean() > 0.9


def test_many_groups_at_once_equal_each_alone():
    sizes, strides = np.array([1, 2, 8, 16, 16, 64.0]), np.array([1, 1, 1, 1, 8, 4.0])
    nodes = np.array([1, 2, 3, 4, 5, 6.0])
    system = system_preset("frontier")
    ring = Ring.of(system, sizes, strides, nodes=nodes)
    alone = [
        Ring.of(system, size, stride, nodes=n).all_reduce(1e8)
        for size, stride, n in zip(sizes, strides, nodes, strict=True)
    ]
    np.testing.assert_array_equal(ring.all_reduce(1e8), alone)


def test_a_machine_of_one_node_needs_no_cards():
    here = system_preset("local-cpu")
    assert np.isfinite(collective_seconds("all_reduce", 1e6, 2, 1, here))
    assert np.isfinite(message_seconds(1e6, 4, 1, here))


def test_unknown_kinds_and_axes_are_refused():
    with pytest.raises(ParameterError, match="kind='allreduce'"):
        collective_seconds("allreduce", 1.0, 2, 1, SELENE)
    with pytest.raises(ParameterError, match="axis='data'"):
        group_members(ParallelConfig(), "data")


TRACED = [
    # Calls of torch's collectives in one step of the trainer with a fake process group, rank 0,
    # gpt-tiny: strategy, layers, then all-reduces, all-gathers and reduce-scatters.
    ({"tp": 2, "global_batch_size": 1}, 2, "tp", (13, 0, 0)),
    ({"tp": 2, "global_batch_size": 2}, 2, "tp", (26, 0, 0)),
    ({"tp": 2, "global_batch_size": 1}, 3, "tp", (17, 0, 0)),
    ({"tp": 2, "global_batch_size": 1, "recompute": "full"}, 2, "tp", (17, 0, 0)),
    ({"tp": 2, "global_batch_size": 1, "sequence_parallel": True}, 2, "tp", (14, 15, 10)),
    ({"tp": 2, "global_batch_size": 2, "sequence_parallel": True}, 2, "tp", (17, 30, 20)),
    ({"tp": 2, "global_batch_size": 1, "sequence_parallel": True}, 3, "tp", (18, 21, 14)),
    (
        {"tp": 2, "global_batch_size": 2, "sequence_parallel": True, "recompute": "full"},
        2,
        "tp",
        (17, 38, 28),
    ),
    ({"dp": 2, "global_batch_size": 4, "zero_stage": 0}, 2, "dp", (3, 0, 0)),
    ({"dp": 2, "global_batch_size": 4, "zero_stage": 1}, 3, "dp", (0, 4, 4)),
    ({"dp": 2, "global_batch_size": 4, "zero_stage": 2}, 2, "dp", (0, 3, 6)),
    ({"dp": 2, "global_batch_size": 4, "zero_stage": 3}, 2, "dp", (0, 12, 6)),
    ({"dp": 2, "global_batch_size": 4, "zero_stage": 3}, 3, "dp", (0, 16, 8)),
]


@pytest.mark.parametrize(("strategy", "layers", "axis", "expected"), TRACED)
def test_collectives_are_counted_as_the_trainer_was_seen_to_call_them(
    strategy, layers, axis, expected
):
    model = model_preset("gpt-tiny", num_layers=layers)
    counts = collective_counts(model, ParallelConfig(**strategy))[axis]
    kinds = ("all_reduce", "all_gather", "reduce_scatter")
    assert tuple(int(counts[kind][0]) for kind in kinds) == expected


@pytest.mark.parametrize(
    ("schedule", "chunks"), [("1f1b", 1), ("gpipe", 1), ("interleaved_1f1b", 3), ("zbv", 2)]
)
def test_every_message_of_a_pipeline_is_sent_once_and_received_once(schedule, chunks):
    """Messages of all ranks: 2 (p v - 1) boundaries and micro-batches, counted at both ends."""
    p, m = 4, 8
    model = ModelConfig(num_layers=24, hidden_size=64, num_attention_heads=4)
    strategy = ParallelConfig(pp=p, virtual_pp=chunks, schedule=schedule, global_batch_size=m, tp=1)
    columns = ParallelColumns.of([strategy] * p)
    counts = collective_counts(model, columns, stage=np.arange(p))["pp"]
    inside_a_rank = 1 if schedule == "zbv" else 0
    assert counts["p2p"].sum() == 2 * 2 * m * (p * chunks - 1 - inside_a_rank)
    assert counts["all_reduce"].sum() == (0 if schedule == "zbv" else 2)


def test_one_device_exchanges_nothing():
    counts = collective_counts(model_preset("gpt-tiny"), ParallelConfig(global_batch_size=4))
    assert all(value[0] == 0 for kinds in counts.values() for value in kinds.values())
