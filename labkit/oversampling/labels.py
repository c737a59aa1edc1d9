"""A label matrix that keeps "positive" and "measured" apart, with its imbalance.

What the measures mean, and their conventions, is said in `labkit.oversampling.imbalance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from labkit.errors import ParameterError

__all__ = ["LabelMatrix", "Labels", "read_labels"]

Labels: TypeAlias = Any
"""What is taken as Y: ndarray, nested list, DataFrame or scipy sparse with entries 0, 1, nan."""


_BLOCK_ROWS = 2048
# 5/3 and the mean of 1, 4/3, 2, 2, 2 are the same number, but not the same float.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class LabelMatrix:
    """A label matrix that keeps "positive" and "measured" apart.

    Attributes
    ----------
    positive : ndarray of bool, shape (n_samples, n_labels)
        True where the label is 1; False for 0 and for nan.
    known : ndarray of bool, shape (n_samples, n_labels)
        False where the label is nan.
    names : list of str
        One name per label.
    """

    positive: NDArray[np.bool_]
    known: NDArray[np.bool_]
    names: list[str]

    def __len__(self) -> int:
        return len(self.positive)

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return int(self.positive.shape[1])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows where each label is 1, shape (n_labels,)."""
        return self.positive.sum(axis=0, dtype=np.int64)

    @cached_property
    def irlbl(self) -> NDArray[np.float64]:
        """IRLbl of each label, nan where it is never positive."""
        return _ratio_per_label(self.counts)

    @cached_property
    def mean_ir(self) -> float:
        """MeanIR; nan when no label is ever positive."""
        occurring = self.irlbl[~np.isnan(self.irlbl)]
        return float(occurring.mean()) if occurring.size else float("nan")

    @cached_property
    def minority(self) -> NDArray[np.bool_]:
        """True where IRLbl > MeanIR, shape (n_labels,)."""
        return np.asarray(self.is_above_mean(self.irlbl))

    @cached_property
    def majority(self) -> NDArray[np.bool_]:
        """True where IRLbl < MeanIR, shape (n_labels,)."""
        return np.asarray(self.is_below_mean(self.irlbl))

    def is_above_mean(self, ratio: Any) -> Any:
        """Whether an IRLbl (or each of an array) is above MeanIR by more than rounding."""
        return ratio > self.mean_ir * (1 + _ROUNDING)

    def is_below_mean(self, ratio: Any) -> Any:
        """Whether an IRLbl (or each of an array) is below MeanIR by more than rounding."""
        return ratio < self.mean_ir * (1 - _ROUNDING)

    @cached_property
    def mixes(self) -> NDArray[np.bool_]:
        """True where SCUMBLE of the row is above the mean over rows, by more than rounding."""
        return self.scumble > self.scumble.mean() + _ROUNDING

    @cached_property
    def scumble(self) -> NDArray[np.float64]:
        """SCUMBLE of each row, shape (n_samples,)."""
        return _scumble_per_row(self.positive, self.irlbl)

    @cached_property
    def scumble_per_label(self) -> NDArray[np.float64]:
        """Mean SCUMBLE of the rows that have each label, nan where it is never positive."""
        total = np.zeros(self.n_labels)
        for i in range(0, len(self), _BLOCK_ROWS):
            total += self.scumble[i : i + _BLOCK_ROWS] @ self.positive[i : i + _BLOCK_ROWS]
        unknown = np.full(self.n_labels, np.nan)
        return np.divide(total, self.counts, out=unknown, where=self.counts > 0)

    @cached_property
    def labelsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labelset number of each row (in order of appearance), and the size of each labelset."""
        packed = np.ascontiguousarray(np.packbits(self.positive, axis=1))
        numbers: dict[bytes, int] = {}
        keys = packed.view(f"V{packed.shape[1]}").ravel().tolist()
        rows = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
        return rows, np.bincount(rows, minlength=len(numbers))

    def take(self, rows: NDArray[np.int64]) -> LabelMatrix:
        """The label matrix of these rows; a row may be named more than once."""
        return LabelMatrix(self.positive[rows], self.known[rows], self.names)

    def values(self) -> NDArray[np.float64]:
        """The matrix as float64 with nan where a label is not known."""
        return np.where(self.known, self.positive, np.nan)


def read_labels(Y: Labels, label_names: Sequence[str] | None = None) -> LabelMatrix:
    """Read and check a label matrix.

    Parameters
    ----------
    Y : ndarray, nested list, DataFrame or scipy sparse, shape (n_samples, n_labels)
        Entries 0, 1, or nan / ``pandas.NA`` where a label was not measured.
    label_names : sequence of str, optional
        One name per label; the default is the columns of a DataFrame, otherwise "0", "1", ...

    Returns
    -------
    LabelMatrix

    Raises
    ------
    ParameterError
        If Y is not two-dimensional, is empty, holds anything but 0, 1 and nan, or the number of
        names is not the number of labels.

    Examples
    --------
    >>> labels = read_labels([[1, 0], [1, float("nan")]])
    >>> labels.positive.sum(), labels.known.sum()
    (np.int64(2), np.int64(3))
    """
    values = _as_array(Y)
    if values.ndim != 2:
        raise ParameterError(
            f"Y has shape {values.shape}; a label matrix has shape (n_samples, n_labels). "
            "For a single label give Y.reshape(-1, 1)."
        )
    if 0 in values.shape:
        raise ParameterError(
            f"Y has shape {values.shape}; at least one row and one label are needed."
        )
    if label_names is None:
        label_names = [str(c) for c in Y.columns] if isinstance(Y, pd.DataFrame) else None
    names = [str(i) for i in range(values.shape[1])] if label_names is None else list(label_names)
    if len(names) != values.shape[1]:
        raise ParameterError(
            f"label_names has {len(names)} names, but Y has {values.shape[1]} labels."
        )
    positive = values == 1
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
    wrong = known & ~positive & (values != 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ParameterError(
            f"Y holds {values[row, column]:g} in row {row}, label {names[column]!r}; allowed are "
            "0, 1 and nan (not measured). MoleculeTable.threshold turns values into labels."
        )
    return LabelMatrix(positive, known, names)


def _as_array(Y: Labels) -> NDArray[Any]:
    if isinstance(Y, pd.DataFrame | pd.Series):
        try:
            return Y.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError) as exc:
            raise ParameterError(
                f"Y cannot be read as numbers ({exc}); its entries must be 0, 1 or nan."
            ) from exc
    if sparse.issparse(Y):
        return Y.toarray()
    try:
        values = np.asarray(Y)
        return values if values.dtype.kind in "fiub" else values.astype(float)
    except (TypeError, ValueError) as exc:
        raise ParameterError(
            f"Y cannot be read as a matrix of numbers ({exc}); its entries must be 0, 1 or nan."
        ) from exc


def _ratio_per_label(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.full(len(counts), np.nan)
    occurs = counts > 0
    if occurs.any():
        ratio[occurs] = counts.max() / counts[occurs]
    return ratio


def _scumble_per_row(
    positive: NDArray[np.bool_], ratio: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Through logarithms: the product of a few hundred ratios overflows.
    ratio = np.where(np.isnan(ratio), 1.0, ratio)
    n_active = positive.sum(axis=1)
    log_sum, total = _row_sums(positive, np.column_stack([np.log(ratio), ratio])).T
    several = n_active > 1
    k = n_active[several]
    value = np.zeros(len(positive))
    value[several] = 1.0 - np.exp(log_sum[several] / k) * k / total[several]
    return np.maximum(value, 0.0)


def _row_sums(positive: NDArray[np.bool_], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """`positive @ columns` in blocks of rows: the product needs the labels as float64."""
    starts = range(0, len(positive), _BLOCK_ROWS)
    return np.concatenate([positive[i : i + _BLOCK_ROWS].astype(float) @ columns for i in starts])
