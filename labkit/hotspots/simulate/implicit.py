"""Implicit solvent OBC2 with OpenMM's native force, several times as fast as its documented form.

Generalized Born energy (Onufriev, Bashford and Case, Proteins 55 (2004) 383, model II)::

    G = -k_e/2 (1/e_in - 1/e_out) sum_ij q_i q_j / f(r_ij)
    f(r) = sqrt(r^2 + B_i B_j exp(-r^2 / (4 B_i B_j)))

with Born radii B_i from pairwise descreening, plus the ACE surface term. ``implicit/obc2.xml``
builds it as a ``CustomGBForce``, compiled from these formulas; ``GBSAOBCForce`` is the same model
written out, with the same radii, for every platform: 5 times as fast on a pocket with all pairs, 3
times with a cutoff of 1.2 nm (benchmarks/implicit_solvent.py). GBn2 has no native form.

k_e   138.935  kJ nm/mol/e^2
q     charges   e
e_in, e_out  `solute_dielectric`, `solvent_dielectric`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import app, create_system, force_field, openmm, unit

if TYPE_CHECKING:
    from labkit.hotspots.simulate.parametrize import LigandParameters
    from labkit.hotspots.simulate.pocket import Pocket

RESTRAINT = 500.0
"""Force constant k of the restraints k/2 |x - x0|^2, in kJ/mol/nm^2."""


def native_obc2(
    system: Any,
    topology: Any,
    *,
    solute_dielectric: float = 1.0,
    solvent_dielectric: float = 78.5,
) -> Any:
    """Add OBC2 implicit solvent to a system as OpenMM's native force.

    Parameters
    ----------
    system : openmm.System
        Changed in place: the force is added, and the reaction field of the nonbonded force set
        to 1, which implicit solvent needs.
    topology : openmm.app.Topology
        Elements and bonds give the Born radii.
    solute_dielectric, solvent_dielectric : float

    Returns
    -------
    openmm.GBSAOBCForce
        The force that was added.

    Raises
    ------
    ParameterError
        The system has no, or more than one, NonbondedForce, already has implicit solvent, is
        periodic by Ewald sums, or has other atoms than the topology.
    """
    from openmm.app.internal.customgbforces import GBSAOBC2Force

    nonbonded = _nonbonded(system, topology)
    force = openmm.GBSAOBCForce()
    force.setSoluteDielectric(solute_dielectric)
    force.setSolventDielectric(solvent_dielectric)
    for index, (radius, scale) in enumerate(GBSAOBC2Force.getStandardParameters(topology)):
        charge, _, _ = nonbonded.getParticleParameters(index)
        force.addParticle(charge, radius, scale)
    force.setNonbondedMethod(nonbonded.getNonbondedMethod())
    force.setCutoffDistance(nonbonded.getCutoffDistance())
    nonbonded.setReactionFieldDielectric(1.0)
    system.addForce(force)
    return force


def implicit_system(
    pocket: Pocket,
    parameters: LigandParameters,
    *,
    cutoff_nm: float | None = 1.2,
    hydrogen_mass_amu: float = 3.0,
    restraint: float = RESTRAINT,
) -> Any:
    """ff14SB protein, ligand, OBC2 solvent, bonds to hydrogen constrained, outer atoms held.

    Parameters
    ----------
    pocket : Pocket
    parameters : LigandParameters
        Of the pocket's ligand.
    cutoff_nm : float or None
        Of nonbonded and solvent forces; None computes all pairs, half as fast.
    hydrogen_mass_amu : float
        Mass moved to each hydrogen from its neighbor; 3 makes steps of 4 fs stable.
    restraint : float
        Force constant in kJ/mol/nm^2; 0 restrains nothing.

    Returns
    -------
    openmm.System

    Raises
    ------
    ParameterError
        The parameters are of another ligand, or the force field lacks a residue.
    """
    method = app.NoCutoff if cutoff_nm is None else app.CutoffNonPeriodic
    system = create_system(
        force_field(parameters.ffxml),
        pocket.topology,
        nonbondedMethod=method,
        nonbondedCutoff=1.2 if cutoff_nm is None else cutoff_nm,
        constraints=app.HBonds,
        hydrogenMass=hydrogen_mass_amu * unit.dalton,
        removeCMMotion=False,
    )
    native_obc2(system, pocket.topology)
    if restraint and len(pocket.restrained):
        system.addForce(_hold(pocket.restrained, pocket.positions / 10, restraint))
    return system


def _nonbonded(system: Any, topology: Any) -> Any:
    forces = list(system.getForces())
    found = [force for force in forces if isinstance(force, openmm.NonbondedForce)]
    if len(found) != 1:
        raise ParameterError(f"The system has {len(found)} NonbondedForce; OBC2 needs one.")
    solvents = (openmm.GBSAOBCForce, openmm.CustomGBForce)
    if any(isinstance(force, solvents) for force in forces):
        raise ParameterError("The system already has an implicit solvent.")
    if found[0].getNonbondedMethod() > openmm.NonbondedForce.CutoffPeriodic:
        raise ParameterError("Implicit solvent needs a cutoff or all pairs, not Ewald sums.")
    if system.getNumParticles() != topology.getNumAtoms():
        raise ParameterError(
            f"The system has {system.getNumParticles()} particles, the topology "
            f"{topology.getNumAtoms()} atoms; give those of one molecule."
        )
    return found[0]


def _hold(atoms: np.ndarray, positions_nm: np.ndarray, k: float) -> Any:
    force = openmm.CustomExternalForce("k/2*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    force.setName("Restraint")
    force.addGlobalParameter("k", k)
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for atom in atoms:
        force.addParticle(int(atom), positions_nm[atom].tolist())
    return force
