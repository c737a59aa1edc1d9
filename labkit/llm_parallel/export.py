"""A strategy for the programs that train: Megatron-LM, DeepSpeed, torchtitan, and Slurm.

Each format has a module of its own. What a format cannot say is refused with one line that says
why, or written into the file as a comment; nothing is left out silently.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.atomic import replace_text
from labkit.choices import require_folder
from labkit.distributed.slurm import SlurmRequest, sbatch_text
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.export_deepspeed import to_deepspeed
from labkit.llm_parallel.export_megatron import from_megatron_args, to_megatron_args
from labkit.llm_parallel.export_torchtitan import to_torchtitan_toml
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.system import SystemConfig

__all__ = [
    "Export",
    "from_megatron_args",
    "sbatch_script",
    "to_deepspeed",
    "to_megatron_args",
    "to_torchtitan_toml",
    "write_export",
]

MEGATRON_MODULE = "pretrain_gpt"
"""Megatron-LM's training script, as a module of the folder it is in."""


@dataclass(frozen=True)
class Export:
    """Files that were written, and formats that could not say the strategy.

    Attributes
    ----------
    files : mapping of str to Path
        Name of the file to where it is.
    refused : mapping of str to str
        Name of the file to why there is none.
    """

    files: Mapping[str, Path]
    refused: Mapping[str, str]


def sbatch_script(
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    system: SystemConfig,
    time: str = "01:00:00",
    module: str = MEGATRON_MODULE,
    arguments: Sequence[str] | None = None,
    gpus_per_node: int | None = None,
    partition: str | None = None,
    account: str | None = None,
    environment: Mapping[str, str] | None = None,
    sbatch_arguments: Sequence[str] = (),
) -> str:
    """Return a batch script for Slurm that trains with a strategy, one torchrun a node.

    Parameters
    ----------
    model : ModelConfig
    parallel : ParallelConfig
    system : SystemConfig
        Tells how many devices a node has.
    time : str
        Limit of the job, as Slurm writes it.
    module : str
        What torchrun starts: by default Megatron-LM's script, so submit from its folder.
    arguments : sequence of str, optional
        Of the module; by default those of `to_megatron_args`, to which you add data and
        learning rate.
    gpus_per_node : int, optional
        To ask Slurm for; by default the ranks of a node, and 0 asks for none.
    partition, account : str, optional
    environment : mapping, optional
        Variables to set besides those that Megatron-LM needs.
    sbatch_arguments : sequence of str
        Further options, such as ``"--constraint=a100"``.

    Raises
    ------
    ParameterError
        The strategy does not suit the model or the machine, or Megatron-LM cannot run it.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> from labkit.llm_parallel.systems import system_preset
    >>> strategy = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640)
    >>> text = sbatch_script(model_preset("gpt-175b"), strategy, system=system_preset("frontier"))
    >>> text.splitlines()[1]
    '# gpt-175b, TP4 PP16 DP2 b1 ZeRO-1: 128 devices of frontier'
    >>> "#SBATCH --nodes=16" in text
    True
    """
    check(model, parallel)
    nodes, ranks = _nodes(parallel, system)
    megatron = module == MEGATRON_MODULE
    if arguments is None and not megatron:
        raise ParameterError(f"arguments=None: module={module!r} needs its own; give a list.")
    words = to_megatron_args(model, parallel) if arguments is None else list(arguments)
    gpus = ranks if gpus_per_node is None else gpus_per_node
    request = SlurmRequest(
        nodes=nodes,
        processes_per_node=ranks,
        time=time,
        partition=partition,
        account=account,
        gpus_per_node=gpus or None,
        job_name=re.sub(r"[^\w.+-]", "-", model.name, flags=re.ASCII) or "labkit",
        sbatch_arguments=tuple(sbatch_arguments),
    )
    variables = {**(_megatron_environment(parallel) if megatron else {}), **(environment or {})}
    text = sbatch_text(module, words, request=request, environment=variables)
    name = " ".join(model.name.split())
    about = f"# {name}, {parallel.label()}: {parallel.n_devices} devices of {system.name}"
    first, _, rest = text.partition("\n")
    return f"{first}\n{about}\n{rest}"


def write_export(
    folder: str | os.PathLike[str],
    model: ModelConfig,
    parallel: ParallelConfig,
    *,
    system: SystemConfig,
    time: str = "01:00:00",
    gpus_per_node: int | None = None,
) -> Export:
    """Write a strategy in every format that can say it.

    Parameters
    ----------
    folder : path
        Made where it does not exist; files of the same names are replaced.
    model : ModelConfig
    parallel : ParallelConfig
    system, time, gpus_per_node
        For the batch script; see `sbatch_script`.

    Returns
    -------
    Export
        ``megatron.txt`` (one argument a line), ``deepspeed.json``, ``torchtitan.toml`` and
        ``job.sbatch``, which runs Megatron-LM.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or the folder cannot be written.
    """
    check(model, parallel)
    require_folder("folder", folder)
    target = Path(folder).expanduser()
    writers = {
        "megatron.txt": lambda: _lines(to_megatron_args(model, parallel)),
        "deepspeed.json": lambda: json.dumps(to_deepspeed(model, parallel), indent=2) + "\n",
        "torchtitan.toml": lambda: to_torchtitan_toml(model, parallel),
        "job.sbatch": lambda: sbatch_script(
            model, parallel, system=system, time=time, gpus_per_node=gpus_per_node
        ),
    }
    texts: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, text in writers.items():
        try:
            texts[name] = text()
        except ParameterError as error:
            refused[name] = str(error)
    target.mkdir(parents=True, exist_ok=True)
    for name, content in texts.items():
        replace_text(target / name, content)
    for name in refused:  # of an earlier strategy
        (target / name).unlink(missing_ok=True)
    return Export({name: target / name for name in texts}, refused)


def _nodes(parallel: ParallelConfig, system: SystemConfig) -> tuple[int, int]:
    """Return how many nodes a strategy takes, and the ranks of each."""
    n, size = parallel.n_devices, system.node_size
    if n > system.max_devices:
        raise ParameterError(
            f"dp={parallel.dp}: tp * cp * pp * dp = {n} devices, but {system.name} has "
            f"{system.max_devices}."
        )
    if n > size and n % size:
        raise ParameterError(
            f"dp={parallel.dp}: tp * cp * pp * dp = {n} devices do not fill the nodes of "
            f"{system.name}, which have {size} each; use {n // size * size} or "
            f"{-(-n // size) * size} devices."
        )
    return -(-n // size), min(n, size)


def _megatron_environment(parallel: ParallelConfig) -> dict[str, str]:
    """Return what Megatron-LM wants set: one queue, except for its own sharding of weights."""
    one_queue = (parallel.tp > 1 or parallel.cp > 1) and parallel.zero_stage < 2
    return {"CUDA_DEVICE_MAX_CONNECTIONS": "1"} if one_queue else {}


def _lines(arguments: Sequence[str]) -> str:
    """Return arguments with each option and its value on a line of its own."""
    text = ""
    for word in arguments:
        text += f"\n{word}" if word.startswith("--") else f" {word}"
    return text.strip() + "\n"
