"""AUROC of few atoms: against scikit-learn, a closed form, coverage, and exact enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import roc_auc_score

from labkit.errors import ParameterError
from labkit.hotspots.validation.auroc import (
    auroc,
    auroc_interval,
    patches,
    permutation_p,
    permutations,
)


def chain(n):
    """Bonds of a straight chain."""
    bonds = np.zeros((n, n), dtype=bool)
    i = np.arange(n - 1)
    bonds[i, i + 1] = bonds[i + 1, i] = True
    return bonds


def pieces(sites, bonds):
    """Sizes of the connected pieces of a site set, largest first."""
    _, label = connected_components(bonds[np.ix_(sites, sites)])
    return sorted(np.bincount(label), reverse=True)


def test_area_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 6, 25).astype(float)
        sites = rng.permutation(np.arange(25) < rng.integers(1, 25))
        assert auroc(values, sites) == pytest.approx(roc_auc_score(sites, values))


def test_many_site_sets_at_once_equal_one_at_a_time():
    rng = np.random.default_rng(1)
    values, sets = rng.normal(size=12), permutations(np.arange(12) < 4, 30, rng)
    np.testing.assert_allclose(auroc(values, sets), [auroc(values, one) for one in sets])


def test_turning_the_score_around_mirrors_the_area():
    rng = np.random.default_rng(2)
    values, sites = rng.normal(size=20), np.arange(20) < 5
    assert auroc(-values, sites) == pytest.approx(1 - auroc(values, sites))


def test_area_is_nan_where_there_is_nothing_to_compare():
    values = np.arange(4.0)
    sets = np.array([[True] * 4, [False] * 4, [True, False, False, False]])
    np.testing.assert_array_equal(auroc(values, sets), [np.nan, np.nan, 0.0])
    assert np.isnan(auroc(np.array([1.0, np.nan]), np.array([True, False])))
    assert np.isnan(auroc_interval(np.nan, 2, 3)).all()


@pytest.mark.parametrize("area", [0.1, 0.5, 0.84, 0.999])
def test_ends_of_the_interval_solve_newcombes_equation(area):
    """Written with the Hanley-McNeil quantities Q1 and Q2, in which the paper states it."""
    m, n, z = 5, 16, stats.norm.ppf(0.975)
    half = (m + n) / 2 - 1
    for theta in auroc_interval(area, m, n):
        q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        variance = theta * (1 - theta) + half * (q1 - theta**2) + half * (q2 - theta**2)
        assert (area - theta) ** 2 == pytest.approx(z**2 * variance / (m * n), rel=1e-5)


def test_interval_of_a_perfect_score_has_width_and_mirrors():
    low, high = auroc_interval(1.0, 2, 19)
    assert low < 0.7
    assert high == 1
    assert auroc_interval(0.0, 2, 19) == pytest.approx((1 - high, 1 - low))
    assert auroc_interval(1.0, 20, 190)[0] > low


@pytest.mark.parametrize(("n_sites", "shift"), [(2, 0.0), (2, 1.0), (5, 0.5), (8, 2.0)])
def test_intervals_cover_the_true_area_as_often_as_they_say(n_sites, shift):
    """Normal scores, 22 atoms, 400 experiments: the binomial sd is 1.1 %, so 95 - 3.5 % at least.

    The true area is Phi(shift / sqrt(2)). A percentile bootstrap over atoms covers 76 % in the
    first two cases.
    """
    rng = np.random.default_rng(n_sites)
    sites = np.arange(22) < n_sites
    truth, covered = stats.norm.cdf(shift / np.sqrt(2)), 0
    for _ in range(400):
        area = float(auroc(rng.normal(size=22) + shift * sites, sites))
        low, high = auroc_interval(area, n_sites, 22 - n_sites)
        covered += low <= truth <= high
    assert covered / 400 > 0.915


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ParameterError, match=f"confidence={confidence}"):
        auroc_interval(0.7, 3, 5, confidence=confidence)


def test_p_value_agrees_with_enumerating_all_site_sets():
    """All 120 sets of 3 in 10; 4,000 draws know p to 3 x sqrt(p / 4000)."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=10)
    sites = np.isin(np.arange(10), np.argsort(values)[[9, 8, 4]])
    every = np.array([np.isin(np.arange(10), chosen) for chosen in combinations(range(10), 3)])
    observed = abs(auroc(values, sites) - 0.5)
    exact = (np.abs(auroc(values, every) - 0.5) >= observed - 1e-12).mean()
    found = permutation_p(values, sites, permutations(sites, 4000, rng))
    assert found == pytest.approx(exact, abs=3 * np.sqrt(exact / 4000))


def test_p_value_is_two_sided_and_never_zero():
    values, sites = np.arange(30.0), np.arange(30) >= 20
    drawn = permutations(sites, 99, np.random.default_rng(0))
    assert permutation_p(values, sites, drawn) == 0.01
    assert permutation_p(-values, sites, drawn) == 0.01
    assert permutation_p(np.ones(30), sites, drawn) == 1
    assert np.isnan(permutation_p(np.full(30, np.nan), sites, drawn))


def test_patches_have_pieces_as_large_as_the_sites():
    bonds = chain(15)
    bonds[0, 14] = bonds[14, 0] = True
    sites = np.isin(np.arange(15), [1, 2, 3, 4, 9])
    drawn = patches(sites, bonds, 300, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 5).all()
    apart = [pieces(one, bonds) for one in drawn]
    assert {tuple(sizes) for sizes in apart} == {(4, 1), (5,)}
    assert drawn.any(axis=0).all()


def test_patches_find_room_where_a_piece_can_be_placed_in_few_ways():
    """Half of a chain of six: a start in the middle may leave no room and is drawn anew."""
    sites = np.array([True, True, True, False, True, True])
    drawn = patches(sites, chain(6), 50, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 5).all()


def test_neighbors_that_score_alike_do_not_count_as_many_atoms():
    """Scores smooth along a chain, a random patch as sites: p is uniform for patches only."""
    rng, rejected = np.random.default_rng(4), np.zeros(2)
    bonds = chain(24)
    for _ in range(150):
        values = np.convolve(rng.normal(size=32), np.ones(9), mode="valid")
        sites = patches(np.arange(24) < 6, bonds, 1, rng)[0]
        free, grown = permutations(sites, 99, rng), patches(sites, bonds, 99, rng)
        rejected += [permutation_p(values, sites, drawn) <= 0.05 for drawn in (free, grown)]
    assert rejected[0] / 150 > 0.15
    assert rejected[1] / 150 < 0.11  # 5 % + 3 binomial sd
