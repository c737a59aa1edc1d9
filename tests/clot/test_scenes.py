"""Scenes: what they hold, that plasma stays outside, and that platelets meet and stick."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from labkit.clot.engine import Engine
from labkit.clot.flows import Quiescent, ReversePoiseuille, Shear
from labkit.clot.plans import StepPlan
from labkit.clot.proximity import minimum_image
from labkit.clot.scenes import equilibrate, scene
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.0025, bonded=0.0025)
NAMES = ["plasma", "tumbling", "collision", "clot"]


def n_plasma_inside(suspension, snapshot):
    """Plasma particles that a membrane, as it is now, goes around (winding number above 1/2)."""
    x, found = snapshot.unwrapped(), 0
    plasma = x[suspension.n_beads :]
    for p in range(suspension.n_platelets):
        membrane = suspension.membrane(p)
        center = x[membrane].mean(axis=0)
        offset = minimum_image(plasma - center, snapshot.box, snapshot.tilt)
        offset = offset[np.linalg.norm(offset, axis=1) < 3.0]
        own = suspension.molecule[suspension.triangles[:, 0]] == p + 1
        corners = (x - center)[suspension.triangles[own]]
        a, b, c = (corners[None, :, k] - offset[:, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(side, axis=2) for side in (a, b, c))
        dot = lambda u, v: np.einsum("ptk,ptk->pt", u, v)  # noqa: E731
        below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
        angle = 2 * np.arctan2(dot(a, np.cross(b, c)), below).sum(axis=1)
        found += np.count_nonzero(angle > 2 * np.pi)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_scenes_have_a_few_thousand_particles_in_shear(name):
    ready = scene(name)
    assert ready.name == name
    assert 1500 < ready.suspension.n_particles < 2500
    assert isinstance(ready.flow, Shear)
    assert str(ready.suspension.n_particles - ready.suspension.n_beads) in ready.description
    assert (ready.forcefield.receptors is not None) == (name in ("collision", "clot"))


def test_clot_has_eight_platelets_and_two_fifths_of_beads_at_every_seed():
    for seed in range(3):
        clot = scene("clot", seed=seed).suspension
        assert clot.n_platelets == 8
        assert clot.platelet_fraction >= 0.4


@pytest.mark.parametrize("name", ["collision", "clot"])
def test_platelets_start_apart_and_within_the_others_reach(name):
    ready = scene(name, seed=3)
    suspension = ready.suspension
    x, _ = suspension.wrapped()
    apart = []
    for p in range(suspension.n_platelets):
        own = suspension.membrane(p)
        others = (suspension.types == 2) & (suspension.molecule != p + 1)
        tree = cKDTree(x[others], boxsize=suspension.box)
        apart.append(tree.query(x[own])[0].min())
    assert min(apart) > ready.forcefield.receptors.cutoff
    assert max(apart) < 3.0


def test_seed_shakes_the_clot():
    first, again, other = (scene("clot", seed=s).suspension for s in (1, 1, 2))
    np.testing.assert_array_equal(first.positions, again.positions)
    assert not np.allclose(
        first.positions[first.beads(0)], other.positions[other.beads(0)], atol=0.01
    )


@pytest.mark.parametrize(("n", "a", "c"), [(2, 2, 0.6), (6, 1.0, 0.6), (9, 2, 0.6), (8, 2, 1.3)])
def test_clots_of_any_number_and_shape_fit_in_a_box_near_a_cube(n, a, c):
    clot = scene("clot", n_platelets=n, platelet_a=a, platelet_c=c).suspension
    assert clot.n_platelets == n
    assert clot.box.max() <= 2 * clot.box.min()


def test_changes_arrive():
    clot = scene(
        "clot", shear_rate=0.5, receptor_D=3.0, receptor_alpha=9.0, kT=0.2, plasma_gamma=20.0
    )
    assert clot.flow == Shear(0.5)
    assert (clot.forcefield.receptors.D, clot.forcefield.receptors.alpha) == (3.0, 9.0)
    assert (clot.forcefield.kT, clot.forcefield.plasma.gamma) == (0.2, 20.0)
    assert scene("plasma", shear_rate=0).flow == Quiescent()
    assert scene("plasma", force=0.1).flow == ReversePoiseuille(0.1)
    assert scene("plasma", box=(6, 6, 6), density=4.0).suspension.n_particles == 864


def test_tilt_is_the_angle_of_the_short_axis_from_the_gradient():
    tumbling = scene("tumbling", tilt=0.4, platelet_a=2.2).suspension
    membrane = tumbling.positions[tumbling.membrane(0)]
    axis = np.linalg.svd(membrane - membrane.mean(axis=0))[2][2]
    assert math.atan(axis[0] / axis[1]) == pytest.approx(0.4, abs=0.01)
    assert axis[2] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("clott", {}, "scene='clott' is not allowed; .* Did you mean 'clot'"),
        ("clot", {"n_platelet": 8}, "Did you mean 'n_platelets'"),
        ("tumbling", {"receptor_D": 3.0}, "'receptor_D' is no choice"),
        ("clot", {"n_platelets": 1}, "n_platelets=1: use a whole number"),
        ("clot", {"n_platelets": 9, "box": (8.3, 8.3, 8.3)}, "n_platelets=9 .* room for 8"),
        ("clot", {"platelet_c": 1.2, "box": (9, 9, 9)}, "n_platelets=8 .* room for 4"),
        ("clot", {"receptor_D": -1.0}, "receptor_D=-1.0 is not allowed"),
        ("clot", {"receptor_alpha": "stiff"}, "receptor_alpha='stiff' is not allowed"),
        ("collision", {"platelet_a": 0}, "platelet_a=0 is not allowed"),
        ("collision", {"platelet_c": 1.9}, "platelet_a=2 is not allowed with platelet_c=1.9"),
        ("tumbling", {"spacing": 1.0}, "platelet_c=0.6 is not allowed with spacing=1"),
        ("collision", {"box": (8.0, 9.0, 9.0)}, "two platelet diameters"),
        ("tumbling", {"tilt": 7.0}, "tilt=7.0 is not allowed"),
        ("tumbling", {"tilt": "up"}, "tilt='up' is not allowed"),
        ("tumbling", {"shear_rate": -0.1}, "shear_rate=-0.1 is not allowed"),
        ("plasma", {"shear_rate": 0.1, "force": 0.1}, "give one of them"),
        ("plasma", {"density": 0.0}, "density=0.0 is not allowed"),
        ("plasma", {"seed": -1}, "seed=-1"),
    ],
)
def test_scenes_that_cannot_be_are_refused_in_one_sentence(name, changes, message):
    with pytest.raises(ParameterError, match=message) as refused:
        scene(name, **changes)
    assert "\n" not in str(refused.value)


def test_plasma_settles_at_its_density_and_temperature_and_none_enters_the_platelet():
    ready = scene("tumbling", seed=3, shear_rate=0.0)
    suspension, rng = ready.suspension, np.random.default_rng(0)
    with Engine(suspension, ready.forcefield, ready.flow, seed=1) as engine:
        equilibrate(engine, plan=PLAN, time=2.0)
        ratios, temperatures = [], []
        for _ in range(6):
            engine.run(PLAN, 0.6)
            snapshot = engine.snapshot()
            assert n_plasma_inside(suspension, snapshot) == 0
            tree = cKDTree(snapshot.x[: suspension.n_beads], boxsize=suspension.box)
            points = rng.uniform(size=(20_000, 3)) * suspension.box
            # Beyond 1.6 rc of the beads the layers next to the membrane have died out.
            volume = np.mean(tree.query(points)[0] > 1.6) * np.prod(suspension.box)
            far = tree.query(snapshot.x[suspension.n_beads :])[0] > 1.6
            ratios.append(np.count_nonzero(far) / volume)
            temperatures.append(snapshot.v[suspension.n_beads :].var())
    # Six nearly independent samples: 0.5 % of the density, 0.7 % of the temperature; the fluid
    # step of 0.02 adds 1.4 %.
    assert np.mean(ratios) == pytest.approx(3.0, rel=0.02)
    assert np.mean(temperatures) == pytest.approx(0.1, rel=0.05)


def test_two_platelets_meet_and_stick_and_let_no_plasma_in():
    ready = scene("collision", seed=2)
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=3) as engine:
        equilibrate(engine, plan=PLAN)
        assert engine.observe().contacts.max() < 5
        for _ in range(4):
            engine.run(PLAN, 2.0)
            assert n_plasma_inside(ready.suspension, engine.snapshot()) == 0
        seen = engine.observe()
    assert seen.contacts.min() > 30
    assert seen.gap.max() < ready.forcefield.receptors.r0 + 0.05


def test_platelets_of_the_clot_aggregate():
    ready = scene("clot", seed=2)
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=3) as engine:
        equilibrate(engine, plan=PLAN)
        before = engine.observe().contacts
        engine.run(PLAN, 4.0)
        after = engine.observe().contacts
        assert n_plasma_inside(ready.suspension, engine.snapshot()) == 0
    assert after.min() > 30
    assert after.sum() > 4 * before.sum()


def test_equilibration_needs_only_an_engine_that_runs():
    class Recorder:
        def __init__(self):
            self.ran = []

        def run(self, plan, time):
            self.ran.append((plan, time))

        def snapshot(self):
            return "state"

    engine = Recorder()
    plan = StepPlan.single(0.03)
    assert equilibrate(engine, plan=plan, time=1.0) == "state"
    assert engine.ran == [(plan, pytest.approx(1.02))]
