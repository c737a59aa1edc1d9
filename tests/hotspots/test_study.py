"""A run on a real trajectory gives a whole ranking, the same every time."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from labkit.errors import ParameterError
from labkit.hotspots import HotspotConfig, run_study
from labkit.hotspots.checks import EXPECTED, Checks
from labkit.hotspots.study import HotspotResults, load_system, pocket_contacts


def test_every_heavy_atom_is_ranked_once(small_run: HotspotResults) -> None:
    frame = small_run.table.frame
    assert tuple(frame["atom"]) == small_run.complex.atom_names
    assert len(frame) == 43  # heavy atoms of ergotamine, C33H36N5O5+
    assert sorted(frame["rank"]) == list(range(1, 44))
    assert ((frame["rank_low"] <= frame["rank"]) & (frame["rank"] <= frame["rank_high"])).all()


def test_too_few_windows_give_no_verdict_and_say_so(small_run: HotspotResults) -> None:
    assert small_run.windows.n_windows < 64
    assert set(small_run.table.frame["verdict"]) == {"undetermined"}
    assert "fewer than 64" in " ".join(small_run.notes)
    assert "fewer than 64" in small_run._repr_html_()


def test_the_benzyl_group_moves_and_the_ergoline_core_stays(small_run: HotspotResults) -> None:
    # The ergoline core sits in the orthosteric site, the benzyl group in the extended pocket
    # (Wang et al., Science 340 (2013) 610); fragments by rings are robust even for a small run.
    order = list(small_run.fragment_table.ordered()["fragment"])
    benzyl = next(name for name in order if "(C7)" in name)
    core = next(name for name in order if "C15N2" in name)
    assert order[0] == benzyl
    assert order.index(core) >= 2


def test_simple_scores_stand_beside_the_learned_one(small_run: HotspotResults) -> None:
    summary = small_run.summary()
    assert {"fragment", "pca_spread", "rmsf", "flicker", "n_contacts"} <= set(summary.columns)
    assert {"rmsf", "n_contacts", "flicker", "pca_spread"} <= set(small_run.baselines().index)
    alike = spearmanr(small_run.scores["latent_spread"], small_run.scores["rmsf"]).statistic
    assert small_run.baselines().loc["rmsf", "spearman"] == pytest.approx(alike)


def test_the_headline_is_plain_numbers_and_names(small_run: HotspotResults) -> None:
    headline = small_run.headline()
    assert json.loads(json.dumps(headline)) == headline
    verdicts = [headline[f"n_{name}"] for name in ("dynamic", "anchor", "undetermined")]
    assert sum(verdicts) == headline["n_atoms"] == 43
    assert headline["top_atom"] in small_run.complex.atom_names


def test_the_same_choices_give_the_same_table(small_run: HotspotResults) -> None:
    config = dataclasses.replace(small_run.config, n_jobs=1, growth_frames=0)
    again = run_study(config, system=small_run.complex, contacts=small_run.contacts)
    pd.testing.assert_frame_equal(again.table.frame, small_run.table.frame)


def test_contacts_of_another_system_are_refused(small_run: HotspotResults) -> None:
    fewer = small_run.contacts.select_frames(slice(0, 100))
    with pytest.raises(ParameterError, match="100 frames, the system"):
        run_study(small_run.config, system=small_run.complex, contacts=fewer)


def test_a_window_longer_than_the_trajectory_is_refused_before_training() -> None:
    config = HotspotConfig.from_preset("quick", stop=35, window=16)
    system = load_system(config)
    with pytest.raises(ParameterError, match="window=16"):
        run_study(config, system=system, contacts=pocket_contacts(config, system))


def test_checks_compare_seeds_halves_and_shuffled_frames(small_checks: Checks) -> None:
    numbers = small_checks.headline()
    assert -1 <= numbers["spearman_halves"] <= 1
    assert numbers["spearman_seeds_min"] > 0.8
    assert np.isfinite(small_checks.shuffled.to_numpy()).all()
    assert small_checks.planted is None
    assert "planted_auroc" not in numbers


def test_shuffling_the_frames_costs_score(small_checks: Checks) -> None:
    # Windows of shuffled frames all look like the average: less spread between them.
    assert small_checks.headline()["shuffled_share"] < 0.9


def test_every_check_says_what_to_expect(small_checks: Checks) -> None:
    table = small_checks.table()
    assert len(table) == 4
    assert all(math.isfinite(value) for value in table["found"])
    assert set(table["expect"]) <= {expected for _, expected in EXPECTED.values()}
    assert "expect" in small_checks._repr_html_()
