"""Implicit solvent: closed forms, OpenMM's documented form, and what a system is made of."""

from __future__ import annotations

import io

import numpy as np
import openmm
import pytest
from openmm import app, unit

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import PROTEIN_FORCE_FIELD, force_field
from labkit.hotspots.simulate.implicit import RESTRAINT, implicit_system, native_obc2

COULOMB = 138.935485
"""kJ nm/mol/e^2, as in OpenMM."""


def compute(
    system: openmm.System, positions_nm: np.ndarray, platform: str = "CPU"
) -> tuple[float, np.ndarray]:
    """Energy in kJ/mol and forces in kJ/mol/nm."""
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform)
    )
    context.setPositions(positions_nm)
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), np.asarray(forces)


def ions(*distances_nm: float) -> tuple[openmm.System, app.Topology, np.ndarray]:
    """Sodium ions on a line, with charges and no other interaction."""
    topology = app.Topology()
    chain = topology.addChain()
    system = openmm.System()
    nonbonded = openmm.NonbondedForce()
    for _ in distances_nm:
        residue = topology.addResidue("NA", chain)
        topology.addAtom("NA", app.Element.getBySymbol("Na"), residue)
        system.addParticle(22.99)
        nonbonded.addParticle(1.0, 1.0, 0.0)
    system.addForce(nonbonded)
    return system, topology, np.array([[x, 0.0, 0.0] for x in distances_nm])


def test_a_lone_ion_has_its_born_energy():
    """Without neighbors the Born radius is the radius less the offset of 0.009 nm."""
    system, topology, positions = ions(0.0)
    force = native_obc2(system, topology)
    charge, radius, _ = force.getParticleParameters(0)
    radius_nm = radius.value_in_unit(unit.nanometer)
    born = radius_nm - 0.009
    expected = -0.5 * COULOMB * (1 - 1 / 78.5) / born
    # ACE surface term: 4 pi 5.4 cal/mol/A^2 (r + 1.4 A)^2 (r / B)^6
    expected += 28.3919551 * (radius_nm + 0.14) ** 2 * (radius_nm / born) ** 6
    assert charge.value_in_unit(unit.elementary_charge) == 1
    assert compute(system, positions, "Reference")[0] == pytest.approx(expected, rel=1e-6)


def test_ions_far_apart_feel_each_other_through_water():
    """Screening: the force between charges is that of vacuum divided by the dielectric."""
    system, topology, positions = ions(0.0, 50.0)
    native_obc2(system, topology)
    _, forces = compute(system, positions, "Reference")
    assert forces[1, 0] == pytest.approx(COULOMB / 78.5 / 50.0**2, rel=1e-3)


def test_no_difference_of_dielectrics_leaves_only_the_surface_term():
    system, topology, positions = ions(0.0, 0.5)
    force = native_obc2(system, topology, solute_dielectric=1.0, solvent_dielectric=1.0)
    force.setSurfaceAreaEnergy(0.0)
    energy, _ = compute(system, positions, "Reference")
    assert energy == pytest.approx(COULOMB / 0.5, rel=1e-6)


@pytest.mark.parametrize("method", [app.NoCutoff, app.CutoffNonPeriodic])
def test_native_solvent_is_the_documented_one_on_the_tyk2_pocket(pocket, parameters, method):
    """Energy within 1e-5, forces within 1e-4 rms of ``implicit/obc2.xml``."""
    results = []
    for names in (PROTEIN_FORCE_FIELD, (*PROTEIN_FORCE_FIELD, "implicit/obc2.xml")):
        system = app.ForceField(*names, io.StringIO(parameters.ffxml)).createSystem(
            pocket.topology, nonbondedMethod=method, nonbondedCutoff=1.2 * unit.nanometer
        )
        if names == PROTEIN_FORCE_FIELD:
            native_obc2(system, pocket.topology)
        results.append(compute(system, pocket.positions / 10))
    (energy, forces), (expected, expected_forces) = results
    assert energy == pytest.approx(expected, rel=1e-5)
    difference = np.linalg.norm(forces - expected_forces) / np.linalg.norm(expected_forces)
    assert difference < 1e-4


def test_forces_are_the_slope_of_the_energy(small_pocket, parameters):
    """Central differences along a random direction; double precision, step 1e-5 nm."""
    system = implicit_system(small_pocket, parameters, cutoff_nm=None)
    positions = small_pocket.positions / 10
    direction = np.random.default_rng(0).normal(size=positions.shape)
    step = 1e-5 * direction / np.linalg.norm(direction)
    above, below = (compute(system, positions + s, "Reference")[0] for s in (step, -step))
    _, forces = compute(system, positions, "Reference")
    assert (below - above) / 2 == pytest.approx((forces * step).sum(), rel=1e-5)


def test_restraints_hold_what_the_pocket_says_by_half_k_x_squared(small_pocket, parameters):
    held = implicit_system(small_pocket, parameters, cutoff_nm=None)
    free = implicit_system(small_pocket, parameters, cutoff_nm=None, restraint=0)
    moved = small_pocket.positions / 10 + np.array([0.03, 0.0, 0.04])
    energies = [compute(system, moved, "Reference")[0] for system in (held, free)]
    expected = 0.5 * RESTRAINT * 0.05**2 * len(small_pocket.restrained)
    assert energies[0] - energies[1] == pytest.approx(expected, rel=1e-6)


def test_heavier_hydrogens_leave_the_mass_of_the_pocket(small_pocket, parameters):
    heavy = implicit_system(small_pocket, parameters)
    light = implicit_system(small_pocket, parameters, hydrogen_mass_amu=1.008)
    masses = [
        [s.getParticleMass(i).value_in_unit(unit.dalton) for i in range(s.getNumParticles())]
        for s in (heavy, light)
    ]
    assert sum(masses[0]) == pytest.approx(sum(masses[1]), rel=1e-9)
    hydrogens = [a.index for a in small_pocket.topology.atoms() if a.element.symbol == "H"]
    assert {masses[0][i] for i in hydrogens} == {3.0}
    assert heavy.getNumConstraints() == len(hydrogens)


def test_a_system_that_cannot_have_implicit_solvent_is_refused(small_pocket, parameters):
    system, topology, _ = ions(0.0, 0.5)
    native_obc2(system, topology)
    with pytest.raises(ParameterError, match="already has an implicit solvent"):
        native_obc2(system, topology)
    with pytest.raises(ParameterError, match="has 0 NonbondedForce"):
        native_obc2(openmm.System(), topology)
    with pytest.raises(ParameterError, match="2 particles, the topology 189 atoms"):
        native_obc2(ions(0.0, 0.5)[0], small_pocket.topology)
    periodic = ions(0.0, 0.5)[0]
    periodic.getForce(0).setNonbondedMethod(openmm.NonbondedForce.PME)
    with pytest.raises(ParameterError, match="Ewald"):
        native_obc2(periodic, topology)


def test_parameters_of_another_ligand_are_refused_by_the_residue(small_pocket, parameters):
    import dataclasses

    other = dataclasses.replace(
        parameters, ffxml=parameters.ffxml.replace('type="cl"', 'type="ha"', 1)
    )
    with pytest.raises(ParameterError, match=r"LIG.*another ligand"):
        implicit_system(small_pocket, other)


def test_phosphorylated_residues_are_in_the_force_field(targets):
    """CDK2 carries a phosphothreonine, far from its pocket."""
    topology = app.PDBFile(str(targets / "cdk2" / "protein.pdb")).topology
    assert any(residue.name == "TPO" for residue in topology.residues())
    assert force_field(water=True).getUnmatchedResidues(topology) == []
