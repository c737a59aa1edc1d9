r"""Maximum and width of a posterior: predictions with a few scalars, heavy-tailed residuals.

For measurements :math:`y_i = f_i(z) + \sigma\epsilon_i`, :math:`\epsilon_i \sim t_\nu`,
:math:`z_k \sim N(0, 1/\lambda)`, Gauss-Newton steps with Levenberg's damping

.. math::

    \left(J^T W J / \sigma^2 + \lambda I + \mu I\right) \delta
        = J^T W r / \sigma^2 - \lambda z, \qquad w_i = \frac{\nu + 1}{\nu + r_i^2/\sigma^2}

alternate with the update of :math:`\sigma` [1]_. With few measurements the residuals say little of
:math:`\sigma`; its prior counts as `SIGMA_PRIOR_RUNS` residuals of `SIGMA_PRIOR`.

=====================  ==============  ==========================================
symbol                 variable        unit
=====================  ==============  ==========================================
:math:`z`              ``z``           prior standard deviations from the median
:math:`r = y - f(z)`   ``residual``    that of the measurements
:math:`J`              ``jacobian``    change of f with z
:math:`\lambda`        ``weight``      of the prior, 1 as it was stated
:math:`\nu`            ``tail``        degrees of freedom; infinite is Gaussian
=====================  ==============  ==========================================

.. [1] Lange, Little & Taylor, J. Am. Stat. Assoc. 84 (1989) 881-896.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

Predict = Callable[[np.ndarray], np.ndarray]
"""From scalars of shape (p,) to predictions of shape (n,)."""
SIGMA_PRIOR = 0.07
"""Repeated steps of one configuration differ by 1 to 7 %."""
SIGMA_PRIOR_RUNS = 3
_DIFFERENCE = 1e-3
_LONGEST_STEP = 2.0
_CLOSE = 1e-3


@dataclass(frozen=True, eq=False)
class Posterior:
    """Where the posterior is highest, and how wide it is there.

    Attributes
    ----------
    z : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
        Inverse Hessian (Laplace's approximation).
    sigma, tail : float
    objective : float
        Minus the log of the posterior density, up to what no choice of `tail` changes.
    """

    z: np.ndarray
    covariance: np.ndarray
    sigma: float
    tail: float
    objective: float


def maximize(
    predict: Predict,
    measured: np.ndarray,
    *,
    start: np.ndarray,
    tail: float = math.inf,
    weight: float = 1.0,
    max_steps: int = 60,
) -> Posterior:
    """Find the highest point of the posterior from a start.

    Parameters
    ----------
    predict : callable
        Of z, shape (p,), to shape (n,).
    measured : ndarray of shape (n,)
    start : ndarray of shape (p,)
    tail : float
        Degrees of freedom of the residuals.
    weight : float
        Of the prior.
    max_steps : int

    Returns
    -------
    Posterior
    """
    z, residual = start, measured - predict(start)
    sigma = max(1.4826 * float(np.median(np.abs(residual))), SIGMA_PRIOR)
    damping = 1e-2
    jacobian = differences(predict, z, measured - residual)
    for _ in range(max_steps):
        hessian, gradient = _quadratic(jacobian, residual, z, sigma, tail, weight)
        step = np.linalg.solve(hessian + damping * np.eye(len(z)), gradient)
        step *= min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-300))
        tried = measured - predict(z + step)
        if _cost(tried, z + step, sigma, tail, weight) > _cost(residual, z, sigma, tail, weight):
            damping *= 10
            if damping > 1e8:
                break
            continue
        z, residual, damping = z + step, tried, max(damping / 10, 1e-9)
        jacobian = differences(predict, z, measured - residual)
        before = sigma
        sigma = _residual_spread(jacobian, residual, sigma, tail, weight)
        if np.abs(step).max() < _CLOSE and abs(sigma / before - 1) < _CLOSE:
            break
    hessian, _ = _quadratic(jacobian, residual, z, sigma, tail, weight)
    cost = _cost(residual, z, sigma, tail, weight)
    return Posterior(z, np.linalg.inv(hessian), sigma, tail, cost)


def differences(predict: Predict, z: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the change of the predictions with each scalar, shape (n, p)."""
    columns = [(predict(z + _DIFFERENCE * unit) - center) / _DIFFERENCE for unit in np.eye(len(z))]
    return np.stack(columns, axis=1)


def _weights(residual: np.ndarray, sigma: float, tail: float) -> np.ndarray:
    if math.isinf(tail):
        return np.ones_like(residual)
    return (tail + 1) / (tail + (residual / sigma) ** 2)


def _quadratic(
    jacobian: np.ndarray,
    residual: np.ndarray,
    z: np.ndarray,
    sigma: float,
    tail: float,
    weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Hessian and downhill gradient of the cost."""
    weighted = jacobian * (_weights(residual, sigma, tail) / sigma**2)[:, None]
    return weighted.T @ jacobian + weight * np.eye(len(z)), weighted.T @ residual - weight * z


def _cost(residual: np.ndarray, z: np.ndarray, sigma: float, tail: float, weight: float) -> float:
    """Return minus the log density of residuals, scalars and sigma."""
    density = stats.norm if math.isinf(tail) else stats.t(tail)
    fit = len(residual) * math.log(sigma) - float(np.sum(density.logpdf(residual / sigma)))
    of_sigma = SIGMA_PRIOR_RUNS * (math.log(sigma) + (SIGMA_PRIOR / sigma) ** 2 / 2)
    return fit + of_sigma + weight * float(z @ z) / 2


def _residual_spread(
    jacobian: np.ndarray, residual: np.ndarray, sigma: float, tail: float, weight: float
) -> float:
    """Return sigma for the given residuals, less the scalars that they were used up for."""
    weights = _weights(residual, sigma, tail)
    information = (jacobian * (weights / sigma**2)[:, None]).T @ jacobian
    used = np.trace(np.linalg.solve(information + weight * np.eye(len(information)), information))
    total = np.sum(weights * residual**2) + SIGMA_PRIOR_RUNS * SIGMA_PRIOR**2
    return math.sqrt(total / (len(residual) + SIGMA_PRIOR_RUNS - used))
