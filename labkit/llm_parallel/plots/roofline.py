"""Figure of the matrix products of a layer under the roofs of a device.

A product of (m, k) by (k, n) matrices does ``2 m n k`` operations on ``w (m k + k n + m n)`` bytes.
Their quotient is its arithmetic intensity; below ``peak / bandwidth`` of it, memory limits the
speed, above it arithmetic does (Williams, Waterman & Patterson, CACM 52 (2009) 65-76).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.layers import Device
from labkit.llm_parallel.plots.colors import GRAY, INK
from labkit.llm_parallel.plots.marks import legend_beside
from labkit.llm_parallel.system import Efficiency, SystemConfig
from labkit.viz.style import PALETTE, new_axes

MARKERS = ("o", "s", "^", "D", "P")


def products(
    model: ModelConfig,
    strategy: ParallelConfig,
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
) -> pd.DataFrame:
    """Matrix products of the forward pass of a micro-batch on one device.

    Parameters
    ----------
    model : ModelConfig
    strategy : ParallelConfig
    system : SystemConfig
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    DataFrame
        One row a product: product, m, n, k, operations, bytes, intensity (operations a byte),
        seconds and achieved (operations a second), the last two of the model.
    """
    tokens = strategy.micro_batch_size * model.seq_length / strategy.cp
    keys, t = model.head_size * model.groups, strategy.tp
    gates = 2 if model.gated_mlp else 1
    sizes = {
        "queries, keys, values": ((model.hidden_size + 2 * keys) / t, model.hidden_size),
        "projection": (model.hidden_size, model.hidden_size / t),
        "feed-forward, in": (gates * model.ffn_size / t, model.hidden_size),
        "feed-forward, out": (model.hidden_size, model.ffn_size / t),
        "output layer": (model.vocab_size / t, model.hidden_size),
    }
    frame = pd.DataFrame(
        [(name, tokens, n, k) for name, (n, k) in sizes.items()], columns=["product", "m", "n", "k"]
    )
    m, n, k = (frame[name].to_numpy(dtype=float) for name in ("m", "n", "k"))
    width = ParallelColumns.of(strategy).param_bytes * np.ones(len(frame))
    device = Device.of(system, efficiency or system.efficiency, width)
    return frame.assign(
        operations=2 * m * n * k,
        bytes=width * (m * k + k * n + m * n),
        intensity=lambda rows: rows["operations"] / rows["bytes"],
        seconds=device.product(m, n, k, width),
        achieved=lambda rows: rows["operations"] / rows["seconds"],
    )


def roofline(
    model: ModelConfig,
    parallel: ParallelConfig | Sequence[ParallelConfig],
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Speed of the products of a layer against their arithmetic intensity.

    Parameters
    ----------
    model : ModelConfig
    parallel : ParallelConfig or sequence of ParallelConfig
        Whose products to draw; several take a color each.
    system : SystemConfig
    efficiency : Efficiency, optional
        In place of the system's own.
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The solid roof is the data sheet's, the dashed one what the model takes to be reachable;
        what a point is below it is lost to small or ragged matrices. Tensor parallelism and small
        micro-batches move points down and to the left.
    """
    strategies = [parallel] if isinstance(parallel, ParallelConfig) else list(parallel)
    shares = efficiency or system.efficiency
    tables = [products(model, s, system, efficiency=efficiency) for s in strategies]
    ax = new_axes(ax, width_in=7.8, height_in=4.2)
    for table, color in zip(tables, PALETTE, strict=False):
        for row, marker in zip(table.itertuples(), MARKERS, strict=True):
            ax.plot(
                row.intensity,
                row.achieved / 1e12,
                marker,
                color=color,
                markersize=7,
                alpha=0.85,
            )
    width = float(ParallelColumns.of(strategies[0]).param_bytes[0])
    peak = float(system.peak_flops_of(np.array(width))) / 1e12
    intensities = np.concatenate([table["intensity"] for table in tables])
    ridge = 1e12 * peak / system.hbm_bandwidth
    ends = 0.5 * min(ridge, intensities.min()), 2.0 * max(ridge, intensities.max())
    x = np.geomspace(*ends, 400)
    slope = system.hbm_bandwidth * x / 1e12
    ax.plot(x, np.minimum(peak, slope), color=INK, linewidth=1.5)
    reached = np.minimum(peak * shares.gemm, slope * shares.memory)
    ax.plot(x, reached, color=GRAY, linewidth=1.3, linestyle="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*ends)
    ax.set_ylim(top=1.3 * peak)
    _roof_axes(ax, strategies, tables[0]["product"].tolist())
    ax.set_title(title)
    return ax


def _roof_axes(ax: Axes, strategies: list[ParallelConfig], names: list[str]) -> None:
    ax.grid(axis="both")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("arithmetic intensity (operations a byte)")
    ax.set_ylabel("speed of a device (Tflop/s), model")
    entries = [
        Line2D([], [], color=INK, label="roof: data sheet"),
        Line2D([], [], color=GRAY, linestyle="--", label="reachable, model"),
    ]
    several = len(strategies) > 1
    for name, marker in zip(names, MARKERS, strict=True):
        color = GRAY if several else PALETTE[0]
        entries.append(Line2D([], [], color=color, marker=marker, linestyle="", label=name))
    if several:
        for strategy, color in zip(strategies, PALETTE, strict=False):
            label = f"TP{strategy.tp}, micro-batch {strategy.micro_batch_size}"
            entries.append(Line2D([], [], color=color, marker="o", linestyle="", label=label))
    legend_beside(ax, handles=entries)
