"""A model and a strategy as command-line arguments of Megatron-LM, and back.

The names are those of Megatron-LM in 2026 (core 0.20). What its launcher decides is no argument:
the number of devices, and with it `dp`.

================================  ==========================================================
field                             arguments
================================  ==========================================================
``tp``, ``cp``, ``pp``            ``--tensor-model-``, ``--context-``, ``--pipeline-model-``
                                  ``parallel-size``
``virtual_pp``, ``schedule``      ``--num-virtual-stages-per-pipeline-rank``: interleaved 1F1B
``zero_stage`` 1                  ``--use-distributed-optimizer``
``zero_stage`` 2, 3               ``--use-megatron-fsdp`` and ``--data-parallel-sharding-strategy``
``recompute``                     ``--recompute-granularity``
``flash_attention``               ``--attention-backend flash`` or ``unfused``
``param_dtype``, ``grad_dtype``   ``--bf16``, ``--fp16``, ``--grad-reduce-in-bf16``,
                                  ``--accumulate-allreduce-grads-in-fp32``
``rank_order``                    ``--use-tp-pp-dp-mapping``: pipelines before replicas
``count_embeddings_as_layers``    ``--account-for-embedding-`` and ``-loss-in-pipeline-split``
================================  ==========================================================
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import NoReturn

from labkit.choices import require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.rules import check

SCHEDULES = ("1f1b", "interleaved_1f1b")
"""Orders of work that Megatron-LM has."""
GRADIENT_FLAGS = {
    ("bfloat16", "float32"): ("--bf16", "--accumulate-allreduce-grads-in-fp32"),
    ("bfloat16", "bfloat16"): ("--bf16", "--grad-reduce-in-bf16"),
    ("float16", "float32"): ("--fp16", "--accumulate-allreduce-grads-in-fp32"),
    ("float16", "float16"): ("--fp16",),
    ("float32", "float32"): (),
}
"""Types of weights and gradients, and what asks for them."""
_ZERO_FLAGS = {
    0: (),
    1: ("--use-distributed-optimizer",),
    2: ("--use-megatron-fsdp", "--data-parallel-sharding-strategy", "optim_grads"),
    3: ("--use-megatron-fsdp", "--data-parallel-sharding-strategy", "optim_grads_params"),
}
_FSDP_NEEDS = ("--use-distributed-optimizer", "--ckpt-format", "fsdp_dtensor")
_SHARDED = {"optim": 1, "optim_grads": 2, "optim_grads_params": 3, "no_shard": 0}
_RECOMPUTE_FLAGS = {
    "none": (),
    "selective": ("--recompute-granularity", "selective"),
    "full": (
        *("--recompute-granularity", "full", "--recompute-method", "uniform"),
        *("--recompute-num-layers", "1"),
    ),
}
_NORMALIZATIONS = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}
_POSITIONS = {"learned": "learned_absolute", "rope": "rope"}
_PADDING = 128  # Megatron-LM pads a vocabulary to a multiple of this times tp
_logger = logging.getLogger(__name__)


def to_megatron_args(model: ModelConfig, parallel: ParallelConfig) -> list[str]:
    """Return the arguments of ``pretrain_gpt.py`` that give this model and strategy.

    Data, learning rate and length of the training are yours to add.

    Raises
    ------
    ParameterError
        The strategy does not suit the model, or Megatron-LM has no argument for a choice.

    Examples
    --------
    >>> model = ModelConfig(num_layers=48, hidden_size=6144, num_attention_heads=48)
    >>> arguments = to_megatron_args(model, ParallelConfig(tp=4, pp=8, global_batch_size=64))
    >>> arguments[arguments.index("--pipeline-model-parallel-size") + 1]
    '8'
    """
    check(model, parallel)
    _require_expressible(model, parallel)
    return [*_model_arguments(model), *_strategy_arguments(parallel)]


def from_megatron_args(
    arguments: Sequence[str], *, n_devices: int
) -> tuple[ModelConfig, ParallelConfig]:
    """Return the model and strategy that arguments of Megatron-LM describe.

    Arguments about anything else, such as data, are left aside and named in the log.

    Parameters
    ----------
    arguments : sequence of str
        Of `to_megatron_args`, or of a training script.
    n_devices : int
        Ranks that the launcher starts; Megatron-LM learns `dp` from it.

    Returns
    -------
    ModelConfig, ParallelConfig
        The model's name is ``"custom"``: no argument carries it.

    Raises
    ------
    ParameterError
        An argument is missing, malformed or means what no field can say.

    Examples
    --------
    >>> model = ModelConfig(num_layers=48, hidden_size=6144, num_attention_heads=48)
    >>> strategy = ParallelConfig(tp=4, pp=8, dp=2, global_batch_size=64, recompute="full")
    >>> from_megatron_args(to_megatron_args(model, strategy), n_devices=64) == (model, strategy)
    True
    """
    require_whole("n_devices", n_devices, low=1)
    given, others = _parser().parse_known_args([str(word) for word in arguments])
    if others:
        _logger.info("arguments that say nothing about model or strategy: %s", " ".join(others))
    return _model(given), _strategy(given, n_devices)


def _require_expressible(model: ModelConfig, parallel: ParallelConfig) -> None:
    if parallel.schedule not in SCHEDULES:
        raise ParameterError(
            f"schedule={parallel.schedule!r}: Megatron-LM runs {' or '.join(SCHEDULES)}."
        )
    if (parallel.param_dtype, parallel.grad_dtype) not in GRADIENT_FLAGS:
        pairs = ", ".join("/".join(pair) for pair in GRADIENT_FLAGS)
        raise ParameterError(
            f"param_dtype={parallel.param_dtype!r}, grad_dtype={parallel.grad_dtype!r}: "
            f"Megatron-LM has {pairs}."
        )
    if parallel.cp > 1 and model.seq_length % (2 * parallel.cp):
        raise ParameterError(
            f"cp={parallel.cp}: Megatron-LM cuts a sequence into 2 * cp pieces, and "
            f"{2 * parallel.cp} does not divide seq_length={model.seq_length}."
        )


def _model_arguments(model: ModelConfig) -> list[str]:
    numbers = {
        "--num-layers": model.num_layers,
        "--hidden-size": model.hidden_size,
        "--num-attention-heads": model.num_attention_heads,
        "--seq-length": model.seq_length,
        "--max-position-embeddings": model.seq_length,
        "--vocab-size": model.vocab_size,
        "--padded-vocab-size": model.vocab_size,
        "--attention-dropout": model.dropout,
        "--hidden-dropout": model.dropout,
    }
    words = [word for name, value in numbers.items() for word in (name, str(value))]
    if model.num_query_groups is not None:
        words += ("--group-query-attention", "--num-query-groups", str(model.num_query_groups))
    if model.ffn_hidden_size is not None or model.gated_mlp:  # Megatron's own differs when gated
        words += ("--ffn-hidden-size", str(model.ffn_size))
    words += ("--swiglu",) if model.gated_mlp else ()
    words += () if model.tie_embeddings else ("--untie-embeddings-and-output-weights",)
    words += () if model.bias else ("--disable-bias-linear",)
    words += ("--normalization", _NORMALIZATIONS[model.normalization])
    words += ("--position-embedding-type", _POSITIONS[model.position])
    return [*words, "--tokenizer-type", "NullTokenizer"]


def _strategy_arguments(parallel: ParallelConfig) -> list[str]:
    sizes = {
        "--tensor-model-parallel-size": parallel.tp,
        "--context-parallel-size": parallel.cp,
        "--pipeline-model-parallel-size": parallel.pp,
        "--micro-batch-size": parallel.micro_batch_size,
        "--global-batch-size": parallel.global_batch_size,
    }
    words = [word for name, value in sizes.items() for word in (name, str(value))]
    if parallel.virtual_pp > 1:
        words += ("--num-virtual-stages-per-pipeline-rank", str(parallel.virtual_pp))
    words += _ZERO_FLAGS[parallel.zero_stage]
    words += _FSDP_NEEDS if parallel.zero_stage > 1 else ()
    words += ("--sequence-parallel",) if parallel.sequence_parallel else ()
    words += _RECOMPUTE_FLAGS[parallel.recompute]
    words += ("--attention-backend", "flash" if parallel.flash_attention else "unfused")
    words += GRADIENT_FLAGS[parallel.param_dtype, parallel.grad_dtype]
    words += ("--overlap-grad-reduce",) if parallel.overlap_grad_reduce else ()
    words += ("--use-tp-pp-dp-mapping",) if parallel.rank_order == "tp-cp-pp-dp" else ()
    if parallel.count_embeddings_as_layers:
        words.append("--account-for-embedding-in-pipeline-split")
        words.append("--account-for-loss-in-pipeline-split")
    return words


class _Parser(argparse.ArgumentParser):
    """Raises in place of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"arguments of Megatron-LM: {message}.")


def _positive(word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"use a whole number of 1 or more, not {word!r}")
    return int(word)


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name in ("--num-layers", "--hidden-size", "--num-attention-heads", "--seq-length"):
        parser.add_argument(name, type=_positive, required=True)
    for name in ("--micro-batch-size", "--global-batch-size"):
        parser.add_argument(name, type=_positive, required=True)
    for axis in ("tensor-model", "context", "pipeline-model"):
        parser.add_argument(f"--{axis}-parallel-size", type=_positive, default=1)
    for name in (
        *("--vocab-size", "--padded-vocab-size", "--ffn-hidden-size", "--num-query-groups"),
        *("--num-virtual-stages-per-pipeline-rank", "--num-layers-per-virtual-pipeline-stage"),
    ):
        parser.add_argument(name, type=_positive)
    parser.add_argument("--make-vocab-size-divisible-by", type=_positive, default=_PADDING)
    for name in ("--attention-dropout", "--hidden-dropout"):
        parser.add_argument(name, type=float, default=0.1)
    for name, choices, default in (
        ("--normalization", list(_NORMALIZATIONS.values()), "LayerNorm"),
        ("--position-embedding-type", list(_POSITIONS.values()), "learned_absolute"),
        ("--recompute-granularity", ["selective", "full"], None),
        ("--attention-backend", ["flash", "fused", "unfused", "local", "auto"], "auto"),
        ("--data-parallel-sharding-strategy", list(_SHARDED), "optim_grads_params"),
    ):
        parser.add_argument(name, choices=choices, default=default)
    for name in (
        *("--group-query-attention", "--swiglu", "--untie-embeddings-and-output-weights"),
        *("--disable-bias-linear", "--use-distributed-optimizer", "--use-megatron-fsdp"),
        *("--sequence-parallel", "--recompute-activations", "--use-flash-attn", "--bf16"),
        *("--fp16", "--accumulate-allreduce-grads-in-fp32", "--grad-reduce-in-bf16"),
        *("--overlap-grad-reduce", "--use-tp-pp-dp-mapping"),
        *("--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split"),
    ):
        parser.add_argument(name, action="store_true")
    return parser


def _model(given: argparse.Namespace) -> ModelConfig:
    if given.attention_dropout != given.hidden_dropout:
        raise ParameterError(
            f"--attention-dropout {given.attention_dropout} and --hidden-dropout "
            f"{given.hidden_dropout} differ; a model has one dropout."
        )
    ffn = given.ffn_hidden_size
    if ffn is None and given.swiglu:
        ffn = int(given.hidden_size * 8 / 3 / 64) * 64  # what Megatron-LM takes then
    return ModelConfig(
        num_layers=given.num_layers,
        hidden_size=given.hidden_size,
        num_attention_heads=given.num_attention_heads,
        seq_length=given.seq_length,
        vocab_size=_vocab_size(given),
        num_query_groups=given.num_query_groups if given.group_query_attention else None,
        ffn_hidden_size=ffn,
        gated_mlp=given.swiglu,
        tie_embeddings=not given.untie_embeddings_and_output_weights,
        normalization=given.normalization.lower(),
        position={value: key for key, value in _POSITIONS.items()}[given.position_embedding_type],
        bias=not given.disable_bias_linear,
        dropout=given.hidden_dropout,
    )


def _vocab_size(given: argparse.Namespace) -> int:
    if given.padded_vocab_size is not None:
        return int(given.padded_vocab_size)
    if given.vocab_size is None:
        raise ParameterError(
            "--padded-vocab-size and --vocab-size are missing; the tokenizer alone knows them "
            "then, so add one of them."
        )
    unit = given.make_vocab_size_divisible_by * given.tensor_model_parallel_size
    return int(-(-given.vocab_size // unit) * unit)


def _strategy(given: argparse.Namespace, n_devices: int) -> ParallelConfig:
    tp, cp = given.tensor_model_parallel_size, given.context_parallel_size
    pp = given.pipeline_model_parallel_size
    if n_devices % (tp * cp * pp):
        raise ParameterError(
            f"n_devices={n_devices} is no multiple of tp * cp * pp = {tp} * {cp} * {pp}."
        )
    embedding = given.account_for_embedding_in_pipeline_split
    if embedding != given.account_for_loss_in_pipeline_split:
        raise ParameterError(
            "--account-for-embedding-in-pipeline-split and --account-for-loss-in-pipeline-split "
            "go together here; give both or neither."
        )
    virtual_pp = _virtual_pp(given, pp)
    return ParallelConfig(
        tp=tp,
        cp=cp,
        pp=pp,
        dp=n_devices // (tp * cp * pp),
        virtual_pp=virtual_pp,
        micro_batch_size=given.micro_batch_size,
        global_batch_size=given.global_batch_size,
        zero_stage=_zero_stage(given),
        sequence_parallel=given.sequence_parallel and tp > 1,
        recompute=given.recompute_granularity
        or ("selective" if given.recompute_activations else "none"),
        schedule="interleaved_1f1b" if virtual_pp > 1 else "1f1b",
        flash_attention=given.use_flash_attn or given.attention_backend in ("flash", "auto"),
        param_dtype="bfloat16" if given.bf16 else "float16" if given.fp16 else "float32",
        grad_dtype=_grad_dtype(given),
        overlap_grad_reduce=given.overlap_grad_reduce,
        rank_order="tp-cp-pp-dp" if given.use_tp_pp_dp_mapping else "tp-cp-dp-pp",
        count_embeddings_as_layers=embedding,
    )


def _virtual_pp(given: argparse.Namespace, pp: int) -> int:
    if given.num_virtual_stages_per_pipeline_rank is not None:
        return int(given.num_virtual_stages_per_pipeline_rank)
    if given.num_layers_per_virtual_pipeline_stage is None:
        return 1
    layers = given.num_layers + 2 * given.account_for_embedding_in_pipeline_split
    return int(layers // (pp * given.num_layers_per_virtual_pipeline_stage))


def _zero_stage(given: argparse.Namespace) -> int:
    if given.use_megatron_fsdp:
        return _SHARDED[given.data_parallel_sharding_strategy]
    return 1 if given.use_distributed_optimizer else 0


def _grad_dtype(given: argparse.Namespace) -> str:
    if given.bf16:
        return "bfloat16" if given.grad_reduce_in_bf16 else "float32"
    if given.fp16:
        return "float32" if given.accumulate_allreduce_grads_in_fp32 else "float16"
    return "float32"
