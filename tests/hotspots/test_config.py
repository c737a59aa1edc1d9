"""Choices are checked as a whole, and the message names the parameter as the user wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labkit.errors import ParameterError
from labkit.hotspots import HotspotConfig
from labkit.hotspots.config import EXAMPLES, FRAGMENT_SCHEMES, NETWORKS, PRESETS, TARGETS
from labkit.hotspots.examples import EXAMPLES as REAL_EXAMPLES
from labkit.hotspots.examples import SERIES
from labkit.hotspots.fragments import SCHEMES
from labkit.hotspots.training import PRESETS as REAL_NETWORKS


def test_choices_are_those_of_the_modules_that_carry_them_out() -> None:
    assert EXAMPLES == REAL_EXAMPLES
    assert TARGETS == SERIES
    assert set(FRAGMENT_SCHEMES) == set(SCHEMES)
    assert set(NETWORKS) == set(REAL_NETWORKS)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_fit_json(name: str) -> None:
    config = HotspotConfig.from_preset(name)
    assert json.loads(json.dumps(config.as_dict()))["preset"] == name


def test_none_means_as_in_the_preset() -> None:
    assert HotspotConfig.from_preset("full", n_seeds=None).n_seeds == 10
    assert HotspotConfig.from_preset("full", n_seeds=2).n_seeds == 2


def test_seeds_count_up_from_the_first() -> None:
    assert HotspotConfig.from_preset("quick", seed=7, n_seeds=3).seeds == (7, 8, 9)


def test_one_trajectory_may_be_given_without_a_list() -> None:
    config = HotspotConfig.from_preset("quick", topology="a.pdb", trajectory="a.xtc")
    assert config.trajectory == ("a.xtc",)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"window": 1}, "window=1: use a whole number of 2 or more"),
        ({"window": 4.5}, r"window=4.5: use a whole number"),
        ({"stride": 0}, "stride=0: use a whole number of 1 or more"),
        ({"n_seeds": True}, "n_seeds=True"),
        ({"seed": -1}, "seed=-1"),
        ({"step": 0}, "step=0: use a whole number of 1 or more"),
        ({"epochs": 0}, "epochs=0"),
        ({"cutoff_A": 9.0}, "cutoff_A=9: use 2 to 7; distances are kept up to 8 angstrom"),
        ({"cutoff_A": "4.5"}, "cutoff_A='4.5': use a number above 0"),
        ({"md_ns": 0}, "md_ns=0: use a number above 0"),
        ({"md_ns": float("inf")}, "md_ns=inf: use a number above 0"),
        ({"ligand": "resname UNK"}, "ligand='resname UNK' is of a system of your own"),
        ({"template": "CCO"}, "template='CCO' is of a system of your own"),
        ({"out_dir": "/dev/null"}, "out_dir='/dev/null': /dev/null is a file; name a folder"),
        ({"out_dir": "/dev/null/x"}, "/dev/null is a file"),
        ({"system": "ergotamin"}, "system='ergotamin'.*Did you mean 'ergotamine'"),
        ({"network": "slow"}, "network='slow' is not allowed; use 'fast', 'bhowmik2018'"),
        ({"fragment_scheme": "ring"}, "Did you mean 'rings'"),
        ({"target": "TYK2"}, "target='TYK2' is not allowed"),
        ({"windows": 16}, "'windows' is no choice of this study.*Did you mean 'window'"),
        ({"trajectory": ["a.xtc"]}, r"trajectory=\['a.xtc'\] needs a topology"),
        ({"simulate": True}, "simulate=True needs a target: use tyk2, mcl1, cdk2, hif2a"),
        (
            {"simulate": True, "target": "tyk2", "topology": "a.pdb"},
            "simulate=True makes a trajectory and topology='a.pdb' names one",
        ),
    ],
)
def test_wrong_choices_are_named(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        HotspotConfig.from_preset("quick", **choices)


def test_unknown_presets_are_named() -> None:
    with pytest.raises(ParameterError, match="preset='fast' is not allowed; use 'quick'"):
        HotspotConfig.from_preset("fast")


def test_a_topology_of_ones_own_is_not_compared_with_the_presets_series() -> None:
    assert HotspotConfig.from_preset("tyk2", topology="a.pdb").target is None
    assert HotspotConfig.from_preset("tyk2", topology="a.pdb", target="mcl1").target == "mcl1"
