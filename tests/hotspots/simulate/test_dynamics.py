"""Runs of dynamics: physics, files, going on after a kill, refusals."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from openmm import app, unit
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots.simulate import dynamics
from labkit.hotspots.simulate.antechamber import find_tools
from labkit.hotspots.simulate.dynamics import FILES, SimulationError, run_md
from labkit.hotspots.simulate.imaging import Imaging
from labkit.hotspots.simulate.parametrize import parametrize_ligand
from labkit.hotspots.simulate.platforms import choose_platform
from labkit.hotspots.simulate.pocket import pocket_system
from labkit.hotspots.simulate.settings import MDSettings
from labkit.hotspots.systems import load_complex

TARGETS = ("tyk2",) if find_tools() is None else ("tyk2", "mcl1", "cdk2", "hif2a")
"""Only TYK2 has shipped ligand parameters; those of the others take antechamber."""

SHORT = {"ps": 0.24, "report_ps": 0.02, "equilibrate_ps": 0.04, "platform": "CPU", "threads": 1}


@pytest.fixture(scope="module")
def quick_minimizer():
    """Tests of files and restarts need no relaxed structure."""
    patch = pytest.MonkeyPatch()
    patch.setattr(dynamics, "MINIMIZER_STEPS", 30)
    patch.setattr(dynamics, "PART_FRAMES", 5)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def run(small_pocket, parameters, tmp_path_factory, quick_minimizer):
    """Twelve frames of the small pocket, without interruption."""
    return run_md(small_pocket, parameters, tmp_path_factory.mktemp("md") / "a", seed=3, **SHORT)


class Killed(BaseException):
    """Stands for a signal."""


def kill_at(frame: int):
    def progress(done: int, total: int, text: str) -> None:
        if done == frame:
            raise Killed

    return progress


def test_a_run_leaves_its_files_and_nothing_else(run):
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(FILES)
    assert json.loads((run.folder / "run.json").read_text()) == run.record
    assert run.record["ligand"] == "lig_ejm_31"
    assert run.record["solvent"] == "OBC2"
    assert run.record["seed"] == 3


def test_a_run_is_loaded_as_a_complex(run, small_pocket):
    complex = load_complex(run.topology, run.trajectory, template=run.ligand)
    assert complex.n_frames == run.n_frames == 12
    assert complex.n_atoms == small_pocket.mol.GetNumHeavyAtoms()
    assert Chem.MolToSmiles(Chem.RemoveHs(complex.mol)) == run.record["smiles"]
    assert set(small_pocket.residues) <= set(complex.residue_labels)
    # Times are written in single precision.
    assert complex.times_ps == pytest.approx(0.02 * np.arange(1, 13), abs=1e-6)


def test_ligand_file_has_the_pose_of_the_structure(run, small_pocket):
    mol = Chem.MolFromMolFile(str(run.ligand), removeHs=False)
    pdb = app.PDBFile(str(run.topology)).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    # Both formats have three or four decimals.
    assert mol.GetConformer().GetPositions() == pytest.approx(pdb[small_pocket.ligand], abs=6e-4)
    symbols = [atom.GetSymbol() for atom in small_pocket.mol.GetAtoms()]
    assert [atom.GetSymbol() for atom in mol.GetAtoms()] == symbols


def test_energies_are_those_of_the_frames(run):
    energies = run.energies()
    assert energies["frame"].tolist() == list(range(12))
    assert energies["time_ps"].tolist() == pytest.approx(0.02 * np.arange(1, 13))
    freedom = 2 * energies["kinetic_kj_mol"] / (energies["temperature_K"] * 0.00831446)
    # 3 x 189 atoms less one constraint for each of the 100 or so hydrogens: one whole number.
    assert np.ptp(freedom) < 1e-2
    assert freedom.mean() == pytest.approx(round(freedom.mean()), abs=1e-2)


@pytest.mark.parametrize("frame", [3, 5, 11])
def test_a_killed_run_goes_on_to_the_same_frames(
    run, small_pocket, parameters, tmp_path, quick_minimizer, frame
):
    """Killed within the first part, at its end, within the last: the same bytes in the end."""
    with pytest.raises(Killed):
        run_md(small_pocket, parameters, tmp_path / "b", seed=3, progress=kill_at(frame), **SHORT)
    assert [path.name for path in (tmp_path / "b").iterdir()] == [".unfinished"]
    again = run_md(small_pocket, parameters, tmp_path / "b", seed=3, **SHORT)
    assert again.record["resumed_at_frame"] == 5 * ((frame - 1) // 5)
    assert again.trajectory.read_bytes() == run.trajectory.read_bytes()
    assert again.energies().equals(run.energies())
    assert sorted(path.name for path in again.folder.iterdir()) == sorted(FILES)


def test_a_complete_run_is_returned_and_not_computed_again(run, small_pocket, parameters):
    before = run.trajectory.stat().st_mtime_ns
    again = run_md(small_pocket, parameters, run.folder, seed=3, progress=kill_at(1), **SHORT)
    assert again.record == run.record
    assert again.trajectory.stat().st_mtime_ns == before


def test_a_folder_with_another_run_is_refused(
    run, small_pocket, parameters, tmp_path, quick_minimizer
):
    with pytest.raises(ParameterError, match="holds a run of another system or with other"):
        run_md(small_pocket, parameters, run.folder, seed=4, **SHORT)
    with pytest.raises(Killed):
        run_md(small_pocket, parameters, tmp_path, seed=3, progress=kill_at(1), **SHORT)
    with pytest.raises(ParameterError, match="holds an unfinished run"):
        run_md(small_pocket, parameters, tmp_path, seed=4, **SHORT)


def test_another_seed_makes_other_frames_from_the_same_structure(
    run, small_pocket, parameters, tmp_path, quick_minimizer
):
    other = run_md(small_pocket, parameters, tmp_path, seed=4, **SHORT)
    assert other.topology.read_text() == run.topology.read_text()
    difference = other.energies()["potential_kj_mol"] - run.energies()["potential_kj_mol"]
    assert difference.abs().min() > 0


def test_a_step_that_is_too_long_is_reported_with_what_to_try(
    small_pocket, parameters, tmp_path, quick_minimizer
):
    options = {**SHORT, "dt_fs": 40.0, "report_ps": 2.0, "ps": 20.0, "equilibrate_ps": 0.0}
    message = r"blew up before \d+ ps: .*dt_fs=40.*Try dt_fs=2"
    with pytest.raises(SimulationError, match=message):
        run_md(small_pocket, parameters, tmp_path, **options)
    assert not (tmp_path / "trajectory.xtc").exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_pocket_stays_together_at_its_temperature(target, targets, lead, request, tmp_path):
    """2 ps, the first half of which equilibrates.

    Half of the first kinetic energy goes into the minimized structure, and the thermostat brings
    it back at 2 x friction = 4 / ps: 3 K are missing after 1 ps. The temperature fluctuates by
    T sqrt(2 / 1800) = 10 K, so that 250-350 K is five standard deviations.
    """
    if target == "tyk2":
        pocket, parameters = map(request.getfixturevalue, ("pocket", "parameters"))
    else:
        pocket = pocket_system(targets / target / "protein.pdb", lead(target))
        parameters = parametrize_ligand(lead(target), method="gaff2")
    result = run_md(
        pocket, parameters, tmp_path, ps=1.0, equilibrate_ps=1.0, seed=1, platform="CPU"
    )
    energies = result.energies()
    assert np.isfinite(energies.to_numpy()).all()
    assert energies["temperature_K"].between(250, 350).all()
    complex = load_complex(result.topology, result.trajectory, template=result.ligand)
    assert complex.n_frames == 5
    start = app.PDBFile(str(result.topology)).getPositions(asNumpy=True)
    begun = start.value_in_unit(unit.angstrom)[pocket.ligand]
    complex.universe.trajectory[-1]
    moved = complex.ligand.positions - begun
    assert np.sqrt((moved**2).sum(axis=1).mean()) < 2.0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"ps": -1}, "ps=-1 is not allowed"),
        ({"ps": float("nan")}, "ps=nan"),
        ({"ps": 1.0, "report_ps": 0.3}, "ps=1 is not a multiple of report_ps=0.3"),
        ({"report_ps": 0.001}, "report_ps=0.001 is not a multiple of dt_fs=4"),
        ({"dt_fs": 0}, "dt_fs=0"),
        ({"temperature_K": float("inf")}, "temperature_K=inf"),
        ({"friction_per_ps": 0}, "friction_per_ps=0"),
        ({"equilibrate_ps": -0.1}, "equilibrate_ps=-0.1"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_settings_out_of_range_are_named(option, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        MDSettings(**option)


def test_seeds_of_parts_differ_and_are_never_random_ones():
    seeds = [MDSettings(seed=s).random(part) for s in range(50) for part in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) > 0
    assert max(seeds) < 2**31


def test_platforms_that_do_not_work_are_refused_with_those_that_do():
    with pytest.raises(ParameterError, match=r"platform='TPU' does not work here; OpenMM has CPU"):
        choose_platform("TPU")
    with pytest.raises(ParameterError, match="threads=0"):
        choose_platform("CPU", threads=0)
    platform, properties = choose_platform("CPU", threads=1)
    assert (platform.getName(), properties) == ("CPU", {"Threads": "1"})
    assert choose_platform()[0].getName() in ("CUDA", "OpenCL", "CPU")


def test_molecules_in_other_images_of_the_box_come_back():
    """Any whole number of box vectors, in a triclinic box, with all molecules drifting."""
    rng = np.random.default_rng(0)
    box = np.array([[4.0, 0.0, 0.0], [1.0, 3.5, 0.0], [-1.0, 1.2, 3.0]])
    whole = rng.normal(size=(12, 3), scale=0.3)
    molecules = [np.arange(0, 6), np.arange(6, 9), np.arange(9, 12)]
    imaging = Imaging(whole, molecules)
    drifted = whole + rng.normal(size=3) + rng.normal(size=(12, 3), scale=0.02)
    scattered = drifted.copy()
    for atoms, images in zip(molecules[1:], ([2, -1, 0], [-1, 3, 1]), strict=True):
        scattered[atoms] += np.array(images) @ box
    assert imaging(scattered, box) == pytest.approx(drifted, abs=1e-9)
