"""Sites of series made by hand are where groups were put, and scores are judged against them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from labkit.errors import ParameterError
from labkit.hotspots.validation.auroc import auroc_interval
from labkit.hotspots.validation.sar import SCORES, sar_benchmark, sar_sites

ETHER = "NCCc1ccc(OC)cc1"  # ring 3 to 6, 9, 10; ortho to the chain 4 and 10, to the ether 5 and 9


def atoms(mask):
    return np.flatnonzero(mask).tolist()


@pytest.fixture(scope="module")
def lead(embed):
    return embed(ETHER)


@pytest.fixture(scope="module")
def halogens(lead, with_group, make_series):
    """Atom 4 alone gains 1 or loses 0.5 kcal/mol, atom 9 alone loses 2, both together are apart."""
    mols = [
        lead,
        with_group(lead, "4F", {4: "F"}),
        with_group(lead, "4Cl", {4: "Cl"}),
        with_group(lead, "9Br", {9: "Br"}),
        with_group(lead, "4F9Br", {4: "F", 9: "Br"}),
    ]
    return make_series(mols, {"lead": -8, "4F": -9, "4Cl": -7.5, "9Br": -6, "4F9Br": -12})


@pytest.fixture(scope="module")
def sites(halogens):
    return sar_sites(halogens)


def test_sites_are_the_atoms_that_carry_groups_where_the_lead_has_hydrogen(sites):
    assert sites.lead == "lead"
    assert atoms(sites.sites) == [4, 9]
    assert sites.core.all()
    assert sites.table["lead_group"].tolist() == ["[H]", "[H]"]
    assert sites.left_out == ()


def test_affinity_changes_of_single_places_are_kept_apart_from_double_changes(sites):
    table = sites.table.set_index("atom")
    assert table["n_ligands"].tolist() == [3, 2]
    assert table["n_single"].tolist() == [2, 1]
    assert table["n_groups"].tolist() == [2, 1]
    assert table["best_ddG"].tolist() == [-1, 2]
    assert table.loc[4, "rms_ddG"] == pytest.approx(np.sqrt((1 + 0.25) / 2))
    assert sites.rms_ddG == pytest.approx(np.sqrt((1 + 0.25 + 4) / 3))
    assert sites.changes.set_index("ligand")["places"].to_dict() == {
        "4F": 1, "4Cl": 1, "9Br": 1, "4F9Br": 2,
    }  # fmt: skip


def test_places_that_gained_affinity_can_be_asked_for(sites):
    assert atoms(sites.gained(0.5)) == [4]
    assert atoms(sites.gained(1.5)) == []


def test_the_leads_own_group_belongs_to_its_site(lead, with_group, make_series):
    """The lead itself carries fluorine on atom 4 and a methoxy group that others lack or vary."""
    own = with_group(lead, "own", {4: "F"})
    others = [with_group(lead, "Cl", {4: "Cl", 9: "F"}), with_group(lead, "Br", {4: "Br", 9: "F"})]
    found = sar_sites(make_series([own, *others]))
    fluorine = next(a.GetIdx() for a in found.mol.GetAtoms() if a.GetSymbol() == "F")
    assert atoms(found.sites) == sorted([4, 9, fluorine])
    assert not found.core[fluorine]
    assert found.table["lead_group"].tolist() == ["*F", "[H]"]
    assert atoms(sar_sites(make_series([own, *others], {"Cl": -9.0})).gained()) == []


def test_gained_places_bring_their_own_group(lead, with_group, make_series):
    own, other = with_group(lead, "own", {4: "F"}), with_group(lead, "Br", {4: "Br"})
    found = sar_sites(make_series([own, other], {"Br": -1}), "own")
    assert atoms(found.gained()) == atoms(found.sites)
    assert found.sites.sum() == 2


@pytest.mark.parametrize("side", [4, 10])
def test_the_pose_says_which_side_of_a_symmetric_ring_was_varied(
    lead, with_group, make_series, side
):
    found = sar_sites(make_series([lead, with_group(lead, "F", {side: "F"})]))
    assert atoms(found.sites) == [side]


def test_a_ring_atom_of_another_element_is_a_site(lead, with_element, make_series):
    found = sar_sites(make_series([lead, with_element(lead, "pyridine", 9)]), "lead")
    assert atoms(found.sites) == [9]
    assert found.table["symbol"].tolist() == ["c"]


def test_a_fused_ring_is_one_place_at_two_atoms(embed, make_series):
    """Indane for dimethylbenzene: the ring bridges two carbons, and counts as one change."""
    small, fused = embed("NCCc1ccc(C)c(C)c1", "small"), embed("NCCc1ccc2c(c1)CCC2", "fused")
    ring = list(zip([3, 4, 5, 6, 7, 8], [3, 4, 5, 6, 8, 10], strict=True))
    rdMolAlign.AlignMol(fused, small, atomMap=ring)
    found = sar_sites(make_series([small, fused], {"fused": 1.0}))
    assert found.changes["places"].tolist() == [1]
    assert atoms(found.sites) == [6, 7, 8, 9]
    assert found.table["rms_ddG"].tolist() == [1, 1]


def test_an_inverted_center_is_a_site(embed, make_series):
    """A methyl and a hydrogen change places; nothing else moves."""
    lead = embed("N[C@@H](C)CCc1ccccc1")
    other = Chem.RWMol(lead)
    hydrogen = next(n for n in other.GetAtomWithIdx(1).GetNeighbors() if n.GetAtomicNum() == 1)
    conformer = other.GetConformer()
    here, there = (conformer.GetAtomPosition(i) for i in (2, hydrogen.GetIdx()))
    conformer.SetAtomPosition(2, there)
    conformer.SetAtomPosition(hydrogen.GetIdx(), here)
    other.SetProp("_Name", "inverted")
    found = sar_sites(make_series([lead, other.GetMol()]), "lead")
    assert atoms(found.sites) == [1]


def test_ligands_measured_otherwise_are_left_out(halogens, make_series):
    """An IC50 is not a Ki: the difference of the two is not a change in free energy."""
    known = make_series(halogens.ligands, kinds={"9Br": "ic50", "4F9Br": "ic50"})
    found = sar_sites(known)
    assert found.kind == "ki"
    assert atoms(found.sites) == [4]
    assert found.left_out == ("4F9Br", "9Br")


def test_ligands_without_affinity_are_left_out(halogens, make_series):
    found = sar_sites(make_series(halogens.ligands, {"4F": np.nan}))
    assert found.left_out == ("4F",)


def test_smallest_ligand_is_the_lead_and_affinity_decides_between_equals(halogens, make_series):
    known = make_series(halogens.ligands[1:], {"4Cl": -9, "9Br": -8})
    assert sar_sites(known).lead == "4Cl"


def test_sites_follow_the_rows_of_a_complex(sites, lead, halogens):
    """Atoms in another order, hydrogens between them, rows of the complex in a third order."""
    rng = np.random.default_rng(0)
    mol = Chem.RenumberAtoms(lead, rng.permutation(lead.GetNumAtoms()).tolist())
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    rows = rng.permutation(heavy)
    system = SimpleNamespace(name="shuffled", mol=mol, heavy_in_mol=rows)
    found = sites.for_complex(system)
    wanted = lead.GetConformer().GetPositions()[[4, 9]]
    placed = mol.GetConformer().GetPositions()[rows][found.sites]
    assert {tuple(p) for p in placed.round(6)} == {tuple(p) for p in wanted.round(6)}
    assert found.table["atom"].tolist() == atoms(found.sites)
    np.testing.assert_array_equal(found.bonds.sum(axis=0)[found.sites], [2, 2])
    both = found.changes.set_index("ligand").loc["4F9Br", "atoms"]
    assert sorted(both) == atoms(found.sites)


def test_another_ligand_in_the_complex_is_an_error(sites, halogens):
    mol = halogens.ligands[1]
    system = SimpleNamespace(name="other", mol=mol, heavy_in_mol=np.arange(12))
    with pytest.raises(ParameterError, match=r"'other'.*not the lead 'lead'"):
        sites.for_complex(system)


def test_series_that_tell_nothing_are_errors(lead, with_group, make_series, embed):
    twin = Chem.Mol(lead)
    twin.SetProp("_Name", "twin")
    with pytest.raises(ParameterError, match="no atom of the lead"):
        sar_sites(make_series([lead, twin]))
    with pytest.raises(ParameterError, match="'lead' occur more than once"):
        sar_sites(make_series([lead, Chem.Mol(lead)]))
    with pytest.raises(ParameterError, match=r"lead='none'.*lead, twin"):
        sar_sites(make_series([lead, twin]), "none")
    with pytest.raises(ParameterError, match="no usable core"):
        sar_sites(make_series([embed("C1CCCCC1", "a"), embed("NCC=O", "b")]))


@pytest.fixture(scope="module")
def scores():
    """One score is the truth, one its opposite, one random, one constant but unknown."""
    truth = np.isin(np.arange(11), [4, 9]).astype(float)
    noise = np.random.default_rng(0).normal(size=11)
    return pd.DataFrame(
        {"latent_spread": truth, "rmsf": -truth, "flicker": noise, "pca_spread": np.nan, "x": 1.0}
    )


def test_benchmark_ranks_scores_by_how_well_they_know_the_sites(scores, sites):
    table = sar_benchmark(scores, sites, n_permutations=500).set_index("score")
    assert list(table.index) == [s for s in SCORES if s in scores]
    assert table.loc["latent_spread", "auroc"] == 1
    assert table.loc["rmsf", "auroc"] == 0
    assert table.loc["pca_spread", ["auroc", "low", "high", "p_permutation"]].isna().all()
    assert (table["n_sites"] == 2).all()
    assert (table["n_atoms"] == 11).all()
    known = table.drop("pca_spread")
    assert ((known["low"] <= known["auroc"]) & (known["auroc"] <= known["high"])).all()
    assert table.loc["latent_spread", ["low", "high"]].tolist() == list(auroc_interval(1, 2, 9))


def test_perfect_score_of_two_sites_has_the_exact_p_value(scores, sites):
    """One of the 55 pairs of 11 atoms is as good; 5,000 draws know that to 0.006 (3 sd)."""
    table = sar_benchmark(scores, sites, n_permutations=5000).set_index("score")
    assert table.loc["latent_spread", "p_permutation"] == pytest.approx(1 / 55, abs=0.006)


def test_any_column_can_be_judged(scores, sites):
    table = sar_benchmark(scores, sites.sites, columns=["x", "flicker"], n_permutations=50)
    assert table["score"].tolist() == ["x", "flicker"]
    assert table.loc[0, "auroc"] == 0.5
    assert table.loc[0, "p_permutation"] == 1
    assert "p_patch" not in table


def test_benchmark_repeats_with_its_seed(scores, sites):
    one, two = (sar_benchmark(scores, sites, n_permutations=99, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("labels", "columns", "message"),
    [
        ([True, False], None, "sites has 2 atoms and scores has 11"),
        ([False] * 11, None, "marks 0 of 11"),
        ([True] * 11, None, "marks 11 of 11"),
        ([True] + [False] * 10, ["sasa"], r"columns=\['sasa'\].*latent_spread"),
        ([True] + [False] * 10, [], r"columns=\[\]"),
    ],
)
def test_labels_and_scores_that_do_not_fit_are_errors(scores, labels, columns, message):
    with pytest.raises(ParameterError, match=message):
        sar_benchmark(scores, np.array(labels), columns=columns, n_permutations=9)
