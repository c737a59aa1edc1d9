"""Models and strategies: what alone has no meaning is refused, and numbers are plain."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.memory import peak_bytes
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.rules import RULES, check, legality


def test_small_whole_numbers_of_numpy_do_not_overflow():
    model = ModelConfig(
        num_layers=np.int8(4), hidden_size=np.int16(12288), num_attention_heads=np.int8(96)
    )
    strategy = ParallelConfig(micro_batch_size=np.int8(64), dp=np.int8(4), global_batch_size=256)
    assert model.ffn_size == 49152
    assert strategy.num_microbatches == 1
    assert json.loads(json.dumps(vars(model)))["hidden_size"] == 12288
    assert repr(strategy) == repr(strategy.replace(dp=4, micro_batch_size=64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tp": True}, "tp=True: use a whole number"),
        ({"tp": 2.0}, "tp=2.0: use a whole number"),
        ({"recompute": np.array(["none"])}, "recompute=array.* is not allowed"),
        ({"sequence_parallel": 1}, "sequence_parallel=1: use True or False"),
    ],
)
def test_choices_of_another_type_are_refused(change, said):
    with pytest.raises(ParameterError, match=said):
        ParallelConfig(**change)


def test_a_name_is_a_text():
    with pytest.raises(ParameterError, match="name=None: use a text"):
        model_preset("gpt-22b").replace(name=None)


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("m", [3, 13])
def test_zero_bubble_schedules_need_whole_rounds(chunks, m):
    strategy = ParallelConfig(pp=4, virtual_pp=chunks, schedule="zb_h1", global_batch_size=m)
    broken = legality(model_preset("gpt-22b"), ParallelColumns.of(strategy))[0]
    assert RULES[broken].reason == "micro-batches / pp"
    with pytest.raises(ParameterError, match=f"not {m}; use global_batch_size={-(-m // 4) * 4}"):
        check(model_preset("gpt-22b"), strategy)


def test_one_replica_has_nothing_to_share_out():
    """ZeRO gathers and reduces nothing without another replica, so no stage needs more memory."""
    alone = [ParallelConfig(pp=48, global_batch_size=4, zero_stage=stage) for stage in range(4)]
    assert len(set(peak_bytes(model_preset("gpt-22b"), ParallelColumns.of(alone)))) == 1
