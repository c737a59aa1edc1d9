"""Moving-block bootstrap of windows that follow one another in time.

Neighboring windows resemble each other (they share frames, and the ligand remembers), so that
drawing single windows would make every interval too narrow. Blocks of ``l`` consecutive windows are
drawn instead [1]_. Blocks may start at any window and wrap around the end of their replica, so that
every window counts equally [2]_; they never join two replicas.

``l`` comes from the autocorrelation, by the rule of Politis and White [3]_ as corrected in [4]_.
With ``R(k)`` the autocovariance of a series of length ``n``, ``m`` the lag after which the
autocorrelation stays within ``2 sqrt(log10(n) / n)`` of 0, ``M = 2 m`` and ``w`` the flat-top
taper,

    l = (2 G^2 / D)^(1/3) n^(1/3),  G = sum_k w(k/M) |k| R(k),  D = 4/3 (sum_k w(k/M) R(k))^2,

sums over ``-M <= k <= M``. An autoregressive series with coefficient ``p`` gets
``(6 p^2 / (1 - p^2)^2)^(1/3) n^(1/3)``.

References
----------
.. [1] Kuensch, Annals of Statistics 17 (1989) 1217-1241.
.. [2] Politis and Romano, in LePage and Billard (eds.), Exploring the Limits of Bootstrap (1992).
.. [3] Politis and White, Econometric Reviews 23 (2004) 53-70.
.. [4] Patton, Politis and White, Econometric Reviews 28 (2009) 372-375.
"""

from __future__ import annotations

import numpy as np

from labkit.errors import ParameterError


def optimal_block_length(series: np.ndarray) -> float:
    """Block length that suits the mean of one stationary series, in samples (not rounded).

    Parameters
    ----------
    series : ndarray of shape (n,)

    Returns
    -------
    float
        From 1 to ``min(3 sqrt(n), n / 3)``; 1 where the series is constant or shorter than 4.
    """
    x = np.asarray(series, dtype=float)
    n = len(x)
    x = x - x.mean() if n else x
    variance = float(x @ x) / n if n else 0.0
    if n < 4 or variance <= 1e-30:
        return 1.0
    quiet = max(5, int(np.ceil(np.log10(n))))
    longest = min(n - 1, int(np.ceil(np.sqrt(n))) + quiet)
    R = np.array([x[: n - k] @ x[k:] for k in range(longest + 1)]) / n
    M = min(2 * _last_lag(R[1:] / variance, n, quiet), longest)
    lags = np.arange(1, M + 1)
    taper = np.clip(2 * (1 - lags / M), 0, 1)
    G = 2 * np.sum(taper * lags * R[1 : M + 1])
    spectrum = R[0] + 2 * np.sum(taper * R[1 : M + 1])
    if spectrum <= 0:
        return 1.0
    best = (1.5 * G**2 / spectrum**2 * n) ** (1 / 3)
    return float(np.clip(best, 1.0, max(1.0, min(3 * np.sqrt(n), n / 3))))


def _last_lag(correlation: np.ndarray, n: int, quiet: int) -> int:
    """Smallest lag after which `quiet` autocorrelations in a row are insignificant."""
    loud = np.abs(correlation) >= 2 * np.sqrt(np.log10(n) / n)
    if not loud.any():
        return 1
    for lag in range(1, len(loud) - quiet + 1):
        if not loud[lag : lag + quiet].any():
            return lag
    return int(np.flatnonzero(loud)[-1]) + 1


def block_weights(
    replica: np.ndarray, length: int, n: int, *, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """How often each window is drawn in each bootstrap sample.

    Parameters
    ----------
    replica : ndarray of shape (n_windows,)
        Which trajectory each window comes from; windows of one are consecutive.
    length : int
        Windows in a block.
    n : int
        Bootstrap samples.
    seed : int or Generator

    Returns
    -------
    ndarray of shape (n, n_windows)
        Whole numbers; every row sums to n_windows.

    Examples
    --------
    >>> block_weights(np.zeros(6, int), 3, 2, seed=1)
    array([[0., 0., 1., 2., 2., 1.],
           [2., 1., 0., 0., 1., 2.]])
    """
    replica = np.asarray(replica)
    first, size = _runs(replica)
    n_windows = len(replica)
    if not 1 <= length <= n_windows:
        raise ParameterError(f"length={length}: a block has 1 to {n_windows} windows.")
    rng = np.random.default_rng(seed)
    n_blocks = -(-n_windows // length)
    starts = rng.integers(n_windows, size=(n, n_blocks))
    within = (starts - first[starts])[..., None] + np.arange(length)
    drawn = first[starts][..., None] + within % size[starts][..., None]
    drawn = drawn.reshape(n, -1)[:, :n_windows] + n_windows * np.arange(n)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=n * n_windows)
    return counts.reshape(n, n_windows).astype(float)


def _runs(replica: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First window and number of windows of the replica that each window is in."""
    change = np.flatnonzero(np.diff(replica, prepend=replica[:1] - 1))
    size = np.diff(np.append(change, len(replica)))
    return np.repeat(change, size), np.repeat(size, size)
