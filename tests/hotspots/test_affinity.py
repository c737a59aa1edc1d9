"""A ranking meets measured affinities; the lead of a series is simulated where nobody did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.hotspots import HotspotConfig, load_system, run_affinities, run_study
from labkit.hotspots.affinity import simulate_lead
from labkit.hotspots.study import HotspotResults


@pytest.fixture(scope="module")
def tyk2_run(labkit_data: Path) -> HotspotResults:
    config = HotspotConfig.from_preset(
        "tyk2", n_seeds=1, stride=4, growth_frames=0, bootstrap=50, planted_epochs=0
    )
    return run_study(config)


def test_a_system_without_a_series_has_no_panel(small_run: HotspotResults) -> None:
    assert run_affinities(small_run) is None


def test_every_score_meets_the_sites_of_its_series(tyk2_run: HotspotResults) -> None:
    panel = run_affinities(tyk2_run)
    assert panel is not None
    assert list(panel.frame["score"]) == [
        "latent_spread", "pca_spread", "flicker", "rmsf", "n_contacts",
    ]  # fmt: skip
    assert set(panel.frame["n_atoms"]) == {21}  # heavy atoms of ejm_31
    assert ((panel.frame["low"] < panel.frame["auroc"]) & (panel.frame["auroc"] <= 1)).all()
    assert "One target says nothing of others" in panel.summary()


def test_another_molecule_is_not_compared(small_run: HotspotResults, labkit_data: Path) -> None:
    config = dataclasses.replace(small_run.config, target="tyk2")
    with pytest.raises(ParameterError, match="ligand of 'ergotamine' is none of the 13"):
        run_affinities(dataclasses.replace(small_run, config=config))


def test_a_simulated_lead_is_a_system_of_the_study(labkit_data: Path, tmp_path: Path) -> None:
    config = HotspotConfig.from_preset(
        "tyk2", simulate=True, md_ns=0.0004, seed=5, out_dir=str(tmp_path)
    )
    system = load_system(config)
    assert (system.n_atoms, system.n_frames) == (21, 2)
    np.testing.assert_allclose(system.times_ps, [0.2, 0.4], rtol=1e-5)
    folder = tmp_path / "md-tyk2-seed5"
    before = (folder / "trajectory.xtc").stat().st_mtime_ns
    again = simulate_lead("tyk2", folder, ps=0.4, seed=5)
    assert again.trajectory.stat().st_mtime_ns == before  # a finished run is not made twice
