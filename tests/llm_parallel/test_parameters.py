"""Counts of parameters: published sizes, and the modules that the runtime really builds."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.models import MODELS, model_preset
from labkit.llm_parallel.parameters import layers_of_stage, num_parameters, stage_parameters
from labkit.llm_parallel.rules import legality
from labkit.llm_parallel.runtime.model import GPT


def random_models(count: int, seed: int = 0) -> list[ModelConfig]:
    """Models of all options, with sizes that eight devices can share."""
    rng = np.random.default_rng(seed)
    models = []
    for _ in range(count):
        groups, queries = rng.choice([4, 8]), rng.choice([1, 2])
        heads = int(groups * queries)
        models.append(
            ModelConfig(
                num_layers=int(rng.choice([4, 8, 12])),
                hidden_size=heads * int(rng.choice([2, 6, 8])),
                num_attention_heads=heads,
                num_query_groups=int(groups),
                ffn_hidden_size=rng.choice([None, 40, 88]),  # type: ignore[arg-type]
                seq_length=int(rng.choice([16, 24])),
                vocab_size=8 * int(rng.integers(4, 40)),
                gated_mlp=bool(rng.integers(2)),
                tie_embeddings=bool(rng.integers(2)),
                normalization=str(rng.choice(["layernorm", "rmsnorm"])),
                position=str(rng.choice(["learned", "rope"])),
                bias=bool(rng.integers(2)),
            )
        )
    return models


@pytest.mark.parametrize("model", random_models(20))
def test_a_model_has_the_parameters_of_the_module_that_is_trained(model):
    module = GPT(model, device="meta")
    assert num_parameters(model) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "billions"),
    [  # sizes of Narayanan et al., SC'21, Table 1; 174.6 is GPT-3 with 51,200 tokens
        ("megatron-1.7b", 1.7),
        ("megatron-3.6b", 3.6),
        ("megatron-7.5b", 7.5),
        ("megatron-18b", 18.4),
        ("megatron-39b", 39.1),
        ("megatron-76b", 76.1),
        ("megatron-146b", 145.6),
        ("megatron-310b", 310.1),
        ("megatron-530b", 529.6),
        ("megatron-1t", 1008.0),
        ("gpt-175b", 174.6),
        ("gpt-1t", 1008.0),
    ],
)
def test_published_models_have_their_published_size(name, billions):
    assert num_parameters(model_preset(name)) / 1e9 == pytest.approx(billions, rel=1e-3, abs=0.05)


@pytest.mark.parametrize(
    ("name", "exact"), [("llama-3-8b", 8030261248), ("llama-3-70b", 70553706496)]
)
def test_open_weights_have_exactly_the_numbers_in_their_files(name, exact):
    """The counts are those that the model repositories show for the published tensors."""
    assert num_parameters(model_preset(name)) == exact


@pytest.mark.parametrize("model", random_models(6, seed=1))
@pytest.mark.parametrize(
    ("pp", "virtual_pp", "schedule"), [(2, 1, "1f1b"), (4, 1, "1f1b"), (2, 2, "interleaved_1f1b")]
)
def test_stages_hold_the_parameters_of_their_modules(model, pp, virtual_pp, schedule):
    strategy = ParallelConfig(pp=pp, virtual_pp=virtual_pp, schedule=schedule, global_batch_size=8)
    chunks = pp * virtual_pp
    each = model.num_layers // chunks
    for stage in range(pp):
        held = 0
        for chunk in range(stage, chunks, pp):
            layers = range(chunk * each, (chunk + 1) * each)
            part = GPT(
                model, layers=layers, first=chunk == 0, last=chunk == chunks - 1, device="meta"
            )
            held += sum(p.numel() for p in part.parameters())
        assert stage_parameters(model, strategy, stage).item() == held


@pytest.mark.parametrize("model", random_models(6, seed=2))
@pytest.mark.parametrize("pp", [1, 2, 4])
def test_pipeline_stages_together_hold_the_model_and_the_copy_of_a_tied_table(model, pp):
    held = sum(stage_parameters(model, ParallelConfig(pp=pp), stage).item() for stage in range(pp))
    copy = model.vocab_size * model.hidden_size if model.tie_embeddings and pp > 1 else 0
    assert held == num_parameters(model) + copy


def test_a_v_shaped_pipeline_needs_no_copy_of_a_tied_table():
    model = model_preset("gpt-tiny", num_layers=8)
    strategy = ParallelConfig(pp=2, virtual_pp=2, schedule="zbv", global_batch_size=4)
    held = [stage_parameters(model, strategy, stage).item() for stage in (0, 1)]
    assert sum(held) == num_parameters(model)


@pytest.mark.parametrize(
    ("schedule", "virtual_pp"), [("1f1b", 1), ("interleaved_1f1b", 2), ("zbv", 2)]
)
@pytest.mark.parametrize("counted", [False, True])
def test_stages_share_out_all_layers(schedule, virtual_pp, counted):
    model = model_preset("gpt-tiny", num_layers=22 if counted else 24)
    strategy = ParallelConfig(
        pp=4, virtual_pp=virtual_pp, schedule=schedule, count_embeddings_as_layers=counted
    )
    layers = [layers_of_stage(model, strategy, stage).item() for stage in range(4)]
    assert sum(layers) == model.num_layers
    assert all(number == int(number) for number in layers)


def test_columns_give_what_single_configurations_give():
    models = [model for model, _ in MODELS.values()]
    strategies = [
        ParallelConfig(tp=tp, pp=pp, count_embeddings_as_layers=counted)
        for tp, pp, counted in itertools.product((1, 2), (1, 2), (False, True))
    ]
    pairs = [(m, s) for m, s in itertools.product(models, strategies) if legal(m, s)]
    stages = np.array([s.pp - 1 for _, s in pairs])
    columns = ModelColumns.of(m for m, _ in pairs), ParallelColumns.of(s for _, s in pairs)
    single = [stage_parameters(m, s, s.pp - 1).item() for m, s in pairs]
    assert stage_parameters(*columns, stages).tolist() == single


def test_counts_are_exact_with_small_integer_columns():
    """A search may store its columns in a byte each; nothing may overflow."""
    strategy = ParallelConfig(tp=8, pp=64, dp=2, global_batch_size=128)
    wide = ParallelColumns.of(strategy)
    small = {
        field.name: getattr(wide, field.name).astype(np.uint8)
        for field in dataclasses.fields(ParallelColumns)
    }
    model = model_preset("gpt-1t")
    assert stage_parameters(model, ParallelColumns(**small), 63) == stage_parameters(
        model, strategy, 63
    )


def legal(model: ModelConfig, strategy: ParallelConfig) -> bool:
    return bool(legality(model, ParallelColumns.of(strategy))[0] < 0)
