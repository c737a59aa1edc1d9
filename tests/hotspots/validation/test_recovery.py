"""The planted check: the learned score finds the hotspot by the order of frames, others cannot."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.hotspots.validation.planted import ROLES
from labkit.hotspots.validation.recovery import SCORES, planted_check

STATIC = ("contact_entropy", "n_contacts", "rmsf")


@pytest.fixture(scope="module")
def checked():
    """What the quick preset runs, and the calls of its progress."""
    calls = []
    results = planted_check(seeds=(0,), epochs=10, progress=lambda *call: calls.append(call))
    return results, calls


@pytest.fixture(scope="module")
def by_score(checked):
    return checked[0].frame.set_index("score")


def test_latent_spread_finds_the_planted_hotspot(by_score):
    assert by_score.loc["latent_spread", "auroc"] >= 0.95


def test_flicker_takes_the_decoy_for_the_hotspot(by_score):
    assert by_score.loc["flicker", "auroc"] < 0.5
    assert by_score.loc["flicker", "ratio"] < 0.5


def test_latent_spread_loses_half_of_its_ratio_with_the_order_of_frames(by_score):
    assert by_score.loc["latent_spread", "ratio"] > 2
    assert by_score.loc["latent_spread", "fall"] >= 2


@pytest.mark.parametrize("score", STATIC)
def test_scores_that_forget_time_do_not_change_when_it_is_shuffled(by_score, score):
    assert by_score.loc[score, "fall"] == pytest.approx(1, abs=1e-9)
    assert 0.2 < by_score.loc[score, "auroc"] < 0.8


def test_shuffled_flicker_is_that_of_the_decoy(by_score):
    """Without order, hotspot and decoy are the same by construction: 239 steps, 5 % noise."""
    assert by_score.loc["flicker", "ratio_shuffled"] == pytest.approx(1, abs=0.15)


def test_fall_is_the_ratio_of_ratios(by_score):
    np.testing.assert_allclose(by_score["fall"], by_score["ratio"] / by_score["ratio_shuffled"])


def test_atoms_carry_what_the_ratios_are_made_of(checked, by_score):
    atoms = checked[0].atoms
    assert len(atoms) == 25
    assert set(atoms["role"]) == set(ROLES)
    means = atoms.groupby("role")[list(SCORES)].mean()
    np.testing.assert_allclose(
        (means.loc["hotspot"] / means.loc["decoy"])[list(SCORES)], by_score["ratio"]
    )


def test_summary_holds_the_worst_and_the_median_of_each_score(checked, by_score):
    summary = checked[0].summary
    assert list(summary.index) == list(SCORES)
    for column in ("auroc", "auroc_min"):
        np.testing.assert_allclose(summary[column], by_score["auroc"])


def test_progress_counts_the_epochs_of_all_networks(checked):
    done, total, _ = zip(*checked[1], strict=True)
    assert list(done) == list(range(1, 21))
    assert set(total) == {20}


def test_several_networks_and_trajectories_are_tabulated():
    results = planted_check(seeds=(3,), dwells=(5, 10), networks=2, epochs=3, n_frames=100)
    assert len(results.frame) == 2 * len(SCORES)
    assert results.n_frames == {5.0: 100, 10.0: 100}
    assert list(results.summary.index) == list(SCORES)


@pytest.mark.parametrize("options", [{"seeds": ()}, {"dwells": ()}, {"networks": 0}])
def test_nothing_to_check_is_an_error(options):
    name = next(iter(options))
    with pytest.raises(ParameterError, match=name):
        planted_check(**options)
