"""labkit: interactive research notebooks that also run headless, in sweeps and on clusters.

Importing labkit is cheap; sub-packages and `record` are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.batch.results import record

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "batch",
    "clot",
    "datasets",
    "distributed",
    "hotspots",
    "journal",
    "llm_parallel",
    "memory",
    "oversampling",
    "record",
    "spiking",
    "ui",
    "viz",
]

_SUBPACKAGES = (
    "batch",
    "clot",
    "datasets",
    "distributed",
    "hotspots",
    "journal",
    "llm_parallel",
    "memory",
    "oversampling",
    "spiking",
    "ui",
    "viz",
)


def __getattr__(name: str) -> Any:
    if name == "record":
        return importlib.import_module("labkit.batch.results").record
    if name in _SUBPACKAGES:
        return importlib.import_module(f"labkit.{name}")
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
