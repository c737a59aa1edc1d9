"""Figures of contacts: who touches whom, for how long, and when.

A ligand atom and a residue are in contact in a frame when their smallest heavy-atom distance is
below a cutoff. Times are frame numbers of the trajectory.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.ticker import MaxNLocator

from labkit.errors import ParameterError
from labkit.hotspots.plots.colors import GRAY
from labkit.viz.colors import ColorScale
from labkit.viz.style import new_axes

if TYPE_CHECKING:
    from labkit.hotspots.contacts import ContactMatrices

MAX_COLUMNS = 1200
"""Frames drawn side by side; more are averaged in blocks."""

ROW_IN = 0.165
"""Height of a named row in inches: 8-point text with room around it."""


def contact_heatmap(
    contacts: ContactMatrices,
    *,
    cutoff: float = 4.5,
    min_occupancy: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """How many ligand atoms each residue touches, frame by frame.

    Parameters
    ----------
    contacts : ContactMatrices
        Of `compute_contacts`.
    cutoff : float
        Contact distance in angstrom.
    min_occupancy : float
        Residues that touch the ligand in a smaller share of frames are left out.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Residues from top to bottom in sequence, frames from left to right; a dashed line where
        another trajectory begins.
    """
    touching = contacts.distances < cutoff
    kept = np.flatnonzero(touching.any(axis=1).mean(axis=0) >= min_occupancy)
    if not len(kept):
        raise ParameterError(
            f"no residue is within cutoff={cutoff} Å in {min_occupancy:.0%} of the frames; "
            "give a larger cutoff or a smaller min_occupancy."
        )
    counts = touching[:, :, kept].sum(axis=1).astype(np.float32)
    counts, block = _blocks(counts)
    ax = new_axes(ax, width_in=7.6, height_in=ROW_IN * len(kept) + 1.2)
    image = ax.imshow(
        counts.T,
        aspect="auto",
        interpolation="nearest",
        cmap=_white_to_blue(),
        vmin=0,
        extent=(-0.5, len(counts) * block - 0.5, len(kept) - 0.5, -0.5),
    )
    _rows(ax, [contacts.residue_labels[i] for i in kept])
    _frame_axis(ax, contacts)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.6, aspect=25, pad=0.015)
    bar.set_label(f"ligand heavy atoms within {cutoff:g} Å")
    bar.outline.set_visible(False)
    return ax


def occupancy_map(
    contacts: ContactMatrices,
    *,
    cutoff: float = 4.5,
    min_occupancy: float = 0.05,
    fragments: np.ndarray | None = None,
    fragment_names: list[str] | tuple[str, ...] = (),
    ax: Axes | None = None,
) -> Axes:
    """Share of frames in which each ligand atom touches each residue.

    Parameters
    ----------
    contacts, cutoff : ContactMatrices, float
        As in `contact_heatmap`.
    min_occupancy : float
        Residues that no atom touches in at least this share of frames are left out.
    fragments : ndarray of shape (n_atoms,), optional
        Fragment of each atom; atoms of a fragment then stand together, lines between them.
    fragment_names : sequence of str
        One a fragment; written on the right.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        Ligand atoms from top to bottom, residues from left to right.
    """
    shares = (contacts.distances < cutoff).mean(axis=0)
    kept = np.flatnonzero(shares.max(axis=0, initial=0.0) >= min_occupancy)
    if not len(kept):
        raise ParameterError(
            f"no residue reaches min_occupancy={min_occupancy} within cutoff={cutoff} Å; "
            "give a larger cutoff or a smaller min_occupancy."
        )
    groups = np.zeros(len(shares), dtype=int) if fragments is None else np.asarray(fragments)
    order = np.argsort(groups, kind="stable")
    ax = new_axes(ax, width_in=0.165 * len(kept) + 2.6, height_in=ROW_IN * len(order) + 1.3)
    image = ax.imshow(
        shares[np.ix_(order, kept)],
        aspect="auto",
        interpolation="nearest",
        cmap=_white_to_blue(),
        vmin=0,
        vmax=1,
    )
    _rows(ax, [contacts.atom_names[i] for i in order])
    ax.set_xticks(
        range(len(kept)), [contacts.residue_labels[i] for i in kept], rotation=90, fontsize=7.5
    )
    ax.set_ylabel("ligand heavy atom")
    ax.set_xlabel("residue")
    _separate(ax, groups[order], fragment_names)
    bar = ax.figure.colorbar(image, ax=ax, location="top", shrink=0.55, aspect=30, pad=0.01)
    bar.set_label(f"share of frames within {cutoff:g} Å")
    bar.outline.set_visible(False)
    return ax


def contact_timeline(
    contacts: ContactMatrices,
    atom: str | int,
    *,
    cutoff: float = 4.5,
    top: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Distances of one ligand atom to the residues it meets, frame by frame.

    Parameters
    ----------
    contacts : ContactMatrices
        As in `contact_heatmap`.
    atom : str or int
        Name of the atom, or its position among the heavy atoms.
    cutoff : float
        Contact distance in angstrom.
    top : int
        Number of residues shown: those most often in contact, or nearest where too few are.
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        One row a residue with its occupancy on the right; colored while in contact, darker the
        closer; light gray while within the stored range.

    Raises
    ------
    ParameterError
        The ligand has no such atom.
    """
    index = atom_index(contacts, atom)
    distances = contacts.distances[:, index]
    shares = (distances < cutoff).mean(axis=0)
    nearest = np.where(np.isfinite(distances), distances, contacts.cutoff).mean(axis=0)
    order = np.lexsort((nearest, -shares))[:top]
    distances, block = _blocks(distances[:, order])
    ax = new_axes(ax, width_in=7.6, height_in=0.24 * top + 1.1)
    extent = (-0.5, len(distances) * block - 0.5, len(order) - 0.5, -0.5)
    near = np.isfinite(distances).T
    shown: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "extent": extent}
    ax.imshow(np.ma.masked_where(~near, near), cmap=ListedColormap(["#e9e9e9"]), **shown)
    lowest = min(2.5, cutoff - 1)
    touching = np.ma.masked_where(~(distances < cutoff).T, distances.T)
    image = ax.imshow(touching, cmap=_dark_to_light(), vmin=lowest, vmax=cutoff, **shown)
    _rows(ax, [contacts.residue_labels[i] for i in order], size=9)
    _shares_at_right(ax, shares[order])
    _frame_axis(ax, contacts)
    ax.grid(False)
    touched = int((shares > 0).sum())
    met = "1 residue" if touched == 1 else f"{touched} residues"
    ax.set_title(f"{contacts.atom_names[index]}: {met} within {cutoff:g} Å")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=20, pad=0.01)
    bar.set_label("distance (Å)")
    bar.outline.set_visible(False)
    return ax


def atom_index(contacts: ContactMatrices, atom: str | int) -> int:
    """Position of a ligand atom among the heavy atoms, from its name or position."""
    names = list(contacts.atom_names)
    if isinstance(atom, str) and atom in names:
        return names.index(atom)
    if not isinstance(atom, str) and 0 <= atom < len(names):
        return int(atom)
    raise ParameterError(
        f"atom={atom!r} is no heavy atom of the ligand; give a position below {len(names)} or one "
        f"of {', '.join(names[:6])}, ..."
    )


def _blocks(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Frames along the first axis, averaged in blocks where there are too many to draw."""
    block = -(-len(values) // MAX_COLUMNS)
    if block == 1:
        return values, 1
    whole = len(values) // block * block
    return values[:whole].reshape(-1, block, *values.shape[1:]).mean(axis=1), block


def _rows(ax: Axes, names: list[str], size: float = 7.5) -> None:
    ax.set_yticks(range(len(names)), names, fontsize=size)
    ax.tick_params(length=0)
    ax.grid(False)


def _shares_at_right(ax: Axes, shares: np.ndarray) -> None:
    words = ["share", *(f"{share:.0%}" for share in shares)]
    for row, text in enumerate(words, start=-1):
        ax.annotate(
            text,
            (1.0, row),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color="#333333",
        )


def _frame_axis(ax: Axes, contacts: ContactMatrices) -> None:
    """Name positions by the frame of the trajectory; mark where another trajectory begins."""
    frames = np.asarray(contacts.frames)
    ticks = MaxNLocator(7, integer=True).tick_values(frames[0], frames[-1])
    ticks = ticks[(ticks >= frames[0]) & (ticks <= frames[-1])].astype(int)
    ax.set_xticks(np.interp(ticks, frames, np.arange(len(frames))), [str(tick) for tick in ticks])
    ax.set_xlabel("frame")
    for start in np.flatnonzero(np.diff(contacts.replica)) + 0.5:
        ax.axvline(start, color=GRAY, linestyle="--", linewidth=1)


def _separate(ax: Axes, groups: np.ndarray, names: list[str] | tuple[str, ...]) -> None:
    """Lines between the groups of rows and their names on the right."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
    for start in starts[1:-1]:
        ax.axhline(start - 0.5, color="#555555", linewidth=0.8)
    if not len(names):
        return
    for start, stop in pairwise(starts):
        ax.annotate(
            names[int(groups[start])],
            (1.0, (start + stop - 1) / 2),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )


def _white_to_blue() -> Colormap:
    return LinearSegmentedColormap.from_list(
        "labkit-white-blue", ("#ffffff", "#a6cbe0", "#4d9ac8", "#0072B2", "#003a5c")
    )


def _dark_to_light() -> Colormap:
    heat = ColorScale(0, 1, "heat").colormap()
    return ListedColormap(heat(np.linspace(1.0, 0.3, 256)))
