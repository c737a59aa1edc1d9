"""Dry runs: bytes counted by hand, other ranks, and nothing left behind in the process."""

from __future__ import annotations

import importlib
import sys
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from labkit.errors import ParameterError
from labkit.memory import dryrun
from labkit.memory.dryrun import DryRunUnavailableError, dry_run, fake_processes

WIDTH, ROWS = 1024, 512


def build_layers(count: int = 3) -> tuple[nn.Module, torch.Tensor]:
    layers = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(count))
    return nn.Sequential(*layers), torch.empty(ROWS, WIDTH)


def train(mark, module, x):
    loss = module(x).sum()
    mark("forward")
    loss.backward()
    mark("backward")


def test_a_stack_of_products_keeps_what_can_be_counted_by_hand():
    trace = dry_run(build_layers, train)
    layer, activation = 4 * WIDTH * WIDTH, 4 * ROWS * WIDTH
    forward, backward = trace.marks["forward"], trace.marks["backward"]
    assert forward["parameter"] == 3 * layer
    assert forward["gradient"] == 0
    # The input is the caller's; two products keep the output of the one before.
    assert forward["activation"] == 2 * activation + 4  # and the loss
    assert backward["gradient"] == 3 * layer
    assert trace.peak_bytes == sum(trace.by_kind.values())
    assert trace.peak_bytes >= sum(backward.values())


def test_a_tensor_larger_than_this_machine_needs_no_memory():
    def build():
        return (nn.Linear(10**6, 10**6, bias=False),)

    assert dry_run(build, lambda mark, layer: None).by_kind["parameter"] == 4 * 10**12


def build_optimizer() -> tuple[nn.Module, torch.Tensor, torch.optim.Optimizer]:
    module, x = build_layers()
    return module, x, torch.optim.AdamW(module.parameters())


def update(mark, module, x, optimizer):
    module(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    mark("end")


def test_adam_keeps_two_numbers_a_parameter():
    end = dry_run(build_optimizer, update).marks["end"]
    steps = 3 * 4  # one number a tensor says how many updates there were
    assert end["optstate"] == 2 * end["parameter"] + steps
    assert end["gradient"] == 0


def build_sharded() -> tuple[nn.Module, torch.Tensor]:
    module, x = build_layers()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return fully_shard(module, mesh=mesh), x


@pytest.mark.parametrize("world_size", [1, 2, 64])
def test_each_of_many_processes_keeps_its_share(world_size):
    trace = dry_run(build_sharded, lambda mark, module, x: mark("start"), world_size=world_size)
    assert trace.marks["start"]["parameter"] == 3 * 4 * WIDTH * WIDTH // world_size


def build_rows(rows: int) -> tuple[torch.Tensor]:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return (distribute_tensor(torch.empty(rows, 8), mesh, [Shard(0)]).to_local().clone(),)


@pytest.mark.parametrize(("rank", "rows"), [(0, 4), (1, 4), (2, 2)])
def test_a_rank_has_its_own_slice(rank, rows):
    trace = dry_run(partial(build_rows, 10), lambda mark, x: mark("start"), world_size=3, rank=rank)
    assert trace.marks["start"]["other"] == 4 * 8 * rows


def test_programs_can_read_the_ranks_of_a_mesh():
    """To decide who talks to whom: they are the only tensors with data."""
    with fake_processes(6, rank=3):
        mesh = init_device_mesh("cpu", (3, 2), mesh_dim_names=("pp", "tp"))
        columns = [[int(rank) for rank in ranks] for ranks in mesh.mesh.movedim(0, -1)]
        assert columns == [[0, 2, 4], [1, 3, 5]]
        assert mesh["pp"].get_local_rank() == 1


def test_modules_may_be_called_again_before_their_backward_pass():
    """As pipelines do; every call keeps its own activations."""

    def step(mark, module, x):
        losses = [module(x).sum() for _ in range(4)]
        mark("held")
        for loss in losses:
            loss.backward()

    held = dry_run(build_layers, step).marks["held"]
    assert held["activation"] == 4 * (2 * 4 * ROWS * WIDTH + 4)


def gathered_rows(world_size: int, rank: int) -> int:
    with fake_processes(world_size, rank):
        mesh = init_device_mesh("cpu", (world_size,))
        share = DTensor.from_local(torch.empty(2, 8), mesh, [Shard(0)])
        return share.redistribute(placements=[Replicate()]).to_local().shape[0]


def test_dry_runs_of_other_sizes_and_ranks_follow_each_other():
    """DTensor remembers meshes that compare equal; their groups are gone."""
    assert [gathered_rows(*of) for of in [(4, 0), (2, 1), (4, 3), (4, 0)]] == [8, 4, 8, 8]


def test_nothing_is_left_behind_in_the_process():
    state, report = torch.random.get_rng_state(), sys.excepthook
    methods = (init_device_mesh, nn.Module.to_empty, dist.device_mesh.DeviceMesh.__init__)
    dry_run(build_sharded, train, world_size=8, rank=3)
    assert not dist.is_initialized()
    assert sys.excepthook is report
    assert torch.equal(torch.random.get_rng_state(), state)
    assert methods == (init_device_mesh, nn.Module.to_empty, dist.device_mesh.DeviceMesh.__init__)
    assert torch.ones(2).sum().item() == 2  # tensors have data again


def test_a_failing_program_leaves_nothing_behind_either():
    def fail(mark, *built):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dry_run(build_sharded, fail, world_size=8)
    assert not dist.is_initialized()


@pytest.fixture
def own_group(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_a_process_group_of_the_caller_stays_as_it_is(own_group, tmp_path, monkeypatch):
    """The dry run then goes to a process of its own, which imports what it runs."""
    (tmp_path / "program_of_ranks.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    program = importlib.import_module("program_of_ranks")
    trace = dry_run(program.build, program.step, world_size=3, rank=2)
    assert trace.by_kind["other"] == 4 * 2
    assert dist.group.WORLD is own_group
    total = torch.ones(3)
    dist.all_reduce(total)
    assert total.tolist() == [1, 1, 1]


PROGRAM = """
import torch
import torch.distributed as dist

def build():
    return (torch.empty(dist.get_rank()),)

def step(mark, x):
    mark("start")
"""


def test_beside_a_process_group_only_importable_functions_can_run(own_group):
    with pytest.raises(ParameterError, match="use functions of a module"):
        dry_run(build_layers, lambda mark, *built: None)


@pytest.mark.parametrize("rank", [-1, 4, 1.5])
def test_a_rank_beyond_the_processes_is_refused(rank):
    with pytest.raises(ParameterError, match=f"rank={rank}"):
        dry_run(build_layers, train, world_size=4, rank=rank)


def test_another_torch_is_named_with_what_it_lacks():
    with pytest.raises(DryRunUnavailableError, match=r"has no torch\.nn\.Nothing.*use torch 2\.13"):
        dryrun._private("torch.nn", "Nothing")
