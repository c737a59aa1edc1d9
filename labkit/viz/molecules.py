"""Small molecules in 3D, atoms colored by a value, as HTML that stays readable without a viewer.

The viewer is py3Dmol, whose JavaScript (3Dmol.js) the browser fetches from a content delivery
network. Until it has loaded - or for good, without a network, without scripts or without WebGL -
the flat drawing of the same molecule in the same colors stands in its place, with one line that
says why. Conformers come from RDKit's ETKDG [1]_ followed by MMFF94.

References
----------
.. [1] Riniker and Landrum, J. Chem. Inf. Model. 55 (2015) 2562-2574, doi:10.1021/acs.jcim.5b00654
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from labkit.errors import ParameterError
from labkit.viz.colors import ColorScale
from labkit.viz.depiction import Drawing, Molecule, check_values, draw_molecule, read_molecule

logger = logging.getLogger(__name__)

STYLES = ("stick", "ball", "sphere")
"""Ways of drawing atoms in 3D."""


@dataclass(frozen=True)
class MoleculeView:
    """A molecule in 3D that shows itself in a notebook.

    Parameters
    ----------
    mol : Mol
        The molecule; with a conformer, unless none was found.
    drawing : Drawing
        The same molecule flat: shown where the 3D view cannot be.
    viewer_html : str
        py3Dmol's HTML; empty when there is no conformer.
    width_px, height_px : int
        Size of the view.
    """

    mol: Chem.Mol
    drawing: Drawing
    viewer_html: str
    width_px: int
    height_px: int

    def to_html(self) -> str:
        """Return the view as one HTML fragment: flat drawing, 3D viewer over it, legend."""
        flat = Drawing(self.drawing.svg, self.drawing.text).to_html()
        values = {
            "ID": f"labkit-{uuid.uuid4().hex}",
            "WIDTH": str(self.width_px),
            "HEIGHT": str(self.height_px),
            "FLAT": flat,
            "NOTE": "Flat drawing: the 3D view needs JavaScript and a network."
            if self.viewer_html
            else "Flat drawing: RDKit found no 3D conformer for this molecule.",
            "VIEWER": self.viewer_html,
            "LEGEND": self.drawing.legend,
            "SCRIPT": _SCRIPT if self.viewer_html else "",
        }
        page = _PAGE
        for name in ("SCRIPT", *values):
            page = page.replace(f"@{name}@", values[name])
        return page

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.drawing.bundle(self.to_html())


def embed(molecule: Molecule, *, seed: int = 0) -> Chem.Mol | None:
    """One 3D conformer of a molecule, with hydrogens, or None when there is none to be found.

    A molecule that already has a 3D conformer keeps it. Otherwise ETKDG is tried from distance
    geometry, then from random coordinates, and the result is relaxed with MMFF94 where that
    force field knows all atoms.

    Parameters
    ----------
    molecule : str or Mol
        SMILES or RDKit molecule; its atoms keep their numbers, hydrogens follow them.
    seed : int
        Seed of the embedding.

    Returns
    -------
    Mol or None

    Raises
    ------
    ParameterError
        `molecule` cannot be read.
    """
    mol = read_molecule(molecule)
    if mol.GetNumConformers() and mol.GetConformer().Is3D():
        return Chem.Mol(mol)
    mol = Chem.AddHs(mol)
    for random_start in (False, True):
        found = rdDistGeom.EmbedMolecule(
            mol,
            maxAttempts=5,
            randomSeed=seed,
            useRandomCoords=random_start,
            ETversion=2,
            useSmallRingTorsions=True,
        )
        if found == 0:
            _relax(mol)
            return mol
    return None


def view_molecule(
    molecule: Molecule,
    values: Sequence[float] | None = None,
    *,
    label: str = "",
    unit: str = "",
    signed: bool = True,
    scale: ColorScale | None = None,
    style: str = "ball",
    width_px: int = 460,
    height_px: int = 320,
    seed: int = 0,
) -> MoleculeView:
    """Show one molecule in 3D, atoms colored by `values`.

    Parameters
    ----------
    molecule : str or Mol
        SMILES or RDKit molecule; a 3D conformer it has is kept, else one is made.
    values : sequence of float, shape (n_atoms,), optional
        One value per atom of `molecule`; without it atoms have their element's color.
        Hydrogens that were added for the conformer are drawn gray.
    label, unit : str
        What the values are; shown with the color bar.
    signed : bool
        Zero is neutral: positive values are vermillion, negative ones blue. False for a scale
        from the lowest to the highest value.
    scale : ColorScale, optional
        Common scale for several views; made from `values` when not given.
    style : {"ball", "stick", "sphere"}
        Ball and stick, sticks, or van der Waals spheres.
    width_px, height_px : int
        Size in pixels.
    seed : int
        Seed of the conformer.

    Returns
    -------
    MoleculeView
        Displays itself; ``to_html()`` gives the fragment.

    Raises
    ------
    ParameterError
        Unreadable SMILES, a wrong number of values, or an unknown style.

    Examples
    --------
    >>> view = view_molecule("CCO", [0.1, 0.0, -0.4], label="charge", unit="e")
    >>> view.drawing.text
    'CCO: 3 atoms colored by charge (e) from -0.4 to 0.1'
    """
    if style not in STYLES:
        raise ParameterError(f"style={style!r} is unknown; choose from {', '.join(STYLES)}.")
    mol = read_molecule(molecule)
    numbers = None if values is None else check_values(mol, values)
    if numbers is not None and scale is None:
        scale = ColorScale.for_values(numbers, label=label, unit=unit, signed=signed)
    size = (width_px, height_px)
    drawing = draw_molecule(
        mol, numbers, label=label, unit=unit, scale=scale, width_px=width_px, height_px=height_px
    )
    solid = embed(mol, seed=seed)
    if solid is None:
        logger.warning("no 3D conformer for %s; showing the flat drawing", Chem.MolToSmiles(mol))
        return MoleculeView(mol, drawing, "", *size)
    colors = None
    if numbers is not None and scale is not None:
        colors = [scale.color(value) for value in numbers]
    return MoleculeView(solid, drawing, _viewer_html(solid, colors, style, *size), *size)


def _relax(mol: Chem.Mol) -> None:
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=500)


def _viewer_html(
    mol: Chem.Mol, colors: Sequence[str] | None, style: str, width_px: int, height_px: int
) -> str:
    import py3Dmol

    view = py3Dmol.view(width=width_px, height=height_px)
    view.addModel(Chem.MolToMolBlock(mol), "sdf")
    if colors is None:
        view.setStyle({}, _atom_style(style, {"colorscheme": "default"}))
    else:
        view.setStyle({}, _atom_style(style, {"color": "#dddddd"}))
        for color in sorted(set(colors)):
            atoms = [i for i, other in enumerate(colors) if other == color]
            view.setStyle({"index": atoms}, _atom_style(style, {"color": color}))
    view.zoomTo()
    return str(view.write_html())


def _atom_style(style: str, color: dict[str, str]) -> dict[str, dict[str, Any]]:
    if style == "stick":
        return {"stick": {"radius": 0.18, **color}}
    if style == "sphere":
        return {"sphere": color}
    return {"stick": {"radius": 0.11, **color}, "sphere": {"scale": 0.28, **color}}


_PAGE = """\
<div id="@ID@" style="position:relative;width:@WIDTH@px;height:@HEIGHT@px;background:white">
<div class="labkit-flat" style="position:absolute;inset:0;text-align:center">@FLAT@
<div class="labkit-note"
 style="position:absolute;bottom:0;width:100%;font:11px sans-serif;color:#666">@NOTE@</div></div>
<div class="labkit-solid" style="position:absolute;inset:0;visibility:hidden">@VIEWER@</div>
</div>@LEGEND@@SCRIPT@"""

_SCRIPT = """
<script>
(function () {
  var box = document.getElementById("@ID@");
  var note = box.querySelector(".labkit-note");
  note.textContent = "Loading the 3D view...";
  function reason() {
    if (typeof $3Dmol === "undefined") {
      return "Flat drawing: no network, so 3Dmol.js did not load. Reload the page to try again.";
    }
    return "Flat drawing: this browser has no WebGL.";
  }
  var late = setTimeout(function () { note.textContent = reason(); }, 8000);
  $3Dmolpromise.then(function () {
    clearTimeout(late);
    if (!box.querySelector(".labkit-solid canvas")) { note.textContent = reason(); return; }
    box.querySelector(".labkit-solid").style.visibility = "visible";
    box.querySelector(".labkit-flat").style.visibility = "hidden";
  });
})();
</script>"""
