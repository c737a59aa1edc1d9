"""Molecular dynamics of a ligand in its pocket, on a laptop or on a cluster.

From a protein structure and a ligand pose to a trajectory that `labkit.hotspots` can analyze::

    pocket (or solvated)  ->  parametrize  ->  implicit  ->  dynamics

A pocket of some 700 atoms in implicit solvent runs tens of nanoseconds a day on one core, which
is enough for teaching and for a first ranking, not for a free energy. Needs the extra ``md``:
``pip install 'labkit[md]'``. Attributes are loaded on first use, so importing this package is
cheap and works without OpenMM.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = (
    "antechamber",
    "caps",
    "dynamics",
    "engine",
    "imaging",
    "implicit",
    "ligand",
    "parametrize",
    "parts",
    "platforms",
    "pocket",
    "settings",
    "solvated",
    "structure",
)
_EXPORTS = {
    "LigandParameters": "parametrize",
    "MDRun": "dynamics",
    "Pocket": "pocket",
    "SimulationError": "dynamics",
    "Solvated": "solvated",
    "implicit_system": "implicit",
    "native_obc2": "implicit",
    "parametrize_ligand": "parametrize",
    "pocket_system": "pocket",
    "run_md": "dynamics",
    "solvated_system": "solvated",
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
