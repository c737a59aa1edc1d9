"""A complex in a box of water: three residues and a ligand stand for a protein."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.simulate import dynamics
from labkit.hotspots.simulate.dynamics import run_md
from labkit.hotspots.simulate.solvated import Solvated, explicit_system, solvated_system
from labkit.hotspots.systems import load_complex


@pytest.fixture(scope="module")
def peptide(small_pocket, tmp_path_factory):
    """The first capped piece of the small pocket, as a protein file."""
    model = app.Modeller(small_pocket.topology, small_pocket.positions * unit.angstrom)
    end = next(r.index for r in model.topology.residues() if r.name == "NME")
    model.delete([r for r in model.topology.residues() if r.index > end])
    path = tmp_path_factory.mktemp("peptide") / "peptide.pdb"
    with path.open("w") as stream:
        app.PDBFile.writeFile(model.topology, model.positions, stream, keepIds=True)
    return path


@pytest.fixture(scope="module")
def solvated(peptide, ejm31, parameters) -> Solvated:
    return solvated_system(peptide, ejm31, parameters, padding=7.0, ionic_strength=0.3, seed=1)


@pytest.fixture(scope="module")
def system(solvated, parameters) -> openmm.System:
    return explicit_system(solvated, parameters, temperature_K=310.0)


def test_the_box_is_neutral_and_has_the_asked_salt(solvated, system):
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(i)[0] for i in range(solvated.n_atoms)]
    assert sum(q.value_in_unit(unit.elementary_charge) for q in charges) == pytest.approx(
        0, abs=1e-4
    )
    # 0.3 mol/l of pairs in water of 55.4 mol/l, and one ion against the charge of glutamate.
    pairs = 0.3 * (solvated.n_waters + solvated.n_ions) / 55.4
    assert solvated.n_ions == pytest.approx(2 * pairs + 1, abs=1.5)


def test_water_has_its_density(solvated):
    box = solvated.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    volume = box[0][0] * box[1][1] * box[2][2]
    # 33.4 molecules per cubic nanometer, less what the solute and the walls take.
    assert 0.6 < solvated.n_waters / (33.4 * volume) < 1.0


def test_solute_is_protein_and_ligand(solvated, peptide, ejm31):
    protein = app.PDBFile(str(peptide)).topology.getNumAtoms()
    assert len(solvated.solute) == protein + ejm31.GetNumAtoms()
    assert np.isin(solvated.ligand, solvated.solute).all()
    pose = ejm31.GetConformer().GetPositions()
    # Modeller keeps positions in nanometers.
    assert solvated.positions[solvated.ligand] == pytest.approx(pose, abs=1e-9)


def test_system_has_long_range_electrostatics_pressure_and_rigid_water(solvated, system):
    kinds = {type(force).__name__ for force in system.getForces()}
    assert {"NonbondedForce", "MonteCarloBarostat", "CMMotionRemover"} <= kinds
    barostat = next(f for f in system.getForces() if isinstance(f, openmm.MonteCarloBarostat))
    assert barostat.getDefaultTemperature().value_in_unit(unit.kelvin) == 310
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    assert nonbonded.getNonbondedMethod() == openmm.NonbondedForce.PME
    assert system.getNumConstraints() >= 3 * solvated.n_waters


def test_the_same_seed_puts_ions_in_the_same_places(peptide, ejm31, parameters, solvated):
    again = solvated_system(peptide, ejm31, parameters, padding=7.0, ionic_strength=0.3, seed=1)
    assert np.array_equal(again.positions, solvated.positions)


def test_a_run_in_water_writes_the_solute_only(solvated, parameters, tmp_path, monkeypatch):
    monkeypatch.setattr(dynamics, "MINIMIZER_STEPS", 20)
    run = run_md(
        solvated,
        parameters,
        tmp_path,
        ps=0.04,
        report_ps=0.02,
        equilibrate_ps=0.0,
        dt_fs=2.0,
        platform="CPU",
    )
    assert run.record["n_atoms_written"] == len(solvated.solute)
    assert run.record["solvent"] == "TIP3P"
    assert np.isfinite(run.energies().to_numpy()).all()
    complex = load_complex(run.topology, run.trajectory, template=run.ligand)
    assert complex.n_frames == 2
    assert len(complex.universe.atoms) == len(solvated.solute)
    assert complex.universe.dimensions is not None


def test_what_cannot_be_solvated_is_refused(peptide, ejm31, parameters, tmp_path):
    with pytest.raises(MissingDataError, match="lost"):
        solvated_system(tmp_path / "lost.pdb", ejm31, parameters)
    with pytest.raises(ParameterError, match="padding=0"):
        solvated_system(peptide, ejm31, parameters, padding=0)
    with pytest.raises(ParameterError, match="ionic_strength=-1"):
        solvated_system(peptide, ejm31, parameters, ionic_strength=-1)
    broken = tmp_path / "broken.pdb"
    lines = peptide.read_text().splitlines(keepends=True)
    broken.write_text("".join(x for x in lines if " CB  GLU" not in x and "CONECT" not in x))
    with pytest.raises(ParameterError, match=r"broken\.pdb has residues .*GLU"):
        solvated_system(broken, ejm31, parameters)
