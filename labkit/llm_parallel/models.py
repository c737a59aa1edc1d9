"""Models that the literature trained, by name, each with where its shape was published."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig

_FRONTIER = "launch scripts of Dash et al., arXiv:2312.12705"
_MEGATRON = "Narayanan et al., SC'21, Table 1"
_KORTHIKANTI = "Korthikanti et al., MLSys 2023, Table 3"


def _gpt(layers: int, hidden: int, heads: int, name: str, **others: Any) -> ModelConfig:
    return ModelConfig(
        num_layers=layers, hidden_size=hidden, num_attention_heads=heads, name=name, **others
    )


MODELS: Mapping[str, tuple[ModelConfig, str]] = MappingProxyType(
    {
        model.name: (model, source)
        for model, source in (
            (_gpt(2, 64, 4, "gpt-tiny", seq_length=64, vocab_size=256, dropout=0.0), "labkit"),
            (_gpt(24, 2112, 24, "gpt-1.4b"), _FRONTIER),
            (_gpt(48, 6144, 48, "gpt-22b"), _FRONTIER),
            (_gpt(96, 12288, 96, "gpt-175b"), _FRONTIER),
            (_gpt(128, 25600, 128, "gpt-1t"), _FRONTIER),
            (_gpt(24, 2304, 24, "megatron-1.7b"), _MEGATRON),
            (_gpt(30, 3072, 32, "megatron-3.6b"), _MEGATRON),
            (_gpt(36, 4096, 32, "megatron-7.5b"), _MEGATRON),
            (_gpt(40, 6144, 48, "megatron-18b"), _MEGATRON),
            (_gpt(48, 8192, 64, "megatron-39b"), _MEGATRON),
            (_gpt(60, 10240, 80, "megatron-76b"), _MEGATRON),
            (_gpt(80, 12288, 96, "megatron-146b"), _MEGATRON),
            (_gpt(96, 16384, 128, "megatron-310b"), _MEGATRON),
            (_gpt(105, 20480, 128, "megatron-530b"), _MEGATRON),
            (_gpt(128, 25600, 160, "megatron-1t"), _MEGATRON),
            (_gpt(48, 6144, 64, "megatron-22b"), _KORTHIKANTI),
            (
                _gpt(
                    32,
                    4096,
                    32,
                    "llama-3-8b",
                    seq_length=8192,
                    vocab_size=128256,
                    num_query_groups=8,
                    ffn_hidden_size=14336,
                    gated_mlp=True,
                    tie_embeddings=False,
                    normalization="rmsnorm",
                    position="rope",
                    bias=False,
                    dropout=0.0,
                ),
                "Llama 3 model card and Grattafiori et al., arXiv:2407.21783, Table 3",
            ),
            (
                _gpt(
                    80,
                    8192,
                    64,
                    "llama-3-70b",
                    seq_length=8192,
                    vocab_size=128256,
                    num_query_groups=8,
                    ffn_hidden_size=28672,
                    gated_mlp=True,
                    tie_embeddings=False,
                    normalization="rmsnorm",
                    position="rope",
                    bias=False,
                    dropout=0.0,
                ),
                "Llama 3 model card and Grattafiori et al., arXiv:2407.21783, Table 3",
            ),
        )
    }
)
"""Name to shape and source."""


def model_preset(name: str, **changes: Any) -> ModelConfig:
    """Return a model by name, with other values where they are given.

    Raises
    ------
    ParameterError
        The name is unknown.

    Examples
    --------
    >>> model_preset("gpt-175b").num_layers
    96
    """
    if name not in MODELS:
        raise ParameterError(not_allowed("model", name, MODELS))
    model = MODELS[name][0]
    return model.replace(**changes) if changes else model
