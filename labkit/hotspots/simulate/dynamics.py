"""Langevin dynamics of a pocket or of a solvated complex, to files that `load_complex` reads.

Integrator: LangevinMiddle (Zhang et al., J. Phys. Chem. A 123 (2019) 6056). The run is a row of
parts of ``PART_FRAMES`` frames (see `labkit.hotspots.simulate.parts`). The random numbers of each
part are seeded with (seed, part) and its forces set up anew, so a run that was killed and goes on
makes the same frames as one that was not, where the platform itself is reproducible.

A folder is empty, holds an unfinished run under ``.unfinished``, or is complete: ``run.json`` is
put there last. Calling `run_md` again finishes an unfinished run and returns a complete one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Geometry import Point3D

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots.simulate.engine import app, openmm, unit
from labkit.hotspots.simulate.imaging import Imaging
from labkit.hotspots.simulate.implicit import implicit_system
from labkit.hotspots.simulate.parametrize import LigandParameters
from labkit.hotspots.simulate.parts import Part, Parts, move_into_place
from labkit.hotspots.simulate.platforms import choose_platform
from labkit.hotspots.simulate.pocket import Pocket
from labkit.hotspots.simulate.settings import MDSettings
from labkit.hotspots.simulate.solvated import Solvated, explicit_system

logger = logging.getLogger(__name__)

PART_FRAMES = 25
MINIMIZER_STEPS = 200
"""Enough to take the strain out of a crystal structure; the thermostat does the rest."""
UNFINISHED = ".unfinished"
FILES = ("topology.pdb", "trajectory.xtc", "ligand.sdf", "energies.csv", "run.json")

Progress = Callable[[int, int, str], None]


class SimulationError(LabkitError):
    """A simulation blew up; the message says when, and what to try."""


@dataclass(frozen=True)
class MDRun:
    """Files of a complete run.

    Parameters
    ----------
    folder : Path
    record : dict
        Settings, versions, what ran where, averages; also in ``run.json``.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def topology(self) -> Path:
        """Minimized structure, PDB."""
        return self.folder / "topology.pdb"

    @property
    def trajectory(self) -> Path:
        """Frames, XTC."""
        return self.folder / "trajectory.xtc"

    @property
    def ligand(self) -> Path:
        """Ligand with bond orders, SDF, in the order and pose of `topology`."""
        return self.folder / "ligand.sdf"

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.record["n_frames"])

    def energies(self) -> pd.DataFrame:
        """One row for each frame: time, energies in kJ/mol, temperature in K."""
        return pd.read_csv(self.folder / "energies.csv")


def run_md(
    pocket: Pocket | Solvated,
    parameters: LigandParameters,
    out_dir: str | Path,
    *,
    ps: float = 50.0,
    report_ps: float = 0.2,
    equilibrate_ps: float = 2.0,
    dt_fs: float = 4.0,
    temperature_K: float = 300.0,
    friction_per_ps: float = 2.0,
    seed: int = 0,
    platform: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> MDRun:
    """Minimize, equilibrate and simulate.

    Parameters
    ----------
    pocket : Pocket or Solvated
        What to simulate; a pocket gets implicit solvent.
    parameters : LigandParameters
        Of its ligand.
    out_dir : str or Path
        Folder for ``topology.pdb``, ``trajectory.xtc``, ``ligand.sdf``, ``energies.csv`` and
        ``run.json``. A complete run of the same settings is returned, an unfinished one finished.
    ps : float
        Length, after the equilibration.
    report_ps : float
        Time between frames: a multiple of the step, and `ps` a multiple of it.
    equilibrate_ps : float
        Run before the first frame.
    dt_fs : float
        Step; 4 fs is stable with hydrogens of 3 amu.
    temperature_K, friction_per_ps : float
        Of the Langevin thermostat.
    seed : int
        Of velocities and thermostat.
    platform : str
        ``"auto"`` is the first of CUDA, OpenCL and CPU that works; or a name.
    threads : int, optional
        Of the CPU platform; all that the process may use by default.
    progress : callable, optional
        Called as ``progress(done, total, text)``, in frames.

    Returns
    -------
    MDRun

    Raises
    ------
    ParameterError
        A setting is out of range, or the folder holds another run.
    SimulationError
        Energies or positions stopped being numbers.
    """
    settings = MDSettings(
        ps=ps,
        report_ps=report_ps,
        equilibrate_ps=equilibrate_ps,
        dt_fs=dt_fs,
        temperature_K=temperature_K,
        friction_per_ps=friction_per_ps,
        seed=seed,
    )
    chosen = choose_platform(platform, threads=threads)
    folder = Path(out_dir)
    system = _system(pocket, parameters, settings)
    fingerprint = _fingerprint(system, pocket, settings)
    if (folder / "run.json").is_file():
        return _complete(folder, fingerprint)
    work = _work_folder(folder, fingerprint)
    run = _Run(pocket, system, settings, Parts(work, _written(pocket), report_ps), chosen)
    if not run.parts.begun:
        run.equilibrate()
    measured = run.produce(progress or (lambda done, total, text: None))
    energies = run.parts.join(work / "trajectory.xtc", work / "energies.csv")
    record = {
        **_record(pocket, parameters, settings, fingerprint),
        **measured,
        "mean_temperature_K": round(float(energies["temperature_K"].mean()), 2),
        "mean_potential_kj_mol": round(float(energies["potential_kj_mol"].mean()), 2),
    }
    (work / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    move_into_place(work, folder, FILES)
    shutil.rmtree(work)
    return MDRun(folder, record)


class _Run:
    """OpenMM's objects for one run."""

    def __init__(
        self,
        pocket: Pocket | Solvated,
        system: Any,
        settings: MDSettings,
        parts: Parts,
        platform: tuple[Any, dict[str, str]],
    ) -> None:
        self.pocket, self.settings, self.parts = pocket, settings, parts
        self.integrator = openmm.LangevinMiddleIntegrator(
            settings.temperature_K, settings.friction_per_ps, settings.dt_fs / 1000
        )
        self.integrator.setRandomNumberSeed(settings.random(0))
        self.context = openmm.Context(system, self.integrator, *platform)
        self.freedom = _degrees_of_freedom(system)
        self.imaging = _imaging(pocket, self.context)

    def equilibrate(self) -> None:
        """Minimize, write the structure, then run without writing frames."""
        self.context.setPositions(self.pocket.positions / 10)
        openmm.LocalEnergyMinimizer.minimize(self.context, maxIterations=MINIMIZER_STEPS)
        state = self._state(0.0)
        logger.info("minimized to %s", state.getPotentialEnergy())
        _write_structure(self.parts, self.pocket, 10 * self._positions(state))
        self.context.setVelocitiesToTemperature(
            self.settings.temperature_K, self.settings.random(0)
        )
        for _ in range(round(self.settings.equilibrate_ps / self.settings.report_ps)):
            self._advance(0.0)
        self.parts.begin(self._full_state())

    def produce(self, progress: Progress) -> dict[str, Any]:
        """Make the parts that are missing; returns what was measured on the way."""
        settings = self.settings
        started, first = time.perf_counter(), self.parts.done()
        for number in range(first, math.ceil(settings.frames / PART_FRAMES)):
            self.integrator.setRandomNumberSeed(settings.random(number + 1))
            self.context.reinitialize()
            self.context.setState(self.parts.state(number))
            begin = number * PART_FRAMES
            part = self.parts.open(number, begin)
            for frame in range(begin, min(begin + PART_FRAMES, settings.frames)):
                self._frame(part, frame)
                text = f"{(frame + 1) * settings.report_ps:g} ps"
                progress(frame + 1, settings.frames, text)
            part.finish(self._full_state())
        seconds = time.perf_counter() - started
        made_ps = (settings.frames - first * PART_FRAMES) * settings.report_ps
        return {
            "platform": self.context.getPlatform().getName(),
            "resumed_at_frame": first * PART_FRAMES,
            "ns_per_day": round(86.4 * made_ps / seconds, 2) if made_ps > 0 else None,
        }

    def _frame(self, part: Part, frame: int) -> None:
        time_ps = round((frame + 1) * self.settings.report_ps, 6)
        self._advance(time_ps)
        state = self._state(time_ps)
        potential, kinetic = (
            energy.value_in_unit(unit.kilojoule_per_mole)
            for energy in (state.getPotentialEnergy(), state.getKineticEnergy())
        )
        gas = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
        temperature = 2 * kinetic / (self.freedom * gas)
        positions = self._positions(state)
        box = state.getPeriodicBoxVectors() if self.imaging else None
        if self.imaging:
            vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
            positions = self.imaging(positions, np.asarray(vectors))
        row = (frame, time_ps, potential, kinetic, temperature)
        part.add(positions[self.pocket.solute], box, row)

    def _advance(self, time_ps: float) -> None:
        try:
            self.integrator.step(self.settings.steps)
        except openmm.OpenMMException as exc:
            if "nan" not in str(exc).lower():
                raise
            raise _blown_up(time_ps, self.settings) from exc

    def _state(self, time_ps: float) -> Any:
        """Positions and energies, which have to be numbers."""
        state = self.context.getState(positions=True, energy=True)
        energy = state.getPotentialEnergy() + state.getKineticEnergy()
        if not math.isfinite(energy.value_in_unit(unit.kilojoule_per_mole)):
            raise _blown_up(time_ps, self.settings)
        return state

    def _full_state(self) -> Any:
        return self.context.getState(positions=True, velocities=True)

    @staticmethod
    def _positions(state: Any) -> np.ndarray:
        return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))


def _blown_up(time_ps: float, settings: MDSettings) -> SimulationError:
    when = f"before {time_ps:g} ps" if time_ps else "before the first frame"
    return SimulationError(
        f"The simulation blew up {when}: positions or energies are not numbers "
        f"(dt_fs={settings.dt_fs:g}, temperature_K={settings.temperature_K:g}). Try dt_fs=2 in "
        "another folder, and look for clashes between ligand and protein in the pose."
    )


def _system(pocket: Pocket | Solvated, parameters: LigandParameters, settings: MDSettings) -> Any:
    if isinstance(pocket, Solvated):
        return explicit_system(pocket, parameters, temperature_K=settings.temperature_K)
    return implicit_system(pocket, parameters)


def _fingerprint(system: Any, pocket: Pocket | Solvated, settings: MDSettings) -> str:
    text = openmm.XmlSerializer.serialize(system) + repr(settings)
    return hashlib.sha256(text.encode() + pocket.positions.tobytes()).hexdigest()


def _complete(folder: Path, fingerprint: str) -> MDRun:
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if record.get("fingerprint") != fingerprint:
        raise ParameterError(
            f"out_dir={str(folder)!r} holds a run of another system or with other settings; "
            "choose another folder, or delete that run."
        )
    return MDRun(folder, record)


def _work_folder(folder: Path, fingerprint: str) -> Path:
    work = folder / UNFINISHED
    note = work / "fingerprint"
    if note.is_file() and note.read_text() != fingerprint:
        raise ParameterError(
            f"out_dir={str(folder)!r} holds an unfinished run of another system or with other "
            f"settings; choose another folder, or delete {work}."
        )
    work.mkdir(parents=True, exist_ok=True)
    note.write_text(fingerprint)
    return work


def _imaging(pocket: Pocket | Solvated, context: Any) -> Imaging | None:
    if not isinstance(pocket, Solvated):
        return None
    solute = set(pocket.solute.tolist())
    molecules = [np.array(atoms) for atoms in context.getMolecules() if solute & set(atoms)]
    return Imaging(pocket.positions / 10, molecules)


def _degrees_of_freedom(system: Any) -> int:
    masses = [system.getParticleMass(i) for i in range(system.getNumParticles())]
    moving = sum(mass.value_in_unit(unit.dalton) > 0 for mass in masses)
    drift = any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    return 3 * moving - system.getNumConstraints() - 3 * drift


def _written(pocket: Pocket | Solvated) -> Any:
    """Topology of the atoms that a trajectory holds."""
    count = pocket.topology.getNumAtoms()
    if len(pocket.solute) == count:
        return pocket.topology
    keep = set(pocket.solute.tolist())
    model = app.Modeller(pocket.topology, np.zeros((count, 3)) * unit.nanometer)
    model.delete([atom for atom in pocket.topology.atoms() if atom.index not in keep])
    return model.topology


def _write_structure(parts: Parts, pocket: Pocket | Solvated, positions: np.ndarray) -> None:
    """Topology and ligand, at `positions` in angstrom."""
    with (parts.folder / "topology.pdb").open("w") as stream:
        solute = positions[pocket.solute] * unit.angstrom
        app.PDBFile.writeFile(parts.topology, solute, stream, keepIds=True)
    mol = Chem.Mol(pocket.mol)
    for index, position in enumerate(positions[pocket.ligand]):
        mol.GetConformer().SetAtomPosition(index, Point3D(*map(float, position)))
    with Chem.SDWriter(str(parts.folder / "ligand.sdf")) as writer:
        writer.write(mol)


def _record(
    pocket: Pocket | Solvated,
    parameters: LigandParameters,
    settings: MDSettings,
    fingerprint: str,
) -> dict[str, Any]:
    mol = pocket.mol
    return {
        "system": type(pocket).__name__.lower(),
        "n_atoms": pocket.n_atoms,
        "n_atoms_written": len(pocket.solute),
        "n_frames": settings.frames,
        "ligand": mol.GetProp("_Name") if mol.HasProp("_Name") else "",
        "smiles": Chem.MolToSmiles(Chem.RemoveHs(mol)),
        **asdict(settings),
        "protein_force_field": "ff14SB",
        "ligand_force_field": parameters.force_field,
        "ligand_charges": parameters.charge_method,
        "solvent": "TIP3P" if isinstance(pocket, Solvated) else "OBC2",
        "notes": [*pocket.notes, *parameters.notes],
        "openmm": openmm.Platform.getOpenMMVersion(),
        "fingerprint": fingerprint,
    }
