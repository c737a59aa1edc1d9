"""How a network is trained: step size, and when to stop."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from labkit.oversampling.losses import MaskedLoss


class BestEpoch:
    """Keeps the weights of the epoch with the lowest validation loss, if patience is given."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.loss = np.inf
        self.waited = 0
        self.state: dict[str, Tensor] | None = None

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def offer(self, loss: float, model: nn.Module) -> None:
        """Tell the validation loss after one more epoch."""
        self.waited += 1
        if self.patience is not None and loss < self.loss:
            self.loss, self.waited = loss, 0
            self.state = copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights of its best epoch, if any were kept."""
        if self.state is not None:
            model.load_state_dict(self.state)


def fit_head(
    head: nn.Module,
    inputs: Tensor,
    target: Tensor,
    criterion: MaskedLoss,
    epochs: int,
    lr: float,
    batch_size: int,
) -> None:
    """Train the layers that read embeddings, with Adam at a constant rate."""
    head.train()
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(batch_size):
            optimizer.zero_grad()
            criterion(head(inputs[chosen]), target[chosen]).backward()
            optimizer.step()
    head.eval()


def warm_cosine(step: int, steps: int) -> float:
    """Share of the highest learning rate: a linear rise over a tenth, then half a cosine to 0."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
