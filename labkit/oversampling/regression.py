"""The study's other half: predicting the size of an effect before it is made a label."""

from __future__ import annotations

import dataclasses

from labkit.oversampling.config import StudyConfig
from labkit.oversampling.data import load_molecules
from labkit.oversampling.protocol import run_study
from labkit.oversampling.results import StudyResults
from labkit.oversampling.training import Progress


def regression_config(config: StudyConfig) -> StudyConfig | None:
    """The same molecules, splits and network with measured values as targets.

    Parameters
    ----------
    config : StudyConfig
        Multilabel study.

    Returns
    -------
    StudyConfig, or None
        None if the data hold labels only.
    """
    source = config.dataset if config.csv is None else config.csv
    if source != "nci_simulated":
        table = load_molecules(source, smiles_col=config.smiles_col, target_cols=config.target_cols)
        if table.task != "regression":
            return None
    models = tuple(m for m in config.models if m in ("gnn", "hybrid")) or config.models
    return dataclasses.replace(
        config, task="regression", samplers=("none",), models=models, loss=None
    ).validate()


def run_regression(config: StudyConfig, progress: Progress | None = None) -> StudyResults | None:
    """Run the multiregression that belongs to a multilabel study.

    Parameters
    ----------
    config : StudyConfig
        Multilabel study.
    progress : callable, optional
        As for `run_study`.

    Returns
    -------
    StudyResults, or None
        None if the data hold labels only.
    """
    chosen = regression_config(config)
    return None if chosen is None else run_study(chosen, progress)
