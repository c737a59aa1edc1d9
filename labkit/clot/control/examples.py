"""Labeled trajectories as arrays for training: windows of features, errors, step classes, jumps.

An example is a time of a trajectory with the segments before it. Runs begin without a past, so each
time is an example twice: with all the segments there are, up to the network's length, and with a
random number of them, as if the run had just begun.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.clot.control.features import FEATURES, series_features
from labkit.clot.labels import LabelTable, TrajectoryLabels

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

JUMPS = (1, 2, 4, 8)
"""Segments for which the recurrent variant may hold a step."""
UNKNOWN = -1
"""Jump class of a time too near to the trajectory's end to know."""
SMALLEST_ERROR, LARGEST_ERROR = 1e-6, 1e-2
"""Errors outside are taken as these [rc]; a plan that is wrong by more, or blew up, just failed."""
_RATES = [i for i, name in enumerate(FEATURES) if name.endswith("_rate")]


@dataclass(frozen=True, eq=False)
class Examples:
    """B examples of at most n segments and P platelets each; what is missing is 0.

    Attributes
    ----------
    features : array of shape (B, n, P, F)
        The known segments come first.
    n_segments, n_platelets : int array of shape (B,)
        How many of them are known.
    log_errors : array of shape (B, K)
        log10 of the largest platelet error of each plan [log10 rc].
    own_errors : array of shape (B, P, K)
        The same of each platelet.
    classes, jumps : int array of shape (B,)
        Cheapest plan under the tolerance, 0 where none is; place in `JUMPS`, or `UNKNOWN`.
    """

    features: Array
    n_segments: Counts
    n_platelets: Counts
    log_errors: Array
    own_errors: Array
    classes: Counts
    jumps: Counts

    def __len__(self) -> int:
        return len(self.features)

    def known(self) -> Array:
        """Return all features that are not padding, shape (number, F)."""
        _, n, P, _ = self.features.shape
        segments = np.arange(n) < self.n_segments[:, None]
        platelets = np.arange(P) < self.n_platelets[:, None]
        return self.features[segments[:, :, None] & platelets[:, None, :]]


def examples(table: LabelTable, *, tolerance: float, length: int, seed: int) -> Examples:
    """Return two examples for each labeled time of each trajectory.

    Parameters
    ----------
    table : LabelTable
    tolerance : float
        For classes and jumps [rc].
    length : int
        Segments looked back on, at most.
    seed : int
        Of the random numbers of segments.
    """
    random = np.random.default_rng(seed)
    most = max(labels.errors.shape[2] for labels in table.trajectories)
    parts = [_of_one(t, tolerance, length, most, random) for t in table.trajectories]
    return Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _of_one(
    trajectory: TrajectoryLabels,
    tolerance: float,
    length: int,
    most: int,
    random: np.random.Generator,
) -> tuple[Array, ...]:
    """Return the arrays of `Examples` for one trajectory, padded to `most` platelets."""
    features = series_features(trajectory.observations, kT=trajectory.kT)
    own = logarithms(trajectory.errors)
    times = np.flatnonzero(np.isfinite(own).all(axis=(1, 2)))
    P = features.shape[1]
    windows = np.zeros((2 * len(times), length, most, len(FEATURES)))
    n_segments = np.zeros(len(windows), dtype=int)
    for row, now in enumerate(np.repeat(times, 2)):
        n = min(length, now + 1)
        window = features[now + 1 - n : now + 1]
        if row % 2:
            n = random.integers(1, n + 1)
            window = window[-n:].copy()
            window[0][:, _RATES] = 0.0
        windows[row, :n, :P], n_segments[row] = window, n
    own = np.repeat(own[times], 2, axis=0)
    best = step_classes(own[::2].max(axis=2), tolerance)
    padded = np.zeros((len(own), most, own.shape[1]))
    padded[:, :P] = own.transpose(0, 2, 1)
    return (
        windows,
        n_segments,
        np.full(len(windows), P),
        own.max(axis=2),
        padded,
        np.repeat(best, 2),
        np.repeat(jump_classes(best), 2),
    )


def log_errors(trajectory: TrajectoryLabels) -> Array:
    """Return log10 of the largest platelet error of each plan at each time, shape (n, K).

    nan at times without labels.
    """
    return np.asarray(logarithms(trajectory.errors).max(axis=2))


def logarithms(errors: Array) -> Array:
    """Return log10 of errors [rc], within the limits; nan stays."""
    return np.log10(np.clip(errors, SMALLEST_ERROR, LARGEST_ERROR))


def step_classes(worst: Array, tolerance: float) -> Counts:
    """Return the coarsest plan under the tolerance at each time; 0 where none is.

    Examples
    --------
    >>> step_classes(np.log10([[1e-4, 2e-4, 2e-3], [2e-3, 3e-3, 4e-3]]), tolerance=1e-3)
    array([1, 0])
    """
    good = worst <= np.log10(tolerance)
    coarsest = worst.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1)
    return np.where(good.any(axis=1), coarsest, 0)


def jump_classes(classes: Counts) -> Counts:
    """Return the largest jump, as a place in `JUMPS`, over which a class stays the same.

    Examples
    --------
    >>> jump_classes(np.array([2, 2, 2, 0, 0]))
    array([ 1,  1,  0, -1, -1])
    """
    n = len(classes)
    changes = np.append(np.flatnonzero(np.diff(classes)) + 1, n)
    until = changes[np.searchsorted(changes, np.arange(n), side="right")] - np.arange(n)
    place = np.searchsorted(JUMPS, until, side="right") - 1
    open_end = np.arange(n) >= (changes[-2] if len(changes) > 1 else 0)
    return np.where(open_end & (until < JUMPS[-1]), UNKNOWN, place)
