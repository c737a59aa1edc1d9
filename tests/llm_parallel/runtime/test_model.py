"""The GPT computes what a transformer is, and any part of it begins as the whole does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.parameters import num_parameters
from labkit.llm_parallel.runtime.model import GPT, Attention, initialize

LLAMA = {
    "position": "rope",
    "normalization": "rmsnorm",
    "gated_mlp": True,
    "num_query_groups": 2,
    "bias": False,
    "tie_embeddings": False,
}
ROUNDING = {"rtol": 0, "atol": 1e-12}
"""For 64-bit numbers of the order of 1 that went through a few hundred additions."""


def _model(**changes):
    return model_preset("gpt-tiny", seq_length=16, **changes)


def _gpt(model, **options):
    return initialize(GPT(model, dtype=torch.float64, **options), seed=0)


def _tokens(seed=0):
    return torch.randint(0, 256, (2, 16), generator=torch.Generator().manual_seed(seed))


def test_parameters_are_as_many_as_counted_for_random_shapes():
    generator = np.random.default_rng(0)
    for _ in range(20):
        groups, repeats, head, layers = (int(generator.integers(1, 5)) for _ in range(4))
        rope = bool(generator.integers(2))
        model = _model(
            num_layers=layers,
            hidden_size=2 * head * groups * repeats,
            num_attention_heads=groups * repeats,
            num_query_groups=groups,
            ffn_hidden_size=int(generator.integers(1, 200)),
            vocab_size=int(generator.integers(256, 400)),
            gated_mlp=bool(generator.integers(2)),
            tie_embeddings=bool(generator.integers(2)),
            bias=bool(generator.integers(2)),
            normalization="rmsnorm" if generator.integers(2) else "layernorm",
            position="rope" if rope else "learned",
        )
        built = sum(p.numel() for p in GPT(model, device="meta").parameters())
        assert built == num_parameters(model), model


@pytest.mark.parametrize("changes", [{}, LLAMA], ids=["gpt", "llama"])
def test_no_token_sees_later_ones(changes):
    whole = _gpt(_model(**changes))
    tokens = _tokens()
    other = tokens.clone()
    other[:, 9:] = _tokens(1)[:, 9:]
    with torch.no_grad():
        first, second = whole(tokens), whole(other)
    torch.testing.assert_close(first[:, :9], second[:, :9], **ROUNDING)
    assert not torch.allclose(first[:, 9], second[:, 9])


@pytest.mark.parametrize("changes", [{}, LLAMA], ids=["gpt", "llama"])
def test_attention_kernels_and_recompute_change_neither_loss_nor_gradients(changes):
    results = []
    ways = [*itertools.product((True, False), ("none", "full")), (False, "selective")]
    for flash, recompute in ways:
        whole = _gpt(_model(**changes), flash_attention=flash, recompute=recompute)
        loss = F.cross_entropy(whole(_tokens()).flatten(0, 1), _tokens(1).flatten())
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in whole.parameters())])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, **ROUNDING)


def test_grouped_fused_attention_equals_a_loop_over_heads():
    """Written anew from the definition, with the layout that the module documents."""
    model = _model(num_query_groups=2, position="rope")
    attention = _gpt(model).layers["0"].attention
    x = torch.randn(1, 16, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fused = (x @ attention.qkv.weight.T + attention.qkv.bias)[0].reshape(16, 2, 4, 16)
    places = torch.arange(16, dtype=torch.float64)[:, None]
    turn = torch.polar(torch.ones(()).double(), places * 10000.0 ** (-torch.arange(8).double() / 8))

    def rotated(v):
        z = torch.complex(v[:, :8], v[:, 8:]) * turn
        return torch.cat((z.real, z.imag), dim=1)

    heads = []
    for group, query in itertools.product(range(2), range(2)):
        q, k = rotated(fused[:, group, query]), rotated(fused[:, group, 2])
        scores = (q @ k.T / 4).tril() + torch.full((16, 16), -torch.inf).triu(1)
        heads.append(scores.softmax(1) @ fused[:, group, 3])
    expected = torch.cat(heads, dim=1) @ attention.proj.weight.T + attention.proj.bias
    torch.testing.assert_close(attention(x)[0], expected, **ROUNDING)


def test_rotated_scores_depend_on_distances_alone():
    """The same vector at every place: scores along a diagonal are equal."""
    model = _model(position="rope", num_attention_heads=1)
    attention = _gpt(model, flash_attention=False).layers["0"].attention
    seen = []
    attention._explicit = lambda q, k, v: seen.append(q @ k.transpose(-2, -1)) or v
    with torch.no_grad():
        attention(torch.ones(1, 16, 64, dtype=torch.float64))
    (scores,) = seen[0][0]
    for distance in range(16):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), **ROUNDING)
    assert abs(float(scores[5, 5] - scores[15, 0])) > 0.1, "distances tell apart"


@pytest.mark.parametrize("tied", [True, False])
def test_parts_of_the_model_have_the_values_of_the_whole(tied):
    model = _model(num_layers=3, tie_embeddings=tied)
    whole = dict(_gpt(model).named_parameters())
    first = _gpt(model, layers=range(1), last=False)
    second = _gpt(model, layers=range(1, 3), first=False)
    names = []
    for name, parameter in (*first.named_parameters(), *second.named_parameters()):
        copy = tied and name == "output.weight"
        assert torch.equal(parameter, whole["embedding.tokens.weight" if copy else name])
        names += [] if copy else [name]
    assert sorted(names) == sorted(whole)


def test_parts_of_the_model_compute_what_the_whole_does():
    model = _model(num_layers=3, **LLAMA)
    first = _gpt(model, layers=range(2), last=False)
    second = _gpt(model, layers=range(2, 3), first=False)
    with torch.no_grad():
        staged = second(first(_tokens()))
        torch.testing.assert_close(staged, _gpt(model)(_tokens()), **ROUNDING)


def test_weights_begin_normal_and_smaller_where_they_are_added_up():
    model = _model(num_layers=8, hidden_size=256, vocab_size=1024)
    whole = _gpt(model)
    layer = whole.layers["7"]
    assert float(layer.attention.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.01)
    for residual in (layer.attention.proj, layer.mlp.down):
        assert float(residual.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.02)
        assert not residual.bias.any()
    assert bool((layer.mlp_norm.weight == 1).all())
    different = [whole.layers[i].mlp.up.weight for i in ("0", "1")]
    assert not torch.equal(*different)
    assert isinstance(layer.attention, Attention)


def test_an_untrained_model_knows_nothing():
    """Every token is about as likely as any other: the loss is log V, less than 0.1 above."""
    with torch.no_grad():
        loss = F.cross_entropy(_gpt(_model())(_tokens()).flatten(0, 1), _tokens(1).flatten())
    assert float(loss) == pytest.approx(np.log(256), abs=0.1)
