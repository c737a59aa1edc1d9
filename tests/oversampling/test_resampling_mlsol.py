"""MLSOL against plain loops: types, seeds, positions and labels of the synthetic rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labkit.errors import ParameterError
from labkit.oversampling.resampling import MLSOL

NAN = float("nan")
SEEDS = st.integers(0, 2**31 - 1)
TYPES = ["majority", "safe", "borderline", "rare", "outlier"]
THETA = {"safe": 0.5, "borderline": 0.75, "rare": 1.00001, "outlier": -0.00001}

pytestmark = pytest.mark.filterwarnings("ignore:MLSOL adds no row:UserWarning")


@st.composite
def labels_and_features(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, q = draw(st.integers(2, 14)), draw(st.integers(1, 4))
    Y = draw(
        arrays(float, (n, q), elements=st.sampled_from([0.0, 0.0, 1.0, NAN]), fill=st.nothing())
    )
    Y[0, 0] = 1.0
    X = draw(arrays(np.int64, (n, 2), elements=st.integers(0, 4), fill=st.nothing()))
    return X, Y


def neighbors_of(X: np.ndarray, k: int) -> list[list[int]]:
    lists = []
    for i in range(len(X)):
        squared = sorted((int(((X[i] - X[j]) ** 2).sum()), j) for j in range(len(X)) if j != i)
        lists.append([j for _, j in squared[:k]])
    return lists


def local_view(
    Y: np.ndarray, neighbors: list[list[int]]
) -> tuple[list[int], np.ndarray, list[list[str]]]:
    """Rarer value of each label, C (nan where not rare), and the types, by the definitions."""
    n, q = Y.shape
    rare = [1 if (Y[:, j] == 1).sum() <= (Y[:, j] == 0).sum() else 0 for j in range(q)]
    C = np.full((n, q), NAN)
    types = [["majority"] * q for _ in range(n)]
    for i in range(n):
        for j in range(q):
            if Y[i, j] != rare[j]:
                continue
            known = [Y[m, j] for m in neighbors[i] if not np.isnan(Y[m, j])]
            C[i, j] = sum(value != rare[j] for value in known) / len(known) if known else 0.0
            types[i][j] = (
                "safe"
                if C[i, j] < 0.3
                else "borderline"
                if C[i, j] < 0.7
                else "rare"
                if C[i, j] < 1
                else "outlier"
            )
    changed = True
    while changed:
        changed = False
        for i in range(n):
            for j in range(q):
                near = {types[m][j] for m in neighbors[i]}
                if types[i][j] == "rare" and near & {"safe", "borderline"}:
                    types[i][j] = "borderline"
                    changed = True
    return rare, C, types


def seed_weights(C: np.ndarray) -> np.ndarray:
    weights = np.zeros(len(C))
    for j in range(C.shape[1]):
        inside = {i: C[i, j] for i in range(len(C)) if C[i, j] < 1}
        total = sum(inside.values())
        for i, share in inside.items():
            weights[i] += share / total if total else 0.0
    return weights


def label_between(a: float, b: float, rare: int, type_a: str, type_b: str, cd: float) -> float:
    """Label of a row at relative distance cd from parent a; the rule of the paper's algorithm."""
    if np.isnan(a) or np.isnan(b):
        return b if np.isnan(a) else a
    if a == b:
        return a
    if a != rare:
        a, b, type_a, cd = b, a, type_b, 1 - cd
    return a if cd <= THETA[type_a] else b


def check_every_row(sampler: MLSOL, X: np.ndarray, Y: np.ndarray) -> None:
    """Fit, then explain types, seeds, partners, positions and labels from the definitions."""
    n = len(X)
    X_new, Y_new = sampler.fit_resample(X, Y)
    neighbors = neighbors_of(X, sampler.k_neighbors)
    rare, C, types = local_view(Y, neighbors)
    assert [[TYPES[t] for t in row] for row in sampler.row_types_] == types
    weights = seed_weights(C)
    assert len(X_new) == n + (int(sampler.P * n + 1e-9) if weights.any() else 0)
    np.testing.assert_array_equal(Y_new[:n], Y)
    for row in range(n, len(X_new)):
        a, b = sampler.seed_indices_[row], sampler.neighbor_indices_[row]
        assert weights[a] > 0
        assert b in neighbors[a]
        weight = sampler.interpolation_weights_[row]
        np.testing.assert_allclose(X_new[row], X[a] + weight * (X[b] - X[a]), atol=1e-9)
        from_a = np.linalg.norm(X_new[row] - X[a])
        from_b = np.linalg.norm(X_new[row] - X[b])
        cd = from_a / (from_a + from_b) if from_a + from_b else 0.5
        if from_a + from_b and min(abs(cd - limit) for limit in (0.25, 0.5, 0.75)) < 1e-9:
            continue  # On the limit, rounding of this recomputed distance decides.
        for j in range(Y.shape[1]):
            expected = label_between(Y[a, j], Y[b, j], rare[j], types[a][j], types[b][j], cd)
            np.testing.assert_equal(Y_new[row, j], expected)


@settings(deadline=None, max_examples=100)
@given(labels_and_features(), st.integers(1, 6), SEEDS, st.sampled_from(["line", "box"]))
def test_every_row_is_explained_by_the_published_rules(data, k, seed, interpolation) -> None:
    X, Y = data
    check_every_row(
        MLSOL(P=0.8, k_neighbors=k, interpolation=interpolation, random_state=seed), X, Y
    )


@pytest.mark.parametrize("k", [3, 4, 5, 7, 10])
@pytest.mark.parametrize("interpolation", ["line", "box"])
def test_every_row_of_a_larger_set_is_explained(k: int, interpolation: str) -> None:
    # Clusters of positives of several sizes give all five types, and rare ones next to safe ones.
    rng = np.random.default_rng(k)
    X = rng.integers(0, 12, size=(90, 2))
    inside = [np.linalg.norm(X - center, axis=1) for center in ([2, 2], [8, 3], [5, 9])]
    Y = np.column_stack([distance < size for distance, size in zip(inside, (4, 3, 2), strict=True)])
    Y = (Y ^ (rng.random(Y.shape) < 0.12)).astype(float)
    Y[rng.random(Y.shape) < 0.05] = NAN
    sampler = MLSOL(P=8, k_neighbors=k, interpolation=interpolation, random_state=0)
    check_every_row(sampler, X, Y)
    assert len(np.unique(sampler.row_types_)) >= 4


def test_seeds_are_drawn_in_proportion_to_their_weight() -> None:
    rng = np.random.default_rng(4)
    X = rng.integers(0, 5, size=(12, 2))
    Y = (rng.random((12, 3)) < [0.4, 0.3, 0.25]).astype(float)
    weights = seed_weights(local_view(Y, neighbors_of(X, 3))[1])
    sampler = MLSOL(P=1000, k_neighbors=3, random_state=0)
    sampler.fit_resample(X, Y)
    share = np.bincount(sampler.seed_indices_[12:], minlength=12) / 12000
    # Standard deviation of a share is at most 0.5 / sqrt(12000) = 0.0046; five of them.
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.023)


def test_a_safe_row_passes_its_label_on_to_the_middle_and_a_rare_one_all_the_way() -> None:
    rare, safe = "rare", "safe"
    assert label_between(1, 0, 1, safe, "majority", 0.49) == 1
    assert label_between(1, 0, 1, safe, "majority", 0.51) == 0
    assert label_between(1, 0, 1, rare, "majority", 1.0) == 1
    assert label_between(0, 1, 1, "majority", rare, 0.0) == 1
    # One positive row whose neighbors are all negative is an outlier and is never a seed; two
    # positives that see each other among three neighbors are borderline: 2 of 3 opposite.
    X = np.array([[0.0], [0.1], [1.0], [1.1], [9.0], [9.1], [9.2], [9.3]])
    Y = np.array([[1], [1], [0], [0], [0], [1], [0], [0]])
    sampler = MLSOL(P=50, k_neighbors=3, random_state=0)
    _, Y_new = sampler.fit_resample(X, Y)
    assert [TYPES[t] for t in sampler.row_types_[[0, 1, 5], 0]] == [
        "borderline",
        "borderline",
        "outlier",
    ]
    made = np.arange(8, len(Y_new))
    assert set(sampler.seed_indices_[made]) == {0, 1}
    far = made[sampler.neighbor_indices_[made] > 1]
    expected = sampler.interpolation_weights_[far] <= 0.75
    np.testing.assert_array_equal(Y_new[far, 0], expected)


def test_no_local_imbalance_adds_no_row_and_says_so() -> None:
    Y = np.array([[1, 0]] * 5 + [[0, 1]] * 5)
    X = np.repeat([[0.0], [9.0]], 5, axis=0)
    with pytest.warns(UserWarning, match="MLSOL adds no row"):
        X_new, _ = MLSOL(k_neighbors=2, random_state=0).fit_resample(X, Y)
    assert len(X_new) == 10


def test_bad_parameters_are_named() -> None:
    X, Y = np.zeros((3, 1)), np.array([[1, 0], [0, 1], [1, 1]])
    with pytest.raises(ParameterError, match="P=-1 is not allowed for MLSOL"):
        MLSOL(P=-1).fit_resample(X, Y)
    with pytest.raises(ParameterError, match="two or more"):
        MLSOL().fit_resample(X[:1], Y[:1])
