"""Standard and hybrid graph networks for molecules.

A molecule's graph goes through one of torch-geometric's own encoders to a vector of ``hidden``
numbers. The *standard* network predicts all effects from it; the *hybrid* network first joins it
with a learned projection of the molecule's fingerprint [1]_::

    graph -> encoder ----------------------------+
                                                 +--> concatenate -> linear -> ReLU -> linear
    fingerprint -> linear -> ReLU -> dropout ----+

No layer looks across the molecules of a batch (no batch normalization), so a prediction does not
depend on what else is in the batch, and integer weights equal clones exactly.

========== ============================================ ============ =======================
encoder    torch-geometric class                        bond types   pooling over atoms
========== ============================================ ============ =======================
attentivefp `torch_geometric.nn.AttentiveFP` [2]_       yes          its own attention
gat        `torch_geometric.nn.GAT`, version 2          yes          mean, sum and maximum
gin        `BasicGNN` with `GINEConv`                   yes          mean, sum and maximum
gcn        `torch_geometric.nn.GCN`                     no           mean, sum and maximum
sage       `torch_geometric.nn.GraphSAGE`               no           mean, sum and maximum
========== ============================================ ============ =======================

References
----------
.. [1] Bose and Cong, arXiv 2410.09280: the idea of the hybrid. Its layer sizes are not known to us.
.. [2] Xiong et al., J. Med. Chem. 63 (2020) 8749-8760.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    GAT,
    GCN,
    MLP,
    AttentiveFP,
    GINEConv,
    GraphSAGE,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
)
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.models.basic_gnn import BasicGNN

from labkit.errors import ParameterError
from labkit.oversampling.featurize import GraphBatch

ENCODERS = ("attentivefp", "gcn", "gat", "gin", "sage")
SUM_POOL_SCALE = 25.0
"""Sum pooling is divided by this, about the number of heavy atoms of a drug."""


class GINE(BasicGNN):
    """torch-geometric's GIN with the layer that reads bond features (`GINEConv`)."""

    supports_edge_weight = False
    supports_edge_attr = True
    supports_norm_batch = True

    def init_conv(
        self, in_channels: int | tuple[int, int], out_channels: int, **kwargs: Any
    ) -> MessagePassing:
        """One layer: a two-layer perceptron inside `GINEConv`."""
        perceptron = MLP([in_channels, out_channels, out_channels], act=self.act, norm=None)
        return GINEConv(perceptron, **kwargs)


class HybridGNN(nn.Module):
    """Graph encoder, optionally joined with a fingerprint, and a linear head for all effects.

    Parameters
    ----------
    node_dim, edge_dim : int
        Atom and bond features (`PackedMolecules.node_dim`, ``edge_dim``).
    n_outputs : int
        Number of effects.
    encoder : {"attentivefp", "gcn", "gat", "gin", "sage"}
        Graph encoder.
    fingerprint_dim : int
        Bits of the fingerprint; 0 gives the standard network.
    hidden : int
        Width of the encoder and the head.
    layers : int
        Message-passing layers: how many bonds away an atom sees.
    timesteps : int
        Read-out steps of AttentiveFP; other encoders ignore it.
    dropout : float
        Share of activations dropped in training.

    Raises
    ------
    ParameterError
        If the encoder is not known or a size is not positive.

    Examples
    --------
    >>> model = HybridGNN(20, 6, 3, encoder="gin", fingerprint_dim=128, hidden=16)
    >>> model.embedding_dim
    32
    """

    def __init__(
        self,
        node_dim: int,
        edge_dim: int,
        n_outputs: int,
        *,
        encoder: str = "attentivefp",
        fingerprint_dim: int = 0,
        hidden: int = 64,
        layers: int = 2,
        timesteps: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_sizes(encoder, hidden=hidden, layers=layers, timesteps=timesteps, dropout=dropout)
        self.encoder_name = encoder
        self.fingerprint_dim = fingerprint_dim
        self.hidden = hidden
        self.encoder = _make_encoder(
            encoder, node_dim, edge_dim, hidden, layers, timesteps, dropout
        )
        self.pooled = nn.Identity() if encoder == "attentivefp" else nn.Linear(3 * hidden, hidden)
        self.fingerprint_branch = (
            nn.Sequential(nn.Linear(fingerprint_dim, hidden), nn.ReLU(), nn.Dropout(dropout))
            if fingerprint_dim
            else None
        )
        self.embedding_dim = hidden * (2 if fingerprint_dim else 1)
        self.head = nn.Sequential(
            nn.Linear(self.embedding_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_outputs),
        )

    def embed(self, batch: GraphBatch) -> Tensor:
        """Joint vector of graph and fingerprint, the input of the head.

        Parameters
        ----------
        batch : GraphBatch
            As `PackedMolecules.batch` gives it.

        Returns
        -------
        Tensor of shape (num_graphs, embedding_dim)

        Raises
        ------
        ValueError
            If a graph of the batch has no atoms: torch-geometric would leave it out silently and
            every later prediction would belong to the wrong molecule.
        """
        atoms = torch.bincount(batch.batch, minlength=batch.num_graphs)
        if len(atoms) != batch.num_graphs or not bool(atoms.all()):
            raise ValueError(
                f"{int((atoms == 0).sum())} of {batch.num_graphs} molecules of the batch have no "
                "atoms and cannot be predicted; drop invalid SMILES first, as featurize does."
            )
        graph = self._encode(batch)
        if self.fingerprint_branch is None:
            return graph
        return torch.cat([graph, self.fingerprint_branch(batch.fingerprint)], dim=1)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Logits (multilabel) or scaled values (regression) of shape (num_graphs, n_outputs)."""
        return self.head(self.embed(batch))

    def _encode(self, batch: GraphBatch) -> Tensor:
        if self.encoder_name == "attentivefp":
            return self.encoder(batch.x, batch.edge_index, batch.edge_attr, batch.batch)
        if self.encoder.supports_edge_attr:
            atoms = self.encoder(batch.x, batch.edge_index, edge_attr=batch.edge_attr)
        else:
            atoms = self.encoder(batch.x, batch.edge_index)
        pools = (
            global_mean_pool(atoms, batch.batch),
            global_add_pool(atoms, batch.batch) / SUM_POOL_SCALE,
            global_max_pool(atoms, batch.batch),
        )
        return torch.relu(self.pooled(torch.cat(pools, dim=1)))


def _make_encoder(
    name: str,
    node_dim: int,
    edge_dim: int,
    hidden: int,
    layers: int,
    timesteps: int,
    dropout: float,
) -> nn.Module:
    if name == "attentivefp":
        return AttentiveFP(node_dim, hidden, hidden, edge_dim, layers, timesteps, dropout)
    size = {"in_channels": node_dim, "hidden_channels": hidden, "num_layers": layers}
    if name == "gat":
        return GAT(**size, v2=True, heads=_heads(hidden), edge_dim=edge_dim, dropout=dropout)
    if name == "gin":
        return GINE(**size, edge_dim=edge_dim, dropout=dropout)
    return {"gcn": GCN, "sage": GraphSAGE}[name](**size, dropout=dropout)


def _heads(hidden: int) -> int:
    """Attention heads of the GAT: 4 where they divide the width."""
    return 4 if hidden % 4 == 0 else 1


def _check_sizes(encoder: str, *, dropout: float, **sizes: int) -> None:
    if encoder not in ENCODERS:
        raise ParameterError(f"encoder={encoder!r} is not known; use one of {', '.join(ENCODERS)}.")
    for name, value in sizes.items():
        if value < 1:
            raise ParameterError(f"{name}={value} is not a size; use 1 or more.")
    if not 0 <= dropout < 1:
        raise ParameterError(f"dropout={dropout} is not a share; use 0 <= dropout < 1.")
