"""Room to grow: closed forms, walls that close it, and mdtraj for the surface."""

from __future__ import annotations

import MDAnalysis as mda
import mdtraj
import numpy as np
import pytest
from MDAnalysis.coordinates.memory import MemoryReader
from rdkit import Chem
from rdkit.Chem import AllChem

from labkit.errors import ParameterError
from labkit.hotspots.examples import example
from labkit.hotspots.growth import COLUMNS, accessible_surface, growth_space, vdw_radii
from labkit.hotspots.systems import Complex

CARBON = 1.7
"""Van der Waals radius in angstrom (Bondi), as RDKit has it."""


def molecule(smiles: str) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule with hydrogens and its positions, first atom at the origin."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    positions = mol.GetConformer().GetPositions()
    return mol, positions - positions[0]


def complex_of(mol: Chem.Mol, frames: list[tuple[np.ndarray, np.ndarray]]) -> Complex:
    """A complex of a molecule and carbon atoms; frames are (ligand, protein) positions."""
    n_ligand, n_protein = mol.GetNumAtoms(), len(frames[0][1])
    universe = mda.Universe.empty(
        n_ligand + n_protein, n_residues=2, atom_resindex=[0] * n_ligand + [1] * n_protein
    )
    elements = [a.GetSymbol() for a in mol.GetAtoms()] + ["C"] * n_protein
    universe.add_TopologyAttr("elements", elements)
    universe.trajectory = MemoryReader(
        np.array([np.concatenate(frame) for frame in frames], dtype=np.float32)
    )
    heavy = np.array([a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1])
    return Complex(
        name="made by hand",
        universe=universe,
        ligand=universe.atoms[:n_ligand],
        heavy=universe.atoms[heavy],
        protein=universe.atoms[n_ligand:],
        mol=mol,
        heavy_in_mol=heavy,
        frames=np.arange(len(frames)),
        replica=np.zeros(len(frames), dtype=int),
        times_ps=None,
        atom_names=tuple(f"{elements[i]}{i}" for i in heavy),
        residue_labels=("X1",),
        notes=(),
        source={},
    )


FAR_AWAY = np.array([[500.0, 0.0, 0.0]])


def sphere(radius: float, n: int = 400) -> np.ndarray:
    """Points spread evenly over a sphere around the origin."""
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    return radius * np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], axis=1
    )


@pytest.mark.parametrize("reach", [5.0, 6.0])
def test_a_lone_bond_has_the_volume_of_its_cone(reach):
    mol, ligand = molecule("Cl")
    growth = growth_space(complex_of(mol, [(ligand, FAR_AWAY)]), reach=reach)
    radius = vdw_radii(["Cl"])[0]
    # A cone of 60 degrees has solid angle pi; the atom's own sphere is cut off its tip.
    expected = np.pi / 3 * (reach**3 - radius**3)
    # About 500 grid cells, those at the surface in or out by chance: 5 % is generous.
    assert growth.free_volume_A3[0] == pytest.approx(expected, rel=0.05)
    assert growth.open_directions[0] == 1
    assert growth.can_grow[0]


def test_every_bond_to_hydrogen_counts_and_bare_atoms_have_none():
    mol, ligand = molecule("CC(=O)O")
    growth = growth_space(complex_of(mol, [(ligand, FAR_AWAY)]))
    assert tuple(growth.columns) == COLUMNS
    assert growth.atom.tolist() == ["C0", "C1", "O2", "O3"]
    np.testing.assert_array_equal(growth.open_directions, [3, np.nan, np.nan, 1])
    np.testing.assert_array_equal(growth.free_volume_A3.isna(), [False, True, True, False])
    assert growth.can_grow.tolist() == [True, False, False, True]
    # Three cones of 60 degrees around a tetrahedron's corners hold more than one, less than three.
    assert 1.5 < growth.free_volume_A3[0] / growth.free_volume_A3[3] < 3


def test_a_tight_cage_leaves_no_room_and_no_surface():
    mol, ligand = molecule("C")
    growth = growth_space(complex_of(mol, [(ligand, sphere(3.4))]))
    assert growth.free_volume_A3[0] == 0
    assert growth.open_directions[0] == 0
    assert not growth.can_grow[0]
    assert growth.sasa_A2[0] < 1e-6


def test_room_behind_a_wall_does_not_count():
    mol, ligand = molecule("C")
    wall = sphere(6.5)
    reached = growth_space(complex_of(mol, [(ligand, wall)]), reach=12.0)
    # Inside a closed shell the probe's center stays radius + probe away from the shell's atoms.
    inner = 4 / 3 * np.pi * (6.5 - CARBON - 1.4) ** 3
    assert 0 < reached.free_volume_A3[0] < 1.2 * inner
    opened = growth_space(complex_of(mol, [(ligand, wall[wall[:, 2] < 3])]), reach=12.0)
    assert opened.free_volume_A3[0] > 5 * reached.free_volume_A3[0]


def test_room_on_one_side_is_room_for_the_bonds_on_that_side():
    mol, ligand = molecule("C")
    bonds = ligand[1:] / np.linalg.norm(ligand[1:], axis=1, keepdims=True)
    # An atom 3 angstrom along the first bond; the others point 109 degrees away.
    growth = growth_space(complex_of(mol, [(ligand, 3.0 * bonds[:1])]))
    assert growth.open_directions[0] == 3
    assert growth.can_grow[0]


def test_frames_are_averaged_and_half_of_them_open_is_enough():
    mol, ligand = molecule("Cl")
    cage, away = sphere(3.4), sphere(3.4) + 500
    half = growth_space(complex_of(mol, [(ligand, cage), (ligand, away)]))
    free = growth_space(complex_of(mol, [(ligand, away)]))
    assert half.open_directions[0] == 0.5
    assert half.free_volume_A3[0] == pytest.approx(free.free_volume_A3[0] / 2)
    assert half.sasa_A2[0] == pytest.approx(free.sasa_A2[0] / 2)
    assert half.can_grow[0]
    third = growth_space(complex_of(mol, [(ligand, cage), (ligand, cage), (ligand, away)]))
    assert not third.can_grow[0]


def test_a_larger_probe_finds_less_room():
    mol, ligand = molecule("C")
    complex = complex_of(mol, [(ligand, sphere(6.0, 60))])
    volumes = [growth_space(complex, probe=p).free_volume_A3[0] for p in (1.0, 1.4, 2.0)]
    assert volumes[0] > volumes[1] > volumes[2]


def test_room_does_not_depend_on_how_the_complex_is_turned():
    mol, ligand = molecule("CC(=O)O")
    wall = sphere(6.0, 40)[:25]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    before = growth_space(complex_of(mol, [(ligand, wall)]))
    after = growth_space(complex_of(mol, [(ligand @ turn.T + 40, wall @ turn.T + 40)]))
    np.testing.assert_array_equal(before.open_directions, after.open_directions)
    # The grid is not turned: a volume of some 400 cells changes at its surface.
    np.testing.assert_allclose(before.free_volume_A3, after.free_volume_A3, rtol=0.08)
    # FreeSASA cuts spheres into 20 slices: a sphere's area is known to half a slice, 2.5 %.
    np.testing.assert_allclose(before.sasa_A2.sum(), after.sasa_A2.sum(), rtol=0.025)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_spheres_cover_caps_of_each_other(axis):
    r, distance = CARBON + 1.4, 4.0
    areas = accessible_surface(distance * np.eye(3)[[axis, axis]] * [[0], [1]], np.full(2, CARBON))
    cap = 2 * np.pi * r * (r - distance / 2)
    # FreeSASA's 20 slices lie across the third axis, where they are off by half a slice.
    np.testing.assert_allclose(areas, 4 * np.pi * r**2 - cap, rtol=0.03 if axis == 2 else 0.005)


@pytest.fixture(scope="module")
def ergotamine() -> Complex:
    return example("ergotamine", start=25, stop=250, step=100)


def test_surface_in_the_complex_is_that_of_mdtraj(ergotamine):
    frame = int(ergotamine.frames[0])
    one = ergotamine.select_frames(0, 1)
    ours = growth_space(one).sasa_A2.to_numpy()
    atoms = ergotamine.universe.atoms
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALL", topology.add_chain())
    for i, element in enumerate(atoms.elements):
        topology.add_atom(f"{element}{i}", mdtraj.element.get_by_symbol(element), residue)
    trajectory = mdtraj.Trajectory(ergotamine.positions(frame, atoms) / 10, topology)
    radii = {element: vdw_radii([element])[0] / 10 for element in set(atoms.elements)}
    areas = 100 * mdtraj.shrake_rupley(trajectory, n_sphere_points=2000, change_radii=radii)[0]
    ligand = ergotamine.ligand.indices
    theirs = np.zeros(len(ours))
    for row, i in enumerate(ergotamine.heavy_in_mol):
        near = ergotamine.mol.GetAtomWithIdx(int(i)).GetNeighbors()
        own = [int(i), *(n.GetIdx() for n in near if n.GetAtomicNum() == 1)]
        theirs[row] = areas[ligand[own]].sum()
    # 2,000 points of about 100 square angstrom: 0.05 each, and as much from 20 slices.
    np.testing.assert_allclose(ours, theirs, atol=0.6)
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.02)


def test_the_buried_ergoline_has_less_room_than_the_exposed_phenyl(ergotamine):
    growth = growth_space(ergotamine, n_frames=3).set_index("atom")
    core, phenyl = ["C2", "C3", "C4", "C15"], ["C29", "C30", "C31", "C32", "C33"]
    assert growth.sasa_A2[phenyl].mean() > growth.sasa_A2[core].mean()
    volume = growth.free_volume_A3
    assert np.nanmean(volume[phenyl]) > np.nanmean(volume[core])


def test_more_frames_than_there_are_takes_all(ergotamine):
    all_frames = growth_space(ergotamine, n_frames=ergotamine.n_frames)
    assert growth_space(ergotamine, n_frames=99).equals(all_frames)


def test_a_ligand_without_hydrogens_has_surface_only():
    mol = Chem.RemoveHs(molecule("CCO")[0])
    growth = growth_space(complex_of(mol, [(mol.GetConformer().GetPositions(), FAR_AWAY)]))
    assert growth.free_volume_A3.isna().all()
    assert growth.open_directions.isna().all()
    assert not growth.can_grow.any()
    assert (growth.sasa_A2 > 0).all()


@pytest.mark.parametrize("options", [{"n_frames": 0}, {"probe": 0.0}, {"reach": 2.0}])
def test_sizes_that_make_no_sense_are_named(ergotamine, options):
    name, value = next(iter(options.items()))
    with pytest.raises(ParameterError, match=f"{name}={value}"):
        growth_space(ergotamine, **options)
