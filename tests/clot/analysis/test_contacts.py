import numpy as np
import pytest

from labkit.clot.analysis.contacts import (
    bead_areas,
    contact_area,
    contact_pairs,
    contact_tensor,
)
from labkit.clot.flows import Quiescent
from labkit.clot.forcefield import ForceField
from labkit.clot.observe import observe
from labkit.errors import ParameterError

FORCEFIELD, FLOW = ForceField(), Quiescent()


def test_beads_share_the_area_of_their_platelet(stack, small_platelet, snapshot_of):
    area = bead_areas(stack, snapshot_of(stack))
    for p in range(3):
        assert area[stack.beads(p)].sum() == pytest.approx(small_platelet.area, rel=1e-9)
    assert not area[stack.types[: stack.n_beads] == 3].any()


def test_the_pair_that_touches_is_listed_with_what_observe_counts(stack, snapshot_of):
    snapshot = snapshot_of(stack)
    table = contact_pairs(stack, snapshot, FORCEFIELD, FLOW)
    seen = observe(stack, snapshot, FORCEFIELD, FLOW)
    assert table[["first", "second"]].to_numpy().tolist() == [[0, 1]]
    assert seen.contacts.tolist() == [table["contacts"][0]] * 2 + [0]
    assert table["gap"][0] == pytest.approx(seen.gap[0])


def test_pairs_of_a_wide_range_are_those_of_all_beads(stack, snapshot_of):
    table = contact_pairs(stack, snapshot_of(stack), FORCEFIELD, FLOW, cutoff=3.0)
    for row in table.itertuples():
        a, b = (stack.positions[stack.membrane(p)] for p in (row.first, row.second))
        d = a[:, None] - b[None]
        r = np.linalg.norm(d - stack.box * np.round(d / stack.box), axis=-1)
        assert row.contacts == (r < 3.0).sum()
        assert row.gap == pytest.approx(r.min())


def test_contact_area_is_that_of_the_beads_within_range(stack, small_platelet, snapshot_of):
    snapshot = snapshot_of(stack)
    a, b = (stack.positions[stack.membrane(p)] for p in (0, 1))
    r = np.linalg.norm(a[:, None] - b[None], axis=-1)
    area = bead_areas(stack, snapshot)
    for cutoff in (0.4, 0.8, 1.4):
        sides = [area[stack.membrane(p)][(r < cutoff).any(axis=1 - p)].sum() for p in (0, 1)]
        found = contact_area(stack, snapshot, FORCEFIELD, FLOW, cutoff=cutoff)
        assert found.tolist() == pytest.approx([*sides, 0])
        pair = contact_pairs(stack, snapshot, FORCEFIELD, FLOW, cutoff=cutoff)["area"]
        assert pair.tolist() == pytest.approx([np.mean(sides)] if sum(sides) else [])
    everything = contact_area(stack, snapshot, FORCEFIELD, FLOW, cutoff=4.0)
    assert everything[:2] == pytest.approx(small_platelet.area)


def test_contacts_of_a_stack_point_along_it(stack, snapshot_of):
    tensor = contact_tensor(stack, snapshot_of(stack), FORCEFIELD, FLOW, cutoff=0.9)
    assert np.trace(tensor) == pytest.approx(1)
    np.testing.assert_allclose(tensor, tensor.T)
    values, vectors = np.linalg.eigh(tensor)
    assert values[2] > 0.7
    assert abs(vectors[1, 2]) > 0.99


def test_no_contact_leaves_no_direction_and_no_pair(stack, snapshot_of):
    snapshot = snapshot_of(stack)
    assert np.isnan(contact_tensor(stack, snapshot, FORCEFIELD, FLOW, cutoff=0.1)).all()
    table = contact_pairs(stack, snapshot, FORCEFIELD, FLOW, cutoff=0.1)
    assert list(table.columns) == ["first", "second", "contacts", "area", "gap"]
    assert len(table) == 0


def test_a_range_that_is_none_is_refused(stack, snapshot_of):
    with pytest.raises(ParameterError, match="cutoff=-1"):
        contact_area(stack, snapshot_of(stack), FORCEFIELD, FLOW, cutoff=-1.0)
