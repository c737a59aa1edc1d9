"""One small study on simulated effects, shared by the tests of figures and controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import pytest
from matplotlib import pyplot as plt

from labkit.oversampling.leakage import LeakageResults, leakage_lab
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.preview import SamplerPreview, preview_samplers
from labkit.oversampling.protocol import StudyConfig, load_table, run_study
from labkit.oversampling.results import StudyResults


@dataclass(frozen=True)
class SmallStudy:
    """What the notebook computes, on 300 molecules."""

    config: StudyConfig
    table: MoleculeTable
    preview: SamplerPreview
    results: StudyResults
    leakage: LeakageResults


@pytest.fixture(scope="session")
def small_study() -> SmallStudy:
    """Every result that figures and controls need."""
    config = StudyConfig.from_preset(
        "quick", n_molecules=300, n_trees=10, hidden=8, epochs=1, n_bootstrap=50, seeds=[0, 1]
    )
    table = load_table(config)
    results = run_study(config, table=table)
    leakage = leakage_lab(table, results.packed, seeds=config.seeds, config=config)
    return SmallStudy(config, table, preview_samplers(config, table), results, leakage)


@pytest.fixture
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)
