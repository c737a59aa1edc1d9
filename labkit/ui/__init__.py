"""Widgets for notebooks: the parameter form, the runs browser, progress bars.

Every widget shows its first state, and a plain-text form of it, when the notebook is executed
headless. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.ui.batch_run import BatchRun
    from labkit.ui.form import ParameterForm, parameter_form
    from labkit.ui.overview import environment_check, studies_table
    from labkit.ui.progress_bar import Progress, progress
    from labkit.ui.runs_browser import RunsTable, runs_table
    from labkit.ui.torsion import TorsionExplorer, torsion_explorer

_HOME = {
    "BatchRun": "batch_run",
    "ParameterForm": "form",
    "Progress": "progress_bar",
    "RunsTable": "runs_browser",
    "TorsionExplorer": "torsion",
    "environment_check": "overview",
    "parameter_form": "form",
    "progress": "progress_bar",
    "runs_table": "runs_browser",
    "studies_table": "overview",
    "torsion_explorer": "torsion",
}

__all__ = [
    "BatchRun",
    "ParameterForm",
    "Progress",
    "RunsTable",
    "TorsionExplorer",
    "environment_check",
    "parameter_form",
    "progress",
    "runs_table",
    "studies_table",
    "torsion_explorer",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"labkit.ui.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labkit.ui' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
