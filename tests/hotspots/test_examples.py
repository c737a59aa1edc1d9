"""The examples are the published files, and affinities are what the papers measured."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from rdkit import Chem

from labkit import datasets
from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots import examples
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import EXAMPLES, SERIES, example, series


@pytest.fixture(scope="module")
def ergotamine():
    return example("ergotamine")


def test_ergotamine_is_the_trajectory_in_the_wheel_of_prolif(ergotamine):
    assert ergotamine.source["sha256"] == list(examples.PROLIF_SHA256.values())
    assert ergotamine.source["license"].startswith("Apache-2.0")
    assert (ergotamine.n_atoms, ergotamine.n_residues) == (43, 302)
    assert ergotamine.frames.tolist() == list(range(25, 250))
    assert ergotamine.times_ps is None
    assert "6e+06 ps apart" in ergotamine.notes[0]


def test_ergotamine_has_the_protonated_amine_and_its_stereocenters(ergotamine):
    assert Chem.GetFormalCharge(ergotamine.mol) == 1
    assert len(Chem.FindMolChiralCenters(ergotamine.mol)) == 7  # six carbons and the ammonium
    assert Chem.rdMolDescriptors.CalcMolFormula(ergotamine.mol) == "C33H36N5O5+"


def test_frames_of_an_example_are_chosen_as_of_any_complex():
    assert example("ergotamine", start=0, stop=9, step=4).frames.tolist() == [0, 4, 8]


def test_example_needs_no_import_of_prolif():
    script = (
        "import sys; from labkit.hotspots.examples import example; example('ergotamine'); "
        "print('prolif' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=False, capture_output=True
    )
    assert (done.stdout.split(), done.stderr) == ([b"False", b"False"], b"")


def test_opening_an_example_writes_nothing_beside_its_files(labkit_data, ergotamine):
    folder = labkit_data / "hotspots" / "tyk2_pocket_md"
    before = sorted(folder.iterdir())
    tyk2 = example("tyk2", stop=2)
    assert sorted(folder.iterdir()) == before
    for complex in (ergotamine, tyk2):
        opened = complex.universe.trajectory.filename
        assert str(datasets.cache_folder()) in str(opened)


def test_tyk2_has_the_bond_orders_of_its_file_and_physical_times(labkit_data):
    tyk2 = example("tyk2")
    assert Chem.MolToSmiles(Chem.RemoveHs(tyk2.mol)) == "CC(=O)Nc1cc(NC(=O)c2c(Cl)cccc2Cl)ccn1"
    assert (tyk2.n_atoms, tyk2.n_frames, tyk2.notes) == (21, 250, ())
    assert tyk2.times_ps[[0, -1]].tolist() == [0.2, 50.0]
    contacts = compute_contacts(tyk2.select_frames(0, 50))
    assert not contacts.unbound.any()
    hinge = [label for label in contacts.pocket(0.5).residue_labels if label.startswith("VAL")]
    assert hinge


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ParameterError, match=f"'aspirin' is not known. Use one of {EXAMPLES[0]}"):
        example("aspirin")
    with pytest.raises(ParameterError, match=f"'aspirin' is not known. Use one of {SERIES[0]}"):
        series("aspirin")


def test_missing_packages_and_data_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match="pip install prolif"):
        example("ergotamine")
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingDataError, match=r"put tyk2_pocket_md/pocket\.pdb into LABKIT_DATA"):
        example("tyk2")


@pytest.mark.parametrize(
    ("target", "n", "kinds", "units"),
    [
        ("tyk2", 13, {"ki"}, {"nM", "uM"}),
        ("mcl1", 25, {"ki"}, {"uM"}),
        ("cdk2", 10, {"ic50"}, {"uM"}),
        ("hif2a", 37, {"ic50"}, {"uM"}),
    ],
)
def test_series_has_a_pose_and_an_affinity_for_every_ligand(labkit_data, target, n, kinds, units):
    found = series(target)
    assert len(found.ligands) == len(found.affinity) == n
    assert [mol.GetProp("_Name") for mol in found.ligands] == found.affinity.name.tolist()
    assert set(found.affinity.kind) == kinds
    assert set(found.affinity.unit) == units
    # Drug-like affinities, 100 uM to 0.1 nM; a mistaken unit would leave this range.
    assert found.affinity.dG_kcal_mol.between(-13.8, -5.4).all()
    for mol in found.ligands:
        assert mol.GetNumConformers() == 1
        assert mol.GetConformer().Is3D()
        assert any(atom.GetAtomicNum() == 1 for atom in mol.GetAtoms())
    assert found.protein_pdb.is_file()
    assert "CC BY 4.0" in found.license


def test_free_energy_is_rt_times_the_logarithm_of_the_constant(labkit_data):
    """Ki of ejm_31 is 0.096 uM (doi 10.1016/j.ejmech.2013.03.070, table 4, entry 31)."""
    table = series("tyk2").affinity.set_index("name")
    lead = table.loc["lig_ejm_31"]
    assert (lead.value, lead.unit, lead.kind) == (0.096, "uM", "ki")
    assert lead.dG_kcal_mol == pytest.approx(0.593 * 0.001 + 0.59616 * np.log(0.096e-6), abs=0.01)
    nanomolar = table[table.unit == "nM"]
    assert nanomolar.dG_kcal_mol.max() < -10.5
