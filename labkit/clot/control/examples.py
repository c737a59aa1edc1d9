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
SMALLEST_ERROR, LARGEST_ERROR = 1e-9, 1.0
"""Errors outside are taken as these [rc]; a plan that blew up has the largest."""
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
    classes, jumps : int array of shape (B,)
        Cheapest plan under the tolerance, 0 where none is; place in `JUMPS`, or `UNKNOWN`.
    """

    features: Array
    n_segments: Counts
    n_platelets: Counts
    log_errors: Array
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
    windows, errors, classes, jumps = [], [], [], []
    for trajectory in table.trajectories:
        features = series_features(trajectory.observations, kT=trajectory.kT)
        worst = log_errors(trajectory)
        labeled = np.flatnonzero(np.isfinite(worst).all(axis=1))
        best = step_classes(worst[labeled], tolerance)
        for now in labeled:
            cut = features[max(0, now + 1 - random.integers(1, length + 1)) : now + 1].copy()
            cut[0][:, _RATES] = 0.0
            windows += [features[max(0, now + 1 - length) : now + 1], cut]
        errors += [np.repeat(worst[labeled], 2, axis=0)]
        classes += [np.repeat(best, 2)]
        jumps += [np.repeat(jump_classes(best), 2)]
    return Examples(
        *_padded(windows, length),
        np.concatenate(errors),
        np.concatenate(classes),
        np.concatenate(jumps),
    )


def log_errors(trajectory: TrajectoryLabels) -> Array:
    """Return log10 of the largest platelet error of each plan at each time, shape (n, K).

    nan at times without labels.
    """
    worst = np.max(trajectory.errors, axis=2)
    return np.log10(np.clip(worst, SMALLEST_ERROR, LARGEST_ERROR))


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


def _padded(windows: list[Array], length: int) -> tuple[Array, Counts, Counts]:
    n_segments = np.array([len(window) for window in windows])
    n_platelets = np.array([window.shape[1] for window in windows])
    padded = np.zeros((len(windows), length, n_platelets.max(), len(FEATURES)))
    for row, window in zip(padded, windows, strict=True):
        row[: window.shape[0], : window.shape[1]] = window
    return padded, n_segments, n_platelets
