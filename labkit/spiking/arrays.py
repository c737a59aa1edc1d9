"""What the clocked engine asks of an array library, for numpy.

The engine of `labkit.spiking.clocked` is written once. Most of what it does is spelled the same in
numpy and torch (`NumpyArrays.module`); what is not, is a method here and in
`labkit.spiking.engine_torch`.

Notation: B runs that advance together; an event (b, i) is a spike of neuron i in run b.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

EXACT_IN_FLOAT32 = 1 << 24


class NumpyArrays:
    """Arrays on the CPU.

    Attributes
    ----------
    module
        Holds ``where``, ``clip``, ``zeros_like``, ``int32``, ...
    """

    module: Any = np

    def array(self, values: np.ndarray) -> Any:
        """Array of the library with the values of a numpy array."""
        return values

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Zeros of a dtype given by name."""
        return np.zeros(shape, dtype=dtype)

    def whole(self, values: Any) -> Any:
        """Values as int32."""
        return values.astype(np.int32)

    def index(self, values: Any) -> Any:
        """Values in the type that indexes."""
        return values

    def numpy(self, values: Any) -> np.ndarray:
        """Values as a numpy array."""
        return np.asarray(values)

    def events(self, spikes: Any) -> tuple[Any, ...]:
        """Run and neuron of each spike of (n, B), ordered by run."""
        return np.nonzero(spikes.T)

    def sum_by_run(self, rows: Any, runs: Any, n_runs: int) -> Any:
        """Sum of the rows (n_events, m) of each run, int32 of shape (n_runs, m); runs ascend."""
        sums = np.zeros((n_runs, rows.shape[1]), dtype=np.int32)
        if len(runs):
            starts = np.flatnonzero(np.diff(runs, prepend=-1))
            sums[runs[starts]] = np.add.reduceat(rows, starts, axis=0, dtype=np.int32)
        return sums

    def add_at(self, target: Any, rows: Any, columns: Any, values: Any) -> None:
        """Add each value to its place in a matrix; places may repeat."""
        np.add.at(target, (rows, columns), values)

    def matrix(self, weights: Any) -> Any:
        """Weights (n_post, n_pre), dense or csr_matrix, as `product` takes them."""
        if sparse.issparse(weights):
            return weights
        bound = int(np.abs(weights).sum(axis=1, dtype=np.int64).max(initial=0))
        return weights.astype(np.float32 if bound < EXACT_IN_FLOAT32 else np.float64)

    def product(self, matrix: Any, spikes: Any) -> Any:
        """Weights summed over the spikes (n_pre, B) of each run, int32 of shape (n_post, B)."""
        if sparse.issparse(matrix):
            return matrix @ spikes.astype(np.int32)
        if spikes.shape[1] == 1:
            chosen = matrix[:, np.flatnonzero(spikes[:, 0])]
            return chosen.sum(axis=1, keepdims=True).astype(np.int32)
        return (matrix @ spikes.astype(matrix.dtype)).astype(np.int32)
