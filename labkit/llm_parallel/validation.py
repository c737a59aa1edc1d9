r"""How well predicted step times match measured ones, always beside what a constant would score.

===================  =============================================================================
error                :math:`|\hat y / y - 1|`, its mean over the rows (MAPE) with a 95 % bootstrap
rank correlation     Spearman's, of throughput (operations a second and device), not of seconds:
                     seconds mostly follow the size of the model
regret               measured time of the configuration that is predicted fastest, over that of the
                     one that is fastest, minus 1; within rows of one model, devices and batch
covered              share of rows within their predictive interval
constant             one throughput for all rows: the median of the other folds, or of the set
===================  =============================================================================

Rows are what `labkit.llm_parallel.calibrate.cross_validate` and ``predict_rows`` return, with the
columns ``set`` and ``method`` added.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from labkit.choices import require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.published import PUBLISHED_ERRORS

CONSTANT = "constant"
"""Name of the baseline in tables."""
MIN_CHOICES = 8
"""Groups with fewer rows say little about a recommendation, and have no regret."""
ERROR_COLUMNS = (
    *("set", "method", "n", "mape", "mape_low", "mape_high", "largest", "rank_correlation"),
    *("groups", "regret", "largest_regret", "covered", "source"),
)
_NEEDED = ("set", "method", "fold", "group", "flops", "measured", "predicted", "low", "high")
_BOOTSTRAP = 2000


def mape(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, as a share of the measured values.

    Examples
    --------
    >>> mape(np.array([1.0, 2.0]), np.array([1.1, 2.0]))
    0.05...
    """
    return float(np.mean(_errors(measured, predicted)))


def mape_interval(
    measured: np.ndarray, predicted: np.ndarray, *, share: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of `mape` over other rows of the same kind: percentiles of the bootstrap."""
    errors = _errors(measured, predicted)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(errors), size=(_BOOTSTRAP, len(errors)))
    low, high = np.quantile(errors[drawn].mean(axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Rank correlation; NaN where one of the two does not vary.

    Examples
    --------
    >>> spearman(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.5]))
    1.0
    """
    if len(measured) < 2 or np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    pairs = pd.DataFrame({"measured": measured, "predicted": predicted})
    return float(pairs.corr(method="spearman").loc["measured", "predicted"])


def regret(
    measured: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    min_choices: int = MIN_CHOICES,
) -> pd.Series:
    """What it costs to take the configuration that is predicted fastest.

    Parameters
    ----------
    measured, predicted : ndarray of shape (n,), seconds
    groups : ndarray of shape (n,)
        Rows to choose among have the same value.
    min_choices : int
        Smaller groups are left out.

    Returns
    -------
    Series
        Group to ``measured[fastest predicted] / measured.min() - 1``. Rows that are predicted
        equally fast count as their mean.

    Examples
    --------
    >>> regret(np.array([2.0, 1.0]), np.array([1.0, 1.5]), np.array([7, 7]), min_choices=2)
    7    1.0
    dtype: float64
    """
    require_whole("min_choices", min_choices, low=1)
    costs = {}
    for group, rows in pd.DataFrame({"y": measured, "f": predicted}).groupby(np.asarray(groups)):
        if len(rows) >= min_choices:
            chosen = rows["y"][rows["f"] == rows["f"].min()].mean()
            costs[group] = chosen / rows["y"].min() - 1
    return pd.Series(costs, dtype=float)


def with_constant(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one method and set as the constant baseline predicts them."""
    rate = rows["flops"] / rows["measured"]
    folds = rows["fold"].unique()
    constant = pd.Series(rate.median(), index=rows.index)
    if len(folds) > 1:
        for fold in folds:
            constant[rows["fold"] == fold] = rate[rows["fold"] != fold].median()
    return rows.assign(method=CONSTANT, predicted=rows["flops"] / constant, low=np.nan, high=np.nan)


def error_table(rows: pd.DataFrame, *, published: bool = True) -> pd.DataFrame:
    """Score every method on every set, with the constant baseline added to each set.

    Parameters
    ----------
    rows : DataFrame
        As from `cross_validate` and `predict_rows`, with ``set`` and ``method``.
    published : bool
        Add what other tools published of themselves for these sets.

    Returns
    -------
    DataFrame
        Columns `ERROR_COLUMNS`: ``mape`` and its interval, ``largest`` error, ``regret`` (mean over
        groups), ``largest_regret`` and ``covered`` are shares, not percent; NaN where a method does
        not tell.

    Raises
    ------
    ParameterError
        A column is missing, or there is no row.
    """
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise ParameterError(f"rows: the column {missing[0]!r} is missing.")
    if rows.empty:
        raise ParameterError("rows: there is no row to score.")
    scored = []
    for name, of_set in rows.groupby("set", sort=False):
        methods = list(of_set.groupby("method", sort=False))
        if CONSTANT not in set(of_set["method"]):
            by_folds = max(methods, key=lambda item: item[1]["fold"].nunique())[1]
            methods.append((CONSTANT, with_constant(by_folds)))
        scored += [_scores(str(name), str(method), part) for method, part in methods]
        scored += _published(str(name)) if published else []
    return pd.DataFrame(scored, columns=list(ERROR_COLUMNS))


def _errors(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    measured, predicted = np.asarray(measured, float), np.asarray(predicted, float)
    if measured.shape != predicted.shape or measured.size == 0:
        raise ParameterError(
            f"measured, predicted: shapes {measured.shape} and {predicted.shape}; "
            "use equal ones with at least one row."
        )
    return np.abs(predicted / measured - 1)


def _scores(name: str, method: str, part: pd.DataFrame) -> dict[str, object]:
    measured, predicted = part["measured"].to_numpy(), part["predicted"].to_numpy()
    low, high = mape_interval(measured, predicted)
    costs = regret(measured, predicted, part["group"].to_numpy())
    flops = part["flops"].to_numpy()
    inside = part["measured"].between(part["low"], part["high"])
    return {
        "set": name,
        "method": method,
        "n": len(part),
        "mape": mape(measured, predicted),
        "mape_low": low,
        "mape_high": high,
        "largest": float(_errors(measured, predicted).max()),
        "rank_correlation": spearman(flops / measured, flops / predicted),
        "groups": len(costs),
        "regret": costs.mean(),
        "largest_regret": costs.max(),
        "covered": float(inside.mean()) if part["low"].notna().all() else np.nan,
        "source": "computed here",
    }


def _published(name: str) -> list[dict[str, object]]:
    of_set = PUBLISHED_ERRORS[PUBLISHED_ERRORS["set"] == name]
    return [
        {
            "set": name,
            "method": row.method,
            "n": row.n,
            "mape": row.mape_percent / 100,
            "source": row.source,
        }
        for row in of_set.itertuples()
    ]
