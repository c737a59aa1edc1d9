"""Lifetimes of contacts against closed forms: Markov chains, renewal theory, counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.hotspots.lifetimes import contact_lifetimes, kaplan_meier


def lifetimes(track, gap=0, replica=None):
    """Lifetimes of one pair from its track, a string of 1 (contact) and 0."""
    touching = np.array([c == "1" for c in track])[:, None, None]
    return contact_lifetimes(
        touching, atom_names=["C1"], residue_labels=["ASP1"], gap=gap, replica=replica
    )


def markov(rng, n_frames, p_off, p_on):
    """Two-state Markov chain that starts without contact, (n_frames,) bool."""
    state, states = False, np.empty(n_frames, dtype=bool)
    draws = rng.random(n_frames)
    for k in range(n_frames):
        state = draws[k] >= p_off if state else draws[k] < p_on
        states[k] = state
    return states


@pytest.mark.parametrize(
    ("track", "gap", "n_events", "mean", "median", "censored"),
    [
        ("0111000", 0, 1, 3, 3, 0),
        ("0111001000", 0, 2, 2, 1, 0),
        ("0111", 0, 1, 3, np.nan, 1),  # its end was not seen: at least 3
        ("1110", 0, 1, 3, 3, 0),
        ("0110110000", 1, 1, 5, 5, 0),  # an interruption of one frame does not end it
        ("0110110000", 0, 2, 2, 2, 0),
        ("01100110000", 1, 2, 2, 2, 0),
        ("01100110000", 2, 1, 6, 6, 0),
        ("0110110", 1, 1, 5, np.nan, 1),  # it may come back in the next frame
        ("11111111", 0, 1, 8, np.nan, 1),
    ],
)
def test_lifetimes_of_single_tracks_counted_by_hand(track, gap, n_events, mean, median, censored):
    (row,) = lifetimes(track, gap).itertuples()
    assert (row.n_events, row.mean, row.censored_share) == (n_events, mean, censored)
    assert row.median == pytest.approx(median, nan_ok=True)
    assert (row.atom, row.residue) == ("C1", "ASP1")


def test_pair_that_never_touches_has_no_row():
    assert lifetimes("0000").empty
    assert list(lifetimes("0000")) == [
        "atom",
        "residue",
        "n_events",
        "mean",
        "median",
        "censored_share",
    ]


def test_no_contact_lasts_from_one_trajectory_into_the_next():
    (row,) = lifetimes("00110110", replica=np.repeat([0, 1], 4)).itertuples()
    assert row.n_events == 2
    assert row.censored_share == 0.5
    (one,) = lifetimes("00111100").itertuples()
    (two,) = lifetimes("00111100", replica=np.repeat([0, 1], 4)).itertuples()
    assert (one.n_events, two.n_events) == (1, 2)


@pytest.mark.parametrize("p_off", [0.5, 0.1, 0.02])
def test_contact_that_ends_with_probability_p_lasts_one_over_p_frames(p_off):
    """The dwell time of a two-state Markov chain is geometric, whatever its return rate.

    Its standard error is sqrt(1 - p) / p / sqrt(n_events); the tolerance is four of them.
    """
    states = markov(np.random.default_rng(7), 60_000, p_off, p_on=0.2)
    table = contact_lifetimes(
        states[:, None, None], atom_names=["C1"], residue_labels=["ASP1"], gap=0
    )
    error = np.sqrt(1 - p_off) / p_off / np.sqrt(table.n_events[0])
    assert table["mean"][0] == pytest.approx(1 / p_off, abs=4 * error)
    median = np.ceil(np.log(0.5) / np.log(1 - p_off))
    assert table["median"][0] == pytest.approx(median, abs=max(1, 4 * error))


def test_censoring_removes_the_bias_of_short_trajectories():
    """Contacts of 20 frames on average that form at any time of trajectories of 60 frames.

    Lengths that were seen average to two thirds of that, and those of contacts whose end was seen
    to half. Kaplan-Meier knows S(t) up to 60 frames: its mean is sum_{t<60} (1-p)^t. Few contacts
    are at risk late, so that its standard error is about 2 %; the tolerance is four of them.
    """
    rng = np.random.default_rng(3)
    p, n_frames, n_replicas = 1 / 20, 61, 4000
    begin = rng.integers(1, n_frames, n_replicas)
    end = begin + rng.geometric(p, n_replicas)
    frame = np.arange(n_frames)
    touching = (frame >= begin[:, None]) & (frame < end[:, None])
    table = contact_lifetimes(
        touching.reshape(-1, 1, 1),
        atom_names=["C1"],
        residue_labels=["ASP1"],
        gap=0,
        replica=np.repeat(np.arange(n_replicas), n_frames),
    )
    expected = (1 - (1 - p) ** 60) / p
    assert table["mean"][0] == pytest.approx(expected, rel=0.08)
    assert table["median"][0] == pytest.approx(np.ceil(np.log(0.5) / np.log(1 - p)), abs=1)
    ended = end < n_frames
    assert table["censored_share"][0] == pytest.approx((~ended).mean())
    assert touching.sum(axis=1).mean() < 0.75 * expected
    assert touching[ended].sum(axis=1).mean() < 0.75 * expected


@pytest.mark.parametrize("gap", [1, 3])
def test_tolerated_gaps_join_contacts_as_renewal_theory_says(gap):
    """Runs of mean 1/p joined across gaps of at most g frames, which have probability G.

    The number of joined runs is geometric, so the mean is 1/p/(1-G) plus the gaps between them.
    """
    p, q = 0.2, 0.15
    states = markov(np.random.default_rng(11), 80_000, p, q)
    table = contact_lifetimes(
        states[:, None, None], atom_names=["C1"], residue_labels=["ASP1"], gap=gap
    )
    k = np.arange(1, gap + 1)
    chance = q * (1 - q) ** (k - 1)
    G = chance.sum()
    expected = 1 / p / (1 - G) + G / (1 - G) * (k * chance).sum() / G
    error = expected / np.sqrt(table.n_events[0])
    assert table["mean"][0] == pytest.approx(expected, abs=4 * error)


def test_kaplan_meier_agrees_with_the_textbook_product():
    """Remission times of Freireich et al. (1963), the 6-MP arm: S(6) = 0.857, S(23) = 0.448."""
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    going = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    length = np.array(ended + going)
    censored = np.array([False] * len(ended) + [True] * len(going))
    mean, median = kaplan_meier(length, censored)
    assert median == 23
    steps = {0: 1.0, 6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    begins = np.array([*steps, 35])
    assert mean == pytest.approx((np.diff(begins) * np.array([*steps.values()])).sum(), abs=0.02)


def test_many_pairs_give_what_each_gives_alone():
    rng = np.random.default_rng(5)
    touching = rng.random((60, 3, 4)) < 0.6
    atoms, residues = ["A", "B", "C"], ["R1", "R2", "R3", "R4"]
    table = contact_lifetimes(touching, atom_names=atoms, residue_labels=residues, gap=1)
    assert len(table) == 12
    for row in table.itertuples():
        track = touching[:, atoms.index(row.atom), residues.index(row.residue)]
        (alone,) = lifetimes("".join("01"[int(t)] for t in track), gap=1).itertuples()
        assert (row.n_events, row.mean, row.censored_share) == (
            alone.n_events,
            alone.mean,
            alone.censored_share,
        )


def test_negative_gap_is_refused():
    with pytest.raises(ParameterError, match="gap=-1"):
        lifetimes("010", gap=-1)
