"""Graph convolution and graph attention networks with their published settings.

The models are torch_geometric's. What is set here is the training that the papers describe, on
words scaled to sum 1 for each paper:

=============  ======================  ==========================================
setting        GCN [1]_                GAT [2]_
=============  ======================  ==========================================
layers         16 hidden units         8 heads of 8 units, then 1 head
dropout        0.5                     0.6, also of the attention
learning rate  0.01                    0.005
weight decay   5e-4, first layer only  5e-4
=============  ======================  ==========================================

These are the settings for Cora and Citeseer. Both see 200 epochs of Adam. The papers stop early by
the validation loss; here the epoch with the best validation accuracy is kept (at a tie that with
the lowest loss), which needs no patience to be chosen. Dropout of a word that is absent changes
nothing, so the words stay sparse.

Training runs in one thread and leaves torch's random numbers as they were: a seed gives one result.

References
----------
.. [1] Kipf and Welling, Semi-supervised classification with graph convolutional networks,
   ICLR 2017, section 5.2.
.. [2] Velickovic et al., Graph attention networks, ICLR 2018, section 3.3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from labkit.spiking.neighbors import inverse_root, words_of

if TYPE_CHECKING:
    import torch

    from labkit.spiking.graphs import CitationGraph

EPOCHS = 200


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """Outputs of a network at its best epoch.

    Attributes
    ----------
    scores : ndarray of shape (n_papers, n_topics)
        Log-probabilities up to a constant for each paper.
    epoch : int
        Epoch that was kept, from 1.
    validation : float
        Accuracy on the validation papers at that epoch; nan without such papers.
    seconds : float
        Wall time of the training.
    """

    scores: np.ndarray
    epoch: int
    validation: float
    seconds: float


def train_gcn(graph: CitationGraph, *, seed: int, epochs: int = EPOCHS) -> TrainedNetwork:
    """Train a graph convolution network of two layers.

    Parameters
    ----------
    graph : CitationGraph
        With words.
    seed : int
        Of the weights and of dropout.
    epochs : int

    Returns
    -------
    TrainedNetwork
    """
    from torch_geometric.nn.models import GCN

    with _reproducible(seed):
        model = GCN(_n_words(graph), 16, 2, graph.n_topics, dropout=0.5, cached=True)
        groups = [
            {"params": model.convs[0].parameters(), "weight_decay": 5e-4},
            {"params": model.convs[1].parameters(), "weight_decay": 0.0},
        ]
        return _train(model, groups, graph, lr=0.01, dropout=0.5, epochs=epochs)


def train_gat(graph: CitationGraph, *, seed: int, epochs: int = EPOCHS) -> TrainedNetwork:
    """Train a graph attention network of two layers; arguments as of `train_gcn`."""
    from torch_geometric.nn import GATConv
    from torch_geometric.nn.models import GAT

    with _reproducible(seed):
        model = GAT(_n_words(graph), 64, 2, graph.n_topics, dropout=0.6, heads=8, act="elu")
        model.convs[1] = GATConv(64, graph.n_topics, heads=1, concat=False, dropout=0.6)
        groups = [{"params": model.parameters(), "weight_decay": 5e-4}]
        return _train(model, groups, graph, lr=0.005, dropout=0.6, epochs=epochs)


def _n_words(graph: CitationGraph) -> int:
    return int(words_of(graph).shape[1])


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread and a seed, both only inside."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _train(
    model: torch.nn.Module,
    groups: list[dict[str, Any]],
    graph: CitationGraph,
    *,
    lr: float,
    dropout: float,
    epochs: int,
) -> TrainedNetwork:
    import torch
    from torch.nn.functional import cross_entropy

    start = time.perf_counter()
    words = _sparse_words(graph)
    edges = torch.as_tensor(np.concatenate([graph.edges, graph.edges[::-1]], axis=1))
    labels = torch.as_tensor(graph.labels)
    train, validation = torch.as_tensor(graph.train), torch.as_tensor(graph.validation)
    optimizer = torch.optim.Adam(groups, lr=lr)
    best: tuple[float, float] = (-1.0, 0.0)
    kept = TrainedNetwork(np.empty(0), 0, float("nan"), 0.0)
    for epoch in range(1, epochs + 1):
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(_dropped(words, dropout), edges)[train], labels[train]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            output = model(words, edges)
        standing = _standing(output[validation], labels[validation])
        if not len(validation) or standing > best:
            best = standing
            accuracy = standing[0] if len(validation) else float("nan")
            kept = TrainedNetwork(output.numpy(), epoch, accuracy, 0.0)
    return TrainedNetwork(kept.scores, kept.epoch, kept.validation, time.perf_counter() - start)


def _standing(output: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Accuracy and negative loss: the larger the better."""
    from torch.nn.functional import cross_entropy

    if not len(labels):
        return 0.0, 0.0
    right = int((output.argmax(dim=1) == labels).sum())
    return right / len(labels), -float(cross_entropy(output, labels))


def _sparse_words(graph: CitationGraph) -> torch.Tensor:
    """Words of each paper scaled to sum 1, a sparse tensor."""
    import torch

    words = words_of(graph)
    total = np.asarray(words.sum(axis=1)).ravel()
    scaled = sparse.coo_matrix(sparse.diags(inverse_root(total) ** 2) @ words)
    return torch.sparse_coo_tensor(
        torch.as_tensor(np.stack([scaled.row, scaled.col]).astype(np.int64)),
        torch.as_tensor(scaled.data.astype(np.float32)),
        scaled.shape,
        check_invariants=True,
    ).coalesce()


def _dropped(words: torch.Tensor, p: float) -> torch.Tensor:
    """The words with entries dropped with probability p, the others scaled up."""
    import torch
    from torch.nn.functional import dropout

    return torch.sparse_coo_tensor(
        words.indices(),
        dropout(words.values(), p),
        words.shape,
        is_coalesced=True,
        check_invariants=False,
    )
