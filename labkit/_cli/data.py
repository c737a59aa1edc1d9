"""The table of ``labkit data``."""

from __future__ import annotations

from collections.abc import Sequence

from labkit._cli import show
from labkit.datasets import DatasetStatus, get


def table(entries: Sequence[DatasetStatus]) -> str:
    """Return data sets with state, size, rows, place, license and what they are."""
    rows = [
        (
            entry.name,
            entry.state,
            f"{entry.size / 1024:,.0f} KiB",
            f"{entry.rows:,}",
            entry.source or "-",
            get(entry.name).license,
            entry.summary,
        )
        for entry in entries
    ]
    return show.columns(rows, header=("data set", "state", "size", "rows", "from", "license", ""))
