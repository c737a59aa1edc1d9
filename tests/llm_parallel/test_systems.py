"""Machines: every number has a source, and one set of efficiencies serves all A100."""

from __future__ import annotations

import dataclasses
import math

import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.system import Efficiency, Link, SystemConfig
from labkit.llm_parallel.systems import SYSTEMS, local_cpu, system_preset

NAMES = (
    "frontier",
    "lumi",
    "selene-a100",
    "vtrain-a100",
    "jean-zay-a100",
    "dgx-h100",
    "supermuc-ng2",
    "local-cpu",
)
WITHOUT_SOURCE = {"name", "device", "sources"}


def test_the_presets_are_those_of_the_study():
    assert tuple(SYSTEMS) == NAMES
    assert all(SYSTEMS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source(name):
    fields = {item.name for item in dataclasses.fields(SystemConfig)} - WITHOUT_SOURCE
    sources = SYSTEMS[name].sources
    assert set(sources) == fields
    assert all(len(text) > 3 for text in sources.values())


@pytest.mark.parametrize(
    ("name", "peak", "memory", "node", "network"),
    [  # data sheets: Tflop/s, TB/s, devices a node, GB/s of the cards of a node
        ("frontier", 191.5, 1.6, 8, 100),
        ("lumi", 191.5, 1.6, 8, 100),
        ("selene-a100", 312, 2.039, 8, 200),
        ("vtrain-a100", 312, 2.039, 8, 100),
        ("jean-zay-a100", 312, 2.039, 8, 50),
        ("dgx-h100", 989.4, 3.35, 8, 400),
        ("supermuc-ng2", 419.4, 1.638, 8, 50),
    ],
)
def test_numbers_are_in_si_units(name, peak, memory, node, network):
    system = SYSTEMS[name]
    assert system.peak_flops == pytest.approx(peak * 1e12)
    assert system.hbm_bandwidth == pytest.approx(memory * 1e12)
    assert system.node_size == node
    assert system.nic_bandwidth * system.nics_per_node == pytest.approx(network * 1e9)


def test_all_a100_machines_share_one_set_of_efficiencies():
    sets = [SYSTEMS[name].efficiency for name in NAMES if "a100" in name]
    assert sets == [Efficiency()] * 3


def test_what_is_fitted_for_other_devices_is_one_number():
    for name in ("frontier", "dgx-h100", "supermuc-ng2"):
        shipped = dataclasses.asdict(SYSTEMS[name].efficiency)
        general = dataclasses.asdict(Efficiency())
        assert [key for key in shipped if shipped[key] != general[key]] == ["gemm"]


@pytest.mark.parametrize("name", NAMES)
def test_efficiencies_are_within_their_bounds(name):
    for item in dataclasses.fields(Efficiency):
        value = getattr(SYSTEMS[name].efficiency, item.name)
        assert item.metadata["low"] <= value <= item.metadata["high"], item.name


@pytest.mark.parametrize("name", NAMES)
def test_links_get_slower_with_size_and_end_with_the_node(name):
    links = SYSTEMS[name].links
    sizes, bandwidths = [link.size for link in links], [link.bandwidth for link in links]
    assert sizes == sorted(sizes)
    assert bandwidths == sorted(bandwidths, reverse=True)
    assert not links or sizes[-1] == SYSTEMS[name].node_size


def test_the_local_machine_is_one_node_of_its_cores():
    here = local_cpu()
    assert here.node_size == here.max_devices >= 1
    assert here is system_preset("local-cpu")
    assert 1e9 < here.peak_flops < 1e12
    assert 1e8 < here.hbm_bytes < 1e13


def test_a_preset_can_be_changed():
    changed = system_preset("frontier", nics_per_node=8)
    assert changed.nics_per_node == 8
    assert changed.replace(nics_per_node=4) == system_preset("frontier")


def test_unknown_machines_and_fields_are_refused_with_what_there_is():
    with pytest.raises(ParameterError, match=r"system='fronteer'.*Did you mean 'frontier'"):
        system_preset("fronteer")
    with pytest.raises(ParameterError, match="'nics' is no choice"):
        system_preset("frontier", nics=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nics_per_node": 0}, "nics_per_node=0"),
        ({"nic_bandwidth": 0.0}, "nic_bandwidth=0.0"),
        ({"peak_flops": -1.0}, "peak_flops=-1.0"),
        ({"links": (Link(4, 1e9),)}, "must join the 8 devices"),
        ({"node_size": 0}, "node_size=0"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        system_preset("selene-a100", **changes)


def test_an_efficiency_below_zero_or_unknown_is_refused():
    with pytest.raises(ParameterError, match=r"gemm=-0\.5"):
        Efficiency(gemm=-0.5)
    with pytest.raises(ParameterError, match="'gem' is no choice"):
        Efficiency().replace(gem=0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"links": 4}, "links=4: use a tuple of Link"),
        ({"links": (Link(8, 0),)}, "links: bandwidth=0: use a number above 0"),
        ({"nic_bandwidth": "fast"}, "nic_bandwidth='fast': use a number of 0 or more"),
        ({"nic_bandwidth": math.inf}, "nic_bandwidth=inf: use a number of 0 or more"),
        ({"hbm_bytes": True}, "hbm_bytes=True: use a number above 0"),
        ({"efficiency": None}, "efficiency=None: use an Efficiency"),
    ],
)
def test_a_machine_without_meaning_is_refused(change, said):
    with pytest.raises(ParameterError, match=said):
        system_preset("frontier", **change)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gemm", 0, "use a number above 0"),
        ("memory", 1.5, "use a share of 1 or less"),
        ("launch_s", math.inf, "use a number of 0 or more"),
        ("intra_link", True, "use a number above 0"),
    ],
)
def test_scalars_that_no_machine_has_are_refused(name, value, said):
    with pytest.raises(ParameterError, match=f"{name}={value!r}: {said}"):
        Efficiency(**{name: value})
