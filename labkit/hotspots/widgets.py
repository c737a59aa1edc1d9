"""Interactive views of the study; each shows its first state when executed headless."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots import plots, view3d
from labkit.hotspots.fragments import SCHEMES, fragment_atoms
from labkit.hotspots.quantities import quantity, quantity_label
from labkit.hotspots.scene import MAX_FRAMES, trajectory_scene
from labkit.hotspots.scores import ensemble_spread, latent_velocity
from labkit.hotspots.stability import seed_agreement
from labkit.viz.style import new_axes

if TYPE_CHECKING:
    from labkit.hotspots.contacts import ContactMatrices
    from labkit.hotspots.ranking import HotspotTable
    from labkit.hotspots.systems import Complex

logger = logging.getLogger(__name__)

ATOMS = "single atoms"
TOP = 12
SCREEN_DPI = 88


def cutoff_explorer(contacts: ContactMatrices, *, cutoff: float = 4.5) -> widgets.VBox:
    """Contacts at another cutoff, from the stored distances: nothing is read again.

    Parameters
    ----------
    contacts : ContactMatrices
        Of `compute_contacts`.
    cutoff : float
        Contact distance shown first, in angstrom.

    Returns
    -------
    VBox
        Slider and choice of figure above a line of numbers and the figure.
    """
    slider = _cutoff_slider(contacts, cutoff)
    figure = widgets.ToggleButtons(options=["who with whom", "when"])

    picture, words = _image(), widgets.HTML()

    def draw(_change: object = None) -> None:
        plot = plots.occupancy_map if figure.value == "who with whom" else plots.contact_heatmap
        words.value = contact_words(contacts, slider.value)
        try:
            _draw(picture, plot(contacts, cutoff=slider.value))
        except ParameterError as exc:
            words.value, picture.value = html.escape(str(exc)), b""

    for control in (slider, figure):
        control.observe(draw, names="value")
    draw()
    box = widgets.VBox([widgets.HBox([slider, figure]), words, picture])
    return box.add_class("labkit-cutoff-explorer")


def contact_words(contacts: ContactMatrices, cutoff: float) -> str:
    """Count contacts at a cutoff, in words."""
    touching = contacts.distances < cutoff
    residues = int(touching.any(axis=(0, 1)).sum())
    lasting = int((touching.any(axis=1).mean(axis=0) >= 0.5).sum())
    per_atom = touching.sum(axis=2).mean()
    return (
        f"within {cutoff:.1f} Å: {residues} residues ever touch the ligand, {lasting} in at least "
        f"half of the frames; an atom touches {per_atom:.2f} residues on average"
    )


def atom_explorer(
    complex: Complex,
    contacts: ContactMatrices,
    table: HotspotTable | pd.DataFrame | None = None,
    *,
    score: str = "score",
    cutoff: float = 4.5,
    n_frames: int = MAX_FRAMES,
) -> AtomExplorer:
    """Play the trajectory; click an atom, or choose it in the list, to see its contacts over time.

    Parameters
    ----------
    complex : Complex
        The system.
    contacts : ContactMatrices
        Of `compute_contacts` for the same system.
    table : HotspotTable or DataFrame, optional
        Colors of the atoms and their order in the list.
    score : str
        Column of `table`.
    cutoff : float
        Contact distance shown first, in angstrom.
    n_frames : int
        Frames that the player holds.

    Returns
    -------
    AtomExplorer
        Player on the left (a flat drawing where nglview cannot show), timeline on the right.
    """
    values = None if table is None else view3d.atom_values(complex, table, score)
    return AtomExplorer(complex, contacts, values, score, cutoff, n_frames)


class AtomExplorer(widgets.VBox):  # type: ignore[misc]
    """See `atom_explorer`.

    Attributes
    ----------
    atom : Dropdown
        The atom whose contacts are shown.
    cutoff : FloatSlider
        Contact distance in angstrom.
    view : NGLWidget or HTML
        The player, or the drawing that stands in for it.
    frame : HTML
        Which frame of the trajectory the player shows.
    timeline : Image
        Contacts of the atom over time.
    """

    def __init__(
        self,
        complex: Complex,
        contacts: ContactMatrices,
        values: np.ndarray | None,
        score: str,
        cutoff: float,
        n_frames: int,
    ) -> None:
        self.complex, self.contacts = complex, contacts
        self.scene = trajectory_scene(complex, n_frames)
        self.values, self.score = values, score
        self.atom = widgets.Dropdown(options=self._options(), description="atom")
        self.cutoff = _cutoff_slider(contacts, cutoff)
        self.words = widgets.HTML().add_class("labkit-atom-words")
        self.frame = widgets.HTML()
        self.timeline = _image("labkit-atom-timeline")
        self.view = self._player()
        for control in (self.atom, self.cutoff):
            control.observe(self._show, names="value")
        left = widgets.VBox([self.view, self.frame, self._legend()])
        right = widgets.VBox([self.atom, self.cutoff, self.words, self.timeline])
        super().__init__([widgets.HBox([left, right], layout={"flex_flow": "row wrap"})])
        self.add_class("labkit-atom-explorer")
        self._show()
        if not isinstance(self.view, widgets.HTML):
            self._show_frame()

    def _options(self) -> list[tuple[str, int]]:
        """Atoms for the list: by rank where there are values, else as they come."""
        names = self.complex.atom_names
        if self.values is None:
            return [(name, i) for i, name in enumerate(names)]
        known = np.where(np.isfinite(self.values), self.values, -np.inf)
        order = np.argsort(-known, kind="stable").tolist()
        return [
            (f"{rank}: {names[i]} ({self.values[i]:.2f})", i)
            for rank, i in enumerate(order, start=1)
        ]

    def _player(self) -> Any:
        scale = None if self.values is None else view3d.score_scale(self.values, self.score)
        try:
            view = view3d.show_scene(self.scene, self.values, scale, width_px=470, height_px=380)
        except LabkitError as exc:
            logger.warning("%s", exc)
            return widgets.HTML(self._drawing())
        view.observe(self._picked, names="picked")
        view.observe(self._show_frame, names="frame")
        return view

    def _show_frame(self, _change: object = None) -> None:
        shown = self.scene.frames[self.view.frame]
        text = f"frame {shown}"
        if self.view.max_frame:
            text += "; point at the view to play the trajectory"
        self.frame.value = text

    def _legend(self) -> widgets.HTML:
        if self.values is None:
            return widgets.HTML()
        return widgets.HTML(view3d.score_scale(self.values, self.score).to_html())

    def _drawing(self) -> str:
        values = np.zeros(self.complex.n_atoms) if self.values is None else self.values
        marked = self.complex.atom_names[self.atom.value]
        return view3d.depict_hotspots(
            self.complex, values, score=self.score, marked=marked
        ).to_html()

    def _picked(self, change: dict[str, Any]) -> None:
        """Show the atom that was clicked in the player; a click on the pocket changes nothing."""
        clicked = (change["new"] or {}).get("atom1", {}).get("index")
        if clicked is not None and clicked >= len(self.scene.pocket):
            self.atom.value = int(clicked) - len(self.scene.pocket)

    def _show(self, _change: object = None) -> None:
        atom, cutoff = int(self.atom.value), self.cutoff.value
        axes = new_axes(width_in=5.7, height_in=3.7)
        plots.contact_timeline(self.contacts, atom, cutoff=cutoff, ax=axes)
        _draw(self.timeline, axes)
        self.words.value = "click a ligand atom in the view, or choose one in the list"
        if isinstance(self.view, widgets.HTML):
            self.words.value = "choose an atom in the list"
            self.view.value = self._drawing()
        else:
            view3d.mark_atom(self.view, self.scene, atom)


def score_explorer(
    complex: Complex,
    scores: pd.DataFrame,
    *,
    latents: Sequence[np.ndarray] = (),
    score: str = "latent_spread",
) -> widgets.VBox:
    """The ligand colored by any score, by atom or fragment, for ensembles of any size.

    Parameters
    ----------
    complex : Complex
        The system.
    scores : DataFrame
        Of `atom_scores`: one row an atom.
    latents : sequence of ndarray of shape (n_atoms, n_windows, latent_dim), optional
        One a network; adds the choice of how many of them the latent scores are averaged over.
    score : str
        Column shown first.

    Returns
    -------
    VBox
        Choices above the ligand, flat or in 3D, and its highest atoms or fragments.
    """
    columns = [column for column in scores if scores[column].notna().any()]
    column = widgets.Dropdown(
        options=[(quantity_label(name), name) for name in columns],
        value=score if score in columns else columns[0],
        description="score",
    )
    scheme = widgets.Dropdown(options=[ATOMS, *SCHEMES], description="fragments")
    how = widgets.ToggleButtons(options=["flat", "3D"], style={"button_width": "60px"})
    n_seeds = len(latents)
    size = widgets.IntSlider(
        value=max(n_seeds, 1), min=1, max=max(n_seeds, 1), description="networks"
    )
    size.disabled = n_seeds < 2
    ligand = widgets.Output(layout={"width": "540px"}).add_class("labkit-score-ligand")
    bars = _image("labkit-score-bars")
    words = widgets.HTML().add_class("labkit-score-words")

    def draw(_change: object = None) -> None:
        values = ensemble_score(scores, column.value, latents, size.value)
        names, numbers, groups = grouped(complex, values, scheme.value)
        shown = numbers[groups]
        show = view3d.show_hotspots if how.value == "3D" else view3d.depict_hotspots
        picture = show(complex, shown, score=column.value, width_px=520, height_px=380)
        _put(ligand, picture._repr_mimebundle_())
        _draw(bars, _bars(names, numbers, column.value))
        words.value = _agreement_words(latents, size.value, column.value)

    for control in (column, scheme, how, size):
        control.observe(draw, names="value")
    draw()
    controls = widgets.HBox([column, scheme, size, how], layout={"flex_flow": "row wrap"})
    pictures = widgets.HBox([ligand, bars], layout={"flex_flow": "row wrap"})
    return widgets.VBox([controls, words, pictures]).add_class("labkit-score-explorer")


def ensemble_score(
    scores: pd.DataFrame, column: str, latents: Sequence[np.ndarray], size: int
) -> np.ndarray:
    """Score of each atom, latent scores averaged over the first `size` networks only."""
    if not 0 < size < len(latents) or column not in ("latent_spread", "latent_velocity"):
        return scores[column].to_numpy(dtype=float)
    if column == "latent_spread":
        return ensemble_spread(latents[:size])
    return np.mean([latent_velocity(mu) for mu in latents[:size]], axis=0)


def _agreement_words(latents: Sequence[np.ndarray], size: int, column: str) -> str:
    if not column.startswith("latent_"):
        return "this score needs no network"
    if len(latents) < 2 * size:
        return f"agreement of two ensembles of {size} needs {2 * size} networks" if latents else ""
    pairs = seed_agreement(latents, size, max_pairs=50)
    return (
        f"two ensembles of {size} that share no network rank the atoms alike with Spearman "
        f"{pairs['spearman'].min():.2f} or better ({len(pairs)} pairs)"
    )


def grouped(
    complex: Complex, values: np.ndarray, scheme: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and mean scores of atoms or fragments, and the one that each atom belongs to."""
    if scheme == ATOMS:
        return list(complex.atom_names), values, np.arange(len(values))
    fragments = fragment_atoms(complex.mol, scheme=scheme, heavy=complex.heavy_in_mol)
    means = pd.Series(values).groupby(fragments.ids).mean()
    return list(fragments.names), means.to_numpy(), fragments.ids


def _bars(names: Sequence[str], values: np.ndarray, column: str) -> Axes:
    """The highest atoms or fragments as bars in the colors of the drawing."""
    scale = view3d.score_scale(values, column)
    known = np.where(np.isfinite(values), values, -np.inf)
    top = [i for i in np.argsort(-known, kind="stable")[:TOP] if np.isfinite(values[i])]
    ax = new_axes(width_in=4.8, height_in=0.27 * max(len(top), 4) + 0.9)
    ax.barh(
        range(len(top)),
        values[top],
        color=[scale.color(values[i]) for i in top],
        edgecolor="#777777",
        linewidth=0.5,
    )
    ax.set_yticks(range(len(top)), [names[i] for i in top], fontsize=9)
    ax.set_ylim(max(len(top), 4) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(quantity_label(column))
    ax.set_title(f"highest {quantity(column)[0]}", fontsize=10)
    return ax


def _cutoff_slider(contacts: ContactMatrices, cutoff: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=min(cutoff, contacts.cutoff),
        min=min(3.0, contacts.cutoff),
        max=contacts.cutoff,
        step=0.1,
        description="cutoff (Å)",
        continuous_update=False,
        readout_format=".1f",
    )


def _put(output: widgets.Output, bundle: dict[str, str]) -> None:
    """Make an output area show a MIME bundle, in a browser as in a headless run."""
    output.outputs = ({"output_type": "display_data", "data": bundle, "metadata": {}},)


def _draw(image: widgets.Image, axes: Axes) -> None:
    """Show the axes' figure at its size, and close it so that it does not show twice."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=1.5 * SCREEN_DPI, bbox_inches=None)
    image.layout.width = f"{round(figure.get_figwidth() * SCREEN_DPI)}px"
    image.value = buffer.getvalue()
    plt.close(figure)


def _image(css: str = "") -> widgets.Image:
    image = widgets.Image(format="png")
    image.layout.max_width, image.layout.align_self = "100%", "flex-start"
    return image.add_class(css) if css else image
