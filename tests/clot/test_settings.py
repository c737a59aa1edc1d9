"""Choices of a run: what is not allowed is refused in one line that names the parameter."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from labkit.clot import settings
from labkit.clot.aggregation import SEGMENT
from labkit.clot.caps import stability_caps
from labkit.clot.control.ladder import ladder
from labkit.clot.scenes import MOST_PLATELETS
from labkit.clot.settings import PRESETS, RANGES, ClotConfig
from labkit.errors import ParameterError

NAMES = ("scene", "flow", "controller", "engine")
COUNTS = ("n_platelets", "seeds", "ranks", "seed")
NO_NUMBERS = ["0.2", "", "abc", math.nan, math.inf, -math.inf, True, [1.0], {}, b"1"]

BAD = {
    "unknown preset": ({"preset": "fast"}, "preset='fast' is not allowed; use 'quick', 'full'"),
    "preset that is no name": ({"preset": ["quick"]}, "preset=['quick'] is not allowed"),
    "unknown scene": ({"scene": "cloth"}, "Did you mean 'clot'?"),
    "scene without platelets": ({"scene": "plasma"}, "scene='plasma' is not allowed"),
    "unknown flow": ({"flow": "poiseuille"}, "Did you mean 'reverse-poiseuille'?"),
    "unknown controller": ({"controller": "learnt"}, "Did you mean 'learned'?"),
    "unknown engine": (
        {"engine": "verlet"},
        "engine='verlet' is not allowed; use 'respa', 'split'",
    ),
    "fluid at rest": (
        {"shear_rate": 0},
        "shear_rate=0 is not allowed; use a number from 0.001 to 0.5",
    ),
    "clot in fast flow": (
        {"scene": "clot", "shear_rate": 0.4},
        "shear_rate=0.4 is not allowed with scene='clot'; use at most 0.3",
    ),
    "flow backwards": ({"shear_rate": -0.1}, "shear_rate=-0.1 is not allowed"),
    "flow that heats the plasma": ({"shear_rate": 5.0}, "a faster flow heats the plasma"),
    "flow that takes hours": ({"shear_rate": 1e-6}, "takes hours of computing"),
    "no platelets": ({"n_platelets": 0}, "n_platelets=0: use a whole number of 2 or more"),
    "one platelet": ({"n_platelets": 1}, "n_platelets=1: use a whole number of 2 or more"),
    "more platelets than published": (
        {"n_platelets": MOST_PLATELETS + 1},
        f"n_platelets={MOST_PLATELETS + 1}: use a whole number from 2 to {MOST_PLATELETS}",
    ),
    "ball": ({"platelet_c": 1.5}, "platelet_a=2 is not allowed with platelet_c=1.5; a platelet is"),
    "thicker than wide": ({"platelet_c": 5}, "use at least 1.5 platelet_c, which is 7.5"),
    "no room for cytoplasm": ({"platelet_c": 0.3}, "platelet_c=0.3 is not allowed"),
    "platelet of a point": ({"platelet_a": 0.0}, "platelet_a=0.0 is not allowed"),
    "platelet of a room": ({"platelet_a": 1e300}, "platelet_a=1e+300 is not allowed"),
    "repelling receptors": ({"receptor_D": -8.0}, "receptor_D=-8.0 is not allowed"),
    "receptors that do nothing": ({"receptor_D": 0}, "receptor_D=0 is not allowed"),
    "receptors that burn": ({"receptor_D": 50.0}, "heat the platelets that they bind"),
    "receptors without shape": ({"receptor_alpha": 0}, "receptor_alpha=0 is not allowed"),
    "receptors as wide as a platelet": ({"receptor_alpha": 1.0}, "pull membranes through each"),
    "no tolerance": ({"tolerance": 0}, "tolerance=0 is not allowed"),
    "negative tolerance": ({"tolerance": -1}, "tolerance=-1 is not allowed; use a number from"),
    "tolerance of a particle": ({"tolerance": 1.0}, "tolerance=1.0 is not allowed"),
    "time below a segment": ({"time": 0.4}, "time=0.4 is not allowed; use a number from 0.5"),
    "time without end": ({"time": 1e9}, "years of computing"),
    "plasma without a profile": ({"plasma_time": 1.0}, "plasma_time=1.0 is not allowed"),
    "no turn": ({"tumbling_strain": 0.5}, "tumbling_strain=0.5 is not allowed"),
    "no lesson": ({"lesson_time": 0.01}, "lesson_time=0.01 is not allowed"),
    "an ensemble of one": ({"seeds": 1}, "seeds=1: use a whole number of 2 or more"),
    "an ensemble of all": ({"seeds": 10**6}, "seeds=1000000: use a whole number from 2 to 100"),
    "half a seed": ({"seeds": 2.5}, "seeds=2.5: use a whole number"),
    "negative seed": ({"seed": -1}, "seed=-1: use a whole number of 0 or more"),
    "seed that LAMMPS cannot hold": ({"seed": 2**31}, f"seed={2**31}: use a whole number from 0"),
    "no ranks": ({"ranks": 0}, "ranks=0: use a whole number of 1 or more"),
    "word for a switch": ({"compare": "yes"}, "compare='yes' is not allowed; use True, False"),
    "number for a switch": ({"compare": 1}, "compare=1 is not allowed"),
    "folder in a file": ({"out_dir": __file__}, "is a file; name a folder"),
    "folder in a device": ({"out_dir": "/dev/null/x"}, "/dev/null is a file; name a folder"),
    "folder without a name": ({"out_dir": ""}, "out_dir='' is not allowed; use a path as text"),
    "folder that is a number": ({"out_dir": 3}, "out_dir=3 is not allowed; use a path as text"),
    "name that is too long": ({"out_dir": "a" * 300}, "cannot be a folder (File name too long)"),
    "home of nobody": ({"out_dir": "~nobody-of-that-name/x"}, "cannot be a folder"),
    "name that no folder has": ({"out_dir": "a\0b"}, "use a path as text"),
}


def refusal(**choices) -> str:
    """The message with which choices are refused, a single line."""
    with pytest.raises(ParameterError) as refused:
        ClotConfig.from_preset(choices.pop("preset", "quick"), **choices)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_allowed_is_refused_in_one_line(case):
    given, message = BAD[case]
    assert message in refusal(**given)


@pytest.mark.parametrize("name", [*RANGES, *COUNTS])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_with_the_name_and_the_value(name, value):
    assert refusal(**{name: value}).startswith(f"{name}={value!r}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["", 0, 1.5, True, math.nan, ["clot"], {}], ids=repr)
def test_what_is_no_name_is_refused_with_those_that_are(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed; use '")


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_allowed_and_no_more(name):
    """With a platelet for which both ends of the other semi-axis are allowed."""
    allowed = RANGES[name]
    rest = {"platelet_a": {"platelet_c": 0.6}, "platelet_c": {"platelet_a": 10.0}}.get(name, {})
    for value in (allowed.low, allowed.high):
        assert getattr(ClotConfig.from_preset("quick", **rest, **{name: value}), name) == value
    for value in (allowed.low * 0.99, allowed.high * 1.01):
        message = refusal(**rest, **{name: value})
        assert f"from {allowed.low:g} to {allowed.high:g}" in message
        assert allowed.reason in message


def test_an_unknown_choice_names_the_nearest():
    assert "Did you mean 'n_platelets'?" in refusal(n_platelet=8)


def test_more_ranks_than_cores_are_refused_and_a_preset_asks_for_no_more(monkeypatch):
    monkeypatch.setattr(settings, "usable_cores", lambda: 1)
    assert refusal(ranks=2).startswith("ranks=2 is not allowed, as this process may use 1 core")
    assert ClotConfig.from_preset("full").ranks == 1
    monkeypatch.setattr(settings, "usable_cores", lambda: 4)
    assert ClotConfig.from_preset("full", ranks=4).ranks == 4
    assert ClotConfig.from_preset("full").ranks == PRESETS["full"].ranks


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_legal_and_named(preset):
    config = ClotConfig.from_preset(preset)
    assert config.preset == preset
    assert config.validate() is config
    assert json.loads(json.dumps(config.as_dict())) == dataclasses.asdict(config)


def test_the_full_preset_is_an_ensemble_of_clots_and_the_quick_one_is_less_of_everything():
    quick, full = PRESETS["quick"], PRESETS["full"]
    assert full.scene == "clot"
    assert full.n_platelets >= 6
    assert full.seeds >= 5
    assert full.compare
    for name in ("time", "plasma_time", "tumbling_strain", "lesson_time", "seeds", "ranks"):
        assert getattr(quick, name) <= getattr(full, name)


def test_nothing_given_is_what_the_preset_has():
    nothing = {item.name: None for item in dataclasses.fields(ClotConfig) if item.name != "preset"}
    assert ClotConfig.from_preset("quick", **nothing) == ClotConfig.from_preset("quick")


def test_the_shortest_run_is_a_segment():
    assert RANGES["time"].low == SEGMENT


def test_numbers_of_numpy_are_taken_and_can_be_written():
    given = {"shear_rate": np.float32(0.5), "seeds": np.int64(3), "compare": np.bool_(True)}
    config = ClotConfig.from_preset("quick", **given, platelet_a=np.int64(3))
    assert (config.shear_rate, config.seeds, config.compare) == (0.5, 3, True)
    assert json.loads(json.dumps(config.as_dict()))["platelet_a"] == 3


def test_the_ensemble_starts_at_the_seed():
    assert list(ClotConfig.from_preset("quick", seed=5, seeds=3).ensemble()) == [5, 6, 7]


@pytest.mark.parametrize("kind", settings.SCENES)
def test_the_system_has_what_was_chosen(kind):
    config = ClotConfig.from_preset(
        "quick", scene=kind, n_platelets=3, shear_rate=0.1, receptor_D=4.0, receptor_alpha=20.0
    )
    made = config.system()
    assert made.name == kind
    assert made.suspension.n_platelets == {"collision": 2, "clot": 3}[kind]
    assert made.flow.rate == 0.1
    assert (made.forcefield.receptors.D, made.forcefield.receptors.alpha) == (4.0, 20.0)


def test_receptors_that_are_not_chosen_are_those_of_the_training():
    first = ClotConfig.from_preset("quick").system().forcefield.receptors
    assert (
        first == ClotConfig.from_preset("quick", receptor_D=first.D).system().forcefield.receptors
    )


def test_plasma_around_a_platelet_starts_elsewhere_for_each_seed():
    config = ClotConfig.from_preset("quick", seed=1)
    first, again, other = config.system(), config.system(seed=1), config.system(seed=2)
    np.testing.assert_array_equal(first.suspension.positions, again.suspension.positions)
    n = first.suspension.n_beads
    assert not np.allclose(first.suspension.positions[n:][:50], other.suspension.positions[n:][:50])


@pytest.mark.parametrize(("a", "c"), [(1.8, 0.6), (2.5, 0.6), (3.0, 0.75), (3.0, 1.8)])
def test_other_shapes_have_the_plans_that_the_networks_know(a, c):
    """A ladder that differed could not be judged by them at all."""
    usual = ClotConfig.from_preset("quick").system()
    made = ClotConfig.from_preset("quick", platelet_a=a, platelet_c=c).system()
    plans, known = (ladder(stability_caps(one.suspension, one.forcefield)) for one in (made, usual))
    assert plans == known


def test_messages_are_sentences():
    for given, _ in BAD.values():
        assert re.fullmatch(r".*[.?]", refusal(**dict(given)))
