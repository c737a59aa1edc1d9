"""Langevin dynamics of a pocket or of a solvated complex, to files that `load_complex` reads.

Integrator: LangevinMiddle (Zhang et al., J. Phys. Chem. A 123 (2019) 6056). The run is a row of
parts of ``PART_FRAMES`` frames (see `labkit.hotspots.simulate.parts`); the random numbers of each
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
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Geometry import Point3D

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots.simulate.engine import app, openmm, unit
from labkit.hotspots.simulate.implicit import implicit_system
from labkit.hotspots.simulate.parametrize import LigandParameters
from labkit.hotspots.simulate.parts import Parts, move_into_place
from labkit.hotspots.simulate.pocket import Pocket
from labkit.hotspots.simulate.solvated import Solvated, explicit_system

logger = logging.getLogger(__name__)

PLATFORMS = ("CUDA", "OpenCL", "CPU")
"""What ``platform="auto"`` tries, in this order."""

PART_FRAMES = 25
MINIMIZER_STEPS = 500
FILES = ("topology.pdb", "trajectory.xtc", "ligand.sdf", "energies.csv", "run.json")

Progress = Callable[[int, int, str], None]


class SimulationError(LabkitError):
    """A simulation failed; the message says when and what to try."""


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


@dataclass(frozen=True)
class _Settings:
    """What decides the frames of a run, apart from the system."""

    ps: float
    report_ps: float
    equilibrate_ps: float
    dt_fs: float
    temperature_K: float
    friction_per_ps: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("ps", "report_ps", "dt_fs", "temperature_K", "friction_per_ps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name}={value} is not a positive number.")
        if not (math.isfinite(self.equilibrate_ps) and self.equilibrate_ps >= 0):
            raise ParameterError(f"equilibrate_ps={self.equilibrate_ps} must be 0 or more.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ParameterError(f"seed={self.seed!r} is not a whole number of 0 or more.")
        for whole, part, unit_of_part in (
            ("report_ps", self.dt_fs / 1000, "dt_fs"),
            ("ps", self.report_ps, "report_ps"),
        ):
            ratio = getattr(self, whole) / part
            if ratio < 0.5 or abs(ratio - round(ratio)) > 1e-6 * ratio:
                raise ParameterError(
                    f"{whole}={getattr(self, whole)} is not a multiple of "
                    f"{unit_of_part}={getattr(self, unit_of_part)}; choose one that is."
                )

    @property
    def steps(self) -> int:
        """Steps between frames."""
        return round(1000 * self.report_ps / self.dt_fs)

    @property
    def frames(self) -> int:
        return round(self.ps / self.report_ps)

    def random(self, part: int) -> int:
        """Seed for a part, in the range that OpenMM takes; part 0 is the equilibration."""
        sequence = np.random.SeedSequence([self.seed, part])
        return int(sequence.generate_state(1)[0] % (2**31 - 2)) + 1


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
        Time between frames; a multiple of the step, and `ps` a multiple of it.
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
        Energies or positions stopped being numbers, or no platform works.
    """
    settings = _Settings(ps, report_ps, equilibrate_ps, dt_fs, temperature_K, friction_per_ps, seed)
    folder = Path(out_dir)
    system = _system(pocket, parameters, temperature_K)
    fingerprint = _fingerprint(system, pocket, settings)
    if (folder / "run.json").is_file():
        return _complete(folder, fingerprint)
    work = _work_folder(folder, fingerprint)
    simulation = _simulation(pocket, system, settings, platform, threads)
    parts = Parts(work, _subset(pocket), pocket.solute, report_ps)
    started = time.perf_counter()
    if not parts.begun:
        _equilibrate(simulation, pocket, settings, work, parts)
    resumed = parts.done()
    _produce(simulation, settings, parts, progress or (lambda done, total, text: None))
    energies = parts.join(work / "trajectory.xtc", work / "energies.csv")
    record = {
        **_record(pocket, parameters, settings, simulation, fingerprint),
        **_averages(energies),
        "resumed_at_part": resumed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (work / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    move_into_place(work, folder, FILES)
    shutil.rmtree(work)
    return MDRun(folder, record)


def choose_platform(
    name: str = "auto", *, threads: int | None = None
) -> tuple[Any, dict[str, str]]:
    """OpenMM platform and its properties.

    Parameters
    ----------
    name : str
        ``"auto"`` or the name of a platform.
    threads : int, optional
        For the CPU platform.

    Raises
    ------
    ParameterError
        The platform is not installed; the message names those that are.
    """
    count = openmm.Platform.getNumPlatforms()
    installed = [openmm.Platform.getPlatform(i).getName() for i in range(count)]
    wanted = PLATFORMS if name == "auto" else (name,)
    found = [candidate for candidate in wanted if candidate in installed and _works(candidate)]
    if not found:
        raise ParameterError(
            f"platform={name!r} does not work here; OpenMM has {', '.join(installed)}. "
            'platform="auto" takes the best that works.'
        )
    platform = openmm.Platform.getPlatformByName(found[0])
    if found[0] != "CPU":
        return platform, {}
    if threads is not None and threads < 1:
        raise ParameterError(f"threads={threads} must be 1 or more.")
    return platform, {"Threads": str(threads or len(os.sched_getaffinity(0)))}


def _works(name: str) -> bool:
    """Whether a platform can compute: drivers may be installed without a device."""
    system = openmm.System()
    system.addParticle(1.0)
    try:
        platform = openmm.Platform.getPlatformByName(name)
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException as exc:
        logger.info("OpenMM platform %s does not work here: %s", name, exc)
        return False
    return True


def _system(pocket: Pocket | Solvated, parameters: LigandParameters, temperature_K: float) -> Any:
    if isinstance(pocket, Solvated):
        return explicit_system(pocket, parameters, temperature_K=temperature_K)
    return implicit_system(pocket, parameters)


def _fingerprint(system: Any, pocket: Pocket | Solvated, settings: _Settings) -> str:
    text = openmm.XmlSerializer.serialize(system) + repr(settings)
    return hashlib.sha256(text.encode() + pocket.positions.tobytes()).hexdigest()


def _complete(folder: Path, fingerprint: str) -> MDRun:
    record = json.loads((folder / "run.json").read_text())
    if record.get("fingerprint") != fingerprint:
        raise ParameterError(
            f"out_dir={str(folder)!r} holds a run with other settings; choose another folder, or "
            "delete that run."
        )
    return MDRun(folder, record)


def _work_folder(folder: Path, fingerprint: str) -> Path:
    work = folder / ".unfinished"
    note = work / "fingerprint"
    if note.is_file() and note.read_text() != fingerprint:
        raise ParameterError(
            f"out_dir={str(folder)!r} holds an unfinished run with other settings; choose another "
            f"folder, or delete {work}."
        )
    work.mkdir(parents=True, exist_ok=True)
    note.write_text(fingerprint)
    return work


def _simulation(
    pocket: Pocket | Solvated,
    system: Any,
    settings: _Settings,
    platform: str,
    threads: int | None,
) -> Any:
    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature_K, settings.friction_per_ps, settings.dt_fs / 1000
    )
    integrator.setRandomNumberSeed(settings.random(0))
    chosen, properties = choose_platform(platform, threads=threads)
    return app.Simulation(pocket.topology, system, integrator, chosen, properties)


def _equilibrate(
    simulation: Any, pocket: Pocket | Solvated, settings: _Settings, work: Path, parts: Parts
) -> None:
    """Minimize, write the structure, then run without writing."""
    context = simulation.context
    context.setPositions(pocket.positions / 10)
    simulation.minimizeEnergy(maxIterations=MINIMIZER_STEPS)
    state = context.getState(positions=True, energy=True)
    _check_energy(state, 0.0, settings)
    logger.info("minimized to %s", state.getPotentialEnergy())
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    _write_structure(parts.topology, positions, pocket, work)
    context.setVelocitiesToTemperature(settings.temperature_K, settings.random(0))
    for _ in range(round(settings.equilibrate_ps / settings.report_ps)):
        _advance(simulation, settings, 0.0)
    parts.begin(_snapshot(simulation))


def _produce(simulation: Any, settings: _Settings, parts: Parts, progress: Progress) -> None:
    context = simulation.context
    freedom = _degrees_of_freedom(simulation.system)
    for number in range(parts.done(), math.ceil(settings.frames / PART_FRAMES)):
        simulation.integrator.setRandomNumberSeed(settings.random(number + 1))
        context.reinitialize()
        context.setState(parts.state(number))
        first = number * PART_FRAMES
        frames: list[Any] = []
        rows: list[tuple[float, ...]] = []
        for frame in range(first, min(first + PART_FRAMES, settings.frames)):
            _advance(simulation, settings, (frame + 1) * settings.report_ps)
            state = _snapshot(simulation)
            frames.append(state)
            rows.append(_row(frame, state, settings, freedom))
            progress(frame + 1, settings.frames, f"{(frame + 1) * settings.report_ps:g} ps")
        parts.write(number, first, frames, rows)


def _advance(simulation: Any, settings: _Settings, time_ps: float) -> None:
    try:
        simulation.integrator.step(settings.steps)
    except openmm.OpenMMException as exc:
        if "nan" not in str(exc).lower():
            raise
        raise SimulationError(_not_a_number(time_ps, settings)) from exc
    _check_energy(simulation.context.getState(energy=True), time_ps, settings)


def _check_energy(state: Any, time_ps: float, settings: _Settings) -> None:
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    if not math.isfinite(energy):
        raise SimulationError(_not_a_number(time_ps, settings))


def _not_a_number(time_ps: float, settings: _Settings) -> str:
    when = f"before {time_ps:g} ps" if time_ps else "before the first frame"
    return (
        f"The simulation blew up {when}: energies are not numbers (dt_fs={settings.dt_fs:g}, "
        f"temperature_K={settings.temperature_K:g}). Try dt_fs=2 in another folder, and look for "
        "clashes between ligand and protein in the pose."
    )


def _snapshot(simulation: Any) -> Any:
    return simulation.context.getState(positions=True, velocities=True, energy=True)


def _row(frame: int, state: Any, settings: _Settings, freedom: int) -> tuple[float, ...]:
    potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    gas = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    time_ps = round((frame + 1) * settings.report_ps, 6)
    return frame, time_ps, potential, kinetic, 2 * kinetic / (freedom * gas)


def _degrees_of_freedom(system: Any) -> int:
    moving = sum(
        system.getParticleMass(i).value_in_unit(unit.dalton) > 0
        for i in range(system.getNumParticles())
    )
    drift = any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    return 3 * moving - system.getNumConstraints() - 3 * drift


def _subset(pocket: Pocket | Solvated) -> Any:
    """Topology of the atoms that are written."""
    if len(pocket.solute) == pocket.topology.getNumAtoms():
        return pocket.topology
    keep = set(pocket.solute.tolist())
    model = app.Modeller(pocket.topology, np.zeros((pocket.topology.getNumAtoms(), 3)))
    model.delete([atom for atom in pocket.topology.atoms() if atom.index not in keep])
    return model.topology


def _write_structure(
    topology: Any, positions: np.ndarray, pocket: Pocket | Solvated, work: Path
) -> None:
    with (work / "topology.pdb").open("w") as stream:
        app.PDBFile.writeFile(
            topology, positions[pocket.solute] * unit.angstrom, stream, keepIds=True
        )
    mol = Chem.Mol(pocket.mol)
    for index, position in enumerate(positions[pocket.ligand]):
        mol.GetConformer().SetAtomPosition(index, Point3D(*map(float, position)))
    with Chem.SDWriter(str(work / "ligand.sdf")) as writer:
        writer.write(mol)


def _record(
    pocket: Pocket | Solvated,
    parameters: LigandParameters,
    settings: _Settings,
    simulation: Any,
    fingerprint: str,
) -> dict[str, Any]:
    mol = pocket.mol
    return {
        "what": type(pocket).__name__.lower(),
        "n_atoms": len(pocket.positions),
        "n_atoms_written": len(pocket.solute),
        "n_frames": settings.frames,
        "ligand": mol.GetProp("_Name") if mol.HasProp("_Name") else "",
        "smiles": Chem.MolToSmiles(Chem.RemoveHs(mol)),
        **vars(settings),
        "force_field": {
            "protein": "ff14SB",
            "ligand": parameters.force_field,
            "charges": parameters.charge_method,
            "method": parameters.method,
            "solvent": "TIP3P" if isinstance(pocket, Solvated) else "OBC2",
        },
        "notes": [*pocket.notes, *parameters.notes],
        "platform": simulation.context.getPlatform().getName(),
        "openmm": openmm.Platform.getOpenMMVersion(),
        "fingerprint": fingerprint,
    }


def _averages(energies: pd.DataFrame) -> dict[str, float]:
    return {
        "mean_temperature_K": round(float(energies["temperature_K"].mean()), 2),
        "mean_potential_kj_mol": round(float(energies["potential_kj_mol"].mean()), 2),
    }
