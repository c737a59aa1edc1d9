"""What a model and a strategy must fulfill together, as rules that work on one pair or millions.

A search skips, counts and reports the strategies that break a rule; everywhere else the first
broken rule is an error. Both use the same table, so they never differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.config import ModelConfig, ParallelConfig, nearest_divisors

_INTERLEAVED = tuple(code("schedule", name) for name in ("interleaved_1f1b", "looped_bfs"))
_ZB_H1 = code("schedule", "zb_h1")
_ZBV = code("schedule", "zbv")


@dataclass(frozen=True)
class Rule:
    """One condition on a model and a strategy.

    Attributes
    ----------
    reason : str
        In a few words, for counts: ``"heads / tp"``.
    broken : callable
        Of (ModelColumns, ParallelColumns), to booleans of shape ``(n,)``.
    message : callable
        Of (ModelConfig, ParallelConfig), to the sentence that says what to use.
    """

    reason: str
    broken: Callable[[ModelColumns, ParallelColumns], np.ndarray]
    message: Callable[[ModelConfig, ParallelConfig], str]


def legality(model: ModelConfig | ModelColumns, parallel: ParallelColumns) -> np.ndarray:
    """Return the first rule that each strategy breaks.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelColumns of n strategies

    Returns
    -------
    ndarray of int8, shape (n,)
        Place in `RULES`, or -1 where all rules are kept.
    """
    columns = ModelColumns.of(model)
    first = np.full(len(parallel), -1, np.int8)
    for place, rule in enumerate(RULES):
        broken = np.broadcast_to(rule.broken(columns, parallel), first.shape)
        first[broken & (first < 0)] = place
    return first


def check(model: ModelConfig, parallel: ParallelConfig, *, n_devices: int | None = None) -> None:
    """Refuse a strategy that does not suit the model, or does not use the given devices.

    Raises
    ------
    ParameterError
        Naming the field, its value and the nearest ones that are allowed.

    Examples
    --------
    >>> model = ModelConfig(num_layers=48, hidden_size=6144, num_attention_heads=48)
    >>> check(model, ParallelConfig(tp=5))
    Traceback (most recent call last):
        ...
    labkit.errors.ParameterError: tp=5 does not divide num_attention_heads=48; use 4 or 6.
    """
    if n_devices is not None and parallel.n_devices != n_devices:
        rest = parallel.tp * parallel.cp * parallel.pp
        advice = f"use dp={n_devices // rest}" if n_devices % rest == 0 else "change tp, cp or pp"
        raise ParameterError(
            f"dp={parallel.dp}: tp * cp * pp * dp = {parallel.tp} * {parallel.cp} * "
            f"{parallel.pp} * {parallel.dp} = {parallel.n_devices} is not n_devices={n_devices}; "
            f"{advice}."
        )
    broken = legality(model, ParallelColumns.of(parallel))[0]
    if broken >= 0:
        raise ParameterError(RULES[broken].message(model, parallel))


def _no_divisor(field: str, value: int, name: str, number: int) -> str:
    near = " or ".join(str(k) for k in nearest_divisors(number, value))
    return f"{field}={value} does not divide {name}={number}; use {near}."


def _stage_units(model: ModelColumns, parallel: ParallelColumns) -> np.ndarray:
    """Layers to share out, with those that embeddings stand for."""
    return model.num_layers + 2 * parallel.count_embeddings_as_layers


def _layers_message(model: ModelConfig, parallel: ParallelConfig) -> str:
    layers = model.num_layers + 2 * parallel.count_embeddings_as_layers
    extra = " (with 2 for the embeddings)" if parallel.count_embeddings_as_layers else ""
    if parallel.virtual_pp > 1 and layers % parallel.pp == 0:
        near = nearest_divisors(layers // parallel.pp, parallel.virtual_pp)
        allowed = " or ".join(str(k) for k in near)
        return (
            f"virtual_pp={parallel.virtual_pp} does not divide the {layers // parallel.pp} layers "
            f"of a stage (num_layers={model.num_layers}{extra}, pp={parallel.pp}); use {allowed}."
        )
    return _no_divisor("pp", parallel.pp, f"num_layers{extra}", layers)


def _wrong_chunks(model: ModelColumns, parallel: ParallelColumns) -> np.ndarray:
    v, kind = parallel.virtual_pp, parallel.schedule
    needs_two = np.isin(kind, _INTERLEAVED) & (v < 2)
    needs_one = ~np.isin(kind, (*_INTERLEAVED, _ZB_H1, _ZBV)) & (v != 1)
    return needs_two | needs_one | ((kind == _ZBV) & (v != 2))


def _chunks_message(model: ModelConfig, parallel: ParallelConfig) -> str:
    allowed = {"interleaved_1f1b": "2 or more", "looped_bfs": "2 or more", "zbv": "2"}
    return (
        f"virtual_pp={parallel.virtual_pp}: schedule={parallel.schedule!r} needs "
        f"{allowed.get(parallel.schedule, '1')} model chunks of a device."
    )


def _rounds_message(model: ModelConfig, parallel: ParallelConfig) -> str:
    rounds = -(-parallel.num_microbatches // parallel.pp)
    batch = rounds * parallel.pp * parallel.micro_batch_size * parallel.dp
    return (
        f"global_batch_size={parallel.global_batch_size}: schedule={parallel.schedule!r} needs a "
        f"number of micro-batches that pp={parallel.pp} divides, not {parallel.num_microbatches}; "
        f"use global_batch_size={batch}."
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "batch / (micro-batch * dp)",
        lambda m, c: c.global_batch_size % (c.micro_batch_size * c.dp) != 0,
        lambda m, c: (
            f"global_batch_size={c.global_batch_size} is no multiple of "
            f"micro_batch_size * dp = {c.micro_batch_size * c.dp}."
        ),
    ),
    Rule(
        "heads / tp",
        lambda m, c: m.num_attention_heads % c.tp != 0,
        lambda m, c: _no_divisor("tp", c.tp, "num_attention_heads", m.heads),
    ),
    Rule(
        "query groups / tp",
        lambda m, c: m.num_query_groups % c.tp != 0,
        lambda m, c: _no_divisor("tp", c.tp, "num_query_groups", m.groups),
    ),
    Rule(
        "feed-forward width / tp",
        lambda m, c: m.ffn_hidden_size % c.tp != 0,
        lambda m, c: _no_divisor("tp", c.tp, "ffn_hidden_size", m.ffn_size),
    ),
    Rule(
        "vocabulary / tp",
        lambda m, c: m.vocab_size % c.tp != 0,
        lambda m, c: (
            f"vocab_size={m.vocab_size} is no multiple of tp={c.tp}; "
            f"pad it to {-(-m.vocab_size // c.tp) * c.tp}."
        ),
    ),
    Rule(
        "sequence / (cp * tp)",
        lambda m, c: m.seq_length % (c.cp * np.where(c.sequence_parallel, c.tp, 1)) != 0,
        lambda m, c: (
            _no_divisor("cp", c.cp, "seq_length", m.seq_length)
            if m.seq_length % c.cp
            else f"sequence_parallel=True: tp={c.tp} does not divide the {m.seq_length // c.cp} "
            "tokens of a device; use another tp or sequence_parallel=False."
        ),
    ),
    Rule(
        "layers / (pp * virtual_pp)",
        lambda m, c: _stage_units(m, c) % (c.pp * c.virtual_pp) != 0,
        _layers_message,
    ),
    Rule("chunks of the schedule", _wrong_chunks, _chunks_message),
    Rule(
        "micro-batches / pp",
        lambda m, c: (
            np.isin(c.schedule, (*_INTERLEAVED, _ZB_H1)) & (c.num_microbatches % c.pp != 0)
        ),
        _rounds_message,
    ),
    Rule(
        "pipeline of one device",
        lambda m, c: (c.virtual_pp > 1) & (c.pp == 1),
        lambda m, c: f"virtual_pp={c.virtual_pp} needs a pipeline; use pp of 2 or more.",
    ),
    Rule(
        "sequence parallelism without tp",
        lambda m, c: c.sequence_parallel & (c.tp == 1),
        lambda m, c: "sequence_parallel=True needs tp of 2 or more; use sequence_parallel=False.",
    ),
    Rule(
        "flash attention with selective recompute",
        lambda m, c: c.flash_attention & (c.recompute == code("recompute", "selective")),
        lambda m, c: (
            "recompute='selective' drops the attention scores, which flash_attention=True "
            "never stores; use recompute='none'."
        ),
    ),
)
"""In the order in which they are tried."""
