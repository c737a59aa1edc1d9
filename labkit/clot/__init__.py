"""Platelets in flowing plasma, with four time steps that a learned controller chooses.

Each layer imports only those before it::

    forcefield, flows, plans, state, observation  ->  units, platelet  ->  suspension
    ->  simulation (what an engine can do), proximity, observe
    ->  library, deck  ->  engine, split, ranks  ->  scenes
    ->  caps, cost, noise  ->  labels  ->  control (controllers, guard, driven runs)
    ->  analysis, scaling  ->  settings  ->  checks, aggregation, parallel_runs
    ->  comparison  ->  shipped  ->  study
    ->  plots, view  ->  widgets

Attributes are loaded on first use, so importing this package is cheap. LAMMPS, which is under the
GNU General Public License 2, is loaded when an engine is made.
"""

from __future__ import annotations

import importlib
from typing import Any

PRELOAD = (
    "labkit.clot.study",
    "labkit.clot.plots",
    "labkit.clot.view",
    "labkit.clot.widgets",
)

_MODULES = (
    "aggregation",
    "analysis",
    "caps",
    "checks",
    "comparison",
    "control",
    "cost",
    "deck",
    "engine",
    "flows",
    "forcefield",
    "labels",
    "noise",
    "observe",
    "parallel_runs",
    "plans",
    "platelet",
    "plots",
    "published",
    "ranks",
    "scaling",
    "scenes",
    "settings",
    "shipped",
    "split",
    "state",
    "study",
    "suspension",
    "units",
    "view",
    "widgets",
)
_EXPORTS = {
    "ClotConfig": "settings",
    "ClotResults": "study",
    "DPDUnits": "units",
    "Engine": "engine",
    "ForceField": "forcefield",
    "LabelTable": "labels",
    "Platelet": "platelet",
    "SplitEngine": "split",
    "StepPlan": "plans",
    "Suspension": "suspension",
    "WeakScaling": "scaling",
    "aggregate": "aggregation",
    "check_plasma": "checks",
    "compare": "comparison",
    "controllers_compared": "study",
    "find_steps": "checks",
    "lesson": "checks",
    "on_ranks": "parallel_runs",
    "project": "study",
    "run_ranks": "ranks",
    "run_study": "study",
    "scene": "scenes",
    "show_platelets": "view",
    "stability_caps": "caps",
    "snapshots_shown": "study",
    "start_of": "aggregation",
    "starter": "study",
    "tolerance_of": "aggregation",
    "tumble": "checks",
    "units_of": "study",
    "write_input": "deck",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
