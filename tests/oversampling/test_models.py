"""The graph networks: symmetries, independence of batch mates, and what each part reads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch_geometric.nn import GAT, GCN, AttentiveFP, GraphSAGE
from torch_geometric.nn.conv import GINEConv

from labkit.errors import ParameterError
from labkit.oversampling.featurize import GraphBatch, featurize
from labkit.oversampling.models import ENCODERS, HybridGNN

# aspirin, a single atom, a salt without bonds, a fused ring system, a molecule with a nitrile
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "O", "[Na+].[Cl-]", "c1ccc2ncccc2c1", "CCC#N"]
# Sums over atoms and bonds in another order differ by a few units in the last place of float32.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def packed():
    return featurize(SMILES, fingerprint="ecfp4:128")


def make_model(packed, encoder="attentivefp", *, hybrid=True, n_outputs=3, **sizes) -> HybridGNN:
    torch.manual_seed(0)
    bits = packed.n_bits if hybrid else 0
    options = {"hidden": 16, "encoder": encoder, "fingerprint_dim": bits} | sizes
    return HybridGNN(packed.node_dim, packed.edge_dim, n_outputs, **options).eval()


def renumbered(batch: GraphBatch, seed: int) -> GraphBatch:
    """The same molecules with their atoms in another order."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(batch.x)))
    place = torch.argsort(order)
    bonds = torch.from_numpy(np.random.default_rng(seed).permutation(batch.edge_index.shape[1]))
    return dataclasses.replace(
        batch,
        x=batch.x[order],
        batch=batch.batch[order],
        edge_index=place[batch.edge_index][:, bonds],
        edge_attr=batch.edge_attr[bonds],
    )


@pytest.mark.parametrize("hybrid", [True, False], ids=["hybrid", "standard"])
@pytest.mark.parametrize("encoder", ENCODERS)
class TestEveryNetwork:
    def test_output_does_not_depend_on_the_order_of_atoms_and_bonds(self, packed, encoder, hybrid):
        model = make_model(packed, encoder, hybrid=hybrid)
        batch = packed.batch(range(len(packed)))
        for seed in range(3):
            torch.testing.assert_close(model(renumbered(batch, seed)), model(batch), **ROUNDING)

    def test_output_of_a_molecule_does_not_depend_on_its_batch_mates(self, packed, encoder, hybrid):
        model = make_model(packed, encoder, hybrid=hybrid)
        alone = torch.cat([model(packed.batch([i])) for i in range(len(packed))])
        order = [3, 0, 4, 4, 2, 1, 0]
        torch.testing.assert_close(model(packed.batch(order)), alone[order], **ROUNDING)

    def test_molecules_of_one_atom_and_of_no_bonds_have_finite_outputs(
        self, packed, encoder, hybrid
    ):
        output = make_model(packed, encoder, hybrid=hybrid)(packed.batch([1, 2]))
        assert output.shape == (2, 3)
        assert torch.isfinite(output).all()

    def test_every_parameter_gets_a_gradient(self, packed, encoder, hybrid):
        model = make_model(packed, encoder, hybrid=hybrid)
        model(packed.batch(range(len(packed)))).square().sum().backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None]
        assert silent == []


@pytest.mark.parametrize(
    ("encoder", "reads_bonds"),
    [("attentivefp", True), ("gat", True), ("gin", True), ("gcn", False), ("sage", False)],
)
def test_bond_features_matter_to_the_encoders_that_read_them(packed, encoder, reads_bonds):
    model = make_model(packed, encoder)
    batch = packed.batch([0])
    changed = dataclasses.replace(batch, edge_attr=batch.edge_attr.roll(1, dims=1))
    assert torch.equal(model(changed), model(batch)) is not reads_bonds


@pytest.mark.parametrize("encoder", ENCODERS)
def test_only_the_hybrid_network_reads_the_fingerprint(packed, encoder):
    batch = packed.batch([0, 3])
    blank = dataclasses.replace(batch, fingerprint=torch.zeros_like(batch.fingerprint))
    hybrid, standard = make_model(packed, encoder), make_model(packed, encoder, hybrid=False)
    assert not torch.allclose(hybrid(blank), hybrid(batch))
    assert torch.equal(standard(blank), standard(batch))


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [("attentivefp", AttentiveFP), ("gat", GAT), ("gcn", GCN), ("sage", GraphSAGE)],
)
def test_encoders_are_those_of_torch_geometric(packed, encoder, kind):
    assert type(make_model(packed, encoder).encoder) is kind


def test_gin_is_built_from_the_layer_that_reads_bonds(packed):
    layers = make_model(packed, "gin", layers=3).encoder.convs
    assert [type(layer) for layer in layers] == [GINEConv] * 3


@pytest.mark.parametrize(("layers", "sees_change"), [(1, False), (2, False), (3, True)])
def test_an_atom_sees_as_many_bonds_away_as_there_are_layers(layers, sees_change):
    # butyl chain: atom 0 is three bonds from the last atom
    chains = featurize(["CCCC"], fingerprint="none")
    model = make_model(chains, "gcn", hybrid=False, layers=layers).encoder
    batch = chains.batch([0])
    x = batch.x.clone()
    x[3] = x[3].roll(1)
    first, changed = model(batch.x, batch.edge_index)[0], model(x, batch.edge_index)[0]
    assert torch.allclose(first, changed) is not sees_change


def test_one_label_gives_one_column(packed):
    assert make_model(packed, n_outputs=1)(packed.batch([0, 1])).shape == (2, 1)


@pytest.mark.parametrize("missing", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_molecule_without_atoms_is_an_error_and_never_a_shifted_row(packed, missing):
    batch = packed.batch([0, 3])
    owner = batch.batch + (batch.batch >= missing).long()
    broken = dataclasses.replace(
        batch, batch=owner, num_graphs=3, fingerprint=batch.fingerprint[[0, 0, 1]]
    )
    with pytest.raises(ValueError, match=r"1 of 3 molecules of the batch have no atoms"):
        make_model(packed)(broken)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder": "attentive"}, r"encoder='attentive' is not known; use one of attentivefp"),
        ({"hidden": 0}, r"hidden=0 is not a size"),
        ({"layers": 0}, r"layers=0 is not a size"),
        ({"dropout": 1.0}, r"dropout=1.0 is not a share"),
    ],
)
def test_impossible_sizes_are_refused_by_name(packed, wrong, message):
    with pytest.raises(ParameterError, match=message):
        HybridGNN(packed.node_dim, packed.edge_dim, 2, **wrong)
