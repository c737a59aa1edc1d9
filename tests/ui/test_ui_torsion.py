"""Torsion scans: geometry, energies and what the explorer says."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers
from rdkit.Geometry import Point3D

from labkit import ui
from labkit.errors import ParameterError
from labkit.ui.torsion import KJ_PER_KCAL, TorsionScan, scan_torsion


@pytest.fixture(scope="module")
def butane() -> TorsionScan:
    return scan_torsion("CCCC")


def dihedral_deg(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Torsion angle of four points by projection onto the plane across the middle bond."""
    axis = (c - b) / np.linalg.norm(c - b)
    u, v = (x - (x @ axis) * axis for x in (a - b, d - c))
    return np.degrees(np.arctan2(np.cross(axis, u) @ v, u @ v))


def test_positions_have_the_torsion_that_the_scan_says(butane: TorsionScan) -> None:
    for angle, xyz in zip(butane.angles_deg, butane.coordinates, strict=True):
        found = dihedral_deg(*xyz[list(butane.atoms)])
        # The constraint is a stiff spring, not a rule: within half a degree.
        assert abs((found - angle + 180) % 360 - 180) < 0.5


def test_energies_are_those_of_the_positions(butane: TorsionScan) -> None:
    mol = Chem.Mol(butane.mol)
    energies = []
    for xyz in butane.coordinates:
        for i, point in enumerate(xyz):
            mol.GetConformer().SetAtomPosition(i, Point3D(*map(float, point)))
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
        energies.append(field.CalcEnergy() * KJ_PER_KCAL)
    assert butane.energies_kj_mol == pytest.approx(np.array(energies) - min(energies), abs=1e-6)


def test_butane_is_symmetric_and_closes(butane: TorsionScan) -> None:
    assert butane.energies_kj_mol == pytest.approx(butane.energies_kj_mol[::-1], abs=0.05)


def test_butane_has_its_textbook_shapes(butane: TorsionScan) -> None:
    energy = dict(zip(butane.angles_deg.tolist(), butane.energies_kj_mol, strict=True))
    assert energy[180] == pytest.approx(0, abs=1e-3)
    # Eliel and Wilen, Stereochemistry of Organic Compounds (1994): gauche 3.8, and eclipsed
    # 14 to 16 and 19 to 25 kJ/mol; a force field is expected within about 2 kJ/mol of that.
    assert energy[65] == pytest.approx(3.8, abs=1)
    assert 12 < energy[120] < 18
    assert 17 < energy[0] < 27
    assert butane.barrier_kj_mol == energy[0]


def test_population_follows_boltzmann(butane: TorsionScan) -> None:
    cold, warm = butane.population(200), butane.population(400)
    assert cold.max() == warm.max() == 1
    # Twice the temperature is the square root of the ratio.
    assert warm == pytest.approx(np.sqrt(cold), rel=1e-9)


def test_frames_do_not_jump(butane: TorsionScan) -> None:
    moved = np.linalg.norm(np.diff(butane.coordinates, axis=0), axis=2)
    assert moved.max() < 0.6
    middle = list(butane.atoms[1:3])
    assert np.abs(butane.coordinates[:, middle, 1:]).max() < 1e-9


@pytest.mark.parametrize(
    ("molecule", "options", "message"),
    [
        ("C", {}, "no bond that can turn"),
        ("CC", {}, "no bond that can turn"),
        ("c1ccccc1", {}, "no bond that can turn"),
        ("CC#CC", {}, "no bond that can turn"),
        ("xx", {}, "not SMILES"),
        ("CC[Fe]CC", {}, "MMFF94 does not know"),
        ("CCCC", {"step_deg": 7}, "must divide 360, got 7"),
        ("CCCC", {"step_deg": 0}, "must divide 360, got 0"),
    ],
)
def test_what_cannot_be_scanned_is_refused(molecule: str, options: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        scan_torsion(molecule, **options)


def test_slider_moves_frame_words_and_curve() -> None:
    explorer = ui.torsion_explorer("CCCC", step_deg=30)
    assert explorer.text().endswith("the most stable shape")
    before = explorer._plot.outputs
    explorer.slider.value = 60
    share = np.exp(-explorer.scan.energies_kj_mol[8] / (8.314462618e-3 * 298.15))
    assert explorer._view.frame == 8
    assert f"found {share:.0%} as often" in explorer.words.value
    assert explorer._plot.outputs != before


def test_temperature_must_be_above_zero() -> None:
    with pytest.raises(ParameterError, match=r"temperature_k must be above 0 K, got -5"):
        ui.torsion_explorer("CCCC", temperature_k=-5)
