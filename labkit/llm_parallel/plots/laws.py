"""Figures of sweeps: the four laws of the Frontier study, weak and strong scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from labkit.errors import ParameterError
from labkit.llm_parallel.plots.colors import GRAY, INK, MODEL
from labkit.llm_parallel.plots.marks import percent, percent_axis, whole_log_axis
from labkit.llm_parallel.published import FRONTIER_SCALING
from labkit.llm_parallel.sweeps import LAWS, MIN_LAYERS
from labkit.viz.style import MPLSTYLE, OKABE_ITO
from labkit.viz.tables import require_columns

TITLES: Mapping[str, str] = {
    "tensor_parallel": "1  Tensor parallelism costs",
    "micro_batches": "2  Micro-batches fill the pipeline",
    "stages": "3  Stages empty it at a fixed batch",
    "fixed_ratio": "4  A fixed ratio p / m keeps it",
}
AXIS_NAMES: Mapping[str, str] = {
    "tp": "devices of a tensor-parallel group (TP)",
    "num_microbatches": "micro-batches of a step (m)",
    "pp": "pipeline stages (p)",
}
SCALING_TITLES = {"weak": "Weak: same batch a replica", "strong": "Strong: same batch a step"}
CLOSE = 0.05
"""Difference of two efficiencies below which their labels would overlap."""
SYSTEM_COLORS = (MODEL, OKABE_ITO["green"], OKABE_ITO["purple"], OKABE_ITO["black"])


def laws_figure(laws: Mapping[str, pd.DataFrame], *, title: str = "") -> Figure:
    """Draw the four laws as sweeps of the model.

    Parameters
    ----------
    laws : mapping of str to DataFrame
        Of `labkit.llm_parallel.sweeps.laws`.
    title : str, optional
        Above the figure: the model and the machine.

    Returns
    -------
    Figure
        HFU and MFU against what is swept, on one scale. Hollow points do not fit in the memory of
        a device; beyond the gray band of the first figure, groups leave the node.
    """
    missing = [name for name in LAWS if name not in laws]
    if missing:
        raise ParameterError(f"laws has no {missing[0]!r}; give what sweeps.laws returns.")
    figure, axes = _figure(2, 2, (8.4, 6.2))
    for ax, (name, column) in zip(axes.flat, LAWS.items(), strict=True):
        frame = laws[name]
        require_columns(f"laws[{name!r}]", frame, (column, "hfu", "mfu", "fits"))
        if "inside_node" in frame:
            _shade_node(ax, frame)
        _utilization(ax, frame, column)
        _say_change(ax, name, frame)
        ax.set_title(TITLES[name])
        ax.set_xlabel(AXIS_NAMES[column] + _ratio_words(name, frame))
    for ax in axes[:, 0]:
        ax.set_ylabel("utilization, model")
    top = max(float(laws[name][["hfu"]].max().iloc[0]) for name in LAWS)
    axes[0, 0].set_ylim(0, 1.18 * top)
    percent_axis(axes[0, 0])
    _legend_below(figure, hollow=any(not laws[name]["fits"].all() for name in LAWS))
    if title:
        figure.suptitle(title, fontsize=11.5, x=0.01, ha="left")
    return figure


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    import matplotlib.pyplot as plt

    with plt.style.context(MPLSTYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
        interactive = plt.isinteractive()
    plt.interactive(interactive)  # see labkit.viz.style.use_style
    return figure, axes


def _shade_node(ax: Axes, frame: pd.DataFrame) -> None:
    inside = frame["inside_node"].to_numpy(dtype=bool)
    if inside.all() or not inside.any():
        return
    edge = float(np.sqrt(frame["tp"][inside].max() * frame["tp"][~inside].min()))
    ax.axvspan(0.75 * frame["tp"].min(), edge, color="#f3f3f3", zorder=0, linewidth=0)
    ax.text(edge, 0.02, "inside a node ", transform=ax.get_xaxis_transform(), ha="right", size=9)
    ax.text(edge, 0.02, " beyond", transform=ax.get_xaxis_transform(), ha="left", size=9)


def _utilization(ax: Axes, frame: pd.DataFrame, column: str) -> None:
    x = frame[column].to_numpy(dtype=float)
    fits = frame["fits"].to_numpy(dtype=bool)
    for name, color, dash in (("hfu", MODEL, "-"), ("mfu", OKABE_ITO["green"], "--")):
        y = frame[name].to_numpy(dtype=float)
        ax.plot(x, y, dash, color=color)
        ax.plot(x[fits], y[fits], "o", color=color, markersize=5.5)
        ax.plot(x[~fits], y[~fits], "o", color=color, markerfacecolor="white", markersize=5.5)
    whole_log_axis(ax, x)
    ax.set_xlim(0.75 * x.min(), 1.33 * x.max())


def _say_change(ax: Axes, name: str, frame: pd.DataFrame) -> None:
    """Write how much the utilization changes, where no curve is."""
    hfu, x = frame["hfu"].to_numpy(dtype=float), frame[LAWS[name]].to_numpy()
    if name == "fixed_ratio" and "layers_per_stage" in frame:
        deep = hfu[frame["layers_per_stage"].to_numpy() >= MIN_LAYERS]
        said = f"p {x[0]} → {x[-1]}: {_change(hfu[0], hfu[-1])}"
        if len(deep):
            spread = percent(deep.max() / deep.min() - 1)
            said = f"within {spread} while stages have\n{MIN_LAYERS} layers or more, {said}"
    elif name == "tensor_parallel" and "inside_node" in frame:
        last = int(np.flatnonzero(frame["inside_node"])[-1]) if frame["inside_node"].any() else 0
        steps = [i for i in (last - 1, last) if 0 <= i < len(x) - 1]
        said = "\n".join(f"TP {x[i]} → {x[i + 1]}: {_change(hfu[i], hfu[i + 1])}" for i in steps)
    else:
        symbol = {"num_microbatches": "m", "pp": "p"}.get(LAWS[name], "TP")
        said = f"{symbol} {x[0]} → {x[-1]}: {_change(hfu[0], hfu[-1])}"
    high = name == "tensor_parallel"
    ax.text(
        0.97,
        0.95 if high else 0.05,
        said,
        transform=ax.transAxes,
        ha="right",
        va="top" if high else "bottom",
        fontsize=9.5,
    )


def _change(before: float, after: float) -> str:
    """Relative change as a text; large growth as a factor.

    Examples
    --------
    >>> _change(0.4, 0.36), _change(0.4, 0.42), _change(0.1, 0.4)
    ('−10 %', '+5 %', '×4')
    """
    ratio = after / before
    if ratio > 2:
        return f"×{ratio:.2g}"
    return f"{100 * (ratio - 1):+.0f} %".replace("-", "−")


def _ratio_words(name: str, frame: pd.DataFrame) -> str:
    if name != "fixed_ratio" or "num_microbatches" not in frame:
        return ""
    return f", m = {frame['num_microbatches'].iloc[0] // frame['pp'].iloc[0]} p"


def _legend_below(figure: Figure, *, hollow: bool) -> None:
    green = OKABE_ITO["green"]
    entries = [
        Line2D([], [], color=MODEL, marker="o", label="HFU: recomputed operations count"),
        Line2D([], [], color=green, marker="o", linestyle="--", label="MFU: they do not"),
    ]
    if hollow:
        label = "does not fit in memory"
        entries.append(
            Line2D([], [], color=GRAY, marker="o", linestyle="", markerfacecolor="white",
                   label=label)
        )  # fmt: skip
    figure.legend(handles=entries, loc="outside lower center", ncols=3)


def scaling_figure(
    frames: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    published: pd.DataFrame | None = None,
    title: str = "",
) -> Figure:
    """Weak and strong scaling of one model or several.

    Parameters
    ----------
    frames : DataFrame or sequence of DataFrame
        Of `labkit.llm_parallel.sweeps.frontier_scaling`: columns model, system, kind, n_devices,
        global_batch_size and efficiency.
    published : DataFrame, optional
        Columns model, kind, n_devices and efficiency_percent, of which the models drawn are taken;
        by default those of `labkit.llm_parallel.published.FRONTIER_SCALING` that are drawn on
        Frontier.
    title : str, optional

    Returns
    -------
    Figure
        Throughput per device over that of the fewest devices, weak scaling left, strong right.
        Lines are the model's, open diamonds are published. The ideal is 100 %.
    """
    frame = frames if isinstance(frames, pd.DataFrame) else pd.concat(frames, ignore_index=True)
    needed = ("model", "system", "kind", "n_devices", "global_batch_size", "efficiency")
    require_columns("frames", frame, needed)
    stated = FRONTIER_SCALING if published is None else published
    drawn = frame[frame["system"] == "frontier"] if published is None else frame
    stated = stated[stated["model"].isin(drawn["model"])]
    figure, axes = _figure(1, 2, (8.4, 3.9))
    for ax, scaling in zip(axes.flat, ("weak", "strong"), strict=True):
        here = frame[frame["kind"] == scaling]
        ax.axhline(1.0, color=GRAY, linestyle="--", linewidth=1.2)
        for (name, rows), color in zip(
            here.groupby("model", sort=False), SYSTEM_COLORS, strict=False
        ):
            points = stated[(stated["kind"] == scaling) & (stated["model"] == name)]
            _scaling_line(ax, rows, points, color, strong=scaling == "strong")
        whole_log_axis(ax, here["n_devices"])
        ax.set_xlabel("devices")
        ax.set_title(SCALING_TITLES[scaling])
    axes[0, 0].set_ylabel("throughput per device,\nrelative to the fewest devices")
    values = [*frame["efficiency"], *stated["efficiency_percent"] / 100]
    axes[0, 0].set_ylim(min(0.7, 0.95 * min(values)), max(1.06, 1.03 * max(values)))
    percent_axis(axes[0, 0])
    batches = frame[frame["kind"] == "strong"].groupby("model")["global_batch_size"]
    _scaling_legend(
        figure,
        list(dict.fromkeys(frame["model"])),
        published=not stated.empty,
        two=batches.nunique().max() > 1,
    )
    if title:
        figure.suptitle(title, fontsize=11.5, x=0.01, ha="left")
    return figure


def _scaling_line(
    ax: Axes, rows: pd.DataFrame, points: pd.DataFrame, color: str, *, strong: bool
) -> None:
    """Draw one model: a line for weak scaling, one a batch for strong scaling, published points."""
    lines = (
        [part for _, part in rows.groupby("global_batch_size", sort=False)] if strong else [rows]
    )
    said = []
    for line, style in zip(lines, ("o-", "s:"), strict=False):
        ax.plot(line["n_devices"], line["efficiency"], style, color=color, markersize=5)
        last = line.iloc[-1]
        said.append((float(last["efficiency"]), float(last["n_devices"]), "model"))
    ax.plot(
        points["n_devices"],
        points["efficiency_percent"] / 100,
        "D",
        color=color,
        markerfacecolor="white",
        markersize=8,
        markeredgewidth=1.8,
        zorder=4,
    )
    said += [(p.efficiency_percent / 100, p.n_devices, "published") for p in points.itertuples()]
    _scaling_words(ax, said, color)


def _scaling_words(ax: Axes, said: list[tuple[float, float, str]], color: str) -> None:
    """Values of the last points: below them, or above one that another is close below."""
    ordered = sorted(said)
    for place, (value, n_devices, what) in enumerate(ordered):
        above = place > 0 and value - ordered[place - 1][0] < CLOSE
        ax.annotate(
            f"{what} {percent(value, 0)}",
            (n_devices, value),
            (8, 8) if above else (8, -17),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=color,
        )


def _scaling_legend(figure: Figure, models: list[str], *, published: bool, two: bool) -> None:
    entries = [
        Line2D([], [], color=color, marker="o", label=f"{name}, model")
        for name, color in zip(models, SYSTEM_COLORS, strict=False)
    ]
    if published:
        entries += [
            Line2D([], [], color=INK, marker="D", markerfacecolor="white", linestyle="",
                   markersize=7, markeredgewidth=1.5, label="published")
        ]  # fmt: skip
    entries += [Line2D([], [], color=GRAY, linestyle="--", label="ideal")]
    if two:
        entries += [
            Line2D([], [], color=INK, marker="o", label="total batch remembered"),
            Line2D([], [], color=INK, marker="s", linestyle=":", label="total batch inferred"),
        ]
    figure.legend(handles=entries, loc="outside lower center", ncols=3 if two else 4)
