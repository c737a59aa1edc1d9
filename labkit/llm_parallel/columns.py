"""Many models or strategies at once: the fields of a configuration as arrays.

The cost model computes with attributes such as ``parallel.tp``. Here they are arrays of shape
``(n,)``, so that one code path serves one strategy and ten million. Choices given by name are
stored as their place in the tuple of `labkit.llm_parallel.config` that lists them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.llm_parallel.config import (
    DTYPE_BYTES,
    DTYPES,
    NORMALIZATIONS,
    POSITIONS,
    RANK_ORDERS,
    RECOMPUTE,
    SCHEDULES,
    ModelConfig,
    ParallelConfig,
)

if TYPE_CHECKING:
    import pandas as pd

CODES: dict[str, tuple[str, ...]] = {
    "recompute": RECOMPUTE,
    "schedule": SCHEDULES,
    "rank_order": RANK_ORDERS,
    "param_dtype": DTYPES,
    "grad_dtype": DTYPES,
    "normalization": NORMALIZATIONS,
    "position": POSITIONS,
}
"""Field to its allowed names, in the order of their codes."""
_BYTES = np.array(list(DTYPE_BYTES.values()))


def code(field: str, name: str) -> int:
    """Return the number that stands for a name in a column.

    Examples
    --------
    >>> code("recompute", "full")
    2
    """
    return CODES[field].index(name)


@dataclass(frozen=True, eq=False)
class ModelColumns:
    """`ModelConfig` as arrays of shape ``(n,)``, or ``(1,)`` for one model of all strategies.

    Optional fields are filled in: `num_query_groups` and `ffn_hidden_size` are numbers.
    """

    num_layers: np.ndarray
    hidden_size: np.ndarray
    num_attention_heads: np.ndarray
    seq_length: np.ndarray
    vocab_size: np.ndarray
    num_query_groups: np.ndarray
    ffn_hidden_size: np.ndarray
    gated_mlp: np.ndarray
    tie_embeddings: np.ndarray
    normalization: np.ndarray
    position: np.ndarray
    bias: np.ndarray
    dropout: np.ndarray

    @classmethod
    def of(cls, models: ModelConfig | ModelColumns | Iterable[ModelConfig]) -> ModelColumns:
        """Return columns of one model or of several."""
        if isinstance(models, ModelColumns):
            return models
        listed = [models] if isinstance(models, ModelConfig) else list(models)
        filled = [m.replace(num_query_groups=m.groups, ffn_hidden_size=m.ffn_size) for m in listed]
        return cls(**_columns(cls, filled))

    @property
    def head_size(self) -> np.ndarray:
        """Elements of one head."""
        return self.hidden_size // self.num_attention_heads

    def take(self, index: Any) -> ModelColumns:
        """Return the rows of an index or mask; a single model stays as it is."""
        return self if len(self.num_layers) == 1 else _taken(self, index)


@dataclass(frozen=True, eq=False)
class ParallelColumns:
    """`ParallelConfig` as arrays of shape ``(n,)``."""

    tp: np.ndarray
    cp: np.ndarray
    pp: np.ndarray
    dp: np.ndarray
    virtual_pp: np.ndarray
    micro_batch_size: np.ndarray
    global_batch_size: np.ndarray
    zero_stage: np.ndarray
    sequence_parallel: np.ndarray
    recompute: np.ndarray
    schedule: np.ndarray
    flash_attention: np.ndarray
    param_dtype: np.ndarray
    grad_dtype: np.ndarray
    overlap_grad_reduce: np.ndarray
    rank_order: np.ndarray
    count_embeddings_as_layers: np.ndarray

    @classmethod
    def of(
        cls, strategies: ParallelConfig | ParallelColumns | Iterable[ParallelConfig]
    ) -> ParallelColumns:
        """Return columns of one strategy or of several."""
        if isinstance(strategies, ParallelColumns):
            return strategies
        listed = [strategies] if isinstance(strategies, ParallelConfig) else list(strategies)
        return cls(**_columns(cls, listed))

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def n_devices(self) -> np.ndarray:
        """Devices of each strategy."""
        return self.tp.astype(np.int64) * self.cp * self.pp * self.dp

    @property
    def num_microbatches(self) -> np.ndarray:
        """Micro-batches of a step; rounded down where the batch does not divide."""
        return self.global_batch_size // (self.micro_batch_size * self.dp)

    @property
    def param_bytes(self) -> np.ndarray:
        """Bytes of a weight or an activation."""
        return _BYTES[self.param_dtype]

    @property
    def grad_bytes(self) -> np.ndarray:
        """Bytes of an accumulated gradient."""
        return _BYTES[self.grad_dtype]

    def take(self, index: Any) -> ParallelColumns:
        """Return the rows of an index or mask."""
        return _taken(self, index)

    def row(self, index: int) -> ParallelConfig:
        """Return one strategy.

        Raises
        ------
        ParameterError
            The row is no strategy, e.g. its batch does not divide.
        """
        values = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)[index].item()
            values[field.name] = CODES[field.name][value] if field.name in CODES else value
        return ParallelConfig(**values)

    def frame(self) -> pd.DataFrame:
        """Return a table with names in place of codes, one row a strategy."""
        import pandas as pd  # processes that train read strategies, and need no tables

        data = {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            named = field.name in CODES
            data[field.name] = np.array(CODES[field.name])[values] if named else values
        return pd.DataFrame(data)


def _columns(kind: type[Any], configs: list[Any]) -> dict[str, np.ndarray]:
    columns = {}
    for field in dataclasses.fields(kind):
        values = [getattr(config, field.name) for config in configs]
        if field.name in CODES:
            values = [CODES[field.name].index(value) for value in values]
        columns[field.name] = np.array(values)
    return columns


def _taken(columns: Any, index: Any) -> Any:
    taken = {f.name: getattr(columns, f.name)[index] for f in dataclasses.fields(columns)}
    return type(columns)(**taken)
