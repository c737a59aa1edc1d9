import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from labkit.clot.engine import Engine
from labkit.clot.forcefield import ForceField, Interface, Plasma
from labkit.clot.labels import (
    LabelSettings,
    LabelTable,
    Trajectory,
    TrajectoryLabels,
    bead_errors,
    local_errors,
    merged,
)
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.scenes import equilibrate, scene
from labkit.errors import ParameterError

Oscillator = runpy.run_path(str(Path(__file__).parent / "oscillator.py"))["Oscillator"]


def verlet(omega, h, time):
    """Closed form: from rest, step n is at cos(n theta) with cos(theta) = 1 - (omega h)^2 / 2."""
    return math.cos(round(time / h) * math.acos(1 - (omega * h) ** 2 / 2))


def test_labels_of_an_oscillator_are_those_of_the_closed_form():
    steps, reference, window = (0.1, 0.05), 0.0125, 0.4
    engine = Oscillator(omega=3.0)
    found = local_errors(
        engine,
        engine.snapshot(),
        [StepPlan.single(h) for h in steps],
        reference=StepPlan.single(reference),
        window=window,
    )
    exact = [abs(verlet(3.0, h, window) - verlet(3.0, reference, window)) for h in steps]
    np.testing.assert_allclose(found[:, 0], exact, rtol=1e-10)


def test_labels_leave_the_engine_as_it_was_and_charge_nothing():
    engine = Oscillator(omega=3.0)
    engine.run(StepPlan.single(0.1), 0.2)
    before = engine.snapshot()
    settings = {"reference": StepPlan.single(0.0125), "window": 0.4}
    local_errors(engine, before, [StepPlan.single(0.1)], **settings)
    assert (engine.x, engine.v, engine.time) == (before.x[0, 0], before.v[0, 0], 0.2)
    assert len(engine.segments) == 1
    local_errors(engine, before, [StepPlan.single(0.1)], **settings, keep_segments=True)
    assert len(engine.segments) == 3


def test_a_plan_that_blows_up_has_an_infinite_error():
    """Verlet is unstable above omega h = 2."""
    engine = Oscillator(omega=30.0)
    plans = [StepPlan.single(0.01), StepPlan.single(0.1)]
    errors = local_errors(
        engine, engine.snapshot(), plans, reference=StepPlan.single(0.0025), window=1.0
    )
    assert np.isfinite(errors[0]).all()
    assert np.isinf(errors[1]).all()


def test_the_error_of_a_platelet_is_the_rms_of_its_own_beads():
    suspension = SimpleNamespace(n_platelets=2, beads=lambda p: [slice(0, 2), slice(2, 4)][p])
    truth = np.zeros((6, 3))
    moved = truth.copy()
    moved[0] = [3.0, 4.0, 0.0]
    moved[5] = 100.0
    np.testing.assert_allclose(bead_errors(suspension, moved, truth), [5 / math.sqrt(2), 0.0])


SMALL = {"platelet_a": 1.2, "box": (5.1, 5.1, 5.1), "shear_rate": 0}
ALMOST_NONE = 1e-9


@pytest.fixture(scope="module")
def frictionless():
    """A platelet in plasma without friction; forces depend on positions alone."""
    ready = scene("tumbling", **SMALL)
    forces = ForceField(plasma=Plasma(gamma=ALMOST_NONE), interface=Interface(gamma=ALMOST_NONE))
    with Engine(ready.suspension, ready.forcefield, ready.flow, seed=2) as engine:
        start = equilibrate(engine, plan=StepPlan.single(0.005), time=0.5)
    with Engine(ready.suspension, forces, ready.flow, seed=2, snapshot=start) as engine:
        yield engine, start


def order(engine, start, plans, reference):
    errors = local_errors(engine, start, plans, reference=reference, window=0.08).max(axis=1)
    return np.log2(errors[:-1] / errors[1:])


@pytest.mark.parametrize(
    "coarse",
    [
        StepPlan.single(0.004),
        StepPlan(fluid=0.008, interface=0.004, nonbonded=0.004, bonded=0.002),
    ],
)
def test_errors_of_labels_fall_with_the_square_of_the_steps(frictionless, coarse):
    """Plain and four-level stepping are of second order.

    The reference is finer by four than the finest plan, which takes 1/16 off its error and so
    0.1 off the order; forces with kinks at their cutoffs take another 0.1 or so.
    """
    engine, start = frictionless
    plans = [coarse, coarse.refined(2), coarse.refined(4)]
    assert order(engine, start, plans, coarse.refined(16)) == pytest.approx(2.0, abs=0.35)


def test_with_friction_errors_fall_in_proportion_to_the_steps(frictionless):
    """LAMMPS takes friction from velocities of half a step before, so the order tends to 1."""
    engine, start = frictionless
    coarse = StepPlan(fluid=0.016, interface=0.008, nonbonded=0.004, bonded=0.002)
    plans = [coarse, coarse.refined(2), coarse.refined(4)]
    with Engine(engine.suspension, ForceField(), engine.flow, seed=2, snapshot=start) as rubbed:
        assert order(rubbed, start, plans, coarse.refined(32)) == pytest.approx(1.1, abs=0.3)


def test_a_reference_finer_by_four_is_right_to_a_tenth_of_what_it_measures(frictionless):
    """Of a method of second order 1/16 of the error is left."""
    engine, start = frictionless
    plan = StepPlan.single(0.004)
    reference = plan.refined(4)
    truth = reference.refined(4)
    measured, left = local_errors(engine, start, [plan, reference], reference=truth, window=0.08)
    assert (left < 0.1 * measured).all()


def test_noise_is_off_in_the_windows(frictionless):
    """Two windows on the same plan end at the same place, though noise would differ."""
    engine, start = frictionless
    plan = StepPlan.single(0.004)
    assert local_errors(engine, start, [plan], reference=plan, window=0.08).max() == 0.0


def labels_of(seed, *, errors, scene="collision"):
    n, _, platelets = errors.shape
    row = np.linspace(0.0, 1.0, platelets)
    observations = tuple(
        Observation(
            time=0.5 * k,
            center=np.ones((platelets, 3)) * k,
            velocity=np.zeros((platelets, 3)),
            angular_velocity=np.zeros((platelets, 3)),
            gyration=np.ones((platelets, 3)),
            axis=np.ones((platelets, 3)),
            temperature=row,
            stretch_mean=row,
            stretch_max=row,
            contacts=row,
            gap=np.full(platelets, np.inf),
            bond_energy=row,
            receptor_energy=row,
            fluid_temperature=0.1 + k,
        )
        for k in range(n)
    )
    return TrajectoryLabels(
        trajectory=Trajectory(scene=scene, seed=seed, changes={"shear_rate": 0.2}),
        shear_rate=0.2,
        kT=0.1,
        observations=observations,
        errors=errors,
        ran_on=np.arange(n) - 1,
        reference_error=1e-5,
    )


def table_of(*trajectories, segment=0.5):
    return LabelTable(
        plans=(StepPlan.single(0.005), StepPlan.single(0.01)),
        reference=StepPlan.single(0.00125),
        window=0.2,
        segment=segment,
        trajectories=trajectories,
    )


@pytest.mark.parametrize(("half", "digits"), [(False, 2**-24), (True, 2**-11)])
def test_a_table_is_read_as_it_was_stored_but_for_rounding(tmp_path, half, digits):
    """To half a unit in the last place of either precision."""
    errors = np.random.default_rng(0).lognormal(-7, 1, size=(3, 2, 2))
    errors[1] = np.nan
    errors[2, 1, 0] = np.inf
    table = table_of(labels_of(0, errors=errors[:2, :, :1]), labels_of(1, errors=2 * errors))
    stored = LabelTable.load(table.save(tmp_path / "labels.npz", half=half))
    assert stored.plans == table.plans
    assert stored.trajectories[1].trajectory == table.trajectories[1].trajectory
    for before, after in zip(table.trajectories, stored.trajectories, strict=True):
        np.testing.assert_allclose(after.errors, before.errors, rtol=digits)
    last = stored.trajectories[1].observations[2]
    assert (last.time, last.gap[0]) == (1.0, np.inf)
    assert last.fluid_temperature == pytest.approx(2.1, rel=digits)


def test_the_frame_holds_the_error_that_a_controller_bounds(tmp_path):
    errors = np.arange(12, dtype=float).reshape(3, 2, 2)
    errors[1] = np.nan
    frame = table_of(labels_of(4, errors=errors)).frame
    assert list(frame["error"]) == [1.0, 3.0, 9.0, 11.0], "the worst platelet, labeled times only"
    assert list(frame["rung"]) == [0, 1, 0, 1]
    assert set(frame["seed"]) == {4}
    assert list(frame["time"]) == [0.0, 0.0, 1.0, 1.0]


def test_tables_of_different_settings_are_not_mixed():
    errors = np.ones((1, 2, 2))
    one, other = table_of(labels_of(0, errors=errors)), table_of(labels_of(1, errors=errors))
    assert len(merged([one, other]).trajectories) == 2
    with pytest.raises(ParameterError, match="differ in segment"):
        merged([one, table_of(labels_of(1, errors=errors), segment=1.0)])
    with pytest.raises(ParameterError, match="one table or more"):
        merged([])


def test_what_is_no_table_is_told(tmp_path):
    (tmp_path / "labels.npz").write_bytes(b"not an npz")
    for path in (tmp_path / "labels.npz", tmp_path / "missing.npz"):
        with pytest.raises(ParameterError, match="cannot be read as labels"):
            LabelTable.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plans": ()}, "plans="),
        ({"window": 0.013}, "whole multiple of the fluid step"),
        ({"segment": -1.0}, "segment"),
        ({"snapshots": 0}, "snapshots"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, said):
    given = {"plans": (StepPlan.single(0.01),), "reference": StepPlan.single(0.0025)}
    with pytest.raises(ParameterError, match=said):
        LabelSettings(**{**given, **change})
