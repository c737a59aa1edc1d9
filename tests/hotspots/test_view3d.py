"""The ligand colored by score; how it looks in a browser is tested in tests/browser."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from MDAnalysis import Universe
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots import view3d
from labkit.hotspots.examples import example
from labkit.hotspots.scene import MAX_FRAMES, pdb_block, pocket_scene, trajectory_scene
from labkit.viz.colors import MISSING


@pytest.fixture(scope="module")
def system():
    return example("ergotamine")


@pytest.fixture(scope="module")
def ramp(system) -> np.ndarray:
    """A score that tells all atoms apart, the seventh unknown."""
    values = np.linspace(0.2, 1.6, system.n_atoms)
    values[6] = np.nan
    return values


def distances(xyz: np.ndarray) -> np.ndarray:
    return np.linalg.norm(xyz[:, None] - xyz, axis=2)


def test_values_are_found_in_tables_series_and_sequences(system, ramp):
    names = list(system.atom_names)
    frame = pd.DataFrame({"atom": names, "score": ramp, "rmsf": 2 * ramp})
    shuffled = frame.sample(frac=1, random_state=0)
    for given in (ramp, ramp.tolist(), frame, shuffled, shuffled.set_index("atom")["score"]):
        np.testing.assert_array_equal(view3d.atom_values(system, given), ramp)
    np.testing.assert_array_equal(view3d.atom_values(system, shuffled, "rmsf"), 2 * ramp)
    table = pd.DataFrame({"verdict": "anchor"}, index=pd.Index(names, name="atom"))
    assert set(view3d.atom_values(system, table, "verdict")) == {-1.0}


def test_values_that_do_not_fit_are_refused_with_both_numbers(system):
    with pytest.raises(ParameterError, match=r"values has shape \(2,\); the ligand has 43"):
        view3d.atom_values(system, [1.0, 2.0])
    table = pd.DataFrame({"atom": list(system.atom_names), "rmsf": 1.0})
    with pytest.raises(ParameterError, match=r"score='score' is not allowed; use 'rmsf'"):
        view3d.atom_values(system, table)


def test_scene_keeps_every_distance_and_lays_the_ligand_flat(system):
    scene = pocket_scene(system)
    frame = int(system.frames[0])
    np.testing.assert_allclose(
        distances(scene.ligand_xyz[0]), distances(system.positions(frame)), atol=1e-3
    )
    before = system.positions(frame, scene.pocket)
    np.testing.assert_allclose(distances(scene.pocket_xyz[0]), distances(before), atol=1e-3)
    spread = scene.ligand_xyz[0].std(axis=0)
    assert spread[0] > spread[1] > spread[2]


def test_turning_a_scene_mirrors_nothing(system):
    # A mirror image would show the other enantiomer: signed volumes must keep their sign.
    frame = int(system.frames[0])
    before = system.positions(frame)[:4].astype(float)
    for scene in (pocket_scene(system), pocket_scene(system).turned(view3d.TOWARDS_NGL)):
        after = scene.ligand_xyz[0, :4].astype(float)
        volumes = [np.linalg.det(xyz[1:] - xyz[0]) for xyz in (before, after)]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)


def test_pocket_is_every_residue_within_the_cutoff_and_no_other(system):
    scene = pocket_scene(system, cutoff=5.0)
    system.universe.trajectory[int(system.frames[0])]
    gaps = np.linalg.norm(
        system.protein.positions[:, None] - system.heavy.positions[None], axis=2
    ).min(axis=1)
    near = set(system.protein.resindices[gaps < 5.0])
    assert set(scene.pocket.resindices) == near
    whole = system.protein[np.isin(system.protein.resindices, list(near))]
    assert len(scene.pocket) == len(whole)
    with pytest.raises(ParameterError, match=r"no residue lies within 0\.5 Å"):
        pocket_scene(system, cutoff=0.5)


def test_player_stands_the_pocket_still_and_lets_the_ligand_move(system):
    scene = trajectory_scene(system, 10)
    assert scene.n_frames == 10
    assert scene.frames[[0, -1]].tolist() == system.frames[[0, -1]].tolist()
    carbons = np.flatnonzero(scene.pocket.names == "CA")
    raw = np.array([system.positions(f, scene.pocket[carbons]) for f in scene.frames])

    def wander(xyz):
        return np.sqrt(((xyz - xyz[0]) ** 2).sum(axis=2).mean(axis=1)).max()

    assert wander(scene.pocket_xyz[:, carbons]) < 0.8 * wander(raw)
    assert wander(scene.ligand_xyz) > 1.0


def test_player_holds_few_frames_and_stays_small(system):
    scene = trajectory_scene(system)
    assert scene.n_frames == MAX_FRAMES
    assert scene.xyz().astype(np.float32).nbytes < 500_000
    for n_frames in (0, 51):
        with pytest.raises(ParameterError, match=rf"n_frames={n_frames} .* give 1 to 50"):
            trajectory_scene(system, n_frames)


def test_pdb_is_read_back_by_another_program(system, ramp, tmp_path):
    file = tmp_path / "complex.pdb"
    file.write_text(pdb_block(system, ramp))
    read = Universe(file)
    ligand = read.select_atoms("chainID Z")
    assert len(read.atoms) == len(system.protein) + system.n_atoms
    assert list(ligand.names) == list(system.heavy.names)
    assert list(ligand.elements) == list(system.heavy.elements)
    frame = int(system.frames[0])
    np.testing.assert_allclose(ligand.positions, system.positions(frame), atol=1e-3)
    expected = np.where(np.isnan(ramp), -1.0, ramp)
    np.testing.assert_allclose(ligand.tempfactors, expected, atol=0.006)
    assert len(ligand.bonds) == len(
        [b for b in system.heavy.bonds if b.atoms.issubset(system.heavy)]
    )
    protein = read.select_atoms("protein")
    assert list(protein.resids) == list(system.protein.resids)
    assert set(protein.tempfactors) == {0.0}


def test_ligand_without_hydrogens_keeps_order_bonds_and_handedness(system):
    mol = view3d.heavy_mol(system)
    assert [a.GetSymbol() for a in mol.GetAtoms()] == list(system.heavy.elements)
    smiles = Chem.MolToSmiles(Chem.RemoveHs(system.mol))
    assert Chem.MolToSmiles(mol) == smiles
    assert smiles.count("@") >= 6


def colors_by_atom(viewer: str) -> dict[int, str]:
    """Color of each ligand atom that the viewer's script sets."""
    found = {}
    for selection, style in re.findall(r"setStyle\((\{\"model\": 1.*?\}),(\{.*?\}\})\);", viewer):
        for atom in json.loads(selection)["index"]:
            found[atom] = json.loads(style)["stick"]["color"]
    return found


def test_flat_and_solid_view_show_the_same_colors(system, ramp):
    view = view3d.show_hotspots(system, ramp)
    scale = view3d.score_scale(ramp)
    expected = {i: scale.color(value) for i, value in enumerate(ramp)}
    assert expected[6] == MISSING
    assert colors_by_atom(view.viewer_html) == expected
    for color in set(expected.values()):
        assert color.upper() in view.drawing.svg.upper()


def test_view_is_small_and_names_each_atom_with_its_value(system, ramp):
    view = view3d.show_hotspots(system, ramp)
    assert len(view.to_html()) < 200_000
    assert "C1: 0.2" in view.viewer_html
    assert f"{system.atom_names[6]}: not known" in view.viewer_html
    assert "image/png" in view._repr_mimebundle_()
    assert "Latent spread (latent units)" in view.to_html()


def test_drawing_names_the_highest_atoms(system, ramp):
    def letters(drawing):
        return drawing.svg.count("class='note'")

    five = view3d.depict_hotspots(system, ramp, top=5)
    assert letters(view3d.depict_hotspots(system, ramp, top=0)) == 0
    assert letters(five) == sum(len(system.atom_names[i]) for i in range(38, 43))
    assert five.text.endswith("colored by latent spread (latent units) from 0.2 to 1.6")


def test_verdicts_have_the_colors_of_the_figures(system):
    table = pd.DataFrame({"atom": list(system.atom_names), "verdict": "undetermined"})
    table.loc[0, "verdict"], table.loc[1, "verdict"] = "dynamic", "anchor"
    colors = colors_by_atom(view3d.show_hotspots(system, table, score="verdict").viewer_html)
    assert (colors[0], colors[1]) == ("#d55e00", "#0072b2")


def test_nglview_gets_scores_as_b_factors_and_the_same_ramp(system, ramp):
    view = view3d.show_hotspots(system, ramp, backend="nglview")
    calls = [m for m in view._ngl_msg_archive if m["methodName"] == "addRepresentation"]
    balls = [m["kwargs"] for m in calls if m["args"][0] == "ball+stick"][-2:]
    assert [b.get("colorScheme", b.get("color")) for b in balls] == ["bfactor", MISSING]
    assert balls[0]["colorDomain"] == [np.nanmin(ramp), np.nanmax(ramp)]
    scale = view3d.score_scale(ramp)
    assert (balls[0]["colorScale"][0], balls[0]["colorScale"][-1]) == (
        scale.color(scale.low),
        scale.color(scale.high),
    )
    shown = len(balls[0]["sele"].split(","))
    assert shown == system.n_atoms - 1


def test_trajectory_without_scores_is_colored_by_element(system):
    view = view3d.show_trajectory(system, n_frames=3)
    assert view.max_frame == 2
    calls = [m for m in view._ngl_msg_archive if m["methodName"] == "addRepresentation"]
    assert calls[-1]["kwargs"]["color"] == "element"


def test_only_one_atom_is_marked_at_a_time(system):
    scene = trajectory_scene(system, 2)
    view = view3d.show_scene(scene, None, None)
    view3d.mark_atom(view, scene, 3)
    called = [m["methodName"] for m in view._ngl_msg_archive[-2:]]
    assert called[0] == "removeRepresentationsByName"
    assert view._ngl_msg_archive[-1]["kwargs"]["sele"] == f"@{len(scene.pocket) + 3}"


def test_unknown_backend_is_refused(system, ramp):
    with pytest.raises(ParameterError, match=r"backend='pymol' .*use 'py3Dmol', 'nglview'"):
        view3d.show_hotspots(system, ramp, backend="pymol")
