r"""Training of the controllers' networks from a label table, and the shipped weights from theirs.

The network of `labkit.clot.control.learned` is trained with the pinball loss, the least of which is
at the quantile q of the log error y [1]_::

    L(y, f) = max(q (y - f), (q - 1) (y - f)),   q = 0.5 and 0.9

The recurrent variant of `labkit.clot.control.autoencoder` first learns to reconstruct the series
(mean squares), and then, with a frozen encoder, its two heads (cross entropy).

Validation is by trajectory: snapshots of one trajectory resemble each other, so a network that was
trained on some of them would only have to remember. `folds` tests each trajectory with a network
that saw none of the same seed and none of the same shear rate.

The shipped labels are of 48 trajectories, in half precision, and the shipped weights are what they
give::

    python -m labkit.clot.labels --folder labels --scene collision --rates .1 .2 .3 --seeds {0..9}
    python -m labkit.clot.labels --folder labels --scene clot --rates .1 .2 .3 --seeds {0..5}
    python -m labkit.clot.control.training --labels labels    # table and weights
    python -m labkit.clot.control.training                    # weights from the shipped table

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
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.choices import not_allowed, require_folder
from labkit.clot.control.autoencoder import CELLS, SeriesNetwork
from labkit.clot.control.examples import Examples, examples
from labkit.clot.control.features import LENGTH
from labkit.clot.control.learned import WEIGHTS, ErrorNetwork, default_tolerance
from labkit.clot.control.networks import CLIP, TrainedNetwork
from labkit.clot.control.torch_modules import ErrorModule, SeriesModule
from labkit.clot.forcefield import ForceField
from labkit.clot.labels import LabelTable
from labkit.clot.scenes import scene
from labkit.errors import LabkitError, ParameterError

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
    members : int
        Networks of which the prediction of errors is the mean.
    seed : int
    """

    steps: int = 400
    hidden: int = 32
    batch: int = 64
    learning_rate: float = 1e-2
    decay: float = 1e-2
    noise: float = 0.05
    length: int = LENGTH
    members: int = 3
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
        members = [_trained_member(data, about, how).kept() for _ in range(how.members)]
    weights = {name: np.stack([each[name] for each in members]) for name in members[0]}
    return ErrorNetwork(weights=weights, **about)


def _trained_member(data: Examples, about: dict[str, Any], how: Training) -> ErrorModule:
    module = ErrorModule(data.log_errors.shape[1], how.hidden)
    module.start_at(data.log_errors)
    _fit(module.parameters(), _Batches(data, about, how), module.loss, how)
    return module


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


def folds(table: LabelTable, *, groups: int = 3) -> Iterator[tuple[LabelTable, LabelTable]]:
    """Yield tables to train and to test on, which share neither seeds nor shear rates.

    Parameters
    ----------
    table : LabelTable
    groups : int
        Groups of seeds that are left out one after the other. For each of them, and each shear
        rate, the second table has the trajectories of these seeds at this rate, and the first one
        those of all other seeds at all other rates, unless that is none.
    """
    seeds = sorted({t.trajectory.seed for t in table.trajectories})
    rates = sorted({t.shear_rate for t in table.trajectories})
    for group, rate in itertools.product(range(groups), rates):
        out = set(seeds[group::groups])
        others, tested = [], []
        for t in table.trajectories:
            if t.trajectory.seed not in out and t.shear_rate != rate:
                others.append(t)
            elif t.trajectory.seed in out and t.shear_rate == rate:
                tested.append(t)
        if others and tested:
            yield (
                dataclasses.replace(table, trajectories=tuple(others)),
                dataclasses.replace(table, trajectories=tuple(tested)),
            )


class _Batches:
    """Random batches without end, of standardized examples with a little noise."""

    def __init__(self, data: Examples, about: dict[str, Any], how: Training) -> None:
        x = (data.features - about["mean"]) / about["deviation"]
        self.arrays = [
            torch.tensor(x, dtype=torch.float32).clamp(-CLIP, CLIP),
            torch.tensor(data.n_segments),
            torch.tensor(data.n_platelets),
            torch.tensor(data.log_errors, dtype=torch.float32),
            torch.tensor(data.own_errors, dtype=torch.float32),
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
    parser.add_argument("--table", type=Path, default=WEIGHTS / "labels.npz", help="to train from")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--labels", type=Path, help="folder of labels to make the table of, before")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _obey(chosen)
    except LabkitError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _obey(chosen: argparse.Namespace) -> None:
    require_folder("out", chosen.out)
    if chosen.labels:
        LabelTable.load(chosen.labels).save(chosen.table, half=True)
    table = LabelTable.load(chosen.table)
    forces = forces_of(table)
    networks: dict[str, TrainedNetwork] = {"learned": train(table, forcefield=forces)}
    for cell in CELLS:
        networks[f"autoencoder_{cell}"] = train_autoencoder(table, cell=cell, forcefield=forces)
    for name, network in networks.items():
        path = network.save(chosen.out / f"{name}.npz")
        _log.info("%s: %d bytes", path, path.stat().st_size)


if __name__ == "__main__":
    raise SystemExit(main())
