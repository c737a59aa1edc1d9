"""Figure of what a network takes of a Loihi 2 chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit.errors import ParameterError
from labkit.spiking.plots.colors import pale
from labkit.spiking.plots.labels import horizontal
from labkit.viz.style import OKABE_ITO, new_axes

if TYPE_CHECKING:
    from labkit.spiking.resources import ResourceReport

FITS, TOO_MUCH = OKABE_ITO["blue"], OKABE_ITO["vermillion"]


def resource_bar(report: ResourceReport | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of each limit of the chip that a network takes, on a logarithmic axis.

    Parameters
    ----------
    report : ResourceReport or DataFrame
        Of `estimate`, or its ``frame``: quantity, value, unit, limit, fits, basis.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Beyond the line at 100 % the network does not fit (vermillion). Hatched bars are estimates,
        plain ones are counted.
    """
    frame = report if isinstance(report, pd.DataFrame) else report.frame
    limited = frame[pd.to_numeric(frame["limit"], errors="coerce") > 0]
    if not len(limited):
        raise ParameterError("report has no quantity with a limit; estimate with limits=.")
    shares = limited["value"].to_numpy(dtype=float) / limited["limit"].to_numpy(dtype=float)
    floor = 10.0 ** np.floor(np.log10(max(min(shares[shares > 0], default=1e-3), 1e-9)) - 0.3)
    ax = new_axes(ax, width_in=7.0, height_in=0.42 * len(limited) + 1.3)
    rows = np.arange(len(limited))
    guessed = (limited["basis"] == "estimate").to_numpy()
    for estimate in (False, True):
        here = guessed == estimate
        ax.barh(
            rows[here],
            np.maximum(shares[here], floor * 1.05) - floor,
            left=floor,
            height=0.62,
            color=[
                pale(TOO_MUCH if share > 1 else FITS, 0.5 if estimate else 0.9)
                for share in shares[here]
            ],
            hatch="///" if estimate else None,
            edgecolor="white",
        )
    ax.set_xscale("log")
    ax.set_xlim(floor, max(2.0, 3 * shares.max()))
    ax.axvline(1.0, color="#222222", linewidth=1.2)
    for row, share, entry in zip(rows, shares, limited.itertuples(), strict=True):
        ax.annotate(
            f"{_amount(entry.value, entry.unit)} of {_amount(entry.limit, entry.unit)}",
            (max(share, floor * 1.05), row),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    ax.set_yticks(rows, limited["quantity"].astype(str))
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    ax.set_xlabel("share of the limit")
    horizontal(ax)
    if guessed.any() and not guessed.all():
        ax.legend(
            handles=[
                Patch(facecolor=pale(FITS, 0.9), label="counted"),
                Patch(facecolor=pale(FITS, 0.5), hatch="///", edgecolor="white", label="estimate"),
            ],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.02),
        )
    return ax


def _amount(value: float, unit: str) -> str:
    """Number that is short to read; bytes in the unit that suits them.

    Examples
    --------
    >>> _amount(612_000, "synapses"), _amount(120e6, "synapses"), _amount(25_165_824, "bytes")
    ('612,000', '120 million', '24 MiB')
    """
    if unit == "bytes":
        power = max((p for p in range(4) if value >= 1024**p), default=0)
        return f"{value / 1024**power:,.3g} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.3g} million"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"
