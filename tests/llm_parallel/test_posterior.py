"""The maximum and the width of a posterior, against closed forms and a general optimizer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from labkit.llm_parallel.posterior import SIGMA_PRIOR, design_effect, differences, maximize

TRUTH = np.array([0.8, -0.5, 0.3])


def linear(n, seed=0):
    design = np.random.default_rng(seed).normal(size=(n, len(TRUTH)))
    return design, lambda z: design @ z


def curved(z):
    x = np.linspace(0.1, 3, 60)
    return np.log(np.exp(z[0]) * x + np.exp(z[1] - x) + 0.1 * np.exp(z[2]))


@pytest.mark.parametrize("weight", [0.1, 1.0, 25.0])
def test_linear_predictions_with_gaussian_noise_have_the_ridge_solution(weight):
    design, predict = linear(40)
    measured = predict(TRUTH) + 0.1 * np.random.default_rng(1).normal(size=40)
    found = maximize(predict, measured, start=np.zeros(3), weight=weight)
    hessian = design.T @ design / found.sigma**2 + weight * np.eye(3)
    solution = np.linalg.solve(hessian, design.T @ measured / found.sigma**2)
    np.testing.assert_allclose(found.z, solution, atol=1e-4)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(hessian), rtol=1e-3)


@pytest.mark.parametrize("tail", [math.inf, 4.0])
def test_curved_predictions_are_maximal_where_a_general_optimizer_ends(tail):
    noise = (
        stats.t(4).rvs(60, random_state=2) if tail == 4 else stats.norm.rvs(size=60, random_state=2)
    )
    measured = curved(TRUTH) + 0.05 * noise
    found = maximize(curved, measured, start=np.zeros(3), tail=tail)
    law = stats.norm if math.isinf(tail) else stats.t(tail)

    def minus_log_density(z):
        return z @ z / 2 - law.logpdf((measured - curved(z)) / found.sigma).sum()

    best = optimize.minimize(
        minus_log_density,
        np.zeros(3),
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000},
    )
    np.testing.assert_allclose(found.z, best.x, atol=2e-3)


def test_the_spread_of_many_residuals_is_recovered():
    """2000 residuals give sigma within 4 standard errors, 4 / sqrt(2 * 2000) = 6.4 %."""
    _, predict = linear(2000)
    measured = predict(TRUTH) + 0.03 * np.random.default_rng(3).normal(size=2000)
    assert maximize(predict, measured, start=np.zeros(3)).sigma == pytest.approx(0.03, rel=0.064)


def test_gross_errors_move_heavy_tails_less_than_a_gaussian_and_are_less_likely_under_it():
    _, predict = linear(80)
    measured = predict(TRUTH) + 0.02 * np.random.default_rng(4).normal(size=80)
    measured[::10] += 1.0
    gaussian = maximize(predict, measured, start=np.zeros(3))
    heavy = maximize(predict, measured, start=np.zeros(3), tail=4.0)
    assert np.abs(heavy.z - TRUTH).max() < 0.25 * np.abs(gaussian.z - TRUTH).max()
    assert heavy.objective < gaussian.objective


def test_gaussian_noise_is_told_from_heavy_tails():
    _, predict = linear(1000)
    measured = predict(TRUTH) + 0.05 * np.random.default_rng(5).normal(size=1000)
    gaussian = maximize(predict, measured, start=np.zeros(3))
    assert gaussian.objective < maximize(predict, measured, start=np.zeros(3), tail=4.0).objective


def test_one_perfect_measurement_does_not_make_certain():
    _, predict = linear(1)
    found = maximize(predict, predict(TRUTH), start=np.zeros(3))
    assert 0.5 * SIGMA_PRIOR < found.sigma < 1.5 * SIGMA_PRIOR


def test_what_the_measurements_do_not_touch_stays_as_wide_as_its_prior():
    def predict(z):
        return np.arange(10.0) * z[0]

    found = maximize(predict, np.arange(10.0) * 0.5, start=np.zeros(2), weight=4.0)
    assert found.z[1] == pytest.approx(0)
    assert found.covariance[1, 1] == pytest.approx(1 / 4)
    assert found.covariance[0, 0] < 0.01


def test_differences_are_the_derivatives():
    z = TRUTH
    exact = np.stack(
        [optimize.approx_fprime(z, lambda v, i=i: curved(v)[i], 1e-8) for i in range(60)]
    )
    np.testing.assert_allclose(differences(curved, z, curved(z)), exact, atol=1e-3)


def test_independent_residuals_count_one_by_one():
    """The correlation of 400 independent residuals in 40 clusters is below 4 / sqrt(400)."""
    residual = np.random.default_rng(6).normal(size=400)
    assert 1 <= design_effect(residual, np.repeat(np.arange(40), 10)) < 1 + 9 * 0.2
    assert design_effect(residual, np.arange(400)) == 1
    assert design_effect(residual, np.zeros(400)) == 1


def test_residuals_that_are_equal_in_a_cluster_count_once():
    shared = np.random.default_rng(7).uniform(-1, 1, 40)
    assert design_effect(np.repeat(shared, 10), np.repeat(np.arange(40), 10)) == pytest.approx(10)


def test_copies_of_measurements_do_not_make_the_posterior_narrower():
    """Five equal copies with their design effect, 5, say what one says; sigma has its own prior."""
    _, predict = linear(40)
    measured = predict(TRUTH) + 0.1 * np.random.default_rng(8).normal(size=40)
    once = maximize(predict, measured, start=np.zeros(3))
    copies = maximize(
        lambda z: np.tile(predict(z), 5), np.tile(measured, 5), start=np.zeros(3), design=5.0
    )
    np.testing.assert_allclose(copies.z, once.z, atol=1e-3)
    np.testing.assert_allclose(copies.covariance, once.covariance, rtol=1e-2)
    assert copies.sigma == pytest.approx(once.sigma, rel=1e-2)
