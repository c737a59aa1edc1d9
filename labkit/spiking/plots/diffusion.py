"""Figures of spiking label diffusion: accuracy and spikes over time, and the weights' rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import WEIGHT_MAX
from labkit.spiking.plots.colors import GRAY, OWN
from labkit.spiking.plots.labels import percent, percent_axis, words_only
from labkit.viz.style import MPLSTYLE, PALETTE, new_axes

if TYPE_CHECKING:
    from labkit.spiking.diffusion import FittedDiffusion


def diffusion_curves(fitted: FittedDiffusion | Mapping[str, FittedDiffusion]) -> np.ndarray:
    """Validation accuracy and spikes against time.

    Parameters
    ----------
    fitted : FittedDiffusion or mapping of str to FittedDiffusion
        Several networks by name.

    Returns
    -------
    ndarray of two Axes
        Above the accuracy if the run had ended at that step, below the spikes of the step: where
        the upper line is flat, further spikes buy nothing. Words above where no network has
        validation papers.
    """
    several = dict(fitted) if isinstance(fitted, Mapping) else {"": fitted}
    with plt.style.context(MPLSTYLE):
        _, (upper, lower) = plt.subplots(2, 1, figsize=(6.2, 5.0), sharex=True)
    for number, (name, one) in enumerate(several.items()):
        color, history = PALETTE[number % len(PALETTE)], one.history
        style = {"color": color, "linestyle": ("-", "--", "-.", ":")[number % 4]}
        upper.plot(history["step"], history["validation"], **style, label=name or None)
        lower.plot(history["step"], history["spikes"], **style, label=name or None)
        last = history["validation"].iloc[-1]
        if np.isfinite(last):
            upper.annotate(
                percent(last),
                (history["step"].iloc[-1], last),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=color,
                annotation_clip=False,
            )
    if any(one.history["validation"].notna().any() for one in several.values()):
        percent_axis(upper)
        upper.set_ylabel("validation accuracy")
    else:
        words_only(upper, "no validation papers")
    lower.set_ylabel("spikes in the step")
    lower.set_xlabel("step")
    lower.set_ylim(bottom=0)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if len(several) > 1:
        (upper if upper.axison else lower).legend(loc="lower right")
    return np.array([upper, lower])


def weight_histogram(
    before: sparse.spmatrix | np.ndarray,
    after: sparse.spmatrix | np.ndarray,
    *,
    scale: float = WEIGHT_MAX,
    ax: Axes | None = None,
) -> Axes:
    """Weights before and after they are made 8-bit whole numbers.

    Parameters
    ----------
    before : array or sparse matrix
        Real weights; of a sparse matrix those that are stored.
    after : array or sparse matrix
        Whole weights that are used.
    scale : float, optional
        What `before` is multiplied with, to stand on the same axis.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Gray bars are the real weights, the blue outline the whole ones; counts are logarithmic.
        The title says how many values are left, and how many synapses became 0, if any.
    """
    real, whole = (_stored(weights) for weights in (before, after))
    if not len(real) or not len(whole):
        raise ParameterError(f"before has {len(real)} weights and after {len(whole)}; give some.")
    used = whole[whole != 0]
    ax = new_axes(ax, width_in=6.2, height_in=3.6)
    low = min(float(np.min(scale * real)), float(whole.min()), 0.0)
    high = max(float(np.max(scale * real)), float(whole.max()), 1.0)
    width = max(1, round((high - low) / 64))
    edges = np.arange(np.floor(low) - 0.5, high + width + 0.5, width).tolist()
    ax.hist(scale * real, bins=edges, color=GRAY, alpha=0.45, label=f"real, × {scale:g}")
    ax.hist(used, bins=edges, histtype="step", color=OWN, linewidth=1.6, label="whole, 8 bits")
    ax.set_yscale("log")
    ax.set_xlabel("synaptic weight (units of the 8-bit weight)")
    ax.set_ylabel("synapses")
    lost = max(len(real) - len(used), 0)
    said = f"{len(np.unique(used))} different weights on {len(used):,} synapses"
    if lost:
        said += f"\n{lost:,} of {len(real):,} ({percent(lost / len(real))}) became 0"
    ax.set_title(said)
    ax.legend()
    return ax


def _stored(weights: sparse.spmatrix | np.ndarray) -> np.ndarray:
    data = weights.data if sparse.issparse(weights) else np.asarray(weights)
    return np.asarray(data).ravel()
