"""Tumbling of a spheroid in simple shear: Jeffery's orbit, and what an axis series says of it.

The unit vector p along the axis of revolution of a spheroid without inertia and noise moves in
u = rate y e_x as p = q / |q|, where q obeys a linear equation [1]_ [2]_::

    dq/ds = K q,   K = [[0, (1 + L)/2, 0], [(L - 1)/2, 0, 0], [0, 0, 0]],   L = (r^2 - 1)/(r^2 + 1)
    q(s) = [cos(w s) + sin(w s)/w K] q(0) in the plane of shear,   w = 1/(r + 1/r)

so that the angle phi of its projection, from y towards x, and the period are::

    tan phi = r tan(w s + k),   T = 2 pi (r + 1/r)

A platelet lies flat in the flow most of the time, phi near 0, and turns over quickly: a flip is
where phi passes 90 degrees (and again each 180), when the disc stands upright with its short axis
along the flow. An axis has no sign, so phi is known up to 180 degrees and unwrapped on that.

======== ======================================================= ====
symbol   variable                                                unit
======== ======================================================= ====
s        ``strain``: shear rate x time                           1
r        ``aspect_ratio``: along the axis / across; disc < 1     1
phi      ``angle``                                               rad
======== ======================================================= ====

References
----------
.. [1] Jeffery, Proc. R. Soc. A 102 (1922) 161.
.. [2] Bretherton, J. Fluid Mech. 14 (1962) 284.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.optimize import brentq, least_squares

from labkit.clot.forcefield import require_positive
from labkit.errors import ParameterError

Array = NDArray[np.float64]


def jeffery_period(aspect_ratio: float) -> float:
    """Return the strain of a full turn, 2 pi (r + 1/r); a disc flips twice in it.

    Examples
    --------
    >>> round(jeffery_period(0.25), 2)
    26.7
    """
    require_positive("aspect_ratio", aspect_ratio)
    return 2 * np.pi * (aspect_ratio + 1 / aspect_ratio)


def jeffery_axis(start: ArrayLike, strain: ArrayLike, aspect_ratio: float) -> Array:
    """Return Jeffery's orbit from any axis.

    Parameters
    ----------
    start : array of shape (3,)
        Axis of revolution at strain 0.
    strain : array of shape (n,)
    aspect_ratio : float
        Semi-axis along the axis over that across; below 1 for a disc.

    Returns
    -------
    array of shape (n, 3)
        Unit vectors.

    Examples
    --------
    >>> jeffery_axis([0, 1, 0], jeffery_period(0.25) / 4, 0.25).round(6)
    array([1., 0., 0.])
    """
    require_positive("aspect_ratio", aspect_ratio)
    q0, s = np.asarray(start, dtype=float), np.asarray(strain, dtype=float)
    if q0.shape != (3,) or not np.linalg.norm(q0) > 0:
        raise ParameterError(f"start={start!r} is not allowed; use a vector of length > 0.")
    w = 1 / (aspect_ratio + 1 / aspect_ratio)
    r_squared = aspect_ratio**2
    shape = (r_squared - 1) / (r_squared + 1)
    cosine, sine = np.cos(w * s), np.sin(w * s) / w
    q = np.stack(
        [
            cosine * q0[0] + sine * (1 + shape) / 2 * q0[1],
            cosine * q0[1] + sine * (shape - 1) / 2 * q0[0],
            np.full_like(s, q0[2]),
        ],
        axis=-1,
    )
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def jeffery_angle(start: float, strain: ArrayLike, aspect_ratio: float) -> Array:
    """Return the angle phi of Jeffery's orbit [rad], unwrapped.

    Parameters
    ----------
    start : float
        phi at strain 0 [rad].
    strain : array of shape (n,)
    aspect_ratio : float

    Examples
    --------
    >>> np.degrees(jeffery_angle(0.0, jeffery_period(0.25) * np.array([0.25, 0.5]), 0.25)).round(6)
    array([ 90., 180.])
    """
    require_positive("aspect_ratio", aspect_ratio)
    upright = 1 / (1 + aspect_ratio**2)
    return _turned(start, np.asarray(strain, dtype=float), aspect_ratio**2 * upright, upright)


def _turned(start: ArrayLike, strain: Array, flat: float, upright: float) -> Array:
    """Return the solution of dphi/ds = flat cos^2 phi + upright sin^2 phi."""
    factor = np.sqrt(flat / upright)
    return _phase(_phase(start, 1 / factor) + np.sqrt(flat * upright) * strain, factor)


def _phase(angle: ArrayLike, factor: float) -> Array:
    """Return the angle whose tangent is the factor times larger, in the same half turn."""
    given = np.asarray(angle, dtype=float)
    half_turns = np.round(given / np.pi) * np.pi
    rest = given - half_turns
    return half_turns + np.arctan2(factor * np.sin(rest), np.cos(rest))


def jeffery_flips(start: float, n_flips: int, aspect_ratio: float) -> Array:
    """Return the strains of the first flips from an angle [rad].

    Examples
    --------
    >>> jeffery_flips(-0.35, 2, 0.25).round(2)
    array([10.8 , 24.15])
    """
    half = jeffery_period(aspect_ratio) / 2
    phase = _phase(start, 1 / aspect_ratio)
    behind = np.floor(phase / np.pi - 0.5) + 1.5
    return (behind + np.arange(n_flips)) * half - phase / np.pi * half


def axis_angle(axes: ArrayLike) -> Array:
    """Return the angle phi of a series of axes whose signs are free [rad], unwrapped.

    Parameters
    ----------
    axes : array of shape (n, 3)
        Taken often enough that the angle changes by less than 90 degrees from one to the next.

    Examples
    --------
    >>> np.degrees(axis_angle([[0, 1, 0], [-1, -1, 0], [1, 0, 0], [1, -1, 0]])).round(6)
    array([  0.,  45.,  90., 135.])
    """
    series = np.asarray(axes, dtype=float)
    if series.ndim != 2 or series.shape[1] != 3:
        raise ParameterError(f"axes has shape {series.shape}; give (n, 3).")
    angle = np.unwrap(np.arctan2(series[:, 0], series[:, 1]), period=np.pi)
    return angle - np.round(angle[:1] / np.pi) * np.pi


def flip_strains(strain: ArrayLike, angle: ArrayLike) -> Array:
    """Return where the angle first passes 90 degrees, 270, ... in a series.

    Parameters
    ----------
    strain, angle : array of shape (n,)
        Angle unwrapped, as `axis_angle` returns it [rad]. That it trembles around a crossing does
        not count as another flip.

    Examples
    --------
    >>> flip_strains([0, 1, 2, 3], np.radians([80, 100, 85, 280])).round(2)
    array([0.5 , 2.94])
    """
    s, reached = np.asarray(strain, dtype=float), np.maximum.accumulate(np.asarray(angle, float))
    turns = np.floor(reached / np.pi + 0.5)
    flips = []
    for k in np.flatnonzero(np.diff(turns)):
        levels = (np.arange(turns[k], turns[k + 1]) + 0.5) * np.pi
        share = (levels - reached[k]) / (reached[k + 1] - reached[k])
        flips.extend(s[k] + share * (s[k + 1] - s[k]))
    return np.array(flips)


def period_of(flips: ArrayLike) -> float:
    """Return the strain of a full turn, twice the mean strain between flips; nan below two."""
    between = np.diff(np.asarray(flips, dtype=float))
    return 2 * float(between.mean()) if len(between) else float("nan")


def aspect_ratio_of(period: float) -> float:
    """Return the aspect ratio r < 1 of the disc that turns over in a strain.

    Examples
    --------
    >>> round(aspect_ratio_of(jeffery_period(0.25)), 6)
    0.25
    """
    both = period / (4 * np.pi)
    if not both >= 1:
        raise ParameterError(
            f"period={period:g} is not allowed; no spheroid turns over in a strain below "
            f"{4 * np.pi:.4g}."
        )
    return float(both - np.sqrt(both**2 - 1))


@dataclass(frozen=True)
class TurningRates:
    """How fast an axis turns, from dphi/ds = flat cos^2 phi + upright sin^2 phi.

    Attributes
    ----------
    flat, upright : float
        Turning rates over the shear rate where the disc lies in the flow and where it stands; of a
        spheroid r^2/(1 + r^2) and 1/(1 + r^2), whatever r is one together.
    flat_error, upright_error : float
        Standard errors.
    """

    flat: float
    upright: float
    flat_error: float
    upright_error: float

    @property
    def aspect_ratio(self) -> float:
        """Aspect ratio r of the spheroid whose rates have this ratio."""
        return float(np.sqrt(self.flat / self.upright))

    @property
    def total(self) -> float:
        """Sum of both rates, 1 in Jeffery's theory."""
        return self.flat + self.upright

    @property
    def total_error(self) -> float:
        """Standard error of the sum, as of independent rates."""
        return float(np.hypot(self.flat_error, self.upright_error))


def turning_rates(runs: Sequence[tuple[ArrayLike, ArrayLike]]) -> TurningRates:
    """Fit the turning rates to each step of some angle series.

    Noise pushes every step anew, so that steps are independent and the fit is not drawn off by a
    flip that came early or late by chance.

    Parameters
    ----------
    runs : sequence of pairs of arrays of shape (n,)
        Strain and angle, unwrapped [rad], of each run.

    Examples
    --------
    >>> strain = np.arange(0, 20, 0.1)
    >>> found = turning_rates([(strain, jeffery_angle(-0.3, strain, 0.25))])
    >>> round(found.aspect_ratio, 6), round(found.total, 6)
    (0.25, 1.0)
    """
    steps = [np.diff(np.asarray(strain, dtype=float)) for strain, _ in runs]
    angles = [np.asarray(angle, dtype=float) for _, angle in runs]
    step, start = np.concatenate(steps), np.concatenate([a[:-1] for a in angles])
    end = np.concatenate([a[1:] for a in angles])

    def off(logarithms: Array) -> Array:
        flat, upright = np.exp(logarithms)
        return _turned(start, step, flat, upright) - end

    found = least_squares(off, np.log([0.1, 0.9]))
    flat, upright = map(float, np.exp(found.x))
    covariance = 2 * found.cost / (len(end) - 2) * np.linalg.inv(found.jac.T @ found.jac)
    errors = np.sqrt(np.diag(covariance))
    return TurningRates(flat, upright, float(flat * errors[0]), float(upright * errors[1]))


def semi_axes(gyration: ArrayLike) -> tuple[float, float]:
    """Return a and c of the oblate spheroid whose surface has these moments [rc].

    Parameters
    ----------
    gyration : array of shape (3,)
        Eigenvalues of the gyration tensor of beads that each stand for the same area, as
        `Observation.gyration` [rc^2].

    Examples
    --------
    >>> across, along = _surface_moments(0.25)
    >>> [round(axis, 6) for axis in semi_axes([9 * along, 9 * across, 9 * across])]
    [3.0, 0.75]
    """
    moments = np.sort(np.asarray(gyration, dtype=float))
    along, wide = float(moments[0]), float(moments[1:].mean())
    flatness = along / wide

    def off(ratio: float) -> float:
        across_squared, along_squared = _surface_moments(ratio)
        return along_squared / across_squared - flatness

    if not 0 < flatness < 1 - 1e-9:
        raise ParameterError(
            f"gyration={moments.round(4).tolist()} is not that of a disc; its smallest value "
            "must be positive and below the others."
        )
    ratio = float(brentq(off, 1e-4, 1 - 1e-9))
    a = float(np.sqrt(wide / _surface_moments(ratio)[0]))
    return a, ratio * a


def effective_aspect_ratio(gyration: ArrayLike, *, shell: float = 0.0) -> float:
    """Return the aspect ratio c / a that plasma sees of a platelet.

    Parameters
    ----------
    gyration : array of shape (3,)
        As of `semi_axes` [rc^2].
    shell : float
        Thickness of the layer that plasma is kept off the membrane, added to both semi-axes [rc].
    """
    a, c = semi_axes(gyration)
    return (c + shell) / (a + shell)


def _surface_moments(ratio: float) -> tuple[float, float]:
    """Mean x^2 and z^2 over the area of a spheroid of semi-axes 1, 1, ratio."""

    def over_area(value: str) -> float:
        powers = {"1": (0, 0), "x2": (2, 0), "z2": (0, 2)}[value]

        def integrand(t: float) -> float:
            ring = np.sqrt(1 - t * t) ** powers[0] * (ratio * t) ** powers[1]
            return float(ring * np.sqrt(t * t + ratio**2 * (1 - t * t)))

        return float(quad(integrand, 0, 1)[0])

    area = over_area("1")
    return over_area("x2") / 2 / area, over_area("z2") / area


@dataclass(frozen=True, eq=False)
class Tumbling:
    """A platelet's orbit beside Jeffery's from the same start.

    Attributes
    ----------
    orbit : DataFrame
        Columns strain, angle [rad], jeffery [rad] and out_of_plane, the axis's z component without
        its sign.
    flips, jeffery_flips : array
        Strains of the flips that were seen, and as many of Jeffery's (one at least).
    """

    orbit: pd.DataFrame
    flips: Array
    jeffery_flips: Array

    @property
    def first_flip_error(self) -> float:
        """Relative error of the first flip's strain; nan if none was seen."""
        if not len(self.flips):
            return float("nan")
        return float(self.flips[0] / self.jeffery_flips[0] - 1)


def compare_with_jeffery(strain: ArrayLike, axes: ArrayLike, aspect_ratio: float) -> Tumbling:
    """Return an axis series beside Jeffery's orbit from its first axis.

    Parameters
    ----------
    strain : array of shape (n,)
        The first one counts as 0.
    axes : array of shape (n, 3)
        Short axes, signs free.
    aspect_ratio : float
        See `effective_aspect_ratio`.
    """
    s, series = np.asarray(strain, dtype=float), np.asarray(axes, dtype=float)
    s = s - s[0]
    angle = axis_angle(series)
    flips = flip_strains(s, angle)
    orbit = pd.DataFrame(
        {
            "strain": s,
            "angle": angle,
            "jeffery": jeffery_angle(angle[0], s, aspect_ratio),
            "out_of_plane": np.abs(series[:, 2]),
        }
    )
    return Tumbling(orbit, flips, jeffery_flips(angle[0], max(1, len(flips)), aspect_ratio))
