"""Flat drawings."""

from __future__ import annotations

import base64
import math
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.viz import ColorScale, draw_grid, draw_molecule, read_molecule


def fills(svg: str) -> set[str]:
    """Fill colors of the highlight circles around atoms."""
    found = set()
    for node in ElementTree.fromstring(svg).iter():
        if node.tag.endswith(("ellipse", "circle")):
            style = dict(part.split(":") for part in node.get("style", "").split(";") if part)
            found.add(style["fill"].lower())
    return found


def test_atoms_carry_the_colors_of_the_scale() -> None:
    values = [-1.0, 0.0, 1.0]
    scale = ColorScale.for_values(values)
    drawing = draw_molecule("CCC", values)
    assert fills(drawing.svg) == {scale.color(value) for value in values}


def test_drawing_without_values_has_no_highlights_and_no_legend() -> None:
    drawing = draw_molecule("CCO")
    assert not fills(drawing.svg)
    assert drawing.legend == ""
    assert drawing.text == "CCO: 3 atoms"


def test_common_scale_gives_equal_values_equal_colors() -> None:
    scale = ColorScale(-10, 10)
    first, second = (draw_molecule(s, [1.0, 1.0], scale=scale) for s in ("CC", "CO"))
    assert fills(first.svg) == fills(second.svg) == {scale.color(1.0)}


def test_positive_values_alone_still_look_positive() -> None:
    # All atoms of a molecule may speak for an effect: that must not look like the opposite.
    signed = ColorScale(-0.2, 0.2)
    assert fills(draw_molecule("CC", [0.1, 0.2]).svg) == {signed.color(0.1), signed.color(0.2)}
    plain = ColorScale(0.1, 0.2, "sequential")
    drawing = draw_molecule("CC", [0.1, 0.2], signed=False)
    assert fills(drawing.svg) == {plain.color(0.1), plain.color(0.2)}


def test_drawing_does_not_change_the_molecule() -> None:
    mol = Chem.MolFromSmiles("c1ccccc1O")
    before = mol.ToBinary()
    draw_molecule(mol, range(7))
    assert mol.ToBinary() == before


def test_missing_values_are_drawn_and_left_out_of_the_range() -> None:
    drawing = draw_molecule("CCO", [math.nan, 0.5, 1.5], label="score")
    assert drawing.text.endswith("colored by score from 0.5 to 1.5")


@pytest.mark.parametrize("size", [(1, 1), (60, 40), (900, 300)])
def test_odd_sizes_give_valid_svg(size: tuple[int, int]) -> None:
    drawing = draw_molecule("CCO", width_px=size[0], height_px=size[1])
    assert ElementTree.fromstring(drawing.svg).get("width") == f"{size[0]}px"


@pytest.mark.parametrize(
    ("molecule", "message"),
    [
        ("C1CC", "molecule='C1CC' is not SMILES that RDKit can read"),
        ("", "molecule has no atoms"),
        (None, "must be SMILES or an RDKit molecule, got NoneType"),
        (12, "must be SMILES or an RDKit molecule, got int"),
    ],
)
def test_unreadable_molecules_are_refused(molecule: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read_molecule(molecule)


def test_wrong_number_of_values_is_refused_with_both_numbers() -> None:
    with pytest.raises(ParameterError, match="values has 2 entries, the molecule 3 atoms"):
        draw_molecule("CCO", [1, 2])


def test_grid_names_its_molecules_and_refuses_missing_legends() -> None:
    grid = draw_grid(["CCO", "CC"], ["ethanol", ""], columns=1)
    assert grid.text == "2 molecules: ethanol, CC"
    assert ElementTree.fromstring(grid.svg).get("height") == "320px"
    with pytest.raises(ParameterError, match="2 molecules and 1 legends"):
        draw_grid(["CCO", "CC"], ["ethanol"])
    with pytest.raises(ParameterError, match="0 molecules"):
        draw_grid([])


def test_notes_stand_beside_their_atoms() -> None:
    plain, noted = (draw_molecule("CCO", notes=notes) for notes in (None, {2: "O7"}))
    letters = [node for node in ElementTree.fromstring(noted.svg).iter() if _is_note(node)]
    assert len(letters) == len("O7")
    assert not any(_is_note(node) for node in ElementTree.fromstring(plain.svg).iter())


def _is_note(node: ElementTree.Element) -> bool:
    return "note" in node.get("class", "").lower()


def test_exports_without_html_get_the_same_picture_at_twice_the_size() -> None:
    drawing = draw_molecule("CCO", [0, 1, 2], width_px=200, height_px=100)
    shown = drawing._repr_mimebundle_()["image/png"]
    image = Image.open(BytesIO(base64.b64decode(shown))).convert("RGB")
    assert image.size == (400, 200)
    colors = {color for _, color in image.getcolors(1 << 16)}
    scale = ColorScale.for_values([0, 1, 2], signed=True)
    for value in (0, 1, 2):
        expected = np.array(scale.rgb(value)) * 255
        assert min(np.abs(np.array(color) - expected).max() for color in colors) <= 1


def test_html_has_no_script_and_describes_the_picture() -> None:
    page = draw_molecule("CCO", [0, 1, 2], label='a "b"')._repr_mimebundle_()["text/html"]
    assert "<script" not in page
    assert "colored by a &quot;b&quot;" in page
