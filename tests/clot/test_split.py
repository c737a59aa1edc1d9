import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest

from labkit.clot import impulses, library
from labkit.clot.engine import Engine
from labkit.clot.flows import Channel, Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Plasma, Receptors
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.simulation import EngineError
from labkit.clot.split import SplitEngine
from labkit.clot.suspension import Placed, Suspension, plasma_box
from labkit.errors import ParameterError

ImpulseScheme = runpy.run_path(str(Path(__file__).parent / "impulse_scheme.py"))["ImpulseScheme"]

PLAN = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.005, bonded=0.001)
TOO_LARGE = StepPlan.single(0.1)
SMALL = Platelet.oblate(1.2, 0.6)
SOFT = ForceField(receptors=Receptors(D=1.0, alpha=6.0))
ROUNDING = 1e-9
"""Sums of forces in another order differ by 1e-15, which chaos multiplies in tens of steps."""


def two_platelets():
    """Two platelets within reach of each other's receptors, across faces of the box."""
    placed = [Placed(SMALL, [5.0, 0.2, z], [0.0, 0.2, 1.0]) for z in (1.0, 3.0)]
    return Suspension.build([5.2, 5.2, 5.2], placed)


def one_platelet(edge=7.0):
    return Suspension.build([edge] * 3, [Placed(SMALL, [edge / 2] * 3, [0.3, 1.0, 0.2])])


def relaxed(suspension, flow, time=0.2):
    with Engine(suspension, SOFT, flow, seed=5) as engine:
        engine.relax(time=time)
        return engine.snapshot()


def largest_difference(first, second):
    return np.abs(first.unwrapped() - second.unwrapped()).max()


@pytest.mark.parametrize(
    ("flow", "plan"),
    [
        (Quiescent(), PLAN),
        (Shear(0.8), PLAN),
        (Shear(0.8), StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.001)),
        (Shear(0.8), StepPlan.single(0.005)),
    ],
    ids=["at rest", "in shear", "two equal steps", "one step"],
)
def test_trajectories_are_those_of_the_impulse_scheme_across_all_faces(flow, plan):
    suspension = two_platelets()
    start = relaxed(suspension, flow, time=0.5)
    n_steps = round(0.4 / plan.fluid)
    expected = ImpulseScheme(suspension, SOFT, flow.rate, start)
    expected.run(plan, n_steps)
    with SplitEngine(suspension, SOFT, flow, snapshot=start) as engine:
        engine.run(plan, n_steps * plan.fluid, noise=False)
        found = engine.snapshot()
    assert np.abs(found.unwrapped() - expected.x).max() < ROUNDING
    v = found.v.copy()
    v[:, 0] += found.image[:, 1] * flow.rate * suspension.box[1]
    assert np.abs(v - expected.v).max() < 100 * ROUNDING
    beads = slice(suspension.n_beads)
    assert (found.image != start.image)[beads].any()
    assert all((start.image[beads, axis] != 0).any() for axis in (0, 1))
    if flow.rate:
        assert start.tilt > 0 > found.tilt


@pytest.mark.parametrize(
    "forcefield",
    [SOFT, ForceField(receptors=None), ForceField(plasma=Plasma(power=0.5))],
    ids=["usual", "no receptors", "stronger friction"],
)
def test_trajectories_are_those_of_one_lammps_with_four_levels(forcefield):
    suspension = one_platelet()
    start = relaxed(suspension, Quiescent())
    found = []
    for kind in (Engine, SplitEngine):
        with kind(suspension, forcefield, Quiescent(), snapshot=start) as engine:
            engine.run(PLAN, 0.4, noise=False)
            found.append(engine.snapshot())
    assert largest_difference(*found) < ROUNDING
    assert largest_difference(start, found[0]) > 0.02


def test_in_shear_one_lammps_approaches_it_in_proportion_to_the_step():
    suspension = one_platelet(5.2)
    start = relaxed(suspension, Shear(0.4))
    differences = []
    for factor in (1, 4):
        found = []
        for kind in (Engine, SplitEngine):
            with kind(suspension, SOFT, Shear(0.4), snapshot=start) as engine:
                engine.run(PLAN.refined(factor), 0.1, noise=False)
                found.append(engine.snapshot())
        differences.append(largest_difference(*found))
    assert differences[0] / differences[1] == pytest.approx(4, rel=0.35)


def test_plasma_left_to_the_fluid_feels_no_platelet(monkeypatch):
    suspension = one_platelet()
    flow = Shear(0.5)
    start = relaxed(suspension, flow)
    renewed = []
    renew = impulses.Impulses._renew_shell
    monkeypatch.setattr(
        impulses.Impulses, "_renew_shell", lambda self: renewed.append(1) or renew(self)
    )
    found = []
    for shell in (0.2, 1.5):
        monkeypatch.setattr(impulses, "SHELL", shell)
        with SplitEngine(suspension, SOFT, flow, snapshot=start) as engine:
            engine.run(PLAN, 0.6, noise=False)
            found.append(engine.snapshot())
        renewed.append(0)
    assert largest_difference(*found) < ROUNDING
    assert sum(renewed[: renewed.index(0)]) > 2


@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.8)], ids=["at rest", "in shear"])
def test_a_restored_state_repeats_bit_for_bit_with_noise(flow):
    suspension = two_platelets()
    start = relaxed(suspension, flow)
    found = []
    with SplitEngine(suspension, SOFT, flow, seed=3, snapshot=start) as engine:
        for _ in range(2):
            engine.restore(start)
            engine.run(PLAN, 0.1)
            engine.run(PLAN, 0.1)
            found.append(engine.snapshot())
        assert [segment.start for segment in engine.segments] == pytest.approx([0.2, 0.3] * 2)
    with SplitEngine(suspension, SOFT, flow, seed=3, snapshot=start) as another:
        another.run(PLAN, 0.1)
        middle = another.snapshot()
    with SplitEngine(suspension, SOFT, flow, seed=3, snapshot=middle) as another:
        another.run(PLAN, 0.1)
        found.append(another.snapshot())
    for again in found[1:]:
        assert np.array_equal(found[0].x, again.x)
        assert np.array_equal(found[0].v, again.v)
        assert np.array_equal(found[0].image, again.image)
    assert found[0].time == pytest.approx(start.time + 0.2)


def test_momentum_is_conserved_with_noise():
    suspension = two_platelets()
    start = relaxed(suspension, Quiescent())
    with SplitEngine(suspension, SOFT, Quiescent(), snapshot=start) as engine:
        engine.run(PLAN, 1.0)
        assert np.abs(engine.snapshot().v.sum(axis=0) - start.v.sum(axis=0)).max() < ROUNDING


def test_plasma_and_platelet_have_the_temperature_of_the_thermostat():
    """Samples of 250 degrees of freedom scatter by 9 % each; 60 of them, two thirds
    independent, by 1.5 %. The steps themselves heat by up to 2 %."""
    suspension, plan = one_platelet(5.2), PLAN.refined(2)
    with SplitEngine(suspension, SOFT, Quiescent(), seed=2) as engine:
        engine.relax(time=1.0)
        engine.run(plan, 2.0)
        seen = []
        for _ in range(60):
            engine.run(plan, 0.3)
            seen.append(engine.observe())
    platelet = np.mean([observation.temperature for observation in seen])
    fluid = np.mean([observation.fluid_temperature for observation in seen])
    assert platelet == pytest.approx(SOFT.kT, rel=0.06)
    assert fluid == pytest.approx(SOFT.kT, rel=0.03)


def test_a_run_that_blew_up_can_be_restored():
    suspension = two_platelets()
    start = relaxed(suspension, Shear(0.4))
    with SplitEngine(suspension, SOFT, Shear(0.4), snapshot=start) as engine:
        with pytest.raises(EngineError, match=r"plan 0.1 / 0.1 / 0.1 / 0.1 blew up between t=0.2"):
            engine.run(TOO_LARGE, 5.0)
        with pytest.raises(EngineError, match="restore a snapshot"):
            engine.snapshot()
        engine.restore(start)
        engine.run(PLAN, 0.1, noise=False)
        found = engine.snapshot()
    with SplitEngine(suspension, SOFT, Shear(0.4), snapshot=start) as fresh:
        fresh.run(PLAN, 0.1, noise=False)
        assert np.array_equal(fresh.snapshot().x, found.x)


def test_evaluations_are_those_of_the_plan():
    with SplitEngine(two_platelets(), SOFT, Quiescent()) as engine:
        engine.relax(time=0.1)
        segment = engine.run(PLAN, 0.1)
    assert segment.evaluations == PLAN.evaluations(0.1)
    assert segment.cpu_seconds > segment.setup_seconds / 100 > 0


def test_what_it_cannot_do_is_refused_in_a_sentence(monkeypatch):
    suspension = two_platelets()
    with pytest.raises(ParameterError, match="no platelet"):
        SplitEngine(plasma_box([4, 4, 4]), SOFT, Quiescent())
    for flow in (Channel(0.1), ReversePoiseuille(0.1)):
        with pytest.raises(ParameterError, match=r"flow=.* use Quiescent or Shear"):
            SplitEngine(suspension, SOFT, flow)
    with SplitEngine(suspension, SOFT, Quiescent()) as engine:
        with pytest.raises(ParameterError, match="bins=5"):
            engine.run(PLAN, 0.1, bins=5)
        start = engine.snapshot()
        with pytest.raises(ParameterError, match="only Shear can continue"):
            engine.restore(dataclasses.replace(start, tilt=1.0))
        with pytest.raises(ParameterError, match="of the same suspension"):
            engine.restore(dataclasses.replace(start, x=start.x[1:]))
    monkeypatch.setattr(library, "n_ranks", lambda: 2)
    with pytest.raises(ParameterError, match="one rank and this program has 2"):
        SplitEngine(suspension, SOFT, Quiescent())
