"""A ligand in its pocket as HTML with py3Dmol, which needs no kernel to turn, zoom and click.

Ribbons and the sticks of touching residues are gray; the ligand has a color an atom. The browser
fetches 3Dmol.js from a content delivery network; `labkit.viz.MoleculeView` lays a flat drawing
below for where it cannot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from rdkit import Chem

from labkit.hotspots.scene import PROTEIN_GRAY, Scene, pdb_text, touching_residues


def scene_html(
    scene: Scene,
    mol: Chem.Mol,
    colors: Sequence[str],
    words: Sequence[str],
    width_px: int,
    height_px: int,
) -> str:
    """HTML of the first frame of a scene: model 0 is the pocket, model 1 the ligand.

    Parameters
    ----------
    scene : Scene
        Pocket and positions.
    mol : Mol
        The ligand's heavy atoms with bond orders and the scene's positions.
    colors, words : sequence of str of shape (n_atoms,)
        Color of each atom, and what a click on it says.
    width_px, height_px : int
        Size in pixels.
    """
    import py3Dmol

    view = py3Dmol.view(width=width_px, height=height_px)
    nothing = scene.ligand[:0]
    view.addModel(pdb_text(scene.pocket, scene.pocket_xyz[0], nothing, np.empty((0, 3))), "pdb")
    view.addModel(Chem.MolToMolBlock(mol), "sdf")
    view.setStyle({"model": 0}, {"cartoon": {"color": PROTEIN_GRAY, "opacity": 0.6}})
    for residue in touching_residues(scene):
        atoms = np.flatnonzero(scene.pocket.resindices == residue)
        chosen = {"model": 0, "index": atoms.tolist()}
        view.addStyle(chosen, {"stick": {"radius": 0.07, "color": PROTEIN_GRAY}})
        _name_residue(view, scene, atoms)
    for color in sorted(set(colors)):
        atoms_of = [i for i, other in enumerate(colors) if other == color]
        ball, stick = {"scale": 0.27, "color": color}, {"radius": 0.16, "color": color}
        view.setStyle({"model": 1, "index": atoms_of}, {"sphere": ball, "stick": stick})
    view.setClickable({"model": 1}, True, _CLICK.replace("WORDS", json.dumps(list(words))))
    view.zoomTo({"model": 1})
    view.zoom(0.85)
    return str(view.write_html())


_CLICK = """function (atom, viewer) {
  if (atom.shown) { viewer.removeLabel(atom.shown); delete atom.shown; return; }
  var words = WORDS;
  atom.shown = viewer.addLabel(words[atom.index], {position: atom, inFront: true, fontSize: 13,
    fontColor: "black", backgroundColor: "white", backgroundOpacity: 0.85, borderColor: "#999999",
    borderThickness: 1});
}"""


def _name_residue(view: Any, scene: Scene, atoms: np.ndarray) -> None:
    residue = scene.pocket[atoms[0]].residue
    ends = scene.pocket_xyz[0, atoms]
    gaps = np.linalg.norm(ends[:, None] - scene.ligand_xyz[0], axis=2).min(axis=1)
    x, y, z = ends[int(np.argmax(gaps))].tolist()
    style = {
        "position": {"x": x, "y": y, "z": z},
        "fontSize": 10,
        "fontColor": "#666666",
        "showBackground": False,
        "inFront": True,
    }
    view.addLabel(f"{residue.resname.title()}{residue.resid}", style)
