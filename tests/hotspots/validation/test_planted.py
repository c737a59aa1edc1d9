"""Planted trajectories have the statistics they claim, and give nothing away without time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from labkit.errors import ParameterError
from labkit.hotspots.contacts import binary_contacts
from labkit.hotspots.scores import contact_scores, pca_spread
from labkit.hotspots.temporal import atom_windows
from labkit.hotspots.validation.planted import ROLES, planted_trajectory, time_shuffle

SEEDS = range(20)
STATIC = ("n_contacts", "contact_entropy", "rmsf", "occupancy")


def dwell_times(states):
    """Lengths of the visits to a state, without the first and the last, which are cut off."""
    jumps = np.flatnonzero(np.diff(states))
    return np.diff(jumps)


@pytest.fixture(scope="module")
def long():
    return planted_trajectory(seed=3, n_frames=6000, dwell=10)


@pytest.fixture(scope="module")
def many():
    """Twenty trajectories of the default length and their scores that need no time."""
    planted = [planted_trajectory(seed=seed) for seed in SEEDS]
    tables = [contact_scores(p.contacts).assign(rmsf=p.rmsf) for p in planted]
    return list(zip(planted, tables, strict=True))


def mean_by_role(table, planted, score):
    return {role: table.loc[planted.roles == role, score].mean() for role in ROLES}


def test_dwell_times_are_geometric_with_the_stated_mean(long):
    """About 600 visits; geometric: mean 10, variance 90. Bins hold 60 or more visits each."""
    dwells = dwell_times(long.states)
    assert dwells.mean() == pytest.approx(10, abs=3 * np.sqrt(90 / len(dwells)))
    edges = np.array([0, 1, 3, 5, 8, 12, 18, np.inf])
    seen = np.histogram(dwells, edges + 0.5)[0]
    expected = np.diff(stats.geom.cdf(edges, 1 / 10)) * len(dwells)
    assert stats.chisquare(seen, expected).pvalue > 0.001


def test_states_are_equally_likely_and_follow_each_other_at_random(long):
    share = np.bincount(long.states, minlength=3) / len(long.states)
    assert share == pytest.approx([1 / 3] * 3, abs=0.07)  # 400 independent visits: 3 sd
    visits = long.states[np.flatnonzero(np.diff(long.states)) + 1]
    steps = np.diff(visits) % 3
    assert set(steps) == {1, 2}
    assert stats.binomtest(int((steps == 1).sum()), len(steps)).pvalue > 0.001


def test_decoy_visits_the_hotspots_states_equally_often_without_memory(long):
    np.testing.assert_array_equal(np.bincount(long.states), np.bincount(long.decoy_states))
    share = np.bincount(long.states) / len(long.states)
    stays = (np.diff(long.decoy_states) == 0).mean()
    assert stays == pytest.approx((share**2).sum(), abs=3 * 0.5 / np.sqrt(6000))
    assert (np.diff(long.states) == 0).mean() == pytest.approx(0.9, abs=3 * 0.3 / np.sqrt(6000))


def test_hotspot_and_decoy_touch_their_residues_equally_often(long):
    """The k-th pair of either is in contact in the same number of frames; only jitter differs."""
    occupancy = long.contacts.occupancy().to_numpy()
    rows = {role: occupancy[long.roles == role] for role in ("hotspot", "decoy")}
    hotspot, decoy = (np.sort(part.mean(axis=0)[part.any(axis=0)]) for part in rows.values())
    assert len(hotspot) == len(decoy) == 6
    np.testing.assert_allclose(hotspot, decoy, atol=3 * np.sqrt(0.25 / 6000 / 5))


def test_only_the_residues_of_the_current_state_are_in_contact(long):
    """Out of contact is 6.9 A from the center, far beyond the noise at 4.5 A."""
    contact = binary_contacts(long.contacts.distances[:, long.is_hotspot]).any(axis=1)
    mine = np.flatnonzero(contact.any(axis=0))
    together = {
        tuple(mine[contact[long.states == k][:, mine].mean(axis=0) > 0.5]) for k in range(3)
    }
    assert len(together) == 3
    assert sorted(r for pair in together for r in pair) == sorted(mine)
    for k in range(3):
        assert (contact[long.states == k][:, mine].sum(axis=1) == 2).mean() > 0.99


@pytest.mark.parametrize("score", STATIC)
def test_scores_without_time_cannot_tell_hotspot_from_decoy(many, score):
    """Paired over 20 trajectories; a difference would show as p < 0.001."""
    means = [mean_by_role(table, planted, score) for planted, table in many]
    difference = [m["hotspot"] - m["decoy"] for m in means]
    assert stats.ttest_1samp(difference, 0).pvalue > 0.001
    assert np.mean(difference) == pytest.approx(0, abs=0.05 * np.mean([m["decoy"] for m in means]))


@pytest.mark.parametrize("score", STATIC)
def test_scores_without_time_cannot_find_the_hotspot_from_either_end(many, score):
    """AUROC over all atoms, averaged over trajectories: within 0.2 of guessing on both sides."""
    areas = [roc_auc_score(planted.is_hotspot, table[score]) for planted, table in many]
    assert 0.3 < np.mean(areas) < 0.7


def test_every_atom_fluctuates_alike(many):
    """0.15 A in three directions; 240 frames know it to 0.15 / sqrt(6 x 240) = 0.004 A."""
    for planted, _ in many:
        np.testing.assert_allclose(planted.rmsf, 0.15, atol=5 * 0.004)


def test_all_roles_have_two_contacts_per_atom_on_average(many):
    for role in ROLES:
        mean = np.mean([mean_by_role(t, p, "n_contacts")[role] for p, t in many])
        assert mean == pytest.approx(1.85, abs=0.15)


def test_a_linear_score_of_windows_finds_the_hotspot_but_not_in_a_null_trajectory():
    spread = {}
    for kind in ("hotspot", "null"):
        planted = planted_trajectory(seed=5, kind=kind)
        values = pca_spread(atom_windows(planted.contacts, window=16, stride=4))
        spread[kind] = [values[planted.fragment == ring].mean() for ring in range(len(ROLES))]
    anchor, hotspot = ROLES.index("anchor"), ROLES.index("hotspot")
    assert max(spread["hotspot"]) == spread["hotspot"][hotspot]
    assert spread["null"][hotspot] == pytest.approx(spread["null"][anchor], rel=0.5)
    assert spread["hotspot"][hotspot] > 5 * spread["null"][hotspot]


def test_null_trajectory_has_no_hotspot():
    planted = planted_trajectory(seed=1, kind="null")
    assert not planted.is_hotspot.any()
    assert set(planted.roles) == set(ROLES) - {"hotspot"}
    assert not planted.states.any()
    assert len(np.unique(planted.decoy_states)) == 3


def test_distances_are_those_of_a_contact_tensor():
    planted = planted_trajectory(seed=2, n_frames=50)
    contacts = planted.contacts
    assert contacts.distances.dtype == np.float32
    assert contacts.distances.shape == (50, 25, 30)
    assert np.isinf(contacts.distances[contacts.distances >= contacts.cutoff]).all()
    assert contacts.distances.min() > 2.0
    assert len(set(contacts.atom_names)) == 25
    assert len(set(contacts.residue_labels)) == 30
    assert planted.ligand_positions.shape == (50, 25, 3)


def test_atoms_of_a_ring_see_only_their_own_residues():
    planted = planted_trajectory(seed=2)
    near = np.isfinite(planted.contacts.distances).any(axis=0)
    seen_by = np.array([near[planted.fragment == ring].any(axis=0) for ring in range(5)])
    np.testing.assert_array_equal(seen_by.sum(axis=0), 1)


def test_trajectory_grows_with_the_dwell_time_and_repeats_with_its_seed():
    assert planted_trajectory(seed=0, dwell=25).contacts.n_frames == 240
    assert planted_trajectory(seed=0, dwell=80).contacts.n_frames == 400
    one, two, other = (planted_trajectory(seed=s, n_frames=30).contacts for s in (4, 4, 5))
    np.testing.assert_array_equal(one.distances, two.distances)
    assert not np.array_equal(one.distances, other.distances)


def test_shuffling_keeps_every_frame_and_forgets_their_order(long):
    shuffled = time_shuffle(long.contacts, seed=0)
    before, after = (
        np.sort(np.float64(c.distances)).min(axis=(1, 2)) for c in (long.contacts, shuffled)
    )
    np.testing.assert_array_equal(np.sort(before), np.sort(after))
    np.testing.assert_array_equal(shuffled.frames, long.contacts.frames)
    contact = binary_contacts(shuffled.distances[:, long.is_hotspot]).any(axis=1)
    changed = (contact[1:] != contact[:-1]).any(axis=1).mean()
    share = np.bincount(long.states) / len(long.states)
    assert changed == pytest.approx(1 - (share**2).sum(), abs=0.03)


def test_shuffling_keeps_frames_in_their_replica():
    contacts = planted_trajectory(seed=0, n_frames=60).contacts
    contacts = replace(contacts, replica=np.repeat([0, 1, 2], [10, 20, 30]))
    shuffled = time_shuffle(contacts, seed=1)
    for replica in range(3):
        before, after = (c.distances[c.replica == replica] for c in (contacts, shuffled))
        assert {f.tobytes() for f in before} == {f.tobytes() for f in after}
    assert not np.array_equal(contacts.distances, shuffled.distances)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hot"}, "kind='hot'.*hotspot, null"),
        ({"dwell": 0.5}, "dwell=0.5"),
        ({"dwell": float("nan")}, "dwell=nan"),
        ({"n_frames": 1}, "n_frames=1"),
    ],
)
def test_bad_requests_are_errors(options, message):
    with pytest.raises(ParameterError, match=message):
        planted_trajectory(seed=0, **options)
