"""The networks of both learned controllers in torch, for training.

Names and shapes of the weights are those that `labkit.clot.control.networks` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.clot.control.examples import JUMPS, UNKNOWN
from labkit.clot.control.features import FEATURES
from labkit.clot.control.learned import QUANTILES


class ErrorModule(nn.Module):
    """Network of `labkit.clot.control.learned` in torch, with a head that only the training needs.

    That head learns the error of each platelet by itself, from its own state and what is pooled.
    There are P times as many of these as of largest errors, from which the layers below learn what
    makes an error.

    Parameters
    ----------
    n_plans, hidden : int
    """

    def __init__(self, n_plans: int, hidden: int) -> None:
        super().__init__()
        self.platelet = _dense(len(FEATURES), hidden, hidden)
        self.segments = nn.GRU(hidden, hidden)
        self.head = _dense(2 * hidden, hidden, len(QUANTILES) * n_plans)
        self.own = _dense(3 * hidden, hidden, len(QUANTILES) * n_plans)

    def start_at(self, log_errors: np.ndarray) -> None:
        """Set the last layers such that the first prediction is about the median of each plan."""
        level = np.median(log_errors, axis=0)
        rise = np.log(np.expm1(np.maximum(np.diff(level), 0.01)))
        for head in (self.head, self.own):
            last: Any = head[-1]
            with torch.no_grad():
                last.weight.mul_(0.1)
                start = np.concatenate([level[:1], rise])
                last.bias.copy_(torch.tensor(np.tile(start, len(QUANTILES))))

    def forward(self, x: Tensor, n_segments: Tensor, n_platelets: Tensor) -> Tensor:
        """Return log10 error quantiles, shape (B, Q, K), of x, shape (B, n, P, F)."""
        return self._errors(x, n_segments, n_platelets)[0]

    def loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the pinball losses of the largest and of each platelet's own error."""
        x, n_segments, n_platelets, log_errors, own_errors = batch[:5]
        largest, own = self._errors(x, n_segments, n_platelets)
        known = torch.arange(x.shape[2]) < n_platelets[:, None]
        return pinball(largest, log_errors) + pinball(own[known], own_errors[known])

    def kept(self) -> dict[str, np.ndarray]:
        """Return the weights that a controller needs."""
        found = arrays_of(self)
        return {name: array for name, array in found.items() if not name.startswith("own.")}

    def _errors(self, x: Tensor, n_segments: Tensor, n_platelets: Tensor) -> tuple[Tensor, Tensor]:
        hidden = _last(self.segments, self.platelet(x), n_segments)
        pooled = _pooled(hidden, n_platelets)
        around = pooled[:, None].expand(-1, hidden.shape[1], -1)
        return _rising(self.head(pooled)), _rising(self.own(torch.cat([hidden, around], dim=-1)))


class SeriesModule(nn.Module):
    """Network of `labkit.clot.control.autoencoder` in torch, with the decoder.

    Parameters
    ----------
    cell : str
    n_plans, hidden : int
    """

    def __init__(self, cell: str, n_plans: int, hidden: int) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.memory = nn.ModuleDict(
            {
                "encoder": layer(len(FEATURES), hidden),
                "decoder": layer(hidden, hidden),
                "readout": nn.Linear(hidden, len(FEATURES)),
            }
        )
        self.heads = nn.ModuleDict(
            {
                "step": _dense(2 * hidden, hidden, n_plans),
                "jump": _dense(2 * hidden, hidden, len(JUMPS)),
            }
        )

    def reconstruction_loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the mean square of what decoding adds to the known features."""
        x, n_segments, n_platelets = batch[:3]
        code = _last(self.memory["encoder"], x, n_segments)
        n = x.shape[1]
        read, _ = self.memory["decoder"](code.reshape(1, -1, code.shape[-1]).expand(n, -1, -1))
        again = self.memory["readout"](read).reshape(n, *x.shape[:1], *x.shape[2:])
        known = (torch.arange(n) < n_segments[:, None])[:, :, None] & (
            torch.arange(x.shape[2]) < n_platelets[:, None]
        )[:, None, :]
        return ((again.transpose(0, 1) - x)[known] ** 2).mean()

    def class_loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the cross entropy of both heads; the encoder learns nothing from it."""
        x, n_segments, n_platelets, _, _, classes, jumps = batch
        step, jump = self(x, n_segments, n_platelets)
        loss = functional.cross_entropy(step, classes)
        if (jumps != UNKNOWN).any():
            loss = loss + functional.cross_entropy(jump, jumps, ignore_index=UNKNOWN)
        return loss

    def forward(self, x: Tensor, n_segments: Tensor, n_platelets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of step classes and jumps, shapes (B, K) and (B, len(JUMPS))."""
        with torch.no_grad():
            code = _pooled(_last(self.memory["encoder"], x, n_segments), n_platelets)
        return self.heads["step"](code), self.heads["jump"](code)

    def kept(self) -> dict[str, np.ndarray]:
        """Return the weights that a controller needs: those of encoder and heads."""
        parts = {"encoder": self.memory["encoder"], **self.heads}
        return {
            f"{part}.{name}": array
            for part, module in parts.items()
            for name, array in arrays_of(module).items()
        }


def pinball(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the pinball loss of all quantiles, shape (..., Q, K), for targets (..., K).

    The sum over `QUANTILES` of the mean over all else.
    """
    q = torch.tensor(QUANTILES)[:, None]
    miss = target[..., None, :] - predicted
    return len(QUANTILES) * torch.maximum(q * miss, (q - 1) * miss).mean()


def _last(layer: nn.Module, x: Tensor, n_segments: Tensor) -> Tensor:
    """Return the hidden state after each example's last segment, shape (B, P, H)."""
    B, n, P, _ = x.shape
    out, _ = layer(x.transpose(0, 1).reshape(n, B * P, -1))
    rows = (n_segments - 1)[None, :, None, None].expand(1, B, P, out.shape[-1])
    return out.reshape(n, B, P, -1).gather(0, rows)[0]


def _pooled(hidden: Tensor, n_platelets: Tensor) -> Tensor:
    known = (torch.arange(hidden.shape[1]) < n_platelets[:, None])[:, :, None]
    largest = hidden.masked_fill(~known, -torch.inf).amax(dim=1)
    mean = (hidden * known).sum(dim=1) / n_platelets[:, None]
    return torch.cat([largest, mean], dim=1)


def _rising(y: Tensor) -> Tensor:
    """Return quantiles that never decrease with the plan, shape (..., Q K) to (..., Q, K)."""
    y = y.unflatten(-1, (len(QUANTILES), -1))
    return torch.cat([y[..., :1], functional.softplus(y[..., 1:])], dim=-1).cumsum(dim=-1)


def _dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of a module as arrays, by their names."""
    return {name: w.detach().numpy().astype(float) for name, w in module.named_parameters()}
