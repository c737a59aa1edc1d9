r"""What a learned controller sees of each platelet: dimensionless numbers over the last segments.

Every feature is made from one `Observation`, and a rate also from the one before::

    x_k(s) = f_k(observation s),    dx_k(s) = [x_k(s) - x_k(s - 1)] / [t(s) - t(s - 1)]

They do not change with a shift of the origin, a uniform drift of platelets and flow, the free sign
of a platelet's axis, or the numbering of the platelets (which only reorders the rows).

=================== ============================ ================================================
feature             formula                      what it tells
=================== ============================ ================================================
slip                asinh(|u| / 0.1)             speed u against the undisturbed flow [rc/time]
spin                asinh(|w| / 0.1)             rate of turning [1/time]
along_flow          n_x^2                        short axis n along the flow
along_gradient      n_y^2                        short axis along the flow's gradient
tilt                2 n_x n_y                    which of the two diagonals it is nearer to
flatness            g_1 / g_3                    ratio of the gyration tensor's eigenvalues
roundness           g_2 / g_3                    the same, of the two long axes
temperature         T / kT                       heat of the beads
stretch_mean        20 <|r - r0| / r0>           load on the membrane springs
stretch_max         5 max |r - r0| / r0          the most loaded spring
contacts            log(1 + contacts)            pairs of beads within the receptors' range
nearness            exp(-gap / rc)               0 for a platelet alone; the approach to another
closeness           30 exp(-4 gap / rc)          the same within the range of the receptors
bond_energy         U_bond / kT                  energy in springs and struts per bead
receptor_energy     asinh(U_receptor / 0.1 kT)   energy with other platelets per bead
*name*_rate         d(name) / dt                 of spin, flatness, roundness, stretch_mean,
                                                 contacts, nearness, receptor_energy [1/time];
                                                 0 at the first observation of a run
=================== ============================ ================================================

The change of nearness and of contacts is the relative velocity of neighbors at the place where they
meet; it needs no nearest image. The plan in use is no feature: the error of a plan is a property of
the state it starts from, and a network that sees its own choice can lock itself in. What a plan
does to the state is seen as heat and stretch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from labkit.clot.forcefield import require_positive
from labkit.clot.observation import Observation
from labkit.errors import ParameterError

Array = NDArray[np.float64]

LENGTH = 6
"""Segments that a controller looks back on, the present one included."""
_SLOW = 0.1
_STATES: dict[str, Callable[[Observation, float], Array]] = {
    "slip": lambda o, kT: np.arcsinh(np.linalg.norm(o.velocity, axis=1) / _SLOW),
    "spin": lambda o, kT: np.arcsinh(np.linalg.norm(o.angular_velocity, axis=1) / _SLOW),
    "along_flow": lambda o, kT: o.axis[:, 0] ** 2,
    "along_gradient": lambda o, kT: o.axis[:, 1] ** 2,
    "tilt": lambda o, kT: 2 * o.axis[:, 0] * o.axis[:, 1],
    "flatness": lambda o, kT: o.gyration[:, 0] / o.gyration[:, 2],
    "roundness": lambda o, kT: o.gyration[:, 1] / o.gyration[:, 2],
    "temperature": lambda o, kT: o.temperature / kT,
    "stretch_mean": lambda o, kT: 20 * o.stretch_mean,
    "stretch_max": lambda o, kT: 5 * o.stretch_max,
    "contacts": lambda o, kT: np.log1p(o.contacts),
    "nearness": lambda o, kT: np.exp(-o.gap),
    "closeness": lambda o, kT: 30 * np.exp(-4 * o.gap),
    "bond_energy": lambda o, kT: o.bond_energy / kT,
    "receptor_energy": lambda o, kT: np.arcsinh(o.receptor_energy / (0.1 * kT)),
}
_RATES = (
    "spin",
    "flatness",
    "roundness",
    "stretch_mean",
    "contacts",
    "nearness",
    "receptor_energy",
)
FEATURES = (*_STATES, *(f"{name}_rate" for name in _RATES))
"""Names of the features, in the order of the last axis of every array."""
_CHANGING = [tuple(_STATES).index(name) for name in _RATES]


def series_features(history: Sequence[Observation], *, kT: float) -> Array:
    """Return the features of each platelet at each time.

    Parameters
    ----------
    history : sequence of Observation
        In the order of time; n of them, of the same P platelets.
    kT : float
        Temperature of the thermostat [energy].

    Returns
    -------
    array of shape (n, P, F)
        In the order of `FEATURES`; not finite where an observation is not.

    Raises
    ------
    ParameterError
        No observation, times that do not increase, or a number of platelets that changes.
    """
    require_positive("kT", kT)
    _check(history)
    with np.errstate(all="ignore"):
        states = np.array([_states(observation, kT) for observation in history])
        times = np.array([observation.time for observation in history])
        rates = np.zeros((*states.shape[:2], len(_RATES)))
        change = np.diff(states[:, :, _CHANGING], axis=0)
        rates[1:] = change / np.diff(times)[:, None, None]
    return np.concatenate([states, rates], axis=2)


def recent_features(history: Sequence[Observation], *, kT: float, length: int = LENGTH) -> Array:
    """Return the features of the last segments.

    Parameters
    ----------
    history : sequence of Observation
        It ends with now; what is older than needed is not looked at.
    kT : float
        Temperature of the thermostat [energy].
    length : int
        Segments to return; fewer where the history is shorter.

    Returns
    -------
    array of shape (min(length, n), P, F)
    """
    return series_features(history[-(length + 1) :], kT=kT)[-length:]


def _states(observation: Observation, kT: float) -> Array:
    return np.stack([measure(observation, kT) for measure in _STATES.values()], axis=1)


def _check(history: Sequence[Observation]) -> None:
    if not history:
        raise ParameterError("history=[] is not allowed; give one observation or more.")
    platelets = {len(observation.gap) for observation in history}
    if len(platelets) != 1:
        raise ParameterError(
            f"history has {sorted(platelets)} platelets; use observations of one simulation."
        )
    times = [observation.time for observation in history]
    if any(late <= early for early, late in itertools.pairwise(times)):
        raise ParameterError(f"history is at the times {times}; use times that increase.")
