"""Flat drawings of molecules, with atoms colored by a value.

Drawn by RDKit twice: the SVG shows in notebooks, in exported HTML and where scripts are not
allowed; the PNG is for exports that know no HTML, such as PDF.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from labkit.errors import ParameterError
from labkit.viz.colors import ColorScale

Molecule = str | Chem.Mol
"""A molecule is given as SMILES or as an RDKit ``Mol``."""


@dataclass(frozen=True)
class Drawing:
    """An SVG picture that shows itself in a notebook.

    Parameters
    ----------
    svg : str
        The picture.
    text : str
        What it shows, for a terminal and for screen readers.
    legend : str
        HTML fragment shown under it.
    png : bytes
        The same picture for exports without HTML; empty for none.
    """

    svg: str
    text: str
    legend: str = ""
    png: bytes = b""

    def data_uri(self) -> str:
        """Return the picture as the ``src`` of an HTML image."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()

    def to_html(self) -> str:
        """Return the picture and its legend as HTML without scripts."""
        alt = html.escape(self.text, quote=True)
        return f'<img src="{self.data_uri()}" alt="{alt}" style="max-width:100%">{self.legend}'

    def bundle(self, page: str) -> dict[str, str]:
        """What a notebook keeps of a display: `page` as HTML, the PNG and the text."""
        shown = {"text/plain": self.text, "text/html": page}
        if self.png:
            shown["image/png"] = base64.b64encode(self.png).decode()
        return shown

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.bundle(self.to_html())


def read_molecule(molecule: Molecule, name: str = "molecule") -> Chem.Mol:
    """Return an RDKit molecule for SMILES or for an RDKit molecule.

    Raises
    ------
    ParameterError
        `molecule` is not SMILES that RDKit can read, is empty, or is another type.
    """
    if isinstance(molecule, Chem.Mol):
        mol = molecule
    elif isinstance(molecule, str):
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(molecule)
        if mol is None:
            raise ParameterError(
                f"{name}={molecule!r} is not SMILES that RDKit can read; "
                "check brackets, ring numbers and valences."
            )
    else:
        raise ParameterError(
            f"{name} must be SMILES or an RDKit molecule, got {type(molecule).__name__}."
        )
    if mol.GetNumAtoms() == 0:
        raise ParameterError(f"{name} has no atoms.")
    return mol


def check_values(mol: Chem.Mol, values: Sequence[float]) -> list[float]:
    """Return `values` as floats, one per atom of `mol`, or say what does not fit."""
    numbers = [float(value) for value in values]
    if len(numbers) != mol.GetNumAtoms():
        raise ParameterError(
            f"values has {len(numbers)} entries, the molecule {mol.GetNumAtoms()} atoms; "
            "give one value per atom, in the molecule's order."
        )
    return numbers


def draw_molecule(
    molecule: Molecule,
    values: Sequence[float] | None = None,
    *,
    label: str = "",
    unit: str = "",
    signed: bool = True,
    scale: ColorScale | None = None,
    legend: str = "",
    notes: Mapping[int, str] | None = None,
    width_px: int = 320,
    height_px: int = 240,
) -> Drawing:
    """Draw one molecule flat, atoms colored by `values`.

    Parameters
    ----------
    molecule : str or Mol
        SMILES or RDKit molecule.
    values : sequence of float, shape (n_atoms,), optional
        One value per atom; nan is drawn in a color of its own.
    label, unit : str
        What the values are; shown with the color bar.
    signed : bool
        Zero is neutral: positive values are vermillion, negative ones blue. False for a scale
        from the lowest to the highest value.
    scale : ColorScale, optional
        Common scale for several drawings; made from `values` when not given.
    legend : str
        Line of text under the drawing.
    notes : mapping of int to str, optional
        Short text beside an atom, by the atom's index.
    width_px, height_px : int
        Size in pixels.

    Returns
    -------
    Drawing

    Raises
    ------
    ParameterError
        Unreadable SMILES, or a wrong number of values.

    Examples
    --------
    >>> drawing = draw_molecule("CCO", [0.1, 0.0, -0.4], label="charge", unit="e")
    >>> drawing.text
    'CCO: 3 atoms colored by charge (e) from -0.4 to 0.1'
    """
    mol = read_molecule(molecule)
    numbers = None if values is None else check_values(mol, values)
    if numbers is not None and scale is None:
        scale = ColorScale.for_values(numbers, label=label, unit=unit, signed=signed)
    colors = None
    if numbers is not None and scale is not None:
        colors = {i: scale.rgb(value) for i, value in enumerate(numbers)}
    flat = _flat(mol, notes or {})
    svg = _draw(rdMolDraw2D.MolDraw2DSVG(width_px, height_px), flat, colors, legend)
    png = _draw(rdMolDraw2D.MolDraw2DCairo(2 * width_px, 2 * height_px), flat, colors, legend)
    bar = scale.to_html() if scale is not None and numbers is not None else ""
    return Drawing(svg, describe(mol, numbers, label, unit), bar, png)


def draw_grid(
    molecules: Sequence[Molecule],
    legends: Sequence[str] | None = None,
    *,
    columns: int = 4,
    cell_px: int = 200,
) -> Drawing:
    """Draw several molecules in a grid.

    Parameters
    ----------
    molecules : sequence of str or Mol
        At least one.
    legends : sequence of str, optional
        One line under each molecule.
    columns : int
        Molecules in a row.
    cell_px : int
        Width of a cell in pixels; its height is four fifths of it.

    Raises
    ------
    ParameterError
        No molecules, an unreadable one, or a different number of legends.
    """
    mols = [read_molecule(mol, f"molecules[{i}]") for i, mol in enumerate(molecules)]
    lines = [""] * len(mols) if legends is None else [str(line) for line in legends]
    if not mols or len(lines) != len(mols):
        raise ParameterError(
            f"got {len(mols)} molecules and {len(lines)} legends; "
            "give at least one molecule and one legend for each."
        )
    height_px = cell_px * 4 // 5
    across = min(columns, len(mols))
    down = -(-len(mols) // across)
    canvas = rdMolDraw2D.MolDraw2DSVG(across * cell_px, down * height_px, cell_px, height_px)
    canvas.DrawMolecules([_flat(mol) for mol in mols], legends=lines)
    canvas.FinishDrawing()
    names = ", ".join(line or Chem.MolToSmiles(mol) for line, mol in zip(lines, mols, strict=True))
    return Drawing(canvas.GetDrawingText(), f"{len(mols)} molecules: {names}")


def describe(mol: Chem.Mol, values: Sequence[float] | None, label: str, unit: str) -> str:
    """One line of text for a molecule and its colors."""
    text = f"{Chem.MolToSmiles(Chem.RemoveHs(mol))}: {mol.GetNumAtoms()} atoms"
    if values is None:
        return text
    known = [value for value in values if math.isfinite(value)]
    span = f" from {min(known):.3g} to {max(known):.3g}" if known else ""
    unit_text = f" ({unit})" if unit else ""
    return f"{text} colored by {label or 'value'}{unit_text}{span}"


def _flat(mol: Chem.Mol, notes: Mapping[int, str] | None = None) -> Chem.Mol:
    """Copy of `mol` with fresh flat coordinates and Kekule bonds where possible."""
    flat = Chem.Mol(mol)
    flat.RemoveAllConformers()
    rdDepictor.Compute2DCoords(flat)
    for atom, note in (notes or {}).items():
        flat.GetAtomWithIdx(atom).SetProp("atomNote", note)
    return rdMolDraw2D.PrepareMolForDrawing(flat, kekulize=True, addChiralHs=False)


def _draw(
    canvas: rdMolDraw2D.MolDraw2D,
    flat: Chem.Mol,
    colors: dict[int, tuple[float, float, float]] | None,
    legend: str,
) -> Any:
    """Draw on an empty canvas of RDKit; return its text or bytes."""
    options: Any = canvas.drawOptions()
    options.annotationFontScale = 0.8
    if colors is None:
        canvas.DrawMolecule(flat, legend=legend)
    else:
        options.useBWAtomPalette()
        canvas.DrawMolecule(
            flat,
            legend=legend,
            highlightAtoms=list(colors),
            highlightAtomColors=colors,
            highlightBonds=[],
            highlightBondColors={},
            highlightAtomRadii=dict.fromkeys(colors, 0.38),
        )
    canvas.FinishDrawing()
    return canvas.GetDrawingText()
