"""The graph that labels diffuse on: normalization, word neighbors, 8-bit weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from labkit.errors import ParameterError
from labkit.spiking.citation import CitationGraph
from labkit.spiking.neighbors import (
    mixed_graph,
    normalized,
    quantized,
    unit_words,
    word_neighbors,
    words_of,
)


def random_graph(n=30, *, density=0.15, seed=0):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < density, 1)
    return sparse.csr_matrix((upper + upper.T).astype(np.int32))


def test_the_normalized_adjacency_keeps_the_square_roots_of_degrees():
    A = random_graph(density=0.3)
    roots = np.sqrt(A.sum(axis=1).A1)
    S = normalized(A)
    np.testing.assert_allclose(S @ roots, roots, rtol=1e-12)
    assert abs(np.linalg.eigvalsh(S.toarray())).max() == pytest.approx(1.0)
    np.testing.assert_allclose(S.toarray(), S.toarray().T)


def test_papers_without_citations_keep_empty_rows():
    A = sparse.csr_matrix(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(normalized(A).toarray()[2], 0)
    np.testing.assert_array_equal(normalized(A, self_loops=True).toarray()[2], [0, 0, 1])


@pytest.mark.parametrize("knn", [1, 4, 9])
def test_word_neighbors_are_those_that_scikit_learn_finds(knn):
    """Continuous values do not tie, so that both have to agree on every neighbor."""
    rows = np.random.default_rng(1).random((40, 12)) ** 3
    theirs = NearestNeighbors(n_neighbors=knn + 1, metric="cosine").fit(rows)
    distances, ids = theirs.kneighbors(rows)
    expected = np.zeros((40, 40))
    for i in range(40):
        others = ids[i] != i
        expected[i, ids[i][others][:knn]] = 1 - distances[i][others][:knn]
    expected = np.maximum(expected, expected.T)
    np.testing.assert_allclose(word_neighbors(sparse.csr_matrix(rows), knn).toarray(), expected)


def test_ties_go_to_the_lower_paper():
    words = sparse.csr_matrix(np.ones((5, 2)))
    directed_to = [1, 0, 0, 0, 0]
    expected = np.zeros((5, 5))
    expected[np.arange(5), directed_to] = 1
    np.testing.assert_array_equal(
        word_neighbors(words, 1).toarray(), np.maximum(expected, expected.T)
    )


def test_papers_that_share_no_word_are_not_joined():
    words = sparse.csr_matrix(np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]))
    found = word_neighbors(words, 3)
    assert found.nnz == 2
    assert found[0, 1] == found[1, 0] == 1


def test_neighbors_do_not_depend_on_how_many_rows_are_compared_at_once(monkeypatch):
    words = sparse.random_array((70, 25), density=0.2, rng=np.random.default_rng(2)) != 0
    whole = word_neighbors(sparse.csr_matrix(words), 6)
    monkeypatch.setattr("labkit.spiking.neighbors.ROWS_AT_ONCE", 7)
    assert (whole != word_neighbors(sparse.csr_matrix(words), 6)).nnz == 0


def test_whole_weights_are_within_half_a_step_of_the_real_ones():
    G = normalized(random_graph())
    W = quantized(G)
    assert abs(W / 255 - G).max() <= 0.5 / 255 + 1e-12
    assert W.data.min() >= 1
    assert W.data.max() <= 255


def small(features):
    return CitationGraph(
        name="small",
        edges=np.array([[0, 1, 2], [1, 2, 3]]),
        labels=np.array([0, 0, 1, 1]),
        topics=("left", "right"),
        features=features,
        train=np.array([0, 3]),
        validation=np.array([1]),
        test=np.array([2]),
    )


def test_the_mixture_is_the_citations_at_one_and_the_words_at_zero():
    graph = small(sparse.csr_matrix(np.array([[3, 0], [1, 1], [0, 2], [0, 1]])))
    neighbors = word_neighbors(words_of(graph), 2)
    at = {mix: mixed_graph(graph, mix=mix, neighbors=neighbors).toarray() for mix in (0, 0.3, 1)}
    np.testing.assert_allclose(at[1], normalized(graph.adjacency()).toarray())
    np.testing.assert_allclose(at[0], normalized(neighbors).toarray())
    np.testing.assert_allclose(at[0.3], 0.3 * at[1] + 0.7 * at[0])


def test_words_are_counted_as_present_and_scaled_to_length_one():
    graph = small(sparse.csr_matrix(np.array([[3, 0], [1, 1], [0, 0], [0, 1]])))
    np.testing.assert_array_equal(words_of(graph).toarray(), [[1, 0], [1, 1], [0, 0], [0, 1]])
    lengths = np.linalg.norm(unit_words(graph).toarray(), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0, 1])


def test_a_graph_without_words_says_what_still_works():
    with pytest.raises(ParameterError, match=r"'small' has no words.*knn=0"):
        words_of(small(None))
