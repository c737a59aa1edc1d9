"""Peak memory of a step of training, without its memory and without its other processes.

The program runs on fake tensors, which have a shape, a type and a device and no data [1]_, as one
rank of a process group that answers every collective at once and moves nothing. torch's memory
tracker counts the storages that are alive at each operation, by what they are for. So a laptop can
tell what rank 17 of 3072 allocates, as far as the values of tensors do not decide it.

The parts of torch that do this are not public; only this module touches them, and says so where
they have moved.

References
----------
.. [1] PyTorch documentation, Fake tensor.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from multiprocessing import get_context
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from labkit.choices import require_whole
from labkit.errors import LabkitError, ParameterError

Answer = TypeVar("Answer")
Mark = Callable[[str], None]
"""What a step calls to remember what is alive, with a name for the moment."""

KINDS = ("parameter", "buffer", "gradient", "activation", "temp", "optstate", "other")
"""What memory is for, in torch's words. Activations are what the forward pass makes, with weights
that FSDP gathers; temporaries are what the backward pass makes, with gradients that FSDP keeps."""


class DryRunUnavailableError(LabkitError, ImportError):
    """What a dry run needs is somewhere else in the installed torch."""


@dataclass(frozen=True)
class MemoryTrace:
    """Memory of one rank.

    Attributes
    ----------
    peak_bytes : int
        The most that was alive at once.
    by_kind : mapping of str to int
        Bytes at that moment, by name in `KINDS`.
    marks : mapping of str to mapping
        Bytes by kind at the moments that the step marked.
    """

    peak_bytes: int
    by_kind: Mapping[str, int]
    marks: Mapping[str, Mapping[str, int]]


def dry_run(
    build: Callable[[], tuple[Any, ...]],
    step: Callable[..., None],
    *,
    world_size: int = 1,
    rank: int = 0,
) -> MemoryTrace:
    """Return what a step of a program would allocate on one rank of many.

    A process group of the caller stays as it is: the dry run then happens in a process of its own,
    for which `build` and `step` must be importable functions or partials of them.

    Parameters
    ----------
    build : callable
        Makes what the step needs; may use `torch.distributed` as on a cluster. Modules,
        optimizers and tensors of the tuple are counted.
    step : callable
        Called as ``step(mark, *built)``; ``mark("name")`` remembers what is alive.
    world_size, rank : int
        Processes there would be, and which of them this one is.

    Returns
    -------
    MemoryTrace

    Raises
    ------
    ParameterError
        `rank` is none of the processes.
    DryRunUnavailableError
        torch has moved what this needs.

    Examples
    --------
    >>> def build():
    ...     return torch.nn.Linear(1000, 1000, bias=False), torch.empty(8, 1000)
    >>> def step(mark, layer, x):
    ...     layer(x).sum().backward()
    >>> dry_run(build, step, world_size=1024).by_kind["parameter"]
    4000000
    """
    return alone(_trace, build, step, world_size, rank)


def alone(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a function where no process group is: here, or else in a process of its own.

    Raises
    ------
    ParameterError
        It needs a process of its own and cannot be sent there.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return function(*arguments)
    try:
        pickle.dumps((function, arguments))
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        raise ParameterError(
            "This process has a process group, so a dry run needs a process of its own, which "
            f"cannot be given what is to run ({exc}); use functions of a module."
        ) from exc
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def fake_processes(world_size: int, rank: int = 0) -> Iterator[None]:
    """Be one rank of many that do not exist, with tensors that have no data.

    Raises
    ------
    ParameterError
        `rank` is none of the processes.
    DryRunUnavailableError
        torch has moved what this needs.
    """
    require_whole("world_size", world_size, low=1)
    require_whole("rank", rank, low=0, high=world_size - 1)
    store = _private("torch.testing._internal.distributed.fake_pg", "FakeStore")
    mode = _private("torch._subclasses.fake_tensor", "FakeTensorMode")
    report_of_errors = sys.excepthook
    _forget_meshes()
    dist.init_process_group("fake", store=store(), rank=rank, world_size=world_size)
    try:
        with ExitStack() as stack:
            for context in (_real_meshes, _agreed_pipelines, _new_parameters):
                stack.enter_context(context())
            stack.enter_context(mode(allow_non_fake_inputs=True))
            yield
    finally:
        dist.destroy_process_group()
        _forget_meshes()
        sys.excepthook = report_of_errors  # torch has put the rank in front of every line


def _forget_meshes() -> None:
    """Empty what DTensor remembers: meshes of the same ranks that were made for other groups."""
    tensor = "torch.distributed.tensor"
    propagator = _private(f"{tensor}._sharding_prop", "ShardingPropagator")
    _private(f"{tensor}.debug", "_clear_sharding_prop_cache")()
    _private(f"{tensor}._redistribute", "_gen_transform_infos").cache_clear()
    _private(f"{tensor}._collective_utils", "MeshTopoInfo").build_from_mesh.cache_clear()
    propagator._propagate_tensor_meta_cached.cache_clear()


@contextmanager
def _real_meshes() -> Iterator[None]:
    """Let device meshes have data: torch reads the ranks in them."""
    real = _private("torch._subclasses.fake_tensor", "unset_fake_temporarily")
    fake = _private("torch._subclasses.fake_tensor", "FakeTensor")
    make = DeviceMesh.__init__

    @wraps(make)
    def make_real(self: DeviceMesh, *arguments: Any, **options: Any) -> None:
        with real():
            ranks = options.get("_rank_map")
            if isinstance(ranks, fake):  # of `init_device_mesh`, which counts from 0
                options["_rank_map"] = torch.arange(ranks.numel(), dtype=torch.int)
            make(self, *arguments, **options)

    class Ranks(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *call: Any, **options: Any) -> Any:
            with real():
                return super().__torch_function__(*call, **options)

    ranks_of = vars(DeviceMesh)["mesh"].fget

    def readable_ranks(self: DeviceMesh) -> torch.Tensor:
        with real():
            return ranks_of(self).as_subclass(Ranks)

    with (
        _replaced(DeviceMesh, "__init__", make_real),
        _replaced(DeviceMesh, "mesh", property(readable_ranks)),
    ):
        yield


@contextmanager
def _agreed_pipelines() -> Iterator[None]:
    """Spare stages of a pipeline the vote on whether all know their shapes: nobody answers."""
    pipelines = "torch.distributed.pipelining.schedules"
    schedule = _private(pipelines, "_PipelineSchedule")
    static = _private(pipelines, "InferenceMode").STATIC
    if not hasattr(schedule, "_warmup_p2p"):
        raise DryRunUnavailableError(_moved(pipelines, "_PipelineSchedule._warmup_p2p"))

    def agree(self: Any, stages: list[Any], *_: Any) -> None:
        for stage in stages:
            stage._inference_mode = static

    with _replaced(schedule, "_warmup_p2p", agree):
        yield


@contextmanager
def _new_parameters() -> Iterator[None]:
    """Let `torch.nn.Module.to_empty` make parameters: fake ones cannot be swapped in place."""

    def to_empty(self: torch.nn.Module, *, device: Any, recurse: bool = True) -> torch.nn.Module:
        for module in self.modules() if recurse else [self]:
            for name, old in list(module.named_parameters(recurse=False)):
                new = torch.empty_like(old, device=device)
                setattr(module, name, torch.nn.Parameter(new, old.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, torch.empty_like(buffer, device=device))
        return self

    with _replaced(torch.nn.Module, "to_empty", to_empty):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _trace(
    build: Callable[[], tuple[Any, ...]], step: Callable[..., None], world_size: int, rank: int
) -> MemoryTrace:
    marks: dict[str, Mapping[str, int]] = {}
    with ExitStack() as stack:
        stack.enter_context(fake_processes(world_size, rank))
        built = build()
        tracker = stack.enter_context(_tracker(built))

        def mark(name: str) -> None:
            marks[name] = _by_kind(tracker.get_tracker_snapshot("current"))

        step(mark, *built)
        peak = _by_kind(tracker.get_tracker_snapshot("peak"))
    return MemoryTrace(peak_bytes=sum(peak.values()), by_kind=peak, marks=marks)


class _NoModules:
    """Stands in for torch's tracker of modules, whose hooks no split backward pass gets through.

    Without it modules may also be called again before their backward pass, as pipelines do.
    """

    parents: frozenset[str] = frozenset()

    @property
    def is_bw(self) -> bool:
        return torch._C._current_graph_task_id() != -1

    def register_user_hooks(self, *hooks: object) -> None:
        pass

    def clear_user_hooks(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _tracker(built: tuple[Any, ...]) -> Any:
    """Return torch's tracker, which knows what was built."""
    tracker = _private("torch.distributed._tools.mem_tracker", "MemTracker")()
    tracker._mod_tracker = _NoModules()
    for item in built:
        if isinstance(item, torch.nn.Module):
            tracker._track_module_params_and_buffers(item, install_grad_hooks=True)
        elif isinstance(item, torch.Tensor | torch.optim.Optimizer):
            tracker.track_external(item)
    return tracker


def _by_kind(snapshot: Mapping[torch.device, Mapping[Any, int]]) -> dict[str, int]:
    """Add up devices; a fake program has one."""
    totals = dict.fromkeys(KINDS, 0)
    for kinds in snapshot.values():
        for kind, size in kinds.items():
            name = getattr(kind, "value", kind).lower()
            if name in totals:
                totals[name] += int(size)
    return totals


def _private(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise DryRunUnavailableError(_moved(module, name)) from exc


def _moved(module: str, name: str) -> str:
    return (
        f"torch {torch.__version__} has no {module}.{name}, which a dry run needs; use torch 2.13."
    )
