"""A strategy as the configuration of a DeepSpeed engine.

The file tells the engine about batches, ZeRO, types and overlap. What shares a layer or the depth
(`tp`, `pp`) and what is recomputed are choices of the training script; the entry ``"comment"``,
which DeepSpeed does not read, lists them, so that none is lost.

================================  ==================================================
field                             entry
================================  ==================================================
``global_batch_size``             ``train_batch_size``
``micro_batch_size``              ``train_micro_batch_size_per_gpu``
``num_microbatches``              ``gradient_accumulation_steps``
``zero_stage``                    ``zero_optimization.stage``; 2 and 3 without pipeline
``overlap_grad_reduce``           ``zero_optimization.overlap_comm``
``param_dtype``                   ``bf16`` or ``fp16``
``grad_dtype``                    ``data_types.grad_accum_dtype``
================================  ==================================================
"""

from __future__ import annotations

from typing import Any

from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.rules import check

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def to_deepspeed(model: ModelConfig, parallel: ParallelConfig) -> dict[str, Any]:
    """Return the content of DeepSpeed's configuration file.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or DeepSpeed cannot run it.

    Examples
    --------
    >>> model = ModelConfig(num_layers=96, hidden_size=12288, num_attention_heads=96)
    >>> strategy = ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=640)
    >>> to_deepspeed(model, strategy)["gradient_accumulation_steps"]
    320
    """
    check(model, parallel)
    _require_expressible(parallel)
    config: dict[str, Any] = {
        "comment": _for_the_script(parallel),
        "train_batch_size": parallel.global_batch_size,
        "train_micro_batch_size_per_gpu": parallel.micro_batch_size,
        "gradient_accumulation_steps": parallel.num_microbatches,
        "zero_optimization": {
            "stage": parallel.zero_stage,
            "overlap_comm": parallel.overlap_grad_reduce,
        },
        "data_types": {"grad_accum_dtype": _DTYPES[parallel.grad_dtype]},
    }
    if parallel.param_dtype != "float32":
        config[_DTYPES[parallel.param_dtype]] = {"enabled": True}
    return config


def _require_expressible(parallel: ParallelConfig) -> None:
    if parallel.zero_stage >= 2 and parallel.pp > 1:
        raise ParameterError(
            f"zero_stage={parallel.zero_stage}: DeepSpeed shares out gradients and weights only "
            f"without a pipeline; use zero_stage=1 or pp=1, not pp={parallel.pp}."
        )
    if parallel.schedule != "1f1b":
        raise ParameterError(f"schedule={parallel.schedule!r}: DeepSpeed's pipeline runs 1f1b.")
    if parallel.cp > 1:
        raise ParameterError(f"cp={parallel.cp}: DeepSpeed has no context parallelism; use cp=1.")
    if parallel.rank_order != "tp-cp-dp-pp":
        raise ParameterError(
            f"rank_order={parallel.rank_order!r}: DeepSpeed orders ranks 'tp-cp-dp-pp'."
        )
    for name in ("param_dtype", "grad_dtype"):
        if getattr(parallel, name) not in _DTYPES:
            raise ParameterError(
                f"{name}={getattr(parallel, name)!r}: DeepSpeed has {', '.join(_DTYPES)}."
            )
    mixed = parallel.grad_dtype != parallel.param_dtype
    if mixed and (parallel.grad_dtype != "float32" or parallel.zero_stage == 0):
        raise ParameterError(
            f"grad_dtype={parallel.grad_dtype!r}: with param_dtype={parallel.param_dtype!r} and "
            f"zero_stage={parallel.zero_stage} DeepSpeed keeps gradients in "
            f"{parallel.param_dtype}, or in float32 with zero_stage of 1 or more."
        )


def _for_the_script(parallel: ParallelConfig) -> list[str]:
    """Return what the training script must be told, in words and as Megatron-DeepSpeed has it."""
    flash = "--use-flash-attn" if parallel.flash_attention else "no --use-flash-attn"
    lines = [
        f"{parallel.n_devices} devices, dp={parallel.dp}: what tp and pp leave",
        f"tp={parallel.tp}: --tensor-model-parallel-size {parallel.tp}",
        f"pp={parallel.pp}: --pipeline-model-parallel-size {parallel.pp}",
        f"flash_attention={parallel.flash_attention}: {flash}",
    ]
    if parallel.sequence_parallel:
        lines.append("sequence_parallel=True: --sequence-parallel")
    if parallel.recompute == "full":
        lines.append("recompute='full': --checkpoint-activations")
    if parallel.recompute == "selective":
        lines.append("recompute='selective': --recompute-granularity selective")
    if parallel.count_embeddings_as_layers:
        lines.append("count_embeddings_as_layers=True: partition_method of PipelineModule")
    return lines
