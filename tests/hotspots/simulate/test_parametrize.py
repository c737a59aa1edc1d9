"""Ligand force fields: the same energies as other programs, and plain words where that fails."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import openmm
import parmed
import pytest
from openmm import app, unit
from rdkit import Chem
from rdkit.Chem import AllChem

from labkit.errors import LabkitError, MissingDataError, ParameterError
from labkit.hotspots.simulate import antechamber
from labkit.hotspots.simulate.antechamber import ParametrizationError, find_tools
from labkit.hotspots.simulate.ligand import ligand_topology
from labkit.hotspots.simulate.parametrize import (
    LigandParameters,
    mmff94_charges,
    parametrize_ligand,
)

TLEAP = {
    "HarmonicBondForce": 9.49480,
    "HarmonicAngleForce": 15.39402,
    "PeriodicTorsionForce": 159.29574,
}
"""kJ/mol of the shipped mol2 and frcmod: prmtop by tleap of AmberTools 22 with leaprc.gaff2, read
by OpenMM's AmberPrmtopFile, at the coordinates of the mol2 file."""


@pytest.fixture(scope="module")
def files(shipped: Path) -> tuple[Path, Path]:
    return shipped / "lig.mol2", shipped / "lig.frcmod"


@pytest.fixture(scope="module")
def pose_nm(files) -> np.ndarray:
    return parmed.load_file(str(files[0]), structure=True).coordinates / 10


def energies(ffxml: str, mol: Chem.Mol, positions_nm: np.ndarray) -> dict[str, float]:
    """Energy of each force, kJ/mol."""
    system = app.ForceField(io.StringIO(ffxml)).createSystem(
        ligand_topology(mol), removeCMMotion=False
    )
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions_nm)
    return {
        force.getName(): context.getState(energy=True, groups={group})
        .getPotentialEnergy()
        .value_in_unit(unit.kilojoule_per_mole)
        for group, force in enumerate(system.getForces())
    }


def gaff_file(suffix: str) -> Path:
    """GAFF 2.2.20 as openmmforcefields ships it, in Amber's or in OpenMM's format."""
    found = importlib.util.find_spec("openmmforcefields")
    folder = {"dat": "dat", "xml": "ffxml"}[suffix]
    root = Path(found.origin).parent / "ffxml" / "amber" / "gaff"
    return root / folder / f"gaff-2.2.20.{suffix}"


def by_parmed(files: tuple[Path, Path]) -> str:
    """ParmEd's own conversion, nothing changed."""
    terms = parmed.amber.AmberParameterSet(str(gaff_file("dat")), str(files[1]))
    converted = parmed.openmm.OpenMMParameterSet.from_parameterset(terms)
    converted.residues["LIG"] = parmed.load_file(str(files[0]))
    stream = io.StringIO()
    converted.write(stream, write_unused=False)
    return stream.getvalue()


def by_openmmforcefields(parameters: LigandParameters) -> str:
    """A template written here, with the terms of openmmforcefields' XML (which has no frcmod)."""
    atoms = "".join(
        f'<Atom name="A{i}" type="{kind}" charge="{charge:.6f}"/>'
        for i, (kind, charge) in enumerate(
            zip(parameters.atom_types, parameters.charges, strict=True)
        )
    )
    bonds = "".join(
        f'<Bond atomName1="A{b.GetBeginAtomIdx()}" atomName2="A{b.GetEndAtomIdx()}"/>'
        for b in parameters.mol.GetBonds()
    )
    residue = f'<Residues><Residue name="LIG">{atoms}{bonds}</Residue></Residues>'
    return gaff_file("xml").read_text().replace("</ForceField>", f"{residue}</ForceField>")


def test_bonded_energies_are_those_of_tleap_and_of_parmed(parameters, files, pose_nm):
    """tleap rounds pi to 3.1416, which is 4e-5 kJ/mol here; 1e-3 is the published agreement."""
    ours = energies(parameters.ffxml, parameters.mol, pose_nm)
    parmeds = energies(by_parmed(files), parameters.mol, pose_nm)
    for name, expected in TLEAP.items():
        assert ours[name] == pytest.approx(expected, abs=1e-3)
        assert ours[name] == pytest.approx(parmeds[name], abs=1e-3)


def test_bonds_angles_and_nonbonded_terms_are_those_of_openmmforcefields(parameters, pose_nm):
    """The frcmod file has torsions only, so these terms need nothing but GAFF itself."""
    ours = energies(parameters.ffxml, parameters.mol, pose_nm)
    theirs = energies(by_openmmforcefields(parameters), parameters.mol, pose_nm)
    for name in ("HarmonicBondForce", "HarmonicAngleForce", "NonbondedForce"):
        # Amber's format has angles in degrees and lengths in angstrom with four decimals.
        assert ours[name] == pytest.approx(theirs[name], rel=2e-5)


def test_charges_add_up_to_the_formal_charge_and_stay_near_those_of_the_file(parameters, files):
    raw = np.array([atom.charge for atom in parmed.load_file(str(files[0])).atoms])
    assert abs(raw.sum()) > 1e-4
    assert abs(parameters.charges.sum()) < 1e-6
    assert np.abs(parameters.charges - raw).max() < 1e-3
    field = app.ForceField(io.StringIO(parameters.ffxml))
    system = field.createSystem(ligand_topology(parameters.mol))
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(i)[0] for i in range(len(raw))]
    total = sum(charge.value_in_unit(unit.elementary_charge) for charge in charges)
    assert abs(total) < 1e-6


def test_a_ligand_in_another_order_of_atoms_gets_the_same_types_and_energies(
    parameters, files, ejm31, pose_nm
):
    order = np.random.default_rng(0).permutation(ejm31.GetNumAtoms()).tolist()
    shuffled = parametrize_ligand(Chem.RenumberAtoms(ejm31, order), files=files)
    assert shuffled.atom_types == tuple(parameters.atom_types[i] for i in order)
    # Atoms that symmetry makes equal may be exchanged; their charges are equal.
    assert shuffled.charges == pytest.approx(parameters.charges[order], abs=1e-9)
    ours = energies(shuffled.ffxml, shuffled.mol, pose_nm[order])
    # Amber's order of an improper with equal types follows the indices of the atoms.
    assert ours == pytest.approx(energies(parameters.ffxml, ejm31, pose_nm), abs=1e-3)


def test_saved_files_give_the_same_parameters_again(parameters, ejm31, pose_nm, tmp_path):
    again = parametrize_ligand(ejm31, method="shipped", files=parameters.save(tmp_path / "new"))
    assert again.atom_types == parameters.atom_types
    assert np.array_equal(again.charges, parameters.charges)
    assert energies(again.ffxml, ejm31, pose_nm) == energies(parameters.ffxml, ejm31, pose_nm)
    assert (again.method, again.force_field) == ("shipped", "gaff-2.2.20")


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CCO", "do not match the ligand"),
        ("CC(=O)Nc1cc([N-]C(=O)c2c(Cl)cccc2Cl)ccn1", "do not match the ligand"),
        ("CC(=O)Nc1cc(NC(=O)c2c(Cl)ccc(Cl)c2)ccn1", "do not match the ligand"),
    ],
)
def test_files_of_another_ligand_or_protonation_state_are_refused(files, smiles, message):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    with pytest.raises(ParameterError, match=message):
        parametrize_ligand(mol, files=files)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (0, "0.691700", "1.691700", r"add up to 0\.99. e; the ligand has 0"),
        (0, " cl  ", " xx  ", "atom types xx"),
        (0, "@<TRIPOS>", "@<NONSENSE>", "could not be read"),
        (1, "10.000       180.000", "ATTN 0.000  180.000", "no parameters for ca-c -ns-hn"),
    ],
)
def test_damaged_files_are_refused_by_what_is_wrong(
    files, ejm31, tmp_path, file, old, new, message
):
    paths = [tmp_path / path.name for path in files]
    for path, source in zip(paths, files, strict=True):
        path.write_text(source.read_text())
    paths[file].write_text(paths[file].read_text().replace(old, new))
    with pytest.raises(LabkitError, match=message):
        parametrize_ligand(ejm31, files=paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "mmff"}, "method='mmff' is unknown; use one of auto"),
        ({"charges": "resp"}, "charges='resp' is unknown"),
        ({"method": "openff", "charges": "mmff94"}, "charges='mmff94' is for method='gaff2'"),
        ({"method": "shipped"}, r"reads files=\(mol2, frcmod\)"),
        ({"files": ("one.mol2",)}, "is not a pair"),
        ({"method": "gaff2", "files": ("a", "b")}, "read by method='shipped'"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(options, message):
    mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    with pytest.raises(ParameterError, match=message):
        parametrize_ligand(mol, **options)


def test_a_missing_file_is_named(ejm31, files, tmp_path):
    with pytest.raises(MissingDataError, match=r"lost\.frcmod"):
        parametrize_ligand(ejm31, files=(files[0], tmp_path / "lost.frcmod"))


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """No AmberTools, no acpype, no openff-toolkit."""
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None):
        if name.partition(".")[0] in ("acpype", "openff"):
            return None
        return real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AMBERHOME", raising=False)


@pytest.mark.parametrize(
    ("method", "package", "line"),
    [
        ("gaff2", "antechamber", "conda install -c conda-forge ambertools"),
        ("gaff2", "antechamber", "pip install acpype"),
        ("openff", "openff-toolkit", "conda install -c conda-forge openff-toolkit"),
        ("auto", "AmberTools", "pip install acpype"),
        ("auto", "openff-toolkit", "conda install -c conda-forge openff-toolkit"),
    ],
)
@pytest.mark.usefixtures("bare_machine")
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(method, package, line):
    mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    with pytest.raises(ParametrizationError) as caught:
        parametrize_ligand(mol, method=method)
    assert package in str(caught.value)
    assert line in str(caught.value)


def test_a_library_that_is_missing_is_named_with_its_package(monkeypatch, tmp_path):
    """The acpype wheel without libarpack2: sqm does not start, and antechamber says so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    says = (
        "#!/bin/sh\necho 'sqm: error while loading shared libraries: libarpack.so.2: cannot open "
        "shared object file: No such file or directory' >&2\nexit 1\n"
    )
    for program in ("antechamber", "parmchk2"):
        (folder / program).write_text(says)
        (folder / program).chmod(0o755)
    monkeypatch.setenv("AMBERHOME", str(tmp_path))
    mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    with pytest.raises(ParametrizationError, match=r"libarpack\.so\.2; run: apt-get install"):
        parametrize_ligand(mol, method="gaff2")


@pytest.mark.skipif(find_tools() is None, reason="AmberTools' antechamber is not installed")
@pytest.mark.parametrize(
    ("smiles", "charge", "kinds"),
    [("CCO", 0, {"c3", "oh", "ho"}), ("CC(=O)[O-]", -1, {"c", "o", "c3"})],
)
def test_antechamber_types_a_molecule_and_gives_symmetric_charges(smiles, charge, kinds):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    am1bcc = parametrize_ligand(mol, method="gaff2")
    mmff94 = parametrize_ligand(mol, method="gaff2", charges="mmff94")
    assert kinds < set(am1bcc.atom_types)
    assert am1bcc.atom_types == mmff94.atom_types
    for parameters in (am1bcc, mmff94):
        assert parameters.charges.sum() == pytest.approx(charge, abs=1e-6)
        methyl = [a.GetIdx() for a in mol.GetAtomWithIdx(0).GetNeighbors() if a.GetSymbol() == "H"]
        assert np.ptp(parameters.charges[methyl]) < 1e-9
    assert am1bcc.charge_method == "AM1-BCC"
    assert "stand-in" in mmff94.charge_method
    assert any("MMFF94" in note for note in mmff94.notes)
    assert mmff94.charges == pytest.approx(mmff94_charges(mol), abs=1e-6)


def test_mmff94_charges_add_up_to_the_formal_charge(ejm31):
    assert mmff94_charges(ejm31).sum() == pytest.approx(0, abs=1e-9)
    acetate = Chem.AddHs(Chem.MolFromSmiles("CC(=O)[O-]"))
    assert mmff94_charges(acetate).sum() == pytest.approx(-1, abs=1e-9)


def test_largest_penalty_is_read_from_the_frcmod(files):
    assert antechamber.largest_penalty(files[1].read_text()) == 44.3
