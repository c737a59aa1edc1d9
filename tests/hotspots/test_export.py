"""Exported files are read back by the programs that they are meant for."""

from __future__ import annotations

import json
from pathlib import Path

import MDAnalysis
import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots.study import HotspotResults


@pytest.fixture(scope="module")
def folder(small_run: HotspotResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export") / "new" / "folder"
    written = small_run.export(place)
    assert sorted(written) == sorted(place.iterdir())
    return place


def test_the_ranking_reads_back_in_order(folder: Path, small_run: HotspotResults) -> None:
    frame = pd.read_csv(folder / "ranking.csv")
    assert list(frame["rank"]) == sorted(frame["rank"])
    expected = small_run.table.ordered()["score"].to_numpy()
    np.testing.assert_allclose(frame["score"], expected, rtol=1e-12)


def test_rdkit_reads_scores_as_atom_properties(folder: Path, small_run: HotspotResults) -> None:
    (mol,) = Chem.SDMolSupplier(str(folder / "ligand.sdf"), removeHs=False)
    frame = small_run.table.frame
    for index, row in zip(small_run.complex.heavy_in_mol, frame.itertuples(), strict=True):
        atom = mol.GetAtomWithIdx(int(index))
        assert atom.GetDoubleProp("score") == pytest.approx(row.score, rel=1e-5)
        assert atom.GetProp("name") == row.atom
        assert atom.GetProp("verdict") == row.verdict
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.MolToSmiles(
        Chem.RemoveHs(small_run.complex.mol)
    )


def test_mdanalysis_reads_scores_as_b_factors(folder: Path, small_run: HotspotResults) -> None:
    universe = MDAnalysis.Universe(str(folder / "complex.pdb"))
    ligand = universe.select_atoms("resname LIG and not element H")
    scores = small_run.table.frame["score"].to_numpy()
    scaled = 100 * (scores - scores.min()) / np.ptp(scores)
    # A B-factor has two decimals.
    np.testing.assert_allclose(ligand.tempfactors, scaled, atol=0.006)
    np.testing.assert_allclose(
        ligand.positions, small_run.complex.positions(int(small_run.complex.frames[0])), atol=1e-3
    )


def test_provenance_names_files_versions_and_choices(folder: Path) -> None:
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["config"]["stride"] == 8
    assert provenance["versions"]["torch"]
    assert "Apache" in json.dumps(provenance["system"])
    assert provenance["system"]["n_frames"] == 225


def test_a_second_export_replaces_the_first(folder: Path, small_run: HotspotResults) -> None:
    before = sorted(path.name for path in folder.iterdir())
    small_run.export(folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_in_the_place_of_the_folder_is_named(
    small_run: HotspotResults, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ParameterError, match=r"out_dir='.*taken' is a file; name a folder"):
        small_run.export(tmp_path / "taken")
