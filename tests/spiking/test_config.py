"""Choices are checked as a whole, and the message names the parameter as the user wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labkit.errors import ParameterError
from labkit.spiking import config as configuration
from labkit.spiking.config import PRESETS, SpikingConfig
from labkit.spiking.engine import BACKENDS
from labkit.spiking.graphs import GRAPHS
from labkit.spiking.lava_process import MissingLavaError
from labkit.spiking.readout import TIE_RULES
from labkit.spiking.search import SAMPLERS
from labkit.spiking.tuning import LAVABO


def test_choices_are_those_of_the_modules_that_carry_them_out() -> None:
    assert set(configuration.DATASETS) == set(GRAPHS)
    assert set(configuration.TIE_RULES) == set(TIE_RULES)
    assert set(configuration.BACKENDS) == set(BACKENDS)
    assert configuration.SAMPLERS == (*SAMPLERS, LAVABO)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_fit_json(name: str) -> None:
    config = SpikingConfig.from_preset(name)
    assert json.loads(json.dumps(config.as_dict()))["preset"] == name


def test_none_means_as_in_the_preset() -> None:
    assert SpikingConfig.from_preset("standard", dataset=None).dataset == "cora"
    assert SpikingConfig.from_preset("standard", dataset="pubmed").dataset == "pubmed"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dataset": "coral"}, "dataset='coral' is not allowed.*Did you mean 'cora'"),
        ({"split": "linq"}, "split='linq' is not allowed; use 'planetoid'"),
        ({"window": 2}, "window=2: use a whole number of 3 or more"),
        ({"window": 10**6}, "window=1000000: use a whole number from 3 to 1000"),
        ({"precision": "int8"}, "precision='int8' is not allowed; use 'int', 'float'"),
        ({"sampler": "skopt"}, "sampler='skopt' is not allowed"),
        ({"tie_rule": "lenient"}, "tie_rule='lenient' is not allowed; use 'unique', 'expected'"),
        ({"backend": "jax"}, "backend='jax' is not allowed"),
        ({"n_trials": -1}, "n_trials=-1: use a whole number of 0 or more"),
        ({"n_trials": 2.5}, "n_trials=2.5: use a whole number"),
        ({"lava_queries": 0}, "lava_queries=0: use a whole number of 1 or more"),
        ({"n_jobs": True}, "n_jobs=True"),
        ({"seed": 2**40}, "seed=1099511627776: use a whole number from 0"),
        ({"n_jobs": 10**6}, "n_jobs=1000000: use a whole number from 1 to 1024"),
        ({"features": "yes"}, "features='yes': use True or False"),
        ({"compare_lava": 2}, "compare_lava=2: use True or False"),
        ({"features": True, "dataset": "pubmed"}, "'pubmed' comes without"),
        ({"split": "linqs", "dataset": "microseer"}, "more than 'microseer' has"),
        ({"storage": ""}, "storage='': use a path as text, or None"),
        ({"storage": 3}, "storage=3: use a path as text"),
        ({"storage": "/"}, "storage='/' is a folder; name a file in it"),
        ({"storage": "/dev/null/x"}, "/dev/null is a file"),
        ({"storage": "t.journal", "sampler": "lavabo"}, "solver of Lava cannot resume"),
        ({"out_dir": 5}, "out_dir=5: use a path as text"),
        ({"out_dir": "/dev/null"}, "out_dir='/dev/null': /dev/null is a file; name a folder"),
        ({"windows": 16}, "'windows' is no choice of this study.*Did you mean 'window'"),
    ],
)
def test_wrong_choices_are_named(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SpikingConfig.from_preset("quick", **choices)


def test_lava_that_is_not_here_is_missed_before_anything_runs(monkeypatch: Any) -> None:
    monkeypatch.setenv("LABKIT_LAVA_PYTHON", "/nowhere/python")
    with pytest.raises(MissingLavaError, match=r"environment-lava\.yml"):
        SpikingConfig.from_preset("quick", sampler="lavabo")
    assert SpikingConfig.from_preset("quick", sampler="lavabo", n_trials=0).n_trials == 0


def test_unknown_presets_are_named() -> None:
    with pytest.raises(ParameterError, match="preset='fast' is not allowed; use 'quick'"):
        SpikingConfig.from_preset("fast")
