r"""What measured steps tell of a machine: the scalars of `Efficiency`, with their uncertainty.

With measured seconds :math:`y_i` and the cost model's :math:`f_i(\theta)`,

.. math::

    \log y_i = \log f_i(\theta) + \sigma \epsilon_i, \qquad \epsilon_i \sim t_\nu, \qquad
    u_k \sim N(u_k^0, s_k^2)

where :math:`u_k = \mathrm{logit} \frac{\log\theta_k - \log l_k}{\log h_k - \log l_k}` keeps each
scalar between its bounds :math:`l, h`, and :math:`s_k` is such that the prior spread of
:math:`\log\theta_k` at its median is the field's ``sigma``. `labkit.llm_parallel.posterior` finds
the maximum; :math:`\nu` is the value of `TAILS` under which the measurements are likeliest
(infinite: Gaussian). The posterior is taken as Gaussian there (Laplace), and an interval of a
prediction adds its spread to that of the residuals. What the model gets wrong of a layer, all runs
with such layers share: they count as fewer runs by the design effect of these clusters
(``"layer"`` of `labkit.llm_parallel.runs.Runs.folds`). One set of scalars serves all rows.

=================  ==========================  =========================================
symbol             variable                    unit
=================  ==========================  =========================================
:math:`z`          ``z``                       prior standard deviations from the median
:math:`\sigma`     ``sigma``                   spread of the residuals, in log seconds
:math:`\nu`        ``tail``                    degrees of freedom of the residuals
=================  ==========================  =========================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ModelColumns, ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.cost import step_seconds
from labkit.llm_parallel.flops import model_flops
from labkit.llm_parallel.posterior import (
    Posterior,
    Predict,
    design_effect,
    differences,
    maximize,
)
from labkit.llm_parallel.runs import Fold, Runs
from labkit.llm_parallel.system import Efficiency, SystemConfig

TAILS = (4.0, 10.0, math.inf)
"""Degrees of freedom of the residuals to choose from, heaviest tails first."""
IDENTIFIED = 0.5
"""A scalar is identified where its posterior is narrower than this share of its prior."""
_EDGE = 0.02
_UNIT_ERROR = 300.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scalars of a machine after its measured steps.

    Attributes
    ----------
    system : SystemConfig
        The machine with the calibrated `Efficiency`.
    frame : DataFrame
        A row a fitted scalar: ``name``, ``prior``, ``value``, ``low`` and ``high`` (90 % of the
        posterior), ``width`` (posterior over prior standard deviation), ``identified``,
        ``meaning``.
    sigma : float
        Spread of the residuals in log seconds.
    tail : float
        Degrees of freedom of the residuals; infinite is Gaussian.
    n_runs : int
    """

    system: SystemConfig
    frame: pd.DataFrame
    sigma: float
    tail: float
    n_runs: int
    scales: _Scales = dataclasses.field(repr=False)
    z: np.ndarray = dataclasses.field(repr=False)
    covariance: np.ndarray = dataclasses.field(repr=False)

    @property
    def efficiency(self) -> Efficiency:
        """The calibrated scalars."""
        return self.system.efficiency

    def predict(
        self,
        model: ModelConfig | ModelColumns,
        parallel: ParallelConfig | ParallelColumns,
        *,
        interval: float = 0.9,
    ) -> pd.DataFrame:
        """Predict step times, with an interval for one new measurement of each.

        Returns
        -------
        DataFrame
            ``seconds``, ``low``, ``high``, one row a strategy.

        Raises
        ------
        ParameterError
            `interval` is not between 0 and 1.
        """
        share: Any = interval
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise ParameterError(f"interval={interval!r}: use a share between 0 and 1, as 0.9.")
        predict = _predictor(model, ParallelColumns.of(parallel), self.system, self.scales)
        center = predict(self.z)
        gradient = differences(predict, self.z, center)
        spread = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient)
        tail = self.tail if math.isfinite(self.tail) else max(self.n_runs - len(self.z), 3)
        half = special.stdtrit(tail, 0.5 + interval / 2) * np.sqrt(spread + self.sigma**2)
        return pd.DataFrame(
            {
                "seconds": np.exp(center),
                "low": np.exp(center - half),
                "high": np.exp(center + half),
            }
        )


def calibrate(
    runs: Runs,
    system: SystemConfig,
    *,
    fit: Sequence[str] | None = None,
    prior_weight: float = 1.0,
) -> Calibration:
    """Fit the scalars of a machine to measured steps.

    Parameters
    ----------
    runs : Runs
    system : SystemConfig
        Its `Efficiency` is the median of the prior.
    fit : sequence of str, optional
        Scalars to fit; all by default. The others stay as they are.
    prior_weight : float
        Above 1 holds the scalars closer to the prior, below 1 less close.

    Raises
    ------
    ParameterError
        A name is unknown, `prior_weight` is not above 0, or the times are off by such a factor that
        they cannot be seconds.
    """
    scales = _scales(system.efficiency, fit)
    weight: Any = prior_weight
    if not isinstance(weight, int | float) or not 1e-9 <= weight <= 1e9:
        raise ParameterError(f"prior_weight={prior_weight!r}: use a number from 1e-9 to 1e9.")
    predict = _predictor(runs.model, runs.parallel, system, scales)
    measured = np.log(runs.seconds)
    _require_seconds(measured - predict(np.zeros(len(scales.names))))
    first = maximize(
        predict, measured, start=np.zeros(len(scales.names)), tail=TAILS[0], weight=prior_weight
    )
    design = design_effect(measured - predict(first.z), runs.folds(2**40, by="layer"))
    best = first
    for tail in TAILS:
        found = maximize(
            predict, measured, start=best.z, tail=tail, weight=prior_weight, design=design
        )
        if best is not first and found.objective >= best.objective:
            break
        best = found
    fitted = system.replace(efficiency=scales.efficiency(best.z))
    frame = _frame(scales, best)
    return Calibration(
        fitted, frame, best.sigma, best.tail, len(runs), scales, best.z, best.covariance
    )


def cross_validate(
    runs: Runs,
    system: SystemConfig,
    *,
    folds: int = 2,
    by: Fold = "hash",
    interval: float = 0.9,
    fit: Sequence[str] | None = None,
    prior_weight: float = 1.0,
) -> pd.DataFrame:
    """Predict each run with scalars that were fitted without its fold.

    Parameters
    ----------
    runs, system, fit, prior_weight
        As in `calibrate`.
    folds : int
        2 or more; see `Runs.folds` for how rows are divided.
    by : {"hash", "layer", "group"}
        What stays together: from an easy to a hard question, see `Runs.folds`.
    interval : float
        Share of new measurements that ``low`` to ``high`` is to hold.

    Returns
    -------
    DataFrame
        ``row``, ``fold``, ``group``, ``flops`` (of the model, a device and step), ``measured``,
        ``predicted``, ``low``, ``high`` in seconds; in the order of the runs.

    Raises
    ------
    ParameterError
        A fold is empty.
    """
    require_whole("folds", folds, low=2)
    fold = runs.folds(folds, by=by)
    if len(np.unique(fold)) < folds:
        raise ParameterError(
            f"folds={folds}: {len(runs)} runs leave a fold empty; use fewer folds or more runs."
        )
    table = _rows(runs, fold)
    for held_out in range(folds):
        test = fold == held_out
        fitted = calibrate(runs.take(~test), system, fit=fit, prior_weight=prior_weight)
        unseen = runs.take(test)
        predicted = fitted.predict(unseen.model, unseen.parallel, interval=interval)
        columns = ["predicted", "low", "high"]
        table.loc[test, columns] = predicted[["seconds", "low", "high"]].to_numpy()
    return table


def predict_rows(
    runs: Runs, system: SystemConfig, *, calibration: Calibration | None = None
) -> pd.DataFrame:
    """Predict runs with a system as it is, or with a calibration of it, in `cross_validate`'s form.

    Without a calibration there is no interval: ``low`` and ``high`` are NaN.
    """
    table = _rows(runs, np.zeros(len(runs), int))
    if calibration is None:
        table["predicted"] = step_seconds(runs.model, runs.parallel, system)
        return table
    predicted = calibration.predict(runs.model, runs.parallel)
    table[["predicted", "low", "high"]] = predicted[["seconds", "low", "high"]].to_numpy()
    return table


def _rows(runs: Runs, fold: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": np.arange(len(runs)),
            "fold": fold,
            "group": runs.groups(),
            "flops": model_flops(runs.model, runs.parallel) / runs.parallel.n_devices,
            "measured": runs.seconds,
            "predicted": np.nan,
            "low": np.nan,
            "high": np.nan,
        }
    )


@dataclass(frozen=True, eq=False)
class _Scales:
    """Fitted scalars and their coordinates: z is in prior standard deviations from the median."""

    prior: Efficiency
    names: tuple[str, ...]
    log_low: np.ndarray
    log_range: np.ndarray
    center: np.ndarray
    spread: np.ndarray

    def values(self, z: np.ndarray) -> np.ndarray:
        share = special.expit(self.center + self.spread * z)
        return np.exp(self.log_low + self.log_range * share)

    def efficiency(self, z: np.ndarray) -> Efficiency:
        values = self.values(z)
        return self.prior.replace(**{n: float(v) for n, v in zip(self.names, values, strict=True)})


def _scales(prior: Efficiency, fit: Sequence[str] | None) -> _Scales:
    known = {field.name: field for field in dataclasses.fields(prior)}
    if fit is not None and (isinstance(fit, str) or not np.iterable(fit)):
        raise ParameterError(f"fit={fit!r}: use a list of names.")
    names = tuple(known) if fit is None else tuple(dict.fromkeys(fit))
    if not names:
        raise ParameterError(f"fit={fit!r}: name at least one of {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ParameterError(not_allowed("fit", name, known))
    meta = [known[name].metadata for name in names]
    log_low = np.log([m["low"] for m in meta])
    log_range = np.log([m["high"] for m in meta]) - log_low
    value = np.log([max(getattr(prior, name), 1e-12) for name in names])
    share = np.clip((value - log_low) / log_range, _EDGE, 1 - _EDGE)
    sigma = np.array([m["sigma"] for m in meta])
    spread = sigma / (log_range * share * (1 - share))
    return _Scales(prior, names, log_low, log_range, special.logit(share), spread)


def _predictor(
    model: ModelConfig | ModelColumns,
    parallel: ParallelColumns,
    system: SystemConfig,
    scales: _Scales,
) -> Predict:
    """Return the function from coordinates to log seconds of the rows."""

    def predict(z: np.ndarray) -> np.ndarray:
        return np.log(step_seconds(model, parallel, system, efficiency=scales.efficiency(z)))

    return predict


def _frame(scales: _Scales, found: Posterior) -> pd.DataFrame:
    """Return prior, value, 90 % of the posterior and its width for each scalar."""
    width = np.sqrt(np.diag(found.covariance))
    half = special.ndtri(0.95) * width
    meanings = {f.name: f.metadata["meaning"] for f in dataclasses.fields(scales.prior)}
    return pd.DataFrame(
        {
            "name": scales.names,
            "prior": [getattr(scales.prior, name) for name in scales.names],
            "value": scales.values(found.z),
            "low": scales.values(found.z - half),
            "high": scales.values(found.z + half),
            "width": width,
            "identified": width < IDENTIFIED,
            "meaning": [meanings[name] for name in scales.names],
        }
    )


def _require_seconds(difference: np.ndarray) -> None:
    """Refuse times that miss the model by a factor that no efficiency explains."""
    factor = math.exp(float(np.clip(np.median(difference), -500, 500)))
    if not 1 / _UNIT_ERROR < factor < _UNIT_ERROR:
        raise ParameterError(
            f"seconds: the runs take {factor:.3g} times what this system should; "
            "give the time of a step in seconds, and check the system and the batch sizes."
        )
