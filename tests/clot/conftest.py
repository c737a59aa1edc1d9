"""One small run of the whole study, for all tests that look at a part of it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def small_study():
    """All parts of the study, as short as they can be, with the learned controller."""
    from labkit.clot import checks, study
    from labkit.clot.settings import ClotConfig

    config = ClotConfig.from_preset(
        "quick",
        flow="shear",
        shear_rate=0.5,
        time=1.5,
        plasma_time=5.0,
        tumbling_strain=3.0,
        lesson_time=0.55,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_COOLING", 0.6)
        return study.run_study(config)
