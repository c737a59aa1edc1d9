import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from labkit.clot.labels import (
    bead_errors,
    local_errors,
)
from labkit.clot.plans import StepPlan

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
