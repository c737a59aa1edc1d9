"""One small run on the packaged trajectory, shared by the tests of the study, figures and views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib
import pytest
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from labkit.hotspots.checks import Checks
    from labkit.hotspots.study import HotspotResults


@pytest.fixture(scope="session")
def small_run() -> HotspotResults:
    """Ergotamine, two networks on every eighth window."""
    from labkit.hotspots import HotspotConfig, run_study

    config = HotspotConfig.from_preset(
        "quick", stride=8, n_seeds=2, epochs=15, bootstrap=50, growth_frames=2, planted_epochs=0
    )
    return run_study(config)


@pytest.fixture(scope="session")
def small_checks(small_run: HotspotResults) -> Checks:
    """The checks of the small run, without a planted trajectory."""
    from labkit.hotspots import run_checks

    return run_checks(small_run)


@pytest.fixture
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)
