"""Typed interactions of the packaged trajectory: the chemistry that its papers describe."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.interactions import interaction_summary, typed_interactions


@pytest.fixture(scope="module")
def ergotamine():
    return example("ergotamine")


@pytest.fixture(scope="module")
def table(ergotamine):
    return typed_interactions(ergotamine, n_frames=3)


def test_ammonium_makes_the_salt_bridge_of_aminergic_receptors(ergotamine, table):
    """ASP129 (3.32 in Ballesteros-Weinstein numbers) holds the protonated nitrogen."""
    (nitrogen,) = [
        ergotamine.atom_names[k]
        for k, i in enumerate(ergotamine.heavy_in_mol)
        if ergotamine.mol.GetAtomWithIdx(int(i)).GetFormalCharge() == 1
    ]
    bridge = table[table.interaction == "Cationic"]
    assert set(bridge.residue) == {"ASP129"}
    assert set(bridge.atom) == {nitrogen}
    assert sorted(set(bridge.frame)) == [25, 137, 249]


def test_table_is_tidy_and_names_rows_as_the_contact_tensor_does(ergotamine, table):
    assert list(table) == ["frame", "atom", "residue", "interaction", "distance"]
    assert set(table.atom) <= set(ergotamine.atom_names)
    assert set(table.residue) <= set(ergotamine.residue_labels)
    assert not table.duplicated().any()
    assert table.distance.between(1.0, 8.0).all()


def test_every_hydrophobic_interaction_is_a_contact_of_that_distance(ergotamine, table):
    """Both take heavy-atom distances here; the tensor has the smallest of a residue."""
    contacts = compute_contacts(ergotamine)
    atom = {name: k for k, name in enumerate(contacts.atom_names)}
    residue = {label: k for k, label in enumerate(contacts.residue_labels)}
    frame = {int(f): k for k, f in enumerate(contacts.frames)}
    rows = table[table.interaction == "Hydrophobic"]
    assert len(rows) > 20
    smallest = [
        contacts.distances[frame[r.frame], atom[r.atom], residue[r.residue]]
        for r in rows.itertuples()
    ]
    assert (np.array(smallest) <= rows.distance + 1e-3).all()


def test_interactions_are_chosen_by_name(ergotamine):
    table = typed_interactions(ergotamine, n_frames=1, interactions=["HBDonor"])
    assert set(table.interaction) == {"HBDonor"}
    assert set(table.frame) == {25}


def test_wrong_parameters_are_named(ergotamine):
    with pytest.raises(ParameterError, match=r"'Magic' is not known to ProLIF\. Use some of .*HBD"):
        typed_interactions(ergotamine, interactions=["Magic"])
    with pytest.raises(ParameterError, match="n_frames=0"):
        typed_interactions(ergotamine, n_frames=0)


def test_ergotamine_holds_on_to_the_aspartate_of_aminergic_receptors(table):
    # Asp129 (3.32) and the protonated amine, here N2: Wang et al., Science 340 (2013) 610.
    summary = interaction_summary(table)
    bridge = summary.query("residue == 'ASP129' and interaction == 'Cationic'").iloc[0]
    assert bridge["atoms"] == "N2"
    assert bridge["frames"] == table["frame"].nunique()
    assert not set(summary["interaction"]) & {"VdWContact", "Hydrophobic"}
    assert summary["frames"].is_monotonic_decreasing


def test_bonds_that_a_file_leaves_out_are_guessed(labkit_data):
    # The PDB of this pocket has CONECT records for the ligand and the caps only.
    summary = interaction_summary(typed_interactions(example("tyk2"), n_frames=1))
    # A kinase's hinge gives and takes a hydrogen bond with one residue: here the aminopyridine
    # (N2, N3) with Val981, which is VAL28 in this pocket.
    hinge = summary[summary["residue"] == "VAL28"].set_index("interaction")["atoms"]
    assert hinge["HBAcceptor"] == "N2"
    assert hinge["HBDonor"] == "N3"
