"""Rows in and rows out: the samplers give back the kind of container that they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import _safe_indexing

from labkit.errors import ParameterError

__all__ = ["append_rows", "number_of_rows", "read_features", "take_rows", "with_values"]


def number_of_rows(container: Any) -> int:
    """Rows of an array, DataFrame, sparse matrix or list."""
    shape = getattr(container, "shape", None)
    return len(container) if shape is None else int(shape[0])


def take_rows(container: Any, rows: NDArray[np.int64]) -> Any:
    """Rows of a container, in this order; a DataFrame gets a fresh 0..n-1 index."""
    if sparse.issparse(container):
        return container.tocsr()[rows].asformat(container.format)
    taken = _safe_indexing(container, rows)
    return taken.reset_index(drop=True) if isinstance(taken, pd.DataFrame | pd.Series) else taken


def append_rows(container: Any, block: Any) -> Any:
    """The container with the rows of `block` below its own.

    Parameters
    ----------
    container : ndarray, nested list, DataFrame or scipy sparse, shape (n, m)
    block : ndarray or CSR of shape (n_new, m)

    Returns
    -------
    same kind as `container`
        Integer columns stay integer where the new rows are integers (nan needs a float column).
    """
    if isinstance(container, pd.DataFrame):
        frame = _frame_like(container, block)
        return pd.concat([container, frame], ignore_index=True) if len(frame) else container.copy()
    if sparse.issparse(container):
        above = container.tocsr()
        below = type(above)(block)
        joined = sparse.vstack([above, below], format=container.format)
        kind = np.result_type(container.dtype, _column_type(container.dtype, below.data))
        return joined.astype(kind, copy=False)
    if isinstance(container, np.ndarray):
        kind = np.result_type(container.dtype, _column_type(container.dtype, block))
        return np.concatenate([container, block.astype(kind, copy=False)], dtype=kind)
    return [*container, *block.tolist()]


def with_values(container: Any, values: NDArray[Any]) -> Any:
    """These values in the kind of container that `container` is."""
    if isinstance(container, pd.DataFrame):
        return _frame_like(container, values)
    if sparse.issparse(container):
        return type(container.tocsr())(values).asformat(container.format)
    if isinstance(container, np.ndarray):
        return values.astype(_column_type(container.dtype, values), copy=False)
    return values.tolist()


def read_features(X: Any, sampler: str) -> Any:
    """Features as a dense array or CSR that distances can be computed on.

    Raises
    ------
    ParameterError
        If X is not a numeric matrix, or holds nan or infinity.
    """
    if sparse.issparse(X):
        features = X.tocsr()
        values = features.data
    else:
        features = X.to_numpy() if isinstance(X, pd.DataFrame) else np.asarray(X)
        if features.ndim != 2:
            raise ParameterError(
                f"X has shape {features.shape}; {sampler} measures distances between rows and "
                "needs a matrix (n_samples, n_features), such as fingerprints."
            )
        if features.dtype.kind not in "fiub":
            features = _as_float(features, sampler)
        values = features
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ParameterError(
            f"X holds {int((~np.isfinite(values)).sum())} values that are nan or infinite; "
            f"{sampler} measures distances and needs finite numbers. Impute or drop them first."
        )
    return features


def _frame_like(frame: pd.DataFrame, values: NDArray[Any]) -> pd.DataFrame:
    kinds = set(frame.dtypes)
    if len(kinds) == 1 and isinstance(kind := kinds.pop(), np.dtype):
        # One block: a thousand fingerprint columns one by one take longer than their neighbors.
        values = values.astype(_column_type(kind, values), copy=False)
        return pd.DataFrame(values, columns=frame.columns, copy=False)
    columns = {
        i: pd.Series(values[:, i]).astype(_column_type(kind, values[:, i]))
        for i, kind in enumerate(frame.dtypes)
    }
    like = pd.DataFrame(columns)
    like.columns = frame.columns
    return like


def _as_float(features: NDArray[Any], sampler: str) -> NDArray[np.float64]:
    try:
        return features.astype(np.float64)
    except (TypeError, ValueError) as exc:
        raise ParameterError(
            f"X cannot be read as numbers ({exc}); {sampler} measures distances between rows. "
            "Encode text columns first, or use a sampler that clones rows (MLROS, BalancedClones)."
        ) from exc


def _column_type(kind: Any, values: NDArray[Any]) -> Any:
    """`kind` when it can hold the values exactly, otherwise the type of the values."""
    if not isinstance(kind, np.dtype) or kind.kind == "O":
        return kind
    if kind.kind in "iub":
        whole = np.isfinite(values).all() and (values == np.floor(values)).all()
        if not whole or (kind.kind == "b" and not np.isin(values, (0, 1)).all()):
            return values.dtype
        return kind
    return kind if kind.kind == "f" else values.dtype
