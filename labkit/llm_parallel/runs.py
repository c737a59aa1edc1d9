"""Measured training steps: one model, one strategy and one time a row.

A `Runs` is what the cost model is calibrated with and judged by. It comes from a file of one's own
(`read_runs`), from runs that labkit made (`runs_from_outcomes`), or from the published measurements
of the simulator vTrain [1]_ (`load_vtrain`).

.. [1] Bang et al., vTrain, MICRO 2024, arXiv:2312.12391.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from labkit import datasets
from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import CODES, ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.outcome import Outcome, Run
from labkit.llm_parallel.runs_csv import read_lines

VTRAIN_VOCABULARY = 51200
"""Assumed: the published tables do not state it."""
VTRAIN_ZERO_STAGE = 1
"""Assumed: the published tables do not state it."""

_VTRAIN_COLUMNS = {
    "global batch": "global_batch_size",
    "micro batch": "micro_batch_size",
    "hidden size": "hidden_size",
    "attention heads": "num_attention_heads",
    "# layers": "num_layers",
    "sequence length": "seq_length",
    "tensor parallelism": "tp",
    "data parallelism": "dp",
    "pipeline parallelism": "pp",
}
_MODEL_KEY = ("num_layers", "hidden_size", "num_attention_heads", "seq_length", "vocab_size")
_STRATEGY_KEY = (
    *("tp", "cp", "pp", "dp", "virtual_pp", "micro_batch_size", "global_batch_size"),
    *("zero_stage", "sequence_parallel", "recompute", "schedule", "flash_attention"),
)
_LAYER_KEY = (
    *("hidden_size", "num_attention_heads", "seq_length", "tp", "cp", "micro_batch_size"),
    *("sequence_parallel", "recompute", "flash_attention"),
)
Fold = Literal["hash", "layer", "group"]
"""What stays together when rows are divided; see `Runs.folds`."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Measured steps.

    Attributes
    ----------
    model : ModelColumns of n rows
    parallel : ParallelColumns of n rows
    seconds : ndarray of shape (n,)
        Time of one step.
    memory_bytes : ndarray of shape (n,), optional
        Peak on the fullest device; NaN where it was not measured.
    source : ndarray of str, shape (n,)
        Where each row was measured or published.

    Raises
    ------
    ParameterError
        There is no row, the lengths differ, or a time is not above 0.
    """

    model: ModelColumns
    parallel: ParallelColumns
    seconds: np.ndarray
    memory_bytes: np.ndarray | None = None
    source: np.ndarray = dataclasses.field(default_factory=lambda: np.array(["measured here"]))

    def __post_init__(self) -> None:
        n = len(self.parallel)
        if n == 0:
            raise ParameterError("runs: there is no row; at least one measured step is needed.")
        object.__setattr__(self, "model", _repeated(self.model, n))
        if len(self.source) not in (1, n):
            raise ParameterError(f"source: give one text, or {n}, one of each strategy.")
        object.__setattr__(self, "source", np.broadcast_to(self.source, n))
        seconds = np.asarray(self.seconds, float)
        if seconds.shape != (n,) or len(self.model.num_layers) != n:
            raise ParameterError(
                f"runs: {seconds.size} times for {n} strategies and "
                f"{len(self.model.num_layers)} models; give one of each, or one model for all."
            )
        if self.memory_bytes is not None and np.shape(self.memory_bytes) != (n,):
            raise ParameterError(f"memory_bytes: give {n}, one of each strategy.")
        if not (np.isfinite(seconds) & (seconds > 0)).all():
            raise ParameterError("seconds: use times above 0.")
        object.__setattr__(self, "seconds", seconds)

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, index: Any) -> Runs:
        """Return the rows of an index or mask."""
        memory = None if self.memory_bytes is None else self.memory_bytes[index]
        return Runs(
            _taken(self.model, index),
            self.parallel.take(index),
            self.seconds[index],
            memory,
            self.source[index],
        )

    def groups(self) -> np.ndarray:
        """Number the rows that answer the same question: same model, devices and global batch.

        Returns
        -------
        ndarray of int, shape (n,)
            From 0, in the order of first occurrence.
        """
        key = pd.DataFrame({name: getattr(self.model, name) for name in _MODEL_KEY})
        key["n_devices"] = self.parallel.n_devices
        key["global_batch_size"] = self.parallel.global_batch_size
        return key.groupby(list(key), sort=False).ngroup().to_numpy()

    def configurations(self) -> list[str]:
        """Write each row's model and strategy as text, the same on every machine.

        ``field=value`` joined by spaces, in a fixed order; rows that repeat a measurement have the
        same text.
        """
        return self._texts((*_MODEL_KEY, *_STRATEGY_KEY))

    def folds(self, n_folds: int, *, by: Fold = "hash") -> np.ndarray:
        """Divide the rows by content alone: no seed, no order, the same for everyone.

        The fold is the sha256 of a text, as a number, modulo `n_folds`.

        Parameters
        ----------
        n_folds : int
        by : {"hash", "layer", "group"}
            What stays together. ``"hash"``: repeats of a configuration; the text is that of
            `configurations`. ``"layer"``: rows whose layers do the same work on a device, so that
            the others tell nothing of it but by the model. ``"group"``: rows of `groups`.

        Returns
        -------
        ndarray of int, shape (n,)

        Raises
        ------
        ParameterError
            `by` is none of the three.
        """
        if by not in ("hash", "layer", "group"):
            raise ParameterError(not_allowed("by", by, ("hash", "layer", "group")))
        texts = pd.Series(self._texts(_LAYER_KEY) if by == "layer" else self.configurations())
        if by == "group":
            texts = texts.groupby(self.groups()).transform("min")
        numbers = {t: int(hashlib.sha256(t.encode()).hexdigest(), 16) for t in texts.unique()}
        return texts.map(lambda text: numbers[text] % n_folds).to_numpy(np.int64)

    def _texts(self, names: Sequence[str]) -> list[str]:
        frame = self.frame()
        columns = [[f"{name}={value}" for value in frame[name]] for name in names]
        return [" ".join(parts) for parts in zip(*columns, strict=True)]

    def frame(self) -> pd.DataFrame:
        """Return a table with the fields of model and strategy, then what was measured."""
        model = {}
        for field in dataclasses.fields(self.model):
            values = getattr(self.model, field.name)
            named = field.name in CODES
            model[field.name] = np.array(CODES[field.name])[values] if named else values
        table = pd.concat([pd.DataFrame(model), self.parallel.frame()], axis=1)
        table["seconds"] = self.seconds
        if self.memory_bytes is not None:
            table["memory_bytes"] = self.memory_bytes
        table["source"] = self.source
        return table


def runs_of(
    models: Sequence[ModelConfig] | ModelConfig,
    strategies: Sequence[ParallelConfig],
    seconds: Sequence[float] | np.ndarray,
    *,
    memory_bytes: Sequence[float] | np.ndarray | None = None,
    source: str | Sequence[str] = "measured here",
) -> Runs:
    """Return runs of listed configurations, one model for all or one for each."""
    memory = None if memory_bytes is None else np.asarray(memory_bytes, float)
    memory = None if memory is None or np.isnan(memory).all() else memory
    times = np.asarray(seconds, float)
    if not strategies:
        raise ParameterError("runs: there is no row; at least one measured step is needed.")
    return Runs(
        ModelColumns.of(models),
        ParallelColumns.of(strategies),
        times,
        memory,
        np.array([source]).ravel(),
    )


def runs_from_outcomes(
    model: ModelConfig, outcomes: Iterable[Outcome], *, source: str = "measured here"
) -> Runs:
    """Return the runs among measured outcomes; failures have no time and are left out.

    Raises
    ------
    ParameterError
        All of them failed.
    """
    done = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    memory = [np.nan if run.memory_bytes is None else run.memory_bytes for run in done]
    return runs_of(
        model,
        [run.strategy for run in done],
        [run.seconds for run in done],
        memory_bytes=memory,
        source=source,
    )


def read_runs(path: str | os.PathLike[str], *, model: ModelConfig | None = None) -> Runs:
    r"""Read a csv file of one's own measurements, one step time a line.

    Columns have the names of the fields of `ModelConfig` and `ParallelConfig`; those of the sizes
    and ``seconds`` are needed, the others are as in the classes where there is no column or an
    empty cell. ``memory_bytes`` (peak on the fullest device) and ``source`` may be given. Lines
    with the same configuration are repeats of a measurement.

    Parameters
    ----------
    path : path of the csv file
        Comma-separated, UTF-8 with or without a byte-order mark.
    model : ModelConfig, optional
        What all lines train; a column of a model then changes it, and none is needed.

    Raises
    ------
    ParameterError
        The file, a column or a line is not as described: one sentence with the line number.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "runs.csv"
    >>> header = "tp,pp,dp,micro_batch_size,global_batch_size,seconds"
    >>> _ = path.write_text(f"{header}\n2,1,1,1,8,1.5\n")
    >>> model = ModelConfig(num_layers=4, hidden_size=64, num_attention_heads=4)
    >>> runs = read_runs(path, model=model)
    >>> runs.parallel.tp, runs.seconds
    (array([2]), array([1.5]))
    """
    rows = read_lines(Path(path).expanduser(), model=model)
    return runs_of(
        [row.model for row in rows],
        [row.strategy for row in rows],
        [row.seconds for row in rows],
        memory_bytes=[row.memory_bytes for row in rows],
        source=[row.source for row in rows],
    )


def load_vtrain(nodes: Literal["single", "multi"]) -> Runs:
    """Return the A100 step times that were published as what vTrain was validated with.

    ``"multi"``: 109 measured steps on 64 to 512 devices, 3.6B to 175B. ``"single"``: 1440 steps on
    2 to 8 devices of a node, hidden size 1024 and 2048. All in float16 with full recompute and
    1F1B, without flash attention, by Megatron-DeepSpeed according to their authors. Neither the
    vocabulary nor the ZeRO stage is stated: `VTRAIN_VOCABULARY` and `VTRAIN_ZERO_STAGE` are
    assumed, and float16 gradients.

    Notes
    -----
    The times of ``"single"`` follow ``a + b L + c m + e L m`` in the layers L and micro-batches m
    to the last digit, as sums of the times of one layer do and steps that were timed do not: they
    are 1440 rows, but no more independent measurements than sizes of a layer (``"layer"`` of
    `Runs.folds`), and nothing of them can be said about noise.

    Raises
    ------
    ParameterError
        `nodes` is neither of the two.
    MissingDataError
        The table is not on this machine and cannot be downloaded.
    """
    if nodes not in ("single", "multi"):
        raise ParameterError(not_allowed("nodes", nodes, ("single", "multi")))
    table = pd.read_csv(datasets.path(f"llm_parallel/vtrain_{nodes}"), encoding="utf-8-sig")
    values = {field: table[column].to_numpy() for column, field in _VTRAIN_COLUMNS.items()}
    model = ModelConfig(
        num_layers=1, hidden_size=1, num_attention_heads=1, vocab_size=VTRAIN_VOCABULARY
    )
    strategy = ParallelConfig(
        zero_stage=VTRAIN_ZERO_STAGE,
        recompute="full",
        flash_attention=False,
        param_dtype="float16",
        grad_dtype="float16",
    )
    values |= {"num_query_groups": values["num_attention_heads"]}
    values |= {"ffn_hidden_size": 4 * values["hidden_size"]}
    n = len(table)
    return Runs(
        _with(_repeated(ModelColumns.of(model), n), values),
        _with(_repeated(ParallelColumns.of(strategy), n), values),
        table["iteration time (ms)"].to_numpy() / 1e3,
        source=np.array([f"published: vTrain, {nodes} node"]),
    )


def load_allreduce(device: Literal["a100", "v100"], n: Literal[2, 4, 8]) -> pd.DataFrame:
    """Return measured times of all-reduce among the devices of one node (NCCL).

    Returns
    -------
    DataFrame
        ``bytes`` of the reduced array and ``seconds``, out of place.

    Raises
    ------
    ParameterError
        There is no such table.
    """
    if device not in ("a100", "v100"):
        raise ParameterError(not_allowed("device", device, ("a100", "v100")))
    if n not in (2, 4, 8):
        raise ParameterError(not_allowed("n", n, (2, 4, 8)))
    table = pd.read_csv(datasets.path(f"llm_parallel/nccl_allreduce_{device}_{n}"))
    return pd.DataFrame({"bytes": table["size(B)"], "seconds": table["time(ns)"] / 1e9})


def _taken(columns: Any, index: Any) -> Any:
    names = [field.name for field in dataclasses.fields(columns)]
    return type(columns)(**{name: getattr(columns, name)[index] for name in names})


def _repeated(columns: Any, n: int) -> Any:
    """Columns of one row as columns of n equal rows; others as they are."""
    first = dataclasses.fields(columns)[0].name
    if len(getattr(columns, first)) != 1:
        return columns
    return _taken(columns, np.zeros(n, int))


def _with(columns: Any, values: dict[str, np.ndarray]) -> Any:
    known = [field.name for field in dataclasses.fields(columns)]
    return dataclasses.replace(columns, **{k: v for k, v in values.items() if k in known})
