"""Figures of the network: how it trained, what it sees, what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.hotspots.plots.colors import series_style
from labkit.hotspots.quantities import quantity
from labkit.viz.colors import ColorScale
from labkit.viz.style import MPLSTYLE, OKABE_ITO, PALETTE, axis_label, new_axes

if TYPE_CHECKING:
    from labkit.hotspots.clustering import ClusterComparison
    from labkit.hotspots.training import FittedCVAE


def loss_curves(fits: Sequence[FittedCVAE]) -> np.ndarray:
    """Training of every network: objective, KL divergence, and KL of each latent unit.

    Parameters
    ----------
    fits : sequence of FittedCVAE
        Of `fit_ensemble`, one a seed.

    Returns
    -------
    ndarray of three Axes
        Reconstruction plus KL on training images and on held-out time; the KL while it is
        warmed up; and how much each unit carries at the end, the busiest first. Units at zero
        are unused; all at zero is a collapsed network.
    """
    with plt.style.context(MPLSTYLE):
        _, (loss, kl, units) = plt.subplots(1, 3, figsize=(10.2, 3.3))
    for number, fit in enumerate(fits):
        color = PALETTE[number % len(PALETTE)]
        history = fit.history
        name = f"seed {fit.seed}" + (" (collapsed)" if fit.collapsed else "")
        elbo = history["reconstruction"] + history["kl"]
        loss.plot(history["epoch"], elbo, color=color, label=name)
        loss.plot(history["epoch"], history["valid_loss"], "--", color=color)
        kl.plot(history["epoch"], history["kl"], color=color)
        shift = (number - (len(fits) - 1) / 2) * 0.8 / len(fits)
        place = np.arange(1, len(fit.kl) + 1) + shift
        units.bar(place, np.sort(fit.kl)[::-1], width=0.75 / len(fits), color=color)
    loss.plot([], [], "--", color="#555555", label="held-out time")
    loss.set(title="Reconstruction + KL", xlabel="epoch", ylabel="nats per image")
    loss.legend()
    kl.set(title="KL divergence", xlabel="epoch", ylabel="nats per image")
    kl.set_ylim(bottom=0)
    floor = fits[0].config.free_bits
    if floor:
        units.axhline(floor, color="#555555", linestyle=":", linewidth=1.2)
        units.annotate(
            "free bits",
            (1, floor),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
        )
    units.set(title="KL of each latent unit", xlabel="unit, busiest first", ylabel="nats")
    for ax in (loss, kl, units):
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return np.array([loss, kl, units])


def reconstruction_gallery(
    images: np.ndarray,
    reconstructed: np.ndarray,
    titles: Sequence[str],
    *,
    window: int | None = None,
) -> np.ndarray:
    """Images that the network saw, above what it made of them.

    Parameters
    ----------
    images, reconstructed : ndarray of shape (n_images, [1,] window, n_residues)
        Soft contacts in [0, 1], and `FittedCVAE.reconstruct` of them.
    titles : sequence of str
        One an image, such as the atom's name and the first frame.
    window : int, optional
        Rows of an image shown, from the first; all by default.

    Returns
    -------
    ndarray of Axes of shape (2, n_images)
        Residues from left to right, frames of the window downwards; blue is in contact. Each
        reconstruction states its mean absolute error.
    """
    seen = _as_pictures(images, window)
    made = _as_pictures(reconstructed, window)
    if seen.shape != made.shape or len(titles) != len(seen):
        raise ParameterError(
            f"got {len(titles)} titles, images of shape {seen.shape} and reconstructed of shape "
            f"{made.shape}; give one title and one reconstruction an image."
        )
    with plt.style.context(MPLSTYLE):
        figure, axes = plt.subplots(
            2, len(seen), figsize=(1.75 * len(seen) + 0.9, 3.5), squeeze=False
        )
    cmap = ColorScale(0, 1, "sequential").colormap()
    for column, title in enumerate(titles):
        error = np.abs(seen[column] - made[column]).mean()
        words = (title, f"error {error:.3f}")
        for row, picture in enumerate((seen[column], made[column])):
            ax = axes[row, column]
            image = ax.imshow(picture, cmap=cmap, vmin=0, vmax=1, aspect="auto")
            ax.set_title(words[row], fontsize=9, fontweight="normal")
            ax.grid(False)
            ax.set_xticks([])
            ax.set_yticks([])
    axes[0, 0].set_ylabel("seen\n(frames)")
    axes[1, 0].set_ylabel("reconstructed\n(frames)")
    figure.supxlabel("pocket residues", fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=22, pad=0.015)
    bar.set_label("soft contact")
    bar.outline.set_visible(False)
    return axes


def _as_pictures(images: np.ndarray, window: int | None) -> np.ndarray:
    images = np.asarray(images)
    return images.reshape(-1, *images.shape[-2:])[:, :window]


def latent_scatter(
    latent: np.ndarray,
    *,
    values: np.ndarray | None = None,
    score: str = "latent_spread",
    fragments: np.ndarray | None = None,
    fragment_names: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Every atom in every window, on the first two principal components of the latent space.

    Parameters
    ----------
    latent : ndarray of shape (n_atoms, n_windows, latent_dim)
        `FittedCVAE.latent`.
    values : ndarray of shape (n_atoms,), optional
        Score of each atom, for the colors.
    score : str
        Column that `values` come from, for the color bar.
    fragments : ndarray of shape (n_atoms,), optional
        Colors and markers by fragment instead.
    fragment_names : sequence of str
        One a fragment.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        A dot is one window of one atom: an atom whose dots lie far apart keeps changing its
        contacts.
    """
    if latent.ndim != 3 or latent.shape[2] < 2:
        raise ParameterError(
            f"latent has shape {latent.shape}; give (n_atoms, n_windows, latent_dim) with at "
            "least 2 dimensions."
        )
    components = PCA(2, random_state=0).fit(latent.reshape(-1, latent.shape[2]))
    points = components.transform(latent.reshape(-1, latent.shape[2]))
    xy = points.reshape(*latent.shape[:2], 2)
    ax = new_axes(ax, width_in=6.6, height_in=4.6)
    if fragments is not None:
        _scatter_fragments(ax, xy, np.asarray(fragments), fragment_names)
    else:
        _scatter_values(ax, xy, values, score)
    explained = components.explained_variance_ratio_
    ax.set_xlabel(f"principal component 1 ({explained[0]:.0%} of the latent variance)")
    ax.set_ylabel(f"principal component 2 ({explained[1]:.0%})")
    ax.grid(axis="x")
    return ax


def _scatter_fragments(
    ax: Axes, xy: np.ndarray, fragments: np.ndarray, names: Sequence[str]
) -> None:
    numbers = np.unique(fragments).tolist()
    labels = [names[number] if len(names) else f"fragment {number}" for number in numbers]
    styles = series_style(labels)
    for number, label in zip(numbers, labels, strict=True):
        color, marker = styles[label]
        x, y = xy[fragments == number].reshape(-1, 2).T
        ax.scatter(x, y, s=10, color=color, marker=marker, alpha=0.6, linewidth=0, label=label)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), markerscale=2.2)


def _scatter_values(ax: Axes, xy: np.ndarray, values: np.ndarray | None, score: str) -> None:
    if values is None:
        x, y = xy.reshape(-1, 2).T
        ax.scatter(x, y, s=9, color=OKABE_ITO["blue"], alpha=0.5, linewidth=0)
        return
    per_atom = np.asarray(values, dtype=float)
    scale = ColorScale.for_values(per_atom, ramp="heat")
    order = np.argsort(np.nan_to_num(per_atom, nan=-np.inf), kind="stable")
    x, y = xy[order].reshape(-1, 2).T
    dots = ax.scatter(
        x,
        y,
        s=11,
        c=np.repeat(per_atom[order], xy.shape[1]),
        cmap=scale.colormap(),
        vmin=scale.low,
        vmax=scale.high,
        linewidth=0.2,
        edgecolor="#999999",
    )
    bar = ax.figure.colorbar(dots, ax=ax, shrink=0.8, aspect=25, pad=0.015)
    bar.set_label(axis_label(*quantity(score)) + " of the atom")
    bar.outline.set_visible(False)


def clustering_agreement(
    comparison: ClusterComparison | pd.DataFrame, *, index: str = "ari", ax: Axes | None = None
) -> Axes:
    """How far clusterings agree: repeats of a method with one another, and with other methods.

    Parameters
    ----------
    comparison : ClusterComparison or DataFrame
        Of `compare_clusterings`, or its table of pairs: columns a, b (names such as
        ``"cvae/kmeans/0"``), ari, ami.
    index : {"ari", "ami"}
        Adjusted Rand index, or adjusted mutual information.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Means over pairs of seeds. 1 is the same clustering, 0 what chance gives; the diagonal,
        empty where a method has no randomness, says how far a method repeats itself.
    """
    names = {"ari": "adjusted Rand index", "ami": "adjusted mutual information"}
    if index not in names:
        raise ParameterError(not_allowed("index", index, names))
    pairs = comparison if isinstance(comparison, pd.DataFrame) else comparison.agreement
    swapped = pairs.rename(columns={"a": "b", "b": "a"})
    both = pd.concat([pairs, swapped], ignore_index=True)
    first, second = (both[side].str.rpartition("/")[0] for side in ("a", "b"))
    groups = list(dict.fromkeys(first))
    mean = both[index].groupby([first, second]).mean().unstack()
    mean = mean.reindex(index=groups, columns=groups)
    shown = [_clustering_name(group) for group in groups]
    return matrix(mean.set_axis(shown).set_axis(shown, axis=1), names[index], ax=ax)


def _clustering_name(group: str) -> str:
    space, method = group.split("/")
    spaces = {"pca": "PCA", "cvae": "latent", "rmsd": "RMSD of poses"}
    methods = {"kmeans": "k-means", "hdbscan": "HDBSCAN", "ward": "Ward", "average": "average"}
    return f"{spaces.get(space, space)}, {methods.get(method, method)}"


def matrix(values: pd.DataFrame, label: str, *, ax: Axes | None = None) -> Axes:
    """Square table as colored cells with the numbers in them.

    Parameters
    ----------
    values : DataFrame
        Rows and columns of the same names; nan cells stay empty.
    label : str
        What the numbers are.
    ax : Axes, optional
        Where to draw; a new figure otherwise.
    """
    cells = values.to_numpy(dtype=float)
    size = len(cells)
    ax = new_axes(ax, width_in=max(3.6, 0.62 * size + 2.4), height_in=max(2.8, 0.5 * size + 1.2))
    low = min(0.0, float(np.nanmin(cells)))
    image = ax.imshow(
        cells, cmap=ColorScale(0, 1, "sequential").colormap(), vmin=low, vmax=1, aspect="auto"
    )
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            dark = (value - low) / (1 - low) > 0.7
            ax.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=9 if size <= 8 else 7,
                color="white" if dark else "#222222",
            )
    turned = max(len(str(name)) for name in values.columns) > 7
    ax.set_xticks(
        range(size),
        values.columns,
        rotation=45 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else None,
    )
    ax.set_yticks(range(size), values.index)
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=20, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return ax
