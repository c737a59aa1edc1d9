"""Contact tensors of ProLIF's trajectory: labkit side by side with MDAnalysis and with mdtraj.

5-HT1B receptor with ergotamine: 250 frames of 5,067 atoms, 43 ligand heavy atoms, 302 residues.
Everybody reads the trajectory from its file and takes distances between heavy atoms, in one thread
and one process, turn by turn. The claims: at least 1.1 times the frames per CPU second of
MDAnalysis' `distance_array` with `numpy.minimum.reduceat` (every ligand atom to every residue, all
distances), at least 3 times those of mdtraj's `compute_contacts` as it is called by default (the
whole ligand to every residue, nearest periodic image), and distances below the cutoff that differ
from both by less than 0.001 angstrom. labkit makes molecules whole when a trajectory is loaded and
takes no periodic images in its inner loop; mdtraj without them is measured too, without a claim.
ProLIF and mdtraj must be installed; nothing is downloaded.

    OMP_NUM_THREADS=1 python benchmarks/contacts.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import mdtraj
import numpy as np
from MDAnalysis.lib.distances import distance_array

from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.systems import Complex

SPEED_BARS: dict[str, float | None] = {"MDAnalysis": 1.1, "mdtraj": 3.0, "mdtraj, no images": None}
ACCURACY_BAR = 1e-3
CUTOFF = 8.0


def with_labkit(complex: Complex) -> np.ndarray:
    """Distances (frames, atoms, residues), angstrom, infinite at or beyond the cutoff."""
    return compute_contacts(complex, cutoff=CUTOFF).distances


def with_mdanalysis(complex: Complex) -> np.ndarray:
    """The same, all distances."""
    ligand, protein = complex.heavy, complex.protein
    first = np.flatnonzero(np.diff(protein.resindices, prepend=-1))
    distances = np.empty((complex.n_frames, len(ligand), len(first)), dtype=np.float32)
    buffer = np.empty((len(ligand), len(protein)))
    for k, _ in enumerate(complex.universe.trajectory):
        distance_array(ligand.positions, protein.positions, result=buffer)
        distances[k] = np.minimum.reduceat(buffer, first, axis=1)
    return distances


def with_mdtraj(topology: mdtraj.Topology, trajectory: Path, *, periodic: bool) -> np.ndarray:
    """Distances (frames, residues) of the whole ligand, angstrom."""
    frames = mdtraj.load(str(trajectory), top=topology)
    ligand = next(r.index for r in topology.residues if r.name == "LIG")
    pairs = [(ligand, r.index) for r in topology.residues if r.index != ligand]
    nanometers, _ = mdtraj.compute_contacts(
        frames, pairs, scheme="closest-heavy", periodic=periodic
    )
    return 10.0 * nanometers


def cpu_seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """CPU seconds of one call, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of distances that either finds below the cutoff, angstrom."""
    below = np.isfinite(ours) | (theirs < CUTOFF - ACCURACY_BAR)
    return float(np.abs(ours[below] - theirs[below]).max())


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    complex = example("ergotamine", start=0)
    trajectory = Path(complex.universe.trajectory.filename)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        topology = mdtraj.load_topology(complex.universe.filename)
    arms: dict[str, Callable[[], np.ndarray]] = {
        "labkit": lambda: with_labkit(complex),
        "MDAnalysis": lambda: with_mdanalysis(complex),
        "mdtraj": lambda: with_mdtraj(topology, trajectory, periodic=True),
        "mdtraj, no images": lambda: with_mdtraj(topology, trajectory, periodic=False),
    }
    distances = {name: work() for name, work in arms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, work in arms.items():
            seconds[name].append(cpu_seconds(work)[0])
    ours = distances["labkit"]
    print(f"{len(ours)} frames, {ours.shape[1]} ligand atoms, {ours.shape[2]} residues")
    print(f"labkit: {len(ours) / median(seconds['labkit']):.0f} frames per CPU s")
    for name, bar in SPEED_BARS.items():
        ratios = np.array(seconds[name]) / np.array(seconds["labkit"])
        same = ours if name == "MDAnalysis" else ours.min(axis=1)
        apart = largest_difference(same, distances[name])
        print(
            f"{name}: {len(ours) / median(seconds[name]):.0f} frames per CPU s; labkit is "
            f"{median(ratios):.2f} times as fast, from {ratios.min():.2f} to {ratios.max():.2f} in "
            f"{repeats} turns ({verdict(bar, float(median(ratios)))}); distances differ by at most "
            f"{apart:.1e} A (bar {ACCURACY_BAR:g}: {'met' if apart < ACCURACY_BAR else 'MISSED'})"
        )


def verdict(bar: float | None, ratio: float) -> str:
    """Whether the median turn met the bar."""
    if bar is None:
        return "no bar"
    return f"bar {bar}: {'met' if ratio >= bar else 'MISSED'}"


if __name__ == "__main__":
    main()
