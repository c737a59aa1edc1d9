"""Multilabel oversampling and hybrid graph networks for drug effects.

The study follows Bose and Cong (arXiv 2410.09280): many drug effects predicted at once from
molecular graphs, with the training set oversampled because most effects are rare. Layers, each
importing only those before it::

    imbalance, data, simulated  ->  resampling, featurize, splits, evaluation
    ->  models, training, baselines  ->  protocol, leakage, explain  ->  plots  ->  widgets

Attributes are loaded on first use, so importing this package is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

PRELOAD = (
    "labkit.oversampling.plots",
    "labkit.oversampling.protocol",
    "labkit.oversampling.leakage",
    "labkit.oversampling.explain",
    "labkit.oversampling.preview",
    "labkit.oversampling.widgets",
)

_MODULES = (
    "baselines",
    "data",
    "evaluation",
    "explain",
    "featurize",
    "imbalance",
    "labels",
    "leakage",
    "models",
    "plots",
    "preview",
    "protocol",
    "regression",
    "resampling",
    "simulated",
    "splits",
    "training",
    "widgets",
)
_EXPORTS = {
    "ForestBaseline": "baselines",
    "GradientBoostingBaseline": "baselines",
    "HybridGNN": "models",
    "MoleculeEstimator": "training",
    "MoleculeTable": "data",
    "PackedMolecules": "featurize",
    "Split": "splits",
    "StudyConfig": "protocol",
    "StudyResults": "protocol",
    "SAMPLERS": "resampling",
    "assert_no_leakage": "protocol",
    "clone_weights": "resampling",
    "imbalance_report": "imbalance",
    "leakage_lab": "leakage",
    "explain_best_hit": "explain",
    "explain_molecule": "explain",
    "load_molecules": "data",
    "load_table": "protocol",
    "make_sampler": "resampling",
    "multilabel_scores": "evaluation",
    "preview_samplers": "preview",
    "regression_scores": "evaluation",
    "run_regression": "regression",
    "run_study": "protocol",
    "tune_thresholds": "evaluation",
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
