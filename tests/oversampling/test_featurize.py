"""Packed molecules against torch-geometric batches that rdkit builds atom by atom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator
from torch_geometric.data import Batch, Data
from torch_geometric.nn.models import AttentiveFP

from labkit.errors import ParameterError
from labkit.oversampling.data import load_molecules
from labkit.oversampling.featurize import featurize
from labkit.oversampling.fingerprints import fingerprint_bits
from labkit.oversampling.graphs import ATOM_FEATURES, BOND_FEATURES
from labkit.oversampling.simulated import nci_smiles

SMILES = {
    "ethanol": "CCO",
    "single atom": "C",
    "salt without bonds": "[Na+].[Cl-]",
    "benzene": "c1ccccc1",
    "chiral amino acid": "C[C@H](N)C(=O)O",
    "E alkene": "C/C=C/C",
    "Z alkene": "C/C=C\\C",
    "nitro group written with five bonds": "CN(=O)=O",
    "fused and spiro rings": "C1CC12CCc1ccccc12",
    "alkyne": "CC#N",
    "sulfur hexafluoride": "FS(F)(F)(F)(F)F",
    "unusual element": "[Pt](Cl)(Cl)(N)N",
    "dication": "[Ca+2].[O-]C(=O)C",
    "hydrogen molecule": "[H][H]",
    "radical": "C[CH2]",
    "any atom": "*C",
}
ELEMENTS = ATOM_FEATURES[0].categories
HYBRIDIZATIONS = ATOM_FEATURES[4].categories


def _hot(categories: list[str], features: tuple) -> list[float]:
    row = []
    for category, feature in zip(categories, features, strict=True):
        row += [float(category == other) for other in feature.categories]
    assert sum(row) == len(features), categories
    return row


def _atom(atom: Chem.Atom) -> list[float]:
    symbol, hybrid = atom.GetSymbol(), str(atom.GetHybridization())
    degree, hydrogens, charge = atom.GetDegree(), atom.GetTotalNumHs(), atom.GetFormalCharge()
    chirality = {
        "CHI_UNSPECIFIED": "none",
        "CHI_TETRAHEDRAL_CW": "clockwise",
        "CHI_TETRAHEDRAL_CCW": "counterclockwise",
    }
    charges = {-1: "-1", 0: "0", 1: "1"}
    return _hot(
        [
            symbol if symbol in ELEMENTS else "other",
            str(degree) if degree < 6 else "6 or more",
            charges.get(charge, "-2 or less" if charge < 0 else "2 or more"),
            str(hydrogens) if hydrogens < 4 else "4 or more",
            hybrid if hybrid in HYBRIDIZATIONS else "other",
            chirality.get(str(atom.GetChiralTag()), "other"),
            "yes" if atom.GetIsAromatic() else "no",
            "yes" if atom.IsInRing() else "no",
        ],
        ATOM_FEATURES,
    )


def _bond(bond: Chem.Bond) -> list[float]:
    kind = str(bond.GetBondType()).lower()
    stereo = {
        "STEREONONE": "none",
        "STEREOZ": "Z or cis",
        "STEREOCIS": "Z or cis",
        "STEREOE": "E or trans",
        "STEREOTRANS": "E or trans",
    }
    return _hot(
        [
            kind if kind in BOND_FEATURES[0].categories else "other",
            "yes" if bond.GetIsConjugated() else "no",
            "yes" if bond.IsInRing() else "no",
            stereo.get(str(bond.GetStereo()), "other"),
        ],
        BOND_FEATURES,
    )


def _data(smiles: str) -> Data:
    mol = Chem.MolFromSmiles(smiles)
    ends, attributes = [], []
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        ends += [[i, j], [j, i]]
        attributes += [_bond(bond)] * 2
    width = sum(len(feature.categories) for feature in BOND_FEATURES)
    return Data(
        x=torch.tensor([_atom(atom) for atom in mol.GetAtoms()]),
        edge_index=torch.tensor(ends, dtype=torch.long).reshape(-1, 2).T,
        edge_attr=torch.tensor(attributes).reshape(-1, width),
    )


def _assert_same_batch(smiles: list[str], packed, indices: list[int]) -> None:
    expected = Batch.from_data_list([_data(smiles[i]) for i in indices])
    batch = packed.batch(indices)
    assert batch.num_graphs == expected.num_graphs
    for name in ("x", "edge_index", "edge_attr", "batch"):
        ours, theirs = getattr(batch, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("name", SMILES)
def test_each_kind_of_molecule_equals_the_graph_built_atom_by_atom(name):
    _assert_same_batch([SMILES[name]], featurize([SMILES[name]]), [0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(SMILES) - 1), min_size=1, max_size=30))
def test_batch_of_repeated_indices_equals_torch_geometric_bit_for_bit(indices):
    smiles = list(SMILES.values())
    _assert_same_batch(smiles, featurize(smiles), indices)


def test_thousand_nci_molecules_equal_torch_geometric():
    packed = featurize(nci_smiles()[:1000])
    smiles = [s for s, valid in zip(nci_smiles()[:1000], packed.valid, strict=True) if valid]
    _assert_same_batch(smiles, packed, list(range(len(packed))))


def test_invalid_smiles_never_become_graphs():
    packed = featurize(["CCO", "C1CC", "", None, float("nan"), "   ", "CN(C)(C)C", "CC"])
    assert packed.valid.tolist() == [True] + [False] * 6 + [True]
    assert len(packed) == 2
    assert packed.n_atoms.tolist() == [3, 2]
    assert len(packed.fingerprint) == 2


def test_only_invalid_smiles_give_an_empty_set_not_an_error():
    packed = featurize(["not a molecule", ""], fingerprint="ecfp4:64")
    assert len(packed) == 0
    assert packed.fingerprint.shape == (0, 64)
    assert packed.batch([]).num_graphs == 0
    assert len(featurize([])) == 0


def test_network_gives_one_row_per_graph_also_without_bonds():
    smiles = ["[Na+].[Cl-]", "C", "CCO", "[He]"]
    packed = featurize(smiles)
    batch = packed.batch([0, 1, 2, 3, 0])
    torch.manual_seed(0)
    model = AttentiveFP(packed.node_dim, 8, 3, packed.edge_dim, num_layers=2, num_timesteps=2)
    out = model.eval()(batch.x, batch.edge_index, batch.edge_attr, batch.batch)
    assert out.shape == (5, 3)
    torch.testing.assert_close(out[0], out[4])


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ("ecfp4:2048", rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)),
        ("ECFP6:1024", rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=1024)),
        ("ecfp2:100", rdFingerprintGenerator.GetMorganGenerator(radius=1, fpSize=100)),
        ("ecfp4", rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)),
    ],
)
def test_fingerprints_equal_rdkit_one_molecule_at_a_time(spec, reference):
    smiles = list(SMILES.values())
    rows = np.array([reference.GetFingerprintAsNumPy(Chem.MolFromSmiles(s)) for s in smiles])
    packed = featurize(smiles, fingerprint=spec)
    assert np.array_equal(packed.fingerprint, rows)
    assert packed.n_bits == fingerprint_bits(spec) == rows.shape[1]
    assert torch.equal(packed.batch([3, 3]).fingerprint, torch.tensor(rows[[3, 3]]).float())


def test_maccs_keys_equal_rdkit():
    smiles = list(SMILES.values())
    rows = [list(MACCSkeys.GenMACCSKeys(Chem.MolFromSmiles(s))) for s in smiles]
    assert np.array_equal(featurize(smiles, fingerprint="maccs").fingerprint, rows)


def test_no_fingerprint_is_zero_bits_wide():
    assert featurize(["CC"], fingerprint="none").batch([0]).fingerprint.shape == (1, 0)


@pytest.mark.parametrize("spec", ["ecfp5", "ecfp4:", "ecfp4:0", "ecfp4:9999999", "morgan", ""])
def test_unknown_fingerprint_names_the_known_ones(spec):
    with pytest.raises(ParameterError, match="ecfp4:2048"):
        featurize(["CC"], fingerprint=spec)


def test_index_outside_the_set_is_an_error():
    packed = featurize(["CC", "C"])
    for bad in ([2], [-1]):
        with pytest.raises(IndexError, match="allowed are 0 to 1"):
            packed.batch(bad)
    with pytest.raises(IndexError, match="mask"):
        packed.batch(np.array([True, False]))


def test_a_single_string_is_not_a_list_of_molecules():
    with pytest.raises(ParameterError, match="list of SMILES"):
        featurize("CCO")


def test_worker_processes_give_the_same_arrays():
    smiles = nci_smiles()[:2100]
    one, two = featurize(smiles, n_jobs=1), featurize(smiles, n_jobs=2)
    for name, value in vars(one).items():
        assert np.array_equal(value, getattr(two, name)), name


@pytest.mark.parametrize(
    ("name", "without_bonds"), [("sider", 31), ("tox21", 19), ("clintox", 1), ("toxcast", 11)]
)
def test_molecules_without_bonds_of_the_real_sets_are_kept(name, without_bonds, labkit_data):
    """Counts made with RDKit 2026.9.1 when the data were collected."""
    table = load_molecules(name)
    packed = featurize(table.smiles, fingerprint="none")
    assert packed.valid.all()
    assert (np.diff(packed.bond_ptr) == 0).sum() == without_bonds
    if name == "sider":
        largest = int(packed.n_atoms.argmax())
        assert packed.n_atoms[largest] == 492
        _assert_same_batch(list(table.smiles), packed, [largest, 0, largest])


def test_sider_graphs_equal_torch_geometric_bit_for_bit(labkit_data):
    smiles = list(load_molecules("sider").smiles)
    _assert_same_batch(smiles, featurize(smiles), list(range(len(smiles))))
