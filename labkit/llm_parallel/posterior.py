r"""Maximum and width of a posterior: predictions with a few scalars, heavy-tailed residuals.

For measurements :math:`y_i = f_i(z) + \sigma\epsilon_i`, :math:`\epsilon_i \sim t_\nu`,
:math:`z_k \sim N(0, 1/\lambda)`, Gauss-Newton steps with Levenberg's damping

.. math::

    \left(J^T W J / (D \sigma^2) + \lambda I + \mu I\right) \delta
        = J^T W r / (D \sigma^2) - \lambda z, \qquad w_i = \frac{\nu + 1}{\nu + r_i^2/\sigma^2}

alternate with the update of :math:`\sigma` [1]_. With few measurements the residuals say little of
:math:`\sigma`; its prior counts as `SIGMA_PRIOR_RUNS` residuals of `SIGMA_PRIOR`. Where residuals
of a cluster are alike, they count as fewer: all information is divided by Kish's design
effect [2]_, one plus the mean size of a cluster less one times the correlation inside clusters.

=====================  ==============  ==========================================
symbol                 variable        unit
=====================  ==============  ==========================================
:math:`z`              ``z``           prior standard deviations from the median
:math:`r = y - f(z)`   ``residual``    that of the measurements
:math:`J`              ``jacobian``    change of f with z
:math:`\lambda`        ``weight``      of the prior, 1 as it was stated
:math:`\nu`            ``tail``        degrees of freedom; infinite is Gaussian
:math:`D`              ``design``      measurements that count as one, see `design_effect`
=====================  ==============  ==========================================

.. [1] Lange, Little & Taylor, J. Am. Stat. Assoc. 84 (1989) 881-896.
.. [2] Kish, Survey Sampling, Wiley 1965, section 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, xlog1py

Predict = Callable[[np.ndarray], np.ndarray]
"""From scalars of shape (p,) to predictions of shape (n,)."""
SIGMA_PRIOR = 0.07
"""Repeated steps of one configuration differ by 1 to 7 %."""
SIGMA_PRIOR_RUNS = 3
_DIFFERENCE = 1e-3
_LONGEST_STEP = 2.0
_CLOSE = 1e-3
_STUCK = 1e6


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
    design: float = 1.0,
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
    design : float
        Design effect, 1 for independent measurements.
    max_steps : int

    Returns
    -------
    Posterior
    """
    law = _Law(tail, weight, design)
    z, residual = start, measured - predict(start)
    sigma = max(1.4826 * float(np.median(np.abs(residual))), SIGMA_PRIOR)
    damping = 1e-2
    jacobian = differences(predict, z, measured - residual)
    cost = _cost(residual, z, sigma, law)
    for _ in range(max_steps):
        hessian, gradient = _quadratic(jacobian, residual, z, sigma, law)
        step = np.linalg.solve(hessian + damping * np.eye(len(z)), gradient)
        step *= min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-300))
        tried = measured - predict(z + step)
        if _cost(tried, z + step, sigma, law) > _cost(residual, z, sigma, law):
            damping *= 10
            if damping > _STUCK:
                break
            continue
        z, residual, damping = z + step, tried, max(damping / 10, 1e-9)
        jacobian = differences(predict, z, measured - residual)
        sigma = _residual_spread(jacobian, residual, sigma, law)
        before, cost = cost, _cost(residual, z, sigma, law)
        if abs(cost - before) < _CLOSE:
            break
    hessian, _ = _quadratic(jacobian, residual, z, sigma, law)
    return Posterior(z, np.linalg.inv(hessian), sigma, tail, cost)


def design_effect(residual: np.ndarray, clusters: np.ndarray) -> float:
    """Return how many of the measurements count as one, for what residuals of a cluster share.

    ``1 + (n0 - 1) rho`` with the correlation inside clusters of a one-way analysis of variance and
    its mean size n0; at least 1. Residuals beyond 3 robust standard deviations are cut there.

    Parameters
    ----------
    residual : ndarray of shape (n,)
    clusters : ndarray of shape (n,)
        Measurements of a cluster have the same value.

    Examples
    --------
    >>> design_effect(np.array([0.1, 0.1, 0.1, -0.1, -0.1, -0.1]), np.array([0, 0, 0, 1, 1, 1]))
    3.0
    """
    _, place, count = np.unique(clusters, return_inverse=True, return_counts=True)
    n, groups = len(residual), len(count)
    if groups in (1, n):
        return 1.0
    center = np.median(residual)
    reach = 3 * 1.4826 * np.median(np.abs(residual - center))
    cut = np.clip(residual, center - reach, center + reach)
    means = np.bincount(place, cut) / count
    between = np.sum(count * (means - cut.mean()) ** 2) / (groups - 1)
    within = np.sum((cut - means[place]) ** 2) / (n - groups)
    size = (n - np.sum(count**2) / n) / (groups - 1)
    if between <= within:
        return 1.0
    correlation = (between - within) / (between + (size - 1) * within)
    return float(1 + (size - 1) * correlation)


def differences(predict: Predict, z: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the change of the predictions with each scalar, shape (n, p)."""
    columns = [(predict(z + _DIFFERENCE * unit) - center) / _DIFFERENCE for unit in np.eye(len(z))]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Law:
    """Of residuals and scalars; names as in the table above."""

    tail: float
    weight: float
    design: float

    def weights(self, residual: np.ndarray, sigma: float) -> np.ndarray:
        if math.isinf(self.tail):
            return np.ones_like(residual)
        return (self.tail + 1) / (self.tail + (residual / sigma) ** 2)

    def information(self, jacobian: np.ndarray, residual: np.ndarray, sigma: float) -> np.ndarray:
        """Rows of the Jacobian as they count, shape (n, p)."""
        return jacobian * (self.weights(residual, sigma) / (self.design * sigma**2))[:, None]


def _quadratic(
    jacobian: np.ndarray,
    residual: np.ndarray,
    z: np.ndarray,
    sigma: float,
    law: _Law,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Hessian and downhill gradient of the cost."""
    counted = law.information(jacobian, residual, sigma)
    prior = law.weight * np.eye(len(z))
    return counted.T @ jacobian + prior, counted.T @ residual - law.weight * z


def _cost(residual: np.ndarray, z: np.ndarray, sigma: float, law: _Law) -> float:
    """Return minus the log density of residuals, scalars and sigma."""
    fit = len(residual) * math.log(sigma) - float(np.sum(_log_density(residual / sigma, law.tail)))
    of_sigma = SIGMA_PRIOR_RUNS * (math.log(sigma) + (SIGMA_PRIOR / sigma) ** 2 / 2)
    return fit / law.design + of_sigma + law.weight * float(z @ z) / 2


def _log_density(t: np.ndarray, tail: float) -> np.ndarray:
    """Return the log density of Student's t with `tail` degrees of freedom, inf for a normal.

    `scipy.stats` has it, too, and would double the memory that this package takes.
    """
    if math.isinf(tail):
        return -(t**2 + math.log(2 * math.pi)) / 2
    constant = gammaln((tail + 1) / 2) - gammaln(tail / 2) - math.log(math.pi * tail) / 2
    return constant - xlog1py((tail + 1) / 2, t**2 / tail)


def _residual_spread(jacobian: np.ndarray, residual: np.ndarray, sigma: float, law: _Law) -> float:
    """Return sigma for the given residuals, less the scalars that they were used up for."""
    information = law.information(jacobian, residual, sigma).T @ jacobian
    prior = law.weight * np.eye(len(information))
    used = np.trace(np.linalg.solve(information + prior, information))
    squares = np.sum(law.weights(residual, sigma) * residual**2) / law.design
    total = squares + SIGMA_PRIOR_RUNS * SIGMA_PRIOR**2
    return math.sqrt(total / (len(residual) / law.design + SIGMA_PRIOR_RUNS - used))
