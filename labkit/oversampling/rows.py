"""Rows that a model is trained on: an index into the molecules, targets and perhaps more.

Oversampling repeats an index; it never copies a graph. A synthetic row of MLSMOTE has the index of
its seed molecule and a fingerprint of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from labkit.errors import ParameterError
from labkit.oversampling.featurize import GraphBatch, PackedMolecules


@dataclass(frozen=True)
class TrainingRows:
    """What `fit` of every model of this study reads.

    Attributes
    ----------
    index : ndarray of int, shape (n_rows,)
        Molecule of each row.
    Y : ndarray of shape (n_rows, n_outputs)
        Targets; nan where unknown.
    fingerprint : ndarray of shape (n_rows, n_bits), or None
        Fingerprint of each row where it is not that of its molecule.
    weight : ndarray of shape (n_rows,), or None
        Weight of each row in the loss.
    """

    index: np.ndarray
    Y: np.ndarray
    fingerprint: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: np.ndarray) -> TrainingRows:
        """Some of the rows, in the order given."""
        own = None if self.fingerprint is None else self.fingerprint[chosen]
        weight = None if self.weight is None else self.weight[chosen]
        return TrainingRows(self.index[chosen], self.Y[chosen], own, weight)

    def features(self, packed: PackedMolecules) -> np.ndarray:
        """Fingerprints of the rows, shape (n_rows, n_bits)."""
        if self.fingerprint is not None:
            return self.fingerprint
        return packed.fingerprint[self.index]

    def batch(
        self, packed: PackedMolecules, chosen: np.ndarray, device: torch.device
    ) -> GraphBatch:
        """Graphs of some rows, with the rows' own fingerprints, on a device."""
        batch = packed.batch(self.index[chosen])
        if self.fingerprint is not None:
            own = torch.as_tensor(self.fingerprint[chosen], dtype=torch.float32)
            batch = dataclasses.replace(batch, fingerprint=own)
        return batch.to(device)


def training_rows(
    packed: PackedMolecules,
    Y: np.ndarray,
    rows: np.ndarray | None = None,
    fingerprint: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
) -> TrainingRows:
    """Check the arguments of a `fit` against each other.

    Parameters
    ----------
    packed : PackedMolecules
        The molecules.
    Y : ndarray of shape (n_rows, n_outputs)
        Targets.
    rows : ndarray of int, shape (n_rows,), optional
        Molecule of each row; all in order if not given.
    fingerprint : ndarray of shape (n_rows, n_bits), optional
        Fingerprint of each row.
    sample_weight : ndarray of shape (n_rows,), optional
        Weight of each row.

    Returns
    -------
    TrainingRows

    Raises
    ------
    ParameterError
        If lengths differ, an index has no molecule, a weight is negative or nothing is known.
    """
    Y = np.asarray(Y, dtype=float)
    index = np.arange(len(packed)) if rows is None else np.asarray(rows, dtype=np.int64)
    if Y.ndim != 2 or len(Y) != len(index):
        raise ParameterError(
            f"Y has shape {Y.shape} for {len(index)} rows; give one line of targets a row, "
            "shape (n_rows, n_outputs)."
        )
    if len(index) == 0 or np.isnan(Y).all():
        raise ParameterError(f"Y of shape {Y.shape} has no known value; there is nothing to fit.")
    if index.min() < 0 or index.max() >= len(packed):
        raise ParameterError(
            f"rows reach from {index.min()} to {index.max()} but there are {len(packed)} "
            "molecules; rows are positions among the valid molecules."
        )
    if fingerprint is not None and fingerprint.shape != (len(index), packed.fingerprint.shape[1]):
        raise ParameterError(
            f"fingerprint has shape {fingerprint.shape}; "
            f"give {(len(index), packed.fingerprint.shape[1])}, one fingerprint a row."
        )
    return TrainingRows(index, Y, fingerprint, _weights(sample_weight, len(index)))


def _weights(weight: np.ndarray | None, n: int) -> np.ndarray | None:
    if weight is None:
        return None
    weight = np.asarray(weight, dtype=float)
    if weight.shape != (n,) or not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
        raise ParameterError(
            f"sample_weight has shape {weight.shape}; give {n} finite weights of 0 or more, "
            "not all 0."
        )
    return weight
