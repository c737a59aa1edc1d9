"""Batch execution: checked parameters, grids, sweeps, executors and tables of results.

Names are loaded on first use, so that importing this package costs nothing. The function that
runs a grid is ``labkit.batch.sweep.sweep``.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Grid": "grid",
    "Parameter": "parameters",
    "check": "parameters",
    "collect": "results",
    "list_studies": "notebooks",
    "load_sweep": "planning",
    "plan": "planning",
    "read_parameters": "parameters",
    "read_record": "results",
    "record": "results",
    "resolve": "notebooks",
}
__all__ = ["Grid", "Parameter", "check", "collect", "list_studies", "load_sweep", "plan"]
__all__ += ["read_parameters", "read_record", "record", "resolve"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"labkit.batch.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labkit.batch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
