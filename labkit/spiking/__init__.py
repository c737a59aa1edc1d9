"""Spiking graph networks on citation graphs, in the integers of Lava's models of Loihi 2.

Each layer imports only those before it::

    graphs, simulated ; fixedpoint, plasticity  ->  network  ->  engine (numpy, numba, torch)
    ->  sgnn, float_sgnn, diffusion, baselines  ->  readout, tuning, resources, lava
    ->  study  ->  plots  ->  widgets

Attributes are loaded on first use, so importing this package is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

PRELOAD = (
    "labkit.spiking.study",
    "labkit.spiking.plots",
    "labkit.spiking.widgets",
    "optuna",
    "torch_geometric.nn.models",
)

_MODULES = (
    "baselines",
    "config",
    "diffusion",
    "engine",
    "fixedpoint",
    "float_sgnn",
    "graphs",
    "lava",
    "lavabo",
    "network",
    "parameters",
    "plasticity",
    "plots",
    "readout",
    "resources",
    "selection",
    "sgnn",
    "simulated",
    "spaces",
    "study",
    "tuning",
    "widgets",
)
_EXPORTS = {
    "CitationGraph": "graphs",
    "FloatSGNN": "float_sgnn",
    "FloatSGNNParameters": "float_sgnn",
    "LIFParameters": "fixedpoint",
    "Network": "network",
    "Population": "network",
    "Projection": "network",
    "QueryScores": "readout",
    "SGNN": "sgnn",
    "SGNNParameters": "sgnn",
    "STDPLoihi": "plasticity",
    "SpikingConfig": "config",
    "SpikingLabelDiffusion": "diffusion",
    "SpikingResults": "study",
    "baseline_table": "baselines",
    "build_sgnn": "sgnn",
    "check_against_lava": "lava",
    "chip_fit": "study",
    "compare": "study",
    "estimate": "resources",
    "integer_network": "study",
    "lava_check": "study",
    "load_citation_graph": "graphs",
    "load_graph": "study",
    "run_diffusion": "study",
    "run_in_lava": "lava",
    "run_networks": "study",
    "run_study": "study",
    "select_parameters": "selection",
    "simulate": "engine",
    "simulate_episodes": "engine",
    "simulated_citation_graph": "simulated",
    "tie_aware_accuracy": "readout",
    "tune": "tuning",
    "tune_network": "study",
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
