"""The ligand colored by its scores: flat, in 3D, and moving in its pocket.

`depict_hotspots` draws it flat, for print; `show_hotspots` in its pocket, with py3Dmol (survives
batch runs and exported HTML) or nglview (JupyterLab); `show_trajectory` plays frames with nglview.
All show the same colors for the same values: light gray is low, dark red high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Geometry import Point3D

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.hotspots.quantities import quantity
from labkit.hotspots.scene import (
    MAX_FRAMES,
    POCKET_CUTOFF,
    PROTEIN_GRAY,
    Scene,
    pocket_scene,
    touching_residues,
    trajectory_scene,
)
from labkit.hotspots.scene_html import scene_html
from labkit.viz.colors import MISSING, ColorScale
from labkit.viz.depiction import Drawing, draw_molecule
from labkit.viz.molecules import MoleculeView
from labkit.viz.structures import view_frames

if TYPE_CHECKING:
    import nglview

    from labkit.hotspots.ranking import HotspotTable
    from labkit.hotspots.systems import Complex

    Values: TypeAlias = HotspotTable | pd.DataFrame | pd.Series | Sequence[float] | np.ndarray

BACKENDS = ("py3Dmol", "nglview")
MARK_COLOR = "#56B4E9"
TOWARDS_NGL = np.array([-1.0, 1.0, -1.0], dtype=np.float32)
"""NGL looks along z, 3Dmol against it: turned about the vertical, both show the same side."""

VERDICTS = {"anchor": -1.0, "undetermined": 0.0, "dynamic": 1.0}


def atom_values(complex: Complex, values: Values, score: str = "score") -> np.ndarray:
    """One number for each heavy atom of the ligand, in its order.

    Parameters
    ----------
    complex : Complex
        The system.
    values : HotspotTable, DataFrame, Series or sequence of float
        A table has one row an atom, named in a column ``atom`` or by its index; a sequence is in
        the order of ``complex.atom_names``.
    score : str
        Column of a table; ``"verdict"`` gives -1 for anchors and 1 for dynamic atoms.

    Returns
    -------
    ndarray of shape (n_atoms,)

    Raises
    ------
    ParameterError
        No such column, or not one value an atom.
    """
    table = getattr(values, "frame", values)
    if isinstance(table, pd.DataFrame):
        table = table.set_index("atom") if "atom" in table else table
        if score not in table:
            raise ParameterError(not_allowed("score", score, [str(c) for c in table.columns]))
        table = table[score].map(VERDICTS) if score == "verdict" else table[score]
    names = list(complex.atom_names)
    if isinstance(table, pd.Series) and set(names) <= set(table.index):
        table = table.loc[names]
    numbers = np.asarray(table, dtype=float)
    if numbers.shape != (len(names),):
        raise ParameterError(
            f"values has shape {numbers.shape}; the ligand has {len(names)} heavy atoms: give one "
            "value for each, in the order of complex.atom_names."
        )
    return numbers


def score_scale(values: np.ndarray, score: str = "score") -> ColorScale:
    """Colors of a score: light gray is low, dark red high; verdicts from blue to vermillion."""
    if score == "verdict":
        return ColorScale(-1, 1, "diverging", "anchor (blue), undetermined, dynamic (red)")
    label, unit = quantity(score)
    return ColorScale.for_values(values, label=label, unit=unit, signed=False, ramp="heat")


def depict_hotspots(
    complex: Complex,
    values: Values,
    *,
    score: str = "score",
    top: int = 5,
    marked: str | None = None,
    scale: ColorScale | None = None,
    width_px: int = 560,
    height_px: int = 400,
) -> Drawing:
    """Draw the ligand flat, atoms colored by a score; prints in any export.

    Parameters
    ----------
    complex, values, score : Complex, table or numbers, str
        As in `atom_values`.
    top : int
        How many of the highest atoms are named.
    marked : str, optional
        Another atom that is named.
    scale : ColorScale, optional
        Common scale for several drawings.
    width_px, height_px : int
        Size in pixels.

    Returns
    -------
    Drawing
    """
    numbers = atom_values(complex, values, score)
    scale = scale or score_scale(numbers, score)
    known = np.where(np.isfinite(numbers), numbers, -np.inf)
    named = [i for i in np.argsort(-known, kind="stable")[:top].tolist() if known[i] > -np.inf]
    if marked is not None:
        named.append(complex.atom_names.index(marked))
    return draw_molecule(
        heavy_mol(complex),
        numbers.tolist(),
        label=scale.label,
        unit=scale.unit,
        scale=scale,
        notes={i: complex.atom_names[i] for i in named},
        width_px=width_px,
        height_px=height_px,
    )


def heavy_mol(complex: Complex, xyz: np.ndarray | None = None) -> Chem.Mol:
    """The ligand without hydrogens, atoms in the order of the tables.

    Parameters
    ----------
    complex : Complex
        The system.
    xyz : ndarray of shape (n_atoms, 3), optional
        Positions of the heavy atoms in angstrom; those of the first frame by default.
    """
    order = [int(i) for i in complex.heavy_in_mol]
    hydrogens = [a.GetIdx() for a in complex.mol.GetAtoms() if a.GetIdx() not in set(order)]
    mol = Chem.RemoveAllHs(Chem.RenumberAtoms(complex.mol, [*order, *hydrogens]))
    if xyz is not None:
        for i, place in enumerate(np.asarray(xyz, dtype=float)):
            mol.GetConformer().SetAtomPosition(i, Point3D(*place.tolist()))
    return mol


def show_hotspots(
    complex: Complex,
    values: Values,
    *,
    score: str = "score",
    backend: str = "py3Dmol",
    frame: int | None = None,
    scale: ColorScale | None = None,
    pocket: float = POCKET_CUTOFF,
    width_px: int = 640,
    height_px: int = 440,
) -> MoleculeView | nglview.NGLWidget:
    """Show the ligand in its pocket, atoms colored by a score.

    Parameters
    ----------
    complex, values, score : Complex, table or numbers, str
        As in `atom_values`.
    backend : {"py3Dmol", "nglview"}
        py3Dmol shows in JupyterLab, after batch runs and in exported HTML; nglview in JupyterLab.
    frame : int, optional
        Trajectory index; the first analyzed frame by default.
    scale : ColorScale, optional
        Common scale for several views.
    pocket : float
        Residues this close to the ligand are shown, in angstrom.
    width_px, height_px : int
        Size in pixels.

    Returns
    -------
    MoleculeView or NGLWidget
        Click an atom to see its name and value.

    Raises
    ------
    ParameterError
        Unknown backend, or values that do not fit the ligand.
    """
    if backend not in BACKENDS:
        raise ParameterError(not_allowed("backend", backend, BACKENDS))
    numbers = atom_values(complex, values, score)
    scale = scale or score_scale(numbers, score)
    scene = pocket_scene(complex, frames=None if frame is None else [frame], cutoff=pocket)
    if backend == "nglview":
        return show_scene(scene, numbers, scale, width_px=width_px, height_px=height_px)
    drawing = depict_hotspots(
        complex, numbers, score=score, scale=scale, width_px=width_px, height_px=height_px
    )
    mol = heavy_mol(complex, scene.ligand_xyz[0])
    words = [
        f"{name}: {'not known' if np.isnan(value) else f'{value:.3g}'}"
        for name, value in zip(complex.atom_names, numbers, strict=True)
    ]
    viewer = scene_html(scene, mol, [scale.color(v) for v in numbers], words, width_px, height_px)
    return MoleculeView(mol, drawing, viewer, width_px, height_px)


def show_trajectory(
    complex: Complex,
    values: Values | None = None,
    *,
    score: str = "score",
    n_frames: int = MAX_FRAMES,
    scale: ColorScale | None = None,
    pocket: float = POCKET_CUTOFF,
    width_px: int = 560,
    height_px: int = 420,
) -> nglview.NGLWidget:
    """Play the ligand moving in its pocket with nglview, atoms colored by a score.

    Parameters
    ----------
    complex, values, score : Complex, table or numbers, str
        As in `atom_values`; colored by element without values.
    n_frames : int
        Frames shown, evenly spaced over those analyzed; at most `MAX_FRAMES`, which keeps
        the notebook small.
    scale, pocket, width_px, height_px
        As in `show_hotspots`.

    Returns
    -------
    NGLWidget
        Frames superposed on the pocket, which is that of the first frame.

    Raises
    ------
    ParameterError
        `n_frames` is not allowed, or values that do not fit the ligand.
    """
    numbers = None if values is None else atom_values(complex, values, score)
    if numbers is not None:
        scale = scale or score_scale(numbers, score)
    scene = trajectory_scene(complex, n_frames, cutoff=pocket)
    return show_scene(scene, numbers, scale, width_px=width_px, height_px=height_px)


def show_scene(
    scene: Scene,
    values: np.ndarray | None,
    scale: ColorScale | None,
    *,
    width_px: int = 560,
    height_px: int = 420,
) -> nglview.NGLWidget:
    """Show a scene with nglview, the ligand colored by `values` or, without, by element.

    Parameters
    ----------
    scene : Scene
        Of `pocket_scene` or `trajectory_scene`.
    values : ndarray of shape (n_atoms,) or None
        One number for each heavy atom of the ligand.
    scale : ColorScale or None
        Their colors.
    width_px, height_px : int
        Size in pixels.
    """
    scene = scene.turned(TOWARDS_NGL)
    pdb, xyz = scene.pdb(values), scene.xyz()
    view = view_frames(pdb, xyz, width_px=width_px, height_px=height_px)
    view.clear_representations()
    view.add_representation("cartoon", selection="polymer", color=PROTEIN_GRAY)
    close = np.flatnonzero(np.isin(scene.pocket.resindices, touching_residues(scene)))
    if len(close):
        view.add_representation("licorice", selection=_at(close), color=PROTEIN_GRAY, radius=0.08)
    atoms = len(scene.pocket) + np.arange(len(scene.ligand))
    for chosen, colors in _ligand_colors(values, scale, len(atoms)):
        if chosen.any():
            selection = _at(atoms[chosen])
            view.add_representation("ball+stick", selection=selection, aspect_ratio=1.7, **colors)
    view.center(_at(atoms))
    return view


def _ligand_colors(
    values: np.ndarray | None, scale: ColorScale | None, n_atoms: int
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Which atoms NGL colors how: the known values by B-factor, the others in one color."""
    if values is None or scale is None:
        return [(np.ones(n_atoms, dtype=bool), {"color": "element"})]
    by_value = {
        "color_scheme": "bfactor",
        "color_scale": [scale.color(v) for v in np.linspace(scale.low, scale.high, 9)],
        "color_domain": [scale.low, scale.high],
        "color_mode": "rgb",
    }
    known = np.isfinite(values)
    return [(known, by_value), (~known, {"color": MISSING})]


def mark_atom(view: nglview.NGLWidget, scene: Scene, atom: int) -> None:
    """Put a translucent ball around one heavy atom of the ligand in a view of `show_scene`."""
    selection = _at(np.array([len(scene.pocket) + atom]))
    view._remove_representations_by_name("spacefill")
    view.add_representation(
        "spacefill", selection=selection, color=MARK_COLOR, opacity=0.45, radius=0.9
    )


def _at(atoms: np.ndarray) -> str:
    """NGL's selection of atoms by their index in the structure."""
    return "@" + ",".join(str(atom) for atom in atoms.tolist())
