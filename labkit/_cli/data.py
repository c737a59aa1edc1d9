"""The table of ``labkit data``."""

from __future__ import annotations

from collections.abc import Sequence

from labkit._cli import show
from labkit.datasets import DatasetStatus


def table(entries: Sequence[DatasetStatus]) -> str:
    """Return data sets with state, size, rows, place and what they are."""
    rows = [
        (
            entry.name,
            entry.state,
            f"{entry.size / 2**20:.1f} MiB",
            f"{entry.rows:,}",
            entry.source or "-",
            entry.summary,
        )
        for entry in entries
    ]
    return show.columns(rows, header=("data set", "state", "size", "rows", "from", ""))
