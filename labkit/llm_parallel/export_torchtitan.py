"""A strategy as a configuration file of torchtitan.

The file is for torchtitan 0.2, the last whose runs are described by TOML. Release 0.3 builds them
in Python: there ``[section] name = value`` is the attribute ``section.name`` of
``Trainer.Config``, with the same names for parallelism and batches.

================================  ========================================================
field                             entry
================================  ========================================================
``tp``, ``cp``, ``pp``            ``tensor_``, ``context_``, ``pipeline_parallel_degree``
``dp``, ``zero_stage`` 0          ``data_parallel_replicate_degree``
``dp``, ``zero_stage`` 2, 3       ``data_parallel_shard_degree``, and
                                  ``fsdp_reshard_after_forward`` "never" or "always"
``virtual_pp``                    ``pipeline_parallel_layers_per_stage`` = L / (p v)
``schedule``                      ``pipeline_parallel_schedule``: a class of torch
``micro_batch_size``              ``pipeline_parallel_microbatch_size``, ``local_batch_size``
``recompute``                     ``[activation_checkpoint] mode``
``param_dtype``                   ``mixed_precision_param``
================================  ========================================================

A model is chosen there by name; a shape it does not have is written as comments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.models import MODELS
from labkit.llm_parallel.rules import check

SCHEDULE_CLASSES = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved_1f1b": "Interleaved1F1B",
    "looped_bfs": "LoopedBFS",
    "zb_h1": "InterleavedZeroBubble",
    "zbv": "ZBVZeroBubble",
}
"""Names of torch's schedules."""
_FLAVORS = {"llama-3-8b": "8B", "llama-3-70b": "70B"}
_RESHARD = {2: "never", 3: "always"}

_Value = str | int | float | bool


def to_torchtitan_toml(model: ModelConfig, parallel: ParallelConfig) -> str:
    """Return a configuration file for torchtitan 0.2.

    Data, learning rate and length of the training are yours to add.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or torchtitan cannot run it.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> strategy = ParallelConfig(dp=8, global_batch_size=64, zero_stage=3)
    >>> text = to_torchtitan_toml(model_preset("llama-3-8b"), strategy)
    >>> "data_parallel_shard_degree = 8" in text
    True
    """
    check(model, parallel)
    _require_expressible(parallel)
    sections: dict[str, Mapping[str, _Value]] = {
        "job": {"description": f"{model.name}, {parallel.label()}"},
        "model": {"name": "llama3", "flavor": _flavor(model) or model.name},
        "training": _training(model, parallel),
        "parallelism": _parallelism(model, parallel),
        "activation_checkpoint": {"mode": parallel.recompute},
    }
    lines = [
        f"# For torchtitan 0.2, on {parallel.n_devices} devices. Release 0.3 reads no TOML: set",
        "# the same names in its Trainer.Config.",
        *_comments(model, parallel),
    ]
    for section, values in sections.items():
        lines += ["", f"[{section}]", *(f"{name} = {_toml(v)}" for name, v in values.items())]
    return "\n".join(lines) + "\n"


def _require_expressible(parallel: ParallelConfig) -> None:
    for message in _obstacles(parallel):
        raise ParameterError(message)


def _obstacles(parallel: ParallelConfig) -> Iterator[str]:
    """Yield what torchtitan cannot do, with what it can."""
    if parallel.dp > 1 and parallel.zero_stage == 1:
        yield "zero_stage=1: torchtitan shares out weights and gradients too; use 2 or 3."
    if parallel.dp > 1 and parallel.zero_stage == 0 and parallel.n_devices > parallel.dp:
        yield (
            "zero_stage=0: torchtitan replicates weights only without tp, cp and pp; use 2 or 3."
        )
    if parallel.tp > 1 and not parallel.sequence_parallel:
        yield f"sequence_parallel=False: torchtitan has it wherever tp={parallel.tp} is above 1."
    if not parallel.flash_attention:
        yield "flash_attention=False: torchtitan's attention is always fused; use True."
    if parallel.param_dtype not in ("bfloat16", "float32"):
        yield f"param_dtype={parallel.param_dtype!r}: torchtitan has bfloat16 and float32."
    if parallel.grad_dtype != "float32":
        yield f"grad_dtype={parallel.grad_dtype!r}: torchtitan reduces gradients in float32."
    if parallel.rank_order != "tp-cp-dp-pp":
        yield f"rank_order={parallel.rank_order!r}: torchtitan orders ranks 'tp-cp-dp-pp'."
    if parallel.schedule == "zb_h1" and parallel.virtual_pp == 1:
        yield "virtual_pp=1: torchtitan's schedule='zb_h1' needs 2 or more model chunks."


def _training(model: ModelConfig, parallel: ParallelConfig) -> dict[str, _Value]:
    at_once = parallel.num_microbatches if parallel.pp > 1 else 1
    return {
        "local_batch_size": parallel.micro_batch_size * at_once,
        "global_batch_size": parallel.global_batch_size,
        "seq_len": model.seq_length,
        "mixed_precision_param": parallel.param_dtype,
        "mixed_precision_reduce": parallel.grad_dtype,
    }


def _parallelism(model: ModelConfig, parallel: ParallelConfig) -> dict[str, _Value]:
    replicated = parallel.dp if parallel.zero_stage == 0 else 1
    values: dict[str, _Value] = {
        "data_parallel_replicate_degree": replicated,
        "data_parallel_shard_degree": parallel.dp // replicated,
        "tensor_parallel_degree": parallel.tp,
        "context_parallel_degree": parallel.cp,
        "pipeline_parallel_degree": parallel.pp,
    }
    if parallel.zero_stage in _RESHARD:
        values["fsdp_reshard_after_forward"] = _RESHARD[parallel.zero_stage]
    if parallel.pp > 1:
        extra = int(parallel.count_embeddings_as_layers)
        chunks = parallel.pp * parallel.virtual_pp
        values["pipeline_parallel_schedule"] = SCHEDULE_CLASSES[parallel.schedule]
        values["pipeline_parallel_microbatch_size"] = parallel.micro_batch_size
        values["pipeline_parallel_layers_per_stage"] = (model.num_layers + 2 * extra) // chunks
        values["pipeline_parallel_first_stage_less_layers"] = extra
        values["pipeline_parallel_last_stage_less_layers"] = extra
    return values


def _comments(model: ModelConfig, parallel: ParallelConfig) -> Iterator[str]:
    """Yield what the file cannot hold."""
    if _flavor(model) is None:
        yield "# torchtitan has no such model: register a flavor of this shape under [model]."
        yield f"#   num_layers={model.num_layers}, hidden_size={model.hidden_size},"
        yield f"#   num_attention_heads={model.heads}, num_query_groups={model.groups},"
        yield f"#   ffn_hidden_size={model.ffn_size}, vocab_size={model.vocab_size},"
        yield f"#   gated_mlp={model.gated_mlp}, tie_embeddings={model.tie_embeddings},"
        yield f"#   normalization={model.normalization!r}, position={model.position!r},"
        yield f"#   bias={model.bias}, dropout={model.dropout}"
    if parallel.dp > 1 and not parallel.overlap_grad_reduce:
        yield "# overlap_grad_reduce=False cannot be asked for: gradients are always overlapped."


def _flavor(model: ModelConfig) -> str | None:
    """Return the name that torchtitan has for a model, whatever the length of its sequences."""
    if model.name not in _FLAVORS:
        return None
    same_shape = MODELS[model.name][0].replace(seq_length=model.seq_length) == model
    return _FLAVORS[model.name] if same_shape else None


def _toml(value: _Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
