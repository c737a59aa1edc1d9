"""From molecular dynamics of a drug in its target to ranked sites where to modify it.

The study is CASTELO-style: it follows the outline of Zhang et al., BMC Bioinformatics 22:338
(2021), whose details could not be had. Layers, each importing only those before it::

    systems, examples  ->  contacts  ->  temporal  ->  cvae, training
    ->  clustering, scores, fragments, growth  ->  ranking  ->  validation, simulate
    ->  study, checks, affinity  ->  scene, export  ->  view3d, plots  ->  widgets

Attributes are loaded on first use, so importing this package is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

PRELOAD = (
    "labkit.hotspots.checks",
    "labkit.hotspots.plots",
    "labkit.hotspots.view3d",
    "labkit.hotspots.widgets",
    "labkit.hotspots.validation",
)

_MODULES = (
    "affinity",
    "bootstrap",
    "checks",
    "clustering",
    "config",
    "contacts",
    "cvae",
    "examples",
    "export",
    "fragments",
    "growth",
    "interactions",
    "plots",
    "ranking",
    "scores",
    "simulate",
    "stability",
    "study",
    "superposition",
    "systems",
    "temporal",
    "training",
    "validation",
    "view3d",
    "widgets",
)
_EXPORTS = {
    "AtomWindows": "temporal",
    "Checks": "checks",
    "Complex": "systems",
    "ContactMatrices": "contacts",
    "HotspotConfig": "config",
    "HotspotResults": "study",
    "HotspotTable": "ranking",
    "atom_scores": "scores",
    "atom_windows": "temporal",
    "binary_contacts": "contacts",
    "compute_contacts": "contacts",
    "example": "examples",
    "fit_cvae": "training",
    "fit_ensemble": "training",
    "fragment_atoms": "fragments",
    "growth_space": "growth",
    "interaction_summary": "interactions",
    "load_complex": "systems",
    "load_system": "study",
    "pocket_contacts": "study",
    "planted_trajectory": "validation",
    "rank_atoms": "ranking",
    "run_checks": "checks",
    "run_affinities": "affinity",
    "run_study": "study",
    "sar_plot": "plots",
    "show_hotspots": "view3d",
    "soft_contacts": "contacts",
    "temporal_channels": "temporal",
    "time_shuffle": "validation",
    "typed_interactions": "interactions",
    "windows_of": "study",
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
