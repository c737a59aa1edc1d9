"""Molecules in 3D; how they look in a browser is tested in tests/browser."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.viz import ColorScale, embed, view_molecule

# A double bond in a cage of three- and four-membered rings has no place in three dimensions.
IMPOSSIBLE = "C1C2CC3=C2C1C3"


def test_conformer_has_real_bond_lengths_and_all_hydrogens() -> None:
    mol = embed("CCO")
    assert mol.GetNumAtoms() == 9
    xyz = mol.GetConformer().GetPositions()
    # Textbook lengths in angstrom: C-C 1.52, C-O 1.42; MMFF94 is within 0.03.
    assert np.linalg.norm(xyz[0] - xyz[1]) == pytest.approx(1.52, abs=0.03)
    assert np.linalg.norm(xyz[1] - xyz[2]) == pytest.approx(1.42, abs=0.03)


def test_same_seed_gives_the_same_conformer() -> None:
    first, second, other = (
        embed("CCCCCCO", seed=s).GetConformer().GetPositions() for s in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.allclose(first, other, atol=0.1)


def test_given_conformer_is_kept() -> None:
    mol = embed("CCO", seed=3)
    kept = embed(mol, seed=4)
    assert np.array_equal(mol.GetConformer().GetPositions(), kept.GetConformer().GetPositions())


def test_chirality_survives_embedding() -> None:
    mol = embed("C[C@H](N)C(=O)O")
    Chem.AssignStereochemistryFrom3D(mol)
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles("C[C@H](N)C(=O)O")


def styles(viewer: str) -> dict[int, str]:
    """Color of each atom that the viewer's script sets by index."""
    found = {}
    for selection, style in re.findall(r"setStyle\((\{\"index\".*?\}),(\{.*?\})\);", viewer):
        for atom in json.loads(selection)["index"]:
            found[atom] = json.loads(style)["stick"]["color"]
    return found


def test_viewer_colors_each_atom_by_its_value() -> None:
    values = [0.3, -0.1, 0.2]
    scale = ColorScale.for_values(values)
    view = view_molecule("CCO", values)
    assert styles(view.viewer_html) == {i: scale.color(v) for i, v in enumerate(values)}


def test_view_holds_flat_drawing_legend_and_viewer() -> None:
    page = view_molecule("CCO", [0.3, -0.1, 0.2], label="charge", unit="e").to_html()
    assert "data:image/svg+xml;base64," in page
    assert "Charge (e)" in page
    assert "3Dmol-min.js" in page
    assert not re.search(r"@[A-Z]+@", page)


def test_two_displays_of_one_view_do_not_share_an_element() -> None:
    view = view_molecule("CCO")
    ids = [re.search(r'id="(labkit-\w+)"', view.to_html()).group(1) for _ in range(2)]
    assert ids[0] != ids[1]


def test_molecule_without_conformer_is_drawn_flat_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        view = view_molecule(IMPOSSIBLE, range(7))
    assert view.viewer_html == ""
    assert "RDKit found no 3D conformer" in view.to_html()
    assert "<script" not in view.to_html()
    assert "no 3D conformer" in caplog.text


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "[H][H]", "[Fe]", "C[Pt]C", "C" * 60])
def test_unusual_molecules_are_shown(smiles: str) -> None:
    assert "labkit-flat" in view_molecule(smiles).to_html()


@pytest.mark.parametrize("style", ["ball", "stick", "sphere"])
def test_styles_are_passed_on(style: str) -> None:
    viewer = view_molecule("CCO", style=style).viewer_html
    assert ("sphere" in viewer) == (style != "stick")
    assert ('"stick"' in viewer) == (style != "sphere")


def test_bad_input_is_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"style='cartoon' is unknown; choose from stick, ball"
    ):
        view_molecule("CCO", style="cartoon")
    with pytest.raises(ParameterError, match="values has 1 entries"):
        view_molecule("CCO", [1.0])
    with pytest.raises(ParameterError, match="not SMILES"):
        view_molecule("xyz")
