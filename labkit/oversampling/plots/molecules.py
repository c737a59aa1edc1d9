"""Pictures of molecules: where added rows lie in chemical space, which drugs were copied."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from sklearn.decomposition import PCA

from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.plots.colors import GRAY
from labkit.viz.depiction import Drawing, draw_grid
from labkit.viz.style import OKABE_ITO, new_axes


def chemical_space(
    fingerprints: np.ndarray,
    resampled: np.ndarray,
    source: np.ndarray,
    is_synthetic: np.ndarray,
    ax: Axes | None = None,
) -> Axes:
    """First two principal components of the fingerprints, with what a sampler added.

    Parameters
    ----------
    fingerprints : ndarray of shape (n_molecules, n_bits)
        Of the original training molecules; the components are fitted on these alone.
    resampled : ndarray of shape (n_rows, n_bits)
        Fingerprints after resampling.
    source : ndarray of shape (n_rows,)
        Sampler attribute ``sample_indices_``: the original row behind each row.
    is_synthetic : ndarray of shape (n_rows,)
        Sampler attribute ``is_synthetic_``: rows whose features were made, not copied.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Originals gray; copied molecules as circles that grow with the number of copies;
        synthetic rows as crosses.
    """
    components = PCA(n_components=2, random_state=0).fit(fingerprints.astype(np.float32))
    x, y = components.transform(fingerprints).T
    copies = np.bincount(source[~is_synthetic], minlength=len(fingerprints)) - 1
    copied = copies > 0
    ax = new_axes(ax, width_in=6.4, height_in=4.8)
    ax.scatter(x, y, s=7, color=GRAY, alpha=0.5, linewidth=0, label="original")
    if copied.any():
        ax.scatter(
            x[copied],
            y[copied],
            s=18 * copies[copied],
            facecolor="none",
            linewidth=1.3,
            edgecolor=OKABE_ITO["vermillion"],
            label="copied (area: number of copies)",
        )
    if is_synthetic.any():
        new_x, new_y = components.transform(resampled[is_synthetic]).T
        ax.scatter(
            new_x,
            new_y,
            s=22,
            marker="x",
            linewidth=1,
            color=OKABE_ITO["blue"],
            label="synthetic fingerprint",
        )
    explained = components.explained_variance_ratio_
    ax.set_xlabel(f"principal component 1 ({explained[0]:.0%} of the variance)")
    ax.set_ylabel(f"principal component 2 ({explained[1]:.0%})")
    ax.legend()
    return ax


def most_copied(table: MoleculeTable, source: np.ndarray, n: int = 6) -> Drawing:
    """Grid of the molecules that a sampler copied most, with the rarest effect of each.

    Parameters
    ----------
    table : MoleculeTable
        The molecules that were resampled.
    source : ndarray of shape (n_rows,)
        Sampler attribute ``sample_indices_``.
    n : int
        How many molecules to draw.

    Returns
    -------
    Drawing
        With the number of copies and the rarest effect below each molecule.
    """
    copies = np.bincount(source, minlength=len(table)) - 1
    chosen = [i for i in np.argsort(-copies, kind="stable")[:n] if copies[i] > 0]
    if not chosen:
        raise ValueError("no molecule was copied; use a sampler that clones rows, such as MLROS")
    legends = [f"{copies[i]} copies: {_rarest_effect(table, i)}" for i in chosen]
    return draw_grid([str(table.smiles[i]) for i in chosen], legends, columns=3, cell_px=280)


def _rarest_effect(table: MoleculeTable, row: int) -> str:
    counts = np.nansum(table.Y, axis=0)
    shown = np.where(table.Y[row] == 1, counts, np.inf)
    return table.label_names[int(np.argmin(shown))] if np.isfinite(shown).any() else "no effect"
