"""A panel's means are those of textbook t tests, and its words claim no more than its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from labkit.errors import ParameterError
from labkit.hotspots.validation.evidence import ABOVE, BELOW, UNTOLD, panel_of
from labkit.hotspots.validation.sar import SCORES, sar_sites

LEADS = ("NCCc1ccc(OC)cc1", "OCCCc1ccc(N)cc1", "CC(=O)Nc1ccccc1", "NCCCCc1ccncc1", "OCc1ccccc1")


@pytest.fixture(scope="module")
def sites(embed, with_group, make_series):
    """Four targets; on each, two neighboring ring atoms were varied."""
    found = {}
    for number, smiles in enumerate(LEADS[:4]):
        lead = embed(smiles)
        ring = [a.GetIdx() for a in lead.GetAtoms() if a.GetIsAromatic() and a.GetTotalNumHs(True)]
        ligands = [with_group(lead, f"l{atom}", {atom: "F"}) for atom in ring[:2]]
        found[f"t{number}"] = sar_sites(make_series([lead, *ligands], target=f"t{number}"), "lead")
    return found


@pytest.fixture(scope="module")
def random_scores(sites):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return {
            target: pd.DataFrame(rng.normal(size=(len(s.sites), len(SCORES))), columns=list(SCORES))
            for target, s in sites.items()
        }

    return draw


@pytest.fixture(scope="module")
def panel(random_scores, sites):
    return panel_of(random_scores(0), sites, n_permutations=200)


def areas(panel, score):
    return panel.frame.loc[panel.frame["score"] == score, "auroc"]


@pytest.mark.parametrize("score", SCORES)
def test_interval_of_a_mean_is_that_of_the_t_test(panel, score):
    row = panel.mean.set_index("score").loc[score]
    low, high = stats.ttest_1samp(areas(panel, score), 0.5).confidence_interval(0.95)
    assert row["auroc"] == pytest.approx(areas(panel, score).mean())
    assert (row["low"], row["high"]) == pytest.approx((max(low, 0), min(high, 1)))
    assert row["n_targets"] == 4


@pytest.mark.parametrize("baseline", SCORES[1:])
def test_differences_are_paired_and_simultaneous_over_four_baselines(panel, baseline):
    row = panel.differences.set_index("score").loc[baseline]
    test = stats.ttest_rel(areas(panel, SCORES[0]).values, areas(panel, baseline).values)
    low, high = test.confidence_interval(1 - 0.05 / 4)
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_correlations_are_spearmans_with_the_learned_score(panel, random_scores):
    table = random_scores(0)["t2"]
    expected = stats.spearmanr(table["latent_spread"], table["rmsf"]).statistic
    assert panel.correlation.loc["t2", "rmsf"] == pytest.approx(expected)
    assert list(panel.correlation.columns) == list(SCORES[1:])


def test_scores_that_know_the_sites_are_told_from_chance_and_the_others_are_not(
    sites, random_scores
):
    """On every target the truth with a little noise, its opposite, and three random scores."""
    scores = random_scores(1)
    for seed, (target, table) in enumerate(scores.items()):
        noise = np.random.default_rng(seed).normal(scale=0.3, size=len(table))
        table["latent_spread"] = sites[target].sites + noise
        table["rmsf"] = -table["latent_spread"]
    panel = panel_of(scores, sites, n_permutations=500)
    verdicts = panel.mean.set_index("score")["verdict"]
    assert verdicts["latent_spread"] == ABOVE
    assert verdicts["rmsf"] == BELOW
    assert (verdicts[["pca_spread", "flicker", "n_contacts"]] == UNTOLD).all()
    text = repr(panel)
    assert "Told from chance, of the 5 scores tried: latent_spread, rmsf." in text
    assert "latent_spread minus rmsf" in text
    assert "latent_spread is higher" in text


def test_panels_of_random_scores_seldom_claim_anything(sites, random_scores):
    """5 % of panels at most, by Bonferroni; the binomial sd over 25 panels is 4.4 %."""
    panels = [panel_of(random_scores(seed), sites, n_permutations=199) for seed in range(25)]
    claims = [(panel.mean["verdict"] != UNTOLD).any() for panel in panels]
    assert np.mean(claims) < 0.05 + 2 * 0.044
    quiet = [repr(panel) for panel, claim in zip(panels, claims, strict=True) if not claim]
    assert all("None of the 5 scores tried is shown to point" in text for text in quiet)


def test_an_interval_without_one_half_is_no_claim_if_chance_does_as_much(sites):
    """The same mediocre area on all targets has a narrow interval, and a p that is not rare."""
    scores = {}
    for target, s in sites.items():
        values = np.zeros(len(s.sites))
        values[np.flatnonzero(s.sites)[0]] = 1.0
        scores[target] = pd.DataFrame({"latent_spread": values})
    panel = panel_of(scores, sites, columns=["latent_spread"], n_permutations=500)
    row = panel.mean.iloc[0]
    assert row["low"] > 0.5
    assert (row["verdict"] == ABOVE) == (row["p_patch"] <= 0.05)
    assert row["p_patch"] < 0.5


def test_one_target_has_no_interval_over_targets_and_speaks_for_itself(sites, random_scores):
    scores = {"t1": random_scores(2)["t1"]}
    panel = panel_of(scores, {"t1": sites["t1"]}, n_permutations=99, notes=["One note."])
    assert panel.mean[["low", "high"]].isna().all(axis=None)
    assert (panel.mean["verdict"] == UNTOLD).all()
    text = panel.summary()
    assert "t1 alone" in text
    assert "One target says nothing of others." in text
    assert text.endswith("One note.")
    assert "minus" not in text


def test_a_score_that_is_unknown_on_a_target_is_averaged_over_the_others(sites, random_scores):
    scores = random_scores(3)
    scores["t0"] = scores["t0"].assign(flicker=np.nan)
    panel = panel_of(scores, sites, n_permutations=99)
    row = panel.mean.set_index("score").loc["flicker"]
    assert row["n_targets"] == 3
    assert row["auroc"] == pytest.approx(areas(panel, "flicker").dropna().mean())
    assert np.isnan(panel.correlation.loc["t0", "flicker"])


def test_a_score_that_is_unknown_everywhere_is_nan(sites, random_scores):
    scores = {target: table.assign(rmsf=np.nan) for target, table in random_scores(4).items()}
    panel = panel_of(scores, sites, n_permutations=99)
    row = panel.mean.set_index("score").loc["rmsf"]
    assert row[["auroc", "low", "high", "p_patch"]].isna().all()
    assert row["verdict"] == UNTOLD


def test_panel_keeps_the_sites_and_the_leads(panel, sites):
    assert panel.targets == list(sites)
    assert panel.sites == sites
    assert set(panel.frame["lead"]) == {"lead"}


@pytest.mark.parametrize("targets", [(), ("t0", "t1")])
def test_scores_and_sites_must_be_of_the_same_targets(sites, random_scores, targets):
    scores = {target: random_scores(0)[target] for target in targets}
    with pytest.raises(ParameterError, match="targets"):
        panel_of(scores, {"t0": sites["t0"]})
