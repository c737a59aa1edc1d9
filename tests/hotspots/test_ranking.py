"""Ranks, their intervals and verdicts: coverage, symmetries, and what may not be claimed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import rankdata, spearmanr

from labkit.errors import ParameterError
from labkit.hotspots.bootstrap import block_weights, optimal_block_length
from labkit.hotspots.ranking import (
    choose_block_length,
    half_agreement,
    rank_atoms,
    rank_intervals,
    seed_agreement,
    seed_scores,
)
from labkit.hotspots.scores import ensemble_spread
from labkit.hotspots.temporal import atom_windows
from labkit.hotspots.training import CVAEConfig, fit_ensemble
from labkit.hotspots.validation.planted import planted_trajectory


def windows_like(n_windows, *, replica=None, stride=4):
    """Windows of an empty trajectory: the bootstrap needs their times only."""
    n_frames = 16 + (n_windows - 1) * stride
    windows = atom_windows(np.zeros((n_frames, 1, 1), np.float32), stride=stride)
    assert windows.n_windows == n_windows
    if replica is not None:
        object.__setattr__(windows, "replica", np.asarray(replica))
    return windows


def ensemble(scale, *, n_windows=80, n_seeds=3, memory=0.5, noise=0.05, seed=0):
    """Autoregressive latents whose spread is proportional to `scale`, seen by noisy networks."""
    rng = np.random.default_rng(seed)
    n_atoms, d = len(scale), 4
    kicks = rng.normal(size=(n_atoms, n_windows + 50, d))
    x = lfilter([np.sqrt(1 - memory**2)], [1, -memory], kicks, axis=1)[:, 50:]
    mu = x * np.asarray(scale)[:, None, None]
    return [mu * np.exp(rng.normal(0, noise, (n_atoms, 1, 1))) for _ in range(n_seeds)]


SCALE = np.linspace(1, 3, 12)


@pytest.mark.parametrize("coefficient", [0.3, 0.6, 0.8])
def test_block_length_of_an_autoregression_has_its_closed_form(coefficient):
    """The rule estimates spectra at few lags: single series are off by tens of percent."""
    rng = np.random.default_rng(0)
    n = 4000
    series = lfilter([1], [1, -coefficient], rng.normal(size=(20, n)), axis=1)
    expected = (6 * coefficient**2 / (1 - coefficient**2) ** 2) ** (1 / 3) * n ** (1 / 3)
    found = np.median([optimal_block_length(row) for row in series])
    assert found == pytest.approx(expected, rel=0.25)


def test_series_without_memory_need_no_blocks():
    rng = np.random.default_rng(0)
    lengths = [optimal_block_length(rng.normal(size=400)) for _ in range(50)]
    assert np.median(lengths) < 4
    assert optimal_block_length(np.ones(50)) == 1
    assert optimal_block_length(np.array([1.0, 2.0])) == 1


def test_blocks_draw_every_window_equally_often_and_stay_in_their_replica():
    replica = np.repeat([0, 1, 2], [10, 16, 6])
    weights = block_weights(replica, 6, 4000, seed=0)
    assert (weights.sum(axis=1) == len(replica)).all()
    # 4,000 draws of mean 1 and standard deviation of about 1: four standard errors.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.07)
    # A block of six in the replica of six windows takes all of it, whatever its start; only the
    # last block, cut to two windows, takes less.
    last = weights[:, 26:]
    assert (np.ptp(last, axis=1) <= 1).all()


def test_bootstrap_variance_of_a_mean_is_the_long_run_variance():
    """AR(1) with coefficient 0.5: variance of the mean is 4 / n, and 1.33 / n without memory."""
    rng = np.random.default_rng(1)
    n = 600
    ratios = []
    for _ in range(20):
        x = lfilter([1], [1, -0.5], rng.normal(size=n + 100))[100:]
        length = int(np.ceil(optimal_block_length(x)))
        means = block_weights(np.zeros(n, int), length, 500, seed=rng) @ x / n
        ratios.append(means.var() / (4 / n))
    assert np.mean(ratios) == pytest.approx(0.95, abs=0.15)  # block estimates are a bit small


@pytest.mark.parametrize(
    ("truth", "widest"),
    [(np.zeros(6), 5), (np.repeat([0.0, 2.0], 6), 5.6), (np.arange(12) * 0.5, 6), (SCALE * 50, 0)],
    ids=["ties", "two groups", "steps", "clear"],
)
def test_intervals_of_independent_normal_estimates_cover_the_true_ranks(truth, widest):
    """95 % intervals, 300 experiments; a group that ties has to be covered as a whole.

    Atoms of one experiment err together: the standard error of the mean coverage is about 0.7 %.
    """
    first, last = rankdata(-truth, "min"), rankdata(-truth, "max")
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for _ in range(300):
        estimate = truth + rng.normal(0, 0.3, len(truth))
        draws = np.vstack([estimate, estimate + rng.normal(0, 0.3, (200, len(truth)))])
        low, high = rank_intervals(draws)
        covered.append((low <= first) & (last <= high))
        widths.append(high - low)
    assert np.mean(covered) > 0.92
    assert np.mean(widths) <= widest
    if len(truth) == 6:
        assert np.mean(covered) < 0.98  # not merely wide


def test_percentiles_of_drawn_ranks_would_not_cover():
    """The reason for comparisons in pairs, shown on ties of six."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        estimate = rng.normal(0, 0.3, 6)
        ranks = rankdata(-(estimate + rng.normal(0, 0.3, (200, 6))), axis=1)
        low, high = np.quantile(ranks, [0.025, 0.975], axis=0)
        true = rng.permutation(6) + 1
        covered.append((low <= true) & (true <= high))
    assert np.mean(covered) < 0.9


def test_intervals_hold_the_ranks_of_a_longer_trajectory():
    """Gaussian latents with memory, 40 experiments of 12 atoms; here every network agrees."""
    covered = []
    for seed in range(40):
        table = rank_atoms(
            ensemble(SCALE, n_seeds=1, seed=seed), windows=windows_like(80), bootstrap=200
        ).frame
        rank = rankdata(-SCALE)
        covered.append((table["rank_low"] <= rank) & (rank <= table["rank_high"]))
    assert 0.9 < np.mean(covered) <= 1


def test_intervals_hold_the_rank_and_grow_with_the_confidence():
    latents, windows = ensemble(SCALE), windows_like(80)
    narrow = rank_atoms(latents, windows=windows, confidence=0.5).frame
    wide = rank_atoms(latents, windows=windows, confidence=0.99).frame
    for frame in (narrow, wide):
        assert (frame["rank_low"] <= frame["rank"]).all()
        assert (frame["rank"] <= frame["rank_high"]).all()
        assert (frame["score_low"] <= frame["score"]).all()
        assert (frame["score"] <= frame["score_high"]).all()
    assert (wide["rank_low"] <= narrow["rank_low"]).all()
    assert (wide["rank_high"] >= narrow["rank_high"]).all()


def test_longer_trajectories_give_narrower_intervals():
    widths = [
        np.ptp(
            rank_atoms(ensemble(SCALE, n_windows=n, n_seeds=1), windows=windows_like(n)).frame[
                ["rank_low", "rank_high"]
            ],
            axis=1,
        ).mean()
        for n in (64, 256, 1024)
    ]
    assert widths[0] > widths[1] > widths[2]


def test_disagreeing_networks_widen_the_intervals():
    windows = windows_like(256)
    agreed = rank_atoms(ensemble(SCALE, n_windows=256, noise=0.0), windows=windows).frame
    quarrel = rank_atoms(ensemble(SCALE, n_windows=256, noise=0.3), windows=windows).frame
    width = [(f["rank_high"] - f["rank_low"]).mean() for f in (agreed, quarrel)]
    assert width[1] > 1.5 * width[0]


def test_scale_and_rotation_of_a_latent_space_mean_nothing():
    latents, windows = ensemble(SCALE), windows_like(80)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    changed = [latents[0] * 7, latents[1] @ rotation + 3, latents[2]]
    a, b = (rank_atoms(mu, windows=windows).frame for mu in (latents, changed))
    columns = ["rank", "rank_low", "rank_high", "p_top", "verdict"]
    assert a[columns].equals(b[columns])


def test_the_order_of_the_atoms_does_not_matter():
    latents, windows = ensemble(SCALE), windows_like(80)
    order = np.random.default_rng(0).permutation(len(SCALE))
    a = rank_atoms(latents, windows=windows).frame.iloc[order].reset_index(drop=True)
    b = rank_atoms([mu[order] for mu in latents], windows=windows).frame
    columns = ["rank", "rank_low", "rank_high", "verdict"]
    assert a[columns].equals(b[columns])


def test_verdicts_follow_the_interval_and_nothing_else():
    latents = ensemble(np.repeat([1.0, 2.0, 6.0], 4), n_windows=400)
    frame = rank_atoms(latents, windows=windows_like(400), top_k=4).frame
    assert frame["verdict"].tolist() == ["anchor"] * 4 + ["undetermined"] * 4 + ["dynamic"] * 4
    assert (frame.loc[frame["verdict"] == "dynamic", "rank_high"] <= 4).all()
    assert (frame.loc[frame["verdict"] == "anchor", "rank_low"] > 8).all()
    assert (frame["p_top"].round(2).to_numpy() == np.repeat([0.0, 0.0, 1.0], 4)).all()


def test_score_is_the_geometric_mean_of_the_networks():
    latents = ensemble(SCALE, noise=0.3)
    table = rank_atoms(latents, windows=windows_like(80))
    np.testing.assert_allclose(table.frame["score"], ensemble_spread(latents))
    np.testing.assert_allclose(table.frame["rank"], rankdata(-ensemble_spread(latents)))


def test_few_windows_give_no_verdict_and_say_so():
    latents = ensemble(np.repeat([1.0, 2.0, 6.0], 4), n_windows=63)
    table = rank_atoms(latents, windows=windows_like(63))
    assert set(table.frame["verdict"]) == {"undetermined"}
    assert any("63 windows per atom are fewer than 64" in note for note in table.notes)
    fragments = table.fragments(np.repeat([0, 1, 2], 4))
    assert set(fragments.frame["verdict"]) == {"undetermined"}
    assert not any(
        "fewer than 64" in n
        for n in rank_atoms(ensemble(SCALE, n_windows=64), windows=windows_like(64)).notes
    )


def test_long_memory_is_noted():
    table = rank_atoms(ensemble(SCALE, memory=0.97, n_windows=80), windows=windows_like(80))
    assert any("intervals may be too narrow" in note for note in table.notes)


def test_one_seed_says_what_its_intervals_leave_out():
    [first, *_] = ensemble(SCALE)
    assert any("One seed" in note for note in rank_atoms([first], windows=windows_like(80)).notes)
    notes = rank_atoms(ensemble(SCALE), windows=windows_like(80)).notes
    assert not any("One seed" in note for note in notes)


def test_one_atom_is_first_and_undetermined():
    table = rank_atoms(ensemble([1.0]), windows=windows_like(80))
    [row] = table.frame.to_dict("records")
    assert (row["rank"], row["rank_low"], row["rank_high"]) == (1, 1, 1)
    assert row["verdict"] == "undetermined"
    assert any("Fewer than three atoms" in note for note in table.notes)


def test_atoms_without_a_score_get_no_rank_and_do_not_count():
    latents = ensemble(SCALE)
    for mu in latents:
        mu[3] = np.nan
    table = rank_atoms(latents, windows=windows_like(80))
    row = table.frame.iloc[3]
    assert row[["score", "rank", "rank_low", "rank_high", "p_top"]].isna().all()
    assert row["verdict"] == "undetermined"
    assert table.frame["rank"].max() == len(SCALE) - 1
    assert any("1 of 12 atoms have no score" in note for note in table.notes)
    assert table.ordered().index[-1] == 3


def test_identical_atoms_share_rank_and_interval():
    latents = ensemble(SCALE)
    for mu in latents:
        mu[5] = mu[4]
    frame = rank_atoms(latents, windows=windows_like(80)).frame
    columns = ["score", "rank", "rank_low", "rank_high"]
    np.testing.assert_array_equal(frame.loc[4, columns], frame.loc[5, columns])
    assert frame.loc[4, "rank"] % 1 == 0.5


def test_atoms_that_never_touch_anything_tie_at_the_bottom():
    latents = ensemble(SCALE, n_windows=400)
    for mu in latents:
        mu[:6] = 0.25
    frame = rank_atoms(latents, windows=windows_like(400)).frame
    assert (frame.loc[:5, "rank"] == 9.5).all()
    assert (frame.loc[:5, "rank_low"] == 7).all()
    assert (frame.loc[:5, "rank_high"] == 12).all()


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_equal_scores_rank_nothing_and_warn(noise):
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(1, 80, 4)), 5, axis=0)
    same = same * (1 + rng.normal(0, noise, same.shape))
    with pytest.warns(UserWarning, match="All scores are equal"):
        table = rank_atoms([same, same], windows=windows_like(80))
    assert table.frame[["rank", "rank_low", "rank_high", "p_top"]].isna().all(axis=None)
    assert set(table.frame["verdict"]) == {"undetermined"}


@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-6])
def test_atoms_that_differ_but_do_not_move_are_not_ranked(noise):
    """Latents of one frame repeated: as float32 arithmetic leaves them."""
    rng = np.random.default_rng(0)
    still = [np.repeat(rng.normal(size=(6, 1, 4)), 80, axis=1) for _ in range(2)]
    still = [mu + rng.normal(0, noise, mu.shape) for mu in still]
    with pytest.raises(ParameterError, match=r"Nothing moves: in the 80 windows .* trajectory"):
        rank_atoms(still, windows=windows_like(80))
    still[1][4] += rng.normal(0, 1e-3, (80, 4))
    assert rank_atoms(still, windows=windows_like(80)).frame["rank"].iloc[4] == 1


def test_one_window_shows_no_motion():
    with pytest.raises(ParameterError, match="1 window of each atom shows no motion"):
        rank_atoms([np.ones((6, 1, 4))], windows=windows_like(1))


@pytest.mark.parametrize(("n", "third"), [(3, 1), (4, 1), (5, 1), (7, 2), (43, 14)])
def test_as_many_atoms_can_be_anchors_as_dynamic(n, third):
    """Ranks without any doubt: the verdicts are the first and the last n // 3 atoms."""
    [base] = ensemble([1.0], n_windows=400, n_seeds=1)
    latents = [base * (1.2 ** np.arange(n))[:, None, None]]
    frame = rank_atoms(latents, windows=windows_like(400)).frame
    assert frame["verdict"].tolist() == (
        ["anchor"] * third + ["undetermined"] * (n - 2 * third) + ["dynamic"] * third
    )


@pytest.mark.parametrize(("stride", "verdicts"), [(1, False), (3, False), (4, True)])
def test_verdicts_cannot_be_bought_with_windows_that_overlap_more(stride, verdicts):
    """84 windows of 16 frames that start every frame count as 21."""
    latents = ensemble(np.repeat([1.0, 2.0, 20.0], 4), n_windows=84, n_seeds=1)
    table = rank_atoms(latents, windows=windows_like(84, stride=stride))
    assert table.n_counted == 1 + 83 * stride // 4
    assert (set(table.frame["verdict"]) != {"undetermined"}) == verdicts
    assert any("fewer than 64" in note for note in table.notes) != verdicts
    fragments = table.fragments(np.repeat([0, 1, 2], 4))
    assert (fragments.frame["verdict"].iloc[2] == "dynamic") == verdicts


def test_fragments_have_the_mean_score_of_their_atoms():
    latents, windows = ensemble(SCALE, n_windows=400), windows_like(400)
    table = rank_atoms(latents, windows=windows)
    found = table.fragments(np.repeat([0, 1, 2], 4)).frame
    expected = table.frame["score"].to_numpy().reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(found["score"], expected)
    assert found["rank"].tolist() == [3, 2, 1]
    assert found["n_atoms"].tolist() == [4, 4, 4]
    assert found["verdict"].tolist() == ["anchor", "undetermined", "dynamic"]
    alone = table.fragments(np.arange(12), top_k=8).frame
    columns = ["score", "rank", "rank_low", "rank_high", "p_top", "verdict"]
    assert alone[columns].round(9).equals(table.frame[columns].round(9))


def test_blocks_are_drawn_within_replicas():
    """Two replicas that sit in different states: the spread is between them, not within."""
    rng = np.random.default_rng(0)
    mu = rng.normal(0, 0.1, (6, 128, 2))
    mu[:3, 64:] += 3
    table = rank_atoms([mu], windows=windows_like(128, replica=np.repeat([0, 1], 64)))
    assert set(table.frame.nlargest(3, "score").index) == {0, 1, 2}


def test_a_short_replica_is_drawn_as_often_as_a_long_one():
    """Blocks longer than a replica wrap around in it; mean 1, four standard errors."""
    weights = block_weights(np.repeat([0, 1], [37, 3]), 8, 4000, seed=0)
    assert (weights.sum(axis=1) == 40).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.12)


def test_block_length_follows_the_slow_atoms():
    fast = choose_block_length(ensemble(SCALE, n_windows=400, memory=0.0))
    slow = choose_block_length(ensemble(SCALE, n_windows=400, memory=0.9))
    assert slow > 2 * fast


def test_the_same_networks_give_the_identical_table():
    planted = planted_trajectory(seed=0, n_frames=120)
    windows = atom_windows(planted.contacts)
    tables = []
    for _ in range(2):
        fits = fit_ensemble(windows, CVAEConfig(epochs=3), seeds=(0, 1), allow_collapsed=True)
        latents = [fit.latent(windows) for fit in fits]
        tables.append(rank_atoms(latents, windows=windows, bootstrap=50).frame)
    assert tables[0].equals(tables[1])


def test_networks_of_different_size_can_be_ranked_together():
    latents = ensemble(SCALE)
    padded = [latents[0], np.pad(latents[1], ((0, 0), (0, 0), (0, 2))), latents[2]]
    a, b = (rank_atoms(mu, windows=windows_like(80)).frame for mu in (latents, padded))
    np.testing.assert_allclose(a["score"], b["score"])


def test_disjoint_ensembles_are_all_compared():
    """Six seeds split into ten pairs of threes; identical networks agree, noise does not."""
    found = seed_agreement(ensemble(SCALE, n_seeds=6, noise=0.0), 3)
    assert len(found) == 10
    np.testing.assert_allclose(found["spearman"], 1)
    assert (found["top_overlap"] == 8).all()
    assert all(not set(a) & set(b) for a, b in zip(found.ensemble_a, found.ensemble_b, strict=True))
    noise = [np.random.default_rng(i).normal(size=(40, 80, 4)) for i in range(6)]
    assert abs(seed_agreement(noise, 3)["spearman"].mean()) < 0.5
    assert len(seed_agreement(noise * 2, 3, max_pairs=7)) == 7


def test_agreement_of_single_seeds_is_scipys_spearman():
    latents = ensemble(SCALE, n_seeds=2, noise=0.3)
    [found] = seed_agreement(latents, 1)["spearman"]
    assert found == pytest.approx(spearmanr(*seed_scores(latents)).statistic)


def test_halves_share_no_frame_and_agree_on_a_clear_ranking():
    windows = windows_like(160, stride=4)
    found = half_agreement(ensemble(SCALE, n_windows=160, n_seeds=2), windows=windows)
    assert list(found.index) == ["ensemble", "seed 0", "seed 1"]
    # 160 windows of 16 frames, 4 apart, less the four that straddle the middle.
    assert (found["n_first"] + found["n_second"] == 156).all()
    assert found.loc["ensemble", "spearman"] > 0.8


def test_halves_are_those_of_each_replica():
    """First halves are calm in both replicas, second halves are not: they must disagree."""
    replica = np.repeat([0, 1], 64)
    windows = windows_like(128, replica=replica)
    late = np.tile(np.arange(64) >= 32, 2)
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(12, 128, 3))
    scale = np.where(late, SCALE[::-1, None], SCALE[:, None])
    found = half_agreement([mu * scale[..., None]], windows=windows)
    assert found.loc["ensemble", "spearman"] < -0.8


def test_bad_requests_are_errors():
    latents, windows = ensemble(SCALE), windows_like(80)
    with pytest.raises(ParameterError, match=r"windows\.replica has shape \(79,\)"):
        rank_atoms(latents, windows=windows_like(79))
    with pytest.raises(ParameterError, match="confidence=1"):
        rank_atoms(latents, windows=windows, confidence=1)
    with pytest.raises(ParameterError, match="one array of shape"):
        rank_atoms([latents[0], latents[1][:4]], windows=windows)
    with pytest.raises(ParameterError, match="3 names for 12 atoms"):
        rank_atoms(latents, windows=windows, atom_names=["A", "B", "C"])
    with pytest.raises(ParameterError, match="block=81: a block has 1 to 80 windows"):
        rank_atoms(latents, windows=windows, block=81)
    with pytest.raises(ParameterError, match="length=0"):
        block_weights(np.zeros(5, int), 0, 10)
    with pytest.raises(ParameterError, match="size=2 needs 4 seeds and there are 3"):
        seed_agreement(latents, 2)
    with pytest.raises(ParameterError, match=r"assignment has shape \(3,\)"):
        rank_atoms(latents, windows=windows).fragments([0, 1, 2])
    with pytest.raises(ParameterError, match="leave a half without any"):
        half_agreement([mu[:, :1] for mu in latents], windows=windows_like(1))
