"""A transformer and how its training is spread over devices: two frozen sets of choices.

The words are those of Megatron-LM and torchtitan. A strategy uses ``tp * cp * pp * dp`` devices:

======  ==================================================  ==========================
symbol  field                                               unit
======  ==================================================  ==========================
L       ``num_layers``                                      layers
h       ``hidden_size``                                     elements
a       ``num_attention_heads``                             heads
s       ``seq_length``                                      tokens
V       ``vocab_size``                                      tokens
t p d   ``tp``, ``pp``, ``dp``                              devices
v       ``virtual_pp``                                      model chunks of a device
b, B    ``micro_batch_size``, ``global_batch_size``         sequences
m       ``num_microbatches`` = B / (d b)                    micro-batches of a step
======  ==================================================  ==========================

What the two must fulfill together is in `labkit.llm_parallel.rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.choices import not_allowed, require_whole, unknown_choice
from labkit.errors import ParameterError

RECOMPUTE = ("none", "selective", "full")
SCHEDULES = ("gpipe", "1f1b", "interleaved_1f1b", "looped_bfs", "zb_h1", "zbv")
RANK_ORDERS = ("tp-cp-dp-pp", "tp-cp-pp-dp")
NORMALIZATIONS = ("layernorm", "rmsnorm")
POSITIONS = ("learned", "rope")
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
"""Bytes of a number, by the name of its type."""
DTYPES = tuple(DTYPE_BYTES)
MAX_SIZE = 10**9


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of a decoder-only transformer.

    Attributes
    ----------
    num_layers, hidden_size, num_attention_heads, seq_length : int
    vocab_size : int
        Rows of the embedding, with padding.
    num_query_groups : int, optional
        Heads of the keys and values (grouped-query attention); None is `num_attention_heads`.
    ffn_hidden_size : int, optional
        Width of the feed-forward layer; None is ``4 * hidden_size``.
    gated_mlp : bool
        Two projections into the feed-forward layer, one of them a gate (SwiGLU).
    tie_embeddings : bool
        The output layer shares the weights of the embedding.
    normalization : {"layernorm", "rmsnorm"}
    position : {"learned", "rope"}
        A learned table of ``seq_length`` rows, or rotations without parameters.
    bias : bool
        Linear layers have biases.
    dropout : float
        Probability; 0 stores no masks.
    name : str
        For tables and titles.

    Raises
    ------
    ParameterError
        A size is not a positive whole number, or heads do not divide the hidden size.

    Examples
    --------
    >>> model = ModelConfig(num_layers=48, hidden_size=6144, num_attention_heads=48)
    >>> model.head_size, model.ffn_size
    (128, 24576)
    """

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    seq_length: int = 2048
    vocab_size: int = 51200
    num_query_groups: int | None = None
    ffn_hidden_size: int | None = None
    gated_mlp: bool = False
    tie_embeddings: bool = True
    normalization: str = "layernorm"
    position: str = "learned"
    bias: bool = True
    dropout: float = 0.1
    name: str = "custom"

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_size", "num_attention_heads", "seq_length"):
            require_whole(field, getattr(self, field), low=1, high=MAX_SIZE)
        require_whole("vocab_size", self.vocab_size, low=2, high=MAX_SIZE)
        for field in ("num_query_groups", "ffn_hidden_size"):
            if getattr(self, field) is not None:
                require_whole(field, getattr(self, field), low=1, high=MAX_SIZE)
        _require_booleans(self, "gated_mlp", "tie_embeddings", "bias")
        _require_choice("normalization", self.normalization, NORMALIZATIONS)
        _require_choice("position", self.position, POSITIONS)
        _require_fraction("dropout", self.dropout)
        if not isinstance(self.name, str):
            raise ParameterError(f"name={self.name!r}: use a text.")
        _make_plain(self)
        _require_divisible("hidden_size", self.hidden_size, "num_attention_heads", self.heads)
        _require_divisible("num_attention_heads", self.heads, "num_query_groups", self.groups)

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.num_attention_heads

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.num_attention_heads if self.num_query_groups is None else self.num_query_groups

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def ffn_size(self) -> int:
        """Width of the feed-forward layer."""
        return 4 * self.hidden_size if self.ffn_hidden_size is None else self.ffn_hidden_size

    def replace(self, **changes: Any) -> ModelConfig:
        """Return a copy with other values; unknown names are refused."""
        return _replaced(self, changes)


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """One strategy: how a step of training is spread over devices.

    Attributes
    ----------
    tp, cp, pp, dp : int
        Devices that share a layer (tensor), a sequence (context), the depth (pipeline), the batch
        (data).
    virtual_pp : int
        Model chunks of a device; above 1 for the interleaved schedules.
    micro_batch_size, global_batch_size : int
        Sequences a pass through the model, and a step of all devices.
    zero_stage : {0, 1, 2, 3}
        What data-parallel replicas share out: 1 optimizer state, 2 gradients too, 3 weights too.
    sequence_parallel : bool
        Split norms and dropouts over the tensor-parallel group along the sequence.
    recompute : {"none", "selective", "full"}
        Activations computed again in the backward pass: none, the attention scores, whole layers.
    schedule : {"gpipe", "1f1b", "interleaved_1f1b", "looped_bfs", "zb_h1", "zbv"}
        Order of forward and backward passes in the pipeline.
    flash_attention : bool
        Attention that never stores its scores.
    param_dtype, grad_dtype : {"bfloat16", "float16", "float32", "float64"}
        Types of weights and activations, and of accumulated gradients.
    overlap_grad_reduce : bool
        Reduce gradients while the backward pass of the last micro-batch runs.
    rank_order : {"tp-cp-dp-pp", "tp-cp-pp-dp"}
        Which neighbors are close: ranks of the first dimension are consecutive.
    count_embeddings_as_layers : bool
        Embedding and output layer each take the place of one layer when layers are shared out.

    Raises
    ------
    ParameterError
        A value alone is not allowed, whatever the model.

    Examples
    --------
    >>> strategy = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640)
    >>> strategy.n_devices, strategy.num_microbatches
    (128, 320)
    """

    tp: int = 1
    cp: int = 1
    pp: int = 1
    dp: int = 1
    virtual_pp: int = 1
    micro_batch_size: int = 1
    global_batch_size: int = 1
    zero_stage: int = 1
    sequence_parallel: bool = False
    recompute: str = "none"
    schedule: str = "1f1b"
    flash_attention: bool = True
    param_dtype: str = "bfloat16"
    grad_dtype: str = "float32"
    overlap_grad_reduce: bool = False
    rank_order: str = "tp-cp-dp-pp"
    count_embeddings_as_layers: bool = False

    def __post_init__(self) -> None:
        sizes = ("tp", "cp", "pp", "dp", "virtual_pp", "micro_batch_size", "global_batch_size")
        for field in sizes:
            require_whole(field, getattr(self, field), low=1, high=MAX_SIZE)
        require_whole("zero_stage", self.zero_stage, low=0, high=3)
        _require_booleans(
            self,
            "sequence_parallel",
            "flash_attention",
            "overlap_grad_reduce",
            "count_embeddings_as_layers",
        )
        _require_choice("recompute", self.recompute, RECOMPUTE)
        _require_choice("schedule", self.schedule, SCHEDULES)
        _require_choice("param_dtype", self.param_dtype, DTYPES)
        _require_choice("grad_dtype", self.grad_dtype, DTYPES)
        _require_choice("rank_order", self.rank_order, RANK_ORDERS)
        _make_plain(self)
        _require_divisible(
            "global_batch_size",
            self.global_batch_size,
            "micro_batch_size * dp",
            self.micro_batch_size * self.dp,
        )

    @property
    def n_devices(self) -> int:
        """Devices of the strategy."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def num_microbatches(self) -> int:
        """Micro-batches that pass each pipeline in a step."""
        return self.global_batch_size // (self.micro_batch_size * self.dp)

    def replace(self, **changes: Any) -> ParallelConfig:
        """Return a copy with other values; unknown names are refused."""
        return _replaced(self, changes)

    def label(self) -> str:
        """Return a short name for tables and figures, e.g. ``TP4 PP16 DP2 b1 ZeRO-1``.

        Examples
        --------
        >>> ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640, recompute="full").label()
        'TP4 PP16 DP2 b1 ZeRO-1 full'
        """
        parts = [f"TP{self.tp}"] + ([f"CP{self.cp}"] if self.cp > 1 else [])
        parts += [f"PP{self.pp}"] + ([f"v{self.virtual_pp}"] if self.virtual_pp > 1 else [])
        parts += [f"DP{self.dp}", f"b{self.micro_batch_size}", f"ZeRO-{self.zero_stage}"]
        parts += ["SP"] if self.sequence_parallel else []
        parts += [self.recompute] if self.recompute != "none" else []
        parts += [self.schedule] if self.schedule not in ("1f1b", "interleaved_1f1b") else []
        return " ".join(parts)


def from_mapping(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return a `ModelConfig` or `ParallelConfig` of named values, such as a line of a file.

    Raises
    ------
    ParameterError
        A name is unknown, or a required one is missing.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise ParameterError(unknown_choice(name, known))
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise ParameterError(f"{missing[0]} is missing; a {kind.__name__} needs it.")
    return kind(**values)


def nearest_divisors(number: int, near: int) -> tuple[int, ...]:
    """Return the divisors of a number next to a value: the one below and the one above.

    Examples
    --------
    >>> nearest_divisors(96, 5)
    (4, 6)
    >>> nearest_divisors(96, 200)
    (96,)
    """
    small = [k for k in range(1, int(number**0.5) + 1) if number % k == 0]
    divisors = sorted({*small, *(number // k for k in small)})
    below = [k for k in divisors if k <= near][-1:]
    above = [k for k in divisors if k > near][:1]
    return (*below, *above)


def _replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(config)]
    for name in changes:
        if name not in known:
            raise ParameterError(unknown_choice(name, known))
    return dataclasses.replace(config, **changes)


def _require_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ParameterError(not_allowed(name, value, allowed))


def _require_booleans(config: object, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(config, name), bool):
            raise ParameterError(f"{name}={getattr(config, name)!r}: use True or False.")


def _make_plain(config: object) -> None:
    """Replace NumPy's whole numbers, whose products overflow and which JSON does not know."""
    for name, value in vars(config).items():
        if isinstance(value, np.integer):
            object.__setattr__(config, name, int(value))


def _require_fraction(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:  # type: ignore[operator]
        raise ParameterError(f"{name}={value!r}: use a number of 0 or more and below 1.")


def _require_divisible(name: str, value: int, by: str, divisor: int) -> None:
    if value % divisor:
        lower = value - value % divisor
        near = f"{lower} or {lower + divisor}" if lower else f"{divisor}"
        raise ParameterError(f"{name}={value} is no multiple of {by}={divisor}; use {near}.")
