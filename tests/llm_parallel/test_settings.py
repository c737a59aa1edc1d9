"""Choices of a run: what is not allowed is refused in one line that names the parameter."""

from __future__ import annotations

import re

import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.settings import PRESETS, LLMParallelConfig

BAD = {
    "tp does not divide the heads": ({"tp": 5}, "n_devices=1024 is no multiple of tp * pp"),
    "pp does not divide the layers": ({"pp": 64}, "pp=64 does not divide num_layers=96"),
    "chunks without a schedule for them": ({"virtual_pp": 2}, "virtual_pp=2: schedule='1f1b'"),
    "interleaving of one chunk": ({"schedule": "interleaved_1f1b"}, "virtual_pp=1: schedule"),
    "chunks that do not divide": (
        {"virtual_pp": 4, "schedule": "interleaved_1f1b"},
        "virtual_pp=4 does not divide the 6 layers",
    ),
    "batch that does not divide": ({"global_batch_size": 5121}, "global_batch_size=5121 is no"),
    "micro-batch larger than the batch of a replica": (
        {"micro_batch_size": 512, "global_batch_size": 1024},
        "global_batch_size=1024 is no multiple",
    ),
    "no devices": ({"n_devices": 0}, "n_devices=0: use a whole number of 1 or more"),
    "negative tp": ({"tp": -4}, "tp=-4: use a whole number of 1 or more"),
    "fraction of a stage": ({"pp": 2.5}, "pp=2.5: use a whole number"),
    "true is not a number": ({"tp": True}, "tp=True: use a whole number"),
    "text is not a number": ({"tp": "4"}, "tp='4': use a whole number"),
    "devices beyond the machine": ({"n_devices": 10**8}, "n_devices=100000000: frontier has"),
    "devices that are no multiple": ({"n_devices": 1000}, "n_devices=1000 is no multiple"),
    "unknown model": ({"model": "gpt-175"}, "Did you mean 'gpt-175b'?"),
    "unknown system": ({"system": "frontiers"}, "Did you mean 'frontier'?"),
    "unknown schedule": ({"schedule": "1F1B"}, "schedule='1F1B' is not allowed"),
    "unknown engine": ({"engine": "optuno"}, "Did you mean 'optuna'?"),
    "unknown data": ({"measured": "vtrain"}, "measured='vtrain' is not allowed"),
    "stage of ZeRO": ({"zero_stage": 4}, "zero_stage=4: use a whole number from 0 to 3"),
    "selective with flash attention": ({"recompute": "selective"}, "recompute='selective'"),
    "sequence parallelism of one": (
        {"sequence_parallel": True, "tp": 1},
        "sequence_parallel=True needs tp of 2 or more",
    ),
    "word for a switch": ({"flash_attention": "yes"}, "flash_attention='yes': use True or False"),
    "list for a name": ({"model": ["gpt-22b"]}, "model=['gpt-22b'] is not allowed"),
    "runs that are not there": ({"runs_csv": "no/such.csv"}, "runs_csv='no/such.csv' is no file"),
    "storage that is a folder": ({"storage": "."}, "storage='.' is a folder"),
    "folder in a file": ({"out_dir": __file__}, "is a file; name a folder"),
    "heads of the small model": ({"real_tp": 3}, "real_tp=3: the small model has 4 heads"),
    "too many processes": ({"real_dp": 64, "real_pp": 2}, "real_tp * real_pp * real_dp = 256"),
    "one step shows no gradient": (
        {"real_steps": 1},
        "real_steps=1: use a whole number of 2 or more",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_allowed_is_refused_in_one_line(case):
    given, message = BAD[case]
    with pytest.raises(ParameterError, match=re.escape(message)) as refused:
        LLMParallelConfig.from_preset("quick", **given)
    assert "\n" not in str(refused.value)


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(ParameterError, match="Did you mean 'n_devices'"):
        LLMParallelConfig.from_preset("quick", n_device=8)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_legal_and_use_all_devices(preset):
    config = LLMParallelConfig.from_preset(preset)
    assert config.strategy().n_devices == config.n_devices
    assert config.as_dict()["preset"] == preset


def test_every_model_of_the_real_run_has_layers_for_its_stages():
    config = LLMParallelConfig.from_preset("quick", real_pp=4)
    assert config.real_model().num_layers % config.real_strategy().pp == 0
