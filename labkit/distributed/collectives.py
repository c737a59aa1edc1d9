"""Times of collectives between processes, measured: ``python -m labkit.distributed.collectives``.

Under torchrun every rank runs the same operations, with gloo between CPUs and nccl between GPUs.
Of each kind and size several batches of operations are timed; a batch is as slow as its slowest
rank, and long enough for the clock. The median of the batches is the time, their quartiles its
spread. Sizes are those of nccl-tests (see `labkit.distributed.links`):

==================  ==========================================================
kind                what is timed
==================  ==========================================================
all_reduce          the sum of a tensor over all ranks, which each of them gets
all_gather          the parts of a tensor, joined on each rank
reduce_scatter      the sum of a tensor, of which each rank gets a part
p2p                 a message from rank 0 to rank 1: half of there and back
==================  ==========================================================
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.atomic import replace_text
from labkit.choices import not_allowed, require_folder, require_whole
from labkit.distributed.launch import launch
from labkit.distributed.links import KINDS
from labkit.errors import LabkitError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SIZES = tuple(2**power for power in range(10, 25, 2))
"""Bytes: 1 KiB to 16 MiB."""
COLUMNS = ("kind", "size", "bytes", "seconds", "seconds_low", "seconds_high", "backend")
_BATCH_SECONDS = 2e-3
_MAX_BATCH = 50
_ELEMENT_BYTES = 4


def measure_collectives(
    sizes: Sequence[int] = DEFAULT_SIZES,
    *,
    n_processes: int = 2,
    kinds: Sequence[str] = KINDS,
    repeats: int = 15,
    device: str = "auto",
    timeout_s: float = 300.0,
) -> pd.DataFrame:
    """Time collectives between processes of this machine.

    Parameters
    ----------
    sizes : sequence of int
        Bytes.
    n_processes : int
        Ranks, two or more.
    kinds : sequence of str
        Some of `labkit.distributed.links.KINDS`.
    repeats : int
        Batches that are timed.
    device : {"auto", "cpu", "cuda"}
        Where the tensors are; "auto" takes GPUs if there is one for each rank.
    timeout_s : float
        Seconds after which the measurement is given up.

    Returns
    -------
    DataFrame
        `COLUMNS`: ``seconds`` is the median, ``seconds_low`` and ``seconds_high`` the quartiles;
        ``size`` the number of processes that took part.

    Raises
    ------
    ParameterError
        A parameter is not allowed.
    LabkitError
        The processes failed, with the reason.
    """
    require_whole("n_processes", n_processes, low=2)
    _require_choices(sizes, kinds, repeats, device)
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        out = Path(folder) / "collectives.csv"
        arguments = ["--out", str(out), "--repeats", str(repeats), "--device", device]
        arguments += ["--sizes", *map(str, sizes), "--kinds", *kinds]
        done = launch(
            "labkit.distributed.collectives",
            arguments,
            n_processes=n_processes,
            timeout_s=timeout_s,
        )
        if not done.ok:
            raise LabkitError(f"collectives were not timed: {done.message}")
        import pandas as pd

        return pd.read_csv(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time collectives as one rank of a torchrun; rank 0 writes the table.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line.

    Raises
    ------
    SystemExit
        With code 2, if what the command line asks for cannot be done.
    """
    given = _parser().parse_args(arguments)
    try:
        _require_choices(given.sizes, given.kinds, given.repeats, given.device)
        _require_file("out", given.out)
        _require_ranks()
        device = _device(given.device)
    except ParameterError as error:
        if os.environ.get("RANK", "0") == "0":
            sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None

    from torch import cuda, distributed

    on_gpu = device.type == "cuda"
    if on_gpu:
        cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        columns = _timed(given.sizes, given.kinds, repeats=given.repeats, device=device)
        if distributed.get_rank() == 0:
            import pandas as pd

            given.out.parent.mkdir(parents=True, exist_ok=True)
            replace_text(given.out, pd.DataFrame(columns).to_csv(index=False))
    finally:
        distributed.destroy_process_group()


def time_collectives(
    sizes: Sequence[int], kinds: Sequence[str], *, repeats: int, device: Any
) -> pd.DataFrame:
    """Time collectives of the default process group, as one of its ranks.

    Rounds go over all kinds and sizes, so that a disturbance of the machine hits all alike.

    Parameters
    ----------
    sizes : sequence of int
        Bytes, rounded up to whole numbers of 4 bytes for each rank.
    kinds : sequence of str
        Some of `labkit.distributed.links.KINDS`.
    repeats : int
        Rounds.
    device : torch.device

    Returns
    -------
    DataFrame
        `COLUMNS`, the same on all ranks.
    """
    import pandas as pd

    return pd.DataFrame(_timed(sizes, kinds, repeats=repeats, device=device))


def _timed(
    sizes: Sequence[int], kinds: Sequence[str], *, repeats: int, device: Any
) -> dict[str, Any]:
    from torch import distributed

    ranks = distributed.get_world_size()
    parts = [math.ceil(size / _ELEMENT_BYTES / ranks) for size in sizes]
    cases = [(kind, part) for kind in kinds for part in parts]
    operations = _operations(cases, ranks, device)
    _rounds(operations, [1] * len(cases), 1, device)
    warm = _rounds(operations, [1] * len(cases), 2, device).min(axis=0)
    batches = np.clip(np.ceil(_BATCH_SECONDS / warm), 1, _MAX_BATCH).astype(int)
    seconds = _rounds(operations, batches, repeats, device)
    for column, (kind, _) in enumerate(cases):
        seconds[:, column] /= 2 if kind == "p2p" else 1
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75), axis=0)
    values = (
        [kind for kind, _ in cases],
        [2 if kind == "p2p" else ranks for kind, _ in cases],
        [part * ranks * _ELEMENT_BYTES for _, part in cases],
        *(median, low, high),
        distributed.get_backend(),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _rounds(
    operations: Sequence[Callable[[], None]], batches: Sequence[int], repeats: int, device: Any
) -> np.ndarray:
    """Return seconds of each operation, of shape ``(repeats, n_operations)``."""
    pairs = list(zip(operations, batches, strict=True))
    return np.array(
        [
            [_batch_seconds(operation, int(batch), device) for operation, batch in pairs]
            for _ in range(repeats)
        ]
    )


def _batch_seconds(operation: Callable[[], None], count: int, device: Any) -> float:
    """Return the time of one of `count` operations on the slowest rank."""
    import torch
    from torch import distributed

    distributed.barrier()
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        operation()
    _synchronize(device)
    seconds = torch.tensor(time.perf_counter() - started, dtype=torch.float64, device=device)
    distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
    return float(seconds) / count


def _synchronize(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _operations(
    cases: Sequence[tuple[str, int]], ranks: int, device: Any
) -> list[Callable[[], None]]:
    """Return functions that do one collective each, on tensors that they share."""
    import torch

    largest = max(part for _, part in cases)
    whole = torch.zeros(largest * ranks, device=device)
    piece = torch.zeros(largest, device=device)
    return [_operation(kind, whole[: part * ranks], piece[:part]) for kind, part in cases]


def _operation(kind: str, whole: Any, piece: Any) -> Callable[[], None]:
    from torch import distributed

    if kind == "all_reduce":
        return lambda: distributed.all_reduce(whole)
    if kind == "all_gather":
        return lambda: distributed.all_gather_into_tensor(whole, piece)
    if kind == "reduce_scatter":
        return lambda: distributed.reduce_scatter_tensor(piece, whole)
    rank = distributed.get_rank()
    turns = {0: (distributed.send, distributed.recv), 1: (distributed.recv, distributed.send)}

    def there_and_back() -> None:
        for turn in turns.get(rank, ()):
            turn(whole, 1 - rank)

    return there_and_back


def _device(name: str) -> Any:
    """Return the device of this rank; "auto" takes GPUs if there is one for each."""
    import torch

    from labkit.devices import pick_device

    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if name == "auto" and torch.cuda.device_count() < local_ranks:
        return torch.device("cpu")
    device = pick_device(name)
    on_gpu = device.type == "cuda"
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else device


def _require_file(name: str, path: Path) -> None:
    require_folder(name, path.parent)
    if path.is_dir():
        raise ParameterError(f"{name}={str(path)!r} is a folder; name a file in it.")


def _require_ranks() -> None:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks < 2:
        raise ParameterError(
            f"{ranks} process: start two or more, torchrun --standalone --nproc_per_node=2 -m "
            "labkit.distributed.collectives."
        )


def _require_choices(sizes: Sequence[int], kinds: Sequence[str], repeats: int, device: str) -> None:
    for size in sizes:
        require_whole("sizes", size, low=1)
    for kind in kinds:
        if kind not in KINDS:
            raise ParameterError(not_allowed("kinds", kind, KINDS))
    require_whole("repeats", repeats, low=1)
    if device not in ("auto", "cpu", "cuda"):
        raise ParameterError(not_allowed("device", device, ("auto", "cpu", "cuda")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m labkit.distributed.collectives",
        description="Time collectives between the ranks of a torchrun.",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=DEFAULT_SIZES, help="bytes")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help=", ".join(KINDS))
    parser.add_argument("--repeats", type=int, default=15, help="batches that are timed")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="csv file that rank 0 writes")
    return parser


if __name__ == "__main__":
    main()
