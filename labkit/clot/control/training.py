r"""Training of the controllers' networks from a label table, and the shipped weights from theirs.

The network of `labkit.clot.control.learned` is trained with the pinball loss, the least of which is
at the quantile q = 0.9 of the log error y [1]_::

    L(y, f) = max(q (y - f), (q - 1) (y - f))

The recurrent variant of `labkit.clot.control.autoencoder` first learns to reconstruct the series
(mean squares), and then, with a frozen encoder, its two heads (cross entropy).

Validation is by trajectory: snapshots of one trajectory resemble each other, so a network that was
trained on some of them would only have to remember. `folds` tests each trajectory with a network
that saw no trajectory of the same seed or of the same shear rate.

``python -m labkit.clot.control.training`` makes the shipped weights again from the shipped labels.

References
----------
.. [1] Koenker and Bassett, Econometrica 46 (1978) 33.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit.choices import not_allowed
from labkit.clot.control.autoencoder import CELLS, SeriesNetwork
from labkit.clot.control.examples import JUMPS, UNKNOWN, Examples, examples
from labkit.clot.control.features import FEATURES, LENGTH
from labkit.clot.control.learned import WEIGHTS, ErrorNetwork, default_tolerance
from labkit.clot.control.networks import TrainedNetwork
from labkit.clot.forcefield import ForceField
from labkit.clot.labels import LabelTable, TrajectoryLabels
from labkit.clot.scenes import scene
from labkit.errors import ParameterError

QUANTILE = 0.9
_CONSTANT = 1e-6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained.

    Attributes
    ----------
    steps : int
        Of the optimizer.
    hidden : int
        Width of every layer.
    batch : int
        Examples in a step.
    learning_rate, decay : float
        Of AdamW; the rate falls to 0 on half a cosine.
    noise : float
        Deviation of the noise added to standardized features.
    length : int
        Segments looked back on.
    seed : int
    """

    steps: int = 1000
    hidden: int = 24
    batch: int = 64
    learning_rate: float = 1e-2
    decay: float = 1e-2
    noise: float = 0.05
    length: int = LENGTH
    seed: int = 0


def train(
    table: LabelTable, *, forcefield: ForceField | None = None, training: Training | None = None
) -> ErrorNetwork:
    """Train the prediction of every plan's error.

    Parameters
    ----------
    table : LabelTable
        Of simulations with the same forces.
    forcefield : ForceField, optional
        Of these simulations. Default: that of their scenes.
    training : Training, optional

    Returns
    -------
    ErrorNetwork

    Raises
    ------
    ParameterError
        The table is empty, or its forces differ.
    """
    how = training or Training()
    forces = forcefield or forces_of(table)
    data = examples(table, tolerance=default_tolerance(forces), length=how.length, seed=how.seed)
    about = _about(data, table, forces, how)
    with _seeded(how.seed):
        module = ErrorModule(len(table.plans), how.hidden)
        module.start_at(data.log_errors)
        batches = _Batches(data, about, how)
        _fit(module.parameters(), batches, lambda b: pinball(module(*b[:3]), b[3]), how)
    return ErrorNetwork(weights=_arrays(module), **about)


def train_autoencoder(
    table: LabelTable,
    *,
    cell: str,
    tolerance: float | None = None,
    forcefield: ForceField | None = None,
    training: Training | None = None,
) -> SeriesNetwork:
    """Train the recurrent variant of the papers.

    Parameters
    ----------
    cell : str
        "lstm" or "gru".
    tolerance : float, optional
        For the classes [rc]. Default: `default_tolerance`.
    table, forcefield, training
        As those of `train`.

    Returns
    -------
    SeriesNetwork
    """
    if cell not in CELLS:
        raise ParameterError(not_allowed("cell", cell, CELLS))
    how = training or Training()
    forces = forcefield or forces_of(table)
    tolerance = tolerance or default_tolerance(forces)
    data = examples(table, tolerance=tolerance, length=how.length, seed=how.seed)
    about = _about(data, table, forces, how)
    with _seeded(how.seed):
        module = SeriesModule(cell, len(table.plans), how.hidden)
        batches = _Batches(data, about, how)
        _fit(module.memory.parameters(), batches, module.reconstruction_loss, how)
        _fit(module.heads.parameters(), batches, module.class_loss, how)
    extra = {"cell": cell, "tolerance": tolerance}
    return SeriesNetwork(weights=module.kept(), extra=extra, **about)


def forces_of(table: LabelTable) -> ForceField:
    """Return the force field that the table's scenes share; one without receptors is part of it.

    Raises
    ------
    ParameterError
        The table is empty, or its forces differ.
    """
    if not table.trajectories:
        raise ParameterError("table has no trajectories; make labels first.")
    kinds = {
        (t.trajectory.scene, json.dumps(dict(t.trajectory.changes), sort_keys=True))
        for t in table.trajectories
    }
    found = [scene(name, **json.loads(changes)).forcefield for name, changes in sorted(kinds)]
    whole = next((forces for forces in found if forces.receptors), found[0])
    for forces in found:
        if forces not in (whole, dataclasses.replace(whole, receptors=None)):
            raise ParameterError(
                f"table has the forces {whole} and {forces}; train on one of them at a time."
            )
    return whole


def folds(table: LabelTable) -> Iterator[tuple[LabelTable, TrajectoryLabels]]:
    """Yield each trajectory with the table of those of another seed and another shear rate."""
    for tested in table.trajectories:
        others = tuple(t for t in table.trajectories if _independent(t, tested))
        if others:
            yield dataclasses.replace(table, trajectories=others), tested


class ErrorModule(nn.Module):
    """Network of `labkit.clot.control.learned` in torch.

    Parameters
    ----------
    n_plans, hidden : int
    """

    def __init__(self, n_plans: int, hidden: int) -> None:
        super().__init__()
        self.platelet = _dense(len(FEATURES), hidden, hidden)
        self.segments = nn.GRU(hidden, hidden)
        self.head = _dense(2 * hidden, hidden, n_plans)

    def start_at(self, log_errors: np.ndarray) -> None:
        """Set the last layer such that the first prediction is the median of each plan."""
        level = np.median(log_errors, axis=0)
        rise = np.log(np.expm1(np.maximum(np.diff(level), 0.01)))
        last: Any = self.head[-1]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor(np.concatenate([level[:1], rise])))

    def forward(self, x: Tensor, n_segments: Tensor, n_platelets: Tensor) -> Tensor:
        """Return log10 error quantiles, shape (B, K), of x, shape (B, n, P, F)."""
        hidden = _last(self.segments, self.platelet(x), n_segments)
        y = self.head(_pooled(hidden, n_platelets))
        return torch.cat([y[:, :1], functional.softplus(y[:, 1:])], dim=1).cumsum(dim=1)


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
        x, n_segments, n_platelets, _, classes, jumps = batch
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
            for name, array in _arrays(module).items()
        }


def pinball(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean pinball loss for the quantile `QUANTILE`."""
    miss = target - predicted
    return torch.maximum(QUANTILE * miss, (QUANTILE - 1) * miss).mean()


class _Batches:
    """Random batches without end, of standardized examples with a little noise."""

    def __init__(self, data: Examples, about: dict[str, Any], how: Training) -> None:
        x = (data.features - about["mean"]) / about["deviation"]
        self.arrays = [
            torch.tensor(x, dtype=torch.float32).clamp(-6, 6),
            torch.tensor(data.n_segments),
            torch.tensor(data.n_platelets),
            torch.tensor(data.log_errors, dtype=torch.float32),
            torch.tensor(data.classes),
            torch.tensor(data.jumps),
        ]
        self.size, self.noise = how.batch, how.noise

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            order = torch.randperm(len(self.arrays[0]))
            for rows in order.split(self.size):
                x, *rest = [array[rows] for array in self.arrays]
                yield [x + self.noise * torch.randn_like(x), *rest]


def _fit(
    parameters: Iterator[nn.Parameter],
    batches: _Batches,
    loss: Callable[[Sequence[Tensor]], Tensor],
    how: Training,
) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=how.decay)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    for batch in itertools.islice(batches, how.steps):
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()
        rate.step()


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


def _dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: w.detach().numpy().astype(float) for name, w in module.named_parameters()}


def _independent(one: TrajectoryLabels, other: TrajectoryLabels) -> bool:
    return one.trajectory.seed != other.trajectory.seed and one.shear_rate != other.shear_rate


def _about(
    data: Examples, table: LabelTable, forcefield: ForceField, how: Training
) -> dict[str, Any]:
    seen = data.known()
    deviation = seen.std(axis=0)
    return {
        "plans": table.plans,
        "mean": seen.mean(axis=0),
        "deviation": np.where(deviation > _CONSTANT, deviation, 1.0),
        "low": seen.min(axis=0),
        "high": seen.max(axis=0),
        "length": how.length,
        "segment": table.segment,
        "window": table.window,
        "forcefield": dataclasses.asdict(forcefield),
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make training repeatable, and leave torch's own random state and threads as they were."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all networks from a label table; the shipped ones from the shipped table by default."""
    parser = argparse.ArgumentParser(
        prog="python -m labkit.clot.control.training", description=main.__doc__
    )
    parser.add_argument("--table", type=Path, default=WEIGHTS / "labels.npz")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    table = LabelTable.load(chosen.table)
    forces = forces_of(table)
    networks: dict[str, TrainedNetwork] = {"learned": train(table, forcefield=forces)}
    for cell in CELLS:
        networks[f"autoencoder_{cell}"] = train_autoencoder(table, cell=cell, forcefield=forces)
    for name, network in networks.items():
        path = network.save(chosen.out / f"{name}.npz")
        _log.info("%s: %d bytes", path, path.stat().st_size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
