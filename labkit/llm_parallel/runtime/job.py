"""One training run as a file: what to train, how it is spread, on which text, for how long.

`labkit.llm_parallel.runtime.train` reads the file, checks it before any process waits for
another, and leaves `RESULT` in the folder ``out``, beside one log file a rank. This module needs
no torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.atomic import replace_text
from labkit.choices import not_allowed, require_folder, require_whole, unknown_choice
from labkit.errors import MissingDataError, ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig, from_mapping
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.rules import check

DEVICES = ("auto", "cpu", "cuda")
SYNTHETIC = "synthetic"
"""Text made by `labkit.llm_parallel.runtime.data.synthetic_text`, for runs without a file."""
BYTE_VALUES = 256
MAX_SEED = 2**31 - 1
RESULT = "result.json"
"""Written by rank 0 at the end of a run."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run.

    Attributes
    ----------
    model : ModelConfig
    parallel : ParallelConfig
    steps : int
        Updates of the weights.
    seed : int
        Of the first weights, the batches and dropout.
    learning_rate, weight_decay : float
        Of AdamW.
    device : {"auto", "cpu", "cuda"}
    data : str
        Path of a text file, of which each byte is a token, or ``"synthetic"``.
    out : str
        Folder for the result and the log files.
    count_collectives : bool
        Count the messages of one step; that step is slower.
    compare_single : bool
        When all is done, run the same steps in one process without any parallelism, too.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or cannot run here; the message names the field.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> strategy = ParallelConfig(tp=2, global_batch_size=4, param_dtype="float32")
    >>> job = Job(model=model_preset("gpt-tiny"), parallel=strategy, out="/tmp/run")
    >>> Job.from_mapping(job.to_mapping()) == job
    True
    """

    model: ModelConfig
    parallel: ParallelConfig
    steps: int = 5
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    device: str = "auto"
    data: str = SYNTHETIC
    out: str = "runs/llm_parallel"
    count_collectives: bool = False
    compare_single: bool = False

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, low=1)
        require_whole("seed", self.seed, low=0, high=MAX_SEED)
        for name in ("data", "out"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ParameterError(f"{name}={value!r}: use a path as text.")
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < 1:
                raise ParameterError(f"{name}={value!r}: use a number of 0 or more and below 1.")
        if self.device not in DEVICES:
            raise ParameterError(not_allowed("device", self.device, DEVICES))
        for name in ("count_collectives", "compare_single"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}={getattr(self, name)!r}: use True or False.")
        check(self.model, self.parallel)
        require_runnable(self.model, self.parallel)

    @property
    def result_path(self) -> Path:
        """Where rank 0 writes the result."""
        return Path(self.out) / RESULT

    def replace(self, **changes: Any) -> Job:
        """Return a copy with other values."""
        return dataclasses.replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Job:
        """Return a job of plain values; ``model`` may be the name of a preset.

        Raises
        ------
        ParameterError
            A name is unknown or missing, or a value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ParameterError(unknown_choice(name, known))
        given = dict(values)
        given["model"] = _model(given.get("model"))
        given["parallel"] = _config("parallel", ParallelConfig, given.get("parallel"))
        return cls(**given)

    def write(self, path: Path | str) -> Path:
        """Write the job as a file; its folder is made."""
        path = Path(path)
        require_folder("job", path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(self.to_mapping(), indent=2) + "\n")
        return path


def read_job(path: Path | str) -> Job:
    """Read a job from its file.

    Raises
    ------
    ParameterError
        The file is no job, with the reason in one line.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ParameterError(f"job={str(path)!r} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise ParameterError(f"job={str(path)!r} is no JSON: {exc}.") from exc
    if not isinstance(values, dict):
        raise ParameterError(f"job={str(path)!r}: a job is a JSON object with model and parallel.")
    return Job.from_mapping(values)


def require_runnable(model: ModelConfig, parallel: ParallelConfig) -> None:
    """Refuse what the cost model knows but this runtime does not.

    Raises
    ------
    ParameterError
        Naming the field, its value and what to use.
    """
    if parallel.cp > 1:
        raise ParameterError(f"cp={parallel.cp}: only the cost model knows it; run with cp=1.")
    for name in ("param_dtype", "grad_dtype"):
        if getattr(parallel, name) == "float16":
            raise ParameterError(
                f"{name}='float16' needs scaled losses, which are not run; use 'bfloat16'."
            )
    if parallel.pp > 1 and parallel.zero_stage > 1:
        raise ParameterError(
            f"zero_stage={parallel.zero_stage} with pp={parallel.pp}: pipeline schedules keep "
            "gradients whole until the last micro-batch; use zero_stage=0 or 1."
        )
    _require_micro_batches(parallel)
    if model.vocab_size < BYTE_VALUES:
        raise ParameterError(
            f"vocab_size={model.vocab_size}: text is read as bytes; use {BYTE_VALUES} or more."
        )
    if model.position == "rope" and model.head_size % 2:
        raise ParameterError(
            f"position='rope' turns pairs; hidden_size / num_attention_heads = {model.head_size} "
            "must be even."
        )


def _require_micro_batches(parallel: ParallelConfig) -> None:
    """Refuse numbers of micro-batches for which torch's schedules have no order."""
    count, stages = parallel.num_microbatches, parallel.pp
    few = parallel.schedule == "1f1b" and count < stages
    uneven = parallel.schedule == "zb_h1" and count % max(1, count // stages)
    if stages > 1 and (few or uneven):
        rounds = -(-count // stages)
        batch = rounds * stages * parallel.micro_batch_size * parallel.dp
        raise ParameterError(
            f"global_batch_size={parallel.global_batch_size} makes {count} micro-batches, for "
            f"which torch's schedule={parallel.schedule!r} with pp={stages} has no order; use "
            f"global_batch_size={batch}."
        )


def require_ready(job: Job, *, n_processes: int) -> None:
    """Refuse a run with another number of processes, without its text, or without a place to write.

    Raises
    ------
    ParameterError, MissingDataError
    """
    if job.parallel.n_devices != n_processes:
        raise ParameterError(
            f"tp * pp * dp = {job.parallel.n_devices}, but there are {n_processes} processes; "
            f"start with torchrun --nproc_per_node={job.parallel.n_devices}."
        )
    require_text(job)
    require_folder("out", job.out)


def require_text(job: Job) -> None:
    """Refuse a text that is not there, or shorter than one sequence.

    Raises
    ------
    ParameterError, MissingDataError
    """
    if job.data == SYNTHETIC:
        return
    path = Path(job.data)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise MissingDataError(
            f"data={job.data!r} is no file that can be read; name a text file or {SYNTHETIC!r}."
        )
    size, needed = path.stat().st_size, job.model.seq_length + 1
    if size < needed:
        raise ParameterError(
            f"data={job.data!r} has {size} bytes; seq_length={needed - 1} needs {needed} or more."
        )


def _model(value: object) -> ModelConfig:
    return model_preset(value) if isinstance(value, str) else _config("model", ModelConfig, value)


def _config(name: str, kind: type[Any], value: object) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name}={value!r}: a job needs the fields of a {kind.__name__}.")
    return from_mapping(kind, value)
