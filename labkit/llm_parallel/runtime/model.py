"""A GPT in plain torch, or some consecutive layers of it: what all strategies train.

Layer ``i`` of a decoder with normalization first [1]_, on activations x of shape (b, s, h)::

    x <- x + dropout(proj(attention(qkv(norm(x)))))
    x <- x + dropout(down(act(up(norm(x)))))        act: GELU, or SiLU(gate) * value (SwiGLU)

The modules know nothing of other processes. Two layouts make them easy to cut between heads:

===========  ========================  ==========================================================
parameter    rows                      order of the rows
===========  ========================  ==========================================================
``qkv``      (a + 2 g) h / a           group by group: its a / g queries, its key, its value
``up``       f, or 2 f where gated     where gated, gate and value of each unit are neighbors
===========  ========================  ==========================================================

with a heads, g query groups and f units of the feed-forward layer. So every rank that takes an
equal slice of the rows has whole heads and whole units, and one product does for q, k and v.

References
----------
.. [1] Radford et al., Language models are unsupervised multitask learners, 2019; the division of
   the first weights of residual layers by sqrt(2 L) is theirs.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from labkit.llm_parallel.config import ModelConfig

INIT_STD = 0.02
ROPE_BASE = 10000.0
NORM_EPS = 1e-5


class GPT(nn.Module):
    """Decoder-only transformer, or the part of it that one pipeline stage holds.

    Parameters
    ----------
    model : ModelConfig
    flash_attention : bool
        Attention by `torch.nn.functional.scaled_dot_product_attention`; otherwise scores are
        stored.
    recompute : {"none", "selective", "full"}
        What is computed again in the backward pass.
    layers : range, optional
        Layers of this part; None is all.
    first, last : bool
        The part has the embedding; it has the final norm and the output layer.
    **factory
        ``device`` and ``dtype`` of the parameters, which `initialize` gives their values.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> model = initialize(GPT(model_preset("gpt-tiny")), seed=0)
    >>> model(torch.zeros(2, 64, dtype=torch.int64)).shape
    torch.Size([2, 64, 256])
    """

    def __init__(
        self,
        model: ModelConfig,
        *,
        flash_attention: bool = True,
        recompute: str = "none",
        layers: range | None = None,
        first: bool = True,
        last: bool = True,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.config = model
        held = range(model.num_layers) if layers is None else layers
        self.embedding = Embedding(model, **factory) if first else None
        self.layers = nn.ModuleDict(
            {str(i): Layer(model, flash_attention, recompute, **factory) for i in held}
        )
        self.norm = _norm(model, **factory) if last else None
        self.output = (
            nn.Linear(model.hidden_size, model.vocab_size, bias=False, **factory) if last else None
        )
        self.tie()

    def tie(self) -> None:
        """Let the output layer use the weights of the embedding, if this part has both.

        Needed again whenever parameters have been replaced.
        """
        if self.config.tie_embeddings and self.embedding is not None and self.output is not None:
            self.output.weight = self.embedding.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (b, s), or activations (b, s, h) of the part before, to what comes next.

        The last part returns logits of shape (b, s, V).
        """
        if self.embedding is not None:
            x = self.embedding(x)
        for layer in self.layers.values():
            x = layer(x)
        if self.norm is not None and self.output is not None:
            x = self.output(self.norm(x))
        return x


class Embedding(nn.Module):
    """Vectors of tokens, and of places where the model learns them."""

    def __init__(self, model: ModelConfig, **factory: Any) -> None:
        super().__init__()
        self.tokens = nn.Embedding(model.vocab_size, model.hidden_size, **factory)
        learned = model.position == "learned"
        self.positions = Positions(model, **factory) if learned else None
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (b, s) to activations (b, s, h)."""
        x = self.tokens(tokens)
        return self.dropout(x if self.positions is None else self.positions(x))


class Positions(nn.Module):
    """Adds the learned vector of its place to every token."""

    def __init__(self, model: ModelConfig, **factory: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(model.seq_length, model.hidden_size, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """Activations (b, s, h)."""
        return x + self.weight[: x.shape[1]]


class Layer(nn.Module):
    """Attention and feed-forward layer, each added to its input."""

    def __init__(
        self, model: ModelConfig, flash_attention: bool, recompute: str, **factory: Any
    ) -> None:
        super().__init__()
        self.recompute = recompute == "full"
        self.attention_norm = _norm(model, **factory)
        self.attention = Attention(model, flash_attention, recompute, **factory)
        self.mlp_norm = _norm(model, **factory)
        self.mlp = MLP(model, **factory)
        self.attention_dropout = nn.Dropout(model.dropout)
        self.mlp_dropout = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Activations (b, s, h); with full recompute, only they are kept."""
        return _checkpointed(self._forward, x) if self.recompute else self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_dropout(self.attention(self.attention_norm(x)))
        return x + self.mlp_dropout(self.mlp(self.mlp_norm(x)))


class Attention(nn.Module):
    """Causal self-attention; heads share keys and values in groups."""

    def __init__(
        self, model: ModelConfig, flash_attention: bool, recompute: str, **factory: Any
    ) -> None:
        super().__init__()
        self.flash = flash_attention
        self.recompute = recompute == "selective"
        self.rotate = model.position == "rope"
        self.dropout = model.dropout
        self.head_size = model.head_size
        self.queries = model.heads // model.groups
        rows = (model.heads + 2 * model.groups) * model.head_size
        self.qkv = nn.Linear(model.hidden_size, rows, bias=model.bias, **factory)
        self.proj = nn.Linear(model.hidden_size, model.hidden_size, bias=model.bias, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Activations (b, s, h) of normalized input."""
        fused = self.qkv(x).unflatten(-1, (-1, self.queries + 2, self.head_size))
        q, k, v = fused.split((self.queries, 1, 1), dim=-2)
        q, k, v = (part.flatten(2, 3).transpose(1, 2) for part in (q, k, v))
        if self.rotate:
            q, k = _rotated(q), _rotated(k)
        core = self._fused if self.flash else self._explicit
        out = _checkpointed(core, q, k, v) if self.recompute else core(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        grouped = self.queries > 1
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped
        )

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.queries > 1:
            k, v = (part.repeat_interleave(self.queries, 1) for part in (k, v))
        scores = (q * self.head_size**-0.5) @ k.transpose(-2, -1)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), dim=-1)
        return F.dropout(weights, self.dropout, self.training) @ v


class MLP(nn.Module):
    """Feed-forward layer."""

    def __init__(self, model: ModelConfig, **factory: Any) -> None:
        super().__init__()
        self.gated = model.gated_mlp
        rows = model.ffn_size * (2 if model.gated_mlp else 1)
        self.up = nn.Linear(model.hidden_size, rows, bias=model.bias, **factory)
        self.down = nn.Linear(model.ffn_size, model.hidden_size, bias=model.bias, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Activations (b, s, h) of normalized input."""
        x = self.up(x)
        if not self.gated:
            return self.down(F.gelu(x, approximate="tanh"))
        gate, value = x.unflatten(-1, (-1, 2)).unbind(-1)
        return self.down(F.silu(gate) * value)


def initialize(part: GPT, *, seed: int) -> GPT:
    """Give all parameters their first values, each by a generator of its own.

    A parameter's values depend on the seed and its name alone. So the part that a process holds
    begins with exactly the values of the whole model, whatever the strategy.

    Parameters
    ----------
    part : GPT
        Its parameters may be `torch.distributed.tensor.DTensor` in equal slices.
    seed : int
    """
    for name, parameter in part.named_parameters():
        values = initial_values(part.config, name, parameter, seed).to(parameter.device)
        if isinstance(parameter, DTensor):
            mesh, placements = parameter.device_mesh, parameter.placements
            values = distribute_tensor(values, mesh, placements, src_data_rank=None)
        with torch.no_grad():
            parameter.copy_(values)
    return part


def initial_values(model: ModelConfig, name: str, like: Tensor, seed: int) -> Tensor:
    """Return the first values of a parameter on the CPU: normal, zero for biases, one for norms."""
    if name.endswith("bias"):
        return torch.zeros(like.shape, dtype=like.dtype)
    if "norm" in name:
        return torch.ones(like.shape, dtype=like.dtype)
    if name == "output.weight" and model.tie_embeddings:
        name = "embedding.tokens.weight"
    residual = name.endswith(("proj.weight", "down.weight"))
    std = INIT_STD / (2 * model.num_layers) ** 0.5 if residual else INIT_STD
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    return torch.empty(like.shape, dtype=like.dtype).normal_(0.0, std, generator=generator)


def _norm(model: ModelConfig, **factory: Any) -> nn.Module:
    kind = nn.LayerNorm if model.normalization == "layernorm" else nn.RMSNorm
    return kind(model.hidden_size, eps=NORM_EPS, **factory)


def _rotated(x: Tensor) -> Tensor:
    """Rotate pairs of elements of each head (b, heads, s, e) by angles that grow with the place."""
    half = x.shape[-1] // 2
    rates = ROPE_BASE ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    places = torch.arange(x.shape[-2], device=x.device, dtype=torch.float64)
    angles = torch.outer(places, rates)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _checkpointed(function: Any, *inputs: Tensor) -> Tensor:
    """Run a function again, whole, in the backward pass, as Megatron-LM does."""
    with set_checkpoint_early_stop(False):
        return checkpoint(function, *inputs, use_reentrant=False)
