"""Choosing settings: validation papers decide, test papers have no say."""

from __future__ import annotations

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from labkit.errors import ParameterError
from labkit.spiking.diffusion import SpikingLabelDiffusion
from labkit.spiking.diffusion_parameters import DiffusionParameters
from labkit.spiking.graphs import load_citation_graph
from labkit.spiking.selection import select_parameters
from labkit.spiking.simulated import simulated_citation_graph

GRID = {"vth": [40, 90], "knn": [10], "mix": [0.3, 0.8], "steps": [12, 5]}


@pytest.fixture(scope="module")
def graph():
    return simulated_citation_graph(
        n_papers=700, n_edges=1400, n_words=300, n_validation=200, n_test=300, seed=4
    )


@pytest.fixture(scope="module")
def selection(graph):
    return select_parameters(graph, GRID)


def scrambled(graph, seed):
    """The same graph with random topics for its test papers."""
    labels = graph.labels.copy()
    rng = np.random.default_rng(seed)
    labels[graph.test] = rng.integers(graph.n_topics, size=len(graph.test))
    return graph.with_labels(labels)


@pytest.mark.parametrize("readout", [None, "sgc"])
def test_scrambled_test_labels_change_neither_settings_nor_scores(graph, readout):
    base = DiffusionParameters(readout=readout)
    found = select_parameters(graph, GRID, base=base)
    other = scrambled(graph, 0)
    again = select_parameters(other, GRID, base=base)
    assert again.chosen == found.chosen
    assert_frame_equal(again.table, found.table)
    scores = [
        SpikingLabelDiffusion(s.chosen).fit(g).scores for s, g in ((found, graph), (again, other))
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.usefixtures("labkit_data")
def test_scrambled_test_labels_of_cora_change_no_setting():
    cora = load_citation_graph("cora")
    grid = {"vth": (60, 180), "word_hops": (0, 1), "steps": (20,)}
    found = select_parameters(cora, grid)
    for seed in (1, 2):
        assert_frame_equal(select_parameters(scrambled(cora, seed), grid).table, found.table)


def test_runs_that_share_steps_give_what_single_runs_give(graph, selection):
    assert len(selection.table) == 8
    for row in selection.table.itertuples():
        point = DiffusionParameters(vth=row.vth, knn=row.knn, mix=row.mix, steps=row.steps)
        fitted = SpikingLabelDiffusion(point).fit(graph)
        assert row.validation == fitted.accuracy(graph.validation)
        assert row.spikes == fitted.spike_counts.sum()


def test_the_first_of_the_best_is_chosen(graph, selection):
    best = selection.table["validation"].idxmax()
    row = selection.table.loc[best]
    assert selection.validation == row["validation"] == selection.table["validation"].max()
    assert selection.chosen.vth == row["vth"]
    assert selection.chosen.steps == row["steps"]
    single = select_parameters(graph, {"steps": [40, 40], "knn": [0]})
    assert single.chosen == DiffusionParameters(steps=40, knn=0)


def test_a_part_of_the_grid_is_drawn_by_its_seed(graph, selection):
    part = select_parameters(graph, GRID, n_points=3, seed=1).table
    assert_frame_equal(part, select_parameters(graph, GRID, n_points=3, seed=1).table)
    merged = part.merge(selection.table)
    assert len(merged) == len(part) == 3
    everything = select_parameters(graph, GRID, n_points=99, seed=1).table
    assert_frame_equal(everything, selection.table)


@pytest.mark.parametrize("n_points", [0, -1, "1", True, 1.5])
def test_a_part_of_the_grid_has_a_point_or_more(graph, n_points):
    with pytest.raises(ParameterError, match=f"n_points={n_points!r}: use a whole number of 1"):
        select_parameters(graph, GRID, n_points=n_points)


def test_other_arguments_of_a_search_are_named(graph):
    with pytest.raises(ParameterError, match="seed='a': use a whole number"):
        select_parameters(graph, GRID, n_points=1, seed="a")
    with pytest.raises(ParameterError, match="base is of type dict; use DiffusionParameters"):
        select_parameters(graph, GRID, base={})


def test_grids_that_cannot_be_searched_are_named(graph):
    with pytest.raises(ParameterError, match="'threshold' is no choice"):
        select_parameters(graph, {"threshold": [3]})
    with pytest.raises(ParameterError, match=r"grid\['vth'\] is empty"):
        select_parameters(graph, {"vth": []})
    with pytest.raises(ParameterError, match=r"grid\['vth'\]=3: give a list .* \[3\]"):
        select_parameters(graph, {"vth": 3})
    with pytest.raises(ParameterError, match=r"grid\['readout'\]='sgc': give a list"):
        select_parameters(graph, {"readout": "sgc"})
    with pytest.raises(ParameterError, match="grid is of type list; give a dict"):
        select_parameters(graph, [3])
    with pytest.raises(ParameterError, match="mix=2 is not allowed"):
        select_parameters(graph, {"mix": [2]})
    without = graph.with_split(graph.train, np.array([], dtype=int), graph.test)
    with pytest.raises(ParameterError, match="no validation papers"):
        select_parameters(without, GRID)
