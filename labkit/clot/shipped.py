"""Results that ship with the package, each beside the command that makes it again.

================ ============================================= ==================================
function         what                                          made by
================ ============================================= ==================================
labels           errors of step plans in noise-free windows    ``python -m labkit.clot.labels``
controllers      runs of all controllers on one ensemble       ``benchmarks/clot_pareto.py``
scaling          runs on one and two ranks                     ``benchmarks/clot_scaling.py``
================ ============================================= ==================================

The weights of the networks come from the labels (``python -m labkit.clot.control.training``).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from labkit.clot.comparison import Comparison
from labkit.clot.control.learned import WEIGHTS
from labkit.clot.labels import LabelTable
from labkit.clot.scaling import WeakScaling
from labkit.errors import MissingDataError

STORED = Path(__file__).parent / "stored"
LABELS = WEIGHTS / "labels.npz"


def labels() -> LabelTable:
    """Return the errors of step plans that the shipped networks were trained on.

    Raises
    ------
    MissingDataError
        The file is not there; the message has the command that makes it.
    """
    return LabelTable.load(_present(LABELS, "python -m labkit.clot.labels --folder labels"))


def controllers() -> Comparison:
    """Return the runs of all controllers; the first one in the table is the reference.

    Raises
    ------
    MissingDataError
        As for `labels`.
    """
    command = "python benchmarks/clot_pareto.py --table labkit/clot/stored/controllers.csv"
    table = pd.read_csv(_present(STORED / "controllers.csv", command))
    return Comparison(table, str(table["controller"].iloc[0]))


def scaling() -> WeakScaling:
    """Return the weak-scaling model, fitted to the runs that ship.

    Raises
    ------
    MissingDataError
        As for `labels`.
    """
    file = STORED / "scaling.csv"
    command = "python benchmarks/clot_scaling.py --save labkit/clot/stored/scaling.csv"
    return WeakScaling.fit(pd.read_csv(_present(file, command)))


def _present(file: Path, command: str) -> Path:
    if not file.is_file():
        raise MissingDataError(f"{file} is missing; install labkit again, or make it: {command}")
    return file
