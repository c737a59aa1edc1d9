"""Static caps: frequencies against closed forms, limits against runs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from labkit.clot.caps import (
    blow_up_step,
    bond_frequency,
    bond_hessian,
    drag_rate,
    stability_caps,
    temperature_ladder,
)
from labkit.clot.engine import Engine
from labkit.clot.flows import Quiescent
from labkit.clot.forcefield import ForceField, Membrane, Plasma
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.scenes import equilibrate
from labkit.clot.suspension import Placed, Suspension, plasma_box
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.005)


@pytest.fixture(scope="module")
def small() -> Suspension:
    """A small platelet in plasma, 554 particles."""
    return Suspension.build(
        (5.6, 5.6, 5.6), [Placed(Platelet.oblate(1.3, 0.6), (2.8, 2.8, 2.8))], seed=1
    )


@pytest.fixture(scope="module")
def engine(small):
    """The small platelet in equilibrium, without receptors, in plasma at rest."""
    with Engine(small, ForceField(receptors=None), Quiescent(), seed=3) as running:
        equilibrate(running, plan=PLAN)
        yield running


def chain(n: int) -> Suspension:
    """n beads on a line along (1, 2, 2)/3, joined by springs."""
    along = np.arange(n)[:, None] * np.array([1.0, 2.0, 2.0]) / 3
    bonds = np.column_stack([np.arange(n - 1), np.arange(1, n)])
    return Suspension(
        box=np.full(3, 50.0),
        positions=along,
        types=np.full(n, 2),
        molecule=np.ones(n, dtype=int),
        bonds=bonds,
        rest_lengths=np.ones(n - 1),
        is_strut=np.zeros(n - 1, dtype=bool),
        triangles=np.zeros((0, 3), dtype=int),
    )


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_a_chain_vibrates_at_the_frequency_of_the_closed_form(n):
    """omega_max^2 = 2 k (1 + cos(pi/n)) for a free chain of unit masses, k = 2 K."""
    forcefield = ForceField(membrane=Membrane(K_edge=300.0, K_strut=1.0))
    expected = math.sqrt(2 * 600.0 * (1 + math.cos(math.pi / n)))
    assert bond_frequency(chain(n), forcefield) == pytest.approx(expected, rel=1e-9)


def test_lanczos_finds_what_a_dense_solver_finds(small):
    forcefield = ForceField()
    dense = np.linalg.eigvalsh(bond_hessian(small, forcefield).toarray())
    assert bond_frequency(small, forcefield) == pytest.approx(math.sqrt(dense[-1]), rel=1e-10)


def test_springs_at_rest_have_six_free_motions_and_no_unstable_one(small):
    """Membranes are rigid frames: three translations, three rotations, all else costs energy."""
    membrane = np.arange(3 * len(np.unique(small.bonds)))
    hessian = bond_hessian(small, ForceField()).toarray()[np.ix_(membrane, membrane)]
    stiffness = np.linalg.eigvalsh(hessian)
    assert np.all(np.abs(stiffness[:6]) < 1e-9 * stiffness[-1])
    assert stiffness[6] > 1e-6 * stiffness[-1]


def test_the_hessian_is_the_change_of_the_force(small):
    """Against central differences of the energy's gradient at rest, written independently."""
    forcefield, h = ForceField(), 1e-6
    first, second = small.bonds.T
    stiffness = np.where(small.is_strut, forcefield.membrane.K_strut, forcefield.membrane.K_edge)

    def gradient(x: np.ndarray) -> np.ndarray:
        apart = x[second] - x[first]
        length = np.linalg.norm(apart, axis=1)
        pull = (2 * stiffness * (length - small.rest_lengths) / length)[:, None] * apart
        total = np.zeros_like(x)
        np.add.at(total, second, pull)
        np.add.at(total, first, -pull)
        return total

    rest = small.positions[: small.n_beads]
    way = np.random.default_rng(0).normal(size=rest.shape)
    expected = (gradient(rest + h * way) - gradient(rest - h * way)) / (2 * h)
    found = bond_hessian(small, forcefield) @ way.ravel()
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-4 * np.abs(found).max())


def test_springs_of_four_times_the_stiffness_vibrate_twice_as_fast(small):
    soft = ForceField()
    stiff = replace(soft, membrane=Membrane(K_edge=4000.0, K_strut=400.0))
    assert bond_frequency(small, stiff) == pytest.approx(2 * bond_frequency(small, soft))


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0, 2.0])
def test_the_drag_is_the_integral_of_the_pair_friction(power):
    integral, _ = quad(lambda r: 4 * math.pi * r**2 * (1 - r) ** (2 * power) / 3, 0, 1)
    assert drag_rate(7.0, density=2.0, power=power) == pytest.approx(14.0 * integral)


def test_each_cap_is_the_smallest_of_its_limits_and_has_a_reason(small):
    caps = stability_caps(small, ForceField())
    frame = caps.frame
    assert set(frame["level"]) == {"fluid", "interface", "nonbonded", "bonded"}
    assert frame["reason"].str.len().gt(0).all()
    for level, rows in frame.groupby("level"):
        assert getattr(caps, level) == rows["step"].min()
        assert rows.loc[rows["holds"], "step"].eq(rows["step"].min()).all()


def test_friction_is_what_caps_a_coarse_interface(small):
    sticky = replace(ForceField().interface, gamma=4000.0)
    caps = stability_caps(small, ForceField(interface=sticky))
    rate = drag_rate(4000.0, density=3.0)
    assert caps.interface == pytest.approx(0.5 / rate)


def test_plasma_alone_has_no_cap_but_its_own_friction():
    caps = stability_caps(plasma_box([5, 5, 5]), ForceField(plasma=Plasma(gamma=20.0)))
    assert list(caps.frame["level"]) == ["fluid"]
    assert math.isinf(caps.blow_up)


@pytest.mark.parametrize("noise", [False, True])
def test_springs_blow_up_where_the_hessian_says(engine, noise):
    """2/omega_max is exact for springs alone; friction and cytoplasm shift it by a few percent.

    The bar is 20 %; measured are less than 3 %.
    """
    expected = stability_caps(engine.suspension, engine.forcefield).blow_up
    found = blow_up_step(
        engine, noise=noise, low=0.6 * expected, high=1.7 * expected, tolerance=0.05
    )
    assert found == pytest.approx(expected, rel=0.1)


def test_a_search_between_two_steps_that_both_work_is_refused(engine):
    with pytest.raises(ParameterError, match=r"high=0\.004 is not allowed, as that step works"):
        blow_up_step(engine, low=0.002, high=0.004, time=0.1)


def test_a_search_from_a_step_that_blows_up_is_refused(engine):
    before = engine.snapshot()
    with pytest.raises(ParameterError, match=r"low=0\.1 is not allowed, as that step blows up"):
        blow_up_step(engine, low=0.1, high=0.2, noise=False)
    np.testing.assert_array_equal(engine.snapshot().x, before.x)


def test_temperatures_below_the_caps_are_those_of_the_bath(engine):
    """53 beads have 153 vibrations: 8 samples of them scatter by 4 %, of the plasma by 1 %."""
    before, n_segments = engine.snapshot(), len(engine.segments)
    frame = temperature_ladder(engine, [PLAN], time=8.0, segment=1.0, settle=1.0)
    assert frame.loc[0, "plan"] == str(PLAN)
    assert frame.loc[0, "T_platelet"] == pytest.approx(1.0, abs=0.16)
    assert frame.loc[0, "T_fluid"] == pytest.approx(1.0, abs=0.06)
    assert len(engine.segments) == n_segments + 9
    np.testing.assert_array_equal(engine.snapshot().x, before.x)
