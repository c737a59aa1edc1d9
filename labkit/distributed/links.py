r"""Latency and bandwidth of a group of processes, fitted to the times of their collectives.

A ring of n processes moves a message of S bytes in k(n) steps, and f(n) S bytes over each link
(Hockney, Parallel Computing 20 (1994) 389-398; Thakur et al., Int. J. High Perform. Comput. Appl.
19 (2005) 49-66):

.. math:: t(S) = \alpha + f(n) S / \beta

==================  ==============  ==============  ============================================
kind                f(n)            k(n)            S
==================  ==============  ==============  ============================================
all_reduce          2 (n - 1) / n   2 (n - 1)       the tensor that each process has
all_gather          (n - 1) / n     n - 1           the whole tensor that each process ends with
reduce_scatter      (n - 1) / n     n - 1           the whole tensor that each process starts with
p2p                 1               1               the message
==================  ==============  ==============  ============================================

With these factors :math:`\beta` is what nccl-tests calls the bus bandwidth, so that fits of all
kinds and group sizes are numbers for the same links.

=============  ==========================  ======
symbol         variable                    unit
=============  ==========================  ======
S              ``bytes``                   bytes
t              ``seconds``                 s
n              ``size``                    processes
:math:`\alpha`  ``latency_s``               s
:math:`\beta`   ``bandwidth``               bytes/s
=============  ==========================  ======

The fit minimizes the residuals of log t with a loss that grows linearly for outliers; each
doubling of S has the same weight, however many rows a table spends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "p2p")
MIN_SIZES = 3
_EXACT = 1e-9
_NORMAL_MAD = 0.6745


@dataclass(frozen=True, kw_only=True)
class AlphaBeta:
    """What a fit of `fit_alpha_beta` found.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    size : int
        Processes of the group.
    latency_s : float
        Seconds of the whole collective without any bytes.
    bandwidth : float
        Bytes a second that cross each link; the bus bandwidth of nccl-tests for large messages.
    latency_error_s, bandwidth_error : float
        Standard errors.
    spread : float
        Relative scatter of the rows about the fit (median absolute deviation, as a sigma).
    n_rows : int
        Rows that were fitted.
    """

    kind: str
    size: int
    latency_s: float
    bandwidth: float
    latency_error_s: float
    bandwidth_error: float
    spread: float
    n_rows: int

    @property
    def step_latency_s(self) -> float:
        """Seconds of one step of the ring without any bytes."""
        return self.latency_s / ring_steps(self.kind, self.size)

    def seconds(
        self, n_bytes: np.ndarray | float, *, kind: str | None = None, size: int | None = None
    ) -> np.ndarray:
        """Time of a collective; of another kind or group size on the same links where given.

        Parameters
        ----------
        n_bytes : float or ndarray of shape (n,)
            S of the module's table.
        kind : str, optional
            One of `KINDS`; that of the fit where None.
        size : int, optional
            Processes; those of the fit where None.

        Returns
        -------
        ndarray of shape (n,) or ()
            Seconds.
        """
        kind, size = kind or self.kind, size or self.size
        latency = self.step_latency_s * ring_steps(kind, size)
        return latency + np.asarray(n_bytes, float) * ring_factor(kind, size) / self.bandwidth


def ring_factor(kind: str, size: int) -> float:
    """Return f(n): the share of the bytes that crosses each link.

    Examples
    --------
    >>> ring_factor("all_reduce", 8), ring_factor("p2p", 2)
    (1.75, 1.0)
    """
    _require_kind(kind)
    require_whole("size", size, low=2)
    share = (size - 1) / size
    return {"all_reduce": 2 * share, "p2p": 1.0}.get(kind, share)


def ring_steps(kind: str, size: int) -> int:
    """Return k(n): the messages that follow each other.

    Examples
    --------
    >>> ring_steps("all_reduce", 8), ring_steps("all_gather", 8)
    (14, 7)
    """
    _require_kind(kind)
    require_whole("size", size, low=2)
    return {"all_reduce": 2 * (size - 1), "p2p": 1}.get(kind, size - 1)


def bus_bandwidth(
    n_bytes: np.ndarray | float, seconds: np.ndarray | float, size: int, kind: str = "all_reduce"
) -> np.ndarray:
    """Return the bandwidth that nccl-tests prints as "busbw", in bytes a second.

    Examples
    --------
    >>> bool(np.isclose(bus_bandwidth(2**30, 8.193e-3, 8) / 1e9, 229.3, atol=0.1))
    True
    """
    return np.asarray(n_bytes, float) * ring_factor(kind, size) / np.asarray(seconds, float)


def fit_alpha_beta(table: pd.DataFrame, size: int, kind: str = "all_reduce") -> AlphaBeta:
    """Fit latency and bandwidth to measured times.

    Parameters
    ----------
    table : DataFrame
        Columns ``bytes`` and ``seconds``, one row a measurement; at least three sizes.
    size : int
        Processes of the group.
    kind : str
        One of `KINDS`.

    Returns
    -------
    AlphaBeta
        With standard errors that hold for residuals of unequal scatter (HC3 of MacKinnon and
        White, J. Econometrics 29 (1985) 305-325). They say nothing about what a straight line
        cannot follow, such as a change of protocol between two sizes: `spread` does.

    Raises
    ------
    ParameterError
        The kind is unknown, or the table has too few sizes or impossible numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> sizes = 2.0 ** np.arange(10, 28)
    >>> table = pd.DataFrame({"bytes": sizes, "seconds": 2e-5 + sizes / 1e10})
    >>> fit = fit_alpha_beta(table, 2, "p2p")
    >>> round(fit.latency_s * 1e6, 6), round(fit.bandwidth / 1e9, 6)
    (20.0, 10.0)
    """
    moved = _column(table, "bytes") * ring_factor(kind, size)
    seconds = _column(table, "seconds")
    if len(np.unique(moved)) < MIN_SIZES:
        raise ParameterError(
            f"table has {len(np.unique(moved))} sizes; latency and bandwidth need "
            f"{MIN_SIZES} or more."
        )
    weights = _octave_weights(moved)
    unit = np.array([seconds.min(), np.median(seconds / moved)])

    def residuals(logs: np.ndarray) -> np.ndarray:
        latency, inverse = np.exp(logs) * unit
        return np.log((latency + inverse * moved) / seconds)

    logs, spread = _robust_minimum(residuals, weights)
    latency, inverse = np.exp(logs) * unit
    latency_error, inverse_error = _standard_errors(
        moved, seconds, weights, latency=latency, inverse=inverse, spread=spread
    )
    return AlphaBeta(
        kind=kind,
        size=int(size),
        latency_s=float(latency),
        bandwidth=float(1 / inverse),
        latency_error_s=float(latency_error),
        bandwidth_error=float(inverse_error / inverse**2),
        spread=spread,
        n_rows=len(seconds),
    )


def held_out_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """Predict the time of every second message size from the others, and the reverse.

    Parameters
    ----------
    table : DataFrame
        Columns ``kind``, ``size``, ``bytes``, ``seconds``, as `labkit.distributed.collectives`
        writes them; at least six sizes of each kind and group size.

    Returns
    -------
    DataFrame
        The rows sorted by kind, size and bytes, with ``predicted`` seconds from a fit that has
        not seen the size, and ``ratio`` = predicted / measured.
    """
    import pandas as pd

    missing = [name for name in ("kind", "size", "bytes", "seconds") if name not in table]
    if missing:
        raise ParameterError(f"table has no column {missing[0]!r}; it needs kind, size, bytes, s.")
    parts = []
    for (kind, size), group in table.sort_values("bytes", kind="stable").groupby(["kind", "size"]):
        half = pd.factorize(group["bytes"])[0] % 2
        predicted = np.empty(len(group))
        for fold in (0, 1):
            fit = fit_alpha_beta(group[half != fold], int(size), str(kind))
            predicted[half == fold] = fit.seconds(group["bytes"].to_numpy()[half == fold])
        parts.append(group.assign(predicted=predicted, ratio=predicted / group["seconds"]))
    return pd.concat(parts, ignore_index=True)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ParameterError(not_allowed("kind", kind, KINDS))


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    import pandas as pd

    if name not in table:
        raise ParameterError(f"table has no column {name!r}; it needs 'bytes' and 'seconds'.")
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        given = table[name].tolist()[int(np.argmax(wrong))]
        raise ParameterError(f"{name}={given!r} in the table: use numbers above 0.")
    return values


def _octave_weights(moved: np.ndarray) -> np.ndarray:
    """Give each doubling of the size the same weight; the mean weight is 1."""
    octave = np.floor(np.log2(moved / moved.min()) + 1e-9).astype(int)
    weights = 1 / np.bincount(octave)[octave]
    return weights / weights.mean()


def _robust_minimum(
    residuals: Callable[[np.ndarray], np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Minimize with a guess of the spread, then again with the spread that was found."""
    from scipy.optimize import least_squares  # ranks that time collectives fit nothing

    roots = np.sqrt(weights)
    logs, spread = np.zeros(2), 0.1
    for _ in range(3):
        found = least_squares(
            lambda logs: roots * residuals(logs),
            logs,
            loss=lambda squares: _weighted_soft_l1(squares, weights),
            f_scale=spread,
            bounds=(-30, 30),
            xtol=1e-14,
        )
        logs = found.x
        spread = max(_weighted_median(np.abs(residuals(logs)), weights) / _NORMAL_MAD, _EXACT)
    return logs, spread


def _weighted_soft_l1(squares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Value and derivatives of a loss that damps residuals by their size, not by their weight."""
    inner = 1 + squares / weights
    return np.stack([2 * weights * (np.sqrt(inner) - 1), inner**-0.5, -0.5 * inner**-1.5 / weights])


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _standard_errors(
    moved: np.ndarray,
    seconds: np.ndarray,
    weights: np.ndarray,
    *,
    latency: float,
    inverse: float,
    spread: float,
) -> np.ndarray:
    """Errors of latency and inverse bandwidth: bread, meat and bread of the damped loss."""
    predicted = latency + inverse * moved
    residual = np.log(predicted / seconds)
    damping = 1 / np.sqrt(1 + (residual / spread) ** 2)
    scale = np.array([seconds.min(), np.median(seconds / moved)])
    slopes = np.column_stack([1 / predicted, moved / predicted]) * scale
    bread = np.linalg.pinv((slopes * (weights * damping**3)[:, None]).T @ slopes)
    leverage = weights * damping**3 * np.einsum("ni,ij,nj->n", slopes, bread, slopes)
    score = weights * residual * damping / (1 - np.minimum(leverage, 0.99))
    meat = (slopes * score[:, None] ** 2).T @ slopes
    return np.sqrt(np.diag(bread @ meat @ bread)) * scale
