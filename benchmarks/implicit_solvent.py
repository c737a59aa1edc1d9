"""OBC2 implicit solvent: labkit's native force against OpenMM's documented ``implicit/obc2.xml``.

The TYK2 pocket with ligand ejm_31 (725 atoms), ff14SB and GAFF2, OpenMM's CPU platform on two
threads. Energies and forces of both are compared first, without and with a cutoff of 1.2 nm; then
both are timed in one process, turn by turn, so that a busy machine slows both; CPU time of all
threads, which others' work changes less, is printed beside wall time. A call computes all forces
of the pocket, not only those of the solvent. The claims: energies that differ by less than 1e-5 of
the energy, forces by less than 1e-4 rms, and, without a cutoff, at least 4 times the speed. With a
cutoff the ratio is less, and nothing is claimed. The data set
``hotspots/tyk2_*`` must be there (``labkit data fetch``).

    python benchmarks/implicit_solvent.py --rounds 9
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
import openmm
from openmm import app, unit

from labkit import datasets
from labkit.hotspots.examples import series
from labkit.hotspots.simulate.engine import PROTEIN_FORCE_FIELD
from labkit.hotspots.simulate.implicit import native_obc2
from labkit.hotspots.simulate.parametrize import LigandParameters, parametrize_ligand
from labkit.hotspots.simulate.pocket import Pocket, pocket_system

ENERGY_BAR, FORCE_BAR, SPEED_BAR = 1e-5, 1e-4, 4.0
CUTOFF_NM = 1.2


def tyk2() -> tuple[Pocket, LigandParameters]:
    """The pocket around the smallest ligand, and its shipped parameters."""
    target = series("tyk2")
    ligand = min(target.ligands, key=lambda mol: mol.GetNumHeavyAtoms())
    files = [datasets.path(f"hotspots/tyk2_md_{kind}") for kind in ("mol2", "frcmod")]
    return pocket_system(target.protein_pdb, ligand), parametrize_ligand(ligand, files=files)


def system(
    pocket: Pocket, parameters: LigandParameters, *, native: bool, cutoff: bool
) -> openmm.System:
    """The pocket in OBC2, by labkit or by OpenMM's file."""
    names = PROTEIN_FORCE_FIELD if native else (*PROTEIN_FORCE_FIELD, "implicit/obc2.xml")
    made = app.ForceField(*names, io.StringIO(parameters.ffxml)).createSystem(
        pocket.topology,
        nonbondedMethod=app.CutoffNonPeriodic if cutoff else app.NoCutoff,
        nonbondedCutoff=CUTOFF_NM * unit.nanometer,
    )
    if native:
        native_obc2(made, pocket.topology)
    return made


def context(made: openmm.System, pocket: Pocket, platform: str, threads: int) -> openmm.Context:
    """Ready to compute forces."""
    properties = {"Threads": str(threads)} if platform == "CPU" else {}
    ready = openmm.Context(
        made,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName(platform),
        properties,
    )
    ready.setPositions(pocket.positions / 10)
    return ready


def energy_and_forces(ready: openmm.Context) -> tuple[float, np.ndarray]:
    """In kJ/mol and kJ/mol/nm."""
    state = ready.getState(energy=True, forces=True)
    per_nm = unit.kilojoule_per_mole / unit.nanometer
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        np.asarray(state.getForces(asNumpy=True).value_in_unit(per_nm)),
    )


def milliseconds(ready: openmm.Context, calls: int) -> tuple[float, float]:
    """Wall time, and CPU time of all threads, of one force call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        ready.getState(forces=True)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return 1000 * spent[0] / calls, 1000 * spent[1] / calls


def main() -> None:
    """Print agreement and speed of both, with the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=10, help="force calls in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--platform", default="CPU")
    options = parser.parse_args()
    pocket, parameters = tyk2()
    print(
        f"TYK2 pocket, {pocket.n_atoms} atoms, OpenMM {openmm.__version__}, {options.platform}, "
        f"{options.threads} threads"
    )
    for cutoff in (False, True):
        ours, theirs = (
            context(
                system(pocket, parameters, native=native, cutoff=cutoff),
                pocket,
                options.platform,
                options.threads,
            )
            for native in (True, False)
        )
        print(f"cutoff {CUTOFF_NM} nm" if cutoff else "no cutoff")
        report_agreement(ours, theirs)
        report_speed(ours, theirs, options.rounds, options.calls, bar=None if cutoff else SPEED_BAR)


def report_agreement(ours: openmm.Context, theirs: openmm.Context) -> None:
    """Relative differences of energy and forces."""
    (energy, force), (expected, expected_force) = map(energy_and_forces, (ours, theirs))
    energy_error = abs(energy / expected - 1)
    rms = np.sqrt(((force - expected_force) ** 2).sum() / (expected_force**2).sum())
    passed = energy_error < ENERGY_BAR and rms < FORCE_BAR
    print(
        f"  energy differs by {energy_error:.1e} (bar {ENERGY_BAR:.0e}), forces by {rms:.1e} rms "
        f"(bar {FORCE_BAR:.0e}): {'passed' if passed else 'missed'}"
    )


def report_speed(
    ours: openmm.Context,
    theirs: openmm.Context,
    rounds: int,
    calls: int,
    *,
    bar: float | None,
) -> None:
    """Time per force call of both, and the ratio of every round."""
    for ready in (ours, theirs):
        milliseconds(ready, 2)
    times = np.array([[milliseconds(r, calls) for r in (ours, theirs)] for _ in range(rounds)])
    for kind, measured in zip(("wall", "CPU"), np.moveaxis(times, 2, 0), strict=True):
        native, documented = measured.T
        ratio = documented / native
        verdict = "passed" if bar is not None and np.median(ratio) >= bar else "missed"
        print(
            f"  {kind:4} time: native {np.median(native):.2f} ms, obc2.xml "
            f"{np.median(documented):.2f} ms per force call (medians of {rounds}); ratio "
            f"{np.median(ratio):.2f} (median), {ratio.min():.2f} to {ratio.max():.2f}"
            + ("" if bar is None else f"; bar {bar:.0f}: {verdict}")
        )


if __name__ == "__main__":
    main()
