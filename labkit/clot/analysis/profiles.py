"""Velocity profiles and the viscosity, from shear and from flows that a force drives.

Under simple shear the viscosity is -<P_xy> / rate [1]_. A force f on each particle of a stream of
width H between y = 0 and y = H drives, with nu = eta / rho [2]_::

    u(y) = rho f / (2 eta) y (H - y)
    u(y, t) = u(y) - sum_{n odd} 4 f H^2 / (nu pi^3 n^3) sin(n pi y / H) exp(-nu n^2 pi^2 t / H^2)

The second line starts from rest. In reverse Poiseuille flow H is half of the box and both hold in
its lower half; the upper half is the mirror image with the opposite sign. DPD stress acts over a
distance of rc, so the parabola is exact only farther than rc from where the force changes its sign;
its curvature there gives the viscosity.

============ =================================== ==================
symbol       variable                            unit
============ =================================== ==================
P            ``stress``: pressure tensor         energy/rc^3
rate         shear rate                          1/time
f            ``force`` on a particle             mass rc/time^2
rho          ``density`` of particles of mass 1  1/rc^3
eta          ``viscosity``                       mass/(rc time)
H            ``width`` of a stream               rc
============ =================================== ==================

References
----------
.. [1] Lees and Edwards, J. Phys. C 5 (1972) 1921.
.. [2] Backer et al., J. Chem. Phys. 122 (2005) 154503; Morris, Fox and Zhu, J. Comput. Phys. 136
   (1997) 214.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from labkit.clot.analysis.intervals import Interval, mean_interval
from labkit.clot.flows import Channel, ReversePoiseuille
from labkit.clot.forcefield import require_positive
from labkit.clot.simulation import Segment
from labkit.errors import ParameterError

Array = NDArray[np.float64]
MARGIN = 1.0
"""Bins nearer than this to a wall or to where the force changes its sign are left out [rc]."""
_TERMS = 2 * np.arange(100) + 1


def velocity_profile(profiles: ArrayLike | Sequence[Segment]) -> pd.DataFrame:
    """Return the mean profile of several segments, with standard errors.

    Parameters
    ----------
    profiles : array of shape (k, bins, 4) or sequence of Segment
        As `Segment.profile`, of segments long enough to be independent, or of runs.

    Returns
    -------
    DataFrame
        Columns y [rc], density [1/rc^3], velocity [rc/time], temperature [energy], and
        velocity_error, temperature_error, which are not known (nan) from one segment.
    """
    stack = _profiles(profiles)
    mean = stack.mean(axis=0)
    k = len(stack)
    error = stack.std(axis=0, ddof=1) / np.sqrt(k) if k > 1 else np.full_like(mean, np.nan)
    return pd.DataFrame(
        {
            "y": mean[:, 0],
            "density": mean[:, 1],
            "velocity": mean[:, 2],
            "velocity_error": error[:, 2],
            "temperature": mean[:, 3],
            "temperature_error": error[:, 3],
        }
    )


def shear_viscosity(stress: ArrayLike | Sequence[Segment], rate: float) -> Interval:
    """Return the viscosity -<P_xy> / rate under simple shear [mass/(rc time)].

    Parameters
    ----------
    stress : array of shape (k, 6) or sequence of Segment
        Time averages over segments of equal length, long enough to be independent.
    rate : float
        Shear rate [1/time].

    Examples
    --------
    >>> stress = [[1, 1, 1, -0.1, 0, 0], [1, 1, 1, -0.12, 0, 0]]
    >>> round(shear_viscosity(stress, 0.1).estimate, 6)
    1.1
    """
    require_positive("rate", rate)
    stack = _stresses(stress)
    return mean_interval(-stack[:, 3] / rate)


@dataclass(frozen=True, eq=False)
class PoiseuilleFit:
    """A parabola through a measured profile.

    Attributes
    ----------
    viscosity : Interval
        [mass/(rc time)]. Of one profile its error is that of the fit.
    curve : array of shape (bins, 2)
        y [rc] and the fitted velocity [rc/time], in all bins.
    rms : float
        Root mean square distance of the bins that were fitted, over the largest velocity.
    """

    viscosity: Interval
    curve: Array
    rms: float


def poiseuille_viscosity(
    profiles: ArrayLike | Sequence[Segment],
    flow: ReversePoiseuille | Channel,
    height: float,
    *,
    margin: float = MARGIN,
    slip: bool = True,
) -> PoiseuilleFit:
    """Return the viscosity from the curvature of a steady profile.

    Parameters
    ----------
    profiles : array of shape (k, bins, 4) or sequence of Segment
        Steady profiles of segments long enough to be independent.
    flow : ReversePoiseuille or Channel
    height : float
        Length of the box along y [rc].
    margin : float
        Bins nearer than this to a wall or a change of the force are left out [rc].
    slip : bool
        Let each stream have a velocity of its own where the force changes. False holds it at zero
        in reverse flow: short runs gain a factor of three in precision, as the height of the
        profile counts and not only its curvature, and lose the one or two percent by which forces
        of finite range round the profile there.

    Raises
    ------
    ParameterError
        Too few bins are left.
    """
    stack = _profiles(profiles)
    y = stack[0, :, 0]
    streams = _streams(y, flow, height, slip)
    fitted = streams.beside > margin
    if np.count_nonzero(fitted) < len(streams.basis) + 2:
        raise ParameterError(
            f"{np.count_nonzero(fitted)} of {len(y)} bins are farther than margin={margin:g} from "
            "where the force changes; use more bins, a larger box or a smaller margin."
        )
    density = (
        stack[:, :, 1].mean() if isinstance(flow, ReversePoiseuille) else stack[:, fitted, 1].mean()
    )
    design = streams.basis.T
    driving = density * flow.force
    each = [np.linalg.lstsq(design[fitted], u[fitted], rcond=None)[0] for u in stack[:, :, 2]]
    coefficients = np.mean(each, axis=0)
    curve = design @ coefficients
    residual = stack[:, fitted, 2].mean(axis=0) - curve[fitted]
    viscosity = driving / coefficients[0]
    if len(stack) > 1:
        spread = mean_interval(np.array(each)[:, 0])
        error, freedom = spread.error, spread.freedom
    else:
        freedom = float(np.count_nonzero(fitted) - design.shape[1])
        covariance = np.linalg.inv(design[fitted].T @ design[fitted])
        error = float(np.sqrt(residual @ residual / freedom * covariance[0, 0]))
    return PoiseuilleFit(
        viscosity=Interval.around(
            float(viscosity), float(viscosity / abs(coefficients[0]) * error), freedom
        ),
        curve=np.column_stack([y, curve]),
        rms=float(np.sqrt(np.mean(residual**2)) / np.abs(curve).max()),
    )


def startup_profile(
    y: ArrayLike,
    time: float,
    *,
    force: float,
    density: float,
    viscosity: float,
    width: float,
    until: float | None = None,
) -> Array:
    """Return the velocity of a stream that a force drives from rest at time 0 [rc/time].

    Parameters
    ----------
    y : array of shape (n,)
        From one edge of the stream [rc]; from H to 2 H is the opposite stream of reverse
        Poiseuille flow.
    time : float
        [time]
    force : float
        On each particle.
    density : float
        [1/rc^3]
    viscosity : float
        [mass/(rc time)]
    width : float
        H [rc].
    until : float, optional
        Average from `time` to this time instead.

    Examples
    --------
    >>> at = {"force": 0.1, "density": 3.0, "viscosity": 1.0, "width": 8.0}
    >>> startup_profile([4.0], 1e4, **at).round(6)
    array([2.4])
    """
    for name, value in (("density", density), ("viscosity", viscosity), ("width", width)):
        require_positive(name, value)
    place = np.asarray(y, dtype=float)
    nu = viscosity / density
    rates = nu * (_TERMS * np.pi / width) ** 2
    if until is None:
        decay = np.exp(-rates * time)
    elif until > time:
        decay = (np.exp(-rates * time) - np.exp(-rates * until)) / (rates * (until - time))
    else:
        raise ParameterError(f"until={until!r} is not allowed; use a time after time={time:g}.")
    sines = np.sin(_TERMS * np.pi * place[..., None] / width)
    missing = 4 * force * width**2 / (nu * np.pi**3) * (sines @ (decay / _TERMS**3))
    return force / (2 * nu) * _parabola(place, width) - missing


def startup_viscosity(
    profiles: ArrayLike | Sequence[Segment],
    times: ArrayLike,
    flow: ReversePoiseuille,
    height: float,
    *,
    guess: float = 1.0,
) -> Interval:
    """Return the viscosity whose start-up series fits profiles that were averaged on the way.

    Parameters
    ----------
    profiles : array of shape (k, bins, 4) or sequence of Segment
        One after the other, from rest at time 0.
    times : array of shape (k + 1,)
        When the averages begin and end [time].
    flow : ReversePoiseuille
    height : float
        Length of the box along y [rc].
    guess : float
        Where the search starts.

    Notes
    -----
    The error counts every bin of every profile as independent. Slow fluctuations of a warm fluid
    are not; the spread over several runs is then the honest error.
    """
    stack, edges = _profiles(profiles), np.asarray(times, dtype=float)
    if edges.shape != (len(stack) + 1,):
        raise ParameterError(f"times has shape {edges.shape}; give {len(stack) + 1} times.")
    y, density = stack[0, :, 0], float(stack[:, :, 1].mean())
    setting = {"force": flow.force, "density": density, "width": height / 2}

    def off(log_viscosity: Array) -> Array:
        eta = float(np.exp(log_viscosity[0]))
        series = [
            startup_profile(y, start, until=end, viscosity=eta, **setting)
            for start, end in itertools.pairwise(edges)
        ]
        return (stack[:, :, 2] - np.array(series)).ravel()

    found = least_squares(off, [np.log(guess)])
    freedom = found.fun.size - 1
    error = float(np.sqrt(2 * found.cost / freedom / (found.jac.T @ found.jac)[0, 0]))
    eta = float(np.exp(found.x[0]))
    return Interval.around(eta, eta * error, freedom)


@dataclass(frozen=True, eq=False)
class _Streams:
    basis: Array
    beside: Array


def _streams(y: Array, flow: ReversePoiseuille | Channel, height: float, slip: bool) -> _Streams:
    """Functions of y whose sum is a steady profile, the parabola first, averaged over the bins.

    The mean of a parabola over a bin of width d is that at its center less d^2/12. With slip the
    other functions add what the borders of the streams move with: in reverse flow one velocity of
    each sign, and in a channel a straight line for different slip at its walls.
    """
    one = np.ones_like(y)
    if isinstance(flow, Channel):
        basis = np.array([_parabola(y, height) / 2, one, y])
        return _Streams(basis, np.minimum(y, height - y))
    half = height / 2
    to_edge = np.abs(y - half * np.round(y / half))
    sign = np.where(y < half, 1.0, -1.0)
    parabola = (_parabola(y, half) - sign * (height / len(y)) ** 2 / 12) / 2
    return _Streams(np.array([parabola, sign, one] if slip else [parabola, one]), to_edge)


def _parabola(y: Array, width: float) -> Array:
    """Return y (H - y) in the first stream, and its continuation, odd about every edge."""
    number, within = np.divmod(y, width)
    return np.where(number % 2 == 0, 1.0, -1.0) * within * (width - within)


def _profiles(profiles: ArrayLike | Sequence[Segment]) -> Array:
    given = _of_segments(profiles, "profile", "bins=")
    stack = np.asarray(given, dtype=float)
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or stack.shape[2] != 4 or not len(stack):
        raise ParameterError(
            f"profiles has shape {stack.shape}; give (k, bins, 4), as Segment.profile has it."
        )
    return stack


def _stresses(stress: ArrayLike | Sequence[Segment]) -> Array:
    stack = np.asarray(_of_segments(stress, "stress", "bins="), dtype=float)
    if stack.ndim != 2 or stack.shape[1] != 6:
        raise ParameterError(f"stress has shape {stack.shape}; give (k, 6), k of 2 or more.")
    return stack


def _of_segments(given: Any, name: str, option: str) -> Any:
    if not isinstance(given, Sequence) or not all(isinstance(one, Segment) for one in given):
        return given
    values = [getattr(one, name) for one in given]
    if any(value is None for value in values):
        raise ParameterError(f"a segment has no {name}; run it with {option}.")
    return values
