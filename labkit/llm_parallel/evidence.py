"""How far the cost model can be trusted: predictions beside runs that were measured.

Each run is predicted twice: with the constants that ship, and calibrated on the other half of the
runs, so that no run is predicted by constants that have seen it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from labkit.llm_parallel.calibrate import Calibration, calibrate, cross_validate, predict_rows
from labkit.llm_parallel.published import korthikanti_runs, megatron_runs
from labkit.llm_parallel.runs import Runs, load_vtrain, read_runs
from labkit.llm_parallel.settings import LLMParallelConfig
from labkit.llm_parallel.system import SystemConfig
from labkit.llm_parallel.systems import system_preset
from labkit.llm_parallel.validation import error_table

SHIPPED = "model, shipped constants"
CALIBRATED = "model, calibrated on unseen rows"
MEASURED_ON = {
    "published": "selene-a100",
    "vtrain-multi": "vtrain-a100",
    "vtrain-single": "vtrain-a100",
}
"""Data set to the machine on which it was measured."""
HALVED_BY: dict[str, Literal["hash", "layer"]] = {"vtrain-single": "layer"}
"""Data set to what its halves do not share; rows of one node are sums of times of a layer."""
MIN_RUNS = 4
"""Fewer are not worth two halves."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What measured runs say of the model.

    Attributes
    ----------
    system : SystemConfig
        Where they were measured.
    rows : DataFrame
        One row a run and prediction: set, method, measured, predicted, low, high (seconds), group,
        fold.
    errors : DataFrame
        One row a set and method, a constant prediction among them; see `error_table`.
    calibration : Calibration
        Constants fitted to all runs.
    """

    system: SystemConfig
    rows: pd.DataFrame
    errors: pd.DataFrame
    calibration: Calibration

    @property
    def summary(self) -> pd.DataFrame:
        """Errors that matter, in percent: one row a set and method."""
        table = self.errors[["set", "method", "n"]].copy()
        shares = {"mape": "MAPE %", "regret": "regret %", "covered": "inside 90 % interval, %"}
        for name, title in shares.items():
            table[title] = 100 * self.errors[name]
        table.insert(4, "rank correlation", self.errors["rank_correlation"])
        return table

    def predictions(self, method: str) -> pd.DataFrame:
        """Rows of one method, `SHIPPED` or `CALIBRATED`."""
        return self.rows[self.rows["method"] == method]


def compare_with_measured(config: LLMParallelConfig) -> Evidence:
    """Test the model on the measured runs of a configuration.

    With runs of your own (`runs_csv`), these are tested, on the configuration's machine.

    Raises
    ------
    MissingDataError
        The runs are neither on this machine nor to be had.
    ParameterError
        Your file is not as `read_runs` describes.
    """
    halves: Literal["hash", "layer"] = "hash"
    if config.runs_csv is not None:
        system = system_preset(config.system)
        sets = {"your runs": own_runs(config)}
    else:
        system = system_preset(MEASURED_ON[config.measured])
        sets = measured_runs(config.measured)
        halves = HALVED_BY.get(config.measured, "hash")
    joined = joined_runs(list(sets.values()))
    names = np.repeat(list(sets), [len(runs) for runs in sets.values()])
    found = {SHIPPED: predict_rows(joined, system)}
    if len(joined) >= MIN_RUNS:
        found[CALIBRATED] = cross_validate(joined, system, by=halves)
    rows = pd.concat(
        [frame.assign(set=names[frame["row"]], method=name) for name, frame in found.items()],
        ignore_index=True,
    )
    return Evidence(system, rows, error_table(rows), calibrate(joined, system))


def measured_runs(name: str) -> dict[str, Runs]:
    """Return the runs of a data set, in parts with a name each."""
    if name == "published":
        return {"Megatron Table 1": megatron_runs(), "Korthikanti": korthikanti_runs()}
    if name == "vtrain-multi":
        return {"vTrain multi": load_vtrain("multi")}
    return {"vTrain single": load_vtrain("single")}


def own_runs(config: LLMParallelConfig) -> Runs:
    """Return the runs of `runs_csv`; columns of a model need not be in the file."""
    return read_runs(str(config.runs_csv), model=config.model_config())


def machine(config: LLMParallelConfig) -> SystemConfig:
    """Return the machine of a configuration, calibrated where it has runs of its own."""
    system = config.system_config()
    return system if config.runs_csv is None else calibrate(own_runs(config), system).system


def joined_runs(parts: list[Runs]) -> Runs:
    """Return the rows of several sets of runs, in order."""
    memory = None
    if all(part.memory_bytes is not None for part in parts):
        memory = np.concatenate([np.asarray(part.memory_bytes) for part in parts])
    return Runs(
        _joined([part.model for part in parts]),
        _joined([part.parallel for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        memory,
        np.concatenate([part.source for part in parts]),
    )


def _joined(columns: list[Any]) -> Any:
    names = [field.name for field in dataclasses.fields(columns[0])]
    return type(columns[0])(
        **{name: np.concatenate([getattr(each, name) for each in columns]) for name in names}
    )
