"""The panel on real series and on the real trajectory of TYK2."""

from __future__ import annotations

from dataclasses import replace

import MDAnalysis
import numpy as np
import pytest

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.examples import SERIES, example, series
from labkit.hotspots.reading import quiet_mdanalysis
from labkit.hotspots.training import FAST
from labkit.hotspots.validation.panel import panel_complexes, sar_panel, simulated_ligand
from labkit.hotspots.validation.sar import SCORES, sar_sites

# Counted by hand on the drawn structures: TYK2 the acetyl group's carbonyl and methyl carbons;
# MCL1 four carbons of the phenyl ring, three of the indole and its N-H; CDK2 the meta and para
# carbons of the aniline; HIF2A five carriers, F, SCH3's methyl, CH3, C#N and Cl.
SITES = {
    "tyk2": ("lig_ejm_31", "ki", 2, 21, ()),
    "mcl1": ("lig_27", "ki", 8, 22, ()),
    "cdk2": ("lig_1h1q", "ic50", 2, 24, ()),
    "hif2a": ("lig_50", "ic50", 11, 22, ("lig_224", "lig_67")),
}


@pytest.fixture(scope="module")
def known(labkit_data):
    return {target: series(target) for target in SERIES}


@pytest.fixture(scope="module")
def tyk2(labkit_data):
    return example("tyk2")


@pytest.mark.parametrize("target", SERIES)
def test_sites_of_the_shared_series_are_those_of_the_structures(known, target):
    sites = sar_sites(known[target])
    lead, kind, n_sites, n_atoms, left_out = SITES[target]
    assert (sites.lead, sites.kind, sites.left_out) == (lead, kind, left_out)
    assert (sites.sites.sum(), len(sites.sites)) == (n_sites, n_atoms)
    assert sites.changes["core_rmsd_A"].max() < 1


def test_units_of_a_series_may_differ(known):
    """2.5 nM against 0.096 uM at 300 K: R T ln(2.5e-9 / 9.6e-8) = -2.17 kcal/mol."""
    changes = sar_sites(known["tyk2"]).changes.set_index("ligand")
    expected = 0.0019872043 * 300 * np.log(2.5e-9 / 9.6e-8)
    assert changes.loc["lig_jmc_23", "ddG"] == pytest.approx(expected)
    assert set(known["tyk2"].affinity["unit"]) == {"nM", "uM"}


def test_the_simulated_ligand_is_recognized(known, tyk2):
    assert simulated_ligand(known["tyk2"], tyk2) == "lig_ejm_31"
    with pytest.raises(ParameterError, match="'tyk2' is none of the 25 of the series mcl1"):
        simulated_ligand(known["mcl1"], tyk2)


def test_sites_on_the_trajectory_are_the_acetyl_group(known, tyk2):
    sites = sar_sites(known["tyk2"]).for_complex(tyk2)
    heavy = tyk2.mol.GetSubstructMatches(_pattern("[CH3]C(=O)N"))[0][:2]
    assert set(tyk2.heavy_in_mol[sites.sites]) == set(heavy)


def test_panel_of_one_target_runs_from_trajectory_to_text(tyk2):
    calls = []
    panel = sar_panel(
        {"tyk2": tyk2.select_frames(0, 120)},
        seeds=(0,),
        stride=8,
        config=replace(FAST, epochs=6),
        n_permutations=99,
        progress=lambda *call: calls.append(call),
    )
    assert panel.frame["score"].tolist() == list(SCORES)
    assert panel.frame["auroc"].notna().all()
    assert (panel.frame["high"] - panel.frame["low"] > 0.3).all()
    assert not panel.notes
    assert "tyk2 alone" in panel.summary()
    assert calls[0][:2] == (0, 1)


def test_trajectories_are_found_in_a_folder_and_tyk2_in_the_registry(labkit_data, tmp_path):
    shared = labkit_data / "hotspots" / "tyk2_pocket_md"
    home = tmp_path / "mcl1"
    home.mkdir()
    names = {"pocket.pdb": "topology.pdb", "lig.sdf": "ligand.sdf", "traj.xtc": "trajectory.xtc"}
    for file, name in names.items():
        (home / name).symlink_to(shared / file)
    with quiet_mdanalysis():
        first = MDAnalysis.Universe(str(home / "topology.pdb"), str(home / "trajectory.xtc"))
        first.atoms.write(str(home / "trajectory_2.xtc"), frames=first.trajectory[:100])
    found = panel_complexes(tmp_path, ["mcl1", "tyk2"])
    assert found["mcl1"].n_frames == found["tyk2"].n_frames + 100
    assert set(found["mcl1"].replica) == {0, 1}
    assert found["tyk2"].name == "tyk2"


def test_missing_trajectory_is_named_with_what_to_do(tmp_path):
    with pytest.raises(MissingDataError, match=r"cdk2.*run_md"):
        panel_complexes(tmp_path, ["cdk2"])
    with pytest.raises(MissingDataError, match="No trajectory of mcl1"):
        panel_complexes(targets=["mcl1"])


def _pattern(smarts):
    from rdkit import Chem

    return Chem.MolFromSmarts(smarts)
