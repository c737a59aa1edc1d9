"""Labels are different for different atoms and residues, and say where a residue is."""

from __future__ import annotations

import MDAnalysis as mda
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.hotspots.labels import residue_labels, unique_names

NAMES = st.lists(st.sampled_from(["C1", "C1#2", "C1#3", "C1#2#2", "N", ""]) | st.text(max_size=3))
MARKS = st.sampled_from(["", " ", "A", "B", "SYSTEM"])


def protein(numbers, segids=None, chains=None):
    """Residues of one atom each, all threonine."""
    n = len(numbers)
    universe = mda.Universe.empty(
        n, n_residues=n, n_segments=n, atom_resindex=range(n), residue_segindex=range(n)
    )
    universe.add_TopologyAttr("resnames", ["THR"] * n)
    universe.add_TopologyAttr("resids", numbers)
    if segids is not None:
        universe.add_TopologyAttr("segids", segids)
    if chains is not None:
        universe.add_TopologyAttr("chainIDs", chains)
    return universe.atoms


@given(NAMES)
def test_names_are_unique_and_the_first_of_each_keeps_its_own(names):
    unique, note = unique_names(names)
    assert len(set(unique)) == len(names)
    for k, (new, old) in enumerate(zip(unique, names, strict=True)):
        assert new == old if old not in names[:k] else new.startswith(f"{old}#")
    assert bool(note) == (len(set(names)) < len(names))
    assert unique_names(unique) == (unique, "")


def test_a_number_that_is_taken_is_passed_over():
    unique, note = unique_names(["C1", "C1#2", "C1"])
    assert unique == ("C1", "C1#2", "C1#3")
    assert "(C1)" in note
    assert "C1#3" in note


@given(st.lists(st.tuples(st.integers(1, 4), MARKS, MARKS), min_size=1, max_size=12))
def test_residue_labels_are_unique_whatever_the_file_lacks(residues):
    numbers, segids, chains = (list(part) for part in zip(*residues, strict=True))
    labels = residue_labels(protein(numbers, segids, chains))
    assert len(set(labels)) == len(residues)
    for label, number in zip(labels, numbers, strict=True):
        assert label.startswith(f"THR{number}")
        assert ".#" not in label
        assert not label.endswith(".")
        assert numbers.count(number) > 1 or label == f"THR{number}"


@pytest.mark.parametrize(
    ("segids", "chains", "expected"),
    [
        (["A", "B"], None, ("THR2.A", "THR2.B")),
        (["P1", "P2"], ["A", "B"], ("THR2.P1", "THR2.P2")),
        (["", ""], ["A", "B"], ("THR2.A", "THR2.B")),
        (["SYSTEM", "SYSTEM"], ["A", "B"], ("THR2.A", "THR2.B")),
        (["P1", ""], ["A", "B"], ("THR2.A", "THR2.B")),
        (["", ""], ["", ""], ("THR2", "THR2#2")),
        (["", ""], None, ("THR2", "THR2#2")),
        (["A", "A"], ["A", "A"], ("THR2", "THR2#2")),
        (["SYSTEM", "SYSTEM"], None, ("THR2", "THR2#2")),
        (None, None, ("THR2", "THR2#2")),
    ],
)
def test_segment_comes_before_chain_and_chain_before_a_number(segids, chains, expected):
    assert residue_labels(protein([2, 2], segids, chains)) == expected


def test_a_residue_whose_number_is_its_own_needs_no_chain():
    assert residue_labels(protein([1, 2, 1], ["A", "A", "B"])) == ("THR1.A", "THR2", "THR1.B")
