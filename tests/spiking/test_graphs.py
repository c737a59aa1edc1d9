"""Citation graphs hold what their sources hold, and refuse what does not fit together."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from labkit.errors import MissingDataError, ParameterError
from labkit.spiking.citation import CitationGraph, unique_edges
from labkit.spiking.graphs import GRAPHS, linqs_split, load_citation_graph
from labkit.spiking.linqs import number_by_appearance
from labkit.spiking.planetoid import load_pickle

PARTS = {
    "edges": np.array([[0, 1, 2, 4], [1, 2, 3, 5]]),
    "labels": np.array([0, 0, 1, 1, 0, -1, 1]),
    "topics": ("left", "right"),
    "features": None,
    "train": np.array([0, 3]),
    "validation": np.array([1]),
    "test": np.array([2, 4]),
}
DIGEST = """
import hashlib
from labkit.spiking.graphs import load_citation_graph
digest = hashlib.sha256()
for graph in (load_citation_graph("simulated"), load_citation_graph("simulated", split="linqs")):
    for part in (graph.edges, graph.labels, graph.features.indices, graph.train, graph.validation):
        digest.update(part.tobytes())
print(digest.hexdigest())
"""


def small(**changes) -> CitationGraph:
    """Two components, one paper on its own, one topic unknown; with some parts replaced."""
    return CitationGraph(name="small", **{**PARTS, **changes})


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # Table 1 of Yang et al., ICML 2016; citations counted once for each pair of papers.
        ("cora", (2708, 5278, 7, 140)),
        ("citeseer", (3327, 4552, 6, 120)),
        ("pubmed", (19717, 44324, 3, 60)),
    ],
)
def test_planetoid_files_hold_the_graph_of_an_independent_reading(labkit_data, name, sizes):
    graph = load_citation_graph(name)
    stored = np.load(labkit_data / "spiking" / "npz" / f"{name}.npz")
    assert (graph.n_papers, graph.n_edges, graph.n_topics, len(graph.train)) == sizes
    assert np.array_equal(graph.edges, stored["E"])
    assert np.array_equal(graph.labels, stored["y"])
    for part, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert np.array_equal(getattr(graph, part), stored[key])
    if name == "pubmed":
        assert graph.features is None
        assert "words are left out" in graph.notes[0]
    else:
        words = sparse.csr_matrix((stored["xd"], stored["xi"], stored["xp"]), stored["xs"])
        assert (graph.features != words).nnz == 0
        assert graph.features.dtype == np.float32


@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_public_split_has_20_training_papers_of_each_topic_and_no_unknown_topics(labkit_data, name):
    graph = load_citation_graph(name)
    assert np.bincount(graph.labels[graph.train]).tolist() == [20] * graph.n_topics
    assert (len(graph.validation), len(graph.test)) == (500, 1000)
    for part in (graph.train, graph.validation, graph.test):
        assert graph.labels[part].min() >= 0


def test_papers_of_citeseer_without_a_topic_are_the_gaps_in_the_test_numbers(labkit_data):
    graph = load_citation_graph("citeseer")
    unknown = np.flatnonzero(graph.labels < 0)
    gaps = np.setdiff1d(np.arange(graph.test.min(), graph.n_papers), graph.test)
    assert len(unknown) == 15
    assert np.array_equal(unknown, gaps)
    assert np.array_equal(unknown, np.flatnonzero(np.diff(graph.features.indptr) == 0))


def test_both_sources_of_cora_hold_the_same_papers_under_the_same_topic_names(labkit_data):
    public, linqs = (load_citation_graph("cora", split=split) for split in ("planetoid", "linqs"))

    def described(graph: CitationGraph) -> Counter:
        """Topic, degree and sorted topics of the neighbors of each paper: free of numbering."""
        names = np.array(graph.topics)[graph.labels]
        rows = graph.adjacency()
        around = (tuple(sorted(names[rows[paper].indices])) for paper in range(graph.n_papers))
        return Counter(zip(names.tolist(), graph.degrees.tolist(), around, strict=True))

    assert described(public) == described(linqs)


def test_topic_names_of_citeseer_are_those_of_its_class_sizes(labkit_data):
    # Class sizes of the LINQS files, Sen et al., AI Magazine 29 (2008) 93-106.
    sizes = {"AI": 249, "ML": 590, "IR": 668, "DB": 701, "Agents": 596, "HCI": 508}
    graph = load_citation_graph("citeseer")
    counts = np.bincount(graph.labels[graph.labels >= 0])
    assert dict(zip(graph.topics, counts.tolist(), strict=True)) == sizes


def test_linqs_split_of_cora_numbers_topics_by_first_appearance_and_leaves_2428_for_testing(
    labkit_data,
):
    lines = (labkit_data / "spiking/linqs/cora_group-edges.csv").read_text().split()
    names = [line.split(",")[1] for line in lines]
    graph = load_citation_graph("cora", split="linqs", seed=2)
    assert graph.topics == tuple(dict.fromkeys(names))
    assert [graph.topics[label] for label in graph.labels] == names
    assert (len(graph.train), len(graph.validation), len(graph.test)) == (140, 140, 2428)
    assert graph.split == "linqs, seed 2"


def test_microseer_has_84_papers_and_says_which_topic_cannot_be_found(labkit_data):
    graph = load_citation_graph("microseer")
    assert (graph.n_papers, graph.n_edges, graph.n_topics) == (84, 84, 6)
    assert (len(graph.train), len(graph.validation), len(graph.test)) == (17, 0, 67)
    assert graph.features.shape == (84, 3703)
    assert graph.untrained == ("AI",)
    assert np.sum(graph.labels == graph.topics.index("AI")) == 3


def test_file_that_is_not_the_registered_one_is_not_read(tmp_path, monkeypatch):
    folder = tmp_path / "spiking" / "planetoid"
    folder.mkdir(parents=True)
    (folder / "ind.cora.y").write_bytes(b"something else")
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="is not the registered spiking/planetoid_cora_y"):
        load_citation_graph("cora")


def test_pickle_that_would_call_a_function_is_refused_before_it_is_called(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the pickle"),)

    file = tmp_path / "ind.cora.graph"
    file.write_bytes(pickle.dumps({0: [Malicious()]}, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match=r"asks for posix\.mkdir"):
        load_pickle(file)
    assert not (tmp_path / "made by the pickle").exists()


@pytest.mark.parametrize("seed", range(6))
def test_random_split_keeps_the_first_usable_draws_of_one_stream(seed):
    labels = np.random.default_rng(seed).integers(0, 4, 300)
    split = linqs_split(labels, n_topics=4, per_topic=7, seed=seed)
    stream = np.random.RandomState(seed).randint(300, size=20_000).tolist()
    taken: list[int] = []
    for part in (split.train, split.validation):
        room, chosen = Counter(dict.fromkeys(range(4), 7)), []
        while room.total():
            paper = stream.pop(0)
            if paper not in taken and room[labels[paper]]:
                room[labels[paper]] -= 1
                chosen.append(paper)
                taken.append(paper)
        assert sorted(chosen) == part.tolist()
    assert sorted(taken + split.test.tolist()) == list(range(300))


def test_random_split_never_holds_papers_without_a_topic():
    labels = np.tile([0, 1, -1], 30)
    split = linqs_split(labels, n_topics=2, per_topic=3, per_topic_validation=2, seed=1)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [6, 4, 50]
    for part in (split.train, split.validation, split.test):
        assert (labels[part] >= 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_topic": 4}, r"topic 1 has 6 papers, too few for per_topic=4 training and 4"),
        ({"per_topic": 0}, "per_topic=0"),
        ({"seed": -1}, "seed=-1 is out of range; give 0 to 4294967295"),
        ({"n_topics": 1}, "labels runs to 1; n_topics=1 is too small"),
    ],
)
def test_random_split_that_cannot_be_drawn_says_why(changes, message):
    labels = np.repeat([0, 1], [10, 6])
    with pytest.raises(ParameterError, match=message):
        linqs_split(labels, **{"n_topics": 2, "per_topic": 3, "seed": 0, **changes})


def test_topics_are_numbered_by_first_appearance_whatever_their_names():
    labels, topics = number_by_appearance(["z", "a", "z", "m"])
    assert labels.tolist() == [0, 1, 0, 2]
    assert topics == ("z", "a", "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": np.array([[1], [0]])}, "first paper is not the lower one"),
        ({"edges": np.array([[2], [2]])}, "first paper is not the lower one"),
        ({"edges": np.array([[0, 0], [1, 1]])}, "edges holds a citation twice"),
        ({"edges": np.array([[0], [7]])}, "edges names paper 7; papers are 0 to 6"),
        ({"edges": np.array([0, 1])}, r"edges has shape \(2,\); give \(2, n_edges\)"),
        ({"edges": np.array([[0.0], [1.0]])}, "edges holds float64 values"),
        ({"labels": np.array([0, 0, 2, 1, 0, -1, 1])}, "labels runs from -1 to 2"),
        ({"train": np.array([0])}, "topic 'right' has no paper in train, so it can never be found"),
        ({"train": np.array([0, 3, 5])}, "train holds paper 5, whose topic is unknown"),
        ({"test": np.array([1, 2])}, "paper 1 is in train, validation and test more than once"),
        ({"test": np.array([2, 2])}, "paper 2 is in train, validation and test more than once"),
        ({"test": np.array([-1])}, "test names paper -1; papers are 0 to 6"),
        ({"features": sparse.eye(3)}, "features has 3 rows for 7 papers"),
        ({"features": np.diag([1, 1, np.nan, 1, 1, 1, 1])}, "features holds nan for paper 2; give"),
        ({"features": np.diag([1, 1, 1, 1, 1, 1, np.inf])}, "features holds inf for paper 6; give"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        small(**changes)


def test_topic_without_training_papers_is_accepted_where_it_is_declared():
    graph = small(train=np.array([0]), untrained=("right",))
    assert graph.untrained == ("right",)


def test_adjacency_is_symmetric_with_one_entry_for_each_direction():
    graph = small()
    matrix = graph.adjacency()
    assert matrix.dtype == np.int32
    assert matrix.nnz == 2 * graph.n_edges
    assert (matrix != matrix.T).nnz == 0
    assert not matrix.diagonal().any()
    assert np.array_equal(np.asarray(matrix.sum(axis=1)).ravel(), graph.degrees)
    assert graph.adjacency() is matrix


def test_other_papers_are_all_but_the_training_papers():
    assert small().other.tolist() == [1, 2, 4, 5, 6]


@pytest.mark.parametrize("seed", [0, 1])
def test_hops_are_shortest_path_lengths_of_networkx(seed):
    graph = load_citation_graph("simulated", seed=seed)
    network = nx.Graph(graph.edges.T.tolist())
    lengths = nx.multi_source_dijkstra_path_length(network, set(graph.train.tolist()))
    expected = [lengths.get(paper, -1) for paper in range(graph.n_papers)]
    assert graph.hops_to_labels().tolist() == expected


def test_hops_are_minus_one_where_no_source_can_be_reached():
    assert small().hops_to_labels(np.array([1])).tolist() == [1, 0, 1, 2, -1, -1, -1]
    assert small().hops_to_labels(np.array([], dtype=int)).tolist() == [-1] * 7


def test_other_labels_or_another_split_leave_the_rest_as_it_is():
    graph = small()
    hidden = graph.labels.copy()
    hidden[graph.test] = -1
    changed = graph.with_labels(hidden)
    assert np.array_equal(changed.edges, graph.edges)
    assert changed.labels.tolist() == [0, 0, -1, 1, -1, -1, 1]
    moved = graph.with_split(np.array([1, 2]), np.array([0]), np.array([3]), split="mine")
    assert (moved.train.tolist(), moved.split) == ([1, 2], "mine")
    assert np.array_equal(moved.labels, graph.labels)
    with pytest.raises(ParameterError, match="no paper in train"):
        graph.with_split(np.array([1]), np.array([0]), np.array([3]))


def test_unique_edges_forgets_direction_repetition_and_papers_that_cite_themselves():
    pairs = np.array([[0, 1, 1, 2, 5], [1, 0, 0, 2, 3]])
    assert unique_edges(pairs).tolist() == [[0, 3], [1, 5]]
    assert unique_edges(np.empty((2, 0), dtype=int)).shape == (2, 0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"name": "coral"}, "name='coral' is not allowed; .*Did you mean 'cora'?"),
        ({"name": "simulated", "split": "lings"}, "split='lings' .*Did you mean 'linqs'?"),
    ],
)
def test_unknown_graph_or_split_is_answered_with_what_exists(choice, message):
    with pytest.raises(ParameterError, match=message):
        load_citation_graph(**choice)


@pytest.mark.parametrize("name", [name for name in GRAPHS if name not in ("simulated", "cora")])
def test_random_split_of_other_graphs_says_that_it_is_over_their_own_order(labkit_data, name):
    if name == "microseer":
        with pytest.raises(ParameterError, match="topic 5 has 3 papers, too few"):
            load_citation_graph(name, split="linqs")
        return
    graph = load_citation_graph(name, split="linqs", seed=1)
    assert len(graph.train) == len(graph.validation) == 20 * graph.n_topics
    assert len(graph.other) - np.sum(graph.labels < 0) == len(graph.validation) + len(graph.test)
    assert "own order" in graph.notes[-1]


def test_graphs_do_not_depend_on_the_hash_seed_and_need_no_heavy_library():
    script = f"{DIGEST}import sys; print(*{{'torch', 'numba', 'optuna'}}.intersection(sys.modules))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].split()[1:] == []
