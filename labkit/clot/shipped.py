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

STORED = Path(__file__).parent / "stored"


def labels() -> LabelTable:
    """Return the errors of step plans that the shipped networks were trained on."""
    return LabelTable.load(WEIGHTS / "labels.npz")


def controllers() -> Comparison:
    """Return the runs of all controllers; the first one in the table is the reference."""
    table = pd.read_csv(STORED / "controllers.csv")
    return Comparison(table, str(table["controller"].iloc[0]))


def scaling() -> WeakScaling:
    """Return the weak-scaling model, fitted to the runs that ship."""
    return WeakScaling.fit(pd.read_csv(STORED / "scaling.csv"))
