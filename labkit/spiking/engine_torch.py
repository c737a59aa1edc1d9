"""What the clocked engine asks of an array library, for torch: on the CPU or a GPU.

All sums are exact: matrix products of integers run in double precision, which holds every integer
below 2^53, and sparse ones add 32-bit integers, whose order does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse

from labkit.errors import ParameterError


class TorchArrays:
    """Tensors on a device; the methods are those of `labkit.spiking.arrays.NumpyArrays`.

    Parameters
    ----------
    device : str
        As torch names it: "cpu", "cuda", "cuda:1".
    """

    module: Any = torch

    def __init__(self, device: str = "cpu") -> None:
        try:
            self._device = torch.empty(1, device=device).device
        except (RuntimeError, AssertionError) as cause:
            raise ParameterError(
                f"device={device!r} cannot be used: {str(cause).splitlines()[0]} Use 'cpu'."
            ) from cause

    def array(self, values: np.ndarray) -> torch.Tensor:
        """Tensor with the values of a numpy array."""
        return torch.tensor(values, device=self._device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        """Zeros of a dtype given by name."""
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=self._device)

    def whole(self, values: torch.Tensor) -> torch.Tensor:
        """Values as int32."""
        return values.to(torch.int32)

    def index(self, values: torch.Tensor) -> torch.Tensor:
        """Values in the type that indexes."""
        return values.to(torch.int64)

    def numpy(self, values: torch.Tensor) -> np.ndarray:
        """Values as a numpy array."""
        return values.cpu().numpy()

    def events(self, spikes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run and neuron of each spike of (n, B), ordered by run."""
        return torch.nonzero(spikes.T, as_tuple=True)

    def sum_by_run(self, rows: torch.Tensor, runs: torch.Tensor, n_runs: int) -> torch.Tensor:
        """Sum of the rows (n_events, m) of each run, int32 of shape (n_runs, m)."""
        return self.zeros((n_runs, rows.shape[1]), "int32").index_add_(0, runs, rows)

    def add_at(
        self,
        target: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        values: torch.Tensor,
    ) -> None:
        """Add each value to its place in a matrix; places may repeat."""
        target.index_put_((rows, columns), values, accumulate=True)

    def matrix(self, weights: Any) -> Any:
        """Weights (n_post, n_pre), dense or csr_matrix, as `product` takes them."""
        if not sparse.issparse(weights):
            return self.array(weights.astype(np.float64))
        entries = weights.tocoo()
        post, pre = (self.array(ends.astype(np.int64)) for ends in (entries.row, entries.col))
        return post, pre, self.array(entries.data.astype(np.int32))[:, None], weights.shape[0]

    def product(self, matrix: Any, spikes: torch.Tensor) -> torch.Tensor:
        """Weights summed over the spikes (n_pre, B) of each run, int32 of shape (n_post, B)."""
        if isinstance(matrix, torch.Tensor):
            return (matrix @ spikes.to(torch.float64)).to(torch.int32)
        post, pre, values, n_post = matrix
        sums = self.zeros((n_post, spikes.shape[1]), "int32")
        return sums.index_add_(0, post, values * spikes[pre])
