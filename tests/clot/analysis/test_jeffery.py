import numpy as np
import pytest
from scipy.integrate import solve_ivp

from labkit.clot.analysis.jeffery import (
    aspect_ratio_of,
    axis_angle,
    compare_with_jeffery,
    effective_aspect_ratio,
    flip_strains,
    jeffery_angle,
    jeffery_axis,
    jeffery_flips,
    jeffery_period,
    period_of,
    turning_rates,
)
from labkit.clot.platelet import Platelet
from labkit.errors import ParameterError


def jefferys_equation(_, p, aspect_ratio):
    """dp/ds = W p + L (E p - p (p.E.p)) for u = y e_x."""
    shape = (aspect_ratio**2 - 1) / (aspect_ratio**2 + 1)
    spin = np.array([[0, 0.5, 0], [-0.5, 0, 0], [0, 0, 0]])
    strain = np.abs(spin)
    return spin @ p + shape * (strain @ p - p * (p @ strain @ p))


@pytest.mark.parametrize("aspect_ratio", [0.05, 0.25, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("start", [(0.0, 1.0, 0.0), (0.3, -0.8, 0.5), (0.1, 0.2, 0.97)])
def test_closed_form_is_the_integral_of_jefferys_equation(aspect_ratio, start):
    start = np.array(start) / np.linalg.norm(start)
    strain = np.linspace(0, 30, 61)
    grid = solve_ivp(
        jefferys_equation,
        (0, 30),
        start,
        t_eval=strain,
        args=(aspect_ratio,),
        rtol=1e-10,
        atol=1e-12,
    ).y.T
    np.testing.assert_allclose(jeffery_axis(start, strain, aspect_ratio), grid, atol=1e-7)


def test_orbit_closes_after_a_period_and_half_of_it_turns_the_axis_round():
    start = np.array([0.3, -0.8, 0.5]) / np.linalg.norm([0.3, -0.8, 0.5])
    half, whole = jeffery_axis(start, jeffery_period(0.25) * np.array([0.5, 1.0]), 0.25)
    np.testing.assert_allclose(whole, start, atol=1e-12)
    np.testing.assert_allclose(half, start * [-1, -1, 1], atol=1e-12)


@pytest.mark.parametrize("aspect_ratio", [0.1, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("start", [-1.5, -0.35, 0.0, 1.2, 4.0])
def test_angle_is_that_of_the_axis_unwrapped(aspect_ratio, start):
    strain = np.linspace(0, 80, 4001)
    axes = jeffery_axis([np.sin(start), np.cos(start), 0], strain, aspect_ratio)
    angle = jeffery_angle(start, strain, aspect_ratio)
    assert angle[0] == pytest.approx(start)
    assert np.all(np.diff(angle) > 0)
    np.testing.assert_allclose(np.sin(angle - np.arctan2(axes[:, 0], axes[:, 1])), 0, atol=1e-9)


def test_a_sphere_turns_with_half_the_shear_rate():
    strain = np.linspace(0, 20, 11)
    np.testing.assert_allclose(jeffery_angle(0.4, strain, 1.0), 0.4 + strain / 2)


def test_a_disc_lies_flat_and_flips_quickly():
    """Turning rates r^2/(1 + r^2) flat and 1/(1 + r^2) upright."""
    step = 1e-5
    for start, rate in ((0.0, 0.0625 / 1.0625), (np.pi / 2, 1 / 1.0625)):
        turned = jeffery_angle(start, [step], 0.25)[0] - start
        assert turned / step == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("start", [-2.0, -0.35, 0.0, 1.5, 1.7])
def test_flips_are_where_the_angle_passes_upright(start):
    flips = jeffery_flips(start, 4, 0.25)
    assert flips[0] > 0
    upright = jeffery_angle(start, flips, 0.25) / np.pi - 0.5
    np.testing.assert_allclose(upright, np.round(upright), atol=1e-9)
    np.testing.assert_allclose(np.diff(flips), jeffery_period(0.25) / 2)
    strain = np.linspace(0, 60, 6001)
    np.testing.assert_allclose(
        flip_strains(strain, jeffery_angle(start, strain, 0.25))[:4], flips, atol=0.01
    )


def test_signs_and_noise_of_the_axis_do_not_move_the_flips():
    """Axes with random signs and 5 degrees of noise, at the strains a run would be observed."""
    rng = np.random.default_rng(0)
    strain = np.arange(0, 40, 0.1)
    axes = jeffery_axis([np.sin(-0.35), np.cos(-0.35), 0.05], strain, 0.25)
    axes = axes + rng.normal(scale=np.radians(5), size=axes.shape)
    axes *= rng.choice([-1, 1], size=len(axes))[:, None]
    found = compare_with_jeffery(strain, axes, 0.25)
    np.testing.assert_allclose(
        found.orbit["angle"]
        - found.orbit["angle"][0]
        - (jeffery_angle(-0.35, strain, 0.25) + 0.35),
        0,
        atol=np.radians(30),
    )
    assert len(found.flips) == 3
    np.testing.assert_allclose(found.flips, jeffery_flips(-0.35, 3, 0.25), atol=0.25)


def test_an_orbit_beside_itself_has_no_error():
    strain = np.arange(0, 40, 0.05) + 7.0
    found = compare_with_jeffery(strain, jeffery_axis([-0.34, 0.94, 0.0], strain - 7.0, 0.25), 0.25)
    assert found.first_flip_error == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(found.orbit["angle"], found.orbit["jeffery"], atol=1e-9)
    assert period_of(found.flips) == pytest.approx(jeffery_period(0.25), rel=1e-3)
    assert found.orbit["out_of_plane"].max() == 0


def test_a_platelet_that_does_not_flip_has_no_error_to_tell():
    found = compare_with_jeffery([0, 1], [[0, 1, 0], [0.1, 1, 0]], 0.25)
    assert len(found.flips) == 0
    assert np.isnan(found.first_flip_error)
    assert np.isnan(period_of(found.flips))


def test_trembling_around_upright_is_one_flip():
    angle = np.radians([60, 85, 95, 88, 93, 80, 110, 170, 200])
    assert len(flip_strains(np.arange(9), angle)) == 1


def noisy_angle(rng, *, aspect_ratio, diffusion, strain):
    """Euler steps of Jeffery's equation for the angle with rotational diffusion in the plane."""
    step = strain[1] - strain[0]
    angle = np.empty(len(strain))
    angle[0] = -0.3
    for k in range(len(strain) - 1):
        turned = jeffery_angle(angle[k], [step], aspect_ratio)[0]
        angle[k + 1] = turned + rng.normal(scale=np.sqrt(2 * diffusion * step))
    return angle


def test_turning_rates_of_noisy_runs_are_those_of_the_spheroid():
    """Diffusion of 0.002 per strain, as of a platelet at Pe of 500, scatters flips by a fifth."""
    rng, strain = np.random.default_rng(6), np.arange(0, 14, 0.1)
    runs = [
        (strain, noisy_angle(rng, aspect_ratio=0.4, diffusion=0.002, strain=strain))
        for _ in range(12)
    ]
    found = turning_rates(runs)
    assert found.flat == pytest.approx(0.16 / 1.16, abs=3 * found.flat_error)
    assert found.upright == pytest.approx(1 / 1.16, abs=3 * found.upright_error)
    assert found.total == pytest.approx(1, abs=3 * found.total_error)
    assert found.total_error < 0.03
    assert found.aspect_ratio == pytest.approx(0.4, rel=0.1)


def test_a_particle_that_turns_more_slowly_than_jefferys_is_seen_to():
    strain = np.arange(0, 20, 0.1)
    slower = turning_rates([(strain, jeffery_angle(-0.3, 0.8 * strain, 0.3))])
    assert slower.total == pytest.approx(0.8)
    assert slower.aspect_ratio == pytest.approx(0.3)


def test_unwrapping_starts_within_a_quarter_turn():
    for start in (-3.0, -1.5, 0.0, 1.5, 3.0):
        angle = axis_angle([[np.sin(start), np.cos(start), 0.2]])
        assert abs(angle[0]) <= np.pi / 2 + 1e-12
        assert np.sin(angle[0] - start) == pytest.approx(0, abs=1e-12)


def test_aspect_ratio_of_a_period_is_that_of_the_disc():
    for ratio in (0.02, 0.25, 0.8):
        assert aspect_ratio_of(jeffery_period(ratio)) == pytest.approx(ratio)


@pytest.mark.parametrize(("a", "c"), [(3.0, 0.75), (2.0, 1.0)])
def test_aspect_ratio_of_a_platelets_beads_is_that_of_its_spheroid(a, c):
    """About 1 % is what 200 points leave of the integral over the area."""
    platelet = Platelet.oblate(a, c, spacing=0.5)
    membrane = platelet.positions[: platelet.n_membrane]
    gyration = np.linalg.eigvalsh(np.cov(membrane.T, bias=True))
    assert effective_aspect_ratio(gyration) == pytest.approx(c / a, rel=0.02)
    padded = effective_aspect_ratio(gyration, shell=0.5)
    assert padded == pytest.approx((c + 0.5) / (a + 0.5), rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jeffery_axis([0, 0, 0], [1.0], 0.25), "length > 0"),
        (lambda: jeffery_axis([0, 1, 0], [1.0], -1.0), "aspect_ratio=-1.0"),
        (lambda: aspect_ratio_of(10.0), "period=10"),
        (lambda: effective_aspect_ratio([1.0, 1.0, 1.0]), "disc"),
        (lambda: axis_angle([0, 1, 0]), "shape"),
    ],
)
def test_what_is_no_orbit_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
