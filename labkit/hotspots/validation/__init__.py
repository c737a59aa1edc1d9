"""Whether a ranking of ligand atoms means anything: planted truth and measured affinities.

Attributes are loaded on first use, so importing this package is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "Planted": "planted",
    "PlantedResults": "recovery",
    "SarPanel": "evidence",
    "SarSites": "sar",
    "panel_complexes": "panel",
    "panel_of": "evidence",
    "planted_check": "recovery",
    "planted_trajectory": "planted",
    "sar_benchmark": "sar",
    "sar_panel": "panel",
    "sar_sites": "sar",
    "simulated_ligand": "panel",
    "time_shuffle": "planted",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
