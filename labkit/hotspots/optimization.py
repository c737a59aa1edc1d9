"""How a network is trained: optimizer and threads.

`torch.optim.Adam` imports torch's compiler with its first step: three seconds and 80 MB in every
process, for something never used here. `Adam` calls the same update without it,
`torch.optim.adam.adam`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Adam:
    """Adam with gradients clipped by their norm.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
    lr : float
        Learning rate.
    max_norm : float
        A longer gradient is scaled down to this norm.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, max_norm: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.lr, self.max_norm = lr, max_norm
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        with torch.no_grad():
            adam(
                self.parameters,
                [p.grad for p in self.parameters if p.grad is not None],
                self.first,
                self.second,
                [],
                self.steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.lr,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        for p in self.parameters:
            p.grad = None


class _Settings:
    """Who calculates reproducibly now, and what torch was set to before."""

    lock = threading.Lock()
    users = 0
    threads = 1
    deterministic = False


@contextmanager
def reproducible() -> Iterator[None]:
    """Let torch calculate in one thread, and on a GPU with deterministic convolutions only.

    Images this small gain nothing from more threads, and sums in one thread have one order. May be
    entered by several threads at a time; what was set before comes back with the last that leaves.
    """
    with _Settings.lock:
        if _Settings.users == 0:
            _Settings.threads = torch.get_num_threads()
            _Settings.deterministic = torch.backends.cudnn.deterministic
        _Settings.users += 1
        torch.set_num_threads(1)
        torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        with _Settings.lock:
            _Settings.users -= 1
            if _Settings.users == 0:
                torch.set_num_threads(_Settings.threads)
                torch.backends.cudnn.deterministic = _Settings.deterministic
