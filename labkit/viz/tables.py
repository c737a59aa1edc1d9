"""What figures ask of a table before they draw it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from labkit.errors import ParameterError


def require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Refuse a table without rows, or without a column that a figure needs.

    Raises
    ------
    ParameterError
        Naming the table, what it has and what it lacks.
    """
    missing = [column for column in needed if column not in frame]
    if missing or not len(frame):
        raise ParameterError(
            f"{name} has {len(frame)} rows and the columns {', '.join(map(str, frame.columns))}; "
            f"it needs at least one row and {', '.join(needed)}."
        )
