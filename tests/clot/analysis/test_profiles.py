import itertools

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from labkit.clot.analysis.profiles import (
    poiseuille_viscosity,
    shear_viscosity,
    startup_profile,
    startup_viscosity,
    velocity_profile,
)
from labkit.clot.flows import Channel, ReversePoiseuille
from labkit.clot.plans import StepPlan
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError

FORCE, DENSITY, ETA, HEIGHT = 0.05, 3.0, 1.3, 16.0
WIDTH = HEIGHT / 2
STREAM = {"force": FORCE, "density": DENSITY, "viscosity": ETA, "width": WIDTH}


def centers(bins):
    return (np.arange(bins) + 0.5) * HEIGHT / bins


def parabola(y, width=WIDTH):
    lower = DENSITY * FORCE / (2 * ETA) * y * (width - y)
    upper = -DENSITY * FORCE / (2 * ETA) * (y - width) * (2 * width - y)
    return np.where(y < width, lower, upper)


def table(y, u):
    return np.column_stack([y, np.full_like(y, DENSITY), u, np.full_like(y, 0.1)])


def segment(**averages):
    plan = StepPlan.single(0.01)
    return Segment(
        plan=plan, start=0.0, time=1.0, evaluations={}, cpu_seconds=0, wall_seconds=0, **averages
    )


@pytest.mark.parametrize("bins", [16, 21, 64])
def test_viscosity_of_a_parabola_is_exact_even_from_means_over_bins(bins):
    y, half = centers(bins), HEIGHT / bins / 2
    u = np.array([quad(parabola, p - half, p + half, points=[WIDTH])[0] for p in y]) / (2 * half)
    found = poiseuille_viscosity(table(y, u), ReversePoiseuille(FORCE), HEIGHT)
    assert found.viscosity.estimate == pytest.approx(ETA, rel=1e-9)
    assert found.rms < 1e-9


def test_a_drift_of_the_whole_fluid_does_not_change_the_viscosity():
    y = centers(32)
    found = poiseuille_viscosity(table(y, parabola(y) + 0.3), ReversePoiseuille(FORCE), HEIGHT)
    assert found.viscosity.estimate == pytest.approx(ETA, rel=1e-9)
    np.testing.assert_allclose(found.curve[:, 1], parabola(y) + 0.3, atol=1e-9)


def test_a_profile_that_is_rounded_where_the_force_changes_gives_the_viscosity_of_its_middle():
    """Stress over a distance smooths the kink of the curvature within 1 rc; the amplitude shrinks
    but the curvature of the middle does not."""
    y = centers(64)
    to_edge = np.abs(y - WIDTH * np.round(y / WIDTH))
    smooth = parabola(y) - np.where(y < WIDTH, 1, -1) * 0.05 * np.minimum(to_edge, 1.0)
    fitted = poiseuille_viscosity(table(y, smooth), ReversePoiseuille(FORCE), HEIGHT)
    everywhere = poiseuille_viscosity(
        table(y, smooth), ReversePoiseuille(FORCE), HEIGHT, margin=0.0
    )
    assert fitted.viscosity.estimate == pytest.approx(ETA, rel=1e-9)
    assert abs(everywhere.viscosity.estimate / ETA - 1) > 0.005


def test_a_fit_without_slip_is_exact_for_a_profile_averaged_over_wide_bins():
    y = centers(12)
    fine = parabola(centers(12 * 400)).reshape(12, 400).mean(axis=1)
    found = poiseuille_viscosity(table(y, fine), ReversePoiseuille(FORCE), HEIGHT, slip=False)
    assert found.viscosity.estimate == pytest.approx(ETA, rel=1e-4)


def test_a_fit_without_slip_is_three_times_as_precise():
    rng = np.random.default_rng(0)
    y = centers(24)
    noisy = parabola(y) + rng.normal(scale=0.02, size=(200, len(y)))
    errors = {
        slip: np.std(
            [
                poiseuille_viscosity(
                    table(y, u), ReversePoiseuille(FORCE), HEIGHT, slip=slip
                ).viscosity.estimate
                for u in noisy
            ]
        )
        for slip in (True, False)
    }
    assert errors[True] > 3 * errors[False]


def test_a_channel_may_slip_differently_at_its_walls():
    y = centers(32)
    u = DENSITY * FORCE / (2 * ETA) * y * (HEIGHT - y) + 0.02 + 0.001 * y
    found = poiseuille_viscosity(table(y, u), Channel(FORCE), HEIGHT)
    assert found.viscosity.estimate == pytest.approx(ETA, rel=1e-9)


def test_error_of_the_viscosity_holds_the_truth_as_often_as_it_claims():
    rng = np.random.default_rng(0)
    y, hits = centers(32), {1: 0, 6: 0}
    for k, count in hits.items():
        for _ in range(200):
            noisy = parabola(y) + rng.normal(scale=0.02, size=(k, len(y)))
            profiles = np.array([table(y, u) for u in noisy])
            eta = poiseuille_viscosity(profiles, ReversePoiseuille(FORCE), HEIGHT).viscosity
            count += eta.low <= ETA <= eta.high
        assert count / 200 == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 200))


def test_startup_solves_the_equation_of_a_driven_stream():
    """An independent solution: the diffusion equation on a grid, integrated in time."""
    n, t = 200, 8.0
    y = np.linspace(0, WIDTH, n + 1)
    nu, dy = ETA / DENSITY, WIDTH / n

    def rate(_, u):
        du = np.zeros_like(u)
        du[1:-1] = FORCE + nu * (u[2:] - 2 * u[1:-1] + u[:-2]) / dy**2
        return du

    grid = solve_ivp(rate, (0, t), np.zeros(n + 1), method="BDF", rtol=1e-7, atol=1e-9).y[:, -1]
    np.testing.assert_allclose(startup_profile(y, t, **STREAM), grid, atol=1e-4 * grid.max())


def test_startup_begins_with_free_acceleration_and_ends_with_the_parabola():
    middle = np.array([WIDTH / 2])
    assert startup_profile(middle, 0.1, **STREAM) == pytest.approx(FORCE * 0.1, rel=1e-3)
    y = centers(20)
    np.testing.assert_allclose(startup_profile(y, 1e4, **STREAM), parabola(y), atol=1e-12)


def test_the_upper_stream_of_reverse_flow_is_the_mirror_image_of_the_lower():
    y = np.linspace(0.2, WIDTH - 0.2, 9)
    np.testing.assert_allclose(
        startup_profile(HEIGHT - y, 5.0, **STREAM), -startup_profile(y, 5.0, **STREAM), atol=1e-12
    )


def test_startup_averaged_over_a_window_is_the_mean_of_its_moments():
    y = np.array([1.0, 4.0])
    mean = startup_profile(y, 2.0, until=7.0, **STREAM)
    for place, value in zip(y, mean, strict=True):
        integral = quad(lambda t, p=place: startup_profile(np.array([p]), t, **STREAM)[0], 2, 7)[0]
        assert value == pytest.approx(integral / 5, rel=1e-6)


def test_viscosity_of_a_startup_is_found_from_any_guess():
    y, times = centers(32), np.array([0.0, 2, 4, 8, 16])
    windows = itertools.pairwise(times)
    profiles = [table(y, startup_profile(y, a, until=b, **STREAM)) for a, b in windows]
    for guess in (0.2, 1.0, 8.0):
        found = startup_viscosity(profiles, times, ReversePoiseuille(FORCE), HEIGHT, guess=guess)
        assert found.estimate == pytest.approx(ETA, rel=1e-6)
        assert found.error < 1e-6


def test_shear_viscosity_is_the_mean_shear_stress_over_the_rate():
    rng = np.random.default_rng(1)
    stress = np.zeros((10, 6))
    stress[:, 3] = -0.2 * (ETA + rng.normal(scale=0.1, size=10))
    from_array = shear_viscosity(stress, 0.2)
    from_segments = shear_viscosity([segment(stress=row) for row in stress], 0.2)
    assert from_array == from_segments
    assert from_array.low < ETA < from_array.high
    assert from_array.error == pytest.approx(0.1 / np.sqrt(10), rel=0.6)


def test_profile_of_several_segments_has_the_errors_of_their_mean():
    rng = np.random.default_rng(2)
    y = centers(200)
    profiles = [table(y, rng.normal(scale=0.3, size=len(y))) for _ in range(9)]
    frame = velocity_profile([segment(profile=one) for one in profiles])
    assert frame["velocity_error"].mean() == pytest.approx(0.1, rel=0.1)
    assert np.sqrt((frame["velocity"] ** 2).mean()) == pytest.approx(0.1, rel=0.2)
    assert velocity_profile(profiles[0])["velocity_error"].isna().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: velocity_profile(np.zeros((3, 5))), "shape"),
        (lambda: velocity_profile([segment()]), "bins="),
        (lambda: shear_viscosity([segment()], 0.1), "bins="),
        (lambda: shear_viscosity(np.zeros((3, 6)), 0.0), "rate=0"),
        (
            lambda: poiseuille_viscosity(
                table(centers(8), centers(8)), ReversePoiseuille(FORCE), HEIGHT, margin=3.5
            ),
            "margin=3.5",
        ),
        (lambda: startup_profile([1.0], 2.0, until=1.0, **STREAM), "until=1.0"),
        (
            lambda: startup_viscosity(
                table(centers(8), centers(8)), [0.0], ReversePoiseuille(FORCE), HEIGHT
            ),
            "give 2 times",
        ),
    ],
)
def test_what_cannot_be_analyzed_is_refused_with_a_cure(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
